//! ICMP echo (RFC 792), ICMPv6 echo (RFC 4443 §4) and neighbour discovery (RFC 4861 §4.3, §4.4): what
//! asks for an answer, and the answer.

use gantry_wire::ip::{checksum, pseudo_header_sum};
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::{self, Mac};
use crate::ipv4::{self, Ipv4};
use crate::ipv6::{self, Ipv6};
use crate::packet::{Class, Icmp6, Malformed, Packet};

/// Length of the header that echo and its reply share, in bytes.
pub const LEN: usize = size_of::<Icmp>();
/// ICMP type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// ICMP type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// ICMPv6 type: echo request.
pub const ECHO_REQUEST6: u8 = 128;
/// ICMPv6 type: echo reply.
pub const ECHO_REPLY6: u8 = 129;
/// ICMPv6 type: neighbour solicitation.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// ICMPv6 type: neighbour advertisement.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// Time to live and hop limit of an answer to an echo.
const HOP_LIMIT: u8 = 64;
/// Hop limit of neighbour discovery: proof that no router was crossed.
const HOP_LIMIT_LINK: u8 = 255;
/// All nodes on the link, and its MAC address.
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// The header of every ICMP and ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum; ICMPv6's includes the pseudo-header.
    pub checksum: U16,
    /// By type: identifier and sequence number of an echo, flags of an advertisement.
    pub rest: U32,
}

/// A neighbour solicitation or advertisement without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Neighbor {
    /// The common header.
    pub icmp: Icmp,
    /// The address that is asked for, or told of.
    pub target: [u8; 16],
}

/// The target link-layer address option (RFC 4861 §4.6.1).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LinkAddress {
    kind: u8,
    eights: u8,
    mac: Mac,
}

/// Advertisement flag: an answer to a solicitation.
const SOLICITED: u32 = 1 << 30;
/// Advertisement flag: replaces what was known.
const OVERRIDE: u32 = 1 << 29;

/// What an ICMP message that fills `bytes` asks for. Checked: length and checksum.
pub(crate) fn classify4(bytes: &[u8]) -> Result<Class, Malformed> {
    let (icmp, _) = Icmp::ref_from_prefix(bytes).map_err(|_| Malformed::IcmpLength)?;
    if checksum(0, bytes) != 0 {
        return Err(Malformed::IcmpChecksum);
    }
    let echo = (icmp.kind, icmp.code) == (ECHO_REQUEST, 0);
    Ok(if echo { Class::EchoRequest4 } else { Class::Other })
}

/// What an ICMPv6 message that fills `bytes` behind `ip` asks for. Checked: length, checksum, and for a
/// solicitation what RFC 4861 §7.1.1 demands.
pub(crate) fn classify6(ip: &Ipv6, bytes: &[u8]) -> Result<Class, Malformed> {
    let (icmp, _) = Icmp::ref_from_prefix(bytes).map_err(|_| Malformed::IcmpLength)?;
    let length = ip.payload_length.get();
    let pseudo = pseudo_header_sum(&ip.source, &ip.destination, length, ipv6::ICMP6);
    if checksum(pseudo, bytes) != 0 {
        return Err(Malformed::IcmpChecksum);
    }
    match (icmp.kind, icmp.code) {
        (ECHO_REQUEST6, 0) => Ok(Class::Icmp6(Icmp6::EchoRequest)),
        (NEIGHBOR_SOLICITATION, 0) => {
            let (neighbor, mut options) = Neighbor::ref_from_prefix(bytes).map_err(|_| Malformed::IcmpLength)?;
            if ip.hop_limit != HOP_LIMIT_LINK || neighbor.target[0] == 0xff {
                return Err(Malformed::NeighborSolicitation);
            }
            while let Some(eights) = options.get(1) {
                let len = usize::from(*eights) * 8;
                if len == 0 || len > options.len() {
                    return Err(Malformed::NeighborSolicitation);
                }
                options = &options[len..];
            }
            Ok(Class::Icmp6(Icmp6::NeighborSolicitation))
        }
        _ => Ok(Class::Other),
    }
}

/// Writes the reply to an echo request of either version, from `mac`; answers its length, or nothing when
/// the frame is no echo request or the reply does not fit in `out`. Whether the address is ours is the
/// caller's to know.
pub fn emit_echo_reply(packet: &Packet, frame: &[u8], mac: Mac, out: &mut [u8]) -> Option<usize> {
    let message = &frame[usize::from(packet.l4)..usize::from(packet.end)];
    if out.len() < ethernet::LEN + ethernet::VLAN_LEN + ipv6::LEN + message.len() {
        return None;
    }
    let (kind, pseudo, at) = match packet.class {
        Class::EchoRequest4 => {
            let request = packet.ipv4(frame)?;
            let at = ethernet::emit(packet.source_mac, mac, packet.vlan, ethernet::IPV4, out);
            let ip = Ipv4 {
                version_ihl: 0x45,
                type_of_service: request.type_of_service,
                total_length: u16::try_from(ipv4::LEN + message.len()).ok()?.into(),
                identification: 0.into(),
                flags_fragment: ipv4::DONT_FRAGMENT.into(),
                time_to_live: HOP_LIMIT,
                protocol: ipv4::ICMP,
                header_checksum: 0.into(),
                source: request.destination,
                destination: request.source,
            };
            (ECHO_REPLY, 0, at + ip.emit(&mut out[at..]))
        }
        Class::Icmp6(Icmp6::EchoRequest) => {
            let request = packet.ipv6(frame)?;
            let at = ethernet::emit(packet.source_mac, mac, packet.vlan, ethernet::IPV6, out);
            let ip = Ipv6 {
                version_class_flow: Ipv6::version_class(request.traffic_class()),
                hop_limit: HOP_LIMIT,
                source: request.destination,
                destination: request.source,
                ..*request
            };
            let length = ip.payload_length.get();
            let pseudo = pseudo_header_sum(&ip.source, &ip.destination, length, ipv6::ICMP6);
            (ECHO_REPLY6, pseudo, at + ip.emit(&mut out[at..]))
        }
        _ => return None,
    };
    let reply = &mut out[at..at + message.len()];
    reply.copy_from_slice(message);
    reply[0] = kind;
    emit_checksum(pseudo, reply);
    Some(at + message.len())
}

/// The address that a neighbour solicitation asks for.
pub fn solicited_target(packet: &Packet, frame: &[u8]) -> [u8; 16] {
    let (neighbor, _) = Neighbor::ref_from_prefix(&frame[usize::from(packet.l4)..]).expect("parsed as solicitation");
    neighbor.target
}

/// Writes the advertisement that says the solicited address is at `mac`; answers its length, or nothing when
/// the frame is no solicitation. Whether the address is ours is the caller's to know.
pub fn emit_neighbor_advertisement(packet: &Packet, frame: &[u8], mac: Mac, out: &mut [u8]) -> Option<usize> {
    if packet.class != Class::Icmp6(Icmp6::NeighborSolicitation) {
        return None;
    }
    let request = packet.ipv6(frame)?;
    let target = solicited_target(packet, frame);
    // One who asks without an address yet is told with all others (RFC 4861 §7.2.4).
    let unspecified = request.source == [0; 16];
    let (destination, destination_mac, flags) = if unspecified {
        (ALL_NODES, ALL_NODES_MAC, OVERRIDE)
    } else {
        (request.source, packet.source_mac, SOLICITED | OVERRIDE)
    };
    let len = size_of::<Neighbor>() + size_of::<LinkAddress>();
    let at = ethernet::emit(destination_mac, mac, packet.vlan, ethernet::IPV6, out);
    let ip = Ipv6 {
        version_class_flow: Ipv6::version_class(0),
        payload_length: (len as u16).into(),
        next_header: ipv6::ICMP6,
        hop_limit: HOP_LIMIT_LINK,
        source: target,
        destination,
    };
    let at = at + ip.emit(&mut out[at..]);
    let icmp = Icmp { kind: NEIGHBOR_ADVERTISEMENT, code: 0, checksum: 0.into(), rest: flags.into() };
    let (neighbor, option) = out[at..at + len].split_at_mut(size_of::<Neighbor>());
    neighbor.copy_from_slice(Neighbor { icmp, target }.as_bytes());
    option.copy_from_slice(LinkAddress { kind: 2, eights: 1, mac }.as_bytes());
    let pseudo = pseudo_header_sum(&ip.source, &ip.destination, len as u16, ipv6::ICMP6);
    emit_checksum(pseudo, &mut out[at..at + len]);
    Some(at + len)
}

/// Puts the checksum in an ICMP message that is otherwise complete.
fn emit_checksum(pseudo: u32, message: &mut [u8]) {
    message[2..4].fill(0);
    let checksum = checksum(pseudo, message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}
