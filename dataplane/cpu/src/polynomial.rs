//! The polynomial of CRC-32, of whose powers of x the engines' constants are made.
//!
//! Everything is bit-reflected: bit 0 of a byte is its highest coefficient (IBTA Vol 1 §7.8.1, as in Ethernet).

/// The polynomial of CRC-32, bit-reflected, without its x^32.
pub(crate) const POLYNOMIAL: u32 = 0xedb8_8320;

/// `value` times x, modulo the polynomial. x^0 is 0x8000_0000.
pub(crate) const fn times_x(value: u32) -> u32 {
    value >> 1 ^ (POLYNOMIAL & (value & 1).wrapping_neg())
}
