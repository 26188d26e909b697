//! Loss and how it heals: what is sent again, what is not, when, and when it is given up. One story a test.

mod pair;

use gantry_roce::*;
use gantry_wire::ib::{Opcode, rnr_timer_ns};
use pair::*;

const MTU: u32 = 1024;
const NAK_SEQUENCE: u8 = 0x60;

/// Loses the packets of one side that `which` picks by opcode and by how often it was picked before.
fn lose(from: usize, opcode: Opcode, mut which: impl FnMut(usize) -> bool + 'static) -> Fault {
    let mut seen = 0;
    Box::new(move |sent, _| {
        if sent.from != from || sent.transport.opcode != opcode {
            return Fate::Deliver;
        }
        seen += 1;
        if which(seen - 1) { Fate::Lose } else { Fate::Deliver }
    })
}

#[test]
fn without_loss_nothing_is_sent_twice() {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[1].region.bytes = vec![7; 200 * 1024];
    pair.ends[0].send(vec![1; 64]);
    pair.ends[0].write(0, vec![2; 100 * 1024]);
    pair.ends[0].read(0, 100 * 1024);
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.payload_bytes(0), 64 + 100 * 1024);
    assert_eq!(pair.payload_bytes(1), 100 * 1024);
    assert_eq!(pair.count(0, |t| t.opcode == Opcode::ReadRequest), 1);
}

#[test]
fn a_lost_ack_is_asked_for_again_and_the_send_is_not_executed_twice() {
    let mut pair = Pair::new(&config(), lose(1, Opcode::Acknowledge, |nth| nth == 0));
    let cookie = pair.ends[0].send(b"once".to_vec());
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.opcodes(0), [Opcode::SendOnly, Opcode::SendOnly]);
    assert_eq!(pair.opcodes(1), [Opcode::Acknowledge, Opcode::Acknowledge]);
    assert_eq!(pair.ends[1].messages.len(), 1, "the duplicate is acknowledged only");
    assert_eq!(pair.ends[1].landed, 4);
    assert_eq!(pair.ends[0].succeeded(), [cookie]);
    // The timeout before any round trip was measured.
    assert_eq!(pair.sent[2].at_ns - pair.sent[0].at_ns, RETRY_INITIAL_NS);
}

#[test]
fn a_doubled_send_is_executed_once() {
    let mut pair = Pair::new(&config(), Box::new(|_, _| Fate::Twice));
    for n in 0..20 {
        pair.ends[0].send(vec![n; 16]);
    }
    pair.run();
    pair.assert_clean();
    let executed: Vec<u8> = pair.ends[1].messages.iter().map(|message| message.bytes[0]).collect();
    assert_eq!(executed, (0..20).collect::<Vec<u8>>());
}

#[test]
fn a_duplicate_is_acknowledged_with_the_newest_psn() {
    let mut pair = Pair::new(&config(), no_fault());
    for _ in 0..3 {
        pair.ends[0].send(vec![0; 8]);
    }
    pair.run();
    let first = pair.sent.iter().find(|sent| sent.from == 0).expect("sent").transport;
    pair.ends[1].receive(pair.now_ns, &first, &[0; 8]);
    let (ack, _) = pair.ends[1].poll_transmit(pair.now_ns).expect("a duplicate is answered");
    assert_eq!((ack.psn, syndrome(&ack)), (Psn::new(5002), Some(0x1f)));
    assert_eq!(ack.aeth.expect("an ACK").msn, 3);
    assert_eq!(pair.ends[1].messages.len(), 3);
}

#[test]
fn a_gap_is_told_once_and_filled_by_going_back() {
    // The third packet of a WRITE is lost: those behind it arrive out of sequence.
    let mut pair = Pair::new(&config(), lose(0, Opcode::WriteMiddle, |nth| nth == 1));
    pair.ends[1].region.bytes = vec![0; 40 * 1024];
    pair.ends[0].write(0, vec![9; 40 * 1024]);
    pair.run();
    pair.assert_clean();
    let naks: Vec<Psn> = pair
        .sent
        .iter()
        .filter(|sent| syndrome(&sent.transport) == Some(NAK_SEQUENCE))
        .map(|sent| sent.transport.psn)
        .collect();
    assert_eq!(naks, [Psn::new(5002)], "one NAK, at what is missing");
    assert_eq!(pair.ends[1].region.bytes, vec![9; 40 * 1024]);
    assert_eq!(pair.ends[1].landed, 40 * 1024);
    assert!(pair.now_ns - 1_000_000 < RETRY_MIN_NS, "no timeout was waited for");
    // Everything from the missing packet on, as far as it had left before the NAK came, and nothing before it.
    let again = pair.count(0, |_| true) - 40;
    assert!((1..=38).contains(&again), "{again} sent again");
    assert_eq!(pair.count(0, |t| t.psn == Psn::new(5001)), 1, "what had arrived is not sent again");
}

#[test]
fn the_next_gap_is_told_too() {
    // Two gaps, the second in what goes again behind the first.
    let mut pair = Pair::new(&config(), lose(0, Opcode::SendOnly, |nth| nth == 2 || nth == 12));
    for n in 0..10 {
        pair.ends[0].send(vec![n; 16]);
    }
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.ends[1].messages.len(), 10);
    assert_eq!(pair.count(1, |t| syndrome(t) == Some(NAK_SEQUENCE)), 2);
    assert!(pair.now_ns - 1_000_000 < RETRY_MIN_NS, "no timeout was waited for");
}

#[test]
fn a_lost_read_response_is_asked_for_from_where_it_is_missing() {
    const LENGTH: u32 = 128 * MTU;
    let mut pair = Pair::new(&config(), lose(1, Opcode::ReadResponseMiddle, |nth| nth == 99));
    pair.ends[1].region.bytes = Rng(1).bytes(LENGTH);
    let cookie = pair.ends[0].read(0, LENGTH);
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.ends[0].buffers[&cookie], pair.ends[1].region.bytes);
    let requests: Vec<Transport> = pair.sent.iter().filter(|sent| sent.from == 0).map(|sent| sent.transport).collect();
    assert_eq!(requests.len(), 2);
    // The first response and 99 middle ones had landed.
    assert_eq!(requests[1].psn, Psn::new(5100));
    let reth = requests[1].reth.expect("a READ request has one");
    assert_eq!((reth.virtual_address, reth.dma_length), (REGION_BASE + 100 * 1024, 28 * 1024));
    let sent_again = pair.payload_bytes(1) - LENGTH as usize;
    assert!(sent_again <= 28 * 1024, "{sent_again} bytes sent again");
    assert!(pair.now_ns - 1_000_000 < RETRY_MIN_NS, "no timeout was waited for");
}

#[test]
fn an_ack_beyond_a_read_without_answer_asks_for_it_again() {
    let mut pair = Pair::new(&config(), lose(1, Opcode::ReadResponseOnly, |nth| nth == 0));
    pair.ends[1].region.bytes = vec![5; 64];
    let read = pair.ends[0].read(0, 64);
    let send = pair.ends[0].send(vec![1; 16]);
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.opcodes(0), [Opcode::ReadRequest, Opcode::SendOnly, Opcode::ReadRequest], "the SEND had arrived");
    assert_eq!(pair.ends[0].succeeded(), [read, send], "work completes in PSN order");
    assert_eq!(pair.ends[1].messages.len(), 1);
    assert!(pair.now_ns - 1_000_000 < RETRY_MIN_NS, "no timeout was waited for");
}

#[test]
fn many_acks_beyond_a_read_ask_for_it_once() {
    let mut pair = Pair::new(&config(), lose(1, Opcode::ReadResponseOnly, |nth| nth == 0));
    pair.ends[1].region.bytes = vec![5; 64];
    pair.ends[0].read(0, 64);
    for _ in 0..10 {
        pair.ends[0].send(vec![1; 16]);
    }
    pair.run();
    pair.assert_clean();
    assert!(pair.count(1, |t| t.opcode == Opcode::Acknowledge) > 5, "they came one by one");
    assert_eq!(pair.count(0, |t| t.opcode == Opcode::ReadRequest), 2);
    assert_eq!(pair.ends[1].messages.len(), 10, "SENDs that went again are not executed again");
}

#[test]
fn a_lost_read_request_is_repeated_after_the_timeout() {
    let mut pair = Pair::new(&config(), lose(0, Opcode::ReadRequest, |nth| nth == 0));
    pair.ends[1].region.bytes = vec![5; 3000];
    let read = pair.ends[0].read(0, 3000);
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.ends[0].buffers[&read], vec![5; 3000]);
    assert_eq!(pair.sent[1].at_ns - pair.sent[0].at_ns, RETRY_INITIAL_NS);
}

#[test]
fn a_read_that_is_repeated_in_vain_does_not_crowd_out_the_next() {
    // One READ at a time. Its answer is slower than the requester's patience, so that both answers come.
    let c = QpConfig { reads_max: 1, responder_reads_max: 1, ack_timeout_ns: 50_000, retry_count: 200, ..config() };
    let mut slow = true;
    let fault: Fault = Box::new(move |sent, _| {
        let late = sent.from == 1 && std::mem::take(&mut slow);
        if late { Fate::Late(120_000) } else { Fate::Deliver }
    });
    let mut pair = Pair::new(&c, fault);
    pair.ends[1].region.bytes = Rng(3).bytes(60_000);
    let reads = [pair.ends[0].read(0, 60_000), pair.ends[0].read(100, 5_000), pair.ends[0].read(7, 0)];
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.ends[0].succeeded(), reads);
    assert!(pair.count(0, |_| true) > 3, "something was repeated");
}

#[test]
fn not_ready_is_waited_out_and_tried_again() {
    let c = QpConfig { rnr_retry_count: 3, ..config() };
    let mut pair = Pair::new(&c, no_fault());
    pair.ends[1].receive_buffers = Some(1);
    pair.ends[0].send(vec![1; 8]);
    pair.ends[0].send(vec![2; 3000]);
    pair.ends[0].send(vec![3; 8]);
    let wait_ns = rnr_timer_ns(c.rnr_timer);
    pair.run_until(pair.now_ns + wait_ns + wait_ns / 2);
    assert_eq!(pair.count(1, |t| syndrome(t) == Some(0x20 | c.rnr_timer)), 2);
    assert_eq!(pair.count(1, |t| syndrome(t) == Some(NAK_SEQUENCE)), 0, "silence about what follows");
    assert_eq!(pair.ends[1].messages.len(), 1);
    pair.ends[1].receive_buffers = None;
    pair.run();
    pair.assert_clean();
    let lengths: Vec<usize> = pair.ends[1].messages.iter().map(|message| message.bytes.len()).collect();
    assert_eq!(lengths, [8, 3000, 8]);
    let firsts: Vec<u64> =
        pair.sent.iter().filter(|sent| sent.transport.opcode == Opcode::SendFirst).map(|sent| sent.at_ns).collect();
    assert_eq!(firsts.len(), 3);
    assert!(firsts[1] - firsts[0] >= wait_ns && firsts[2] - firsts[1] >= wait_ns, "the peer's delay is kept");
}

#[test]
fn not_ready_too_often_fails() {
    let c = QpConfig { rnr_retry_count: 3, ..config() };
    let mut pair = Pair::new(&c, no_fault());
    pair.ends[1].receive_buffers = Some(0);
    let cookie = pair.ends[0].send(vec![1; 8]);
    pair.run_until(pair.now_ns + 1_000_000_000);
    assert_eq!(pair.ends[0].qp.failure(), Some(Failure::RnrRetryExceeded));
    assert_eq!(pair.count(0, |_| true), 4, "once, and three retries");
    pair.ends[0].take_completions();
    let flushed = Completion { cookie, kind: CompletionKind::Send, status: Status::Flushed };
    assert_eq!(pair.ends[0].completions, [flushed]);
    assert_eq!(pair.ends[0].works.available(), WORKS);
}

#[test]
fn not_ready_is_counted_from_the_last_progress() {
    let mut pair = Pair::new(&QpConfig { rnr_retry_count: 1, ..config() }, no_fault());
    for n in 0..4 {
        pair.ends[1].receive_buffers = Some(0);
        pair.ends[0].send(vec![n; 8]);
        pair.run_until(pair.now_ns + 20_000);
        pair.ends[1].receive_buffers = None;
        pair.run();
    }
    pair.assert_clean();
    assert_eq!(pair.ends[1].messages.len(), 4);
    assert_eq!(pair.count(1, |t| syndrome(t) == Some(0x20 | config().rnr_timer)), 4);
}

#[test]
fn not_ready_is_endless_at_seven() {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[1].receive_buffers = Some(0);
    pair.ends[0].send(vec![1; 8]);
    pair.run_until(pair.now_ns + 30_000_000_000);
    assert_eq!(pair.ends[0].qp.failure(), None);
    pair.ends[1].receive_buffers = None;
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.ends[1].messages.len(), 1);
}

#[test]
fn a_silent_peer_is_given_up_after_the_time_it_named() {
    for (ack_timeout_ns, retry_count) in [(2_147_483_648, 7), (67_108_864, 2), (4_096, 0)] {
        let c = QpConfig { ack_timeout_ns, retry_count, ..config() };
        let mut pair = Pair::new(&c, Box::new(|_, _| Fate::Lose));
        let start_ns = pair.now_ns;
        pair.ends[0].send(vec![1; 8]);
        let limit_ns = start_ns + ack_timeout_ns * (u64::from(retry_count) + 1);
        pair.run_until(limit_ns - 1);
        assert_eq!(pair.ends[0].qp.failure(), None, "not a nanosecond too early");
        pair.run_until(limit_ns);
        assert_eq!(pair.ends[0].qp.failure(), Some(Failure::RetryExceeded));
        assert!(pair.count(0, |_| true) > usize::from(retry_count), "tried at least as often as foreseen");
        assert_eq!(pair.ends[0].qp.deadline_ns(), u64::MAX);
    }
}

#[test]
fn progress_starts_the_clock_anew() {
    let c = QpConfig { ack_timeout_ns: 10_000_000, retry_count: 1, ..config() };
    let mut pair = Pair::new(&c, no_fault());
    pair.ends[0].send(vec![1; 8]);
    pair.run();
    pair.fault = Box::new(|_, _| Fate::Lose);
    let start_ns = pair.now_ns + 500_000_000;
    pair.run_until(start_ns);
    pair.now_ns = start_ns;
    pair.ends[0].send(vec![2; 8]);
    pair.run_until(start_ns + 19_999_999);
    assert_eq!(pair.ends[0].qp.failure(), None, "idle time does not count");
    pair.run_until(start_ns + 20_000_000);
    assert_eq!(pair.ends[0].qp.failure(), Some(Failure::RetryExceeded));
}

#[test]
fn without_a_timeout_a_peer_is_never_given_up() {
    let c = QpConfig { ack_timeout_ns: 0, ..config() };
    let mut pair = Pair::new(&c, Box::new(|_, _| Fate::Lose));
    pair.ends[0].send(vec![1; 8]);
    pair.run_until(pair.now_ns + 3_600_000_000_000);
    assert_eq!(pair.ends[0].qp.failure(), None);
    pair.fault = no_fault();
    pair.run();
    pair.assert_clean();
    assert_eq!(pair.ends[1].messages.len(), 1);
}

#[test]
fn psns_wrap() {
    let c = QpConfig { send_psn: Psn::new(0xff_fff8), receive_psn: Psn::new(0xff_fffe), ..config() };
    let mut pair = Pair::new(&c, lossy(1, 5, 5, 0));
    pair.ends[1].region.bytes = Rng(2).bytes(64 * 1024);
    let read = pair.ends[0].read(0, 30 * 1024);
    for n in 0..20 {
        pair.ends[0].send(vec![n; 1500]);
        pair.ends[1].send(vec![n; 10]);
    }
    pair.run();
    pair.assert_clean();
    assert_eq!((pair.ends[1].messages.len(), pair.ends[0].messages.len()), (20, 20));
    assert_eq!(pair.ends[0].buffers[&read], pair.ends[1].region.bytes[..30 * 1024]);
    assert!(pair.count(0, |t| t.psn.value() == 0) > 0, "PSN 0 was passed");
}

#[test]
fn after_loss_the_timeout_follows_the_round_trip() {
    let mut pair = Pair::new(&config(), no_fault());
    for _ in 0..20 {
        pair.ends[0].send(vec![0; 8]);
        pair.run();
    }
    let mut lost = false;
    pair.fault = Box::new(move |sent, _| {
        let lose = sent.from == 0 && !std::mem::replace(&mut lost, true);
        if lose { Fate::Lose } else { Fate::Deliver }
    });
    let start_ns = pair.now_ns;
    pair.ends[0].send(vec![0; 8]);
    pair.run();
    pair.assert_clean();
    let healed_ns = pair.now_ns - start_ns;
    assert!((RETRY_MIN_NS..2 * RETRY_MIN_NS).contains(&healed_ns), "healed after {healed_ns} ns");
}
