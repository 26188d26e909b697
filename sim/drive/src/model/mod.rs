//! The controller: registers as the host changes them, and one round of work a step.
//! NVMe Base 2.0 §3.1.3 (registers), §3.5 (enable), §3.6 (shutdown), §3.7 (reset), §3.4.4 (arbitration).
//!
//! | file | what |
//! |---|---|
//! | mod.rs | registers, reset, the step |
//! | held.rs | commands that are executed later |
//! | queues.rs | submission and completion queues, doorbells, fetch and post |
//! | transfer.rs | PRP and SGL to spans of memory, and DMA |
//! | admin.rs | admin commands |
//! | describe.rs | Identify data and log pages |
//! | nvm.rs | I/O commands |

mod admin;
mod describe;
mod held;
mod nvm;
mod queues;
mod transfer;

use crate::media::Media;
use crate::{Action, Defect, Error, Faults, Identity, Traits};
use describe::ErrorLog;
use gantry_dma::{AddressSpace, Region};
use gantry_wire::nvme::feature::{AsyncEvent, aec, fid};
use gantry_wire::nvme::log::lid;
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::register::{self, Aqa, Cap, Cc, Crto, Csts};
use gantry_wire::nvme::{Cid, Cqe, Nsid, Sqe, Status, admin as opcode};
use held::Held;
use parking_lot::Mutex;
use queues::Queues;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use transfer::Span;

/// What a drive is made as.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Who it is.
    pub identity: Identity,
    /// Bytes of a block as a power of two, of every namespace.
    pub block_shift: u8,
    /// Blocks of namespace 1, 2, …, one after the other on the medium.
    pub blocks: Vec<u64>,
    /// MDTS: memory pages as a power of two; 0 is no limit.
    pub mdts: u8,
    /// I/O queue pairs that it grants.
    pub io_queues: u16,
    /// Entries of an I/O queue at most, 2 to 65,536: MQES + 1.
    pub entries: u32,
    /// What it is like.
    pub traits: Traits,
    /// Reads and writes complete without moving data: pages keep what they held. For measurements only.
    pub null: bool,
}

impl Shape {
    /// `namespaces` equal parts of a medium of `bytes`; 64 queue pairs of 1024 entries.
    ///
    /// # Errors
    /// [`Error::TooSmall`] when a part has no block.
    pub fn equal_parts(id: Identity, bytes: u64, namespaces: u32, shift: u8, mdts: u8) -> Result<Shape, Error> {
        let blocks = (bytes >> shift) / u64::from(namespaces);
        if blocks == 0 {
            return Err(Error::TooSmall { bytes, namespaces, block_bytes: 1 << shift });
        }
        let blocks = vec![blocks; namespaces as usize];
        let traits = Traits::default();
        Ok(Shape { identity: id, block_shift: shift, blocks, mdts, io_queues: 64, entries: 1024, traits, null: false })
    }

    /// Bytes of the medium that the namespaces need.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().sum::<u64>() << self.block_shift
    }

    fn mdts_bytes(&self) -> usize {
        // Without a limit NLB's 16 bits are one.
        let mdts = if self.mdts == 0 { 16 } else { self.mdts.min(16) };
        1 << (u32::from(mdts) + self.traits.page_shift())
    }
}

/// A namespace: a part of the medium.
#[derive(Clone, Copy, Debug)]
struct Part {
    first_byte: u64,
    blocks: u64,
    active: bool,
}

/// How a command ends, for now.
enum Outcome {
    Done(Status, u64),
    /// Answered later, or never.
    Kept,
}

/// What a controller that is not disabled at once takes for it.
const DISABLE_NS: u64 = 2_000_000_000;
/// Commands fetched from a queue before the next has its turn.
const BURST: usize = 16;

/// The model of an NVMe controller.
pub struct Model {
    bar: Arc<Region>,
    space: Arc<AddressSpace>,
    media: Box<dyn Media>,
    shape: Shape,
    faults: Arc<Mutex<Faults>>,
    parts: Vec<Part>,
    cc: Cc,
    csts: Csts,
    queues: Queues,
    held: Held,
    /// Asynchronous Event Requests waiting for an event.
    listening: VecDeque<Cid>,
    /// Events waiting for a request; one of each at most.
    events: VecDeque<AsyncEvent>,
    /// Event types that wait for their log to be read, a bit each.
    masked: u8,
    changed: Vec<Nsid>,
    critical_warning: u8,
    features: BTreeMap<u8, u32>,
    queues_granted: Option<(u16, u16)>,
    /// When CSTS.RDY follows CC.EN, until it has.
    ready_at_ns: Option<u64>,
    /// When it was last disabled.
    disabled_ns: Option<u64>,
    /// I/O commands fetched, and of them those that came as far as the medium: what chance counts by.
    fetched: u64,
    reached_media: u64,
    log: ErrorLog,
    spans: Vec<Span>,
    buffer: Vec<u8>,
}

impl Model {
    /// A controller that is disabled, with its registers as they are after power-on.
    ///
    /// # Errors
    /// When there is no memory for the registers.
    ///
    /// # Panics
    /// When `shape` has queues of less than 2 or more than 65,536 entries.
    pub fn new(shape: Shape, media: Box<dyn Media>) -> Result<Model, Error> {
        assert!((2..=1 << 16).contains(&shape.entries), "{} entries are no queue", shape.entries);
        let last = register::cq_doorbell(shape.io_queues, shape.traits.dstrd);
        let bar = Region::shared(last.next_multiple_of(PAGE).max(4 * PAGE))?;
        let mut first_byte = 0;
        let part = |&blocks: &u64| {
            let part = Part { first_byte, blocks, active: true };
            first_byte += blocks << shape.block_shift;
            part
        };
        let parts = shape.blocks.iter().map(part).collect();
        let model = Model {
            bar,
            space: Arc::new(AddressSpace::new()),
            media,
            faults: Arc::default(),
            parts,
            cc: Cc::default(),
            csts: Csts::default(),
            queues: Queues::new(shape.io_queues, shape.traits.dstrd),
            held: Held::default(),
            listening: VecDeque::new(),
            events: VecDeque::new(),
            masked: 0,
            changed: Vec::new(),
            critical_warning: 0,
            features: BTreeMap::new(),
            queues_granted: None,
            ready_at_ns: None,
            disabled_ns: None,
            fetched: 0,
            reached_media: 0,
            log: ErrorLog::default(),
            spans: Vec::new(),
            buffer: Vec::new(),
            shape,
        };
        model.power_on();
        Ok(model)
    }

    /// The registers after power-on.
    fn power_on(&self) {
        self.bar.fill(0, self.bar.length(), 0);
        let traits = &self.shape.traits;
        let mqes = if traits.has(Defect::UntoldEntries) { 0 } else { (self.shape.entries - 1) as u16 };
        let css = if traits.command_sets() { 1 | 1 << 6 } else { 1 };
        let cap = Cap::default().with_mqes(mqes).with_cqr(1).with_to(traits.to).with_css(css).with_dstrd(traits.dstrd);
        let cap = cap.with_mpsmin(traits.mpsmin).with_mpsmax(traits.mpsmin).with_crms(u8::from(traits.crto != 0));
        self.bar.store_u64(register::CAP, cap.0, Ordering::Release);
        self.bar.store_u32(register::VS, traits.version, Ordering::Release);
        let crto = Crto::default().with_crwmt(traits.crto).with_crimt(traits.crto);
        self.bar.store_u32(register::CRTO, crto.0, Ordering::Release);
    }

    /// Its registers and doorbells.
    #[must_use]
    pub fn bar(&self) -> Arc<Region> {
        Arc::clone(&self.bar)
    }

    /// What it reaches by DMA.
    #[must_use]
    pub fn space(&self) -> Arc<AddressSpace> {
        Arc::clone(&self.space)
    }

    /// What is to go wrong.
    #[must_use]
    pub fn faults(&self) -> Arc<Mutex<Faults>> {
        Arc::clone(&self.faults)
    }

    /// What it was made as.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Attaches or detaches a namespace, as an administrator elsewhere might, and reports it to the host.
    ///
    /// # Panics
    /// When there is no such namespace.
    pub fn set_active(&mut self, nsid: Nsid, active: bool) {
        self.parts[nsid.0 as usize - 1].active = active;
        if !self.changed.contains(&nsid) {
            self.changed.push(nsid);
        }
        // A notice that the host did not ask for is not sent (§5.27.1.8).
        let asked = self.features.get(&fid::ASYNC_EVENT_CONFIGURATION).copied().unwrap_or(0);
        if asked & aec::NAMESPACE_ATTRIBUTE != 0 {
            self.raise(AsyncEvent::NAMESPACE_CHANGED);
        }
    }

    /// Gives a namespace another size, no larger than it was made with, as an administrator elsewhere might, and reports it.
    ///
    /// # Panics
    /// When there is no such namespace, or no room for that.
    pub fn set_blocks(&mut self, nsid: Nsid, blocks: u64) {
        let at = nsid.0 as usize - 1;
        assert!((1..=self.shape.blocks[at]).contains(&blocks), "{blocks} blocks of {}", self.shape.blocks[at]);
        self.parts[at].blocks = blocks;
        self.set_active(nsid, true);
    }

    /// Sets the critical warnings of SMART / Health, and reports those that the host asked to hear of.
    pub fn warn(&mut self, critical_warning: u8) {
        self.critical_warning = critical_warning;
        let asked = self.features.get(&fid::ASYNC_EVENT_CONFIGURATION).copied().unwrap_or(0);
        if asked & u32::from(critical_warning) != 0 {
            self.raise(AsyncEvent { kind: 1, information: 0, log: lid::SMART_HEALTH });
        }
    }

    /// Reports an asynchronous event to the host, now or when it next asks (§5.2).
    pub fn raise(&mut self, event: AsyncEvent) {
        if !self.events.contains(&event) && self.events.len() < 64 {
            self.events.push_back(event);
        }
    }

    /// Power is lost and comes back at once. What was in flight is gone, executed or not at all; the registers are as after
    /// power-on, so the host finds a controller that it did not disable (CC.EN = 0, CSTS.RDY = 0) and that answers nothing.
    /// Of each block written and not durable the seed says whether it survives; a block is never torn. Identity, namespaces
    /// and what SMART counts stay.
    pub fn lose_power(&mut self, survives_seed: u64) {
        self.log.power_lost(self.csts.shst() != 2);
        self.power_on();
        self.cc = Cc::default();
        self.reset();
        self.changed.clear();
        self.media.lose_power(survives_seed);
    }

    /// Interrupt vectors that completion queues may choose from: one for each, as MSI-X.
    #[must_use]
    pub fn interrupt_vectors(&self) -> u16 {
        self.shape.io_queues + 1
    }

    /// The vectors whose completion queues have new entries since the last call, when they were created with interrupts
    /// enabled: one interrupt each, however many entries (PCIe Transport 1.0 §3.5). Who steps the model without interrupts
    /// does not have to ask.
    #[must_use]
    pub fn take_interrupts(&mut self) -> BTreeSet<u16> {
        self.queues.take_raised()
    }

    /// A function-level reset (PCIe Base 5.0 §6.6.2), as a kernel does when the process that drove it is gone: nothing is in
    /// flight, registers are as after power-on, no memory can be reached. What was written stays, cached or not.
    pub fn function_level_reset(&mut self) {
        self.device_reset();
        self.space.unmap_all();
    }

    /// The same while a driver goes on: the memory that it may reach stays as it is.
    pub fn device_reset(&mut self) {
        self.power_on();
        self.cc = Cc::default();
        self.reset();
    }

    /// When the earliest command held back is due; `u64::MAX` when there is none, or the controller is not running. Once
    /// [`Model::step`] has answered that there was nothing to do, there is nothing until then, unless somebody writes to its
    /// registers, changes its faults or raises an event.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        if let Some(ready_ns) = self.ready_at_ns {
            return ready_ns;
        }
        let due_ns = self.held.next_ns();
        if due_ns == u64::MAX || !self.is_running() || self.faults.lock().stopped { u64::MAX } else { due_ns }
    }

    /// Whether it executes commands: enabled, not shut down, and not broken.
    fn is_running(&self) -> bool {
        self.csts.rdy() == 1 && self.csts.cfs() == 0 && self.csts.shst() == 0
    }

    /// Does what there is to do now, a bounded amount of it. Answers whether there was anything.
    ///
    /// When there is nothing it costs the loads of CC and of one doorbell a submission queue that exists.
    pub fn step(&mut self, now_ns: u64) -> bool {
        // Never held while the medium is called: whoever watches the medium may change the faults.
        let (stopped, fatal, stray) = {
            let faults = self.faults.lock();
            (faults.stopped, faults.fatal, faults.stray)
        };
        if stopped {
            return false;
        }
        let mut worked = self.follow_cc(now_ns);
        if self.ready_at_ns.is_some_and(|ready_ns| now_ns >= ready_ns) {
            self.ready_at_ns = None;
            self.publish(self.csts.with_rdy(1));
            worked = true;
        }
        if fatal && self.cc.en() == 1 && self.csts.cfs() == 0 {
            self.fatal();
            worked = true;
        }
        if !self.is_running() {
            return worked;
        }
        worked |= self.deliver_events();
        worked |= self.execute_due(now_ns);
        worked |= self.serve(now_ns);
        if stray > 0 && self.queues.stray() {
            self.faults.lock().stray -= 1;
        }
        worked |= self.post();
        worked
    }

    /// Acts on what the host wrote to CC.
    fn follow_cc(&mut self, now_ns: u64) -> bool {
        let cc = Cc(self.bar.load_u32(register::CC, Ordering::Acquire));
        let old = std::mem::replace(&mut self.cc, cc);
        if cc == old {
            return false;
        }
        match (old.en(), cc.en()) {
            (1, 0) => {
                self.disabled_ns = Some(now_ns);
                self.reset();
            }
            (0, 1) => self.enable(now_ns),
            _ => {}
        }
        if cc.shn() != 0 && old.shn() == 0 {
            // What is cached becomes durable; a medium that cannot is not shut down in order.
            match self.media.flush() {
                Ok(()) => self.publish(self.csts.with_shst(2)),
                Err(_) => self.fatal(),
            }
        }
        true
    }

    /// CC.EN 1 → 0: every queue and every command is gone (§3.7.2).
    fn reset(&mut self) {
        self.queues.clear();
        self.held.clear();
        self.listening.clear();
        self.events.clear();
        self.masked = 0;
        self.features.clear();
        self.queues_granted = None;
        self.ready_at_ns = None;
        self.publish(Csts::default());
    }

    /// CC.EN 0 → 1: the admin queues come from AQA, ASQ and ACQ (§3.5.1).
    fn enable(&mut self, now_ns: u64) {
        let aqa = Aqa(self.bar.load_u32(register::AQA, Ordering::Acquire));
        let address = |at| {
            let low = self.bar.load_u32(at, Ordering::Acquire);
            let high = self.bar.load_u32(at + 4, Ordering::Acquire);
            (u64::from(low) | u64::from(high) << 32) & !(PAGE as u64 - 1)
        };
        let (asq, acq) = (address(register::ASQ), address(register::ACQ));
        let sizes_fit = aqa.asqs() >= 1 && aqa.acqs() >= 1;
        let traits = &self.shape.traits;
        let early = self.disabled_ns.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < DISABLE_NS);
        if early && traits.has(Defect::EarlyDisabled) {
            return self.fatal();
        }
        // The only memory page size and the command sets that CAP offers.
        let css_fits = self.cc.css() == 0 || self.cc.css() == 6 && traits.command_sets();
        if self.cc.mps() != traits.mpsmin || !css_fits || self.cc.ams() != 0 || !sizes_fit {
            return self.fatal();
        }
        // What was rung while the controller was disabled was rung for nobody.
        self.bar.fill(register::DOORBELLS, self.bar.length() - register::DOORBELLS, 0);
        let ready_ns = traits.ready_ns;
        // The admin queue's interrupt is always enabled, on vector 0 (§3.3.3.1).
        self.queues.create_cq(0, acq, u32::from(aqa.acqs()) + 1, Some(0));
        self.queues.create_sq(0, asq, u32::from(aqa.asqs()) + 1, 0);
        if ready_ns == 0 {
            self.publish(Csts::default().with_rdy(1));
        } else {
            self.ready_at_ns = Some(now_ns.saturating_add(ready_ns));
        }
    }

    fn fatal(&mut self) {
        self.publish(self.csts.with_cfs(1));
    }

    fn publish(&mut self, csts: Csts) {
        self.csts = csts;
        self.bar.store_u32(register::CSTS, csts.0, Ordering::Release);
    }

    /// Fetches and executes commands, a burst from each queue in turn.
    fn serve(&mut self, now_ns: u64) -> bool {
        let mut worked = false;
        let mut turn = self.queues.round();
        while let Some(qid) = self.queues.next_rung(&mut turn, &self.bar) {
            for _ in 0..BURST {
                let sqe = match self.queues.fetch(qid, &self.bar, &self.space) {
                    Ok(Some(sqe)) => sqe,
                    Ok(None) => break,
                    Err(queues::Broken::Doorbell) => {
                        // §5.2: error event, Invalid Doorbell Write Value.
                        self.raise(AsyncEvent { kind: 0, information: 1, log: 1 });
                        worked = true;
                        break;
                    }
                    Err(queues::Broken::Memory) => {
                        self.fatal();
                        return true;
                    }
                };
                worked = true;
                self.take(now_ns, qid, sqe);
            }
        }
        worked
    }

    /// A command arrives: at once, later, or never, as the faults have it.
    fn take(&mut self, now_ns: u64, qid: u16, sqe: Sqe) {
        if self.is_outstanding(qid, sqe.cid()) {
            return self.complete(qid, &sqe, Status::COMMAND_ID_CONFLICT.with_dnr(), 0);
        }
        if qid != 0 && self.shape.traits.has(Defect::OneCommand) && self.queues.is_crowded(qid, &self.bar) {
            return self.fatal();
        }
        if qid == 0 && sqe.opcode == opcode::ABORT && self.held.aborts() > usize::from(self.shape.traits.acl) {
            return self.complete(qid, &sqe, Status::ABORT_LIMIT_EXCEEDED.with_dnr(), 0);
        }
        let number = (qid != 0).then_some(self.fetched);
        self.fetched += u64::from(qid != 0);
        let action = self.faults.lock().strike(number, sqe.opcode);
        match action {
            Some(Action::Swallow) => self.queues.swallow(qid),
            Some(Action::Answer(status)) => self.complete(qid, &sqe, status, 0),
            Some(Action::DelayNs(delay_ns)) => {
                self.held.push(now_ns.saturating_add(delay_ns), qid, sqe);
            }
            None => self.execute(qid, &sqe),
        }
    }

    fn is_outstanding(&self, qid: u16, cid: Cid) -> bool {
        self.held.contains(qid, cid) || qid == 0 && self.listening.contains(&cid)
    }

    /// Executes the held commands whose time has come.
    fn execute_due(&mut self, now_ns: u64) -> bool {
        let mut worked = false;
        while let Some((qid, sqe)) = self.held.pop_due(now_ns) {
            self.execute(qid, &sqe);
            worked = true;
        }
        worked
    }

    fn execute(&mut self, qid: u16, sqe: &Sqe) {
        let outcome = if sqe.fuse() != 0 {
            // No fused operation is supported (FUSES 0).
            Outcome::Done(Status::INVALID_FIELD.with_dnr(), 0)
        } else if qid == 0 {
            self.admin(sqe)
        } else {
            Outcome::Done(self.nvm(sqe), 0)
        };
        match outcome {
            Outcome::Done(status, result) => self.complete(qid, sqe, status, result),
            Outcome::Kept => {}
        }
    }

    fn complete(&mut self, qid: u16, sqe: &Sqe, status: Status, result: u64) {
        // An Asynchronous Event Request that is sent back is no error.
        let is_request = qid == 0 && sqe.opcode == opcode::ASYNC_EVENT_REQUEST;
        if !status.is_success() && !is_request {
            self.log.record(qid, sqe, status);
        }
        self.queues.complete(qid, Cqe::new(sqe.cid(), status, result));
    }

    fn post(&mut self) -> bool {
        match self.queues.post(&self.bar, &self.space) {
            Ok(worked) => worked,
            Err(_) => {
                self.fatal();
                true
            }
        }
    }

    /// Events meet the requests that wait for them, unless their type waits for its log to be read.
    fn deliver_events(&mut self) -> bool {
        let mut worked = false;
        while !self.listening.is_empty() {
            let ready = self.events.iter().position(|event| self.masked & 1 << (event.kind & 7) == 0);
            let Some(event) = ready.and_then(|at| self.events.remove(at)) else { break };
            let cid = self.listening.pop_front().expect("not empty");
            self.masked |= 1 << (event.kind & 7);
            self.queues.complete(0, Cqe::new(cid, Status::SUCCESS, u64::from(event.emit())));
            worked = true;
        }
        worked
    }

    /// The part of the medium that is namespace `nsid`, when it is active.
    fn part(&self, nsid: Nsid) -> Option<Part> {
        let index = usize::try_from(nsid.0.checked_sub(1)?).ok()?;
        self.parts.get(index).copied().filter(|part| part.active)
    }
}
