//! What leaves when: order of work, READs that wait, the window, acknowledgements asked for and given.

mod pair;

use gantry_roce::*;
use gantry_wire::ib::{NakCode, Opcode, Reth, Rkey, Transport};
use pair::*;

#[test]
fn a_waiting_read_delays_no_send() {
    let c = QpConfig { reads_max: 1, responder_reads_max: 16, ..config() };
    let mut pair = Pair::new(&c, no_fault());
    pair.ends[1].region.bytes = vec![1; 64 * 1024];
    let first = pair.ends[0].read(0, 4096);
    let second = pair.ends[0].read(0, 4096);
    let send = pair.ends[0].send(vec![2; 8]);
    let write = pair.ends[0].write(0, vec![3; 8]);
    pair.run();
    pair.assert_clean();
    assert_eq!(
        pair.opcodes(0),
        [Opcode::ReadRequest, Opcode::SendOnly, Opcode::WriteOnly, Opcode::ReadRequest],
        "the second READ waits for the first, the others do not"
    );
    // The waiting READ takes its PSN when it leaves: behind those that overtook it.
    let psns: Vec<u32> =
        pair.sent.iter().filter(|sent| sent.from == 0).map(|sent| sent.transport.psn.value()).collect();
    assert_eq!(psns, [5000, 5004, 5005, 5006]);
    assert_eq!(pair.ends[0].succeeded(), [first, send, write, second]);
}

#[test]
fn reads_in_flight_stay_within_what_the_peer_takes() {
    let c = QpConfig { reads_max: 3, ..config() };
    let mut pair = Pair::new(&c, no_fault());
    pair.ends[1].region.bytes = vec![1; 64 * 1024];
    for _ in 0..10 {
        pair.ends[0].read(0, 2000);
    }
    let mut requests = 0;
    while pair.ends[0].poll_transmit(0).is_some() {
        requests += 1;
    }
    assert_eq!(requests, 3);
}

#[test]
fn psns_in_flight_stay_within_half_of_all() {
    let c = QpConfig { mtu: 256, reads_max: 255, ..config() };
    let (mut works, mut qp) = (WorkPool::new(8), Qp::new(&c));
    let kind = WorkKind::Read { address: 0, rkey: REGION };
    for cookie in 0..4 {
        qp.post(&mut works, Work { cookie, kind, length: 256 * ((1 << 22) - 1) }).expect("room");
    }
    let started = std::iter::from_fn(|| qp.poll_transmit(0, &mut works)).count();
    assert_eq!(started, 2, "a third could not be told from the first");
}

/// Memory that grants everything, however large.
struct Everything;

impl Memory for Everything {
    fn permits(&self, _: Rkey, _: u64, _: u32, _: Access) -> bool {
        true
    }
}

#[test]
fn the_longest_message_is_taken_and_no_longer_one() {
    let c = QpConfig { mtu: 256, ..config() };
    let (works, qp) = (WorkPool::new(8), Qp::new(&c));
    let planned = |opcode, payload: u32, length| {
        let reth = Some(Reth { virtual_address: 0, rkey: REGION, dma_length: length });
        let pkey = c.pkey;
        let t = Transport { reth, pkey, ..Transport::new(opcode, c.qpn, c.receive_psn) };
        qp.plan(&t, payload, &works, &Everything)
    };
    let longest = 256 * ((1 << 22) - 1);
    for length in [longest - 1, longest] {
        assert_eq!(planned(Opcode::ReadRequest, 0, length), Plan::ReadRequest { rkey: REGION, address: 0, length });
        let write = Plan::Write { rkey: REGION, address: 0, first: true, last: false };
        assert_eq!(planned(Opcode::WriteFirst, 256, length), write);
    }
    let refused = Plan::Refuse(NakCode::InvalidRequest);
    assert_eq!(planned(Opcode::ReadRequest, 0, longest + 1), refused);
    assert_eq!(planned(Opcode::WriteFirst, 256, longest + 1), refused);
}

#[test]
fn a_read_that_need_not_wait_keeps_its_place() {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[1].region.bytes = vec![1; 4096];
    pair.ends[0].send(vec![0; 8]);
    pair.ends[0].read(0, 8);
    pair.ends[0].send(vec![0; 8]);
    pair.run();
    assert_eq!(pair.opcodes(0), [Opcode::SendOnly, Opcode::ReadRequest, Opcode::SendOnly]);
}

#[test]
fn a_message_once_begun_is_finished_before_another_begins() {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[1].region.bytes = vec![1; 512 * 1024];
    // Longer than the window: half-way it waits for ACKs, and the READ, which needs none, waits behind it.
    pair.ends[0].write(0, vec![2; 300 * 1024]);
    pair.ends[0].read(0, 64);
    pair.run();
    pair.assert_clean();
    let opcodes = pair.opcodes(0);
    assert_eq!(opcodes.len(), 301);
    assert_eq!(opcodes[299..], [Opcode::WriteLast, Opcode::ReadRequest]);
}

#[test]
fn unacknowledged_packets_are_bounded_and_asked_about() {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[0].write(0, vec![2; 300 * 1024]);
    let mut asked = Vec::new();
    let mut sent = 0;
    while let Some((t, _)) = pair.ends[0].poll_transmit(0) {
        sent += 1;
        if t.ack_request {
            asked.push(sent);
        }
    }
    assert_eq!((sent, asked), (WINDOW_PACKETS, vec![ACK_REQUEST_PACKETS, 2 * ACK_REQUEST_PACKETS]));
}

#[test]
fn the_last_packet_of_a_message_asks_for_an_ack() {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[0].send(vec![2; 3000]);
    pair.ends[0].send(vec![2; 8]);
    let asks: Vec<bool> = std::iter::from_fn(|| pair.ends[0].poll_transmit(0)).map(|(t, _)| t.ack_request).collect();
    assert_eq!(asks, [false, false, true, true]);
}

#[test]
fn one_ack_stands_for_all_that_came_since() {
    let mut pair = Pair::new(&config(), no_fault());
    for _ in 0..5 {
        pair.ends[0].send(vec![2; 8]);
    }
    let packets: Vec<_> = std::iter::from_fn(|| pair.ends[0].poll_transmit(0)).collect();
    for (t, payload) in &packets {
        pair.ends[1].receive(0, t, payload);
    }
    let (ack, _) = pair.ends[1].poll_transmit(0).expect("an ACK");
    assert_eq!((ack.psn, ack.aeth.expect("an ACK").msn), (Psn::new(5004), 5));
    assert!(pair.ends[1].poll_transmit(0).is_none(), "one for all");
    pair.ends[0].receive(0, &ack, &[]);
    assert_eq!(pair.ends[0].succeeded().len(), 5);
}

#[test]
fn answers_keep_the_order_of_requests() {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[1].region.bytes = vec![1; 8192];
    pair.ends[0].send(vec![2; 8]);
    pair.ends[0].read(0, 3000);
    pair.ends[0].send(vec![2; 8]);
    let packets: Vec<_> = std::iter::from_fn(|| pair.ends[0].poll_transmit(0)).collect();
    for (t, payload) in &packets {
        pair.ends[1].receive(0, t, payload);
    }
    let answers: Vec<_> = std::iter::from_fn(|| pair.ends[1].poll_transmit(0)).collect();
    let order: Vec<(Opcode, u32)> = answers.iter().map(|(t, _)| (t.opcode, t.psn.value())).collect();
    assert_eq!(
        order,
        [
            (Opcode::ReadResponseFirst, 5001),
            (Opcode::ReadResponseMiddle, 5002),
            (Opcode::ReadResponseLast, 5003),
            (Opcode::Acknowledge, 5004),
        ]
    );
    // READ data acknowledges the SEND before it.
    let (t, payload) = &answers[0];
    pair.ends[0].receive(0, t, payload);
    assert_eq!(pair.ends[0].succeeded(), [100]);
}

#[test]
fn read_data_and_requests_share_the_wire() {
    let mut pair = Pair::new(&config(), no_fault());
    pair.ends[1].region.bytes = vec![1; 100 * 1024];
    pair.ends[0].read(0, 100 * 1024);
    let (request, _) = pair.ends[0].poll_transmit(0).expect("a READ request");
    pair.ends[1].receive(0, &request, &[]);
    for _ in 0..10 {
        pair.ends[1].send(vec![0; 8]);
    }
    let opcodes: Vec<Opcode> =
        std::iter::from_fn(|| pair.ends[1].poll_transmit(0)).take(20).map(|(t, _)| t.opcode).collect();
    assert_eq!(opcodes.iter().filter(|&&opcode| opcode == Opcode::SendOnly).count(), 10);
}

#[test]
fn teardown_gives_all_work_back() {
    let mut pair = Pair::new(&QpConfig { reads_max: 1, ..config() }, no_fault());
    pair.ends[1].region.bytes = vec![1; 64 * 1024];
    let mut cookies = Vec::new();
    for _ in 0..3 {
        cookies.push(pair.ends[0].read(0, 60_000));
        cookies.push(pair.ends[0].send(vec![1; 5000]));
    }
    // In flight on both sides: requests out, READ data half-sent.
    pair.run_until(pair.now_ns + DELAY_NS + 2_000);
    assert!(pair.ends[1].works.available() < WORKS, "the responder is answering");
    let mut dropped = Vec::new();
    for end in &mut pair.ends {
        end.qp.abort(&mut end.works, |cookie| dropped.push(cookie));
        assert_eq!(end.works.available(), WORKS);
        assert_eq!((end.qp.deadline_ns(), end.qp.wants_transmit()), (u64::MAX, false));
    }
    dropped.sort_unstable();
    assert_eq!(dropped, cookies);
    // What is still under way changes nothing.
    let landed = [0, 1].map(|end: usize| pair.ends[end].landed);
    pair.run();
    assert_eq!([0, 1].map(|end: usize| pair.ends[end].landed), landed);
    assert!(!pair.ends[0].drops.is_empty(), "READ data was under way");
    assert!(pair.ends[0].drops.iter().all(|&reason| reason == DropReason::NotReady));
}

#[test]
fn the_arena_says_when_it_is_full() {
    let mut works = WorkPool::new(2);
    let mut qp = Qp::new(&config());
    let work = Work { cookie: 1, kind: WorkKind::Send { invalidate: None, immediate: None }, length: 8 };
    assert_eq!(qp.post(&mut works, work), Ok(()));
    assert_eq!(qp.post(&mut works, work), Ok(()));
    assert_eq!(qp.post(&mut works, work), Err(PoolFull));
    qp.abort(&mut works, |_| ());
    assert_eq!((works.available(), works.capacity()), (2, 2));
    assert_eq!(qp.post(&mut works, work), Ok(()));
}

#[test]
fn a_queue_pair_is_small() {
    let size = std::mem::size_of::<Qp>();
    assert!(size <= 256, "{size} bytes");
}
