//! The active side of CM for one queue pair: REQ, REP, RTU; DREQ, DREP, from either side; repetition and giving up.
//! InfiniBand Architecture vol. 1 §12.9 (active side), §12.10 (release); times as rdma_cm on Linux has them.

use super::link::Link;
use super::{HostConfig, Random, Violation};
use gantry_roce::{Psn, Qpn};
use gantry_wire::cm::{self, Body, IpCm, MAD_LEN, Message, Reason, Rejected};
use gantry_wire::fabrics::{CmAccept, CmReject, CmRequest};
use zerocopy::IntoBytes;

/// CM response timeout and local ACK timeout that the REQ gives, as codes of 4.096 µs × 2^code.
const CM_TIMEOUT_CODE: u8 = 20;
const ACK_TIMEOUT_CODE: u8 = 19;
const RETRY_COUNT: u8 = 7;
const MAX_CM_RETRIES: u8 = 15;
/// READs that the target may have outstanding towards the host.
const RESPONDER_RESOURCES: u8 = 128;
/// Between two REQs or DREQs: the CM timeout and half of it.
const REPEAT_NS: u64 = (4096 << CM_TIMEOUT_CODE) / 2 * 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The REQ is out.
    Requested,
    /// The RTU is out.
    Established,
    /// The DREQ is out.
    Releasing,
    /// Over.
    Closed,
}

/// What a MAD or the passing of time led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing to act on.
    None,
    /// The REP came; the RTU is in the outgoing MAD.
    Connected(Terms),
    /// REJ.
    Rejected {
        /// Its reason.
        reason: Reason,
        /// The NVMe status in it.
        sts: Option<u16>,
    },
    /// No answer to a REQ, however often.
    Unanswered,
    /// Released: DREP came, or the target's DREQ, or nothing for long enough.
    Released {
        /// The target began it.
        by_target: bool,
    },
    /// The target said what it must not.
    Violation(Violation),
}

/// What the REP said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// The target's QPN.
    pub(super) remote_qpn: Qpn,
    /// First PSN that the host sends.
    pub(super) send_psn: Psn,
    /// First PSN that the target sends.
    pub(super) receive_psn: Psn,
    /// How long an ACK may take, both ends counted.
    pub(super) ack_timeout_ns: u64,
    pub(super) retry_count: u8,
    pub(super) rnr_retry_count: u8,
    /// READs that the target may have outstanding.
    pub(super) reads: u8,
}

/// One connection, from REQ to DREP.
pub(super) struct Connection {
    state: State,
    transaction_id: u64,
    local_comm_id: u32,
    remote_comm_id: u32,
    remote_qpn: u32,
    receive_psn: Psn,
    pub(super) udp_source: u16,
    /// Repeated until it is answered; after that, what answers a repetition.
    mad: [u8; MAD_LEN],
    repeat_at_ns: u64,
    sent: u8,
}

impl Connection {
    /// A connection for NVMe queue `qid` of `entries` entries, and the frame of its REQ.
    pub(super) fn request(
        config: &HostConfig,
        random: &mut Random,
        link: &mut Link,
        now_ns: u64,
        qpn: Qpn,
        qid: u16,
        entries: u16,
    ) -> (Connection, Vec<u8>) {
        let local_comm_id = random.next() as u32 | 1;
        let receive_psn = Psn::new(random.next() as u32);
        let flow_label = random.next() as u32 & 0xf_ffff;
        let mut req = cm::Req::new();
        req.local_comm_id = local_comm_id.into();
        req.service_id = cm::service_id(config.port).into();
        req.local_ca_guid = guid(config.mac).into();
        req.set_local_qpn(qpn.value()).set_responder_resources(RESPONDER_RESOURCES);
        req.set_remote_cm_response_timeout(CM_TIMEOUT_CODE).set_end_to_end_flow_control(1);
        req.set_starting_psn(receive_psn.value()).set_retry_count(RETRY_COUNT);
        req.set_local_cm_response_timeout(CM_TIMEOUT_CODE);
        req.pkey = gantry_wire::ib::PKEY_DEFAULT.into();
        req.set_path_mtu(config.path_mtu().trailing_zeros() as u8 - 7).set_rnr_retry_count(7);
        req.set_max_cm_retries(MAX_CM_RETRIES);
        req.primary.local_port_lid = 0xffff.into();
        req.primary.remote_port_lid = 0xffff.into();
        req.primary.local_port_gid = link.ip;
        req.primary.remote_port_gid = link.target_ip;
        req.primary.hop_limit = 64;
        req.primary.set_flow_label(flow_label).set_local_ack_timeout(ACK_TIMEOUT_CODE);
        let source_port = 32768 + (random.next() % 28232) as u16;
        let ip = IpCm::new(config.ip, source_port, config.target_ip);
        let nvme = CmRequest::new(qid, entries, entries - 1, 0);
        let mut private_data = [0; cm::IP_CM_LEN + size_of::<CmRequest>()];
        private_data[..cm::IP_CM_LEN].copy_from_slice(ip.as_bytes());
        private_data[cm::IP_CM_LEN..].copy_from_slice(nvme.as_bytes());
        req.set_private_data(&private_data);

        let transaction_id = 2 << 32 | u64::from(local_comm_id.swap_bytes());
        let mad = cm::emit(transaction_id, &req);
        let connection = Connection {
            state: State::Requested,
            transaction_id,
            local_comm_id,
            remote_comm_id: 0,
            remote_qpn: 0,
            receive_psn,
            udp_source: cm::udp_source_port(flow_label),
            mad,
            repeat_at_ns: now_ns + REPEAT_NS,
            sent: 1,
        };
        let frame = link.mad_frame(&mad);
        (connection, frame)
    }

    pub(super) fn is_established(&self) -> bool {
        self.state == State::Established
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The communication ids: ours, the target's.
    pub(super) fn comm_ids(&self) -> (u32, u32) {
        (self.local_comm_id, self.remote_comm_id)
    }

    /// Whether a message from the target is about this connection.
    pub(super) fn owns(&self, body: &Body<'_>) -> bool {
        let local = body.remote_comm_id() == Some(self.local_comm_id);
        local && (self.remote_comm_id == 0 || body.local_comm_id() == 0 || body.local_comm_id() == self.remote_comm_id)
    }

    /// Takes a message about this connection. A second value is a frame to send.
    pub(super) fn handle(&mut self, now_ns: u64, message: &Message<'_>, link: &mut Link) -> (Event, Option<Vec<u8>>) {
        if message.transaction_id() != self.transaction_id && !matches!(message.body, Body::Dreq(_)) {
            return (Event::Violation(Violation::Cm("an answer with another transaction id")), None);
        }
        match (message.body, self.state) {
            (Body::Rep(rep), State::Requested) => {
                self.remote_comm_id = rep.local_comm_id.get();
                self.remote_qpn = rep.local_qpn();
                self.state = State::Established;
                self.repeat_at_ns = u64::MAX;
                let mut rtu = cm::Rtu::new();
                rtu.local_comm_id = self.local_comm_id.into();
                rtu.remote_comm_id = self.remote_comm_id.into();
                self.mad = cm::emit(self.transaction_id, &rtu);
                if CmAccept::parse(&rep.private_data).is_none_or(|accept| accept.recfmt.get() != 0) {
                    return (Event::Violation(Violation::Cm("a REP of another record format")), None);
                }
                (Event::Connected(self.terms(rep)), Some(link.mad_frame(&self.mad)))
            }
            // The RTU was lost.
            (Body::Rep(_), State::Established) => (Event::None, Some(link.mad_frame(&self.mad))),
            (Body::Mra(mra), State::Requested) => {
                self.repeat_at_ns = now_ns.saturating_add(4096 << mra.service_timeout()).max(self.repeat_at_ns);
                (Event::None, None)
            }
            (Body::Rej(rej), State::Requested) => {
                self.state = State::Closed;
                if rej.message_rejected() == Rejected::Rep as u8 {
                    return (Event::Violation(Violation::Cm("a REJ of a REP that was never sent")), None);
                }
                let sts = (rej.reason() == Reason::CONSUMER_REJECT)
                    .then(|| CmReject::parse(&rej.private_data).map_or(0, |reject| reject.sts.get()));
                (Event::Rejected { reason: rej.reason(), sts }, None)
            }
            (Body::Rej(rej), State::Established) => {
                self.state = State::Closed;
                (Event::Rejected { reason: rej.reason(), sts: None }, None)
            }
            (Body::Drep(_), State::Releasing) => {
                self.state = State::Closed;
                (Event::Released { by_target: false }, None)
            }
            (Body::Dreq(_), State::Established | State::Releasing | State::Closed) => {
                let by_target = self.state == State::Established;
                let first = self.state != State::Closed;
                self.state = State::Closed;
                let mut drep = cm::Drep::new();
                drep.local_comm_id = self.local_comm_id.into();
                drep.remote_comm_id = self.remote_comm_id.into();
                let answer = cm::emit(message.transaction_id(), &drep);
                let event = if first { Event::Released { by_target } } else { Event::None };
                (event, Some(link.mad_frame(&answer)))
            }
            // Repetitions that crossed an answer.
            _ => (Event::None, None),
        }
    }

    /// Begins the release. The frame is the DREQ's.
    pub(super) fn release(&mut self, now_ns: u64, link: &mut Link) -> Vec<u8> {
        assert!(self.state == State::Established, "only what was established is released");
        let mut dreq = cm::Dreq::new();
        dreq.local_comm_id = self.local_comm_id.into();
        dreq.remote_comm_id = self.remote_comm_id.into();
        dreq.set_remote_qpn(self.remote_qpn);
        self.mad = cm::emit(self.transaction_id, &dreq);
        self.state = State::Releasing;
        self.repeat_at_ns = now_ns + REPEAT_NS;
        self.sent = 1;
        link.mad_frame(&self.mad)
    }

    /// When [`Connection::on_deadline`] is due.
    pub(super) fn deadline_ns(&self) -> u64 {
        if matches!(self.state, State::Requested | State::Releasing) { self.repeat_at_ns } else { u64::MAX }
    }

    /// Repeats what was not answered, or gives up.
    pub(super) fn on_deadline(&mut self, now_ns: u64, link: &mut Link) -> (Event, Option<Vec<u8>>) {
        if now_ns < self.deadline_ns() {
            return (Event::None, None);
        }
        if self.sent > MAX_CM_RETRIES {
            let event =
                if self.state == State::Requested { Event::Unanswered } else { Event::Released { by_target: false } };
            self.state = State::Closed;
            return (event, None);
        }
        self.sent += 1;
        self.repeat_at_ns = now_ns + REPEAT_NS;
        (Event::None, Some(link.mad_frame(&self.mad)))
    }

    fn terms(&self, rep: &cm::Rep) -> Terms {
        Terms {
            remote_qpn: Qpn::new(rep.local_qpn()),
            send_psn: Psn::new(rep.starting_psn()),
            receive_psn: self.receive_psn,
            ack_timeout_ns: (4096 << ACK_TIMEOUT_CODE) + (4096 << rep.target_ack_delay()),
            retry_count: RETRY_COUNT,
            rnr_retry_count: rep.rnr_retry_count(),
            reads: rep.initiator_depth.min(RESPONDER_RESOURCES),
        }
    }
}

/// The GUID of a port with this MAC address: modified EUI-64.
fn guid([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}
