//! Every Fabrics command, Connect's data and discovery log that a real host and target exchanged parses and comes out
//! again byte for byte from the values of its fields.

mod capture_files;

use capture_files::{Captured, roce_frames};
use gantry_wire::fabrics::{
    AddressFamily, Command, Connect, ConnectAccepted, ConnectData, ConnectInvalid, DISCOVERY_NQN, DiscoveryEntry,
    DiscoveryHeader, Fabric, OPCODE, PROPERTY_4_BYTES, PROPERTY_8_BYTES, PropertyGet, PropertySet, SubsystemType,
};
use gantry_wire::ib::Opcode;
use gantry_wire::nvme::{Cqe, Sgl, Sqe, Status, admin, register};
use std::collections::HashMap;
use zerocopy::{FromBytes, IntoBytes};

const CAPTURES: [&str; 8] = [
    "mtu1024/a_discover.pcap",
    "mtu1024/b_connect.pcap",
    "mtu1024/d_disconnect.pcap",
    "mtu1024/e_hostnotallowed.pcap",
    "mtu1024/e_wrongnqn.pcap",
    "mtu1024/f_reset.pcap",
    "mtu4096/b_connect.pcap",
    "mtu4096/a_discover.pcap",
];

/// The command in a frame that carries a capsule.
fn capsule(frame: &Captured) -> Option<[u8; 64]> {
    let sqe: [u8; 64] = frame.payload.get(..64)?.try_into().unwrap();
    matches!(frame.roce.transport.opcode, Opcode::SendFirst | Opcode::SendOnly).then_some(sqe)
}

#[test]
fn every_command_comes_out_the_same() {
    let (mut connects, mut gets, mut sets) = (0, 0, 0);
    for name in CAPTURES {
        for frame in roce_frames(name) {
            let Some(sqe) = capsule(&frame).filter(|sqe| sqe[0] == OPCODE) else { continue };
            assert_eq!(sqe[1], Sqe::FLAGS_SGL, "{}", frame.place);
            let rebuilt = match Command::parse(&sqe).unwrap() {
                Command::Connect(old) => {
                    connects += 1;
                    // The admin queue's data is always the host's to be read; an I/O queue's may be in the capsule.
                    match Sgl::parse(&old.sgl1) {
                        Some(Sgl::Keyed { length: 1024, invalidate: true, .. }) => {}
                        Some(Sgl::InCapsule { offset: 0, length: 1024 }) => assert_ne!(old.qid.get(), 0),
                        other => panic!("{}: {other:?}", frame.place),
                    }
                    let mut new = Connect::new();
                    (new.flags, new.cid, new.sgl1, new.recfmt) = (old.flags, old.cid, old.sgl1, old.recfmt);
                    (new.qid, new.sqsize, new.cattr, new.kato) = (old.qid, old.sqsize, old.cattr, old.kato);
                    new.as_bytes().to_vec()
                }
                Command::PropertyGet(old) => {
                    gets += 1;
                    let wide = u32::from(old.attrib == PROPERTY_8_BYTES) as usize;
                    assert_eq!(wide == 1, old.ofst.get() as usize == register::CAP, "{}", frame.place);
                    let mut new = PropertyGet::new();
                    (new.flags, new.cid, new.sgl1) = (old.flags, old.cid, old.sgl1);
                    (new.attrib, new.ofst) = (old.attrib, old.ofst);
                    new.as_bytes().to_vec()
                }
                Command::PropertySet(old) => {
                    sets += 1;
                    assert_eq!((old.attrib, old.ofst.get() as usize), (PROPERTY_4_BYTES, register::CC));
                    let mut new = PropertySet::new();
                    (new.flags, new.cid, new.sgl1) = (old.flags, old.cid, old.sgl1);
                    (new.attrib, new.ofst, new.value) = (old.attrib, old.ofst, old.value);
                    new.as_bytes().to_vec()
                }
                other => panic!("{}: {other:?}", frame.place),
            };
            assert_eq!(rebuilt, sqe, "{}", frame.place);
        }
    }
    assert_eq!(Connect::FCTYPE, 1);
    assert_eq!((connects, gets, sets), (CONNECTS, GETS, SETS));
}

/// What eight captures hold: seven associations, of which two never came past Connect, and what they read and wrote.
const CONNECTS: usize = 13;
const GETS: usize = 29;
const SETS: usize = 14;

#[test]
fn connect_data_comes_out_the_same_and_is_answered() {
    let (mut seen, mut data_seen) = (Vec::new(), 0);
    for name in CAPTURES {
        let mut connects = Vec::new();
        // By R_Key, those whose data the target reads; then READ request by PSN.
        let (mut keyed, mut reads) = (HashMap::new(), HashMap::new());
        let mut in_capsule = None;
        for frame in roce_frames(name) {
            let transport = &frame.roce.transport;
            if let Some(sqe) = capsule(&frame).filter(|sqe| sqe[0] == OPCODE && sqe[4] == Connect::FCTYPE) {
                let connect = Connect::read_from_bytes(&sqe).unwrap();
                connects.push(connect.cid);
                match Sgl::parse(&connect.sgl1) {
                    Some(Sgl::Keyed { key, .. }) => drop(keyed.insert(key, connect)),
                    _ => in_capsule = Some((connect, frame.payload[64..].to_vec())),
                }
            }
            match transport.opcode {
                Opcode::ReadRequest => drop(reads.insert(transport.psn.value(), transport.reth.unwrap().rkey.0)),
                Opcode::ReadResponseOnly => {
                    if let Some(connect) = reads.get(&transport.psn.value()).and_then(|rkey| keyed.get(rkey)) {
                        check_connect_data(&frame, connect, &frame.payload);
                        data_seen += 1;
                    }
                }
                Opcode::SendOnly if frame.payload.len() == 64 + 1024 => {
                    let (connect, data) = in_capsule.take().expect("only a Connect is this long");
                    check_connect_data(&frame, &connect, &data);
                    data_seen += 1;
                }
                Opcode::SendLast => {
                    let (connect, mut data) = in_capsule.take().expect("only a Connect is longer than a packet");
                    data.extend_from_slice(&frame.payload);
                    check_connect_data(&frame, &connect, &data);
                    data_seen += 1;
                }
                _ => {}
            }
            // Its answer, with the R_Key invalidated if there was one.
            if matches!(transport.opcode, Opcode::SendOnly | Opcode::SendOnlyInvalidate)
                && frame.payload.len() == Cqe::LEN
                && let cqe = Cqe::parse(&frame.payload).unwrap()
                && let Some(at) = connects.iter().position(|&cid| cid == cqe.cid)
            {
                if let Some(key) = transport.invalidate {
                    assert_eq!(keyed.remove(&key.0).expect("a Connect's key").cid, cqe.cid, "{}", frame.place);
                }
                connects.remove(at);
                seen.push((name, cqe.status(), cqe.dw0.get()));
            }
        }
        assert!(connects.is_empty() && keyed.is_empty(), "{name}: a Connect without an answer");
    }
    assert_eq!(data_seen, CONNECTS);
    assert_eq!(seen.len(), CONNECTS);
    for (name, status, dw0) in seen {
        match name {
            "mtu1024/e_wrongnqn.pcap" => {
                assert_eq!(status, Status::CONNECT_INVALID_PARAMETERS.with_dnr());
                assert_eq!(ConnectInvalid::from_dw0(dw0), ConnectInvalid::SUBNQN);
            }
            "mtu1024/e_hostnotallowed.pcap" => {
                assert_eq!(status, Status::CONNECT_INVALID_HOST.with_dnr());
                assert_eq!(ConnectInvalid::from_dw0(dw0), ConnectInvalid::HOSTNQN);
            }
            _ => {
                assert_eq!(status, Status::SUCCESS, "{name}");
                assert_eq!(ConnectAccepted::from_dw0(dw0).dw0(), dw0, "{name}");
                assert_ne!(ConnectAccepted::from_dw0(dw0).cntlid, 0, "{name}");
            }
        }
    }
}

fn check_connect_data(frame: &Captured, connect: &Connect, bytes: &[u8]) {
    let data = ConnectData::ref_from_bytes(bytes).expect("1024 bytes");
    let (subnqn, hostnqn) = (data.subnqn().unwrap(), data.hostnqn().unwrap());
    let emitted = ConnectData::new(data.hostid, data.cntlid.get(), subnqn, hostnqn);
    assert_eq!(emitted.as_bytes(), bytes, "{}", frame.place);
    assert_eq!(connect.qid.get() == 0, data.cntlid.get() == 0xffff, "{}", frame.place);
    if frame.place.contains("a_discover") {
        assert_eq!((subnqn, connect.kato.get()), (DISCOVERY_NQN, 0));
    }
}

#[test]
fn the_discovery_log_comes_out_the_same() {
    for name in ["mtu1024/a_discover.pcap", "mtu4096/a_discover.pcap"] {
        let mut logs = Vec::new();
        let mut commands = HashMap::new();
        let mut written = None;
        for frame in roce_frames(name) {
            if let Some(sqe) = capsule(&frame) {
                let command = Sqe::parse(&sqe).unwrap();
                if let Some(Sgl::Keyed { key, .. }) = command.sgl()
                    && command.opcode == admin::LOG_PAGE
                    && command.lid() == 0x70
                {
                    commands.insert(key, ());
                }
            }
            let transport = &frame.roce.transport;
            match transport.opcode {
                Opcode::WriteFirst | Opcode::WriteOnly => {
                    written = commands.remove(&transport.reth.unwrap().rkey.0).map(|()| logs.len());
                    if written.is_some() {
                        logs.push(frame.payload);
                    }
                }
                Opcode::WriteMiddle | Opcode::WriteLast => {
                    if let Some(log) = written {
                        logs[log].extend_from_slice(&frame.payload);
                    }
                }
                _ => {}
            }
        }
        let [header_only, whole] = &logs[..] else { panic!("{name}: two parts, not {}", logs.len()) };
        for log in [header_only, whole] {
            let (header, entries) = DiscoveryHeader::ref_from_prefix(log).unwrap();
            let emitted = DiscoveryHeader::new(header.genctr.get(), header.numrec.get());
            assert_eq!(emitted.as_bytes(), header.as_bytes());
            let entries = <[DiscoveryEntry]>::ref_from_bytes(entries).unwrap();
            assert!(entries.is_empty() || entries.len() as u64 == header.numrec.get());
            for entry in entries {
                let subtype = match entry.subtype {
                    2 => SubsystemType::Nvm,
                    3 => SubsystemType::Current,
                    other => panic!("{name}: subtype {other}"),
                };
                let mut emitted = DiscoveryEntry::rdma(
                    subtype,
                    entry.portid.get(),
                    entry.asqsz.get(),
                    AddressFamily::Ipv4,
                    entry.traddr().unwrap(),
                    entry.trsvcid().unwrap(),
                    entry.subnqn().unwrap(),
                );
                assert_eq!((entry.traddr(), entry.trsvcid()), (Some("10.9.0.1"), Some("4420")));
                // A target's own choices.
                (emitted.treq, emitted.eflags, emitted.rdma.prtype) = (entry.treq, entry.eflags, entry.rdma.prtype);
                assert_eq!(emitted.as_bytes(), entry.as_bytes(), "{name}");
            }
        }
        let entries = (whole.len() - 1024) / 1024;
        assert_eq!(entries, 2, "{name}");
    }
}
