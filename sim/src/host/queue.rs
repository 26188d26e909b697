//! One NVMe queue over one queue pair: capsules out, responses in, and every rule that a response must keep.
//! NVMe-oF 1.1 §2.4 (capsules), NVMe RDMA Transport 1.0 §2 (mapping to SEND, READ and WRITE).

use super::command::Data;
use super::connection::{Connection, Terms};
use super::link::Link;
use super::memory::Regions;
use super::misdeed::ExposedQueue;
use super::ring::Ring;
use super::{Random, Violation};
use gantry_roce::{Access, DropReason, NakCode, Outcome, Payload, Plan, Psn, Qp, QpConfig, Qpn, Rkey, Work, WorkKind};
use gantry_roce::{Transport, WorkPool};
use gantry_wire::nvme::{Cqe, Sgl, Sqe};
use std::collections::{BTreeMap, VecDeque};

/// Page size of the host's memory: where a command's data begins is a multiple of it.
const PAGE: u64 = 4096;
/// The longest SEND that the receive buffers take; a response is 16 bytes.
const RECEIVE_LEN: usize = 1024;
/// How long an I/O command may take; Linux's default.
const IO_TIMEOUT_NS: u64 = 30_000_000_000;
/// How long an admin command may take; Linux's default.
const ADMIN_TIMEOUT_NS: u64 = 60_000_000_000;
/// RNR timer code of the host's QPs, which post receives for all that they send: never used.
const RNR_TIMER: u8 = 12;

/// Who waits for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The sequence of connecting, disconnecting and looking at namespaces.
    Sequence,
    KeepAlive,
    AsyncEvent,
    /// A user, by tag.
    User(u64),
}

struct Outstanding {
    purpose: Purpose,
    rkey: Option<Rkey>,
    /// The SGL asked for remote invalidation.
    invalidate: bool,
    /// Bytes that a success must have brought.
    expected: u64,
    sent_ns: u64,
    /// Answers still to come: two when the capsule was sent twice.
    answers: u8,
    /// The answer that says that it failed, when another is still to come.
    refused: Option<Cqe>,
}

/// A command that the target has completed, its rules kept.
pub(super) struct Completed {
    pub(super) purpose: Purpose,
    pub(super) cid: u16,
    pub(super) cqe: Cqe,
    pub(super) data: Vec<u8>,
    pub(super) latency_ns: u64,
}

/// What a packet led to.
pub(super) enum Received {
    Nothing,
    Completed(Completed),
    /// A request that the host's own misdeed has led to, and that it had to refuse.
    Provoked,
    /// A broken rule. `fatal` ones end the association.
    Violation {
        violation: Violation,
        fatal: bool,
    },
}

/// How a queue's SGLs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SglRules {
    /// Bytes of data that a capsule may carry; zero on the admin queue.
    pub(super) in_capsule: u32,
    /// Ask for remote invalidation (type 4 subtype 0xF).
    pub(super) invalidate: bool,
}

/// A queue, from its REQ on.
pub(super) struct Queue {
    pub(super) qid: u16,
    pub(super) qpn: Qpn,
    pub(super) connection: Connection,
    pub(super) sgl_rules: SglRules,
    /// Its Connect has succeeded.
    pub(super) joined: bool,
    pub(super) ring: Ring,
    qp: Option<Qp>,
    works: WorkPool,
    capsules: BTreeMap<u32, Vec<u8>>,
    next_capsule: u32,
    receive: Vec<u8>,
    outstanding: BTreeMap<u16, Outstanding>,
    /// In the order of sending; entries of commands that have ended are skipped.
    by_age: VecDeque<(u64, u16)>,
    /// One behind the highest PSN sent as requester.
    requester_psn: Psn,
    /// The PSN of the target's next request.
    responder_psn: Psn,
    /// A capsule went out that may make the target ask for what this host must refuse.
    provoking: bool,
    pub(super) retransmitted: u64,
}

impl Queue {
    pub(super) fn new(qid: u16, qpn: Qpn, connection: Connection, entries: u16, sgl_rules: SglRules) -> Queue {
        Queue {
            qid,
            qpn,
            connection,
            sgl_rules,
            joined: false,
            ring: Ring::new(entries),
            qp: None,
            // SENDs, and READs of the target that wait for their turn.
            works: WorkPool::new(u32::from(entries) * 2 + 256),
            capsules: BTreeMap::new(),
            next_capsule: 0,
            receive: Vec::new(),
            outstanding: BTreeMap::new(),
            by_age: VecDeque::new(),
            requester_psn: Psn::new(0),
            responder_psn: Psn::new(0),
            provoking: false,
            retransmitted: 0,
        }
    }

    /// The REP came: packets may flow.
    pub(super) fn start(&mut self, terms: &Terms, mtu: u16) {
        self.requester_psn = terms.send_psn;
        self.responder_psn = terms.receive_psn;
        self.qp = Some(Qp::new(&QpConfig {
            qpn: self.qpn,
            remote_qpn: terms.remote_qpn,
            receive_psn: terms.receive_psn,
            send_psn: terms.send_psn,
            mtu,
            pkey: gantry_wire::ib::PKEY_DEFAULT,
            ack_timeout_ns: terms.ack_timeout_ns,
            retry_count: terms.retry_count,
            rnr_retry_count: terms.rnr_retry_count,
            rnr_timer: RNR_TIMER,
            reads_max: 1,
            responder_reads_max: terms.reads,
        }));
    }

    /// Commands that may be sent now. The ring's last entry stays free, and on the admin queue one is kept for the
    /// Asynchronous Event Request.
    pub(super) fn room(&self) -> u16 {
        let reserved =
            if self.qid == 0 && !self.outstanding.contains_key(&self.ring.async_event_cid()) { 2 } else { 1 };
        (self.ring.entries - reserved).saturating_sub(self.ring.outstanding())
    }

    pub(super) fn is_outstanding(&self, purpose: Purpose) -> bool {
        self.outstanding.values().any(|command| command.purpose == purpose)
    }

    /// Sends a capsule. The caller has seen that there is room.
    pub(super) fn send(
        &mut self,
        now_ns: u64,
        regions: &mut Regions,
        random: &mut Random,
        purpose: Purpose,
        mut sqe: [u8; 64],
        data: Data,
    ) -> u16 {
        let cid = match purpose {
            Purpose::AsyncEvent => self.ring.async_event_cid(),
            _ => self.ring.next_cid(),
        };
        let address = random.page();
        let (mut sgl, mut rkey, mut expected) = (keyed(0, 0, Rkey(0), false), None, 0);
        let mut in_capsule = Vec::new();
        match data {
            Data::None => {}
            Data::ToController(bytes) if bytes.len() <= self.sgl_rules.in_capsule as usize => {
                sgl = Sgl::InCapsule { offset: 0, length: bytes.len() as u32 };
                in_capsule = bytes;
            }
            Data::ToController(bytes) => {
                let length = bytes.len() as u32;
                let key = regions.register(self.qpn, Access::Read, address, bytes);
                sgl = keyed(address, length, key, self.sgl_rules.invalidate);
                rkey = Some(key);
            }
            Data::ToHost(length) => {
                let key = regions.register_empty(self.qpn, address, length);
                sgl = keyed(address, length, key, self.sgl_rules.invalidate);
                rkey = Some(key);
                expected = length.into();
            }
        }
        sqe[1] |= Sqe::FLAGS_SGL;
        sqe[2..4].copy_from_slice(&cid.to_le_bytes());
        sqe[24..40].copy_from_slice(&sgl.emit());
        let mut capsule = sqe.to_vec();
        capsule.append(&mut in_capsule);
        let invalidate = rkey.is_some() && self.sgl_rules.invalidate;
        let command = Outstanding { purpose, rkey, invalidate, expected, sent_ns: now_ns, answers: 1, refused: None };
        self.outstanding.insert(cid, command);
        if purpose != Purpose::AsyncEvent {
            self.by_age.push_back((now_ns, cid));
        }
        self.post(capsule);
        cid
    }

    /// Sends bytes as they are in place of a capsule. `capsule` is told the CID that an answer will have. Sent twice, the
    /// command ends with the second answer, badly when one of them is bad.
    pub(super) fn send_raw(
        &mut self,
        now_ns: u64,
        purpose: Purpose,
        twice: bool,
        capsule: impl FnOnce(u16) -> Vec<u8>,
    ) {
        let cid = self.ring.next_cid();
        let answers = if twice { 2 } else { 1 };
        let (rkey, invalidate, expected, sent_ns) = (None, false, 0, now_ns);
        let command = Outstanding { purpose, rkey, invalidate, expected, sent_ns, answers, refused: None };
        self.outstanding.insert(cid, command);
        self.by_age.push_back((now_ns, cid));
        let capsule = capsule(cid);
        for _ in 0..answers {
            self.post(capsule.clone());
        }
        self.provoking = true;
    }

    fn post(&mut self, capsule: Vec<u8>) {
        let cookie = self.next_capsule;
        self.next_capsule = cookie.wrapping_add(1);
        let work =
            Work { cookie, kind: WorkKind::Send { invalidate: None, immediate: None }, length: capsule.len() as u32 };
        self.capsules.insert(cookie, capsule);
        let qp = self.qp.as_mut().expect("commands follow the REP");
        qp.post(&mut self.works, work).expect("the arena holds every command that there is room for");
        self.ring.sent();
    }

    /// Takes a packet whose headers and ICRC are right.
    pub(super) fn handle(
        &mut self,
        now_ns: u64,
        transport: &Transport,
        payload: &[u8],
        regions: &mut Regions,
    ) -> Received {
        let Some(qp) = &mut self.qp else { return Received::Nothing };
        let qid = self.qid;
        let length = payload.len() as u32;
        let plan = qp.plan(transport, length, &self.works, &regions.of(self.qpn));
        let violation = match plan {
            Plan::Receive { offset, first, .. } => {
                if first {
                    self.receive.clear();
                }
                if offset as usize + payload.len() > RECEIVE_LEN {
                    qp.refuse(NakCode::InvalidRequest);
                    return fatal(Violation::ResponseLength { qid, length: offset + length });
                }
                self.receive.truncate(offset as usize);
                self.receive.extend_from_slice(payload);
                None
            }
            Plan::Write { rkey, address, .. } => {
                // A WRITE without bytes names no region that would have to be valid.
                if !payload.is_empty() {
                    regions.write(rkey, address, payload);
                }
                None
            }
            Plan::Refuse(_) if self.provoking => {
                qp.commit(now_ns, transport, length, &plan, &mut self.works);
                return Received::Provoked;
            }
            Plan::Refuse(nak) => Some(Violation::Refused { qid, nak }),
            Plan::Drop(reason) => is_violation(reason).then_some(Violation::Transport { qid, reason }),
            _ => None,
        };
        self.responder_psn = match plan {
            Plan::Receive { .. } | Plan::Write { .. } => transport.psn.next(),
            Plan::ReadRequest { length, .. } => transport.psn.add(length.div_ceil(qp.mtu().into()).max(1)),
            _ => self.responder_psn,
        };
        let outcome = qp.commit(now_ns, transport, length, &plan, &mut self.works);
        while let Some(completion) = qp.poll_completion(&mut self.works) {
            self.capsules.remove(&completion.cookie);
        }
        if let Some(violation) = violation {
            return Received::Violation { violation, fatal: matches!(plan, Plan::Refuse(_)) };
        }
        match outcome {
            Outcome::Message { length, invalidate, .. } => self.respond(now_ns, length, invalidate, regions),
            _ => Received::Nothing,
        }
    }

    /// A response is complete in the receive buffer.
    fn respond(&mut self, now_ns: u64, length: u32, invalidate: Option<Rkey>, regions: &mut Regions) -> Received {
        let qid = self.qid;
        if length as usize != Cqe::LEN {
            return fatal(Violation::ResponseLength { qid, length });
        }
        let cqe = *Cqe::parse(&self.receive).expect("16 bytes were received");
        let (cid, sqhd) = (cqe.cid().0, cqe.sqhd.get());
        let Some(command) = self.outstanding.get(&cid) else {
            return fatal(Violation::UnknownCid { qid, cid });
        };
        if cqe.phase() {
            return fatal(Violation::Phase { qid });
        }
        if let Some(rkey) = invalidate {
            let asked = command.invalidate && command.rkey == Some(rkey);
            if !asked && self.provoking {
                return Received::Provoked;
            }
            if !asked || !regions.invalidate(rkey) {
                return fatal(Violation::Invalidated { qid, cid, rkey: rkey.0 });
            }
        }
        if command.answers > 1 {
            return self.first_answer(cid, cqe);
        }
        let command = self.outstanding.remove(&cid).expect("looked up above");
        let cqe = command.refused.unwrap_or(cqe);
        if command.purpose != Purpose::AsyncEvent {
            self.ring.free_cid(cid);
        }
        self.forget_ended();
        self.ring.completed();
        let (data, landed) = match command.rkey {
            Some(rkey) => regions.release(rkey),
            None => (Vec::new(), 0),
        };
        // A Connect that failed has joined no queue: its SQHD says nothing.
        let failed_connect = !self.joined && !cqe.status().is_success();
        let broken = match self.ring.check_sqhd(qid, sqhd) {
            Err(violation) if !failed_connect => Some(violation),
            _ if cqe.status().is_success() && landed != command.expected => {
                Some(Violation::Data { qid, cid, landed, expected: command.expected })
            }
            _ => None,
        };
        if let Some(violation) = broken {
            // It ends with the association, as all others do.
            self.outstanding.insert(cid, Outstanding { rkey: None, ..command });
            return fatal(violation);
        }
        let data = if command.expected > 0 { data } else { Vec::new() };
        let latency_ns = now_ns.saturating_sub(command.sent_ns);
        Received::Completed(Completed { purpose: command.purpose, cid, cqe, data, latency_ns })
    }

    /// One of two answers to a capsule that was sent twice.
    fn first_answer(&mut self, cid: u16, cqe: Cqe) -> Received {
        let command = self.outstanding.get_mut(&cid).expect("looked up by the caller");
        command.answers -= 1;
        if !cqe.status().is_success() {
            command.refused = Some(cqe);
        }
        self.ring.completed();
        self.ring.check_sqhd(self.qid, cqe.sqhd.get()).map_or_else(fatal, |()| Received::Nothing)
    }

    /// The next packet of this queue: headers, and where its payload is.
    pub(super) fn poll_packet(&mut self, now_ns: u64, regions: &Regions, link: &mut Link, out: &mut Vec<u8>) -> bool {
        let Some(qp) = &mut self.qp else { return false };
        let Some(packet) = qp.poll_transmit(now_ns, &mut self.works) else { return false };
        let transport = &packet.transport;
        if transport.opcode.is_request() {
            if transport.psn.distance_from(self.requester_psn) < 0 {
                self.retransmitted += 1;
            } else {
                self.requester_psn = transport.psn.next();
            }
        }
        let gone;
        let payload = match packet.payload {
            Payload::None => &[][..],
            Payload::Work { cookie, offset, length } => {
                &self.capsules[&cookie][offset as usize..(offset + length) as usize]
            }
            Payload::Region { rkey, address, length } => match regions.read(rkey, address, length) {
                Some(bytes) => bytes,
                // The command has ended since the READ was asked for: nobody waits for these bytes.
                None => {
                    gone = vec![0; length as usize];
                    &gone
                }
            },
        };
        link.emit_roce(transport, payload, self.connection.udp_source, out);
        true
    }

    /// Why the queue pair has failed, if it has.
    pub(super) fn failure(&self) -> Option<gantry_roce::Failure> {
        self.qp.as_ref()?.failure()
    }

    /// The queue pair has a packet to send.
    #[cfg(test)]
    pub(super) fn wants_packet(&self) -> bool {
        self.qp.as_ref().is_some_and(Qp::wants_transmit)
    }

    /// What somebody who sees all of this queue's traffic knows of it; none before the REP.
    pub(super) fn exposed(&self) -> Option<ExposedQueue> {
        let qp = self.qp.as_ref()?;
        let (local_comm_id, remote_comm_id) = self.connection.comm_ids();
        Some(ExposedQueue {
            qid: self.qid,
            local_qpn: self.qpn,
            remote_qpn: qp.remote_qpn(),
            send_psn: self.requester_psn,
            receive_psn: self.responder_psn,
            udp_source: self.connection.udp_source,
            local_comm_id,
            remote_comm_id,
            rkey: self.outstanding.values().find_map(|command| command.rkey),
        })
    }

    /// Ends the queue pair and gives all memory back. Answers what the users' commands were: tag, CID, age.
    pub(super) fn stop(&mut self, now_ns: u64, regions: &mut Regions) -> Vec<(u64, u16, u64)> {
        if let Some(mut qp) = self.qp.take() {
            qp.abort(&mut self.works, |_| {});
        }
        self.capsules.clear();
        self.by_age.clear();
        let mut users = Vec::new();
        for (cid, command) in std::mem::take(&mut self.outstanding) {
            if let Some(rkey) = command.rkey {
                regions.release(rkey);
            }
            if let Purpose::User(tag) = command.purpose {
                users.push((tag, cid, now_ns.saturating_sub(command.sent_ns)));
            }
        }
        users
    }

    /// When the connection, the queue pair or the oldest command has something to be done.
    pub(super) fn deadline_ns(&self) -> u64 {
        let transport_ns = self.qp.as_ref().map_or(u64::MAX, Qp::deadline_ns);
        let overdue_ns = self.oldest_ns().map_or(u64::MAX, |sent_ns| sent_ns.saturating_add(self.timeout_ns()));
        self.connection.deadline_ns().min(transport_ns).min(overdue_ns)
    }

    /// How long a command may take.
    pub(super) fn timeout_ns(&self) -> u64 {
        if self.qid == 0 { ADMIN_TIMEOUT_NS } else { IO_TIMEOUT_NS }
    }

    pub(super) fn on_transport_deadline(&mut self, now_ns: u64) {
        if let Some(qp) = &mut self.qp {
            qp.on_deadline(now_ns, &mut self.works);
        }
    }

    /// When the oldest command was sent, Asynchronous Event Requests aside: they wait as long as it takes.
    pub(super) fn oldest_ns(&self) -> Option<u64> {
        self.by_age.front().map(|&(sent_ns, _)| sent_ns)
    }

    fn forget_ended(&mut self) {
        while let Some(&(sent_ns, cid)) = self.by_age.front() {
            if self.outstanding.get(&cid).is_some_and(|command| command.sent_ns == sent_ns) {
                return;
            }
            self.by_age.pop_front();
        }
    }
}

fn keyed(address: u64, length: u32, rkey: Rkey, invalidate: bool) -> Sgl {
    Sgl::Keyed { address, length, key: rkey.0, invalidate }
}

fn fatal(violation: Violation) -> Received {
    Received::Violation { violation, fatal: true }
}

/// Whether only an unsound peer sends what is dropped for this reason. A network that repeats or reorders causes the
/// others.
fn is_violation(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::Opcode
            | DropReason::Pkey
            | DropReason::GhostAck
            | DropReason::GhostResponse
            | DropReason::Syndrome
            | DropReason::BadResponse
            | DropReason::ReadsFull
    )
}

impl Random {
    /// The address of a page in the upper half, as kernels hand them out.
    pub(super) fn page(&mut self) -> u64 {
        0xff00_0000_0000_0000 | (self.next() & 0x0000_ffff_ffff_ffff) & !(PAGE - 1)
    }
}
