//! A crowd at the door: a hundred hosts connect at once while another does I/O, which hardly notices.

mod story;

use gantry_pipeline::state::Sizes;
use gantry_sim::host::{Io, IoKind, State};
use gantry_sim::world::{FRAME_NS, ROUND_NS, World};
use story::{NQN, SECOND, configuration, connect, plug_as, settled, world_of};

/// A burst's worth of work in the world's virtual time: 32 frames in, and an answer to each.
const BURST_NS: u64 = ROUND_NS + 64 * FRAME_NS;

/// Reads one block after the other until `done`, at least 50 times: the longest latency.
fn longest_read_ns(world: &mut World, host: usize, mut done: impl FnMut(&mut World) -> bool) -> u64 {
    let mut longest_ns = 0;
    for tag in 0_u64.. {
        let read = Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: tag % 64, blocks: 8, data: Vec::new(), tag };
        world.host(host).submit(read).unwrap();
        let mut latency_ns = None;
        assert!(world.run_until(SECOND, |world| {
            latency_ns = world.host(host).poll_completion().map(|done| done.latency_ns);
            latency_ns.is_some()
        }));
        longest_ns = longest_ns.max(latency_ns.unwrap());
        if tag >= 50 && done(world) {
            return longest_ns;
        }
    }
    unreachable!("tags do not run out")
}

#[test]
fn a_hundred_hosts_connecting_at_once_do_not_delay_another() {
    let sizes = Sizes { qps: 512, commands: 4096, pages: 4096, namespaces: 512, addresses: 16 };
    let mut world = world_of(configuration("mem:64M"), 1, sizes, 80);
    let host = connect(&mut world, 4200, 1, 32);
    let calm_ns = longest_read_ns(&mut world, host, |_| true);
    let crowd: Vec<usize> = (0..100).map(|number| plug_as(&mut world, 1500, 100 + number)).collect();
    for newcomer in &crowd {
        world.host(*newcomer).connect(NQN, 1, 32, 0);
    }
    let crowded_ns = longest_read_ns(&mut world, host, |world| {
        crowd.iter().all(|newcomer| *world.host(*newcomer).state() == State::Ready)
    });
    println!("longest read: {calm_ns} ns alone, {crowded_ns} ns while a hundred connect");
    // A read passes two polls, one in and one out, and in each a burst of others may come before it.
    assert!(crowded_ns < calm_ns + 2 * BURST_NS, "{calm_ns} ns alone, {crowded_ns} ns while a hundred connect");
    for newcomer in crowd.into_iter().chain([host]) {
        assert_eq!(world.host(newcomer).violations(), []);
        world.host(newcomer).disconnect();
    }
    world.run_for(SECOND);
    settled(&mut world);
}
