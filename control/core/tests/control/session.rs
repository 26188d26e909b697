//! The channel: opening, breaking, and what a data plane that is new or old means.

use crate::plane::*;
use gantry::channel::event::EventKind;
use gantry::channel::operation::{AddressAdd, DriveAdd, PortAdd};
use gantry::channel::session::{Hello, Reason, Refused, Welcome};
use gantry::channel::{Frame, Kind, emit};
use gantry_control::{Control, DriveState, FrameRefused, Notice};
use gantry_wire::cm::{self, attribute};
use zerocopy::{FromZeros, IntoBytes};

#[test]
fn ports_addresses_and_drives_come_first() {
    let mut plane = Plane::starting(configuration());
    let kinds: Vec<Kind> = plane.applied.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::PortAdd, Kind::DriveAdd, Kind::DriveAdd, Kind::AddressAdd, Kind::AddressAdd]);
    let port = &plane.operations::<PortAdd>(Kind::PortAdd)[0];
    assert_eq!((port.port.get(), port.mtu.get(), port.name.as_str()), (0, 1500, "wire0"));
    assert_eq!(plane.applied[0].1[size_of::<PortAdd>()..], *b"net_vhost0");
    let addresses = plane.operations::<AddressAdd>(Kind::AddressAdd);
    assert_eq!(addresses[0].ip, LOCAL.to_ipv6_mapped().octets());
    assert_eq!(addresses[1].ip[..2], [0xfd, 0]);
    let drives = plane.operations::<DriveAdd>(Kind::DriveAdd);
    assert_eq!((drives[1].drive.get(), drives[1].name.as_str()), (1, "b"));
    plane.event(EventKind::PortUp, 0, 0, &[2, 0, 0, 0, 0, 9]);
    let notices: Vec<String> = plane.notices().iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "session open with a fresh data plane, 2 lcores, boot id 000000000000b007",
            "port wire0 is up, 02:00:00:00:00:09"
        ]
    );
}

#[test]
fn a_drive_that_is_refused_stops_nothing_else() {
    let mut control = Plane::starting(configuration());
    control.refuse = Some((Kind::DriveAdd, Reason::Device));
    control.applied.clear();
    control.restart();
    control.open_session();
    assert_eq!(control.operations::<DriveAdd>(Kind::DriveAdd).len(), 1);
    let status = control.control.status();
    assert_eq!(status.drives[0].state, DriveState::Failed("no".into()));
    assert_eq!(status.drives[1].state, DriveState::Opening);
    assert!(control.notices().contains(&Notice::Refused { what: "drive a".into(), text: "no".into() }));
    assert_eq!(control.operations::<AddressAdd>(Kind::AddressAdd).len(), 2);
}

#[test]
fn an_address_that_exists_is_fine_and_another_device_is_not() {
    let mut plane = Plane::starting(configuration());
    plane.notices();
    plane.refuse = Some((Kind::AddressAdd, Reason::Exists));
    plane.restart();
    plane.open_session();
    assert!(!plane.notices().iter().any(|notice| matches!(notice, Notice::Refused { .. })));
    plane.refuse = Some((Kind::PortAdd, Reason::Exists));
    plane.restart();
    plane.open_session();
    assert!(plane.notices().contains(&Notice::Refused { what: "port wire0".into(), text: "no".into() }));
}

#[test]
fn what_an_older_drive_of_that_number_offers_is_not_served() {
    // A data plane that runs tells of its drives right after Welcome, before it has heard of ours.
    let mut plane = Plane::starting(configuration());
    plane.restart();
    plane.stall = true;
    plane.open_session();
    plane.drive_ready(0);
    plane.drive_ready(1);
    plane.stall = false;
    plane.break_channel();
    plane.refuse = Some((Kind::DriveAdd, Reason::Exists));
    plane.open_session();
    assert_eq!(plane.control.status().drives[0].state, DriveState::Failed("no".into()));
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    set_cc(&mut plane, link.qpn, 0x0046_0061);
    let status = plane.control.status();
    assert_eq!(status.subsystems[1].controllers[0].namespaces, [2], "drive b was taken as it was");
}

#[test]
fn the_same_data_plane_after_a_break_is_left_as_it_was() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    let (admin, io, cntlid) = host.connect_all(&mut plane, S1, 1);
    let applied = plane.applied.len();
    plane.break_channel();
    assert_eq!(plane.control.deadline_ns(), u64::MAX, "nothing to do without a channel");
    plane.open_session();
    assert_eq!(plane.applied.len(), applied, "nothing is programmed again");
    assert_eq!(csts(&mut plane, admin.qpn), 1);
    io[0].close(&mut plane);
    assert!(plane.controllers.contains_key(&cntlid));
    let opened = plane.notices().into_iter().filter(|notice| matches!(notice, Notice::SessionOpened { .. }));
    let fresh: Vec<bool> = opened.map(|n| matches!(n, Notice::SessionOpened { fresh: true, .. })).collect();
    assert_eq!(fresh, [true, false]);
}

#[test]
fn an_answer_that_was_on_its_way_is_given_after_the_break() {
    let mut plane = Plane::new(configuration());
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    plane.stall = true;
    let mut get = gantry_wire::fabrics::PropertyGet::new();
    get.attrib = 1;
    let punt = plane.post(link.qpn, get.as_bytes(), &[], 0);
    plane.break_channel();
    plane.stall = false;
    plane.open_session();
    assert_eq!(plane.answers[&(link.qpn, punt)].0.dw0.get(), 0x0f01_007f);
}

#[test]
fn a_fresh_data_plane_is_programmed_from_nothing() {
    let mut plane = Plane::new(configuration());
    let mut host = Host::default();
    host.connect_all(&mut plane, S1, 1);
    plane.restart();
    plane.open_session();
    assert_eq!(plane.operations::<PortAdd>(Kind::PortAdd).len(), 2);
    let status = plane.control.status();
    assert_eq!((status.connections, status.qps), (0, 0));
    assert!(status.subsystems.iter().all(|subsystem| subsystem.controllers.is_empty()));
    assert_eq!(status.drives[0].state, DriveState::Opening);
    // The host comes back while the drives are still opening.
    let link = host.open(&mut plane, 0);
    let data = host.connect_data(0xffff, S1);
    let punt = plane.post(link.qpn, connect(0).as_bytes(), data.as_bytes(), 0);
    plane.drive_ready(0);
    plane.drive_ready(1);
    assert_eq!(plane.answers[&(link.qpn, punt)].0.status.get(), 0);
}

#[test]
fn a_session_can_be_refused() {
    let mut control = Control::new(configuration(), 1);
    control.connected(0);
    let hello = control.poll_frame().unwrap();
    let (hello, _) = *Frame::parse(&hello).unwrap().body::<Hello>().map(|(h, t)| (*h, t)).as_ref().unwrap();
    assert_eq!((hello.major.get(), hello.epoch.get()), (1, 7));
    let refused = Refused { operation: u32::MAX.into(), reason: (Reason::Fenced as u16).into(), reserved: 0.into() };
    control.handle_frame(0, &emit(Kind::Refused, 0, refused.as_bytes(), b"epoch 8 is here")).unwrap();
    assert_eq!(control.poll_notice(), Some(Notice::SessionRefused { text: "epoch 8 is here".into() }));
    assert_eq!(control.poll_frame(), None);
    assert!(!control.status().session_open && control.session_refused());

    control.connected(1);
    control.poll_frame().unwrap();
    let welcome = Welcome { major: 2.into(), ..Welcome::new_zeroed() };
    control.handle_frame(0, &emit(Kind::Welcome, 0, welcome.as_bytes(), &[])).unwrap();
    assert!(matches!(control.poll_notice(), Some(Notice::SessionRefused { .. })));
    assert_eq!(control.poll_frame(), None);
}

#[test]
fn frames_out_of_place_are_refused_and_change_nothing() {
    let mut plane = Plane::new(configuration());
    let link = Host::default().open(&mut plane, 0);
    let now = plane.now_ns;
    let mut handle = |bytes: &[u8]| plane.control.handle_frame(now, bytes).unwrap_err();
    assert_eq!(handle(&emit(Kind::Welcome, 0, Welcome::new_zeroed().as_bytes(), &[])), out_of_place(Kind::Welcome));
    assert_eq!(handle(&emit(Kind::QpCreate, 1, &[0; 200], &[])), out_of_place(Kind::QpCreate));
    assert_eq!(handle(&emit(Kind::Committed, 99, &[], &[])), FrameRefused::Transaction(Kind::Committed, 99));
    assert_eq!(handle(&emit(Kind::Prepared, 99, &[], &[])), FrameRefused::Transaction(Kind::Prepared, 99));
    assert!(matches!(handle(&emit(Kind::Capsule, 0, &[0; 10], &[])), FrameRefused::Unreadable(_)));
    assert!(matches!(handle(b"x"), FrameRefused::Unreadable(_)));
    assert_eq!(plane.control.status().counters.malformed_frames, 6);
    assert!(plane.qps.contains_key(&link.qpn) && plane.control.poll_frame().is_none());
}

fn out_of_place(kind: Kind) -> FrameRefused {
    FrameRefused::OutOfPlace(kind)
}

#[test]
fn a_reservation_that_is_missing_rolls_the_transaction_back() {
    let mut plane = Plane::new(configuration());
    plane.stall = true;
    let mut host = Host::default();
    plane.mad(REMOTE, &cm::emit(1, &host.req(0)));
    let bytes = emit(Kind::Prepared, plane.open_id().unwrap(), &[], &[]);
    assert!(plane.control.handle_frame(plane.now_ns, &bytes).is_err());
    plane.stall = false;
    plane.pump();
    plane.expect_mad(attribute::REJ);
    host.open(&mut plane, 0);
}

#[test]
fn a_frame_that_is_refused_is_no_refused_session() {
    let mut plane = Plane::new(configuration());
    let refused =
        |reason: Reason| Refused { operation: u32::MAX.into(), reason: (reason as u16).into(), reserved: 0.into() };
    plane.frame(Kind::Refused, 0, refused(Reason::NotFound).as_bytes(), b"INJECT names no port");
    assert!(!plane.control.session_refused());
    Host::default().connect_admin(&mut plane, S1);
    plane.frame(Kind::Refused, 0, refused(Reason::Fenced).as_bytes(), b"a newer control has been here");
    assert!(plane.control.session_refused());
}

#[test]
fn late_words_about_the_session_before_are_no_surprise() {
    let mut plane = Plane::new(configuration());
    let (link, _) = Host::default().connect_admin(&mut plane, S1);
    plane.stall = true;
    let mut get = gantry_wire::fabrics::PropertyGet::new();
    get.attrib = 1;
    let punt = plane.post(link.qpn, get.as_bytes(), &[], 0);
    let old = plane.open_id().unwrap();
    plane.break_channel();
    plane.open_session();
    plane.frame(Kind::Prepared, old, &[], &[]);
    plane.frame(Kind::Committed, old, &[], &[]);
    assert_eq!(plane.control.status().counters.malformed_frames, 0);
    assert!(!plane.answers.contains_key(&(link.qpn, punt)), "it is not taken for the new one");
    assert_ne!(plane.open_id(), Some(old));
}

#[test]
fn what_is_remarked_of_a_drive_is_noticed_and_kept_while_it_is_up() {
    let mut plane = Plane::new(configuration());
    let notices: Vec<Notice> = std::iter::from_fn(|| plane.control.poll_notice()).collect();
    let said = |drive: &str, text: &str| Notice::DriveRemark { drive: drive.into(), text: text.into() };
    for text in ["one line", "another line"] {
        assert_eq!(notices.iter().filter(|notice| **notice == said("b", text)).count(), 1, "{notices:?}");
    }
    let remarks = |plane: &Plane| plane.control.status().drives[1].remarks.len();
    assert_eq!((plane.control.status().drives[0].remarks.len(), remarks(&plane)), (0, 2));
    plane.event(EventKind::DriveFailed, 1, 0, b"gone");
    assert_eq!(remarks(&plane), 0);
}
