//! Exact match (P4_16 §14.2.1.1, `core.p4`): all bits of the key.

use crate::hashed::HashedTable;
use crate::versions::Versions;
use crate::words::Joined;
use crate::{EntryIndex, Generation, Line, StageError, Words, Writer};

/// An exact table: a handle; clones are the same table.
///
/// Keys and entries lie together with one word more in cache lines of 64 bytes: up to seven words of both make a lookup touch
/// one line, up to three let two entries share it. Entries take at most half of the slots, so 9 in 10 lookups and more end
/// in the first bucket. Memory is 64 bytes an entry of up to three words, 128 of up to seven.
///
/// A burst computes [`hash`](Self::hash) of every key, prefetches [`bucket`](Self::bucket), then looks up.
pub struct ExactTable<K, E>(HashedTable<K, E, ()>);

impl<K, E> Clone for ExactTable<K, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Words, E: Words> ExactTable<K, E> {
    /// A table for so many entries.
    #[must_use]
    pub fn new(writer: &mut Writer, capacity: usize) -> Self {
        Self(HashedTable::with_capacity(writer, capacity, ()))
    }

    /// A key's hash.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &K) -> u64 {
        self.0.shared.hash(key)
    }

    /// Where a lookup begins: what to prefetch.
    #[inline]
    #[must_use]
    pub fn bucket(&self, hash: u64) -> &Line {
        self.0.shared.line(hash)
    }

    /// The entry that a generation sees for a key with this hash.
    #[inline]
    #[must_use]
    pub fn lookup(&self, generation: Generation, key: &K, hash: u64) -> Option<(EntryIndex, E)> {
        self.0.shared.lookup(generation, key, hash)
    }

    /// Stages a new entry.
    ///
    /// # Errors
    /// `Exists`, `TableFull`, `NoRoomYet`, `ReadersBehind`.
    pub fn insert(&self, writer: &mut Writer, key: &K, entry: &E) -> Result<EntryIndex, StageError> {
        self.0.insert_entry(writer, key, entry)
    }

    /// Stages another version of an entry. It keeps its index.
    ///
    /// # Errors
    /// `Missing`, `NoRoomYet`, `ReadersBehind`.
    pub fn modify(&self, writer: &mut Writer, key: &K, entry: &E) -> Result<EntryIndex, StageError> {
        self.0.modify_entry(writer, key, entry)
    }

    /// Stages an entry's end. Returns the index that it had.
    ///
    /// # Errors
    /// `Missing`, `ReadersBehind`.
    pub fn remove(&self, writer: &mut Writer, key: &K) -> Result<EntryIndex, StageError> {
        self.0.remove_entry(writer, key)
    }

    /// Shows entries that a generation sees, in no order, going over at most `slots` slots from `from` on (0 at first). Returns
    /// where to go on, if there is more. A dump in pieces is of one state when its reader stays in the generation meanwhile.
    pub fn scan(
        &self,
        generation: Generation,
        from: usize,
        slots: usize,
        mut show: impl FnMut(EntryIndex, K, E),
    ) -> Option<usize> {
        self.0.scan(generation, from, slots, |index, Joined(key, entry)| show(index, key, entry))
    }

    /// Shows every entry that a generation sees, in no order.
    pub fn for_each(&self, generation: Generation, show: impl FnMut(EntryIndex, K, E)) {
        self.scan(generation, 0, usize::MAX, show);
    }

    /// Whether no lcore sees an entry in the generation that it is in, so that every lookup there misses. Entries that are
    /// staged, and those that die, count as long as there is a slot of theirs.
    #[inline]
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.0.shared.ledger().is_vacant()
    }

    /// Whether so few entries are in use, 32 at most, that a lookup need not be prefetched: their lines are in the cache.
    #[inline]
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.0.shared.ledger().is_small()
    }

    /// Number of entries, as staged. For the writer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shared.ledger().live()
    }

    /// Whether there is no entry, as staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.shared.ledger().capacity()
    }

    /// Entry indices are below this: the size of direct counters and meters.
    #[inline]
    #[must_use]
    pub fn index_limit(&self) -> usize {
        self.0.shared.ledger().index_limit()
    }
}
