//! The one writer: it stages changes, publishes or rolls them back, and takes slots back when nobody sees them.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::readers::Readers;
use crate::stamp::WINDOW;
use crate::words::mix;
use crate::{Generation, Lcore, StageError};

/// What happened to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// An entry was born in it, with a new index.
    Inserted,
    /// A new version of an entry was born in it.
    Renewed,
    /// Its version of an entry dies, another takes its place.
    Superseded,
    /// Its entry dies.
    Removed,
}

/// A table as the writer knows it. Called with the writer's exclusivity: each of these is the only one to write at a time.
pub(crate) trait Member: Send + Sync {
    /// No lcore is before the change any more, and it is published.
    fn settle(&self, change: Change, slot: usize);
    /// The change is not published and never will be.
    fn undo(&self, change: Change, slot: usize);
}

/// A place in a transaction to which it can be rolled back.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    transaction: u64,
    staged: usize,
}

/// The writer of a set of tables: housekeeping's handle, the only one.
///
/// Tables are made with it, every change goes through it. Staging a change validates it and reserves what it needs; nothing is
/// visible before [`publish`](Self::publish), which cannot fail. There is one transaction at a time, begun by its first change.
///
/// Old versions are kept until [`reclaim`](Self::reclaim) finds that every lcore has moved on, a poll's length later. Stamps
/// tell 16,384 generations apart: a writer that many publications ahead of the slowest lcore cannot stage until that lcore moves
/// (or [leaves](Lcore::leave)). The list of changes not yet reclaimed is the one thing that grows, eight bytes a change.
pub struct Writer {
    readers: Arc<Readers>,
    members: Vec<Arc<dyn Member>>,
    seed: u64,
    current: u64,
    transaction: u64,
    /// Published changes that are not settled, the oldest first, then the staged ones.
    log: VecDeque<u64>,
    /// For each generation with unsettled changes: how many.
    published: VecDeque<(u64, usize)>,
    staged: usize,
}

impl Writer {
    /// A writer with seats for so many readers. The seed goes into hashes: let it be random where keys come from others.
    #[must_use]
    pub fn new(readers: usize, seed: u64) -> Self {
        Self::starting_at(1, readers, seed)
    }

    /// The same, whose generations count on from a number, but not 0: a successor's go on where its predecessor's ended.
    #[must_use]
    pub fn starting_at(first: u64, readers: usize, seed: u64) -> Self {
        Self {
            readers: Arc::new(Readers::new(first.max(1), readers)),
            members: Vec::new(),
            seed,
            current: first.max(1),
            transaction: 0,
            log: VecDeque::new(),
            published: VecDeque::new(),
            staged: 0,
        }
    }

    /// A seat for a reader; none when all are taken. A dropped one's can be taken again.
    #[must_use]
    pub fn lcore(&self) -> Option<Lcore> {
        Readers::seat(&self.readers)
    }

    /// The generation that was published last. The writer reads in it without a seat.
    #[must_use]
    pub fn current(&self) -> Generation {
        Generation(self.current)
    }

    /// The generation that staged changes will be published as. The writer may look up in it what it has staged.
    #[must_use]
    pub fn staging(&self) -> Generation {
        Generation(self.current + 1)
    }

    /// Number of changes staged: a modification is two.
    #[must_use]
    pub fn staged(&self) -> usize {
        self.staged
    }

    /// A generation that every lcore has reached: a change published in it or before is seen by all of them.
    #[must_use]
    pub fn reached(&self) -> Generation {
        Generation(self.readers.reached())
    }

    /// Publishes all that is staged, in one store. Without anything staged the generation stays.
    pub fn publish(&mut self) -> Generation {
        if self.staged > 0 {
            self.current += 1;
            self.published.push_back((self.current, core::mem::take(&mut self.staged)));
            self.readers.publish(self.current);
        }
        self.transaction += 1;
        Generation(self.current)
    }

    /// Takes back all that is staged.
    pub fn rollback(&mut self) {
        self.undo_to(0);
        self.transaction += 1;
    }

    /// Where the transaction stands.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { transaction: self.transaction, staged: self.staged }
    }

    /// Takes back what was staged since.
    ///
    /// # Panics
    /// When the savepoint is of another transaction, or was itself rolled back.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        assert!(
            savepoint.transaction == self.transaction && savepoint.staged <= self.staged,
            "a savepoint that is gone"
        );
        self.undo_to(savepoint.staged);
    }

    fn undo_to(&mut self, staged: usize) {
        while self.staged > staged {
            let record = self.log.pop_back().expect("as many records as are staged");
            self.staged -= 1;
            let (member, change, slot) = unpack(record);
            self.members[member].undo(change, slot);
        }
    }

    /// Settles up to `budget` changes that every lcore has passed: what died becomes free. Returns how many; fewer than the
    /// budget means that nothing more can be settled at this moment. Housekeeping calls it in each of its rounds.
    pub fn reclaim(&mut self, budget: usize) -> usize {
        if self.published.is_empty() {
            return 0;
        }
        let reached = self.readers.reached();
        let mut settled = 0;
        while let Some((generation, changes)) = self.published.front_mut() {
            if *generation > reached {
                break;
            }
            while *changes > 0 {
                if settled == budget {
                    return settled;
                }
                let record = self.log.pop_front().expect("as many records as are published");
                *changes -= 1;
                settled += 1;
                let (member, change, slot) = unpack(record);
                self.members[member].settle(change, slot);
            }
            self.published.pop_front();
        }
        settled
    }

    /// Changes published and not settled yet.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.log.len() - self.staged
    }

    /// Takes a table in. Returns its number.
    pub(crate) fn adopt(&mut self, member: Arc<dyn Member>) -> usize {
        assert!(self.members.len() < 1 << 16, "tables beyond number");
        self.members.push(member);
        self.members.len() - 1
    }

    /// A seed for the next table.
    pub(crate) fn table_seed(&self) -> u64 {
        mix(self.seed.wrapping_add(self.members.len() as u64))
    }

    /// The generation to stage for.
    pub(crate) fn stage<T: Member>(&mut self, member: usize, table: &Arc<T>) -> Result<u64, StageError> {
        let ours = self.members.get(member).is_some_and(|m| core::ptr::addr_eq(Arc::as_ptr(m), Arc::as_ptr(table)));
        assert!(ours, "a table is changed through the writer that it was made with");
        let staging = self.current + 1;
        // Every generation that moved the number has changes, so the oldest one unsettled bounds how far back lcores are.
        while let Some(&(oldest, changes)) = self.published.front() {
            if staging - oldest < WINDOW - 1 {
                break;
            }
            if self.reclaim(changes) < changes {
                return Err(StageError::ReadersBehind);
            }
        }
        Ok(staging)
    }

    /// Notes a change, for the generation that [`Self::stage`] told.
    pub(crate) fn note(&mut self, member: usize, change: Change, slot: usize) {
        self.log.push_back((member as u64) << 48 | (change as u64) << 40 | slot as u64);
        self.staged += 1;
    }
}

fn unpack(record: u64) -> (usize, Change, usize) {
    let change = match record >> 40 & 0xff {
        0 => Change::Inserted,
        1 => Change::Renewed,
        2 => Change::Superseded,
        _ => Change::Removed,
    };
    ((record >> 48) as usize, change, (record & 0xff_ffff_ffff) as usize)
}
