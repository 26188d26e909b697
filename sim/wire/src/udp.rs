//! The UDP header (RFC 768), as RoCE v2 uses it: destination 4791, checksum 0 (IBA 1.5 annex A17.3.2).

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::packet::Malformed;

/// Length of the header, in bytes.
pub const LEN: usize = size_of::<Udp>();
/// The destination port of RoCE v2.
pub const ROCE_V2: u16 = 4791;

/// The UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Source port: for RoCE v2, what spreads flows.
    pub source_port: U16,
    /// Destination port.
    pub destination_port: U16,
    /// Length of header and payload, in bytes.
    pub length: U16,
    /// Checksum; 0 is none.
    pub checksum: U16,
}

impl Udp {
    /// Reads the header of a datagram that fills `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<&Udp, Malformed> {
        let (udp, _) = Udp::ref_from_prefix(bytes).map_err(|_| Malformed::UdpLength)?;
        if usize::from(udp.length.get()) != bytes.len() {
            return Err(Malformed::UdpLength);
        }
        Ok(udp)
    }
}
