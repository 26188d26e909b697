//! One drive: from reset to ready, its admin queue, its events, its end. Owned by the housekeeping thread.
//! NVMe Base 2.0 §3.5 (initialisation), §3.6 (shutdown), §3.1.3 (registers), §5.2 (asynchronous events).
//!
//! A failure always ends the same way: CC.EN = 0, wait for CSTS.RDY = 0, then one [`Event::Failed`] that says
//! whether the drive confirmed that it will touch no more memory.

use crate::failure::{Failure, Reason, text};
use crate::handover::number;
use crate::inventory::Inventory;
use crate::jobs::{COMMAND_SETS, Job, Jobs, QueueAddresses};
use crate::queue::{IoQueue, Place, QueueFull};
use crate::quirks::{DISABLE_DELAY_NS, Quirks};
use crate::{Bar, Counters, Device, Doorbells, Registers};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use gantry_dma::Region;
use gantry_wire::nvme::feature::AsyncEvent;
use gantry_wire::nvme::log::lid;
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::register::{self, Aqa, Cap, Cc, Crto, Csts};
use gantry_wire::nvme::{Cid, Cqe, Nsid, Sqe, admin, identify};
use serde::{Deserialize, Serialize};

/// How a drive is to be driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Config {
    /// I/O queue pairs to ask for, one an lcore; at least 1. A drive may grant fewer: [`Controller::granted`].
    pub io_queues: u16,
    /// Entries of each I/O queue; a drive with less (CAP.MQES) gets less. At least 2.
    pub io_entries: u16,
    /// How long a command may take before its drive is failed.
    pub command_timeout_ns: u64,
    /// Whether SGLs are used with a drive that takes them; otherwise PRPs are.
    pub sgl: bool,
}

/// Names a command of [`Controller::submit_admin`] in its [`Event::AdminCompleted`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// What the owner learns from [`Controller::poll`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Bring-up is over: the inventory is there, the I/O queues can be taken.
    Ready,
    /// The drive was given up and disabled. Nothing follows until [`Controller::restart`].
    Failed(Failure),
    /// The drive reported something; its log has been read, so that it can report the next.
    AsyncEvent(#[serde(with = "number")] AsyncEvent),
    /// A log of [`Controller::read_logs`].
    Log {
        /// Its identifier.
        log: u8,
        /// What it says.
        page: Vec<u8>,
    },
    /// [`Controller::inventory`] has other namespaces than before.
    NamespacesChanged,
    /// A command of [`Controller::submit_admin`] was answered.
    AdminCompleted {
        /// Which.
        ticket: Ticket,
        /// How.
        #[serde(with = "number")]
        cqe: Cqe,
    },
    /// [`Controller::shutdown`] is done; the drive is disabled.
    ShutDown,
}

/// Where the drive is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum State {
    Start,
    /// Not looked at before `look_ns`.
    Disabling {
        look_ns: u64,
        deadline_ns: u64,
        then: Then,
    },
    Enabling {
        deadline_ns: u64,
    },
    Running {
        ready: bool,
    },
    ShuttingDown {
        deadline_ns: u64,
    },
    Stopped,
}

/// What follows CSTS.RDY = 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Then {
    Enable,
    Fail(Reason),
    ShutDown,
}

/// Who waits for an admin CID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Waiter {
    Nobody,
    Job(Job, u64),
    Owner(Ticket, u64),
    /// As an owner's, and counted by ACL.
    Abort(Ticket, u64),
    Events,
}

/// Entries of the admin queues.
pub(crate) const ADMIN_ENTRIES: u16 = 64;
/// Asynchronous Event Requests kept outstanding at most.
const ASYNC_EVENTS: u16 = 4;
/// Entries that the owner's commands leave to events and to the driver's own commands.
const ADMIN_RESERVE: u16 = ASYNC_EVENTS + 2;
/// What a drive gets to shut down when nothing says more.
const SHUTDOWN_NS: u64 = 10_000_000_000;

/// Bring-up, admin queue and end of one drive. `poll` it as often as convenient.
#[derive(Debug)]
pub struct Controller {
    pub(crate) registers: Box<dyn Registers>,
    pub(crate) doorbells: Doorbells,
    pub(crate) device: Device,
    pub(crate) quirks: Quirks,
    pub(crate) memory: Arc<Region>,
    pub(crate) offset: usize,
    pub(crate) config: Config,
    pub(crate) cap: Cap,
    pub(crate) state: State,
    pub(crate) admin: Option<IoQueue>,
    pub(crate) waiters: [Waiter; ADMIN_ENTRIES as usize],
    pub(crate) async_outstanding: u16,
    pub(crate) jobs: Jobs,
    pub(crate) io_queues: Vec<Option<IoQueue>>,
    pub(crate) taken: u16,
    pub(crate) events: VecDeque<Event>,
    pub(crate) next_ticket: u64,
}

impl Controller {
    /// Bytes of DMA memory that [`Controller::new`] needs.
    #[must_use]
    pub const fn memory_needed(io_queues: u16, io_entries: u16) -> usize {
        3 * PAGE + io_queues as usize * (sq_bytes(io_entries) + cq_bytes(io_entries))
    }

    /// A drive not yet touched; the first [`Controller::poll`] resets it. `length` bytes of `memory` at
    /// `offset` are its queues' and nobody else's; they start at a 4 KiB boundary of device addresses.
    ///
    /// # Panics
    /// When the memory is too short or not aligned, or `config` asks for no queue: the caller planned wrongly.
    #[must_use]
    pub fn new(bar: impl Into<Bar>, memory: Arc<Region>, offset: usize, length: usize, config: Config) -> Controller {
        assert!(config.io_queues >= 1 && config.io_entries >= 2, "an lcore needs a queue pair: {config:?}");
        assert!(length >= Self::memory_needed(config.io_queues, config.io_entries), "{length} bytes are too few");
        assert!(offset + length <= memory.length(), "the queues' memory is outside its region");
        assert!(memory.iova(offset) as usize & (PAGE - 1) == 0, "the queues' memory is not page-aligned");
        let Bar { registers, doorbells, device } = bar.into();
        Controller {
            registers,
            doorbells,
            device,
            quirks: Quirks::of(device),
            memory,
            offset,
            config,
            cap: Cap::default(),
            state: State::Start,
            admin: None,
            waiters: [Waiter::Nobody; ADMIN_ENTRIES as usize],
            async_outstanding: 0,
            jobs: Jobs::default(),
            io_queues: Vec::new(),
            taken: 0,
            events: VecDeque::new(),
            next_ticket: 0,
        }
    }

    /// Moves on as far as the drive allows without waiting; `None` when there is nothing to tell.
    pub fn poll(&mut self, now_ns: u64) -> Option<Event> {
        if self.events.is_empty()
            && let Err(reason) = self.step(now_ns)
        {
            self.disable(now_ns, Then::Fail(reason));
        }
        self.events.pop_front()
    }

    /// What the drive says it is: complete after [`Event::Ready`], and kept after a failure.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.jobs.inventory
    }

    /// What is known to be wrong with its make.
    #[must_use]
    pub fn quirks(&self) -> Quirks {
        self.quirks
    }

    /// Which make the drive is.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Whether I/O can be submitted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Running { ready: true }
    }

    /// The admin queue's counters, since the last reset.
    #[must_use]
    pub fn admin_counters(&self) -> Counters {
        self.admin.as_ref().map_or_else(Counters::default, |admin| *admin.counters())
    }

    /// I/O queue pairs that the drive has granted, of those asked for: known once it is ready.
    #[must_use]
    pub fn granted(&self) -> u16 {
        self.jobs.io_queues
    }

    /// The queue pair `index`, to be owned by one lcore from now on.
    ///
    /// # Panics
    /// Before [`Event::Ready`], past the configured count, or when it is taken already.
    pub fn take_io_queue(&mut self, index: u16) -> IoQueue {
        assert!(self.is_ready(), "I/O queues exist once the drive is ready");
        let queue = self.io_queues[usize::from(index)].take().expect("an I/O queue has one owner");
        self.taken += 1;
        queue
    }

    /// Takes a queue back, before [`Controller::restart`].
    pub fn give_back(&mut self, queue: IoQueue) {
        drop(queue);
        self.taken = self.taken.checked_sub(1).expect("a queue that was taken");
    }

    /// Sends an admin command; its CID is filled in. Data buffers are the caller's.
    ///
    /// # Errors
    /// [`QueueFull`] when the drive is not ready or too many are outstanding; of Aborts the drive itself says how many (ACL).
    pub fn submit_admin(&mut self, now_ns: u64, mut sqe: Sqe) -> Result<Ticket, QueueFull> {
        if !self.is_ready() || self.admin().room() <= ADMIN_RESERVE {
            return Err(QueueFull);
        }
        let aborts = self.waiters.iter().filter(|waiter| matches!(waiter, Waiter::Abort(..))).count();
        if sqe.opcode == admin::ABORT && aborts >= usize::from(self.jobs.inventory.aborts_max) {
            return Err(QueueFull);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let waiter = if sqe.opcode == admin::ABORT { Waiter::Abort } else { Waiter::Owner };
        let cid = self.reserve(waiter(ticket, now_ns.saturating_add(self.config.command_timeout_ns)));
        sqe.cid = cid.0.into();
        self.admin().submit(&sqe).expect("there is room");
        self.admin().ring();
        Ok(ticket)
    }

    /// Asks a drive that is ready for its SMART / Health and Error Information logs, which [`Event::Log`] brings, unless it
    /// is being asked already. A drive that refuses has none.
    pub fn read_logs(&mut self) {
        let asked = |job: &Job| matches!(job, Job::OwnersLog(_));
        if self.is_ready() && !self.jobs.queue.iter().any(asked) {
            self.jobs.queue.extend([Job::OwnersLog(lid::SMART_HEALTH), Job::OwnersLog(lid::ERROR_INFORMATION)]);
        }
    }

    /// Gives the drive up, as a lcore asks for whose command expired ([`Reason::IoTimeout`]).
    pub fn fail(&mut self, now_ns: u64, reason: Reason) {
        if !matches!(self.state, State::Stopped | State::Disabling { then: Then::Fail(_), .. }) {
            self.disable(now_ns, Then::Fail(reason));
        }
    }

    /// Shuts the drive down in order; [`Event::ShutDown`] follows. The lcores have stopped submitting.
    pub fn shutdown(&mut self, now_ns: u64) {
        match self.state {
            State::Running { .. } | State::Enabling { .. } => {
                let cc = Cc(self.read32(register::CC)).with_shn(1);
                self.write32(register::CC, cc.0);
                self.state = State::ShuttingDown { deadline_ns: now_ns.saturating_add(SHUTDOWN_NS) };
            }
            State::Start => self.disable(now_ns, Then::ShutDown),
            State::Disabling { look_ns, deadline_ns, then: Then::Enable } => {
                self.state = State::Disabling { look_ns, deadline_ns, then: Then::ShutDown };
            }
            State::Disabling { .. } | State::ShuttingDown { .. } | State::Stopped => {}
        }
    }

    /// Starts over after [`Event::Failed`] or [`Event::ShutDown`].
    ///
    /// # Panics
    /// While the drive is not stopped, or an I/O queue is still taken.
    pub fn restart(&mut self) {
        assert!(self.state == State::Stopped, "a drive is restarted when it has stopped");
        assert!(self.taken == 0, "{} I/O queues were not given back", self.taken);
        self.state = State::Start;
    }

    /// After a failure that was not confirmed: whether the drive has stopped since (CSTS.RDY = 0). Asks it once more to.
    pub fn has_stopped(&mut self) -> bool {
        let cc = self.read32(register::CC);
        if cc != u32::MAX && Cc(cc).en() == 1 {
            self.write32(register::CC, Cc(cc).with_en(0).with_shn(0).0);
        }
        let csts = self.read32(register::CSTS);
        self.state == State::Stopped && cc != u32::MAX && csts != u32::MAX && Csts(csts).rdy() == 0
    }

    fn step(&mut self, now_ns: u64) -> Result<(), Reason> {
        match self.state {
            State::Stopped => Ok(()),
            State::Start => self.start(now_ns),
            State::Disabling { look_ns, deadline_ns, then } => {
                self.await_disabled(now_ns, look_ns, deadline_ns, then);
                Ok(())
            }
            State::Enabling { deadline_ns } => {
                let csts = self.status()?;
                if csts.rdy() == 1 {
                    self.state = State::Running { ready: false };
                    return self.run(now_ns);
                }
                if now_ns >= deadline_ns { Err(Reason::NotReady { timeout_ns: self.ready_ns() }) } else { Ok(()) }
            }
            State::Running { .. } => {
                if self.status()?.rdy() == 0 {
                    return Err(Reason::Reset);
                }
                self.run(now_ns)
            }
            State::ShuttingDown { deadline_ns } => {
                if self.status()?.shst() == 2 || now_ns >= deadline_ns {
                    self.disable(now_ns, Then::ShutDown);
                }
                Ok(())
            }
        }
    }

    /// Checks what CAP says and resets the controller, whatever state it was left in.
    fn start(&mut self, now_ns: u64) -> Result<(), Reason> {
        self.cap = Cap(self.read64(register::CAP));
        if self.cap.0 == u64::MAX {
            return Err(Reason::Removed);
        }
        if self.cap.mpsmin() != 0 {
            return Err(Reason::PageSize { mpsmin: self.cap.mpsmin() });
        }
        if self.quirks.wide_entries {
            return Err(Reason::WideEntries);
        }
        if self.cap.css() & (1 | COMMAND_SETS) == 0 {
            return Err(Reason::CommandSet { css: self.cap.css() });
        }
        let needed = register::cq_doorbell(self.config.io_queues, self.cap.dstrd()) + 4;
        if self.doorbells.length() < needed {
            return Err(Reason::BarTooShort { needed, length: self.doorbells.length() });
        }
        self.disable(now_ns, Then::Enable);
        Ok(())
    }

    /// CC.EN = 0; the rest of CC stays as it is (§3.5.1 step 1).
    fn disable(&mut self, now_ns: u64, then: Then) {
        let cc = self.read32(register::CC);
        let mut look_ns = now_ns;
        if cc != u32::MAX && Cc(cc).en() == 1 {
            self.write32(register::CC, Cc(cc).with_en(0).with_shn(0).0);
            if self.quirks.slow_disable {
                look_ns = now_ns.saturating_add(DISABLE_DELAY_NS);
            }
        }
        self.state = State::Disabling { look_ns, deadline_ns: look_ns.saturating_add(self.ready_ns()), then };
    }

    fn await_disabled(&mut self, now_ns: u64, look_ns: u64, deadline_ns: u64, then: Then) {
        if now_ns < look_ns {
            return;
        }
        let csts = self.read32(register::CSTS);
        let stopped = csts != u32::MAX && Csts(csts).rdy() == 0;
        if !stopped && now_ns < deadline_ns && csts != u32::MAX {
            return;
        }
        let failed = |reason| (State::Stopped, Some(Event::Failed(Failure { reason, stopped })));
        let (state, event) = match then {
            Then::Fail(reason) => failed(reason),
            Then::Enable | Then::ShutDown if csts == u32::MAX => failed(Reason::Removed),
            Then::Enable | Then::ShutDown if !stopped => failed(Reason::NotDisabled { timeout_ns: self.ready_ns() }),
            Then::Enable => {
                self.enable();
                (State::Enabling { deadline_ns: now_ns.saturating_add(self.ready_ns()) }, None)
            }
            Then::ShutDown => (State::Stopped, Some(Event::ShutDown)),
        };
        self.state = state;
        self.events.extend(event);
    }

    /// Admin queues, then CC.EN = 1 (§3.5.1 steps 2 to 4).
    fn enable(&mut self) {
        let place = self.admin_place();
        let timeout_ns = self.config.command_timeout_ns;
        self.admin = Some(IoQueue::new(Arc::clone(&self.doorbells), Arc::clone(&self.memory), place, timeout_ns));
        self.waiters.fill(Waiter::Nobody);
        self.async_outstanding = 0;
        let version = self.read32(register::VS);
        self.jobs = Jobs::bring_up(self.config.io_queues, version, self.cap, self.quirks);
        self.jobs.inventory.io_entries = self.io_entries();
        self.io_queues.clear();

        self.write32(register::AQA, Aqa::default().with_asqs(ADMIN_ENTRIES - 1).with_acqs(ADMIN_ENTRIES - 1).0);
        self.write64(register::ASQ, self.memory.iova(place.sq));
        self.write64(register::ACQ, self.memory.iova(place.cq));
        gantry_cpu::store_before_doorbell();
        // All command sets that it has (§3.1.3.5), so that it tells which namespaces are of another than NVM's.
        let css = if self.cap.css() & COMMAND_SETS != 0 { 6 } else { 0 };
        self.write32(register::CC, Cc::default().with_css(css).with_iosqes(6).with_iocqes(4).with_en(1).0);
    }

    /// Answers first, then the next command.
    fn run(&mut self, now_ns: u64) -> Result<(), Reason> {
        while let Some(cqe) = self.admin().poll() {
            self.answered(cqe)?;
        }
        self.admin().release();
        for waiter in &self.waiters {
            match *waiter {
                Waiter::Job(job, deadline_ns) if now_ns >= deadline_ns => {
                    return Err(Reason::Timeout { what: job.what(), timeout_ns: self.config.command_timeout_ns });
                }
                Waiter::Owner(_, deadline_ns) | Waiter::Abort(_, deadline_ns) if now_ns >= deadline_ns => {
                    let what = text::ADMIN_COMMAND;
                    return Err(Reason::Timeout { what, timeout_ns: self.config.command_timeout_ns });
                }
                _ => {}
            }
        }
        self.start_jobs(now_ns)?;
        self.listen()?;
        self.admin().ring();
        Ok(())
    }

    fn answered(&mut self, cqe: Cqe) -> Result<(), Reason> {
        let waiter = core::mem::replace(&mut self.waiters[usize::from(cqe.cid.get())], Waiter::Nobody);
        match waiter {
            Waiter::Job(job, _) => {
                let mut page = [0; identify::LEN];
                self.memory.read(self.offset + 2 * PAGE, &mut page);
                self.jobs.answer(job, &cqe, &page)?;
                match job {
                    Job::ReadLog(event) => self.events.push_back(Event::AsyncEvent(event)),
                    Job::OwnersLog(log) if cqe.status().is_success() => {
                        let page = self.jobs.log(log, &page).to_vec();
                        self.events.push_back(Event::Log { log, page });
                    }
                    _ => {}
                }
                Ok(())
            }
            Waiter::Owner(ticket, _) | Waiter::Abort(ticket, _) => {
                self.events.push_back(Event::AdminCompleted { ticket, cqe });
                Ok(())
            }
            Waiter::Events => {
                if cqe.status().is_success() {
                    // Free to be sent again, and one event is one log read: the queue of jobs is bounded.
                    self.async_outstanding -= 1;
                    self.jobs.event(AsyncEvent::parse(cqe.dw0.get()));
                }
                // A refused request stays counted: it is not sent again, so a drive that refuses all costs nothing.
                Ok(())
            }
            Waiter::Nobody => unreachable!("the queue knows which CIDs are outstanding"),
        }
    }

    /// Sends the next job's command when none is outstanding, and acts on the points between them.
    fn start_jobs(&mut self, now_ns: u64) -> Result<(), Reason> {
        while let Some(&job) = self.jobs.queue.front() {
            if self.waiters.iter().any(|waiter| matches!(waiter, Waiter::Job(..))) {
                return Ok(());
            }
            self.jobs.queue.pop_front();
            match job {
                Job::Walk => self.jobs.walk(),
                Job::Adopt => self.jobs.adopt(),
                Job::BecomeReady => {
                    self.state = State::Running { ready: true };
                    self.events.push_back(Event::Ready);
                }
                Job::SayNamespacesChanged => self.events.push_back(Event::NamespacesChanged),
                _ => self.send(job, now_ns)?,
            }
        }
        Ok(())
    }

    fn send(&mut self, job: Job, now_ns: u64) -> Result<(), Reason> {
        let entries = self.io_entries();
        let mut addresses = QueueAddresses { sq: 0, cq: 0, entries };
        if let Job::CreateCq(qid) | Job::CreateSq(qid) = job {
            let place = self.io_place(qid);
            if matches!(job, Job::CreateCq(_)) {
                let timeout_ns = self.config.command_timeout_ns;
                let queue = IoQueue::new(Arc::clone(&self.doorbells), Arc::clone(&self.memory), place, timeout_ns);
                self.io_queues.push(Some(queue));
            }
            (addresses.sq, addresses.cq) = (self.memory.iova(place.sq), self.memory.iova(place.cq));
        }
        let page = self.offset + 2 * PAGE;
        self.memory.fill(page, identify::LEN, 0);
        let cid = self.reserve(Waiter::Job(job, now_ns.saturating_add(self.config.command_timeout_ns)));
        let sqe = self.jobs.command(job, cid, self.memory.iova(page), addresses);
        // The owner's commands leave room for the driver's, unless the drive frees no entry.
        self.admin().submit(&sqe).map_err(|QueueFull| Reason::SqHead)
    }

    /// Keeps Asynchronous Event Requests outstanding once ready, while the jobs keep up with them.
    fn listen(&mut self) -> Result<(), Reason> {
        let wanted = self.jobs.async_limit.min(ASYNC_EVENTS);
        while self.is_ready() && self.async_outstanding < wanted && self.jobs.queue.is_empty() {
            self.async_outstanding += 1;
            let cid = self.reserve(Waiter::Events);
            let sqe = Sqe::new(admin::ASYNC_EVENT_REQUEST, cid, Nsid(0));
            self.admin().submit(&sqe).map_err(|QueueFull| Reason::SqHead)?;
        }
        Ok(())
    }

    fn reserve(&mut self, waiter: Waiter) -> Cid {
        let free = self.waiters.iter().position(|waiter| *waiter == Waiter::Nobody);
        let cid = free.expect("as many CIDs as entries");
        self.waiters[cid] = waiter;
        Cid(cid as u16)
    }

    fn admin(&mut self) -> &mut IoQueue {
        self.admin.as_mut().expect("enabled")
    }

    /// CSTS, when the controller is there and well.
    fn status(&self) -> Result<Csts, Reason> {
        let csts = self.read32(register::CSTS);
        if csts == u32::MAX {
            return Err(Reason::Removed);
        }
        if Csts(csts).cfs() == 1 { Err(Reason::Fatal) } else { Ok(Csts(csts)) }
    }

    /// CAP.TO, or CRTO's time until the media is ready too where that is longer; drives that say 0 get one unit.
    fn ready_ns(&self) -> u64 {
        // CAP.CRMS bit 0: ready with media, which is what CC.CRIME 0 asks for (§3.1.3.5).
        let crto = if self.cap.crms() & 1 == 1 { Crto(self.read32(register::CRTO)).crwmt() } else { 0 };
        let crto = if crto == u16::MAX { 0 } else { crto };
        u64::from(crto.max(self.cap.to().into()).max(1)) * 500_000_000
    }

    /// Entries of each I/O queue: as asked for, or as many as the drive has (CAP.MQES).
    #[must_use]
    pub fn io_entries(&self) -> u16 {
        let told = match (self.cap.mqes(), self.quirks.entries_untold) {
            (0, Some(entries)) => entries,
            (mqes, _) => mqes.saturating_add(1),
        };
        self.config.io_entries.min(told).min(self.quirks.entries_max.unwrap_or(u16::MAX)).max(2)
    }

    pub(crate) fn admin_place(&self) -> Place {
        let (sq, cq) = (self.offset, self.offset + PAGE);
        Place { qid: 0, entries: ADMIN_ENTRIES, sq, cq, dstrd: self.cap.dstrd() }
    }

    pub(crate) fn io_place(&self, qid: u16) -> Place {
        let (sq_bytes, cq_bytes) = (sq_bytes(self.config.io_entries), cq_bytes(self.config.io_entries));
        let sq = self.offset + 3 * PAGE + usize::from(qid - 1) * (sq_bytes + cq_bytes);
        Place { qid, entries: self.io_entries(), sq, cq: sq + sq_bytes, dstrd: self.cap.dstrd() }
    }

    fn read32(&self, at: usize) -> u32 {
        self.registers.load_u32(at)
    }

    /// In two halves: not every controller takes 64-bit accesses.
    fn read64(&self, at: usize) -> u64 {
        u64::from(self.read32(at)) | u64::from(self.read32(at + 4)) << 32
    }

    fn write32(&self, at: usize, value: u32) {
        self.registers.store_u32(at, value);
    }

    fn write64(&self, at: usize, value: u64) {
        self.write32(at, value as u32);
        self.write32(at + 4, (value >> 32) as u32);
    }
}

const fn sq_bytes(entries: u16) -> usize {
    (entries as usize * Sqe::LEN).next_multiple_of(PAGE)
}

const fn cq_bytes(entries: u16) -> usize {
    (entries as usize * Cqe::LEN).next_multiple_of(PAGE)
}
