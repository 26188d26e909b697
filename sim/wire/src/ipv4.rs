//! The IPv4 header (RFC 791 §3.1), and IPv4 addresses among IPv6 ones (RFC 4291 §2.5.5.2).

use gantry_wire::ip::checksum;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::packet::Malformed;

/// Length of a header without options, in bytes.
pub const LEN: usize = size_of::<Ipv4>();
/// `flags_fragment`: do not fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// `flags_fragment`: more fragments.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// `flags_fragment`: the offset's bits.
pub const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// The IPv4 header without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub version_ihl: u8,
    /// Type of service: DSCP and ECN.
    pub type_of_service: u8,
    /// Length of the datagram, header included, in bytes.
    pub total_length: U16,
    /// Identification, for the reassembly of fragments.
    pub identification: U16,
    /// Flags (3 bits) and fragment offset (13 bits).
    pub flags_fragment: U16,
    /// Time to live.
    pub time_to_live: u8,
    /// What follows.
    pub protocol: u8,
    /// Checksum of the header.
    pub header_checksum: U16,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// Reads the header that `bytes` begins with, and its length with options. Checked: version, lengths
    /// against `bytes`, checksum. Fragments are refused.
    pub fn parse(bytes: &[u8]) -> Result<(&Ipv4, usize), Malformed> {
        let (ip, _) = Ipv4::ref_from_prefix(bytes).map_err(|_| Malformed::Ipv4Header)?;
        let header_len = usize::from(ip.version_ihl & 0xf) * 4;
        if ip.version_ihl >> 4 != 4 || header_len < LEN || header_len > bytes.len() {
            return Err(Malformed::Ipv4Header);
        }
        let total = usize::from(ip.total_length.get());
        if total < header_len || total > bytes.len() {
            return Err(Malformed::Ipv4Length);
        }
        if checksum(0, &bytes[..header_len]) != 0 {
            return Err(Malformed::Ipv4Checksum);
        }
        if ip.flags_fragment.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0 {
            return Err(Malformed::Fragment);
        }
        Ok((ip, header_len))
    }

    /// Writes this header with its checksum put in; answers its length.
    pub fn emit(mut self, out: &mut [u8]) -> usize {
        self.header_checksum = 0.into();
        self.header_checksum = checksum(0, self.as_bytes()).into();
        out[..LEN].copy_from_slice(self.as_bytes());
        LEN
    }
}

/// An IPv4 address as the IPv6 address that stands for it, `::ffff:a.b.c.d`.
pub fn mapped(address: [u8; 4]) -> [u8; 16] {
    let mut mapped = [0; 16];
    mapped[10] = 0xff;
    mapped[11] = 0xff;
    mapped[12..].copy_from_slice(&address);
    mapped
}

/// The IPv4 address that `address` stands for, if it is mapped.
pub fn unmapped(address: &[u8; 16]) -> Option<[u8; 4]> {
    let (prefix, v4) = address.split_at(12);
    (prefix == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]).then(|| [v4[0], v4[1], v4[2], v4[3]])
}
