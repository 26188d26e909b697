//! Real captures, both ways: every frame parses, every ICRC holds, and what was parsed emits the same bytes.
//!
//! The captures in tests/captures were taken from stock Linux hosts (rdma_rxe, nvme-rdma). A whole folder of others
//! is checked when GANTRY_CAPTURES names it.

use std::fs::File;
use std::path::{Path, PathBuf};

use gantry_host_wire::arp;
use gantry_host_wire::packet::{self, Class, HEADER_MAX, Icmp6, Packet, RoceHeaders};
use gantry_wire::ib;
use gantry_wire::icrc::{MASKED_MAX, masked_prefix};
use pcap_file::pcap::PcapReader;

/// What a capture held.
#[derive(Debug, Default)]
struct Seen {
    frames: usize,
    roce: usize,
    arp_replies: usize,
}

#[test]
fn captures_round_trip() {
    let seen = check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures"));
    assert!(seen.frames >= 1329 && seen.roce >= 1313 && seen.arp_replies >= 6, "captures are missing: {seen:?}");
    if let Some(folder) = std::env::var_os("GANTRY_CAPTURES") {
        let seen = check_folder(Path::new(&folder));
        println!("{}: {seen:?}", Path::new(&folder).display());
        assert!(seen.roce > 0, "no RoCE packet in {}", folder.display());
    }
}

fn check_folder(folder: &Path) -> Seen {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no captures in {}", folder.display());
    let mut seen = Seen::default();
    for file in files {
        check_file(&file, &mut seen);
    }
    seen
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "pcap") {
            files.push(path);
        }
    }
}

fn check_file(file: &Path, seen: &mut Seen) {
    let mut reader = PcapReader::new(File::open(file).expect("a readable capture")).expect("a pcap file");
    let mut requests: Vec<(Packet, Vec<u8>)> = Vec::new();
    let mut number = 0;
    while let Some(record) = reader.next_packet() {
        let frame = record.expect("a whole record").data;
        number += 1;
        let place = format!("{} frame {number}", file.display());
        let packet = packet::parse(&frame).unwrap_or_else(|reason| panic!("{place}: {reason:?}"));
        seen.frames += 1;
        match packet.class {
            Class::Roce => {
                check_roce(&packet, &frame, &place);
                seen.roce += 1;
            }
            Class::Arp if arp::Arp::of(&packet, &frame).operation.get() == arp::REQUEST => {
                requests.push((packet, frame.to_vec()));
            }
            Class::Arp => seen.arp_replies += usize::from(check_arp_reply(&packet, &frame, &requests, &place)),
            Class::EchoRequest4 | Class::Icmp6(Icmp6::EchoRequest | Icmp6::NeighborSolicitation) | Class::Other => {}
        }
    }
}

fn check_roce(packet: &Packet, frame: &[u8], place: &str) {
    let roce = packet.roce(frame).unwrap_or_else(|reason| panic!("{place}: {reason:?}"));
    let (payload, icrc) = (usize::from(roce.payload), usize::from(roce.icrc));
    assert_eq!(payload + usize::from(roce.payload_len) + usize::from(roce.transport.pad), icrc, "{place}: lengths");
    assert_eq!(icrc + ib::ICRC_LEN, usize::from(packet.end), "{place}: end");

    let l3 = &frame[usize::from(packet.l3)..icrc];
    assert_eq!(crc(l3).to_le_bytes(), frame[icrc..icrc + 4], "{place}: ICRC");

    let mut out = [0; HEADER_MAX];
    let emitted = RoceHeaders::of(packet, frame).emit_roce(&roce.transport, usize::from(roce.payload_len), &mut out);
    assert_eq!(emitted.l3, usize::from(packet.l3), "{place}: start of IP");
    assert_eq!(out[..emitted.header_len], frame[..payload], "{place}: headers");
}

fn crc(l3: &[u8]) -> u32 {
    let mut prefix = [0; MASKED_MAX];
    let len = masked_prefix(l3, &mut prefix).expect("headers fit");
    let mut crc = crc32fast::Hasher::new();
    crc.update(&prefix[..len]);
    crc.update(&l3[len - 8..]);
    crc.finalize()
}

/// A captured reply is what we would have answered to the request before it.
fn check_arp_reply(packet: &Packet, frame: &[u8], requests: &[(Packet, Vec<u8>)], place: &str) -> bool {
    let reply = arp::Arp::of(packet, frame);
    let asked = requests.iter().rev().find(|(packet, frame)| {
        let request = arp::Arp::of(packet, frame);
        (request.target_ip, request.sender_ip) == (reply.sender_ip, reply.target_ip)
    });
    let Some((packet, request)) = asked else { return false };
    let mut out = [0; 64];
    let len = arp::emit_reply(packet, request, reply.sender_mac, &mut out).expect("a request");
    assert_eq!(out[..len], frame[..len], "{place}: ARP reply");
    true
}
