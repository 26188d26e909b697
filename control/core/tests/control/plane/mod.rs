//! A data plane that keeps to the contract and checks that control does, and a host that speaks to it.
//!
//! It outlives control: [`Plane::kill`] puts a new one in the place of the old at any frame, and tells it what runs.

mod host;
mod state;
mod transaction;

pub(crate) use host::*;

use gantry::channel::event::{DriveLimits, DriveNamespace, DriveReady, Event, EventKind, NamespaceHints};
use gantry::channel::operation::{Answer, NamespaceAdd, QpCreate};
use gantry::channel::session::{Hello, Reason, Welcome};
use gantry::channel::slow_path::{Capsule, Inject, Punt};
use gantry::channel::{Frame, Kind, Path, emit};
use gantry_control::{Configuration, Control, Drive, Hosts, Namespace, Notice, Port, Subsystem};
use gantry_wire::cm::{self, Message};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub(crate) const SECOND_NS: u64 = 1_000_000_000;
pub(crate) const S1: &str = "nqn.2026-01.lab:s1";
pub(crate) const CLOSED: &str = "nqn.2026-01.lab:closed";
pub(crate) const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555";
pub(crate) const HOST_ID: [u8; 16] =
    [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55];
pub(crate) const UUID: [u8; 16] = [0xaa; 16];
pub(crate) const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// One port, two drives; `s1` for [`HOST`] and `closed` for nobody.
pub(crate) fn configuration() -> Configuration {
    let namespace = |nsid, drive: &str, byte| Namespace {
        nsid,
        drive: drive.into(),
        drive_nsid: None,
        uuid: [byte; 16],
        read_only: false,
    };
    Configuration {
        epoch: 7,
        ports: vec![Port {
            name: "wire0".into(),
            device: "net_vhost0".into(),
            mtu: 1500,
            vlan: 0,
            addresses: vec![IpAddr::V4(LOCAL), "fd00::1".parse().unwrap()],
        }],
        drives: vec![
            Drive { name: "a".into(), uri: "mem:64M".into() },
            Drive { name: "b".into(), uri: "file:/b".into() },
        ],
        subsystems: vec![
            Subsystem {
                nqn: S1.into(),
                hosts: Hosts::Only(vec![HOST.into()]),
                namespaces: vec![namespace(1, "a", 0xaa), namespace(2, "b", 0xbb)],
            },
            Subsystem { nqn: CLOSED.into(), hosts: Hosts::Only(vec![]), namespaces: vec![namespace(1, "b", 0xcc)] },
        ],
    }
}

#[derive(Default)]
struct Open {
    id: u64,
    operations: Vec<(Kind, Vec<u8>)>,
    reserved: Vec<u32>,
    prepared: bool,
}

/// The data plane, as far as control can see it.
pub(crate) struct Plane {
    pub(crate) control: Control,
    pub(crate) now_ns: u64,
    pub(crate) next_qpn: u32,
    /// MADs for hosts.
    pub(crate) injected: VecDeque<(Inject, [u8; 256])>,
    /// Operations that were committed and changed something.
    pub(crate) applied: Vec<(Kind, Vec<u8>)>,
    pub(crate) answers: BTreeMap<(u32, u32), (Answer, Vec<u8>)>,
    /// Capsules that await their answer, as frames.
    pub(crate) unanswered: BTreeMap<(u32, u32), Vec<u8>>,
    pub(crate) qps: BTreeMap<u32, QpCreate>,
    pub(crate) qp_blobs: BTreeMap<u32, Vec<u8>>,
    pub(crate) bound: BTreeMap<u32, u16>,
    /// QPs that the host has sent on, and that have failed.
    pub(crate) established: BTreeSet<u32>,
    pub(crate) failed: BTreeMap<u32, u16>,
    pub(crate) controllers: BTreeMap<u16, u32>,
    pub(crate) controller_blobs: BTreeMap<u16, Vec<u8>>,
    pub(crate) expired: BTreeSet<u16>,
    /// Removed controllers whose QPs drain.
    pub(crate) closing: BTreeSet<u16>,
    pub(crate) namespaces: BTreeMap<(u16, u32), NamespaceAdd>,
    ports: BTreeMap<u16, Vec<u8>>,
    addresses: BTreeSet<Vec<u8>>,
    drives: BTreeMap<u16, Vec<u8>>,
    /// Drives that are up, or down with these words.
    drive_states: BTreeMap<u32, Result<(), Vec<u8>>>,
    /// Drives that are given up: they are not opened a second time.
    pub(crate) dead: BTreeSet<u16>,
    /// Destroyed QPs whose retirement waits for [`Plane::retire`].
    pub(crate) draining: BTreeMap<u32, (QpCreate, Option<u16>)>,
    /// Retire QPs as soon as they are destroyed.
    pub(crate) retire_at_once: bool,
    /// Some lcore has not applied yet what was committed: COMMITTED waits for [`Plane::say_committed`].
    pub(crate) slow_lcore: bool,
    committed: VecDeque<Vec<u8>>,
    /// Refuse the next transaction that has this operation.
    pub(crate) refuse: Option<(Kind, Reason)>,
    pub(crate) boot_id: u64,
    /// Minor version of the contract that it speaks.
    pub(crate) minor: u16,
    pub(crate) qps_max: u32,
    /// Answers that were refused because nobody waits for them.
    pub(crate) answers_refused: usize,
    punts: BTreeMap<u32, u32>,
    open: Option<Open>,
    /// Swallow Prepare: transactions stay open.
    pub(crate) stall: bool,
    /// Keep Synchronized back: it follows with [`Plane::synchronize`].
    pub(crate) mute: bool,
    connected: bool,
    to_control: VecDeque<Vec<u8>>,
    /// Moments so far: one before and one after each frame to control, one after each from it.
    pub(crate) moments: u64,
    /// Moments at which control dies, the first first.
    pub(crate) kill_at: VecDeque<u64>,
    lives: u64,
}

impl Plane {
    /// A session with control of `configuration`, no drive ready yet.
    pub(crate) fn starting(configuration: Configuration) -> Self {
        Self::speaking(configuration, 1)
    }

    /// The same with a data plane of contract 1.`minor`.
    pub(crate) fn speaking(configuration: Configuration, minor: u16) -> Self {
        let mut plane = Self {
            control: Control::new(configuration, 42),
            now_ns: SECOND_NS,
            next_qpn: 0x11,
            injected: VecDeque::new(),
            applied: Vec::new(),
            answers: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            qps: BTreeMap::new(),
            qp_blobs: BTreeMap::new(),
            bound: BTreeMap::new(),
            established: BTreeSet::new(),
            failed: BTreeMap::new(),
            controllers: BTreeMap::new(),
            controller_blobs: BTreeMap::new(),
            expired: BTreeSet::new(),
            closing: BTreeSet::new(),
            namespaces: BTreeMap::new(),
            ports: BTreeMap::new(),
            addresses: BTreeSet::new(),
            drives: BTreeMap::new(),
            drive_states: BTreeMap::new(),
            dead: BTreeSet::new(),
            draining: BTreeMap::new(),
            retire_at_once: true,
            slow_lcore: false,
            committed: VecDeque::new(),
            refuse: None,
            boot_id: 0xb007,
            minor,
            qps_max: 256,
            answers_refused: 0,
            punts: BTreeMap::new(),
            open: None,
            stall: false,
            mute: false,
            connected: false,
            to_control: VecDeque::new(),
            moments: 0,
            kill_at: VecDeque::new(),
            lives: 0,
        };
        plane.open_session();
        plane
    }

    /// A session in which every drive is up.
    pub(crate) fn new(configuration: Configuration) -> Self {
        let drives = configuration.drives.len();
        let mut plane = Self::starting(configuration);
        (0..drives as u32).for_each(|drive| plane.drive_ready(drive));
        plane
    }

    pub(crate) fn open_session(&mut self) {
        self.control.connected(self.now_ns);
        self.connected = true;
        self.pump();
    }

    /// The channel breaks; a transaction that was open is rolled back.
    pub(crate) fn break_channel(&mut self) {
        self.control.disconnected(self.now_ns);
        self.hang_up();
    }

    fn hang_up(&mut self) {
        self.open = None;
        self.connected = false;
        self.to_control.clear();
    }

    /// Control dies; a new one with the same configuration comes up.
    pub(crate) fn kill(&mut self) {
        let configuration = self.control.configuration().clone();
        self.replace(configuration);
    }

    /// Control dies; the next one has another configuration.
    pub(crate) fn replace(&mut self, configuration: Configuration) {
        self.hang_up();
        self.lives += 1;
        self.control = Control::new(configuration, 42 + self.lives);
        self.control.connected(self.now_ns);
        self.connected = true;
    }

    /// The data plane dies and another comes up with nothing; control's channel breaks.
    pub(crate) fn restart(&mut self) {
        self.break_channel();
        (self.qps, self.qp_blobs, self.bound) = Default::default();
        (self.established, self.failed, self.expired, self.closing) = Default::default();
        (self.controllers, self.controller_blobs, self.namespaces) = Default::default();
        (self.ports, self.addresses, self.drives, self.drive_states) = Default::default();
        (self.unanswered, self.draining, self.dead) = Default::default();
        self.boot_id += 1;
    }

    /// A moment at which control may die. Whether it did.
    fn moment(&mut self) -> bool {
        self.moments += 1;
        let dies = self.kill_at.front() == Some(&self.moments);
        if dies {
            self.kill_at.pop_front();
            self.kill();
        }
        dies
    }

    /// A frame for control, if anybody is there to take it.
    pub(crate) fn frame(&mut self, kind: Kind, transaction: u64, body: &[u8], tail: &[u8]) {
        self.send(emit(kind, transaction, body, tail));
        self.pump();
    }

    fn send(&mut self, datagram: Vec<u8>) {
        if self.connected {
            self.to_control.push_back(datagram);
        }
    }

    fn hello(&mut self, hello: &Hello) {
        assert_eq!(hello.major.get(), 1);
        let minor = self.minor.min(hello.minor.get());
        let welcome = Welcome {
            major: U16::new(1),
            minor: U16::new(minor),
            lcores: U16::new(2),
            in_capsule_data: U16::new(4096),
            boot_id: U64::new(self.boot_id),
            qps: U32::new(self.qps_max),
            transfer_max: U32::new(1 << 20),
        };
        self.send(emit(Kind::Welcome, 0, welcome.as_bytes(), &[]));
        for (drive, state) in self.drive_states.clone() {
            match state {
                Ok(()) => self.send(event_frame(EventKind::DriveReady, drive, 0, &geometry(drive))),
                Err(text) => self.send(event_frame(EventKind::DriveFailed, drive, 0, &text)),
            }
        }
        if minor >= 1 {
            self.tell_state();
            if !self.mute {
                self.send(emit(Kind::Synchronized, 0, &[], &[]));
            }
        }
    }

    /// What [`Plane::mute`] kept back.
    pub(crate) fn synchronize(&mut self) {
        self.frame(Kind::Synchronized, 0, &[], &[]);
    }

    pub(crate) fn event(&mut self, kind: EventKind, object: u32, reason: u16, tail: &[u8]) {
        match kind {
            EventKind::QpFailed => drop(self.failed.insert(object, reason)),
            EventKind::QpEstablished => drop(self.established.insert(object)),
            EventKind::KeepAliveExpired => drop(self.expired.insert(object as u16)),
            EventKind::DriveReady => drop(self.drive_states.insert(object, Ok(()))),
            EventKind::DriveFailed => drop(self.drive_states.insert(object, Err(tail.to_vec()))),
            EventKind::QpRetired | EventKind::PortUp | EventKind::DriveSlow => {}
            EventKind::DriveKnown | EventKind::DriveStopped | EventKind::DriveLog => {}
        }
        self.send(event_frame(kind, object, reason, tail));
        self.pump();
    }

    pub(crate) fn drive_ready(&mut self, drive: u32) {
        self.event(EventKind::DriveReady, drive, 0, &geometry(drive));
    }

    /// The transaction that is open.
    pub(crate) fn open_id(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.id)
    }

    /// Time passes, deadline by deadline.
    pub(crate) fn pass(&mut self, span_ns: u64) {
        let end_ns = self.now_ns + span_ns;
        while self.control.deadline_ns() <= end_ns {
            self.now_ns = self.now_ns.max(self.control.deadline_ns());
            self.control.on_deadline(self.now_ns);
            self.pump();
        }
        self.now_ns = end_ns;
    }

    pub(crate) fn retire(&mut self, qpn: u32) {
        self.retire_quietly(qpn);
        self.pump();
    }

    fn retire_quietly(&mut self, qpn: u32) {
        let (_, cntlid) = self.draining.remove(&qpn).expect("the QP is draining");
        self.qp_blobs.remove(&qpn);
        self.established.remove(&qpn);
        self.failed.remove(&qpn);
        if let Some(cntlid) = cntlid
            && self.draining.values().all(|(_, of)| *of != Some(cntlid))
            && self.closing.remove(&cntlid)
        {
            self.controller_blobs.remove(&cntlid);
            self.expired.remove(&cntlid);
        }
        self.send(event_frame(EventKind::QpRetired, qpn, 0, &[]));
    }

    /// The last lcore has applied everything.
    pub(crate) fn say_committed(&mut self) {
        self.slow_lcore = false;
        while let Some(frame) = self.committed.pop_front() {
            self.send(frame);
        }
        self.pump();
    }

    pub(crate) fn retire_all(&mut self) {
        while let Some(qpn) = self.draining.keys().next().copied() {
            self.retire(qpn);
        }
    }

    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.control.poll_notice()).collect()
    }

    /// Operations of one kind that were applied, as bodies.
    pub(crate) fn operations<T: FromBytes>(&self, kind: Kind) -> Vec<T> {
        let ours = self.applied.iter().filter(|(applied, _)| *applied == kind);
        ours.map(|(_, bytes)| T::read_from_prefix(bytes).expect("a whole body").0).collect()
    }

    /// Does what control asks, and tells it what there is to tell, until neither has anything to say.
    pub(crate) fn pump(&mut self) {
        loop {
            if let Some(datagram) = self.connected.then(|| self.control.poll_frame()).flatten() {
                self.take(&datagram);
                self.moment();
            } else if let Some(datagram) = self.to_control.pop_front() {
                if !self.moment() {
                    self.control.handle_frame(self.now_ns, &datagram).expect("a sound frame");
                    self.moment();
                }
            } else {
                return;
            }
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        let frame = Frame::parse(datagram).expect("control's frames are sound");
        match frame.kind {
            Kind::Hello => self.hello(frame.body().unwrap().0),
            Kind::Begin => {
                assert!(self.open.is_none(), "one transaction at a time");
                self.open = Some(Open { id: frame.transaction, ..Open::default() });
            }
            Kind::Prepare if self.stall => {}
            Kind::Prepare => self.prepare(frame.transaction),
            Kind::Commit => self.commit(frame.transaction),
            Kind::Rollback => self.open = None,
            Kind::Inject => {
                let (inject, mad) = frame.body::<Inject>().unwrap();
                self.injected.push_back((*inject, mad.try_into().expect("a MAD is 256 bytes")));
            }
            kind => {
                let open = self.open.as_mut().expect("operations come in transactions");
                assert!(open.id == frame.transaction && !open.prepared, "{kind:?} out of place");
                open.operations.push((kind, frame.bytes.to_vec()));
            }
        }
    }

    /// A capsule comes in; its answer, unless it waits.
    pub(crate) fn capsule(&mut self, qpn: u32, sqe: &[u8], data: &[u8], wanted: usize) -> Option<(Answer, Vec<u8>)> {
        let punt = self.post(qpn, sqe, data, wanted);
        self.answers.get(&(qpn, punt)).cloned()
    }

    /// A capsule comes in; its punt number.
    pub(crate) fn post(&mut self, qpn: u32, sqe: &[u8], data: &[u8], wanted: usize) -> u32 {
        let next = self.punts.entry(qpn).or_default();
        let punt = *next;
        *next += 1;
        let capsule = Capsule {
            qpn: U32::new(qpn),
            punt: U32::new(punt),
            cntlid: U16::new(self.bound.get(&qpn).copied().unwrap_or(0xffff)),
            qid: self.qps.get(&qpn).map_or(U16::ZERO, |qp| qp.qid),
            wanted: U32::new(wanted as u32),
            sqe: sqe.try_into().expect("64 bytes"),
        };
        if self.qps.contains_key(&qpn) {
            self.established.insert(qpn);
        }
        let frame = emit(Kind::Capsule, 0, capsule.as_bytes(), data);
        self.unanswered.insert((qpn, punt), frame.clone());
        self.send(frame);
        self.pump();
        punt
    }

    pub(crate) fn mad(&mut self, from: Ipv4Addr, mad: &[u8]) {
        let punt = Punt { path: path(from), source_qpn: U32::new(1), qkey: U32::new(cm::QKEY) };
        self.frame(Kind::Punt, 0, punt.as_bytes(), mad);
    }

    /// The next MAD for the host; it must be of this attribute.
    pub(crate) fn expect_mad(&mut self, attribute: u16) -> [u8; 256] {
        let (inject, mad) = self.injected.pop_front().expect("a MAD for the host");
        let message = Message::parse(&mad).unwrap();
        assert_eq!(message.header.attribute_id.get(), attribute, "{message:?}");
        assert_eq!((inject.dest_qpn.get(), inject.qkey.get(), inject.pkey.get()), (1, cm::QKEY, 0xffff));
        mad
    }
}

fn receive_psn(qpn: u32) -> u32 {
    0x00ab_0000 | qpn
}

fn event_frame(kind: EventKind, object: u32, reason: u16, tail: &[u8]) -> Vec<u8> {
    let event = Event { kind: U16::new(kind as u16), reason: U16::new(reason), object: U32::new(object) };
    emit(Kind::Event, 0, event.as_bytes(), tail)
}

/// What a drive says of itself: the second offers no Compare, and a volatile write cache. The first tells nothing more, as a
/// data plane of an earlier release.
fn geometry(drive: u32) -> Vec<u8> {
    let mut ready = DriveReady::new_zeroed();
    ready.model = [b' '; 40];
    ready.model[..5].copy_from_slice(b"drive");
    ready.oncs = U16::new(if drive == 0 { 0x5f } else { 0x0c });
    ready.vwc = u8::from(drive == 1);
    ready.namespaces = U32::new(1);
    let namespace = DriveNamespace {
        nsid: U32::new(1),
        block_shift: if drive == 0 { 9 } else { 12 },
        flags: 1,
        reserved: U16::ZERO,
        blocks: U64::new(131_072),
        nguid: [drive as u8 + 1; 16],
        eui64: [0; 8],
    };
    let told = [ready.as_bytes(), namespace.as_bytes()].concat();
    if drive == 0 { told } else { [&told[..], &more()].concat() }
}

/// What stands behind a drive's namespaces since minor version 3.
fn more() -> Vec<u8> {
    let limits = DriveLimits {
        dsm_ranges: U16::new(8),
        reserved: U16::ZERO,
        dsm_range_blocks: U32::new(100),
        dsm_blocks: U64::new(200),
    };
    let hints = NamespaceHints {
        atomic: U16::new(7),
        power_fail: U16::new(3),
        boundary: U16::new(32),
        write_granularity: U16::new(15),
        ..NamespaceHints::default()
    };
    [limits.as_bytes(), hints.as_bytes(), b"one line\nanother\x07 line\n"].concat()
}

fn body<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_prefix(bytes).expect("a whole body").0
}

pub(crate) fn path(from: Ipv4Addr) -> Path {
    Path {
        port: U16::ZERO,
        vlan: U16::ZERO,
        local_mac: [0x52, 0x54, 0, 0, 0, 1],
        remote_mac: [0x52, 0x54, 0, 0, 0, 2],
        local_ip: LOCAL.to_ipv6_mapped().octets(),
        remote_ip: from.to_ipv6_mapped().octets(),
        udp_source: U16::new(55410),
        traffic_class: 0,
        hop_limit: 64,
    }
}
