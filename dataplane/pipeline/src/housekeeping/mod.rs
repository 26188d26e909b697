//! Housekeeping: the thread beside the lcores. It owns the channel to control, transactions, drives' admin
//! queues, keep-alive timers, and the names that lcores must not make up (QPNs, PSNs, slots).
//!
//! Sans-IO: a shell brings it frames, time and an [`Environment`], and carries its batches to the lcores.

mod drives;
mod keep_alive;
mod names;
mod transaction;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use gantry::channel::event::{Event, EventKind};
use gantry::channel::session::{Hello, Reason, Refused, Welcome};
use gantry::channel::{self, Frame, Kind};
use gantry_dma::Region;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::command::PAGES_MAX;
use crate::exchange::{Batch, Change, Liveness};
use crate::memory::{IN_CAPSULE_MAX, PAGE};
use crate::state::Sizes;
use drives::Drive;
use names::Names;
use transaction::{Commit, Open};

/// What housekeeping needs from the process it runs in.
pub trait Environment {
    /// One lcore's queue pair of a port.
    type Queue;

    /// Opens a port and gives each lcore that shall poll it a queue pair.
    ///
    /// # Errors
    /// A line for the operator: what, where, what to do.
    fn open_port(&mut self, port: u16, mtu: u16, device: &str) -> Result<OpenPort<Self::Queue>, String>;

    /// Opens a drive.
    ///
    /// # Errors
    /// A line for the operator.
    fn open_drive(&mut self, name: &str, uri: &str) -> Result<Box<dyn Attachment>, String>;

    /// Sixty-four bits that nobody can guess.
    fn random(&mut self) -> u64;
}

/// A port that has been opened.
pub struct OpenPort<Q> {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Queue pairs, each with the lcore it is for.
    pub queues: Vec<(usize, Q)>,
}

/// A drive's connection: registers and reachable memory. Dropping it detaches the drive.
pub trait Attachment: Send {
    /// Its registers.
    fn bar(&self) -> Arc<Region>;
    /// Lets the drive reach a region.
    fn map(&self, region: Arc<Region>);
}

struct Port {
    device: String,
    mac: [u8; 6],
    mtu: u16,
    lcores: Vec<usize>,
}

struct QpRecord {
    lcore: usize,
    slot: u32,
    cntlid: Option<u16>,
}

struct ControllerRecord {
    keep_alive_ns: u64,
    expired: bool,
    namespaces: BTreeSet<u32>,
}

/// The housekeeping thread's state.
pub struct Housekeeping<E: Environment> {
    environment: E,
    lcores: usize,
    sizes: Sizes,
    liveness: Liveness,
    /// Every lcore's DMA memory, mapped for each drive.
    lcore_memory: Vec<Arc<Region>>,
    boot_id: u64,
    connected: bool,
    epoch: u64,
    outgoing: VecDeque<Vec<u8>>,
    batches: Vec<VecDeque<Box<Batch<E::Queue>>>>,
    barrier: u64,
    open: Option<Open<E::Queue>>,
    commits: Vec<Commit>,
    names: Names,
    ports: BTreeMap<u16, Port>,
    addresses: BTreeSet<(u16, u16, [u8; 16])>,
    drives: BTreeMap<u16, Drive>,
    qps: BTreeMap<u32, QpRecord>,
    controllers: BTreeMap<u16, ControllerRecord>,
    namespaces: usize,
    keep_alive_check_ns: u64,
}

/// Frames kept for a control that is away. Beyond it datagrams are dropped (hosts repeat them); everything
/// else is bounded by the objects it speaks of.
const BACKLOG: usize = 65_536;

impl<E: Environment> Housekeeping<E> {
    /// Housekeeping for lcores with these DMA regions, one each.
    #[must_use]
    pub fn new(mut environment: E, sizes: Sizes, liveness: Liveness, lcore_memory: Vec<Arc<Region>>) -> Self {
        let lcores = lcore_memory.len();
        let boot_id = environment.random();
        Self {
            environment,
            lcores,
            sizes,
            liveness,
            lcore_memory,
            boot_id,
            connected: false,
            epoch: 0,
            outgoing: VecDeque::new(),
            batches: (0..lcores).map(|_| VecDeque::new()).collect(),
            barrier: 0,
            open: None,
            commits: Vec::new(),
            names: Names::new(lcores, sizes.qps),
            ports: BTreeMap::new(),
            addresses: BTreeSet::new(),
            drives: BTreeMap::new(),
            qps: BTreeMap::new(),
            controllers: BTreeMap::new(),
            namespaces: 0,
            keep_alive_check_ns: 0,
        }
    }

    /// The process it runs in.
    pub fn environment(&mut self) -> &mut E {
        &mut self.environment
    }

    /// The channel was lost: what was not committed is forgotten, what runs goes on.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.rollback();
    }

    /// Whether a control has said HELLO and was welcomed.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Takes one frame from control. False when the session is over: refused, or broken beyond reading.
    pub fn handle_frame(&mut self, now_ns: u64, datagram: &[u8]) -> bool {
        match Frame::parse(datagram) {
            Ok(frame) if frame.kind == Kind::Hello => self.hello(&frame),
            Ok(frame) if self.connected => {
                self.session_frame(now_ns, &frame);
                true
            }
            Ok(_) => {
                self.refuse(0, u32::MAX, Reason::Malformed, "a session begins with HELLO");
                false
            }
            Err(error) => {
                self.refuse(0, u32::MAX, Reason::Malformed, &alloc::format!("{error}"));
                false
            }
        }
    }

    /// The next frame for control; none while no session is open, except a refusal.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// The next batch for an lcore.
    pub fn poll_batch(&mut self, lcore: usize) -> Option<Box<Batch<E::Queue>>> {
        self.batches[lcore].pop_front()
    }

    /// Puts a batch back to the front of its lcore's line: the ring to it was full.
    pub fn return_batch(&mut self, lcore: usize, batch: Box<Batch<E::Queue>>) {
        self.batches[lcore].push_front(batch);
    }

    /// An lcore has applied a batch.
    pub fn handle_applied(&mut self, _lcore: usize, batch: Box<Batch<E::Queue>>) {
        let barrier = batch.barrier;
        drop(batch);
        let Some(at) = self.commits.iter().position(|commit| commit.barrier == barrier) else { return };
        self.commits[at].waiting -= 1;
        if self.commits[at].waiting == 0 {
            let commit = self.commits.swap_remove(at);
            self.send(Kind::Committed, commit.transaction, &[], &[]);
        }
    }

    /// A channel frame that an lcore wrote.
    pub fn handle_report(&mut self, now_ns: u64, datagram: &[u8]) {
        let frame = Frame::parse(datagram).expect("an lcore writes whole frames");
        if frame.kind == Kind::Event {
            let (event, _) = frame.body::<Event>().expect("an lcore writes whole events");
            let object = event.object.get();
            match EventKind::from_u16(event.kind.get()) {
                Some(EventKind::QpRetired) => self.retired(now_ns, object),
                // Control hears of it when the drive is reset and its commands have ended.
                Some(EventKind::DriveFailed) => {
                    self.drive_timed_out(now_ns, object as u16);
                    return;
                }
                _ => {}
            }
        }
        if frame.kind == Kind::Punt && !self.connected {
            return;
        }
        if self.outgoing.len() < BACKLOG || frame.kind != Kind::Punt {
            self.outgoing.push_back(datagram.to_vec());
        }
    }

    /// Does what time brings: drives' bring-up, keep-alive timers.
    pub fn poll(&mut self, now_ns: u64) {
        self.poll_drives(now_ns);
        self.poll_keep_alive(now_ns);
        self.names.rest_until(now_ns);
    }

    fn hello(&mut self, frame: &Frame<'_>) -> bool {
        let Ok((hello, _)) = frame.body::<Hello>() else {
            self.refuse(0, u32::MAX, Reason::Malformed, "HELLO is too short");
            return false;
        };
        let (major, minor) = channel::VERSION;
        if hello.major.get() != major {
            let text = alloc::format!("control speaks channel {}, the data plane {major}.{minor}", hello.major);
            self.refuse(0, u32::MAX, Reason::Version, &text);
            return false;
        }
        if hello.epoch.get() < self.epoch {
            self.refuse(0, u32::MAX, Reason::Fenced, "a newer control has been here");
            return false;
        }
        self.epoch = hello.epoch.get();
        self.connected = true;
        self.rollback();
        let welcome = Welcome {
            major: U16::new(major),
            minor: U16::new(minor),
            lcores: U16::new(self.lcores as u16),
            in_capsule_data: U16::new(IN_CAPSULE_MAX as u16),
            boot_id: U64::new(self.boot_id),
            qps: U32::new(self.sizes.qps * self.lcores as u32),
            transfer_max: U32::new((PAGES_MAX * PAGE) as u32),
        };
        let bytes = channel::emit(Kind::Welcome, 0, welcome.as_bytes(), &[]);
        // Before what was kept for it while it was away.
        let kept = core::mem::take(&mut self.outgoing);
        self.outgoing.push_back(bytes);
        for number in self.ports.keys().copied().collect::<Vec<_>>() {
            self.port_up(number);
        }
        for number in self.drives.keys().copied().collect::<Vec<_>>() {
            self.announce_drive(number);
        }
        self.outgoing.extend(kept);
        true
    }

    fn session_frame(&mut self, now_ns: u64, frame: &Frame<'_>) {
        match frame.kind {
            Kind::Begin => self.begin(frame.transaction),
            Kind::Prepare => self.prepare(now_ns, frame.transaction),
            Kind::Commit => self.commit(now_ns, frame.transaction),
            Kind::Rollback => self.rollback(),
            Kind::Inject => self.inject(frame),
            _ => self.operation(frame),
        }
    }

    fn inject(&mut self, frame: &Frame<'_>) {
        let Ok((inject, payload)) = frame.body::<channel::slow_path::Inject>() else {
            self.refuse(0, u32::MAX, Reason::Malformed, "INJECT is too short");
            return;
        };
        let Some(lcore) = self.ports.get(&inject.path.port.get()).and_then(|port| port.lcores.first().copied()) else {
            self.refuse(0, u32::MAX, Reason::NotFound, "INJECT names no port");
            return;
        };
        let change = Change::Inject {
            path: inject.path,
            dest_qpn: inject.dest_qpn.get(),
            qkey: inject.qkey.get(),
            pkey: inject.pkey.get(),
            payload: payload.to_vec(),
        };
        self.send_batch(lcore, Vec::from([change]), 0);
    }

    fn retired(&mut self, now_ns: u64, qpn: u32) {
        let record = self.qps.remove(&qpn).expect("an lcore retires what it was given");
        self.names.retire(now_ns, record.lcore, record.slot, qpn);
        for lcore in (0..self.lcores).filter(|lcore| *lcore != record.lcore) {
            self.send_batch(lcore, Vec::from([Change::QpForget { qpn }]), 0);
        }
    }

    fn send(&mut self, kind: Kind, transaction: u64, body: &[u8], tail: &[u8]) {
        self.outgoing.push_back(channel::emit(kind, transaction, body, tail));
    }

    fn event(&mut self, kind: EventKind, reason: u16, object: u32, tail: &[u8]) {
        let event = Event { kind: U16::new(kind as u16), reason: U16::new(reason), object: U32::new(object) };
        self.send(Kind::Event, 0, event.as_bytes(), tail);
    }

    fn refuse(&mut self, transaction: u64, operation: u32, reason: Reason, text: &str) {
        let body = Refused { operation: U32::new(operation), reason: U16::new(reason as u16), reserved: U16::ZERO };
        self.send(Kind::Refused, transaction, body.as_bytes(), text.as_bytes());
    }

    fn send_batch(&mut self, lcore: usize, changes: Vec<Change<E::Queue>>, barrier: u64) {
        self.batches[lcore].push_back(Box::new(Batch { changes, barrier }));
    }
}
