//! The repository's captures of real hosts and targets, a frame at a time, with its RoCE part found.

#![allow(dead_code)] // each test reads its own part

use gantry_host_wire::packet::{self, Class, Roce};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A frame of a capture whose headers have been read.
pub(crate) struct Captured {
    /// Which capture and which frame of it, for messages.
    pub(crate) place: String,
    /// IPv6 or mapped IPv4 addresses, source and destination.
    pub(crate) addresses: ([u8; 16], [u8; 16]),
    /// UDP source port.
    pub(crate) udp_source: u16,
    /// The transport's headers.
    pub(crate) roce: Roce,
    /// Behind them, without pad.
    pub(crate) payload: Vec<u8>,
    /// From the IP header to the end of the pad: what the ICRC is over.
    pub(crate) l3: Vec<u8>,
    /// The ICRC behind it, as its bytes lie.
    pub(crate) icrc: [u8; 4],
}

/// Every RoCE frame of the capture `name`, below `tests/captures`.
pub(crate) fn roce_frames(name: &str) -> Vec<Captured> {
    let path = directory().join(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = pcap_file::pcap::PcapReader::new(file).expect("a capture's header");
    let mut frames = Vec::new();
    let mut number = 0;
    while let Some(record) = reader.next_packet() {
        let frame = record.expect("a whole record").data;
        number += 1;
        let place = format!("{name} frame {number}");
        let parsed = packet::parse(&frame).unwrap_or_else(|error| panic!("{place}: {error:?}"));
        if parsed.class != Class::Roce {
            continue;
        }
        let roce = parsed.roce(&frame).unwrap_or_else(|error| panic!("{place}: {error:?}"));
        let payload = frame[usize::from(roce.payload)..][..usize::from(roce.payload_len)].to_vec();
        let l4 = usize::from(parsed.l4);
        let udp_source = u16::from_be_bytes([frame[l4], frame[l4 + 1]]);
        let (l3, end) = (usize::from(parsed.l3), usize::from(roce.icrc));
        let icrc = frame[end..end + 4].try_into().expect("four bytes");
        let (addresses, l3) = (parsed.addresses(&frame), frame[l3..end].to_vec());
        frames.push(Captured { place, addresses, udp_source, roce, payload, l3, icrc });
    }
    frames
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures")
}
