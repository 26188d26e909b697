//! The completer: ACKs, NAKs and READ responses that come in for the requester's work (IBA 1.5 §9.7.6). Two things
//! are known of the peer: `acked`, up to where it has received; and each READ's progress, up to where its data has
//! landed here. A response is taken when it is the next one of any READ in flight. Work completes in PSN order.

use gantry_wire::ib::{NakCode, Opcode, Psn, Syndrome, Transport, rnr_timer_ns};

use crate::plan::{DropReason, Plan};
use crate::qp::{Failure, Path};
use crate::requester::Requester;
use crate::timer::Timer;
use crate::work::{NIL, WorkPool};

/// An RNR retry count that never ends.
const RNR_ENDLESS: u8 = 7;

impl Requester {
    #[inline]
    pub(crate) fn plan_response(&self, path: &Path, t: &Transport, payload_len: u32, works: &WorkPool) -> Plan {
        match t.opcode {
            Opcode::Acknowledge => self.plan_acknowledge(t),
            Opcode::AtomicAcknowledge => Plan::Drop(DropReason::GhostAck),
            _ => self.plan_read_response(path, t, payload_len, works),
        }
    }

    #[inline]
    fn plan_acknowledge(&self, t: &Transport) -> Plan {
        let Some(aeth) = t.aeth else { return Plan::Drop(DropReason::Syndrome) };
        if t.psn.distance_from(self.sent_end) >= 0 {
            Plan::Drop(DropReason::GhostAck)
        } else if matches!(aeth.syndrome, Syndrome::Reserved(_)) {
            Plan::Drop(DropReason::Syndrome)
        } else if t.psn.distance_from(self.acked) <= 0 {
            Plan::Drop(DropReason::StaleAck)
        } else {
            Plan::Acknowledge
        }
    }

    #[inline(never)]
    fn plan_read_response(&self, path: &Path, t: &Transport, payload_len: u32, works: &WorkPool) -> Plan {
        if t.psn.distance_from(self.sent_end) >= 0 {
            return Plan::Drop(DropReason::GhostResponse);
        }
        let read = match self.reading.find(works, t.psn) {
            Ok(index) => works.slot(index),
            Err(reason) => return Plan::Drop(reason),
        };
        match t.psn.distance_from(read.first_psn.add(read.progress)) {
            0 => {}
            ahead if ahead > 0 => return Plan::OutOfSequence,
            _ => return Plan::Drop(DropReason::StaleResponse),
        }
        // After going back, the same packet can come as the first of the new answer or in the midst of the old.
        let mtu = u32::from(path.mtu);
        let offset = read.progress << path.mtu_shift();
        let last = read.progress + 1 == read.packets;
        let expected = if last { read.length - offset } else { mtu };
        let pad = payload_len.wrapping_neg() & 3;
        if t.opcode.ends() != last || payload_len != expected || u32::from(t.pad) != pad {
            return Plan::Drop(DropReason::BadResponse);
        }
        Plan::ReadResponse { cookie: read.cookie, offset, last }
    }

    /// An ACK, NAK or RNR NAK beyond what was known.
    #[inline]
    pub(crate) fn acknowledged(
        &mut self,
        now_ns: u64,
        t: &Transport,
        works: &mut WorkPool,
        timer: &mut Timer,
    ) -> Result<(), Failure> {
        let syndrome = t.aeth.expect("seen by the plan").syndrome;
        let received = if matches!(syndrome, Syndrome::Ack { .. }) { t.psn } else { t.psn.sub(1) };
        if received.distance_from(self.acked) > 0 {
            self.acked = received;
            self.rnr_retries = 0;
            timer.rnr_over();
            self.advance(now_ns, works, timer);
        }
        // The peer answers in order: what it says of a packet says too that it has answered the READs before it.
        self.reading.acknowledged(works, received);
        self.reads_lost(works, timer);
        if matches!(syndrome, Syndrome::Ack { .. }) {
            return Ok(());
        }
        self.refused(now_ns, t.psn, syndrome, works, timer)
    }

    /// A NAK or RNR NAK at `psn`.
    #[cold]
    fn refused(
        &mut self,
        now_ns: u64,
        psn: Psn,
        syndrome: Syndrome,
        works: &mut WorkPool,
        timer: &mut Timer,
    ) -> Result<(), Failure> {
        match syndrome {
            Syndrome::Nak(NakCode::PsnSequenceError) => {
                if self.went_back_for != psn.value() {
                    self.went_back_for = psn.value();
                    timer.loss_shown();
                    self.reading.refused(works, psn);
                    self.go_back(works, timer);
                }
                Ok(())
            }
            Syndrome::Nak(code) => Err(Failure::RemoteNak(code)),
            Syndrome::Rnr { timer: code } => {
                if self.rnr_retry_count != RNR_ENDLESS {
                    if self.rnr_retries >= self.rnr_retry_count {
                        return Err(Failure::RnrRetryExceeded);
                    }
                    self.rnr_retries += 1;
                }
                self.reading.refused(works, psn);
                self.go_back(works, timer);
                timer.rnr(now_ns, rnr_timer_ns(code));
                Ok(())
            }
            Syndrome::Ack { .. } | Syndrome::Reserved(_) => panic!("{syndrome:?} refuses nothing"),
        }
    }

    /// A READ response has landed.
    pub(crate) fn landed(&mut self, now_ns: u64, t: &Transport, works: &mut WorkPool, timer: &mut Timer) {
        let index = self.reading.find(works, t.psn).expect("seen by the plan");
        self.reading.landed(now_ns, index, t.opcode, works, timer);
        self.reads_lost(works, timer);
        self.received(t.psn);
        self.advance(now_ns, works, timer);
    }

    /// A READ response whose READ misses one before it.
    pub(crate) fn response_lost(&mut self, now_ns: u64, psn: Psn, works: &mut WorkPool, timer: &mut Timer) {
        let index = self.reading.find(works, psn).expect("seen by the plan");
        self.reading.gap(index, works);
        self.reads_lost(works, timer);
        if self.received(psn) {
            self.advance(now_ns, works, timer);
        }
    }

    /// READs may have been found lost, among them one whose turn was next.
    #[inline]
    fn reads_lost(&mut self, works: &WorkPool, timer: &mut Timer) {
        if self.reading.any_lost() {
            timer.loss_shown();
            self.settle(works);
        }
    }

    /// A READ response acknowledges what was before it. Answers whether that is news.
    fn received(&mut self, psn: Psn) -> bool {
        let news = psn.distance_from(self.acked) > 0;
        if news {
            self.acked = psn;
            self.rnr_retries = 0;
        }
        news
    }

    /// Completes what is complete, now that more has arrived.
    #[inline]
    fn advance(&mut self, now_ns: u64, works: &mut WorkPool, timer: &mut Timer) {
        self.settle(works);
        let next = self.acked.next();
        let (mut head, mut last) = (self.in_flight.head(), NIL);
        while head != NIL {
            let slot = works.slot_mut(head);
            if !slot.is_read() {
                let arrived = next.distance_from(slot.first_psn).max(0).min(slot.packets as i32) as u32;
                self.window_used -= (arrived - slot.progress) as u8;
                slot.progress = arrived;
            }
            if !slot.is_complete() {
                break;
            }
            (last, head) = (head, slot.next);
        }
        if last != NIL {
            works.move_up_to(last, &mut self.in_flight, &mut self.done);
        }
        // The oldest in flight begins at the new base; of what comes behind its progress nothing is known to have arrived.
        let missing = if head == NIL {
            self.base = self.end_psn;
            self.end_psn
        } else {
            let slot = works.slot(head);
            self.base = slot.first_psn;
            slot.first_psn.add(slot.progress)
        };
        if self.went_back_for != next.value() {
            self.went_back_for = NIL;
        }
        let outstanding = self.sent_end.distance_from(missing) > 0;
        timer.progress(now_ns, self.acked, outstanding);
    }
}
