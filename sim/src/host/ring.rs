//! The ring of a submission queue as its host sees it: which CIDs are out, and what SQHD may say. NVMe Base 2.0 §3.3.3.

use super::Violation;

/// CIDs are a tag, and a generation above it.
const TAG_BITS: u32 = 12;
const TAG_MASK: u16 = (1 << TAG_BITS) - 1;
/// Most entries of a queue: tags have 12 bits.
pub(super) const ENTRIES_MAX: u16 = 1 << TAG_BITS;

/// A submission queue's ring.
pub(super) struct Ring {
    pub(super) entries: u16,
    /// Which tags, the lower bits of CIDs, are in use.
    tags: Vec<bool>,
    next_tag: u16,
    generation: u16,
    sent: u64,
    completed: u64,
    /// Commands that SQHD has said to be taken.
    taken: u64,
}

impl Ring {
    pub(super) fn new(entries: u16) -> Ring {
        assert!((4..=ENTRIES_MAX).contains(&entries), "{entries} entries make no queue of this host");
        let tags = vec![false; usize::from(entries)];
        Ring { entries, tags, next_tag: 0, generation: 0, sent: 0, completed: 0, taken: 0 }
    }

    /// A CID that is not out. Linux numbers tags from zero and puts a generation into the upper four bits.
    pub(super) fn next_cid(&mut self) -> u16 {
        loop {
            let tag = self.next_tag;
            self.next_tag = (tag + 1) % (self.entries - 1);
            if self.next_tag == 0 {
                self.generation = (self.generation + 1) & 0xf;
            }
            if !std::mem::replace(&mut self.tags[usize::from(tag)], true) {
                return self.generation << TAG_BITS | tag;
            }
        }
    }

    /// A command has ended: its CID is free.
    pub(super) fn free_cid(&mut self, cid: u16) {
        self.tags[usize::from(cid & TAG_MASK)] = false;
    }

    /// The Asynchronous Event Request's CID: a number of its own, behind the tags.
    pub(super) fn async_event_cid(&self) -> u16 {
        self.entries - 1
    }

    /// A capsule is on its way.
    pub(super) fn sent(&mut self) {
        self.sent += 1;
    }

    /// An answer has come.
    pub(super) fn completed(&mut self) {
        self.completed += 1;
    }

    /// Commands without an answer, each of two that share a CID.
    pub(super) fn outstanding(&self) -> u16 {
        (self.sent - self.completed) as u16
    }

    /// SQHD never runs back, never passes the tail, and frees at least what was completed (NVMe Base 2.0 §3.3.3.2).
    pub(super) fn check_sqhd(&mut self, qid: u16, sqhd: u16) -> Result<(), Violation> {
        let entries = u64::from(self.entries);
        let step = (u64::from(sqhd) + entries - self.taken % entries) % entries;
        let taken = self.taken + step;
        if u64::from(sqhd) >= entries || taken > self.sent || taken < self.completed {
            let Ring { sent, completed, taken, .. } = *self;
            return Err(Violation::Sqhd { qid, sqhd, sent, completed, taken });
        }
        self.taken = taken;
        Ok(())
    }
}
