//! The Rust that the compiler writes, compiled and run: beside the interpreter on the same packets and entries, and as a text.

#[path = "../interpret/build.rs"]
mod build;
mod crates;
mod dice;
mod expressions;
mod programs;
mod same;
mod snapshot;
