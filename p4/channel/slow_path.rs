//! What the data plane hands to control, and datagrams control hands back.

use super::Path;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A UD SEND that reached QP1, its ICRC checked. Tail: the payload after the DETH (a 256-byte MAD).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Punt {
    /// The way it came, which is the way back.
    pub path: Path,
    /// Sender's QPN (DETH).
    pub source_qpn: U32,
    /// Q_Key (DETH).
    pub qkey: U32,
}

/// A UD SEND for the data plane to send from QP1. Tail: the payload.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Inject {
    /// The way to the peer.
    pub path: Path,
    /// Peer's QPN.
    pub dest_qpn: U32,
    /// Q_Key.
    pub qkey: U32,
    /// P_Key.
    pub pkey: U16,
    /// Zero.
    pub reserved: U16,
}

/// A Fabrics or Admin command for control. Tail: its data, fetched from the host.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Capsule {
    /// The QP it came on.
    pub qpn: U32,
    /// Grows by one with each capsule punted from this QP; the key of its answer.
    pub punt: U32,
    /// The QP's controller; `0xffff` before its Connect has succeeded.
    pub cntlid: U16,
    /// The QP's NVMe queue id.
    pub qid: U16,
    /// Bytes of data that the host takes back (the SGL's length); zero when it sends data or none.
    pub wanted: U32,
    /// The command as received.
    pub sqe: [u8; 64],
}
