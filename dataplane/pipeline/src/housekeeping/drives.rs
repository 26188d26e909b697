//! Drives: bring-up, hand-over of their queue pairs to the lcores, and their end.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use gantry::channel::event::{DriveNamespace, DriveReady, EventKind};
use gantry_dma::Region;
use gantry_nvme::{Config, Controller, Event, Inventory, Reason};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use super::{Attachment, Environment, Housekeeping};
use crate::drive::COMMAND_TIMEOUT_NS;
use crate::exchange::{Change, DriveQueueParts, PRP_LIST_BYTES};

/// Entries of an lcore's queue pair; a drive may give fewer.
const IO_ENTRIES: u16 = 256;

/// Where a drive is.
enum State {
    /// Reset, Identify, queues.
    Coming,
    /// Serving.
    Ready,
    /// Given up; the line says why.
    Failed(String),
}

/// One drive.
pub(super) struct Drive {
    uri: String,
    attachment: Box<dyn Attachment>,
    controller: Controller,
    state: State,
}

impl Drive {
    /// Maps the memory that the drive will reach and begins its bring-up with a reset.
    pub(super) fn bring_up(uri: String, attachment: Box<dyn Attachment>, lcore_memory: &[Arc<Region>]) -> Self {
        let config = Config {
            io_queues: lcore_memory.len() as u16,
            io_entries: IO_ENTRIES,
            command_timeout_ns: COMMAND_TIMEOUT_NS,
        };
        let length = Controller::memory_needed(config.io_queues, config.io_entries);
        let memory = shared(length);
        attachment.map(memory.clone());
        for region in lcore_memory {
            attachment.map(region.clone());
        }
        let controller = Controller::new(attachment.bar(), memory, 0, length, config);
        Self { uri, attachment, controller, state: State::Coming }
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed(_))
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
            match drive.controller.poll(now_ns) {
                Some(Event::Ready) => self.drive_ready(number),
                Some(Event::Failed(failure)) => self.drive_failed(number, &failure.to_string(), failure.stopped),
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
        match &self.drives[&number].state {
            State::Coming => {}
            State::Ready => {
                let tail = describe(self.drives[&number].controller.inventory());
                self.event(EventKind::DriveReady, 0, number.into(), &tail);
            }
            State::Failed(text) => {
                let text = text.clone();
                self.event(EventKind::DriveFailed, 0, number.into(), text.as_bytes());
            }
        }
    }

    /// An lcore's command has been at the drive for too long: the drive is reset, so that it lets go of memory.
    pub(super) fn drive_timed_out(&mut self, now_ns: u64, number: u16) {
        if let Some(drive) = self.drives.get_mut(&number) {
            drive.controller.fail(now_ns, Reason::IoTimeout { qid: 0 });
        }
    }

    fn drive_ready(&mut self, number: u16) {
        let lcores = self.lcores;
        let drive = self.drives.get_mut(&number).expect("the drive that is ready");
        drive.state = State::Ready;
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
            drive.attachment.map(prp_lists.clone());
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

    /// The drive is given up. When it has confirmed that it touches no memory any more, its commands end; when it
    /// has not, their buffers stay with it for good, which is the price of never handing out memory that a drive may write.
    fn drive_failed(&mut self, number: u16, text: &str, stopped: bool) {
        let drive = self.drives.get_mut(&number).expect("the drive that failed");
        let was_ready = matches!(drive.state, State::Ready);
        let text = format!("drive {number} ({}): {text}", drive.uri);
        drive.state = State::Failed(text.clone());
        if was_ready && stopped {
            for lcore in 0..self.lcores {
                self.send_batch(lcore, Vec::from([Change::DriveRemove { drive: number }]), 0);
            }
        }
        self.event(EventKind::DriveFailed, 0, number.into(), text.as_bytes());
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
