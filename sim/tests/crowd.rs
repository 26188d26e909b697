//! A crowd at the door: a hundred hosts connect at once while another does I/O, which hardly notices.

mod story;

use gantry_pipeline::state::Sizes;
use gantry_sim::host::{Io, IoKind, State};
use gantry_sim::world::{FRAME_NS, POLL_NS, World};
use story::{NQN, SECOND, configuration, connect, plug_as, settled, world_of};

/// A burst's worth of work in the world's virtual time: 32 frames in, and an answer to each.
const BURST_NS: u64 = POLL_NS + 64 * FRAME_NS;

/// Latencies of reads, one after the other.
struct Reads(Vec<u64>);

impl Reads {
    /// Reads one block after the other until `done`, at least 50 times.
    fn until(world: &mut World, host: usize, mut done: impl FnMut(&mut World) -> bool) -> Self {
        let mut latencies = Vec::new();
        for tag in 0_u64.. {
            let read = Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: tag % 64, blocks: 8, data: Vec::new(), tag };
            world.host(host).submit(read).unwrap();
            assert!(world.run_until(SECOND, |world| {
                let read = world.host(host).poll_completion();
                latencies.extend(read.iter().map(|read| read.latency_ns));
                read.is_some()
            }));
            if tag >= 50 && done(world) {
                break;
            }
        }
        latencies.sort_unstable();
        Self(latencies)
    }

    fn mean_ns(&self) -> u64 {
        self.0.iter().sum::<u64>() / self.0.len() as u64
    }

    /// What 99 of 100 did not exceed.
    fn most_ns(&self) -> u64 {
        self.0[self.0.len() * 99 / 100]
    }

    fn longest_ns(&self) -> u64 {
        *self.0.last().expect("fifty at least")
    }
}

#[test]
fn a_hundred_hosts_connecting_at_once_do_not_delay_another() {
    let sizes = Sizes { qps: 512, commands: 4096, pages: 4096, namespaces: 512, addresses: 16 };
    let mut world = world_of(configuration("mem:64M"), 1, sizes, 80);
    let host = connect(&mut world, 4200, 1, 32);
    let calm = Reads::until(&mut world, host, |_| true);
    let crowd: Vec<usize> = (0..100).map(|number| plug_as(&mut world, 1500, 100 + number)).collect();
    for newcomer in &crowd {
        world.host(*newcomer).connect(NQN, 1, 32, 0);
    }
    let crowded = Reads::until(&mut world, host, |world| {
        crowd.iter().all(|newcomer| *world.host(*newcomer).state() == State::Ready)
    });
    for (name, reads) in [("alone", &calm), ("while a hundred connect", &crowded)] {
        let (mean, most, longest) = (reads.mean_ns(), reads.most_ns(), reads.longest_ns());
        println!("a read {name}: mean {mean} ns, 99 % {most} ns, longest {longest} ns of {}", reads.0.len());
    }
    let (mean_ns, most_ns) = (crowded.mean_ns() - calm.mean_ns(), crowded.most_ns() - calm.most_ns());
    assert!(mean_ns < BURST_NS / 4 && most_ns < BURST_NS, "{mean_ns} ns more in the mean, {most_ns} ns more for most");
    // It waits for the poll that is under way and passes two, one in and one out; each takes a burst of others along.
    assert!(crowded.longest_ns() < calm.longest_ns() + 3 * BURST_NS, "{} ns", crowded.longest_ns());
    for newcomer in crowd.into_iter().chain([host]) {
        assert_eq!(world.host(newcomer).violations(), []);
        world.host(newcomer).disconnect();
    }
    world.run_for(SECOND);
    settled(&mut world);
}
