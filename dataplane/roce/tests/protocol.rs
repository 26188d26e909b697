//! What a peer may not do, and what it gets for it: packets made by hand, against one queue pair.

mod pair;

use gantry_roce::*;
use gantry_wire::ib::{Aeth, Opcode, Reth, Syndrome, rnr_timer_ns};
use pair::*;

/// Our end of a pair, with a region of 8 KiB.
fn end() -> Endpoint {
    end_with(&config())
}

fn end_with(config: &QpConfig) -> Endpoint {
    let [mut end, _] = Pair::new(config, no_fault()).ends;
    end.region.bytes = vec![0; 8192];
    end
}

/// A packet to us, `nth` behind the first that we expect.
fn packet(opcode: Opcode, nth: u32) -> Transport {
    let reth = Reth { virtual_address: REGION_BASE, rkey: REGION, dma_length: 2048 };
    Transport {
        reth: opcode.has_reth().then_some(reth),
        aeth: opcode.has_aeth().then_some(Aeth { syndrome: Syndrome::ACK, msn: 0 }),
        immediate: opcode.has_immediate().then_some(1),
        invalidate: opcode.has_invalidate().then_some(Rkey(2)),
        ..Transport::new(opcode, config().qpn, config().receive_psn.add(nth))
    }
}

fn reth(t: Transport, address: u64, length: u32) -> Transport {
    Transport { reth: Some(Reth { virtual_address: REGION_BASE + address, rkey: REGION, dma_length: length }), ..t }
}

fn plan(end: &Endpoint, t: &Transport, payload_len: u32) -> Plan {
    end.qp.plan(t, payload_len, &end.works, &end.region)
}

const INVALID: Plan = Plan::Refuse(NakCode::InvalidRequest);
const ACCESS: Plan = Plan::Refuse(NakCode::RemoteAccessError);

#[test]
fn every_request_of_a_message_is_what_its_opcode_says() {
    use Opcode::*;
    for (first, last) in [
        (SendFirst, SendLast),
        (SendFirst, SendLastImmediate),
        (SendFirst, SendLastInvalidate),
        (WriteFirst, WriteLast),
        (WriteFirst, WriteLastImmediate),
    ] {
        let mut end = end();
        let middle = if first == SendFirst { SendMiddle } else { WriteMiddle };
        end.receive(0, &reth(packet(first, 0), 0, 2052), &[1; 1024]);
        end.receive(0, &packet(middle, 1), &[2; 1024]);
        end.receive(0, &packet(last, 2), &[3; 4]);
        let (immediate, invalidate) = (last.has_immediate().then_some(1), last.has_invalidate().then_some(Rkey(2)));
        if first == SendFirst {
            let bytes = [&[1; 1024][..], &[2; 1024], &[3; 4]].concat();
            assert_eq!(end.messages, [Received { bytes, immediate, invalidate }], "{last:?}");
        } else {
            let write = Outcome::RemoteWrite { rkey: REGION, address: REGION_BASE, length: 2052, immediate };
            assert_eq!(end.writes, [write], "{last:?}");
            assert_eq!(end.region.bytes[..2056], [&[1; 1024][..], &[2; 1024], &[3; 4], &[0; 4]].concat());
        }
    }
    for only in [SendOnly, SendOnlyImmediate, SendOnlyInvalidate] {
        let mut end = end();
        end.receive(0, &packet(only, 0), &[9; 8]);
        let (immediate, invalidate) = (only.has_immediate().then_some(1), only.has_invalidate().then_some(Rkey(2)));
        assert_eq!(end.messages, [Received { bytes: vec![9; 8], immediate, invalidate }]);
    }
    for only in [WriteOnly, WriteOnlyImmediate] {
        let mut end = end();
        end.receive(0, &reth(packet(only, 0), 4, 8), &[9; 8]);
        let immediate = only.has_immediate().then_some(1);
        let write = Outcome::RemoteWrite { rkey: REGION, address: REGION_BASE + 4, length: 8, immediate };
        assert_eq!(end.writes, [write]);
        assert_eq!(end.region.bytes[4..13], [9, 9, 9, 9, 9, 9, 9, 9, 0]);
    }
}

#[test]
fn opcodes_out_of_order_are_refused() {
    use Opcode::*;
    let continuing = [SendMiddle, SendLast, SendLastImmediate, SendLastInvalidate, WriteMiddle, WriteLast];
    for opcode in continuing {
        assert_eq!(plan(&end(), &packet(opcode, 0), 1024), INVALID, "{opcode:?} without a first");
    }
    let mut sending = end();
    sending.receive(0, &packet(SendFirst, 0), &[0; 1024]);
    for opcode in [SendFirst, SendOnly, WriteFirst, WriteMiddle, WriteLast, WriteOnly, ReadRequest] {
        assert_eq!(plan(&sending, &packet(opcode, 1), 1024), INVALID, "{opcode:?} within a SEND");
    }
    let mut writing = end();
    writing.receive(0, &packet(WriteFirst, 0), &[0; 1024]);
    for opcode in [SendFirst, SendMiddle, SendLast, SendOnly, WriteFirst, WriteOnly, ReadRequest] {
        assert_eq!(plan(&writing, &packet(opcode, 1), 1024), INVALID, "{opcode:?} within a WRITE");
    }
    for opcode in [CompareSwap, FetchAdd] {
        assert_eq!(plan(&end(), &packet(opcode, 0), 0), INVALID, "{opcode:?}");
    }
    for opcode in [UdSendOnly, Cnp] {
        assert_eq!(plan(&end(), &packet(opcode, 0), 0), Plan::Drop(DropReason::Opcode), "{opcode:?}");
    }
}

#[test]
fn lengths_are_held_to_the_mtu() {
    use Opcode::*;
    let ok = |first, last| Plan::Receive { offset: 0, first, last };
    assert_eq!(plan(&end(), &packet(SendOnly, 0), 1024), ok(true, true));
    assert_eq!(plan(&end(), &packet(SendOnly, 0), 1028), INVALID, "longer than the MTU");
    assert_eq!(plan(&end(), &packet(SendOnly, 0), 0), ok(true, true));
    assert_eq!(plan(&end(), &packet(SendFirst, 0), 1020), INVALID, "a first packet is full");
    assert_eq!(plan(&end(), &packet(SendOnly, 0), 3), INVALID, "no pad");
    assert_eq!(plan(&end(), &Transport { pad: 1, ..packet(SendOnly, 0) }, 3), ok(true, true));
    let mut sending = end();
    sending.receive(0, &packet(SendFirst, 0), &[0; 1024]);
    assert_eq!(plan(&sending, &packet(SendMiddle, 1), 512), INVALID, "a middle packet is full");
    assert_eq!(plan(&sending, &packet(SendLast, 1), 0), INVALID, "a last packet is not empty");
    assert_eq!(plan(&sending, &packet(SendLast, 1), 4), Plan::Receive { offset: 1024, first: false, last: true });
}

#[test]
fn a_write_is_as_long_as_it_said() {
    use Opcode::*;
    assert_eq!(plan(&end(), &reth(packet(WriteOnly, 0), 0, 8), 4), INVALID, "shorter");
    assert_eq!(plan(&end(), &reth(packet(WriteOnly, 0), 0, 8), 12), INVALID, "longer");
    assert_eq!(plan(&end(), &reth(packet(WriteFirst, 0), 0, 1024), 1024), INVALID, "a first one that is all");
    let mut writing = end();
    writing.receive(0, &reth(packet(WriteFirst, 0), 0, 1028), &[0; 1024]);
    assert_eq!(plan(&writing, &packet(WriteMiddle, 1), 1024), INVALID, "more than was said");
    assert_eq!(plan(&writing, &packet(WriteLast, 1), 8), INVALID, "more than was said");
    let last = Plan::Write { rkey: REGION, address: REGION_BASE + 1024, first: false, last: true };
    assert_eq!(plan(&writing, &packet(WriteLast, 1), 4), last);
}

#[test]
fn memory_is_reached_only_where_permitted() {
    use Opcode::*;
    assert_eq!(plan(&end(), &reth(packet(WriteOnly, 0), 8188, 8), 8), ACCESS, "past the end");
    assert_eq!(plan(&end(), &reth(packet(WriteFirst, 0), 0, 8196), 1024), ACCESS, "the whole WRITE counts");
    assert_eq!(plan(&end(), &reth(packet(ReadRequest, 0), 8188, 8), 0), ACCESS);
    let wrapping = Reth { virtual_address: u64::MAX - 3, rkey: REGION, dma_length: 8 };
    assert_eq!(plan(&end(), &Transport { reth: Some(wrapping), ..packet(ReadRequest, 0) }, 0), ACCESS);
    let end = end();
    for (opcode, len) in [(WriteOnly, 8), (ReadRequest, 0)] {
        let t = reth(packet(opcode, 0), 0, 8);
        assert_eq!(end.qp.plan(&t, len, &end.works, &NoMemory), ACCESS);
        let nothing = reth(packet(opcode, 0), 1 << 40, 0);
        let plan = end.qp.plan(&nothing, 0, &end.works, &NoMemory);
        assert!(!matches!(plan, Plan::Refuse(_)), "no bytes need no permission: {plan:?}");
    }
    // A READ longer than PSNs can tell apart.
    let mut end = end_with(&QpConfig { mtu: 256, ..config() });
    end.region.bytes = Vec::new();
    assert_eq!(plan(&end, &reth(packet(ReadRequest, 0), 0, 1 << 31), 0), INVALID);
}

#[test]
fn permission_taken_away_ends_a_write() {
    let mut end = end();
    end.receive(0, &reth(packet(Opcode::WriteFirst, 0), 0, 2048), &[1; 1024]);
    end.region.bytes.truncate(1024);
    assert_eq!(plan(&end, &packet(Opcode::WriteLast, 1), 1024), ACCESS);
}

#[test]
fn a_refusal_is_told_and_ends_the_connection() {
    let mut end = end();
    let posted = end.send(vec![1; 8]);
    end.receive(0, &packet(Opcode::SendOnly, 0), &[0; 4]);
    end.receive(0, &packet(Opcode::SendLast, 1), &[0; 4]);
    assert_eq!(end.qp.failure(), Some(Failure::Refused(NakCode::InvalidRequest)));
    let (nak, _) = end.poll_transmit(0).expect("the peer is told");
    assert_eq!((nak.psn, syndrome(&nak)), (packet(Opcode::SendOnly, 1).psn, Some(0x61)));
    assert!(end.poll_transmit(0).is_none(), "work that waited is not sent");
    assert_eq!(plan(&end, &packet(Opcode::SendOnly, 1), 4), Plan::Drop(DropReason::NotReady));
    end.take_completions();
    let flushed = Completion { cookie: posted, kind: CompletionKind::Send, status: Status::Flushed };
    assert_eq!(end.completions, [flushed]);
}

#[test]
fn a_message_too_long_for_its_buffer_is_refused() {
    let mut end = end();
    let t = packet(Opcode::SendOnly, 0);
    assert!(matches!(plan(&end, &t, 1024), Plan::Receive { first: true, .. }));
    end.qp.refuse(NakCode::InvalidRequest);
    let (nak, _) = end.poll_transmit(0).expect("the peer is told");
    assert_eq!(syndrome(&nak), Some(0x61));
    assert_eq!(end.qp.failure(), Some(Failure::Refused(NakCode::InvalidRequest)));
}

#[test]
fn another_partition_is_not_heard() {
    let t = packet(Opcode::SendOnly, 0);
    let with = |ours: u16, theirs: u16| {
        let end = end_with(&QpConfig { pkey: ours, ..config() });
        plan(&end, &Transport { pkey: theirs, ..t }, 4) != Plan::Drop(DropReason::Pkey)
    };
    assert!(with(0xffff, 0xffff));
    assert!(with(0xffff, 0x7fff), "one limited member");
    assert!(with(0x7fff, 0xffff), "one limited member");
    assert!(!with(0x7fff, 0x7fff), "two limited members");
    assert!(!with(0xffff, 0x8001));
    let [mut end, _] = Pair::new(&QpConfig { pkey: 0x8123, ..config() }, no_fault()).ends;
    end.send(vec![1; 8]);
    assert_eq!(end.poll_transmit(0).expect("a SEND").0.pkey, 0x8123);
}

#[test]
fn what_was_not_checked_changes_nothing() {
    let mut end = end();
    end.send(vec![1; 8]);
    end.read(0, 4096);
    while end.poll_transmit(0).is_some() {}
    end.receive(0, &packet(Opcode::SendFirst, 0), &[0; 1024]);
    let before = format!("{:?} {:?}", end.qp, end.works);
    for opcode in Opcode::ALL {
        for nth in [0, 1, 2] {
            for len in [0, 4, 1024] {
                plan(&end, &packet(opcode, nth), len);
                plan(&end, &Transport { psn: config().send_psn.add(nth), ..packet(opcode, 0) }, len);
            }
        }
    }
    assert_eq!(format!("{:?} {:?}", end.qp, end.works), before);
}

#[test]
fn reads_beyond_what_was_agreed_are_refused() {
    let mut end = end_with(&QpConfig { responder_reads_max: 2, ..config() });
    end.receive(0, &reth(packet(Opcode::ReadRequest, 0), 0, 8), &[]);
    end.receive(0, &reth(packet(Opcode::ReadRequest, 1), 0, 8), &[]);
    assert_eq!(plan(&end, &reth(packet(Opcode::ReadRequest, 2), 0, 8), 0), INVALID);
    end.poll_transmit(0).expect("the first answer");
    assert!(matches!(plan(&end, &reth(packet(Opcode::ReadRequest, 2), 0, 8), 0), Plan::ReadRequest { .. }));
    let none = end_with(&QpConfig { responder_reads_max: 0, ..config() });
    assert_eq!(plan(&none, &reth(packet(Opcode::ReadRequest, 0), 0, 8), 0), INVALID);
}

#[test]
fn a_read_that_finds_no_room_is_dropped_to_be_asked_again() {
    let mut end = end();
    end.works = WorkPool::new(1);
    end.receive(0, &reth(packet(Opcode::ReadRequest, 0), 0, 8), &[]);
    let second = reth(packet(Opcode::ReadRequest, 1), 0, 8);
    end.receive(0, &second, &[]);
    assert_eq!(end.drops, [DropReason::ReadsFull]);
    end.poll_transmit(0).expect("the first answer");
    end.receive(0, &second, &[]);
    assert_eq!(end.poll_transmit(0).expect("the second answer").0.psn, second.psn);
}

#[test]
fn a_repeated_read_is_answered_again_from_where_it_is_asked() {
    let mut end = end();
    end.region.bytes = Rng(5).bytes(8192);
    end.receive(0, &reth(packet(Opcode::ReadRequest, 0), 0, 4096), &[]);
    while end.poll_transmit(0).is_some() {}
    end.receive(0, &reth(packet(Opcode::ReadRequest, 2), 2048, 2048), &[]);
    let (first, bytes) = end.poll_transmit(0).expect("an answer");
    assert_eq!((first.opcode, first.psn), (Opcode::ReadResponseFirst, packet(Opcode::ReadRequest, 2).psn));
    assert_eq!(bytes, end.region.bytes[2048..3072]);
    let (last, bytes) = end.poll_transmit(0).expect("an answer");
    assert_eq!((last.opcode, last.psn), (Opcode::ReadResponseLast, packet(Opcode::ReadRequest, 3).psn));
    assert_eq!(bytes, end.region.bytes[3072..4096]);

    let beyond = reth(packet(Opcode::ReadRequest, 2), 2048, 4096);
    assert_eq!(plan(&end, &beyond, 0), Plan::Drop(DropReason::BadDuplicate), "more than was asked before");
    let elsewhere = reth(packet(Opcode::ReadRequest, 2), 8192, 8);
    assert_eq!(plan(&end, &elsewhere, 0), Plan::Drop(DropReason::BadDuplicate), "not permitted");
}

#[test]
fn reads_are_answered_in_the_order_in_which_they_were_asked() {
    let mut end = end_with(&QpConfig { responder_reads_max: 2, ..config() });
    end.receive(0, &reth(packet(Opcode::ReadRequest, 0), 0, 4096), &[]);
    end.receive(0, &reth(packet(Opcode::ReadRequest, 4), 0, 1024), &[]);
    end.poll_transmit(0).expect("the first packet of the answer");
    // The peer asks again, from the second packet on, though it may only have been impatient; and again; and again.
    for _ in 0..3 {
        end.receive(0, &reth(packet(Opcode::ReadRequest, 1), 1024, 3072), &[]);
    }
    let psns: Vec<Psn> = std::iter::from_fn(|| end.poll_transmit(0)).map(|(t, _)| t.psn).collect();
    assert_eq!(psns, [1, 2, 3, 4, 1, 2, 3, 1, 2, 3].map(|nth| packet(Opcode::ReadRequest, nth).psn));
    assert_eq!(end.works.available(), WORKS);
}

#[test]
fn a_gap_that_is_filled_in_time_is_not_told() {
    let mut end = end();
    end.receive(0, &packet(Opcode::SendMiddle, 1), &[2; 1024]);
    end.receive(0, &packet(Opcode::SendFirst, 0), &[1; 1024]);
    let (answer, _) = end.poll_transmit(0).expect("what came is acknowledged");
    assert_eq!((answer.psn, syndrome(&answer)), (config().receive_psn, Some(0x1f)));
    end.receive(0, &packet(Opcode::SendLast, 2), &[3; 4]);
    let (answer, _) = end.poll_transmit(0).expect("the packet that was overtaken is missing now");
    assert_eq!((answer.psn, syndrome(&answer)), (config().receive_psn.next(), Some(0x60)));
}

/// An acknowledgement of our packet `nth`.
fn ack(nth: u32, syndrome: Syndrome) -> Transport {
    let aeth = Some(Aeth { syndrome, msn: 0 });
    Transport { aeth, ..Transport::new(Opcode::Acknowledge, config().qpn, config().send_psn.add(nth)) }
}

#[test]
fn acks_for_nothing_are_ignored() {
    let mut end = end();
    assert_eq!(plan(&end, &ack(0, Syndrome::ACK), 0), Plan::Drop(DropReason::GhostAck), "nothing was sent");
    for _ in 0..3 {
        end.send(vec![1; 8]);
    }
    assert_eq!(plan(&end, &ack(0, Syndrome::ACK), 0), Plan::Drop(DropReason::GhostAck), "posted, not sent");
    end.poll_transmit(0);
    end.poll_transmit(0);
    assert_eq!(plan(&end, &ack(2, Syndrome::ACK), 0), Plan::Drop(DropReason::GhostAck), "two were sent");
    let refused = Syndrome::Nak(NakCode::RemoteAccessError);
    assert_eq!(plan(&end, &ack(2, refused), 0), Plan::Drop(DropReason::GhostAck));
    assert_eq!(plan(&end, &ack(1, Syndrome::Reserved(0x40)), 0), Plan::Drop(DropReason::Syndrome));
    end.receive(0, &ack(1, Syndrome::ACK), &[]);
    assert_eq!(end.succeeded(), [100, 101]);
    for stale in [Syndrome::ACK, refused, Syndrome::Rnr { timer: 1 }] {
        assert_eq!(plan(&end, &ack(1, stale), 0), Plan::Drop(DropReason::StaleAck));
    }
}

#[test]
fn a_nak_completes_what_was_before_it_and_fails_the_rest() {
    for (code, value) in [
        (NakCode::InvalidRequest, 0x61),
        (NakCode::RemoteAccessError, 0x62),
        (NakCode::RemoteOperationalError, 0x63),
        (NakCode::InvalidRdRequest, 0x64),
    ] {
        let mut end = end();
        for _ in 0..3 {
            end.send(vec![1; 8]);
            end.poll_transmit(0);
        }
        assert_eq!(Syndrome::of(value), Syndrome::Nak(code));
        end.receive(0, &ack(1, Syndrome::of(value)), &[]);
        assert_eq!(end.qp.failure(), Some(Failure::RemoteNak(code)));
        let ends: Vec<(u32, Status)> = end.completions.iter().map(|done| (done.cookie, done.status)).collect();
        assert_eq!(ends, [(100, Status::Success), (101, Status::Flushed), (102, Status::Flushed)]);
        assert_eq!(end.qp.deadline_ns(), u64::MAX);
        assert!(!end.qp.wants_transmit());
    }
}

#[test]
fn an_ack_ends_the_wait_that_was_asked_for() {
    let mut end = end();
    end.send(vec![1; 8]);
    end.poll_transmit(0).expect("a SEND");
    end.receive(0, &ack(0, Syndrome::Rnr { timer: 20 }), &[]);
    let until_ns = end.qp.deadline_ns();
    assert_eq!(until_ns, rnr_timer_ns(20));
    end.send(vec![2; 8]);
    assert!(end.poll_transmit(1).is_none(), "nothing leaves within the delay");
    // A doubled SEND found a buffer after all.
    end.receive(2, &ack(0, Syndrome::ACK), &[]);
    assert_eq!(end.qp.deadline_ns(), u64::MAX);
    assert_eq!(end.poll_transmit(3).expect("the next SEND").0.psn, config().send_psn.next());
}

#[test]
fn read_data_does_not_shorten_the_wait_that_was_asked_for() {
    let mut end = end();
    end.read(0, 8);
    end.send(vec![1; 8]);
    while end.poll_transmit(0).is_some() {}
    end.receive(0, &ack(1, Syndrome::Rnr { timer: 0 }), &[]);
    end.receive(1, &Transport { psn: config().send_psn, ..packet(Opcode::ReadResponseOnly, 0) }, &[1; 8]);
    assert_eq!(end.succeeded(), [100]);
    assert_eq!(end.qp.deadline_ns(), rnr_timer_ns(0));
    end.qp.on_deadline(rnr_timer_ns(0), &mut end.works);
    assert_eq!(end.poll_transmit(rnr_timer_ns(0)).expect("the SEND").0.psn, config().send_psn.next());
    assert!(end.poll_transmit(rnr_timer_ns(0)).is_none());
}

#[test]
fn a_read_answered_late_is_not_asked_for_again() {
    let mut end = end();
    end.read(0, 8);
    end.send(vec![1; 8]);
    while end.poll_transmit(0).is_some() {}
    let late_ns = end.qp.deadline_ns();
    end.qp.on_deadline(late_ns, &mut end.works);
    assert!(end.qp.wants_transmit());
    end.receive(late_ns, &Transport { psn: config().send_psn, ..packet(Opcode::ReadResponseOnly, 0) }, &[1; 8]);
    assert_eq!(end.poll_transmit(late_ns).expect("only the SEND").0.psn, config().send_psn.next());
    end.receive(late_ns, &ack(1, Syndrome::ACK), &[]);
    assert_eq!(end.succeeded(), [100, 101]);
}

#[test]
fn read_responses_must_fit_their_place() {
    use Opcode::*;
    let respond = |opcode, nth| Transport { psn: config().send_psn.add(nth), ..packet(opcode, 0) };
    let mut end = end();
    let ghost = Plan::Drop(DropReason::GhostResponse);
    assert_eq!(plan(&end, &respond(ReadResponseOnly, 0), 8), ghost, "no READ was asked");
    let cookie = end.read(0, 2052);
    assert_eq!(plan(&end, &respond(ReadResponseFirst, 0), 1024), ghost, "not asked yet");
    end.poll_transmit(0).expect("a READ request");
    let bad = Plan::Drop(DropReason::BadResponse);
    assert_eq!(plan(&end, &respond(ReadResponseOnly, 0), 1024), bad);
    assert_eq!(plan(&end, &respond(ReadResponseLast, 0), 1024), bad);
    assert_eq!(plan(&end, &respond(ReadResponseFirst, 0), 512), bad);
    assert_eq!(plan(&end, &Transport { pad: 2, ..respond(ReadResponseFirst, 0) }, 1024), bad);
    assert_eq!(plan(&end, &respond(ReadResponseMiddle, 3), 1024), ghost, "past its end");
    assert_eq!(plan(&end, &respond(ReadResponseMiddle, 1), 1024), Plan::OutOfSequence);
    end.receive(0, &respond(ReadResponseFirst, 0), &[1; 1024]);
    assert_eq!(plan(&end, &respond(ReadResponseFirst, 0), 1024), Plan::Drop(DropReason::StaleResponse));
    end.receive(0, &respond(ReadResponseMiddle, 1), &[2; 1024]);
    assert_eq!(plan(&end, &respond(ReadResponseMiddle, 2), 1024), bad);
    assert_eq!(plan(&end, &respond(ReadResponseLast, 2), 8), bad);
    end.receive(0, &respond(ReadResponseLast, 2), &[3; 4]);
    assert_eq!(end.buffers[&cookie], [&[1; 1024][..], &[2; 1024], &[3; 4]].concat());
    assert_eq!(end.succeeded(), [cookie]);
}

#[test]
fn nothing_is_a_legal_length() {
    let mut pair = Pair::new(&config(), no_fault());
    let done = [pair.ends[0].send(vec![]), pair.ends[0].write(0, vec![]), pair.ends[0].read(0, 0)];
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.opcodes(0), [Opcode::SendOnly, Opcode::WriteOnly, Opcode::ReadRequest]);
    assert_eq!(pair.count(1, |t| t.opcode == Opcode::ReadResponseOnly), 1);
    assert_eq!(pair.ends[0].succeeded(), done);
    assert_eq!((pair.ends[1].messages.len(), pair.ends[1].writes.len()), (1, 1));
}
