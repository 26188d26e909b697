//! Connection management: what is rejected and why, what is repeated, what ends.

use crate::plane::*;
use gantry::channel::Kind;
use gantry::channel::event::EventKind;
use gantry::channel::operation::{QpCreate, QpDestroy};
use gantry::channel::session::Reason;
use gantry_control::Notice;
use gantry_wire::cm::{self, Body, Message, Reason as RejReason, Req, attribute};
use gantry_wire::fabrics::{CmReject, reject};
use zerocopy::IntoBytes;

/// The REJ that a REQ draws: reason, ARI, NVMe status.
fn rejection(change: impl FnOnce(&mut Req)) -> (u16, Vec<u8>, Option<u16>) {
    let mut plane = Plane::new(configuration());
    let mut req = Host::default().req(0);
    change(&mut req);
    plane.mad(REMOTE, &cm::emit(0x77, &req));
    let mad = plane.expect_mad(attribute::REJ);
    let message = Message::parse(&mad).unwrap();
    let Body::Rej(rej) = message.body else { unreachable!() };
    assert_eq!((message.transaction_id(), rej.message_rejected()), (0x77, 0));
    assert_eq!((rej.local_comm_id.get(), rej.remote_comm_id.get()), (0, req.local_comm_id.get()));
    assert_eq!(plane.control.status().connections, 0, "nothing is kept of it");
    assert!(plane.operations::<QpCreate>(Kind::QpCreate).is_empty());
    let ari = rej.ari[..usize::from(rej.reject_info_length())].to_vec();
    let sts = (rej.reason() == RejReason::CONSUMER_REJECT).then(|| {
        let reject = CmReject::parse(&rej.private_data).unwrap();
        assert_eq!(reject.recfmt.get(), 0);
        reject.sts.get()
    });
    (rej.reason().0, ari, sts)
}

#[test]
fn requests_that_cannot_be_are_rejected_with_their_reason() {
    // (Byte 36 of the private data is where NVMe's part begins.)
    assert_eq!(rejection(|req| req.service_id = cm::service_id(4421).into()).0, 8);
    assert_eq!(rejection(|req| req.service_id = 0x4420.into()).0, 8);
    assert_eq!(
        rejection(|req| {
            req.set_transport_service_type(1);
        })
        .0,
        9
    );
    assert_eq!(rejection(|req| req.primary.local_port_gid[15] = 99).0, 5);
    assert_eq!(rejection(|req| req.pkey = 0x8001.into()).0, 5);
    assert_eq!(rejection(|req| req.private_data[0] = 0x10).0, 5, "no IP-CM header");
    let (reason, ari, _) = rejection(|req| req.primary.remote_port_gid[15] = 99);
    assert_eq!((reason, ari), (12, LOCAL.to_ipv6_mapped().octets().to_vec()));
    let (reason, ari, _) = rejection(|req| {
        req.set_path_mtu(4);
    });
    assert_eq!((reason, ari), (26, vec![3 << 2]), "2048 bytes do not fit a port of 1500: 1024 would");
    assert_eq!(
        rejection(|req| {
            req.set_path_mtu(0);
        })
        .0,
        26
    );
}

#[test]
fn a_path_mtu_fits_with_the_longest_headers() {
    // IPv6, UDP, BTH, RETH and ICRC are 80 bytes: a path MTU of 1024 needs an IP packet of 1104.
    for (mtu, fits) in [(1103, false), (1104, true)] {
        let mut configuration = configuration();
        configuration.ports[0].mtu = mtu;
        let mut plane = Plane::new(configuration);
        plane.mad(REMOTE, &cm::emit(0x77, &Host::default().req(0)));
        assert_eq!(plane.operations::<QpCreate>(Kind::QpCreate).len(), usize::from(fits), "port MTU {mtu}");
    }
}

#[test]
fn malformed_private_data_is_rejected_by_nvme() {
    let nvme = |sts| (28, vec![], Some(sts));
    assert_eq!(rejection(|req| req.private_data[36] = 1), nvme(reject::INVALID_RECFMT));
    assert_eq!(rejection(|req| req.private_data[39] = 1), nvme(reject::INVALID_QID));
    assert_eq!(rejection(|req| req.private_data[42] = 0), nvme(reject::INVALID_HSQSIZE));
    assert_eq!(rejection(|req| req.private_data[42] = 128), nvme(reject::INVALID_HSQSIZE));
    assert_eq!(rejection(|req| req.private_data[40] = 0), nvme(reject::INVALID_HRQSIZE));
    assert_eq!(
        rejection(|req| {
            req.set_responder_resources(0);
        }),
        nvme(reject::INVALID_IRD)
    );
}

#[test]
fn no_room_is_a_reason_too() {
    let mut plane = Plane::new(configuration());
    plane.refuse = Some((Kind::QpCreate, Reason::Full));
    let req = Host::default().req(0);
    plane.mad(REMOTE, &cm::emit(5, &req));
    let mad = plane.expect_mad(attribute::REJ);
    let Body::Rej(rej) = Message::parse(&mad).unwrap().body else { unreachable!() };
    assert_eq!(rej.reason(), RejReason::NO_QP_AVAILABLE);
    assert_eq!(plane.control.status().connections, 0);
    // The same REQ again finds room.
    plane.mad(REMOTE, &cm::emit(5, &req));
    plane.expect_mad(attribute::REP);

    let mut full = Plane::new(configuration());
    full.qps_max = 2;
    full.boot_id += 1;
    full.break_channel();
    full.open_session();
    let mut host = Host::default();
    for _ in 0..2 {
        host.open(&mut full, 0);
    }
    full.mad(REMOTE, &cm::emit(5, &host.req(0)));
    let mad = full.expect_mad(attribute::REJ);
    let Body::Rej(rej) = Message::parse(&mad).unwrap().body else { unreachable!() };
    assert_eq!(rej.reason(), RejReason::NO_RESOURCES_AVAILABLE);
}

#[test]
fn the_reply_comes_after_commit_and_is_the_same_for_every_repeated_request() {
    let mut plane = Plane::new(configuration());
    plane.stall = true;
    let mut host = Host::default();
    let req = host.req(0);
    let mad = cm::emit(3, &req);
    plane.mad(REMOTE, &mad);
    plane.mad(REMOTE, &mad);
    assert!(plane.injected.is_empty(), "no REP before the QP exists");
    plane.stall = false;
    plane.break_channel();
    plane.open_session();
    assert!(plane.injected.is_empty());
    plane.mad(REMOTE, &mad);
    let first = plane.expect_mad(attribute::REP);
    plane.mad(REMOTE, &mad);
    assert_eq!(plane.expect_mad(attribute::REP), first);
    assert_eq!(plane.operations::<QpCreate>(Kind::QpCreate).len(), 1);
    let Body::Rep(rep) = Message::parse(&first).unwrap().body else { unreachable!() };
    assert_eq!((rep.local_qpn(), rep.starting_psn()), (0x11, 0x00ab_0011));
}

#[test]
fn a_reply_is_repeated_until_it_is_confirmed() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let req = host.req(0);
    plane.mad(REMOTE, &cm::emit(3, &req));
    let link = host.replied(&mut plane, &req);
    // CM timeout 20: 4.096 µs × 2^20 = 4.29 s.
    plane.pass(4 * SECOND_NS);
    assert!(plane.injected.is_empty());
    plane.pass(SECOND_NS);
    plane.expect_mad(attribute::REP);
    plane.mad(REMOTE, &cm::emit(3, &link.rtu()));
    plane.pass(10 * SECOND_NS);
    assert!(plane.injected.is_empty(), "the RTU ends the repetition");
}

#[test]
fn the_first_packet_is_as_good_as_an_rtu() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let req = host.req(0);
    plane.mad(REMOTE, &cm::emit(3, &req));
    let link = host.replied(&mut plane, &req);
    plane.event(EventKind::QpEstablished, link.qpn, 0, &[]);
    plane.pass(20 * SECOND_NS);
    assert!(plane.injected.is_empty());
}

#[test]
fn a_reply_that_is_never_confirmed_is_given_up() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let req = host.req(0);
    plane.mad(REMOTE, &cm::emit(3, &req));
    let link = host.replied(&mut plane, &req);
    plane.pass(120 * SECOND_NS);
    for _ in 0..15 {
        plane.expect_mad(attribute::REP);
    }
    let mad = plane.expect_mad(attribute::REJ);
    let Body::Rej(rej) = Message::parse(&mad).unwrap().body else { unreachable!() };
    assert_eq!((rej.reason(), rej.message_rejected()), (RejReason::TIMEOUT, 1));
    assert_eq!(plane.operations::<QpDestroy>(Kind::QpDestroy)[0].qpn.get(), link.qpn);
    assert!(plane.notices().contains(&Notice::SetupTimedOut { address: REMOTE.into() }));
    assert_eq!((plane.control.status().connections, plane.control.status().qps), (0, 0));
}

#[test]
fn a_connection_without_a_connect_does_not_stay() {
    let mut plane = Plane::new(configuration());
    let link = Host::default().open(&mut plane, 0);
    plane.pass(29 * SECOND_NS);
    assert!(plane.qps.contains_key(&link.qpn));
    plane.pass(2 * SECOND_NS);
    plane.expect_mad(attribute::DREQ);
    assert!(plane.qps.is_empty());
}

#[test]
fn a_connection_with_a_controller_stays() {
    let mut plane = Plane::new(configuration());
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    plane.pass(3600 * SECOND_NS);
    assert!(plane.qps.contains_key(&link.qpn) && plane.injected.is_empty());
}

#[test]
fn a_dreq_is_answered_again_and_for_strangers_too() {
    let mut plane = Plane::new(configuration());
    let link = Host::default().open(&mut plane, 0);
    link.close(&mut plane);
    assert!(plane.qps.is_empty());
    link.close(&mut plane);
    let stranger = Link { comm_id: 5, target_comm_id: 6, qpn: 7, ..link };
    stranger.close(&mut plane);
    plane.pass(60 * SECOND_NS);
    assert_eq!(plane.control.status().connections, 0, "TIMEWAIT ends");
    link.close(&mut plane);
    assert_eq!(plane.operations::<QpDestroy>(Kind::QpDestroy).len(), 1);
}

#[test]
fn a_dreq_must_name_the_connection_whole() {
    let mut plane = Plane::new(configuration());
    let link = Host::default().open(&mut plane, 0);
    let wrong_qpn = Link { qpn: link.qpn + 1, ..link };
    plane.mad(REMOTE, &cm::emit(9, &wrong_qpn.dreq()));
    assert!(plane.injected.is_empty());
    let wrong_id = Link { comm_id: link.comm_id + 1, ..link };
    wrong_id.close(&mut plane);
    plane.mad("10.9.0.3".parse().unwrap(), &cm::emit(9, &link.dreq()));
    plane.injected.clear();
    assert!(plane.qps.contains_key(&link.qpn), "none of them ended it");
    assert_eq!(plane.control.status().counters.malformed_mads, 1);
}

#[test]
fn a_host_that_rejects_the_reply_is_let_go() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let req = host.req(0);
    plane.mad(REMOTE, &cm::emit(3, &req));
    let link = host.replied(&mut plane, &req);
    let mut rej = cm::Rej::new();
    rej.local_comm_id = link.comm_id.into();
    rej.remote_comm_id = link.target_comm_id.into();
    rej.set_reason(RejReason::CONSUMER_REJECT).set_message_rejected(1);
    plane.mad(REMOTE, &cm::emit(3, &rej));
    assert!(plane.qps.is_empty() && plane.injected.is_empty());
}

#[test]
fn a_host_that_lost_its_memory_is_told_so_and_its_old_controller_ends() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (admin, cntlid) = host.connect_admin(&mut plane, S1);
    // The same QPN of the same adapter under another communication id.
    let mut req = host.req(0);
    req.set_local_qpn(admin.comm_id);
    plane.mad(REMOTE, &cm::emit(4, &req));
    let mad = plane.expect_mad(attribute::REJ);
    let Body::Rej(rej) = Message::parse(&mad).unwrap().body else { unreachable!() };
    assert_eq!(rej.reason(), RejReason::STALE_CONNECTION);
    plane.expect_mad(attribute::DREQ);
    assert!(!plane.controllers.contains_key(&cntlid) && plane.qps.is_empty());
    plane.mad(REMOTE, &cm::emit(4, &req));
    plane.expect_mad(attribute::REP);
}

#[test]
fn our_dreq_is_repeated_until_it_is_answered() {
    let mut plane = Plane::new(configuration());
    let (link, cntlid) = Host::default().connect_admin(&mut plane, S1);
    plane.event(EventKind::KeepAliveExpired, u32::from(cntlid), 0, &[]);
    let dreq = plane.expect_mad(attribute::DREQ);
    let Body::Dreq(view) = Message::parse(&dreq).unwrap().body else { unreachable!() };
    assert_eq!((view.local_comm_id.get(), view.remote_comm_id.get()), (link.target_comm_id, link.comm_id));
    assert_eq!(view.remote_qpn(), link.comm_id, "the host's QPN, which it numbers like its communication id");
    plane.pass(SECOND_NS + 1);
    assert_eq!(plane.expect_mad(attribute::DREQ), dreq);
    let mut drep = cm::Drep::new();
    drep.local_comm_id = link.comm_id.into();
    drep.remote_comm_id = link.target_comm_id.into();
    plane.mad(REMOTE, &cm::emit(4, &drep));
    plane.pass(60 * SECOND_NS);
    assert!(plane.injected.is_empty());
    assert_eq!(plane.control.status().connections, 0);
}

#[test]
fn what_is_no_cm_message_is_counted_and_not_answered() {
    let mut plane = Plane::new(configuration());
    let req = cm::emit(1, &Host::default().req(0));
    plane.mad(REMOTE, &req[..255]);
    let mut other_class = req;
    other_class[1] = 3;
    plane.mad(REMOTE, &other_class);
    let mut get = req;
    get[3] = 1;
    plane.mad(REMOTE, &get);
    let punt = gantry::channel::slow_path::Punt { path: path(REMOTE), source_qpn: 1.into(), qkey: 5.into() };
    plane.frame(Kind::Punt, 0, punt.as_bytes(), &req);
    assert!(plane.injected.is_empty());
    assert_eq!(plane.control.status().counters.malformed_mads, 4);
    assert_eq!(plane.control.status().connections, 0);
}
