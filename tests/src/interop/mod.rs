//! The interop suite: what a stock Linux host must be able to do with a target, written once.
//!
//! A [`Target`] is anything that serves the [`subsystem`] described here. The kernel's own ([`Nvmet`]) shows that the
//! suite is right; [`Gantry`] is what it is for. [`suite::run`] boots one host and walks through the [`scenario`]s; those of [`kill`] are for Gantry alone.

pub mod card;
mod counters;
pub mod drives;
mod fio;
mod gantry;
mod host;
pub mod kill;
mod nvmet;
mod running;
pub mod scenario;
pub mod suite;
mod target;
pub mod vfio_user;

pub use counters::{Counters, Flow, watch};
pub use fio::{Fio, Pattern, Progress, Report};
pub use gantry::{Gantry, Paths};
pub use host::{Device, Host};
pub use nvmet::Nvmet;
pub use target::{Target, subsystem};
