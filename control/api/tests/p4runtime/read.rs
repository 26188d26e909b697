//! Reads: wildcards, filters, portions (P4Runtime 1.5.0 §9.1.6, §13).

use gantry_api::p4runtime::{Code, Limits, MemoryPlane, Portion, Server};
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::table_entry::IdleTimeout;
use gantry_p4_proto::runtime::{
    ActionProfileGroup, ActionProfileMember, CloneSessionEntry, CounterData, Entity, ExternEntry, MeterConfig,
    MulticastGroupEntry, PacketReplicationEngineEntry, ReadRequest, TableEntry, ValueSetEntry,
    packet_replication_engine_entry as pre,
};

use crate::fixture::{
    ACCESS, ALLOW, DENY, DEVICE, MARK, OPCODES, QPS, ROUTES, access, act, arbitrate, default_entry, delete, entries,
    exact, insert, pipeline, read, read_one, read_request, route, server, write,
};

fn table(id: u32) -> TableEntry {
    TableEntry { table_id: id, ..TableEntry::default() }
}

#[test]
fn what_is_written_is_read() {
    let (mut server, _) = server();
    #[allow(deprecated)]
    let whole = TableEntry {
        action: act(MARK, &[&[46], &[0]]),
        metadata: b"mine".to_vec(),
        controller_metadata: 7,
        idle_timeout_ns: 5_000,
        ..access(3)
    };
    assert_eq!(write(&mut server, vec![insert(whole.clone()), insert(route(1))]), [Code::Ok; 2]);
    assert_eq!(entries(&mut server, table(ACCESS.0)), std::slice::from_ref(&whole));
    assert_eq!(entries(&mut server, table(ROUTES.0)), [route(1)]);
    let own = TableEntry {
        table_id: OPCODES.0,
        r#match: vec![exact(1, &[0x2a])],
        action: act(ALLOW, &[]),
        is_const: true,
        ..TableEntry::default()
    };
    assert_eq!(entries(&mut server, TableEntry::default()), [whole, route(1), own]);
}

#[test]
fn filters() {
    let (mut server, _) = server();
    let tagged = TableEntry { metadata: b"x".to_vec(), action: act(ALLOW, &[]), ..access(2) };
    let other = TableEntry { r#match: vec![], ..access(2) };
    let updates = [access(1), tagged.clone(), other.clone()].map(insert).into();
    assert_eq!(write(&mut server, updates), [Code::Ok; 3]);
    let mut find = |asked: TableEntry| entries(&mut server, TableEntry { table_id: ACCESS.0, ..asked });
    assert_eq!(find(access(1)), [access(1)]);
    assert_eq!(find(TableEntry { priority: 2, ..table(0) }), [other.clone(), tagged.clone()]);
    assert_eq!(find(TableEntry { metadata: b"x".to_vec(), ..table(0) }), std::slice::from_ref(&tagged));
    assert_eq!(find(TableEntry { action: act(DENY, &[]), ..table(0) }), [access(1), other]);
    let any_priority = TableEntry { r#match: access(1).r#match, ..table(0) };
    assert_eq!(find(any_priority), [access(1), tagged]);
    assert_eq!(find(access(9)), []);
    let (_, codes) = read(&mut server, &read_request(vec![E::TableEntry(access(-3)), E::TableEntry(table(1))]));
    assert_eq!(codes, [Code::InvalidArgument; 2]);
    let (_, codes) = read(&mut server, &read_request(vec![E::TableEntry(TableEntry { priority: 1, ..table(0) })]));
    assert_eq!(codes, [Code::InvalidArgument], "all tables are read without a filter");
}

#[test]
fn default_entries() {
    let (mut server, _) = server();
    let ask = |id: u32| TableEntry { table_id: id, is_default_action: true, ..TableEntry::default() };
    assert_eq!(entries(&mut server, ask(ACCESS.0)), [default_entry(ACCESS, act(ALLOW, &[]))]);
    let constant = |id| TableEntry { is_const: true, ..default_entry(id, act(DENY, &[])) };
    let all = [
        default_entry(ACCESS, act(ALLOW, &[])),
        constant(ROUTES),
        constant(QPS),
        default_entry(OPCODES, act(DENY, &[])),
    ];
    assert_eq!(entries(&mut server, ask(0)), all);
}

#[test]
fn counters_meters_and_idle_time_come_when_they_are_asked_for() {
    let (mut server, _) = server();
    let counts = Some(CounterData { byte_count: 6, packet_count: 1 });
    let rates = Some(MeterConfig { cir: 1, cburst: 1, pir: 1, pburst: 1, eburst: 0 });
    let whole = TableEntry { counter_data: counts, meter_config: rates, ..access(1) };
    assert_eq!(write(&mut server, vec![insert(whole), insert(access(2)), insert(route(1))]), [Code::Ok; 3]);
    let asked = TableEntry {
        counter_data: Some(CounterData::default()),
        meter_config: Some(MeterConfig::default()),
        time_since_last_hit: Some(IdleTimeout::default()),
        ..TableEntry::default()
    };
    let found = entries(&mut server, TableEntry { table_id: ACCESS.0, ..asked.clone() });
    assert_eq!((found[0].counter_data, found[0].meter_config), (counts, rates));
    assert_eq!((found[1].counter_data, found[1].meter_config), (Some(CounterData::default()), None));
    assert!(found.iter().all(|entry| entry.time_since_last_hit.is_some()));
    let found = entries(&mut server, asked.clone());
    let of_route = found.iter().find(|entry| entry.table_id == ROUTES.0).expect("of all tables");
    assert_eq!(*of_route, route(1), "a table without them tells none");
    let (_, codes) = read(&mut server, &read_request(vec![E::TableEntry(TableEntry { table_id: ROUTES.0, ..asked })]));
    assert_eq!(codes, [Code::InvalidArgument]);
}

#[test]
fn there_are_no_others_and_all_of_none_is_nothing() {
    let (mut server, _) = server();
    let group =
        PacketReplicationEngineEntry { r#type: Some(pre::Type::MulticastGroupEntry(MulticastGroupEntry::default())) };
    let session =
        PacketReplicationEngineEntry { r#type: Some(pre::Type::CloneSessionEntry(CloneSessionEntry::default())) };
    for entity in [
        E::PacketReplicationEngineEntry(group),
        E::PacketReplicationEngineEntry(session),
        E::ActionProfileMember(ActionProfileMember::default()),
        E::ActionProfileGroup(ActionProfileGroup::default()),
        E::ValueSetEntry(ValueSetEntry::default()),
        E::ExternEntry(ExternEntry::default()),
    ] {
        assert_eq!(read_one(&mut server, entity), []);
    }
    let member = ActionProfileMember { action_profile_id: 0x1100_0001, ..ActionProfileMember::default() };
    let (_, codes) = read(&mut server, &read_request(vec![E::ActionProfileMember(member)]));
    assert_eq!(codes, [Code::InvalidArgument]);
}

#[test]
fn a_request_that_fails_does_not_keep_the_others() {
    let (mut server, _) = server();
    assert_eq!(write(&mut server, vec![insert(route(1))]), [Code::Ok]);
    let mut request =
        read_request(vec![E::TableEntry(table(ROUTES.0)), E::TableEntry(table(9)), E::TableEntry(route(1))]);
    request.entities.push(Entity { entity: None });
    let (found, codes) = read(&mut server, &request);
    assert_eq!(found, [E::TableEntry(route(1)), E::TableEntry(route(1))]);
    assert_eq!(codes, [Code::Ok, Code::InvalidArgument, Code::Ok, Code::InvalidArgument]);
}

#[test]
fn answers_come_in_portions_of_one_moment() {
    let limits = Limits { entities_a_message: 7, entities_a_read: 101, ..Limits::default() };
    let mut server = Server::new(DEVICE, limits, MemoryPlane::default(), Some(pipeline()));
    let stream = server.open_stream().expect("room");
    arbitrate(&mut server, stream, "", Some(1));
    let updates: Vec<_> = (0..100).map(|third| insert(route(third))).collect();
    assert!(write(&mut server, updates).iter().all(|code| *code == Code::Ok));
    let mut reading = server.read(&read_request(vec![E::TableEntry(TableEntry::default())])).expect("a right request");
    // What is deleted meanwhile is still told: the answer is of the moment of the question.
    let deleted = write(&mut server, (0..100).map(|third| delete(route(third))).collect());
    assert!(deleted.iter().all(|code| *code == Code::Ok));
    let mut sizes = Vec::new();
    loop {
        match server.read_on(&mut reading) {
            Portion::Message(portion) => sizes.push(portion.entities.len()),
            Portion::Over => break,
            portion => panic!("{portion:?}"),
        }
    }
    assert_eq!(sizes.iter().sum::<usize>(), 101, "100 routes and the program's own entry");
    assert!(sizes[..14].iter().all(|size| *size == 7) && sizes.len() == 15, "{sizes:?}");

    let updates: Vec<_> = (0..101).map(|third| insert(route(third))).collect();
    assert!(write(&mut server, updates).iter().all(|code| *code == Code::Ok));
    let (found, codes) = read(&mut server, &read_request(vec![E::TableEntry(TableEntry::default())]));
    assert_eq!((found.len(), codes), (101, vec![Code::ResourceExhausted]), "and has a bound");
}

#[test]
fn reading_needs_the_device_the_role_and_a_program() {
    let (server, _) = server();
    let refusal = |server: &crate::fixture::TestServer, request: ReadRequest| match server.read(&request) {
        Err(refusal) => refusal,
        Ok(_) => panic!("{request:?} is answered"),
    };
    assert_eq!(refusal(&server, ReadRequest { device_id: 2, ..ReadRequest::default() }).code, Code::NotFound);
    let stranger = ReadRequest { device_id: DEVICE, role: "nobody's".into(), ..ReadRequest::default() };
    assert_eq!(refusal(&server, stranger).code, Code::NotFound);
    let early = Server::new(DEVICE, Limits::default(), MemoryPlane::default(), None);
    let refusal = refusal(&early, read_request(vec![]));
    assert_eq!(refusal.code, Code::FailedPrecondition);
    assert!(refusal.message.starts_with("no forwarding pipeline config"), "{}", refusal.message);
}
