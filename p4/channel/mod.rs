//! The channel: what control says to the data plane, and what it hears back.
//!
//! One `SOCK_SEQPACKET` datagram is one frame: a [`Header`], a fixed little-endian body chosen by
//! [`Kind`], and for some kinds a tail (a name, a payload) that runs to the end of the frame.
//!
//! ```text
//! control                                     data plane
//!   Hello ----------------------------------->  epoch check
//!   <------------------------------- Welcome
//!   <---- PortUp, DriveReady, QpState, ControllerState, NamespaceState, TableState, MeterState, DigestState,
//!         Capsule (unanswered), Punt (recent)
//!   <-------------------------- Synchronized
//!   Begin, operations..., Prepare ----------->  validate, reserve
//!   <--------------------- Prepared | Refused
//!   Commit ---------------------------------->  applied at a burst boundary
//!   <----------------------------- Committed
//!   <---------------- Punt, Capsule, Event ...  at any time
//! ```
//!
//! Everything between Welcome and Synchronized says what runs; a control begins every session by adopting it, be it new
//! or the same as before. Minor version 0 has neither these frames nor blobs.
//!
//! Integers are little-endian; MAC and IP addresses are bytes in network order; an IPv4 address is
//! written v4-mapped (`::ffff:a.b.c.d`).

pub mod event;
pub mod operation;
pub mod session;
pub mod slow_path;
pub mod state;
pub mod table;

use alloc::vec::Vec;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of the frames in this crate: `(major, minor)`. A minor adds kinds or appends to tails.
pub const VERSION: (u16, u16) = (1, 3);

/// Largest frame, in bytes, header and tail included.
pub const FRAME_MAX: usize = 8192;

/// Most data, in bytes, that one Fabrics or Admin command carries through the channel either way.
pub const CAPSULE_DATA_MAX: usize = 4096;

/// Most bytes of a QP's or controller's blob: what control must remember of it. The data plane keeps it and never
/// reads it; its first two bytes are the version of what follows, which is control's own.
pub const BLOB_MAX: usize = 2048;

/// What a frame is. The body follows from it.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`session::Hello`]: control opens the session.
    Hello = 0x01,
    /// No body: opens the transaction named in the header.
    Begin = 0x02,
    /// No body: validate and reserve everything named since [`Kind::Begin`].
    Prepare = 0x03,
    /// No body: apply what was prepared.
    Commit = 0x04,
    /// No body: forget the transaction and what it reserved.
    Rollback = 0x05,
    /// [`slow_path::Inject`] + UD payload: a datagram to send.
    Inject = 0x06,

    /// [`operation::PortAdd`] + device string.
    PortAdd = 0x20,
    /// [`operation::AddressAdd`].
    AddressAdd = 0x22,
    /// [`operation::DriveAdd`] + URI.
    DriveAdd = 0x24,
    /// [`operation::QpCreate`] + the QP's blob.
    QpCreate = 0x26,
    /// [`operation::QpBind`].
    QpBind = 0x27,
    /// [`operation::QpDestroy`].
    QpDestroy = 0x28,
    /// [`operation::ControllerAdd`] + the controller's blob.
    ControllerAdd = 0x2a,
    /// [`operation::ControllerRemove`].
    ControllerRemove = 0x2b,
    /// [`operation::NamespaceAdd`].
    NamespaceAdd = 0x2c,
    /// [`operation::NamespaceRemove`].
    NamespaceRemove = 0x2d,
    /// [`operation::Answer`] + data for the host.
    Answer = 0x2e,

    /// [`operation::Abort`].
    Abort = 0x2f,

    /// No body + [`table::Entry`]s.
    TableWrite = 0x30,
    /// [`table::MeterWrite`] + the entry of a direct one.
    MeterWrite = 0x31,
    /// [`table::CounterWrite`] + the entry of a direct one.
    CounterWrite = 0x32,
    /// [`table::DigestWrite`] + a note.
    DigestWrite = 0x33,

    /// [`table::CounterRead`] + entries of direct ones. Asked outside of transactions, under a number of its own.
    CounterRead = 0x38,
    /// No body + entries of one table, of which the keys count: when they were last hit. Asked likewise.
    SinceHit = 0x39,
    /// [`table::TableDump`]. Asked likewise.
    TableDump = 0x3a,
    /// [`table::PacketOut`] + a frame. Answered only when it is refused, under its number.
    PacketOut = 0x3b,

    /// [`session::Welcome`]: the data plane's side of the session.
    Welcome = 0x81,
    /// No body + [`session::Reservation`]s: what PREPARE set aside.
    Prepared = 0x82,
    /// No body: the transaction is applied.
    Committed = 0x83,
    /// [`session::Refused`] + text: the transaction is gone, nothing was applied.
    Refused = 0x84,
    /// [`slow_path::Punt`] + UD payload: a datagram for QP1.
    Punt = 0x85,
    /// [`slow_path::Capsule`] + data fetched from the host.
    Capsule = 0x86,
    /// [`event::Event`] + a tail that depends on the event.
    Event = 0x87,
    /// [`state::QpState`] + the QP's blob.
    QpState = 0x88,
    /// [`state::ControllerState`] + the controller's blob.
    ControllerState = 0x89,
    /// [`operation::NamespaceAdd`]: an entry of the command table.
    NamespaceState = 0x8a,
    /// No body: control knows now all that runs.
    Synchronized = 0x8b,

    /// No body + [`table::Entry`]s that control has written.
    TableState = 0x90,
    /// [`table::MeterWrite`] as control has written it.
    MeterState = 0x91,
    /// [`table::DigestWrite`] as control has written it.
    DigestState = 0x92,
    /// No body + [`table::CounterValue`]s.
    Counters = 0x93,
    /// No body + nanoseconds since the last hit of each entry, eight bytes each; [`table::ABSENT`] of one that is not there.
    Hits = 0x94,
    /// [`table::TableEntries`] + entries.
    TableEntries = 0x95,
    /// [`table::PacketIn`] + the frame.
    PacketIn = 0x96,
    /// [`table::DigestData`] + values.
    DigestData = 0x97,
    /// No body + entries that were not hit for their idle timeout.
    Idle = 0x98,
}

impl Kind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_u16(n: u16) -> Option<Self> {
        use Kind::*;
        [
            Hello,
            Begin,
            Prepare,
            Commit,
            Rollback,
            Inject,
            PortAdd,
            AddressAdd,
            DriveAdd,
            QpCreate,
            QpBind,
            QpDestroy,
            ControllerAdd,
            ControllerRemove,
            NamespaceAdd,
            NamespaceRemove,
            Answer,
            Abort,
            Welcome,
            Prepared,
            Committed,
            Refused,
            Punt,
            Capsule,
            Event,
            QpState,
            ControllerState,
            NamespaceState,
            Synchronized,
            TableWrite,
            MeterWrite,
            CounterWrite,
            DigestWrite,
            CounterRead,
            SinceHit,
            TableDump,
            PacketOut,
            TableState,
            MeterState,
            DigestState,
            Counters,
            Hits,
            TableEntries,
            PacketIn,
            DigestData,
            Idle,
        ]
        .into_iter()
        .find(|k| *k as u16 == n)
    }
}

/// First bytes of every frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Header {
    /// A [`Kind`].
    pub kind: U16,
    /// Zero.
    pub reserved: U16,
    /// Length of the whole frame in bytes.
    pub length: U32,
    /// The transaction the frame belongs to, chosen by control, never reused in a session; zero
    /// outside transactions.
    pub transaction: U64,
}

/// A frame as received: header checked, body still bytes.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Which transaction it belongs to; zero outside transactions.
    pub transaction: u64,
    /// Everything after the header.
    pub bytes: &'a [u8],
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Shorter than its header or body, or not as long as the header says.
    Length,
    /// No such [`Kind`].
    Kind(u16),
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length => write!(f, "frame length does not fit its kind"),
            Self::Kind(k) => write!(f, "unknown frame kind {k:#06x}"),
        }
    }
}

impl core::error::Error for FrameError {}

impl<'a> Frame<'a> {
    /// Reads the header of one datagram.
    ///
    /// # Errors
    /// [`FrameError`] when the datagram is not one whole frame of a known kind.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, FrameError> {
        let (header, bytes) = Header::ref_from_prefix(datagram).map_err(|_| FrameError::Length)?;
        if header.length.get() as usize != datagram.len() {
            return Err(FrameError::Length);
        }
        let kind = Kind::from_u16(header.kind.get()).ok_or(FrameError::Kind(header.kind.get()))?;
        Ok(Self { kind, transaction: header.transaction.get(), bytes })
    }

    /// The body and the tail behind it.
    ///
    /// # Errors
    /// [`FrameError::Length`] when the frame is too short for `T`.
    pub fn body<T: FromBytes + Immutable + KnownLayout + Unaligned>(&self) -> Result<(&'a T, &'a [u8]), FrameError> {
        T::ref_from_prefix(self.bytes).map_err(|_| FrameError::Length)
    }
}

/// Writes one frame to the front of `out` and returns its length.
///
/// Bodies are the structs of this module; `tail` follows the body. Without allocation, so an lcore may call it.
///
/// # Panics
/// When the frame would exceed `out`: callers bound their tails.
pub fn emit_into(out: &mut [u8], kind: Kind, transaction: u64, body: &[u8], tail: &[u8]) -> usize {
    let start = size_of::<Header>();
    let length = start + body.len() + tail.len();
    let header = Header {
        kind: U16::new(kind as u16),
        reserved: U16::ZERO,
        length: U32::new(length as u32),
        transaction: U64::new(transaction),
    };
    out[..start].copy_from_slice(header.as_bytes());
    out[start..start + body.len()].copy_from_slice(body);
    out[start + body.len()..length].copy_from_slice(tail);
    length
}

/// One frame as bytes.
#[must_use]
pub fn emit(kind: Kind, transaction: u64, body: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut out = alloc::vec![0; size_of::<Header>() + body.len() + tail.len()];
    emit_into(&mut out, kind, transaction, body, tail);
    out
}

/// The way to a peer: which port, which addresses. The same both ways, so that a punt's path is the
/// path of its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Path {
    /// Port number, as in [`operation::PortAdd`].
    pub port: U16,
    /// 802.1Q VLAN id; zero when untagged.
    pub vlan: U16,
    /// The card's MAC address.
    pub local_mac: [u8; 6],
    /// The peer's (or its router's) MAC address.
    pub remote_mac: [u8; 6],
    /// The card's IP address.
    pub local_ip: [u8; 16],
    /// The peer's IP address.
    pub remote_ip: [u8; 16],
    /// UDP source port for frames the card sends.
    pub udp_source: U16,
    /// Six bits of DSCP, two of ECN.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

impl Path {
    /// Whether the path runs over IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.remote_ip[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
    }
}

/// A name in a fixed field, NUL-padded UTF-8.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Name(pub [u8; 32]);

impl Name {
    /// Keeps the first 32 bytes of `text`, cut at a character boundary.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(32);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = [0; 32];
        name[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self(name)
    }

    /// The name without its padding; empty when it is not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(32);
        core::str::from_utf8(&self.0[..end]).unwrap_or("")
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_trip() {
        let body = operation::QpDestroy { qpn: U32::new(0x11) };
        let bytes = emit(Kind::QpDestroy, 7, body.as_bytes(), b"");
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!((frame.kind, frame.transaction), (Kind::QpDestroy, 7));
        assert_eq!(frame.body::<operation::QpDestroy>().unwrap().0.qpn.get(), 0x11);
    }

    #[test]
    fn truncated_unknown_and_padded_frames_are_refused() {
        let bytes = emit(Kind::Begin, 1, &[], &[]);
        for end in 0..bytes.len() {
            assert_eq!(Frame::parse(&bytes[..end]).unwrap_err(), FrameError::Length);
        }
        let mut padded = bytes.clone();
        padded.push(0);
        assert_eq!(Frame::parse(&padded).unwrap_err(), FrameError::Length);
        let mut unknown = bytes.clone();
        unknown[0] = 0x7f;
        assert_eq!(Frame::parse(&unknown).unwrap_err(), FrameError::Kind(0x7f));
        let short = emit(Kind::QpDestroy, 1, &[0; 3], &[]);
        assert!(Frame::parse(&short).unwrap().body::<operation::QpDestroy>().is_err());
    }

    #[test]
    fn kinds_round_trip() {
        let known = (0..=u16::MAX).filter_map(Kind::from_u16).count();
        assert_eq!(known, 46);
        assert!((0..=u16::MAX).filter_map(|n| Some((n, Kind::from_u16(n)?))).all(|(n, k)| k as u16 == n));
    }

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(Name::new("wire0").as_str(), "wire0");
        let long = "é".repeat(20);
        assert_eq!(Name::new(&long).as_str(), "é".repeat(16));
    }
}
