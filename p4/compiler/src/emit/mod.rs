//! What the compiler writes: each form of output in a file of its own, all from the intermediate form.

mod annotation;
pub mod docs;
pub mod graph;
mod notation;
pub mod p4info;
pub mod rust;
pub mod swx;
