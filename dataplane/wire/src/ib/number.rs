//! The numbers of the transport: packet sequence, queue pair, remote key.

/// Mask of the 24 bits that PSNs, QPNs and MSNs use.
const U24: u32 = 0x00ff_ffff;

/// Packet sequence number: 24 bits, modulo 2^24 (IBA 1.5 §9.7.1). No `Ord`: only distances mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Psn(u32);

impl Psn {
    /// A PSN of the low 24 bits of `value`.
    #[inline]
    pub const fn new(value: u32) -> Psn {
        Psn(value & U24)
    }

    /// The number, below 2^24.
    #[inline]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The PSN that follows.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub const fn next(self) -> Psn {
        self.add(1)
    }

    /// The PSN `packets` later.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub const fn add(self, packets: u32) -> Psn {
        Psn(self.0.wrapping_add(packets) & U24)
    }

    /// The PSN `packets` earlier.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub const fn sub(self, packets: u32) -> Psn {
        Psn(self.0.wrapping_sub(packets) & U24)
    }

    /// How many packets this PSN is after `other`: -2^23 to 2^23 - 1, negative when it is before.
    #[inline]
    pub const fn distance_from(self, other: Psn) -> i32 {
        (self.0.wrapping_sub(other.0) << 8) as i32 >> 8
    }
}

/// Queue pair number: 24 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Qpn(u32);

impl Qpn {
    /// The general services QP, which CM speaks on.
    pub const GSI: Qpn = Qpn(1);

    /// A QPN of the low 24 bits of `value`.
    #[inline]
    pub const fn new(value: u32) -> Qpn {
        Qpn(value & U24)
    }

    /// The number, below 2^24.
    #[inline]
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// Remote key: the right to a region of a peer's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rkey(pub u32);

#[cfg(test)]
mod tests {
    use super::Psn;

    #[test]
    fn distance_is_signed_and_wraps() {
        assert_eq!(Psn::new(5).distance_from(Psn::new(3)), 2);
        assert_eq!(Psn::new(3).distance_from(Psn::new(5)), -2);
        assert_eq!(Psn::new(0).distance_from(Psn::new(0xff_ffff)), 1);
        assert_eq!(Psn::new(0xff_ffff).distance_from(Psn::new(0)), -1);
        assert_eq!(Psn::new(0x80_0000).distance_from(Psn::new(0)), -0x80_0000);
        assert_eq!(Psn::new(0x7f_ffff).distance_from(Psn::new(0)), 0x7f_ffff);
        assert_eq!(Psn::new(0xff_ffff).next(), Psn::new(0));
        assert_eq!(Psn::new(1).sub(3), Psn::new(0xff_fffe));
    }
}
