//! A host of a run: what it does, and what it makes of the answers.

use std::collections::BTreeMap;

use gantry_wire::nvme::Status;

use super::fault::Excuse;
use super::ledger::{Fate, Ledger};
use super::plan::{DrivePlan, HostPlan};
use crate::host::{Busy, Done, Host, Io, IoKind, State, Violation};
use crate::random::Random;

/// A command in flight.
#[derive(Clone, Copy, Debug)]
struct Op {
    kind: IoKind,
    /// Of a write; else zero.
    id: u64,
    slba: u64,
    blocks: u32,
    begun_ns: u64,
}

impl Op {
    fn writes(&self) -> bool {
        matches!(self.kind, IoKind::Write | IoKind::WriteFua | IoKind::WriteZeroes | IoKind::Dsm)
    }
}

/// Tags from here on are of commands that break the rules.
const MISDEEDS: u64 = 1 << 62;

/// How long to wait before a full queue is tried again, and a silent host.
const FULL_NS: u64 = 20_000;
const SILENT_NS: u64 = 1_000_000;

/// Time between two commands of a host that only shows that it gets on.
const PACE_NS: u64 = 2_000_000;

/// A host and its load.
pub(super) struct Guest {
    /// Its number in the world.
    pub(super) number: usize,
    plan: HostPlan,
    block: u32,
    span: u64,
    volatile: bool,
    read_only: bool,
    random: Random,
    in_flight: BTreeMap<u64, Op>,
    /// Writes whose association ended before they did.
    open: Vec<Op>,
    next_tag: u64,
    next_ns: u64,
    /// It submits nothing more.
    pub(super) resting: bool,
    /// It has been told to leave, and is to come back.
    pub(super) leaving: bool,
    ready: bool,
    /// What may happen to it.
    pub(super) excuse: Excuse,
    /// Its drive may be silent for so long that commands end with Command Interrupted, to be tried again.
    pub(super) interrupted: bool,
    /// Somebody speaks in its name.
    pub(super) forged: bool,
    /// Frames reach it damaged.
    pub(super) damaged: bool,
    violations: usize,
    /// Commands that ended well.
    pub(super) completed: u64,
    /// Commands that ended with an error.
    pub(super) errors: u64,
    /// Of each command that ended: tag, status, time.
    pub(super) digest: u64,
    /// The blocks that are read one by one at the end.
    sweep: Option<u64>,
}

impl Guest {
    /// Host `number` of a plan.
    #[must_use]
    pub(super) fn new(number: usize, plan: &HostPlan, drive: &DrivePlan, seed: u64) -> Self {
        Self {
            number,
            plan: plan.clone(),
            block: drive.block,
            span: drive.blocks,
            volatile: drive.volatile,
            read_only: drive.read_only,
            random: Random::new(seed),
            in_flight: BTreeMap::new(),
            open: Vec::new(),
            next_tag: 1,
            next_ns: 0,
            resting: false,
            leaving: false,
            ready: false,
            excuse: Excuse::Nothing,
            interrupted: false,
            forged: false,
            damaged: false,
            violations: 0,
            completed: 0,
            errors: 0,
            digest: 0,
            sweep: None,
        }
    }

    /// Whose namespace it uses.
    #[must_use]
    pub(super) fn drive(&self) -> usize {
        self.plan.drive
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// What is in flight, in words.
    pub(super) fn left(&self) -> String {
        format!("{:?}", self.in_flight)
    }

    /// When it next submits something; `u64::MAX` when that depends on others.
    #[must_use]
    pub(super) fn next_ns(&self) -> u64 {
        let waits = self.resting && self.sweep.is_none() || !self.ready || self.in_flight.len() >= self.plan.load.depth;
        if waits { u64::MAX } else { self.next_ns }
    }

    /// From now on it takes its time: it only shows that it gets on.
    pub(super) fn slow_down(&mut self) {
        self.plan.load.pace_ns = PACE_NS;
    }

    /// From now on it reads what is there, once, instead of what its load says.
    pub(super) fn begin_sweep(&mut self) {
        self.sweep = Some(0);
    }

    /// Whether it has read everything.
    #[must_use]
    pub(super) fn is_swept(&self) -> bool {
        self.sweep.is_none() && self.is_quiet()
    }

    /// Something has happened to the host.
    ///
    /// # Errors
    /// What should not have.
    pub(super) fn look(&mut self, host: &mut Host, ledger: &mut Ledger, now_ns: u64) -> Result<(), String> {
        if host.violations().len() > self.violations {
            let violation = &host.violations()[self.violations];
            self.violations = host.violations().len();
            // A NIC drops what its FCS tells was damaged; there is none here.
            let damaged = matches!(violation, Violation::Malformed(_) | Violation::Header(_) | Violation::Icrc);
            if self.excuse < Excuse::Association && !(damaged && self.damaged) {
                return Err(format!("host {}: the target broke a rule: {violation:?}", self.number));
            }
        }
        let state = *host.state();
        if self.ready && state != State::Ready {
            self.ready = false;
            if self.excuse < Excuse::Association {
                return Err(format!("host {}: its association ended without reason: {state:?}", self.number));
            }
        }
        if let State::Failed(failure) = state
            && self.excuse < Excuse::Association
        {
            return Err(format!("host {}: no association: {failure:?}", self.number));
        }
        while let Some(done) = host.poll_completion() {
            self.finish(&done, ledger, now_ns)?;
        }
        if !self.ready && state == State::Ready {
            self.ready = true;
            self.next_ns = now_ns;
            // What an earlier association left has landed by now, or never will.
            for op in self.open.drain(..) {
                ledger.write_ends(op.id, op.slba, op.blocks, Fate::Failed, now_ns);
            }
        }
        Ok(())
    }

    fn finish(&mut self, done: &Done, ledger: &mut Ledger, now_ns: u64) -> Result<(), String> {
        self.digest = self.digest.rotate_left(7) ^ done.tag ^ u64::from(done.status.0) << 40 ^ now_ns;
        if done.tag >= MISDEEDS {
            return Ok(());
        }
        let Some(op) = self.in_flight.remove(&done.tag) else {
            return Err(format!("host {}: a completion of nothing: {done:?}", self.number));
        };
        if op.kind == IoKind::Read {
            ledger.read_ends(op.begun_ns);
        }
        if op.writes() && self.read_only {
            return self.refused(&op, done.status);
        }
        if done.status == Status::ABORTED_BY_HOST {
            if op.writes() {
                self.open.push(op);
                ledger.write_ends(op.id, op.slba, op.blocks, Fate::Open, now_ns);
            }
            return Ok(());
        }
        if !done.status.is_success() {
            self.errors += 1;
            if op.writes() {
                ledger.write_ends(op.id, op.slba, op.blocks, Fate::Failed, now_ns);
            }
            return match self.excuse {
                Excuse::Nothing if self.interrupted && done.status == Status::COMMAND_INTERRUPTED => Ok(()),
                Excuse::Nothing => Err(format!("host {}: {op:?} ended with {}", self.number, done.status)),
                _ => Ok(()),
            };
        }
        self.completed += 1;
        match op.kind {
            IoKind::Read => {
                let wanted = op.blocks as usize * self.block as usize;
                if done.data.len() != wanted {
                    return Err(format!("host {}: {op:?} brought {} bytes", self.number, done.data.len()));
                }
                let checked = ledger.check(op.slba, &done.data, self.block as usize, op.begun_ns, now_ns);
                checked.map_err(|wrong| format!("host {}: {wrong}", self.number))?;
            }
            IoKind::Flush => ledger.flushed(op.begun_ns),
            IoKind::Compare => {}
            _ => {
                let durable = op.kind == IoKind::WriteFua || !self.volatile;
                ledger.write_ends(op.id, op.slba, op.blocks, Fate::Done { durable }, now_ns);
            }
        }
        Ok(())
    }

    /// A write to a namespace that is read-only has ended.
    fn refused(&mut self, op: &Op, status: Status) -> Result<(), String> {
        match status {
            status if status == Status::NAMESPACE_WRITE_PROTECTED.with_dnr() => self.completed += 1,
            Status::ABORTED_BY_HOST => {}
            _ if !status.is_success() && self.excuse > Excuse::Nothing => self.errors += 1,
            _ => return Err(format!("host {}: {op:?} of a read-only namespace ended with {status}", self.number)),
        }
        Ok(())
    }

    /// Submits what is due. `ids` numbers writes of all hosts.
    pub(super) fn submit(&mut self, host: &mut Host, ledger: &mut Ledger, ids: &mut u64, now_ns: u64) {
        while self.next_ns() <= now_ns {
            let (kind, slba, blocks) = match self.sweep {
                Some(at) if at == self.span => {
                    self.sweep = None;
                    return;
                }
                Some(at) => (IoKind::Read, at, self.sweep_length(at)),
                None => self.draw(),
            };
            let tag = self.next_tag;
            let queue = 1 + (tag % u64::from(host.io_queues().max(1))) as u16;
            if host.room(queue) == 0 {
                // Another queue may have room, soon this one.
                self.next_ns = now_ns + FULL_NS;
                return;
            }
            self.next_ns = now_ns + if self.sweep.is_some() { 1 } else { self.plan.load.pace_ns };
            let mut op = Op { kind, id: 0, slba, blocks, begun_ns: now_ns };
            let mut data = Vec::new();
            if op.writes() {
                *ids += 1;
                op.id = *ids;
            }
            if kind.carries_data() {
                data.resize(blocks as usize * self.block as usize, 0);
                for (lba, block) in (slba..).zip(data.chunks_exact_mut(self.block as usize)) {
                    ledger.fill(lba, op.id, block);
                }
            }
            match host.submit(Io { queue, kind, nsid: 1, slba, blocks, data, tag }) {
                Ok(()) => {}
                // It is silent.
                Err(Busy::QueueFull | Busy::NotReady) => {
                    self.next_ns = now_ns + SILENT_NS;
                    return;
                }
            }
            self.next_tag += 1;
            self.in_flight.insert(tag, op);
            if op.writes() && !self.read_only {
                ledger.write_begins(op.id, slba, blocks, matches!(kind, IoKind::WriteZeroes | IoKind::Dsm), now_ns);
            } else if kind == IoKind::Read {
                ledger.read_begins(now_ns);
            }
            if let Some(at) = &mut self.sweep {
                *at += u64::from(blocks);
            }
        }
    }

    /// A capsule that breaks the rules; nothing when the host cannot send one now.
    pub(super) fn misdeed(&mut self, host: &mut Host, kind: crate::host::CapsuleKind) {
        self.next_tag += 1;
        let _ = host.violate(kind, MISDEEDS + self.next_tag);
    }

    fn sweep_length(&self, at: u64) -> u32 {
        (self.span - at).min(u64::from(self.plan.load.blocks)) as u32
    }

    fn draw(&mut self) -> (IoKind, u64, u32) {
        let load = &self.plan.load;
        let shares = [
            (IoKind::Write, load.writes),
            (IoKind::WriteFua, load.fua),
            (IoKind::Flush, load.flushes),
            (IoKind::WriteZeroes, load.zeroes),
            (IoKind::Dsm, load.trims),
        ];
        let mut drawn = self.random.below(100) as u32;
        let kind = shares.into_iter().find(|(_, share)| {
            let hit = drawn < *share;
            drawn = drawn.wrapping_sub(*share);
            hit
        });
        let blocks = self.random.spread(1, load.blocks.into());
        let slba = self.random.below(self.span - blocks + 1);
        (kind.map_or(IoKind::Read, |(kind, _)| kind), slba, blocks as u32)
    }
}
