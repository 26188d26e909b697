//! Completion queue entry: the 16 bytes that answer a command, in a response capsule or in a drive's
//! completion queue, where the phase bit says that it is new. NVMe Base 2.0 §3.3.3.2.

use super::{Cid, Status};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Completion queue entry.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Cqe {
    /// Command-specific result.
    pub dw0: U32,
    /// Command-specific result, high half where there is one.
    pub dw1: U32,
    /// Submission queue head: how far the controller has fetched.
    pub sqhd: U16,
    /// Submission queue identifier; reserved in a fabrics response.
    pub sqid: U16,
    /// Identifier of the command answered.
    pub cid: U16,
    /// Phase in bit 0, status in bits 15:1.
    pub status: U16,
}

impl Cqe {
    /// Bytes of an entry.
    pub const LEN: usize = 16;

    /// A completion without phase: the answer to `cid` with `status` and `result` in DW0 and DW1.
    #[must_use]
    pub fn new(cid: Cid, status: Status, result: u64) -> Cqe {
        Cqe {
            dw0: (result as u32).into(),
            dw1: ((result >> 32) as u32).into(),
            cid: cid.0.into(),
            status: (status.0 << 1).into(),
            ..Cqe::default()
        }
    }

    /// The entry as words of memory, in their order.
    #[inline(always)]
    #[must_use]
    pub fn words(&self) -> [u64; 2] {
        let two = |low: u32, high: u32| (u64::from(low) | u64::from(high) << 32).to_le();
        let pair = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        [
            two(self.dw0.get(), self.dw1.get()),
            two(pair(self.sqhd.get(), self.sqid.get()), pair(self.cid.get(), self.status.get())),
        ]
    }

    /// A view of the first 16 bytes; `None` when there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<&Cqe> {
        Cqe::ref_from_prefix(bytes).ok().map(|(cqe, _)| cqe)
    }

    /// Identifier of the command answered.
    #[must_use]
    pub fn cid(&self) -> Cid {
        Cid(self.cid.get())
    }

    /// Status without the phase bit.
    #[must_use]
    pub fn status(&self) -> Status {
        Status(self.status.get() >> 1)
    }

    /// Writes the status and leaves the phase.
    pub fn set_status(&mut self, status: Status) {
        self.status = (status.0 << 1 | self.status.get() & 1).into();
    }

    /// Phase bit.
    #[must_use]
    pub fn phase(&self) -> bool {
        self.status.get() & 1 != 0
    }

    /// Writes the phase bit and leaves the status.
    pub fn set_phase(&mut self, phase: bool) {
        self.status = (self.status.get() & !1 | u16::from(phase)).into();
    }

    /// DW1‖DW0.
    #[must_use]
    pub fn result(&self) -> u64 {
        u64::from(self.dw0.get()) | u64::from(self.dw1.get()) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_phase_share_a_word() {
        let mut cqe = Cqe::new(Cid(0x1234), Status::LBA_OUT_OF_RANGE.with_dnr(), 0x0102_0304_0506_0708);
        assert_eq!(cqe.status(), Status::LBA_OUT_OF_RANGE.with_dnr());
        assert!(!cqe.phase());
        cqe.set_phase(true);
        assert_eq!(cqe.status.get(), 0x8101);
        cqe.set_status(Status::SUCCESS);
        assert!(cqe.phase() && cqe.status() == Status::SUCCESS);
        cqe.set_phase(false);
        assert_eq!(cqe.status.get(), 0);
    }

    #[test]
    fn the_layout_is_the_specifications() {
        let cqe = Cqe {
            sqhd: 0x1122.into(),
            sqid: 0x3344.into(),
            ..Cqe::new(Cid(0x5566), Status::INVALID_FIELD, 0x0102_0304_0506_0708)
        };
        let bytes = [8, 7, 6, 5, 4, 3, 2, 1, 0x22, 0x11, 0x44, 0x33, 0x66, 0x55, 4, 0];
        assert_eq!(cqe.as_bytes(), bytes);
        assert_eq!(cqe.words().as_bytes(), bytes);
        assert_eq!(Cqe::parse(&bytes), Some(&cqe));
        assert_eq!(cqe.result(), 0x0102_0304_0506_0708);
        assert_eq!(Cqe::parse(&bytes[..15]), None);
    }
}
