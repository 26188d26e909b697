//! What P4Runtime's clients write: transactions, questions, and the end of either process.

use crate::table_plane::{TablePlane, entries_in, refused};
use gantry::channel::session::Reason;
use gantry::channel::table::{DigestWrite, EVERY_CELL, Field, FieldKind, MeterWrite, TableDump, Verb, emit_entry};
use gantry::channel::{FRAME_MAX, Frame, Kind, emit};
use gantry_control::{Configuration, Control, Notice, Port, TableEvent, TableOperation, TablesClosed};
use std::collections::VecDeque;
use zerocopy::{FromZeros, IntoBytes};

const ACCESS: u32 = 0x0200_0001;
const ROUTES: u32 = 0x0200_0002;
const METER: u32 = 0x1400_0001;

fn operation(verb: Verb, table: u32, key: u32, action: u32) -> TableOperation {
    let mut out = Vec::new();
    let fields = if verb == Verb::Default { vec![] } else { vec![Field::new(FieldKind::Value, 0, key.into(), 0)] };
    let arguments = if action == 0 { vec![] } else { vec![u128::from(action)] };
    emit_entry(&mut out, verb, table, 0, &fields, action, arguments.into_iter(), 0, b"note");
    TableOperation::Entry(out)
}

fn insert(table: u32, key: u32) -> TableOperation {
    operation(Verb::Insert, table, key, 1)
}

fn meter(index: u32, configured: u32, cir: u64) -> TableOperation {
    let write = MeterWrite {
        object: METER.into(),
        index: index.into(),
        configured: configured.into(),
        cir: cir.into(),
        ..MeterWrite::new_zeroed()
    };
    TableOperation::Meter(write.as_bytes().to_vec())
}

fn direct_meter(table: u32, key: u32) -> TableOperation {
    let write = MeterWrite { object: table.into(), configured: 1.into(), cir: 7.into(), ..MeterWrite::new_zeroed() };
    let TableOperation::Entry(entry) = insert(table, key) else { unreachable!() };
    TableOperation::Meter([write.as_bytes(), &entry].concat())
}

fn digest(wanted: u32) -> TableOperation {
    let write = DigestWrite { digest: 0x1700_0001.into(), wanted: wanted.into() };
    TableOperation::Digest([write.as_bytes(), b"note"].concat())
}

/// Control and a data plane with tables; frames in between.
struct Pair {
    control: Control,
    plane: TablePlane,
    to_control: VecDeque<Vec<u8>>,
    tickets: u64,
}

fn configuration() -> Configuration {
    let port = Port {
        name: "wire0".into(),
        device: "net_null0".into(),
        mtu: 1500,
        vlan: 0,
        addresses: vec!["10.0.0.1".parse().unwrap()],
    };
    Configuration { ports: vec![port], ..Configuration::default() }
}

fn control() -> Control {
    let mut control = Control::new(configuration(), 3);
    control.serve_tables();
    control
}

impl Pair {
    /// A session is open.
    fn new() -> Self {
        Self::with(TablePlane::new())
    }

    fn with(plane: TablePlane) -> Self {
        let mut pair = Self { control: control(), plane, to_control: VecDeque::new(), tickets: 0 };
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        self.control.connected(0);
        self.pump();
    }

    fn disconnect(&mut self) {
        self.control.disconnected(0);
        self.plane.hang_up();
        self.to_control.clear();
    }

    fn pump(&mut self) {
        loop {
            if let Some(frame) = self.control.poll_frame() {
                let answers = self.plane.take(&frame);
                self.to_control.extend(answers);
            } else if let Some(frame) = self.to_control.pop_front() {
                self.control.handle_frame(0, &frame).expect("a sound frame");
            } else {
                return;
            }
        }
    }

    fn events(&mut self) -> Vec<TableEvent> {
        std::iter::from_fn(|| self.control.poll_table_event()).collect()
    }

    fn begin(&mut self, operations: Vec<TableOperation>) -> u64 {
        self.tickets += 1;
        self.control.commit_tables(self.tickets, operations);
        self.tickets
    }

    fn commit(&mut self, operations: Vec<TableOperation>) {
        let ticket = self.begin(operations);
        self.pump();
        assert_eq!(self.events().pop(), Some(TableEvent::Committed { ticket }));
    }

    /// The state that the session now opened began with.
    fn opened(&mut self) -> Vec<TableOperation> {
        match self.events().pop() {
            Some(TableEvent::Opened { state }) => state,
            other => panic!("{other:?}"),
        }
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.control.poll_notice()).collect()
    }
}

#[test]
fn a_transaction_is_made_and_many_entries_share_frames() {
    let mut pair = Pair::new();
    assert_eq!(pair.opened(), []);
    let entries: Vec<_> = (0..1000).map(|key| insert(ACCESS, key)).collect();
    let TableOperation::Entry(one) = &entries[0] else { unreachable!() };
    let a_frame = (FRAME_MAX - 16) / one.len();
    let ticket = pair.begin(entries);
    let frames: Vec<_> = std::iter::from_fn(|| pair.control.poll_frame()).collect();
    let writes: Vec<_> = frames.iter().filter(|frame| Frame::parse(frame).unwrap().kind == Kind::TableWrite).collect();
    assert_eq!(writes.len(), 1000_usize.div_ceil(a_frame));
    assert!(writes.iter().all(|frame| frame.len() <= FRAME_MAX));
    assert_eq!(writes.iter().map(|frame| entries_in(frame)).sum::<usize>(), 1000);
    for frame in frames {
        let answers = pair.plane.take(&frame);
        pair.to_control.extend(answers);
    }
    pair.pump();
    assert_eq!(pair.events(), [TableEvent::Committed { ticket }]);
    assert_eq!(pair.plane.state.entries.len(), 1000);
}

#[test]
fn one_that_is_refused_refuses_all_and_is_named() {
    let mut pair = Pair::new();
    pair.commit(vec![insert(ACCESS, 7)]);
    let before = pair.plane.state.clone();
    let mut operations: Vec<_> = (100..400).map(|key| insert(ROUTES, key)).collect();
    operations.push(meter(1, 1, 5));
    operations.push(insert(ACCESS, 7));
    let ticket = pair.begin(operations);
    pair.pump();
    let (reason, text) = (Some(Reason::Exists), "the data plane's words".into());
    assert_eq!(pair.events(), [TableEvent::Refused { ticket, operation: Some(301), reason, text }]);
    assert_eq!(pair.plane.state, before);
    pair.commit(vec![insert(ROUTES, 100)]);
}

#[test]
fn too_much_at_once_is_refused_here() {
    let mut pair = Pair::new();
    let ticket = pair.begin(vec![digest(1); gantry::channel::table::TRANSACTION_MAX + 1]);
    let events = pair.events();
    assert!(
        matches!(&events[..], [_, TableEvent::Refused { ticket: of, reason: Some(Reason::Full), .. }] if *of == ticket)
    );
    assert_eq!(pair.control.poll_frame(), None);
}

#[test]
fn a_new_control_finds_what_the_data_plane_kept() {
    let mut pair = Pair::new();
    let written = vec![
        insert(ACCESS, 1),
        insert(ACCESS, 2),
        direct_meter(ACCESS, 1),
        direct_meter(ACCESS, 2),
        meter(3, 1, 9),
        digest(1),
    ];
    pair.commit(written);
    pair.commit(vec![operation(Verb::Modify, ACCESS, 1, 8), operation(Verb::Delete, ACCESS, 2, 0)]);
    pair.commit(vec![operation(Verb::Default, ROUTES, 0, 4)]);
    let commits = pair.plane.commits;
    let mut plane = std::mem::take(&mut pair.plane);
    plane.hang_up();
    let mut pair = Pair::with(plane);
    let state = pair.opened();
    let wanted = [
        operation(Verb::Insert, ACCESS, 1, 8),
        operation(Verb::Default, ROUTES, 0, 4),
        direct_meter(ACCESS, 1),
        meter(3, 1, 9),
    ];
    assert_eq!(state, [&wanted[..], &[digest(1)]].concat());
    // Beside the port that it plans nothing was written.
    assert_eq!(pair.plane.commits, commits + 1);
    // And what it adopted it replays.
    pair.disconnect();
    pair.plane.restart();
    pair.connect();
    assert_eq!(pair.opened(), state);
    assert_eq!(pair.plane.state.entries.len(), 2);
}

#[test]
fn a_new_data_plane_gets_everything_before_its_ports() {
    let mut pair = Pair::new();
    pair.commit(
        (0..300).map(|key| insert(ACCESS, key)).chain([meter(EVERY_CELL, 1, 1), meter(4, 1, 2), digest(1)]).collect(),
    );
    pair.commit(vec![meter(5, 0, 0)]);
    let before = pair.plane.state.clone();
    pair.disconnect();
    assert_eq!(pair.events(), [TableEvent::Closed(TablesClosed::NoSession)]);
    pair.plane.restart();
    pair.plane.heard.clear();
    pair.connect();
    assert_eq!(pair.opened().len(), 304);
    assert_eq!(pair.plane.state, before);
    let first = |kind| pair.plane.heard.iter().position(|heard| *heard == kind).unwrap();
    assert!(first(Kind::DigestWrite) < first(Kind::Commit) && first(Kind::Commit) < first(Kind::PortAdd));
}

#[test]
fn a_session_that_breaks_in_the_middle_leaves_what_the_data_plane_says() {
    // COMMIT came through, or it did not: the client is told neither, and the next session tells which.
    for came_through in [false, true] {
        let mut pair = Pair::new();
        pair.commit(vec![insert(ACCESS, 1)]);
        if !came_through {
            pair.plane.deaf_to = Some(Kind::Prepare);
        }
        pair.begin(vec![insert(ACCESS, 2)]);
        pair.begin(vec![insert(ACCESS, 3)]);
        while let Some(frame) = pair.control.poll_frame() {
            let answers = pair.plane.take(&frame);
            for answer in answers {
                if Frame::parse(&answer).unwrap().kind != Kind::Committed {
                    pair.control.handle_frame(0, &answer).unwrap();
                }
            }
        }
        pair.disconnect();
        pair.plane.deaf_to = None;
        assert_eq!(pair.events(), [TableEvent::Closed(TablesClosed::NoSession)]);
        pair.connect();
        let found = if came_through { vec![insert(ACCESS, 1), insert(ACCESS, 2)] } else { vec![insert(ACCESS, 1)] };
        assert_eq!(pair.opened(), found);
        pair.commit(vec![insert(ACCESS, 9)]);
    }
}

#[test]
fn a_replay_that_breaks_is_finished_in_the_next_session() {
    let mut pair = Pair::new();
    pair.commit((0..10).map(|key| insert(ACCESS, key)).collect());
    let before = pair.plane.state.clone();
    pair.disconnect();
    pair.plane.restart();
    pair.plane.deaf_to = Some(Kind::Prepare);
    pair.connect();
    assert!(pair.plane.state.entries.is_empty());
    pair.disconnect();
    pair.plane.deaf_to = None;
    pair.connect();
    assert_eq!((pair.opened().len(), &pair.plane.state), (10, &before));
}

#[test]
fn what_a_smaller_data_plane_refuses_is_lost_and_the_rest_is_not() {
    let mut pair = Pair::new();
    pair.commit(vec![insert(ACCESS, 1), insert(ROUTES, 1), insert(ROUTES, 2), direct_meter(ROUTES, 2), digest(1)]);
    pair.disconnect();
    pair.plane.restart();
    pair.plane.room = Some((ROUTES, 1));
    pair.notices();
    pair.connect();
    assert_eq!(pair.opened(), [insert(ACCESS, 1), insert(ROUTES, 1), digest(1)]);
    let what = "an entry of table 0x02000002, which a P4Runtime client had written".into();
    let refused = Notice::Refused { what, text: "the data plane's words".into() };
    assert!(pair.notices().contains(&refused));
    assert_eq!(pair.plane.state.entries.len(), 2);
}

#[test]
fn an_older_data_plane_has_no_tables() {
    for minor in [0, 1] {
        let mut plane = TablePlane::new();
        plane.minor = minor;
        let mut pair = Pair::with(plane);
        assert_eq!(pair.events(), [TableEvent::Closed(TablesClosed::TooOld { minor })]);
        let ticket = pair.begin(vec![insert(ACCESS, 1)]);
        assert!(matches!(&pair.events()[..], [TableEvent::Refused { ticket: of, .. }] if *of == ticket));
        pair.control.ask_tables(9, Kind::TableDump, TableDump::new_zeroed().as_bytes());
        assert!(matches!(pair.events()[..], [TableEvent::Refused { ticket: 9, .. }]));
        pair.control.send_packet(0, b"frame");
        pair.pump();
        assert!(pair.plane.heard.contains(&Kind::PortAdd), "it is served otherwise");
        let new = [Kind::TableWrite, Kind::TableDump, Kind::PacketOut];
        assert!(pair.plane.heard.iter().all(|kind| !new.contains(kind)));
    }
}

#[test]
fn questions_are_answered_under_their_tickets_also_between_transactions() {
    let mut pair = Pair::new();
    pair.plane.deaf_to = Some(Kind::Prepare);
    pair.begin(vec![insert(ACCESS, 1)]);
    pair.pump();
    pair.events();
    pair.plane.owned.insert(ROUTES, vec![b"x".to_vec()]);
    let dump = |table: u32| TableDump { table: table.into(), ..TableDump::new_zeroed() };
    pair.control.ask_tables(70, Kind::TableDump, dump(ROUTES).as_bytes());
    pair.control.ask_tables(71, Kind::TableDump, dump(ACCESS).as_bytes());
    pair.pump();
    let events = pair.events();
    let [TableEvent::Answered { ticket: 70, kind: Kind::TableEntries, bytes }, refusal] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(bytes.ends_with(b"x"));
    assert!(matches!(refusal, TableEvent::Refused { ticket: 71, reason: Some(Reason::NotFound), .. }));
    pair.control.send_packet(3, b"frame");
    pair.pump();
    assert_eq!(pair.plane.sent, [(3, b"frame".to_vec())]);
    // Nobody waits for this one.
    let late = emit(Kind::TableEntries, 12345, &[0; 16], &[]);
    assert!(pair.control.handle_frame(0, &late).is_err());
}

#[test]
fn what_the_data_plane_tells_is_passed_on_within_bounds() {
    let mut pair = Pair::new();
    pair.opened();
    let packet = emit(Kind::PacketIn, 0, &[7; 8], b"frame");
    for _ in 0..5000 {
        pair.control.handle_frame(0, &packet).unwrap();
    }
    let events = pair.events();
    assert_eq!(events.len(), 4096);
    assert_eq!(events[0], TableEvent::Told { kind: Kind::PacketIn, bytes: [&[7; 8][..], b"frame"].concat() });
    pair.control.handle_frame(0, &packet).unwrap();
    assert_eq!(pair.events().len(), 1);
    // A control whose tables nobody serves keeps none of it.
    let mut control = Control::new(configuration(), 1);
    let mut plane = TablePlane::new();
    control.connected(0);
    while let Some(frame) = control.poll_frame() {
        plane.take(&frame).iter().for_each(|frame| control.handle_frame(0, frame).unwrap());
    }
    control.handle_frame(0, &packet).unwrap();
    assert_eq!(control.poll_table_event(), None);
}

#[test]
fn a_fenced_control_is_closed() {
    let mut pair = Pair::new();
    pair.opened();
    pair.begin(vec![insert(ACCESS, 1)]);
    pair.control.handle_frame(0, &refused(0, u32::MAX, Reason::Fenced)).unwrap();
    assert!(pair.control.is_fenced());
    assert_eq!(pair.events(), [TableEvent::Closed(TablesClosed::NoSession)]);
}

#[test]
fn damaged_state_is_refused_and_costs_nothing_else() {
    let mut pair = Pair { control: control(), plane: TablePlane::new(), to_control: VecDeque::new(), tickets: 0 };
    pair.control.connected(0);
    let hello = pair.control.poll_frame().unwrap();
    let mut frames = pair.plane.take(&hello);
    let TableOperation::Entry(sound) = insert(ACCESS, 1) else { unreachable!() };
    frames.insert(1, emit(Kind::TableState, 0, &sound, &[]));
    frames.insert(2, emit(Kind::TableState, 0, &sound[..20], &[]));
    frames.insert(3, emit(Kind::MeterState, 0, b"short", &[]));
    frames.insert(4, emit(Kind::DigestState, 0, b"short", &[]));
    let refused = frames.iter().filter(|frame| pair.control.handle_frame(0, frame).is_err()).count();
    assert_eq!(refused, 3);
    pair.pump();
    assert_eq!(pair.opened(), [insert(ACCESS, 1)]);
}
