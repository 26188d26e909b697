//! A submission and a completion queue that belong together: an lcore's way to one drive, and the admin
//! queue of the housekeeping thread. Called by s6_submit and s7_complete, a burst at a time.
//! NVMe Base 2.0 §3.3.1 (queues over memory), §3.3.3 (entries); doorbells: PCIe Transport 1.0 §3.1.2.
//!
//! After construction nothing here allocates. The commands that are outstanding are a byte a CID: 0 for
//! none, else the age class it was submitted in, from which [`IoQueue::expired`] follows without a clock
//! read or a list per command.

use crate::Doorbells;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use core::sync::atomic::Ordering;
use gantry_cpu::Cpu;
use gantry_dma::Region;
use gantry_wire::nvme::register::{cq_doorbell, sq_doorbell};
use gantry_wire::nvme::{Cid, Cqe, Sqe};
use serde::{Deserialize, Serialize};

/// There is no free entry; poll and try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the submission queue is full")]
pub struct QueueFull;

/// What happened on a queue so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Commands submitted.
    pub submitted: u64,
    /// Completions handed out.
    pub completed: u64,
    /// Tail doorbells written.
    pub sq_doorbells: u64,
    /// Head doorbells written.
    pub cq_doorbells: u64,
    /// Completions refused: no such command is outstanding on this queue.
    pub unknown_cid: u64,
    /// Completions whose SQHD points where the controller cannot be; the pointer was ignored.
    pub bad_sqhd: u64,
}

/// Age classes: the one that commands get now, and those before it.
pub(crate) const CLASSES: usize = 4;

/// One queue pair of one drive, owned by one thread. In the order in which few cache lines are touched: an lcore with many
/// drives finds none of them in its caches.
#[derive(Debug)]
#[repr(C)]
pub struct IoQueue {
    pub(crate) doorbells: Doorbells,
    pub(crate) memory: Arc<Region>,
    /// By CID: 0, or the class of the command outstanding, 1 to [`CLASSES`].
    pub(crate) class_of: Box<[u8]>,
    pub(crate) sq: usize,
    pub(crate) cq: usize,
    pub(crate) sq_doorbell: usize,
    pub(crate) cq_doorbell: usize,
    pub(crate) qid: u16,
    pub(crate) entries: u16,
    pub(crate) sq_tail: u16,
    pub(crate) sq_tail_rung: u16,
    pub(crate) sq_head: u16,
    pub(crate) cq_head: u16,
    pub(crate) cq_head_rung: u16,
    pub(crate) outstanding: u16,
    pub(crate) in_class: [u16; CLASSES],
    pub(crate) phase: bool,
    pub(crate) class: u8,
    pub(crate) expired: bool,
    pub(crate) counters: Counters,
    pub(crate) class_since_ns: Option<u64>,
    pub(crate) timeout_ns: u64,
}

/// Where a queue lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) qid: u16,
    pub(crate) entries: u16,
    pub(crate) sq: usize,
    pub(crate) cq: usize,
    pub(crate) dstrd: u8,
}

impl IoQueue {
    /// An empty queue pair; clears its completion queue, so that no old phase bit is taken for a new one.
    pub(crate) fn new(doorbells: Doorbells, memory: Arc<Region>, place: Place, timeout_ns: u64) -> IoQueue {
        let Place { qid, entries, sq, cq, dstrd } = place;
        assert!(entries >= 2, "a queue has two entries at least");
        memory.fill(cq, usize::from(entries) * Cqe::LEN, 0);
        IoQueue {
            doorbells,
            memory,
            qid,
            entries,
            sq,
            cq,
            sq_doorbell: sq_doorbell(qid, dstrd),
            cq_doorbell: cq_doorbell(qid, dstrd),
            sq_tail: 0,
            sq_tail_rung: 0,
            sq_head: 0,
            cq_head: 0,
            cq_head_rung: 0,
            phase: true,
            outstanding: 0,
            class_of: vec![0; 1 << 16].into_boxed_slice(),
            class: 1,
            class_since_ns: None,
            in_class: [0; CLASSES],
            expired: false,
            timeout_ns,
            counters: Counters::default(),
        }
    }

    /// Queue identifier; lcore `index` has `index + 1`.
    #[must_use]
    pub fn qid(&self) -> u16 {
        self.qid
    }

    /// Entries of each queue; one less can be outstanding.
    #[must_use]
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Commands that [`IoQueue::submit`] takes now.
    #[inline]
    #[must_use]
    pub fn room(&self) -> u16 {
        let used = self.distance(self.sq_head, self.sq_tail);
        self.entries - 1 - used.max(self.outstanding)
    }

    /// Commands submitted and not completed.
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Puts a command in the queue; the drive learns of it at [`IoQueue::ring`]. Its CID must not be
    /// outstanding here (any other 16-bit value will do).
    ///
    /// # Errors
    /// [`QueueFull`] when [`IoQueue::room`] is 0.
    ///
    /// # Panics
    /// When its CID is outstanding already: the owner of the CIDs is broken.
    #[inline]
    pub fn submit(&mut self, sqe: &Sqe) -> Result<(), QueueFull> {
        self.submit_words(sqe.cid.get(), sqe.words())
    }

    /// The same for an entry that the caller has as words ([`Sqe::words`]), with its CID once more.
    ///
    /// # Errors
    /// As [`IoQueue::submit`].
    ///
    /// # Panics
    /// As [`IoQueue::submit`].
    #[inline(always)]
    pub fn submit_words(&mut self, cid: u16, words: [u64; 8]) -> Result<(), QueueFull> {
        if self.room() == 0 {
            return Err(QueueFull);
        }
        let class = &mut self.class_of[usize::from(cid)];
        assert!(*class == 0, "CID {cid:#x} is outstanding on queue {}", self.qid);
        *class = self.class;
        self.in_class[usize::from(self.class) - 1] += 1;
        self.outstanding += 1;
        self.memory.store_words(self.sq + usize::from(self.sq_tail) * Sqe::LEN, words);
        self.sq_tail = self.next(self.sq_tail);
        self.counters.submitted += 1;
        Ok(())
    }

    /// Shows the drive what was submitted since the last time: one doorbell, or none.
    #[inline]
    pub fn ring(&mut self) {
        if self.sq_tail != self.sq_tail_rung {
            gantry_cpu::store_before_doorbell();
            self.doorbells.store_u32(self.sq_doorbell, u32::from(self.sq_tail), Ordering::Relaxed);
            self.sq_tail_rung = self.sq_tail;
            self.counters.sq_doorbells += 1;
        }
    }

    /// The next completion, if the drive has posted one. Its CID is free again.
    #[inline]
    pub fn poll(&mut self) -> Option<Cqe> {
        // At most one lap: a drive that floods the queue with nonsense does not keep the caller.
        for _ in 0..self.entries {
            let at = self.cq + usize::from(self.cq_head) * Cqe::LEN;
            let dword3 = u32::from_le(self.memory.load_u32(at + 12, Ordering::Relaxed));
            if (dword3 & 1 << 16 != 0) != self.phase {
                return None;
            }
            gantry_cpu::read_after_phase();
            // Word by word: put together in memory it would have to wait for its parts.
            let dword2 = u32::from_le(self.memory.load_u32(at + 8, Ordering::Relaxed));
            let result = u64::from_le(self.memory.load_u64(at, Ordering::Relaxed));
            self.cq_head = self.next(self.cq_head);
            self.phase ^= self.cq_head == 0;
            let cqe = Cqe {
                dw0: (result as u32).into(),
                dw1: ((result >> 32) as u32).into(),
                sqhd: (dword2 as u16).into(),
                sqid: ((dword2 >> 16) as u16).into(),
                cid: (dword3 as u16).into(),
                status: ((dword3 >> 16) as u16).into(),
            };
            if self.accept(&cqe) {
                return Some(cqe);
            }
        }
        None
    }

    /// Starts to fetch the entry in which the next completion comes.
    #[inline]
    pub fn prefetch_completion(&self, cpu: &Cpu) {
        self.memory.prefetch(cpu, self.cq + usize::from(self.cq_head) * Cqe::LEN);
    }

    /// Starts to fetch the entry in which the next command goes.
    #[inline]
    pub fn prefetch_submission(&self, cpu: &Cpu) {
        self.memory.prefetch_write(cpu, self.sq + usize::from(self.sq_tail) * Sqe::LEN);
    }

    /// Gives the entries polled so far back to the drive: one doorbell, or none.
    #[inline]
    pub fn release(&mut self) {
        if self.cq_head != self.cq_head_rung {
            gantry_cpu::read_before_doorbell();
            self.doorbells.store_u32(self.cq_doorbell, u32::from(self.cq_head), Ordering::Relaxed);
            self.cq_head_rung = self.cq_head;
            self.counters.cq_doorbells += 1;
        }
    }

    /// Whether a command has been outstanding for the controller's `command_timeout_ns`; found at one and a
    /// half times that at the latest. To be asked every now and then (at least eight times a timeout); a
    /// pause in asking makes nothing look older. Once true it stays so: the drive is to be failed.
    pub fn expired(&mut self, now_ns: u64) -> bool {
        let since = *self.class_since_ns.get_or_insert(now_ns);
        if now_ns.saturating_sub(since) >= self.timeout_ns / 2 {
            self.class_since_ns = Some(now_ns);
            self.class = self.class % CLASSES as u8 + 1;
            // Two whole spans lie between this class's end and now; and the class that is used anew must
            // hold nothing old, or its commands would look young.
            let old = usize::from(self.class) % CLASSES;
            self.expired |= self.in_class[old] != 0 || self.in_class[usize::from(self.class) - 1] != 0;
        }
        self.expired
    }

    /// The CIDs outstanding, for whoever ends them when the drive has failed.
    pub fn outstanding_cids(&self) -> impl Iterator<Item = Cid> + '_ {
        (0..=u16::MAX).filter(|&cid| self.class_of[usize::from(cid)] != 0).map(Cid)
    }

    /// Whether a completion answers a command of ours; counts what is wrong with it.
    #[inline]
    fn accept(&mut self, cqe: &Cqe) -> bool {
        let class = &mut self.class_of[usize::from(cqe.cid.get())];
        if *class == 0 || cqe.sqid.get() != self.qid {
            self.counters.unknown_cid += 1;
            return false;
        }
        self.in_class[usize::from(*class) - 1] -= 1;
        *class = 0;
        self.outstanding -= 1;
        self.counters.completed += 1;
        let sqhd = cqe.sqhd.get();
        // The head moves forward, over entries that were rung.
        let fetched = self.distance(self.sq_head, self.sq_tail_rung);
        if sqhd < self.entries && self.distance(self.sq_head, sqhd) <= fetched {
            self.sq_head = sqhd;
        } else {
            self.counters.bad_sqhd += 1;
        }
        if self.outstanding == 0 {
            // All that was rung was answered, so all of it was fetched, whatever SQHD says.
            self.sq_head = self.sq_tail_rung;
        }
        true
    }

    #[inline]
    fn next(&self, index: u16) -> u16 {
        if index + 1 == self.entries { 0 } else { index + 1 }
    }

    /// Entries from `from` up to `to`, going forward.
    #[inline]
    pub(crate) fn distance(&self, from: u16, to: u16) -> u16 {
        if to >= from { to - from } else { self.entries - from + to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;
    use gantry_wire::nvme::{Nsid, Status};
    use zerocopy::IntoBytes;

    const ENTRIES: u16 = 4;
    const CQ: usize = 4096;

    /// A queue pair whose drive is the test itself.
    struct Rig {
        queue: IoQueue,
        memory: Arc<Region>,
        bar: Doorbells,
        posted: u16,
    }

    impl Rig {
        fn new() -> Rig {
            let (bar, memory) = (Region::shared(0x2000).unwrap(), Region::shared(8192).unwrap());
            // What an earlier owner left: it must not be taken for completions.
            memory.fill(CQ, 4096, 0xff);
            let place = Place { qid: 3, entries: ENTRIES, sq: 0, cq: CQ, dstrd: 2 };
            let queue = IoQueue::new(Arc::clone(&bar), Arc::clone(&memory), place, 1000);
            Rig { queue, memory, bar, posted: 0 }
        }

        fn submit(&mut self, cid: u16) {
            self.queue.submit(&command::flush(Nsid(1), Cid(cid))).unwrap();
            self.queue.ring();
        }

        fn post(&mut self, cid: u16, sqid: u16, sqhd: u16) {
            let mut cqe = Cqe::new(Cid(cid), Status::SUCCESS, 0);
            (cqe.sqid, cqe.sqhd) = (sqid.into(), sqhd.into());
            cqe.set_phase((self.posted / ENTRIES).is_multiple_of(2));
            self.memory.write(CQ + usize::from(self.posted % ENTRIES) * Cqe::LEN, cqe.as_bytes());
            self.posted += 1;
        }

        fn poll(&mut self) -> Option<u16> {
            self.queue.poll().map(|cqe| cqe.cid().0)
        }
    }

    #[test]
    fn entries_and_doorbells_are_where_the_drive_looks() {
        let mut rig = Rig::new();
        assert_eq!(rig.poll(), None);
        for round in 0..10u16 {
            rig.submit(round);
            let mut sqe = [0; Sqe::LEN];
            rig.memory.read(usize::from(round % ENTRIES) * Sqe::LEN, &mut sqe);
            assert_eq!(Sqe::parse(&sqe), Some(&command::flush(Nsid(1), Cid(round))));
            // DSTRD 2: doorbells 16 bytes apart.
            let next = u32::from((round + 1) % ENTRIES);
            assert_eq!(rig.bar.load_u32(0x1000 + 6 * 16, Ordering::Relaxed), next);
            rig.post(round, 3, next as u16);
            assert_eq!((rig.poll(), rig.poll()), (Some(round), None));
            rig.queue.release();
            assert_eq!(rig.bar.load_u32(0x1000 + 7 * 16, Ordering::Relaxed), next);
        }
    }

    #[test]
    fn answers_to_nothing_are_refused_and_counted() {
        let mut rig = Rig::new();
        rig.submit(7);
        rig.post(8, 3, 1);
        rig.post(7, 2, 1);
        assert_eq!(rig.poll(), None, "an unknown CID; another queue's completion");
        rig.post(7, 3, 1);
        rig.post(7, 3, 1);
        assert_eq!((rig.poll(), rig.poll()), (Some(7), None), "answered once");
        assert_eq!((rig.queue.counters().unknown_cid, rig.queue.counters().completed), (3, 1));
        // The refused ones are given back too.
        rig.queue.release();
        assert_eq!((rig.queue.outstanding(), rig.bar.load_u32(0x1000 + 7 * 16, Ordering::Relaxed)), (0, 0));
    }

    /// Every entry new at every look: one call returns all the same.
    #[test]
    fn a_flood_of_nonsense_does_not_keep_the_caller() {
        let mut rig = Rig::new();
        for _ in 0..ENTRIES {
            rig.post(9, 3, 0);
        }
        assert_eq!(rig.poll(), None);
        assert_eq!(rig.queue.counters().unknown_cid, u64::from(ENTRIES));
    }

    #[test]
    fn a_head_that_cannot_be_is_ignored() {
        let mut rig = Rig::new();
        rig.submit(1);
        rig.submit(2);
        // Past the end of the queue; ahead of what was rung.
        for (cid, sqhd) in [(1, 0xffff), (2, 3)] {
            rig.post(cid, 3, sqhd);
            assert_eq!(rig.poll(), Some(cid));
        }
        assert_eq!(rig.queue.counters().bad_sqhd, 2);
        assert_eq!(rig.queue.room(), 3, "all was answered, so all is free");
    }

    /// A head that stands still takes no entry for ever.
    #[test]
    fn a_head_that_stands_still() {
        let mut rig = Rig::new();
        for cid in 0..20 {
            rig.submit(cid);
            rig.post(cid, 3, rig.queue.sq_head);
            assert_eq!(rig.poll(), Some(cid));
            assert_eq!(rig.queue.room(), 3);
        }
    }

    #[test]
    fn age_is_told_between_one_and_one_and_a_half_timeouts() {
        let mut rig = Rig::new();
        assert!(!rig.queue.expired(0));
        for now in (0..10_000).step_by(100) {
            assert!(!rig.queue.expired(now), "nothing is outstanding");
        }
        rig.submit(1);
        let expired = (10_000..12_000).step_by(100).find(|&now| rig.queue.expired(now));
        assert!((11_000..=11_500).contains(&expired.unwrap()), "{expired:?}");
        assert!(rig.queue.outstanding_cids().eq([Cid(1)]));
    }

    #[test]
    fn a_pause_in_asking_ages_nothing() {
        let mut rig = Rig::new();
        rig.queue.expired(0);
        rig.submit(1);
        for now in [1_000_000, 2_000_000] {
            assert!(!rig.queue.expired(now), "at {now}");
        }
    }

    #[test]
    fn what_is_answered_in_time_never_expires() {
        let mut rig = Rig::new();
        for now in (0u16..30_000).step_by(300) {
            let cid = now / 300;
            rig.submit(cid);
            assert!(!rig.queue.expired(u64::from(now)));
            if cid >= 1 {
                // Each is answered one step later: 300 of 1000.
                rig.post(cid - 1, 3, cid % ENTRIES);
                assert_eq!(rig.poll(), Some(cid - 1));
            }
        }
    }
}
