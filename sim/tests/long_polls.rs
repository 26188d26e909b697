//! What comes all at once is done by and by: commands that wait for a drive when it goes, and timers of hosts that have died.
//! A poll's work stays bounded, nobody is forgotten, and others' I/O goes on meanwhile.

mod story;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gantry_control::{Drive, Namespace};
use gantry_drive::Latency;
use gantry_pipeline::counters::Counter;
use gantry_pipeline::state::Sizes;
use gantry_sim::host::{Io, IoKind, State};
use gantry_sim::world::{Lcore, World};
use story::{NQN, SECOND, configuration, plug_as, settled, world_of};

/// Hosts, queues of each, commands on each of those.
const HOSTS: usize = 4;
const QUEUES: u16 = 32;
const EACH: u64 = 8;

/// Commands that a drive can have, which end in the poll that hears of its end; and those that end in any poll.
const AT_DRIVE: u64 = 256;
const IN_A_POLL: u64 = 32;

static MOST: AtomicU64 = AtomicU64::new(0);

/// Remembers the most errors that a poll has answered with, or QPs that have failed in it.
fn watched(lcore: &mut Lcore, now_ns: u64) -> bool {
    let seen = |lcore: &mut Lcore| {
        let counters = &lcore.core().counters;
        counters.value(Counter::Responses) + counters.value(Counter::RetryExceeded)
    };
    let before = seen(lcore);
    let busy = lcore.poll(now_ns);
    MOST.fetch_max(seen(lcore) - before, Relaxed);
    busy
}

fn read(world: &mut World, host: usize, (nsid, queue, tag): (u32, u16, u64)) {
    let io = Io { queue, kind: IoKind::Read, nsid, slba: tag * 8, blocks: 8, data: Vec::new(), tag };
    world.host(host).submit(io).unwrap();
}

#[test]
fn what_comes_at_once_is_done_by_and_by() {
    let mut configuration = configuration("mem:64M");
    configuration.drives.push(Drive { name: "d1".into(), uri: "mem:64M".into() });
    let namespace = Namespace { nsid: 2, drive: "d1".into(), uuid: [8; 16], read_only: false, drive_nsid: None };
    configuration.subsystems[0].namespaces.push(namespace);
    let mut world = world_of(configuration, 1, Sizes::default(), 7);
    let hosts: Vec<usize> = (0..HOSTS)
        .map(|number| {
            let host = plug_as(&mut world, 4200, number as u8 + 2);
            world.host(host).connect(NQN, QUEUES, 32, 0);
            assert!(world.run_until(10 * SECOND, |world| *world.host(host).state() == State::Ready));
            host
        })
        .collect();
    let slow = Latency { seed: 1, base_ns: SECOND, jitter_ns: 0, tail_of_10_000: 0, tail_ns: 0 };
    world.card().faults("d1").unwrap().lock().latency = Some(slow);
    for &host in &hosts {
        (1..=QUEUES).for_each(|queue| (0..EACH).for_each(|tag| read(&mut world, host, (2, queue, tag))));
    }
    world.run_for(SECOND / 500);
    let all = HOSTS as u64 * u64::from(QUEUES) * EACH;
    world.target().poll = watched;
    world.card().remove_drive("d1", 1);
    let (mut ended, mut well) = (0, 0);
    read(&mut world, hosts[0], (1, 1, 1_000));
    let done = world.run_until(SECOND / 100, |world| {
        for &host in &hosts {
            while let Some(done) = world.host(host).poll_completion() {
                ended += u64::from(!done.status.is_success() && !done.status.dnr());
                if done.status.is_success() {
                    well += 1;
                    read(world, host, (1, 1, done.tag + 1));
                }
            }
        }
        ended == all
    });
    assert!(done, "{ended} of {all} have ended");
    assert!(well > 3, "the other drive's reads went on meanwhile: {well}");
    let most = MOST.swap(0, Relaxed);
    assert!(most > IN_A_POLL, "the poll that heard of it: {most}");
    assert!(most <= AT_DRIVE + 2 * IN_A_POLL, "{most} commands ended in one poll");

    // Nothing reaches the hosts any more. Those that asked for something are given up, some in each poll.
    for &host in &hosts {
        world.link(host).1.weather.cut = true;
        (1..=QUEUES).for_each(|queue| read(&mut world, host, (1, queue, 2_000)));
    }
    let queues = HOSTS as u64 * u64::from(QUEUES);
    let given_up = |world: &mut World| world.card().lcore(0).core().counters.value(Counter::RetryExceeded);
    world.run_for(SECOND / 500);
    MOST.store(0, Relaxed);
    // As many retries as hosts ask for, each after two seconds of the card's clock.
    for _ in 0..8 {
        assert_eq!(given_up(&mut world), 0);
        world.step_clock_at(0, 2_200_000_000);
        world.run_for(SECOND / 1_000);
    }
    assert!(world.run_until(SECOND, |world| given_up(world) == queues), "{} of {queues}", given_up(&mut world));
    let most = MOST.load(Relaxed);
    assert!(most > 0 && most <= IN_A_POLL, "{most} QPs failed in one poll");
    hosts.iter().for_each(|&host| world.host(host).disconnect());
    world.run_for(SECOND);
    settled(&mut world);
}
