//! Why a drive was given up, in words that an event or a log line can carry.

use gantry_wire::nvme::{Nsid, Status};
use serde::{Deserialize, Serialize};

use crate::handover::{number, what};

/// Under a name, because serde takes a plain reference for one that is borrowed from what it reads.
type Text = &'static str;

/// A drive failed and was disabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}{}", if *stopped { "" } else { "; it did not confirm that it stopped, its memory must not be reused" })]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// Whether the controller confirmed (CSTS.RDY = 0) that it will use no more memory.
    pub stopped: bool,
}

/// Why a drive was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Its registers read all ones.
    #[error("the drive is gone: its registers read all ones")]
    Removed,
    /// CSTS.CFS.
    #[error("the controller reports a fatal error (CSTS.CFS)")]
    Fatal,
    /// CAP.MPSMIN.
    #[error("the controller's smallest memory page is {} bytes; 4096 are needed, and a drive that wants more is not supported", 4096u64 << mpsmin)]
    PageSize {
        /// CAP.MPSMIN.
        mpsmin: u8,
    },
    /// Identify's CNTRLTYPE.
    #[error("it is no I/O controller but {}", match cntrltype { 2 => "a discovery controller", 3 => "an administrative one", _ => "of a reserved type" })]
    ControllerType {
        /// CNTRLTYPE.
        cntrltype: u8,
    },
    /// Known of its make.
    #[error("its submission entries are 128 bytes; drives of this make are not supported")]
    WideEntries,
    /// CAP.CSS.
    #[error("the controller does not offer the NVM command set (CAP.CSS {css:#x})")]
    CommandSet {
        /// CAP.CSS.
        css: u8,
    },
    /// The doorbells do not fit.
    #[error("the BAR has {length} bytes; {needed} are needed for the doorbells")]
    BarTooShort {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        length: usize,
    },
    /// CSTS.RDY is 0, and nobody disabled it.
    #[error("the controller is no longer ready (CSTS.RDY = 0): it was reset, or lost power")]
    Reset,
    /// CSTS.RDY did not become 0.
    #[error("the controller did not become disabled within {timeout_ns} ns")]
    NotDisabled {
        /// How long it had.
        timeout_ns: u64,
    },
    /// CSTS.RDY did not become 1.
    #[error("the controller did not become ready within {timeout_ns} ns")]
    NotReady {
        /// How long it had.
        timeout_ns: u64,
    },
    /// A command of the bring-up failed.
    #[error("{what} failed: {status}")]
    Command {
        /// Which.
        #[serde(with = "what")]
        what: Text,
        /// With what.
        #[serde(with = "number")]
        status: Status,
    },
    /// An admin command was not answered.
    #[error("{what} was not answered within {timeout_ns} ns")]
    Timeout {
        /// Which.
        #[serde(with = "what")]
        what: Text,
        /// How long it had.
        timeout_ns: u64,
    },
    /// An I/O command was not answered; the lcore that owns the queue says so.
    #[error("an I/O command on queue {qid} was not answered in time")]
    IoTimeout {
        /// The queue.
        qid: u16,
    },
    /// What Identify says cannot be.
    #[error("Identify of namespace {} makes no sense: {what}", nsid.0)]
    Identify {
        /// Of which namespace; 0 for the controller.
        #[serde(with = "number")]
        nsid: Nsid,
        /// What is wrong.
        #[serde(with = "what")]
        what: Text,
    },
    /// Commands were answered, but SQHD never said that their entries are free again.
    #[error("the controller does not free the entries of its admin queue (SQHD)")]
    SqHead,
    /// It cannot be given memory.
    #[error("memory for its queues could not be mapped for it")]
    Memory,
    /// The owner asked for it.
    #[error("stopped on request")]
    Requested,
}

/// Texts of [`Reason`]s that are no command's name.
pub(crate) mod text {
    pub(crate) const ADMIN_COMMAND: &str = "an admin command";
    pub(crate) const SQES: &str = "its submission entries are not 64 bytes (SQES)";
    pub(crate) const CQES: &str = "its completion entries are not 16 bytes (CQES)";
    pub(crate) const NSID_ORDER: &str = "the active NSID list does not ascend";
    /// All of them.
    pub(crate) const ALL: [&str; 4] = [ADMIN_COMMAND, SQES, CQES, NSID_ORDER];
}
