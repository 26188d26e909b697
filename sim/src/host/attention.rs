//! Which queues want the host's attention: those that may have something to send, in a line, and when the earliest of
//! all is due. So a host with many queues is asked for a frame and for its deadline without a walk over them.

use super::queue::Queue;

/// A set of queues by their place.
#[derive(Default)]
struct Places(Vec<u64>);

impl Places {
    fn insert(&mut self, place: usize) {
        if place / 64 >= self.0.len() {
            self.0.resize(place / 64 + 1, 0);
        }
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    /// Only places below `places` are left.
    fn truncate(&mut self, places: usize) {
        self.0.truncate(places.div_ceil(64));
        if let Some(word) = self.0.get_mut(places / 64) {
            *word &= !(u64::MAX << (places % 64));
        }
    }

    /// The first place from `place` on.
    fn from(&self, place: usize) -> Option<usize> {
        let mut mask = u64::MAX << (place % 64);
        for (index, word) in self.0.iter().enumerate().skip(place / 64) {
            if word & mask != 0 {
                return Some(index * 64 + (word & mask).trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }
}

/// What is known of the queues without looking at them.
#[derive(Default)]
pub(super) struct Attention {
    /// Queues that may have something to send; no other has.
    line: Places,
    /// Queues that were touched since their deadline was asked for.
    touched: Places,
    deadlines: Vec<u64>,
    /// The earliest of `deadlines`, when no queue was touched or came or went since it was found.
    earliest_ns: Option<u64>,
}

impl Attention {
    /// Something was done to the queue at `place`: it may have something to send, and its deadline may be another.
    pub(super) fn touch(&mut self, place: usize) {
        self.line.insert(place);
        self.retime(place);
    }

    /// The queue at `place` has sent a packet, or has none.
    pub(super) fn polled(&mut self, place: usize, sent: bool) {
        if sent {
            self.retime(place);
        } else {
            self.line.remove(place);
        }
    }

    /// A queue's deadline may be another.
    pub(super) fn retime(&mut self, place: usize) {
        self.touched.insert(place);
        self.earliest_ns = None;
    }

    /// Only the first `queues` are left.
    pub(super) fn truncate(&mut self, queues: usize) {
        self.line.truncate(queues);
        self.touched.truncate(queues);
        self.deadlines.truncate(queues);
        self.earliest_ns = None;
    }

    /// Whose turn it is to be asked for a packet: the first of the line behind the queue at `place`, and round.
    pub(super) fn next(&self, place: usize) -> Option<usize> {
        self.line.from(place + 1).or_else(|| self.line.from(0))
    }

    /// When the earliest queue is due.
    pub(super) fn deadline_ns(&mut self, queues: &[Queue]) -> u64 {
        if let Some(earliest_ns) = self.earliest_ns {
            return earliest_ns;
        }
        self.refresh(queues);
        let earliest_ns = self.deadlines.iter().copied().min().unwrap_or(u64::MAX);
        self.earliest_ns = Some(earliest_ns);
        earliest_ns
    }

    /// When the queue at `place` is due.
    pub(super) fn deadline_of(&mut self, queues: &[Queue], place: usize) -> u64 {
        self.refresh(queues);
        self.deadlines[place]
    }

    fn refresh(&mut self, queues: &[Queue]) {
        self.deadlines.resize(queues.len(), u64::MAX);
        while let Some(place) = self.touched.from(0) {
            self.touched.remove(place);
            self.deadlines[place] = queues[place].deadline_ns();
        }
    }
}
