//! Events: what happened in the data plane that control must know.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Something happened to one object.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Event {
    /// An [`EventKind`].
    pub kind: U16,
    /// A reason that depends on the kind.
    pub reason: U16,
    /// The object: QPN, CNTLID, drive or port number.
    pub object: U32,
}

/// Kinds of [`Event`].
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The QP's first valid RC packet came: as good as an RTU. Object: QPN.
    QpEstablished = 1,
    /// The QP failed and is fenced. Object: QPN; reason: [`QpFailure`]. Control destroys it.
    QpFailed = 2,
    /// The destroyed QP is drained and its resources are free again. Object: QPN. When it was the last of a removed
    /// controller, the CNTLID is free too.
    QpRetired = 3,
    /// No traffic for the keep-alive timeout; the controller's QPs are fenced. Object: CNTLID.
    KeepAliveExpired = 4,
    /// The drive is up. Object: drive. Tail: [`DriveReady`], then a [`DriveNamespace`] each; since minor version 3
    /// [`DriveLimits`], then [`NamespaceHints`] each, then lines of text that the operator should read.
    DriveReady = 5,
    /// The drive could not be brought up, or has failed and its commands have ended, or is not there. Object: drive; reason:
    /// [`DRIVE_ABSENT`] or zero. Tail: a line of text. [`EventKind::DriveReady`] follows when it serves again.
    DriveFailed = 6,
    /// The port is open. Object: port. Tail: its MAC address, six bytes.
    PortUp = 7,
    /// A command has been at the drive for too long, or its host wants it ended, and is being aborted; if it stays for too long, the drive is reset and
    /// [`EventKind::DriveFailed`] follows. Object: drive; reason: the CID.
    DriveSlow = 8,
    /// What a drive was when it last served, told at the beginning of a session of one that does not serve now. Object:
    /// drive. Tail: as of [`EventKind::DriveReady`].
    DriveKnown = 9,
    /// The drive takes no commands until it has been reset; [`EventKind::DriveFailed`] follows when its commands have ended.
    /// Object: drive.
    DriveStopped = 10,
    /// What a drive's SMART / Health or Error Information log says: every half minute, and at once when it reports something.
    /// Object: drive; reason: the log page identifier. Tail: the log, at most 4 KiB.
    DriveLog = 11,
}

/// Reason of [`EventKind::DriveFailed`]: the drive is not there, and is waited for.
pub const DRIVE_ABSENT: u16 = 1;

impl EventKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_u16(n: u16) -> Option<Self> {
        use EventKind::*;
        [
            QpEstablished,
            QpFailed,
            QpRetired,
            KeepAliveExpired,
            DriveReady,
            DriveFailed,
            PortUp,
            DriveSlow,
            DriveKnown,
            DriveStopped,
            DriveLog,
        ]
        .into_iter()
        .find(|k| *k as u16 == n)
    }
}

/// Reasons of [`EventKind::QpFailed`].
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QpFailure {
    /// The host did not acknowledge within the retries of its REQ.
    RetryExceeded = 1,
    /// The host stayed not ready for longer than the RNR retries allow.
    RnrRetryExceeded = 2,
    /// The host answered with a NAK that ends the connection.
    Nak = 3,
    /// The host broke the transport's or the capsule's rules.
    Protocol = 4,
    /// A drive under it failed.
    Drive = 5,
    /// Fenced because its controller's keep-alive timeout expired.
    KeepAlive = 6,
}

/// A drive's identity and limits, from its Identify Controller.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct DriveReady {
    /// Serial number, ASCII, space-padded.
    pub serial: [u8; 20],
    /// Model number, ASCII, space-padded.
    pub model: [u8; 40],
    /// Firmware revision, ASCII, space-padded.
    pub firmware: [u8; 8],
    /// ONCS: optional commands.
    pub oncs: U16,
    /// VWC: bit 0 is set when it has a volatile write cache.
    pub vwc: u8,
    /// Zero.
    pub reserved: u8,
    /// Number of [`DriveNamespace`]s that follow.
    pub namespaces: U32,
}

/// One namespace of a drive.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct DriveNamespace {
    /// The drive's NSID.
    pub nsid: U32,
    /// log2 of the block size in bytes.
    pub block_shift: u8,
    /// Bit 0: deallocated blocks read as zeroes.
    pub flags: u8,
    /// Zero.
    pub reserved: U16,
    /// Number of blocks; zero of one that is there no more, or is not the one that was served under this NSID.
    pub blocks: U64,
    /// NGUID, zero when it has none.
    pub nguid: [u8; 16],
    /// EUI-64, zero when it has none.
    pub eui64: [u8; 8],
}

/// What one Dataset Management command may cover on a drive (Identify CNS 06); 0 for no limit.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct DriveLimits {
    /// DMRL: ranges; 0 for the 256 that a list may have.
    pub dsm_ranges: U16,
    /// Zero.
    pub reserved: U16,
    /// DMRSL: blocks of one range.
    pub dsm_range_blocks: U32,
    /// DMSL: blocks of all ranges.
    pub dsm_blocks: U64,
}

/// What suits a namespace of a drive, in its blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct NamespaceHints {
    /// Of a write that no other command sees half of (NAWUN), 0's based.
    pub atomic: U16,
    /// Of a write of which a power failure leaves all or nothing (NAWUPF), 0's based.
    pub power_fail: U16,
    /// NOIOB: a command across a multiple of it is slow; 0 for none.
    pub boundary: U16,
    /// NPWG, 0's based.
    pub write_granularity: U16,
    /// NPWA, 0's based.
    pub write_alignment: U16,
    /// NPDG, 0's based.
    pub deallocate_granularity: U16,
    /// NPDA, 0's based.
    pub deallocate_alignment: U16,
    /// NOWS, 0's based.
    pub write_size: U16,
}
