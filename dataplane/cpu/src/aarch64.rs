//! CRC-32 by the CRC32X instruction (Arm ARM, FEAT_CRC32), with or without a copy in the same pass.
//!
//! CRC32X takes a word and the sum before it, and a core takes longer for one than until it can begin the next. So long
//! pieces are summed as three streams that do not wait for each other, whose sums PMULL (FEAT_PMULL) joins.

use core::arch::aarch64::{__crc32b, __crc32d, __crc32h, __crc32w, vmull_p64};

use crate::polynomial::times_x;

/// Bytes from which three streams are worth joining.
const STREAMS: usize = 192;

/// The longest stream in words: three of them, and two words more, are 4096 bytes.
const LONGEST: usize = 170;

/// By words of a stream: x to the bits of two streams and of one, less 33, modulo the polynomial, reflected. PMULL's product comes
/// out one bit low and CRC32X multiplies by x^32.
static KEYS: [[u32; 2]; LONGEST + 1] = {
    let mut keys = [[0; 2]; LONGEST + 1];
    let mut two = 0x8000_0000u32;
    let mut one = two;
    let (mut two_at, mut one_at) = (0, 0);
    let mut words = 1;
    while words <= LONGEST {
        while two_at < 128 * words - 33 {
            two = times_x(two);
            two_at += 1;
        }
        while one_at < 64 * words - 33 {
            one = times_x(one);
            one_at += 1;
        }
        keys[words] = [two, one];
        words += 1;
    }
    keys
};

/// CRC-32 of `len` bytes at `src`, which are also stored at `dst` when `COPY`, continuing from `previous`. Each byte is
/// loaded once.
///
/// # Safety
/// The processor has FEAT_CRC32; `src` is readable and, when `COPY`, `dst` writable for `len` bytes without overlap.
#[target_feature(enable = "crc")]
pub(crate) unsafe fn serial<const COPY: bool>(previous: u32, dst: *mut u8, src: *const u8, len: usize) -> u32 {
    // SAFETY: the caller's promise.
    !unsafe { one::<COPY>(!previous, dst, src, len) }
}

/// As [`serial`].
///
/// # Safety
/// As there; the processor has FEAT_PMULL too.
#[target_feature(enable = "crc,aes")]
pub(crate) unsafe fn streams<const COPY: bool>(
    previous: u32,
    mut dst: *mut u8,
    mut src: *const u8,
    mut len: usize,
) -> u32 {
    let mut sum = !previous;
    while len >= STREAMS {
        let words = (len / 24).min(LONGEST);
        // SAFETY: three streams of so many words are within `len`.
        unsafe {
            sum = three::<COPY>(sum, dst, src, words);
            src = src.add(24 * words);
            if COPY {
                dst = dst.add(24 * words);
            }
        }
        len -= 24 * words;
    }
    // SAFETY: the caller's promise, less what is done.
    !unsafe { one::<COPY>(sum, dst, src, len) }
}

/// # Safety
/// As [`streams`], for three times `words` words, which are not more than [`LONGEST`].
#[inline]
#[target_feature(enable = "crc,aes")]
unsafe fn three<const COPY: bool>(sum: u32, mut dst: *mut u8, mut src: *const u8, words: usize) -> u32 {
    let stream = 8 * words;
    let (mut a, mut b, mut c) = (sum, 0, 0);
    let mut left = words;
    // SAFETY: each stream has `words` words, and they lie one behind the other.
    unsafe {
        // Two at a time, which is one load and one store for a pair of registers.
        while left >= 2 {
            let (a0, a1) = (load(src), load(src.add(8)));
            let (b0, b1) = (load(src.add(stream)), load(src.add(stream + 8)));
            let (c0, c1) = (load(src.add(2 * stream)), load(src.add(2 * stream + 8)));
            if COPY {
                store(dst, a0, a1);
                store(dst.add(stream), b0, b1);
                store(dst.add(2 * stream), c0, c1);
                dst = dst.add(16);
            }
            (a, b, c) = (__crc32d(a, a0), __crc32d(b, b0), __crc32d(c, c0));
            (a, b, c) = (__crc32d(a, a1), __crc32d(b, b1), __crc32d(c, c1));
            src = src.add(16);
            left -= 2;
        }
        if left > 0 {
            let (a0, b0, c0) = (load(src), load(src.add(stream)), load(src.add(2 * stream)));
            if COPY {
                dst.cast::<u64>().write_unaligned(a0);
                dst.add(stream).cast::<u64>().write_unaligned(b0);
                dst.add(2 * stream).cast::<u64>().write_unaligned(c0);
            }
            (a, b, c) = (__crc32d(a, a0), __crc32d(b, b0), __crc32d(c, c0));
        }
    }
    let [two, one] = KEYS[words];
    let moved = vmull_p64(a.into(), two.into()) ^ vmull_p64(b.into(), one.into());
    __crc32d(0, moved as u64) ^ c
}

/// # Safety
/// As [`serial`].
#[inline]
#[target_feature(enable = "crc")]
unsafe fn one<const COPY: bool>(mut sum: u32, mut dst: *mut u8, mut src: *const u8, mut len: usize) -> u32 {
    // SAFETY: what is taken is within `len`: words in fours and ones, then its binary digits.
    unsafe {
        while len >= 32 {
            let (a, b, c, d) = (load(src), load(src.add(8)), load(src.add(16)), load(src.add(24)));
            if COPY {
                store(dst, a, b);
                store(dst.add(16), c, d);
                dst = dst.add(32);
            }
            sum = __crc32d(__crc32d(__crc32d(__crc32d(sum, a), b), c), d);
            src = src.add(32);
            len -= 32;
        }
        macro_rules! take {
            ($kind:ty, $instruction:ident) => {{
                let word = src.cast::<$kind>().read_unaligned();
                src = src.add(size_of::<$kind>());
                if COPY {
                    dst.cast::<$kind>().write_unaligned(word);
                    dst = dst.add(size_of::<$kind>());
                }
                sum = $instruction(sum, word);
            }};
        }
        while len >= 8 {
            take!(u64, __crc32d);
            len -= 8;
        }
        if len & 4 != 0 {
            take!(u32, __crc32w);
        }
        if len & 2 != 0 {
            take!(u16, __crc32h);
        }
        if len & 1 != 0 {
            take!(u8, __crc32b);
        }
    }
    let _ = (src, dst);
    sum
}

/// CRC-32 of `len` bytes at `src`, at least 16 and a multiple of four, each with the bits set that are set in its byte of `mask`, continuing from
/// `previous`.
///
/// # Safety
/// As [`serial`] without a copy; `mask` is readable for `len` bytes too.
#[target_feature(enable = "crc")]
pub(crate) unsafe fn masked(previous: u32, src: *const u8, mask: *const u8, len: usize) -> u32 {
    let mut sum = !previous;
    let mut at = 0;
    // SAFETY: every word ends within `len`.
    unsafe {
        let word = |at: usize| load(src.add(at)) | load(mask.add(at));
        while at + 8 <= len {
            sum = __crc32d(sum, word(at));
            at += 8;
        }
        if at < len {
            sum = __crc32w(sum, (word(len - 8) >> 32) as u32);
        }
    }
    !sum
}

/// The eight bytes at `src`.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn load(src: *const u8) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { src.cast::<u64>().read_unaligned() }
}

/// Two words to the sixteen bytes at `dst`.
///
/// # Safety
/// They are writable.
#[inline(always)]
unsafe fn store(dst: *mut u8, first: u64, second: u64) {
    // SAFETY: the caller's promise.
    unsafe { dst.cast::<[u64; 2]>().write_unaligned([first, second]) }
}
