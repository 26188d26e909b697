//! Keys and entries as words: tables keep both as a fixed number of 64-bit words in atomics.
//!
//! Generated code implements [`Words`] for every key and every entry; fewer words are fewer cache lines, so it packs fields.

/// An array of words: `[u64; N]`.
pub trait WordArray: Copy + Eq + AsRef<[u64]> + Send + Sync + 'static {
    /// Number of words.
    const N: usize;

    /// From each word by its place.
    fn from_fn(word: impl FnMut(usize) -> u64) -> Self;
}

impl<const N: usize> WordArray for [u64; N] {
    const N: usize = N;

    #[inline]
    fn from_fn(word: impl FnMut(usize) -> u64) -> Self {
        core::array::from_fn(word)
    }
}

/// A key or an entry that is a fixed number of words. Equal words mean equal values: unused bits are zero.
pub trait Words: Copy + Send + Sync + 'static {
    /// `[u64; N]`.
    type Array: WordArray;

    /// Number of words.
    const N: usize = Self::Array::N;

    /// As words.
    fn to_words(&self) -> Self::Array;

    /// From words that [`Self::to_words`] gave.
    fn from_words(words: Self::Array) -> Self;
}

impl<const N: usize> Words for [u64; N] {
    type Array = Self;

    #[inline]
    fn to_words(&self) -> Self {
        *self
    }

    #[inline]
    fn from_words(words: Self) -> Self {
        words
    }
}

/// What slots hold: [`Words`], and compositions of them, whose arrays have no name in the type system.
pub(crate) trait Payload: Copy + Send + Sync + 'static {
    /// Number of words.
    const N: usize;

    /// The word at a place below [`Self::N`].
    fn word(&self, at: usize) -> u64;

    /// From each word by its place.
    fn load(word: impl FnMut(usize) -> u64) -> Self;
}

impl<T: Words> Payload for T {
    const N: usize = <T::Array as WordArray>::N;

    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.to_words().as_ref()[at]
    }

    #[inline]
    fn load(word: impl FnMut(usize) -> u64) -> Self {
        Self::from_words(T::Array::from_fn(word))
    }
}

/// Two payloads, one behind the other.
#[derive(Clone, Copy)]
pub(crate) struct Joined<A, B>(pub(crate) A, pub(crate) B);

impl<A: Payload, B: Payload> Payload for Joined<A, B> {
    const N: usize = A::N + B::N;

    #[inline]
    fn word(&self, at: usize) -> u64 {
        if at < A::N { self.0.word(at) } else { self.1.word(at - A::N) }
    }

    #[inline]
    fn load(mut word: impl FnMut(usize) -> u64) -> Self {
        let first = A::load(&mut word);
        Self(first, B::load(|at| word(A::N + at)))
    }
}

/// Mixes a word so that every bit of the result depends on all of it (a multiply and a fold).
#[inline]
#[must_use]
pub fn mix(word: u64) -> u64 {
    let wide = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93_u64);
    (wide as u64) ^ (wide >> 64) as u64
}

/// Hashes a payload under a seed.
#[inline]
pub(crate) fn hash<P: Payload>(seed: u64, payload: &P) -> u64 {
    let mut hash = seed;
    for at in 0..P::N {
        hash = mix(hash ^ payload.word(at));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_payloads_keep_their_words() {
        let joined = Joined([1_u64, 2], Joined([3_u64], [4_u64, 5]));
        type J = Joined<[u64; 2], Joined<[u64; 1], [u64; 2]>>;
        assert_eq!(J::N, 5);
        let words: [u64; 5] = core::array::from_fn(|at| joined.word(at));
        assert_eq!(words, [1, 2, 3, 4, 5]);
        let again = J::load(|at| words[at]);
        assert_eq!((again.0, again.1.0, again.1.1), ([1, 2], [3], [4, 5]));
    }

    /// Sequential QPNs are the common key: their homes must look random.
    #[test]
    fn sequential_keys_spread_over_the_high_bits() {
        let mut homes = [0_u32; 1024];
        for qpn in 0..10_240_u64 {
            homes[(hash(7, &[qpn]) >> 54) as usize] += 1;
        }
        assert!(homes.iter().all(|&n| (1..40).contains(&n)), "ten a home on average");
    }
}
