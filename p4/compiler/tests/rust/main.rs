//! The Rust that the compiler writes, compiled and run: beside the interpreter on the same packets and entries, and as a text.

#[path = "../interpret/build.rs"]
// Shared with the interpreter's tests, which use all of it.
#[allow(dead_code)]
mod build;
mod crates;
mod dice;
mod expressions;
mod programs;
mod same;
mod snapshot;
