//! What runs in the data plane, as a control hears it at the beginning of its session.

use super::operation::QpCreate;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A QP.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct QpState {
    /// As control asked for it.
    pub create: QpCreate,
    /// Its number.
    pub qpn: U32,
    /// The first PSN that the peer had to send.
    pub receive_psn: U32,
    /// Its controller; `0xffff` before its Connect has succeeded.
    pub cntlid: U16,
    /// [`QP_ESTABLISHED`], [`QP_FAILED`], [`QP_CLOSING`].
    pub flags: U16,
    /// Why it failed: a [`QpFailure`](super::event::QpFailure), zero when it has not.
    pub failure: U16,
    /// The lcore that owns it.
    pub lcore: U16,
}

/// [`QpState::flags`]: packets of the peer have arrived.
pub const QP_ESTABLISHED: u16 = 1;
/// [`QpState::flags`]: it has failed and is fenced; control destroys it.
pub const QP_FAILED: u16 = 2;
/// [`QpState::flags`]: it is being destroyed; [`QpRetired`](super::event::EventKind::QpRetired) follows.
pub const QP_CLOSING: u16 = 4;

/// A controller. One that was removed is told of until the last of its QPs is retired.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ControllerState {
    /// Its id.
    pub cntlid: U16,
    /// [`CONTROLLER_EXPIRED`], [`CONTROLLER_CLOSING`].
    pub flags: U16,
    /// Keep-alive timeout in milliseconds; zero when it has none.
    pub keep_alive_ms: U32,
}

/// [`ControllerState::flags`]: its keep-alive timeout has expired and its QPs are fenced.
pub const CONTROLLER_EXPIRED: u16 = 1;
/// [`ControllerState::flags`]: it was removed and its QPs are draining; its id must not be used again yet.
pub const CONTROLLER_CLOSING: u16 = 2;
