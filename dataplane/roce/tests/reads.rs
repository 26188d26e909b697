//! READs in flight under loss and delay: what is asked for again, and what is waited for. One story a test.

mod pair;

use gantry_roce::*;
use gantry_wire::ib::{Aeth, Opcode, Syndrome};
use pair::*;

const LENGTH: u32 = 8 * 1024;
const PACKETS: u32 = 8;
const MS: u64 = 1_000_000;
const STALL_NS: u64 = 150 * MS;

/// The PSN of packet `at` of READ `nth`, both from 0.
fn psn(nth: u32, at: u32) -> u32 {
    5000 + nth * PACKETS + at
}

/// Loses the first packets from side 1 with these PSNs, each as often as it is named.
fn lose(psns: &[u32]) -> Fault {
    let mut psns = psns.to_vec();
    Box::new(move |sent, _| {
        let named = psns.iter().position(|&psn| sent.from == 1 && psn == sent.transport.psn.value());
        named.map_or(Fate::Deliver, |at| {
            psns.remove(at);
            Fate::Lose
        })
    })
}

/// Side 0 READs `count` times at once.
fn reading(config: &QpConfig, fault: Fault, count: u32) -> (Pair, Vec<u32>) {
    let mut pair = Pair::new(config, fault);
    pair.ends[1].region.bytes = Rng(1).bytes(count * LENGTH);
    let cookies = (0..count).map(|nth| pair.ends[0].read(u64::from(nth * LENGTH), LENGTH)).collect();
    (pair, cookies)
}

fn assert_read(pair: &Pair, cookies: &[u32]) {
    pair.assert_clean();
    assert_eq!(pair.ends[0].succeeded(), cookies, "in PSN order");
    let got: Vec<u8> = cookies.iter().flat_map(|cookie| pair.ends[0].buffers[cookie].clone()).collect();
    assert!(got == pair.ends[1].region.bytes, "READ data");
    assert_eq!(pair.ends[0].landed, got.len() as u64, "every byte lands once");
}

/// A pair that has measured a round trip on an idle wire.
fn measured() -> Pair {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[1].region.bytes = Rng(1).bytes(16 * LENGTH);
    for _ in 0..20 {
        pair.ends[0].read(0, LENGTH);
        pair.run();
    }
    pair.sent.clear();
    pair
}

#[test]
fn a_response_lost_asks_for_the_rest_of_one_read() {
    let (mut pair, cookies) = reading(&config(), lose(&[psn(0, 3)]), 16);
    pair.run();
    assert_read(&pair, &cookies);
    let first: Vec<u32> = (0..16).map(|nth| psn(nth, 0)).collect();
    assert_eq!(pair.read_requests(0)[..16], first);
    assert_eq!(pair.read_requests(0)[16..], [psn(0, 3)], "one request, from where it is missing");
    let again = pair.payload_bytes(1) as u32 - 16 * LENGTH;
    assert_eq!(again, (PACKETS - 3) * 1024, "the rest of one READ is sent again");
    assert_eq!(pair.ends[0].drops, [], "what the others were answered is kept");
    assert!(pair.now_ns - 1_000_000 < RETRY_MIN_NS, "no timeout was waited for");
}

#[test]
fn an_answer_lost_as_a_whole_is_seen_by_the_next_one() {
    let lost: Vec<u32> = (0..PACKETS).map(|at| psn(4, at)).collect();
    let (mut pair, cookies) = reading(&config(), lose(&lost), 16);
    pair.run();
    assert_read(&pair, &cookies);
    assert_eq!(pair.read_requests(0)[16..], [psn(4, 0)]);
    assert!(pair.now_ns - 1_000_000 < RETRY_MIN_NS, "no timeout was waited for");
}

#[test]
fn what_is_lost_twice_is_seen_by_what_was_asked_later() {
    // What the third READ was answered the second time is lost too; the tenth was asked for again behind it.
    let (mut pair, cookies) = reading(&config(), lose(&[psn(2, 7), psn(2, 7), psn(9, 0)]), 48);
    pair.run();
    assert_read(&pair, &cookies);
    let mut again = pair.read_requests(0);
    assert_eq!(again.len(), 48 + 3);
    again.retain(|&request| request == psn(2, 7) || request == psn(9, 0));
    again.sort_unstable();
    assert_eq!(again, [psn(2, 7), psn(2, 7), psn(9, 0), psn(9, 0)]);
    assert!(pair.now_ns - 1_000_000 < RETRY_MIN_NS, "no timeout was waited for");
}

#[test]
fn a_complete_read_keeps_its_place_behind_an_incomplete_one() {
    // The peer keeps track of two READs. It would forget the first when it was asked for a third.
    let c = QpConfig { reads_max: 2, responder_reads_max: 2, ..config() };
    let (mut pair, cookies) = reading(&c, lose(&[psn(0, 7)]), 3);
    pair.run();
    assert_read(&pair, &cookies);
    assert_eq!(pair.read_requests(0), [psn(0, 0), psn(1, 0), psn(0, 7), psn(2, 0)]);
}

#[test]
fn a_slow_peer_is_asked_again_for_one_read() {
    let (mut pair, cookies) = reading(&config(), no_fault(), 16);
    pair.starved_until_ns[1] = pair.now_ns + STALL_NS;
    pair.run();
    assert_read(&pair, &cookies);
    assert_eq!(pair.read_requests(0)[16..], [psn(0, 0)], "before a round trip was measured");
    assert_eq!(pair.payload_bytes(1) as u32, 17 * LENGTH);
}

#[test]
fn a_peer_that_becomes_slow_is_learned() {
    let mut pair = measured();
    let mut repeats = Vec::new();
    for _ in 0..4 {
        for nth in 0..16 {
            pair.ends[0].read(u64::from(nth * LENGTH), LENGTH);
        }
        pair.starved_until_ns[1] = pair.now_ns + STALL_NS;
        pair.run();
        pair.assert_clean();
        let requests = pair.read_requests(0);
        assert!(requests[16..].iter().all(|&psn| psn == requests[0]), "of the oldest READ only");
        repeats.push(requests.len() - 16);
        pair.sent.clear();
    }
    // Timeouts of 16, 32 and 64 ms fit into the first stall.
    assert_eq!(repeats, [3, 0, 0, 0]);
}

#[test]
fn a_pause_in_the_midst_of_an_answer_is_learned() {
    let mut pair = measured();
    let mut repeats = Vec::new();
    for _ in 0..4 {
        pair.ends[0].read(0, 16 * LENGTH);
        pair.run_until(pair.now_ns + 12_000);
        assert!(pair.payload_bytes(1) > 0, "the answer has begun");
        pair.starved_until_ns[1] = pair.now_ns + 40 * MS;
        pair.run();
        pair.assert_clean();
        repeats.push(pair.read_requests(0).len() - 1);
        pair.sent.clear();
    }
    // Twice, because a short round trip in between counts too.
    assert_eq!(repeats, [1, 1, 0, 0]);
}

#[test]
fn a_timeout_that_was_too_short_is_not_repeated_for_ever() {
    let mut pair = measured();
    pair.fault = Box::new(|sent, _| if sent.from == 1 { Fate::Late(50 * MS) } else { Fate::Deliver });
    let mut repeats = Vec::new();
    for n in 0..6 {
        let before = pair.count(0, |_| true);
        pair.ends[0].send(vec![n; 16]);
        pair.run();
        repeats.push(pair.count(0, |_| true) - before - 1);
    }
    pair.assert_clean();
    assert_eq!(repeats, [2, 0, 0, 0, 0, 0], "the doubled timeout stands until a packet sent once measured it");
}

/// A READ's answer of one packet.
fn answer(nth: u32) -> Transport {
    let aeth = Some(Aeth { syndrome: Syndrome::ACK, msn: 0 });
    Transport { aeth, ..Transport::new(Opcode::ReadResponseOnly, config().qpn, config().send_psn.add(nth)) }
}

fn requests(end: &mut Endpoint, now_ns: u64) -> Vec<u32> {
    std::iter::from_fn(|| end.poll_transmit(now_ns)).map(|(t, _)| t.psn.value() - 5000).collect()
}

fn four_reads() -> Endpoint {
    let [mut end, _] = Pair::new(&config(), no_fault()).ends;
    for _ in 0..4 {
        end.read(0, 8);
    }
    assert_eq!(requests(&mut end, 0), [0, 1, 2, 3]);
    end
}

#[test]
fn a_peer_that_forgets_what_it_was_asked_before_is_asked_again() {
    let mut end = four_reads();
    end.receive(0, &answer(1), &[1; 8]);
    assert_eq!(requests(&mut end, 0), [0], "what was answered shows that the one before is lost");
    // Answers come in the order of asking: the third and the fourth READ come no more.
    end.receive(0, &answer(0), &[0; 8]);
    assert_eq!(requests(&mut end, 0), [2, 3]);
    end.receive(0, &answer(2), &[2; 8]);
    end.receive(0, &answer(3), &[3; 8]);
    assert_eq!((end.succeeded().len(), end.qp.deadline_ns()), (4, u64::MAX));
}

#[test]
fn silence_behind_an_answer_asks_for_all() {
    let mut end = four_reads();
    for _ in 0..2 {
        let now_ns = end.qp.deadline_ns();
        end.qp.on_deadline(now_ns, &mut end.works);
        assert_eq!(requests(&mut end, now_ns), [0], "the peer may just be slow");
    }
    let now_ns = end.qp.deadline_ns() - 1;
    end.receive(now_ns, &answer(0), &[0; 8]);
    assert_eq!(requests(&mut end, now_ns), [], "which request was answered is not known");
    let late_ns = end.qp.deadline_ns();
    assert_eq!(late_ns - now_ns, 4 * RETRY_INITIAL_NS, "doubled twice: nothing was measured");
    end.qp.on_deadline(late_ns, &mut end.works);
    assert_eq!(requests(&mut end, late_ns), [1, 2, 3]);
}

#[test]
fn an_answer_that_was_only_late_asks_for_nothing() {
    let mut end = four_reads();
    let now_ns = end.qp.deadline_ns();
    end.qp.on_deadline(now_ns, &mut end.works);
    assert_eq!(requests(&mut end, now_ns), [0]);
    for nth in [0, 1, 2, 3, 0] {
        end.receive(now_ns, &answer(nth), &[9; 8]);
        assert_eq!(requests(&mut end, now_ns), []);
    }
    assert_eq!((end.succeeded().len(), end.qp.deadline_ns()), (4, u64::MAX));
    assert_eq!(end.drops.len(), 1, "the second answer to the first READ");
    // The second READ was asked for once: its round trip counts, doublings end.
    end.send(vec![0; 8]);
    end.poll_transmit(now_ns).expect("a SEND");
    assert_eq!(end.qp.deadline_ns() - now_ns, 3 * now_ns, "smoothed, and four deviations of half of it");
}

#[test]
fn an_ack_asks_for_the_reads_before_it_only() {
    let [mut end, _] = Pair::new(&config(), no_fault()).ends;
    end.read(0, 8);
    end.send(vec![1; 8]);
    end.read(0, 8);
    end.send(vec![2; 8]);
    assert_eq!(requests(&mut end, 0), [0, 1, 2, 3]);
    let ack = |nth| Transport { opcode: Opcode::Acknowledge, ..answer(nth) };
    end.receive(0, &ack(1), &[]);
    assert_eq!(requests(&mut end, 0), [0], "neither the READ behind it nor the SENDs");
    // The ACK of what left before the READ was asked for again says nothing of that.
    end.receive(0, &ack(3), &[]);
    assert_eq!(requests(&mut end, 0), [2]);
    // That of what left later does.
    end.send(vec![3; 8]);
    assert_eq!(requests(&mut end, 0), [4]);
    end.receive(0, &ack(4), &[]);
    assert_eq!(requests(&mut end, 0), [0, 2]);
    end.receive(0, &answer(0), &[0; 8]);
    end.receive(0, &answer(2), &[2; 8]);
    assert_eq!((end.succeeded().len(), end.qp.deadline_ns()), (5, u64::MAX));
}

#[test]
fn an_ack_of_what_a_read_was_answered_asks_for_nothing() {
    let [mut end, _] = Pair::new(&config(), no_fault()).ends;
    end.read(0, 2048);
    assert_eq!(requests(&mut end, 0), [0]);
    end.receive(0, &Transport { opcode: Opcode::ReadResponseFirst, ..answer(0) }, &[1; 1024]);
    let ack = |nth| Transport { opcode: Opcode::Acknowledge, ..answer(nth) };
    end.receive(0, &ack(0), &[]);
    assert_eq!(requests(&mut end, 0), [], "the rest may be on its way");
    end.receive(0, &ack(1), &[]);
    assert_eq!(requests(&mut end, 0), [1], "the rest is lost");
}

#[test]
fn what_the_peer_refused_is_asked_for_in_its_turn() {
    let [mut end, _] = Pair::new(&config(), no_fault()).ends;
    end.send(vec![1; 8]);
    end.read(0, 8);
    end.send(vec![2; 8]);
    end.read(0, 8);
    assert_eq!(requests(&mut end, 0), [0, 1, 2, 3]);
    let gap = Syndrome::Nak(NakCode::PsnSequenceError);
    let nak = Transport { opcode: Opcode::Acknowledge, aeth: Some(Aeth { syndrome: gap, msn: 0 }), ..answer(1) };
    end.receive(0, &nak, &[]);
    assert_eq!(requests(&mut end, 0), [1, 2, 3], "the SEND had arrived");
    end.receive(0, &nak, &[]);
    assert_eq!(requests(&mut end, 0), [], "once a gap");
}

#[test]
fn responses_are_told_apart_by_their_psn() {
    let mut end = four_reads();
    end.send(vec![1; 8]);
    end.read(0, 2048);
    assert_eq!(requests(&mut end, 0), [4, 5]);
    let plan = |end: &Endpoint, t: &Transport, len| end.qp.plan(t, len, &end.works, &end.region);
    let ghost = Plan::Drop(DropReason::GhostResponse);
    assert_eq!(plan(&end, &answer(2), 8), Plan::ReadResponse { cookie: 102, offset: 0, last: true });
    assert_eq!(plan(&end, &answer(4), 8), ghost, "a SEND's PSN");
    assert_eq!(plan(&end, &answer(6), 1024), Plan::OutOfSequence, "the second packet of the last READ");
    assert_eq!(plan(&end, &answer(7), 8), ghost, "never asked for");
    end.receive(0, &answer(0), &[0; 8]);
    end.receive(0, &answer(2), &[2; 8]);
    let stale = Plan::Drop(DropReason::StaleResponse);
    assert_eq!(plan(&end, &answer(0), 8), stale);
    assert_eq!(plan(&end, &answer(2), 8), stale);
    assert_eq!(end.succeeded(), [100], "the third READ waits for the second");
}
