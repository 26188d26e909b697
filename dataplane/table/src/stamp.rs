//! What a slot says about itself, in one word: from which generation to which its entry is seen, and the entry's index.
//!
//! One word, so that no reader sees half of a change. Generations are 64 bits wide, a stamp has room for the low 15 of two of
//! them; that is enough because a stamp names a generation only while an lcore may be before it. When all lcores have passed
//! an entry's birth, the stamp settles: born, whichever generation asks. [`Writer`](crate::Writer) sees to it that no stamp
//! names a generation more than [`WINDOW`] away from any that lcores are in.

/// Distance below which two generations are told apart by their codes.
pub(crate) const WINDOW: u64 = 1 << 14;

/// Greatest number of entry indices of a table.
pub(crate) const INDICES: usize = 1 << 26;

const INDEX: u64 = INDICES as u64 - 1;
const OVERFLOW_SHIFT: u32 = 26;
const OVERFLOW: u64 = 0x1f << OVERFLOW_SHIFT;
const OCCUPIED: u64 = 1 << 31;
const BIRTH_SHIFT: u32 = 32;
const BIRTH_PENDING: u64 = 1 << 47;
const DEATH_SHIFT: u32 = 48;
const DEATH_PENDING: u64 = 1 << 63;
const CODE: u64 = 0x7fff;

/// A slot's first word: bits 0-25 entry index, 26-30 how many entries overflowed this bucket (its first slot only), 31
/// occupied, 32-47 birth and 48-63 death, each 15 bits of a generation under a bit that says that they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// Of an entry that is born in a generation.
    pub(crate) fn born(generation: u64, index: u32) -> Self {
        Self(OCCUPIED | BIRTH_PENDING | (generation & CODE) << BIRTH_SHIFT | u64::from(index) & INDEX)
    }

    /// The same, dying in a generation.
    pub(crate) fn dying(self, generation: u64) -> Self {
        Self(self.immortal().0 | DEATH_PENDING | (generation & CODE) << DEATH_SHIFT)
    }

    /// The same without a death.
    pub(crate) fn immortal(self) -> Self {
        Self(self.0 & !(DEATH_PENDING | CODE << DEATH_SHIFT))
    }

    /// The same once no lcore is before its birth.
    pub(crate) fn settled(self) -> Self {
        Self(self.0 & !(BIRTH_PENDING | CODE << BIRTH_SHIFT))
    }

    /// The slot may be written: nobody sees or will see what is in it.
    #[inline]
    pub(crate) fn is_free(self) -> bool {
        self.0 & OCCUPIED == 0
    }

    /// Whether every lcore sees the entry, whatever generation it is in.
    #[inline]
    pub(crate) fn is_settled(self) -> bool {
        self.0 & (OCCUPIED | BIRTH_PENDING | DEATH_PENDING) == OCCUPIED
    }

    /// Whether an lcore in a generation sees the entry.
    #[inline]
    pub(crate) fn visible(self, generation: u64) -> bool {
        self.is_settled() || (!self.is_free() && self.pending_visible(generation))
    }

    /// The same of one whose birth or death not all lcores have passed.
    #[cold]
    #[inline(never)]
    fn pending_visible(self, generation: u64) -> bool {
        let since = |shift: u32| generation.wrapping_sub(self.0 >> shift) & CODE;
        (self.0 & BIRTH_PENDING == 0 || since(BIRTH_SHIFT) < WINDOW)
            && (self.0 & DEATH_PENDING == 0 || since(DEATH_SHIFT) >= WINDOW)
    }

    /// The entry's index.
    #[inline]
    pub(crate) fn index(self) -> u32 {
        (self.0 & INDEX) as u32
    }

    /// How many entries passed this bucket on their way to a free slot. 31 stands for that many and more, and stays.
    #[inline]
    pub(crate) fn overflow(self) -> u64 {
        (self.0 & OVERFLOW) >> OVERFLOW_SHIFT
    }

    /// The same with another's overflow.
    pub(crate) fn with_overflow_of(self, other: Self) -> Self {
        Self(self.0 & !OVERFLOW | other.0 & OVERFLOW)
    }

    /// One more has passed.
    pub(crate) fn passed(self) -> Self {
        if self.overflow() == 31 { self } else { Self(self.0 + (1 << OVERFLOW_SHIFT)) }
    }

    /// One that had passed is gone.
    pub(crate) fn unpassed(self) -> Self {
        match self.overflow() {
            0 => panic!("an entry's probe passed a bucket that knows nothing of it"),
            31 => self,
            _ => Self(self.0 - (1 << OVERFLOW_SHIFT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_seen_from_its_birth_up_to_its_death() {
        // Numbers on both sides of where the codes start anew.
        for base in [10_u64, 0x7ff8, 0x1_0000_0000, u64::MAX - 2 * WINDOW] {
            let (birth, death) = (base + 5, base + 9);
            let young = Stamp::born(birth, 77);
            let mortal = young.dying(death);
            for g in base..base + 20 {
                assert_eq!(young.visible(g), g >= birth);
                assert_eq!(mortal.visible(g), g >= birth && g < death);
                assert_eq!(mortal.settled().visible(g), g < death, "settled when nobody is before its birth");
                assert!(young.settled().visible(g));
                assert_eq!(mortal.immortal(), young);
            }
            assert!(young.visible(birth + WINDOW - 1) && (birth < WINDOW || !young.visible(birth - WINDOW)));
            assert_eq!((mortal.index(), mortal.settled().index()), (77, 77));
            assert!(!Stamp::born(birth, 0).dying(birth).visible(birth), "born and dead at once is never seen");
        }
        assert!(Stamp(0).is_free() && !Stamp(0).visible(3));
    }

    #[test]
    fn overflow_counts_to_31_and_stays_there() {
        let mut stamp = Stamp::born(3, 5);
        for n in 1..=40 {
            stamp = stamp.passed();
            assert_eq!(stamp.overflow(), n.min(31));
        }
        assert_eq!(stamp.unpassed().overflow(), 31);
        assert_eq!(Stamp(0).passed().passed().unpassed().overflow(), 1);
        assert_eq!((stamp.index(), stamp.visible(3)), (5, true));
    }
}
