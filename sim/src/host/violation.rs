//! What the host, as an oracle, has seen a target do that no target may.

use gantry_host_wire::packet;
use gantry_roce::{DropReason, NakCode};
use std::fmt;

/// A rule that the target broke. `Display` says it in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A frame for the host that does not parse.
    Malformed(packet::Malformed),
    /// A RoCE packet whose ICRC is wrong (annex A17.3.3).
    Icrc,
    /// A RoCE packet whose IP or UDP header is not what RoCE v2 asks for: what is wrong.
    Header(&'static str),
    /// A packet of a connection from another UDP source port than the REQ's flow label gives.
    SourcePort {
        /// What the flow label gives.
        expected: u16,
        /// What came.
        found: u16,
    },
    /// A MAD that is none, or that fits no connection: what is wrong.
    Cm(&'static str),
    /// A transport packet that no sound peer sends.
    Transport {
        /// NVMe queue id.
        qid: u16,
        /// What the transport made of it.
        reason: DropReason,
    },
    /// An RDMA request beyond what the host granted, or out of its place: the connection is refused with this.
    Refused {
        /// NVMe queue id.
        qid: u16,
        /// The NAK.
        nak: NakCode,
    },
    /// A SEND that is not 16 bytes long.
    ResponseLength {
        /// NVMe queue id.
        qid: u16,
        /// Its bytes.
        length: u32,
    },
    /// A completion for a command that is not outstanding: never sent, or completed before.
    UnknownCid {
        /// NVMe queue id.
        qid: u16,
        /// The completion's CID.
        cid: u16,
    },
    /// A completion whose SQHD ran back, ran past the tail, or lags behind what was completed.
    Sqhd {
        /// NVMe queue id.
        qid: u16,
        /// The completion's SQHD.
        sqhd: u16,
        /// Commands sent on the queue so far.
        sent: u64,
        /// Commands completed, this one included.
        completed: u64,
        /// Commands that earlier completions said were taken.
        taken: u64,
    },
    /// A completion with the phase bit set, which is reserved in a capsule.
    Phase {
        /// NVMe queue id.
        qid: u16,
    },
    /// A SEND with Invalidate that names another R_Key than its command's, or whose command asked for none.
    Invalidated {
        /// NVMe queue id.
        qid: u16,
        /// The command.
        cid: u16,
        /// The R_Key that the SEND names.
        rkey: u32,
    },
    /// A successful completion whose data is not all there.
    Data {
        /// NVMe queue id.
        qid: u16,
        /// The command.
        cid: u16,
        /// Bytes that RDMA WRITEs brought.
        landed: u64,
        /// Bytes that the command is for.
        expected: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Malformed(reason) => write!(f, "a malformed frame: {reason:?}"),
            Violation::Icrc => f.write_str("a packet with a wrong ICRC"),
            Violation::Header(what) => write!(f, "a RoCE packet with {what}"),
            Violation::SourcePort { expected, found } => write!(f, "UDP source port {found} where {expected} belongs"),
            Violation::Cm(what) => write!(f, "CM: {what}"),
            Violation::Transport { qid, reason } => write!(f, "queue {qid}: a packet of no use: {reason:?}"),
            Violation::Refused { qid, nak } => write!(f, "queue {qid}: a request that is not permitted: {nak:?}"),
            Violation::ResponseLength { qid, length } => write!(f, "queue {qid}: a response of {length} bytes"),
            Violation::UnknownCid { qid, cid } => write!(f, "queue {qid}: CID {cid:#06x} is not outstanding"),
            Violation::Sqhd { qid, sqhd, sent, completed, taken } => write!(
                f,
                "queue {qid}: SQHD {sqhd} after {sent} commands sent, {completed} completed, {taken} said to be taken"
            ),
            Violation::Phase { qid } => write!(f, "queue {qid}: the phase bit in a response capsule"),
            Violation::Invalidated { qid, cid, rkey } => {
                write!(f, "queue {qid}: the response to CID {cid:#06x} invalidates R_Key {rkey:#010x}")
            }
            Violation::Data { qid, cid, landed, expected } => {
                write!(f, "queue {qid}: CID {cid:#06x} succeeded with {landed} bytes of {expected} landed")
            }
        }
    }
}
