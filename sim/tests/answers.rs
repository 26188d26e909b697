//! What the card answers without control — ARP, echo, neighbour solicitation — is what the RFCs written out by hand
//! (gantry-host-wire) answer, byte for byte; and with one bit wrong both answer, or neither.

use gantry::channel::operation::{AddressAdd, PortAdd};
use gantry::channel::session::Hello;
use gantry::channel::{self, Frame, Kind, Name, VERSION};
use gantry_host_wire::packet::{self, Class, Icmp6, Packet};
use gantry_host_wire::{arp, ethernet, icmp, ipv4};
use gantry_pipeline::state::Sizes;
use gantry_sim::card::Card;
use gantry_sim::wire::Wire;
use gantry_wire::ip;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

const SIZES: Sizes = Sizes { qps: 4, commands: 64, pages: 64, namespaces: 8, addresses: 4 };
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HOST_4: [u8; 4] = [10, 0, 0, 1];
const CARD_4: [u8; 4] = [10, 0, 0, 9];
const HOST_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const CARD_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const VLAN: u16 = 100;

/// A card with both addresses, with a tag and without.
struct Bench {
    card: Card,
    wire: Wire,
    now_ns: u64,
}

impl Bench {
    fn new() -> Self {
        let mut card = Card::new(0, 1, SIZES, 5, 1);
        let mut say = |kind, body: &[u8], tail: &[u8]| {
            assert!(card.housekeeping.handle_frame(1, &channel::emit(kind, 1, body, tail)));
        };
        let (major, minor) = (U16::new(VERSION.0), U16::new(VERSION.1));
        say(Kind::Hello, Hello { major, minor, reserved: U32::ZERO, epoch: U64::new(1) }.as_bytes(), &[]);
        say(Kind::Begin, &[], &[]);
        let port = PortAdd { port: U16::ZERO, mtu: U16::new(1500), name: Name::new("wire0") };
        say(Kind::PortAdd, port.as_bytes(), b"wire:net0");
        for vlan in [0, VLAN] {
            for ip in [ipv4::mapped(CARD_4), CARD_6] {
                let address = AddressAdd { port: U16::ZERO, vlan: U16::new(vlan), ip };
                say(Kind::AddressAdd, address.as_bytes(), &[]);
            }
        }
        say(Kind::Prepare, &[], &[]);
        say(Kind::Commit, &[], &[]);
        let mut now_ns = 1;
        for _ in 0..20 {
            now_ns += 1_000_000;
            card.poll_lcores(now_ns);
            card.keep_house(now_ns);
        }
        let said: Vec<Kind> = std::iter::from_fn(|| card.housekeeping.poll_frame())
            .map(|bytes| Frame::parse(&bytes).expect("a frame").kind)
            .collect();
        assert_eq!(said.last(), Some(&Kind::Committed), "{said:?}");
        let wire = card.wire("net0").expect("the port is open");
        Self { card, wire, now_ns }
    }

    /// What the card sends for this frame.
    fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        assert!(self.wire.send(frame));
        for _ in 0..4 {
            self.now_ns += 1_000;
            self.card.poll_lcores(self.now_ns);
        }
        let (mut answer, mut second) = (Vec::new(), Vec::new());
        let answered = self.wire.receive(&mut answer);
        assert!(!self.wire.receive(&mut second), "one answer");
        answered.then_some(answer)
    }
}

/// What is answered by hand.
fn by_hand(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = packet::parse(frame).ok()?;
    if ![0, VLAN].contains(&packet.vlan) || !is_ours(&packet, frame) {
        return None;
    }
    let (mac, mut out) = (Card::mac(0), vec![0; 2048]);
    let length = match packet.class {
        Class::Arp => arp::emit_reply(&packet, frame, mac, &mut out)?,
        Class::EchoRequest4 | Class::Icmp6(Icmp6::EchoRequest) => icmp::emit_echo_reply(&packet, frame, mac, &mut out)?,
        Class::Icmp6(Icmp6::NeighborSolicitation) => icmp::emit_neighbor_advertisement(&packet, frame, mac, &mut out)?,
        Class::Roce | Class::Other => return None,
    };
    out.truncate(length);
    Some(out)
}

/// Whether the address that is asked, or asked for, is the card's.
fn is_ours(packet: &Packet, frame: &[u8]) -> bool {
    match packet.class {
        Class::Arp => arp::Arp::of(packet, frame).target_ip == CARD_4,
        Class::Icmp6(Icmp6::NeighborSolicitation) => icmp::solicited_target(packet, frame) == CARD_6,
        _ => [ipv4::mapped(CARD_4), CARD_6].contains(&packet.addresses(frame).1),
    }
}

fn framed(destination: [u8; 6], vlan: u16, ether_type: u16, behind: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::LEN + ethernet::VLAN_LEN];
    let length = ethernet::emit(destination, HOST, vlan, ether_type, &mut frame);
    frame.truncate(length);
    frame.extend(behind);
    // Ethernet's shortest frame is 60 bytes.
    frame.resize(frame.len().max(60), 0);
    frame
}

fn arp_request(vlan: u16) -> Vec<u8> {
    let ask = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &HOST, &HOST_4, &[0; 6], &CARD_4].concat();
    framed([0xff; 6], vlan, ethernet::ARP, &ask)
}

fn echo(kind: u8, data: usize) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0xbe, 0xef, 0, 7];
    message.extend((0..data).map(|at| at as u8));
    message
}

fn sealed(pseudo: u32, mut message: Vec<u8>) -> Vec<u8> {
    let sum = ip::checksum(pseudo, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

fn echo_4(vlan: u16, data: usize) -> Vec<u8> {
    let message = sealed(0, echo(icmp::ECHO_REQUEST, data));
    let length = ((ipv4::LEN + message.len()) as u16).to_be_bytes();
    let mut ip_header = [&[0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 17, 1, 0, 0][..], &HOST_4, &CARD_4].concat();
    let sum = ip::checksum(0, &ip_header).to_be_bytes();
    ip_header[10..12].copy_from_slice(&sum);
    framed(Card::mac(0), vlan, ethernet::IPV4, &[ip_header, message].concat())
}

fn icmp_6(source: [u8; 16], vlan: u16, hop_limit: u8, message: Vec<u8>) -> Vec<u8> {
    let length = message.len() as u16;
    let message = sealed(ip::pseudo_header_sum(&source, &CARD_6, length, 58), message);
    let length = length.to_be_bytes();
    let header = [&[0x60, 0, 0, 0, length[0], length[1], 58, hop_limit][..], &source, &CARD_6].concat();
    framed(Card::mac(0), vlan, ethernet::IPV6, &[header, message].concat())
}

fn solicitation(source: [u8; 16], vlan: u16, hop_limit: u8, option: &[u8]) -> Vec<u8> {
    let message = [&[icmp::NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &CARD_6, option].concat();
    icmp_6(source, vlan, hop_limit, message)
}

/// Questions that are answered, by name.
fn questions(vlan: u16) -> Vec<(&'static str, Vec<u8>)> {
    let source_address = [&[1, 1][..], &HOST].concat();
    vec![
        ("ARP", arp_request(vlan)),
        ("echo", echo_4(vlan, 56)),
        ("echo of nothing", echo_4(vlan, 0)),
        ("echo of an odd length", echo_4(vlan, 57)),
        ("IPv6 echo", icmp_6(HOST_6, vlan, 64, echo(icmp::ECHO_REQUEST6, 56))),
        ("IPv6 echo of an odd length", icmp_6(HOST_6, vlan, 64, echo(icmp::ECHO_REQUEST6, 1))),
        ("solicitation", solicitation(HOST_6, vlan, 255, &source_address)),
        ("solicitation without an option", solicitation(HOST_6, vlan, 255, &[])),
        ("solicitation without an address", solicitation([0; 16], vlan, 255, &[])),
    ]
}

#[test]
fn the_card_answers_what_is_answered_by_hand() {
    let mut bench = Bench::new();
    for vlan in [0, VLAN] {
        for (name, frame) in questions(vlan) {
            let expected = by_hand(&frame).unwrap_or_else(|| panic!("{name}: no answer by hand"));
            assert_eq!(bench.answer(&frame), Some(expected), "{name}, VLAN {vlan}");
        }
    }
}

#[test]
fn the_card_is_silent_where_nothing_is_answered_by_hand() {
    let mut bench = Bench::new();
    for (name, frame) in questions(VLAN + 1) {
        assert_eq!((by_hand(&frame), bench.answer(&frame)), (None, None), "{name} on another VLAN");
    }
    let routed = solicitation(HOST_6, 0, 254, &[]);
    assert_eq!((by_hand(&routed), bench.answer(&routed)), (None, None), "a solicitation that crossed a router");
}

#[test]
fn with_a_bit_wrong_both_answer_or_neither() {
    let mut bench = Bench::new();
    let (mut answered, mut silent) = (0, 0);
    for (name, frame) in questions(VLAN) {
        let l3 = ethernet::LEN + ethernet::VLAN_LEN;
        for bit in l3 * 8..frame.len() * 8 {
            let mut wrong = frame.clone();
            wrong[bit / 8] ^= 0x80 >> (bit % 8);
            let (expected, answer) = (by_hand(&wrong), bench.answer(&wrong));
            assert_eq!(answer.is_some(), expected.is_some(), "{name}, bit {bit}");
            // Traffic class and flow label of an answer are the sender's own choice.
            let own_choice = wrong[l3] >> 4 == 6 && bit < (l3 + 4) * 8;
            if !own_choice {
                assert_eq!(answer, expected, "{name}, bit {bit}");
            }
            if answer.is_some() { answered += 1 } else { silent += 1 }
        }
    }
    // Padding, ARP's target MAC, traffic class and flow label answer; all else is under a checksum.
    assert!(answered > 300 && silent > 3000, "{answered} answered, {silent} not");
}
