//! REQ to REP: which connections are taken, on which terms, and why others are rejected.
//!
//! InfiniBand Architecture vol. 1 §12.6.5 (REQ), §12.6.7 (REJ), §12.6.8 (REP), §12.9.8 (timeouts); NVMe RDMA
//! Transport 1.0 §3.2 (private data).

use super::{CONNECTIONS_MAX, Connection, PKEY, Promises, State};
use crate::blob::encode_qp;
use crate::ns::{self, NEVER_NS, SECOND_NS};
use crate::nvmf::{MAXCMD, QUEUES_MAX};
use crate::plan::address;
use crate::transaction::{Operation, Then};
use crate::{Control, Notice, Qp};
use gantry::channel::operation::QpCreate;
use gantry::channel::session::{Reason as Refusal, Reservation};
use gantry::channel::slow_path::Punt;
use gantry::channel::{Kind, Path};
use gantry_wire::cm::{self, IpCm, Reason, Rej, Rejected, Rep, Req};
use gantry_wire::fabrics::{CmAccept, CmReject, CmRequest, DISCOVERY_PORT, reject};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32};

/// Our ACK delay in the REP, as nvmet gives it: 4.096 µs × 2^15 = 134 ms. It lengthens the host's retransmit timer.
const TARGET_ACK_DELAY: u8 = 15;
/// RNR retries without end.
const RNR_RETRY_FOREVER: u8 = 7;
/// Longest and shortest rest in TIMEWAIT.
const REST_NS: std::ops::RangeInclusive<u64> = SECOND_NS / 10..=10 * SECOND_NS;
/// IPv6, UDP, BTH, RETH and ICRC: what a packet of a full path MTU adds to it at most (annex A17).
const HEADERS: u16 = 40 + 8 + 12 + 16 + 4;

/// Why a REQ is refused, and what the REJ carries besides.
struct Refused {
    reason: Reason,
    ari: Vec<u8>,
    sts: Option<u16>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, ari: Vec::new(), sts: None }
    }
}

/// Refused by NVMe: reason 28 and an NVMe status in the private data.
fn by_nvme(sts: u16) -> Refused {
    Refused { sts: Some(sts), ..Reason::CONSUMER_REJECT.into() }
}

/// What a REQ asks for, once it is found good.
struct Terms {
    qid: u16,
    depth: u16,
    mtu: u16,
}

impl Control {
    pub(crate) fn handle_req(&mut self, punt: &Punt, transaction_id: u64, req: &Req) {
        let peer = (punt.path.remote_ip, req.local_comm_id.get());
        if let Some(&id) = self.connections.by_peer.get(&peer) {
            return self.repeated_req(id);
        }
        let remote_qp = (req.local_ca_guid.get(), req.local_qpn());
        if let Some(&stale) = self.connections.by_remote_qp.get(&remote_qp) {
            // The host's end was used for another connection and is not any more (§12.9.8.3.1).
            self.reject(punt, transaction_id, req, Reason::STALE_CONNECTION.into());
            return self.end_stale(stale);
        }
        match self.terms(punt, req) {
            Ok(terms) => self.accept(punt, transaction_id, req, &terms),
            Err(refused) => self.reject(punt, transaction_id, req, refused),
        }
    }

    /// The REP was lost or is still on its way.
    fn repeated_req(&mut self, id: u32) {
        let connection = self.connections.find(id).expect("indexed connections exist");
        if connection.state == State::Replied {
            let (path, qpn) = (connection.path, connection.mad_qpn);
            let rep = *connection.last.clone().expect("a REP awaits its RTU");
            self.inject(path, qpn, &rep);
        }
    }

    fn terms(&self, punt: &Punt, req: &Req) -> Result<Terms, Refused> {
        if req.transport_service_type() != 0 {
            return Err(Reason::INVALID_TRANSPORT_SERVICE_TYPE.into());
        }
        if cm::port_of(req.service_id.get()) != Some(DISCOVERY_PORT) {
            return Err(Reason::INVALID_SERVICE_ID.into());
        }
        // On RoCE v2 a GID is an IP address, and RC packets go where MADs go.
        if req.primary.remote_port_gid != punt.path.local_ip {
            let ari = punt.path.local_ip.to_vec();
            return Err(Refused { ari, ..Reason::PRIMARY_REMOTE_PORT_GID_REJECTED.into() });
        }
        if req.primary.local_port_gid != punt.path.remote_ip || req.pkey.get() & 0x7fff != PKEY & 0x7fff {
            return Err(Reason::UNSUPPORTED_REQUEST.into());
        }
        let mtu = self.path_mtu(punt, req)?;
        let (_, private_data) = IpCm::parse(&req.private_data).map_err(|_| Reason::UNSUPPORTED_REQUEST)?;
        let request = CmRequest::parse(private_data).map_err(|malformed| by_nvme(malformed.sts()))?;
        let (qid, hsqsize) = (request.qid.get(), request.hsqsize.get());
        if qid > QUEUES_MAX {
            return Err(by_nvme(reject::INVALID_QID));
        }
        if hsqsize == 0 || hsqsize >= MAXCMD {
            return Err(by_nvme(reject::INVALID_HSQSIZE));
        }
        if request.hrqsize.get() == 0 {
            return Err(by_nvme(reject::INVALID_HRQSIZE));
        }
        if req.responder_resources() == 0 {
            // Connect's data is fetched by RDMA READ.
            return Err(by_nvme(reject::INVALID_IRD));
        }
        let room = self.session.limits.map_or(0, |limits| limits.qps).min(CONNECTIONS_MAX);
        if self.connections.live() >= room {
            return Err(Reason::NO_RESOURCES_AVAILABLE.into());
        }
        Ok(Terms { qid, depth: hsqsize + 1, mtu })
    }

    /// The REQ's path MTU, if the port can carry it.
    fn path_mtu(&self, punt: &Punt, req: &Req) -> Result<u16, Refused> {
        let port = self.configuration.ports.get(usize::from(punt.path.port.get()));
        let largest = port.map_or(u16::MAX, |port| port.mtu).saturating_sub(HEADERS);
        let fits = |mtu: u16| mtu <= largest;
        req.path_mtu_bytes().filter(|mtu| fits(*mtu)).ok_or_else(|| {
            // ARI: the largest code that would do, in the upper bits of one byte (§12.6.7.2).
            let best = (1..=5u8).rev().find(|code| fits(128 << code)).unwrap_or(1);
            Refused { ari: vec![best << 2], ..Reason::INVALID_PATH_MTU.into() }
        })
    }

    fn accept(&mut self, punt: &Punt, transaction_id: u64, req: &Req, terms: &Terms) {
        let comm_id = self.fresh_comm_id();
        let path = punt.path;
        let connection = Connection {
            state: State::Creating,
            remote_comm_id: req.local_comm_id.get(),
            path,
            mad_qpn: punt.source_qpn.get(),
            remote_qp: (req.local_ca_guid.get(), req.local_qpn()),
            qpn: None,
            qid: terms.qid,
            depth: terms.depth,
            transaction_id,
            promises: Promises {
                local_guid: guid(path.local_mac),
                target_ack_delay: TARGET_ACK_DELAY,
                rnr_retry_count: RNR_RETRY_FOREVER,
                end_to_end_flow_control: 1,
            },
            reads: req.responder_resources(),
            deadline_ns: NEVER_NS,
            wait_ns: ns::from_code(req.local_cm_response_timeout()).clamp(SECOND_NS / 10, 10 * SECOND_NS),
            tries: req.max_cm_retries(),
            rest_ns: (2 * ns::from_code(req.primary.local_ack_timeout())).clamp(*REST_NS.start(), *REST_NS.end()),
            last: None,
        };
        let blob = if self.session.has_state() { encode_qp(&connection.blob(comm_id)) } else { Vec::new() };
        self.connections.insert(comm_id, connection);
        let hop_limit = if req.primary.hop_limit == 0 { path.hop_limit } else { req.primary.hop_limit };
        let create = QpCreate {
            path: Path {
                udp_source: U16::new(cm::udp_source_port(req.primary.flow_label())),
                traffic_class: req.primary.traffic_class,
                hop_limit,
                ..path
            },
            remote_qpn: U32::new(req.local_qpn()),
            send_psn: U32::new(req.starting_psn()),
            pkey: U16::new(PKEY),
            mtu: U16::new(terms.mtu),
            ack_timeout: req.primary.local_ack_timeout(),
            retry_count: req.retry_count(),
            rnr_retry_count: req.rnr_retry_count(),
            reads: req.responder_resources(),
            depth: U16::new(terms.depth),
            qid: U16::new(terms.qid),
        };
        let operation = Operation::new(Kind::QpCreate, &create, &blob);
        let then = Then::QpCreated { comm_id, reserved: None };
        self.transactions.submit(&mut self.session, vec![operation], then);
    }

    fn fresh_comm_id(&mut self) -> u32 {
        loop {
            let id = self.random.u32();
            if id != 0 && self.connections.find(id).is_none() {
                return id;
            }
        }
    }

    /// The QP exists: tell the host.
    pub(crate) fn qp_created(&mut self, comm_id: u32, reserved: Option<Reservation>) {
        let Reservation { qpn, receive_psn, .. } = reserved.expect("PREPARE of a QP carries its reservation");
        let qpn = qpn.get();
        let connection = self.connections.find_mut(comm_id).filter(|c| c.state == State::Creating);
        let Some(connection) = connection else {
            // The host gave up meanwhile.
            self.qps.insert(qpn, Qp::nobody(comm_id));
            return self.destroy_qps(&[qpn]);
        };
        let path = connection.path;
        connection.state = State::Replied;
        connection.qpn = Some(qpn);
        connection.deadline_ns = self.now_ns + connection.wait_ns;
        let mad = connection.reply(comm_id, qpn, receive_psn.get());
        connection.last = Some(Box::new(mad));
        let (mad_qpn, qid, depth) = (connection.mad_qpn, connection.qid, connection.depth);
        let qp = Qp { qid, depth, address: address(path.remote_ip), ending: false, ..Qp::nobody(comm_id) };
        self.qps.insert(qpn, qp);
        self.inject(path, mad_qpn, &mad);
    }

    /// The data plane has no room for the QP, or will not have it.
    pub(crate) fn qp_refused(&mut self, comm_id: u32, refusal: u16) {
        let Some(connection) = self.connections.find(comm_id) else { return };
        let reason =
            if refusal == Refusal::Full as u16 { Reason::NO_QP_AVAILABLE } else { Reason::NO_RESOURCES_AVAILABLE };
        let (path, qpn, transaction_id) = (connection.path, connection.mad_qpn, connection.transaction_id);
        let rej = rej(0, connection.remote_comm_id, Rejected::Req, reason);
        self.connections.remove(comm_id);
        self.count_rejection(path, reason);
        self.inject(path, qpn, &cm::emit(transaction_id, &rej));
    }

    fn reject(&mut self, punt: &Punt, transaction_id: u64, req: &Req, refused: Refused) {
        let mut rej = rej(0, req.local_comm_id.get(), Rejected::Req, refused.reason);
        rej.ari[..refused.ari.len()].copy_from_slice(&refused.ari);
        rej.set_reject_info_length(refused.ari.len() as u8);
        if let Some(sts) = refused.sts {
            rej.set_private_data(CmReject::new(sts).as_bytes());
        }
        self.count_rejection(punt.path, refused.reason);
        self.inject(punt.path, punt.source_qpn.get(), &cm::emit(transaction_id, &rej));
    }

    fn count_rejection(&mut self, path: Path, reason: Reason) {
        self.counters.requests_rejected += 1;
        let notice = Notice::RequestRejected { address: address(path.remote_ip), reason };
        self.notices.push_noisy(self.now_ns, notice);
    }

    /// No RTU came for any of the REPs.
    pub(crate) fn give_up_reply(&mut self, id: u32) {
        let connection = self.connections.find(id).expect("the caller has it");
        let (path, mad_qpn, transaction_id) = (connection.path, connection.mad_qpn, connection.transaction_id);
        let rej = rej(id, connection.remote_comm_id, Rejected::Rep, Reason::TIMEOUT);
        self.inject(path, mad_qpn, &cm::emit(transaction_id, &rej));
        let address = address(path.remote_ip);
        self.notices.push_noisy(self.now_ns, Notice::SetupTimedOut { address });
        self.end_connection(id);
    }
}

impl Connection {
    /// The REP: it follows from what is remembered, so that every control says the same.
    pub(super) fn reply(&self, comm_id: u32, qpn: u32, receive_psn: u32) -> [u8; cm::MAD_LEN] {
        let mut rep = Rep::new();
        rep.local_comm_id = comm_id.into();
        rep.remote_comm_id = self.remote_comm_id.into();
        rep.set_local_qpn(qpn);
        rep.set_starting_psn(receive_psn);
        rep.initiator_depth = self.reads;
        rep.set_target_ack_delay(self.promises.target_ack_delay);
        rep.set_end_to_end_flow_control(self.promises.end_to_end_flow_control);
        rep.set_rnr_retry_count(self.promises.rnr_retry_count);
        rep.local_ca_guid = self.promises.local_guid.into();
        rep.set_private_data(CmAccept::new(self.depth).as_bytes());
        cm::emit(self.transaction_id, &rep)
    }
}

fn rej(local: u32, remote: u32, rejected: Rejected, reason: Reason) -> Rej {
    let mut rej = Rej::new();
    rej.local_comm_id = local.into();
    rej.remote_comm_id = remote.into();
    rej.set_message_rejected(rejected as u8);
    rej.set_reason(reason);
    rej
}

/// The EUI-64 of a MAC address, as adapters make their GUIDs of it.
fn guid([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}
