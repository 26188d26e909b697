//! A queue pair told to a successor, and taken up there.
//!
//! What is told has no indices of the arena in it: a list is told as what it holds, in order, and linked anew. So nothing
//! that could be told makes a list that runs in a circle or out of the arena. The rest is checked where a value that cannot
//! be would index, divide or count below zero.

use alloc::vec::Vec;

use gantry_wire::ib::{NakCode, Psn, Qpn, Rkey, Syndrome};
use serde::{Deserialize, Serialize};

use crate::qp::{Path, Qp, State};
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
        self.requester.cursor = match self.cursor {
            None => NIL,
            Some(at) => *in_flight.get(at as usize).ok_or(Inconsistent("work to send from is not in flight"))?,
        };
        if !self.requester.reading.find_again(works, &in_flight) {
            return Err(Inconsistent("READs in flight are not those that are counted"));
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
        // Work in flight takes PSNs without a gap.
        let first = self.in_flight.first().map_or(requester.end_psn, |slot| slot.first_psn);
        must(requester.base == first, "the oldest PSN in flight")?;
        let end = self.in_flight.iter().try_fold(first, |psn, slot| (slot.first_psn == psn).then(|| slot.end_psn()));
        must(end == Some(requester.end_psn), "PSNs in flight have a gap")?;
        let unacknowledged = self.in_flight.iter().filter(|slot| !slot.is_read()).map(|slot| {
            let sent = requester.sent_end.distance_from(slot.first_psn).clamp(0, slot.packets as i32) as u32;
            sent.saturating_sub(slot.progress)
        });
        must(requester.window_used == unacknowledged.sum(), "the window is not what is unacknowledged")?;
        let at = match self.cursor {
            None => return must(requester.send_psn == requester.end_psn || self.state != State::Ready, "the next PSN"),
            Some(at) => self.in_flight.get(at as usize).ok_or(Inconsistent("work to send from is not in flight"))?,
        };
        let next = requester.send_psn.distance_from(at.first_psn);
        must(next >= 0 && (next as u32) < at.packets, "the next PSN is not of the work to send from")
    }
}

fn link(works: &mut WorkPool, list: &mut List, slots: &[Slot]) -> Result<Vec<u32>, Inconsistent> {
    *list = List::EMPTY;
    let add = |slot: &Slot| {
        let slot = Slot { next: NIL, next_read: NIL, ..*slot };
        works.add(list, slot).map_err(|_| Inconsistent("more work than the arena holds"))
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
