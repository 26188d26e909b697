//! CRC-32 by folding with carry-less multiplication, with or without a copy in the same pass.
//!
//! Method: V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009,
//! bit-reflected form. The constants are powers of x modulo the polynomial and are computed here.

use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_clmulepi64_si128, _mm_cvtsi32_si128, _mm_extract_epi32, _mm_loadu_si128, _mm_set_epi32,
    _mm_set_epi64x, _mm_shuffle_epi8, _mm_srli_si128, _mm_storeu_si128, _mm_xor_si128,
};

/// The polynomial of CRC-32, bit-reflected, without its x^32.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// x^n modulo the polynomial, reflected, one bit up: products of reflected operands come out one bit low.
const fn power(n: u32) -> i64 {
    let mut value = 0x8000_0000u32;
    let mut i = 0;
    while i < n {
        value = value >> 1 ^ if value & 1 != 0 { POLYNOMIAL } else { 0 };
        i += 1;
    }
    (value as i64) << 1
}

/// The quotient of x^64 by the polynomial (Barrett's mu), reflected in 33 bits.
const fn quotient() -> i64 {
    // Long division in the plain bit order, then reflected.
    let divisor = (POLYNOMIAL.reverse_bits() as u128) | 1 << 32;
    let mut rest = 1u128 << 64;
    let mut quotient = 0u64;
    let mut bit = 33;
    while bit > 0 {
        bit -= 1;
        if rest >> (bit + 32) & 1 != 0 {
            rest ^= divisor << bit;
            quotient |= 1 << bit;
        }
    }
    (quotient.reverse_bits() >> 31) as i64
}

const FOLD_64_BYTES: (i64, i64) = (power(4 * 128 + 32), power(4 * 128 - 32));
const FOLD_16_BYTES: (i64, i64) = (power(128 + 32), power(128 - 32));
const FOLD_8_BYTES: i64 = power(64);
const BARRETT: (i64, i64) = ((POLYNOMIAL as i64) << 1 | 1, quotient());

// The paper's own values for this polynomial.
const _: () = assert!(FOLD_64_BYTES.0 == 0x1_5444_2bd4 && FOLD_64_BYTES.1 == 0x1_c6e4_1596);
const _: () = assert!(FOLD_16_BYTES.0 == 0x1_7519_97d0 && FOLD_16_BYTES.1 == 0x0_ccaa_009e);
const _: () = assert!(FOLD_8_BYTES == 0x1_63cd_6124);
const _: () = assert!(BARRETT.0 == 0x1_db71_0641 && BARRETT.1 == 0x1_f701_1641);

/// Shuffle controls: 16 bytes from `SLIDE[n..]` move a register's first n bytes to its end, the rest zero; from
/// `SLIDE[n + 16..]` they move bytes n.. to its start, the rest zero.
static SLIDE: [u8; 48] = {
    let mut slide = [0x80u8; 48];
    let mut i = 0;
    while i < 16 {
        slide[16 + i] = i as u8;
        i += 1;
    }
    slide
};

/// CRC-32 of `len` bytes at `src`, which are also stored at `dst` when `COPY`. Each byte is loaded once.
///
/// # Safety
/// The processor has PCLMULQDQ, SSSE3 and SSE4.1; `src` is readable and, when `COPY`, `dst` writable for `len` bytes
/// without overlap.
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
pub(crate) unsafe fn crc32<const COPY: bool>(mut dst: *mut u8, mut src: *const u8, len: usize, previous: u32) -> u32 {
    let mut rest = len;
    // SAFETY: every load and store below is within `rest` bytes of pointers that advance together, or in local arrays.
    unsafe {
        if len < 16 {
            return short::<COPY>(dst, src, len, previous);
        }
        let mut next = || {
            let block = _mm_loadu_si128(src.cast());
            src = src.add(16);
            if COPY {
                _mm_storeu_si128(dst.cast(), block);
                dst = dst.add(16);
            }
            rest -= 16;
            block
        };
        let start = _mm_cvtsi32_si128(!previous as i32);
        let by_16 = _mm_set_epi64x(FOLD_16_BYTES.1, FOLD_16_BYTES.0);
        let mut sum = _mm_xor_si128(start, next());
        let mut blocks = len / 16 - 1;
        if blocks >= 3 {
            let by_64 = _mm_set_epi64x(FOLD_64_BYTES.1, FOLD_64_BYTES.0);
            let (mut a, mut b, mut c, mut d) = (sum, next(), next(), next());
            blocks -= 3;
            while blocks >= 4 {
                a = fold(a, by_64, next());
                b = fold(b, by_64, next());
                c = fold(c, by_64, next());
                d = fold(d, by_64, next());
                blocks -= 4;
            }
            sum = fold(fold(fold(a, by_16, b), by_16, c), by_16, d);
        }
        while blocks > 0 {
            sum = fold(sum, by_16, next());
            blocks -= 1;
        }
        if rest > 0 {
            // Slide the sum so that the last `rest` bytes end a full block.
            let mut last = [0u8; 16];
            copy_small(last.as_mut_ptr().add(16 - rest), src, rest);
            if COPY {
                copy_small(dst, last.as_ptr().add(16 - rest), rest);
            }
            let head = _mm_shuffle_epi8(sum, _mm_loadu_si128(SLIDE.as_ptr().add(rest).cast()));
            let tail = _mm_shuffle_epi8(sum, _mm_loadu_si128(SLIDE.as_ptr().add(rest + 16).cast()));
            sum = fold(head, by_16, _mm_xor_si128(tail, _mm_loadu_si128(last.as_ptr().cast())));
        }
        !reduce(sum)
    }
}

/// Fewer than 16 bytes: leading zeros before a sum that has its start in it change nothing.
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
unsafe fn short<const COPY: bool>(dst: *mut u8, src: *const u8, len: usize, previous: u32) -> u32 {
    let mut last = [0u8; 16];
    // SAFETY: len < 16, for which the caller vouches at both pointers.
    unsafe {
        copy_small(last.as_mut_ptr().add(16 - len), src, len);
        if COPY {
            copy_small(dst, last.as_ptr().add(16 - len), len);
        }
    }
    if len < 4 {
        let mut sum = !previous;
        for &byte in &last[16 - len..] {
            sum ^= u32::from(byte);
            for _ in 0..8 {
                sum = sum >> 1 ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
            }
        }
        return !sum;
    }
    let block = u128::from_le_bytes(last) ^ u128::from(!previous) << (8 * (16 - len));
    !reduce(_mm_set_epi64x((block >> 64) as i64, block as i64))
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

/// Moves `sum` over the distance of `keys` and adds `block`.
#[inline]
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
fn fold(sum: __m128i, keys: __m128i, block: __m128i) -> __m128i {
    let low = _mm_clmulepi64_si128::<0x00>(sum, keys);
    let high = _mm_clmulepi64_si128::<0x11>(sum, keys);
    _mm_xor_si128(_mm_xor_si128(low, high), block)
}

/// 128 bits of sum to the 32 of the remainder.
#[inline]
#[target_feature(enable = "pclmulqdq,ssse3,sse4.1")]
fn reduce(sum: __m128i) -> u32 {
    let low_32 = _mm_set_epi32(0, 0, 0, -1);
    let by_16 = _mm_set_epi64x(FOLD_16_BYTES.1, FOLD_16_BYTES.0);
    let sum = _mm_xor_si128(_mm_clmulepi64_si128::<0x10>(sum, by_16), _mm_srli_si128::<8>(sum));
    let by_8 = _mm_set_epi64x(0, FOLD_8_BYTES);
    let sum = _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(_mm_and_si128(sum, low_32), by_8), _mm_srli_si128::<4>(sum));
    let barrett = _mm_set_epi64x(BARRETT.1, BARRETT.0);
    let t = _mm_clmulepi64_si128::<0x10>(_mm_and_si128(sum, low_32), barrett);
    let t = _mm_clmulepi64_si128::<0x00>(_mm_and_si128(t, low_32), barrett);
    _mm_extract_epi32::<1>(_mm_xor_si128(sum, t)) as u32
}
