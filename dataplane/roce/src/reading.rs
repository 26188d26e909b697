//! The READs in flight: which of them a response belongs to, and which were lost (IBA 1.5 §9.7.5). The peer answers
//! in the order in which it was asked. What it answers now shows that all it was asked before is answered, or lost:
//! only that is asked for again, from the first packet that is missing. What it was asked later is still to come.

use gantry_wire::ib::{Opcode, Psn};

use serde::{Deserialize, Serialize};

use crate::handover::number;
use crate::plan::DropReason;
use crate::timer::Timer;
use crate::work::{NIL, Slot, WorkPool};

/// READs that have PSNs, from the oldest incomplete one on: at most as many as the peer keeps track of. One that is
/// complete behind an incomplete one still counts, for the peer forgets the oldest when it is asked for one more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    #[serde(skip)]
    head: u32,
    #[serde(skip)]
    tail: u32,
    /// Of them, those that are [`Due::Lost`].
    lost: u8,
    count: u8,
    max: u8,
    /// Of them, those that were asked for more than once. As long as there is none, they were asked for in their order, and
    /// what arrives says something of those alone that come before it.
    #[serde(skip)]
    again: u8,
    /// Counts requests.
    order: u32,
}

/// Whether a READ is to be asked for, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Due {
    /// It was asked for.
    No,
    /// When its turn comes: never asked for, or refused by the peer together with what came before it.
    InTurn,
    /// When its turn comes: asked for, and a timeout without answer says nothing of why.
    Late,
    /// At once: the peer has executed it, and what answered it is lost.
    Lost,
}

/// What was asked of the peer for a READ.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Asking {
    /// When it was asked for first, in nanoseconds.
    at_ns: u64,
    /// The oldest request that can still be answered, among all requests.
    order: u32,
    /// Of that request: the PSN that a packet sent for the first time had next. An ACK of it comes behind the answer.
    #[serde(with = "number")]
    frontier: Psn,
    /// The packet of the READ from which it was asked for last.
    from: u32,
    due: Due,
    /// It was asked for more than once.
    again: bool,
}

impl Asking {
    pub(crate) const NOT_YET: Asking =
        Asking { at_ns: 0, order: 0, frontier: Psn::new(0), from: 0, due: Due::InTurn, again: false };
}

impl Slot {
    /// A READ is to be asked for when its turn comes.
    pub(crate) fn is_in_turn(&self) -> bool {
        matches!(self.asking.due, Due::InTurn | Due::Late)
    }
}

impl Reading {
    pub(crate) fn new(max: u8) -> Reading {
        Reading { head: NIL, tail: NIL, lost: 0, count: 0, max, again: 0, order: 0 }
    }

    /// Finds the READs again in `in_flight`, in a successor; whether they are as many as were told of.
    pub(crate) fn find_again(&mut self, works: &mut WorkPool, in_flight: &[u32]) -> bool {
        let (count, lost) = (self.count, self.lost);
        (self.head, self.tail, self.count, self.lost, self.again) = (NIL, NIL, 0, 0, 0);
        for index in in_flight {
            let read = works.slot(*index);
            // Those that are complete before the first that is not have left.
            if read.is_read() && (self.head != NIL || !read.is_complete()) {
                if self.count == count {
                    return false;
                }
                self.lost = self.lost.saturating_add(u8::from(read.asking.due == Due::Lost));
                self.again += u8::from(read.asking.again);
                self.start(works, *index);
            }
        }
        (self.count, self.lost) == (count, lost) && count <= self.max
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.count < self.max
    }

    /// A READ has got its PSNs, the highest ones.
    #[inline]
    pub(crate) fn start(&mut self, works: &mut WorkPool, index: u32) {
        match self.tail {
            NIL => self.head = index,
            tail => works.slot_mut(tail).next_read = index,
        }
        self.tail = index;
        self.count += 1;
    }

    /// A READ request leaves; `frontier` is the PSN that a packet sent for the first time has next.
    #[inline]
    pub(crate) fn asked(&mut self, now_ns: u64, read: &mut Slot, fresh: bool, frontier: Psn) {
        let asking = &mut read.asking;
        let due = core::mem::replace(&mut asking.due, Due::No);
        self.lost -= u8::from(due == Due::Lost);
        self.again = self.again - u8::from(asking.again) + u8::from(!fresh);
        asking.again = !fresh;
        if fresh {
            asking.at_ns = now_ns;
        }
        // After a timeout the answer can be that to an earlier request, unless that one began elsewhere.
        if due != Due::Late || asking.from != read.progress {
            self.order = self.order.wrapping_add(1);
            asking.order = self.order;
            asking.frontier = if due == Due::InTurn { read.first_psn } else { frontier };
            asking.from = read.progress;
        }
    }

    /// The READ that is to be asked for at once, the oldest of them.
    pub(crate) fn lost(&self, works: &WorkPool) -> Option<u32> {
        if self.lost == 0 {
            return None;
        }
        let mut index = self.head;
        while works.slot(index).asking.due != Due::Lost {
            index = works.slot(index).next_read;
        }
        Some(index)
    }

    #[inline]
    pub(crate) fn any_lost(&self) -> bool {
        self.lost > 0
    }

    /// The READ whose responses include `psn`.
    #[inline]
    pub(crate) fn find(&self, works: &WorkPool, psn: Psn) -> Result<u32, DropReason> {
        let mut index = self.head;
        while index != NIL {
            let read = works.slot(index);
            match psn.distance_from(read.first_psn) {
                before if before < 0 && index == self.head => return Err(DropReason::StaleResponse),
                before if before < 0 => break,
                at if (at as u32) < read.packets => return Ok(index),
                _ => index = read.next_read,
            }
        }
        Err(DropReason::GhostResponse)
    }

    /// The next packet of a READ has landed.
    #[inline]
    pub(crate) fn landed(&mut self, now_ns: u64, index: u32, opcode: Opcode, works: &mut WorkPool, timer: &mut Timer) {
        let read = works.slot_mut(index);
        let asking = read.asking;
        let where_asked = read.progress == asking.from;
        if !asking.again && read.progress == 0 {
            timer.sample(now_ns, asking.at_ns);
        } else if !asking.again || where_asked && !opcode.begins() {
            // What was asked for once, or goes on as if it had not been asked for again.
            timer.pause(now_ns);
        }
        read.progress += 1;
        if read.is_complete() {
            self.lost -= u8::from(asking.due == Due::Lost);
            read.asking.due = Due::No;
        }
        if !asking.again || where_asked && opcode.begins() {
            self.answers(works, index);
        }
        while self.head != NIL && works.slot(self.head).is_complete() {
            let read = works.slot(self.head);
            self.head = read.next_read;
            self.count -= 1;
            self.again -= u8::from(read.asking.again);
        }
        if self.head == NIL {
            self.tail = NIL;
        }
    }

    /// A response of a READ came whose next packet is missing.
    pub(crate) fn gap(&mut self, index: u32, works: &mut WorkPool) {
        let read = works.slot_mut(index);
        let asking = read.asking;
        // Until the answer that was asked for last begins, what comes belongs to the one with the gap.
        if !asking.again || read.progress != asking.from {
            self.mark(read, Due::Lost);
        }
        if !asking.again {
            self.answers(works, index);
        }
    }

    /// The peer answers the request for READ `index`.
    #[inline]
    fn answers(&mut self, works: &mut WorkPool, index: u32) {
        if index == self.head && self.again == 0 {
            return;
        }
        let order = works.slot(index).asking.order;
        self.mark_all(works, Due::Lost, |read| (read.asking.order.wrapping_sub(order) as i32) < 0);
    }

    /// The peer acknowledges `psn`, of which an answer has not told before.
    #[inline]
    pub(crate) fn acknowledged(&mut self, works: &mut WorkPool, psn: Psn) {
        if self.head == NIL {
            return;
        }
        if self.again == 0 && psn.distance_from(works.slot(self.head).asking.frontier) < 0 {
            return;
        }
        self.mark_all(works, Due::Lost, |read| psn.distance_from(read.asking.frontier) >= 0);
    }

    /// The peer has executed nothing from `psn` on.
    pub(crate) fn refused(&mut self, works: &mut WorkPool, psn: Psn) {
        self.mark_all(works, Due::InTurn, |read| read.first_psn.distance_from(psn) >= 0);
    }

    /// Nothing came for too long: the oldest READ is asked for again, or all of them.
    pub(crate) fn timed_out(&mut self, works: &mut WorkPool, all: bool) {
        let oldest = self.head;
        if all {
            self.mark_all(works, Due::Late, |_| true);
        } else if oldest != NIL {
            self.mark(works.slot_mut(oldest), Due::Late);
        }
    }

    fn mark_all(&mut self, works: &mut WorkPool, due: Due, which: impl Fn(&Slot) -> bool) {
        let mut index = self.head;
        while index != NIL {
            let read = works.slot_mut(index);
            index = read.next_read;
            if !read.is_complete() && which(read) {
                self.mark(read, due);
            }
        }
    }

    fn mark(&mut self, read: &mut Slot, due: Due) {
        if read.asking.due != Due::Lost {
            self.lost += u8::from(due == Due::Lost);
            read.asking.due = due;
        }
    }
}
