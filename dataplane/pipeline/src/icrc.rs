//! The ICRC over a frame in pieces, so that s3 and s9 can fold the payload's part into its copy
//! (InfiniBand annex A17.3.3).

use gantry_cpu::Cpu;
use gantry_wire::icrc::{MASKED_MAX, masked_prefix};

/// Bytes of the ICRC.
pub const ICRC_BYTES: usize = 4;

/// Bytes of the pseudo LRH in front of the masked headers.
const LRH: usize = 8;

/// CRC over the headers: masked up to the BTH, as they are behind it up to `payload`.
///
/// # Panics
/// When `frame[l3..]` does not hold IP, UDP and BTH: s1 has parsed them, or s9 has written them.
#[inline]
#[must_use]
pub fn headers(cpu: &Cpu, frame: &[u8], l3: usize, payload: usize) -> u32 {
    let mut masked = [0; MASKED_MAX];
    let length = masked_prefix(&frame[l3..], &mut masked).expect("headers of a RoCE packet");
    let crc = cpu.crc32(0, &masked[..length]);
    cpu.crc32(crc, &frame[l3 + length - LRH..payload])
}

/// Whether the ICRC at `icrc` of a received frame is right, nothing copied.
#[must_use]
pub fn holds(cpu: &Cpu, frame: &[u8], l3: usize, payload: usize, icrc: usize) -> bool {
    let crc = cpu.crc32(headers(cpu, frame, l3, payload), &frame[payload..icrc]);
    frame[icrc..icrc + ICRC_BYTES] == crc.to_le_bytes()
}
