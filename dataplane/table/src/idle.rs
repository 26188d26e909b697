//! Idle times (PNA 0.7 `pna_idle_timeout`; P4Runtime 1.5 §16.4): when each entry was last hit, and which were not for long.

use crate::atomic::{AtomicU64, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::EntryIndex;

/// Hits closer together than this (about a millisecond) are one: lcores that hit the same entry do not fight for its line.
const GRAIN_NS: u64 = 1 << 20;

#[derive(Default)]
struct Cell {
    last_ns: AtomicU64,
    /// 0: never idle. The writer's.
    timeout_ns: AtomicU64,
    /// From when on the next period of idleness counts. The writer's.
    told_ns: AtomicU64,
}

/// Idle times of a table's entries, by index: a handle; clones are the same. Accurate to about a millisecond, which hits
/// later by less than that are taken for.
#[derive(Clone)]
pub struct Idle(Arc<[Cell]>);

impl Idle {
    /// For so many entries.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        Self((0..entries).map(|_| Cell::default()).collect::<Box<[Cell]>>().into())
    }

    /// An entry was hit. For lcores.
    #[inline]
    pub fn touch(&self, entry: EntryIndex, now_ns: u64) {
        if let Some(cell) = self.0.get(entry.index()) {
            // Lcores' clocks may differ a little; time does not go back.
            if now_ns.saturating_sub(cell.last_ns.load(Ordering::Relaxed)) >= GRAIN_NS {
                cell.last_ns.store(now_ns, Ordering::Relaxed);
            }
        }
    }

    /// An entry is new, or its timeout is: it counts as hit now. A timeout of 0 is none. For the writer. Returns whether there is
    /// such an index.
    pub fn set(&self, entry: EntryIndex, timeout_ns: u64, now_ns: u64) -> bool {
        let Some(cell) = self.0.get(entry.index()) else { return false };
        cell.last_ns.store(now_ns, Ordering::Relaxed);
        cell.told_ns.store(now_ns, Ordering::Relaxed);
        cell.timeout_ns.store(timeout_ns, Ordering::Relaxed);
        true
    }

    /// Time since the last hit, in ns.
    #[must_use]
    pub fn since(&self, entry: EntryIndex, now_ns: u64) -> Option<u64> {
        Some(now_ns.saturating_sub(self.0.get(entry.index())?.last_ns.load(Ordering::Relaxed)))
    }

    /// Tells the entries that were idle for their timeout, looking at `count` entries from `from` on (0 at first); returns where
    /// to go on, 0 after the last. An entry that stays idle is told again after each further timeout. For the writer.
    pub fn scan(&self, now_ns: u64, from: usize, count: usize, mut idle: impl FnMut(EntryIndex)) -> usize {
        let end = from.saturating_add(count).min(self.0.len());
        for at in from..end {
            let cell = &self.0[at];
            let timeout = cell.timeout_ns.load(Ordering::Relaxed);
            let since = cell.last_ns.load(Ordering::Relaxed).max(cell.told_ns.load(Ordering::Relaxed));
            if timeout != 0 && now_ns.saturating_sub(since) >= timeout {
                cell.told_ns.store(now_ns, Ordering::Relaxed);
                idle(EntryIndex(at as u32));
            }
        }
        if end == self.0.len() { 0 } else { end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const MS: u64 = 1_000_000;

    fn told(idle: &Idle, now_ns: u64) -> Vec<u32> {
        let (mut told, mut from) = (Vec::new(), 0);
        loop {
            from = idle.scan(now_ns, from, 2, |entry| told.push(entry.0));
            if from == 0 {
                return told;
            }
        }
    }

    #[test]
    fn idle_entries_are_told_once_a_timeout() {
        let idle = Idle::new(5);
        assert!(idle.set(EntryIndex(1), 100 * MS, 0) && idle.set(EntryIndex(4), 50 * MS, 0));
        assert!(!idle.set(EntryIndex(5), 1, 0));
        assert_eq!(told(&idle, 49 * MS), []);
        idle.touch(EntryIndex(1), 60 * MS);
        idle.touch(EntryIndex(9), 60 * MS);
        assert_eq!(told(&idle, 70 * MS), [4]);
        assert_eq!(told(&idle, 119 * MS), []);
        assert_eq!(told(&idle, 120 * MS), [4]);
        assert_eq!((idle.since(EntryIndex(1), 159 * MS), told(&idle, 159 * MS)), (Some(99 * MS), [].to_vec()));
        assert_eq!(told(&idle, 160 * MS), [1]);
        idle.set(EntryIndex(1), 0, 160 * MS);
        idle.touch(EntryIndex(4), 165 * MS);
        assert_eq!(told(&idle, 214 * MS), []);
        assert_eq!(told(&idle, 215 * MS), [4]);
    }
}
