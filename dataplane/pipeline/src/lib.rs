//! The pipeline: a frame walks s0 to s6 from the wire to the drive, a completion s7 to s9 back to the wire.
//!
//! | stage | takes | gives |
//! |---|---|---|
//! | [`s0_receive`] | a port | a burst of frames |
//! | [`s1_parse`] | frames | parsed packets |
//! | [`s2_classify`] | packets | RC packets with their QP; answers ARP, ND and echo; punts MADs |
//! | [`s3_transport`] | RC packets | bytes where they belong, whole capsules, fetched data |
//! | [`s4_capsule`] | capsules | commands |
//! | [`s5_command`] | commands | a decision: drive, fetch, punt or refusal; buffers reserved |
//! | [`s6_submit`] | decided commands | SQEs and one doorbell a drive |
//! | [`s7_complete`] | completion queues | responses |
//! | [`s8_respond`] | responses, timers | packets to send |
//! | [`s9_transmit`] | packets to send | frames on a port |
//!
//! [`Lcore`] is one lcore's whole state and polls the stages in that order; [`housekeeping`] is the thread
//! beside the lcores that owns the channel, transactions, drives' admin queues and keep-alive timers. Both are
//! sans-IO: the DPDK process and the simulator give them ports, drives and time. [`handover`] lets a successor go on
//! with all of it.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod budget;
pub mod command;
pub mod counters;
pub mod drive;
pub mod drive_set;
pub mod exchange;
pub mod handover;
pub mod housekeeping;
pub mod icrc;
pub mod lcore;
pub mod lending;
pub mod memory;
pub mod port;
pub mod qp;
pub mod s0_receive;
pub mod s1_parse;
pub mod s2_classify;
pub mod s3_transport;
pub mod s4_capsule;
pub mod s5_command;
pub mod s6_submit;
pub mod s7_complete;
pub mod s8_respond;
pub mod s9_transmit;
pub mod stages;
pub mod state;
pub mod tables;
pub mod ways;
pub mod wheel;

pub use lcore::Lcore;
