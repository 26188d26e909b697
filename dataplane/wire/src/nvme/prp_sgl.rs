//! Where a command's data lies: SGL descriptors of every type that the base specification and the RDMA
//! transport name, PRP arithmetic, and the range of Dataset Management.
//! NVMe Base 2.0 §4.1; keyed descriptors: §4.1.2.1 and NVMe RDMA Transport 1.0 §3; DSM: NVM 1.0 §3.2.3.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a page in a PRP: CC.MPS is always 0 here.
pub const PAGE: usize = 4096;
/// Page size as a power of two.
pub const PAGE_SHIFT: u32 = 12;
/// PRP entries in a page of a PRP list; the last is a pointer when the list goes on.
pub const PRPS_PER_PAGE: usize = PAGE / 8;

/// Pages that `length` bytes touch when they start `offset` bytes into a page.
#[must_use]
pub const fn pages(offset: usize, length: usize) -> usize {
    ((offset & (PAGE - 1)) + length).div_ceil(PAGE)
}

/// An SGL descriptor, 16 bytes on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sgl {
    /// Type 0 subtype 0: a piece of memory.
    DataBlock {
        /// Bus address.
        address: u64,
        /// Bytes.
        length: u32,
    },
    /// Type 0 subtype 1: data inside the capsule, after the SQE.
    InCapsule {
        /// Bytes from the start of in-capsule data.
        offset: u64,
        /// Bytes.
        length: u32,
    },
    /// Type 1: bytes that the reader throws away.
    BitBucket {
        /// Bytes.
        length: u32,
    },
    /// Type 2: the next segment of the list, which is not the last.
    Segment {
        /// Bus address of its first descriptor.
        address: u64,
        /// Bytes of descriptors.
        length: u32,
    },
    /// Type 3: the last segment of the list.
    LastSegment {
        /// Bus address of its first descriptor.
        address: u64,
        /// Bytes of descriptors.
        length: u32,
    },
    /// Type 4: memory of the host, reached by RDMA.
    Keyed {
        /// Virtual address on the host.
        address: u64,
        /// Bytes; the wire carries 24 bits.
        length: u32,
        /// R_Key.
        key: u32,
        /// Subtype 0xF: the response shall invalidate the key.
        invalidate: bool,
    },
    /// Type 5 subtype 0xA: data that the transport carries in its own way (TCP).
    Transport {
        /// Bytes.
        length: u32,
    },
}

impl Sgl {
    /// Bytes of a descriptor.
    pub const LEN: usize = 16;
    /// The longest length of a keyed descriptor.
    pub const KEYED_LENGTH_MAX: u32 = 0xff_ffff;

    /// Reads a descriptor; `None` for a type or subtype that is reserved or the vendor's.
    #[must_use]
    pub fn parse(bytes: &[u8; 16]) -> Option<Sgl> {
        let value = u128::from_le_bytes(*bytes);
        let address = value as u64;
        let length = (value >> 64) as u32;
        match bytes[15] {
            0x00 => Some(Sgl::DataBlock { address, length }),
            0x01 => Some(Sgl::InCapsule { offset: address, length }),
            0x10 => Some(Sgl::BitBucket { length }),
            0x20 => Some(Sgl::Segment { address, length }),
            0x30 => Some(Sgl::LastSegment { address, length }),
            id @ (0x40 | 0x4f) => Some(Sgl::Keyed {
                address,
                length: length & Self::KEYED_LENGTH_MAX,
                key: (value >> 88) as u32,
                invalidate: id == 0x4f,
            }),
            0x5a => Some(Sgl::Transport { length }),
            _ => None,
        }
    }

    /// The descriptor's bytes.
    ///
    /// # Panics
    /// When a keyed length does not fit its 24 bits.
    #[must_use]
    pub fn emit(self) -> [u8; 16] {
        let plain =
            |id: u8, address: u64, length: u32| u128::from(address) | u128::from(length) << 64 | u128::from(id) << 120;
        let value = match self {
            Sgl::DataBlock { address, length } => plain(0x00, address, length),
            Sgl::InCapsule { offset, length } => plain(0x01, offset, length),
            Sgl::BitBucket { length } => plain(0x10, 0, length),
            Sgl::Segment { address, length } => plain(0x20, address, length),
            Sgl::LastSegment { address, length } => plain(0x30, address, length),
            Sgl::Keyed { address, length, key, invalidate } => {
                assert!(length <= Self::KEYED_LENGTH_MAX, "a keyed SGL carries 24 bits of length");
                plain(if invalidate { 0x4f } else { 0x40 }, address, length) | u128::from(key) << 88
            }
            Sgl::Transport { length } => plain(0x5a, 0, length),
        };
        value.to_le_bytes()
    }

    /// Bytes that the descriptor speaks of: of data, or of descriptors for a segment.
    #[must_use]
    pub fn length(self) -> u32 {
        match self {
            Sgl::DataBlock { length, .. }
            | Sgl::InCapsule { length, .. }
            | Sgl::BitBucket { length }
            | Sgl::Segment { length, .. }
            | Sgl::LastSegment { length, .. }
            | Sgl::Keyed { length, .. }
            | Sgl::Transport { length } => length,
        }
    }
}

/// A range of a Dataset Management command, 16 bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct DsmRange {
    /// Context attributes.
    pub cattr: U32,
    /// Length in logical blocks (not 0's based).
    pub nlb: U32,
    /// Starting LBA.
    pub slba: U64,
}

impl DsmRange {
    /// Bytes of a range.
    pub const LEN: usize = 16;
    /// Ranges that one command can carry.
    pub const MAX: usize = 256;

    /// A range of `blocks` from `slba`, without attributes.
    #[must_use]
    pub fn new(slba: u64, blocks: u32) -> DsmRange {
        DsmRange { cattr: 0.into(), nlb: blocks.into(), slba: slba.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_round_trips() {
        let all = [
            Sgl::DataBlock { address: 0x1234_5678_9abc_def0, length: 0xffff_ffff },
            Sgl::InCapsule { offset: 0, length: 4096 },
            Sgl::BitBucket { length: 512 },
            Sgl::Segment { address: 0x1000, length: 4096 },
            Sgl::LastSegment { address: 0x2000, length: 32 },
            Sgl::Keyed { address: u64::MAX, length: 0xff_ffff, key: 0xdead_beef, invalidate: true },
            Sgl::Keyed { address: 0, length: 0, key: 0, invalidate: false },
            Sgl::Transport { length: 8192 },
        ];
        for sgl in all {
            assert_eq!(Sgl::parse(&sgl.emit()), Some(sgl));
        }
    }

    #[test]
    fn reserved_types_are_refused() {
        let known = [0x00, 0x01, 0x10, 0x20, 0x30, 0x40, 0x4f, 0x5a];
        for id in 0..=255u8 {
            let mut bytes = [0; 16];
            bytes[15] = id;
            assert_eq!(Sgl::parse(&bytes).is_some(), known.contains(&id), "{id:#x}");
        }
    }

    #[test]
    fn keyed_bytes() {
        let bytes = Sgl::Keyed { address: 0x0807_0605_0403_0201, length: 0x0b0a09, key: 0x0f0e_0d0c, invalidate: true };
        assert_eq!(bytes.emit(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x4f]);
    }

    #[test]
    fn pages_touched() {
        assert_eq!((pages(0, 0), pages(0, 1), pages(0, 4096), pages(0, 4097)), (0, 1, 1, 2));
        assert_eq!((pages(4092, 4), pages(4092, 5), pages(512, 8192)), (1, 2, 3));
    }

    #[test]
    fn dsm_range_bytes() {
        let range = DsmRange::new(0x0102, 0x0304);
        assert_eq!(range.as_bytes(), [0, 0, 0, 0, 4, 3, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    }
}
