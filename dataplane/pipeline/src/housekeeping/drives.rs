//! Drives: bring-up, hand-over of their queue pairs to the lcores, and their end.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use gantry::channel::event::{DriveNamespace, DriveReady, EventKind};
use gantry_dma::Region;
use gantry_nvme::{Config, Controller, ControllerState, Event, Failure, Inventory, IoQueue, IoQueueState, Reason};
use gantry_wire::nvme::{Cid, Nsid, Sqe, admin};
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::{Attachment, Environment, Housekeeping, Presence};
use crate::drive::{COMMAND_TIMEOUT_NS, DriveQueue};
use crate::exchange::{Change, DriveQueueParts, PRP_LIST_BYTES};
use crate::handover::{Handed, Refused, Regions, must};
use crate::state::DEPTH_MAX;

/// Entries of an lcore's queue pair; a drive may give fewer.
const IO_ENTRIES: u16 = DEPTH_MAX as u16;

/// How long a drive must serve for the failures before it to be forgotten.
const STEADY_NS: u64 = 60_000_000_000;

/// How long a drive that failed is left alone: nothing the first time, then this, twice as long after each failure more.
const REST_NS: u64 = 1_000_000_000;

/// The longest that it is left alone.
const REST_MAX_NS: u64 = 60_000_000_000;

/// Where a drive is.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    /// Reset, Identify, queues.
    Coming,
    /// Serving, since then.
    Ready { since_ns: u64 },
    /// Disabled or cut off; this many lcores still hold their queue pair of it.
    Leaving { lcores: usize },
    /// Left alone until it is tried again.
    Resting { until_ns: u64 },
}

/// One drive.
pub(super) struct Drive {
    name: String,
    uri: String,
    attachment: Box<dyn Attachment>,
    /// Its queues.
    memory: Arc<Region>,
    controller: Controller,
    state: State,
    /// Failures since the drive last served steadily, and the last of them in words.
    failures: u32,
    failure: String,
    /// It has not confirmed that it is disabled, and reaches no memory.
    cut_off: bool,
}

/// A drive, told to a successor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DriveState {
    name: String,
    uri: String,
    memory: u32,
    controller: ControllerState,
    state: State,
    failures: u32,
    failure: String,
    cut_off: bool,
}

impl DriveState {
    /// Its name and its URI.
    pub(super) fn device(&self) -> (&str, &str) {
        (&self.name, &self.uri)
    }

    /// Makes the drive of it, without touching it.
    pub(super) fn take_up(
        self,
        attachment: Box<dyn Attachment>,
        lcores: usize,
        regions: &mut Handed,
    ) -> Result<Drive, Refused> {
        let Self { name, uri, memory, controller, state, failures, failure, cut_off } = self;
        let memory = regions.take(memory)?;
        let config = *controller.config();
        let right = usize::from(config.io_queues) == lcores && usize::from(config.io_entries) <= DEPTH_MAX;
        must(right, || format!("{uri} has other queues than lcores"))?;
        must(!matches!(state, State::Leaving { .. }), || format!("{uri} was on its way back from the lcores"))?;
        let controller = controller.take_up(attachment.bar(), memory.clone(), 0)?;
        Ok(Drive { name, uri, attachment, memory, controller, state, failures, failure, cut_off })
    }
}

impl Drive {
    /// Tells a successor everything but the attachment, which it is handed.
    pub(super) fn tell(&self, regions: &mut Regions) -> DriveState {
        let Self { name, uri, attachment: _, memory, controller, state, failures, failure, cut_off } = self;
        let memory = regions.number(memory);
        let (name, uri, state, failure) = (name.clone(), uri.clone(), state.clone(), failure.clone());
        let (failures, cut_off) = (*failures, *cut_off);
        DriveState { name, uri, memory, controller: controller.tell(), state, failures, failure, cut_off }
    }

    /// An lcore's queue pair.
    pub(super) fn queue(&self, told: IoQueueState) -> Result<IoQueue, Refused> {
        Ok(self.controller.take_up_queue(told)?)
    }

    /// Whether as many lcores hold a queue pair of it as its state says.
    pub(super) fn is_held_by(&self, lcores: usize) -> bool {
        let ready = matches!(self.state, State::Ready { .. });
        let expected = if ready { usize::from(self.controller.taken()) } else { 0 };
        lcores == expected && (!ready || lcores == usize::from(self.controller.config().io_queues))
    }

    /// Maps the memory that the drive will reach. Its bring-up begins, with a reset, when it is first polled.
    pub(super) fn bring_up(
        name: String,
        uri: String,
        attachment: Box<dyn Attachment>,
        lcore_memory: &[Arc<Region>],
    ) -> Result<Self, String> {
        let config = Config {
            io_queues: lcore_memory.len() as u16,
            io_entries: IO_ENTRIES,
            command_timeout_ns: COMMAND_TIMEOUT_NS,
            sgl: !uri.split(',').skip(1).any(|option| option == "sgl=off"),
        };
        let length = Controller::memory_needed(config.io_queues, config.io_entries);
        let memory = shared(length);
        let controller = Controller::new(attachment.bar(), memory.clone(), 0, length, config);
        let (state, failure) = (State::Coming, String::new());
        let mut this = Self { name, uri, attachment, memory, controller, state, failures: 0, failure, cut_off: false };
        this.map(lcore_memory)?;
        Ok(this)
    }

    /// Lets it reach what it needs: all of it, or nothing.
    fn map(&mut self, lcore_memory: &[Arc<Region>]) -> Result<(), String> {
        let regions = || lcore_memory.iter().chain([&self.memory]);
        for (at, region) in regions().enumerate() {
            if let Err(error) = self.attachment.map(region.clone()) {
                regions().take(at).for_each(|region| self.attachment.unmap(region));
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Why it is not there, when that is known.
    fn failure(&self) -> Option<&str> {
        matches!(self.state, State::Resting { .. }).then_some(&*self.failure)
    }

    /// No lcore holds it: when it is tried again.
    fn rest(&mut self, now_ns: u64) {
        let rest_ns = match self.failures {
            0 | 1 if !self.cut_off => 0,
            failures => (REST_NS << failures.saturating_sub(2).min(10)).min(REST_MAX_NS),
        };
        self.state = State::Resting { until_ns: now_ns.saturating_add(rest_ns) };
    }

    /// It has rested. One that was cut off gets its memory back when it has confirmed that it is disabled, and not before.
    fn try_again(&mut self, now_ns: u64, lcore_memory: &[Arc<Region>]) {
        if self.cut_off {
            if !self.controller.has_stopped() {
                self.state = State::Resting { until_ns: now_ns.saturating_add(REST_NS) };
                return;
            }
            if let Err(error) = self.map(lcore_memory) {
                self.failure = format!("{}: {error}", self.uri);
                self.state = State::Resting { until_ns: now_ns.saturating_add(REST_NS) };
                return;
            }
            self.cut_off = false;
        }
        self.controller.restart();
        self.state = State::Coming;
    }
}

/// Memory for queues and lists. Without it nothing can run: out of memory ends the process, as it does for the heap.
fn shared(length: usize) -> Arc<Region> {
    Region::shared(length).unwrap_or_else(|error| panic!("{length} bytes of DMA memory: {error}"))
}

impl<E: Environment> Housekeeping<E> {
    /// Moves every drive on.
    pub(super) fn poll_drives(&mut self, now_ns: u64) {
        let numbers: Vec<u16> = self.drives.keys().copied().collect();
        for number in numbers {
            let drive = self.drives.get_mut(&number).expect("a key of the map");
            if let State::Resting { until_ns } = drive.state
                && now_ns >= until_ns
            {
                drive.try_again(now_ns, &self.lcore_memory);
            }
            if drive.attachment.poll() != Presence::There {
                drive.controller.fail(now_ns, Reason::Removed);
            }
            match drive.controller.poll(now_ns) {
                Some(Event::Ready) => self.drive_ready(now_ns, number),
                Some(Event::Failed(failure)) => self.drive_failed(now_ns, number, &failure),
                // Namespaces are served as they were at bring-up; events that lead to nothing else are the log's.
                Some(
                    Event::AsyncEvent(_) | Event::NamespacesChanged | Event::AdminCompleted { .. } | Event::ShutDown,
                )
                | None => {}
            }
        }
    }

    /// Tells a new control of a drive that is there.
    pub(super) fn announce_drive(&mut self, number: u16) {
        let drive = &self.drives[&number];
        if let Some(text) = drive.failure().map(String::from) {
            self.event(EventKind::DriveFailed, 0, number.into(), text.as_bytes());
        } else if let State::Ready { .. } = drive.state {
            let tail = describe(drive.controller.inventory());
            self.event(EventKind::DriveReady, 0, number.into(), &tail);
        }
    }

    /// An lcore's command has been at the drive for too long: the drive is reset, so that it lets go of memory.
    pub(super) fn drive_timed_out(&mut self, now_ns: u64, number: u16) {
        if let Some(drive) = self.drives.get_mut(&number) {
            drive.controller.fail(now_ns, Reason::IoTimeout { qid: 0 });
        }
    }

    /// Asks a drive to abort a command. One that does not take the abort is reset when the command's time is up.
    pub(super) fn abort(&mut self, now_ns: u64, lcore: usize, number: u16, cid: u16) {
        if let Some(drive) = self.drives.get_mut(&number) {
            let mut sqe = Sqe::new(admin::ABORT, Cid(0), Nsid(0));
            // SQID and CID of the command (NVMe Base 2.0 §5.1); lcore i has queue i + 1.
            sqe.cdw10 = (u32::from(cid) << 16 | (lcore as u32 + 1)).into();
            let _ = drive.controller.submit_admin(now_ns, sqe);
        }
    }

    fn drive_ready(&mut self, now_ns: u64, number: u16) {
        let lcores = self.lcores;
        let drive = self.drives.get_mut(&number).expect("the drive that is ready");
        drive.state = State::Ready { since_ns: now_ns };
        let inventory = drive.controller.inventory().clone();
        let nsid_max = inventory.namespaces.iter().map(|namespace| namespace.nsid.0).max().unwrap_or(0);
        let mut block_shifts = alloc::vec![0; nsid_max as usize];
        for namespace in &inventory.namespaces {
            block_shifts[namespace.nsid.0 as usize - 1] = namespace.block_shift;
        }
        for lcore in 0..lcores {
            let drive = self.drives.get_mut(&number).expect("the drive that is ready");
            let queue = drive.controller.take_io_queue(lcore as u16);
            let entries = queue.entries();
            let prp_lists = shared(usize::from(entries) * PRP_LIST_BYTES);
            if drive.attachment.map(prp_lists.clone()).is_err() {
                // No command that needs a list can be given: it is as good as gone, and is tried again.
                drive.controller.fail(now_ns, Reason::Memory);
            }
            let parts = DriveQueueParts {
                drive: number,
                queue,
                entries,
                transfer_max: inventory.mdts_bytes,
                block_shifts: block_shifts.clone(),
                prp_lists,
            };
            self.send_batch(lcore, Vec::from([Change::DriveAdd(Some(parts))]), 0);
        }
        let tail = describe(&inventory);
        self.event(EventKind::DriveReady, 0, number.into(), &tail);
    }

    /// The drive is disabled, or does not even confirm that. Either way its commands end now: a drive that may still write is
    /// cut off from all memory first. Then it is brought up again, at once the first time, and later and later.
    fn drive_failed(&mut self, now_ns: u64, number: u16, failure: &Failure) {
        let drive = self.drives.get_mut(&number).expect("the drive that failed");
        let text = format!("drive {number} ({}): {failure}", drive.uri);
        drive.failure.clone_from(&text);
        if !failure.stopped {
            drive.cut_off = true;
            for region in self.lcore_memory.iter().chain([&drive.memory]) {
                drive.attachment.unmap(region);
            }
        }
        if let State::Ready { since_ns } = drive.state {
            if now_ns.saturating_sub(since_ns) >= STEADY_NS {
                drive.failures = 0;
            }
            drive.failures += 1;
            // Its queue pairs come back by `drive_returned`.
            drive.state = State::Leaving { lcores: self.lcores };
            for lcore in 0..self.lcores {
                let remove = Change::DriveRemove { drive: number, returned: None };
                self.send_batch(lcore, Vec::from([remove]), 0);
            }
        } else {
            drive.failures = drive.failures.saturating_add(1);
            drive.rest(now_ns);
        }
        self.event(EventKind::DriveFailed, 0, number.into(), text.as_bytes());
    }

    /// An lcore has let go of a drive; after the last one it rests.
    pub(super) fn drive_returned(&mut self, now_ns: u64, number: u16, returned: Option<DriveQueue>) {
        let Some(drive) = self.drives.get_mut(&number) else { return };
        let State::Leaving { lcores } = &mut drive.state else { return };
        let parts = returned.expect("an lcore had its queue pair of a drive that served");
        drive.attachment.unmap(&parts.prp_lists);
        drive.controller.give_back(parts.queue);
        *lcores -= 1;
        if *lcores == 0 {
            drive.rest(now_ns);
        }
    }
}

fn describe(inventory: &Inventory) -> Vec<u8> {
    let ready = DriveReady {
        serial: padded(&inventory.serial),
        model: padded(&inventory.model),
        firmware: padded(&inventory.firmware),
        oncs: U16::new(inventory.oncs),
        vwc: inventory.vwc,
        reserved: 0,
        namespaces: U32::new(inventory.namespaces.len().min(NAMESPACES_TOLD) as u32),
    };
    let mut tail = ready.as_bytes().to_vec();
    for namespace in inventory.namespaces.iter().take(NAMESPACES_TOLD) {
        let entry = DriveNamespace {
            nsid: U32::new(namespace.nsid.0),
            block_shift: namespace.block_shift,
            flags: u8::from(namespace.zeroes_after_deallocate),
            reserved: U16::ZERO,
            blocks: U64::new(namespace.blocks),
            nguid: namespace.nguid,
            eui64: namespace.eui64,
        };
        tail.extend_from_slice(entry.as_bytes());
    }
    tail
}

/// Namespaces of one drive that fit in a frame.
const NAMESPACES_TOLD: usize = 128;

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let length = text.len().min(N);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    field
}
