//! Roles with a part of the program in their charge (P4Runtime 1.5.0 §5.2).

use gantry_api::p4runtime::{Code, StreamId};
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::stream_message_response::Update as Response;
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{
    CounterEntry, DigestEntry, MasterArbitrationUpdate, PacketMetadata, PacketOut, ReadRequest, Role,
    SetForwardingPipelineConfigRequest, TableEntry, Update, WriteRequest,
    set_forwarding_pipeline_config_request::Action, update,
};
use gantry_p4_proto::{Any, Message as _, RoleConfig};

use crate::fixture::{
    ALLOW, AtOnce as _, DENIALS, DEVICE, DROPPED, ROUTES, TestServer, access, act, arbitration, code, codes, ending,
    id, insert, messages, outputs, read, read_request, request, route, say, server, statuses, update as entity, write,
};

fn config(config: &RoleConfig) -> Any {
    Any { type_url: "type.googleapis.com/gantry.p4runtime.RoleConfig".into(), value: config.encode_to_vec() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn join(server: &mut TestServer, role: &str, config: Any) -> StreamId {
    let stream = server.open_stream().expect("room");
    let role = Role { name: role.into(), config: Some(config), ..Role::default() };
    let update = MasterArbitrationUpdate { role: Some(role), ..arbitration("", Some(1)) };
    say(server, stream, Request::Arbitration(update));
    stream
}

fn write_as(server: &mut TestServer, role: &str, updates: Vec<Update>) -> Vec<Code> {
    let many = updates.len();
    let request = WriteRequest { role: role.into(), ..request(updates, Atomicity::ContinueOnError) };
    codes(many, server.write(&request))
}

fn filter() -> RoleConfig {
    RoleConfig { tables: names(&["access"]), actions: names(&["Main.deny"]), ..RoleConfig::default() }
}

#[test]
fn a_role_writes_what_is_in_its_charge() {
    let (mut server, _) = server();
    let stream = join(&mut server, "filter", config(&filter()));
    assert_eq!(statuses(&mut server, stream), [(Code::Ok, Some(1))]);
    let allowed = TableEntry { action: act(ALLOW, &[]), ..access(2) };
    let counter = CounterEntry { counter_id: DROPPED, ..CounterEntry::default() };
    let digest = DigestEntry { digest_id: DENIALS.0, config: None };
    let updates = vec![
        insert(access(1)),
        insert(allowed),
        insert(route(1)),
        entity(update::Type::Modify, E::CounterEntry(counter)),
        entity(update::Type::Insert, E::DigestEntry(digest)),
    ];
    let codes = write_as(&mut server, "filter", updates);
    assert_eq!(codes[0], Code::Ok);
    assert_eq!(codes[1..], [Code::PermissionDenied; 4]);
    let config = SetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        role: "filter".into(),
        election_id: Some(id(1)),
        action: Action::VerifyAndCommit.into(),
        ..SetForwardingPipelineConfigRequest::default()
    };
    assert_eq!(server.set_config(&config).map_err(|refusal| refusal.code), Err(Code::PermissionDenied));
}

#[test]
fn a_role_reads_what_is_in_its_charge() {
    let (mut server, _) = server();
    join(&mut server, "filter", config(&filter()));
    assert_eq!(write(&mut server, vec![insert(access(1)), insert(route(1))]), [Code::Ok; 2]);
    let all = vec![E::TableEntry(TableEntry::default()), E::CounterEntry(CounterEntry::default())];
    let request = ReadRequest { role: "filter".into(), ..read_request(all) };
    assert_eq!(read(&mut server, &request), (vec![E::TableEntry(access(1))], vec![Code::Ok; 2]));
    let one = ReadRequest { role: "filter".into(), ..read_request(vec![E::TableEntry(route(1))]) };
    assert_eq!(read(&mut server, &one).0, []);
}

#[test]
fn packets_and_digests_go_to_the_roles_that_have_them() {
    let (mut server, whole) = server();
    let quiet = join(&mut server, "quiet", config(&filter()));
    let eager = RoleConfig { externs: names(&["denials"]), packet_in: true, ..RoleConfig::default() };
    let eager = join(&mut server, "eager", config(&eager));
    let sender = RoleConfig { packet_out: true, ..RoleConfig::default() };
    let sender = join(&mut server, "sender", config(&sender));
    for stream in [quiet, eager, sender] {
        assert_eq!(statuses(&mut server, stream), [(Code::Ok, Some(1))]);
    }
    let digest = DigestEntry { digest_id: DENIALS.0, config: None };
    let codes = write_as(&mut server, "eager", vec![entity(update::Type::Insert, E::DigestEntry(digest))]);
    assert_eq!(codes, [Code::Ok]);
    server.handle_packet_in(&[1, 2], b"frame");
    server.handle_digest(0, DENIALS, &[1, 2]);
    let kinds = |server: &mut TestServer, stream| {
        let kind = |message: gantry_p4_proto::runtime::StreamMessageResponse| match message.update {
            Some(Response::Packet(_)) => "packet",
            Some(Response::Digest(_)) => "digest",
            other => panic!("{other:?}"),
        };
        messages(server, stream).into_iter().map(kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&mut server, whole), ["packet", "digest"]);
    assert_eq!(kinds(&mut server, eager), ["packet", "digest"]);
    assert!(outputs(&mut server, quiet).is_empty() && outputs(&mut server, sender).is_empty());

    let packet = PacketOut { payload: vec![], metadata: vec![PacketMetadata { metadata_id: 1, value: vec![1] }] };
    say(&mut server, sender, Request::Packet(packet.clone()));
    assert_eq!(server.plane_mut().packets.len(), 1);
    say(&mut server, eager, Request::Packet(packet));
    match messages(&mut server, eager).pop().and_then(|message| message.update) {
        Some(Response::Error(error)) => assert_eq!(code(error.canonical_code), Code::PermissionDenied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn configs_that_cannot_be() {
    let (mut server, _) = server();
    let bad = RoleConfig { tables: names(&["no_such"]), ..RoleConfig::default() };
    let not_a_table = RoleConfig { tables: names(&["deny"]), ..RoleConfig::default() };
    let foreign = Any { type_url: "type.googleapis.com/somebody.Else".into(), value: vec![] };
    let garbage = Any { value: vec![0xff; 9], ..config(&filter()) };
    for (role, config) in
        [("a", config(&bad)), ("a", config(&not_a_table)), ("a", foreign), ("a", garbage), ("", config(&filter()))]
    {
        let stream = join(&mut server, role, config);
        assert_eq!(ending(&mut server, stream).0, Code::InvalidArgument);
    }
}

#[test]
fn the_primary_s_config_counts_and_is_told() {
    let (mut server, _) = server();
    let stream = join(&mut server, "filter", config(&filter()));
    outputs(&mut server, stream);
    let backup = server.open_stream().expect("room");
    crate::fixture::arbitrate(&mut server, backup, "filter", None);
    match messages(&mut server, backup).pop().and_then(|message| message.update) {
        Some(Response::Arbitration(update)) => {
            let role = update.role.expect("a role with a name");
            assert_eq!((role.name.as_str(), role.config), ("filter", Some(config(&filter()))));
        }
        other => panic!("{other:?}"),
    }
    // The next primary has no config: the role is in charge of everything.
    crate::fixture::arbitrate(&mut server, backup, "filter", Some(2));
    let request = WriteRequest {
        role: "filter".into(),
        election_id: Some(id(2)),
        ..request(vec![insert(route(1))], Atomicity::ContinueOnError)
    };
    assert_eq!(server.write(&request), Ok(()));
    assert_eq!(server.store().len(ROUTES), 1);
}
