//! A QP's blob: its connection, as CM must know it to repeat the REP and to end it. What [`QpState`] tells is not
//! repeated here: path, the host's QPN, depth, queue id, our starting PSN.
//!
//! [`QpState`]: gantry::channel::state::QpState

use super::{Unreadable, seal, unseal};
use gantry::channel::Path;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version 1. It is written once, with the QP's creation, and never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub(crate) struct QpBlob {
    /// Our communication id, and the host's.
    pub(crate) comm_id: U32,
    pub(crate) remote_comm_id: U32,
    /// REQ's transaction id, which the REP repeats.
    pub(crate) transaction_id: U64,
    /// GUID of the host's adapter, and the one that the REP gave for ours.
    pub(crate) remote_guid: U64,
    pub(crate) local_guid: U64,
    /// The way of the MADs and the QPN they come from.
    pub(crate) path: Path,
    pub(crate) mad_qpn: U32,
    /// How long a REP waits for its RTU, and the ids rest in TIMEWAIT.
    pub(crate) wait_ns: U64,
    pub(crate) rest_ns: U64,
    /// How often the REP is sent again.
    pub(crate) tries: u8,
    /// The REP's promises: they are this control's constants, and may be others in the next release.
    pub(crate) target_ack_delay: u8,
    pub(crate) rnr_retry_count: u8,
    pub(crate) end_to_end_flow_control: u8,
}

pub(crate) fn encode_qp(blob: &QpBlob) -> Vec<u8> {
    seal(&[blob.as_bytes()])
}

pub(crate) fn parse_qp(blob: &[u8]) -> Result<QpBlob, Unreadable> {
    let qp = QpBlob::read_from_bytes(unseal(blob)?).map_err(|_| Unreadable::Damaged)?;
    // Zero is nobody's communication id.
    if qp.comm_id.get() == 0 { Err(Unreadable::Damaged) } else { Ok(qp) }
}
