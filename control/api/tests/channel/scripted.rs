//! A data plane that refuses, breaks off, restarts, or is of another age.

use gantry::channel::table::{DigestData, PacketIn, Verb, emit_entry};
use gantry::channel::{Kind, emit};
use gantry_api::p4runtime::{At, Code, TableId};
use gantry_control::Configuration;
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::stream_message_response::Update as Response;
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{
    CounterData, CounterEntry, DigestEntry, DirectCounterEntry, Index, MeterConfig, MeterEntry, PacketMetadata,
    PacketOut, StreamMessageRequest, TableEntry, digest_entry, update,
};
use zerocopy::IntoBytes;

use crate::bed::{ACCESS, Bed, Peer, act, change, codes, delete, denied, info, insert, modify, table, tenant};
use crate::table_plane::TablePlane;

impl Peer for TablePlane {
    fn take(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        Self::take(self, datagram)
    }

    fn hang_up(&mut self) {
        Self::hang_up(self);
    }
}

fn bed() -> Bed<TablePlane> {
    Bed::new(TablePlane::new(), Configuration::default())
}

const TENANTS: &str = "PacketControl.tenants";

fn tenants(bed: &mut Bed<TablePlane>) -> usize {
    bed.server.store().len(TableId(table(TENANTS)))
}

#[test]
fn a_write_is_over_when_the_data_plane_says_so_and_the_next_waits_for_it() {
    let mut bed = bed();
    let first = bed.begin(vec![insert(tenant(1))], Atomicity::DataplaneAtomic);
    let observed = TableEntry { action: act("PacketControl.observe"), ..tenant(1) };
    let second = bed.begin(vec![modify(observed.clone())], Atomicity::DataplaneAtomic);
    let third = bed.begin(vec![delete(tenant(2))], Atomicity::DataplaneAtomic);
    assert!([first, second, third].into_iter().all(|call| bed.server.take_outcome(call).is_none()));
    bed.pump();
    assert_eq!(bed.server.take_outcome(first), Some(Ok(())));
    assert_eq!(bed.server.take_outcome(second), Some(Ok(())));
    assert_eq!(codes(bed.server.take_outcome(third).unwrap()), [Code::NotFound as i32]);
    assert_eq!((bed.peer.commits, bed.server.take_outcome(first)), (2, None), "an outcome is told once");
    assert_eq!(bed.entries(TableEntry::default()), [observed]);
}

#[test]
fn one_that_the_data_plane_refuses_is_named_and_all_are_left_out() {
    for atomicity in [Atomicity::RollbackOnError, Atomicity::DataplaneAtomic] {
        let mut bed = bed();
        bed.peer.room = Some((table(TENANTS), 2));
        let updates = vec![insert(tenant(1)), insert(denied(1)), insert(tenant(2)), insert(tenant(3))];
        let aborted = Code::Aborted as i32;
        assert_eq!(codes(bed.write(updates, atomicity)), [aborted, aborted, aborted, Code::ResourceExhausted as i32]);
        assert_eq!((tenants(&mut bed), bed.peer.state.entries.len()), (0, 0));
        bed.must(vec![insert(tenant(1))]);
    }
}

#[test]
fn with_continue_on_error_it_alone_is_left_out() {
    let mut bed = bed();
    bed.peer.room = Some((table(TENANTS), 2));
    let updates = vec![
        insert(tenant(1)),
        insert(tenant(2)),
        insert(tenant(3)),
        insert(denied(1)),
        delete(tenant(9)),
        delete(tenant(1)),
    ];
    let found = codes(bed.write(updates, Atomicity::ContinueOnError));
    assert_eq!(found, [0, 0, Code::ResourceExhausted as i32, 0, Code::NotFound as i32, 0]);
    assert_eq!((tenants(&mut bed), bed.peer.state.entries.len()), (1, 2));
}

#[test]
fn a_break_in_the_middle_is_unavailable_and_leaves_nothing_half_done() {
    for atomicity in [Atomicity::ContinueOnError, Atomicity::DataplaneAtomic] {
        let mut bed = bed();
        bed.must(vec![insert(tenant(1))]);
        bed.peer.deaf_to = Some(Kind::Prepare);
        let first = bed.begin(vec![insert(tenant(2)), insert(tenant(3))], atomicity);
        let second = bed.begin(vec![insert(tenant(4))], atomicity);
        bed.pump();
        assert_eq!(bed.server.take_outcome(first), None);
        bed.disconnect();
        let unavailable = Code::Unavailable as i32;
        assert_eq!(codes(bed.server.take_outcome(first).unwrap()), [unavailable; 2]);
        let failure = bed.server.take_outcome(second).unwrap().expect_err("it is not tried");
        assert_eq!(failure.refusal.code, Code::Unavailable);
        assert_eq!(tenants(&mut bed), 1);
        let refusal = bed.read(E::TableEntry(TableEntry::default())).expect_err("nobody knows what is there");
        assert_eq!(refusal.refusal.code, Code::Unavailable);
        bed.peer.deaf_to = None;
        bed.connect();
        bed.must(vec![insert(tenant(2))]);
        assert_eq!(bed.entries(TableEntry::default()).len(), 2);
    }
}

fn digest() -> DigestEntry {
    let digest_id = info().digests[0].preamble.as_ref().unwrap().id;
    let config = digest_entry::Config { max_timeout_ns: 0, max_list_size: 3, ack_timeout_ns: 0 };
    DigestEntry { digest_id, config: Some(config) }
}

fn meter(index: Option<i64>) -> MeterEntry {
    let meter_id = info().meters[0].preamble.as_ref().unwrap().id;
    let config = MeterConfig { cir: 10, cburst: 20, pir: 30, pburst: 40, ..MeterConfig::default() };
    let index = index.map(|index| Index { index });
    MeterEntry { meter_id, index, config: Some(config), ..MeterEntry::default() }
}

/// Something of everything that is kept.
fn fill(bed: &mut Bed<TablePlane>) {
    #[allow(deprecated)]
    let noted = TableEntry { metadata: b"the client's".to_vec(), controller_metadata: 77, ..tenant(1) };
    let default = TableEntry {
        table_id: table(ACCESS),
        action: act("PacketControl.deny"),
        is_default_action: true,
        ..TableEntry::default()
    };
    bed.must(vec![
        insert(noted),
        insert(denied(3)),
        modify(default),
        change(update::Type::Modify, E::MeterEntry(meter(Some(5)))),
        change(update::Type::Insert, E::DigestEntry(digest())),
    ]);
}

fn everything(bed: &mut Bed<TablePlane>) -> Vec<E> {
    let defaults = TableEntry { is_default_action: true, ..TableEntry::default() };
    let asked = [
        E::TableEntry(TableEntry::default()),
        E::TableEntry(defaults),
        E::MeterEntry(meter(Some(5))),
        E::DigestEntry(DigestEntry::default()),
    ];
    asked.into_iter().flat_map(|entity| bed.read(entity).expect("it can be read")).collect()
}

#[test]
fn a_new_gantryd_serves_what_the_data_plane_kept() {
    let mut bed = bed();
    fill(&mut bed);
    let before = everything(&mut bed);
    assert!(before.len() > 9, "{}", before.len());
    // A note that changes alone is kept too.
    bed.must(vec![modify(TableEntry { metadata: b"newer".to_vec(), ..denied(3) })]);
    bed.restart_gantryd(2);
    let after = everything(&mut bed);
    assert_eq!(after.len(), before.len());
    let changed: Vec<_> = after.iter().zip(&before).filter(|(after, before)| after != before).collect();
    assert!(matches!(&changed[..], [(E::TableEntry(entry), _)] if entry.metadata == b"newer"), "{changed:?}");
    // And goes on from there.
    bed.must(vec![delete(denied(3)), insert(tenant(2))]);
}

#[test]
fn a_new_data_plane_gets_what_clients_wrote() {
    let mut bed = bed();
    fill(&mut bed);
    let (before, there) = (everything(&mut bed), bed.peer.state.clone());
    bed.disconnect();
    bed.peer.restart();
    bed.connect();
    assert_eq!(everything(&mut bed), before);
    assert_eq!(bed.peer.state.entries.keys().collect::<Vec<_>>(), there.entries.keys().collect::<Vec<_>>());
    assert_eq!((&bed.peer.state.meters, &bed.peer.state.digests), (&there.meters, &there.digests));
}

#[test]
fn an_older_data_plane_is_said_to_be_too_old() {
    for minor in [0, 1] {
        let mut plane = TablePlane::new();
        plane.minor = minor;
        let mut bed = Bed::new(plane, Configuration::default());
        let failure = bed.write(vec![insert(tenant(1))], Atomicity::DataplaneAtomic).expect_err("it cannot");
        assert_eq!(failure.refusal.code, Code::Unimplemented);
        let wanted = format!("the data plane speaks version 1.{minor} of the channel; P4Runtime needs 1.2");
        assert!(failure.refusal.message.starts_with(&wanted), "{failure:?}");
        let failure = bed.read(E::TableEntry(TableEntry::default())).expect_err("it cannot");
        assert_eq!(failure.refusal.code, Code::Unimplemented);
    }
}

#[test]
fn counts_are_asked_for_many_at_a_time() {
    let mut bed = bed();
    bed.must((1..=40).map(|source| insert(denied(source))).collect());
    let counted = |source: u8, packets: i64| DirectCounterEntry {
        table_entry: Some(denied(source)),
        data: Some(CounterData { packet_count: packets, byte_count: 2 * packets }),
    };
    bed.must(vec![change(update::Type::Modify, E::DirectCounterEntry(counted(7, 70)))]);
    let declared = info();
    let counter_id =
        declared.counters.iter().map(|of| of.preamble.as_ref().unwrap()).find(|of| of.name.ends_with("admitted"));
    let counter_id = counter_id.unwrap().id;
    let cell = CounterEntry {
        counter_id,
        index: Some(Index { index: 600 }),
        data: Some(CounterData { packet_count: 6, byte_count: 60 }),
    };
    bed.must(vec![change(update::Type::Modify, E::CounterEntry(cell))]);
    bed.peer.heard.clear();
    let found = bed.read(E::CounterEntry(CounterEntry { counter_id, ..CounterEntry::default() })).unwrap();
    assert_eq!((found.len(), &found[600]), (4096, &E::CounterEntry(cell)));
    assert!(bed.peer.heard.len() < 20, "{} questions", bed.peer.heard.len());
    bed.peer.heard.clear();
    let asked =
        TableEntry { table_id: table(ACCESS), counter_data: Some(CounterData::default()), ..TableEntry::default() };
    let packets: Vec<_> =
        bed.entries(asked).into_iter().map(|entry| entry.counter_data.unwrap().packet_count).collect();
    assert_eq!((packets.len(), packets.iter().sum::<i64>(), packets.contains(&70)), (40, 70, true));
    assert!(bed.peer.heard.len() < 5, "{} questions", bed.peer.heard.len());
}

#[test]
fn tables_with_an_owner_are_told_by_the_data_plane() {
    let mut bed = bed();
    let qps = table("PacketControl.qps");
    let to_qp = info().tables.iter().find(|of| of.preamble.as_ref().unwrap().id == qps).unwrap().action_refs[0].id;
    let entry = |qpn: u128, action: u32| {
        let mut out = Vec::new();
        let field = gantry::channel::table::Field::new(gantry::channel::table::FieldKind::Value, 0, qpn, 0);
        emit_entry(&mut out, Verb::Insert, qps, 0, &[field], action, [1, 2].into_iter(), 0, &[]);
        out
    };
    let mut told: Vec<_> = (17..24).map(|qpn| entry(qpn, to_qp)).collect();
    told.push(entry(99, 0x0100_0000));
    bed.peer.owned.insert(qps, told);
    let all = bed.entries(TableEntry { table_id: qps, ..TableEntry::default() });
    assert_eq!(all.len(), 7, "what the program cannot have is passed over");
    assert!(all.iter().all(|entry| entry.is_const));
    let one = TableEntry { table_id: qps, r#match: all[3].r#match.clone(), ..TableEntry::default() };
    assert_eq!(bed.entries(one), [all[3].clone()]);
    let failed = bed.write(vec![delete(TableEntry { is_const: false, ..all[0].clone() })], Atomicity::DataplaneAtomic);
    assert_eq!(codes(failed), [Code::PermissionDenied as i32]);
    assert!(bed.server.store().entry(TableId(qps), &At::Default).is_some());
}

#[test]
fn packets_and_digests_go_both_ways() {
    let mut bed = bed();
    bed.must(vec![change(update::Type::Insert, E::DigestEntry(digest()))]);
    let body = PacketIn { port: 3.into(), reason: 2, reserved: 0, length: 5.into() };
    bed.says(&emit(Kind::PacketIn, 0, body.as_bytes(), b"frame"));
    let data = |values: usize| {
        let body = DigestData { digest: digest().digest_id.into(), values: (values as u32).into() };
        emit(Kind::DigestData, 0, body.as_bytes(), &vec![7; 16 * values])
    };
    bed.says(&data(2));
    bed.says(&data(3));
    let heard: Vec<_> = bed.heard().into_iter().filter_map(|message| message.update).collect();
    let [Response::Packet(packet), Response::Digest(list)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((packet.payload.as_slice(), list.data.len()), (&b"frame"[..], 1));
    let port = packet.metadata.iter().find(|field| field.metadata_id == 1).unwrap();
    assert_eq!(port.value, [3]);
    let metadata = vec![PacketMetadata { metadata_id: 1, value: vec![4] }];
    let out = PacketOut { payload: b"out".to_vec(), metadata };
    bed.server.handle_stream(bed.stream, StreamMessageRequest { update: Some(Request::Packet(out)) });
    bed.pump();
    assert_eq!(bed.heard(), []);
    assert_eq!(bed.peer.sent, [(4, b"out".to_vec())]);
}
