//! A target just good enough to be connected to: one controller, one namespace in memory, everything answered at once.
//! It breaks one rule when asked to. Built on the RC transport, on nothing of the product's target.

use gantry_cpu::Cpu;
use gantry_host_wire::arp::{self, Arp};
use gantry_host_wire::packet::{self, Class, HEADER_MAX, RoceHeaders};
use gantry_roce::{
    NoMemory, Outcome, Payload, Plan, Psn, Qp, QpConfig, Qpn, Rkey, Transport, Work, WorkKind, WorkPool,
};
use gantry_wire::cm::{self, Body, Message, Reason};
use gantry_wire::fabrics::{self, CmAccept, CmReject, CmRequest, Command, ConnectData, ConnectInvalid};
use gantry_wire::fabrics::{AddressFamily, DiscoveryEntry, DiscoveryHeader, SubsystemType};
use gantry_wire::ib::{Deth, Opcode};
use gantry_wire::icrc;
use gantry_wire::nvme::identify::{IdentifyController, IdentifyNamespace, NamespaceId, NsidList, cns, sgls};
use gantry_wire::nvme::{Cqe, Nsid, Sgl, Sqe, Status, admin, nvm, register};
use std::collections::{BTreeMap, VecDeque};
use zerocopy::{FromBytes, IntoBytes};

pub(super) const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
pub(super) const SUBNQN: &str = "nqn.2026-11.org.example:disk";
const BLOCK: usize = 512;
const BLOCKS: usize = 4096;

/// A rule to break, once, at the next I/O command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Invalidate another key.
    WrongKey,
    /// Complete the command twice.
    Twice,
    /// Another CID.
    WrongCid,
    /// Success, but the last bytes never come.
    Short,
    /// SQHD beyond the tail.
    SqhdAhead,
    /// SQHD that has not moved.
    SqhdBehind,
    Phase,
    /// A response of 20 bytes.
    Long,
    /// An RDMA WRITE one byte beyond the region.
    Beyond,
    /// Any packet with a wrong ICRC.
    Icrc,
    /// Any packet from another UDP source port.
    Port,
    /// Any packet of another partition.
    Partition,
}

/// What connecting is answered with.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Changes Identify Controller.
    pub(super) controller: fn(&mut IdentifyController),
    /// No answer to a REQ.
    pub(super) deaf: bool,
    /// REJ instead of REP: reason, NVMe status.
    pub(super) reject: Option<(Reason, u16)>,
    /// Answers a REQ under another transaction id.
    pub(super) confused: bool,
    /// Status of Connect.
    pub(super) connect: Status,
}

struct Queue {
    qp: Qp,
    works: WorkPool,
    headers: RoceHeaders,
    comm_ids: (u32, u32),
    qid: u16,
    entries: u16,
    taken: u16,
    receive: Vec<u8>,
    bytes: BTreeMap<u32, Vec<u8>>,
    /// Commands whose data is being fetched.
    fetching: BTreeMap<u32, [u8; 64]>,
    next_cookie: u32,
}

pub(super) struct Target {
    pub(super) manner: Manner,
    pub(super) fault: Fault,
    pub(super) disk: Vec<u8>,
    /// Every command seen: queue id and SQE.
    pub(super) seen: Vec<(u16, [u8; 64])>,
    pub(super) namespaces: Vec<u32>,
    queues: BTreeMap<u32, Queue>,
    out: VecDeque<Vec<u8>>,
    next_qpn: u32,
    cc: u32,
    event_request: Option<(u32, u16)>,
    host: Option<RoceHeaders>,
}

impl Target {
    pub(super) fn new() -> Target {
        let manner =
            Manner { controller: |_| {}, deaf: false, reject: None, confused: false, connect: Status::SUCCESS };
        Target {
            manner,
            fault: Fault::None,
            disk: vec![0; BLOCK * BLOCKS],
            seen: Vec::new(),
            namespaces: vec![1],
            queues: BTreeMap::new(),
            out: VecDeque::new(),
            next_qpn: 0x100,
            cc: 0,
            event_request: None,
            host: None,
        }
    }

    pub(super) fn poll_frame(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        if let Some(frame) = self.out.pop_front() {
            return Some(frame);
        }
        for queue in self.queues.values_mut() {
            if let Some(packet) = queue.qp.poll_transmit(now_ns, &mut queue.works) {
                let payload = match packet.payload {
                    Payload::None => &[][..],
                    Payload::Work { cookie, offset, length } => {
                        &queue.bytes[&cookie][offset as usize..][..length as usize]
                    }
                    Payload::Region { .. } => panic!("nothing is granted"),
                };
                let (mut headers, mut transport) = (queue.headers, packet.transport);
                match self.fault {
                    Fault::Port => headers.udp_source ^= 1,
                    Fault::Partition => transport.pkey = 0x7fff,
                    _ => {}
                }
                let mut frame = roce_frame(&headers, &transport, payload);
                if self.fault == Fault::Icrc {
                    *frame.last_mut().unwrap() ^= 1;
                }
                if matches!(self.fault, Fault::Icrc | Fault::Port | Fault::Partition) {
                    self.fault = Fault::None;
                }
                return Some(frame);
            }
        }
        None
    }

    pub(super) fn deadline_ns(&self) -> u64 {
        self.queues.values().map(|queue| queue.qp.deadline_ns()).min().unwrap_or(u64::MAX)
    }

    pub(super) fn on_deadline(&mut self, now_ns: u64) {
        for queue in self.queues.values_mut() {
            queue.qp.on_deadline(now_ns, &mut queue.works);
        }
    }

    /// Says that namespaces have changed.
    pub(super) fn announce(&mut self) {
        let (qpn, cid) = self.event_request.take().expect("an Asynchronous Event Request is here");
        self.respond(qpn, cid, Status::SUCCESS, 0x0004_0002, None);
    }

    /// Sends a DREQ for every connection.
    pub(super) fn hang_up(&mut self) {
        for queue in std::mem::take(&mut self.queues).into_values() {
            let mut dreq = cm::Dreq::new();
            dreq.local_comm_id = queue.comm_ids.0.into();
            dreq.remote_comm_id = queue.comm_ids.1.into();
            dreq.set_remote_qpn(queue.qp.remote_qpn().value());
            self.mad(&cm::emit(77, &dreq));
        }
    }

    pub(super) fn handle_frame(&mut self, now_ns: u64, frame: &[u8]) {
        let parsed = packet::parse(frame).expect("a host sends sound frames");
        match parsed.class {
            Class::Arp => {
                assert_eq!(Arp::of(&parsed, frame).target_ip, [10, 9, 0, 1]);
                let mut reply = vec![0; 64];
                let length = arp::emit_reply(&parsed, frame, MAC, &mut reply).expect("a request");
                self.out.push_back(reply[..length].to_vec());
            }
            Class::Roce => {
                let roce = parsed.roce(frame).expect("a sound packet");
                let (l3, end) = (usize::from(parsed.l3), usize::from(roce.icrc));
                assert_eq!(frame[end..end + 4], crc(&frame[l3..end]).to_le_bytes(), "the host's ICRC");
                let mut headers = RoceHeaders::of(&parsed, frame);
                (headers.source_mac, headers.dest_mac) = (MAC, headers.source_mac);
                (headers.source_ip, headers.dest_ip) = (headers.dest_ip, headers.source_ip);
                let payload = &frame[usize::from(roce.payload)..][..usize::from(roce.payload_len)];
                if roce.transport.dest_qpn == Qpn::GSI {
                    self.host = Some(headers);
                    self.datagram(payload, headers);
                } else {
                    self.packet(now_ns, &roce.transport, payload);
                }
            }
            _ => panic!("the host sends nothing else"),
        }
    }

    fn datagram(&mut self, mad: &[u8], headers: RoceHeaders) {
        let message = Message::parse(mad).expect("a sound MAD");
        let tid = message.transaction_id();
        match message.body {
            Body::Req(_) if self.manner.deaf => {}
            Body::Req(req) => {
                if let Some((reason, sts)) = self.manner.reject {
                    let mut rej = cm::Rej::new();
                    rej.remote_comm_id = req.local_comm_id;
                    rej.set_reason(reason).set_private_data(CmReject::new(sts).as_bytes());
                    return self.mad(&cm::emit(tid, &rej));
                }
                let request = CmRequest::parse(cm::IpCm::parse(&req.private_data).unwrap().1).unwrap();
                let qpn = self.next_qpn;
                self.next_qpn += 1;
                let udp_source = cm::udp_source_port(req.primary.flow_label());
                let qp = Qp::new(&QpConfig {
                    qpn: Qpn::new(qpn),
                    remote_qpn: Qpn::new(req.local_qpn()),
                    receive_psn: Psn::new(0xff_fff0),
                    send_psn: Psn::new(req.starting_psn()),
                    mtu: req.path_mtu_bytes().unwrap(),
                    pkey: req.pkey.get(),
                    ack_timeout_ns: 4096 << req.primary.local_ack_timeout(),
                    retry_count: req.retry_count(),
                    rnr_retry_count: req.rnr_retry_count(),
                    rnr_timer: 12,
                    reads_max: req.responder_resources(),
                    responder_reads_max: 0,
                });
                let comm_ids = (qpn << 8, req.local_comm_id.get());
                let queue = Queue {
                    qp,
                    works: WorkPool::new(1024),
                    headers: RoceHeaders { udp_source, ..headers },
                    comm_ids,
                    qid: request.qid.get(),
                    entries: request.hsqsize.get() + 1,
                    taken: 0,
                    receive: Vec::new(),
                    bytes: BTreeMap::new(),
                    fetching: BTreeMap::new(),
                    next_cookie: 0,
                };
                self.queues.insert(qpn, queue);
                let mut rep = cm::Rep::new();
                rep.local_comm_id = comm_ids.0.into();
                rep.remote_comm_id = comm_ids.1.into();
                rep.initiator_depth = req.responder_resources();
                rep.set_local_qpn(qpn).set_starting_psn(0xff_fff0).set_rnr_retry_count(7);
                rep.set_target_ack_delay(15).set_private_data(CmAccept::new(request.hrqsize.get()).as_bytes());
                self.mad(&cm::emit(tid ^ u64::from(self.manner.confused), &rep));
            }
            Body::Dreq(dreq) => {
                self.queues.retain(|_, queue| queue.comm_ids.0 != dreq.remote_comm_id.get());
                let mut drep = cm::Drep::new();
                drep.local_comm_id = dreq.remote_comm_id;
                drep.remote_comm_id = dreq.local_comm_id;
                self.mad(&cm::emit(tid, &drep));
            }
            Body::Rtu(_) | Body::Drep(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn mad(&mut self, mad: &[u8]) {
        let mut transport = Transport::new(Opcode::UdSendOnly, Qpn::GSI, Psn::new(0));
        transport.deth = Some(Deth { qkey: cm::QKEY, source_qpn: Qpn::GSI });
        let frame = roce_frame(&self.host.expect("the host spoke first"), &transport, mad);
        self.out.push_back(frame);
    }

    fn packet(&mut self, now_ns: u64, transport: &Transport, payload: &[u8]) {
        let qpn = transport.dest_qpn.value();
        let Some(queue) = self.queues.get_mut(&qpn) else { return };
        let length = payload.len() as u32;
        let plan = queue.qp.plan(transport, length, &queue.works, &NoMemory);
        match plan {
            Plan::Receive { offset, .. } => {
                queue.receive.truncate(offset as usize);
                queue.receive.extend_from_slice(payload);
            }
            Plan::ReadResponse { cookie, offset, .. } => {
                queue.bytes.get_mut(&cookie).unwrap()[offset as usize..][..payload.len()].copy_from_slice(payload);
            }
            _ => {}
        }
        let outcome = queue.qp.commit(now_ns, transport, length, &plan, &mut queue.works);
        let mut fetched = Vec::new();
        while let Some(completion) = queue.qp.poll_completion(&mut queue.works) {
            let bytes = queue.bytes.remove(&completion.cookie);
            if let Some(sqe) = queue.fetching.remove(&completion.cookie) {
                fetched.push((sqe, bytes.unwrap()));
            }
        }
        for (sqe, data) in fetched {
            self.execute(qpn, sqe, &data);
        }
        if let Outcome::Message { length, .. } = outcome {
            let queue = self.queues.get_mut(&qpn).unwrap();
            let capsule = std::mem::take(&mut queue.receive);
            assert_eq!(capsule.len(), length as usize);
            let sqe: [u8; 64] = capsule[..64].try_into().unwrap();
            queue.taken = (queue.taken + 1) % queue.entries;
            self.seen.push((queue.qid, sqe));
            match Sqe::parse(&sqe).unwrap().sgl().expect("a sound SGL") {
                Sgl::Keyed { address, length, key, .. } if length > 0 && takes_data(&sqe) => {
                    let cookie = queue.next_cookie;
                    queue.next_cookie += 1;
                    queue.bytes.insert(cookie, vec![0; length as usize]);
                    queue.fetching.insert(cookie, sqe);
                    let kind = WorkKind::Read { address, rkey: Rkey(key) };
                    queue.qp.post(&mut queue.works, Work { cookie, kind, length }).unwrap();
                }
                _ => self.execute(qpn, sqe, &capsule[64..]),
            }
        }
    }

    fn execute(&mut self, qpn: u32, sqe: [u8; 64], data: &[u8]) {
        let command = *Sqe::parse(&sqe).unwrap();
        let cid = command.cid().0;
        let qid = self.queues[&qpn].qid;
        let (mut status, mut result, mut answer) = (Status::SUCCESS, 0, None);
        match (Command::parse(&sqe), qid, command.opcode) {
            (Some(Command::Connect(_)), ..) => {
                let data = ConnectData::read_from_bytes(data).unwrap();
                assert!([SUBNQN, fabrics::DISCOVERY_NQN].contains(&data.subnqn().unwrap()));
                status = self.manner.connect;
                result = if status.is_success() { 1 } else { ConnectInvalid::SUBNQN.dw0().into() };
            }
            (Some(Command::PropertyGet(get)), ..) => {
                result = match get.ofst.get() as usize {
                    register::CAP => 0x820_0f00_007f,
                    register::VS => 0x1_0300,
                    register::CC => self.cc.into(),
                    _ if self.cc & 0xc000 != 0 => 8,
                    _ => u64::from(self.cc & 1),
                }
            }
            (Some(Command::PropertySet(set)), ..) => self.cc = set.value.get() as u32,
            (Some(other), ..) => panic!("{other:?}"),
            (None, 0, admin::IDENTIFY) => match self.identify(&command) {
                Some(page) => answer = Some(page),
                None => status = Status::INVALID_NAMESPACE,
            },
            (None, 0, admin::LOG_PAGE) if command.lid() == 0x70 => {
                let mut log = DiscoveryHeader::new(7, 1).as_bytes().to_vec();
                let (family, kind) = (AddressFamily::Ipv4, SubsystemType::Nvm);
                log.extend(DiscoveryEntry::rdma(kind, 1, 32, family, "10.9.0.1", "4420", SUBNQN).as_bytes());
                log.truncate(command.log_length() as usize);
                answer = Some(log);
            }
            (None, 0, admin::LOG_PAGE) => answer = Some(vec![0; command.log_length() as usize]),
            (None, 0, admin::SET_FEATURES) => result = command.cdw11.get().into(),
            (None, 0, admin::ASYNC_EVENT_REQUEST) => {
                self.event_request = Some((qpn, cid));
                return;
            }
            (None, 0, admin::KEEP_ALIVE) => {}
            (None, 0, _) => status = Status::INVALID_OPCODE,
            (None, _, opcode) => {
                let at = command.slba() as usize * BLOCK;
                let end = at + command.blocks() as usize * BLOCK;
                match opcode {
                    nvm::READ | nvm::WRITE | nvm::COMPARE | nvm::WRITE_ZEROES if end > self.disk.len() => {
                        status = Status::LBA_OUT_OF_RANGE;
                    }
                    nvm::READ => answer = Some(self.disk[at..end].to_vec()),
                    nvm::WRITE => self.disk[at..end].copy_from_slice(data),
                    nvm::COMPARE if self.disk[at..end] != *data => status = Status::COMPARE_FAILURE,
                    nvm::WRITE_ZEROES => self.disk[at..end].fill(0),
                    nvm::DATASET_MANAGEMENT => assert_eq!((data.len(), command.dsm_ranges()), (4096, 1)),
                    _ => {}
                }
            }
        }
        self.respond(qpn, cid, status, result, answer.map(|data| (data, command)));
    }

    fn identify(&self, command: &Sqe) -> Option<Vec<u8>> {
        Some(match command.cns() {
            cns::CONTROLLER => {
                let mut page = IdentifyController::zeroed();
                page.cntlid = 1.into();
                page.cmic = 0xb;
                page.oaes = 0x900.into();
                page.lpa = 2;
                page.kas = 10.into();
                page.maxcmd = 128.into();
                page.sgls = (sgls::SUPPORTED | sgls::KEYED | sgls::OFFSET).into();
                page.ioccsz = 260.into();
                page.nanagrpid = 128.into();
                page.mnan = 1024.into();
                (self.manner.controller)(&mut page);
                page.as_bytes().to_vec()
            }
            cns::ACTIVE_NSIDS => {
                let active = self.namespaces.iter().map(|&nsid| Nsid(nsid));
                NsidList::of(active, command.nsid()).as_bytes().to_vec()
            }
            cns::NAMESPACE_DESCRIPTORS => {
                let mut page = vec![0; 4096];
                NamespaceId::emit_list(
                    &[NamespaceId::Uuid([command.nsid().0 as u8; 16]), NamespaceId::Csi(0)],
                    &mut page,
                );
                page
            }
            cns::NAMESPACE => {
                self.namespaces.contains(&command.nsid().0).then_some(())?;
                let mut page = IdentifyNamespace::zeroed();
                page.nsze = (BLOCKS as u64).into();
                page.lbaf[0].lbads = BLOCK.trailing_zeros() as u8;
                page.as_bytes().to_vec()
            }
            _ => vec![0; 4096],
        })
    }

    fn respond(&mut self, qpn: u32, cid: u16, status: Status, result: u64, answer: Option<(Vec<u8>, Sqe)>) {
        let queue = self.queues.get_mut(&qpn).unwrap();
        let fault = match self.fault {
            Fault::Icrc | Fault::Port | Fault::Partition => Fault::None,
            _ if queue.qid == 0 => Fault::None,
            fault => fault,
        };
        if fault != Fault::None {
            self.fault = Fault::None;
        }
        let mut invalidate = None;
        if let Some((mut data, command)) = answer {
            let Some(Sgl::Keyed { address, length, key, invalidate: asked }) = command.sgl() else { panic!() };
            data.truncate(length as usize);
            match fault {
                Fault::Short => data.truncate(data.len() - 4),
                Fault::Beyond => data.push(0),
                _ => {}
            }
            invalidate = asked.then_some(Rkey(key));
            queue.post(WorkKind::Write { address, rkey: Rkey(key), immediate: None }, data);
        }
        if fault == Fault::WrongKey {
            invalidate = Some(Rkey(0x2401 ^ 0x8000));
        }
        let mut cqe = Cqe::new(gantry_wire::nvme::Cid(cid), status, result);
        cqe.sqhd = queue.taken.into();
        match fault {
            Fault::WrongCid => cqe.cid = (cid ^ 0x8000).into(),
            Fault::SqhdAhead => cqe.sqhd = ((queue.taken + 1) % queue.entries).into(),
            Fault::SqhdBehind => cqe.sqhd = ((queue.taken + queue.entries - 1) % queue.entries).into(),
            Fault::Phase => cqe.set_phase(true),
            _ => {}
        }
        let mut bytes = cqe.as_bytes().to_vec();
        if fault == Fault::Long {
            bytes.extend([0; 4]);
        }
        queue.post(WorkKind::Send { invalidate, immediate: None }, bytes);
        if fault == Fault::Twice {
            queue.post(WorkKind::Send { invalidate: None, immediate: None }, cqe.as_bytes().to_vec());
        }
    }
}

impl Queue {
    fn post(&mut self, kind: WorkKind, bytes: Vec<u8>) {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let length = bytes.len() as u32;
        self.bytes.insert(cookie, bytes);
        self.qp.post(&mut self.works, Work { cookie, kind, length }).unwrap();
    }
}

/// The data goes to the controller: an opcode's bits say, of Fabrics commands only Connect has any.
fn takes_data(sqe: &[u8; 64]) -> bool {
    sqe[0] == fabrics::OPCODE || sqe[0] & 3 == 1
}

fn roce_frame(headers: &RoceHeaders, transport: &Transport, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEADER_MAX];
    let emitted = headers.emit_roce(transport, payload.len(), &mut frame);
    frame.truncate(emitted.header_len);
    frame.extend_from_slice(payload);
    frame.resize(frame.len() + usize::from(transport.pad), 0);
    let crc = crc(&frame[emitted.l3..]);
    frame.extend(crc.to_le_bytes());
    frame
}

pub(super) fn crc(l3: &[u8]) -> u32 {
    let cpu = Cpu::portable();
    let mut masked = [0; icrc::MASKED_MAX];
    let length = icrc::masked_prefix(l3, &mut masked).unwrap();
    cpu.crc32(cpu.crc32(0, &masked[..length]), &l3[length - 8..])
}
