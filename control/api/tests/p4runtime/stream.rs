//! Packets, digests and idle entries on streams (P4Runtime 1.5.0 §9.8, §16).

use gantry_api::p4runtime::{Code, Output, StreamId};
use gantry_p4_proto::Any;
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::p4_data::Data;
use gantry_p4_proto::runtime::stream_error::Details;
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::stream_message_response::Update as Response;
use gantry_p4_proto::runtime::{
    DigestEntry, DigestListAck, P4Data, P4StructLike, PacketMetadata, PacketOut, StreamError, TableEntry, digest_entry,
    update,
};

use crate::fixture::{
    ACCESS, DENIALS, TestServer, access, access_key, arbitrate, code, delete, insert, messages, modify, outputs, say,
    server, statuses, update as entity, write, write_one,
};

fn metadata(metadata_id: u32, value: &[u8]) -> PacketMetadata {
    PacketMetadata { metadata_id, value: value.to_vec() }
}

/// The one thing a stream has, which is an error.
fn error(server: &mut TestServer, stream: StreamId) -> StreamError {
    match messages(server, stream).pop().and_then(|message| message.update) {
        Some(Response::Error(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_packet_in_goes_to_the_primary() {
    let (mut server, primary) = server();
    let backup = server.open_stream().expect("room");
    arbitrate(&mut server, backup, "", None);
    statuses(&mut server, backup);
    server.handle_packet_in(&[300, 0], b"frame");
    assert!(outputs(&mut server, backup).is_empty());
    match messages(&mut server, primary).pop().and_then(|message| message.update) {
        Some(Response::Packet(packet)) => {
            assert_eq!(packet.payload, b"frame");
            assert_eq!(packet.metadata, [metadata(1, &[1, 44]), metadata(2, &[0])]);
        }
        other => panic!("{other:?}"),
    }
    server.close_stream(primary);
    server.handle_packet_in(&[300, 0], b"nobody is there");
    statuses(&mut server, backup);
}

#[test]
fn packets_that_nobody_reads_are_dropped_and_the_stream_goes_on() {
    let (mut server, primary) = server();
    for _ in 0..10_000 {
        server.handle_packet_in(&[1, 1], &[0; 1000]);
    }
    assert_eq!(outputs(&mut server, primary).len(), 1024);
    for _ in 0..1000 {
        server.handle_packet_in(&[1, 1], &[0; 100_000]);
    }
    assert_eq!(outputs(&mut server, primary).len(), (4 << 20) / 100_000, "bytes have a bound too");
    server.handle_packet_in(&[1, 1], b"later");
    assert_eq!(outputs(&mut server, primary).len(), 1);
}

#[test]
fn a_packet_out_is_checked_and_sent() {
    let (mut server, primary) = server();
    let packet = |metadata| PacketOut { payload: b"frame".to_vec(), metadata };
    say(&mut server, primary, Request::Packet(packet(vec![metadata(1, &[0, 1, 255])])));
    assert!(outputs(&mut server, primary).is_empty());
    assert_eq!(server.plane_mut().packets.pop_front(), Some((vec![511], b"frame".to_vec())));
    for (wrong, expected) in [
        (vec![], Code::InvalidArgument),
        (vec![metadata(2, &[1])], Code::InvalidArgument),
        (vec![metadata(1, &[1]), metadata(1, &[1])], Code::InvalidArgument),
        (vec![metadata(1, &[2, 0])], Code::OutOfRange),
        (vec![metadata(1, &[])], Code::OutOfRange),
    ] {
        let packet = packet(wrong);
        say(&mut server, primary, Request::Packet(packet.clone()));
        let error = error(&mut server, primary);
        assert_eq!(code(error.canonical_code), expected);
        assert!(matches!(error.details, Some(Details::PacketOut(of)) if of.packet_out == Some(packet)));
    }
    assert!(server.plane_mut().packets.is_empty());
}

#[test]
fn only_a_primary_sends_packets() {
    let (mut server, _) = server();
    let backup = server.open_stream().expect("room");
    let packet = PacketOut { payload: vec![], metadata: vec![metadata(1, &[1])] };
    say(&mut server, backup, Request::Packet(packet.clone()));
    assert_eq!(code(error(&mut server, backup).canonical_code), Code::PermissionDenied);
    arbitrate(&mut server, backup, "", None);
    statuses(&mut server, backup);
    say(&mut server, backup, Request::Packet(packet));
    assert_eq!(code(error(&mut server, backup).canonical_code), Code::PermissionDenied);
    assert!(server.plane_mut().packets.is_empty());
}

#[test]
fn other_messages_are_answered() {
    let (mut server, primary) = server();
    say(&mut server, primary, Request::Other(Any::default()));
    let error_of_other = error(&mut server, primary);
    assert_eq!(code(error_of_other.canonical_code), Code::Unimplemented);
    assert!(matches!(error_of_other.details, Some(Details::Other(_))));
    say(&mut server, primary, Request::DigestAck(DigestListAck { digest_id: 5, list_id: 1 }));
    let error_of_ack = error(&mut server, primary);
    assert_eq!(code(error_of_ack.canonical_code), Code::InvalidArgument);
    assert!(matches!(error_of_ack.details, Some(Details::DigestListAck(_))));
}

fn subscribe(server: &mut TestServer, max_timeout_ns: i64, max_list_size: i32, ack_timeout_ns: i64) {
    let config = Some(digest_entry::Config { max_timeout_ns, max_list_size, ack_timeout_ns });
    let entry = E::DigestEntry(DigestEntry { digest_id: DENIALS.0, config });
    assert_eq!(write_one(server, entity(update::Type::Insert, entry)), Code::Ok);
}

/// The lists that a stream has: their ids, and the tenants in them.
fn lists(server: &mut TestServer, stream: StreamId) -> Vec<(u64, Vec<u8>)> {
    let bits = |bytes: &[u8]| P4Data { data: Some(Data::Bitstring(bytes.to_vec())) };
    let tenant = |data: P4Data| match data.data {
        Some(Data::Struct(P4StructLike { members })) => {
            assert_eq!(members[1], bits(&[10, 0, 0, 1]));
            match &members[0].data {
                Some(Data::Bitstring(tenant)) => tenant[0],
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    };
    let list = |message: gantry_p4_proto::runtime::StreamMessageResponse| match message.update {
        Some(Response::Digest(list)) => {
            assert_eq!(list.digest_id, DENIALS.0);
            (list.list_id, list.data.into_iter().map(tenant).collect())
        }
        other => panic!("{other:?}"),
    };
    messages(server, stream).into_iter().map(list).collect()
}

fn deny(server: &mut TestServer, now_ns: u64, tenant: u128) {
    server.handle_digest(now_ns, DENIALS, &[tenant, 0x0a00_0001]);
}

#[test]
fn digests_are_gathered_until_the_list_is_long_or_old_enough() {
    let (mut server, primary) = server();
    deny(&mut server, 0, 1);
    assert!(lists(&mut server, primary).is_empty(), "nobody has asked");
    subscribe(&mut server, 100, 3, 0);
    assert_eq!(server.poll(0), None);
    for tenant in [1, 2, 2, 1] {
        deny(&mut server, 10, tenant);
    }
    assert!(lists(&mut server, primary).is_empty());
    assert_eq!(server.poll(109), Some(110), "100 ns after the first");
    deny(&mut server, 20, 3);
    assert_eq!(lists(&mut server, primary), [(1, vec![1, 2, 3])]);
    assert_eq!(server.poll(20), None);
    deny(&mut server, 30, 4);
    assert_eq!(server.poll(129), Some(130));
    assert!(lists(&mut server, primary).is_empty());
    assert_eq!(server.poll(130), None);
    assert_eq!(lists(&mut server, primary), [(2, vec![4])]);
    deny(&mut server, 131, 4);
    assert_eq!(server.poll(231), None, "without a time to acknowledge in, nothing is remembered");
    assert_eq!(lists(&mut server, primary), [(3, vec![4])]);
}

#[test]
fn a_digest_is_told_again_when_it_was_acknowledged_or_long_ago() {
    let (mut server, primary) = server();
    subscribe(&mut server, 0, 0, 1000);
    deny(&mut server, 0, 1);
    deny(&mut server, 1, 1);
    deny(&mut server, 999, 1);
    assert_eq!(lists(&mut server, primary), [(1, vec![1])]);
    deny(&mut server, 1000, 1);
    assert_eq!(lists(&mut server, primary), [(2, vec![1])]);
    say(&mut server, primary, Request::DigestAck(DigestListAck { digest_id: DENIALS.0, list_id: 1 }));
    deny(&mut server, 1001, 1);
    assert!(lists(&mut server, primary).is_empty(), "another list was acknowledged");
    say(&mut server, primary, Request::DigestAck(DigestListAck { digest_id: DENIALS.0, list_id: 2 }));
    deny(&mut server, 1002, 1);
    assert_eq!(lists(&mut server, primary), [(3, vec![1])]);
}

#[test]
fn lists_have_a_bound_and_so_has_what_is_remembered() {
    let (mut server, primary) = server();
    subscribe(&mut server, 1_000_000, 0, i64::MAX);
    for tenant in 0..65_536 {
        server.handle_digest(0, DENIALS, &[tenant, 0]);
    }
    let lists = outputs(&mut server, primary);
    assert_eq!(lists.len(), 64, "of 1024 each");
    server.handle_digest(1, DENIALS, &[65_535, 0]);
    assert_eq!(server.poll(2_000_000), None);
    assert!(outputs(&mut server, primary).is_empty(), "the latest are remembered");
    server.handle_digest(2_000_001, DENIALS, &[0, 0]);
    server.poll(4_000_000);
    assert_eq!(outputs(&mut server, primary).len(), 1, "the oldest are not");
}

#[test]
fn idle_entries_are_told_if_they_are_still_there_and_have_a_timeout() {
    let (mut server, primary) = server();
    let aging = |priority| TableEntry { idle_timeout_ns: 50, metadata: b"m".to_vec(), ..access(priority) };
    let updates = vec![insert(aging(1)), insert(access(2)), insert(aging(3)), insert(aging(4))];
    assert_eq!(write(&mut server, updates), [Code::Ok; 4]);
    let gone_or_changed = vec![delete(aging(3)), modify(access(4))];
    assert_eq!(write(&mut server, gone_or_changed), [Code::Ok; 2]);
    let keys: Vec<_> = (1..=4).map(access_key).collect();
    server.handle_idle(77, ACCESS, &keys);
    let told = messages(&mut server, primary);
    match &told[..] {
        [message] => match &message.update {
            Some(Response::IdleTimeoutNotification(notice)) => {
                assert_eq!(notice.timestamp, 77);
                assert_eq!(notice.table_entry, [TableEntry { action: None, ..aging(1) }]);
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    server.handle_idle(78, ACCESS, &keys[1..3]);
    assert!(outputs(&mut server, primary).is_empty(), "never an empty notice");
}

#[test]
fn a_closed_stream_says_nothing_more() {
    let (mut server, primary) = server();
    say(&mut server, primary, Request::Arbitration(Default::default()));
    let before = outputs(&mut server, primary);
    assert!(matches!(before[..], [Output::End(_)]), "{before:?}");
    arbitrate(&mut server, primary, "", Some(1));
    server.handle_packet_in(&[1, 1], b"");
    assert!(outputs(&mut server, primary).is_empty());
}
