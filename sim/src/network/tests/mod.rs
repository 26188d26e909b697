//! Frames through a network, by hand.

mod captures;
mod links;
mod queues;
mod switch;

use super::*;

/// Nothing special: a multiple of no rate.
const LENGTH: usize = 1_000;
const SEED: u64 = 7;
/// Behind the Ethernet header.
const NUMBER: usize = 14;

fn mac(station: u8) -> Mac {
    [0x02, 0, 0, 0, 0, station]
}

/// A network with this many stations, all links without delay.
fn network(stations: u8) -> (Network, Vec<StationId>) {
    let mut network = Network::new(SEED);
    let stations: Vec<_> = (0..stations).map(|station| network.attach(mac(station))).collect();
    for &station in &stations {
        let (up, down) = network.link(station);
        (up.weather.delay_ns, down.weather.delay_ns) = (0, 0);
    }
    (network, stations)
}

/// A frame with a number in it.
fn frame(to: Mac, from: u8, number: u32, length: usize) -> Vec<u8> {
    let mut frame = vec![0; length];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&mac(from));
    frame[12..14].copy_from_slice(&0x88b5_u16.to_be_bytes()); // for local experiments, IEEE 802 §9.2.3
    frame[NUMBER..NUMBER + 4].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[NUMBER..NUMBER + 4].try_into().unwrap())
}

/// Everything that arrives from now on: when, where, what.
fn arrivals(network: &mut Network) -> Vec<(u64, StationId, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let now_ns = network.next_ns();
        if now_ns == u64::MAX {
            assert_eq!(network.in_flight(), 0, "frames wait for nothing");
            return all;
        }
        while let Some((station, frame)) = network.next_arrival(now_ns) {
            all.push((now_ns, station, frame));
        }
    }
}

/// Numbers of the frames that get through when station 0 sends this many to station 1, one every 10 ns.
fn through(network: &mut Network, frames: u32) -> Vec<u32> {
    let mut seen = Vec::new();
    for at in 0..frames {
        network.send(u64::from(at) * 10, StationId(0), &frame(mac(1), 0, at, 64));
        while let Some((_, frame)) = network.next_arrival(u64::from(at) * 10) {
            seen.push(number(&frame));
        }
    }
    seen.extend(arrivals(network).iter().map(|(_, _, frame)| number(frame)));
    seen
}
