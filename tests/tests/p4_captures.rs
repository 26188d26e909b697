//! Real frames through packet.p4's parser in the compiler's interpreter, against the one of gantry-host-wire, which is
//! written by hand: what each of them takes, refuses and reads. Two readings of the same specifications, neither of which knows the other.

#![forbid(unsafe_code)]

use std::fs::File;
use std::path::{Path, PathBuf};

use gantry_host_wire::packet::{self, Class, Malformed, Roce};
use gantry_p4c::interpret::{Machine, Outcome, Recorder};
use gantry_p4c::ir::{HeaderId, Program};
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;
use gantry_wire::ib::Transport;
use pcap_file::pcap::PcapReader;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// packet.p4's parser alone: nothing changes the packet behind it but its deparser, which puts it together again.
fn parser() -> Program {
    let mut sources = Sources::default();
    let options = Options { include_folders: vec![root().join("p4/include")], ..Options::default() };
    let program = gantry_p4c::compile(&root().join("p4/packet.p4"), &options, &mut sources);
    let mut program = program.unwrap_or_else(|mistakes| {
        panic!("{}", gantry_p4c::diagnostics::render(&mistakes, &sources, false));
    });
    program.control = None;
    program
}

/// Every frame of the captures in the repository, with its place for messages.
fn frames() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    collect(&root().join("tests/captures"), &mut files);
    files.sort();
    let mut frames = Vec::new();
    for file in files {
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        let mut reader = PcapReader::new(File::open(&file).expect("a readable capture")).expect("a pcap file");
        let mut number = 0;
        while let Some(record) = reader.next_packet() {
            number += 1;
            frames.push((format!("{name} frame {number}"), record.expect("a whole record").data.into_owned()));
        }
    }
    frames
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

/// What the program's parser made of a frame.
struct Read<'p> {
    program: &'p Program,
    outcome: Outcome,
}

impl Read<'_> {
    fn of<'p>(program: &'p Program, frame: &[u8]) -> Read<'p> {
        let outcome = Machine::new(program).run(frame, &[], &mut Recorder::new(program));
        Read { program, outcome }
    }

    fn value(&self, name: &str) -> u128 {
        let place = self.program.vars.iter().position(|var| var.name == name).unwrap_or_else(|| panic!("no {name}"));
        self.outcome.values[place]
    }

    fn has(&self, name: &str) -> bool {
        let place = self.program.headers.iter().position(|header| header.name == name);
        self.outcome.is_valid(HeaderId(place.unwrap_or_else(|| panic!("no {name}")) as u32))
    }

    fn error(&self) -> &str {
        &self.program.errors[self.outcome.parser_error as usize]
    }
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

/// What gantry-host-wire makes of a frame, and of its transport if it has one.
fn wire(frame: &[u8]) -> Result<(packet::Packet, Option<Roce>), Malformed> {
    let packet = packet::parse(frame)?;
    let roce = if packet.class == Class::Roce { Some(packet.roce(frame)?) } else { None };
    Ok((packet, roce))
}

#[test]
fn captured_frames_are_read_alike() {
    let program = parser();
    let (mut all, mut transports) = (0, 0);
    for (place, frame) in frames() {
        let (packet, roce) = wire(&frame).unwrap_or_else(|reason| panic!("{place}: {reason:?}"));
        let read = Read::of(&program, &frame);
        assert!(read.outcome.accepted, "{place}: {}", read.outcome.trace_text(&program));
        assert_eq!(read.value("hdr.ethernet.destination"), number(&packet.dest_mac), "{place}");
        assert_eq!(read.value("hdr.ethernet.source"), number(&packet.source_mac), "{place}");
        assert_eq!(read.value("meta.vid"), packet.vlan.into(), "{place}");
        assert_eq!(read.has("hdr.arp"), packet.class == Class::Arp, "{place}");
        let (source, destination) = packet.addresses(&frame);
        if packet.class != Class::Arp {
            assert_eq!(read.value("meta.remote_ip"), number(&source), "{place}");
            assert_eq!(read.value("meta.local_ip"), number(&destination), "{place}");
        }
        assert_eq!(read.has("hdr.bth"), roce.is_some(), "{place}");
        if let Some(roce) = roce {
            same_transport(&read, &roce.transport, &place);
            assert_eq!(read.value("meta.payload_bytes"), roce.payload_len.into(), "{place}");
            assert_eq!(frame.len() - read.outcome.payload.len(), usize::from(roce.payload), "{place}");
            transports += 1;
        }
        assert_eq!(read.outcome.packet(), frame, "{place}: it was taken apart and put together again");
        all += 1;
    }
    assert!(all >= 1329 && transports >= 1313, "captures are missing: {all} frames, {transports} with a transport");
}

fn same_transport(read: &Read<'_>, transport: &Transport, place: &str) {
    let fields = [
        ("hdr.bth.opcode", transport.opcode as u128),
        ("hdr.bth.solicited", transport.solicited.into()),
        ("hdr.bth.ack_request", transport.ack_request.into()),
        ("hdr.bth.pkey", transport.pkey.into()),
        ("hdr.bth.dest_qp", transport.dest_qpn.value().into()),
        ("hdr.bth.psn", transport.psn.value().into()),
        ("hdr.bth.pad", transport.pad.into()),
        ("hdr.bth.fecn", transport.fecn.into()),
        ("hdr.bth.becn", transport.becn.into()),
    ];
    for (name, value) in fields {
        assert_eq!(read.value(name), value, "{place}: {name}");
    }
    for (header, there) in [
        ("hdr.reth", transport.reth.is_some()),
        ("hdr.aeth", transport.aeth.is_some()),
        ("hdr.deth", transport.deth.is_some()),
        ("hdr.immediate", transport.immediate.is_some()),
        ("hdr.ieth", transport.invalidate.is_some()),
    ] {
        assert_eq!(read.has(header), there, "{place}: {header}");
    }
}

#[test]
fn frames_cut_short_are_refused_by_both() {
    let program = parser();
    let mut cut = 0;
    for (place, frame) in frames().into_iter().step_by(40) {
        let Ok((packet, Some(_))) = wire(&frame) else { continue };
        for length in
            (0..usize::from(packet.end)).filter(|length| *length < 80 || length + 64 >= usize::from(packet.end))
        {
            let read = Read::of(&program, &frame[..length]);
            let both = (wire(&frame[..length]).is_ok(), read.outcome.accepted);
            assert_eq!(both, (false, false), "{place}, {length} bytes: {}", read.error());
            cut += 1;
        }
    }
    assert!(cut > 2000, "{cut}");
}

#[test]
fn frames_with_a_wrong_bit_are_refused_or_read_alike() {
    let program = parser();
    let (mut taken, mut refused) = (0, 0);
    for (place, frame) in frames().into_iter().step_by(60) {
        let Ok((packet, Some(_))) = wire(&frame) else { continue };
        // The IP, UDP and transport headers, bit by bit.
        for bit in usize::from(packet.l3) * 8..(usize::from(packet.l4) + 20) * 8 {
            let mut wrong = frame.clone();
            wrong[bit / 8] ^= 0x80 >> (bit % 8);
            let read = Read::of(&program, &wrong);
            let known = wire(&wrong);
            let text = || format!("{place}, bit {bit}: {known:?}, {}", read.outcome.trace_text(&program));
            assert_eq!(known.is_ok(), read.outcome.accepted, "{}", text());
            match known {
                Ok((_, roce)) => {
                    assert_eq!(read.has("hdr.bth"), roce.is_some(), "{}", text());
                    if let Some(roce) = roce {
                        same_transport(&read, &roce.transport, &text());
                        assert_eq!(read.value("meta.payload_bytes"), roce.payload_len.into(), "{}", text());
                    }
                    taken += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(taken > 500 && refused > 500, "{taken} taken, {refused} refused");
}
