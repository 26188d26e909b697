//! Faults on demand: what the model does wrong when a test, a simulator or an operator asks for it, by order or by chance.
//! Whatever is drawn follows from its seed and from how many commands came before, never from the clock.

use crate::chance::{Purpose, draw, draw_to, hits};
use gantry_wire::nvme::{Nsid, Status};

/// What goes wrong, and for how long. Shared with the running model; each part may change at any time, also from inside a
/// [`Media`](crate::Media) that the model calls.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Ranges that cannot be read or written.
    pub media_errors: Vec<MediaError>,
    /// Commands whose blocks cannot be read or written, by chance.
    pub media_chance: Option<MediaChance>,
    /// What befalls commands; the first that matches counts.
    pub rules: Vec<Rule>,
    /// How long I/O commands take; `None` executes them as they are fetched.
    pub latency: Option<Latency>,
    /// I/O commands that are sent back to be retried, by chance.
    pub busy: Option<Busy>,
    /// Completions to come that answer no command: of CID fffeh, on I/O queues that exist.
    pub stray: u32,
    /// The controller is broken: CSTS.CFS while it is enabled. Cured by a reset (CC.EN = 0) once this is false again.
    pub fatal: bool,
    /// The controller does nothing at all: it answers no command and follows no register.
    pub stopped: bool,
}

/// How long each I/O command takes from fetch to execution: a base, a uniform jitter, and now and then a slow tail.
/// Commands overtake each other. A rule's [`Action::DelayNs`] comes on top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Where the draws come from.
    pub seed: u64,
    /// What every command takes.
    pub base_ns: u64,
    /// 0 to this much more.
    pub jitter_ns: u64,
    /// How many of 10,000 commands are slow.
    pub tail_of_10_000: u32,
    /// What a slow one takes beyond the others.
    pub tail_ns: u64,
}

/// Media errors by chance, one draw a command, after everything else about the command was found right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaChance {
    /// Where the draws come from.
    pub seed: u64,
    /// How many of 10,000 reads and compares answer Unrecovered Read Error.
    pub reads_of_10_000: u32,
    /// How many of 10,000 writes and write zeroes answer Write Fault. The specification leaves open what such a write leaves
    /// behind: here, as drawn, nothing (every other time) or its first blocks, from none to all.
    pub writes_of_10_000: u32,
}

/// A drive that is busy with itself: Namespace Not Ready or Command Interrupted, without Do Not Retry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    /// Where the draws come from.
    pub seed: u64,
    /// How many of 10,000 I/O commands are sent back unexecuted.
    pub of_10_000: u32,
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

/// How a command fails on the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MediaFault {
    Read,
    /// With this many of its first blocks written.
    Write(u64),
}

impl Faults {
    /// What befalls I/O command `number` or an admin command (`None`), if anything; counts it.
    pub(crate) fn strike(&mut self, number: Option<u64>, opcode: u8) -> Option<Action> {
        let admin = number.is_none();
        let hits = |rule: &&mut Rule| {
            rule.admin == admin && rule.opcode.is_none_or(|wanted| wanted == opcode) && rule.times > 0
        };
        let ordered = self.rules.iter_mut().find(hits).map(|rule| {
            rule.times -= 1;
            rule.action
        });
        let Some(number) = number else { return ordered };
        let latency_ns = self.latency.map(|latency| latency.of(number));
        match (ordered, latency_ns) {
            (Some(Action::DelayNs(delay_ns)), Some(latency_ns)) => {
                Some(Action::DelayNs(delay_ns.saturating_add(latency_ns)))
            }
            (Some(action), _) => Some(action),
            (None, latency_ns) => {
                let busy = self.busy.and_then(|busy| busy.of(number)).map(Action::Answer);
                busy.or(latency_ns.map(Action::DelayNs))
            }
        }
    }

    /// How the medium fails for these blocks, if it does; `number` counts the commands that came this far.
    pub(crate) fn media_fault(
        &self,
        number: u64,
        nsid: Nsid,
        slba: u64,
        blocks: u64,
        write: bool,
    ) -> Option<MediaFault> {
        let hit = self.media_errors.iter().any(|error| {
            error.nsid == nsid
                && (if write { error.writes } else { error.reads })
                && slba < error.slba.saturating_add(error.blocks)
                && error.slba < slba.saturating_add(blocks)
        });
        if hit {
            return Some(if write { MediaFault::Write(0) } else { MediaFault::Read });
        }
        self.media_chance.and_then(|chance| chance.of(number, blocks, write))
    }
}

impl Latency {
    fn of(&self, number: u64) -> u64 {
        let jitter_ns = draw_to(self.jitter_ns, self.seed, Purpose::Jitter, number);
        let slow = hits(self.tail_of_10_000, self.seed, Purpose::Tail, number);
        self.base_ns.saturating_add(jitter_ns).saturating_add(if slow { self.tail_ns } else { 0 })
    }
}

impl Busy {
    fn of(&self, number: u64) -> Option<Status> {
        let status = [Status::NAMESPACE_NOT_READY, Status::COMMAND_INTERRUPTED];
        let which = || draw_to(1, self.seed, Purpose::BusyStatus, number) as usize;
        hits(self.of_10_000, self.seed, Purpose::Busy, number).then(|| status[which()])
    }
}

impl MediaChance {
    fn of(&self, number: u64, blocks: u64, write: bool) -> Option<MediaFault> {
        if !write {
            return hits(self.reads_of_10_000, self.seed, Purpose::ReadError, number).then_some(MediaFault::Read);
        }
        hits(self.writes_of_10_000, self.seed, Purpose::WriteFault, number).then(|| {
            let torn = draw(self.seed, Purpose::Torn, number);
            let written = (u128::from(torn << 1) * (u128::from(blocks) + 1)) >> 64;
            MediaFault::Write(if torn >> 63 == 0 { 0 } else { written as u64 })
        })
    }
}
