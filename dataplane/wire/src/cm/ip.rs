//! What rdma_cm adds to CM so that IP addresses and ports name the two ends: annex A11 (IP-CM), and the UDP source
//! port of annex A17 (RoCE v2) that follows from a REQ's flow label.

use super::Malformed;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the IP-CM header, the first of a REQ's private data (annex A11.6).
pub const IP_CM_LEN: usize = 36;

/// The port space that TCP ports of a service id live in (annex A11.5): protocol 6.
pub const RDMA_TCP: u16 = 0x0106;

/// The service id of `port` in the TCP port space (annex A11.5).
pub const fn service_id(port: u16) -> u64 {
    (RDMA_TCP as u64) << 16 | port as u64
}

/// The port of a service id in the TCP port space; none when it lies elsewhere.
pub const fn port_of(service_id: u64) -> Option<u16> {
    if service_id >> 16 == RDMA_TCP as u64 { Some(service_id as u16) } else { None }
}

/// The UDP source port that both ends use for a connection whose REQ carried this flow label. Fourteen bits of hash
/// in the dynamic range; Linux folds the label's upper six bits into the lower fourteen.
pub const fn udp_source_port(flow_label: u32) -> u16 {
    0xc000 | ((flow_label & 0x3fff) ^ ((flow_label >> 14) & 0x3f)) as u16
}

/// The IP-CM header (annex A11.6): the addresses and the source port that the host chose.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct IpCm {
    /// Major version in the upper four bits, minor in the lower; zero.
    pub version: u8,
    /// IP version in the upper four bits: 4 or 6.
    pub ip_version: u8,
    /// Source port.
    pub source_port: U16,
    /// Source address; an IPv4 address fills the last four bytes behind zeroes.
    pub source_address: [u8; 16],
    /// Destination address, likewise.
    pub destination_address: [u8; 16],
}

impl IpCm {
    /// A header for a connection from `source` to `destination`; panics when one is IPv4 and the other IPv6.
    pub fn new(source: IpAddr, source_port: u16, destination: IpAddr) -> Self {
        let ip_version = match (source, destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => 4,
            (IpAddr::V6(_), IpAddr::V6(_)) => 6,
            _ => panic!("both ends of a connection have the same IP version"),
        };
        IpCm {
            version: 0,
            ip_version: ip_version << 4,
            source_port: U16::new(source_port),
            source_address: octets(source),
            destination_address: octets(destination),
        }
    }

    /// Reads the header at the start of a REQ's private data; what follows is the consumer's.
    pub fn parse(private_data: &[u8]) -> Result<(&IpCm, &[u8]), Malformed> {
        let (header, rest) = IpCm::ref_from_prefix(private_data).map_err(|_| Malformed::IpCm)?;
        if header.version != 0 || !matches!(header.ip_version >> 4, 4 | 6) {
            return Err(Malformed::IpCm);
        }
        Ok((header, rest))
    }

    /// The host's address.
    pub fn source(&self) -> IpAddr {
        self.address(self.source_address)
    }

    /// The address that the host asked for.
    pub fn destination(&self) -> IpAddr {
        self.address(self.destination_address)
    }

    fn address(&self, octets: [u8; 16]) -> IpAddr {
        let [.., a, b, c, d] = octets;
        if self.ip_version >> 4 == 4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(octets).into() }
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut octets = [0; 16];
            octets[12..].copy_from_slice(&v4.octets());
            octets
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}
