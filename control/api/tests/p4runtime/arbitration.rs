//! Who is the primary (P4Runtime 1.5.0 §5).

use gantry_api::p4runtime::{Code, Limits, MemoryPlane, Output, Server, StreamId};
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{Uint128, WriteRequest};

use crate::fixture::{
    AtOnce as _, DEVICE, TestServer, arbitrate, arbitration, ending, id, insert, outputs, request, route, say, server,
    statuses,
};

fn join(server: &mut TestServer, role: &str, election: Option<u64>) -> StreamId {
    let stream = server.open_stream().expect("room for a stream");
    arbitrate(server, stream, role, election);
    stream
}

fn write_as(server: &mut TestServer, election: Option<u64>, role: &str) -> Result<(), Code> {
    let request = WriteRequest {
        election_id: election.map(id),
        role: role.into(),
        ..request(Vec::new(), Atomicity::ContinueOnError)
    };
    server.write(&request).map_err(|failure| failure.refusal.code)
}

#[test]
fn the_highest_election_id_is_the_primary_and_all_are_told() {
    let (mut server, first) = server();
    let second = join(&mut server, "", Some(5));
    assert_eq!(statuses(&mut server, first), [(Code::AlreadyExists, Some(5))]);
    assert_eq!(statuses(&mut server, second), [(Code::Ok, Some(5))]);
    let third = join(&mut server, "", Some(3));
    assert_eq!(statuses(&mut server, third), [(Code::AlreadyExists, Some(5))]);
    assert!(statuses(&mut server, first).is_empty(), "a backup that comes is nobody else's business");
    assert_eq!(write_as(&mut server, Some(5), ""), Ok(()));
    for election in [Some(1), Some(3), Some(6), None] {
        assert_eq!(write_as(&mut server, election, ""), Err(Code::PermissionDenied));
    }
}

#[test]
fn a_lost_primary_is_followed_by_nobody_until_somebody_arbitrates() {
    let (mut server, first) = server();
    let second = join(&mut server, "", Some(5));
    statuses(&mut server, first);
    server.close_stream(second);
    assert_eq!(statuses(&mut server, first), [(Code::NotFound, Some(5))]);
    assert_eq!(write_as(&mut server, Some(5), ""), Err(Code::PermissionDenied));
    assert_eq!(write_as(&mut server, Some(1), ""), Err(Code::PermissionDenied));
    arbitrate(&mut server, first, "", Some(4));
    assert_eq!(statuses(&mut server, first), [(Code::NotFound, Some(5))], "4 is below what was");
    arbitrate(&mut server, first, "", Some(5));
    assert_eq!(statuses(&mut server, first), [(Code::Ok, Some(5))], "5 is free again");
    assert_eq!(write_as(&mut server, Some(5), ""), Ok(()));
}

#[test]
fn a_primary_can_step_down() {
    let (mut server, first) = server();
    let second = join(&mut server, "", None);
    assert_eq!(statuses(&mut server, second), [(Code::AlreadyExists, Some(1))]);
    arbitrate(&mut server, first, "", Some(0));
    assert_eq!(statuses(&mut server, first), [(Code::NotFound, Some(1))]);
    assert_eq!(statuses(&mut server, second), [(Code::NotFound, Some(1))]);
    assert_eq!(write_as(&mut server, Some(0), ""), Err(Code::PermissionDenied));
    arbitrate(&mut server, first, "", Some(1));
    assert_eq!(statuses(&mut server, first), [(Code::Ok, Some(1))]);
    assert_eq!(statuses(&mut server, second), [(Code::AlreadyExists, Some(1))]);
}

#[test]
fn no_election_id_is_never_primary_and_zero_is_an_id() {
    let mut server = Server::new(DEVICE, Limits::default(), MemoryPlane::default(), None);
    let first = join(&mut server, "", None);
    let second = join(&mut server, "", None);
    assert_eq!(statuses(&mut server, first), [(Code::NotFound, None)]);
    assert_eq!(statuses(&mut server, second), [(Code::NotFound, None)], "ids that are not set may be equal");
    arbitrate(&mut server, second, "", Some(0));
    assert_eq!(statuses(&mut server, second), [(Code::Ok, Some(0))]);
    assert_eq!(statuses(&mut server, first), [(Code::AlreadyExists, Some(0))]);
}

#[test]
fn election_ids_have_128_bits() {
    let (mut server, first) = server();
    let stream = server.open_stream().expect("room");
    let mut update = arbitration("", None);
    update.election_id = Some(Uint128 { high: 1, low: 0 });
    say(&mut server, stream, Request::Arbitration(update));
    assert_eq!(statuses(&mut server, stream), [(Code::Ok, Some(0))]);
    assert_eq!(statuses(&mut server, first), [(Code::AlreadyExists, Some(0))]);
}

#[test]
fn an_election_id_in_use_ends_the_stream_in_the_words_that_clients_know() {
    let (mut server, _) = server();
    let second = join(&mut server, "", Some(1));
    let (code, message) = ending(&mut server, second);
    assert_eq!(code, Code::InvalidArgument);
    let words = message.to_lowercase();
    assert!(words.contains("election id ") && words.contains(" used "), "{message}");
    assert!(server.poll_stream(second).is_none());
    assert_eq!(write_as(&mut server, Some(1), ""), Ok(()), "the one that has it keeps it");
}

#[test]
fn roles_have_primaries_of_their_own() {
    let (mut server, first) = server();
    let other = join(&mut server, "routing", Some(1));
    assert_eq!(statuses(&mut server, other), [(Code::Ok, Some(1))]);
    assert!(statuses(&mut server, first).is_empty());
    assert_eq!(write_as(&mut server, Some(1), "routing"), Ok(()));
    assert_eq!(write_as(&mut server, Some(1), "nobody's"), Err(Code::NotFound));
    arbitrate(&mut server, other, "another", Some(1));
    assert_eq!(ending(&mut server, other).0, Code::FailedPrecondition);
    assert_eq!(write_as(&mut server, Some(1), "routing"), Err(Code::PermissionDenied));
}

#[test]
fn what_is_wrong_ends_the_stream() {
    let (mut server, first) = server();
    let stranger = server.open_stream().expect("room");
    let mut update = arbitration("", Some(9));
    update.device_id = 2;
    say(&mut server, stranger, Request::Arbitration(update.clone()));
    assert_eq!(ending(&mut server, stranger).0, Code::NotFound);
    say(&mut server, first, Request::Arbitration(update));
    assert_eq!(ending(&mut server, first).0, Code::FailedPrecondition);

    let empty = server.open_stream().expect("room");
    server.handle_stream(empty, gantry_p4_proto::runtime::StreamMessageRequest { update: None });
    assert_eq!(ending(&mut server, empty).0, Code::InvalidArgument);
    let long = join(&mut server, &"r".repeat(10_000), Some(1));
    assert_eq!(ending(&mut server, long).0, Code::InvalidArgument);
}

#[test]
fn streams_roles_and_what_waits_have_bounds() {
    let limits = Limits { streams: 3, roles: 2, messages_a_stream: 4, ..Limits::default() };
    let mut server = Server::new(DEVICE, limits, MemoryPlane::default(), None);
    let silent = join(&mut server, "a", None);
    let lively = join(&mut server, "a", Some(1));
    let third = join(&mut server, "b", Some(1));
    assert_eq!(server.open_stream().map_err(|refusal| refusal.code), Err(Code::ResourceExhausted));
    server.close_stream(third);
    let fourth = join(&mut server, "c", Some(1));
    assert_eq!(ending(&mut server, fourth).0, Code::ResourceExhausted);
    for election in 2..10 {
        arbitrate(&mut server, lively, "a", Some(election));
        outputs(&mut server, lively);
    }
    let told = outputs(&mut server, silent);
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(matches!(&told[4], Output::End(refusal) if refusal.code == Code::ResourceExhausted));
}

#[test]
fn writing_needs_the_device_a_primary_and_a_program_in_that_order() {
    let mut server = Server::new(DEVICE, Limits::default(), MemoryPlane::default(), None);
    let write = |server: &mut TestServer, device_id| {
        let request = WriteRequest { device_id, ..request(vec![insert(route(1))], Atomicity::ContinueOnError) };
        let failure = server.write(&request).expect_err("nothing can be written");
        assert!(failure.errors.is_empty());
        failure.refusal
    };
    assert_eq!(write(&mut server, 2).code, Code::NotFound);
    assert_eq!(write(&mut server, DEVICE).code, Code::PermissionDenied);
    join(&mut server, "", Some(1));
    let refusal = write(&mut server, DEVICE);
    assert_eq!(refusal.code, Code::FailedPrecondition);
    assert!(refusal.message.starts_with("no forwarding pipeline config"), "{}", refusal.message);
    server.load(crate::fixture::pipeline());
    assert_eq!(server.write(&request(vec![insert(route(1))], Atomicity::ContinueOnError)), Ok(()));
}
