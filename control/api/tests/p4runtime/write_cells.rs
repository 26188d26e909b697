//! Counters, meters, registers and digests: written and read back (P4Runtime 1.5.0 §9.3, §9.4, §9.7, §9.8).

use gantry_api::p4runtime::{Code, Rates};
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::p4_data::Data;
use gantry_p4_proto::runtime::{
    CounterData, CounterEntry, DigestEntry, DirectCounterEntry, DirectMeterEntry, MeterConfig, MeterCounterData,
    MeterEntry, P4Data, RegisterEntry, TableEntry, digest_entry, update,
};

use crate::fixture::{
    ACCESS, DENIALS, DROPPED, GENERATION, TENANTS, TestServer, access, access_at, default_entry, index, insert, read,
    read_one, read_request, route, server, update as entity, write_one,
};

fn set(server: &mut TestServer, what: E) -> Code {
    write_one(server, entity(update::Type::Modify, what))
}

#[track_caller]
fn fixed_in_number(what: &E) {
    let (mut server, _) = server();
    for kind in [update::Type::Insert, update::Type::Delete] {
        assert_eq!(write_one(&mut server, entity(kind, what.clone())), Code::InvalidArgument);
    }
}

fn packets(packet_count: i64) -> Option<CounterData> {
    Some(CounterData { byte_count: 0, packet_count })
}

#[test]
fn counters() {
    let (mut server, _) = server();
    let cell = |at: Option<i64>, data| CounterEntry { counter_id: DROPPED, index: at.and_then(index), data };
    fixed_in_number(&E::CounterEntry(cell(Some(1), packets(5))));
    assert_eq!(set(&mut server, E::CounterEntry(cell(None, packets(3)))), Code::Ok);
    assert_eq!(set(&mut server, E::CounterEntry(cell(Some(1), packets(5)))), Code::Ok);
    assert_eq!(set(&mut server, E::CounterEntry(cell(Some(2), None))), Code::Ok, "nothing to set");
    assert_eq!(set(&mut server, E::CounterEntry(cell(Some(-1), packets(5)))), Code::InvalidArgument);
    assert_eq!(set(&mut server, E::CounterEntry(cell(Some(4), packets(5)))), Code::OutOfRange);
    assert_eq!(set(&mut server, E::CounterEntry(cell(Some(1), packets(-5)))), Code::InvalidArgument);
    let other = CounterEntry { counter_id: 0x1200_0009, ..cell(None, packets(1)) };
    assert_eq!(set(&mut server, E::CounterEntry(other)), Code::InvalidArgument);

    let all: Vec<_> =
        (0..).zip([3, 5, 3, 3]).map(|(at, count)| E::CounterEntry(cell(Some(at), packets(count)))).collect();
    assert_eq!(read_one(&mut server, E::CounterEntry(cell(None, None))), all);
    assert_eq!(read_one(&mut server, E::CounterEntry(CounterEntry::default())), all);
    assert_eq!(read_one(&mut server, E::CounterEntry(cell(Some(1), None))), all[1..2]);
    let wrong = [cell(Some(4), None), other, CounterEntry { index: index(1), ..CounterEntry::default() }];
    let (found, codes) = read(&mut server, &read_request(wrong.map(E::CounterEntry).into()));
    assert_eq!((found, codes), (vec![], vec![Code::OutOfRange, Code::InvalidArgument, Code::InvalidArgument]));
}

#[test]
fn meters() {
    let (mut server, _) = server();
    let config = Some(MeterConfig { cir: 1, cburst: 2, pir: 3, pburst: 4, eburst: 0 });
    let rates = Some(Rates { cir: 1, cburst: 2, pir: 3, pburst: 4, eburst: 0 });
    let cell = |at: Option<i64>, config| MeterEntry {
        meter_id: TENANTS.0,
        index: at.and_then(index),
        config,
        counter_data: None,
    };
    fixed_in_number(&E::MeterEntry(cell(Some(1), config)));
    assert_eq!(set(&mut server, E::MeterEntry(cell(None, config))), Code::Ok);
    assert_eq!(set(&mut server, E::MeterEntry(cell(Some(1), None))), Code::Ok);
    let (first, second) = (server.plane_mut().cell(TENANTS, 0), server.plane_mut().cell(TENANTS, 1));
    assert_eq!((first, second), (rates, None));
    let all = [config, None, config];
    let all: Vec<_> = (0..).zip(all).map(|(at, config)| E::MeterEntry(cell(Some(at), config))).collect();
    assert_eq!(read_one(&mut server, E::MeterEntry(MeterEntry::default())), all);
    assert_eq!(read_one(&mut server, E::MeterEntry(cell(None, None))), all);
    assert_eq!(read_one(&mut server, E::MeterEntry(cell(Some(1), None))), all[1..2]);
    assert_eq!(set(&mut server, E::MeterEntry(cell(None, None))), Code::Ok);
    assert_eq!(server.plane_mut().cell(TENANTS, 2), None);
    assert_eq!(set(&mut server, E::MeterEntry(cell(Some(3), config))), Code::OutOfRange);
    let coloured = MeterEntry { counter_data: Some(MeterCounterData::default()), ..cell(Some(0), config) };
    assert_eq!(set(&mut server, E::MeterEntry(coloured)), Code::Unimplemented);
}

#[test]
fn registers() {
    let (mut server, _) = server();
    let bits = |bytes: &[u8]| Some(P4Data { data: Some(Data::Bitstring(bytes.to_vec())) });
    let cell = |at: Option<i64>, data| RegisterEntry { register_id: GENERATION, index: at.and_then(index), data };
    fixed_in_number(&E::RegisterEntry(cell(Some(1), bits(&[1]))));
    assert_eq!(set(&mut server, E::RegisterEntry(cell(Some(1), bits(&[0, 9])))), Code::Ok);
    let all = [E::RegisterEntry(cell(Some(0), bits(&[0]))), E::RegisterEntry(cell(Some(1), bits(&[9])))];
    assert_eq!(read_one(&mut server, E::RegisterEntry(RegisterEntry::default())), all);
    assert_eq!(read_one(&mut server, E::RegisterEntry(cell(None, None))), all);
    assert_eq!(set(&mut server, E::RegisterEntry(cell(Some(1), bits(&[0x10, 0, 0])))), Code::OutOfRange);
    assert_eq!(set(&mut server, E::RegisterEntry(cell(Some(2), bits(&[1])))), Code::OutOfRange);
    assert_eq!(set(&mut server, E::RegisterEntry(cell(Some(1), None))), Code::InvalidArgument);
    let truth = Some(P4Data { data: Some(Data::Bool(true)) });
    assert_eq!(set(&mut server, E::RegisterEntry(cell(Some(1), truth))), Code::InvalidArgument);
}

#[test]
fn direct_counters() {
    let (mut server, _) = server();
    let of = |table_entry: TableEntry, data| DirectCounterEntry { table_entry: Some(table_entry), data };
    fixed_in_number(&E::DirectCounterEntry(of(access(1), packets(1))));
    assert_eq!(set(&mut server, E::DirectCounterEntry(of(access(1), packets(1)))), Code::NotFound);
    let counted = TableEntry { counter_data: packets(4), ..access(1) };
    assert_eq!(write_one(&mut server, insert(counted)), Code::Ok);
    assert_eq!(write_one(&mut server, insert(access(2))), Code::Ok);
    let key = |priority| TableEntry { action: None, ..access(priority) };
    let found = read_one(&mut server, E::DirectCounterEntry(of(access(1), None)));
    assert_eq!(found, [E::DirectCounterEntry(of(key(1), packets(4)))]);
    assert_eq!(set(&mut server, E::DirectCounterEntry(of(access(2), packets(9)))), Code::Ok);
    assert_eq!(set(&mut server, E::DirectCounterEntry(of(access(2), None))), Code::Ok);
    let both = [(1, 4), (2, 9)].map(|(priority, count)| E::DirectCounterEntry(of(key(priority), packets(count))));
    let table = TableEntry { table_id: ACCESS.0, ..TableEntry::default() };
    assert_eq!(read_one(&mut server, E::DirectCounterEntry(of(table, None))), both);
    assert_eq!(read_one(&mut server, E::DirectCounterEntry(DirectCounterEntry::default())), both);

    assert_eq!(set(&mut server, E::DirectCounterEntry(of(default_entry(ACCESS, None), packets(7)))), Code::Ok);
    let found = read_one(&mut server, E::DirectCounterEntry(of(default_entry(ACCESS, None), None)));
    assert_eq!(found, [E::DirectCounterEntry(of(default_entry(ACCESS, None), packets(7)))]);
    let (_, codes) = read(&mut server, &read_request(vec![E::DirectCounterEntry(of(access(3), None))]));
    assert_eq!(codes, [Code::NotFound]);
    assert_eq!(write_one(&mut server, insert(route(1))), Code::Ok);
    assert_eq!(set(&mut server, E::DirectCounterEntry(of(route(1), packets(1)))), Code::InvalidArgument);
    let unnamed = DirectCounterEntry { table_entry: None, data: packets(1) };
    assert_eq!(set(&mut server, E::DirectCounterEntry(unnamed)), Code::InvalidArgument);
}

#[test]
fn direct_meters() {
    let (mut server, _) = server();
    let config = Some(MeterConfig { cir: 1, cburst: 2, pir: 3, pburst: 4, eburst: 0 });
    let of = |table_entry: TableEntry, config| DirectMeterEntry {
        table_entry: Some(table_entry),
        config,
        counter_data: None,
    };
    fixed_in_number(&E::DirectMeterEntry(of(access(1), config)));
    assert_eq!(set(&mut server, E::DirectMeterEntry(of(access(1), config))), Code::NotFound);
    assert_eq!(write_one(&mut server, insert(access(1))), Code::Ok);
    assert_eq!(set(&mut server, E::DirectMeterEntry(of(access(1), config))), Code::Ok);
    assert!(server.plane_mut().rates(ACCESS, &access_at(1)).is_some());
    let key = TableEntry { action: None, ..access(1) };
    let found = read_one(&mut server, E::DirectMeterEntry(DirectMeterEntry::default()));
    assert_eq!(found, [E::DirectMeterEntry(of(key.clone(), config))]);
    let asked = TableEntry { meter_config: Some(MeterConfig::default()), ..access(1) };
    let found = read_one(&mut server, E::TableEntry(asked));
    assert_eq!(found, [E::TableEntry(TableEntry { meter_config: config, ..access(1) })]);
    assert_eq!(set(&mut server, E::DirectMeterEntry(of(access(1), None))), Code::Ok);
    assert_eq!(server.plane_mut().rates(ACCESS, &access_at(1)), None);
    let found = read_one(&mut server, E::DirectMeterEntry(of(access(1), None)));
    assert_eq!(found, [E::DirectMeterEntry(of(key, None))]);
}

#[test]
fn digests_are_asked_for() {
    let (mut server, _) = server();
    let config = digest_entry::Config { max_timeout_ns: 10, max_list_size: 2, ack_timeout_ns: 30 };
    let digest = |config| DigestEntry { digest_id: DENIALS.0, config };
    let wanted = E::DigestEntry(digest(Some(config)));
    assert_eq!(set(&mut server, wanted.clone()), Code::NotFound);
    assert_eq!(write_one(&mut server, entity(update::Type::Delete, wanted.clone())), Code::NotFound);
    assert_eq!(write_one(&mut server, entity(update::Type::Insert, wanted.clone())), Code::Ok);
    assert!(server.plane_mut().wants(DENIALS));
    assert_eq!(write_one(&mut server, entity(update::Type::Insert, wanted.clone())), Code::AlreadyExists);
    assert_eq!(read_one(&mut server, E::DigestEntry(digest(None))), std::slice::from_ref(&wanted));
    assert_eq!(read_one(&mut server, E::DigestEntry(DigestEntry::default())), std::slice::from_ref(&wanted));
    let negative = digest_entry::Config { max_list_size: -1, ..config };
    assert_eq!(set(&mut server, E::DigestEntry(digest(Some(negative)))), Code::InvalidArgument);
    assert_eq!(set(&mut server, E::DigestEntry(digest(None))), Code::Ok);
    assert_eq!(write_one(&mut server, entity(update::Type::Delete, wanted)), Code::Ok);
    assert!(!server.plane_mut().wants(DENIALS));
    assert_eq!(read_one(&mut server, E::DigestEntry(DigestEntry::default())), []);
}
