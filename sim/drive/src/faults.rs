//! Faults on demand: what the model does wrong when a test or an operator asks for it.

use gantry_wire::nvme::{Nsid, Status};

/// What goes wrong, and for how long. Shared with the running model.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Ranges that cannot be read or written.
    pub media_errors: Vec<MediaError>,
    /// What befalls commands; the first that matches counts.
    pub rules: Vec<Rule>,
    /// The controller is broken: CSTS.CFS while it is enabled.
    pub fatal: bool,
    /// The controller does nothing at all: it answers no command and follows no register.
    pub stopped: bool,
}

/// A range of blocks that fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaError {
    /// Of which namespace.
    pub nsid: Nsid,
    /// First block.
    pub slba: u64,
    /// Blocks.
    pub blocks: u64,
    /// Reads and compares answer Unrecovered Read Error.
    pub reads: bool,
    /// Writes and write zeroes answer Write Fault.
    pub writes: bool,
}

/// What befalls a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// On the admin queue, or on the I/O queues.
    pub admin: bool,
    /// With this opcode; `None` for any.
    pub opcode: Option<u8>,
    /// How many commands more.
    pub times: u32,
    /// What.
    pub action: Action,
}

/// What is done to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It is executed this much later.
    DelayNs(u64),
    /// It is neither executed nor answered.
    Swallow,
    /// It is not executed and answered so.
    Answer(Status),
}

impl Faults {
    /// What befalls this command, if anything; counts it.
    pub(crate) fn strike(&mut self, admin: bool, opcode: u8) -> Option<Action> {
        let hits = |rule: &&mut Rule| {
            rule.admin == admin && rule.opcode.is_none_or(|wanted| wanted == opcode) && rule.times > 0
        };
        let rule = self.rules.iter_mut().find(hits)?;
        rule.times -= 1;
        Some(rule.action)
    }

    /// Whether the medium fails for these blocks.
    pub(crate) fn media_fails(&self, nsid: Nsid, slba: u64, blocks: u64, write: bool) -> bool {
        self.media_errors.iter().any(|error| {
            error.nsid == nsid
                && (if write { error.writes } else { error.reads })
                && slba < error.slba.saturating_add(error.blocks)
                && error.slba < slba.saturating_add(blocks)
        })
    }
}
