//! One link: delay, rate, and every kind of trouble.

use super::*;

#[test]
fn a_frame_takes_its_time_on_the_line_and_the_delay() {
    let (mut network, stations) = network(2);
    let up = network.link(stations[0]).0;
    (up.weather.rate_bps, up.weather.delay_ns) = (10_000_000_000, 5_000);
    for number in 0..10 {
        network.send(100, stations[0], &frame(mac(1), 0, number, LENGTH));
    }
    let times: Vec<u64> = arrivals(&mut network).iter().map(|(at_ns, ..)| *at_ns).collect();
    // (1000 + 24) × 8 bits at 10 Gb/s are 819.2 ns: what is behind the point is not lost.
    let expected: Vec<u64> = (1..=10).map(|frames| 100 + 5_000 + frames * 8_192 / 10).collect();
    assert_eq!(times, expected);
}

#[test]
fn both_lines_count_and_a_short_frame_is_padded() {
    let (mut network, stations) = network(2);
    network.link(stations[0]).0.weather.rate_bps = 1_000_000_000;
    network.link(stations[1]).1.weather = Weather { rate_bps: 100_000_000, delay_ns: 50, ..Weather::FAIR };
    network.send(0, stations[0], &frame(mac(1), 0, 0, 20));
    // (60 + 24) × 8 bits: 672 ns, then 6,720 ns.
    assert_eq!(network.next_ns(), 672);
    assert_eq!(network.receive(7_441, stations[1]), None);
    assert!(network.receive(7_442, stations[1]).is_some());
    assert_eq!((network.next_ns(), network.in_flight()), (u64::MAX, 0));
}

#[test]
fn a_slow_line_never_sends_faster_after_a_rest() {
    let (mut network, stations) = network(2);
    network.link(stations[0]).0.weather.rate_bps = 3_000_000_000;
    for number in 0..3 {
        network.send(0, stations[0], &frame(mac(1), 0, number, LENGTH));
    }
    network.advance(1_000_000);
    network.send(1_000_000, stations[0], &frame(mac(1), 0, 3, LENGTH));
    let times: Vec<u64> = arrivals(&mut network).iter().map(|(at_ns, ..)| *at_ns).collect();
    // 8192 bits at 3 Gb/s are 2,730.67 ns.
    assert_eq!(times[3..], [1_002_730]);
}

#[test]
fn about_as_many_are_lost_as_asked() {
    let (mut network, stations) = network(2);
    network.link(stations[0]).0.weather.loss = 300;
    let seen = through(&mut network, 100_000);
    let lost = 100_000 - seen.len() as u64;
    assert!((2_700..3_300).contains(&lost), "{lost} of 100,000 where 3 % were asked");
    assert_eq!(network.link(stations[0]).0.counters, Counters { sent: 100_000, lost, ..Counters::default() });
}

#[test]
fn bursts_are_as_long_and_as_frequent_as_asked() {
    let (mut network, stations) = network(2);
    let up = network.link(stations[0]).0;
    (up.weather.burst_loss, up.weather.burst_length) = (50, 8);
    let seen = through(&mut network, 400_000);
    let bursts: Vec<u32> = seen.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|lost| *lost > 0).collect();
    let mean = f64::from(bursts.iter().sum::<u32>()) / bursts.len() as f64;
    assert!((7.2..8.8).contains(&mean), "{mean} frames in a burst");
    // One in 200 of the frames outside of bursts begins one.
    let frequency = bursts.len() as f64 / seen.len() as f64;
    assert!((0.0045..0.0055).contains(&frequency), "{frequency} of the frames before a burst");
    assert!(network.link(stations[0]).0.counters.burst_lost >= u64::from(bursts.iter().sum::<u32>()));
}

#[test]
fn a_burst_ends_when_the_weather_clears() {
    let (mut network, stations) = network(2);
    let up = network.link(stations[0]).0;
    (up.weather.burst_loss, up.weather.burst_length) = (10_000, 1_000_000);
    assert_eq!(through(&mut network, 100), []);
    network.link(stations[0]).0.weather.burst_loss = 0;
    assert_eq!(through(&mut network, 100).len(), 100);
}

#[test]
fn nothing_overtakes_in_fair_weather_even_when_the_way_gets_shorter() {
    let (mut network, stations) = network(2);
    let mut now_ns = 0;
    for at in 0..1_000 {
        network.link(stations[0]).0.weather.delay_ns = (1_000 - at) * 7;
        network.link(stations[1]).1.weather.rate_bps = if at % 2 == 0 { 0 } else { 1_000_000_000 };
        now_ns += at % 5;
        network.send(now_ns, stations[0], &frame(mac(1), 0, at as u32, LENGTH));
    }
    let numbers: Vec<u32> = arrivals(&mut network).iter().map(|(_, _, frame)| number(frame)).collect();
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn what_is_held_back_is_overtaken_and_arrives() {
    let (mut network, stations) = network(2);
    let up = network.link(stations[0]).0;
    (up.weather.reordering, up.weather.delay_ns) = (1_000, 1_000);
    let mut seen = through(&mut network, 10_000);
    let overtaken = seen.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken > 500, "{overtaken} came late");
    let reordered = network.link(stations[0]).0.counters.reordered;
    assert!((850..1_150).contains(&reordered), "{reordered} of 10,000");
    seen.sort_unstable();
    assert_eq!(seen, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn a_duplicate_is_the_same_frame_again() {
    let (mut network, stations) = network(2);
    network.link(stations[1]).1.weather.duplication = 10_000;
    let sent = frame(mac(1), 0, 0, LENGTH);
    network.send(0, stations[0], &sent);
    let seen: Vec<_> = arrivals(&mut network).into_iter().map(|(_, _, frame)| frame).collect();
    assert_eq!(seen, [sent.clone(), sent]);
    assert_eq!(network.link(stations[1]).1.counters.duplicated, 1);
}

#[test]
fn corruption_turns_one_bit_over_anywhere_and_misleads_no_switch() {
    let (mut network, stations) = network(3);
    network.link(stations[0]).0.weather.corruption = 10_000;
    let sent = frame(mac(1), 0, 0, 64);
    let mut hit = [0; 64];
    for at_ns in 0..5_000 {
        network.send(at_ns, stations[0], &sent);
        let (station, seen) = network.next_arrival(at_ns).expect("no delay");
        assert_eq!(station, stations[1]);
        let changed: Vec<usize> = (0..64).filter(|at| seen[*at] != sent[*at]).collect();
        let [at] = changed[..] else { panic!("{changed:?} changed") };
        assert_eq!((seen[at] ^ sent[at]).count_ones(), 1);
        hit[at] += 1;
    }
    assert!(hit.iter().all(|times| *times > 30), "each byte is hit about 78 times: {hit:?}");
    assert_eq!(network.link(stations[0]).0.counters.corrupted, 5_000);
}

#[test]
fn a_truncated_frame_keeps_its_header() {
    let (mut network, stations) = network(2);
    network.link(stations[0]).0.weather.truncation = 10_000;
    let sent = frame(mac(1), 0, 0x0102_0304, 64);
    let mut lengths = BTreeSet::new();
    for at_ns in 0..2_000 {
        network.send(at_ns, stations[0], &sent);
        let seen = network.receive(at_ns, stations[1]).expect("no delay");
        assert_eq!(seen, sent[..seen.len()]);
        lengths.insert(seen.len());
    }
    assert_eq!(lengths, (14..64).collect());
}

#[test]
fn the_mtu_counts_behind_header_and_tag() {
    let (mut network, stations) = network(2);
    network.link(stations[0]).0.weather.mtu = 1_500;
    let mut tagged = frame(mac(1), 0, 0, 1_518);
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    for (at_ns, (sent, passes)) in [
        (frame(mac(1), 0, 0, 1_514), true),
        (frame(mac(1), 0, 0, 1_515), false),
        (tagged.clone(), true),
        ([&tagged[..], &[0]].concat(), false),
    ]
    .into_iter()
    .enumerate()
    {
        network.send(at_ns as u64, stations[0], &sent);
        assert_eq!(network.receive(at_ns as u64, stations[1]).is_some(), passes, "{} bytes", sent.len());
    }
    assert_eq!(network.link(stations[0]).0.counters.over_mtu, 2);
}

#[test]
fn nothing_passes_a_cut_link_not_even_what_is_on_the_way() {
    let (mut network, stations) = network(2);
    network.link(stations[1]).1.weather.delay_ns = 1_000;
    network.send(0, stations[0], &frame(mac(1), 0, 0, LENGTH));
    network.advance(500);
    network.link(stations[1]).1.weather.cut = true;
    network.send(600, stations[0], &frame(mac(1), 0, 1, LENGTH));
    // The other way is open.
    network.send(600, stations[1], &frame(mac(0), 1, 2, LENGTH));
    let seen = arrivals(&mut network);
    assert_eq!(seen.iter().map(|(_, _, frame)| number(frame)).collect::<Vec<_>>(), [2]);
    assert_eq!(network.link(stations[1]).1.counters.cut, 2);
    network.link(stations[1]).1.weather.cut = false;
    network.send(5_000, stations[0], &frame(mac(1), 0, 3, LENGTH));
    assert_eq!(arrivals(&mut network).len(), 1);
}

/// Frames of station 0 that come through with a bit turned over outside their number.
fn corrupted(weather: Weather, elsewhere: Weather) -> BTreeMap<u32, Vec<u8>> {
    let (mut network, stations) = network(4);
    network.link(stations[0]).0.weather = Weather { corruption: 500, ..weather };
    network.link(stations[3]).0.weather = elsewhere;
    for at in 0..4_000 {
        network.send(u64::from(at) * 10, stations[3], &frame(mac(1), 3, at, 64));
        network.send(u64::from(at) * 10, stations[0], &frame(mac(1), 0, at, 64));
    }
    let seen = arrivals(&mut network).into_iter().map(|(_, _, frame)| (number(&frame), frame));
    // Station 3's are two bits away.
    let damaged = |(at, seen): &(u32, Vec<u8>)| {
        let sent = frame(mac(1), 0, *at, 64);
        seen.iter().zip(&sent).map(|(seen, sent)| (seen ^ sent).count_ones()).sum::<u32>() == 1
    };
    seen.filter(damaged).collect()
}

#[test]
fn trouble_on_one_link_or_of_one_kind_changes_no_other_draw() {
    let calm = corrupted(Weather::FAIR, Weather::FAIR);
    assert!(calm.len() > 100);
    let storm = Weather { loss: 5_000, duplication: 3_000, reordering: 3_000, ..Weather::FAIR };
    assert!(corrupted(Weather::FAIR, storm) == calm, "another link's trouble");
    let halved = corrupted(Weather { loss: 5_000, ..Weather::FAIR }, Weather::FAIR);
    assert!((calm.len() / 3..calm.len()).contains(&halved.len()));
    assert!(halved.iter().all(|(at, frame)| calm[at] == *frame), "another kind of trouble");
}

#[test]
fn a_burst_on_a_quiet_link_is_over_after_a_second() {
    let (mut network, stations) = network(2);
    let up = network.link(stations[0]).0;
    (up.weather.burst_loss, up.weather.burst_length) = (10_000, u32::MAX);
    let sends = |network: &mut Network, at_ns| {
        network.send(at_ns, StationId(0), &frame(mac(1), 0, 0, 64));
        network.advance(at_ns + 2_000);
        network.next_arrival(at_ns + 2_000).is_some()
    };
    assert!(!sends(&mut network, 0), "a burst begins");
    // No frame from now on begins another.
    network.link(stations[0]).0.weather.burst_loss = 1;
    assert!(!sends(&mut network, 999_000_000), "it goes on");
    assert!(sends(&mut network, 1_000_000_000));
    assert!(sends(&mut network, 1_000_010_000));
}
