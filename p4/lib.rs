//! The contract between the data plane and the control process.
//!
//! [`channel`] holds the frames the two exchange over a `SOCK_SEQPACKET` Unix socket, [`stats`] the
//! layout of the counters that the data plane shares read-only, [`packet`] and [`command`] what
//! p4/packet.p4 and p4/command.p4 say: headers, tables, keys, actions, counters and meters. Both
//! processes build against this crate and against nothing else of each other's.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod channel;
pub mod stats;

/// Every packet's way through the card: what p4/packet.p4 says.
#[allow(unused, clippy::all, clippy::pedantic)]
pub mod packet {
    include!(concat!(env!("OUT_DIR"), "/packet.rs"));
}

/// Every I/O command's way to a drive: what p4/command.p4 says.
#[allow(unused, clippy::all, clippy::pedantic)]
pub mod command {
    include!(concat!(env!("OUT_DIR"), "/command.rs"));
}

/// Both programs' P4Info, a `p4.config.v1.P4Info` as bytes (P4Runtime 1.5.0 §6): what a P4Runtime client is told.
pub static P4INFO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/p4info.bin"));
