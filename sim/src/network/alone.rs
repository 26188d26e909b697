//! A direction that belongs to no network: what is sent into it comes out of it.

use super::direction::{Direction, Frame};
use super::fate::Fate;

impl Direction {
    /// Sends a frame.
    pub fn send(&mut self, now_ns: u64, frame: &[u8]) {
        let verdict = self.judge(frame, now_ns);
        self.lost = self.counters.lost + self.counters.burst_lost;
        for (copy_number, passage) in (0..).zip(verdict.copies.into_iter().flatten()) {
            let mut copy = Frame { bytes: frame.to_vec(), destination: [0; 6], fate: Fate::PLAIN };
            passage.apply(&mut copy);
            let sequence = self.counters.sent * 2 + copy_number;
            self.on_the_way.insert((passage.arrival_ns, sequence), copy.bytes);
        }
    }

    /// The next frame that has arrived.
    pub fn receive(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let entry = self.on_the_way.first_entry()?;
        (entry.key().0 <= now_ns).then(|| entry.remove())
    }

    /// When the next frame arrives; `u64::MAX` when none is on the way.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        self.on_the_way.first_key_value().map_or(u64::MAX, |((arrival_ns, _), _)| *arrival_ns)
    }
}
