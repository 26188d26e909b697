//! 512-bit registers (VPCLMULQDQ, AVX-512): 256 bytes a step. What is shorter stays in 128-bit ones, in AVX's encoding.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m512i, _mm_xor_si128, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_xor_si256,
    _mm512_castsi512_si256, _mm512_clmulepi64_epi128, _mm512_extracti64x4_epi64, _mm512_loadu_si512,
    _mm512_maskz_mov_epi64, _mm512_set_epi64, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512,
    _mm512_zextsi128_si512,
};

use super::keys::{OVER_16, OVER_64, OVER_256, over};
use super::narrow::{self, ahead, bits, from_bits, masked_blocks, reduce};

/// Bytes from which 512-bit registers are worth it.
const WIDE: usize = 256;

/// As [`narrow::update`].
///
/// # Safety
/// As there; the processor has VPCLMULQDQ and AVX-512 F, BW and VL, and the operating system keeps their registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq")]
pub(crate) unsafe fn update<const COPY: bool>(sum: u128, dst: *mut u8, src: *const u8, len: usize) -> u128 {
    let sum = from_bits(sum);
    // SAFETY: the caller's promise.
    bits(unsafe {
        match len {
            WIDE.. => blocks::<COPY>(ahead(sum), dst, src, len),
            64.. => narrow::blocks::<COPY>(ahead(sum), dst, src, len),
            _ => narrow::rest::<COPY>(sum, dst, src, len),
        }
    })
}

/// As [`narrow::masked`].
///
/// # Safety
/// As there, and as [`update`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq")]
pub(crate) unsafe fn masked(previous: u32, src: *const u8, mask: *const u8, len: usize) -> u128 {
    // SAFETY: the caller's promise.
    bits(unsafe { masked_blocks(previous, src, mask, len) })
}

/// As [`narrow::finish`].
///
/// # Safety
/// The processor has what [`update`] needs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq")]
pub(crate) unsafe fn finish(sum: u128) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { reduce(from_bits(sum)) }
}

/// As [`narrow::blocks`] for at least 256 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq")]
unsafe fn blocks<const COPY: bool>(start: __m128i, mut dst: *mut u8, mut src: *const u8, len: usize) -> __m128i {
    let mut left = len;
    // SAFETY: 64 bytes are taken four times for each 256 that are left, then once for each 64.
    unsafe {
        let mut next = || {
            let mut block = _mm512_loadu_si512(src.cast());
            src = src.add(64);
            if COPY {
                // As in narrow: loaded once.
                asm!("/* {} */", inout(zmm_reg) block, options(nomem, nostack, preserves_flags));
                _mm512_storeu_si512(dst.cast(), block);
                dst = dst.add(64);
            }
            block
        };
        let over_256 = four([OVER_256; 4]);
        let over_64 = four([OVER_64; 4]);
        let mut a = _mm512_xor_si512(_mm512_zextsi128_si512(start), next());
        let (mut b, mut c, mut d) = (next(), next(), next());
        left -= 256;
        while left >= 256 {
            let (e, f, g, h) = (next(), next(), next(), next());
            a = fold(a, over_256, e);
            b = fold(b, over_256, f);
            c = fold(c, over_256, g);
            d = fold(d, over_256, h);
            left -= 256;
        }
        // Side by side, not one through the other.
        let mut sum = fold(a, four([const { over(192) }; 4]), d);
        sum = fold(b, four([const { over(128) }; 4]), sum);
        sum = fold(c, over_64, sum);
        while left >= 64 {
            sum = fold(sum, over_64, next());
            left -= 64;
        }
        narrow::rest::<COPY>(join(sum), dst, src, left)
    }
}

/// Moves each part of `sum` over the distance of `keys` and adds `block`.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn fold(sum: __m512i, keys: __m512i, block: __m512i) -> __m512i {
    let first = _mm512_clmulepi64_epi128::<0x00>(sum, keys);
    let last = _mm512_clmulepi64_epi128::<0x11>(sum, keys);
    // The exclusive or of all three.
    _mm512_ternarylogic_epi64::<0x96>(first, last, block)
}

/// The four parts of a sum as one: each is moved to the last.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn join(sum: __m512i) -> __m128i {
    let keys = four([const { over(48) }, const { over(32) }, OVER_16, [0; 2]]);
    let first = _mm512_clmulepi64_epi128::<0x00>(sum, keys);
    let last = _mm512_clmulepi64_epi128::<0x11>(sum, keys);
    let parts = _mm512_ternarylogic_epi64::<0x96>(first, last, _mm512_maskz_mov_epi64(0b1100_0000, sum));
    let half = _mm256_xor_si256(_mm512_castsi512_si256(parts), _mm512_extracti64x4_epi64::<1>(parts));
    _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

/// Keys for the four parts of a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn four([a, b, c, d]: [[i64; 2]; 4]) -> __m512i {
    _mm512_set_epi64(d[1], d[0], c[1], c[0], b[1], b[0], a[1], a[0])
}
