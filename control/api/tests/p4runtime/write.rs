//! Entries of tables: what is taken, and what is refused with which code (P4Runtime 1.5.0 §9.1).

use gantry_api::p4runtime::{ActionCall, ActionId, At, Code, Key, Match, Rates};
use gantry_p4_proto::runtime::table_entry::IdleTimeout;
use gantry_p4_proto::runtime::{
    CounterData, MeterConfig, MeterCounterData, TableAction, TableEntry, table_action, update,
};

use crate::fixture::{
    ACCESS, ALLOW, DENY, MARK, NEXT_HOP, OPCODES, QPS, ROUTES, TO_QP, UNKNOWN, access, access_at, access_key, act,
    default_entry, delete, exact, insert, lpm, modify, optional, range, read_one, route, server, ternary, write,
    write_one,
};

/// Inserting it is refused with that code, and nothing is there afterwards.
#[track_caller]
fn refused(entry: TableEntry, code: Code) {
    let (mut server, _) = server();
    let table = gantry_api::p4runtime::TableId(entry.table_id);
    let before = server.store().len(table);
    assert_eq!(write_one(&mut server, insert(entry)), code);
    assert_eq!((server.store().len(table), server.plane_mut().commits), (before, 0));
}

/// An access entry with those matches instead.
fn matching(matches: Vec<gantry_p4_proto::runtime::FieldMatch>) -> TableEntry {
    TableEntry { r#match: matches, ..access(1) }
}

#[test]
fn an_entry_comes_changes_and_goes() {
    let (mut server, _) = server();
    assert_eq!(write_one(&mut server, insert(access(10))), Code::Ok);
    let deny = ActionCall { action: ActionId(DENY), arguments: [].into() };
    assert_eq!(server.plane_mut().action(ACCESS, &access_at(10)), Some(&deny));
    assert_eq!(write_one(&mut server, insert(access(10))), Code::AlreadyExists);
    assert_eq!(write_one(&mut server, insert(access(11))), Code::Ok, "another priority is another entry");

    let marked = TableEntry { action: act(MARK, &[&[46], &[5]]), ..access(10) };
    assert_eq!(write_one(&mut server, modify(marked)), Code::Ok);
    let mark = ActionCall { action: ActionId(MARK), arguments: [46, 5].into() };
    assert_eq!(server.plane_mut().action(ACCESS, &access_at(10)), Some(&mark));
    assert_eq!(write_one(&mut server, modify(TableEntry { action: None, ..access(10) })), Code::Ok);
    assert_eq!(server.plane_mut().action(ACCESS, &access_at(10)), Some(&mark), "without an action it stays");

    // What is not the key does not matter when an entry goes.
    assert_eq!(write_one(&mut server, delete(TableEntry { action: act(99, &[&[]]), ..access(10) })), Code::Ok);
    assert_eq!(server.plane_mut().len(ACCESS), 1);
    assert_eq!(write_one(&mut server, delete(access(10))), Code::NotFound);
    assert_eq!(write_one(&mut server, modify(access(10))), Code::NotFound);
}

#[test]
fn fields_left_out_match_anything_and_long_byte_strings_are_the_same_numbers() {
    let (mut server, _) = server();
    assert_eq!(write_one(&mut server, insert(matching(Vec::new()))), Code::Ok);
    let anything = Key::new(1, [Match::Any, Match::Any, Match::Any]);
    assert!(server.store().entry(ACCESS, &At::Entry(anything)).is_some());
    let long =
        vec![optional(3, &[0, 0, 7]), range(2, &[0, 1, 0], &[2, 0]), ternary(1, &[0, 10, 0, 0, 0], &[255, 0, 0, 0])];
    assert_eq!(write_one(&mut server, insert(matching(long))), Code::Ok, "and in any order");
    assert_eq!(write_one(&mut server, insert(access(1))), Code::AlreadyExists);
    assert_eq!(server.store().entries(ACCESS).map(|(key, _)| key.clone()).last(), Some(access_key(1)));
}

#[test]
fn keys_that_are_wrong() {
    refused(TableEntry { table_id: 0x0200_00ff, ..access(1) }, Code::InvalidArgument);
    refused(TableEntry { table_id: DENY, ..access(1) }, Code::InvalidArgument);
    refused(access(0), Code::InvalidArgument);
    refused(access(-1), Code::InvalidArgument);
    refused(TableEntry { priority: 1, ..route(1) }, Code::InvalidArgument);
    refused(matching(vec![optional(4, &[1])]), Code::InvalidArgument);
    refused(matching(vec![optional(3, &[1]), optional(3, &[2])]), Code::InvalidArgument);
    refused(matching(vec![exact(3, &[1])]), Code::InvalidArgument);
    let silent = gantry_p4_proto::runtime::FieldMatch { field_id: 3, field_match_type: None };
    refused(matching(vec![silent]), Code::InvalidArgument);
}

#[test]
fn values_that_are_wrong() {
    refused(matching(vec![optional(3, &[])]), Code::OutOfRange);
    refused(matching(vec![optional(3, &[1, 0])]), Code::OutOfRange);
    refused(matching(vec![ternary(1, &[1], &[1, 0, 0, 0, 0])]), Code::OutOfRange);
    refused(matching(vec![ternary(1, &[0], &[0])]), Code::InvalidArgument);
    refused(matching(vec![ternary(1, &[3], &[1])]), Code::InvalidArgument);
    refused(matching(vec![range(2, &[2], &[1])]), Code::InvalidArgument);
    refused(matching(vec![range(2, &[0], &[255, 255])]), Code::InvalidArgument);
    refused(matching(vec![range(2, &[0], &[1, 0, 0])]), Code::OutOfRange);
    for (value, length) in [(&[10, 0, 0, 0][..], 0), (&[10, 0, 0, 0], 33), (&[10, 0, 0, 0], -1), (&[10, 0, 0, 1], 31)] {
        refused(TableEntry { r#match: vec![lpm(1, value, length)], ..route(1) }, Code::InvalidArgument);
    }
}

#[test]
fn the_whole_of_a_prefix_and_a_range_at_either_end() {
    let (mut server, _) = server();
    let host = TableEntry { r#match: vec![lpm(1, &[10, 0, 0, 1], 32)], ..route(1) };
    let half = TableEntry { r#match: vec![lpm(1, &[128, 0, 0, 0], 1)], ..route(1) };
    let all_but_zero = matching(vec![range(2, &[1], &[255, 255])]);
    let all_but_last = matching(vec![range(2, &[0], &[255, 254])]);
    let one = matching(vec![range(2, &[9], &[9])]);
    let codes = write(&mut server, [host, half, all_but_zero, all_but_last, one].map(insert).into());
    assert_eq!(codes, [Code::Ok; 5]);
}

#[test]
fn actions_that_are_wrong() {
    let with = |action| TableEntry { action, ..access(1) };
    refused(with(None), Code::InvalidArgument);
    refused(with(Some(TableAction { r#type: None })), Code::InvalidArgument);
    refused(with(act(NEXT_HOP, &[&[1]])), Code::InvalidArgument);
    refused(with(act(0x0100_00ff, &[])), Code::InvalidArgument);
    refused(with(act(UNKNOWN, &[])), Code::PermissionDenied);
    refused(with(act(MARK, &[&[1]])), Code::InvalidArgument);
    refused(with(act(MARK, &[&[1], &[1], &[1]])), Code::InvalidArgument);
    refused(with(act(MARK, &[&[64], &[1]])), Code::OutOfRange);
    refused(with(act(MARK, &[&[], &[1]])), Code::OutOfRange);
    let member = table_action::Type::ActionProfileMemberId(1);
    refused(with(Some(TableAction { r#type: Some(member) })), Code::InvalidArgument);
    let mut twice = act(MARK, &[&[1], &[1]]);
    if let Some(TableAction { r#type: Some(table_action::Type::Action(action)) }) = &mut twice {
        action.params[1].param_id = 1;
    }
    refused(with(twice), Code::InvalidArgument);
}

#[test]
fn what_else_can_be_wrong_with_an_entry() {
    refused(TableEntry { is_const: true, ..access(1) }, Code::InvalidArgument);
    refused(TableEntry { idle_timeout_ns: -1, ..access(1) }, Code::InvalidArgument);
    refused(TableEntry { idle_timeout_ns: 1, ..route(1) }, Code::InvalidArgument);
    refused(TableEntry { time_since_last_hit: Some(IdleTimeout::default()), ..access(1) }, Code::InvalidArgument);
    refused(TableEntry { counter_data: Some(CounterData::default()), ..route(1) }, Code::InvalidArgument);
    refused(TableEntry { meter_config: Some(MeterConfig::default()), ..route(1) }, Code::InvalidArgument);
    refused(TableEntry { meter_counter_data: Some(MeterCounterData::default()), ..access(1) }, Code::Unimplemented);
    let negative = CounterData { byte_count: -1, packet_count: 0 };
    refused(TableEntry { counter_data: Some(negative), ..access(1) }, Code::InvalidArgument);
    refused(TableEntry { metadata: vec![0; 2000], ..access(1) }, Code::ResourceExhausted);
    for config in [
        MeterConfig { cir: -1, ..MeterConfig::default() },
        MeterConfig { eburst: 1, ..MeterConfig::default() },
        MeterConfig { cir: 2, pir: 1, ..MeterConfig::default() },
    ] {
        refused(TableEntry { meter_config: Some(config), ..access(1) }, Code::InvalidArgument);
    }
}

#[test]
fn an_update_without_type_or_entity() {
    let (mut server, _) = server();
    let untyped = gantry_p4_proto::runtime::Update { r#type: 0, ..insert(access(1)) };
    let empty = gantry_p4_proto::runtime::Update { entity: None, ..insert(access(1)) };
    let unknown = gantry_p4_proto::runtime::Update { r#type: 9, ..insert(access(1)) };
    assert_eq!(write(&mut server, vec![untyped, empty, unknown]), [Code::InvalidArgument; 3]);
}

#[test]
fn a_full_table_takes_no_more() {
    let (mut server, _) = server();
    let codes = write(&mut server, (1..=9).map(|priority| insert(access(priority))).collect());
    assert_eq!(codes[..8], [Code::Ok; 8]);
    assert_eq!(codes[8], Code::ResourceExhausted);
    assert_eq!(write(&mut server, vec![delete(access(1)), insert(access(9))]), [Code::Ok; 2]);
}

#[test]
fn control_s_table_is_only_read() {
    let (mut server, _) = server();
    let entry = TableEntry {
        table_id: QPS.0,
        r#match: vec![exact(1, &[9])],
        action: act(TO_QP, &[&[1]]),
        ..TableEntry::default()
    };
    let key = Key::new(0, [Match::Value(9)]);
    let call = ActionCall { action: ActionId(TO_QP), arguments: [1].into() };
    assert_eq!(write_one(&mut server, insert(entry.clone())), Code::PermissionDenied);
    server.mirror(QPS, &key, Some(call)).expect("control's own");
    for update in [modify(entry.clone()), delete(entry.clone()), modify(default_entry(QPS, act(DENY, &[])))] {
        assert_eq!(write_one(&mut server, update), Code::PermissionDenied);
    }
    let found = read_one(&mut server, gantry_p4_proto::runtime::entity::Entity::TableEntry(entry.clone()));
    let constant = TableEntry { is_const: true, ..entry };
    assert_eq!(found, [gantry_p4_proto::runtime::entity::Entity::TableEntry(constant)]);
    server.mirror(QPS, &key, None).expect("control's own");
    assert_eq!((server.store().len(QPS), server.plane_mut().commits), (0, 0));
}

#[test]
fn control_mirrors_only_what_can_be() {
    let (mut server, _) = server();
    let call = |arguments: &[u128]| Some(ActionCall { action: ActionId(TO_QP), arguments: arguments.into() });
    let key = Key::new(0, [Match::Value(9)]);
    let mut mirror = |table, key: &Key, call| server.mirror(table, key, call).map_err(|refusal| refusal.code);
    assert_eq!(mirror(ACCESS, &access_key(1), call(&[1])), Err(Code::InvalidArgument));
    assert_eq!(mirror(QPS, &Key::new(0, []), call(&[1])), Err(Code::InvalidArgument));
    assert_eq!(mirror(QPS, &key, call(&[])), Err(Code::InvalidArgument));
    for qpn in 0..16 {
        assert_eq!(mirror(QPS, &Key::new(0, [Match::Value(qpn)]), call(&[1])), Ok(()));
    }
    assert_eq!(mirror(QPS, &Key::new(0, [Match::Value(16)]), call(&[1])), Err(Code::ResourceExhausted));
    assert_eq!(mirror(QPS, &key, call(&[2])), Ok(()), "one that is there can change");
}

#[test]
fn constant_entries_stay() {
    let (mut server, _) = server();
    let own = TableEntry {
        table_id: OPCODES.0,
        r#match: vec![exact(1, &[0x2a])],
        action: act(ALLOW, &[]),
        ..TableEntry::default()
    };
    let other = TableEntry { r#match: vec![exact(1, &[0x2b])], ..own.clone() };
    for update in [insert(other.clone()), delete(other), insert(own.clone()), modify(own.clone()), delete(own.clone())]
    {
        assert_eq!(write_one(&mut server, update), Code::PermissionDenied);
    }
    assert_eq!(write_one(&mut server, modify(TableEntry { action: None, ..own })), Code::Ok, "nothing is modified");
    assert_eq!(server.plane_mut().commits, 0);
    assert_eq!(
        write_one(&mut server, modify(default_entry(OPCODES, act(ALLOW, &[])))),
        Code::Ok,
        "its default is not const"
    );
}

#[test]
fn default_entries_can_only_be_modified() {
    let (mut server, _) = server();
    let deny = default_entry(ACCESS, act(DENY, &[]));
    assert_eq!(write_one(&mut server, insert(deny.clone())), Code::InvalidArgument);
    assert_eq!(write_one(&mut server, delete(deny.clone())), Code::InvalidArgument);
    assert_eq!(write_one(&mut server, modify(deny.clone())), Code::Ok);
    let call = ActionCall { action: ActionId(DENY), arguments: [].into() };
    assert_eq!(server.plane_mut().action(ACCESS, &At::Default), Some(&call));
    assert_eq!(write_one(&mut server, modify(default_entry(ACCESS, act(UNKNOWN, &[])))), Code::Ok, "default only");
    assert_eq!(write_one(&mut server, modify(default_entry(ACCESS, act(MARK, &[&[1], &[1]])))), Code::PermissionDenied);
    assert_eq!(write_one(&mut server, modify(default_entry(ROUTES, act(DENY, &[])))), Code::PermissionDenied);
    for wrong in [
        TableEntry { r#match: access(1).r#match, ..deny.clone() },
        TableEntry { priority: 1, ..deny.clone() },
        TableEntry { idle_timeout_ns: 1, ..deny.clone() },
    ] {
        assert_eq!(write_one(&mut server, modify(wrong)), Code::InvalidArgument);
    }
    assert_eq!(write_one(&mut server, modify(default_entry(ACCESS, None))), Code::Ok);
    assert_eq!(server.plane_mut().action(ACCESS, &At::Default), None, "as the program has it");
    let initial = server.store().entry(ACCESS, &At::Default).and_then(|entry| entry.action.clone());
    assert_eq!(initial, Some(ActionCall { action: ActionId(ALLOW), arguments: [].into() }));
}

#[test]
fn an_entry_s_meter_comes_and_goes_with_its_config() {
    let (mut server, _) = server();
    let config = MeterConfig { cir: 1, cburst: 2, pir: 3, pburst: 4, eburst: 0 };
    let rates = Rates { cir: 1, cburst: 2, pir: 3, pburst: 4, eburst: 0 };
    let metered = TableEntry { meter_config: Some(config), ..access(1) };
    assert_eq!(write_one(&mut server, insert(metered.clone())), Code::Ok);
    assert_eq!(server.plane_mut().rates(ACCESS, &access_at(1)), Some(rates));
    let commits = server.plane_mut().commits;
    assert_eq!(write_one(&mut server, modify(metered)), Code::Ok);
    assert_eq!(server.plane_mut().commits, commits, "nothing changes, nothing is done");
    assert_eq!(write_one(&mut server, modify(access(1))), Code::Ok);
    assert_eq!(server.plane_mut().rates(ACCESS, &access_at(1)), None, "without a config everything is green");
}

#[test]
fn other_entities_of_p4runtime() {
    use gantry_p4_proto::runtime::entity::Entity as E;
    use gantry_p4_proto::runtime::{
        ActionProfileGroup, ActionProfileMember, ExternEntry, PacketReplicationEngineEntry, ValueSetEntry,
    };
    let (mut server, _) = server();
    for (entity, code) in [
        (E::ActionProfileMember(ActionProfileMember::default()), Code::InvalidArgument),
        (E::ActionProfileGroup(ActionProfileGroup::default()), Code::InvalidArgument),
        (E::ValueSetEntry(ValueSetEntry::default()), Code::InvalidArgument),
        (E::ExternEntry(ExternEntry::default()), Code::InvalidArgument),
        (E::PacketReplicationEngineEntry(PacketReplicationEngineEntry::default()), Code::Unimplemented),
    ] {
        assert_eq!(write_one(&mut server, crate::fixture::update(update::Type::Insert, entity)), code);
    }
}
