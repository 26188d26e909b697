//! The engine of exact and longest-prefix tables: open addressing over buckets of a cache line.
//!
//! An entry lies in its home bucket or, when that is full, in the nearest one behind it with a free slot. Every bucket counts the
//! entries that passed it so; a lookup goes on behind a bucket only when there are such. So a hole that a removed entry leaves
//! cuts no probe, nothing is ever moved, and a lookup that misses touches one line too, most of the time.
//!
//! There are two slots for each entry of the capacity (three in small tables): entries take half, versions that die the rest.

use crate::atomic::{AtomicU32, Ordering};

use crate::slots::{Ledger, Slot, Slots};
use crate::stamp::Stamp;
use crate::versions::{Table, Versions};
use crate::words::{Joined, Payload, hash};
use crate::{EntryIndex, Generation, Line, StageError, Writer};

/// Who else must know which keys have slots.
pub(crate) trait Watch<K>: Send + Sync + 'static {
    /// A slot is about to hold the key.
    fn occupied(&self, key: &K);
    /// A slot no longer holds it.
    fn vacated(&self, key: &K);
}

impl<K> Watch<K> for () {
    fn occupied(&self, _: &K) {}
    fn vacated(&self, _: &K) {}
}

/// A hashed table.
pub(crate) struct Hashed<K, E, W> {
    slots: Slots<Joined<K, E>>,
    buckets: usize,
    seed: u64,
    pub(crate) watch: W,
    ledger: Ledger,
}

/// The handle on it.
pub(crate) type HashedTable<K, E, W> = Table<Hashed<K, E, W>>;

impl<K: Payload, E: Payload, W: Watch<K>> Hashed<K, E, W> {
    const PER_BUCKET: usize = Slots::<Joined<K, E>>::PER_BUCKET;

    #[inline]
    pub(crate) fn hash(&self, key: &K) -> u64 {
        hash(self.seed, key)
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        // High bits by multiplication: any number of buckets, not only powers of two.
        ((u128::from(hash) * self.buckets as u128) >> 64) as usize
    }

    #[inline]
    pub(crate) fn line(&self, hash: u64) -> &Line {
        self.slots.line(self.home(hash))
    }

    #[inline]
    pub(crate) fn lookup(&self, generation: Generation, key: &K, hash: u64) -> Option<(EntryIndex, E)> {
        let home = self.home(hash);
        let mut at = home;
        loop {
            let bucket = self.slots.bucket(at)?;
            for place in 0..Self::PER_BUCKET {
                let slot = bucket.slot(place);
                if holds(&slot, key) {
                    let stamp = slot.stamp();
                    if stamp.visible(generation.0) {
                        return Some((EntryIndex(stamp.index()), slot.load(K::N)));
                    }
                }
            }
            if bucket.slot(0).stamp().overflow() == 0 {
                return None;
            }
            at = self.after(at);
            if at == home {
                return None;
            }
        }
    }

    #[inline]
    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets { 0 } else { bucket + 1 }
    }

    /// The slot of the entry that a generation sees.
    fn find(&self, generation: u64, key: &K) -> Option<usize> {
        let home = self.home(self.hash(key));
        let mut at = home;
        loop {
            for place in 0..Self::PER_BUCKET {
                let slot = self.slots.slot(at * Self::PER_BUCKET + place);
                if holds(&slot, key) && slot.stamp().visible(generation) {
                    return Some(at * Self::PER_BUCKET + place);
                }
            }
            if self.slots.slot(at * Self::PER_BUCKET).stamp().overflow() == 0 {
                return None;
            }
            at = self.after(at);
            if at == home {
                return None;
            }
        }
    }
}

#[inline]
fn holds<K: Payload, E: Payload>(slot: &Slot<'_, Joined<K, E>>, key: &K) -> bool {
    (0..K::N).all(|at| slot.word(at) == key.word(at))
}

impl<K: Payload, E: Payload, W: Watch<K>> Versions for Hashed<K, E, W> {
    type Payload = Joined<K, E>;

    fn slots(&self) -> &Slots<Joined<K, E>> {
        &self.slots
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The nearest free slot to the key's home.
    fn place(&self, payload: &Joined<K, E>, stamp: Stamp) -> usize {
        let mut at = self.home(self.hash(&payload.0));
        loop {
            let first = at * Self::PER_BUCKET;
            if let Some(slot) = (first..first + Self::PER_BUCKET).find(|&s| self.slots.slot(s).stamp().is_free()) {
                self.watch.occupied(&payload.0);
                self.slots.slot(slot).fill(payload, stamp);
                return slot;
            }
            let head = self.slots.slot(first);
            head.overflow_as(head.stamp().passed());
            at = self.after(at);
        }
    }

    fn vacate(&self, slot: usize) {
        let row = self.slots.slot(slot);
        let key: K = row.load(0);
        let mut at = self.home(self.hash(&key));
        while at != slot / Self::PER_BUCKET {
            let head = self.slots.slot(at * Self::PER_BUCKET);
            head.overflow_as(head.stamp().unpassed());
            at = self.after(at);
        }
        row.free();
        self.watch.vacated(&key);
    }
}

impl<K: Payload, E: Payload, W: Watch<K>> HashedTable<K, E, W> {
    pub(crate) fn with_capacity(writer: &mut Writer, capacity: usize, watch: W) -> Self {
        let slots = Slots::new((2 * capacity + capacity.min(4096)).max(16));
        // Probes grow long when the last slots fill.
        let ledger = Ledger::new(capacity, slots.len() - slots.len() / 8);
        let buckets = slots.len() / Slots::<Joined<K, E>>::PER_BUCKET;
        let seed = writer.table_seed();
        Self::new(writer, Hashed { slots, buckets, seed, watch, ledger })
    }

    pub(crate) fn insert_entry(&self, writer: &mut Writer, key: &K, entry: &E) -> Result<EntryIndex, StageError> {
        let generation = self.stage(writer)?;
        self.insert(writer, generation, self.shared.find(generation, key), &Joined(*key, *entry))
    }

    pub(crate) fn modify_entry(&self, writer: &mut Writer, key: &K, entry: &E) -> Result<EntryIndex, StageError> {
        let generation = self.stage(writer)?;
        self.modify(writer, generation, self.shared.find(generation, key), &Joined(*key, *entry))
    }

    pub(crate) fn remove_entry(&self, writer: &mut Writer, key: &K) -> Result<EntryIndex, StageError> {
        let generation = self.stage(writer)?;
        self.remove(writer, generation, self.shared.find(generation, key))
    }
}

/// A counter that the writer alone changes.
pub(crate) fn bump(counter: &AtomicU32, up: bool) -> u32 {
    let n = counter.load(Ordering::Relaxed);
    let n = if up { n + 1 } else { n - 1 };
    counter.store(n, Ordering::Relaxed);
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What entries leave behind in the buckets that they passed goes with them, or lookups would grow longer for ever.
    #[test]
    fn an_emptied_table_is_as_new() {
        let mut writer = Writer::new(0, 11);
        let table = HashedTable::<[u64; 4], [u64; 1], ()>::with_capacity(&mut writer, 300, ());
        let heads = |table: &Hashed<_, _, _>| -> u64 {
            (0..table.slots.len()).map(|slot| table.slots.slot(slot).stamp().overflow()).sum()
        };
        for round in 0..5 {
            for n in 0..300 {
                table.insert_entry(&mut writer, &[n, round, 0, 0], &[n]).unwrap();
            }
            assert!(heads(&table.shared) > 0, "some entry was not at home");
            for n in 0..300 {
                table.modify_entry(&mut writer, &[n, round, 0, 0], &[n + 1]).unwrap();
            }
            if round % 2 == 0 {
                writer.rollback();
            } else {
                writer.publish();
                for n in 0..300 {
                    table.remove_entry(&mut writer, &[n, round, 0, 0]).unwrap();
                }
                writer.publish();
                writer.reclaim(usize::MAX);
            }
            assert_eq!(heads(&table.shared), 0);
        }
    }
}
