//! CRC-32 by folding with carry-less multiplication, with or without a copy in the same pass.
//!
//! Method: V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009,
//! bit-reflected form. A sum is a block of 16 bytes that has the remainder of the message so far; it is folded forward, and
//! becomes a remainder only at the end.

mod keys;
pub(crate) mod narrow;
pub(crate) mod wide;
