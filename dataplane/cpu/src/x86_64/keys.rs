//! What sums are multiplied with to move over a distance, and to become a remainder.

use crate::polynomial::{POLYNOMIAL, times_x};

/// x^n modulo the polynomial, one bit up: products of reflected operands come out one bit low.
const fn power(n: u32) -> i64 {
    let mut value = 0x8000_0000u32;
    let mut i = 0;
    while i < n {
        value = times_x(value);
        i += 1;
    }
    (value as i64) << 1
}

/// Moves a sum over `bytes` of message: what its first and its last eight bytes are multiplied with.
pub(super) const fn over(bytes: u32) -> [i64; 2] {
    [power(8 * bytes + 32), power(8 * bytes - 32)]
}

pub(super) const OVER_256: [i64; 2] = over(256);
pub(super) const OVER_64: [i64; 2] = over(64);
pub(super) const OVER_16: [i64; 2] = over(16);

/// For the last step, Barrett's: the quotient of x^96 by the polynomial, and the polynomial.
pub(super) const BARRETT: [i64; 2] = [quotient(), (POLYNOMIAL as i64) << 1 | 1];

/// x^-32, one bit up: takes a remainder back to a sum.
pub(super) const BACK: i64 = {
    let mut value = 0x8000_0000u32;
    let mut i = 0;
    while i < 32 {
        // The step of a multiplication by x, undone: it sets the highest bit when it has lost the lowest.
        value = if value >> 31 != 0 { (value ^ POLYNOMIAL) << 1 | 1 } else { value << 1 };
        i += 1;
    }
    (value as i64) << 1
};

/// The coefficients of x^64 to x^1 in the quotient of x^96 by the polynomial, reflected. The last one, of x^0, has no say in
/// what is looked at of a product.
const fn quotient() -> i64 {
    // Long division in the plain bit order, then reflected.
    let divisor = (POLYNOMIAL.reverse_bits() as u128) | 1 << 32;
    let mut rest = 1u128 << 96;
    let mut quotient = 0u128;
    let mut bit = 65;
    while bit > 0 {
        bit -= 1;
        if rest >> (bit + 32) & 1 != 0 {
            rest ^= divisor << bit;
            quotient |= 1 << bit;
        }
    }
    ((quotient >> 1) as u64).reverse_bits() as i64
}

// Values that the paper, and implementations after it, have for this polynomial.
const _: () = assert!(OVER_256[0] == 0x1_1542_778a && OVER_256[1] == 0x1_322d_1430);
const _: () = assert!(OVER_64[0] == 0x1_5444_2bd4 && OVER_64[1] == 0x1_c6e4_1596);
const _: () = assert!(OVER_16[0] == 0x1_7519_97d0 && OVER_16[1] == 0x0_ccaa_009e);
const _: () = assert!(power(64) == 0x1_63cd_6124);
const _: () = assert!(BARRETT[1] == 0x1_db71_0641 && BARRETT[0] & 0x1_ffff_ffff == 0x1_f701_1641);
