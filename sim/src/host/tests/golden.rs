//! What the host sends, beside what a real Linux 6.1 host sent to a real target.

use super::*;
use gantry_host_wire::packet::{self, Class, Roce};
use gantry_wire::cm::{self, Body, IpCm, Message};
use gantry_wire::ib::Opcode;
use gantry_wire::nvme::{Sqe, nvm};
use std::path::Path;

/// RoCE packets from 10.9.0.2 among frames.
fn from_host(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<(Vec<u8>, Roce)> {
    let mut packets = Vec::new();
    for frame in frames {
        let parsed = packet::parse(&frame).unwrap();
        if parsed.class == Class::Roce && parsed.addresses(&frame).0.ends_with(&[10, 9, 0, 2]) {
            let roce = parsed.roce(&frame).unwrap();
            packets.push((frame, roce));
        }
    }
    packets
}

fn captured(name: &str) -> Vec<(Vec<u8>, Roce)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = pcap_file::pcap::PcapReader::new(file).unwrap();
    let mut frames = Vec::new();
    while let Some(record) = reader.next_packet() {
        frames.push(record.unwrap().data.into_owned());
    }
    from_host(frames)
}

fn payload((frame, roce): &(Vec<u8>, Roce)) -> &[u8] {
    &frame[usize::from(roce.payload)..][..usize::from(roce.payload_len)]
}

fn ours(mtu: u16) -> Vec<(Vec<u8>, Roce)> {
    let mut pair = Pair::with(HostConfig { mtu, ..config() });
    pair.host.connect(SUBNQN, 2, 128, 5000);
    pair.run_until(|host| *host.state() == State::Ready);
    from_host(pair.sent)
}

/// All that a REQ says but what every host draws for itself: ids, QPN, PSN, flow label, port.
fn comparable(req: &cm::Req) -> (cm::Req, Vec<u8>) {
    let mut req = *req;
    req.local_comm_id = 0.into();
    req.set_local_qpn(0).set_starting_psn(0);
    req.primary.set_flow_label(0);
    let (ip, rest) = IpCm::parse(&req.private_data).unwrap();
    let mut private = IpCm::new(ip.source(), 0, ip.destination());
    private.version = ip.version;
    let text = format!("{private:?} {rest:?}").into_bytes();
    req.set_private_data(&[]);
    (req, text)
}

#[test]
fn requests_are_those_of_a_linux_host() {
    for (mtu, name) in [(1500, "mtu1024/b_connect.pcap"), (4200, "mtu4096/b_connect.pcap")] {
        let requests = |packets: &[(Vec<u8>, Roce)]| {
            let mads = packets.iter().filter(|packet| packet.1.transport.opcode == Opcode::UdSendOnly);
            let mut all = Vec::new();
            for mad in mads {
                if let Body::Req(req) = Message::parse(payload(mad)).unwrap().body {
                    all.push(comparable(req));
                }
            }
            all
        };
        let (theirs, ours) = (requests(&captured(name)), requests(&ours(mtu)));
        assert_eq!(theirs.len(), 3);
        assert_eq!(ours, theirs, "{name}");
    }
}

/// A command without CID, address and key: what it asks for and how its data is described.
fn described(sqe: &[u8]) -> String {
    let sgl = &sqe[24..40];
    format!(
        "opcode {:#04x} flags {:#04x} bytes 4-7 {:02x?} length {:02x?} type {:#04x} dwords 10-15 {:02x?}",
        sqe[0],
        sqe[1],
        &sqe[4..8],
        &sgl[8..11],
        sgl[15],
        &sqe[40..64]
    )
}

/// Capsules by connection: one list for the admin queue, then each I/O queue's Connect.
fn commands(packets: &[(Vec<u8>, Roce)]) -> (Vec<String>, Vec<String>) {
    let sends = packets.iter().filter(|packet| {
        matches!(packet.1.transport.opcode, Opcode::SendOnly | Opcode::SendFirst) && payload(packet).len() >= 64
    });
    let mut qpns = Vec::new();
    let (mut admin, mut io) = (Vec::new(), Vec::new());
    for send in sends {
        let qpn = send.1.transport.dest_qpn;
        let sqe = &payload(send)[..64];
        if !qpns.contains(&qpn) {
            qpns.push(qpn);
            if qpns.len() > 1 {
                io.push(described(sqe));
            }
        }
        if qpn == qpns[0] {
            admin.push(described(sqe));
        }
    }
    (admin, io)
}

#[test]
fn commands_are_those_of_a_linux_host_in_its_order() {
    let (theirs, theirs_io) = commands(&captured("mtu1024/b_connect.pcap"));
    let (ours, ours_io) = commands(&ours(1500));
    // Up to the first namespace; the real target had more of them than ours.
    assert_eq!(ours.len(), 19);
    for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "admin command {at}");
    }
    assert_eq!(ours_io, theirs_io);
}

#[test]
fn io_commands_are_those_of_a_linux_host() {
    for name in ["c_read_512", "c_read_4k", "c_read_16k", "c_write_512", "c_write_4k", "c_write_16k"] {
        let theirs = captured(&format!("mtu1024/{name}.pcap"));
        let first = theirs.iter().find(|packet| payload(packet).len() >= 64).unwrap();
        let sqe = Sqe::parse(payload(first)).unwrap();
        let (kind, data) = match sqe.opcode {
            nvm::READ => (IoKind::Read, Vec::new()),
            nvm::WRITE => (IoKind::Write, vec![0; sqe.blocks() as usize * 512]),
            other => panic!("{name}: opcode {other:#x}"),
        };
        let mut pair = Pair::new();
        pair.host.connect(SUBNQN, 1, 32, 5000);
        pair.run_until(|host| *host.state() == State::Ready);
        let before = pair.sent.len();
        pair.io(kind, sqe.slba(), sqe.blocks(), data);
        let ours = from_host(pair.sent.split_off(before));
        let mine = ours.iter().find(|packet| payload(packet).len() >= 64).unwrap();
        assert_eq!(described(&payload(mine)[..64]), described(&payload(first)[..64]), "{name}");
        // Packets of one SEND: opcodes and payload lengths.
        let shape = |packets: &[(Vec<u8>, Roce)]| {
            let sends = packets.iter().filter(|packet| packet.1.transport.opcode.is_send());
            sends.map(|packet| (packet.1.transport.opcode, packet.1.payload_len)).collect::<Vec<_>>()
        };
        let (ours, theirs) = (shape(&ours), shape(&theirs));
        assert_eq!(ours, theirs[..ours.len()], "{name}");
        assert_eq!(pair.host.violations(), []);
    }
}

#[test]
fn below_the_transport_frames_look_like_a_linux_hosts() {
    let headers = |packets: &[(Vec<u8>, Roce)]| {
        let (frame, roce) = packets.iter().find(|packet| packet.1.transport.opcode == Opcode::SendOnly).unwrap();
        let mut bytes = frame[..usize::from(roce.payload)].to_vec();
        // IPv4 identification and checksum, UDP source port, QPN and PSN are each host's own.
        for range in [18..20, 24..26, 34..36, 47..50, 51..54] {
            bytes[range].fill(0);
        }
        bytes
    };
    assert_eq!(headers(&ours(1500)), headers(&captured("mtu1024/b_connect.pcap")));
}
