//! Slots: rows of words in cache lines, of which the first is the stamp; and the numbers that entries keep.

use crate::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use alloc::boxed::Box;
use core::marker::PhantomData;

use crate::StageError;
use crate::readers::Apart;
use crate::stamp::{INDICES, Stamp};
use crate::words::Payload;

/// Words of a cache line.
const LINE_WORDS: usize = 8;

/// A cache line of a table: what a burst prefetches.
#[repr(align(64))]
#[derive(Default)]
pub struct Line(pub(crate) [AtomicU64; LINE_WORDS]);

/// The number of an entry: below its table's `index_limit`, the same in all its versions, another's only when no lcore can see
/// the entry any more. Direct counters and meters are kept under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryIndex(pub u32);

impl EntryIndex {
    /// As an index of a list.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Slots that hold a payload behind a stamp. As many as fit share a line; longer ones have lines of their own.
///
/// All accesses are relaxed. An lcore in generation g acts on a slot's words only if the stamp it reads makes the entry visible
/// in g. Such an entry was written before g was published, so entering g ordered those stores before; and it is not written
/// again before the lcore has left, which orders its loads before. What it reads of any other slot, torn or not, it drops, for no
/// stamp that such a slot is given while the lcore stays in g is visible there.
pub(crate) struct Slots<P> {
    lines: Box<[Line]>,
    count: usize,
    holds: PhantomData<fn() -> P>,
}

impl<P: Payload> Slots<P> {
    /// Words of a slot.
    const WORDS: usize = 1 + P::N;
    /// Slots of a bucket.
    pub(crate) const PER_BUCKET: usize = if Self::WORDS > LINE_WORDS { 1 } else { LINE_WORDS / Self::WORDS };
    /// Lines of a bucket.
    const LINES: usize = Self::WORDS.div_ceil(LINE_WORDS);

    /// At least so many slots, whole buckets.
    pub(crate) fn new(count: usize) -> Self {
        let buckets = count.div_ceil(Self::PER_BUCKET);
        Self {
            lines: (0..buckets * Self::LINES).map(|_| Line::default()).collect(),
            count: buckets * Self::PER_BUCKET,
            holds: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The lines of a bucket, if there is one of this number.
    #[inline]
    pub(crate) fn bucket(&self, bucket: usize) -> Option<Bucket<'_, P>> {
        let lines = self.lines.get(bucket * Self::LINES..(bucket + 1) * Self::LINES)?;
        Some(Bucket { lines, holds: PhantomData })
    }

    /// The first line of a bucket.
    #[inline]
    pub(crate) fn line(&self, bucket: usize) -> &Line {
        &self.lines[bucket * Self::LINES]
    }

    /// A slot by its number.
    #[inline]
    pub(crate) fn slot(&self, slot: usize) -> Slot<'_, P> {
        let bucket = self.bucket(slot / Self::PER_BUCKET).expect("a slot of this table");
        bucket.slot(slot % Self::PER_BUCKET)
    }
}

/// A bucket of slots.
pub(crate) struct Bucket<'a, P> {
    lines: &'a [Line],
    holds: PhantomData<fn() -> P>,
}

impl<'a, P: Payload> Bucket<'a, P> {
    #[inline]
    pub(crate) fn slot(&self, at: usize) -> Slot<'a, P> {
        Slot { lines: self.lines, first: at * Slots::<P>::WORDS, holds: PhantomData }
    }
}

/// A slot.
pub(crate) struct Slot<'a, P> {
    lines: &'a [Line],
    first: usize,
    holds: PhantomData<fn() -> P>,
}

impl<P: Payload> Slot<'_, P> {
    #[inline]
    fn at(&self, word: usize) -> &AtomicU64 {
        let word = self.first + word;
        &self.lines[word / LINE_WORDS].0[word % LINE_WORDS]
    }

    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp(self.at(0).load(Ordering::Relaxed))
    }

    /// A word of the payload.
    #[inline]
    pub(crate) fn word(&self, word: usize) -> u64 {
        self.at(1 + word).load(Ordering::Relaxed)
    }

    /// What is in it, from the payload's word `from` on.
    #[inline]
    pub(crate) fn load<Q: Payload>(&self, from: usize) -> Q {
        Q::load(|word| self.word(from + word))
    }

    /// Writer: another stamp, whose overflow stays the bucket's.
    pub(crate) fn stamp_as(&self, stamp: Stamp) {
        self.at(0).store(stamp.with_overflow_of(self.stamp()).0, Ordering::Relaxed);
    }

    /// Writer: another count of overflowed entries; the bucket's first slot has it.
    pub(crate) fn overflow_as(&self, stamp: Stamp) {
        self.at(0).store(stamp.0, Ordering::Relaxed);
    }

    /// Writer: fills a free slot and stamps it.
    pub(crate) fn fill(&self, payload: &P, stamp: Stamp) {
        for word in 0..P::N {
            self.at(1 + word).store(payload.word(word), Ordering::Relaxed);
        }
        self.stamp_as(stamp);
    }

    /// Writer: nobody sees it any more.
    pub(crate) fn free(&self) {
        self.stamp_as(Stamp(0));
    }
}

/// What the writer alone counts: entries, slots, and free entry indices. In atomics because tables are shared; apart from what
/// lcores read, which is how much there is to find, roughly.
pub(crate) struct Ledger {
    capacity: usize,
    index_limit: usize,
    /// Slots in use: none, few, or more. Written when that changes.
    occupancy: AtomicU32,
    words: Apart<LedgerWords>,
}

const VACANT: u32 = 0;
const SMALL: u32 = 1;
const LARGE: u32 = 2;

/// Slots in use up to which a table is small: 2 KiB of lines.
const SMALL_SLOTS: usize = 32;

struct LedgerWords {
    slots: usize,
    live: AtomicUsize,
    used: AtomicUsize,
    free: AtomicUsize,
    /// A stack of free indices, of which the first `free` count.
    indices: Box<[AtomicU32]>,
}

/// Entries, removed ones included, that are numbered at a time: twice the capacity of small tables, whose whole content a
/// transaction may exchange; a little more than the capacity of large ones.
pub(crate) fn index_limit(capacity: usize) -> usize {
    capacity + capacity.min(4096).max(capacity / 8)
}

impl Ledger {
    /// For so many entries in so many slots, of which all but one of `spared` may be in use.
    pub(crate) fn new(capacity: usize, slots: usize) -> Self {
        let limit = index_limit(capacity);
        assert!(limit <= INDICES, "a table of {capacity} entries is beyond the {INDICES} indices there are");
        // The stack hands out the lowest first.
        let indices = (0..limit as u32).rev().map(AtomicU32::new).collect();
        let words = LedgerWords {
            slots,
            live: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            free: AtomicUsize::new(limit),
            indices,
        };
        Self { capacity, index_limit: limit, occupancy: AtomicU32::new(VACANT), words: Apart(words) }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    pub(crate) fn index_limit(&self) -> usize {
        self.index_limit
    }

    /// Whether no lcore sees an entry in the generation that it is in. Relaxed like slots: what an lcore sees in its generation
    /// was taken before the generation was published, and is not free before the lcore has left it.
    #[inline]
    pub(crate) fn is_vacant(&self) -> bool {
        self.occupancy.load(Ordering::Relaxed) == VACANT
    }

    /// Whether so few slots are in use that their lines stay in a core's cache.
    #[inline]
    pub(crate) fn is_small(&self) -> bool {
        self.occupancy.load(Ordering::Relaxed) <= SMALL
    }

    /// Entries as staged.
    pub(crate) fn live(&self) -> usize {
        self.words.0.live.load(Ordering::Relaxed)
    }

    /// Whether another version has room.
    pub(crate) fn room(&self) -> Result<(), StageError> {
        if self.words.0.used.load(Ordering::Relaxed) < self.words.0.slots { Ok(()) } else { Err(StageError::NoRoomYet) }
    }

    /// Takes an index for a new entry, if there is room for it.
    pub(crate) fn number(&self) -> Result<u32, StageError> {
        let words = &self.words.0;
        if self.live() >= self.capacity {
            return Err(StageError::TableFull);
        }
        self.room()?;
        let free = words.free.load(Ordering::Relaxed);
        if free == 0 {
            return Err(StageError::NoRoomYet);
        }
        words.free.store(free - 1, Ordering::Relaxed);
        Ok(words.indices[free - 1].load(Ordering::Relaxed))
    }

    /// Gives an index back.
    pub(crate) fn unnumber(&self, index: u32) {
        let words = &self.words.0;
        let free = words.free.load(Ordering::Relaxed);
        words.indices[free].store(index, Ordering::Relaxed);
        words.free.store(free + 1, Ordering::Relaxed);
    }

    pub(crate) fn count_live(&self, up: bool) {
        count(&self.words.0.live, up);
    }

    pub(crate) fn count_used(&self, up: bool) {
        let used = count(&self.words.0.used, up);
        let now = match used {
            0 => VACANT,
            1..=SMALL_SLOTS => SMALL,
            _ => LARGE,
        };
        if now != self.occupancy.load(Ordering::Relaxed) {
            self.occupancy.store(now, Ordering::Relaxed);
        }
    }
}

fn count(counter: &AtomicUsize, up: bool) -> usize {
    let n = counter.load(Ordering::Relaxed);
    let n = if up { n + 1 } else { n - 1 };
    counter.store(n, Ordering::Relaxed);
    n
}
