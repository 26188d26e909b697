//! The arena of work requests that the queue pairs of one lcore share. A queue pair holds lists of indices
//! into it: work that waits, is in flight or is done, and READ requests that it answers as responder.

use alloc::vec::Vec;

use gantry_wire::ib::{Psn, Rkey};
use serde::{Deserialize, Serialize};

use crate::handover::number;
use crate::reading::Asking;

/// A work request of the requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The caller's name for it: comes back with packets to fill, bytes to land and the completion.
    pub cookie: u32,
    /// What to do.
    pub kind: WorkKind,
    /// Bytes to send, or to READ.
    pub length: u32,
}

/// What a work request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkKind {
    /// SEND; at most one of the two extensions.
    Send {
        /// The peer's R_Key that the SEND invalidates.
        #[serde(with = "number")]
        invalidate: Option<Rkey>,
        /// Immediate data.
        immediate: Option<u32>,
    },
    /// RDMA WRITE.
    Write {
        /// Where, in the peer's memory.
        address: u64,
        /// The peer's R_Key.
        #[serde(with = "number")]
        rkey: Rkey,
        /// Immediate data.
        immediate: Option<u32>,
    },
    /// RDMA READ.
    Read {
        /// Where from, in the peer's memory.
        address: u64,
        /// The peer's R_Key.
        #[serde(with = "number")]
        rkey: Rkey,
    },
}

/// The arena holds as much work as it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolFull;

/// What a slot of the arena holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Free,
    /// A work request of the requester.
    Work(WorkKind),
    /// A READ request that the responder answers.
    Respond {
        address: u64,
        #[serde(with = "number")]
        rkey: Rkey,
        /// It was answered before; the peer may have got the answer meanwhile.
        again: bool,
    },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) kind: Kind,
    #[serde(skip)]
    pub(crate) next: u32,
    pub(crate) cookie: u32,
    pub(crate) length: u32,
    /// When it was posted, relative to other work of its queue pair.
    pub(crate) post: u32,
    /// PSN of its first packet (for a READ, of its first response), once it has one.
    #[serde(with = "number")]
    pub(crate) first_psn: Psn,
    /// PSNs that it takes.
    pub(crate) packets: u32,
    /// Packets known to have arrived: at the responder, or here for a READ; packets sent for `Respond`.
    pub(crate) progress: u32,
    /// For a READ in flight: the next one.
    #[serde(skip)]
    pub(crate) next_read: u32,
    /// For a READ in flight: what was asked of the peer.
    pub(crate) asking: Asking,
}

impl Slot {
    pub(crate) fn new(kind: Kind, cookie: u32, length: u32) -> Slot {
        Slot {
            kind,
            next: NIL,
            cookie,
            length,
            post: 0,
            first_psn: Psn::new(0),
            packets: 0,
            progress: 0,
            next_read: NIL,
            asking: Asking::NOT_YET,
        }
    }

    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.kind, Kind::Work(WorkKind::Read { .. }))
    }

    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.progress == self.packets
    }

    /// The PSN behind its last one.
    #[inline]
    pub(crate) fn end_psn(&self) -> Psn {
        self.first_psn.add(self.packets)
    }
}

/// No slot.
pub(crate) const NIL: u32 = u32::MAX;

/// A list of slots: first and last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl Default for List {
    fn default() -> List {
        List::EMPTY
    }
}

impl List {
    pub(crate) const EMPTY: List = List { head: NIL, tail: NIL };

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The first slot, or [`NIL`].
    #[inline]
    pub(crate) fn head(&self) -> u32 {
        self.head
    }
}

/// A fixed number of work requests, shared by the queue pairs of one lcore.
#[derive(Debug)]
pub struct WorkPool {
    slots: Vec<Slot>,
    /// The first free slot: what was given back last is taken first, for it is still in the caches.
    free: u32,
    available: u32,
}

impl WorkPool {
    /// Bytes that a work request takes of the arena.
    pub const SLOT_BYTES: usize = size_of::<Slot>();

    /// An arena for `capacity` work requests. The only allocation of this crate.
    ///
    /// # Panics
    /// When `capacity` is `u32::MAX`.
    pub fn new(capacity: u32) -> WorkPool {
        assert!(capacity < NIL, "that many slots cannot be told apart");
        let next = |index| if index + 1 < capacity { index + 1 } else { NIL };
        let slots = (0..capacity).map(|index| Slot { next: next(index), ..Slot::new(Kind::Free, 0, 0) }).collect();
        WorkPool { slots, free: if capacity == 0 { NIL } else { 0 }, available: capacity }
    }

    /// How many more work requests fit.
    #[inline]
    pub fn available(&self) -> u32 {
        self.available
    }

    /// How many work requests it was made for.
    pub fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    #[inline]
    pub(crate) fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// The slot behind `index` in its list, or [`NIL`].
    #[inline]
    pub(crate) fn next(&self, index: u32) -> u32 {
        self.slots[index as usize].next
    }

    /// The slots of a list, in order.
    pub(crate) fn walk(&self, list: &List) -> impl Iterator<Item = u32> + '_ {
        let on = |index: u32| (index != NIL).then_some(index);
        core::iter::successors(on(list.head), move |index| on(self.next(*index)))
    }

    /// Takes a slot and puts it at the end of `list`; `fill` gets it with what it held last.
    #[inline(always)]
    pub(crate) fn add(&mut self, list: &mut List, fill: impl FnOnce(&mut Slot)) -> Result<u32, PoolFull> {
        let index = self.free;
        let Some(slot) = self.slots.get_mut(index as usize) else { return Err(PoolFull) };
        self.free = slot.next;
        self.available -= 1;
        fill(slot);
        slot.next = NIL;
        self.link(list, index);
        Ok(index)
    }

    /// Gives a slot back that is in no list any more.
    #[inline]
    pub(crate) fn release(&mut self, index: u32) {
        let free = self.free;
        let slot = self.slot_mut(index);
        assert!(!matches!(slot.kind, Kind::Free), "slot {index} is released twice");
        slot.kind = Kind::Free;
        slot.next = free;
        self.free = index;
        self.available += 1;
    }

    #[inline]
    pub(crate) fn push(&mut self, list: &mut List, index: u32) {
        self.slots[index as usize].next = NIL;
        self.link(list, index);
    }

    /// Moves the first slots of a list, up to `last`, to the end of another.
    #[inline(always)]
    pub(crate) fn move_up_to(&mut self, last: u32, from: &mut List, to: &mut List) {
        let first = from.head;
        from.head = core::mem::replace(&mut self.slots[last as usize].next, NIL);
        if from.head == NIL {
            from.tail = NIL;
        }
        self.link(to, first);
        to.tail = last;
    }

    /// Puts a slot that has none behind it at the end.
    #[inline]
    fn link(&mut self, list: &mut List, index: u32) {
        match list.tail {
            NIL => list.head = index,
            tail => self.slots[tail as usize].next = index,
        }
        list.tail = index;
    }

    #[inline]
    pub(crate) fn pop(&mut self, list: &mut List) -> Option<u32> {
        if list.head == NIL {
            return None;
        }
        let index = list.head;
        list.head = self.slots[index as usize].next;
        if list.head == NIL {
            list.tail = NIL;
        }
        Some(index)
    }
}
