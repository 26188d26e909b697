//! Frames: captured ones, random ones of every kind that the card's parser knows, and either with mistakes.

use std::fs::File;
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapReader;

use crate::dice::Dice;

/// Addresses of random frames: IPv4 ones as they are in IPv6.
pub(crate) const MAPPED: u128 = 0xffff_0000_0000;

/// Every captured frame of the repository.
pub(crate) fn captured() -> Vec<Vec<u8>> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures")];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "pcap") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut frames = Vec::new();
    for file in files {
        let mut reader = PcapReader::new(File::open(&file).expect("a readable capture")).expect("a pcap file");
        while let Some(record) = reader.next_packet() {
            frames.push(record.expect("a whole record").data.into_owned());
        }
    }
    frames
}

/// The ones' complement sum of RFC 1071, complemented.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let sum: u32 = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    (!((folded >> 16) + (folded & 0xffff)) as u16).to_be_bytes()
}

/// A frame that the parser takes, or one with a mistake.
pub(crate) fn random(dice: &mut Dice) -> Vec<u8> {
    let mut frame = dice.bytes(12);
    if dice.below(3) == 0 {
        frame.extend([0x81, 0, dice.of(&[0, 0x20, 0xe0]), dice.below(6) as u8]);
    }
    match dice.below(10) {
        0 => arp(&mut frame, dice),
        1..=5 => ipv4(&mut frame, dice),
        6..=8 => ipv6(&mut frame, dice),
        _ => {
            frame.extend(dice.bytes(2));
            let more = dice.below(60);
            frame.extend(dice.bytes(more));
        }
    }
    if dice.below(3) == 0 {
        // Ethernet's padding.
        let more = dice.below(20);
        frame.extend(dice.bytes(more));
    }
    if dice.below(8) == 0 {
        let bit = dice.below(frame.len() * 8);
        frame[bit / 8] ^= 0x80 >> (bit % 8);
    }
    if dice.below(12) == 0 {
        frame.truncate(dice.below(frame.len() + 1));
    }
    frame
}

fn arp(frame: &mut Vec<u8>, dice: &mut Dice) {
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, dice.of(&[1, 1, 2])]);
    for _ in 0..2 {
        frame.extend(dice.bytes(6));
        frame.extend([0, 0, 0, dice.below(6) as u8]);
    }
}

/// A UDP datagram to the port of RoCE v2, or to another.
fn datagram(dice: &mut Dice) -> Vec<u8> {
    let opcode = dice.of(&[
        0, 3, 4, 6, 7, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17, 0x64, 0x65, 0x81, 0x55,
    ]);
    let mut transport = vec![opcode, dice.of(&[0, 0, 0x10, 0x30, 1]), 0xff, 0xff, 0x40, 0, 0, dice.below(9) as u8];
    let more = 4 + dice.below(80);
    transport.extend(dice.bytes(more));
    let mut udp = vec![0, dice.below(12) as u8, 0x12, dice.of(&[0xb7, 0xb7, 0xb7, 0xb7, 0xb7, 0xb6])];
    udp.extend((transport.len() as u16 + 8).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(transport);
    udp
}

fn ipv4(frame: &mut Vec<u8>, dice: &mut Dice) {
    let (protocol, behind) = match dice.below(6) {
        0 => (1, [&[dice.of(&[8, 8, 0]), 0][..], &dice.bytes(8)].concat()),
        1 if dice.below(3) == 0 => (6, dice.bytes(20)),
        _ => (17, datagram(dice)),
    };
    let mut header = vec![0x45, dice.next() as u8];
    header.extend((20 + behind.len() as u16).to_be_bytes());
    header.extend([dice.next() as u8, 3, 0x40, 0, 64, protocol, 0, 0]);
    header.extend([0, 0, 0, dice.below(6) as u8, 0, 0, 0, dice.below(6) as u8]);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    frame.extend([8, 0]);
    frame.extend(header);
    frame.extend(behind);
}

fn ipv6(frame: &mut Vec<u8>, dice: &mut Dice) {
    let mut address = || match dice.below(8) {
        0 => [0; 16],
        _ => (MAPPED | dice.below(6) as u128).to_be_bytes(),
    };
    let (source, destination, target) = (address(), address(), address());
    let (next, behind) = match dice.below(4) {
        0 => {
            // A neighbour solicitation whose sum is right.
            let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target].concat();
            if dice.below(2) == 0 {
                message.extend([dice.of(&[1, 1, 2]), 1]);
                message.extend(dice.bytes(6));
            }
            let sum = checksum(&[&source, &destination, &[0, 0, 0, message.len() as u8, 0, 0, 0, 58], &message]);
            message[2..4].copy_from_slice(&sum);
            (58, message)
        }
        1 => (58, [&[dice.of(&[128, 129]), 0][..], &dice.bytes(10)].concat()),
        _ => (dice.of(&[17, 17, 17, 17, 44]), datagram(dice)),
    };
    frame.extend([0x86, 0xdd, 0x60 | dice.below(16) as u8]);
    frame.extend(dice.bytes(3));
    frame.extend((behind.len() as u16).to_be_bytes());
    frame.extend([next, 255]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(behind);
}
