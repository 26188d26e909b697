//! Keys under masks and ranges, and whether they match.

use crate::words::Payload;
use crate::{StageError, Words};

/// A field of a key that is matched by a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeField {
    /// The key's word that has it. A range field lies in one word.
    pub word: usize,
    /// Bits below it there.
    pub shift: u32,
    /// Its bits, 1 to 64.
    pub bits: u32,
}

impl RangeField {
    const fn ones(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    const fn of(self, word: u64) -> u64 {
        word >> self.shift & self.ones()
    }
}

/// A key of a ternary table: words of which some fields are matched by ranges and all other bits under masks.
pub trait TernaryKey: Words {
    /// The fields that are matched by ranges.
    const RANGES: &'static [RangeField] = &[];
}

/// Masks only.
impl<const N: usize> TernaryKey for [u64; N] {}

/// What an entry matches, and how important it is: an entry's identity (P4Runtime 1.5 §9.1).
///
/// For a field under a mask (`ternary`, `optional`, `lpm`, `exact` in such a table) `mask` has the bits that count. For a range
/// field `value` has the lowest and `mask` the highest value that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Match<K> {
    /// Values, or lowest values of ranges.
    pub value: K,
    /// Masks, or highest values of ranges.
    pub mask: K,
    /// Of the entries that match, the one with the greatest priority is taken, among equals the one with the lowest index.
    pub priority: i32,
}

/// In slots: the priority, then the values, then the masks.
impl<K: Words> Payload for Match<K> {
    const N: usize = 1 + 2 * <K as Payload>::N;

    #[inline]
    fn word(&self, at: usize) -> u64 {
        let n = <K as Payload>::N;
        match at {
            0 => u64::from(self.priority as u32),
            at if at <= n => self.value.word(at - 1),
            at => self.mask.word(at - 1 - n),
        }
    }

    #[inline]
    fn load(mut word: impl FnMut(usize) -> u64) -> Self {
        let priority = word(0) as u32 as i32;
        let value = <K as Payload>::load(|at| word(1 + at));
        Self { value, mask: <K as Payload>::load(|at| word(1 + <K as Payload>::N + at)), priority }
    }
}

/// The bits of a word that belong to range fields.
#[inline]
pub(crate) fn range_bits<K: TernaryKey>(word: usize) -> u64 {
    K::RANGES.iter().filter(|field| field.word == word).fold(0, |bits, field| bits | field.ones() << field.shift)
}

/// Whether a word of a key matches.
#[inline]
pub(crate) fn word_matches<K: TernaryKey>(at: usize, key: u64, value: u64, mask: u64) -> bool {
    if (key ^ value) & mask & !range_bits::<K>(at) != 0 {
        return false;
    }
    let mut ranges = K::RANGES.iter().filter(|field| field.word == at);
    ranges.all(|field| (field.of(value)..=field.of(mask)).contains(&field.of(key)))
}

impl<K: TernaryKey> Match<K> {
    /// Whether a key matches.
    #[must_use]
    pub fn matches(&self, key: &K) -> bool {
        (0..<K as Payload>::N).all(|at| word_matches::<K>(at, key.word(at), self.value.word(at), self.mask.word(at)))
    }

    /// The same with zeros where no bit counts, so that equal matches are equal words.
    ///
    /// # Errors
    /// `BadMatch` when a range's lowest value is above its highest.
    pub fn canonical(&self) -> Result<Self, StageError> {
        let ordered =
            |field: &RangeField| field.of(self.value.word(field.word)) <= field.of(self.mask.word(field.word));
        if !K::RANGES.iter().all(ordered) {
            return Err(StageError::BadMatch);
        }
        let value = |at: usize| self.value.word(at) & (self.mask.word(at) | range_bits::<K>(at));
        Ok(Self { value: <K as Payload>::load(value), mask: self.mask, priority: self.priority })
    }
}

/// Which values of four bits of a key may match, as a bit each. It is more than do match only where a range spans further
/// than these bits.
pub(crate) fn accepted<K: TernaryKey>(matched: &Match<K>, word: usize, nibble: u32) -> u16 {
    let (low, high) = (matched.value.word(word), matched.mask.word(word));
    let below = nibble * 4;
    let fits = |v: u64| {
        let masked = (v << below ^ low) & high & !range_bits::<K>(word) & 0xf << below;
        let mut ranges = K::RANGES.iter().filter(|field| field.word == word);
        masked == 0 && ranges.all(|field| may_be(*field, low, high, below, v))
    };
    (0..16).filter(|&v| fits(v)).fold(0, |set, v| set | 1 << v)
}

/// Whether a value of a range has the same bits as `nibble` where the field lies in it.
fn may_be(field: RangeField, low: u64, high: u64, below: u32, nibble: u64) -> bool {
    let (from, to) = (field.shift.max(below), (field.shift + field.bits).min(below + 4));
    if from >= to {
        return true;
    }
    // Without the field's bits under this nibble, a range is a range still.
    let (under, bits) = (from - field.shift, to - from);
    let (first, last) = (field.of(low) >> under, field.of(high) >> under);
    let ones = (1 << bits) - 1;
    let wanted = nibble >> (from - below) & ones;
    // The first number from `first` on that ends in these bits.
    let distance = wanted.wrapping_sub(first) & ones;
    distance <= last - first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten bits by range over the border of nibbles and with masked bits around.
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Mixed(u64);

    impl Words for Mixed {
        type Array = [u64; 1];

        fn to_words(&self) -> [u64; 1] {
            [self.0]
        }

        fn from_words([word]: [u64; 1]) -> Self {
            Self(word)
        }
    }

    impl TernaryKey for Mixed {
        const RANGES: &'static [RangeField] = &[RangeField { word: 0, shift: 2, bits: 10 }];
    }

    /// Every key that matches is accepted nibble by nibble, and a nibble that is refused has no key.
    #[test]
    fn nibbles_accept_what_some_key_has() {
        for (low, high) in [(0, 1023), (5, 5), (3, 700), (511, 512), (100, 131), (1000, 1023)] {
            for (value, mask) in [(0, 0), (0b01, 0b11), (0x5001, 0xf003)] {
                let matched = Match { value: Mixed(value | low << 2), mask: Mixed(mask | high << 2), priority: 1 };
                let matched = matched.canonical().unwrap();
                let mut seen = [0_u16; 4];
                for key in 0..1 << 16 {
                    if matched.matches(&Mixed(key)) {
                        (0..4).for_each(|n| seen[n] |= 1 << (key >> (4 * n) & 15));
                    }
                }
                let accepted: [u16; 4] = core::array::from_fn(|n| accepted(&matched, 0, n as u32));
                assert_eq!(accepted, seen, "{low}..={high} {value:x}/{mask:x}");
            }
        }
    }

    #[test]
    fn a_match_is_canonical_or_refused() {
        let with = |value, mask| Match { value: Mixed(value), mask: Mixed(mask), priority: 1 };
        assert_eq!(with(0xf000 | 7 << 2, 0x3000 | 9 << 2).canonical(), Ok(with(0x3000 | 7 << 2, 0x3000 | 9 << 2)));
        assert_eq!(with(9 << 2, 7 << 2).canonical(), Err(StageError::BadMatch));
        assert_eq!(Match { value: [7_u64], mask: [5], priority: 1 }.canonical().unwrap().value, [5]);
    }
}
