//! The IPv6 header (RFC 8200 §3).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::packet::Malformed;

/// Length of the header, in bytes.
pub const LEN: usize = size_of::<Ipv6>();
/// Next header: a fragment header.
pub const FRAGMENT: u8 = 44;
/// Next header: ICMPv6.
pub const ICMP6: u8 = 58;
/// Next header: UDP.
pub const UDP: u8 = 17;

/// The IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: U32,
    /// Length of what follows this header, in bytes.
    pub payload_length: U16,
    /// What follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
}

impl Ipv6 {
    /// Reads the header that `bytes` begins with. Checked: version, length against `bytes`. Fragments are
    /// refused; other extension headers are left to the caller as a `next_header` it does not know.
    pub fn parse(bytes: &[u8]) -> Result<&Ipv6, Malformed> {
        let (ip, rest) = Ipv6::ref_from_prefix(bytes).map_err(|_| Malformed::Ipv6Header)?;
        if ip.version_class_flow.get() >> 28 != 6 {
            return Err(Malformed::Ipv6Header);
        }
        if usize::from(ip.payload_length.get()) > rest.len() {
            return Err(Malformed::Ipv6Length);
        }
        if ip.next_header == FRAGMENT {
            return Err(Malformed::Fragment);
        }
        Ok(ip)
    }

    /// The traffic class: DSCP and ECN.
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// `version_class_flow` for a traffic class, with flow label 0.
    pub fn version_class(traffic_class: u8) -> U32 {
        (6 << 28 | u32::from(traffic_class) << 20).into()
    }

    /// Writes this header; answers its length.
    pub fn emit(self, out: &mut [u8]) -> usize {
        out[..LEN].copy_from_slice(self.as_bytes());
        LEN
    }
}
