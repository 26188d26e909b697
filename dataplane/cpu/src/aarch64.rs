//! CRC-32 by the CRC32X instruction (Arm ARM, FEAT_CRC32), with or without a copy in the same pass.
//!
//! CRC32X takes a word and the sum before it, and a core takes longer for one than until it can begin the next. So long
//! pieces are summed as three streams that do not wait for each other, whose sums PMULL (FEAT_PMULL) joins.

use core::arch::aarch64::{__crc32b, __crc32d, __crc32h, __crc32w, vmull_p64};
use core::arch::asm;

use crate::polynomial::times_x;

/// Bytes from which three streams are worth joining.
const STREAMS: usize = 192;

/// The longest stream in pairs of words: three of them, and a pair more, are 4096 bytes.
const LONGEST: usize = 85;

/// By pairs of words of a stream: x to the bits of two streams and of one, less 33, modulo the polynomial, reflected. PMULL's
/// product comes out one bit low and CRC32X multiplies by x^32.
static KEYS: [[u32; 2]; LONGEST + 1] = {
    let mut keys = [[0; 2]; LONGEST + 1];
    let mut two = 0x8000_0000u32;
    let mut one = two;
    let (mut two_at, mut one_at) = (0, 0);
    let mut pairs = 1;
    while pairs <= LONGEST {
        while two_at < 256 * pairs - 33 {
            two = times_x(two);
            two_at += 1;
        }
        while one_at < 128 * pairs - 33 {
            one = times_x(one);
            one_at += 1;
        }
        keys[pairs] = [two, one];
        pairs += 1;
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
        let pairs = (len / 48).min(LONGEST);
        // SAFETY: three streams of so many pairs are within `len`.
        unsafe {
            sum = three::<COPY>(sum, dst, src, pairs);
            src = src.add(48 * pairs);
            if COPY {
                dst = dst.add(48 * pairs);
            }
        }
        len -= 48 * pairs;
    }
    // SAFETY: the caller's promise, less what is done.
    !unsafe { one::<COPY>(sum, dst, src, len) }
}

/// # Safety
/// As [`streams`], for three times `pairs` pairs of words, which are not more than [`LONGEST`].
#[inline]
#[target_feature(enable = "crc,aes")]
unsafe fn three<const COPY: bool>(sum: u32, dst: *mut u8, src: *const u8, pairs: usize) -> u32 {
    let stream = 16 * pairs;
    let (mut a, mut b, mut c) = (sum, 0, 0);
    // SAFETY: each stream has `pairs` pairs, and they lie one behind the other.
    unsafe {
        let (mut src_a, mut src_b, mut src_c) = (src, src.add(stream), src.add(2 * stream));
        let at = |distance| if COPY { dst.add(distance) } else { dst };
        let (mut dst_a, mut dst_b, mut dst_c) = (at(0), at(stream), at(2 * stream));
        for _ in 0..pairs {
            let (a0, a1) = take::<COPY>(&mut dst_a, &mut src_a);
            let (b0, b1) = take::<COPY>(&mut dst_b, &mut src_b);
            let (c0, c1) = take::<COPY>(&mut dst_c, &mut src_c);
            (a, b, c) = (__crc32d(a, a0), __crc32d(b, b0), __crc32d(c, c0));
            (a, b, c) = (__crc32d(a, a1), __crc32d(b, b1), __crc32d(c, c1));
        }
    }
    let [two, one] = KEYS[pairs];
    let moved = vmull_p64(a.into(), two.into()) ^ vmull_p64(b.into(), one.into());
    __crc32d(0, moved as u64) ^ c
}

/// # Safety
/// As [`serial`].
#[inline]
#[target_feature(enable = "crc")]
unsafe fn one<const COPY: bool>(mut sum: u32, mut dst: *mut u8, mut src: *const u8, mut len: usize) -> u32 {
    // SAFETY: what is taken is within `len`: pairs of words, then its binary digits.
    unsafe {
        while len >= 16 {
            let (first, second) = take::<COPY>(&mut dst, &mut src);
            sum = __crc32d(__crc32d(sum, first), second);
            len -= 16;
        }
        macro_rules! last {
            ($kind:ty, $instruction:ident) => {
                if len & size_of::<$kind>() != 0 {
                    let mut word = src.cast::<$kind>().read_unaligned();
                    src = src.add(size_of::<$kind>());
                    if COPY {
                        // What is stored is what is summed: the compiler may not go back to the source.
                        asm!("/* {0:x} */", inout(reg) word, options(nomem, nostack, preserves_flags));
                        dst.cast::<$kind>().write_unaligned(word);
                        dst = dst.add(size_of::<$kind>());
                    }
                    sum = $instruction(sum, word);
                }
            };
        }
        last!(u64, __crc32d);
        last!(u32, __crc32w);
        last!(u16, __crc32h);
        last!(u8, __crc32b);
    }
    let _ = (src, dst);
    sum
}

/// The next two words, stored when `COPY`. By their instructions: a compiler may load twice what is used twice, and a device
/// may have changed it meanwhile.
///
/// # Safety
/// The caller has 16 bytes left.
#[inline(always)]
unsafe fn take<const COPY: bool>(dst: &mut *mut u8, src: &mut *const u8) -> (u64, u64) {
    let (first, second): (u64, u64);
    // SAFETY: loads and stores of the 16 bytes that the caller vouches for; an address is no other operand's register.
    unsafe {
        asm!("ldp {}, {}, [{}], #16", out(reg) first, out(reg) second, inout(reg) *src,
            options(readonly, nostack, preserves_flags));
        if COPY {
            asm!("stp {}, {}, [{}], #16", in(reg) first, in(reg) second, inout(reg) *dst,
                options(nostack, preserves_flags));
        }
    }
    (first, second)
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
        let word = |at: usize| {
            let load = |from: *const u8| from.add(at).cast::<u64>().read_unaligned();
            load(src) | load(mask)
        };
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
