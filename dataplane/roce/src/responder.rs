//! The responder: requests that come in (IBA 1.5 §9.7.4, §9.7.5). Checks run in hardware's order: expected PSN,
//! opcode sequence, length, resources, permission. Answers leave in PSN order, so an ACK or NAK waits for the data
//! of READs before it; READ data acknowledges what came before the READ by itself.

use gantry_wire::ib::{Aeth, NakCode, Opcode, Psn, Rkey, Syndrome, Transport};

use serde::{Deserialize, Serialize};

use crate::handover::number;
use crate::memory::{Access, Memory};
use crate::plan::{DropReason, Outcome, Plan};
use crate::qp::{Path, Payload, QpConfig, Transmit};
use crate::work::{Kind, List, Slot, WorkPool};

/// The longest message, in packets: half of the PSNs that can be told from their past.
pub(crate) const MESSAGE_PACKETS_MAX: u32 = (1 << 22) - 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Responder {
    /// The PSN that comes next.
    #[serde(with = "number")]
    expected: Psn,
    /// Messages completed, 24 bits.
    msn: u32,
    message: Message,
    answer: Answer,
    /// A NAK or RNR NAK was given for `expected`: silence until it comes.
    refused: bool,
    rnr_timer: u8,
    pub(crate) reads_max: u8,
    /// Of `reads`, those that are answered for the first time: at most `reads_max`.
    pub(crate) reads_new: u8,
    /// Of `reads`, those that are answered again: at most `reads_max`.
    pub(crate) reads_again: u8,
    /// READ requests to answer, in the order in which they came.
    #[serde(skip)]
    pub(crate) reads: List,
}

/// The message of which more packets are to come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Message {
    None,
    Send {
        received: u32,
    },
    Write {
        #[serde(with = "number")]
        rkey: Rkey,
        address: u64,
        length: u32,
        received: u32,
    },
}

/// What the peer is to be told next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    None,
    /// Everything before `expected` has arrived.
    Ack,
    /// A NAK or RNR NAK at `expected`.
    Refuse(#[serde(with = "number")] Syndrome),
}

impl Responder {
    pub(crate) fn new(config: &QpConfig) -> Responder {
        Responder {
            expected: config.receive_psn,
            msn: 0,
            message: Message::None,
            answer: Answer::None,
            refused: false,
            rnr_timer: config.rnr_timer,
            reads_max: config.responder_reads_max,
            reads_new: 0,
            reads_again: 0,
            reads: List::EMPTY,
        }
    }

    #[inline]
    pub(crate) fn plan(
        &self,
        path: &Path,
        t: &Transport,
        payload_len: u32,
        works: &WorkPool,
        memory: &impl Memory,
    ) -> Plan {
        match t.psn.distance_from(self.expected) {
            0 => self.plan_expected(path, t, payload_len, works, memory),
            ahead if ahead > 0 => Plan::OutOfSequence,
            _ if t.opcode == Opcode::ReadRequest => self.plan_read_again(path, t, memory),
            _ => Plan::Duplicate,
        }
    }

    #[inline]
    fn plan_expected(
        &self,
        path: &Path,
        t: &Transport,
        payload_len: u32,
        works: &WorkPool,
        memory: &impl Memory,
    ) -> Plan {
        let (first, last) = (t.opcode.begins(), t.opcode.ends());
        let in_sequence = match self.message {
            Message::None => first,
            Message::Send { .. } => !first && t.opcode.is_send(),
            Message::Write { .. } => !first && t.opcode.is_write(),
        };
        if !in_sequence || t.opcode.is_atomic() {
            return Plan::Refuse(NakCode::InvalidRequest);
        }
        if t.opcode == Opcode::ReadRequest {
            return self.plan_read(path, t, payload_len, works, memory).unwrap_or_else(Plan::Refuse);
        }
        if !fits_mtu(path, t, payload_len) {
            return Plan::Refuse(NakCode::InvalidRequest);
        }
        if t.opcode.is_send() {
            let offset = match self.message {
                Message::Send { received } => received,
                _ => 0,
            };
            if offset >> path.mtu_shift() >= MESSAGE_PACKETS_MAX {
                return Plan::Refuse(NakCode::InvalidRequest);
            }
            return Plan::Receive { offset, first, last };
        }
        let (rkey, start, length, received) = match (self.message, t.reth) {
            (Message::Write { rkey, address, length, received }, _) => (rkey, address, length, received),
            (_, Some(reth)) => (reth.rkey, reth.virtual_address, reth.dma_length, 0),
            _ => return Plan::Refuse(NakCode::InvalidRequest),
        };
        let rest = length - received;
        let fits = if last { payload_len == rest } else { payload_len < rest };
        if !fits || path.packets(length) > MESSAGE_PACKETS_MAX {
            return Plan::Refuse(NakCode::InvalidRequest);
        }
        // The whole operation is permitted before its first byte lands; later packets are asked for again,
        // because a region can be invalidated in between.
        let address = start.wrapping_add(u64::from(received));
        if rest > 0 && !memory.permits(rkey, address, rest, Access::Write) {
            return Plan::Refuse(NakCode::RemoteAccessError);
        }
        Plan::Write { rkey, address, first, last }
    }

    #[inline(never)]
    fn plan_read(
        &self,
        path: &Path,
        t: &Transport,
        payload_len: u32,
        works: &WorkPool,
        memory: &impl Memory,
    ) -> Result<Plan, NakCode> {
        let reth = t.reth.ok_or(NakCode::InvalidRequest)?;
        let (rkey, address, length) = (reth.rkey, reth.virtual_address, reth.dma_length);
        if payload_len != 0 || t.pad != 0 || path.packets(length) > MESSAGE_PACKETS_MAX {
            return Err(NakCode::InvalidRequest);
        }
        if self.reads_new >= self.reads_max {
            return Err(NakCode::InvalidRequest);
        }
        if length > 0 && !memory.permits(rkey, address, length, Access::Read) {
            return Err(NakCode::RemoteAccessError);
        }
        if works.available() == 0 {
            return Ok(Plan::Drop(DropReason::ReadsFull));
        }
        Ok(Plan::ReadRequest { rkey, address, length })
    }

    /// A READ request repeated, in whole or from a packet on (IBA §9.7.5.1.4).
    #[inline(never)]
    fn plan_read_again(&self, path: &Path, t: &Transport, memory: &impl Memory) -> Plan {
        let Some(reth) = t.reth else { return Plan::Drop(DropReason::BadDuplicate) };
        let (rkey, address, length) = (reth.rkey, reth.virtual_address, reth.dma_length);
        let packets = path.packets(length);
        let known = packets <= MESSAGE_PACKETS_MAX && t.psn.add(packets).distance_from(self.expected) <= 0;
        let permitted = length == 0 || memory.permits(rkey, address, length, Access::Read);
        match known && permitted && self.reads_max > 0 {
            true => Plan::ReadRequestAgain { rkey, address, length },
            false => Plan::Drop(DropReason::BadDuplicate),
        }
    }

    #[inline]
    pub(crate) fn commit(
        &mut self,
        path: &Path,
        t: &Transport,
        payload_len: u32,
        plan: &Plan,
        works: &mut WorkPool,
    ) -> Outcome {
        match *plan {
            Plan::Duplicate => {
                // A NAK that waits says the same and more.
                if self.answer == Answer::None {
                    self.answer = Answer::Ack;
                }
                return Outcome::None;
            }
            Plan::OutOfSequence => {
                if !self.refused {
                    self.refused = true;
                    self.answer = Answer::Refuse(Syndrome::Nak(NakCode::PsnSequenceError));
                }
                return Outcome::None;
            }
            Plan::ReadRequestAgain { rkey, address, length } => {
                let kind = Kind::Respond { address, rkey, again: true };
                let (first_psn, packets) = (t.psn, path.packets(length));
                let slot = Slot { first_psn, packets, ..Slot::new(kind, 0, length) };
                return self.answer_read(works, slot).map_or_else(Outcome::Drop, |()| Outcome::None);
            }
            _ => {}
        }
        assert!(t.psn == self.expected, "a packet was committed since this plan was made");
        match *plan {
            Plan::ReadRequest { rkey, address, length } => {
                let kind = Kind::Respond { address, rkey, again: false };
                let (first_psn, packets) = (t.psn, path.packets(length));
                self.accept(packets, false);
                self.msn = self.msn.wrapping_add(1);
                let slot = Slot { first_psn, packets, ..Slot::new(kind, 0, length) };
                self.answer_read(works, slot).expect("room was seen by the plan");
                Outcome::None
            }
            Plan::Receive { offset, last, .. } => {
                self.accept(1, t.ack_request || last);
                let length = offset + payload_len;
                if !last {
                    self.message = Message::Send { received: length };
                    return Outcome::None;
                }
                self.message = Message::None;
                self.msn = self.msn.wrapping_add(1);
                Outcome::Message { length, immediate: t.immediate, invalidate: t.invalidate }
            }
            Plan::Write { rkey, address, last, .. } => {
                self.accept(1, t.ack_request || last);
                let (start, length, before) = match self.message {
                    Message::Write { address: start, length, received, .. } => (start, length, received),
                    _ => (address, t.reth.map_or(0, |reth| reth.dma_length), 0),
                };
                if !last {
                    let received = before + payload_len;
                    self.message = Message::Write { rkey, address: start, length, received };
                    return Outcome::None;
                }
                self.message = Message::None;
                self.msn = self.msn.wrapping_add(1);
                Outcome::RemoteWrite { rkey, address: start, length, immediate: t.immediate }
            }
            _ => panic!("{plan:?} is no plan for a {:?}", t.opcode),
        }
    }

    /// The expected packet has come, and takes `packets` PSNs. A gap that was told of is filled.
    #[inline]
    fn accept(&mut self, packets: u32, answer: bool) {
        self.expected = self.expected.add(packets);
        self.refused = false;
        if answer || self.answer != Answer::None {
            self.answer = Answer::Ack;
        }
    }

    /// Puts a READ behind those to answer. When the peer asks for more again than it may ask for at all, its first
    /// request to be answered again has been in vain.
    #[inline(never)]
    fn answer_read(&mut self, works: &mut WorkPool, slot: Slot) -> Result<(), DropReason> {
        if is_again(&slot) && self.reads_again == self.reads_max {
            self.forget_again(works);
        }
        works.add(&mut self.reads, |place| *place = slot).map_err(|_| DropReason::ReadsFull)?;
        *self.count(&slot) += 1;
        Ok(())
    }

    fn forget_again(&mut self, works: &mut WorkPool) {
        let mut kept = List::EMPTY;
        let mut forgotten = false;
        while let Some(index) = works.pop(&mut self.reads) {
            let read = *works.slot(index);
            if !forgotten && is_again(&read) {
                forgotten = true;
                self.forget_read(works, index, &read);
            } else {
                works.push(&mut kept, index);
            }
        }
        self.reads = kept;
    }

    fn forget_read(&mut self, works: &mut WorkPool, index: u32, read: &Slot) {
        *self.count(read) -= 1;
        works.release(index);
    }

    fn count(&mut self, read: &Slot) -> &mut u8 {
        if is_again(read) { &mut self.reads_again } else { &mut self.reads_new }
    }

    /// No receive buffer for the packet at `psn`, the expected one.
    pub(crate) fn refuse_rnr(&mut self, psn: Psn) {
        assert!(psn == self.expected, "only the expected packet can find no buffer");
        self.refused = true;
        self.answer = Answer::Refuse(Syndrome::Rnr { timer: self.rnr_timer });
    }

    /// The expected packet breaks the connection.
    pub(crate) fn refuse(&mut self, nak: NakCode) {
        self.refused = true;
        self.answer = Answer::Refuse(Syndrome::Nak(nak));
    }

    /// An ACK or NAK is due, and no READ data is to go before it.
    #[inline]
    pub(crate) fn has_answer(&self) -> bool {
        self.answer != Answer::None && self.reads.is_empty()
    }

    /// The ACK or NAK that is due.
    #[inline(always)]
    pub(crate) fn answer(&mut self, path: &Path) -> Transmit {
        let (psn, syndrome) = match core::mem::replace(&mut self.answer, Answer::None) {
            Answer::None => panic!("nothing is to be answered"),
            Answer::Ack => (self.expected.sub(1), Syndrome::ACK),
            Answer::Refuse(syndrome) => (self.expected, syndrome),
        };
        let payload = Payload::None;
        let aeth = Some(self.aeth(syndrome));
        Transmit { transport: Transport { aeth, ..path.transport(Opcode::Acknowledge, psn, 0) }, payload }
    }

    /// READ data is due.
    #[inline]
    pub(crate) fn has_read(&self) -> bool {
        !self.reads.is_empty()
    }

    /// The next packet of READ data, which is due.
    #[inline(never)]
    pub(crate) fn poll_read(&mut self, path: &Path, works: &mut WorkPool) -> Transmit {
        let index = self.reads.head();
        let read = works.slot_mut(index);
        let Kind::Respond { address, rkey, .. } = read.kind else { panic!("a list of READs holds {:?}", read.kind) };
        let psn = read.first_psn.add(read.progress);
        let offset = read.progress << path.mtu_shift();
        let length = (read.length - offset).min(u32::from(path.mtu));
        let first = read.progress == 0;
        read.progress += 1;
        let read = *read;
        let last = read.is_complete();
        if last {
            works.pop(&mut self.reads);
            self.forget_read(works, index, &read);
        }
        let opcode = match (first, last) {
            (true, true) => Opcode::ReadResponseOnly,
            (true, false) => Opcode::ReadResponseFirst,
            (false, false) => Opcode::ReadResponseMiddle,
            (false, true) => Opcode::ReadResponseLast,
        };
        let payload = match length {
            0 => Payload::None,
            _ => Payload::Region { rkey, address: address.wrapping_add(u64::from(offset)), length },
        };
        let aeth = opcode.has_aeth().then(|| self.aeth(Syndrome::ACK));
        Transmit { transport: Transport { aeth, ..path.transport(opcode, psn, length) }, payload }
    }

    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        !self.reads.is_empty() || self.answer != Answer::None
    }

    pub(crate) fn abort(&mut self, works: &mut WorkPool) {
        self.answer = Answer::None;
        while let Some(index) = works.pop(&mut self.reads) {
            works.release(index);
        }
        (self.reads_again, self.reads_new) = (0, 0);
    }

    #[inline]
    fn aeth(&self, syndrome: Syndrome) -> Aeth {
        Aeth { syndrome, msn: self.msn & 0xff_ffff }
    }
}

fn is_again(read: &Slot) -> bool {
    matches!(read.kind, Kind::Respond { again: true, .. })
}

/// A SEND's or WRITE's payload against the MTU: full unless the message ends, and filled up to four bytes.
#[inline]
fn fits_mtu(path: &Path, t: &Transport, payload_len: u32) -> bool {
    let mtu = u32::from(path.mtu);
    let fits = match (t.opcode.begins(), t.opcode.ends()) {
        (true, true) => payload_len <= mtu,
        (false, true) => (1..=mtu).contains(&payload_len),
        (_, false) => payload_len == mtu,
    };
    let aligned = (payload_len + u32::from(t.pad)).is_multiple_of(4);
    fits && aligned
}
