//! Random choices, the same for a seed.

/// xorshift64*.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 32) as usize) % limit
    }

    /// A number under a mask; those at the ends of the range find more than others.
    pub(crate) fn number(&mut self, mask: u128) -> u128 {
        let any = (u128::from(self.next()) << 64 | u128::from(self.next())) & mask;
        [0, 1, mask, mask >> 1, any, any][self.below(6)]
    }

    /// One of these.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
