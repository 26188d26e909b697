//! Longest prefix match (P4_16 §14.2.1.1, `core.p4`): one field by its first bits, the others exactly.
//!
//! One hashed table holds the prefixes of all lengths, each length under a hash of its own. A lookup tries the lengths that are
//! in use, from the longest down, so it costs as many probes as there are different lengths up to the match: one or two for a
//! table of hosts and a default, twenty for a full Internet table. The tables of this pipeline are of the first kind.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::hashed::{HashedTable, Watch, bump};
use crate::versions::Versions;
use crate::words::{Joined, Payload};
use crate::{EntryIndex, Generation, Line, StageError, Words, Writer};

/// A prefix: the key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix<X> {
    /// The key's other fields.
    pub exact: X,
    /// The prefixed field, as a number of the field's width.
    pub value: u128,
    /// Bits of it that count, from the top. The others are ignored and read back as zeros.
    pub length: u8,
}

/// In slots: the exact words, then the value in two, then the length.
impl<X: Words> Payload for Prefix<X> {
    const N: usize = <X as Payload>::N + 3;

    #[inline]
    fn word(&self, at: usize) -> u64 {
        match at.checked_sub(<X as Payload>::N) {
            None => self.exact.word(at),
            Some(0) => (self.value >> 64) as u64,
            Some(1) => self.value as u64,
            Some(_) => u64::from(self.length),
        }
    }

    #[inline]
    fn load(mut word: impl FnMut(usize) -> u64) -> Self {
        let n = <X as Payload>::N;
        let value = u128::from(word(n)) << 64 | u128::from(word(n + 1));
        Self { exact: X::load(&mut word), value, length: word(n + 2) as u8 }
    }
}

/// Which lengths have slots: a bit each for lookups, and the writer's counts. A length's bit is set before an entry of it is
/// published and cleared when nobody sees one any more, so no lookup misses a length; one too many finds nothing.
struct Lengths {
    in_use: [AtomicU64; 3],
    slots: [AtomicU32; 129],
}

impl<X: Words> Watch<Prefix<X>> for Lengths {
    fn occupied(&self, key: &Prefix<X>) {
        if bump(&self.slots[usize::from(key.length)], true) == 1 {
            self.flip(key.length);
        }
    }

    fn vacated(&self, key: &Prefix<X>) {
        if bump(&self.slots[usize::from(key.length)], false) == 0 {
            self.flip(key.length);
        }
    }
}

impl Lengths {
    fn flip(&self, length: u8) {
        let word = &self.in_use[usize::from(length / 64)];
        word.store(word.load(Ordering::Relaxed) ^ 1 << (length % 64), Ordering::Relaxed);
    }

    /// The longest first.
    #[inline]
    fn each(&self) -> impl Iterator<Item = u8> + '_ {
        (0..3_u8).rev().flat_map(|at| {
            let mut bits = self.in_use[usize::from(at)].load(Ordering::Relaxed);
            core::iter::from_fn(move || {
                let top = 63_u32.checked_sub(bits.leading_zeros())?;
                bits ^= 1 << top;
                Some(at * 64 + top as u8)
            })
        })
    }
}

/// A longest-prefix table: a handle; clones are the same table. `X` are the key's exact fields, `[u64; 0]` if it has none.
pub struct LpmTable<X, E> {
    table: HashedTable<Prefix<X>, E, Lengths>,
    width: u8,
}

impl<X, E> Clone for LpmTable<X, E> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone(), width: self.width }
    }
}

impl<X: Words, E: Words> LpmTable<X, E> {
    /// A table for so many entries, whose prefixed field has `width` bits, 1 to 128.
    ///
    /// # Panics
    /// When there is no such width.
    #[must_use]
    pub fn new(writer: &mut Writer, capacity: usize, width: u8) -> Self {
        assert!((1..=128).contains(&width), "a field of {width} bits");
        let lengths = Lengths {
            in_use: core::array::from_fn(|_| AtomicU64::new(0)),
            slots: core::array::from_fn(|_| AtomicU32::new(0)),
        };
        Self { table: HashedTable::with_capacity(writer, capacity, lengths), width }
    }

    /// The prefix of a length that a key has.
    #[inline]
    fn prefix(&self, exact: &X, value: u128, length: u8) -> Prefix<X> {
        // A prefix as long as the field has no shift; one of no bits would shift by all 128.
        let mask = u128::MAX.checked_shl(u32::from(self.width - length)).unwrap_or(0);
        let field = u128::MAX >> (128 - u32::from(self.width));
        Prefix { exact: *exact, value: value & mask & field, length }
    }

    /// The hash of the prefix that is tried first: what to prefetch by.
    #[inline]
    #[must_use]
    pub fn hash(&self, exact: &X, value: u128) -> u64 {
        let length = self.table.shared.watch.each().next().unwrap_or(0);
        self.table.shared.hash(&self.prefix(exact, value, length))
    }

    /// Where a lookup begins: what to prefetch.
    #[inline]
    #[must_use]
    pub fn bucket(&self, hash: u64) -> &Line {
        self.table.shared.line(hash)
    }

    /// The entry that a generation sees with the longest prefix of a key.
    #[inline]
    #[must_use]
    pub fn lookup(&self, generation: Generation, exact: &X, value: u128) -> Option<(EntryIndex, E)> {
        let table = &*self.table.shared;
        table.watch.each().find_map(|length| {
            let prefix = self.prefix(exact, value, length);
            table.lookup(generation, &prefix, table.hash(&prefix))
        })
    }

    fn checked(&self, prefix: &Prefix<X>) -> Result<Prefix<X>, StageError> {
        if prefix.length > self.width {
            return Err(StageError::BadMatch);
        }
        Ok(self.prefix(&prefix.exact, prefix.value, prefix.length))
    }

    /// Stages a new entry.
    ///
    /// # Errors
    /// `BadMatch`, `Exists`, `TableFull`, `NoRoomYet`, `ReadersBehind`.
    pub fn insert(&self, writer: &mut Writer, prefix: &Prefix<X>, entry: &E) -> Result<EntryIndex, StageError> {
        self.table.insert_entry(writer, &self.checked(prefix)?, entry)
    }

    /// Stages another version of an entry. It keeps its index.
    ///
    /// # Errors
    /// `BadMatch`, `Missing`, `NoRoomYet`, `ReadersBehind`.
    pub fn modify(&self, writer: &mut Writer, prefix: &Prefix<X>, entry: &E) -> Result<EntryIndex, StageError> {
        self.table.modify_entry(writer, &self.checked(prefix)?, entry)
    }

    /// Stages an entry's end. Returns the index that it had.
    ///
    /// # Errors
    /// `BadMatch`, `Missing`, `ReadersBehind`.
    pub fn remove(&self, writer: &mut Writer, prefix: &Prefix<X>) -> Result<EntryIndex, StageError> {
        self.table.remove_entry(writer, &self.checked(prefix)?)
    }

    /// The entry of exactly this prefix.
    #[must_use]
    pub fn entry(&self, generation: Generation, prefix: &Prefix<X>) -> Option<(EntryIndex, E)> {
        let prefix = self.checked(prefix).ok()?;
        self.table.shared.lookup(generation, &prefix, self.table.shared.hash(&prefix))
    }

    /// As [`ExactTable::scan`](crate::ExactTable::scan).
    pub fn scan(
        &self,
        generation: Generation,
        from: usize,
        slots: usize,
        mut show: impl FnMut(EntryIndex, Prefix<X>, E),
    ) -> Option<usize> {
        self.table.scan(generation, from, slots, |index, Joined(key, entry)| show(index, key, entry))
    }

    /// Shows every entry that a generation sees, in no order.
    pub fn for_each(&self, generation: Generation, show: impl FnMut(EntryIndex, Prefix<X>, E)) {
        self.scan(generation, 0, usize::MAX, show);
    }

    /// Whether no lcore sees an entry in the generation that it is in, so that every lookup there misses. Entries that are
    /// staged, and those that die, count as long as there is a slot of theirs.
    #[inline]
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.table.shared.ledger().is_vacant()
    }

    /// Whether so few entries are in use, 32 at most, that a lookup need not be prefetched: their lines are in the cache.
    #[inline]
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.table.shared.ledger().is_small()
    }

    /// Number of entries, as staged. For the writer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.shared.ledger().live()
    }

    /// Whether there is no entry, as staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.table.shared.ledger().capacity()
    }

    /// Entry indices are below this: the size of direct counters and meters.
    #[inline]
    #[must_use]
    pub fn index_limit(&self) -> usize {
        self.table.shared.ledger().index_limit()
    }
}
