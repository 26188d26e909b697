//! Drives: there or not, bring-up, hand-over of their queue pairs to the lcores, and their end.
//!
//! ```text
//! Absent --opened--> Coming --ready--> Ready --failed, removed--> Leaving --lcores let go--> Resting, Absent
//!    ^                 | ^                                                                      |
//!    +----removed------+ +------------------------------tried again-----------------------------+
//! ```
//! Each drive climbs this ladder alone. One that is removed is let go of soon, because the kernel waits for that, and is
//! looked for from then on; it is served again when it is the same drive ([`identity`]).

mod describe;
mod identity;
mod told;
mod ways;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use gantry::channel::event::{DRIVE_ABSENT, EventKind};
use gantry_dma::Region;
use gantry_nvme::{Config, Controller, Event, Failure, Reason};
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin};
use serde::{Deserialize, Serialize};

use super::{Attachment, Environment, Housekeeping, Presence};
use crate::drive::{COMMAND_TIMEOUT_NS, DriveQueue, Path};
use crate::exchange::{Change, DriveQueueParts, PRP_LIST_BYTES};
use crate::state::DEPTH_MAX;
use identity::Known;
pub(super) use told::DriveState;
use ways::ways_to;

/// Entries of an lcore's queue pair; a drive may give fewer.
const IO_ENTRIES: u16 = DEPTH_MAX as u16;

/// How long a drive must serve for the failures before it to be forgotten.
const STEADY_NS: u64 = 60_000_000_000;

/// How long a drive that failed is left alone: nothing the first time, then this, twice as long after each failure more.
const REST_NS: u64 = 1_000_000_000;

/// The longest that it is left alone.
const REST_MAX_NS: u64 = 60_000_000_000;

/// How long after it was not there a drive is looked for again: this, twice as long each time.
const ABSENT_NS: u64 = 1_000_000_000;

/// The longest between two looks.
const ABSENT_MAX_NS: u64 = 4_000_000_000;

/// How long a drive that is to go gets to confirm that it is disabled: somebody waits for it to be let go of.
const LEAVE_NS: u64 = 500_000_000;

/// How often its logs are read.
const LOGS_NS: u64 = 30_000_000_000;

/// Where a drive is.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    /// Not there: it is opened when this time has come.
    Absent { until_ns: u64 },
    /// Reset, Identify, queues.
    Coming,
    /// Serving, since then.
    Ready { since_ns: u64 },
    /// Disabled or cut off; this many lcores still hold their queue pair of it.
    Leaving { lcores: usize },
    /// Left alone until it is tried again.
    Resting { until_ns: u64 },
    /// Another drive is in its place, which is disabled and left alone until it is removed.
    Foreign,
}

/// One drive.
pub(super) struct Drive {
    name: String,
    uri: String,
    /// Its queues.
    memory: Arc<Region>,
    /// While it is there.
    attached: Option<Attached>,
    state: State,
    /// What it was when it last served.
    known: Option<Known>,
    /// How often it was looked for since it last served.
    looks: u32,
    /// Failures since the drive last served steadily.
    failures: u32,
    /// Why it does not serve, in words.
    failure: String,
    /// Its logs as they were last read, by identifier, and when they are read again.
    logs: BTreeMap<u8, Vec<u8>>,
    logs_at_ns: u64,
    /// It has not confirmed that it is disabled, and reaches no memory.
    cut_off: bool,
    /// It serves no more and is being disabled, which control knows.
    stopping: bool,
    /// It is being removed, or was: when it is let go of at the latest.
    leave_by_ns: Option<u64>,
}

/// A drive that is there.
struct Attached {
    attachment: Box<dyn Attachment>,
    controller: Controller,
}

impl Drive {
    /// Bytes that a drive's queues need.
    pub(super) fn memory_needed(uri: &str, lcores: usize) -> usize {
        let config = Self::config(uri, lcores);
        Controller::memory_needed(config.io_queues, config.io_entries)
    }

    /// A drive that is opened when it is first polled, with `memory` for its queues.
    pub(super) fn new(name: String, uri: String, memory: Arc<Region>) -> Self {
        Self {
            name,
            uri,
            memory,
            attached: None,
            state: State::Absent { until_ns: 0 },
            known: None,
            looks: 0,
            failures: 0,
            failure: String::new(),
            logs: BTreeMap::new(),
            logs_at_ns: 0,
            cut_off: false,
            stopping: false,
            leave_by_ns: None,
        }
    }

    fn config(uri: &str, lcores: usize) -> Config {
        Config {
            io_queues: lcores as u16,
            io_entries: IO_ENTRIES,
            command_timeout_ns: COMMAND_TIMEOUT_NS,
            sgl: !uri.split(',').skip(1).any(|option| option == "sgl=off"),
        }
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// It was opened: maps the memory that it will reach. Its bring-up begins, with a reset, when it is first polled.
    fn attach(&mut self, attachment: Box<dyn Attachment>, lcore_memory: &[Arc<Region>]) -> Result<(), String> {
        let (length, config) = (self.memory.length(), Self::config(&self.uri, lcore_memory.len()));
        let controller = Controller::new(attachment.bar(), self.memory.clone(), 0, length, config);
        self.attached = Some(Attached { attachment, controller });
        if let Err(error) = self.map(lcore_memory) {
            self.attached = None;
            return Err(format!("drive {} ({}): {error}", self.name, self.uri));
        }
        (self.state, self.cut_off, self.leave_by_ns) = (State::Coming, false, None);
        Ok(())
    }

    /// Lets it reach what it needs: all of it, or nothing.
    fn map(&mut self, lcore_memory: &[Arc<Region>]) -> Result<(), String> {
        let Some(Attached { attachment, .. }) = &self.attached else { return Ok(()) };
        let regions = || lcore_memory.iter().chain([&self.memory]);
        for (at, region) in regions().enumerate() {
            if let Err(error) = attachment.map(region.clone()) {
                regions().take(at).for_each(|region| attachment.unmap(region));
                return Err(error);
            }
        }
        attachment.set_dma(true).inspect_err(|_| regions().for_each(|region| attachment.unmap(region)))
    }

    /// Takes all memory from it that is not on its way back from an lcore.
    fn cut_off(&mut self, lcore_memory: &[Arc<Region>]) {
        if let Some(Attached { attachment, .. }) = self.attached.as_ref().filter(|_| !self.cut_off) {
            attachment.set_dma(false).unwrap_or_else(|error| panic!("drive {}: {error}", self.name));
            lcore_memory.iter().chain([&self.memory]).for_each(|region| attachment.unmap(region));
        }
        self.cut_off = true;
    }

    /// Lets go of it: it is gone, or is to go. No lcore holds it.
    fn detach(&mut self, now_ns: u64, lcore_memory: &[Arc<Region>]) {
        self.cut_off(lcore_memory);
        self.attached = None;
        (self.cut_off, self.leave_by_ns) = (false, None);
        self.failures = 0;
        self.look_again(now_ns);
    }

    /// It is not there: when it is looked for again.
    fn look_again(&mut self, now_ns: u64) {
        let wait_ns = (ABSENT_NS << self.looks.min(8)).min(ABSENT_MAX_NS);
        self.looks = self.looks.saturating_add(1);
        self.state = State::Absent { until_ns: now_ns.saturating_add(wait_ns) };
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
        let Some(Attached { controller, .. }) = &mut self.attached else { return };
        if self.cut_off {
            if !controller.has_stopped() {
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
        if let Some(Attached { controller, .. }) = &mut self.attached {
            controller.restart();
            self.state = State::Coming;
        }
    }

    /// Hears whether it is still there. One that is not is failed; one that is to go has a moment to confirm it.
    fn feel(&mut self, now_ns: u64) {
        let Some(Attached { attachment, controller }) = &mut self.attached else { return };
        let patience_ns = match attachment.poll() {
            Presence::There => return,
            Presence::Leaving => LEAVE_NS,
            Presence::Gone => 0,
        };
        let by_ns = now_ns.saturating_add(patience_ns);
        self.leave_by_ns = Some(self.leave_by_ns.map_or(by_ns, |known_ns| known_ns.min(by_ns)));
        controller.fail(now_ns, Reason::Removed);
    }

    /// What goes with its failure: whether it is there.
    fn failure_reason(&self) -> u16 {
        let absent = matches!(self.state, State::Absent { .. }) || self.leave_by_ns.is_some();
        if absent { DRIVE_ABSENT } else { 0 }
    }

    fn controller(&mut self) -> &mut Controller {
        &mut self.attached.as_mut().expect("a drive that is there").controller
    }
}

impl<E: Environment> Housekeeping<E> {
    /// Whether no drive comes, goes, or has to be polled for its I/O.
    pub(super) fn drives_are_settled(&self) -> bool {
        self.drives.values().all(|drive| match drive.state {
            State::Coming | State::Leaving { .. } => false,
            State::Absent { .. } | State::Ready { .. } | State::Resting { .. } | State::Foreign => {
                drive.attached.as_ref().is_none_or(|attached| !attached.attachment.needs_polling())
            }
        })
    }

    /// Moves every drive on. Opening one may take a moment, so one is opened at a time.
    pub(super) fn poll_drives(&mut self, now_ns: u64) {
        let numbers: Vec<u16> = self.drives.keys().copied().collect();
        let mut opened = false;
        for number in numbers {
            let drive = self.drives.get_mut(&number).expect("a key of the map");
            match drive.state {
                State::Absent { until_ns } if opened || now_ns < until_ns => continue,
                State::Absent { .. } => {
                    opened = true;
                    self.look_for_drive(now_ns, number);
                }
                State::Resting { until_ns } if now_ns >= until_ns => drive.try_again(now_ns, &self.lcore_memory),
                _ => {}
            }
            self.poll_drive(now_ns, number);
        }
    }

    /// Opens a drive, if it is there.
    fn look_for_drive(&mut self, now_ns: u64, number: u16) {
        let drive = self.drives.get_mut(&number).expect("the drive that is looked for");
        let opened = self.environment.open_drive(&drive.name, &drive.uri);
        let Err(error) = opened.and_then(|attachment| drive.attach(attachment, &self.lcore_memory)) else { return };
        drive.look_again(now_ns);
        let text = format!("{error}; waiting for it");
        if drive.failure != text {
            drive.failure.clone_from(&text);
            self.event(EventKind::DriveFailed, DRIVE_ABSENT, number.into(), text.as_bytes());
        }
    }

    fn poll_drive(&mut self, now_ns: u64, number: u16) {
        let drive = self.drives.get_mut(&number).expect("the drive that is polled");
        drive.feel(now_ns);
        let Some(Attached { controller, .. }) = &mut drive.attached else { return };
        let event = match drive.state {
            State::Coming | State::Ready { .. } | State::Foreign => controller.poll(now_ns),
            State::Absent { .. } | State::Leaving { .. } | State::Resting { .. } => None,
        };
        match event {
            Some(Event::Ready) => self.drive_ready(now_ns, number),
            Some(Event::Failed(failure)) => self.drive_failed(now_ns, number, &failure),
            Some(Event::NamespacesChanged) => self.namespaces_changed(now_ns, number),
            // What it is about may be in the logs that hosts are given.
            Some(Event::AsyncEvent(_)) => controller.read_logs(),
            Some(Event::Log { log, page }) => self.drive_logged(number, log, page),
            Some(Event::AdminCompleted { .. } | Event::ShutDown) | None => {}
        }
        let drive = self.drives.get_mut(&number).expect("the drive that is polled");
        if let (State::Ready { .. }, Some(Attached { controller, .. })) = (&drive.state, &mut drive.attached)
            && now_ns >= drive.logs_at_ns
        {
            drive.logs_at_ns = now_ns.saturating_add(LOGS_NS);
            controller.read_logs();
        }
        if let (State::Ready { .. }, Some(Attached { controller, .. })) = (&drive.state, &drive.attached)
            && !controller.is_ready()
            && !core::mem::replace(&mut drive.stopping, true)
        {
            self.event(EventKind::DriveStopped, 0, number.into(), &[]);
        }
        let drive = self.drives.get_mut(&number).expect("the drive that is polled");
        if drive.leave_by_ns.is_none_or(|by_ns| now_ns < by_ns) {
            return;
        }
        match drive.state {
            // It did not confirm in time.
            State::Coming | State::Ready { .. } => {
                self.drive_failed(now_ns, number, &Failure { reason: Reason::Removed, stopped: false });
            }
            State::Resting { .. } | State::Foreign => drive.detach(now_ns, &self.lcore_memory),
            State::Absent { .. } | State::Leaving { .. } => {}
        }
    }

    /// Tells a new control of a drive: what it serves, or why it does not.
    pub(super) fn announce_drive(&mut self, number: u16) {
        let drive = &self.drives[&number];
        let known = drive.known.as_ref().map(|known| known.describe(&self.remarks(number)));
        let (text, reason, drive_state) = (drive.failure.clone(), drive.failure_reason(), drive.state.clone());
        for (log, page) in self.drives[&number].logs.clone() {
            self.event(EventKind::DriveLog, log.into(), number.into(), &page);
        }
        match drive_state {
            State::Ready { .. } => {
                let tail = known.expect("a drive that serves is known");
                self.event(EventKind::DriveReady, 0, number.into(), &tail);
            }
            _ => {
                if let Some(tail) = known {
                    self.event(EventKind::DriveKnown, 0, number.into(), &tail);
                }
                // One that is on its way up is waited for.
                if !text.is_empty() && !matches!(drive_state, State::Coming) {
                    self.event(EventKind::DriveFailed, reason, number.into(), text.as_bytes());
                }
            }
        }
    }

    /// What the operator should know of a drive that has served.
    fn remarks(&self, number: u16) -> Vec<String> {
        let drive = &self.drives[&number];
        let Some(known) = &drive.known else { return Vec::new() };
        let quirks = drive.attached.as_ref().map(|attached| attached.controller.quirks()).unwrap_or_default();
        let serves = |drive: &&Drive| matches!(drive.state, State::Ready { .. });
        let others = self.drives.iter().filter(|(other, _)| **other != number).map(|(_, drive)| drive).filter(serves);
        let others = others.filter_map(|drive| Some((drive.name.as_str(), drive.known.as_ref()?.inventory())));
        describe::remarks(known.inventory(), quirks, others)
    }

    /// An lcore's command has been at the drive for too long: the drive is reset, so that it lets go of memory.
    pub(super) fn drive_timed_out(&mut self, now_ns: u64, number: u16) {
        if let Some(Attached { controller, .. }) =
            self.drives.get_mut(&number).and_then(|drive| drive.attached.as_mut())
        {
            controller.fail(now_ns, Reason::IoTimeout { qid: 0 });
        }
    }

    /// Asks a drive to abort a command. One that does not take the abort is reset when the command's time is up.
    pub(super) fn abort(&mut self, now_ns: u64, lcore: usize, number: u16, cid: u16) {
        let Some(drive) = self.drives.get_mut(&number) else { return };
        let Some((_, queue, _)) = drive.way_to(number, lcore, self.lcores) else { return };
        if let Some(Attached { controller, .. }) = drive.attached.as_mut() {
            let mut sqe = Sqe::new(admin::ABORT, Cid(0), Nsid(0));
            // SQID and CID of the command (NVMe Base 2.0 §5.1); I/O queues count from 1.
            sqe.cdw10 = (u32::from(cid) << 16 | u32::from(queue + 1)).into();
            let _ = controller.submit_admin(now_ns, sqe);
        }
    }

    fn drive_ready(&mut self, now_ns: u64, number: u16) {
        let lcores = self.lcores;
        let drive = self.drives.get_mut(&number).expect("the drive that is ready");
        let inventory = drive.controller().inventory().clone();
        let known = match &drive.known {
            Some(known) => known.again(&inventory),
            None => Ok(Known::new(inventory.clone())),
        };
        let known = match known {
            Ok(known) => known,
            Err(difference) => return self.drive_is_another(now_ns, number, &difference),
        };
        let block_shifts = known.block_shifts();
        drive.known = Some(known);
        (drive.state, drive.looks, drive.stopping) = (State::Ready { since_ns: now_ns }, 0, false);
        drive.failure.clear();
        let mut mapped = true;
        for (lcore, (path, entries)) in ways_to(drive.controller(), number, lcores).into_iter().enumerate() {
            let drive = self.drives.get_mut(&number).expect("the drive that is ready");
            let Some(Attached { attachment, controller }) = &drive.attached else { unreachable!("it is there") };
            let length = usize::from(entries) * PRP_LIST_BYTES;
            let prp_lists = self.environment.memory(length).or_else(|_| {
                // The lcore needs its lists to give the drive back; the drive does not get these.
                mapped = false;
                Region::shared(length)
            });
            let prp_lists = prp_lists.unwrap_or_else(|error| panic!("{length} bytes of DMA memory: {error}"));
            mapped = mapped && attachment.map(prp_lists.clone()).is_ok();
            let parts = DriveQueueParts {
                drive: number,
                path,
                entries,
                transfer_max: inventory.mdts_bytes,
                limits: inventory.limits,
                oncs: inventory.oncs,
                sgl: controller.config().sgl && inventory.takes_sgl(),
                block_shifts: block_shifts.clone(),
                prp_lists,
            };
            self.send_batch(lcore, Vec::from([Change::DriveAdd(Some(parts))]), 0);
        }
        if !mapped {
            // No command that needs a list can be given: it is as good as gone, and is tried again.
            let drive = self.drives.get_mut(&number).expect("the drive that is ready");
            drive.controller().fail(now_ns, Reason::Memory);
        }
        self.event_ready(number);
    }

    /// Tells control that a drive serves.
    fn event_ready(&mut self, number: u16) {
        let known = self.drives[&number].known.as_ref().expect("a drive that serves is known");
        let tail = known.describe(&self.remarks(number));
        self.event(EventKind::DriveReady, 0, number.into(), &tail);
    }

    /// A drive's log was read: control hears of it, when it says something else than before.
    fn drive_logged(&mut self, number: u16, log: u8, page: Vec<u8>) {
        let drive = self.drives.get_mut(&number).expect("the drive whose log was read");
        if drive.logs.get(&log) != Some(&page) {
            self.event(EventKind::DriveLog, log.into(), number.into(), &page);
            self.drives.get_mut(&number).expect("as before").logs.insert(log, page);
        }
    }

    /// Namespaces of a drive that serves came, went, or have another size: lcores and control hear of it.
    fn namespaces_changed(&mut self, now_ns: u64, number: u16) {
        let drive = self.drives.get_mut(&number).expect("the drive whose namespaces changed");
        let Some(Attached { controller, .. }) = &drive.attached else { return };
        let Some(known) = drive.known.as_ref().filter(|_| matches!(drive.state, State::Ready { .. })) else { return };
        let known = match known.again(controller.inventory()) {
            Ok(known) => known,
            // It says that it is another: bring-up will show.
            Err(_) => return drive.controller().fail(now_ns, Reason::Reset),
        };
        let block_shifts = known.block_shifts();
        drive.known = Some(known);
        for lcore in 0..self.lcores {
            let change = Change::DriveNamespaces { drive: number, block_shifts: block_shifts.clone() };
            self.send_batch(lcore, Vec::from([change]), 0);
        }
        self.event_ready(number);
    }

    /// Another drive is in the drive's place: it is not given to the hosts of the one that was there.
    fn drive_is_another(&mut self, now_ns: u64, number: u16, difference: &str) {
        let drive = self.drives.get_mut(&number).expect("the drive that is another");
        let text = format!(
            "drive {number} ({}): {difference}; it is not served: put the drive back that was there, or restart \
             gantry-dataplane to serve this one",
            drive.uri
        );
        drive.failure.clone_from(&text);
        drive.state = State::Foreign;
        drive.controller().fail(now_ns, Reason::Requested);
        self.event(EventKind::DriveFailed, 0, number.into(), text.as_bytes());
    }

    /// The drive is disabled, or does not even confirm that, or is gone. In any case its commands end now: a drive that may
    /// still write is reset, if that can be done, and cut off from all memory first. Then it is brought up again, at once the
    /// first time, and later and later; one that is gone is looked for.
    fn drive_failed(&mut self, now_ns: u64, number: u16, failure: &Failure) {
        let drive = self.drives.get_mut(&number).expect("the drive that failed");
        let removed = failure.reason == Reason::Removed || drive.leave_by_ns.is_some();
        if removed {
            drive.leave_by_ns = Some(now_ns);
        }
        if !failure.stopped {
            let attached = drive.attached.as_mut().filter(|_| !removed);
            attached.map(|attached| attached.attachment.reset());
            drive.cut_off(&self.lcore_memory);
        }
        let text = match removed {
            true => format!("drive {number} ({}): it is gone; waiting for it", drive.uri),
            false => format!("drive {number} ({}): {failure}", drive.uri),
        };
        let told = removed && drive.failure == text;
        match drive.state {
            State::Foreign => return,
            State::Ready { since_ns } => {
                if now_ns.saturating_sub(since_ns) >= STEADY_NS {
                    drive.failures = 0;
                }
                drive.failures += 1;
                // Its queue pairs come back by `drive_returned`.
                drive.state = State::Leaving { lcores: self.lcores };
            }
            _ => {
                drive.failures = drive.failures.saturating_add(1);
                drive.rest(now_ns);
            }
        }
        drive.failure.clone_from(&text);
        let reason = drive.failure_reason();
        if let State::Leaving { .. } = drive.state {
            // A command that the drive had may be what made it fail: hosts try it again a few times, and not for ever.
            let status = if removed { Status::ANA_INACCESSIBLE } else { Status::INTERNAL_ERROR };
            for lcore in 0..self.lcores {
                let remove = Change::DriveRemove { drive: number, status, returned: None };
                self.send_batch(lcore, Vec::from([remove]), 0);
            }
        }
        if !told {
            self.event(EventKind::DriveFailed, reason, number.into(), text.as_bytes());
        }
    }

    /// An lcore has let go of a drive; after the last one it rests, or is let go of altogether.
    pub(super) fn drive_returned(&mut self, now_ns: u64, number: u16, returned: Option<DriveQueue>) {
        let Some(drive) = self.drives.get_mut(&number) else { return };
        let State::Leaving { lcores } = &mut drive.state else { return };
        let parts = returned.expect("an lcore had its way to a drive that served");
        let Some(Attached { attachment, controller }) = &mut drive.attached else { unreachable!("it is still held") };
        attachment.unmap(&parts.prp_lists);
        if let Path::Own(own) = parts.path {
            controller.give_back(own.queue);
        }
        *lcores -= 1;
        if *lcores > 0 {
            return;
        }
        if drive.leave_by_ns.is_some() {
            drive.detach(now_ns, &self.lcore_memory);
        } else {
            drive.rest(now_ns);
        }
    }
}
