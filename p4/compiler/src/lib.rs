//! The compiler of p4/*.p4: a subset of P4_16 (1.2.4) and of the Portable NIC Architecture (0.7).
//!
//! ```text
//! source -> preprocess -> lex -> parse -> ast -> lower (names, types, constants) -> ir -> emit/*, interpret
//! ```

#![forbid(unsafe_code)]

pub mod ast;
pub mod diagnostics;
pub mod emit;
pub mod interpret;
pub mod ir;
pub mod source;
