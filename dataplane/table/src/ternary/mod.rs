//! Ternary match (P4_16 §14.2.1.1, `core.p4`), with range and optional keys: the most important entry that matches.
//!
//! Built for up to some thousands of entries. A [`filter`] of bits finds the slots that may match; comparing their words decides.
//! That costs the same whatever masks entries have, where a search by tuples of masks pays for each different one and cannot
//! hash ranges, and needs no second scheme for small tables: 64 slots are one word.

mod filter;
mod key;

pub use key::{Match, RangeField, TernaryKey};

use self::filter::Filter;
use self::key::word_matches;
use crate::slots::{Ledger, Slots};
use crate::stamp::Stamp;
use crate::versions::{Table, Versions};
use crate::words::{Joined, Payload};
use crate::{EntryIndex, Generation, Line, StageError, Words, Writer};

struct Ternary<K, E> {
    slots: Slots<Joined<Match<K>, E>>,
    filter: Filter,
    ledger: Ledger,
}

/// A ternary table: a handle; clones are the same table.
///
/// Memory is 64 bytes for each word of the key and each entry, and the entries' own lines.
pub struct TernaryTable<K, E>(Table<Ternary<K, E>>);

impl<K, E> Clone for TernaryTable<K, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: TernaryKey, E: Words> Ternary<K, E> {
    const KEY: usize = <K as Payload>::N;

    /// The slot of the entry with this match that a generation sees. The match is canonical, so its values are a key that it
    /// matches.
    fn find(&self, generation: u64, matched: &Match<K>) -> Option<usize> {
        let mut found = None;
        self.filter.each(
            |word| matched.value.word(word),
            |slot| {
                let row = self.slots.slot(slot);
                let same = (0..<Match<K> as Payload>::N).all(|at| row.word(at) == matched.word(at));
                if same && row.stamp().visible(generation) {
                    found = Some(slot);
                }
            },
        );
        found
    }
}

impl<K: TernaryKey, E: Words> Versions for Ternary<K, E> {
    type Payload = Joined<Match<K>, E>;

    fn slots(&self) -> &Slots<Self::Payload> {
        &self.slots
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn place(&self, payload: &Self::Payload, stamp: Stamp) -> usize {
        let slot = self.filter.free_slot().expect("the ledger counted a free slot");
        self.filter.occupy(slot, &payload.0);
        self.slots.slot(slot).fill(payload, stamp);
        slot
    }

    fn vacate(&self, slot: usize) {
        let row = self.slots.slot(slot);
        self.filter.vacate(slot, &row.load::<Match<K>>(0));
        row.free();
    }
}

impl<K: TernaryKey, E: Words> TernaryTable<K, E> {
    /// A table for so many entries.
    ///
    /// # Panics
    /// When a range field lies outside of its word.
    #[must_use]
    pub fn new(writer: &mut Writer, capacity: usize) -> Self {
        let inside = |f: &RangeField| f.word < <K as Payload>::N && f.bits > 0 && f.shift + f.bits <= 64;
        assert!(K::RANGES.iter().all(inside), "a range field outside of its word");
        let slots = (2 * capacity).next_multiple_of(64).max(64);
        let table = Ternary {
            filter: Filter::new(slots, <K as Payload>::N),
            ledger: Ledger::new(capacity, slots),
            slots: Slots::new(slots),
        };
        Self(Table::new(writer, table))
    }

    /// Shows the first line of everything that a lookup goes over: what to prefetch.
    #[inline]
    pub fn lines(&self, key: &K, line: impl FnMut(&Line)) {
        self.0.shared.filter.lines(|word| key.word(word), line);
    }

    /// The most important entry that a generation sees and a key matches.
    #[inline]
    #[must_use]
    pub fn lookup(&self, generation: Generation, key: &K) -> Option<(EntryIndex, E)> {
        let table = &*self.0.shared;
        // Priority and, turned round, index: the greatest wins.
        let mut best: Option<((i32, u32), usize)> = None;
        table.filter.each(
            |word| key.word(word),
            |at| {
                let slot = table.slots.slot(at);
                let stamp = slot.stamp();
                let rank = (slot.word(0) as u32 as i32, !stamp.index());
                if best.is_none_or(|(best, _)| rank > best)
                    && stamp.visible(generation.0)
                    && (0..Ternary::<K, E>::KEY).all(|w| {
                        word_matches::<K>(w, key.word(w), slot.word(1 + w), slot.word(1 + Ternary::<K, E>::KEY + w))
                    })
                {
                    best = Some((rank, at));
                }
            },
        );
        let ((_, index), at) = best?;
        Some((EntryIndex(!index), table.slots.slot(at).load(<Match<K> as Payload>::N)))
    }

    /// Stages a new entry.
    ///
    /// # Errors
    /// `BadMatch`, `Exists` (the same match with the same priority), `TableFull`, `NoRoomYet`, `ReadersBehind`.
    pub fn insert(&self, writer: &mut Writer, matched: &Match<K>, entry: &E) -> Result<EntryIndex, StageError> {
        let (matched, generation) = (matched.canonical()?, self.0.stage(writer)?);
        let found = self.0.shared.find(generation, &matched);
        self.0.insert(writer, generation, found, &Joined(matched, *entry))
    }

    /// Stages another version of an entry. It keeps its index.
    ///
    /// # Errors
    /// `BadMatch`, `Missing`, `NoRoomYet`, `ReadersBehind`.
    pub fn modify(&self, writer: &mut Writer, matched: &Match<K>, entry: &E) -> Result<EntryIndex, StageError> {
        let (matched, generation) = (matched.canonical()?, self.0.stage(writer)?);
        let found = self.0.shared.find(generation, &matched);
        self.0.modify(writer, generation, found, &Joined(matched, *entry))
    }

    /// Stages an entry's end. Returns the index that it had.
    ///
    /// # Errors
    /// `BadMatch`, `Missing`, `ReadersBehind`.
    pub fn remove(&self, writer: &mut Writer, matched: &Match<K>) -> Result<EntryIndex, StageError> {
        let (matched, generation) = (matched.canonical()?, self.0.stage(writer)?);
        let found = self.0.shared.find(generation, &matched);
        self.0.remove(writer, generation, found)
    }

    /// The entry with exactly this match. For the writer.
    #[must_use]
    pub fn entry(&self, generation: Generation, matched: &Match<K>) -> Option<(EntryIndex, E)> {
        let row = self.0.shared.slots.slot(self.0.shared.find(generation.0, &matched.canonical().ok()?)?);
        Some((EntryIndex(row.stamp().index()), row.load(<Match<K> as Payload>::N)))
    }

    /// As [`ExactTable::scan`](crate::ExactTable::scan).
    pub fn scan(
        &self,
        generation: Generation,
        from: usize,
        slots: usize,
        mut show: impl FnMut(EntryIndex, Match<K>, E),
    ) -> Option<usize> {
        self.0.scan(generation, from, slots, |index, Joined(matched, entry)| show(index, matched, entry))
    }

    /// Shows every entry that a generation sees, in no order.
    pub fn for_each(&self, generation: Generation, show: impl FnMut(EntryIndex, Match<K>, E)) {
        self.scan(generation, 0, usize::MAX, show);
    }

    /// Whether no lcore sees an entry in the generation that it is in, so that every lookup there misses. Entries that are
    /// staged, and those that die, count as long as there is a slot of theirs.
    #[inline]
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.0.shared.ledger.is_vacant()
    }

    /// Whether so few entries are in use, 32 at most, that a lookup need not be prefetched: their lines are in the cache.
    #[inline]
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.0.shared.ledger.is_small()
    }

    /// Number of entries, as staged. For the writer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shared.ledger.live()
    }

    /// Whether there is no entry, as staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.shared.ledger.capacity()
    }

    /// Entry indices are below this: the size of direct counters and meters.
    #[inline]
    #[must_use]
    pub fn index_limit(&self) -> usize {
        self.0.shared.ledger.index_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few slots are compared, and rows that nobody looks at are not fetched: an empty table costs a burst nothing.
    #[test]
    fn only_lines_that_a_lookup_goes_over_are_shown() {
        let mut writer = Writer::new(0, 3);
        let table = TernaryTable::<[u64; 2], [u64; 1]>::new(&mut writer, 100);
        let shown = |table: &TernaryTable<[u64; 2], [u64; 1]>| {
            let mut shown = 0;
            table.lines(&[1, 2], |_| shown += 1);
            shown
        };
        for n in 0..100 {
            // One nibble of the first word counts, two of the second.
            let expected = if n <= 8 { 0 } else { 3 };
            assert_eq!(shown(&table), expected, "{n} entries");
            let matched = Match { value: [n & 0xf, n & 0xf0], mask: [0xf, 0xff0], priority: n as i32 };
            table.insert(&mut writer, &matched, &[n]).unwrap();
        }
    }
}
