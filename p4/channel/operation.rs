//! Operations: what a transaction does, one frame each.

use super::{Name, Path};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Opens a port. Tail: the DPDK device string (`net_vhost0,iface=/run/vm.sock,client=1`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct PortAdd {
    /// Control's number for the port.
    pub port: U16,
    /// Largest IP packet in bytes.
    pub mtu: U16,
    /// The operator's name for it.
    pub name: Name,
}

/// Gives a port an address: the data plane answers ARP, neighbour solicitation and echo for it and takes RoCE there.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct AddressAdd {
    /// Port number.
    pub port: U16,
    /// 802.1Q VLAN id; zero for untagged frames.
    pub vlan: U16,
    /// The address.
    pub ip: [u8; 16],
}

/// Names a drive. Tail: its URI (`file:/path`, `mem:SIZE`). It need not be there: after COMMIT it is looked for;
/// [`DriveReady`](super::event::DriveReady) or why it does not serve follows as an event, as often as that changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct DriveAdd {
    /// Control's number for the drive.
    pub drive: U16,
    /// Zero.
    pub reserved: U16,
    /// The operator's name for it.
    pub name: Name,
}

/// Creates a QP in the state where it takes Fabrics commands only. PREPARE answers with a
/// [`Reservation`](super::session::Reservation). Tail: its blob, at most [`BLOB_MAX`](super::BLOB_MAX) bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct QpCreate {
    /// The way to the host.
    pub path: Path,
    /// The host's QPN.
    pub remote_qpn: U32,
    /// The first PSN the data plane sends (the CM REQ's starting PSN).
    pub send_psn: U32,
    /// P_Key.
    pub pkey: U16,
    /// Path MTU in bytes: 256, 512, 1024, 2048 or 4096.
    pub mtu: U16,
    /// Local ACK timeout of the REQ: 4.096 µs × 2^code; zero means none.
    pub ack_timeout: u8,
    /// Retries of the REQ.
    pub retry_count: u8,
    /// RNR retries of the REQ; 7 means without end.
    pub rnr_retry_count: u8,
    /// READs the host answers at once (the REQ's responder resources).
    pub reads: u8,
    /// Capsules that the host may have outstanding (hsqsize of the CM private data, which is zero-based, plus one).
    pub depth: U16,
    /// NVMe queue id of the CM private data; zero is the admin queue.
    pub qid: U16,
}

/// Binds a QP to its controller once its Connect has succeeded; travels in the transaction of the
/// Connect's [`Answer`].
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct QpBind {
    /// The QP.
    pub qpn: U32,
    /// Its controller.
    pub cntlid: U16,
    /// Its NVMe queue id; zero is the admin queue.
    pub qid: U16,
    /// Entries of the submission queue (Connect's SQSIZE + 1): SQHD counts modulo this.
    pub entries: U32,
}

/// Ends a QP. Unsubmitted commands are discarded, submitted ones waited for; then a
/// [`Retired`](super::event::EventKind::QpRetired) event follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct QpDestroy {
    /// The QP.
    pub qpn: U32,
}

/// Creates a controller, or changes its keep-alive timeout when it exists. Tail: its blob, at most
/// [`BLOB_MAX`](super::BLOB_MAX) bytes; an empty one leaves the blob that it has.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ControllerAdd {
    /// Its id.
    pub cntlid: U16,
    /// Zero.
    pub reserved: U16,
    /// Keep-alive timeout in milliseconds; zero turns it off.
    pub keep_alive_ms: U32,
}

/// Removes a controller and its namespaces. Its QPs must be gone or going; its id is free when the last is retired.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ControllerRemove {
    /// Its id.
    pub cntlid: U16,
}

/// An entry of the command table: (controller, NSID) → blocks of a drive.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct NamespaceAdd {
    /// The controller that sees it.
    pub cntlid: U16,
    /// The drive it lies on.
    pub drive: U16,
    /// The NSID that the host uses.
    pub nsid: U32,
    /// The drive's own NSID.
    pub drive_nsid: U32,
    /// [`NAMESPACE_READ_ONLY`] or zero.
    pub flags: U32,
    /// First block on the drive's namespace.
    pub lba_base: U64,
    /// Number of blocks.
    pub lba_count: U64,
}

/// [`NamespaceAdd::flags`]: writes are refused.
pub const NAMESPACE_READ_ONLY: u32 = 1;

/// Removes an entry of the command table.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct NamespaceRemove {
    /// The controller.
    pub cntlid: U16,
    /// Zero.
    pub reserved: U16,
    /// The NSID.
    pub nsid: U32,
}

/// Answers a punted capsule, once: PREPARE refuses an answer to a capsule that is not waiting (answered already, or its QP
/// gone), and with it everything else of the transaction. Tail: data for the host, at most
/// [`CAPSULE_DATA_MAX`](super::CAPSULE_DATA_MAX) bytes; the data plane sends no more of it than the command's SGL takes.
/// The data plane fills in CID, SQHD and the R_Key to invalidate.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Answer {
    /// The QP the capsule came on.
    pub qpn: U32,
    /// The capsule's punt sequence.
    pub punt: U32,
    /// CQE status field without the phase bit (NVMe Base 2.0 §3.3.3.2): `SCT << 8 | SC`, DNR at bit 14.
    pub status: U16,
    /// Zero.
    pub reserved: U16,
    /// CQE dword 0.
    pub dw0: U32,
    /// CQE dword 1.
    pub dw1: U32,
}

/// Ends a command of a host early, as far as that goes: one that is not at a drive ends with Command Abort Requested; a drive
/// that has it is asked to abort it. Of no effect on a command that is not there, or whose response is on the way.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Abort {
    /// The I/O queue's QP.
    pub qpn: U32,
    /// The host's CID.
    pub cid: U16,
    /// Zero.
    pub reserved: U16,
}
