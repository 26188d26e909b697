//! ARP, echo and neighbour discovery: requests built by hand from the RFCs, and the answers to them.

use gantry_host_wire::ethernet::Mac;
use gantry_host_wire::packet::{self, Class, Icmp6, Malformed};
use gantry_host_wire::{arp, icmp, ipv4};
use gantry_wire::ip;

const HOST: Mac = [2, 0, 0, 0, 0, 1];
const CARD: Mac = [2, 0, 0, 0, 0, 9];
const HOST6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const CARD6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

fn ethernet(destination: Mac, tag: &[u8], ether_type: [u8; 2]) -> Vec<u8> {
    [&destination[..], &HOST, tag, &ether_type].concat()
}

fn ipv4_frame(tag: &[u8], options: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = ((header_len + payload.len()) as u16).to_be_bytes();
    let mut ip = vec![0x40 | (header_len / 4) as u8, 0, total[0], total[1], 0x12, 0x34, 0, 0, 17, protocol, 0, 0];
    ip.extend([10, 0, 0, 1, 10, 0, 0, 9]);
    ip.extend(options);
    let sum = ip::checksum(0, &ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    [ethernet(CARD, tag, [8, 0]), ip, payload.to_vec()].concat()
}

fn echo(kind: u8) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0xbe, 0xef, 0, 7];
    message.extend(0..57);
    let sum = ip::checksum(0, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

fn ipv6_frame(source: [u8; 16], destination: [u8; 16], next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let ip = [0x60, 0, 0, 0, length[0], length[1], next_header, hop_limit];
    [&ethernet(CARD, &[], [0x86, 0xdd])[..], &ip, &source, &destination, payload].concat()
}

/// Puts the right checksum in an ICMPv6 message.
fn sealed(source: &[u8; 16], destination: &[u8; 16], mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let pseudo = ip::pseudo_header_sum(source, destination, message.len() as u16, 58);
    let sum = ip::checksum(pseudo, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

fn solicitation(source: [u8; 16], hop_limit: u8, options: &[u8]) -> Vec<u8> {
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &CARD6, options].concat();
    ipv6_frame(source, CARD6, 58, hop_limit, &sealed(&source, &CARD6, message))
}

#[test]
fn arp_says_where_the_address_is_and_keeps_the_vlan() {
    let ask = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &HOST, &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 9]].concat();
    // Priority 3, VLAN 100, and padding to the shortest Ethernet frame.
    let frame = [ethernet([0xff; 6], &[0x81, 0, 0x60, 100], [8, 6]), ask, vec![0; 14]].concat();
    let packet = packet::parse(&frame).unwrap();
    assert_eq!((packet.class, packet.vlan, packet.end), (Class::Arp, 100, 46));

    let mut out = [0; 64];
    let len = arp::emit_reply(&packet, &frame, CARD, &mut out).unwrap();
    let answer = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &CARD, &[10, 0, 0, 9], &HOST, &[10, 0, 0, 1]].concat();
    let expected = [&HOST[..], &CARD, &[0x81, 0, 0, 100, 8, 6], &answer].concat();
    assert_eq!(out[..len], expected);

    let reply = packet::parse(&out[..len]).unwrap();
    assert_eq!(arp::emit_reply(&reply, &out[..len], HOST, &mut [0; 64]), None, "a reply is not answered");
}

#[test]
fn echo_comes_back_whole_and_without_options() {
    for options in [&[][..], &[1, 1, 1, 0]] {
        let frame = ipv4_frame(&[], options, 1, &echo(8));
        let packet = packet::parse(&frame).unwrap();
        assert_eq!(packet.class, Class::EchoRequest4);
        let mut out = [0; 256];
        let len = icmp::emit_echo_reply(&packet, &frame, CARD, &mut out).unwrap();
        let reply = packet::parse(&out[..len]).expect("right lengths and checksums");
        assert_eq!((reply.source_mac, reply.dest_mac, reply.l4), (CARD, HOST, 34));
        assert_eq!(reply.addresses(&out), (ipv4::mapped([10, 0, 0, 9]), ipv4::mapped([10, 0, 0, 1])));
        assert_eq!(out[34..36], [0, 0], "echo reply");
        assert_eq!(out[38..len], frame[usize::from(packet.l4) + 4..], "identifier, sequence and data");
    }
}

#[test]
fn echo_of_ipv6_comes_back_whole() {
    let frame = ipv6_frame(HOST6, CARD6, 58, 64, &sealed(&HOST6, &CARD6, echo(128)));
    let packet = packet::parse(&frame).unwrap();
    assert_eq!(packet.class, Class::Icmp6(Icmp6::EchoRequest));
    let mut out = [0; 256];
    let len = icmp::emit_echo_reply(&packet, &frame, CARD, &mut out).unwrap();
    let reply = packet::parse(&out[..len]).expect("right lengths and checksum");
    assert_eq!(reply.addresses(&out), (CARD6, HOST6));
    assert_eq!(out[54], 129);
    assert_eq!(out[58..len], frame[58..]);
    assert_eq!(icmp::emit_echo_reply(&packet, &frame, CARD, &mut out[..100]), None, "no room");
}

#[test]
fn a_solicitation_is_answered_to_who_asked() {
    let frame = solicitation(HOST6, 255, &[&[1, 1][..], &HOST].concat());
    let packet = packet::parse(&frame).unwrap();
    assert_eq!(packet.class, Class::Icmp6(Icmp6::NeighborSolicitation));
    assert_eq!(icmp::solicited_target(&packet, &frame), CARD6);
    let mut out = [0; 128];
    let len = icmp::emit_neighbor_advertisement(&packet, &frame, CARD, &mut out).unwrap();
    assert_eq!(len, 86);
    let answer = packet::parse(&out[..len]).expect("right lengths and checksum");
    assert_eq!((answer.dest_mac, answer.addresses(&out)), (HOST, (CARD6, HOST6)));
    assert_eq!((out[21], out[54], out[58]), (255, 136, 0x60), "hop limit; type; solicited, override");
    assert_eq!(out[62..86], [&CARD6[..], &[2, 1], &CARD].concat());
}

#[test]
fn a_solicitation_without_a_source_is_answered_to_all() {
    let frame = solicitation([0; 16], 255, &[]);
    let packet = packet::parse(&frame).unwrap();
    let mut out = [0; 128];
    let len = icmp::emit_neighbor_advertisement(&packet, &frame, CARD, &mut out).unwrap();
    let answer = packet::parse(&out[..len]).expect("right lengths and checksum");
    assert_eq!(answer.dest_mac, [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(answer.addresses(&out).1, [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(out[58], 0x20, "override, not solicited");
}

#[test]
fn what_is_bent_is_refused_by_name() {
    let good = ipv4_frame(&[], &[], 1, &echo(8));
    let bent = |at: usize, value: u8, seal: bool| {
        let mut frame = good.clone();
        frame[at] = value;
        if seal {
            frame[24..26].fill(0);
            let sum = ip::checksum(0, &frame[14..34]).to_be_bytes();
            frame[24..26].copy_from_slice(&sum);
        }
        packet::parse(&frame).map(|packet| packet.class)
    };
    assert_eq!(bent(14, 0x55, true), Err(Malformed::Ipv4Header));
    assert_eq!(bent(14, 0x44, true), Err(Malformed::Ipv4Header));
    assert_eq!(bent(16, 0xff, true), Err(Malformed::Ipv4Length));
    assert_eq!(bent(17, 19, true), Err(Malformed::Ipv4Length));
    assert_eq!(bent(22, 16, false), Err(Malformed::Ipv4Checksum));
    assert_eq!(bent(20, 0x20, true), Err(Malformed::Fragment), "more fragments");
    assert_eq!(bent(21, 1, true), Err(Malformed::Fragment), "an offset");
    assert_eq!(bent(50, 0x99, false), Err(Malformed::IcmpChecksum));
    assert_eq!(bent(23, 17, true), Ok(Class::Other), "UDP to another port");
    assert_eq!(packet::parse(&good[..13]), Err(Malformed::EthernetLength));

    assert_eq!(packet::parse(&solicitation(HOST6, 64, &[])), Err(Malformed::NeighborSolicitation), "crossed a router");
    assert_eq!(packet::parse(&solicitation(HOST6, 255, &[1, 0])), Err(Malformed::NeighborSolicitation), "empty option");
    let fragment = ipv6_frame(HOST6, CARD6, 44, 64, &[58, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(packet::parse(&fragment), Err(Malformed::Fragment));
    let hop_by_hop = packet::parse(&ipv6_frame(HOST6, CARD6, 0, 64, &[58, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(hop_by_hop.map(|packet| packet.class), Ok(Class::Other));
    let other_arp = [&ethernet(CARD, &[], [8, 6])[..], &[0, 6, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
    assert_eq!(packet::parse(&other_arp), Err(Malformed::ArpKind));

    // RoCE: UDP length 21 where IP says 20.
    let udp = ipv4_frame(&[], &[], 17, &[0xc0, 0, 0x12, 0xb7, 0, 21, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(packet::parse(&udp), Err(Malformed::UdpLength));
    // A BTH whose pad is longer than what is left.
    let bth = [4, 0x30, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 0];
    let mut udp = vec![0xc0, 0, 0x12, 0xb7, 0, 24, 0, 0];
    udp.extend(bth);
    udp.extend([0; 4]);
    let frame = ipv4_frame(&[], &[], 17, &udp);
    let packet = packet::parse(&frame).unwrap();
    assert_eq!(packet.roce(&frame), Err(Malformed::TransportLength));
}
