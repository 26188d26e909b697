//! Counters, direct and indirect (PNA 0.7 §7, `Counter` and `DirectCounter`): packets and bytes.
//!
//! Each lcore counts in a bank of its own, with plain loads and stores; whoever reads adds the banks up. A reset moves an
//! offset and touches no bank. Direct counters are kept by [`EntryIndex`](crate::EntryIndex): whoever inserts an entry writes
//! zero.

use crate::atomic::{AtomicBool, AtomicU64, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// What a counter cell has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValue {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

#[derive(Default)]
struct Cell {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Cell {
    fn value(&self) -> CounterValue {
        CounterValue { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

struct Bank {
    cells: Box<[Cell]>,
    taken: AtomicBool,
}

struct Shared {
    banks: Box<[Arc<Bank>]>,
    /// What readings are above what counts: written by the writer only.
    offsets: Box<[Cell]>,
}

/// A set of counter cells: the reader's and writer's handle; clones are the same cells.
#[derive(Clone)]
pub struct Counters(Arc<Shared>);

/// An lcore's bank.
pub struct CounterBank {
    bank: Arc<Bank>,
}

impl Counters {
    /// So many cells, in banks for so many lcores. 16 bytes a cell and bank.
    #[must_use]
    pub fn new(cells: usize, lcores: usize) -> Self {
        let row = || (0..cells).map(|_| Cell::default()).collect::<Box<[Cell]>>();
        let banks = (0..lcores).map(|_| Arc::new(Bank { cells: row(), taken: AtomicBool::new(false) })).collect();
        Self(Arc::new(Shared { banks, offsets: row() }))
    }

    /// A bank that nobody has; none when all are taken. A dropped one's count stays and can be taken over.
    #[must_use]
    pub fn bank(&self) -> Option<CounterBank> {
        let bank = self.0.banks.iter().find(|bank| !bank.taken.swap(true, Ordering::AcqRel))?;
        Some(CounterBank { bank: Arc::clone(bank) })
    }

    /// Number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.offsets.len()
    }

    /// Whether there are no cells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sum(&self, cell: usize) -> Option<CounterValue> {
        let start = self.0.offsets.get(cell)?.value();
        Some(self.0.banks.iter().map(|bank| bank.cells[cell].value()).fold(start, |sum, value| CounterValue {
            packets: sum.packets.wrapping_add(value.packets),
            bytes: sum.bytes.wrapping_add(value.bytes),
        }))
    }

    /// What a cell has counted; none if there is no such cell. Packets and bytes of a packet that is being counted may
    /// differ by it.
    #[must_use]
    pub fn read(&self, cell: usize) -> Option<CounterValue> {
        self.sum(cell)
    }

    /// Lets a cell count on from a value. One thread at a time; lcores are not disturbed. Returns whether there is such a
    /// cell.
    pub fn write(&self, cell: usize, value: CounterValue) -> bool {
        let Some(now) = self.sum(cell) else { return false };
        let add = |offset: &AtomicU64, value: u64, now: u64| {
            offset.store(offset.load(Ordering::Relaxed).wrapping_add(value).wrapping_sub(now), Ordering::Relaxed);
        };
        add(&self.0.offsets[cell].packets, value.packets, now.packets);
        add(&self.0.offsets[cell].bytes, value.bytes, now.bytes);
        true
    }

    /// Lets a cell count on from zero.
    pub fn reset(&self, cell: usize) -> bool {
        self.write(cell, CounterValue::default())
    }
}

impl CounterBank {
    /// Counts a packet of so many bytes. A cell that is not there counts nothing (PNA 0.7 §7: an index out of range).
    #[inline]
    pub fn count(&mut self, cell: usize, bytes: u64) {
        self.add(cell, 1, bytes);
    }

    /// Counts several packets at once.
    #[inline]
    pub fn add(&mut self, cell: usize, packets: u64, bytes: u64) {
        if let Some(cell) = self.bank.cells.get(cell) {
            // The bank has one writer: no read-modify-write is needed.
            let add = |counter: &AtomicU64, n: u64| {
                counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
            };
            add(&cell.packets, packets);
            add(&cell.bytes, bytes);
        }
    }
}

impl Drop for CounterBank {
    fn drop(&mut self) {
        self.bank.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banks_add_up_and_a_reset_disturbs_none() {
        let counters = Counters::new(3, 2);
        let (mut a, mut b) = (counters.bank().unwrap(), counters.bank().unwrap());
        assert!(counters.bank().is_none());
        a.count(1, 100);
        b.add(1, 2, 50);
        b.count(7, 1);
        let value = |packets, bytes| Some(CounterValue { packets, bytes });
        assert_eq!((counters.read(0), counters.read(1), counters.read(7)), (value(0, 0), value(3, 150), None));
        assert!(counters.reset(1) && !counters.reset(7));
        a.count(1, 9);
        assert_eq!(counters.read(1), value(1, 9));
        counters.write(1, CounterValue { packets: 40, bytes: 0 });
        drop(a);
        counters.bank().unwrap().count(1, 1);
        assert_eq!(counters.read(1), value(41, 1));
    }
}
