//! Spans of time in nanoseconds.

pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// A deadline that never comes.
pub(crate) const NEVER_NS: u64 = u64::MAX;

/// 4.096 µs × 2^code: how CM and the transport write times (InfiniBand Architecture vol. 1 §12.7).
pub(crate) fn from_code(code: u8) -> u64 {
    4096 << code.min(31)
}
