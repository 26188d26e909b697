//! An lcore's queue pair of one drive: what is in flight on it and what waits for room.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use gantry_dma::Region;
use gantry_nvme::{IoQueue, IoQueueState, Limits};
use gantry_wire::nvme::identify::oncs;
use gantry_wire::nvme::nvm;
use serde::{Deserialize, Serialize};

use crate::command::{Commands, List, NONE};
use crate::exchange::{DriveQueueParts, PRP_LIST_BYTES};

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
    submitted_ns: u64,
}

const IDLE: InFlight = InFlight { command: NONE, aborting: false, submitted_ns: 0 };

/// One drive, as one lcore sees it.
pub struct DriveQueue {
    /// The queue pair.
    pub queue: IoQueue,
    /// Commands that wait for room in it.
    pub ready: List,
    /// Largest transfer of one NVMe command in bytes.
    pub transfer_max: u32,
    /// What commands without a transfer may cover.
    pub limits: Limits,
    /// Commands may carry SGLs.
    pub sgl: bool,
    /// PRP lists and SGL segments, one for each CID.
    pub prp_lists: Arc<Region>,
    /// The drive does not answer; nothing more is submitted.
    pub failed: bool,
    oncs: u16,
    block_shifts: Vec<u8>,
    in_flight: Box<[InFlight]>,
    free: Vec<u16>,
}

/// A [`DriveQueue`], told to a successor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DriveQueueState {
    pub(crate) queue: IoQueueState,
    pub(crate) ready: Vec<u32>,
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
        assert!(parts.prp_lists.length() >= usize::from(depth) * PRP_LIST_BYTES, "PRP lists too short");
        Self {
            queue: parts.queue,
            ready: List::EMPTY,
            transfer_max: parts.transfer_max,
            limits: parts.limits,
            sgl: parts.sgl,
            prp_lists: parts.prp_lists,
            failed: false,
            oncs: parts.oncs,
            block_shifts: parts.block_shifts,
            in_flight: (0..depth).map(|_| IDLE).collect(),
            free: (0..depth).rev().collect(),
        }
    }

    /// Tells a successor everything; `prp_lists` is the number under which it is handed that region.
    pub(crate) fn tell(&self, commands: &Commands, prp_lists: u32) -> DriveQueueState {
        // What is in flight follows from its CIDs, and those that are free as well.
        let Self { queue, ready, transfer_max, limits, sgl, prp_lists: _, failed, oncs, block_shifts, .. } = self;
        let Self { in_flight, free: _, .. } = self;
        let in_flight = in_flight.iter().zip(0..).filter(|(entry, _)| entry.command != NONE);
        DriveQueueState {
            queue: queue.tell(),
            ready: ready.walk(commands).collect(),
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
        let Self { free, in_flight, .. } = self;
        free.retain(|cid| in_flight[usize::from(*cid)].command == NONE);
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
        if self.queue.room() == 0 {
            return None;
        }
        let cid = self.free.pop()?;
        self.in_flight[usize::from(cid)] = InFlight { command, aborting: false, submitted_ns: now_ns };
        Some(cid)
    }

    /// The command behind a CID that came back; `None` when none is in flight under it.
    pub fn end(&mut self, cid: u16) -> Option<u32> {
        let entry = self.in_flight.get_mut(usize::from(cid))?;
        let command = core::mem::replace(entry, IDLE).command;
        if command == NONE {
            return None;
        }
        self.free.push(cid);
        Some(command)
    }

    /// Any command in flight, taken off: for a drive that has been reset.
    pub fn end_any(&mut self) -> Option<u32> {
        let cid = self.in_flight.iter().position(|entry| entry.command != NONE)?;
        self.end(cid as u16)
    }

    /// A command that has been at the drive for [`ABORT_AFTER_NS`] and for which no abort was asked yet; now it is.
    pub fn next_slow(&mut self, now_ns: u64) -> Option<u16> {
        if self.in_flight() == 0 {
            return None;
        }
        let slow = |entry: &InFlight| {
            entry.command != NONE && !entry.aborting && now_ns.saturating_sub(entry.submitted_ns) > ABORT_AFTER_NS
        };
        let cid = self.in_flight.iter().position(slow)?;
        self.in_flight[cid].aborting = true;
        Some(cid as u16)
    }

    /// The CIDs under which a command is at the drive, whose abort is asked for now.
    pub fn abort(&mut self, command: u32) -> impl Iterator<Item = u16> + '_ {
        let of_command = move |(_, entry): &(usize, &mut InFlight)| entry.command == command && !entry.aborting;
        self.in_flight.iter_mut().enumerate().filter(of_command).map(|(cid, entry)| {
            entry.aborting = true;
            cid as u16
        })
    }

    /// Commands in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len() - self.free.len()
    }
}
