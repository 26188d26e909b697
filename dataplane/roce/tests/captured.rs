//! A stock Linux host's side of real connections, against our queue pair in the place of the target that it was
//! captured with: we answer each of its requests with the ACK that it got, send the target's requests as the target
//! did, packet by packet, and take the host's ACKs and READ responses for them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use gantry_host_wire::packet::{self, Class};
use gantry_roce::*;
use gantry_wire::ib::Opcode;
use pcap_file::pcap::PcapReader;

/// The initiator in every capture.
const HOST: [u8; 4] = [10, 9, 0, 2];

struct Packet {
    from_host: bool,
    transport: Transport,
    payload_len: u32,
}

/// The reliable connections of a capture, by UDP source port, which both directions share.
fn connections(file: &Path) -> BTreeMap<u16, Vec<Packet>> {
    let mut reader = PcapReader::new(File::open(file).expect("a capture")).expect("a pcap file");
    let mut connections: BTreeMap<u16, Vec<Packet>> = BTreeMap::new();
    while let Some(record) = reader.next_packet() {
        let frame = record.expect("a whole record").data;
        let packet = packet::parse(&frame).expect("well-formed");
        if packet.class != Class::Roce {
            continue;
        }
        let roce = packet.roce(&frame).expect("well-formed");
        if roce.transport.opcode.is_rc() {
            let headers = packet::RoceHeaders::of(&packet, &frame);
            connections.entry(headers.udp_source).or_default().push(Packet {
                from_host: headers.source_ip[12..] == HOST,
                transport: roce.transport,
                payload_len: u32::from(roce.payload_len),
            });
        }
    }
    connections
}

/// What a replay went through.
#[derive(Debug, Default)]
struct Replayed {
    connections: usize,
    messages: usize,
    acks: usize,
    requests: usize,
    completions: usize,
    duplicates: usize,
}

/// Replays one connection.
fn replay(packets: &[Packet], mtu: u16, place: &str, replayed: &mut Replayed) {
    let first = |from_host: bool| {
        let mut requests = packets.iter().filter(|p| p.from_host == from_host && p.transport.opcode.is_request());
        requests.next().map_or(Psn::new(0), |p| p.transport.psn)
    };
    let remote_qpn = packets.iter().find(|p| !p.from_host).map_or(Qpn::new(0), |p| p.transport.dest_qpn);
    let mut qp = Qp::new(&QpConfig {
        qpn: Qpn::new(1),
        remote_qpn,
        receive_psn: first(true),
        send_psn: first(false),
        mtu,
        pkey: 0xffff,
        ack_timeout_ns: 2_147_483_648,
        retry_count: 7,
        rnr_retry_count: 7,
        rnr_timer: 12,
        reads_max: 128,
        responder_reads_max: 0,
    });
    let mut works = WorkPool::new(256);
    let mut cookie = 0;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (index, packet) in packets.iter().enumerate() {
        let (now_ns, t) = (index as u64, &packet.transport);
        if packet.from_host {
            let plan = qp.plan(t, packet.payload_len, &works, &NoMemory);
            match plan {
                Plan::Receive { .. } | Plan::ReadResponse { .. } | Plan::Acknowledge => {}
                // The host lost patience, not a packet.
                Plan::Duplicate => replayed.duplicates += 1,
                _ => panic!("{place}: {t:?} is {plan:?}"),
            }
            let outcome = qp.commit(now_ns, t, packet.payload_len, &plan, &mut works);
            replayed.messages += usize::from(matches!(outcome, Outcome::Message { .. }));
            if t.opcode.is_request() && t.ack_request {
                let ack = qp.poll_transmit(now_ns, &mut works).expect("AckReq is answered").transport;
                ours.push((ack.opcode, ack.psn, ack.aeth.expect("an ACK")));
            }
        } else if t.opcode == Opcode::Acknowledge {
            theirs.push((t.opcode, t.psn, t.aeth.expect("an ACK")));
        } else {
            if let Some(kind) = begun(t) {
                let length = t.reth.map_or(packet.payload_len, |reth| reth.dma_length);
                qp.post(&mut works, Work { cookie, kind, length }).expect("room");
                cookie += 1;
            }
            let sent = qp.poll_transmit(now_ns, &mut works).unwrap_or_else(|| panic!("{place}: nothing for {t:?}"));
            // Where it asks before a message's end is the sender's own choice.
            let ack_request = if t.opcode.ends() { t.ack_request } else { sent.transport.ack_request };
            assert_eq!(sent.transport, Transport { ack_request, ..*t }, "{place}");
            assert_eq!(sent.payload.len(), packet.payload_len, "{place}");
            replayed.requests += 1;
        }
        while let Some(completion) = qp.poll_completion(&mut works) {
            assert_eq!(completion.status, Status::Success);
            replayed.completions += 1;
        }
    }
    // A capture may begin behind a connection's first message: MSNs count from there.
    for acks in [&mut ours, &mut theirs] {
        let base = acks.first().map_or(0, |ack| ack.2.msn);
        acks.iter_mut().for_each(|ack| ack.2.msn -= base);
    }
    let common = ours.len().min(theirs.len());
    assert!(ours.len() - common <= 1, "{place}: the capture may end before the target's last ACK");
    assert_eq!(ours[..common], theirs[..], "{place}: ACKs");
    assert_eq!(qp.failure(), None);
    qp.abort(&mut works, |_| ());
    assert_eq!(works.available(), works.capacity());
    replayed.connections += 1;
    replayed.acks += common;
}

/// The work that a packet of the target begins.
fn begun(t: &Transport) -> Option<WorkKind> {
    let memory = t.reth.map(|reth| (reth.virtual_address, reth.rkey));
    match (t.opcode, memory) {
        (Opcode::ReadRequest, Some((address, rkey))) => Some(WorkKind::Read { address, rkey }),
        (Opcode::WriteFirst | Opcode::WriteOnly, Some((address, rkey))) => {
            Some(WorkKind::Write { address, rkey, immediate: None })
        }
        (Opcode::SendOnly | Opcode::SendOnlyInvalidate, _) => {
            Some(WorkKind::Send { invalidate: t.invalidate, immediate: None })
        }
        (Opcode::WriteMiddle | Opcode::WriteLast, _) => None,
        _ => panic!("no capture has a target's {t:?}"),
    }
}

#[test]
fn a_stock_host_gets_what_it_got() {
    let mut replayed = Replayed::default();
    for (folder, mtu) in [("mtu1024", 1024), ("mtu4096", 4096)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures").join(folder);
        for entry in folder.read_dir().expect("captures") {
            let file = entry.expect("a readable folder").path();
            for (port, packets) in connections(&file) {
                let place = format!("{} port {port}", file.display());
                replay(&packets, mtu, &place, &mut replayed);
            }
        }
    }
    assert!(replayed.connections >= 27 && replayed.messages >= 179 && replayed.acks >= 180, "{replayed:?}");
    assert!(replayed.requests >= 480 && replayed.completions >= 275, "{replayed:?}");
    assert!(replayed.duplicates >= 1, "{replayed:?}");
}
