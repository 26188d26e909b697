//! A queue pair of a reliable connection: responder, requester and completer put together, and the types that
//! they speak in. It is always past RTR; connection management makes it when the peer's parameters are known.

use gantry_wire::ib::{NakCode, Opcode, Psn, Qpn, Rkey, Transport};
use serde::{Deserialize, Serialize};

use crate::handover::number;
use crate::memory::Memory;
use crate::plan::{DropReason, Outcome, Plan};
use crate::requester::{Next, Requester};
use crate::responder::Responder;
use crate::timer::{Expired, Timer};
use crate::work::{PoolFull, Work, WorkKind, WorkPool};

/// What two peers agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpConfig {
    /// Our number.
    pub qpn: Qpn,
    /// The peer's number.
    pub remote_qpn: Qpn,
    /// First PSN that the peer sends.
    pub receive_psn: Psn,
    /// First PSN that we send.
    pub send_psn: Psn,
    /// Path MTU in bytes: 256, 512, 1024, 2048 or 4096.
    pub mtu: u16,
    /// P_Key of the connection.
    pub pkey: u16,
    /// Local ACK timeout in nanoseconds, already decoded; 0 never gives up.
    pub ack_timeout_ns: u64,
    /// Retries until the peer is given up.
    pub retry_count: u8,
    /// RNR retries until the peer is given up; 7 is endless.
    pub rnr_retry_count: u8,
    /// Timer code that our RNR NAKs carry, 0 to 31.
    pub rnr_timer: u8,
    /// READs that we may have in flight; 0 counts as 1, a peer that takes none refuses it itself.
    pub reads_max: u8,
    /// READ requests of the peer that we answer at a time; 0 refuses them.
    pub responder_reads_max: u8,
}

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Its headers, pad included.
    pub transport: Transport,
    /// Its payload.
    pub payload: Payload,
}

/// Where a packet's payload comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// There is none.
    None,
    /// From a work request's bytes.
    Work {
        /// Which.
        cookie: u32,
        /// From where in them.
        offset: u32,
        /// How many; not 0.
        length: u32,
    },
    /// From registered memory: a READ's data.
    Region {
        /// The region.
        rkey: Rkey,
        /// From where.
        address: u64,
        /// How many; not 0.
        length: u32,
    },
}

impl Payload {
    /// Length in bytes, without pad.
    #[inline]
    pub fn len(&self) -> u32 {
        match *self {
            Payload::None => 0,
            Payload::Work { length, .. } | Payload::Region { length, .. } => length,
        }
    }

    /// There is no payload.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A work request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which.
    pub cookie: u32,
    /// What it was.
    pub kind: CompletionKind,
    /// How it ended.
    pub status: Status,
}

/// What a completed work request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionKind {
    /// A SEND.
    Send,
    /// An RDMA WRITE.
    Write,
    /// An RDMA READ.
    Read,
}

/// How a work request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Acknowledged; for a READ, its last byte has landed.
    Success,
    /// The queue pair failed first. Whether the peer saw it is not known.
    Flushed,
}

/// Why a queue pair has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// No progress for the peer's ACK timeout times one more than the retry count.
    RetryExceeded,
    /// The peer was not ready more often than the RNR retry count allows.
    RnrRetryExceeded,
    /// The peer refused a request.
    RemoteNak(#[serde(with = "number")] NakCode),
    /// We refused a request of the peer.
    Refused(#[serde(with = "number")] NakCode),
}

/// What both roles need to know of the connection.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Path {
    #[serde(with = "number")]
    pub(crate) remote_qpn: Qpn,
    pub(crate) mtu: u16,
    pub(crate) pkey: u16,
}

impl Path {
    /// log2 of the path MTU, for a division costs as much as the rest of a packet's arithmetic.
    #[inline]
    pub(crate) fn mtu_shift(&self) -> u32 {
        self.mtu.trailing_zeros()
    }

    /// Packets that `length` bytes take: at least one.
    #[inline]
    pub(crate) fn packets(&self, length: u32) -> u32 {
        let whole = length >> self.mtu_shift();
        let rest = u32::from(length & (u32::from(self.mtu) - 1) != 0);
        (whole + rest).max(1)
    }

    /// A packet to the peer with `length` bytes behind it.
    #[inline(always)]
    pub(crate) fn transport(&self, opcode: Opcode, psn: Psn, length: u32) -> Transport {
        let pad = (length.wrapping_neg() & 3) as u8;
        Transport { pkey: self.pkey, pad, ..Transport::new(opcode, self.remote_qpn, psn) }
    }

    /// Whether a packet is of our partition: the keys agree and not both are limited members (IBA §10.9.1).
    #[inline]
    fn same_partition(&self, pkey: u16) -> bool {
        (self.pkey ^ pkey) & 0x7fff == 0 && (self.pkey | pkey) & 0x8000 != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Ready,
    Failed(Failure),
    /// Torn down.
    Closed,
}

/// A queue pair. A plain struct: its work lives in the [`WorkPool`] that is handed in, always the same one.
#[derive(Debug)]
pub struct Qp {
    pub(crate) qpn: Qpn,
    pub(crate) state: State,
    pub(crate) path: Path,
    /// Whose turn it is when both roles have packets.
    pub(crate) requester_first: bool,
    pub(crate) responder: Responder,
    pub(crate) requester: Requester,
    pub(crate) timer: Timer,
}

// With what an NVMe queue adds it is four cache lines.
const _: () = assert!(size_of::<Qp>() <= 208);

impl Qp {
    /// A queue pair that is ready to receive and to send.
    ///
    /// # Panics
    /// When the MTU is none of the specification's.
    pub fn new(config: &QpConfig) -> Qp {
        let mtu = config.mtu;
        assert!(mtu.is_power_of_two() && (256..=4096).contains(&mtu), "{mtu} is no path MTU");
        Qp {
            qpn: config.qpn,
            state: State::Ready,
            path: Path { remote_qpn: config.remote_qpn, mtu, pkey: config.pkey },
            requester_first: false,
            responder: Responder::new(config),
            requester: Requester::new(config),
            timer: Timer::new(config.ack_timeout_ns, config.retry_count),
        }
    }

    /// Our number.
    #[inline]
    pub fn qpn(&self) -> Qpn {
        self.qpn
    }

    /// The peer's number.
    #[inline]
    pub fn remote_qpn(&self) -> Qpn {
        self.path.remote_qpn
    }

    /// Path MTU in bytes.
    #[inline]
    pub fn mtu(&self) -> u16 {
        self.path.mtu
    }

    /// Puts a work request at the end of the queue.
    ///
    /// # Panics
    /// When the work takes more than 2^22 - 1 packets, or a SEND has both extensions.
    // In the caller, which knows what kind of work it posts.
    #[inline(always)]
    pub fn post(&mut self, works: &mut WorkPool, work: Work) -> Result<(), PoolFull> {
        self.requester.post(works, &self.path, work)
    }

    /// What a received packet is. Nothing changes: its ICRC is not checked yet. `payload_len` is without pad.
    /// A packet's plan is committed, or forgotten, before the next packet's is asked for.
    #[inline]
    pub fn plan(&self, t: &Transport, payload_len: u32, works: &WorkPool, memory: &impl Memory) -> Plan {
        if self.state != State::Ready {
            return Plan::Drop(DropReason::NotReady);
        }
        if !self.path.same_partition(t.pkey) {
            return Plan::Drop(DropReason::Pkey);
        }
        if t.opcode.is_request() {
            self.responder.plan(&self.path, t, payload_len, works, memory)
        } else if t.opcode.is_response() {
            self.requester.plan_response(&self.path, t, payload_len, works)
        } else {
            Plan::Drop(DropReason::Opcode)
        }
    }

    /// Takes a packet whose ICRC held and whose bytes are where its plan said.
    ///
    /// # Panics
    /// When `plan` is not the one that [`Qp::plan`] gave for this packet last.
    #[inline]
    pub fn commit(
        &mut self,
        now_ns: u64,
        t: &Transport,
        payload_len: u32,
        plan: &Plan,
        works: &mut WorkPool,
    ) -> Outcome {
        match *plan {
            Plan::Drop(reason) => return Outcome::Drop(reason),
            Plan::Refuse(nak) => {
                self.refuse(nak);
                return Outcome::None;
            }
            _ => {}
        }
        assert!(self.state == State::Ready, "a plan of a queue pair that ended since");
        if t.opcode.is_request() {
            return self.responder.commit(&self.path, t, payload_len, plan, works);
        }
        let result = match *plan {
            Plan::Acknowledge => self.requester.acknowledged(now_ns, t, works, &mut self.timer),
            Plan::ReadResponse { .. } => {
                self.requester.landed(now_ns, t, works, &mut self.timer);
                Ok(())
            }
            Plan::OutOfSequence => {
                self.requester.response_lost(now_ns, t.psn, works, &mut self.timer);
                Ok(())
            }
            _ => panic!("{plan:?} is no plan for a {:?}", t.opcode),
        };
        if let Err(failure) = result {
            self.fail(failure);
        }
        Outcome::None
    }

    /// In place of a commit: no receive buffer is free. The peer is told to come back later.
    pub fn refuse_rnr(&mut self, _now_ns: u64, t: &Transport) {
        self.responder.refuse_rnr(t.psn);
    }

    /// In place of a commit: the request cannot be taken. The peer is told, and the queue pair has failed.
    pub fn refuse(&mut self, nak: NakCode) {
        if self.state == State::Ready {
            self.responder.refuse(nak);
            self.fail(Failure::Refused(nak));
        }
    }

    /// The next packet to send: answers first, READ data and requests in turn.
    // One function with all that a packet of ours takes, which writes it once, where the caller wants it.
    #[inline(never)]
    pub fn poll_transmit(&mut self, now_ns: u64, works: &mut WorkPool) -> Option<Transmit> {
        if self.responder.has_answer() {
            return Some(self.responder.answer(&self.path));
        }
        self.requester_first = !self.requester_first;
        if self.responder.has_read() && !(self.requester_first && self.wants_request()) {
            return Some(self.responder.poll_read(&self.path, works));
        }
        if !self.wants_request() {
            return None;
        }
        self.timer.sent(now_ns);
        let Qp { requester, path, timer, .. } = self;
        // Each is returned from where it is made: what a match gives would be copied.
        let next = requester.next(works);
        if let Next::Only(index) = next {
            return Some(requester.poll_only(now_ns, path, index, works, timer));
        }
        if let Next::Read = next {
            return Some(requester.poll_read(now_ns, path, works));
        }
        Some(requester.poll_segment(now_ns, path, works, timer))
    }

    #[inline]
    fn wants_request(&self) -> bool {
        self.state == State::Ready && self.requester.wants_transmit() && !self.timer.rnr_waits()
    }

    /// Whether [`Qp::poll_transmit`] has a packet now.
    #[inline]
    pub fn wants_transmit(&self) -> bool {
        self.responder.wants_transmit() || self.wants_request()
    }

    /// The next work request that has ended, in the order in which they did. Once the queue pair has failed,
    /// all that is left comes as [`Status::Flushed`].
    #[inline]
    pub fn poll_completion(&mut self, works: &mut WorkPool) -> Option<Completion> {
        let (cookie, kind, status) = match self.requester.pop_done(works) {
            Some((cookie, kind)) => (cookie, kind, Status::Success),
            None if self.state == State::Ready => return None,
            None => {
                let (cookie, kind) = self.requester.pop_any(works)?;
                (cookie, kind, Status::Flushed)
            }
        };
        let kind = match kind {
            WorkKind::Send { .. } => CompletionKind::Send,
            WorkKind::Write { .. } => CompletionKind::Write,
            WorkKind::Read { .. } => CompletionKind::Read,
        };
        Some(Completion { cookie, kind, status })
    }

    /// When [`Qp::on_deadline`] is due; `u64::MAX` for never.
    #[inline]
    pub fn deadline_ns(&self) -> u64 {
        self.timer.deadline_ns()
    }

    /// Time has passed. Of no effect before the deadline.
    pub fn on_deadline(&mut self, now_ns: u64, works: &mut WorkPool) {
        match self.timer.expire(now_ns) {
            // Behind an RNR delay the refused packet is next already.
            Expired::Nothing | Expired::Rnr => {}
            Expired::Retry { moved } => self.requester.timed_out(works, &mut self.timer, moved),
            Expired::Exhausted => self.fail(Failure::RetryExceeded),
        }
    }

    /// Why the queue pair has failed, if it has.
    #[inline]
    pub fn failure(&self) -> Option<Failure> {
        match self.state {
            State::Failed(failure) => Some(failure),
            State::Ready | State::Closed => None,
        }
    }

    /// Teardown: nothing is received or sent any more, and all work is given back, `dropped` being told the
    /// cookie of each request that did not complete or whose completion was not taken.
    pub fn abort(&mut self, works: &mut WorkPool, mut dropped: impl FnMut(u32)) {
        self.state = State::Closed;
        self.timer.stop();
        self.responder.abort(works);
        while let Some((cookie, _)) = self.requester.pop_done(works).or_else(|| self.requester.pop_any(works)) {
            dropped(cookie);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Failed(failure);
        self.timer.stop();
    }
}
