//! Drives that grant fewer queue pairs than there are lcores: an lcore without one lends its commands to an lcore that has one.
//! Between s6 and s7 of the two.
//!
//! The borrower does all that a command needs (CID, PRP list, buffers, which the drive reaches whosever they are) and passes the
//! SQE over a wait-free ring; the owner gives it a CID of its queue, submits it in turn with its own, and passes the completion
//! back over another. Neither waits for the other: each ring holds all that can be under way.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use gantry_wire::nvme::{Cid, Cqe, Sqe, Status};
use rtrb::{Consumer, Producer, RingBuffer};
use serde::{Deserialize, Serialize};

use crate::handover::told;

/// What a borrower asks of the owner.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// Submits a command; the CID in it is the borrower's.
    Submit(Sqe),
    /// Ends the command of that CID early.
    Abort(u16),
}

/// The owner's end of the rings to one borrower.
pub struct Borrower {
    /// Which lcore.
    pub lcore: u16,
    requests: Consumer<Request>,
    answers: Producer<Cqe>,
    /// Commands that have come over the ring and wait for their turn.
    waiting: VecDeque<Sqe>,
}

/// The borrower's end of the rings to the owner.
pub struct Lender {
    /// Which lcore has the queue pair.
    pub lcore: u16,
    requests: Producer<Request>,
    answers: Consumer<Cqe>,
    /// Completions that a handover found on the ring; they come first.
    told: VecDeque<Cqe>,
}

/// An SQE, told to a successor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SqeTold(#[serde(with = "told::bytes")] pub(crate) Sqe);

/// A CQE, told to a successor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CqeTold(#[serde(with = "told::bytes")] pub(crate) Cqe);

/// Which lcore has the queue pair that an lcore's commands for a drive go through, and its place among the drive's queue pairs:
/// its own where there are enough. Otherwise queue pairs and those that borrow them are spread as evenly as it goes, by the
/// drive's number in another way for each drive.
#[must_use]
pub fn owner_of(drive: u16, lcore: usize, (queues, lcores): (usize, usize)) -> (usize, u16) {
    if queues >= lcores {
        return (lcore, lcore as u16);
    }
    let turned = usize::from(drive) % lcores;
    let queue = (lcore + lcores - turned) % lcores % queues;
    ((queue + turned) % lcores, queue as u16)
}

/// The rings between a borrower and the lcore that has the queue pair, for so many commands under way.
#[must_use]
pub fn rings(borrower: u16, owner: u16, depth: u16) -> (Borrower, Lender) {
    let depth = usize::from(depth);
    // Each command is asked for once, and once to be aborted.
    let (requests_in, requests_out) = RingBuffer::new(2 * depth);
    let (answers_in, answers_out) = RingBuffer::new(depth);
    let waiting = VecDeque::with_capacity(depth);
    let borrower = Borrower { lcore: borrower, requests: requests_out, answers: answers_in, waiting };
    let told = VecDeque::with_capacity(depth);
    (borrower, Lender { lcore: owner, requests: requests_in, answers: answers_out, told })
}

impl Borrower {
    /// Takes what has come over the ring. What `abort` is called with is to be aborted at the drive, if it is there: the
    /// borrower's CID. One that still waits ends here.
    pub fn take(&mut self, mut abort: impl FnMut(u16)) {
        while let Ok(request) = self.requests.pop() {
            match request {
                Request::Submit(sqe) => self.waiting.push_back(sqe),
                Request::Abort(cid) => match self.waiting.iter().position(|sqe| sqe.cid.get() == cid) {
                    Some(at) => {
                        self.waiting.remove(at);
                        self.answer(Cqe::new(Cid(cid), Status::ABORT_REQUESTED, 0));
                    }
                    None => abort(cid),
                },
            }
        }
    }

    /// The command whose turn it is.
    pub fn pop(&mut self) -> Option<Sqe> {
        self.waiting.pop_front()
    }

    /// Whether any waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Passes a completion back, with the borrower's CID.
    pub fn answer(&mut self, cqe: Cqe) {
        assert!(self.answers.push(cqe).is_ok(), "a borrower has no more under way than its ring holds");
    }

    /// The CIDs of those that wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u16> + '_ {
        self.waiting.iter().map(|sqe| sqe.cid.get())
    }

    /// Tells a successor of the commands that wait. Nothing is on the ring.
    pub(crate) fn tell(&self) -> Vec<SqeTold> {
        assert!(self.requests.is_empty(), "what was on the ring has been taken");
        self.waiting.iter().copied().map(SqeTold).collect()
    }

    /// Goes on with commands that a predecessor had waiting.
    pub(crate) fn restore(&mut self, told: &[SqeTold]) {
        self.waiting.extend(told.iter().map(|SqeTold(sqe)| *sqe));
    }
}

impl Lender {
    /// Passes a request on.
    pub fn ask(&mut self, request: Request) {
        assert!(self.requests.push(request).is_ok(), "no more is under way than the ring holds");
    }

    /// The next completion.
    pub fn poll(&mut self) -> Option<Cqe> {
        match self.told.pop_front() {
            Some(cqe) => Some(cqe),
            None => self.answers.pop().ok(),
        }
    }

    /// The CIDs of completions that a predecessor had.
    pub(crate) fn answered(&self) -> impl Iterator<Item = u16> + '_ {
        self.told.iter().map(|cqe| cqe.cid.get())
    }

    /// Takes completions off the ring, so that they can be told.
    pub(crate) fn take(&mut self) {
        while let Ok(cqe) = self.answers.pop() {
            self.told.push_back(cqe);
        }
    }

    /// Tells a successor of the completions that have come.
    pub(crate) fn tell(&self) -> Vec<CqeTold> {
        assert!(self.answers.is_empty(), "what was on the ring has been taken");
        self.told.iter().copied().map(CqeTold).collect()
    }

    /// Goes on with completions that had come to a predecessor.
    pub(crate) fn restore(&mut self, told: &[CqeTold]) {
        self.told.extend(told.iter().map(|CqeTold(cqe)| *cqe));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_wire::nvme::{Nsid, nvm};

    #[test]
    fn queue_pairs_are_shared_evenly() {
        for (queues, lcores) in [(1, 1), (1, 2), (1, 4), (2, 4), (3, 4), (2, 3), (4, 4), (64, 4), (5, 64)] {
            for drive in 0..70 {
                let mut of_queue = alloc::vec![Vec::new(); queues.min(lcores)];
                for lcore in 0..lcores {
                    let (owner, queue) = owner_of(drive, lcore, (queues, lcores));
                    assert_eq!(owner_of(drive, owner, (queues, lcores)), (owner, queue), "an owner uses its own");
                    of_queue[usize::from(queue)].push(owner);
                }
                let counts: Vec<usize> = of_queue.iter().map(Vec::len).collect();
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(*least > 0 && most - least <= 1, "{queues} queues, {lcores} lcores: {counts:?}");
                assert!(of_queue.iter().all(|owners| owners.iter().all(|owner| *owner == owners[0])), "one owner each");
            }
        }
        let owners: alloc::collections::BTreeSet<usize> = (0..4).map(|drive| owner_of(drive, 0, (1, 4)).0).collect();
        assert_eq!(owners.len(), 4, "drives with one queue pair are not all one lcore's work");
    }

    #[test]
    fn an_abort_ends_what_waits_and_is_passed_on_for_the_rest() {
        let (mut borrower, mut lender) = rings(1, 0, 2);
        let sqe = |cid| Sqe::new(nvm::FLUSH, Cid(cid), Nsid(1));
        lender.ask(Request::Submit(sqe(0)));
        lender.ask(Request::Submit(sqe(1)));
        borrower.take(|_| panic!("nothing is to be aborted"));
        assert_eq!(borrower.pop().map(|sqe| sqe.cid.get()), Some(0));
        lender.ask(Request::Abort(0));
        lender.ask(Request::Abort(1));
        let mut at_drive = Vec::new();
        borrower.take(|cid| at_drive.push(cid));
        assert_eq!(at_drive, [0], "that one has been submitted");
        assert!(!borrower.is_waiting() && borrower.pop().is_none());
        let ended = lender.poll().unwrap();
        assert_eq!((ended.cid().0, ended.status()), (1, Status::ABORT_REQUESTED));
        borrower.answer(Cqe::new(Cid(0), Status::SUCCESS, 0));
        lender.take();
        assert_eq!(lender.poll().map(|cqe| cqe.cid().0), Some(0));
        assert!(lender.poll().is_none());
    }
}
