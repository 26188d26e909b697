//! CRC-32 by the CRC32X instruction (Arm ARM, FEAT_CRC32), with or without a copy in the same pass.

use core::arch::aarch64::{__crc32b, __crc32d};

/// CRC-32 of `len` bytes at `src`, which are also stored at `dst` when `COPY`. Each byte is loaded once.
///
/// # Safety
/// The processor has FEAT_CRC32; `src` is readable and, when `COPY`, `dst` writable for `len` bytes without overlap.
#[target_feature(enable = "crc")]
pub(crate) unsafe fn crc32<const COPY: bool>(mut dst: *mut u8, mut src: *const u8, len: usize, previous: u32) -> u32 {
    let mut sum = !previous;
    let mut words = len / 8;
    let mut bytes = len % 8;
    // SAFETY: 8 * words + bytes = len, for which the caller vouches at both pointers.
    unsafe {
        let mut next = || {
            let word = src.cast::<u64>().read_unaligned();
            src = src.add(8);
            if COPY {
                dst.cast::<u64>().write_unaligned(word);
                dst = dst.add(8);
            }
            word
        };
        while words >= 4 {
            let (a, b, c, d) = (next(), next(), next(), next());
            sum = __crc32d(__crc32d(__crc32d(__crc32d(sum, a), b), c), d);
            words -= 4;
        }
        while words > 0 {
            sum = __crc32d(sum, next());
            words -= 1;
        }
        while bytes > 0 {
            let byte = src.read();
            src = src.add(1);
            if COPY {
                dst.write(byte);
                dst = dst.add(1);
            }
            sum = __crc32b(sum, byte);
            bytes -= 1;
        }
    }
    !sum
}
