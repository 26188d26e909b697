//! What an lcore owns and its stages work on: tables, QPs, commands, memory, drives.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use gantry::channel::event::{EventKind, QpFailure};
use gantry::packet;
use gantry_cpu::Cpu;
use gantry_dma::Region;
use gantry_roce::{self as transport, CompletionKind, Failure, WorkPool};
use gantry_wire::nvme::Status;
use serde::{Deserialize, Serialize};

use crate::budget::{Budgets, Left};
use crate::command::{Commands, List, State, Task};
use crate::counters::{Counter, Counters};
use crate::drive::{DriveQueue, Lent};
use crate::drive_set::DriveSet;
use crate::exchange::Liveness;
use crate::handover::told;
use crate::memory::Memory;
use crate::qp::{QpContext, Qps};
use crate::stages::Stages;
use crate::tables::{Reader, mix};
use crate::ways::Ways;
use crate::wheel::Wheel;
use crate::{s6_submit, s8_respond};

/// Drives that one data plane can have.
pub const DRIVES: usize = 256;

/// Commands that an lcore can have at one drive.
pub const DEPTH_MAX: usize = 256;

/// Ports that one lcore can poll.
pub const PORTS: usize = 64;

/// Sizes of one lcore, fixed at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// QPs.
    pub qps: u32,
    /// Commands in all states together, which is also the number of receive slots.
    pub commands: u32,
    /// Pages of 4 KiB for data.
    pub pages: u32,
    /// Entries of the command table.
    pub namespaces: u32,
    /// Entries of the local address table.
    pub addresses: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { qps: 1024, commands: 4096, pages: 8192, namespaces: 16384, addresses: 256 }
    }
}

impl Sizes {
    /// Commands that only admin queues may take, so that a Connect is never starved by data.
    #[must_use]
    pub fn admin_commands(&self) -> u32 {
        (self.commands / 16).min(64)
    }

    /// Commands beyond those that only QPs may take of which none waits for a drive.
    #[must_use]
    pub fn open_commands(&self) -> u32 {
        self.commands / 8
    }

    /// Pages that only punted commands may take.
    #[must_use]
    pub fn admin_pages(&self) -> usize {
        (self.pages as usize / 16).min(64)
    }

    /// Bytes of DMA memory that the lcore needs.
    #[must_use]
    pub fn dma_bytes(&self) -> usize {
        Memory::bytes_needed(self.commands, self.pages)
    }
}

/// Something for control to know.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// What happened.
    #[serde(with = "told::event_kind")]
    pub kind: EventKind,
    /// Why.
    pub reason: u16,
    /// To which object.
    pub object: u32,
}

/// An lcore without its edges.
pub struct Core {
    /// What the processor does best.
    pub cpu: Cpu,
    /// Time of the current poll.
    pub now_ns: u64,
    /// Its sizes.
    pub sizes: Sizes,
    /// Its counters.
    pub counters: Counters,
    /// Its DMA memory.
    pub memory: Memory,
    /// The match-action tables of all lcores, and where this one reads in them.
    pub reader: Reader,
    /// The packet that s9 makes headers for.
    pub outgoing: Box<packet::Packet>,
    /// Its index among the lcores.
    pub lcore: u16,
    /// QPs.
    pub qps: Qps,
    /// The ways to their hosts.
    pub ways: Ways,
    /// Commands.
    pub commands: Commands,
    /// Work requests of all QPs.
    pub works: WorkPool,
    /// Drives by number.
    pub drives: Box<[Option<DriveQueue>]>,
    /// Numbers of the drives that exist, in order.
    pub drive_numbers: arrayvec::ArrayVec<u16, DRIVES>,
    /// Of them, those that may have something to submit: own commands, or lcores that lend them theirs.
    pub ready: DriveSet,
    /// Of them, those that may have commands in flight.
    pub in_flight: DriveSet,
    /// Of them, those that were given commands in this poll.
    pub submitted: DriveSet,
    /// Retransmission timers of QPs.
    pub wheel: Wheel,
    /// Capsules that have arrived whole, for s4.
    pub arrived: List,
    /// What each drive's commands may hold.
    pub budgets: Budgets,
    /// Commands for control that wait for pages, for s5; those for drives wait on their drive's list.
    pub waiting_pages: List,
    /// Commands that wait for the fetch budget, for s5.
    pub waiting_fetch: List,
    /// Commands that wait until their tenant may have more, for s5.
    pub waiting_tenant: List,
    /// Bytes of READs in flight, by index of the port.
    pub fetching: [u64; PORTS],
    /// Commands that wait to be punted.
    pub punting: List,
    /// Commands whose drive is gone, and that it never had: they end some in each poll.
    pub ending: List,
    /// What control must hear.
    pub notices: VecDeque<Notice>,
    /// When controllers last heard from their hosts.
    pub liveness: Liveness,
    /// When drives are next checked for overdue commands.
    pub drive_check_ns: u64,
    /// Commands at control: held there, they keep no lcore awake.
    pub punted: u32,
    /// Batches applied.
    pub batches: u64,
    /// When control was last told what an access rule asks for.
    pub told_ns: u64,
    /// Cycles by stage, where they are counted.
    pub stages: Stages,
}

impl Core {
    /// An empty lcore, by its index, over its tables and its DMA memory of [`Sizes::dma_bytes`].
    #[must_use]
    pub fn new(
        cpu: Cpu,
        (lcore, reader): (u16, Reader),
        sizes: Sizes,
        region: Arc<Region>,
        liveness: Liveness,
        now_ns: u64,
    ) -> Self {
        Self {
            cpu,
            now_ns,
            sizes,
            counters: Counters::new(),
            memory: Memory::new(region, sizes.commands, sizes.pages),
            reader,
            outgoing: Box::default(),
            lcore,
            qps: Qps::new(sizes.qps),
            ways: Ways::new(sizes.qps, mix(now_ns ^ u64::from(lcore))),
            commands: Commands::new(sizes.commands),
            // A command has at most a WRITE and a SEND under way.
            works: WorkPool::new(sizes.commands * 2),
            drives: (0..DRIVES).map(|_| None).collect(),
            drive_numbers: arrayvec::ArrayVec::new(),
            ready: DriveSet::default(),
            in_flight: DriveSet::default(),
            submitted: DriveSet::default(),
            wheel: Wheel::new(sizes.qps, now_ns),
            arrived: List::EMPTY,
            budgets: Budgets::new(),
            waiting_pages: List::EMPTY,
            waiting_fetch: List::EMPTY,
            waiting_tenant: List::EMPTY,
            fetching: [0; PORTS],
            punting: List::EMPTY,
            ending: List::EMPTY,
            // Established, failed and retired once for each QP; failed once for each drive, and slow once for each command.
            notices: VecDeque::with_capacity(sizes.qps as usize * 3 + DRIVES * (1 + DEPTH_MAX)),
            liveness,
            drive_check_ns: now_ns,
            punted: 0,
            batches: 0,
            told_ns: 0,
            stages: Stages::default(),
        }
    }

    /// Starts to fetch a QP and its timer: of many, none is in a cache.
    #[inline]
    pub fn prefetch_qp(&self, slot: u32) {
        self.qps.prefetch(&self.cpu, slot);
        self.wheel.prefetch(&self.cpu, slot);
    }

    /// A QP of this lcore that is not on its end. A slot may have another QP meanwhile.
    pub fn live(&mut self, slot: u32, qpn: u32) -> Option<&mut QpContext> {
        self.qps.at(slot).filter(|qp| qp.qpn() == qpn && !qp.closing)
    }

    /// Tells control something when the exchange next has room.
    pub fn notify(&mut self, kind: EventKind, reason: u16, object: u32) {
        assert!(self.notices.len() < self.notices.capacity(), "more notices than objects can give");
        self.notices.push_back(Notice { kind, reason, object });
    }

    /// After anything that moved a QP's transport: its completions, its failure, its timer, its place in the line.
    pub fn settle(&mut self, slot: u32) {
        loop {
            let qp = &mut self.qps[slot];
            let Some(done) = qp.transport.poll_completion(&mut self.works) else { break };
            match (done.kind, done.status) {
                (CompletionKind::Write, _) => {}
                (CompletionKind::Read, transport::Status::Success) => self.fetched(done.cookie),
                // The QP has failed and there is no one to answer.
                (CompletionKind::Read, _) => {
                    self.fetch_ended(done.cookie);
                    self.finish(done.cookie);
                }
                (CompletionKind::Send, _) => self.finish(done.cookie),
            }
        }
        let qp = &mut self.qps[slot];
        if let Some(failure) = qp.transport.failure() {
            if !qp.fenced {
                let reason = match failure {
                    Failure::RetryExceeded => {
                        self.counters.count(Counter::RetryExceeded);
                        QpFailure::RetryExceeded
                    }
                    Failure::RnrRetryExceeded => QpFailure::RnrRetryExceeded,
                    Failure::RemoteNak(_) => QpFailure::Nak,
                    _ => QpFailure::Protocol,
                };
                self.fail_qp(slot, reason);
            }
            // The NAK that tells the peer is still to be sent.
            if self.qps[slot].transport.wants_transmit() {
                self.qps.activate(slot);
            }
            return;
        }
        self.schedule(slot);
    }

    /// After packets of a QP were sent: that completes nothing, so that only its place in the line and its timer may be others.
    #[inline]
    pub fn schedule(&mut self, slot: u32) {
        let qp = &self.qps[slot];
        self.wheel.arm(slot, qp.transport.deadline_ns());
        self.posted(slot);
    }

    /// After work was posted to a QP, or a request came in: only its place in the line may be another. One that has failed is
    /// settled, which gives its work back.
    #[inline]
    pub fn posted(&mut self, slot: u32) {
        let qp = &self.qps[slot];
        if qp.transport.failure().is_some() {
            self.settle(slot);
        } else if !qp.active && qp.transport.wants_transmit() {
            self.qps.activate(slot);
        }
    }

    /// Fences a QP and tells control why.
    pub fn fail_qp(&mut self, slot: u32, reason: QpFailure) {
        let qp = &mut self.qps[slot];
        if qp.fenced || qp.closing {
            return;
        }
        qp.fenced = true;
        let qpn = qp.qpn();
        self.notify(EventKind::QpFailed, reason as u16, qpn);
    }

    /// Gives a fetch's bytes back to the port's budget.
    fn fetch_ended(&mut self, index: u32) {
        let command = &self.commands[index];
        debug_assert_eq!(command.state, State::Fetching);
        self.fetching[self.ways[self.qps[command.qp].way].port] -= u64::from(command.length);
    }

    /// A command whose data has arrived from the host.
    fn fetched(&mut self, index: u32) {
        self.fetch_ended(index);
        if self.end_aborted(index) {
            return;
        }
        match self.commands[index].task {
            Task::Punt => self.punt(index),
            Task::Drive { .. } => s6_submit::enqueue(self, index),
            Task::Undecided => unreachable!("nothing is fetched before s5 has decided"),
        }
    }

    /// Puts a command on the list of those that control decides.
    pub fn punt(&mut self, index: u32) {
        self.counters.count(Counter::CommandPunt);
        let command = &mut self.commands[index];
        command.state = State::Punting;
        let qp = &mut self.qps[command.qp];
        command.punt = qp.punt;
        qp.punt = qp.punt.wrapping_add(1);
        self.punting.push(&mut self.commands, index);
    }

    /// What drives' commands may still take.
    #[must_use]
    pub fn left(&self) -> Left {
        Left {
            commands: (self.commands.free() + self.budgets.waiting).saturating_sub(self.sizes.admin_commands()),
            pages: self.memory.free_pages().saturating_sub(self.sizes.admin_pages()) as u32,
        }
    }

    /// A command that is answered, or ends without an answer, no longer counts for its drive.
    pub fn discharge(&mut self, index: u32) {
        let command = &mut self.commands[index];
        if core::mem::take(&mut command.charged) {
            let Task::Drive { drive, .. } = command.task else { unreachable!("only drives have budgets") };
            self.budgets.discharge(drive, command.page_count.into());
        }
    }

    /// Puts a drive's queue pair into its place.
    pub fn add_drive(&mut self, number: u16, queue: DriveQueue) {
        self.budgets.set_depth(number, queue.depth());
        self.drives[usize::from(number)] = Some(queue);
        self.drive_numbers.push(number);
        // A predecessor's may have both; who has neither leaves when it is next looked at.
        self.ready.insert(number);
        self.in_flight.insert(number);
        self.budgets.divide(&self.sizes, &self.drive_numbers);
    }

    /// Ends a command: its pages, its slot and itself are free again.
    pub fn finish(&mut self, index: u32) {
        self.discharge(index);
        let command = &mut self.commands[index];
        self.memory.release(command);
        let slot = command.qp;
        let qp = &mut self.qps[slot];
        if qp.receiving == index {
            qp.receiving = crate::command::NONE;
        }
        self.commands.release(&mut qp.commands, index);
        self.retire_if_drained(slot);
    }

    /// A host wants a command ended. What has not reached a drive ends where it is next looked at; what has is aborted there.
    pub fn abort(&mut self, slot: u32, cid: u16) {
        let mut next = self.qps[slot].commands.first();
        while let Some(index) = next {
            next = crate::command::Ring::after(&self.commands, index);
            let command = &mut self.commands[index];
            if command.sqe.cid.get() != cid {
                continue;
            }
            match (command.state, command.task) {
                (
                    State::WaitingTenant | State::WaitingPages | State::WaitingFetch | State::Fetching | State::Ready,
                    _,
                ) => {
                    command.aborted = true;
                }
                (State::Submitted, Task::Drive { drive, .. }) => {
                    let Some(queue) = self.drives[usize::from(drive)].as_mut() else { continue };
                    queue.abort(index, |cid| {
                        let object = drive.into();
                        self.notices.push_back(Notice { kind: EventKind::DriveSlow, reason: cid, object });
                        self.counters.count(Counter::DriveSlow);
                    });
                }
                _ => {}
            }
        }
    }

    /// Ends a command that its host wants ended, if it is one; whether it was.
    pub fn end_aborted(&mut self, index: u32) -> bool {
        let aborted = self.commands[index].aborted && !self.commands[index].dead;
        if aborted {
            self.commands[index].return_length = 0;
            s8_respond::respond(self, index, Status::ABORT_REQUESTED, 0, 0);
        }
        aborted
    }

    /// Begins the end of a QP: what is not at a drive is discarded, the rest waited for.
    pub fn close_qp(&mut self, slot: u32) {
        let Self { qps, works, wheel, .. } = self;
        let qp = &mut qps[slot];
        if qp.closing {
            return;
        }
        qp.closing = true;
        qp.fenced = true;
        wheel.disarm(slot);
        // Work and commands end together: the walk below covers every cookie.
        qp.transport.abort(works, |_| {});
        let mut next = qp.commands.first();
        while let Some(index) = next {
            next = crate::command::Ring::after(&self.commands, index);
            self.counters.count(Counter::Abandoned);
            match self.commands[index].state {
                State::Receiving | State::Fetching | State::Punted | State::Responding => {
                    if self.commands[index].state == State::Fetching {
                        self.fetch_ended(index);
                    }
                    self.discharge(index);
                    let command = &mut self.commands[index];
                    self.punted -= u32::from(command.state == State::Punted);
                    self.memory.release(command);
                    let qp = &mut self.qps[slot];
                    self.commands.release(&mut qp.commands, index);
                }
                // On a list or at a drive: whoever takes it from there ends it.
                State::WaitingTenant
                | State::WaitingPages
                | State::WaitingFetch
                | State::Ready
                | State::Submitted
                | State::Punting => {
                    self.commands[index].dead = true;
                }
                State::Free => unreachable!("a free command on a QP's ring"),
            }
        }
        self.retire_if_drained(slot);
    }

    fn retire_if_drained(&mut self, slot: u32) {
        let qp = &self.qps[slot];
        if qp.closing && qp.commands.is_empty() {
            let qp: QpContext = self.qps.remove(slot);
            self.counters.count(Counter::QpsRetired);
            self.ways.leave(qp.way);
            self.notify(EventKind::QpRetired, 0, qp.qpn());
        }
    }

    /// The drive is reset or gone and touches no memory any more: what it had ends with `status`, what it had not yet as
    /// everything that comes while it is away, by and by ([`Core::end_some`]): they may be as many as there are commands. What is
    /// left of the drive goes back to housekeeping.
    pub fn remove_drive(&mut self, number: u16, status: Status) -> Option<DriveQueue> {
        let mut drive = self.drives[usize::from(number)].take()?;
        self.drive_numbers.retain(|n| *n != number);
        self.ready.remove(number);
        self.in_flight.remove(number);
        self.submitted.remove(number);
        self.budgets.divide(&self.sizes, &self.drive_numbers);
        while let Some(index) = drive.end_any() {
            if Lent::of(index).is_some() {
                // Its borrower hears of the drive's end as well.
                continue;
            }
            let command = &mut self.commands[index];
            command.pieces -= 1;
            // One that is only partly submitted is on the drive's list, and ends below.
            if command.pieces == 0 && command.state == State::Submitted {
                self.end_with_error(index, status);
            }
        }
        while let Some(index) = drive.ready.pop(&self.commands) {
            if self.commands[index].blocks_submitted > 0 {
                self.end_with_error(index, status);
                continue;
            }
            // It is the drive's no longer, which may be back before the command has ended.
            self.discharge(index);
            self.ending.push(&mut self.commands, index);
        }
        while let Some(index) = drive.waiting.pop(&self.commands) {
            self.waits_no_more(index);
            self.ending.push(&mut self.commands, index);
        }
        Some(drive)
    }

    /// Ends so many at most of the commands that drives have left behind.
    #[inline(never)]
    pub fn end_some(&mut self, most: u32) {
        for _ in 0..most {
            let Some(index) = self.ending.pop(&self.commands) else { return };
            self.end_with_error(index, Status::ANA_INACCESSIBLE);
        }
    }

    /// A command has been taken off its drive's list of those that wait.
    pub fn waits_no_more(&mut self, index: u32) {
        let slot = self.commands[index].qp;
        self.qps[slot].waiting -= 1;
        self.budgets.waiting -= 1;
    }

    pub(crate) fn end_with_error(&mut self, index: u32, status: Status) {
        if self.commands[index].dead {
            self.finish(index);
        } else {
            self.commands[index].return_length = 0;
            s8_respond::respond(self, index, status, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sixteenth_is_kept_for_admin_queues_up_to_a_bound() {
        let reserve = |commands, pages| {
            let sizes = Sizes { commands, pages, ..Sizes::default() };
            (sizes.admin_commands(), sizes.admin_pages())
        };
        assert_eq!(reserve(160, 320), (10, 20));
        assert_eq!(reserve(1024, 1040), (64, 64));
        assert_eq!(reserve(4096, 8192), (64, 64));
    }
}
