//! Commands that were fetched and are executed later, in the order in which they fall due. Neither finding what is due nor
//! finding a command by its name looks at the others.

use gantry_wire::nvme::{Cid, Sqe, admin};
use std::collections::BTreeMap;

/// When a command is due, and the how-manyeth it was to arrive.
type Turn = (u64, u64);

/// The commands held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    turns: BTreeMap<Turn, (u16, Sqe)>,
    /// By QID and CID.
    names: BTreeMap<(u16, u16), Turn>,
    arrivals: u64,
}

impl Held {
    /// Holds a command of queue `qid` until `due_ns`; no other of that queue with its CID is held.
    pub(super) fn push(&mut self, due_ns: u64, qid: u16, sqe: Sqe) {
        let turn = (due_ns, self.arrivals);
        self.arrivals += 1;
        let twin = self.names.insert((qid, sqe.cid().0), turn);
        assert!(twin.is_none(), "CID {:#x} is held twice on queue {qid}", sqe.cid().0);
        self.turns.insert(turn, (qid, sqe));
    }

    /// The next command that is due, with its queue.
    pub(super) fn pop_due(&mut self, now_ns: u64) -> Option<(u16, Sqe)> {
        let first = self.turns.first_entry().filter(|first| first.key().0 <= now_ns)?;
        let (qid, sqe) = first.remove();
        self.names.remove(&(qid, sqe.cid().0));
        Some((qid, sqe))
    }

    /// When the next one is due; `u64::MAX` when none is held.
    pub(super) fn next_ns(&self) -> u64 {
        self.turns.first_key_value().map_or(u64::MAX, |(&(due_ns, _), _)| due_ns)
    }

    pub(super) fn contains(&self, qid: u16, cid: Cid) -> bool {
        self.names.contains_key(&(qid, cid.0))
    }

    /// Aborts held on the admin queue.
    pub(super) fn aborts(&self) -> usize {
        self.turns.values().filter(|(qid, sqe)| *qid == 0 && sqe.opcode == admin::ABORT).count()
    }

    /// Takes one command out.
    pub(super) fn remove(&mut self, qid: u16, cid: Cid) -> Option<Sqe> {
        let turn = self.names.remove(&(qid, cid.0))?;
        self.turns.remove(&turn).map(|(_, sqe)| sqe)
    }

    /// Takes all commands of a queue out, in the order in which they arrived.
    pub(super) fn remove_queue(&mut self, qid: u16) -> Vec<Sqe> {
        let mut turns: Vec<Turn> = self.names.range((qid, 0)..=(qid, u16::MAX)).map(|(_, &turn)| turn).collect();
        turns.sort_unstable_by_key(|&(_, arrival)| arrival);
        self.names.retain(|&(of, _), _| of != qid);
        turns.iter().filter_map(|turn| self.turns.remove(turn)).map(|(_, sqe)| sqe).collect()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.turns.clear();
        self.names.clear();
    }
}
