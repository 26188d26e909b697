//! Connect: who is admitted to what, and the exact words of every refusal.

use crate::plane::*;
use gantry::channel::Kind;
use gantry::channel::event::EventKind;
use gantry::channel::operation::ControllerAdd;
use gantry::channel::session::Reason;
use gantry_control::{Hosts, Notice};
use gantry_wire::fabrics::{Connect, ConnectData, DISCOVERY_NQN, PropertyGet};
use gantry_wire::nvme::admin as opcode;
use zerocopy::IntoBytes;

/// Status and dword 0 of a Connect on a new admin connection.
fn refusal(change: impl FnOnce(&mut Connect, &mut ConnectData)) -> (u16, u32) {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let link = host.open(&mut plane, 0);
    let (mut connect, mut data) = (connect(0), host.connect_data(0xffff, S1));
    change(&mut connect, &mut data);
    let (answer, _) = plane.capsule(link.qpn, connect.as_bytes(), data.as_bytes(), 0).unwrap();
    assert!(plane.controllers.is_empty() && plane.bound.is_empty());
    assert_eq!(plane.control.status().counters.connects_refused, 1);
    (answer.status.get(), answer.dw0.get())
}

#[test]
fn an_admin_connect_is_refused_in_these_words() {
    let nqn = |nqn: &'static str| move |_: &mut Connect, data: &mut ConnectData| set_nqn(&mut data.subnqn, nqn);
    assert_eq!(refusal(nqn("nqn.2026-01.lab:nosuch")), (0x4182, 0x0001_0100));
    assert_eq!(refusal(nqn(CLOSED)), (0x4184, 0x0001_0200));
    assert_eq!(refusal(|_, data| set_nqn(&mut data.hostnqn, "nqn.2026-01.lab:other")), (0x4184, 0x0001_0200));
    assert_eq!(refusal(|_, data| data.subnqn.fill(b'x')), (0x4182, 0x0001_0100));
    assert_eq!(refusal(|_, data| data.hostnqn.fill(0)), (0x4182, 0x0001_0200));
    assert_eq!(refusal(|_, data| data.hostnqn[0] = 0xff), (0x4182, 0x0001_0200));
    assert_eq!(refusal(|_, data| data.cntlid = 1.into()), (0x4182, 0x0001_0010));
    assert_eq!(refusal(|connect, _| connect.recfmt = 1.into()), (0x4180, 0));
    assert_eq!(refusal(|connect, _| connect.qid = 1.into()), (0x4182, 42));
    assert_eq!(refusal(|connect, _| connect.sqsize = 0.into()), (0x4182, 44));
    assert_eq!(refusal(|connect, _| connect.sqsize = 32.into()), (0x4182, 44));
}

fn set_nqn(field: &mut [u8; 256], nqn: &str) {
    *field = gantry_wire::fabrics::nqn_field(nqn);
}

/// Status and dword 0 of a Connect for I/O queue `qid`.
fn io_refusal(qid: u16, enabled: bool, change: impl FnOnce(&mut Connect, &mut ConnectData)) -> (u16, u32) {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (admin, cntlid) = host.connect_admin(&mut plane, S1);
    if enabled {
        set_cc(&mut plane, admin.qpn, 0x0046_0061);
    }
    let link = host.open(&mut plane, qid);
    let (mut connect, mut data) = (connect(qid), host.connect_data(cntlid, S1));
    change(&mut connect, &mut data);
    let (answer, _) = plane.capsule(link.qpn, connect.as_bytes(), data.as_bytes(), 0).unwrap();
    (answer.status.get(), answer.dw0.get())
}

#[test]
fn an_io_connect_must_fit_its_controller() {
    let unchanged = |_: &mut Connect, _: &mut ConnectData| {};
    let (status, cntlid) = io_refusal(1, true, unchanged);
    assert_eq!(status, 0);
    assert_eq!(io_refusal(1, false, unchanged), (0x400c, 0), "the controller is not enabled");
    let other = (cntlid as u16).wrapping_add(1);
    assert_eq!(io_refusal(1, true, |_, data| data.cntlid = other.into()), (0x4182, 0x0001_0010));
    assert_eq!(io_refusal(1, true, |_, data| data.hostid[3] ^= 1), (0x4182, 0x0001_0000));
    assert_eq!(io_refusal(1, true, |_, data| set_nqn(&mut data.subnqn, DISCOVERY_NQN)), (0x4182, 0x0001_0010));
    assert_eq!(io_refusal(1, true, |connect, _| connect.sqsize = 128.into()), (0x4182, 44));
    assert_eq!(io_refusal(2, true, |connect, _| connect.qid = 1.into()), (0x4182, 42));
}

#[test]
fn an_io_connect_of_another_host_is_refused() {
    let mut configuration = configuration();
    configuration.subsystems[0].hosts = Hosts::Any;
    let mut plane = Plane::new(configuration);
    let (_, _, cntlid) = Host::default().connect_all(&mut plane, S1, 1);
    let mut thief = Host { nqn: "nqn.2026-01.lab:thief".into(), ip: [10, 9, 0, 9].into(), ..Host::default() };
    let link = thief.open(&mut plane, 2);
    let data = thief.connect_data(cntlid, S1);
    let (answer, _) = plane.capsule(link.qpn, connect(2).as_bytes(), data.as_bytes(), 0).unwrap();
    assert_eq!((answer.status.get(), answer.dw0.get()), (0x4182, 0x0001_0200));
}

#[test]
fn a_queue_is_connected_once() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (admin, io, cntlid) = host.connect_all(&mut plane, S1, 1);
    let second = host.open(&mut plane, 1);
    let data = host.connect_data(cntlid, S1);
    let again = |plane: &mut Plane, qpn, qid| {
        let (answer, _) = plane.capsule(qpn, connect(qid).as_bytes(), data.as_bytes(), 0).unwrap();
        answer.status.get()
    };
    assert_eq!(again(&mut plane, second.qpn, 1), 0x400c, "the controller has a queue 1");
    assert_eq!(again(&mut plane, io[0].qpn, 1), 0x400c, "this QP has its Connect");
    assert_eq!(again(&mut plane, admin.qpn, 0), 0x400c);
}

#[test]
fn queues_beyond_those_granted_are_refused() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (admin_link, _, cntlid) = host.connect_all(&mut plane, S1, 0);
    let set = command(opcode::SET_FEATURES, 0, 0x07, 0x0001_0001);
    assert_eq!(admin(&mut plane, admin_link.qpn, set, 0).1, 0x0001_0001);
    host.connect_io(&mut plane, S1, cntlid, 2);
    let third = host.open(&mut plane, 3);
    let data = host.connect_data(cntlid, S1);
    let (answer, _) = plane.capsule(third.qpn, connect(3).as_bytes(), data.as_bytes(), 0).unwrap();
    assert_eq!((answer.status.get(), answer.dw0.get()), (0x4182, 42));
}

#[test]
fn nothing_but_connect_before_connect() {
    let mut plane = Plane::new(configuration());
    let link = Host::default().open(&mut plane, 0);
    assert_eq!(property(&mut plane, link.qpn, 0, 1), Err(0x400c));
    let identify = command(opcode::IDENTIFY, 0, 1, 0);
    assert_eq!(admin(&mut plane, link.qpn, identify, 4096).0, 0x400c);
    let short = plane.capsule(link.qpn, connect(0).as_bytes(), &[0; 1023], 0).unwrap().0;
    assert_eq!(short.status.get(), 0x400f);
    assert_eq!(plane.control.status().counters.malformed_capsules, 1);
}

#[test]
fn a_data_plane_without_room_makes_the_host_try_again() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let link = host.open(&mut plane, 0);
    plane.refuse = Some((Kind::ControllerAdd, Reason::Full));
    let data = host.connect_data(0xffff, S1);
    let (answer, _) = plane.capsule(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0).unwrap();
    assert_eq!(answer.status.get(), 0x0181, "controller busy, no DNR");
    let (answer, _) = plane.capsule(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0).unwrap();
    assert_eq!(answer.status.get(), 0);
    assert_eq!(plane.controllers.len(), 1);
}

#[test]
fn any_host_is_any_host_and_discovery_is_open() {
    let mut configuration = configuration();
    configuration.subsystems[1].hosts = Hosts::Any;
    let mut plane = Plane::new(configuration);
    let mut host = Host { nqn: "nqn.2026-01.lab:anyone".into(), ..Host::default() };
    let (_, first) = host.connect_admin(&mut plane, CLOSED);
    let (_, second) = host.connect_admin(&mut plane, DISCOVERY_NQN);
    assert_ne!(first, second);
    let kept = plane.operations::<ControllerAdd>(Kind::ControllerAdd);
    assert_eq!(kept[0].keep_alive_ms.get(), 5000);
    assert!(plane.notices().iter().any(|notice| matches!(
        notice,
        Notice::Connected { cntlid, subsystem, host, .. }
            if *cntlid == first && subsystem == CLOSED && host == "nqn.2026-01.lab:anyone"
    )));
}

#[test]
fn a_discovery_controller_without_keep_alive_is_still_watched() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let link = host.open(&mut plane, 0);
    let data = host.connect_data(0xffff, DISCOVERY_NQN);
    let mut connect = connect(0);
    connect.kato = 0.into();
    plane.capsule(link.qpn, connect.as_bytes(), data.as_bytes(), 0).unwrap();
    assert_eq!(plane.operations::<ControllerAdd>(Kind::ControllerAdd)[0].keep_alive_ms.get(), 120_000);
    set_cc(&mut plane, link.qpn, 0x0046_0061);
    let get = command(opcode::GET_FEATURES, 0, 0x0f, 0);
    assert_eq!(admin(&mut plane, link.qpn, get, 0), (0, 0, vec![]), "the host's own setting is none");
    let io = host.open(&mut plane, 1);
    let cntlid = *plane.controllers.keys().next().unwrap();
    let data = host.connect_data(cntlid, DISCOVERY_NQN);
    let (answer, _) = plane.capsule(io.qpn, crate::plane::connect(1).as_bytes(), data.as_bytes(), 0).unwrap();
    assert_eq!((answer.status.get(), answer.dw0.get()), (0x4182, 42), "it has no I/O queues");
}

#[test]
fn a_connect_waits_for_drives_to_come_up_or_fail() {
    let mut plane = Plane::starting(configuration());
    let mut host = Host::default();
    let link = host.open(&mut plane, 0);
    let data = host.connect_data(0xffff, S1);
    let punt = plane.post(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0);
    plane.drive_ready(0);
    assert!(!plane.answers.contains_key(&(link.qpn, punt)), "drive b is still on its way");
    // A second Connect meanwhile is out of sequence.
    let second = plane.capsule(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0).unwrap().0;
    assert_eq!(second.status.get(), 0x400c);
    plane.event(EventKind::DriveFailed, 1, 0, b"no such file");
    assert_eq!(plane.answers[&(link.qpn, punt)].0.status.get(), 0);
    let namespaces: Vec<u32> = plane
        .operations::<gantry::channel::operation::NamespaceAdd>(Kind::NamespaceAdd)
        .iter()
        .map(|namespace| namespace.nsid.get())
        .collect();
    assert_eq!(namespaces, [1]);
}

/// The host goes on as soon as its own lcore has answered.
#[test]
fn what_follows_a_connect_may_overtake_committed() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let link = host.open(&mut plane, 0);
    let data = host.connect_data(0xffff, S1);
    let mut get_vs = PropertyGet::new();
    get_vs.ofst = 8.into();
    plane.slow_lcore = true;
    let answer = plane.capsule(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0).unwrap().0;
    assert_eq!(answer.status.get(), 0);
    let again = plane.post(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0);
    let get = plane.post(link.qpn, get_vs.as_bytes(), &[], 0);
    assert!(!plane.answers.contains_key(&(link.qpn, get)), "one transaction at a time");
    plane.say_committed();
    assert_eq!(plane.answers[&(link.qpn, get)].0.status.get(), 0);
    assert_eq!(plane.answers[&(link.qpn, again)].0.status.get(), 0x400c, "a second Connect is out of sequence still");
    let connected = plane.notices().into_iter().filter(|notice| matches!(notice, Notice::Connected { .. }));
    assert_eq!(connected.count(), 1);
}

#[test]
fn a_connect_does_not_wait_for_ever() {
    let mut plane = Plane::starting(configuration());
    let mut host = Host::default();
    let link = host.open(&mut plane, 0);
    let data = host.connect_data(0xffff, S1);
    let punt = plane.post(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0);
    plane.pass(19 * SECOND_NS);
    assert!(plane.answers.is_empty());
    plane.pass(2 * SECOND_NS);
    assert_eq!(plane.answers[&(link.qpn, punt)].0.status.get(), 0x0181, "busy, and no DNR: the host may retry");
}
