//! What real hosts sent, byte for byte, in the order they sent it; only what depends on the target's choices (its
//! communication ids, its CNTLID) is replaced.

use crate::plane::*;
use gantry::channel::Kind;
use gantry::channel::operation::{NamespaceAdd, QpBind, QpCreate};
use gantry_wire::cm::{self, Body, IpCm, Message};
use gantry_wire::fabrics::{CmRequest, DiscoveryEntry, DiscoveryHeader};
use gantry_wire::nvme::IdentifyController;
use std::collections::BTreeMap;
use zerocopy::FromBytes;

/// The communication ids that a replayed host knows: its own → the target's.
#[derive(Default)]
struct Replay {
    targets: BTreeMap<u32, u32>,
    cntlid: u16,
    /// Data of every answer, with opcode and dword 10 of its command.
    answers: Vec<(u8, u32, Vec<u8>)>,
}

impl Replay {
    fn run(&mut self, plane: &mut Plane, script: &str) {
        for line in script.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["mad", mad] => self.mad(plane, padded(mad, 256)),
                ["capsule", qpn, sqe, data, length, wanted, status] => {
                    let qpn = u32::from_str_radix(qpn, 16).unwrap();
                    let data = padded(data, length.parse().unwrap());
                    self.capsule(plane, qpn, &padded(sqe, 64), data, wanted.parse().unwrap(), status);
                }
                _ => panic!("unreadable line {line:?}"),
            }
        }
    }

    fn mad(&mut self, plane: &mut Plane, mut mad: Vec<u8>) {
        let message = Message::parse(&mad).unwrap();
        let ours = message.body.local_comm_id();
        let id = message.header.attribute_id.get();
        if id != cm::attribute::REQ {
            // The target's communication id: the second word of RTU and DREQ alike.
            mad[28..32].copy_from_slice(&self.targets[&ours].to_be_bytes());
        }
        plane.mad(REMOTE, &mad);
        match id {
            cm::attribute::REQ => {
                let reply = plane.expect_mad(cm::attribute::REP);
                let Body::Rep(rep) = Message::parse(&reply).unwrap().body else { unreachable!() };
                let Body::Req(req) = Message::parse(&mad).unwrap().body else { unreachable!() };
                self.targets.insert(ours, rep.local_comm_id.get());
                // As nvmet replied to the same REQ.
                assert_eq!((rep.responder_resources, rep.initiator_depth), (0, 128));
                assert_eq!((rep.target_ack_delay(), rep.rnr_retry_count()), (15, 7));
                assert_eq!((rep.end_to_end_flow_control(), rep.srq()), (1, 0));
                assert_eq!(rep.local_ca_guid.get(), 0x5054_00ff_fe00_0001);
                assert_eq!(reply[8..16], mad[8..16], "the transaction id comes back");
                let asked = CmRequest::parse(IpCm::parse(&req.private_data).unwrap().1).unwrap();
                let crqsize = u16::from_le_bytes([rep.private_data[2], rep.private_data[3]]);
                assert_eq!(crqsize, asked.hsqsize.get() + 1);
                assert_eq!(rep.private_data[..2], [0, 0]);
            }
            cm::attribute::DREQ => {
                plane.expect_mad(cm::attribute::DREP);
            }
            _ => {}
        }
    }

    fn capsule(&mut self, plane: &mut Plane, qpn: u32, sqe: &[u8], mut data: Vec<u8>, wanted: usize, status: &str) {
        let is_connect = sqe[0] == 0x7f && sqe[4] == 1;
        if is_connect && data[16..18] != [0xff, 0xff] {
            data[16..18].copy_from_slice(&self.cntlid.to_le_bytes());
        }
        let answer = plane.capsule(qpn, sqe, &data, wanted);
        let Some((answer, back)) = answer else {
            assert_eq!(status, "held", "no answer to {sqe:02x?}");
            return;
        };
        assert_eq!(format!("{:04x}", answer.status.get()), status, "answer to {sqe:02x?}");
        if is_connect {
            self.cntlid = answer.dw0.get() as u16;
        }
        let cdw10 = u32::from_le_bytes(sqe[40..44].try_into().unwrap());
        self.answers.push((sqe[0], cdw10, back));
    }

    fn data(&self, opcode: u8, cdw10: u32) -> &[u8] {
        let found = self.answers.iter().find(|(op, dword, _)| (*op, *dword) == (opcode, cdw10));
        &found.expect("the host asked for it").2
    }
}

fn padded(hex: &str, length: usize) -> Vec<u8> {
    let digits = if hex == "-" { "" } else { hex };
    let bytes = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).unwrap();
        u8::from_str_radix(pair, 16).unwrap()
    });
    let mut bytes: Vec<u8> = bytes.collect();
    bytes.resize(length, 0);
    bytes
}

#[test]
fn a_linux_host_discovers() {
    let mut plane = Plane::new(configuration());
    let mut replay = Replay::default();
    replay.run(&mut plane, include_str!("../data/discover_linux_6_1.txt"));

    // One subsystem that this host may see, at two addresses.
    let (header, rest) = DiscoveryHeader::read_from_prefix(replay.data(0x02, 0x02ff_0070)).unwrap();
    assert_eq!((header.genctr.get(), header.numrec.get(), header.recfmt.get()), (1, 2, 0));
    let (v4, rest) = DiscoveryEntry::read_from_prefix(rest).unwrap();
    let (v6, _) = DiscoveryEntry::read_from_prefix(rest).unwrap();
    for (entry, traddr, family) in [(&v4, "10.9.0.1", 1), (&v6, "fd00::1", 2)] {
        assert_eq!((entry.trtype, entry.adrfam, entry.subtype), (1, family, 2));
        assert_eq!((entry.portid.get(), entry.cntlid.get(), entry.asqsz.get()), (1, 0xffff, 128));
        assert_eq!((entry.subnqn(), entry.traddr(), entry.trsvcid()), (Ok(S1), Some(traddr), Some("4420")));
        assert_eq!((entry.rdma.qptype, entry.rdma.prtype, entry.rdma.cms), (1, 4, 1));
    }
    assert_eq!(replay.data(0x02, 0x00ff_8070).len(), 1024);
    let identify = IdentifyController::parse(replay.data(0x06, 1)).unwrap();
    assert_eq!((identify.cntrltype, identify.cntlid.get()), (2, replay.cntlid));
    assert!(identify.subnqn.starts_with(b"nqn.2014-08.org.nvmexpress.discovery\0"));

    assert!(plane.controllers.is_empty() && plane.qps.is_empty(), "nothing is left behind");
    assert!(plane.control.status().subsystems.iter().all(|subsystem| subsystem.controllers.is_empty()));
    plane.pass(60 * SECOND_NS);
    assert_eq!(plane.control.status().connections, 0);
    assert!(plane.injected.is_empty());
}

#[test]
fn a_linux_host_connects_uses_two_io_queues_and_leaves() {
    let mut configuration = configuration();
    // The host of the capture had three namespaces.
    let mut third = configuration.subsystems[0].namespaces[0].clone();
    third.nsid = 3;
    configuration.subsystems[0].namespaces.push(third);
    let mut plane = Plane::new(configuration);
    plane.next_qpn = 0x12;
    let mut replay = Replay::default();
    replay.run(&mut plane, include_str!("../data/connect_linux_6_1.txt"));

    let created = plane.operations::<QpCreate>(Kind::QpCreate);
    let (qids, depths): (Vec<_>, Vec<_>) = created.iter().map(|qp| (qp.qid.get(), qp.depth.get())).unzip();
    assert_eq!((qids, depths), (vec![0, 1, 2], vec![32, 128, 128]));
    assert_eq!(created[0].send_psn.get(), 0x00c9_60e5, "the PSN in REQ is the first that the target sends");
    assert_eq!((created[0].remote_qpn.get(), created[0].mtu.get(), created[0].ack_timeout), (0x12, 1024, 19));
    assert_eq!((created[0].retry_count, created[0].rnr_retry_count, created[0].reads), (7, 7, 128));
    assert_eq!(created[0].path.udp_source.get(), 0xd897, "it follows from the flow label");
    let bound = plane.operations::<QpBind>(Kind::QpBind);
    let entries: Vec<_> = bound.iter().map(|bind| (bind.qpn.get(), bind.qid.get(), bind.entries.get())).collect();
    assert_eq!(entries, [(0x12, 0, 32), (0x13, 1, 128), (0x14, 2, 128)]);
    let namespaces = plane.operations::<NamespaceAdd>(Kind::NamespaceAdd);
    let served: Vec<_> = namespaces.iter().map(|n| (n.nsid.get(), n.drive.get(), n.lba_count.get())).collect();
    assert_eq!(served, [(1, 0, 131_072), (2, 1, 131_072), (3, 0, 131_072)]);

    let identify = IdentifyController::parse(replay.data(0x06, 1)).unwrap();
    assert_eq!(identify.cntlid.get(), replay.cntlid);
    assert_eq!(identify.sgls.get() & 1 << 2, 1 << 2, "a host refuses a target without keyed SGLs");
    assert_ne!(identify.kas.get(), 0, "a host refuses a target without keep alive");
    assert_ne!(identify.maxcmd.get(), 0, "Linux 6.1 crashes");
    assert_eq!((identify.icdoff.get(), identify.ioccsz.get()), (0, 260));

    assert!(plane.controllers.is_empty() && plane.qps.is_empty(), "the host left");
    assert!(plane.injected.is_empty(), "no DREQ to a host that asked first");
}

#[test]
fn a_linux_host_is_refused_as_it_understands() {
    // A wrong NQN, then a host that is on no list.
    let mut configuration = configuration();
    configuration.subsystems[0].hosts = gantry_control::Hosts::Only(vec![]);
    let mut plane = Plane::new(configuration);
    Replay::default().run(&mut plane, include_str!("../data/refused_linux_6_1.txt"));
    let dw0: Vec<u32> = plane.answers.values().map(|(answer, _)| answer.dw0.get()).collect();
    assert_eq!(dw0, [0x0001_0100, 0x0001_0200]);
    assert!(plane.qps.is_empty() && plane.controllers.is_empty());
}
