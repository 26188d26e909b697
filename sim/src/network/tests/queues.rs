//! Queues: tail drop, PFC, ECN.

use gantry_cpu::Cpu;
use gantry_host_wire::ipv4;
use gantry_host_wire::packet::{HEADER_MAX, RoceHeaders};
use gantry_roce::{Psn, Qpn, Transport};
use gantry_wire::ib::{ICRC_LEN, Opcode};
use gantry_wire::{icrc, ip};

use super::*;

const GIGABIT: u64 = 1_000_000_000;
const SENDERS: u8 = 8;
const EACH: u32 = 100;

/// Eight stations send to station 0 at once, as fast as it can receive; what arrived.
fn incast(queue: Queue) -> (Network, Vec<Vec<u8>>) {
    let (mut network, stations) = network(SENDERS + 1);
    for &station in &stations {
        let (up, down) = network.link(station);
        up.weather = Weather { rate_bps: 10 * GIGABIT, ..Weather::FAIR };
        down.weather = up.weather;
        down.queue = queue;
    }
    for at in 0..EACH {
        for from in 1..=SENDERS {
            network.send(0, stations[usize::from(from)], &frame(mac(0), from, at, LENGTH));
        }
    }
    let mut seen = Vec::new();
    let mut filled = 0;
    while network.in_flight() > 0 {
        let now_ns = network.next_ns();
        seen.extend(network.next_arrival(now_ns).map(|(_, frame)| frame));
        filled = network.link(stations[0]).1.waiting_bytes().max(filled);
    }
    // Headroom: what each sender had on its line and on the way, 1,819 ns or three frames.
    assert!(filled <= queue.bytes + 3 * u64::from(SENDERS) * LENGTH as u64, "{filled} bytes waited");
    (network, seen)
}

fn in_order(seen: &[Vec<u8>]) -> bool {
    (1..=SENDERS).all(|from| {
        let numbers: Vec<u32> = seen.iter().filter(|frame| frame[11] == from).map(|frame| number(frame)).collect();
        numbers.is_sorted()
    })
}

#[test]
fn a_full_queue_drops_what_comes_last() {
    let (mut network, seen) = incast(Queue { bytes: 20_000, ..Queue::OPEN });
    let counters = network.link(StationId(0)).1.counters;
    assert_eq!(seen.len() as u64 + counters.queue_dropped, u64::from(SENDERS) * u64::from(EACH));
    // They come eight times faster than they go.
    assert!(counters.queue_dropped > 600, "{} dropped", counters.queue_dropped);
    assert!(seen.len() > 100 && in_order(&seen));
    assert_eq!(network.counters().paused, 0);
}

#[test]
fn with_pfc_nothing_is_dropped_and_the_line_never_rests() {
    let (mut network, seen) = incast(Queue { bytes: 20_000, pfc: true, ..Queue::OPEN });
    assert_eq!(seen.len() as u32, u32::from(SENDERS) * EACH);
    assert!(in_order(&seen));
    assert_eq!(network.counters().queue_dropped, 0);
    for sender in 1..=SENDERS {
        assert!(network.link(StationId(sender.into())).0.counters.paused > 1, "pauses come and go");
    }
    // The last frame arrives when the line has carried all, back to back: 819.2 ns each, after the first one's way.
    let (up_ns, delay_ns) = (819, 1_000);
    assert_eq!(network.now_ns, up_ns + delay_ns + 800 * 8_192 / 10 + delay_ns);
}

#[test]
fn a_stations_own_queue_is_limited_too() {
    let (mut network, stations) = network(2);
    let up = network.link(stations[0]).0;
    up.weather.rate_bps = GIGABIT;
    up.queue = Queue { bytes: 2_500, pfc: true, ..Queue::OPEN };
    for at in 0..5 {
        network.send(0, stations[0], &frame(mac(1), 0, at, LENGTH));
    }
    // One on the line and two before it.
    assert_eq!(network.link(stations[0]).0.waiting_bytes(), 2_000);
    assert_eq!(arrivals(&mut network).len(), 3);
    assert_eq!(network.link(stations[0]).0.counters.queue_dropped, 2);
}

#[test]
fn a_paused_station_sends_later() {
    let (mut network, stations) = network(2);
    network.pause(0, stations[0], Way::Up, 5_000);
    network.send(10, stations[0], &frame(mac(1), 0, 0, LENGTH));
    network.send(20, stations[0], &frame(mac(1), 0, 1, LENGTH));
    network.send(20, stations[1], &frame(mac(0), 1, 2, LENGTH));
    let seen: Vec<_> = arrivals(&mut network).iter().map(|(at_ns, _, frame)| (*at_ns, number(frame))).collect();
    assert_eq!(seen, [(20, 2), (5_000, 0), (5_000, 1)]);
    // For ever, until it is ended.
    network.pause(6_000, stations[0], Way::Up, u64::MAX);
    network.send(6_000, stations[0], &frame(mac(1), 0, 3, LENGTH));
    assert_eq!((network.next_ns(), network.in_flight()), (u64::MAX, 1));
    network.pause(7_000, stations[0], Way::Up, 0);
    assert_eq!(network.receive(7_000, stations[1]).map(|frame| number(&frame)), Some(3));
    assert_eq!(network.link(stations[0]).0.counters.paused, 2);
}

#[test]
fn a_pfc_storm_spreads_to_those_who_feed_the_stormy_station() {
    let (mut network, stations) = network(4);
    for &station in &stations {
        network.link(station).1.queue = Queue { bytes: 2_000, pfc: true, ..Queue::OPEN };
    }
    network.pause(0, stations[0], Way::Down, 100_000);
    for at in 0..4 {
        network.send(0, stations[1], &frame(mac(0), 1, at, LENGTH));
        network.advance(0);
    }
    // Station 1 is held back from station 2 as well; station 3 has nothing to do with it.
    network.send(1_000, stations[1], &frame(mac(2), 1, 9, LENGTH));
    network.send(1_000, stations[3], &frame(mac(2), 3, 8, LENGTH));
    let seen: Vec<_> = arrivals(&mut network);
    let seen: Vec<_> = seen.iter().map(|(at_ns, station, frame)| (*at_ns, station.0, number(frame))).collect();
    assert_eq!(
        seen,
        [(1_000, 2, 8), (100_000, 0, 0), (100_000, 0, 1), (100_000, 0, 2), (100_000, 0, 3), (100_000, 2, 9)]
    );
}

/// A RoCE frame whose ICRC is right.
fn roce(v6: bool, traffic_class: u8, ip_id: u16, vlan: u16) -> Vec<u8> {
    let address =
        |last| if v6 { [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last] } else { ipv4::mapped([10, 0, 0, last]) };
    let headers = RoceHeaders {
        source_mac: mac(0),
        dest_mac: mac(1),
        vlan,
        source_ip: address(1),
        dest_ip: address(2),
        traffic_class,
        hop_limit: 64,
        ip_id,
        udp_source: 50_000,
    };
    let transport = Transport::new(Opcode::SendOnly, Qpn::new(0x11), Psn::new(5));
    let mut frame = vec![0; HEADER_MAX];
    let emitted = headers.emit_roce(&transport, 64, &mut frame);
    frame.truncate(emitted.header_len);
    frame.extend([0xa5; 64]);
    let icrc = computed_icrc(&frame[emitted.l3..]);
    frame.extend(icrc.to_le_bytes());
    frame
}

/// Of a packet that begins with its IP header, without the ICRC.
fn computed_icrc(l3: &[u8]) -> u32 {
    let mut masked = [0; icrc::MASKED_MAX];
    let length = icrc::masked_prefix(l3, &mut masked).expect("whole headers");
    let cpu = Cpu::detect();
    cpu.crc32(cpu.crc32(0, &masked[..length]), &l3[length - 8..])
}

/// What a queue that marks everything makes of a frame.
fn marked(mark_anyway: bool, sent: &[u8]) -> (Vec<u8>, u64) {
    let (mut network, stations) = network(2);
    network.link(stations[1]).1.queue = Queue { ecn_bytes: 1, mark_anyway, ..Queue::OPEN };
    network.send(0, stations[0], sent);
    let seen = network.receive(0, stations[1]).expect("no delay");
    (seen, network.link(stations[1]).1.counters.marked)
}

#[test]
fn a_mark_keeps_checksum_and_icrc_right() {
    for (ecn, anyway, becomes) in [
        (0, false, 0),
        (0, true, 3),
        (1, false, 3),
        (1, true, 3),
        (2, false, 3),
        (2, true, 3),
        (3, false, 3),
        (3, true, 3),
    ] {
        for dscp in [0, 26, 63] {
            for vlan in [0, 7] {
                let l3 = if vlan == 0 { 14 } else { 18 };
                let count = u64::from(becomes != ecn);

                // Every 257th identification: sums with and without a carry.
                for ip_id in (0..=u16::MAX).step_by(257) {
                    let (seen, marks) = marked(anyway, &roce(false, dscp << 2 | ecn, ip_id, vlan));
                    assert_eq!((seen[l3 + 1], marks), (dscp << 2 | becomes, count));
                    assert_eq!(ip::checksum(0, &seen[l3..l3 + ipv4::LEN]), 0);
                    let (packet, icrc) = seen[l3..].split_at(seen.len() - l3 - ICRC_LEN);
                    assert_eq!(computed_icrc(packet).to_le_bytes(), icrc);
                }

                let (seen, marks) = marked(anyway, &roce(true, dscp << 2 | ecn, 0, vlan));
                let class = u16::from_be_bytes([seen[l3], seen[l3 + 1]]) >> 4;
                assert_eq!((class & 0xff, marks), (u16::from(dscp << 2 | becomes), count));
                assert_eq!((seen[l3] >> 4, seen[l3 + 1] & 0xf), (6, 0), "version and flow label are as they were");
                let (packet, icrc) = seen[l3..].split_at(seen.len() - l3 - ICRC_LEN);
                assert_eq!(computed_icrc(packet).to_le_bytes(), icrc);
            }
        }
    }
}

#[test]
fn a_mark_mends_no_wrong_checksum_and_touches_nothing_but_ip() {
    let mut wrong = roce(false, 2, 0, 0);
    wrong[14 + 10] ^= 0x40;
    let (seen, _) = marked(false, &wrong);
    assert_eq!(seen[15], 3);
    assert_ne!(ip::checksum(0, &seen[14..14 + ipv4::LEN]), 0);
    let other = frame(mac(1), 0, 0x4502_0000, 64);
    assert_eq!(marked(true, &other), (other, 0));
    // Cut short anywhere, a frame is left alone or marked, and nothing panics.
    for length in 14..roce(false, 2, 0, 7).len() {
        marked(true, &roce(false, 2, 0, 7)[..length]);
        marked(true, &roce(true, 2, 0, 7)[..length]);
    }
}

#[test]
fn marks_begin_where_the_queue_is_long_enough() {
    let (mut network, stations) = network(2);
    let down = network.link(stations[1]).1;
    down.weather.rate_bps = GIGABIT;
    let sent = roce(false, 2, 0, 0);
    down.queue.ecn_bytes = 3 * sent.len() as u64;
    for _ in 0..6 {
        network.send(0, stations[0], &sent);
    }
    let ecn: Vec<u8> = arrivals(&mut network).iter().map(|(_, _, seen)| seen[15] & 3).collect();
    // The first is on the line, two wait below the threshold.
    assert_eq!(ecn, [2, 2, 2, 3, 3, 3]);
    assert_eq!(network.link(stations[1]).1.counters.marked, 3);
}
