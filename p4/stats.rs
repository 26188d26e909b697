//! The statistics segment: counters that the data plane writes and anyone may map read-only.
//!
//! It describes itself, so that a reader needs neither this crate's version nor the writer's:
//!
//! ```text
//! 0                64                       rows
//! | Preamble       | names: [CounterName]   | lcore 0: [u64; stride] | lcore 1: ... |
//! ```
//!
//! Each lcore writes its own row of little-endian `u64`s with plain stores; a sum over rows is a
//! figure that was true for no single instant but never goes back.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First word of a segment: "gantryst" in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"gantryst");

/// Layout version.
pub const VERSION: u32 = 1;

/// First bytes of the segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Preamble {
    /// [`MAGIC`], written last: a segment without it is not ready.
    pub magic: U64,
    /// [`VERSION`].
    pub version: U32,
    /// Rows: one for each lcore.
    pub lcores: U32,
    /// Counters in a row.
    pub names: U32,
    /// Offset of the first row in bytes.
    pub rows: U32,
    /// `u64`s from one row to the next.
    pub stride: U32,
    /// Process id of the writer.
    pub pid: U32,
    /// Zero.
    pub reserved: [u8; 32],
}

/// `stage.counter`, NUL-padded ASCII.
pub type CounterName = [u8; 64];

const _: () = assert!(size_of::<Preamble>() == 64);
