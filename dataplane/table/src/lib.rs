//! Match-action tables, counters and meters: many lcores read, one thread writes.
//!
//! The data plane's lcores look up what the housekeeping thread fills (P4_16 §14.2). A table is shared memory of atomics: no
//! lock, no copy, no allocation after construction on the readers' side.
//!
//! - [`Writer`] numbers states of all its tables with [`Generation`]s. Changes are staged in any number of tables for the next
//!   generation and become visible with one store, or are rolled back. Every entry carries the generations of its birth and
//!   death; an lcore that has entered generation g sees an entry if birth ≤ g < death.
//! - [`Lcore`] is a reader's seat. [`Lcore::enter`] at the beginning of a burst tells which generation to look up in, and tells
//!   the writer which entries may still be seen. What nobody can see any more is used again.
//! - [`ExactTable`], [`LpmTable`], [`TernaryTable`] (range and optional keys too) and [`Versioned`] (default actions) are what
//!   the generations apply to.
//! - [`Counters`], [`Meters`] and [`Idle`] are not under generations: they belong to an entry by its [`EntryIndex`], which a
//!   modification keeps, or to an index of their own.
//! - [`linear`] says the same in the plainest way; tests hold the tables to it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

/// What lcores and the writer share. `tests/model` compiles the files of this crate with a model of these.
mod atomic {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}
mod counters;
mod error;
mod exact;
mod generation;
mod hashed;
mod idle;
pub mod linear;
mod lpm;
mod meters;
mod readers;
mod sequence;
mod slots;
mod stamp;
mod ternary;
mod versioned;
mod versions;
mod words;
mod writer;

pub use counters::{CounterBank, CounterValue, Counters};
pub use error::StageError;
pub use exact::ExactTable;
pub use generation::Generation;
pub use idle::Idle;
pub use lpm::{LpmTable, Prefix};
pub use meters::{Color, MeterConfig, Meters};
pub use readers::Lcore;
pub use slots::{EntryIndex, Line};
pub use ternary::{Match, RangeField, TernaryKey, TernaryTable};
pub use versioned::Versioned;
pub use words::mix;
pub use words::{WordArray, Words};
pub use writer::{Savepoint, Writer};
