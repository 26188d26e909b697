//! 128-bit registers (PCLMULQDQ): 64 bytes a step, and what is too short for more.
//!
//! What names no features here is always inlined into a function that does, and takes on that one's encoding.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_cvtsi32_si128, _mm_extract_epi32, _mm_loadu_si128, _mm_or_si128, _mm_set_epi64x,
    _mm_setzero_si128, _mm_shuffle_epi8, _mm_slli_si128, _mm_srli_si128, _mm_storeu_si128, _mm_xor_si128,
};

use super::keys::{BACK, BARRETT, OVER_16, OVER_64};

/// Shuffle controls: 16 bytes from `SLIDE[n..]` move a register's first n bytes to its end, the rest zero; from
/// `SLIDE[n + 16..]` they move bytes n.. to its start, the rest zero.
pub(super) static SLIDE: [u8; 48] = {
    let mut slide = [0x80u8; 48];
    let mut i = 0;
    while i < 16 {
        slide[16 + i] = i as u8;
        i += 1;
    }
    slide
};

/// Bytes from which four registers are folded side by side.
const FOUR: usize = 64;

/// The sum of `sum` and, behind it, `len` bytes at `src`, which are also stored at `dst` when `COPY`. Each byte is loaded
/// once.
///
/// # Safety
/// The processor has PCLMULQDQ, SSSE3 and SSE4.1; `src` is readable and, when `COPY`, `dst` writable for `len` bytes
/// without overlap.
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
pub(crate) unsafe fn update<const COPY: bool>(sum: u128, dst: *mut u8, src: *const u8, len: usize) -> u128 {
    let sum = from_bits(sum);
    // SAFETY: the caller's promise.
    bits(unsafe {
        if len < FOUR { rest::<COPY>(sum, dst, src, len) } else { blocks::<COPY>(ahead(sum), dst, src, len) }
    })
}

/// The sum of `len` bytes at `src`, at least 16 and a multiple of four, each with the bits set that are set in its byte of `mask`, continuing from
/// `previous`.
///
/// # Safety
/// As [`update`] without a copy; `mask` is readable for `len` bytes too.
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
pub(crate) unsafe fn masked(previous: u32, src: *const u8, mask: *const u8, len: usize) -> u128 {
    // SAFETY: the caller's promise.
    bits(unsafe { masked_blocks(previous, src, mask, len) })
}

/// The sum that stands for a CRC-32.
///
/// # Safety
/// The processor has PCLMULQDQ, SSSE3 and SSE4.1.
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
pub(crate) unsafe fn start(previous: u32) -> u128 {
    // SAFETY: the caller's promise.
    bits(unsafe { lift(previous) })
}

/// The CRC-32 that a sum stands for.
///
/// # Safety
/// The processor has PCLMULQDQ, SSSE3 and SSE4.1.
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
pub(crate) unsafe fn finish(sum: u128) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { reduce(from_bits(sum)) }
}

/// As [`masked`]: the odd bytes come first, as a block with zeros before them, which change nothing.
#[inline(always)]
pub(super) unsafe fn masked_blocks(previous: u32, src: *const u8, mask: *const u8, len: usize) -> __m128i {
    debug_assert!(len >= 16 && len.is_multiple_of(4));
    // Four at least, as many as `previous` has.
    let first = (len - 1) % 16 + 1;
    // SAFETY: len is at least 16, and every load below ends where a block of 16 ends that `len` has.
    unsafe {
        let load = |at: usize| _mm_or_si128(_mm_loadu_si128(src.add(at).cast()), _mm_loadu_si128(mask.add(at).cast()));
        let start = _mm_xor_si128(load(0), _mm_cvtsi32_si128(!previous as i32));
        let mut sum = _mm_shuffle_epi8(start, _mm_loadu_si128(SLIDE.as_ptr().add(first).cast()));
        let mut at = first;
        while at < len {
            sum = fold(sum, pair(OVER_16), load(at));
            at += 16;
        }
        sum
    }
}

/// As [`update`] for at least 64 bytes; `start` is added to the first 16.
#[inline(always)]
pub(super) unsafe fn blocks<const COPY: bool>(
    start: __m128i,
    mut dst: *mut u8,
    mut src: *const u8,
    len: usize,
) -> __m128i {
    let mut left = len;
    // SAFETY: 16 bytes are taken four times for each 64 that are left.
    unsafe {
        let mut next = || take::<COPY>(&mut dst, &mut src);
        let (over_64, over_16) = (pair(OVER_64), pair(OVER_16));
        let (mut a, mut b, mut c, mut d) = (_mm_xor_si128(start, next()), next(), next(), next());
        left -= 64;
        while left >= 64 {
            a = fold(a, over_64, next());
            b = fold(b, over_64, next());
            c = fold(c, over_64, next());
            d = fold(d, over_64, next());
            left -= 64;
        }
        let sum = fold(fold(fold(a, over_16, b), over_16, c), over_16, d);
        rest::<COPY>(sum, dst, src, left)
    }
}

/// As [`update`], 16 bytes at a time.
#[inline(always)]
pub(super) unsafe fn rest<const COPY: bool>(
    mut sum: __m128i,
    mut dst: *mut u8,
    mut src: *const u8,
    mut left: usize,
) -> __m128i {
    // SAFETY: whole blocks are taken while there are any, then what is left of them.
    unsafe {
        while left >= 16 {
            sum = fold(sum, pair(OVER_16), take::<COPY>(&mut dst, &mut src));
            left -= 16;
        }
        if left > 0 { odd::<COPY>(sum, dst, src, left) } else { sum }
    }
}

/// As [`update`], fewer than 16 bytes: slides the sum so that they end a block.
#[cold]
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
unsafe fn odd<const COPY: bool>(sum: __m128i, dst: *mut u8, src: *const u8, len: usize) -> __m128i {
    debug_assert!(len < 16);
    let mut last = [0u8; 16];
    // SAFETY: len < 16, for which the caller vouches at both pointers.
    unsafe {
        copy_small(last.as_mut_ptr().add(16 - len), src, len);
        if COPY {
            copy_small(dst, last.as_ptr().add(16 - len), len);
        }
        let head = _mm_shuffle_epi8(sum, _mm_loadu_si128(SLIDE.as_ptr().add(len).cast()));
        let tail = _mm_shuffle_epi8(sum, _mm_loadu_si128(SLIDE.as_ptr().add(len + 16).cast()));
        fold(head, pair(OVER_16), _mm_xor_si128(tail, _mm_loadu_si128(last.as_ptr().cast())))
    }
}

/// The next 16 bytes, stored when `COPY`.
#[inline(always)]
unsafe fn take<const COPY: bool>(dst: &mut *mut u8, src: &mut *const u8) -> __m128i {
    // SAFETY: the caller has 16 bytes left.
    unsafe {
        let mut block = _mm_loadu_si128(src.cast());
        *src = src.add(16);
        if COPY {
            // What is stored is what is summed: a compiler may load twice what is used twice, but not through this.
            asm!("/* {} */", inout(xmm_reg) block, options(nomem, nostack, preserves_flags));
            _mm_storeu_si128(dst.cast(), block);
            *dst = dst.add(16);
        }
        block
    }
}

/// Copies fewer than 16 bytes without a call.
#[inline(always)]
unsafe fn copy_small(mut dst: *mut u8, mut src: *const u8, len: usize) {
    // SAFETY: the pieces are the binary digits of `len`, so they add up to it.
    unsafe {
        if len & 8 != 0 {
            dst.cast::<u64>().write_unaligned(src.cast::<u64>().read_unaligned());
            (dst, src) = (dst.add(8), src.add(8));
        }
        if len & 4 != 0 {
            dst.cast::<u32>().write_unaligned(src.cast::<u32>().read_unaligned());
            (dst, src) = (dst.add(4), src.add(4));
        }
        if len & 2 != 0 {
            dst.cast::<u16>().write_unaligned(src.cast::<u16>().read_unaligned());
            (dst, src) = (dst.add(2), src.add(2));
        }
        if len & 1 != 0 {
            dst.write(src.read());
        }
    }
    // What is summed is what was read: the compiler may not go back to the source.
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

#[inline(always)]
fn pair(keys: [i64; 2]) -> __m128i {
    // SAFETY: SSE2 is in the baseline of x86-64.
    unsafe { _mm_set_epi64x(keys[1], keys[0]) }
}

/// Moves `sum` over the distance of `keys` and adds `block`.
#[inline(always)]
unsafe fn fold(sum: __m128i, keys: __m128i, block: __m128i) -> __m128i {
    // SAFETY: the caller's processor has PCLMULQDQ.
    unsafe {
        let first = _mm_clmulepi64_si128::<0x00>(sum, keys);
        let last = _mm_clmulepi64_si128::<0x11>(sum, keys);
        _mm_xor_si128(_mm_xor_si128(first, last), block)
    }
}

/// What a sum adds to the block behind it.
#[inline(always)]
pub(super) unsafe fn ahead(sum: __m128i) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe { fold(sum, pair(OVER_16), _mm_setzero_si128()) }
}

/// The sum that stands for a CRC-32.
#[inline(always)]
pub(super) unsafe fn lift(previous: u32) -> __m128i {
    // SAFETY: the caller's processor has PCLMULQDQ.
    unsafe {
        let product = _mm_clmulepi64_si128::<0x00>(_mm_cvtsi32_si128(!previous as i32), pair([BACK, 0]));
        _mm_slli_si128::<8>(product)
    }
}

/// The CRC-32 that a sum stands for: 128 bits to 96, to the 32 of the remainder.
#[inline(always)]
pub(super) unsafe fn reduce(sum: __m128i) -> u32 {
    // SAFETY: the caller's processor has PCLMULQDQ and SSE4.1.
    unsafe {
        let sum = _mm_xor_si128(_mm_clmulepi64_si128::<0x10>(sum, pair(OVER_16)), _mm_srli_si128::<8>(sum));
        let quotient = _mm_clmulepi64_si128::<0x00>(sum, pair(BARRETT));
        let multiple = _mm_clmulepi64_si128::<0x10>(quotient, pair(BARRETT));
        !(_mm_extract_epi32::<2>(_mm_xor_si128(sum, multiple)) as u32)
    }
}

/// A sum as it is handed about.
#[inline(always)]
pub(super) fn bits(sum: __m128i) -> u128 {
    // SAFETY: both are 16 bytes of which any will do.
    unsafe { core::mem::transmute(sum) }
}

#[inline(always)]
pub(super) fn from_bits(sum: u128) -> __m128i {
    // SAFETY: as in bits.
    unsafe { core::mem::transmute(sum) }
}
