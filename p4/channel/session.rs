//! Opening a session, and what PREPARE answers.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Control's first frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Hello {
    /// [`VERSION`](super::VERSION).0 of control. Sessions need equal majors.
    pub major: U16,
    /// [`VERSION`](super::VERSION).1 of control.
    pub minor: U16,
    /// Zero.
    pub reserved: U32,
    /// Grows with every start of control; a session of a lower epoch is refused or ended.
    pub epoch: U64,
}

/// The data plane's answer to [`Hello`].
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Welcome {
    /// [`VERSION`](super::VERSION).0 of the data plane.
    pub major: U16,
    /// [`VERSION`](super::VERSION).1 of the data plane.
    pub minor: U16,
    /// Number of lcores.
    pub lcores: U16,
    /// Largest in-capsule data in bytes that a host may send on an I/O queue.
    pub in_capsule_data: U16,
    /// Drawn at start: tells a data plane that restarted from one that did not.
    pub boot_id: U64,
    /// QPs that can exist at once.
    pub qps: U32,
    /// Largest data transfer of one I/O command in bytes; a power of two.
    pub transfer_max: U32,
}

/// What PREPARE set aside for one [`QpCreate`](super::operation::QpCreate).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Reservation {
    /// The operation's place in the transaction, counted from zero.
    pub operation: U32,
    /// The QP's number.
    pub qpn: U32,
    /// The first PSN the peer must send.
    pub receive_psn: U32,
    /// The lcore that will own the QP.
    pub lcore: U16,
    /// Zero.
    pub reserved: U16,
}

/// Why a session or transaction was refused. A line of text for the operator follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Refused {
    /// The operation's place in the transaction, each entry of a TableWrite being one; `u32::MAX` when no single one is at
    /// fault.
    pub operation: U32,
    /// A [`Reason`].
    pub reason: U16,
    /// Zero.
    pub reserved: U16,
}

/// Reasons in [`Refused`].
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Channel versions do not meet.
    Version = 1,
    /// A newer control holds the session.
    Fenced = 2,
    /// A frame that cannot be read, or out of its order.
    Malformed = 3,
    /// The object exists already.
    Exists = 4,
    /// The object does not exist.
    NotFound = 5,
    /// No room: QPs, table entries, buffers.
    Full = 6,
    /// A port, address or drive that cannot be opened; the text says why.
    Device = 7,
    /// A value outside what the operation takes.
    Invalid = 8,
}

impl Reason {
    /// The reason with this number, if there is one.
    #[must_use]
    pub fn from_u16(n: u16) -> Option<Self> {
        use Reason::*;
        [Version, Fenced, Malformed, Exists, NotFound, Full, Device, Invalid].into_iter().find(|r| *r as u16 == n)
    }
}
