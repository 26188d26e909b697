//! One value under generations: a table's default action (P4_16 §14.2.1.3), or any other setting that changes with tables.

use alloc::sync::Arc;

use crate::slots::Slots;
use crate::stamp::Stamp;
use crate::writer::{Change, Member};
use crate::{Generation, StageError, Words, Writer};

/// Versions that lcores and the transaction may need at a time.
const VERSIONS: usize = 8;

/// A value that every generation has one of: a handle; clones are the same value.
pub struct Versioned<E> {
    shared: Arc<Cell<E>>,
    member: usize,
}

struct Cell<E>(Slots<E>);

impl<E> Clone for Versioned<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), member: self.member }
    }
}

impl<E: Words> Versioned<E> {
    /// A value that is `first` in all generations until it is set.
    #[must_use]
    pub fn new(writer: &mut Writer, first: &E) -> Self {
        let slots = Slots::new(VERSIONS);
        slots.slot(0).fill(first, Stamp::born(0, 0).settled());
        let shared = Arc::new(Cell(slots));
        let member = writer.adopt(Arc::clone(&shared) as Arc<dyn Member>);
        Self { shared, member }
    }

    /// The value in a generation.
    ///
    /// # Panics
    /// When the generation's reader has left it and the value is gone.
    #[inline]
    #[must_use]
    pub fn read(&self, generation: Generation) -> E {
        let first = self.shared.0.slot(0);
        if first.stamp().is_settled() { first.load(0) } else { self.search(generation) }
    }

    /// [`Self::read`] of a value that was set not long ago, or was set before.
    #[inline(never)]
    fn search(&self, generation: Generation) -> E {
        let slot = self.shared.visible(generation.0).expect("a generation that somebody is in");
        self.shared.0.slot(slot).load(0)
    }

    /// Stages another value.
    ///
    /// # Errors
    /// `NoRoomYet` when eight versions are in use, `ReadersBehind`.
    pub fn set(&self, writer: &mut Writer, value: &E) -> Result<(), StageError> {
        let generation = writer.stage(self.member, &self.shared)?;
        let slots = &self.shared.0;
        let free = (0..slots.len()).find(|&s| slots.slot(s).stamp().is_free()).ok_or(StageError::NoRoomYet)?;
        let old = self.shared.visible(generation).expect("every generation has a value");
        let row = slots.slot(old);
        row.stamp_as(row.stamp().dying(generation));
        writer.note(self.member, Change::Superseded, old);
        slots.slot(free).fill(value, Stamp::born(generation, 0));
        writer.note(self.member, Change::Renewed, free);
        Ok(())
    }
}

impl<E: Words> Cell<E> {
    fn visible(&self, generation: u64) -> Option<usize> {
        (0..self.0.len()).find(|&slot| self.0.slot(slot).stamp().visible(generation))
    }
}

impl<E: Words> Member for Cell<E> {
    fn settle(&self, change: Change, slot: usize) {
        let row = self.0.slot(slot);
        match change {
            Change::Inserted | Change::Renewed => row.stamp_as(row.stamp().settled()),
            Change::Superseded | Change::Removed => row.free(),
        }
    }

    fn undo(&self, change: Change, slot: usize) {
        let row = self.0.slot(slot);
        match change {
            Change::Inserted | Change::Renewed => row.free(),
            Change::Superseded | Change::Removed => row.stamp_as(row.stamp().immortal()),
        }
    }
}
