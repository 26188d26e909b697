//! The NVMe driver: a drive's registers, admin queue and I/O queues, over a BAR and memory that the drive
//! reaches by DMA. Used by s6_submit and s7_complete (one [`IoQueue`] a drive on each lcore) and by the
//! housekeeping thread (one [`Controller`] a drive). NVMe Base 2.0, PCIe Transport 1.0, NVM Command Set 1.0.
//!
//! Sans-IO: time comes in as `now_ns`, work happens in `poll`, nothing blocks. What a drive puts in memory
//! is bytes from outside: it is checked, counted and at worst fails the drive; it never panics.
//!
//! | module | what |
//! |---|---|
//! | [`Bar`] | a drive's registers and doorbells, wherever they are |
//! | [`Quirks`] | what is known to be wrong with a make of drive |
//! | [`Controller`] | reset, enable, inventory, I/O queues, async events, shutdown, failure |
//! | [`IoQueue`] | submit, one doorbell a burst, completions by phase bit, age of what is outstanding |
//! | [`ControllerState`], [`IoQueueState`] | both told to a successor, and taken up there |
//! | [`command`] | SQEs of the NVM command set |
//! | [`data`] | DPTR from a command's pages: PRPs or an SGL |
//! | [`prp`] | PRP1, PRP2 and the list from a command's pages |
//! | [`split`] | one range of blocks as pieces that the drive takes |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bar;
pub mod command;
mod controller;
pub mod data;
mod failure;
mod handover;
mod inventory;
mod jobs;
pub mod prp;
mod queue;
mod quirks;
pub mod split;

pub use bar::{Bar, Device, Doorbells, Registers};
pub use controller::{Config, Controller, Event, Ticket};
pub use failure::{Failure, Reason};
pub use handover::{ControllerState, Inconsistent, IoQueueState};
pub use inventory::{Inventory, Limits, Namespace, Preferred, Unusable};
pub use queue::{Counters, IoQueue, QueueFull};
pub use quirks::Quirks;
