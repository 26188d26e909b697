//! Ends: disconnect, reset, shutdown, keep alive, failed QPs; and what must wait until QPs are drained.

use crate::plane::*;
use gantry::channel::Kind;
use gantry::channel::event::EventKind;
use gantry::channel::operation::{ControllerRemove, QpDestroy};
use gantry::channel::session::Reason;
use gantry_control::{EndReason, Notice};
use gantry_wire::cm::attribute;
use gantry_wire::nvme::admin as opcode;
use zerocopy::IntoBytes;

fn destroyed(plane: &Plane) -> Vec<u32> {
    plane.operations::<QpDestroy>(Kind::QpDestroy).iter().map(|qp| qp.qpn.get()).collect()
}

fn removed(plane: &Plane) -> Vec<u16> {
    plane.operations::<ControllerRemove>(Kind::ControllerRemove).iter().map(|c| c.cntlid.get()).collect()
}

/// A Connect of `host` on a new admin connection: link and punt.
fn begin_connect(plane: &mut Plane, host: &mut Host) -> (Link, u32) {
    let link = host.open(plane, 0);
    let data = host.connect_data(0xffff, S1);
    let punt = plane.post(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0);
    (link, punt)
}

#[test]
fn a_host_disconnects() {
    let mut plane = Plane::new(configuration());
    let (admin, io, cntlid) = Host::default().connect_all(&mut plane, S1, 2);
    io.iter().for_each(|link| link.close(&mut plane));
    assert_eq!((destroyed(&plane), removed(&plane)), (vec![io[0].qpn, io[1].qpn], vec![]));
    set_cc(&mut plane, admin.qpn, 0x0046_4061);
    assert_eq!(csts(&mut plane, admin.qpn) & 0xc, 8);
    admin.close(&mut plane);
    assert_eq!(removed(&plane), [cntlid]);
    assert!(plane.qps.is_empty() && plane.injected.is_empty());
    let ended = Notice::Ended { cntlid, why: EndReason::HostLeft };
    assert_eq!(plane.notices().iter().filter(|notice| **notice == ended).count(), 1);
}

#[test]
fn ten_times_over_nothing_is_left_and_no_id_comes_back() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let mut seen = Vec::new();
    for _ in 0..10 {
        let (admin, io, cntlid) = host.connect_all(&mut plane, S1, 2);
        assert!(!seen.contains(&cntlid));
        seen.push(cntlid);
        io.iter().chain([&admin]).for_each(|link| link.close(&mut plane));
        plane.pass(SECOND_NS);
    }
    plane.pass(60 * SECOND_NS);
    let status = plane.control.status();
    assert_eq!((status.connections, status.qps, status.waiting_transactions), (0, 0, 0));
}

#[test]
fn a_reset_lets_ready_fall_only_when_io_queues_are_drained() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let (admin, io, _) = Host::default().connect_all(&mut plane, S1, 2);
    let punt = plane.post(admin.qpn, command(opcode::ASYNC_EVENT_REQUEST, 0, 0, 0).as_bytes(), &[], 0);
    set_cc(&mut plane, admin.qpn, 0x0046_0060);
    assert_eq!(destroyed(&plane), [io[0].qpn, io[1].qpn]);
    assert_eq!(plane.answers[&(admin.qpn, punt)].0.status.get(), 0x4008, "held event requests end");
    for _ in 0..2 {
        plane.expect_mad(attribute::DREQ);
    }
    assert_eq!(csts(&mut plane, admin.qpn) & 1, 1);
    assert_eq!(set_property(&mut plane, admin.qpn, 0x14, 0, 0x0046_0061), 0x400c, "not while it is resetting");
    plane.retire(io[0].qpn);
    assert_eq!(csts(&mut plane, admin.qpn) & 1, 1);
    plane.retire(io[1].qpn);
    assert_eq!(csts(&mut plane, admin.qpn), 0);
    set_cc(&mut plane, admin.qpn, 0x0046_0061);
    assert_eq!(csts(&mut plane, admin.qpn), 1, "the association lives on");
}

#[test]
fn a_linux_reset_io_queues_first_then_everything_again() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let mut host = Host::default();
    let (admin, io, first) = host.connect_all(&mut plane, S1, 2);
    io.iter().for_each(|link| link.close(&mut plane));
    set_cc(&mut plane, admin.qpn, 0x0046_0060);
    assert_eq!(csts(&mut plane, admin.qpn), 1);
    plane.retire_all();
    assert_eq!(csts(&mut plane, admin.qpn), 0);
    admin.close(&mut plane);
    plane.retire_all();
    let (_, _, second) = host.connect_all(&mut plane, S1, 2);
    assert_ne!(first, second);
    assert!(plane.injected.is_empty());
}

#[test]
fn a_shutdown_is_complete_when_io_queues_are_drained() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let (admin, io, _) = Host::default().connect_all(&mut plane, S1, 1);
    set_cc(&mut plane, admin.qpn, 0x0046_4061);
    assert_eq!(csts(&mut plane, admin.qpn) & 0xc, 4, "occurring");
    plane.retire(io[0].qpn);
    assert_eq!(csts(&mut plane, admin.qpn) & 0xc, 8, "complete");
}

#[test]
fn an_answer_that_is_refused_does_not_keep_queues_alive() {
    let mut plane = Plane::new(configuration());
    let (admin, io, _) = Host::default().connect_all(&mut plane, S1, 1);
    plane.refuse = Some((Kind::QpDestroy, Reason::Invalid));
    let mut set = gantry_wire::fabrics::PropertySet::new();
    (set.ofst, set.value) = (0x14.into(), 0x0046_0060.into());
    plane.post(admin.qpn, set.as_bytes(), &[], 0);
    assert!(destroyed(&plane).contains(&io[0].qpn));
    assert!(plane.qps.is_empty(), "its host would wait for ever: the controller ends");
}

#[test]
fn keep_alive_expiry_ends_the_controller() {
    let mut plane = Plane::new(configuration());
    let (admin, io, cntlid) = Host::default().connect_all(&mut plane, S1, 2);
    plane.event(EventKind::KeepAliveExpired, u32::from(cntlid), 0, &[]);
    for _ in 0..3 {
        plane.expect_mad(attribute::DREQ);
    }
    assert_eq!(destroyed(&plane), [admin.qpn, io[0].qpn, io[1].qpn]);
    assert_eq!(removed(&plane), [cntlid]);
    assert!(plane.notices().contains(&Notice::Ended { cntlid, why: EndReason::KeepAliveExpired }));
    // Fenced QPs report too, and a late repetition changes nothing.
    plane.event(EventKind::QpFailed, io[0].qpn, 6, &[]);
    plane.event(EventKind::KeepAliveExpired, u32::from(cntlid), 0, &[]);
    assert_eq!(removed(&plane), [cntlid]);
}

#[test]
fn a_failed_queue_ends_its_controller_and_no_other() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (_, io, cntlid) = host.connect_all(&mut plane, S1, 2);
    let (other, _) = host.connect_admin(&mut plane, S1);
    plane.event(EventKind::QpFailed, io[1].qpn, 1, &[]);
    assert_eq!(removed(&plane), [cntlid]);
    assert!(plane.qps.len() == 1 && plane.qps.contains_key(&other.qpn));
    let notices = plane.notices();
    let ended = notices.iter().find(|notice| matches!(notice, Notice::Ended { .. })).unwrap();
    assert_eq!(ended.to_string(), format!("controller {cntlid} ends: a queue pair failed (retries exceeded)"));
}

#[test]
fn a_failed_queue_without_a_controller_ends_alone() {
    let mut plane = Plane::new(configuration());
    let link = Host::default().open(&mut plane, 0);
    plane.event(EventKind::QpFailed, link.qpn, 4, &[]);
    plane.expect_mad(attribute::DREQ);
    assert_eq!(destroyed(&plane), [link.qpn]);
}

#[test]
fn a_host_that_comes_back_waits_for_its_old_queues_to_drain() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let mut host = Host::default();
    let (admin, io, old) = host.connect_all(&mut plane, S1, 1);
    admin.close(&mut plane);
    plane.expect_mad(attribute::DREQ);
    let (link, punt) = begin_connect(&mut plane, &mut host);
    assert!(!plane.answers.contains_key(&(link.qpn, punt)), "an old write may still land");
    plane.retire(admin.qpn);
    assert!(!plane.answers.contains_key(&(link.qpn, punt)));
    plane.retire(io[0].qpn);
    let (answer, _) = &plane.answers[&(link.qpn, punt)];
    assert_eq!(answer.status.get(), 0);
    assert_ne!(answer.dw0.get() as u16, old);
}

#[test]
fn others_do_not_wait() {
    let mut configuration = configuration();
    configuration.subsystems[0].hosts = gantry_control::Hosts::Any;
    let mut plane = Plane::new(configuration);
    plane.retire_at_once = false;
    let (admin, _, _) = Host::default().connect_all(&mut plane, S1, 1);
    admin.close(&mut plane);
    plane.expect_mad(attribute::DREQ);
    let mut other = Host { nqn: "nqn.2026-01.lab:other".into(), ip: [10, 9, 0, 3].into(), ..Host::default() };
    other.connect_admin(&mut plane, S1);
    Host { next: 0x900, ..Host::default() }.connect_admin(&mut plane, gantry_wire::fabrics::DISCOVERY_NQN);
}

#[test]
fn a_host_that_waits_and_leaves_gets_no_answer() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let mut host = Host::default();
    let (admin, _, _) = host.connect_all(&mut plane, S1, 0);
    admin.close(&mut plane);
    let (link, punt) = begin_connect(&mut plane, &mut host);
    link.close(&mut plane);
    assert_eq!(plane.control.status().held_connects, 0);
    plane.retire_all();
    assert!(!plane.answers.contains_key(&(link.qpn, punt)));
    assert!(plane.controllers.is_empty());
}

#[test]
fn a_drain_that_does_not_end_makes_the_host_try_again() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let mut host = Host::default();
    let (admin, _, _) = host.connect_all(&mut plane, S1, 0);
    admin.close(&mut plane);
    let (link, punt) = begin_connect(&mut plane, &mut host);
    plane.pass(21 * SECOND_NS);
    assert_eq!(plane.answers[&(link.qpn, punt)].0.status.get(), 0x0181);
}

#[test]
fn a_queue_id_is_free_again_when_its_old_queue_is_drained() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let mut host = Host::default();
    let (_, io, cntlid) = host.connect_all(&mut plane, S1, 1);
    io[0].close(&mut plane);
    let link = host.open(&mut plane, 1);
    let data = host.connect_data(cntlid, S1);
    let punt = plane.post(link.qpn, connect(1).as_bytes(), data.as_bytes(), 0);
    assert!(!plane.answers.contains_key(&(link.qpn, punt)));
    plane.retire(io[0].qpn);
    assert_eq!(plane.answers[&(link.qpn, punt)].0.status.get(), 0);
}

#[test]
fn what_comes_from_an_unknown_queue_ends_that_queue() {
    let mut plane = Plane::new(configuration());
    let mut stray = gantry_wire::fabrics::PropertyGet::new();
    stray.attrib = 1;
    plane.qps.insert(0x500, zerocopy::FromZeros::new_zeroed());
    plane.post(0x500, stray.as_bytes(), &[], 0);
    assert_eq!(destroyed(&plane), [0x500]);
    // And one that the data plane does not know either is forgotten.
    plane.post(0x501, stray.as_bytes(), &[], 0);
    assert_eq!(plane.control.status().qps, 0);
}

#[test]
fn what_another_control_left_is_taken_down_when_it_fails() {
    let mut plane = Plane::new(configuration());
    plane.qps.insert(0x500, zerocopy::FromZeros::new_zeroed());
    plane.controllers.insert(9, 5000);
    plane.event(EventKind::KeepAliveExpired, 9, 0, &[]);
    plane.event(EventKind::QpFailed, 0x500, 6, &[]);
    assert_eq!((destroyed(&plane), removed(&plane)), (vec![0x500], vec![9]));
    assert_eq!(plane.control.status().qps, 0);
}
