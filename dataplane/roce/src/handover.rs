//! A queue pair told to a successor, and taken up there.
//!
//! What is told has no indices of the arena in it: a list is told as what it holds, in order, and linked anew. So nothing
//! that could be told makes a list that runs in a circle or out of the arena. The rest is checked where a value that cannot
//! be would index, divide or count below zero.

use alloc::vec::Vec;

use gantry_wire::ib::{NakCode, Psn, Qpn, Rkey, Syndrome};
use serde::{Deserialize, Serialize};

use crate::qp::{Path, Qp, State};
use crate::reading::Reading;
use crate::requester::Requester;
use crate::responder::Responder;
use crate::timer::Timer;
use crate::work::{Kind, List, NIL, Slot, Work, WorkKind, WorkPool};

/// What was told of a queue pair cannot be one's state. The text says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inconsistent(pub &'static str);

/// A queue pair with its work, told.
#[derive(Debug, Serialize, Deserialize)]
pub struct QpState {
    #[serde(with = "number")]
    qpn: Qpn,
    state: State,
    path: Path,
    requester_first: bool,
    responder: Responder,
    requester: Requester,
    timer: Timer,
    /// Work that has no PSN yet: SENDs and WRITEs, READs.
    sends: Vec<Slot>,
    reads: Vec<Slot>,
    in_flight: Vec<Slot>,
    done: Vec<Slot>,
    /// The peer's READs that are being answered.
    answering: Vec<Slot>,
    /// Which of `in_flight` is sent from next.
    cursor: Option<u32>,
}

impl QpState {
    /// Our number.
    pub fn qpn(&self) -> Qpn {
        self.qpn
    }

    /// The work whose completion its owner has not taken.
    pub fn works(&self) -> impl Iterator<Item = Work> + '_ {
        let lists = [&self.sends, &self.reads, &self.in_flight, &self.done];
        lists.into_iter().flatten().filter_map(|slot| match slot.kind {
            Kind::Work(kind) => Some(Work { cookie: slot.cookie, kind, length: slot.length }),
            Kind::Free | Kind::Respond { .. } => None,
        })
    }

    /// Makes the queue pair in `works`, which has the work of no one else under the same cookies.
    ///
    /// # Errors
    /// [`Inconsistent`]; slots of `works` may be taken then.
    pub fn take_up(mut self, works: &mut WorkPool) -> Result<Qp, Inconsistent> {
        self.check()?;
        for (slots, list) in [
            (&self.sends, &mut self.requester.sends),
            (&self.reads, &mut self.requester.reads),
            (&self.done, &mut self.requester.done),
            (&self.answering, &mut self.responder.reads),
        ] {
            link(works, list, slots)?;
        }
        let in_flight = link(works, &mut self.requester.in_flight, &self.in_flight)?;
        if self.state == State::Ready {
            self.requester.cursor = match self.cursor {
                None => NIL,
                Some(at) => *in_flight.get(at as usize).ok_or(Inconsistent("work to send from is not in flight"))?,
            };
            if !self.requester.reading.find_again(works, &in_flight) {
                return Err(Inconsistent("READs in flight are not those that are counted"));
            }
        } else {
            self.requester.cursor = NIL;
            self.requester.reading = Reading::new(1);
        }
        let Self { qpn, state, path, requester_first, responder, requester, timer, .. } = self;
        Ok(Qp { qpn, state, path, requester_first, responder, requester, timer })
    }

    fn check(&self) -> Result<(), Inconsistent> {
        let must = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(Inconsistent(what)) };
        let Self { path, requester, responder, .. } = self;
        must(path.mtu.is_power_of_two() && (256..=4096).contains(&path.mtu), "no path MTU")?;
        let of_kind = |slots: &[Slot], right: fn(&Slot) -> bool| slots.iter().all(right);
        let is_send = |slot: &Slot| matches!(slot.kind, Kind::Work(WorkKind::Send { .. } | WorkKind::Write { .. }));
        let is_work = |slot: &Slot| matches!(slot.kind, Kind::Work(_));
        must(of_kind(&self.sends, is_send), "no SEND or WRITE among those that wait")?;
        must(of_kind(&self.reads, Slot::is_read), "no READ among those that wait")?;
        must(of_kind(&self.in_flight, is_work) && of_kind(&self.done, is_work), "no work of the requester in flight")?;
        must(of_kind(&self.answering, |slot| matches!(slot.kind, Kind::Respond { .. })), "no READ of the peer's")?;
        let answered = usize::from(responder.reads_new) + usize::from(responder.reads_again);
        must(answered == self.answering.len(), "READs of the peer's are not those that are counted")?;
        for slot in [&self.sends, &self.reads, &self.in_flight].into_iter().flatten() {
            must(slot.packets == path.packets(slot.length) && slot.progress <= slot.packets, "packets of a message")?;
        }
        for slot in &self.answering {
            must(
                slot.packets == path.packets(slot.length) && slot.progress < slot.packets,
                "packets of a READ's data",
            )?;
        }
        if self.state != State::Ready {
            // It sends nothing more: the work that is left is given back, and what it took of PSNs and window no longer counts.
            return Ok(());
        }
        // Work in flight takes PSNs without a gap.
        let first = self.in_flight.first().map_or(requester.end_psn, |slot| slot.first_psn);
        must(requester.base == first, "the oldest PSN in flight")?;
        let end = self.in_flight.iter().try_fold(first, |psn, slot| (slot.first_psn == psn).then(|| slot.end_psn()));
        must(end == Some(requester.end_psn), "PSNs in flight have a gap")?;
        let unacknowledged = self.in_flight.iter().filter(|slot| !slot.is_read()).map(|slot| {
            let sent = requester.sent_end.distance_from(slot.first_psn).clamp(0, slot.packets as i32) as u32;
            sent.saturating_sub(slot.progress)
        });
        must(u32::from(requester.window_used) == unacknowledged.sum(), "the window is not what is unacknowledged")?;
        let at = match self.cursor {
            None => return must(requester.send_psn == requester.end_psn, "the next PSN"),
            Some(at) => self.in_flight.get(at as usize).ok_or(Inconsistent("work to send from is not in flight"))?,
        };
        let next = requester.send_psn.distance_from(at.first_psn);
        must(next >= 0 && (next as u32) < at.packets, "the next PSN is not of the work to send from")
    }
}

fn link(works: &mut WorkPool, list: &mut List, slots: &[Slot]) -> Result<Vec<u32>, Inconsistent> {
    *list = List::EMPTY;
    let add = |slot: &Slot| {
        let slot = Slot { next_read: NIL, ..*slot };
        works.add(list, |place| *place = slot).map_err(|_| Inconsistent("more work than the arena holds"))
    };
    slots.iter().map(add).collect()
}

impl Qp {
    /// Tells a successor everything. `works` is the pool that the queue pair's work lives in.
    pub fn tell(&self, works: &WorkPool) -> QpState {
        let Qp { qpn, state, path, requester_first, responder, requester, timer } = self;
        let mut cursor = None;
        let slots = |list: &List| -> Vec<Slot> { works.walk(list).map(|index| *works.slot(index)).collect() };
        if requester.cursor != NIL {
            cursor = works.walk(&requester.in_flight).position(|index| index == requester.cursor).map(|at| at as u32);
            assert!(cursor.is_some(), "the work to send from is in flight");
        }
        QpState {
            qpn: *qpn,
            state: *state,
            path: *path,
            requester_first: *requester_first,
            sends: slots(&requester.sends),
            reads: slots(&requester.reads),
            in_flight: slots(&requester.in_flight),
            done: slots(&requester.done),
            answering: slots(&responder.reads),
            cursor,
            responder: responder.clone(),
            requester: requester.clone(),
            timer: timer.clone(),
        }
    }
}

/// How the transport's numbers are told. What is taken up is masked or refused, so that no PSN has 32 bits.
pub(crate) mod number {
    use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
    use serde::ser::{Serialize, Serializer};

    /// Something told as a plain number.
    pub(crate) trait Number: Sized {
        type Plain: Serialize + DeserializeOwned;
        fn plain(&self) -> Self::Plain;
        fn of(plain: Self::Plain) -> Option<Self>;
    }

    impl<T: Number> Number for Option<T> {
        type Plain = Option<T::Plain>;
        fn plain(&self) -> Self::Plain {
            self.as_ref().map(T::plain)
        }
        fn of(plain: Self::Plain) -> Option<Self> {
            plain.map_or(Some(None), |plain| T::of(plain).map(Some))
        }
    }

    pub(crate) fn serialize<T: Number, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.plain().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Number, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::of(T::Plain::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("no such number"))
    }
}

impl number::Number for Psn {
    type Plain = u32;
    fn plain(&self) -> u32 {
        self.value()
    }
    fn of(plain: u32) -> Option<Psn> {
        Some(Psn::new(plain)).filter(|psn| psn.value() == plain)
    }
}

impl number::Number for Qpn {
    type Plain = u32;
    fn plain(&self) -> u32 {
        self.value()
    }
    fn of(plain: u32) -> Option<Qpn> {
        Some(Qpn::new(plain)).filter(|qpn| qpn.value() == plain)
    }
}

impl number::Number for Rkey {
    type Plain = u32;
    fn plain(&self) -> u32 {
        self.0
    }
    fn of(plain: u32) -> Option<Rkey> {
        Some(Rkey(plain))
    }
}

impl number::Number for Syndrome {
    type Plain = u8;
    fn plain(&self) -> u8 {
        self.value()
    }
    fn of(plain: u8) -> Option<Syndrome> {
        Some(Syndrome::of(plain))
    }
}

impl number::Number for NakCode {
    type Plain = u8;
    fn plain(&self) -> u8 {
        *self as u8
    }
    fn of(plain: u8) -> Option<NakCode> {
        match Syndrome::of(Syndrome::Nak(NakCode::PsnSequenceError).value() | plain) {
            Syndrome::Nak(code) if code as u8 == plain => Some(code),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_wire::ib::{Opcode, Reth, Transport};

    use super::*;
    use crate::memory::{Access, Memory};
    use crate::qp::{Payload, QpConfig};

    struct Everything;

    impl Memory for Everything {
        fn permits(&self, _: Rkey, _: u64, _: u32, _: Access) -> bool {
            true
        }
    }

    const RKEY: Rkey = Rkey(9);

    /// In flight: a READ of three packets, and a SEND of two of which one is sent. Waiting: a WRITE and a READ. Answering: a
    /// READ of three packets, of which one is sent.
    fn busy(works: &mut WorkPool) -> Qp {
        let mut qp = Qp::new(&config());
        let read = WorkKind::Read { address: 0, rkey: RKEY };
        let send = WorkKind::Send { invalidate: None, immediate: None };
        let write = WorkKind::Write { address: 0, rkey: RKEY, immediate: None };
        for (cookie, kind, length) in [(0, read, 3000), (1, send, 2000), (2, write, 10), (3, read, 10)] {
            qp.post(works, Work { cookie, kind, length }).unwrap();
        }
        for _ in 0..2 {
            qp.poll_transmit(0, works).unwrap();
        }
        let request = Transport {
            reth: Some(Reth { virtual_address: 0, rkey: RKEY, dma_length: 3000 }),
            ..Transport { pkey: 0xffff, ..Transport::new(Opcode::ReadRequest, Qpn::new(7), Psn::new(100)) }
        };
        let plan = qp.plan(&request, 0, works, &Everything);
        qp.commit(0, &request, 0, &plan, works);
        // Whose turn it is depends on how often was asked.
        let is_answer = |payload: &Payload| matches!(payload, Payload::Region { .. });
        let answered = qp.responder.poll_read(&qp.path.clone(), works);
        assert!(is_answer(&answered.payload));
        qp
    }

    fn config() -> QpConfig {
        QpConfig {
            qpn: Qpn::new(7),
            remote_qpn: Qpn::new(8),
            receive_psn: Psn::new(100),
            send_psn: Psn::new(200),
            mtu: 1024,
            pkey: 0xffff,
            ack_timeout_ns: 1_000_000,
            retry_count: 7,
            rnr_retry_count: 7,
            rnr_timer: 12,
            reads_max: 1,
            responder_reads_max: 1,
        }
    }

    fn told() -> QpState {
        let mut works = WorkPool::new(8);
        let qp = busy(&mut works);
        qp.tell(&works)
    }

    #[test]
    fn a_successor_sends_what_its_predecessor_would_have_sent() {
        let mut works = WorkPool::new(8);
        let mut qp = busy(&mut works);
        // Other slots of another arena.
        let mut others = WorkPool::new(8);
        let mut list = List::EMPTY;
        others
            .add(&mut list, |slot| slot.kind = Kind::Work(WorkKind::Send { invalidate: None, immediate: None }))
            .unwrap();
        let mut successor = qp.tell(&works).take_up(&mut others).unwrap();
        let mut sent = 0;
        while let Some(transmit) = qp.poll_transmit(1, &mut works) {
            assert_eq!(successor.poll_transmit(1, &mut others), Some(transmit));
            sent += 1;
        }
        assert_eq!((sent, successor.poll_transmit(1, &mut others)), (4, None), "SEND, WRITE, two of the READ's data");
        assert_eq!(successor.deadline_ns(), qp.deadline_ns());
    }

    /// Which of the READs before an answer are lost depends on which were asked for again.
    #[test]
    fn a_successor_knows_which_reads_were_asked_for_again() {
        let mut works = WorkPool::new(8);
        let mut qp = Qp::new(&QpConfig { reads_max: 3, ..config() });
        for cookie in 0..3 {
            let kind = WorkKind::Read { address: 0, rkey: RKEY };
            qp.post(&mut works, Work { cookie, kind, length: 100 }).unwrap();
            qp.poll_transmit(0, &mut works).unwrap();
        }
        let late_ns = qp.deadline_ns();
        qp.on_deadline(late_ns, &mut works);
        let again = qp.poll_transmit(late_ns, &mut works).expect("the oldest is asked for again");
        assert_eq!((again.transport.psn, qp.poll_transmit(late_ns, &mut works)), (Psn::new(200), None));
        let mut others = WorkPool::new(8);
        let mut successor = qp.tell(&works).take_up(&mut others).unwrap();

        let ends = [(&mut qp, &mut works), (&mut successor, &mut others)];
        let [before, after] = ends.map(|(qp, works)| {
            let answer =
                Transport { pkey: 0xffff, ..Transport::new(Opcode::ReadResponseOnly, qp.qpn(), Psn::new(202)) };
            let plan = qp.plan(&answer, 100, works, &Everything);
            assert!(matches!(plan, crate::plan::Plan::ReadResponse { cookie: 2, .. }), "{plan:?}");
            qp.commit(late_ns, &answer, 100, &plan, works);
            let asked = core::iter::from_fn(|| qp.poll_transmit(late_ns, works));
            asked.map(|transmit| transmit.transport.psn.value()).collect::<Vec<_>>()
        });
        assert_eq!((before.as_slice(), after), (&[200, 201][..], before.clone()));
    }

    /// At any moment of giving back what it had.
    #[test]
    fn a_queue_pair_that_has_ended_is_taken_up_with_the_work_that_is_left() {
        let mut works = WorkPool::new(8);
        let mut failed = busy(&mut works);
        failed.state = State::Failed(crate::qp::Failure::RetryExceeded);
        let mut given = Vec::new();
        loop {
            let mut others = WorkPool::new(8);
            let mut successor = failed.tell(&works).take_up(&mut others).unwrap();
            assert_eq!(successor.poll_transmit(1, &mut others).is_some(), failed.wants_transmit());
            let mut left = core::iter::from_fn(|| successor.poll_completion(&mut others));
            let Some(next) = failed.poll_completion(&mut works) else {
                assert_eq!(left.next(), None);
                break;
            };
            assert_eq!(left.next(), Some(next));
            assert_eq!(given.len() + 1 + left.count(), 4);
            given.push(next.cookie);
        }
        assert_eq!(given, [0, 1, 2, 3]);

        let mut works = WorkPool::new(8);
        let mut closed = busy(&mut works);
        closed.abort(&mut works, |_| {});
        let mut others = WorkPool::new(8);
        let mut successor = closed.tell(&works).take_up(&mut others).unwrap();
        assert_eq!(successor.poll_transmit(1, &mut others), None);
        assert_eq!((successor.poll_completion(&mut others), others.available()), (None, 8));
    }

    #[test]
    fn a_state_that_cannot_be_is_refused_with_what_is_wrong() {
        type Spoil = fn(&mut QpState);
        let spoils: [(Spoil, &str); 25] = [
            (|t| t.path.mtu = 128, "no path MTU"),
            (|t| t.path.mtu = 1000, "no path MTU"),
            (|t| t.path.mtu = 8192, "no path MTU"),
            (|t| t.sends.push(t.reads[0]), "no SEND or WRITE among those that wait"),
            (|t| t.reads.push(t.sends[0]), "no READ among those that wait"),
            (|t| t.in_flight.push(t.answering[0]), "no work of the requester in flight"),
            (|t| t.done.push(t.answering[0]), "no work of the requester in flight"),
            (|t| t.answering.push(t.sends[0]), "no READ of the peer's"),
            (|t| t.responder.reads_new = 0, "READs of the peer's are not those that are counted"),
            (|t| t.responder.reads_again = 1, "READs of the peer's are not those that are counted"),
            (|t| t.in_flight[1].packets = 3, "packets of a message"),
            (|t| t.in_flight[1].progress = 3, "packets of a message"),
            (|t| t.sends[0].packets = 2, "packets of a message"),
            (|t| t.reads[0].progress = 2, "packets of a message"),
            (|t| t.answering[0].packets = 2, "packets of a READ's data"),
            (|t| t.answering[0].progress = 3, "packets of a READ's data"),
            (|t| t.requester.base = Psn::new(201), "the oldest PSN in flight"),
            (|t| t.in_flight[1].first_psn = Psn::new(204), "PSNs in flight have a gap"),
            (|t| t.requester.end_psn = Psn::new(206), "PSNs in flight have a gap"),
            (|t| t.requester.window_used = 0, "the window is not what is unacknowledged"),
            (|t| t.cursor = Some(2), "work to send from is not in flight"),
            (|t| t.cursor = None, "the next PSN"),
            (|t| t.requester.send_psn = Psn::new(202), "the next PSN is not of the work to send from"),
            (|t| t.requester.send_psn = Psn::new(205), "the next PSN is not of the work to send from"),
            (|t| t.in_flight[0].progress = 3, "READs in flight are not those that are counted"),
        ];
        for (at, (spoil, what)) in spoils.into_iter().enumerate() {
            let mut told = told();
            spoil(&mut told);
            assert_eq!(told.take_up(&mut WorkPool::new(8)).err(), Some(Inconsistent(what)), "number {at}");
        }
        let full = told().take_up(&mut WorkPool::new(4)).err();
        assert_eq!(full, Some(Inconsistent("more work than the arena holds")));
    }

    /// A count is believed, and a greater one than there can be overflows nothing.
    #[test]
    fn packets_since_an_acknowledgement_was_asked_for_may_be_any_number() {
        let mut works = WorkPool::new(8);
        let mut qp = Qp::new(&config());
        let kind = WorkKind::Send { invalidate: None, immediate: None };
        qp.post(&mut works, Work { cookie: 0, kind, length: 3000 }).unwrap();
        let mut told = qp.tell(&works);
        told.requester.since_ack_request = u8::MAX;
        let mut others = WorkPool::new(8);
        let mut successor = told.take_up(&mut others).unwrap();
        let sent = core::iter::from_fn(|| successor.poll_transmit(1, &mut others));
        assert_eq!(sent.map(|sent| sent.transport.ack_request).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn numbers_with_too_many_bits_are_none() {
        use super::number::Number;
        assert_eq!(Psn::of(0xff_ffff), Some(Psn::new(0xff_ffff)));
        assert!(Psn::of(0x100_0000).is_none() && Qpn::of(0x100_0000).is_none());
        assert_eq!(NakCode::of(NakCode::RemoteAccessError.plain()), Some(NakCode::RemoteAccessError));
        assert!(NakCode::of(0x1f).is_none() && NakCode::of(0x60).is_none());
    }
}
