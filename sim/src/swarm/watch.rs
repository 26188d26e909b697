//! Between a drive's controller and its medium: no write is executed twice, and none that belongs elsewhere.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use gantry_drive::Media;
use parking_lot::Mutex;

use super::ledger::{id_of, place_of};

/// What was seen of a drive's medium.
pub(super) struct Watch {
    space: u16,
    block: usize,
    executed: BTreeSet<(u64, u64)>,
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
            executed: BTreeSet::new(),
            wrong: None,
            blind: false,
        }))
    }

    fn written(&mut self, offset: u64, bytes: &[u8]) {
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
        self.watch.lock().written(offset, bytes);
        self.media.write(offset, bytes)
    }

    fn zero(&mut self, offset: u64, length: u64, deallocate: bool) -> io::Result<()> {
        self.media.zero(offset, length, deallocate)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.media.flush()
    }

    fn flush_range(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.media.flush_range(offset, length)
    }

    fn has_cache(&self) -> bool {
        self.media.has_cache()
    }

    fn lose_power(&mut self, survives_seed: u64) {
        self.media.lose_power(survives_seed);
    }
}
