//! An lcore's queue pair of one drive: what is in flight on it and what waits for room.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use gantry_cpu::Cpu;
use gantry_dma::Region;
use gantry_nvme::{IoQueue, IoQueueState, Limits};
use gantry_wire::nvme::identify::oncs;
use gantry_wire::nvme::{Cid, Cqe, nvm};
use serde::{Deserialize, Serialize};

use crate::command::{Commands, List, NONE};
use crate::exchange::{DriveQueueParts, PRP_LIST_BYTES};
use crate::lending::{Borrower, CqeTold, Lender, Request, SqeTold};

/// How long a drive may take over a command before it counts as failed.
pub const COMMAND_TIMEOUT_NS: u64 = 10_000_000_000;

/// How long a drive may take over a command before it is asked to abort it.
pub const ABORT_AFTER_NS: u64 = 5_000_000_000;

/// One NVMe command at the drive, by its CID.
#[derive(Clone, Copy)]
struct InFlight {
    command: u32,
    /// The drive has been asked to abort it.
    aborting: bool,
    /// When it was submitted; of a CID that is free the next that is.
    submitted_ns: u64,
}

impl InFlight {
    /// A free CID, before another.
    fn idle(next: u32) -> Self {
        Self { command: NONE, aborting: false, submitted_ns: next.into() }
    }
}

/// How commands reach a drive.
#[allow(clippy::large_enum_variant)]
pub enum Path {
    /// Through a queue pair of this lcore's own. In its place, for commands of many drives pay for every line.
    Own(Own),
    /// Through another lcore's.
    Borrowed(Box<Lender>),
}

/// A queue pair, and the lcores that have none of this drive and lend it their commands.
#[repr(C)]
pub struct Own {
    /// Those who borrow it.
    pub borrowers: Vec<Borrower>,
    /// Whose turn it is: 0 for this lcore's own commands, then the borrowers.
    pub turn: usize,
    /// The queue pair.
    pub queue: IoQueue,
}

/// What an [`InFlight`] has in place of an own command's index: a borrower's place and its CID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lent {
    /// Which of the borrowers.
    pub borrower: u8,
    /// Its CID.
    pub cid: u16,
}

impl Lent {
    const BIT: u32 = 1 << 31;

    /// As a number that is no command's index, and not [`NONE`].
    #[must_use]
    pub fn as_index(self) -> u32 {
        Self::BIT | u32::from(self.borrower) << 16 | u32::from(self.cid)
    }

    /// The reverse; `None` for the index of an own command.
    #[inline]
    #[must_use]
    pub fn of(index: u32) -> Option<Self> {
        (index & Self::BIT != 0).then_some(Self { borrower: (index >> 16) as u8, cid: index as u16 })
    }
}

/// One drive, as one lcore sees it. What a command touches is in the first cache lines.
#[repr(C, align(64))]
pub struct DriveQueue {
    /// Commands that wait for room in it.
    pub ready: List,
    /// When the drive last answered, or was given something to do.
    pub(crate) progress_ns: u64,
    in_flight: Box<[InFlight]>,
    /// PRP lists and SGL segments, one for each CID.
    pub prp_lists: Arc<Region>,
    /// Largest transfer of one NVMe command in bytes.
    pub transfer_max: u32,
    /// The first CID that is free; the others by their entries in `in_flight`.
    first_free: u32,
    /// Commands in flight.
    count: u16,
    oncs: u16,
    /// Commands may carry SGLs.
    pub sgl: bool,
    /// The drive does not answer; nothing more is submitted.
    pub failed: bool,
    /// The way to it.
    pub path: Path,
    /// Commands that wait for the drive's budget or for pages, holding neither.
    pub waiting: List,
    /// Pages that those may take in their turn (deficit round-robin).
    pub deficit: u32,
    /// What commands without a transfer may cover.
    pub limits: Limits,
    block_shifts: Vec<u8>,
}

/// Cache lines of a [`DriveQueue`] that every command touches: as far as its queue pair's counters.
const HOT_LINES: usize = 4;

const _: () = assert!(
    core::mem::offset_of!(DriveQueue, path) <= 64 && core::mem::offset_of!(DriveQueue, waiting) <= HOT_LINES * 64 + 32
);

/// A [`Path`], told to a successor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PathState {
    /// With the borrowers' lcores and commands that wait for their turn.
    Own { queue: IoQueueState, borrowers: Vec<(u16, Vec<SqeTold>)>, turn: u32 },
    /// With the owner's lcore and completions that have come.
    Borrowed { lcore: u16, answered: Vec<CqeTold> },
}

impl Path {
    fn tell(&self) -> PathState {
        match self {
            Self::Own(own) => PathState::Own {
                queue: own.queue.tell(),
                borrowers: own.borrowers.iter().map(|borrower| (borrower.lcore, borrower.tell())).collect(),
                turn: own.turn as u32,
            },
            Self::Borrowed(lender) => PathState::Borrowed { lcore: lender.lcore, answered: lender.tell() },
        }
    }
}

/// A [`DriveQueue`], told to a successor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DriveQueueState {
    pub(crate) path: PathState,
    pub(crate) ready: Vec<u32>,
    pub(crate) waiting: Vec<u32>,
    pub(crate) deficit: u32,
    pub(crate) progress_ns: u64,
    pub(crate) transfer_max: u32,
    pub(crate) limits: Limits,
    pub(crate) oncs: u16,
    pub(crate) sgl: bool,
    pub(crate) prp_lists: u32,
    pub(crate) failed: bool,
    pub(crate) block_shifts: Vec<u8>,
    /// CID, command, whether its abort was asked for, when it was submitted.
    pub(crate) in_flight: Vec<(u16, u32, bool, u64)>,
}

impl DriveQueue {
    /// From what housekeeping hands over.
    #[must_use]
    pub fn new(parts: DriveQueueParts) -> Self {
        // A queue of n entries holds n - 1 commands (NVMe Base 2.0 §3.3.1.2.1).
        let depth = parts.entries - 1;
        let mut queue = Self::empty(parts, depth);
        queue.free_all();
        queue
    }

    fn empty(parts: DriveQueueParts, depth: u16) -> Self {
        assert!(parts.prp_lists.length() >= usize::from(depth) * PRP_LIST_BYTES, "PRP lists too short");
        Self {
            path: parts.path,
            ready: List::EMPTY,
            waiting: List::EMPTY,
            deficit: 0,
            progress_ns: 0,
            transfer_max: parts.transfer_max,
            limits: parts.limits,
            sgl: parts.sgl,
            prp_lists: parts.prp_lists,
            failed: false,
            oncs: parts.oncs,
            block_shifts: parts.block_shifts,
            in_flight: (0..depth).map(|_| InFlight::idle(NONE)).collect(),
            first_free: NONE,
            count: 0,
        }
    }

    /// Puts all CIDs that no command has into the list of those that are free, the lowest first.
    fn free_all(&mut self) {
        (self.first_free, self.count) = (NONE, 0);
        for cid in (0..self.in_flight.len()).rev() {
            if self.in_flight[cid].command == NONE {
                self.in_flight[cid] = InFlight::idle(self.first_free);
                self.first_free = cid as u32;
            } else {
                self.count += 1;
            }
        }
    }

    /// Tells a successor everything; `prp_lists` is the number under which it is handed that region.
    pub(crate) fn tell(&self, commands: &Commands, prp_lists: u32) -> DriveQueueState {
        // What is in flight follows from its CIDs, and those that are free as well.
        let Self { path, ready, waiting, deficit, transfer_max, limits, sgl, prp_lists: _, failed, oncs, .. } = self;
        let Self { progress_ns, block_shifts, in_flight, first_free: _, count: _, .. } = self;
        let in_flight = in_flight.iter().zip(0..).filter(|(entry, _)| entry.command != NONE);
        DriveQueueState {
            path: path.tell(),
            ready: ready.walk(commands).collect(),
            waiting: waiting.walk(commands).collect(),
            deficit: *deficit,
            progress_ns: *progress_ns,
            transfer_max: *transfer_max,
            limits: *limits,
            oncs: *oncs,
            sgl: *sgl,
            prp_lists,
            failed: *failed,
            block_shifts: block_shifts.clone(),
            in_flight: in_flight.map(|(entry, cid)| (cid, entry.command, entry.aborting, entry.submitted_ns)).collect(),
        }
    }

    /// Puts a predecessor's commands under their CIDs; `None` when one is none of the queue's, or has two.
    pub(crate) fn restore(&mut self, in_flight: &[(u16, u32, bool, u64)]) -> Option<()> {
        for (cid, command, aborting, submitted_ns) in in_flight.iter().copied() {
            let entry = self.in_flight.get_mut(usize::from(cid)).filter(|entry| entry.command == NONE)?;
            *entry = InFlight { command, aborting, submitted_ns };
        }
        self.free_all();
        Some(())
    }

    /// log2 of the block size of one of the drive's namespaces.
    #[must_use]
    pub fn block_shift(&self, nsid: u32) -> Option<u8> {
        self.block_shifts.get(nsid.checked_sub(1)? as usize).copied().filter(|shift| *shift != 0)
    }

    /// Whether the drive has the command of this opcode.
    #[must_use]
    pub fn offers(&self, opcode: u8) -> bool {
        match opcode {
            nvm::COMPARE => self.oncs & oncs::COMPARE != 0,
            nvm::WRITE_ZEROES => self.oncs & oncs::WRITE_ZEROES != 0,
            nvm::DATASET_MANAGEMENT => self.oncs & oncs::DSM != 0,
            _ => true,
        }
    }

    /// Takes over what the drive's namespaces are now; what they were goes back in its place, to be freed elsewhere.
    pub fn swap_block_shifts(&mut self, block_shifts: &mut Vec<u8>) {
        core::mem::swap(&mut self.block_shifts, block_shifts);
    }

    /// Reserves a CID for a command; `None` when the queue is full.
    pub fn begin(&mut self, command: u32, now_ns: u64) -> Option<u16> {
        if let Path::Own(own) = &self.path
            && own.queue.room() == 0
        {
            return None;
        }
        if self.count == 0 {
            self.progress_ns = now_ns;
        }
        let cid = self.first_free;
        // None is free: the number of none is past the end.
        let entry = self.in_flight.get_mut(cid as usize)?;
        self.first_free = entry.submitted_ns as u32;
        *entry = InFlight { command, aborting: false, submitted_ns: now_ns };
        self.count += 1;
        Some(cid as u16)
    }

    /// Gives the drive, or who has its queue pair, a command for which [`DriveQueue::begin`] gave the CID: an SQE's words.
    #[inline(always)]
    pub fn submit(&mut self, cid: u16, words: [u64; 8]) {
        match &mut self.path {
            Path::Own(own) => own.queue.submit_words(cid, words).expect("room was there for the CID"),
            Path::Borrowed(lender) => lender.ask(Request::Submit(zerocopy::transmute!(words))),
        }
    }

    /// Starts to fetch what a command of a drive touches.
    #[inline]
    pub fn prefetch(place: &Option<Self>, cpu: &Cpu) {
        let address = core::ptr::from_ref(place).cast::<u8>();
        (0..HOT_LINES).for_each(|line| cpu.prefetch_write_at(address.wrapping_add(line * 64)));
    }

    /// Starts to fetch the entry in which its next completion comes.
    #[inline]
    pub fn prefetch_completion(&self, cpu: &Cpu) {
        if let Path::Own(own) = &self.path {
            own.queue.prefetch_completion(cpu);
        }
    }

    /// Shows the drive what was submitted. A borrower's commands are seen as they are passed on.
    #[inline]
    pub fn ring(&mut self, cpu: &Cpu) {
        if let Path::Own(own) = &mut self.path {
            own.queue.ring();
            // For the next time. An entry was last touched a round ago, and behind a store that misses all others have to wait.
            own.queue.prefetch_submission(cpu);
        }
    }

    /// The next completion, of an own command or of a borrower's.
    #[inline]
    pub fn poll(&mut self) -> Option<Cqe> {
        match &mut self.path {
            Path::Own(own) => own.queue.poll(),
            Path::Borrowed(lender) => lender.poll(),
        }
    }

    /// Gives completion entries back; how many answered nothing since `unknown` of them had.
    #[inline]
    pub fn release(&mut self, unknown: u64) -> u64 {
        let Path::Own(own) = &mut self.path else { return 0 };
        own.queue.release();
        own.queue.counters().unknown_cid - unknown
    }

    /// Completions that answered nothing, so far.
    #[inline]
    #[must_use]
    pub fn unknown_cids(&self) -> u64 {
        match &self.path {
            Path::Own(own) => own.queue.counters().unknown_cid,
            Path::Borrowed(_) => 0,
        }
    }

    /// Whether a command has been at the drive for too long. Who has the queue pair finds out.
    pub fn expired(&mut self, now_ns: u64) -> bool {
        match &mut self.path {
            Path::Own(own) => own.queue.expired(now_ns),
            Path::Borrowed(_) => false,
        }
    }

    /// Takes what borrowers ask. For each of their commands that is to be aborted at the drive: its CID here.
    pub fn take_requests(&mut self, mut abort: impl FnMut(u16)) {
        let Self { path: Path::Own(own), in_flight, .. } = self else { return };
        for (at, borrower) in own.borrowers.iter_mut().enumerate() {
            borrower.take(|cid| {
                let lent = Lent { borrower: at as u8, cid }.as_index();
                let found = in_flight.iter_mut().enumerate().find(|(_, entry)| entry.command == lent);
                // One that is not found has been answered meanwhile.
                if let Some((cid, entry)) = found.filter(|(_, entry)| !entry.aborting) {
                    entry.aborting = true;
                    abort(cid as u16);
                }
            });
        }
    }

    /// Submits the next command of a borrower; whether there was one. There is room.
    pub fn submit_lent(&mut self, borrower: usize, now_ns: u64) -> bool {
        let Path::Own(own) = &mut self.path else { return false };
        let Some(mut sqe) = own.borrowers[borrower].pop() else { return false };
        let lent = Lent { borrower: borrower as u8, cid: sqe.cid.get() };
        let cid = self.begin(lent.as_index(), now_ns).expect("room was there");
        sqe.cid = cid.into();
        self.submit(cid, sqe.words());
        true
    }

    /// Passes a completion back to the borrower whose command it ends.
    pub fn answer(&mut self, Lent { borrower, cid }: Lent, mut cqe: Cqe) {
        let Path::Own(own) = &mut self.path else { unreachable!("a borrower lends to nobody") };
        cqe.cid = Cid(cid).0.into();
        own.borrowers[usize::from(borrower)].answer(cqe);
    }

    /// The command behind a CID that came back; `None` when none is in flight under it.
    pub fn end(&mut self, cid: u16) -> Option<u32> {
        let entry = self.in_flight.get_mut(usize::from(cid))?;
        let command = entry.command;
        if command == NONE {
            return None;
        }
        *entry = InFlight::idle(self.first_free);
        self.first_free = cid.into();
        self.count -= 1;
        Some(command)
    }

    /// Any command in flight, taken off: for a drive that has been reset.
    pub fn end_any(&mut self) -> Option<u32> {
        let cid = self.in_flight.iter().position(|entry| entry.command != NONE)?;
        self.end(cid as u16)
    }

    /// A command that has been at the drive for [`ABORT_AFTER_NS`] and for which no abort was asked yet; now it is.
    pub fn next_slow(&mut self, now_ns: u64) -> Option<u16> {
        // Who has the queue pair asks for its borrowers.
        if self.in_flight() == 0 || matches!(self.path, Path::Borrowed(_)) {
            return None;
        }
        let slow = |entry: &InFlight| {
            entry.command != NONE && !entry.aborting && now_ns.saturating_sub(entry.submitted_ns) > ABORT_AFTER_NS
        };
        let cid = self.in_flight.iter().position(slow)?;
        self.in_flight[cid].aborting = true;
        Some(cid as u16)
    }

    /// A command is to be aborted: `at_drive` is called with each CID under which the drive has it. Who has the queue pair of a
    /// borrower is asked.
    pub fn abort(&mut self, command: u32, mut at_drive: impl FnMut(u16)) {
        for (cid, entry) in self.in_flight.iter_mut().enumerate() {
            if entry.command != command || entry.aborting {
                continue;
            }
            entry.aborting = true;
            match &mut self.path {
                Path::Own(_) => at_drive(cid as u16),
                Path::Borrowed(lender) => lender.ask(Request::Abort(cid as u16)),
            }
        }
    }

    /// How long the drive has not answered anything while it had something to do.
    #[must_use]
    pub fn silent_ns(&self, now_ns: u64) -> u64 {
        if self.in_flight() == 0 { 0 } else { now_ns.saturating_sub(self.progress_ns) }
    }

    /// CIDs under which commands are in flight, in order.
    pub(crate) fn cids(&self) -> impl Iterator<Item = u16> + '_ {
        self.in_flight.iter().zip(0..).filter(|(entry, _)| entry.command != NONE).map(|(_, cid)| cid)
    }

    /// The CIDs that a borrower gave to its commands in flight here.
    pub(crate) fn lent_by(&self, borrower: usize) -> impl Iterator<Item = u16> + '_ {
        let entries = self.in_flight.iter().filter(|entry| entry.command != NONE);
        entries.filter_map(move |entry| {
            Lent::of(entry.command).filter(|lent| usize::from(lent.borrower) == borrower).map(|lent| lent.cid)
        })
    }

    /// Whether other lcores may lend it their commands.
    #[inline]
    #[must_use]
    pub fn has_borrowers(&self) -> bool {
        matches!(&self.path, Path::Own(own) if !own.borrowers.is_empty())
    }

    /// Whether commands of other lcores are under way here.
    #[must_use]
    pub fn lends(&self) -> bool {
        self.has_borrowers() && self.in_flight() > 0
    }

    /// Commands that may be in flight.
    #[must_use]
    pub fn depth(&self) -> u16 {
        self.in_flight.len() as u16
    }

    /// Commands in flight.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.count.into()
    }
}
