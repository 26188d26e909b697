//! A whole frame at once: one walk over its headers on the way in, all of them written at once on the way out. Layout
//! comes from the header modules; this file knows only how they nest.

use gantry_wire::ib::{ICRC_LEN, Transport};
use zerocopy::{FromBytes, IntoBytes};

use crate::ethernet::{self, Ethernet, Mac, VlanTag};
use crate::ipv4::{self, Ipv4};
use crate::ipv6::{self, Ipv6};
use crate::udp::{self, Udp};
use crate::{arp, ib, icmp};

/// The longest headers that [`RoceHeaders::emit_roce`] writes, in bytes.
pub const HEADER_MAX: usize = ethernet::LEN + ethernet::VLAN_LEN + ipv6::LEN + udp::LEN + ib::HEADER_MAX;

/// Why a frame is not what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its Ethernet header and tag, or longer than 65,535 bytes.
    EthernetLength,
    /// Shorter than an ARP message.
    ArpLength,
    /// ARP, but not for IPv4 over Ethernet.
    ArpKind,
    /// IPv4 version, or header length.
    Ipv4Header,
    /// IPv4 total length against the frame's.
    Ipv4Length,
    /// IPv4 header checksum.
    Ipv4Checksum,
    /// IPv6 version, or a frame shorter than the header.
    Ipv6Header,
    /// IPv6 payload length against the frame's.
    Ipv6Length,
    /// A fragment, of either version.
    Fragment,
    /// UDP length against the IP datagram's.
    UdpLength,
    /// ICMP message too short.
    IcmpLength,
    /// ICMP checksum.
    IcmpChecksum,
    /// A solicitation that RFC 4861 §7.1.1 tells to discard.
    NeighborSolicitation,
    /// Too short for the headers of its opcode, its pad and the ICRC.
    TransportLength,
    /// BTH version other than 0.
    TransportVersion,
    /// Neither one of reliable connection, nor a datagram's SEND, nor a CNP.
    Opcode,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// ARP for IPv4, of any operation.
    Arp,
    /// An ICMP echo request.
    EchoRequest4,
    /// An ICMPv6 message that wants an answer.
    Icmp6(Icmp6),
    /// UDP to port 4791, of either version.
    Roce,
    /// Well-formed as far as it was read, and none of these.
    Other,
}

/// The ICMPv6 messages that want an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp6 {
    /// Who has this address?
    NeighborSolicitation,
    /// An echo request.
    EchoRequest,
}

/// Where a frame's headers are. Offsets count bytes from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// VLAN id; 0 when there is no tag, or only a priority in it.
    pub vlan: u16,
    /// Source MAC address.
    pub source_mac: Mac,
    /// Destination MAC address.
    pub dest_mac: Mac,
    /// EtherType behind the tag, if any.
    pub ether_type: u16,
    /// Where the network header (or ARP message) begins.
    pub l3: u16,
    /// Where what the network header carries begins; the end for ARP and [`Class::Other`] EtherTypes.
    pub l4: u16,
    /// Where the IP datagram (or ARP message) ends; Ethernet padding lies behind.
    pub end: u16,
    /// What the frame is for.
    pub class: Class,
}

/// The transport part of a RoCE packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roce {
    /// BTH and extensions.
    pub transport: Transport,
    /// Where the payload begins, in bytes from the frame's start.
    pub payload: u16,
    /// Length of the payload without its pad, in bytes.
    pub payload_len: u16,
    /// Where the four bytes of the ICRC are. What it covers ends here.
    pub icrc: u16,
}

/// Reads a frame's headers up to the transport.
pub fn parse(frame: &[u8]) -> Result<Packet, Malformed> {
    let (ethernet, mut rest) = Ethernet::ref_from_prefix(frame).map_err(|_| Malformed::EthernetLength)?;
    let frame_len = u16::try_from(frame.len()).map_err(|_| Malformed::EthernetLength)?;
    let mut ether_type = ethernet.ether_type.get();
    let mut vlan = 0;
    if ether_type == ethernet::VLAN {
        let (tag, behind) = VlanTag::ref_from_prefix(rest).map_err(|_| Malformed::EthernetLength)?;
        vlan = tag.tci.get() & ethernet::VLAN_ID_MASK;
        ether_type = tag.ether_type.get();
        rest = behind;
    }
    let l3 = frame_len - rest.len() as u16;
    // Lengths below were checked against `rest`, so that every sum stays within `frame_len`.
    let (header_len, len, class) = match ether_type {
        ethernet::IPV4 => {
            let (ip, header_len) = Ipv4::parse(rest)?;
            let total = usize::from(ip.total_length.get());
            let inner = &rest[header_len..total];
            let class = match ip.protocol {
                ipv4::UDP => classify_udp(inner)?,
                ipv4::ICMP => icmp::classify4(inner)?,
                _ => Class::Other,
            };
            (header_len, total, class)
        }
        ethernet::IPV6 => {
            let ip = Ipv6::parse(rest)?;
            let total = ipv6::LEN + usize::from(ip.payload_length.get());
            let inner = &rest[ipv6::LEN..total];
            let class = match ip.next_header {
                ipv6::UDP => classify_udp(inner)?,
                ipv6::ICMP6 => icmp::classify6(ip, inner)?,
                _ => Class::Other,
            };
            (ipv6::LEN, total, class)
        }
        ethernet::ARP => {
            arp::Arp::parse(rest)?;
            (arp::LEN, arp::LEN, Class::Arp)
        }
        _ => (rest.len(), rest.len(), Class::Other),
    };
    Ok(Packet {
        vlan,
        source_mac: ethernet.source,
        dest_mac: ethernet.destination,
        ether_type,
        l3,
        l4: l3 + header_len as u16,
        end: l3 + len as u16,
        class,
    })
}

/// UDP to another port is not looked into, so that its lengths are its receiver's affair.
fn classify_udp(datagram: &[u8]) -> Result<Class, Malformed> {
    let (udp, _) = Udp::ref_from_prefix(datagram).map_err(|_| Malformed::UdpLength)?;
    if udp.destination_port.get() != udp::ROCE_V2 {
        return Ok(Class::Other);
    }
    Udp::parse(datagram)?;
    Ok(Class::Roce)
}

impl Packet {
    /// The IPv4 header, when there is one.
    pub fn ipv4<'f>(&self, frame: &'f [u8]) -> Option<&'f Ipv4> {
        let (ip, _) = Ipv4::ref_from_prefix(&frame[usize::from(self.l3)..]).ok()?;
        (self.ether_type == ethernet::IPV4).then_some(ip)
    }

    /// The IPv6 header, when there is one.
    pub fn ipv6<'f>(&self, frame: &'f [u8]) -> Option<&'f Ipv6> {
        let (ip, _) = Ipv6::ref_from_prefix(&frame[usize::from(self.l3)..]).ok()?;
        (self.ether_type == ethernet::IPV6).then_some(ip)
    }

    /// Source and destination address, IPv4 mapped into IPv6; zeros when the frame is no IP datagram.
    pub fn addresses(&self, frame: &[u8]) -> ([u8; 16], [u8; 16]) {
        if let Some(ip) = self.ipv4(frame) {
            (ipv4::mapped(ip.source), ipv4::mapped(ip.destination))
        } else if let Some(ip) = self.ipv6(frame) {
            (ip.source, ip.destination)
        } else {
            ([0; 16], [0; 16])
        }
    }

    /// The transport part of a packet of class [`Class::Roce`]. Checked: opcode, and that headers, pad and
    /// ICRC fit.
    ///
    /// # Panics
    /// When `frame` is not the one this packet was parsed from.
    pub fn roce(&self, frame: &[u8]) -> Result<Roce, Malformed> {
        let start = usize::from(self.l4) + udp::LEN;
        let bytes = &frame[start..usize::from(self.end)];
        let (transport, header_len) = ib::parse(bytes)?;
        let behind = usize::from(transport.pad) + ICRC_LEN;
        let payload_len = bytes.len().checked_sub(header_len + behind).ok_or(Malformed::TransportLength)?;
        Ok(Roce {
            transport,
            payload: (start + header_len) as u16,
            payload_len: payload_len as u16,
            icrc: self.end - ICRC_LEN as u16,
        })
    }
}

/// Everything below the transport that an outgoing RoCE packet needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoceHeaders {
    /// The sender's MAC address.
    pub source_mac: Mac,
    /// The next hop's MAC address.
    pub dest_mac: Mac,
    /// Tag control information: PCP, DEI and VLAN id; 0 for no tag.
    pub vlan: u16,
    /// Source address, of the same version as the destination.
    pub source_ip: [u8; 16],
    /// Destination address; a mapped one means IPv4.
    pub dest_ip: [u8; 16],
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// Time to live or hop limit.
    pub hop_limit: u8,
    /// IPv4 identification.
    pub ip_id: u16,
    /// UDP source port.
    pub udp_source: u16,
}

/// What [`RoceHeaders::emit_roce`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Length of all headers, in bytes: where the payload goes.
    pub header_len: usize,
    /// Where the IP header begins: where the ICRC does.
    pub l3: usize,
}

impl RoceHeaders {
    /// What a RoCE packet came with, to send the same again.
    pub fn of(packet: &Packet, frame: &[u8]) -> RoceHeaders {
        let (source_ip, dest_ip) = packet.addresses(frame);
        let (traffic_class, hop_limit, ip_id) = match (packet.ipv4(frame), packet.ipv6(frame)) {
            (Some(ip), _) => (ip.type_of_service, ip.time_to_live, ip.identification.get()),
            (_, Some(ip)) => (ip.traffic_class(), ip.hop_limit, 0),
            _ => (0, 0, 0),
        };
        let udp = Udp::ref_from_prefix(&frame[usize::from(packet.l4)..]).map(|(udp, _)| udp);
        RoceHeaders {
            source_mac: packet.source_mac,
            dest_mac: packet.dest_mac,
            vlan: packet.vlan,
            source_ip,
            dest_ip,
            traffic_class,
            hop_limit,
            ip_id,
            udp_source: udp.map_or(0, |udp| udp.source_port.get()),
        }
    }

    /// Writes Ethernet, IP, UDP and transport headers for a packet of `payload_len` bytes, whose pad is
    /// `transport.pad`. The caller puts payload, pad and ICRC behind. `out` must hold [`HEADER_MAX`] bytes,
    /// or exactly what the headers need.
    ///
    /// # Panics
    /// When `out` is too short, the packet is longer than IP can say, or `transport` lacks an extension.
    pub fn emit_roce(&self, transport: &Transport, payload_len: usize, out: &mut [u8]) -> Emitted {
        let tail = payload_len + usize::from(transport.pad) + ICRC_LEN;
        let udp_len = udp::LEN + ib::header_len(transport.opcode) + tail;
        let ip_v4 = ipv4::unmapped(&self.source_ip).zip(ipv4::unmapped(&self.dest_ip));
        let ether_type = if ip_v4.is_some() { ethernet::IPV4 } else { ethernet::IPV6 };
        let l3 = ethernet::emit(self.dest_mac, self.source_mac, self.vlan, ether_type, out);
        let ip_len = match ip_v4 {
            Some((source, destination)) => {
                let ip = Ipv4 {
                    version_ihl: 0x45,
                    type_of_service: self.traffic_class,
                    total_length: wire_length(ipv4::LEN + udp_len).into(),
                    identification: self.ip_id.into(),
                    flags_fragment: ipv4::DONT_FRAGMENT.into(),
                    time_to_live: self.hop_limit,
                    protocol: ipv4::UDP,
                    header_checksum: 0.into(),
                    source,
                    destination,
                };
                ip.emit(&mut out[l3..])
            }
            None => {
                let ip = Ipv6 {
                    version_class_flow: Ipv6::version_class(self.traffic_class),
                    payload_length: wire_length(udp_len).into(),
                    next_header: ipv6::UDP,
                    hop_limit: self.hop_limit,
                    source: self.source_ip,
                    destination: self.dest_ip,
                };
                ip.emit(&mut out[l3..])
            }
        };
        let l4 = l3 + ip_len;
        let udp = Udp {
            source_port: self.udp_source.into(),
            destination_port: udp::ROCE_V2.into(),
            length: wire_length(udp_len).into(),
            checksum: 0.into(),
        };
        let at = l4 + udp::LEN;
        out[l4..at].copy_from_slice(udp.as_bytes());
        Emitted { header_len: at + ib::emit(transport, &mut out[at..]), l3 }
    }
}

fn wire_length(len: usize) -> u16 {
    u16::try_from(len).expect("a packet is shorter than 64 KiB")
}
