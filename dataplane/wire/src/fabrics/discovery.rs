//! The discovery log page: a header of 1024 bytes, then entries of 1024 bytes. NVMe-oF 1.1 §5.3, §7.3.4 (RDMA).

use super::nqn::{InvalidNqn, NQN_FIELD_LEN, nqn_field, nqn_from_field};
use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the log's header.
pub const HEADER_LEN: usize = 1024;
/// Bytes of an entry.
pub const ENTRY_LEN: usize = 1024;
/// [`DiscoveryEntry::trtype`] of RDMA.
pub const TRANSPORT_RDMA: u8 = 1;
/// The TCP port that NVMe over RDMA has from IANA; discovery and subsystems listen there alike.
pub const DISCOVERY_PORT: u16 = 4420;

/// [`DiscoveryEntry::adrfam`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AddressFamily {
    /// IPv4, dotted.
    Ipv4 = 1,
    /// IPv6, as RFC 5952 writes it.
    Ipv6 = 2,
}

/// [`DiscoveryEntry::subtype`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SubsystemType {
    /// A referral to another discovery subsystem.
    Referral = 1,
    /// An NVM subsystem.
    Nvm = 2,
    /// The discovery subsystem that answers.
    Current = 3,
}

/// Values of [`DiscoveryEntry::treq`].
pub mod treq {
    /// Bits 1:0: nothing said about a secure channel.
    pub const SECURE_CHANNEL_NOT_SPECIFIED: u8 = 0;
    /// Bits 1:0: a secure channel is required.
    pub const SECURE_CHANNEL_REQUIRED: u8 = 1;
    /// Bits 1:0: a secure channel is not required.
    pub const SECURE_CHANNEL_NOT_REQUIRED: u8 = 2;
    /// Bit 2: a host may turn SQ flow control off.
    pub const SQ_FLOW_CONTROL_MAY_BE_DISABLED: u8 = 4;
}

/// Values of the RDMA transport's specific address subtype ([`DiscoveryEntry::rdma`], §7.3.4).
pub mod rdma {
    /// RDMA_QPTYPE: reliable connected.
    pub const QPTYPE_CONNECTED: u8 = 1;
    /// RDMA_PRTYPE: none given.
    pub const PRTYPE_NOT_SPECIFIED: u8 = 1;
    /// RDMA_PRTYPE: RoCE v2.
    pub const PRTYPE_ROCE_V2: u8 = 4;
    /// RDMA_CMS: RDMA IP CM.
    pub const CMS_RDMA_CM: u8 = 1;
}

/// The log's header.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct DiscoveryHeader {
    /// Changes whenever the log does.
    pub genctr: U64,
    /// Entries that follow.
    pub numrec: U64,
    /// Record format; zero.
    pub recfmt: U16,
    reserved_18: [u8; 1006],
}

const _: () = assert!(size_of::<DiscoveryHeader>() == HEADER_LEN);

impl DiscoveryHeader {
    /// The header of a log of `numrec` entries.
    pub fn new(genctr: u64, numrec: u64) -> Self {
        DiscoveryHeader { genctr: genctr.into(), numrec: numrec.into(), ..DiscoveryHeader::new_zeroed() }
    }
}

/// The RDMA transport's specific address subtype (§7.3.4), 256 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct RdmaSubtype {
    /// [`rdma::QPTYPE_CONNECTED`].
    pub qptype: u8,
    /// [`rdma::PRTYPE_ROCE_V2`] and its like.
    pub prtype: u8,
    /// [`rdma::CMS_RDMA_CM`].
    pub cms: u8,
    reserved_3: [u8; 5],
    /// P_Key, of InfiniBand only.
    pub pkey: U16,
    reserved_10: [u8; 246],
}

/// One way to one subsystem.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct DiscoveryEntry {
    /// Transport type: [`TRANSPORT_RDMA`].
    pub trtype: u8,
    /// Address family: [`AddressFamily`].
    pub adrfam: u8,
    /// [`SubsystemType`].
    pub subtype: u8,
    /// Transport requirements: [`treq`].
    pub treq: u8,
    /// Port id.
    pub portid: U16,
    /// `0xffff`: dynamic controllers.
    pub cntlid: U16,
    /// Largest admin submission queue, in entries.
    pub asqsz: U16,
    /// Entry flags.
    pub eflags: U16,
    reserved_12: [u8; 20],
    /// Port, decimal ASCII, padded with spaces or zeroes.
    pub trsvcid: [u8; 32],
    reserved_64: [u8; 192],
    /// NQN of the subsystem, zero-terminated.
    pub subnqn: [u8; NQN_FIELD_LEN],
    /// Address, ASCII, padded with spaces or zeroes.
    pub traddr: [u8; 256],
    /// Transport specific address subtype.
    pub rdma: RdmaSubtype,
}

const _: () = assert!(size_of::<DiscoveryEntry>() == ENTRY_LEN);

impl DiscoveryEntry {
    /// An RDMA entry of the dynamic controller model, RoCE v2 and RDMA CM. The texts are padded with zeroes, as
    /// Linux targets do; panics when one does not fit.
    pub fn rdma(
        subtype: SubsystemType,
        portid: u16,
        asqsz: u16,
        family: AddressFamily,
        traddr: &str,
        trsvcid: &str,
        subnqn: &str,
    ) -> Self {
        let mut entry = DiscoveryEntry {
            trtype: TRANSPORT_RDMA,
            adrfam: family as u8,
            subtype: subtype as u8,
            treq: treq::SECURE_CHANNEL_NOT_SPECIFIED,
            portid: portid.into(),
            cntlid: U16::new(super::CNTLID_DYNAMIC),
            asqsz: asqsz.into(),
            subnqn: nqn_field(subnqn),
            ..DiscoveryEntry::new_zeroed()
        };
        entry.traddr[..traddr.len()].copy_from_slice(traddr.as_bytes());
        entry.trsvcid[..trsvcid.len()].copy_from_slice(trsvcid.as_bytes());
        entry.rdma.qptype = rdma::QPTYPE_CONNECTED;
        entry.rdma.prtype = rdma::PRTYPE_ROCE_V2;
        entry.rdma.cms = rdma::CMS_RDMA_CM;
        entry
    }

    /// NQN of the subsystem.
    pub fn subnqn(&self) -> Result<&str, InvalidNqn> {
        nqn_from_field(&self.subnqn)
    }

    /// The address as text; none when it is not ASCII.
    pub fn traddr(&self) -> Option<&str> {
        padded_ascii(&self.traddr)
    }

    /// The port as text; none when it is not ASCII.
    pub fn trsvcid(&self) -> Option<&str> {
        padded_ascii(&self.trsvcid)
    }
}

fn padded_ascii(field: &[u8]) -> Option<&str> {
    let end = field.iter().rposition(|&byte| byte != 0 && byte != b' ').map_or(0, |last| last + 1);
    let text = field[..end].is_ascii().then_some(&field[..end])?;
    core::str::from_utf8(text).ok()
}
