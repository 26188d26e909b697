//! What NVMe puts in memory and registers: commands, completions, statuses, registers, Identify, SGLs.
//!
//! Read by the target (capsules from a host), by the driver (queues of a drive) and by the software
//! drive. NVMe Base 2.0 (§ without a name below) and NVM Command Set 1.0. All integers are little-endian.

pub mod cqe;
pub mod feature;
pub mod identify;
pub mod log;
pub mod namespace;
pub mod prp_sgl;
pub mod register;
pub mod sqe;
pub mod status;

pub use cqe::Cqe;
pub use identify::{IdentifyController, IdentifyNamespace, NsidList};
pub use prp_sgl::{DsmRange, Sgl};
pub use sqe::{Sqe, admin, nvm};
pub use status::Status;

/// Command identifier: any 16-bit value, unique among a queue's outstanding commands (§3.3.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Cid(pub u16);

/// Namespace identifier (§3.2.1.2): 0 names none, [`Nsid::ALL`] names every one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nsid(pub u32);

impl Nsid {
    /// The broadcast value.
    pub const ALL: Nsid = Nsid(0xffff_ffff);
}
