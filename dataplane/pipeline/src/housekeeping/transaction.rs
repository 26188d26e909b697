//! Transactions: BEGIN, operations, PREPARE, COMMIT.
//!
//! PREPARE goes through the operations in order, checks each against what exists and what the transaction
//! itself has staged, and opens or reserves what can fail: ports, QP names. COMMIT then cannot fail.
//! Each lcore gets all that concerns it in one batch.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use gantry::channel::event::EventKind;
use gantry::channel::operation::{
    Abort, AddressAdd, Answer, ControllerAdd, ControllerRemove, DriveAdd, NamespaceAdd, NamespaceRemove, PortAdd,
    QpBind, QpCreate, QpDestroy,
};
use gantry::channel::session::{Reason, Reservation};
use gantry::channel::{BLOB_MAX, CAPSULE_DATA_MAX, Frame, Kind};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

use super::drives::Drive;
use super::p4runtime;
use super::{ControllerRecord, Environment, Housekeeping, OpenPort, Port, QpRecord};
use crate::exchange::Change;
use crate::state::DRIVES;

/// Operations that one transaction may hold.
const OPERATIONS_MAX: usize = gantry::channel::table::TRANSACTION_MAX;

/// The transaction that control is writing.
pub(super) struct Open<Q> {
    id: u64,
    operations: Vec<Operation>,
    prepared: Option<Vec<Staged<Q>>>,
}

/// A transaction whose batches are on their way.
pub(super) struct Commit {
    pub(super) transaction: u64,
    pub(super) barrier: u64,
    pub(super) waiting: usize,
}

enum Operation {
    PortAdd(PortAdd, String),
    AddressAdd(AddressAdd),
    DriveAdd(DriveAdd, String),
    QpCreate(QpCreate, Vec<u8>),
    QpBind(QpBind),
    QpDestroy(QpDestroy),
    ControllerAdd(ControllerAdd, Vec<u8>),
    ControllerRemove(ControllerRemove),
    NamespaceAdd(NamespaceAdd),
    NamespaceRemove(NamespaceRemove),
    Answer(Answer, Vec<u8>),
    Abort(Abort),
    Client(p4runtime::Write),
}

/// An operation that can no longer fail.
enum Staged<Q> {
    /// Exists already, just as asked for.
    Nothing,
    Port(PortAdd, String, OpenPort<Q>),
    Address(AddressAdd),
    Drive(u16, Box<Drive>),
    Qp {
        create: QpCreate,
        blob: Vec<u8>,
        lcore: usize,
        slot: u32,
        qpn: u32,
        receive_psn: u32,
    },
    QpBind(QpBind),
    QpDestroy(u32),
    Controller(ControllerAdd, Vec<u8>),
    ControllerRemove(u16),
    Namespace(NamespaceAdd),
    NamespaceRemove(u16, u32),
    Answer(Answer, Vec<u8>),
    Abort(Abort),
    Client(p4runtime::Staged),
}

/// What the transaction would add, for the operations after it to refer to.
#[derive(Default)]
struct Overlay {
    ports: BTreeMap<u16, Vec<usize>>,
    drives: BTreeSet<u16>,
    controllers: BTreeSet<u16>,
    addresses: usize,
    namespaces: usize,
    /// NSIDs that it adds, by controller.
    named: BTreeMap<u16, Vec<u32>>,
    clients: p4runtime::Overlay,
}

type Refusal = (Reason, String);

fn refusal<T>(reason: Reason, text: impl Into<String>) -> Result<T, Refusal> {
    Err((reason, text.into()))
}

impl<E: Environment> Housekeeping<E> {
    pub(super) fn begin(&mut self, transaction: u64) {
        self.rollback();
        self.open = Some(Open { id: transaction, operations: Vec::new(), prepared: None });
    }

    pub(super) fn operation(&mut self, frame: &Frame<'_>) {
        let open = self.open.as_mut().filter(|open| open.id == frame.transaction && open.prepared.is_none());
        let Some(open) = open else {
            self.refuse(frame.transaction, u32::MAX, Reason::Malformed, "an operation outside its transaction");
            return;
        };
        let index = open.operations.len() as u32;
        match Operation::parse_all(frame) {
            Some(operations) if open.operations.len() + operations.len() > OPERATIONS_MAX => {
                self.open = None;
                self.refuse(frame.transaction, index, Reason::Full, "too many operations in one transaction");
            }
            Some(operations) => open.operations.extend(operations),
            None => {
                self.open = None;
                self.refuse(frame.transaction, index, Reason::Malformed, "not an operation of this contract");
            }
        }
    }

    pub(super) fn prepare(&mut self, transaction: u64) {
        let Some(mut open) = self.open.take_if(|open| open.id == transaction && open.prepared.is_none()) else {
            // Its refusal has been sent, or it never began.
            return;
        };
        self.tables.reclaim();
        let mut staged = Vec::with_capacity(open.operations.len());
        let mut overlay = Overlay::default();
        let mut reservations = Vec::new();
        for (index, operation) in open.operations.drain(..).enumerate() {
            match self.stage(operation, &mut overlay).and_then(|stage| self.stage_tables(stage, &mut overlay)) {
                Ok(stage) => {
                    if let Staged::Qp { lcore, qpn, receive_psn, .. } = &stage {
                        reservations.push(Reservation {
                            operation: U32::new(index as u32),
                            qpn: U32::new(*qpn),
                            receive_psn: U32::new(*receive_psn),
                            lcore: U16::new(*lcore as u16),
                            reserved: U16::ZERO,
                        });
                    }
                    staged.push(stage);
                }
                Err((reason, text)) => {
                    self.unstage(staged);
                    self.refuse(transaction, index as u32, reason, &text);
                    return;
                }
            }
        }
        open.prepared = Some(staged);
        self.open = Some(open);
        self.send(Kind::Prepared, transaction, &[], reservations.as_slice().as_bytes());
    }

    pub(super) fn commit(&mut self, now_ns: u64, transaction: u64) {
        let Some(open) = self.open.take_if(|open| open.id == transaction && open.prepared.is_some()) else {
            self.refuse(transaction, u32::MAX, Reason::Malformed, "COMMIT without PREPARE");
            return;
        };
        let before = self.tables.current();
        // Every lcore hears of a new generation, also when nothing else is for it.
        let everywhere = self.tables.publish() != before;
        let mut changes: Vec<Vec<Change<E::Queue>>> = (0..self.lcores).map(|_| Vec::new()).collect();
        for stage in open.prepared.into_iter().flatten() {
            self.apply(now_ns, stage, &mut changes);
        }
        self.barrier += 1;
        let barrier = self.barrier;
        let mut waiting = 0;
        for (lcore, changes) in changes.into_iter().enumerate() {
            if everywhere || !changes.is_empty() {
                waiting += 1;
                self.send_batch(lcore, changes, barrier);
            }
        }
        if waiting == 0 {
            self.send(Kind::Committed, transaction, &[], &[]);
        } else {
            self.commits.push(Commit { transaction, barrier, waiting });
        }
    }

    /// Forgets the open transaction and what it reserved.
    pub(super) fn rollback(&mut self) {
        if let Some(open) = self.open.take() {
            self.unstage(open.prepared.unwrap_or_default());
        }
    }

    fn unstage(&mut self, staged: Vec<Staged<E::Queue>>) {
        self.tables.rollback();
        // Ports close as they are dropped.
        for stage in staged.into_iter().rev() {
            if let Staged::Qp { lcore, slot, qpn, .. } = stage {
                self.names.give_back(lcore, slot, qpn);
            }
        }
    }

    fn stage(&mut self, operation: Operation, overlay: &mut Overlay) -> Result<Staged<E::Queue>, Refusal> {
        match operation {
            Operation::PortAdd(add, device) => self.stage_port(add, device, overlay),
            Operation::AddressAdd(add) => {
                if !self.ports.contains_key(&add.port.get()) && !overlay.ports.contains_key(&add.port.get()) {
                    return refusal(Reason::NotFound, "the address names no port");
                }
                if self.addresses.contains(&(add.port.get(), add.vlan.get(), add.ip)) {
                    return Ok(Staged::Nothing);
                }
                overlay.addresses += 1;
                if self.addresses.len() + overlay.addresses > self.sizes.addresses as usize {
                    return refusal(Reason::Full, "no room for another address");
                }
                Ok(Staged::Address(add))
            }
            Operation::DriveAdd(add, uri) => self.stage_drive(&add, uri, overlay),
            Operation::QpCreate(create, blob) => self.stage_qp(create, blob, overlay),
            Operation::QpBind(bind) => {
                let cntlid = bind.cntlid.get();
                if !self.qps.contains_key(&bind.qpn.get()) {
                    return refusal(Reason::NotFound, "QP_BIND names no QP");
                }
                if !self.has_controller(cntlid) && !overlay.controllers.contains(&cntlid) {
                    return refusal(Reason::NotFound, "QP_BIND names no controller");
                }
                Ok(Staged::QpBind(bind))
            }
            Operation::QpDestroy(destroy) => match self.qps.get(&destroy.qpn.get()) {
                None => refusal(Reason::NotFound, "QP_DESTROY names no QP"),
                Some(qp) if qp.closing => Ok(Staged::Nothing),
                Some(_) => Ok(Staged::QpDestroy(destroy.qpn.get())),
            },
            Operation::ControllerAdd(add, blob) => {
                let cntlid = add.cntlid.get();
                if cntlid >= 0xfff0 {
                    return refusal(Reason::Invalid, "CNTLIDs from FFF0h on are reserved");
                }
                if self.controllers.get(&cntlid).is_some_and(|controller| controller.closing) {
                    return refusal(Reason::Exists, "the controller of this id is still draining");
                }
                overlay.controllers.insert(cntlid);
                Ok(Staged::Controller(add, blob))
            }
            Operation::ControllerRemove(remove) => {
                if !self.has_controller(remove.cntlid.get()) {
                    return refusal(Reason::NotFound, "no such controller");
                }
                Ok(Staged::ControllerRemove(remove.cntlid.get()))
            }
            Operation::NamespaceAdd(add) => {
                let (cntlid, drive) = (add.cntlid.get(), add.drive.get());
                if !self.has_controller(cntlid) && !overlay.controllers.contains(&cntlid) {
                    return refusal(Reason::NotFound, "the namespace names no controller");
                }
                if !self.drives.contains_key(&drive) && !overlay.drives.contains(&drive) {
                    return refusal(Reason::NotFound, "the namespace names no drive");
                }
                overlay.namespaces += 1;
                if self.namespaces + overlay.namespaces > self.sizes.namespaces as usize {
                    return refusal(Reason::Full, "no room for another namespace");
                }
                Ok(Staged::Namespace(add))
            }
            Operation::NamespaceRemove(remove) => Ok(Staged::NamespaceRemove(remove.cntlid.get(), remove.nsid.get())),
            Operation::Client(write) => {
                self.clients.stage(&mut self.tables, write, &mut overlay.clients).map(Staged::Client)
            }
            // Of no effect when its QP has gone: so is the command.
            Operation::Abort(abort) => Ok(Staged::Abort(abort)),
            Operation::Answer(answer, data) => {
                if data.len() > CAPSULE_DATA_MAX {
                    return refusal(Reason::Invalid, "more data than an answer carries");
                }
                // Once: what an answer changes must not be done again for a capsule that has been answered.
                if !self.unanswered.contains_key(&(answer.qpn.get(), answer.punt.get())) {
                    return refusal(Reason::NotFound, "the capsule is answered already, or its QP is gone");
                }
                Ok(Staged::Answer(answer, data))
            }
        }
    }

    /// Stages what an operation changes in the tables.
    fn stage_tables(&mut self, stage: Staged<E::Queue>, overlay: &mut Overlay) -> Result<Staged<E::Queue>, Refusal> {
        let tables = &mut self.tables;
        let done = match &stage {
            Staged::Address(add) => tables.add_address(add.port.get(), add.vlan.get(), add.ip),
            Staged::Qp { lcore, slot, qpn, .. } => tables.add_qp(*qpn, *lcore as u16, *slot),
            Staged::QpDestroy(qpn) => tables.remove_qp(*qpn),
            Staged::Namespace(add) => {
                overlay.named.entry(add.cntlid.get()).or_default().push(add.nsid.get());
                tables.set_namespace(add)
            }
            Staged::NamespaceRemove(cntlid, nsid) => tables.remove_namespace(*cntlid, *nsid),
            Staged::ControllerRemove(cntlid) => {
                let there =
                    self.controllers.get(cntlid).into_iter().flat_map(|record| record.namespaces.keys().copied());
                let named = overlay.named.remove(cntlid).unwrap_or_default();
                there.chain(named).try_for_each(|nsid| tables.remove_namespace(*cntlid, nsid))
            }
            _ => Ok(()),
        };
        match done {
            Ok(()) => Ok(stage),
            Err(error) => {
                self.unstage(Vec::from([stage]));
                refusal(Reason::Full, alloc::format!("{error}"))
            }
        }
    }

    fn stage_port(&mut self, add: PortAdd, device: String, overlay: &mut Overlay) -> Result<Staged<E::Queue>, Refusal> {
        let number = add.port.get();
        if let Some(port) = self.ports.get(&number) {
            if port.device == device && port.mtu == add.mtu.get() {
                return Ok(Staged::Nothing);
            }
            return refusal(Reason::Exists, alloc::format!("port {number} is open with other settings"));
        }
        if self.ports.len() + overlay.ports.len() >= PORTS_MAX || overlay.ports.contains_key(&number) {
            return refusal(Reason::Full, "no room for another port, or the same port twice");
        }
        match self.environment.open_port(number, add.mtu.get(), &device) {
            Ok(open) => {
                overlay.ports.insert(number, open.queues.iter().map(|(lcore, _)| *lcore).collect());
                Ok(Staged::Port(add, device, open))
            }
            Err(text) => refusal(Reason::Device, text),
        }
    }

    fn stage_drive(&mut self, add: &DriveAdd, uri: String, overlay: &mut Overlay) -> Result<Staged<E::Queue>, Refusal> {
        let number = add.drive.get();
        if let Some(drive) = self.drives.get(&number) {
            if drive.uri() == uri {
                return Ok(Staged::Nothing);
            }
            return refusal(Reason::Exists, alloc::format!("drive {number} is open already"));
        }
        if usize::from(number) >= DRIVES || !overlay.drives.insert(number) {
            return refusal(Reason::Invalid, "drives are numbered from 0 to 255, each once");
        }
        let name = add.name.as_str();
        // It need not be there yet: it is opened after COMMIT, and looked for until it is.
        let checked = self.environment.check_drive(name, &uri);
        let memory = checked.and_then(|()| self.environment.memory(Drive::memory_needed(&uri, self.lcores)));
        match memory {
            Ok(memory) => Ok(Staged::Drive(number, Box::new(Drive::new(name.into(), uri, memory)))),
            Err(text) => refusal(Reason::Device, text),
        }
    }

    fn stage_qp(&mut self, create: QpCreate, blob: Vec<u8>, overlay: &Overlay) -> Result<Staged<E::Queue>, Refusal> {
        let number = create.path.port.get();
        let lcores = match (self.ports.get(&number), overlay.ports.get(&number)) {
            (Some(port), _) => &port.lcores,
            (None, Some(lcores)) => lcores,
            (None, None) => return refusal(Reason::NotFound, "the QP's path names no port"),
        };
        let mtu_max = self.ports.get(&number).map_or(u16::MAX, |port| port.mtu);
        let mtu = create.mtu.get();
        if !matches!(mtu, 256 | 512 | 1024 | 2048 | 4096) || mtu >= mtu_max {
            return refusal(Reason::Invalid, alloc::format!("path MTU {mtu} on a port of MTU {mtu_max}"));
        }
        let environment = &mut self.environment;
        let Some((lcore, slot, qpn)) = self.names.take(lcores, || environment.random()) else {
            return refusal(Reason::Full, "no room for another QP");
        };
        let receive_psn = self.environment.random() as u32 & 0xff_ffff;
        Ok(Staged::Qp { create, blob, lcore, slot, qpn, receive_psn })
    }

    fn apply(&mut self, now_ns: u64, stage: Staged<E::Queue>, changes: &mut [Vec<Change<E::Queue>>]) {
        match stage {
            Staged::Nothing => {}
            Staged::Port(add, device, open) => {
                let (number, mac, mtu) = (add.port.get(), open.mac, add.mtu.get());
                let lcores = open.queues.iter().map(|(lcore, _)| *lcore).collect();
                for (lcore, queue) in open.queues {
                    changes[lcore].push(Change::PortAdd { port: number, queue: Some(queue), mac, mtu });
                }
                self.ports.insert(number, Port { device, mac, mtu, lcores });
                self.port_up(number);
            }
            Staged::Address(add) => {
                self.addresses.insert((add.port.get(), add.vlan.get(), add.ip));
            }
            Staged::Drive(number, drive) => {
                self.drives.insert(number, *drive);
            }
            Staged::Qp { create, blob, lcore, slot, qpn, receive_psn } => {
                let record = QpRecord {
                    lcore,
                    slot,
                    create,
                    receive_psn,
                    cntlid: None,
                    established: false,
                    failure: 0,
                    closing: false,
                    blob,
                };
                self.qps.insert(qpn, record);
                changes[lcore].push(Change::QpCreate { create, slot, qpn, receive_psn });
            }
            Staged::QpBind(bind) => {
                if let Some(qp) = self.qps.get_mut(&bind.qpn.get()) {
                    qp.cntlid = Some(bind.cntlid.get());
                    changes[qp.lcore].push(Change::QpBind { slot: qp.slot, bind });
                }
            }
            Staged::QpDestroy(qpn) => {
                if let Some(qp) = self.qps.get_mut(&qpn) {
                    qp.closing = true;
                    changes[qp.lcore].push(Change::QpDestroy { slot: qp.slot, qpn });
                }
            }
            Staged::Controller(add, blob) => {
                let cntlid = add.cntlid.get();
                let keep_alive_ms = add.keep_alive_ms.get();
                let record = self.controllers.entry(cntlid).or_insert_with(|| {
                    self.liveness.start(cntlid, now_ns);
                    ControllerRecord {
                        keep_alive_ms,
                        expired: false,
                        closing: false,
                        namespaces: BTreeMap::new(),
                        blob: Vec::new(),
                    }
                });
                if record.keep_alive_ms != keep_alive_ms {
                    record.keep_alive_ms = keep_alive_ms;
                    self.liveness.start(cntlid, now_ns);
                }
                if !blob.is_empty() {
                    record.blob = blob;
                }
            }
            Staged::ControllerRemove(cntlid) => {
                let Some(mut record) = self.controllers.remove(&cntlid) else { return };
                self.namespaces -= core::mem::take(&mut record.namespaces).len();
                // Its id rests until the last of its QPs is retired.
                if self.qps.values().any(|qp| qp.cntlid == Some(cntlid)) {
                    record.closing = true;
                    self.controllers.insert(cntlid, record);
                }
            }
            Staged::Namespace(add) => {
                let (cntlid, nsid) = (add.cntlid.get(), add.nsid.get());
                let controller = self.controllers.get_mut(&cntlid).expect("PREPARE has checked");
                self.namespaces += usize::from(controller.namespaces.insert(nsid, add).is_none());
            }
            Staged::NamespaceRemove(cntlid, nsid) => {
                let removed = self.controllers.get_mut(&cntlid).is_some_and(|c| c.namespaces.remove(&nsid).is_some());
                self.namespaces -= usize::from(removed);
            }
            Staged::Client(staged) => self.clients.apply(now_ns, &self.tables, staged),
            Staged::Abort(abort) => {
                let qpn = abort.qpn.get();
                if let Some(qp) = self.qps.get(&qpn) {
                    changes[qp.lcore].push(Change::Abort { slot: qp.slot, qpn, cid: abort.cid.get() });
                }
            }
            Staged::Answer(answer, data) => {
                self.unanswered.remove(&(answer.qpn.get(), answer.punt.get()));
                if let Some(qp) = self.qps.get(&answer.qpn.get()) {
                    changes[qp.lcore].push(Change::Answer { slot: qp.slot, answer, data });
                }
            }
        }
    }

    fn has_controller(&self, cntlid: u16) -> bool {
        self.controllers.get(&cntlid).is_some_and(|controller| !controller.closing)
    }

    pub(super) fn port_up(&mut self, number: u16) {
        let mac = self.ports[&number].mac;
        self.event(EventKind::PortUp, 0, number.into(), &mac);
    }
}

fn blob_of(tail: &[u8]) -> Option<Vec<u8>> {
    (tail.len() <= BLOB_MAX).then(|| tail.to_vec())
}

/// Ports that one data plane can have.
const PORTS_MAX: usize = 64;

impl Operation {
    /// The operations of a frame: of P4Runtime's clients there are many in one.
    fn parse_all(frame: &Frame<'_>) -> Option<Vec<Self>> {
        match p4runtime::Write::parse(frame) {
            Some(writes) => Some(writes.into_iter().map(Self::Client).collect()),
            None => Some(Vec::from([Self::parse(frame)?])),
        }
    }

    fn parse(frame: &Frame<'_>) -> Option<Self> {
        let text = |bytes: &[u8]| core::str::from_utf8(bytes).ok().map(String::from);
        Some(match frame.kind {
            Kind::PortAdd => {
                let (add, tail) = frame.body::<PortAdd>().ok()?;
                Self::PortAdd(*add, text(tail)?)
            }
            Kind::AddressAdd => Self::AddressAdd(*frame.body().ok()?.0),
            Kind::DriveAdd => {
                let (add, tail) = frame.body::<DriveAdd>().ok()?;
                Self::DriveAdd(*add, text(tail)?)
            }
            Kind::QpCreate => {
                let (create, blob) = frame.body::<QpCreate>().ok()?;
                Self::QpCreate(*create, blob_of(blob)?)
            }
            Kind::QpBind => Self::QpBind(*frame.body().ok()?.0),
            Kind::QpDestroy => Self::QpDestroy(*frame.body().ok()?.0),
            Kind::ControllerAdd => {
                let (add, blob) = frame.body::<ControllerAdd>().ok()?;
                Self::ControllerAdd(*add, blob_of(blob)?)
            }
            Kind::ControllerRemove => Self::ControllerRemove(*frame.body().ok()?.0),
            Kind::NamespaceAdd => Self::NamespaceAdd(*frame.body().ok()?.0),
            Kind::NamespaceRemove => Self::NamespaceRemove(*frame.body().ok()?.0),
            Kind::Abort => Self::Abort(*frame.body().ok()?.0),
            Kind::Answer => {
                let (answer, data) = frame.body::<Answer>().ok()?;
                Self::Answer(*answer, data.to_vec())
            }
            _ => return None,
        })
    }
}
