//! Which slots may match a key: a bit a slot for each value of each four bits of the key.
//!
//! A lookup ANDs one row for each four bits that any entry cares about, 64 slots at a time, and is left with few slots, whose
//! words it then compares. So generations need nothing here: a row may have bits of slots that a generation does not see, or
//! that do not match for ranges wider than four bits, and never lacks one that is seen and matches. The writer sets a slot's bits
//! before it publishes the entry and clears them when nobody sees it any more.

use crate::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use alloc::boxed::Box;

use super::key::{Match, TernaryKey, accepted};
use crate::Line;
use crate::hashed::bump;
use crate::readers::Apart;
use crate::words::Payload;

/// Four bits of each word.
const NIBBLES: usize = 16;
/// Slots that are not worth filtering.
const FEW: u32 = 8;

/// The rows.
pub(crate) struct Filter {
    /// Of the key's word w, its nibble n and value v: lines of row (w × 16 + n) × 16 + v.
    rows: Box<[Line]>,
    row_lines: usize,
    /// For each word of the key the nibbles that a slot cares about.
    active: Box<[AtomicU64]>,
    /// Slots in use, as a row.
    occupied: Box<[Line]>,
    /// Groups of 64 slots beyond which none is occupied.
    groups: AtomicUsize,
    /// The writer's: slots that care, by nibble.
    caring: Apart<Box<[AtomicU32]>>,
}

impl Filter {
    /// For so many slots and words of a key.
    pub(crate) fn new(slots: usize, words: usize) -> Self {
        let groups = slots.div_ceil(64);
        let row_lines = groups.div_ceil(8);
        Self {
            rows: (0..words * NIBBLES * 16 * row_lines).map(|_| Line::default()).collect(),
            row_lines,
            active: (0..words).map(|_| AtomicU64::new(0)).collect(),
            occupied: (0..row_lines).map(|_| Line::default()).collect(),
            groups: AtomicUsize::new(0),
            caring: Apart((0..words * NIBBLES).map(|_| AtomicU32::new(0)).collect()),
        }
    }

    #[inline]
    fn row(&self, word: usize, nibble: usize, value: u64) -> usize {
        ((word * NIBBLES + nibble) * 16 + value as usize) * self.row_lines
    }

    #[inline]
    fn row_of(&self, word: usize, nibble: usize, key: u64) -> usize {
        self.row(word, nibble, key >> (nibble * 4) & 0xf)
    }

    /// Calls with each slot that may match a key whose words are given.
    #[inline]
    pub(crate) fn each(&self, key: impl Fn(usize) -> u64, mut slot: impl FnMut(usize)) {
        let groups = self.groups.load(Ordering::Relaxed);
        let mut group = 0;
        while group < groups {
            // A line of rows at a time costs hardly more than a word of it.
            match groups - group {
                1 => group += self.block::<1>(group, &key, &mut slot),
                2..=4 => group += self.block::<4>(group, &key, &mut slot),
                _ => group += self.block::<8>(group, &key, &mut slot),
            }
        }
    }

    /// The same for `W` groups, which lie in one line. Returns how many they are.
    #[inline]
    fn block<const W: usize>(&self, first: usize, key: &impl Fn(usize) -> u64, slot: &mut impl FnMut(usize)) -> usize {
        let (in_row, at) = (first / 8, first % 8);
        let load = |line: Option<&Line>, place: usize| {
            line.and_then(|line| line.0.get(at + place)).map_or(0, |bits| bits.load(Ordering::Relaxed))
        };
        let mut left: [u64; W] = core::array::from_fn(|place| load(self.occupied.get(in_row), place));
        // A few slots are compared sooner than filtered.
        let few = W == 1 && left[0].count_ones() <= FEW;
        let active = if few { &[] } else { &*self.active };
        for (word, active) in active.iter().enumerate() {
            let (bits, mut nibbles) = (key(word), active.load(Ordering::Relaxed));
            while nibbles != 0 {
                let nibble = nibbles.trailing_zeros() as usize;
                nibbles &= nibbles - 1;
                let line = self.rows.get(self.row_of(word, nibble, bits) + in_row);
                let mut any = 0;
                for (place, left) in left.iter_mut().enumerate() {
                    *left &= load(line, place);
                    any |= *left;
                }
                if any == 0 {
                    return W;
                }
            }
        }
        for (place, mut left) in left.into_iter().enumerate() {
            while left != 0 {
                slot((first + place) * 64 + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
        W
    }

    /// The first line of every row that a lookup of a key goes over: none where it compares the few slots there are.
    #[inline]
    pub(crate) fn lines(&self, key: impl Fn(usize) -> u64, mut line: impl FnMut(&Line)) {
        let first = self.occupied.first().map_or(0, |line| line.0[0].load(Ordering::Relaxed));
        if self.groups.load(Ordering::Relaxed) <= 1 && first.count_ones() <= FEW {
            return;
        }
        for (word, active) in self.active.iter().enumerate() {
            let mut nibbles = active.load(Ordering::Relaxed);
            while nibbles != 0 {
                let nibble = nibbles.trailing_zeros() as usize;
                nibbles &= nibbles - 1;
                if let Some(first) = self.rows.get(self.row_of(word, nibble, key(word))) {
                    line(first);
                }
            }
        }
    }

    /// Writer: the lowest free slot.
    pub(crate) fn free_slot(&self) -> Option<usize> {
        let mut groups = self.occupied.iter().flat_map(|line| &line.0).map(|bits| bits.load(Ordering::Relaxed));
        let group = groups.position(|bits| bits != u64::MAX)?;
        Some(group * 64 + self.occupied[group / 8].0[group % 8].load(Ordering::Relaxed).trailing_ones() as usize)
    }

    /// Writer: a slot is about to hold a match.
    pub(crate) fn occupy<K: TernaryKey>(&self, slot: usize, matched: &Match<K>) {
        let (group, bit) = (slot / 64, 1_u64 << (slot % 64));
        for word in 0..<K as Payload>::N {
            for nibble in 0..NIBBLES {
                let set = accepted(matched, word, nibble as u32);
                for value in (0..16).filter(|v| set >> v & 1 != 0) {
                    self.alter(word, nibble, value, group, |bits| bits | bit);
                }
                if set != u16::MAX && bump(&self.caring.0[word * NIBBLES + nibble], true) == 1 {
                    alter(&self.active[word], |active| active | 1 << nibble);
                }
            }
        }
        alter(&self.occupied[group / 8].0[group % 8], |bits| bits | bit);
        if group >= self.groups.load(Ordering::Relaxed) {
            self.groups.store(group + 1, Ordering::Relaxed);
        }
    }

    /// Writer: a slot no longer holds it.
    pub(crate) fn vacate<K: TernaryKey>(&self, slot: usize, matched: &Match<K>) {
        let (group, bit) = (slot / 64, 1_u64 << (slot % 64));
        alter(&self.occupied[group / 8].0[group % 8], |bits| bits & !bit);
        for word in 0..<K as Payload>::N {
            for nibble in 0..NIBBLES {
                let set = accepted(matched, word, nibble as u32);
                for value in (0..16).filter(|v| set >> v & 1 != 0) {
                    self.alter(word, nibble, value, group, |bits| bits & !bit);
                }
                if set != u16::MAX && bump(&self.caring.0[word * NIBBLES + nibble], false) == 0 {
                    alter(&self.active[word], |active| active & !(1 << nibble));
                }
            }
        }
        let is_free = |group: usize| self.occupied[group / 8].0[group % 8].load(Ordering::Relaxed) == 0;
        let mut groups = self.groups.load(Ordering::Relaxed);
        while groups > 0 && is_free(groups - 1) {
            groups -= 1;
        }
        self.groups.store(groups, Ordering::Relaxed);
    }

    fn alter(&self, word: usize, nibble: usize, value: u64, group: usize, with: impl FnOnce(u64) -> u64) {
        alter(&self.rows[self.row(word, nibble, value) + group / 8].0[group % 8], with);
    }
}

/// Changes a word that the writer alone changes.
fn alter(word: &AtomicU64, with: impl FnOnce(u64) -> u64) {
    word.store(with(word.load(Ordering::Relaxed)), Ordering::Relaxed);
}
