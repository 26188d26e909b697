//! Submission and completion queues in the host's memory: fetch by tail doorbell, post by head doorbell.
//! NVMe Base 2.0 §3.3.1; phase: §3.3.3.2.2; doorbells: PCIe Transport 1.0 §3.1.2.

use gantry_dma::{AddressSpace, Region};
use gantry_wire::nvme::register::{cq_doorbell, sq_doorbell};
use gantry_wire::nvme::{Cid, Cqe, Sqe, Status};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// A submission queue.
#[derive(Debug)]
struct Sq {
    base: u64,
    entries: u32,
    head: u32,
    cqid: u16,
    /// Commands fetched and not yet completed.
    outstanding: u32,
    /// A tail that was refused already.
    bad_tail: Option<u32>,
}

/// A completion queue.
#[derive(Debug)]
struct Cq {
    base: u64,
    entries: u32,
    tail: u32,
    phase: bool,
    /// Its interrupt vector, when it interrupts.
    vector: Option<u16>,
    /// Completions with no free entry yet, with their submission queue.
    waiting: VecDeque<(u16, Cqe)>,
}

/// Why nothing could be fetched or posted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// A doorbell holds a value that is no index of its queue.
    Doorbell,
    /// The queue's memory cannot be reached.
    Memory,
}

/// The queues of a controller, by QID.
#[derive(Debug)]
pub(super) struct Queues {
    sqs: Vec<Option<Sq>>,
    cqs: Vec<Option<Cq>>,
    /// The submission queues that exist, in order: all that a step without work looks at.
    live: Vec<u16>,
    /// Completions of all queues that are not posted yet.
    unposted: usize,
    /// Vectors whose queues have new entries.
    raised: BTreeSet<u16>,
    first: u16,
    /// CAP.DSTRD.
    dstrd: u8,
}

/// How far a round over the submission queues has come: by QID, for queues come and go meanwhile.
#[derive(Debug)]
pub(super) struct Turn {
    first: u16,
    next: u16,
    wrapped: bool,
}

impl Queues {
    /// Room for the admin queue and `io_queues` more.
    pub(super) fn new(io_queues: u16, dstrd: u8) -> Queues {
        let none = usize::from(io_queues) + 1;
        Queues {
            sqs: (0..none).map(|_| None).collect(),
            cqs: (0..none).map(|_| None).collect(),
            live: Vec::new(),
            unposted: 0,
            raised: BTreeSet::new(),
            first: 0,
            dstrd,
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.sqs.fill_with(|| None);
        self.cqs.fill_with(|| None);
        self.live.clear();
        self.unposted = 0;
        self.raised.clear();
    }

    /// The vectors to be raised, each once however many entries its queues got since.
    pub(super) fn take_raised(&mut self) -> BTreeSet<u16> {
        std::mem::take(&mut self.raised)
    }

    pub(super) fn has_sq(&self, qid: u16) -> bool {
        self.sqs.get(usize::from(qid)).is_some_and(Option::is_some)
    }

    pub(super) fn has_cq(&self, qid: u16) -> bool {
        self.cqs.get(usize::from(qid)).is_some_and(Option::is_some)
    }

    /// Whether a submission queue completes to `cqid`.
    pub(super) fn cq_in_use(&self, cqid: u16) -> bool {
        self.sqs.iter().flatten().any(|sq| sq.cqid == cqid)
    }

    pub(super) fn has_io_queues(&self) -> bool {
        self.sqs.iter().skip(1).any(Option::is_some) || self.cqs.iter().skip(1).any(Option::is_some)
    }

    pub(super) fn create_sq(&mut self, qid: u16, base: u64, entries: u32, cqid: u16) {
        let at = self.live.partition_point(|&live| live < qid);
        self.live.insert(at, qid);
        self.sqs[usize::from(qid)] = Some(Sq { base, entries, head: 0, cqid, outstanding: 0, bad_tail: None });
    }

    pub(super) fn create_cq(&mut self, qid: u16, base: u64, entries: u32, vector: Option<u16>) {
        let cq = Cq { base, entries, tail: 0, phase: true, vector, waiting: VecDeque::new() };
        self.cqs[usize::from(qid)] = Some(cq);
    }

    pub(super) fn delete_sq(&mut self, qid: u16) {
        self.live.retain(|&live| live != qid);
        self.sqs[usize::from(qid)] = None;
    }

    pub(super) fn delete_cq(&mut self, qid: u16) {
        let gone = self.cqs[usize::from(qid)].take();
        self.unposted -= gone.map_or(0, |cq| cq.waiting.len());
    }

    /// The submission queues, each time starting one further: round robin (§3.4.4.1).
    pub(super) fn round(&mut self) -> Turn {
        self.first += 1;
        if usize::from(self.first) == self.sqs.len() {
            self.first = 0;
        }
        Turn { first: self.first, next: self.first, wrapped: false }
    }

    /// The next queue of this round whose tail is not where its head is.
    pub(super) fn next_rung(&self, turn: &mut Turn, bar: &Region) -> Option<u16> {
        let below = |qid: u16| self.live.partition_point(|&live| live < qid);
        let is_rung = |&&qid: &&u16| {
            let sq = self.sqs[usize::from(qid)].as_ref().expect("a live queue");
            bar.load_u32(sq_doorbell(qid, self.dstrd), Ordering::Acquire) != sq.head
        };
        loop {
            let until = if turn.wrapped { below(turn.first) } else { self.live.len() };
            let left = self.live.get(below(turn.next)..until).unwrap_or_default();
            if let Some(&qid) = left.iter().find(is_rung) {
                turn.next = qid + 1;
                return Some(qid);
            }
            if turn.wrapped {
                return None;
            }
            (turn.next, turn.wrapped) = (0, true);
        }
    }

    /// The next command of queue `qid`, if there is one and its completion can be posted.
    pub(super) fn fetch(&mut self, qid: u16, bar: &Region, space: &AddressSpace) -> Result<Option<Sqe>, Broken> {
        let Some(sq) = &mut self.sqs[usize::from(qid)] else { return Ok(None) };
        let cq = self.cqs[usize::from(sq.cqid)].as_ref().expect("a submission queue keeps its completion queue");
        // A host that fills its completion queue, or never reads what it gets, waits.
        if !cq.waiting.is_empty() && cq.is_full(bar, sq.cqid, self.dstrd) || sq.outstanding >= sq.entries {
            return Ok(None);
        }
        let tail = bar.load_u32(sq_doorbell(qid, self.dstrd), Ordering::Acquire);
        if tail >= sq.entries {
            let news = sq.bad_tail.replace(tail) != Some(tail);
            return if news { Err(Broken::Doorbell) } else { Ok(None) };
        }
        if tail == sq.head {
            return Ok(None);
        }
        let mut bytes = [0; Sqe::LEN];
        let at = sq.base.wrapping_add(u64::from(sq.head) * Sqe::LEN as u64);
        space.read(at, &mut bytes).map_err(|_| Broken::Memory)?;
        sq.head = (sq.head + 1) % sq.entries;
        sq.outstanding += 1;
        Ok(Some(Sqe::read_from_bytes(&bytes).expect("64 bytes")))
    }

    /// Whether a queue holds more commands than the one just fetched.
    pub(super) fn is_crowded(&self, qid: u16, bar: &Region) -> bool {
        let sq = self.sqs[usize::from(qid)].as_ref();
        sq.is_some_and(|sq| {
            sq.outstanding > 1 || bar.load_u32(sq_doorbell(qid, self.dstrd), Ordering::Acquire) != sq.head
        })
    }

    /// A fetched command is lost: its place is not.
    pub(super) fn swallow(&mut self, qid: u16) {
        if let Some(sq) = &mut self.sqs[usize::from(qid)] {
            sq.outstanding -= 1;
        }
    }

    /// Answers a fetched command; [`Queues::post`] shows it to the host.
    pub(super) fn complete(&mut self, qid: u16, cqe: Cqe) {
        let Some(sq) = &mut self.sqs[usize::from(qid)] else { return };
        sq.outstanding -= 1;
        let cq = self.cqs[usize::from(sq.cqid)].as_mut().expect("a submission queue keeps its completion queue");
        cq.waiting.push_back((qid, cqe));
        self.unposted += 1;
    }

    /// Answers a command that nobody sent, on the first I/O queue; whether there is one.
    pub(super) fn stray(&mut self) -> bool {
        let Some(sq) = self.sqs.get(1).and_then(Option::as_ref) else { return false };
        let cq = self.cqs[usize::from(sq.cqid)].as_mut().expect("a submission queue keeps its completion queue");
        cq.waiting.push_back((1, Cqe::new(Cid(0xfffe), Status::SUCCESS, 0)));
        self.unposted += 1;
        true
    }

    /// Writes the completions that have a free entry.
    pub(super) fn post(&mut self, bar: &Region, space: &AddressSpace) -> Result<bool, Broken> {
        let mut worked = false;
        if self.unposted == 0 {
            return Ok(worked);
        }
        let dstrd = self.dstrd;
        for (cqid, cq) in self.cqs.iter_mut().enumerate() {
            let Some(cq) = cq else { continue };
            while !cq.waiting.is_empty() && !cq.is_full(bar, cqid as u16, dstrd) {
                let (qid, mut cqe) = cq.waiting.pop_front().expect("not empty");
                self.unposted -= 1;
                let head = self.sqs[usize::from(qid)].as_ref().map_or(0, |sq| sq.head);
                cqe.sqid = qid.into();
                cqe.sqhd = (head as u16).into();
                cqe.set_phase(cq.phase);
                cq.write(&cqe, space)?;
                cq.tail = (cq.tail + 1) % cq.entries;
                cq.phase ^= cq.tail == 0;
                self.raised.extend(cq.vector);
                worked = true;
            }
        }
        Ok(worked)
    }
}

impl Cq {
    /// Whether no entry is free; a head doorbell that makes no sense frees none.
    fn is_full(&self, bar: &Region, cqid: u16, dstrd: u8) -> bool {
        let head = bar.load_u32(cq_doorbell(cqid, dstrd), Ordering::Acquire);
        head >= self.entries || (self.tail + 1) % self.entries == head
    }

    /// The entry's last dword, phase included, is stored after the rest.
    fn write(&self, cqe: &Cqe, space: &AddressSpace) -> Result<(), Broken> {
        let at = self.base.wrapping_add(u64::from(self.tail) * Cqe::LEN as u64);
        let (region, offset) = space.resolve(at, Cqe::LEN).ok_or(Broken::Memory)?;
        if !region.is_writable() || offset % 4 != 0 {
            return Err(Broken::Memory);
        }
        let bytes = cqe.as_bytes();
        region.write(offset, &bytes[..12]);
        let last = u32::from_le_bytes(bytes[12..].try_into().expect("4 bytes"));
        region.store_u32(offset + 12, last.to_le(), Ordering::Release);
        Ok(())
    }
}
