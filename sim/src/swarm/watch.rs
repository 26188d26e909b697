//! Between a drive's controller and its medium: no write is executed twice, none that belongs elsewhere, and what a host
//! was told is durable is in no cache.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use gantry_drive::Media;
use parking_lot::Mutex;

use super::ledger::{id_of, place_of};

/// What was seen of a drive's medium.
pub(super) struct Watch {
    space: u16,
    block: usize,
    /// Nothing may change it.
    pub(super) read_only: bool,
    executed: BTreeSet<(u64, u64)>,
    /// Blocks that only a cache holds, and the write that put them there.
    cached: BTreeMap<u64, u64>,
    /// The first thing that was wrong.
    pub(super) wrong: Option<String>,
    /// Writes may carry anything: somebody forges them.
    pub(super) blind: bool,
}

impl Watch {
    /// Of the drive that is namespace `space`, with blocks of this many bytes.
    #[must_use]
    pub(super) fn new(space: u16, block: u32) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            space,
            block: block as usize,
            read_only: false,
            executed: BTreeSet::new(),
            cached: BTreeMap::new(),
            wrong: None,
            blind: false,
        }))
    }

    /// Write `id` has completed as durable by itself.
    pub(super) fn must_be_durable(&mut self, id: u64, slba: u64, blocks: u32) {
        let cached = self.cached.range(slba..slba + u64::from(blocks)).find(|(_, of)| **of == id);
        if let Some((lba, _)) = cached {
            self.accuse(format!("write {id} completed with FUA, and block {lba} is in the cache only"));
        }
    }

    /// A flush has completed, and writes of which `done` says so were complete when it began.
    pub(super) fn must_be_flushed(&mut self, done: impl Fn(u64, u64) -> bool) {
        if let Some((lba, id)) = self.cached.iter().find(|(lba, id)| done(**lba, **id)) {
            self.accuse(format!("a flush completed, and block {lba} of write {id} before it is in the cache only"));
        }
    }

    fn accuse(&mut self, what: String) {
        if !self.blind && self.wrong.is_none() {
            self.wrong = Some(format!("drive {}: {what}", self.space));
        }
    }

    fn blocks(&self, offset: u64, length: u64) -> std::ops::Range<u64> {
        offset / self.block as u64..(offset + length).div_ceil(self.block as u64)
    }

    /// Its blocks at `offset` are about to change.
    fn changes(&mut self, offset: u64) {
        if self.read_only && self.wrong.is_none() {
            let lba = offset / self.block as u64;
            self.wrong = Some(format!("drive {}: it is read-only, and block {lba} was changed", self.space));
        }
    }

    fn kept(&mut self, blocks: std::ops::Range<u64>) {
        while let Some((&lba, _)) = self.cached.range(blocks.clone()).next() {
            self.cached.remove(&lba);
        }
    }

    fn written(&mut self, offset: u64, bytes: &[u8], cached: bool) {
        self.changes(offset);
        if self.blind || self.wrong.is_some() {
            return;
        }
        for (lba, block) in (offset / self.block as u64..).zip(bytes.chunks(self.block)) {
            let (id, place) = (id_of(block), place_of(block));
            if id == 0 || place != (self.space, lba) {
                self.wrong = Some(format!(
                    "drive {}: what was written to block {lba} is not for it: write {id} of {place:?}",
                    self.space
                ));
            } else if !self.executed.insert((id, lba)) {
                self.wrong = Some(format!("drive {}: write {id} was executed twice at block {lba}", self.space));
            } else if cached {
                self.cached.insert(lba, id);
            }
        }
    }
}

/// A medium that is watched.
pub(super) struct Watched {
    /// What it is.
    pub(super) media: Box<dyn Media>,
    /// Who watches.
    pub(super) watch: Arc<Mutex<Watch>>,
}

impl Media for Watched {
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.media.read(offset, bytes)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.watch.lock().written(offset, bytes, self.media.has_cache());
        self.media.write(offset, bytes)
    }

    fn zero(&mut self, offset: u64, length: u64, deallocate: bool) -> io::Result<()> {
        let mut watch = self.watch.lock();
        watch.changes(offset);
        let blocks = watch.blocks(offset, length);
        watch.kept(blocks);
        self.media.zero(offset, length, deallocate)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.watch.lock().cached.clear();
        self.media.flush()
    }

    fn flush_range(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let mut watch = self.watch.lock();
        let blocks = watch.blocks(offset, length);
        watch.kept(blocks);
        self.media.flush_range(offset, length)
    }

    fn has_cache(&self) -> bool {
        self.media.has_cache()
    }

    fn lose_power(&mut self, survives_seed: u64) {
        // What survived is durable, and what did not is the ledger's to know.
        self.watch.lock().cached.clear();
        self.media.lose_power(survives_seed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Ledger;
    use super::*;

    fn written(watch: &mut Watch, id: u64, lba: u64) {
        let mut block = [0; 512];
        Ledger::new(1, 8, true).fill(lba, id, &mut block);
        watch.written(lba * 512, &block, true);
    }

    #[test]
    fn what_is_read_only_does_not_change() {
        let watch = Watch::new(1, 512);
        watch.lock().read_only = true;
        written(&mut watch.lock(), 7, 3);
        assert!(watch.lock().wrong.take().unwrap().contains("read-only, and block 3"));
    }

    #[test]
    fn what_is_called_durable_is_in_no_cache() {
        let watch = Watch::new(1, 512);
        let mut watch = watch.lock();
        written(&mut watch, 7, 3);
        written(&mut watch, 8, 4);
        watch.must_be_durable(7, 4, 1);
        watch.must_be_flushed(|_, _| false);
        assert_eq!(watch.wrong, None, "another's block, and writes that were not complete");
        watch.kept(3..4);
        watch.must_be_durable(7, 0, 8);
        assert_eq!(watch.wrong, None, "it was flushed");
        watch.must_be_durable(8, 0, 8);
        assert!(watch.wrong.take().unwrap().contains("write 8 completed with FUA"));
        watch.must_be_flushed(|lba, id| (lba, id) == (4, 8));
        assert!(watch.wrong.take().unwrap().contains("block 4 of write 8"));
    }
}
