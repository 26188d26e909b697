//! A new control and what runs already: it takes over what is claimed, ends what is not, and changes only what its
//! configuration changes.

use crate::plane::*;
use gantry::channel::event::EventKind;
use gantry::channel::operation::{ControllerRemove, NAMESPACE_READ_ONLY, NamespaceRemove, QpDestroy};
use gantry::channel::session::{Reason, Refused};
use gantry::channel::slow_path::Punt;
use gantry::channel::{BLOB_MAX, Kind};
use gantry_control::{DriveState, EndReason, Hosts, Notice};
use gantry_wire::cm::{self, attribute};
use gantry_wire::fabrics::DISCOVERY_NQN;
use gantry_wire::nvme::admin as opcode;
use zerocopy::{FromZeros, IntoBytes};

fn destroyed(plane: &Plane) -> Vec<u32> {
    plane.operations::<QpDestroy>(Kind::QpDestroy).iter().map(|qp| qp.qpn.get()).collect()
}

fn removed(plane: &Plane) -> Vec<u16> {
    plane.operations::<ControllerRemove>(Kind::ControllerRemove).iter().map(|c| c.cntlid.get()).collect()
}

fn ends(plane: &mut Plane) -> Vec<(u16, EndReason)> {
    let ended = |notice| match notice {
        Notice::Ended { cntlid, why } => Some((cntlid, why)),
        _ => None,
    };
    plane.notices().into_iter().filter_map(ended).collect()
}

/// Another control takes over.
fn reborn(plane: &mut Plane) {
    plane.applied.clear();
    plane.kill();
    plane.pump();
}

fn feature(plane: &mut Plane, qpn: u32, fid: u32) -> u32 {
    let (status, dw0, _) = admin(plane, qpn, command(opcode::GET_FEATURES, 0, fid, 0), 0);
    assert_eq!(status, 0);
    dw0
}

fn set_feature(plane: &mut Plane, qpn: u32, fid: u32, value: u32) {
    assert_eq!(admin(plane, qpn, command(opcode::SET_FEATURES, 0, fid, value), 0).0, 0);
}

fn aer(plane: &mut Plane, qpn: u32) -> u32 {
    plane.post(qpn, command(opcode::ASYNC_EVENT_REQUEST, 0, 0, 0).as_bytes(), &[], 0)
}

#[test]
fn what_runs_is_taken_over_untouched() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (admin_link, io, cntlid) = host.connect_all(&mut plane, S1, 2);
    reborn(&mut plane);
    assert!(plane.applied.is_empty() && plane.injected.is_empty(), "nothing changes: {:?}", plane.applied);
    let status = plane.control.status();
    assert_eq!((status.qps, status.connections), (3, 3));
    let controller = &status.subsystems[1].controllers[0];
    assert_eq!((controller.cntlid, controller.ready, &controller.namespaces[..]), (cntlid, true, &[1, 2][..]));
    assert_eq!((controller.host_nqn.as_str(), controller.host_id), (HOST, HOST_ID));
    assert_eq!((controller.keep_alive_ms, controller.queues.len()), (5_000, 3));
    assert!(matches!(status.drives[0].state, DriveState::Ready { .. }));
    // It serves on: a queue leaves and comes back, the host disconnects.
    io[0].close(&mut plane);
    host.connect_io(&mut plane, S1, cntlid, 1);
    admin_link.close(&mut plane);
    plane.pass(60 * SECOND_NS);
    assert_eq!((plane.qps.len(), plane.control.status().connections), (0, 0));
}

#[test]
fn what_a_host_set_is_remembered() {
    let mut plane = Plane::new(configuration());
    let (link, cntlid) = Host::default().connect_admin(&mut plane, S1);
    let qpn = link.qpn;
    assert_eq!(csts(&mut plane, qpn), 0);
    reborn(&mut plane);
    assert_eq!((csts(&mut plane, qpn), property(&mut plane, qpn, 0x14, 0)), (0, Ok(0)), "not enabled yet");
    set_cc(&mut plane, qpn, 0x0046_0061);
    let values =
        [(0x07, 0x0003_0003), (0x0b, 0x100), (0x0f, 7_700), (0x04, 333), (0x05, 77), (0x01, 0x0102_0305), (0x0a, 1)];
    for (fid, value) in values {
        set_feature(&mut plane, qpn, fid, value);
        reborn(&mut plane);
    }
    for (fid, value) in values {
        assert_eq!(feature(&mut plane, qpn, fid), value, "feature {fid:#x}");
    }
    assert_eq!((csts(&mut plane, qpn), property(&mut plane, qpn, 0x14, 0)), (1, Ok(0x0046_0061)));
    assert_eq!(plane.controllers[&cntlid], 7_700);
    set_cc(&mut plane, qpn, 0x0046_4061);
    reborn(&mut plane);
    assert_eq!(csts(&mut plane, qpn), 0x9, "shutdown complete");
}

#[test]
fn a_request_is_answered_with_the_same_reply_by_every_control() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let req = host.req(0);
    let mad = cm::emit(0x4711, &req);
    plane.mad(REMOTE, &mad);
    let rep = plane.expect_mad(attribute::REP);
    reborn(&mut plane);
    assert!(plane.injected.is_empty() && plane.applied.is_empty());
    plane.mad(REMOTE, &mad);
    assert_eq!(plane.expect_mad(attribute::REP), rep);
    // Without a word from the host it is repeated, as it was, until control gives up.
    plane.pass(5 * SECOND_NS);
    assert_eq!(plane.expect_mad(attribute::REP), rep);
    plane.injected.clear();
    // Somebody else's REQ from the same end of the host: the old connection is stale.
    let mut stale = req;
    stale.local_comm_id = 0x999.into();
    plane.mad(REMOTE, &cm::emit(1, &stale));
    plane.expect_mad(attribute::REJ);
    plane.expect_mad(attribute::DREQ);
    assert_eq!(destroyed(&plane), [0x11]);
}

#[test]
fn a_connection_without_a_connect_still_times_out() {
    let mut plane = Plane::new(configuration());
    let link = Host::default().open(&mut plane, 0);
    plane.event(EventKind::QpEstablished, link.qpn, 0, &[]);
    reborn(&mut plane);
    assert_eq!(plane.control.status().qps, 1);
    plane.pass(31 * SECOND_NS);
    plane.expect_mad(attribute::DREQ);
    assert_eq!(destroyed(&plane), [link.qpn]);
}

#[test]
fn nothing_is_done_before_everything_is_told() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (link, cntlid) = host.connect_admin(&mut plane, S1);
    let other = host.open(&mut plane, 0);
    plane.applied.clear();
    plane.mute = true;
    plane.kill();
    plane.pump();
    // A command, a REQ and a failure come before the data plane is done telling.
    let mut get = gantry_wire::fabrics::PropertyGet::new();
    get.attrib = 1;
    let punt = plane.post(link.qpn, get.as_bytes(), &[], 0);
    let req = host.req(0);
    let from = Punt { path: path(REMOTE), source_qpn: 1.into(), qkey: cm::QKEY.into() };
    plane.frame(Kind::Punt, 0, from.as_bytes(), &cm::emit(3, &req));
    plane.event(EventKind::QpFailed, other.qpn, 4, &[]);
    assert!(plane.answers.keys().all(|key| *key != (link.qpn, punt)));
    assert!(plane.applied.is_empty() && plane.injected.is_empty());
    assert_eq!((plane.control.deadline_ns(), plane.control.status().qps), (u64::MAX, 0));
    plane.synchronize();
    assert_eq!(plane.answers[&(link.qpn, punt)].0.dw0.get(), 0x0f01_007f);
    assert_eq!(destroyed(&plane), [other.qpn]);
    assert!(plane.controllers.contains_key(&cntlid) && plane.qps.len() == 2, "and the REQ has its QP");
}

#[test]
fn event_requests_are_held_again_and_events_are_not_lost() {
    let mut plane = Plane::starting(configuration());
    plane.drive_ready(0);
    plane.event(EventKind::DriveFailed, 1, 0, b"not yet");
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    set_cc(&mut plane, link.qpn, 0x0046_0061);
    set_feature(&mut plane, link.qpn, 0x0b, 0x100);
    let punts = [aer(&mut plane, link.qpn), aer(&mut plane, link.qpn)];
    reborn(&mut plane);
    assert_eq!(plane.control.status().subsystems[1].controllers[0].held_events, 2);
    assert!(plane.applied.is_empty() && plane.unanswered.len() == 2);
    plane.drive_ready(1);
    assert_eq!(plane.answers[&(link.qpn, punts[0])].0.dw0.get(), 0x0004_0002);
    // What was told is masked until its log page is read, whoever reads it out.
    reborn(&mut plane);
    assert_eq!(plane.unanswered.len(), 1);
    let sqe = command(opcode::LOG_PAGE, u32::MAX, 0x03ff_0004, 0);
    let (_, _, changed) = admin(&mut plane, link.qpn, sqe, 4096);
    assert_eq!(changed[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    reborn(&mut plane);
    let (_, _, changed) = admin(&mut plane, link.qpn, sqe, 4096);
    assert_eq!(changed[..4], [0; 4], "read once is read");
}

#[test]
fn an_event_without_a_request_waits_in_the_data_plane() {
    let mut plane = Plane::starting(configuration());
    plane.drive_ready(0);
    plane.event(EventKind::DriveFailed, 1, 0, b"not yet");
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    set_cc(&mut plane, link.qpn, 0x0046_0061);
    set_feature(&mut plane, link.qpn, 0x0b, 0x100);
    plane.drive_ready(1);
    reborn(&mut plane);
    let punt = aer(&mut plane, link.qpn);
    assert_eq!(plane.answers[&(link.qpn, punt)].0.dw0.get(), 0x0004_0002);
}

#[test]
fn what_drains_holds_its_host_back_and_keeps_its_id() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let mut host = Host::default();
    let (admin_link, io, old) = host.connect_all(&mut plane, S1, 1);
    admin_link.close(&mut plane);
    plane.injected.clear();
    reborn(&mut plane);
    assert!(plane.applied.is_empty());
    // Whether the host has heard of it nobody knows: it is told again.
    plane.expect_mad(attribute::DREQ);
    plane.expect_mad(attribute::DREQ);
    assert!(plane.control.status().subsystems[1].controllers[0].ending);
    let link = host.open(&mut plane, 0);
    let data = host.connect_data(0xffff, S1);
    let punt = plane.post(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0);
    assert!(!plane.answers.contains_key(&(link.qpn, punt)), "an old write may still land");
    reborn(&mut plane);
    plane.retire(admin_link.qpn);
    assert!(!plane.answers.contains_key(&(link.qpn, punt)));
    plane.retire(io[0].qpn);
    let (answer, _) = &plane.answers[&(link.qpn, punt)];
    assert_eq!(answer.status.get(), 0);
    assert_ne!(answer.dw0.get() as u16, old);
    assert_eq!(plane.controllers.len(), 1);
}

#[test]
fn a_reset_that_drained_while_control_was_away_is_complete() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let (link, _, _) = Host::default().connect_all(&mut plane, S1, 2);
    set_cc(&mut plane, link.qpn, 0x0046_0060);
    reborn(&mut plane);
    assert_eq!(csts(&mut plane, link.qpn), 1, "its queues drain");
    plane.break_channel();
    plane.retire_all();
    plane.kill();
    plane.pump();
    assert_eq!(csts(&mut plane, link.qpn), 0);
    set_cc(&mut plane, link.qpn, 0x0046_0061);
    assert_eq!(csts(&mut plane, link.qpn), 1);
}

#[test]
fn what_failed_or_expired_meanwhile_is_taken_down() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (_, io, failed) = host.connect_all(&mut plane, S1, 1);
    let (_, _, expired) = host.connect_all(&mut plane, S1, 1);
    let (kept, _, _) = host.connect_all(&mut plane, S1, 1);
    let unbound = host.open(&mut plane, 0);
    plane.break_channel();
    plane.event(EventKind::QpFailed, io[0].qpn, 1, &[]);
    plane.event(EventKind::QpFailed, unbound.qpn, 3, &[]);
    plane.event(EventKind::KeepAliveExpired, u32::from(expired), 0, &[]);
    reborn(&mut plane);
    let mut ended = ends(&mut plane);
    ended.sort_by_key(|(cntlid, _)| *cntlid);
    let mut expected = [(failed, EndReason::QpFailed(1)), (expired, EndReason::KeepAliveExpired)];
    expected.sort_by_key(|(cntlid, _)| *cntlid);
    assert_eq!(ended, expected);
    assert_eq!((plane.qps.len(), plane.controllers.len()), (2, 1));
    assert!(plane.qps.contains_key(&kept.qpn));
}

#[test]
fn what_nobody_remembers_is_taken_down_and_nobody_is_served_before() {
    for blob in [&b""[..], &[2, 0, 9, 9, 9], &[1, 0], &[0xff; BLOB_MAX]] {
        let mut plane = Plane::new(configuration());
        plane.retire_at_once = false;
        let mut host = Host::default();
        let (admin_link, io, cntlid) = host.connect_all(&mut plane, S1, 1);
        plane.controller_blobs.insert(cntlid, blob.to_vec());
        reborn(&mut plane);
        assert_eq!((destroyed(&plane), removed(&plane)), (vec![admin_link.qpn, io[0].qpn], vec![cntlid]));
        let notices = plane.notices();
        let unclaimed =
            |notice: &&Notice| matches!(notice, Notice::Unclaimed { what, .. } if what.contains("controller"));
        assert_eq!(notices.iter().filter(unclaimed).count(), 1);
        for _ in 0..2 {
            plane.expect_mad(attribute::DREQ);
        }
        // Its host is unknown: it may be anybody's writes that drain, and the next control knows no more.
        let link = host.open(&mut plane, 0);
        let data = host.connect_data(0xffff, S1);
        let punt = plane.post(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0);
        assert!(!plane.answers.contains_key(&(link.qpn, punt)));
        reborn(&mut plane);
        assert!(!plane.answers.contains_key(&(link.qpn, punt)));
        plane.retire_all();
        assert_eq!(plane.answers[&(link.qpn, punt)].0.status.get(), 0);
    }
}

#[test]
fn a_queue_nobody_remembers_ends_with_its_controller_and_one_without_alone() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (_, io, first) = host.connect_all(&mut plane, S1, 1);
    let (kept, _, _) = host.connect_all(&mut plane, S1, 1);
    let alone = host.open(&mut plane, 0);
    plane.qp_blobs.insert(io[0].qpn, vec![9, 9]);
    plane.qp_blobs.insert(alone.qpn, Vec::new());
    // And one whose controller is nowhere.
    plane.qps.insert(0x500, FromZeros::new_zeroed());
    plane.bound.insert(0x500, 77);
    reborn(&mut plane);
    assert_eq!(ends(&mut plane), [(first, EndReason::Unclaimed)]);
    assert_eq!((plane.qps.len(), plane.controllers.len()), (2, 1));
    assert!(plane.qps.contains_key(&kept.qpn));
    assert_eq!(plane.control.status().qps, 2);
}

#[test]
fn a_controller_without_its_admin_queue_is_taken_down() {
    let mut plane = Plane::new(configuration());
    plane.retire_at_once = false;
    let (admin_link, _, cntlid) = Host::default().connect_all(&mut plane, S1, 1);
    // An earlier control destroyed it, and died before it removed the controller.
    let create = plane.qps.remove(&admin_link.qpn).unwrap();
    plane.bound.remove(&admin_link.qpn);
    plane.draining.insert(admin_link.qpn, (create, Some(cntlid)));
    reborn(&mut plane);
    assert_eq!((ends(&mut plane), removed(&plane)), (vec![(cntlid, EndReason::Unclaimed)], vec![cntlid]));
    plane.retire_all();
    assert_eq!(plane.control.status().qps, 0);
}

#[test]
fn namespaces_follow_the_configuration() {
    let mut before = configuration();
    before.subsystems[0].namespaces.truncate(1);
    let mut plane = Plane::new(before.clone());
    let (link, _, cntlid) = Host::default().connect_all(&mut plane, S1, 1);
    set_feature(&mut plane, link.qpn, 0x0b, 0x100);
    let punt = aer(&mut plane, link.qpn);
    plane.applied.clear();
    plane.replace(configuration());
    plane.pump();
    assert_eq!(plane.namespaces.keys().copied().collect::<Vec<_>>(), [(cntlid, 1), (cntlid, 2)]);
    assert_eq!(plane.applied.iter().filter(|(kind, _)| *kind == Kind::NamespaceAdd).count(), 1, "only the new one");
    assert_eq!(plane.answers[&(link.qpn, punt)].0.dw0.get(), 0x0004_0002, "and its host is told");
    // Now the first one goes.
    let punt = aer(&mut plane, link.qpn);
    let sqe = command(opcode::LOG_PAGE, u32::MAX, 0x03ff_0004, 0);
    assert_eq!(admin(&mut plane, link.qpn, sqe, 4096).2[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    let mut after = configuration();
    after.subsystems[0].namespaces.remove(0);
    plane.applied.clear();
    plane.replace(after);
    plane.pump();
    let gone = plane.operations::<NamespaceRemove>(Kind::NamespaceRemove);
    assert_eq!(gone.iter().map(|n| (n.cntlid.get(), n.nsid.get())).collect::<Vec<_>>(), [(cntlid, 1)]);
    assert_eq!(plane.namespaces.keys().copied().collect::<Vec<_>>(), [(cntlid, 2)]);
    assert_eq!(plane.answers[&(link.qpn, punt)].0.dw0.get(), 0x0004_0002);
    let (_, _, active) = admin(&mut plane, link.qpn, command(opcode::IDENTIFY, 0, 2, 0), 4096);
    assert_eq!(active[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    assert!(destroyed(&plane).is_empty());
}

#[test]
fn a_namespace_on_another_drive_is_put_there() {
    let mut plane = Plane::new(configuration());
    let (link, _, cntlid) = Host::default().connect_all(&mut plane, S1, 1);
    let mut after = configuration();
    after.subsystems[0].namespaces[0].drive = "b".into();
    plane.replace(after);
    plane.pump();
    assert_eq!(plane.namespaces[&(cntlid, 1)].drive.get(), 1);
    let page = admin(&mut plane, link.qpn, command(opcode::IDENTIFY, 1, 0, 0), 4096).2;
    assert_eq!(page[130], 12, "its blocks are drive b's");
}

#[test]
fn a_namespace_that_becomes_read_only_is_so_for_those_who_have_it() {
    let mut plane = Plane::new(configuration());
    let (link, _, cntlid) = Host::default().connect_all(&mut plane, S1, 1);
    let attributes = |plane: &mut Plane| admin(plane, link.qpn, command(opcode::IDENTIFY, 1, 0, 0), 4096).2[99];
    assert_eq!((plane.namespaces[&(cntlid, 1)].flags.get(), attributes(&mut plane)), (0, 0));
    let mut after = configuration();
    after.subsystems[0].namespaces[0].read_only = true;
    plane.replace(after);
    plane.pump();
    assert_eq!(plane.namespaces[&(cntlid, 1)].flags.get(), NAMESPACE_READ_ONLY);
    assert_eq!(attributes(&mut plane), 1, "NSATTR: write protected");
}

#[test]
fn a_host_or_a_subsystem_that_is_no_more_loses_its_controllers() {
    let mut host_gone = configuration();
    host_gone.subsystems[0].hosts = Hosts::Only(vec!["nqn.2026-01.lab:other".into()]);
    let mut subsystem_gone = configuration();
    subsystem_gone.subsystems.remove(0);
    for after in [host_gone, subsystem_gone] {
        let mut plane = Plane::new(configuration());
        plane.retire_at_once = false;
        let mut host = Host::default();
        let (link, io, cntlid) = host.connect_all(&mut plane, S1, 1);
        let (discovery, _) = host.connect_admin(&mut plane, DISCOVERY_NQN);
        plane.replace(after);
        plane.pump();
        assert_eq!(ends(&mut plane), [(cntlid, EndReason::NotAdmitted)]);
        assert_eq!(destroyed(&plane), [link.qpn, io[0].qpn]);
        assert!(plane.namespaces.is_empty() && plane.qps.contains_key(&discovery.qpn), "discovery is for everybody");
        // Also across another life of control its id rests until it is drained.
        plane.kill();
        plane.pump();
        plane.retire_all();
        assert_eq!(plane.control.status().qps, 1);
    }
}

#[test]
fn the_same_control_adopts_too() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (_, io, cntlid) = host.connect_all(&mut plane, S1, 1);
    plane.break_channel();
    plane.event(EventKind::QpFailed, io[0].qpn, 1, &[]);
    plane.open_session();
    assert_eq!(removed(&plane), [cntlid], "what happened while the channel was broken is known");
    assert!(plane.qps.is_empty());
}

#[test]
fn a_data_plane_of_contract_1_0_is_served_as_ever() {
    let mut plane = Plane::speaking(configuration(), 0);
    plane.drive_ready(0);
    plane.drive_ready(1);
    let mut host = Host::default();
    let (link, io, cntlid) = host.connect_all(&mut plane, S1, 2);
    set_feature(&mut plane, link.qpn, 0x0f, 9_000);
    assert_eq!(plane.controllers[&cntlid], 9_000);
    let applied = plane.applied.len();
    plane.break_channel();
    plane.open_session();
    assert_eq!(plane.applied.len(), applied, "what control knows it still knows");
    assert_eq!(csts(&mut plane, link.qpn), 1);
    assert_eq!(admin(&mut plane, link.qpn, command(opcode::ABORT, 0, 5 << 16 | 1, 0), 0), (0, 1, vec![]));
    io[1].close(&mut plane);
    // A new control knows nothing, and a queue that shows itself goes; its host comes back.
    reborn(&mut plane);
    plane.post(link.qpn, gantry_wire::fabrics::PropertyGet::new().as_bytes(), &[], 0);
    plane.event(EventKind::QpFailed, io[0].qpn, 6, &[]);
    plane.event(EventKind::KeepAliveExpired, u32::from(cntlid), 0, &[]);
    assert_eq!((plane.qps.len(), plane.controllers.len()), (0, 0));
    host.connect_all(&mut plane, S1, 1);
    assert!(plane.qp_blobs.values().chain(plane.controller_blobs.values()).all(Vec::is_empty));
}

#[test]
fn one_bad_device_stops_nothing_else() {
    let mut plane = Plane::new(configuration());
    plane.restart();
    plane.applied.clear();
    plane.dead = [1].into();
    plane.open_session();
    let kinds: Vec<Kind> = plane.applied.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::PortAdd, Kind::DriveAdd, Kind::AddressAdd, Kind::AddressAdd]);
    let status = plane.control.status();
    assert_eq!(
        (&status.drives[0].state, &status.drives[1].state),
        (&DriveState::Opening, &DriveState::Failed("no".into()))
    );
    plane.drive_ready(0);
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    assert_eq!(csts(&mut plane, link.qpn), 0);
}

#[test]
fn a_drive_that_is_given_up_keeps_its_reason() {
    let mut plane = Plane::new(configuration());
    plane.event(EventKind::DriveFailed, 1, 0, b"it fell silent");
    plane.dead = [1].into();
    reborn(&mut plane);
    assert_eq!(plane.control.status().drives[1].state, DriveState::Failed("it fell silent".into()));
    assert!(!plane.notices().iter().any(|notice| matches!(notice, Notice::Refused { .. })));
}

#[test]
fn a_newer_control_ends_this_one_at_any_moment() {
    for mute in [false, true] {
        let mut plane = Plane::new(configuration());
        plane.mute = mute;
        reborn(&mut plane);
        let refused =
            Refused { operation: u32::MAX.into(), reason: (Reason::Fenced as u16).into(), reserved: 0.into() };
        assert!(!plane.control.is_fenced());
        plane.frame(Kind::Refused, 0, refused.as_bytes(), b"a newer control has taken over");
        assert!(plane.control.is_fenced() && plane.control.session_refused());
        assert!(plane.notices().contains(&Notice::SessionRefused { text: "a newer control has taken over".into() }));
    }
}

#[test]
fn state_frames_have_their_time() {
    let mut plane = Plane::new(configuration());
    let synchronized = gantry::channel::emit(Kind::Synchronized, 0, &[], &[]);
    assert!(plane.control.handle_frame(plane.now_ns, &synchronized).is_err(), "once a session");
    plane.mute = true;
    reborn(&mut plane);
    let committed = gantry::channel::emit(Kind::Committed, 1, &[], &[]);
    assert!(plane.control.handle_frame(plane.now_ns, &committed).is_err());
    plane.synchronize();
    Host { next: 0x4000, ..Host::default() }.connect_all(&mut plane, S1, 1);
}

#[test]
fn what_was_told_is_not_told_again_by_the_next_control() {
    let mut plane = Plane::starting(configuration());
    plane.event(EventKind::DriveFailed, 0, 0, b"not yet");
    plane.event(EventKind::DriveFailed, 1, 0, b"not yet");
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    set_cc(&mut plane, link.qpn, 0x0046_0061);
    set_feature(&mut plane, link.qpn, 0x0b, 0x100);
    let punts = [aer(&mut plane, link.qpn), aer(&mut plane, link.qpn)];
    plane.drive_ready(0);
    assert!(plane.answers.contains_key(&(link.qpn, punts[0])));
    reborn(&mut plane);
    plane.drive_ready(1);
    assert!(!plane.answers.contains_key(&(link.qpn, punts[1])), "masked until the log page is read");
    let sqe = command(opcode::LOG_PAGE, u32::MAX, 0x03ff_0004, 0);
    assert_eq!(admin(&mut plane, link.qpn, sqe, 4096).2[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
}
