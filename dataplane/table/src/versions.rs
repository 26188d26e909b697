//! What all tables of entries do with versions: stage them, settle them, take them back.

use alloc::sync::Arc;

use crate::slots::{Ledger, Slots};
use crate::stamp::Stamp;
use crate::words::Payload;
use crate::writer::{Change, Member};
use crate::{EntryIndex, Generation, StageError, Writer};

/// A table: slots of versions, a ledger, and a way to find a slot for a payload and to give it up.
pub(crate) trait Versions: Send + Sync + 'static {
    /// What a slot holds.
    type Payload: Payload;

    fn slots(&self) -> &Slots<Self::Payload>;
    fn ledger(&self) -> &Ledger;
    /// Writes a version into a free slot. There is one: the ledger said so.
    fn place(&self, payload: &Self::Payload, stamp: Stamp) -> usize;
    /// Frees a slot and forgets where it was.
    fn vacate(&self, slot: usize);
}

/// A table as its writer knows it.
pub(crate) struct Table<T> {
    pub(crate) shared: Arc<T>,
    member: usize,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), member: self.member }
    }
}

impl<T: Versions> Member for T {
    fn settle(&self, change: Change, slot: usize) {
        let row = self.slots().slot(slot);
        match change {
            Change::Inserted | Change::Renewed => row.stamp_as(row.stamp().settled()),
            Change::Superseded => self.give_up(slot),
            Change::Removed => {
                self.ledger().unnumber(row.stamp().index());
                self.give_up(slot);
            }
        }
    }

    fn undo(&self, change: Change, slot: usize) {
        let row = self.slots().slot(slot);
        match change {
            Change::Inserted => {
                self.ledger().unnumber(row.stamp().index());
                self.ledger().count_live(false);
                self.give_up(slot);
            }
            Change::Renewed => self.give_up(slot),
            Change::Superseded => row.stamp_as(row.stamp().immortal()),
            Change::Removed => {
                self.ledger().count_live(true);
                row.stamp_as(row.stamp().immortal());
            }
        }
    }
}

/// [`Versions::vacate`] with the ledger's part.
trait GiveUp: Versions {
    fn give_up(&self, slot: usize) {
        self.vacate(slot);
        self.ledger().count_used(false);
    }
}

impl<T: Versions> GiveUp for T {}

impl<T: Versions> Table<T> {
    pub(crate) fn new(writer: &mut Writer, table: T) -> Self {
        let shared = Arc::new(table);
        let member = writer.adopt(Arc::clone(&shared) as Arc<dyn Member>);
        Self { shared, member }
    }

    /// The generation to stage for.
    pub(crate) fn stage(&self, writer: &mut Writer) -> Result<u64, StageError> {
        writer.stage(self.member, &self.shared)
    }

    fn put(&self, writer: &mut Writer, change: Change, payload: &T::Payload, stamp: Stamp) -> EntryIndex {
        let slot = self.shared.place(payload, stamp);
        self.shared.ledger().count_used(true);
        writer.note(self.member, change, slot);
        EntryIndex(stamp.index())
    }

    fn end(&self, writer: &mut Writer, change: Change, slot: usize, generation: u64) -> u32 {
        let row = self.shared.slots().slot(slot);
        row.stamp_as(row.stamp().dying(generation));
        writer.note(self.member, change, slot);
        row.stamp().index()
    }

    /// Stages a new entry, which `found` says is not there.
    pub(crate) fn insert(
        &self,
        writer: &mut Writer,
        generation: u64,
        found: Option<usize>,
        payload: &T::Payload,
    ) -> Result<EntryIndex, StageError> {
        if found.is_some() {
            return Err(StageError::Exists);
        }
        let index = self.shared.ledger().number()?;
        self.shared.ledger().count_live(true);
        Ok(self.put(writer, Change::Inserted, payload, Stamp::born(generation, index)))
    }

    /// Stages another version of the entry in the slot `found`.
    pub(crate) fn modify(
        &self,
        writer: &mut Writer,
        generation: u64,
        found: Option<usize>,
        payload: &T::Payload,
    ) -> Result<EntryIndex, StageError> {
        let old = found.ok_or(StageError::Missing)?;
        self.shared.ledger().room()?;
        let index = self.end(writer, Change::Superseded, old, generation);
        Ok(self.put(writer, Change::Renewed, payload, Stamp::born(generation, index)))
    }

    /// Stages the end of the entry in the slot `found`.
    pub(crate) fn remove(
        &self,
        writer: &mut Writer,
        generation: u64,
        found: Option<usize>,
    ) -> Result<EntryIndex, StageError> {
        let slot = found.ok_or(StageError::Missing)?;
        self.shared.ledger().count_live(false);
        Ok(EntryIndex(self.end(writer, Change::Removed, slot, generation)))
    }

    /// Shows what a generation sees, from slot `from` on, at most `slots` slots; where to go on, if there is more.
    pub(crate) fn scan(
        &self,
        generation: Generation,
        from: usize,
        slots: usize,
        mut show: impl FnMut(EntryIndex, T::Payload),
    ) -> Option<usize> {
        let all = self.shared.slots();
        let end = from.saturating_add(slots).min(all.len());
        for slot in from..end {
            let row = all.slot(slot);
            let stamp = row.stamp();
            if stamp.visible(generation.0) {
                show(EntryIndex(stamp.index()), row.load(0));
            }
        }
        (end < all.len()).then_some(end)
    }
}
