//! What is captured, and the file.

use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;

/// A packet of a file: time, interface, flags, comment, bytes.
type Packet = (Duration, u32, u32, Option<String>, Vec<u8>);

/// Names of interfaces and all packets.
fn read(file: &[u8]) -> (Vec<String>, Vec<Packet>) {
    let mut reader = PcapNgReader::new(file).expect("a section header");
    let (mut names, mut packets) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a whole block") {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, DataLink::ETHERNET);
                assert!(interface.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                names.extend(interface.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            Block::EnhancedPacket(packet) => {
                assert_eq!(packet.original_len as usize, packet.data.len());
                let (mut flags, mut comment) = (0, None);
                for option in &packet.options {
                    match option {
                        EnhancedPacketOption::Flags(value) => flags = *value,
                        EnhancedPacketOption::Comment(text) => comment = Some(text.to_string()),
                        _ => {}
                    }
                }
                packets.push((packet.timestamp, packet.interface_id, flags, comment, packet.data.to_vec()));
            }
            other => panic!("{other:?}"),
        }
    }
    (names, packets)
}

#[test]
fn the_file_says_where_when_and_what_befell() {
    let (mut network, stations) = network(3);
    network.capture = Some(Capture::new(100, 100_000));
    network.name(stations[0], "host 0");
    network.name(stations[1], "card 0 net0");
    let sent: Vec<_> = (0..4).map(|at| frame(mac(1), 0, at, 61 + at as usize)).collect();

    let plain_ns = 3_000_000_007;
    network.link(stations[1]).1.weather.delay_ns = 40;
    network.send(plain_ns, stations[0], &sent[0]);
    network.advance(plain_ns + 40);
    network.link(stations[0]).0.weather.corruption = 10_000;
    network.link(stations[0]).0.weather.duplication = 10_000;
    network.link(stations[1]).1.queue = Queue { bytes: 10, ..Queue::OPEN };
    network.send(plain_ns + 100, stations[0], &sent[1]);
    network.advance(plain_ns + 100);
    network.link(stations[1]).1.queue = Queue::OPEN;
    network.link(stations[0]).0.weather.corruption = 0;
    network.send(plain_ns + 200, stations[0], &sent[2]);
    network.advance(plain_ns + 200);
    network.link(stations[0]).0.weather = Weather { cut: true, ..Weather::FAIR };
    network.send(plain_ns + 300, stations[0], &sent[3]);
    network.advance(plain_ns + 1_000);

    let mut file = Vec::new();
    network.write_pcapng(&mut file).unwrap();
    let (names, packets) = read(&file);
    assert_eq!(names, ["host 0", "card 0 net0", "station 2"]);
    let told: Vec<_> = packets
        .iter()
        .map(|(at, interface, flags, comment, _)| {
            ((at.as_nanos() as u64 - plain_ns), *interface, *flags, comment.as_deref().unwrap_or(""))
        })
        .collect();
    assert_eq!(
        told,
        [
            (0, 0, 2, ""),
            (40, 1, 1, ""),
            (100, 0, 2, "duplicated, corrupted"),
            (100, 1, 1, "dropped by a full queue, corrupted"),
            (100, 1, 1, "dropped by a full queue, duplicated, corrupted"),
            (200, 0, 2, "duplicated"),
            (240, 1, 1, ""),
            (240, 1, 1, "duplicated"),
            (300, 0, 2, "dropped by a partition"),
        ]
    );
    let bytes: Vec<_> = packets.into_iter().map(|(.., bytes)| bytes).collect();
    for (at, number) in [(0, 0), (1, 0), (2, 1), (5, 2), (6, 2), (7, 2), (8, 3)] {
        assert_eq!(bytes[at], sent[number], "as it was sent");
    }
    assert!(bytes[3] != sent[1] && bytes[4] != sent[1], "as it would have arrived");
}

#[test]
fn the_ring_keeps_the_last_frames_within_both_bounds() {
    let numbers = |frames_max, bytes_max| {
        let (mut network, stations) = network(2);
        network.capture = Some(Capture::new(frames_max, bytes_max));
        for at in 0..50 {
            network.send(0, stations[0], &frame(mac(1), 0, at, if at == 20 { 900 } else { 100 }));
        }
        let records = network.capture.as_ref().unwrap().records();
        let numbers: Vec<u32> = records.map(|record| number(&record.bytes)).collect();
        network.advance(0);
        let held: usize = network.capture.as_ref().unwrap().records().map(|record| record.bytes.len()).sum();
        assert!(held <= bytes_max);
        numbers
    };
    // What is sent arrives at once when the next is sent.
    assert_eq!(numbers(4, 100_000), [47, 48, 48, 49]);
    assert_eq!(numbers(100, 350), [48, 48, 49]);
    assert_eq!(numbers(0, 1_000), []);
    assert_eq!(numbers(10, 50), []);
}

#[test]
fn a_capture_changes_nothing() {
    let run = |capture| {
        let (mut network, stations) = network(2);
        network.capture = capture;
        let weather = Weather { loss: 1_000, duplication: 1_000, corruption: 1_000, ..Weather::FAIR };
        network.link(stations[0]).0.weather = weather;
        for at in 0..500 {
            network.send(u64::from(at), stations[0], &frame(mac(1), 0, at, 64));
        }
        (arrivals(&mut network), network.counters())
    };
    assert!(run(None) == run(Some(Capture::new(10, 10_000))));
}
