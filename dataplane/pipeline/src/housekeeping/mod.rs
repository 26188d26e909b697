//! Housekeeping: the thread beside the lcores. It owns the channel to control, transactions, drives' admin
//! queues, keep-alive timers, and the names that lcores must not make up (QPNs, PSNs, slots).
//!
//! Sans-IO: a shell brings it frames, time and an [`Environment`], and carries its batches to the lcores.

mod drives;
mod handover;
mod keep_alive;
mod names;
mod p4runtime;
mod state;
mod transaction;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use gantry::channel::event::{Event, EventKind};
use gantry::channel::operation::{NamespaceAdd, QpCreate};
use gantry::channel::session::{Hello, Reason, Refused, Welcome};
use gantry::channel::slow_path::{Capsule, Punt};
use gantry::channel::table::{DigestData, PacketOut};
use gantry::channel::{self, Frame, Kind};
use gantry_dma::Region;
pub use gantry_nvme::{Bar, Doorbells, Registers};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use crate::command::PAGES_MAX;
use crate::exchange::{Batch, Change, Liveness};
use crate::memory::{IN_CAPSULE_MAX, PAGE};
use crate::state::Sizes;
use crate::tables::Writer;
use drives::Drive;
pub use handover::HousekeepingState;
use names::Names;
use p4runtime::{Clients, Filled};
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

    /// Checks a drive's URI for what no waiting mends, without touching the drive.
    ///
    /// # Errors
    /// A line for the operator.
    fn check_drive(&self, name: &str, uri: &str) -> Result<(), String>;

    /// Opens a drive, in bounded time. Called again every few seconds while it fails, and when a drive that was removed is
    /// looked for: one that is not there must be cheap to find so.
    ///
    /// # Errors
    /// A line for the operator.
    fn open_drive(&mut self, name: &str, uri: &str) -> Result<Box<dyn Attachment>, String>;

    /// Zeroed memory of `length` bytes that its drives can be given, aligned to pages of 4 KiB.
    ///
    /// # Errors
    /// A line for the operator.
    fn memory(&mut self, length: usize) -> Result<Arc<Region>, String> {
        Region::shared(length).map_err(|error| alloc::format!("{length} bytes of DMA memory: {error}"))
    }

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
    /// Its registers and doorbells.
    fn bar(&self) -> Bar;

    /// Lets the drive reach a region. Each region is mapped once.
    ///
    /// # Errors
    /// Why it cannot be, as a line for the operator: the kernel's limit on pinned memory, a peer that refuses or has gone.
    fn map(&self, region: Arc<Region>) -> Result<(), String>;

    /// Takes a region back that the drive could reach.
    fn unmap(&self, region: &Arc<Region>);

    /// Turns off all of the drive's DMA at its own end before memory is taken from one that may not have stopped, and on when it gets it
    /// (back). Only a drive that nothing stands between memory and has to heed it: where unmapped memory is out of reach, that
    /// is enough.
    ///
    /// # Errors
    /// Why it cannot be turned on, as a line for the operator. Off always succeeds.
    fn set_dma(&self, _on: bool) -> Result<(), String> {
        Ok(())
    }

    /// Does what does not happen by itself (doorbells that another process has to be told of), in bounded time, and says
    /// whether the drive is there. Called in every poll of housekeeping.
    fn poll(&mut self) -> Presence {
        Presence::There
    }

    /// Whether I/O waits for the next [`poll`](Self::poll): housekeeping then takes no long rests.
    fn needs_polling(&self) -> bool {
        false
    }

    /// Resets the device below NVMe, for one that no longer answers to CC.EN (a PCI function's reset); whether that was done.
    fn reset(&mut self) -> bool {
        false
    }
}

/// Whether a drive is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It is.
    There,
    /// Still, but it is to go, and somebody waits for the attachment to be dropped.
    Leaving,
    /// No longer: removed, or the process behind it has ended.
    Gone,
}

struct Port {
    device: String,
    mac: [u8; 6],
    mtu: u16,
    lcores: Vec<usize>,
}

/// A datagram for QP1, as the frame that punts it.
struct Datagram {
    came_ns: u64,
    /// A control has been sent it, and may have died before it acted.
    sent: bool,
    remote_ip: [u8; 16],
    frame: Vec<u8>,
}

impl Datagram {
    fn payload(&self) -> &[u8] {
        &self.frame[size_of::<channel::Header>() + size_of::<Punt>()..]
    }
}

/// Where a MAD's transaction id is (IBA 13.4.3).
const MAD_TRANSACTION_ID: core::ops::Range<usize> = 8..16;

/// Frames that wait for a control which does not read, before datagrams are no longer added.
const BACKLOG: usize = 4096;

/// Bytes of an Ethernet header, without a tag and with one.
const ETHERNET_MIN: usize = 14;
const ETHERNET_MAX: usize = 18;

/// Datagrams that are kept.
const DATAGRAMS_MAX: usize = 256;

/// How long a datagram that no control has seen is kept. After that its sender has repeated it or given up.
const DATAGRAM_UNSEEN_NS: u64 = 30_000_000_000;

/// How long one is kept that a control has seen and not answered. A host repeats a REQ after seconds only, longer than its keep-alive timeout
/// may be: a new control gets it again at once. Connection management takes repeated MADs for what they are.
const DATAGRAM_SEEN_NS: u64 = 3_000_000_000;

/// A QP, from COMMIT to its retirement.
struct QpRecord {
    lcore: usize,
    slot: u32,
    create: QpCreate,
    receive_psn: u32,
    cntlid: Option<u16>,
    established: bool,
    /// A `QpFailure`, zero when it has not failed.
    failure: u16,
    closing: bool,
    blob: Vec<u8>,
}

/// A controller, from COMMIT until the last of its QPs is retired.
struct ControllerRecord {
    keep_alive_ms: u32,
    expired: bool,
    closing: bool,
    /// Entries of the command table, by NSID.
    namespaces: BTreeMap<u32, NamespaceAdd>,
    blob: Vec<u8>,
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
    /// Minor version that control speaks.
    minor: u16,
    epoch: u64,
    outgoing: VecDeque<Vec<u8>>,
    batches: Vec<VecDeque<Box<Batch<E::Queue>>>>,
    barrier: u64,
    open: Option<Open<E::Queue>>,
    commits: Vec<Commit>,
    names: Names,
    tables: Writer,
    /// What P4Runtime's clients have written to them.
    clients: Clients,
    ports: BTreeMap<u16, Port>,
    addresses: BTreeSet<(u16, u16, [u8; 16])>,
    drives: BTreeMap<u16, Drive>,
    qps: BTreeMap<u32, QpRecord>,
    /// Datagrams that control may not have acted upon, oldest first.
    datagrams: VecDeque<Datagram>,
    /// Capsules that control has not answered, as frames, by QPN and punt sequence. Bounded by the commands of the lcores.
    unanswered: BTreeMap<(u32, u32), Vec<u8>>,
    controllers: BTreeMap<u16, ControllerRecord>,
    namespaces: usize,
    keep_alive_check_ns: u64,
}

impl<E: Environment> Housekeeping<E> {
    /// Housekeeping for lcores with these DMA regions, one each, and the tables that they read.
    #[must_use]
    pub fn new(
        mut environment: E,
        sizes: Sizes,
        liveness: Liveness,
        lcore_memory: Vec<Arc<Region>>,
        tables: Writer,
    ) -> Self {
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
            minor: 0,
            epoch: 0,
            outgoing: VecDeque::new(),
            batches: (0..lcores).map(|_| VecDeque::new()).collect(),
            barrier: 0,
            open: None,
            commits: Vec::new(),
            names: Names::new(lcores, sizes.qps),
            tables,
            clients: Clients::default(),
            ports: BTreeMap::new(),
            addresses: BTreeSet::new(),
            drives: BTreeMap::new(),
            qps: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            datagrams: VecDeque::new(),
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
            Ok(frame) if frame.kind == Kind::Hello => self.hello(now_ns, &frame),
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
    pub fn handle_applied(&mut self, now_ns: u64, batch: Batch<E::Queue>) {
        let Batch { changes, generation: _, barrier } = batch;
        for change in changes {
            if let Change::DriveRemove { drive, returned, .. } = change {
                self.drive_returned(now_ns, drive, returned);
            }
        }
        let Some(at) = self.commits.iter().position(|commit| commit.barrier == barrier) else { return };
        self.commits[at].waiting -= 1;
        if self.commits[at].waiting == 0 {
            let commit = self.commits.swap_remove(at);
            self.send(Kind::Committed, commit.transaction, &[], &[]);
        }
    }

    /// A channel frame that an lcore wrote.
    pub fn handle_report(&mut self, now_ns: u64, lcore: usize, datagram: &[u8]) {
        let frame = Frame::parse(datagram).expect("an lcore writes whole frames");
        match frame.kind {
            Kind::Event => {
                let (event, _) = frame.body::<Event>().expect("an lcore writes whole events");
                if self.note(now_ns, lcore, event) {
                    return;
                }
            }
            Kind::Capsule => {
                let (capsule, _) = frame.body::<Capsule>().expect("an lcore writes whole capsules");
                let qpn = capsule.qpn.get();
                if !self.qps.contains_key(&qpn) {
                    return;
                }
                self.unanswered.insert((qpn, capsule.punt.get()), datagram.to_vec());
            }
            _ => {}
        }
        if let (Kind::Punt, Ok((punt, _))) = (frame.kind, frame.body::<Punt>()) {
            if self.datagrams.len() == DATAGRAMS_MAX {
                self.datagrams.pop_front();
            }
            let remote_ip = punt.path.remote_ip;
            let datagram = Datagram { came_ns: now_ns, sent: self.connected, remote_ip, frame: datagram.to_vec() };
            self.datagrams.push_back(datagram);
        }
        let of_tables = match frame.kind {
            Kind::PacketIn => true,
            Kind::DigestData => match DigestData::parse(frame.bytes) {
                Ok((digest, _)) if self.clients.wants(digest) => true,
                _ => return,
            },
            _ => false,
        };
        if of_tables && self.minor < 2 {
            return;
        }
        // What happens while control is away it learns from the state that its session begins with. One that does not read
        // gets no more datagrams; everything else is bounded by the objects it speaks of.
        let bounded = of_tables || frame.kind == Kind::Punt;
        if self.connected && (!bounded || self.outgoing.len() < BACKLOG) {
            self.outgoing.push_back(datagram.to_vec());
        }
    }

    /// Keeps what an event says. Whether control need not hear it yet.
    fn note(&mut self, now_ns: u64, lcore: usize, event: &Event) -> bool {
        let object = event.object.get();
        match EventKind::from_u16(event.kind.get()) {
            Some(EventKind::QpRetired) => self.retired(now_ns, object),
            Some(EventKind::QpEstablished) => {
                if let Some(qp) = self.qps.get_mut(&object) {
                    qp.established = true;
                }
            }
            Some(EventKind::QpFailed) => {
                if let Some(qp) = self.qps.get_mut(&object) {
                    qp.failure = event.reason.get();
                }
            }
            Some(EventKind::DriveSlow) => self.abort(now_ns, lcore, object as u16, event.reason.get()),
            // Control hears of it when the drive is reset and its commands have ended.
            Some(EventKind::DriveFailed) => {
                self.drive_timed_out(now_ns, object as u16);
                return true;
            }
            _ => {}
        }
        false
    }

    /// Does what time brings: drives' bring-up, keep-alive timers.
    pub fn poll(&mut self, now_ns: u64) {
        self.poll_drives(now_ns);
        self.poll_keep_alive(now_ns);
        self.names.rest_until(now_ns);
        self.tables.reclaim();
        let idle = self.clients.poll_idle(now_ns, &self.tables);
        if self.connected && self.minor >= 2 && self.outgoing.len() < BACKLOG {
            self.outgoing.extend(idle);
        }
    }

    /// Whether [`Self::poll`] may be called less often: what it waits for is far away, or told of by an lcore.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.drives_are_settled()
    }

    /// Whether a HELLO opens a session: the frame that refuses it, when it does not. Nothing changes, so that a process that
    /// knocks does not disturb the control that is there.
    #[must_use]
    pub fn refusal_of(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let (reason, text) = match Frame::parse(datagram) {
            Ok(frame) if frame.kind == Kind::Hello => self.admit(&frame).err()?,
            _ => (Reason::Malformed, String::from("a session begins with HELLO")),
        };
        Some(refused(0, u32::MAX, reason, &text))
    }

    /// What a control hears last when a newer one takes the session over.
    #[must_use]
    pub fn fencing(&self) -> Vec<u8> {
        refused(0, u32::MAX, Reason::Fenced, "a newer control has taken over")
    }

    fn admit<'a>(&self, frame: &Frame<'a>) -> Result<&'a Hello, (Reason, String)> {
        let (hello, _) = frame.body::<Hello>().map_err(|_| (Reason::Malformed, String::from("HELLO is too short")))?;
        let (major, minor) = channel::VERSION;
        if hello.major.get() != major {
            let text = alloc::format!("control speaks channel {}, the data plane {major}.{minor}", hello.major);
            return Err((Reason::Version, text));
        }
        if hello.epoch.get() < self.epoch {
            return Err((Reason::Fenced, String::from("a newer control has been here")));
        }
        Ok(hello)
    }

    fn hello(&mut self, now_ns: u64, frame: &Frame<'_>) -> bool {
        let hello = match self.admit(frame) {
            Ok(hello) => hello,
            Err((reason, text)) => {
                self.refuse(0, u32::MAX, reason, &text);
                return false;
            }
        };
        let (major, minor) = channel::VERSION;
        self.epoch = hello.epoch.get();
        self.connected = true;
        self.minor = minor.min(hello.minor.get());
        self.rollback();
        // Whoever waits for these is gone.
        self.commits.clear();
        let welcome = Welcome {
            major: U16::new(major),
            minor: U16::new(self.minor),
            lcores: U16::new(self.lcores as u16),
            in_capsule_data: U16::new(IN_CAPSULE_MAX as u16),
            boot_id: U64::new(self.boot_id),
            qps: U32::new(self.sizes.qps * self.lcores as u32),
            transfer_max: U32::new((PAGES_MAX * PAGE) as u32),
        };
        self.outgoing.clear();
        self.send(Kind::Welcome, 0, welcome.as_bytes(), &[]);
        self.tell_state(now_ns);
        true
    }

    fn session_frame(&mut self, now_ns: u64, frame: &Frame<'_>) {
        match frame.kind {
            Kind::Begin => self.begin(frame.transaction),
            Kind::Prepare => self.prepare(frame.transaction),
            Kind::Commit => self.commit(now_ns, frame.transaction),
            Kind::Rollback => self.rollback(),
            Kind::Inject => self.inject(frame),
            Kind::CounterRead | Kind::SinceHit | Kind::TableDump => self.answer(now_ns, frame),
            Kind::PacketOut => self.packet_out(frame),
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
        // An answer carries the transaction id of what it answers (IBA 13.4.6.4): control has acted on that one.
        let id = (inject.path.remote_ip, payload.get(MAD_TRANSACTION_ID));
        self.datagrams.retain(|datagram| (datagram.remote_ip, datagram.payload().get(MAD_TRANSACTION_ID)) != id);
        let change = Change::Inject {
            path: inject.path,
            dest_qpn: inject.dest_qpn.get(),
            qkey: inject.qkey.get(),
            pkey: inject.pkey.get(),
            payload: payload.to_vec(),
        };
        self.send_batch(lcore, Vec::from([change]), 0);
    }

    /// A question of P4Runtime's clients.
    fn answer(&mut self, now_ns: u64, frame: &Frame<'_>) {
        match self.clients.answer(now_ns, &self.tables, &Own(self), frame) {
            Ok(answer) => self.outgoing.push_back(answer),
            Err((reason, text)) => self.refuse(frame.transaction, u32::MAX, reason, &text),
        }
    }

    /// A frame of a P4Runtime client, to be sent as it is.
    fn packet_out(&mut self, frame: &Frame<'_>) {
        let Ok((packet, bytes)) = frame.body::<PacketOut>() else {
            self.refuse(frame.transaction, u32::MAX, Reason::Malformed, "PACKET_OUT is too short");
            return;
        };
        let number = u16::try_from(packet.port.get()).ok();
        let port = number.and_then(|number| Some((number, self.ports.get(&number)?)));
        let Some((number, lcore)) = port.and_then(|(number, port)| Some((number, *port.lcores.first()?))) else {
            self.refuse(frame.transaction, u32::MAX, Reason::NotFound, "PACKET_OUT names no port");
            return;
        };
        // An Ethernet header, and what the port's largest packet is with one.
        let most = usize::from(self.ports[&number].mtu) + ETHERNET_MAX;
        if !(ETHERNET_MIN..=most).contains(&bytes.len()) {
            self.refuse(frame.transaction, u32::MAX, Reason::Invalid, "PACKET_OUT is no frame of that port");
            return;
        }
        let change = Change::Transmit { port: number, frame: bytes.to_vec() };
        self.send_batch(lcore, Vec::from([change]), 0);
    }

    fn retired(&mut self, now_ns: u64, qpn: u32) {
        let record = self.qps.remove(&qpn).expect("an lcore retires what it was given");
        self.unanswered.retain(|(of, _), _| *of != qpn);
        if let Some(cntlid) = record.cntlid {
            let last = self.qps.values().all(|qp| qp.cntlid != Some(cntlid));
            if last && self.controllers.get(&cntlid).is_some_and(|controller| controller.closing) {
                self.controllers.remove(&cntlid);
            }
        }
        self.names.retire(now_ns, record.lcore, record.slot, qpn);
    }

    fn send(&mut self, kind: Kind, transaction: u64, body: &[u8], tail: &[u8]) {
        self.outgoing.push_back(channel::emit(kind, transaction, body, tail));
    }

    fn event(&mut self, kind: EventKind, reason: u16, object: u32, tail: &[u8]) {
        let event = Event { kind: U16::new(kind as u16), reason: U16::new(reason), object: U32::new(object) };
        self.send(Kind::Event, 0, event.as_bytes(), tail);
    }

    fn refuse(&mut self, transaction: u64, operation: u32, reason: Reason, text: &str) {
        self.outgoing.push_back(refused(transaction, operation, reason, text));
    }

    fn send_batch(&mut self, lcore: usize, changes: Vec<Change<E::Queue>>, barrier: u64) {
        let generation = self.tables.current();
        self.batches[lcore].push_back(Box::new(Batch { changes, generation, barrier }));
    }
}

/// What housekeeping fills tables with, as it is told to P4Runtime's clients.
struct Own<'a, E: Environment>(&'a Housekeeping<E>);

impl<E: Environment> Filled for Own<'_, E> {
    fn addresses(&self, from: u64) -> impl Iterator<Item = (u16, u16, [u8; 16])> {
        self.0.addresses.iter().copied().skip(usize::try_from(from).unwrap_or(usize::MAX))
    }

    fn qps(&self, from: u32) -> impl Iterator<Item = (u32, u16, u32)> {
        let open = self.0.qps.range(from..).filter(|(_, qp)| !qp.closing);
        open.map(|(qpn, qp)| (*qpn, qp.lcore as u16, qp.slot))
    }

    fn namespaces(&self, (cntlid, nsid): (u16, u32)) -> impl Iterator<Item = &NamespaceAdd> {
        let of = self.0.controllers.range(cntlid..);
        let all = of.flat_map(|(cntlid, controller)| controller.namespaces.values().map(move |add| (*cntlid, add)));
        all.filter(move |(of, add)| (*of, add.nsid.get()) >= (cntlid, nsid)).map(|(_, add)| add)
    }
}

fn refused(transaction: u64, operation: u32, reason: Reason, text: &str) -> Vec<u8> {
    let body = Refused { operation: U32::new(operation), reason: U16::new(reason as u16), reserved: U16::ZERO };
    channel::emit(Kind::Refused, transaction, body.as_bytes(), text.as_bytes())
}
