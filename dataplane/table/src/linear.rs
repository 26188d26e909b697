//! The plain reference: every kind of table as a list that is searched from end to end, and a meter that counts tokens.
//!
//! Without generations: a copy of a list is a generation. Random tests hold the tables of this crate to these, and so may tests
//! of what is built on them.

use alloc::vec::Vec;

use crate::{Color, EntryIndex, Match, MeterConfig, Prefix, StageError, TernaryKey};

/// Exact match.
#[derive(Clone, Debug)]
pub struct Exact<K, E> {
    /// Key and entry, in no order.
    pub entries: Vec<(K, E)>,
    capacity: usize,
}

impl<K: PartialEq + Copy, E: Copy> Exact<K, E> {
    /// An empty table for so many entries.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity }
    }

    fn place(&self, key: &K) -> Option<usize> {
        self.entries.iter().position(|(k, _)| k == key)
    }

    /// The entry of a key.
    #[must_use]
    pub fn lookup(&self, key: &K) -> Option<E> {
        self.place(key).map(|at| self.entries[at].1)
    }

    /// A new entry.
    ///
    /// # Errors
    /// `Exists`, `TableFull`.
    pub fn insert(&mut self, key: K, entry: E) -> Result<(), StageError> {
        if self.place(&key).is_some() {
            return Err(StageError::Exists);
        }
        if self.entries.len() == self.capacity {
            return Err(StageError::TableFull);
        }
        self.entries.push((key, entry));
        Ok(())
    }

    /// Another version of an entry.
    ///
    /// # Errors
    /// `Missing`.
    pub fn modify(&mut self, key: &K, entry: E) -> Result<(), StageError> {
        let at = self.place(key).ok_or(StageError::Missing)?;
        self.entries[at].1 = entry;
        Ok(())
    }

    /// An entry's end.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove(&mut self, key: &K) -> Result<(), StageError> {
        let at = self.place(key).ok_or(StageError::Missing)?;
        self.entries.remove(at);
        Ok(())
    }
}

/// Longest prefix match: the entries of an exact table whose keys are prefixes of a field of `width` bits.
#[must_use]
pub fn longest_prefix<X: PartialEq + Copy, E: Copy>(
    table: &Exact<Prefix<X>, E>,
    width: u8,
    exact: &X,
    value: u128,
) -> Option<E> {
    let matches = |prefix: &Prefix<X>| {
        let below = u32::from(width - prefix.length);
        prefix.exact == *exact && (below == 128 || prefix.value >> below == value >> below)
    };
    let fitting = table.entries.iter().filter(|(prefix, _)| matches(prefix));
    fitting.max_by_key(|(prefix, _)| prefix.length).map(|(_, entry)| *entry)
}

/// Ternary match: the entries of an exact table whose keys are matches; each comes with its index, which decides among equals.
#[must_use]
pub fn most_important<K: TernaryKey, E: Copy>(
    table: &Exact<Match<K>, (EntryIndex, E)>,
    key: &K,
) -> Option<(EntryIndex, E)> {
    let fitting = table.entries.iter().filter(|(matched, _)| matched.matches(key));
    fitting.max_by_key(|(matched, (index, _))| (matched.priority, core::cmp::Reverse(*index))).map(|(_, entry)| *entry)
}

/// A meter as RFC 2698 §3 tells it: two counts of tokens, in billionths of a unit.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    config: MeterConfig,
    committed: u128,
    peak: u128,
    at_ns: u64,
}

const WHOLE: u128 = 1_000_000_000;

impl Meter {
    /// With full buckets.
    #[must_use]
    pub fn new(config: MeterConfig, now_ns: u64) -> Self {
        let full = |burst: u64| u128::from(burst) * WHOLE;
        Self { config, committed: full(config.cburst), peak: full(config.pburst), at_ns: now_ns }
    }

    /// Meters so many units that have a colour; green for colour-blind.
    pub fn execute(&mut self, colored: Color, units: u64, now_ns: u64) -> Color {
        let passed = u128::from(now_ns - self.at_ns);
        self.at_ns = now_ns;
        let fill = |held: u128, rate: u64, burst: u64| {
            if rate == 0 { 0 } else { (held + passed * u128::from(rate)).min(u128::from(burst) * WHOLE) }
        };
        self.committed = fill(self.committed, self.config.cir, self.config.cburst);
        self.peak = fill(self.peak, self.config.pir, self.config.pburst);
        let needed = u128::from(units) * WHOLE;
        if colored == Color::Red || self.peak < needed {
            return Color::Red;
        }
        self.peak -= needed;
        if colored == Color::Yellow || self.committed < needed {
            return Color::Yellow;
        }
        self.committed -= needed;
        Color::Green
    }
}
