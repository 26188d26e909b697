//! Measures what packets and tables cost (docs/performance.md): classification, bulk loading, one update's way to all lcores; and
//! shows that transactions are seen whole. Each figure has its reference beside it, in the same run and interleaved.

#![forbid(unsafe_code)]

pub mod bulk;
pub mod by_hand;
pub mod classify;
pub mod lcore;
pub mod machine;
pub mod numbers;
pub mod swap;
pub mod swx;
pub mod traffic;
pub mod visible;
