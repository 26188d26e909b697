//! Management interfaces of control.
//!
//! [`p4runtime`] programs the tables, counters and meters that P4 declares.

#![forbid(unsafe_code)]

pub mod p4runtime;
