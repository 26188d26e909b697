//! What a received packet is, and what it led to. A plan is made from the headers before the ICRC is checked, so that
//! the payload can be copied to where it belongs and checked in one pass; only its commit changes anything.

use gantry_wire::ib::{NakCode, Rkey};

/// What a received packet is, before its ICRC is checked. Nothing has changed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// A SEND's bytes, for the receive buffer of the message.
    Receive {
        /// Where in the message the bytes belong.
        offset: u32,
        /// The message begins: take a buffer, or [`Qp::refuse_rnr`](crate::Qp::refuse_rnr).
        first: bool,
        /// The message ends.
        last: bool,
    },
    /// An RDMA WRITE's bytes, permitted.
    Write {
        /// The region.
        rkey: Rkey,
        /// Where these bytes go.
        address: u64,
        /// The WRITE begins.
        first: bool,
        /// The WRITE ends.
        last: bool,
    },
    /// An RDMA READ request, permitted.
    ReadRequest {
        /// The region.
        rkey: Rkey,
        /// Where the bytes are.
        address: u64,
        /// How many.
        length: u32,
    },
    /// An RDMA READ request seen before, permitted: it is answered again.
    ReadRequestAgain {
        /// The region.
        rkey: Rkey,
        /// Where the bytes are.
        address: u64,
        /// How many.
        length: u32,
    },
    /// Bytes of a READ of ours.
    ReadResponse {
        /// The READ's work request.
        cookie: u32,
        /// Where in the READ the bytes belong.
        offset: u32,
        /// The READ ends.
        last: bool,
    },
    /// An ACK, NAK or RNR NAK for our requests.
    Acknowledge,
    /// A request already executed: only acknowledged.
    Duplicate,
    /// Something before this packet is missing.
    OutOfSequence,
    /// A request that breaks the connection.
    Refuse(NakCode),
    /// Of no effect.
    Drop(DropReason),
}

/// Why a packet has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// The queue pair has failed or was torn down.
    NotReady,
    /// The P_Key does not match.
    Pkey,
    /// Not an opcode of a reliable connection.
    Opcode,
    /// An ACK for what was never sent.
    GhostAck,
    /// An ACK for what was acknowledged before.
    StaleAck,
    /// An ACK whose syndrome is reserved.
    Syndrome,
    /// A READ response without a READ, or for what was never asked.
    GhostResponse,
    /// A READ response already landed.
    StaleResponse,
    /// A READ response whose opcode or length does not fit its place.
    BadResponse,
    /// A repeated READ request that is not permitted, or reaches past what was asked before.
    BadDuplicate,
    /// No room to remember a READ request; the peer asks again.
    ReadsFull,
}

impl DropReason {
    /// Every reason, in the order of their values: for counters.
    pub const ALL: [DropReason; 11] = [
        DropReason::NotReady,
        DropReason::Pkey,
        DropReason::Opcode,
        DropReason::GhostAck,
        DropReason::StaleAck,
        DropReason::Syndrome,
        DropReason::GhostResponse,
        DropReason::StaleResponse,
        DropReason::BadResponse,
        DropReason::BadDuplicate,
        DropReason::ReadsFull,
    ];
}

/// What committing a packet led to, beyond the queue pair itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing for the caller.
    None,
    /// A SEND is complete in its receive buffer.
    Message {
        /// Its length in bytes.
        length: u32,
        /// Its immediate data.
        immediate: Option<u32>,
        /// The R_Key of ours that it invalidates.
        invalidate: Option<Rkey>,
    },
    /// An RDMA WRITE is complete.
    RemoteWrite {
        /// The region.
        rkey: Rkey,
        /// Where it began.
        address: u64,
        /// Its length in bytes.
        length: u32,
        /// Its immediate data.
        immediate: Option<u32>,
    },
    /// The packet had no effect.
    Drop(DropReason),
}
