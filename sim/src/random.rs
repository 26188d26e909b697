//! Numbers drawn from a seed.

use gantry_pipeline::tables::mix;

/// A sequence that its seed determines.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 to `end`, exclusive; 0 when `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// `first` to `last`, inclusive.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True in so many of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// `first` to `last`, inclusive, each power of two as likely as the next.
    pub fn spread(&mut self, first: u64, last: u64) -> u64 {
        let (low, high) = (first.max(1), last.max(first).max(1));
        let octave = self.between(low.ilog2().into(), high.ilog2().into());
        let value = (1 << octave) + self.below(1 << octave);
        value.clamp(low, high)
    }
}
