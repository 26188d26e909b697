//! How far a parser has come in its packet (`packet_in`, P4_16 §13.8): bit by bit, most significant first.

/// A packet and a place in it.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at_bits: u128,
}

impl<'a> Cursor<'a> {
    /// At the packet's first bit.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at_bits: 0 }
    }

    /// The packet's length in bytes, wherever the cursor is.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Bits that are left.
    #[must_use]
    pub fn left_bits(&self) -> u128 {
        self.bytes.len() as u128 * 8 - self.at_bits
    }

    /// The next `bits` bits, at most 128, as a number; the cursor stays. None if the packet ends before.
    #[must_use]
    pub fn peek(&self, bits: u8) -> Option<u128> {
        if u128::from(bits) > self.left_bits() {
            return None;
        }
        let mut value = 0;
        for bit in self.at_bits..self.at_bits + u128::from(bits) {
            let byte = self.bytes[(bit / 8) as usize];
            value = value << 1 | u128::from(byte >> (7 - bit % 8) & 1);
        }
        Some(value)
    }

    /// Goes over so many bits. False, and the cursor stays, if there are not as many.
    #[must_use]
    pub fn skip(&mut self, bits: u128) -> bool {
        if bits > self.left_bits() {
            return false;
        }
        self.at_bits += bits;
        true
    }

    /// The bytes that the cursor has not touched.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at_bits.div_ceil(8) as usize..]
    }
}
