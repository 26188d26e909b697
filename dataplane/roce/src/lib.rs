//! RoCE v2 reliable connection, sans-IO (InfiniBand Architecture 1.5 vol. 1 §9.7, annex A17).
//!
//! A [`Qp`] is told of packets and of time and says what they mean and what to send; it never touches a
//! payload. The pipeline's s3 asks [`Qp::plan`] where a packet's bytes belong, copies and checks them in one
//! pass, then [`Qp::commit`]s; s8 takes packets from [`Qp::poll_transmit`].
//!
//! | file | what |
//! |---|---|
//! | `qp.rs` | a queue pair: the roles below put together |
//! | `plan.rs` | what a received packet is, and what it led to |
//! | `memory.rs` | what a peer may reach |
//! | `responder.rs` | requests that come in: order, permission, ACK, NAK, READ data |
//! | `requester.rs` | work that goes out: segments, window, go-back-N |
//! | `reading.rs` | READs in flight: whose a response is, what was lost |
//! | `completer.rs` | ACKs and READ responses that come in for that work |
//! | `timer.rs` | retransmission timeout, exhaustion, RNR delay |
//! | `work.rs` | the arena of work requests that the queue pairs of an lcore share |
//! | `handover.rs` | a queue pair told to a successor, and taken up there |
//! | `ud.rs` | datagrams on QP1, which carry connection management |
//!
//! Queue pairs are plain structs without pointers; the arena is the only memory, allocated once.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod completer;
mod handover;
mod memory;
mod plan;
mod qp;
mod reading;
mod requester;
mod responder;
mod timer;
pub mod ud;
mod work;

pub use gantry_wire::ib::{NakCode, Psn, Qpn, Rkey, Transport};
pub use handover::{Inconsistent, QpState};
pub use memory::{Access, Memory, NoMemory};
pub use plan::{DropReason, Outcome, Plan};
pub use qp::{Completion, CompletionKind, Failure, Payload, Qp, QpConfig, Status, Transmit};
pub use requester::{ACK_REQUEST_PACKETS, WINDOW_PACKETS};
pub use timer::{RETRY_INITIAL_NS, RETRY_MIN_NS};
pub use work::{PoolFull, Work, WorkKind, WorkPool};
