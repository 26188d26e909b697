//! A set of drives by number: who has nothing to do costs a stage nothing, however many drives there are.

use crate::state::DRIVES;

const WORD: usize = u64::BITS as usize;

/// Numbers below [`DRIVES`], as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriveSet([u64; DRIVES / WORD]);

impl DriveSet {
    /// Puts a drive in.
    #[inline]
    pub fn insert(&mut self, number: u16) {
        self.0[usize::from(number) / WORD] |= 1 << (usize::from(number) % WORD);
    }

    /// Puts all drives of another set in.
    #[inline]
    pub fn insert_all(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// Takes a drive out.
    #[inline]
    pub fn remove(&mut self, number: u16) {
        self.0[usize::from(number) / WORD] &= !(1 << (usize::from(number) % WORD));
    }

    /// Those that are in it now, in order; what is put in or taken out meanwhile changes nothing.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.0.into_iter().enumerate().flat_map(|(at, word)| {
            let step = |rest: &u64| Some(rest & (rest - 1)).filter(|rest| *rest != 0);
            let rests = core::iter::successors(Some(word).filter(|word| *word != 0), step);
            rests.map(move |rest| (at * WORD + rest.trailing_zeros() as usize) as u16)
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn drives_come_in_order_and_once() {
        let mut set = DriveSet::default();
        assert_eq!(set.iter().next(), None);
        for number in [255, 0, 64, 63, 0, 7] {
            set.insert(number);
        }
        set.remove(7);
        set.remove(8);
        let mut more = DriveSet::default();
        [64, 3].into_iter().for_each(|number| more.insert(number));
        set.insert_all(more);
        set.remove(3);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
    }
}
