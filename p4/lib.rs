//! The contract between the data plane and the control process.
//!
//! [`channel`] holds the frames the two exchange over a `SOCK_SEQPACKET` Unix socket, [`stats`] the
//! layout of the counters that the data plane shares read-only. Both processes build against this
//! crate and against nothing else of each other's.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod channel;
pub mod stats;
