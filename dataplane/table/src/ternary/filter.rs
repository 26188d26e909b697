//! Which slots may match a key: a bit a slot for each value of each four bits of the key.
//!
//! A lookup ANDs one row for each four bits that any entry cares about, 64 slots at a time, and is left with few slots, whose
//! words it then compares. So generations need nothing here: a row may have bits of slots that a generation does not see, or
//! that do not match for ranges wider than four bits, and never lacks one that is seen and matches. The writer sets a slot's bits
//! before it publishes the entry and clears them when nobody sees it any more.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::key::{Match, TernaryKey, accepted};
use crate::Line;
use crate::hashed::bump;
use crate::readers::Apart;
use crate::words::Payload;

/// Four bits of each word.
const NIBBLES: usize = 16;

/// The rows.
pub(crate) struct Filter {
    /// Of the key's word w, its nibble n and value v: lines of row (w × 16 + n) × 16 + v.
    rows: Box<[Line]>,
    row_lines: usize,
    /// For each word of the key the nibbles that a slot cares about.
    active: Box<[AtomicU64]>,
    occupied: Box<[AtomicU64]>,
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
            occupied: (0..groups).map(|_| AtomicU64::new(0)).collect(),
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
        for group in 0..self.groups.load(Ordering::Relaxed) {
            let Some(occupied) = self.occupied.get(group) else { return };
            let mut left = occupied.load(Ordering::Relaxed);
            'words: for (word, active) in self.active.iter().enumerate() {
                let (bits, mut nibbles) = (key(word), active.load(Ordering::Relaxed));
                while nibbles != 0 {
                    if left == 0 {
                        break 'words;
                    }
                    let nibble = nibbles.trailing_zeros() as usize;
                    nibbles &= nibbles - 1;
                    let line = self.row_of(word, nibble, bits) + group / 8;
                    left &= self.rows.get(line).map_or(0, |line| line.0[group % 8].load(Ordering::Relaxed));
                }
            }
            while left != 0 {
                slot(group * 64 + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
    }

    /// The first line of every row that a lookup of a key goes over.
    #[inline]
    pub(crate) fn lines(&self, key: impl Fn(usize) -> u64, mut line: impl FnMut(&Line)) {
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
        let group = self.occupied.iter().position(|bits| bits.load(Ordering::Relaxed) != u64::MAX)?;
        Some(group * 64 + self.occupied[group].load(Ordering::Relaxed).trailing_ones() as usize)
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
        alter(&self.occupied[group], |bits| bits | bit);
        if group >= self.groups.load(Ordering::Relaxed) {
            self.groups.store(group + 1, Ordering::Relaxed);
        }
    }

    /// Writer: a slot no longer holds it.
    pub(crate) fn vacate<K: TernaryKey>(&self, slot: usize, matched: &Match<K>) {
        let (group, bit) = (slot / 64, 1_u64 << (slot % 64));
        alter(&self.occupied[group], |bits| bits & !bit);
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
        let used = self.occupied.iter().rposition(|bits| bits.load(Ordering::Relaxed) != 0);
        self.groups.store(used.map_or(0, |group| group + 1), Ordering::Relaxed);
    }

    fn alter(&self, word: usize, nibble: usize, value: u64, group: usize, with: impl FnOnce(u64) -> u64) {
        alter(&self.rows[self.row(word, nibble, value) + group / 8].0[group % 8], with);
    }
}

/// Changes a word that the writer alone changes.
fn alter(word: &AtomicU64, with: impl FnOnce(u64) -> u64) {
    word.store(with(word.load(Ordering::Relaxed)), Ordering::Relaxed);
}
