//! The ICRC over a frame in pieces, so that s3 and s9 can fold the payload's part into its copy
//! (InfiniBand annex A17.3.3).

use gantry_cpu::{Cpu, Crc32};
use gantry_wire::icrc::{START, mask};

/// Bytes of the ICRC.
pub const ICRC_BYTES: usize = 4;

/// The CRC over the headers: masked up to the BTH, as they are behind it up to `payload`. Whoever goes on over payload and
/// pad carries it along and finishes it once.
///
/// # Panics
/// When `frame[l3..payload]` is no IP, UDP and BTH: s1 has parsed them, or s9 has written them.
#[inline]
pub fn begin(cpu: &Cpu, frame: &[u8], l3: usize, payload: usize) -> Crc32 {
    let headers = &frame[l3..payload];
    let mask = mask(headers[0]).expect("headers of a RoCE packet");
    Crc32::masked(cpu, START, headers, mask)
}

/// Whether the ICRC at `icrc` of a received frame is right, nothing copied.
#[must_use]
pub fn holds(cpu: &Cpu, frame: &[u8], l3: usize, payload: usize, icrc: usize) -> bool {
    let crc = begin(cpu, frame, l3, payload).update(cpu, &frame[payload..icrc]).finish(cpu);
    frame[icrc..icrc + ICRC_BYTES] == crc.to_le_bytes()
}
