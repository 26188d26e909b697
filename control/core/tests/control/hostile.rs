//! Whatever comes in: nothing panics, nothing grows without end, and a good host is still served afterwards.

use crate::plane::*;
use gantry::channel::event::{Event, EventKind};
use gantry::channel::slow_path::{Capsule, Punt};
use gantry::channel::{Kind, emit};
use gantry_wire::cm;
use gantry_wire::fabrics::DISCOVERY_NQN;
use proptest::collection::vec;
use proptest::prelude::*;
use zerocopy::IntoBytes;

/// What a hostile peer or a mad data plane does.
#[derive(Clone, Debug)]
enum Blow {
    Bytes(Vec<u8>),
    Frame(u16, u64, Vec<u8>),
    /// A MAD with a right header and anything in it.
    Mad(u8, u16, Vec<u8>),
    /// A good REQ with bytes changed.
    Req(u8, Vec<(u8, u8)>),
    /// A capsule on one of the QPs, with anything in it.
    Capsule(u8, Vec<u8>, Vec<u8>, u32),
    /// An Admin or Fabrics command with sane opcode.
    Command(u8, u8, u8, [u32; 4]),
    Connect(u8, u16, u16, bool),
    Event(u16, u32, u16, Vec<u8>),
    Retire,
    Pass(u32),
    Break(bool),
}

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(Blow::Bytes),
        (0..0x90u16, 0..20u64, vec(any::<u8>(), 0..200)).prop_map(|(k, t, b)| Blow::Frame(k, t, b)),
        (any::<u8>(), 0x10..0x17u16, vec(any::<u8>(), 232)).prop_map(|(ip, a, b)| Blow::Mad(ip % 4, a, b)),
        (any::<u8>(), vec((24..255u8, any::<u8>()), 0..6)).prop_map(|(ip, c)| Blow::Req(ip % 4, c)),
        (any::<u8>(), vec(any::<u8>(), 64), vec(any::<u8>(), 0..1100), any::<u32>())
            .prop_map(|(q, s, d, w)| Blow::Capsule(q, s, d, w)),
        (any::<u8>(), prop_oneof![Just(0x7fu8), 0..0x20u8], 0..10u8, any::<[u32; 4]>())
            .prop_map(|(q, o, f, d)| Blow::Command(q, o, f, d)),
        (any::<u8>(), 0..4u16, any::<u16>(), any::<bool>()).prop_map(|(q, i, c, d)| Blow::Connect(q, i, c, d)),
        (0..9u16, 0..0x40u32, 0..8u16, vec(any::<u8>(), 0..160)).prop_map(|(k, o, r, t)| Blow::Event(k, o, r, t)),
        Just(Blow::Retire),
        (0..40_000u32).prop_map(Blow::Pass),
        any::<bool>().prop_map(Blow::Break),
    ]
}

fn strike(plane: &mut Plane, host: &mut Host, blow: &Blow) {
    let now_ns = plane.now_ns;
    let qpn_of = |plane: &Plane, n: &u8| plane.qps.keys().nth(usize::from(*n) % plane.qps.len().max(1)).copied();
    let ip = |n: &u8| std::net::Ipv4Addr::new(10, 9, 1, *n);
    match blow {
        Blow::Bytes(bytes) => {
            let _ = plane.control.handle_frame(now_ns, bytes);
        }
        Blow::Frame(kind, transaction, bytes) => {
            // Committed and the like for a transaction that is open would be the data plane lying about itself.
            if !(0x82..=0x84).contains(kind) {
                let mut frame = emit(Kind::Begin, *transaction, bytes, &[]);
                frame[..2].copy_from_slice(&kind.to_le_bytes());
                let _ = plane.control.handle_frame(now_ns, &frame);
            }
        }
        Blow::Mad(from, attribute, body) => {
            let mut mad = [0; 256];
            mad[..24].copy_from_slice(cm::Header::new(1, *attribute).as_bytes());
            mad[24..].copy_from_slice(body);
            plane.mad(ip(from), &mad);
        }
        Blow::Req(from, changes) => {
            host.ip = ip(from);
            let mut mad = cm::emit(1, &host.req(0));
            changes.iter().for_each(|(at, byte)| mad[usize::from(*at)] = *byte);
            let punt = Punt { path: path(host.ip), source_qpn: 1.into(), qkey: cm::QKEY.into() };
            plane.frame(Kind::Punt, 0, punt.as_bytes(), &mad);
        }
        Blow::Capsule(n, sqe, data, wanted) => {
            if let Some(qpn) = qpn_of(plane, n) {
                plane.post(qpn, sqe, data, *wanted as usize);
            } else {
                let sqe: [u8; 64] = sqe[..].try_into().unwrap();
                let capsule = Capsule {
                    qpn: u32::from(*n).into(),
                    punt: 0.into(),
                    cntlid: 0xffff.into(),
                    qid: 0.into(),
                    wanted: (*wanted).into(),
                    sqe,
                };
                plane.frame(Kind::Capsule, 0, capsule.as_bytes(), data);
            }
        }
        Blow::Command(n, opcode, fctype, dwords) => {
            let mut sqe = command(*opcode, u32::from(*fctype), dwords[0], dwords[1]);
            (sqe.cdw12, sqe.cdw13) = (dwords[2].into(), dwords[3].into());
            if *opcode == 0x7f {
                // Properties at sane offsets.
                sqe.cdw10 = (dwords[0] & 1).into();
                sqe.cdw11 = (dwords[1] & 0x1c).into();
                sqe.cdw12 = (dwords[2] & 0x0046_c061).into();
            } else {
                sqe.cdw10 = (dwords[0] & 0x03ff_007f).into();
            }
            if let Some(qpn) = qpn_of(plane, n) {
                plane.post(qpn, sqe.as_bytes(), &[], 4096);
            }
        }
        Blow::Connect(n, qid, cntlid, discovery) => {
            let nqn = if *discovery { DISCOVERY_NQN } else { S1 };
            let known = plane.controllers.keys().nth(usize::from(*cntlid) % plane.controllers.len().max(1)).copied();
            let cntlid = if *qid == 0 { 0xffff } else { known.unwrap_or(*cntlid) };
            let data = host.connect_data(cntlid, nqn);
            if let Some(qpn) = qpn_of(plane, n) {
                plane.post(qpn, connect(*qid).as_bytes(), data.as_bytes(), 0);
            }
        }
        Blow::Event(kind, object, reason, tail) => {
            let event = Event { kind: (*kind).into(), reason: (*reason).into(), object: (*object).into() };
            // A QP that is still there was not retired: that lie would be the data plane's.
            if *kind != EventKind::QpRetired as u16 {
                let _ = plane.control.handle_frame(now_ns, &emit(Kind::Event, 0, event.as_bytes(), tail));
            }
        }
        Blow::Retire => plane.retire_all(),
        Blow::Pass(ms) => plane.pass(u64::from(*ms) * 1_000_000),
        Blow::Break(fresh) => {
            if *fresh {
                plane.restart();
            } else {
                plane.break_channel();
            }
            plane.open_session();
        }
    }
    plane.pump();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_a_good_host_is_still_served(blows in vec(blow(), 1..80)) {
        let mut plane = Plane::new(configuration());
        plane.retire_at_once = false;
        let mut host = Host { nqn: HOST.into(), ..Host::default() };
        for blow in &blows {
            strike(&mut plane, &mut host, blow);
            plane.injected.clear();
        }
        // The storm is over.
        plane.retire_at_once = true;
        plane.retire_all();
        plane.pass(200 * SECOND_NS);
        plane.injected.clear();
        plane.drive_ready(0);
        plane.drive_ready(1);
        let status = plane.control.status();
        prop_assert!(status.qps <= 80 && status.connections <= 80 && status.held_connects <= 80);
        prop_assert_eq!(status.waiting_transactions, 0);
        let mut good = Host { ip: [10, 9, 7, 7].into(), next: 0x70_0000, id: [9; 16], ..Host::default() };
        good.connect_all(&mut plane, S1, 2);
    }
}

#[test]
fn a_flood_of_requests_is_bounded_by_the_queue_pairs_there_are() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    for _ in 0..2000 {
        let req = host.req(0);
        plane.mad(REMOTE, &cm::emit(1, &req));
        plane.injected.clear();
    }
    let status = plane.control.status();
    assert_eq!((status.connections, status.qps), (256, 256));
    assert_eq!(status.counters.requests_rejected, 2000 - 256);
    plane.pass(300 * SECOND_NS);
    assert_eq!(plane.control.status().connections, 0, "none was confirmed");
    let mut late = 0;
    while plane.control.poll_notice().is_some() {
        late += 1;
    }
    assert!(late < 1200, "{late} notices");
}

#[test]
fn resting_connections_are_bounded() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    for _ in 0..1500 {
        host.open(&mut plane, 0).close(&mut plane);
    }
    assert_eq!(plane.control.status().connections, 1024);
}
