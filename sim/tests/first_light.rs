//! A host connects, writes, reads back what it wrote, and leaves.

mod story;

use gantry_pipeline::counters::Counter;
use gantry_sim::host::State;
use gantry_sim::workload::{Plan, Workload};
use story::{NQN, SECOND, connect, settled, world};

/// Every length on every path: in the capsule, keyed, one page, many pages, at both MTUs.
#[test]
fn verified_io_at_every_length() {
    for mtu in [1500, 4200] {
        let mut world = world("mem:64M", 7);
        let host = connect(&mut world, mtu, 2, 32);
        let mut workload = Workload::new(Plan {
            nsid: 1,
            blocks: 16_384,
            block_size: 512,
            queues: 2,
            depth: 24,
            lengths: vec![512, 1024, 4096, 4608, 16_384, 65_536, 131_072],
            reads: 50,
            seed: 3,
        });
        let done = world.run_until(60 * SECOND, |world| {
            workload.turn(world.host(host));
            workload.completed >= 4_000
        });
        assert!(done, "{} commands in a minute", workload.completed);
        assert!(world.run_until(SECOND, |world| workload.drain(world.host(host))), "the last commands end");
        assert_eq!(workload.errors, Vec::<String>::new());
        assert_eq!(world.host(host).violations(), []);
        world.host(host).disconnect();
        assert!(world.run_until(SECOND, |world| *world.host(host).state() == State::Disconnected));
        settled(&mut world);
    }
}

#[test]
fn discovery_lists_what_the_host_may_see() {
    let mut world = world("mem:64M", 8);
    let host = story::plug(&mut world, 1500);
    world.host(host).discover();
    assert!(world.run_until(5 * SECOND, |world| *world.host(host).state() == State::Disconnected));
    let log = world.host(host).discovery_log();
    assert_eq!(log.iter().map(|entry| entry.subnqn().unwrap_or_default()).collect::<Vec<_>>(), [NQN]);
    assert_eq!(world.host(host).violations(), []);
    settled(&mut world);
}

#[test]
fn ten_times_there_and_back() {
    let mut world = world("mem:64M", 9);
    let host = story::plug(&mut world, 1500);
    for _ in 0..10 {
        world.host(host).connect(NQN, 2, 32, 5_000);
        assert!(world.run_until(5 * SECOND, |world| *world.host(host).state() == State::Ready));
        world.host(host).disconnect();
        assert!(world.run_until(5 * SECOND, |world| *world.host(host).state() == State::Disconnected));
    }
    assert_eq!(world.host(host).violations(), []);
    settled(&mut world);
}

/// The NIC's hash brings frames to one lcore and their QP lives on another: they cross, and nothing else differs.
#[test]
fn frames_cross_to_the_lcore_that_owns_their_qp() {
    let mut world = story::world_of(story::configuration("mem:64M"), 3, story::sizes(), 10);
    let host = connect(&mut world, 1500, 6, 32);
    let mut workload = Workload::new(Plan {
        nsid: 1,
        blocks: 16_384,
        block_size: 512,
        queues: 6,
        depth: 24,
        lengths: vec![512, 4096, 65_536],
        reads: 50,
        seed: 4,
    });
    let done = world.run_until(60 * SECOND, |world| {
        workload.turn(world.host(host));
        workload.completed >= 2_000
    });
    assert!(done, "{} commands in a minute", workload.completed);
    assert!(world.run_until(SECOND, |world| workload.drain(world.host(host))), "the last commands end");
    assert_eq!(workload.errors, Vec::<String>::new());
    assert_eq!(world.host(host).violations(), []);
    let value = |world: &mut gantry_sim::world::World, counter| -> Vec<u64> {
        (0..3).map(|lcore| world.card().lcore(lcore).core().counters.value(counter)).collect()
    };
    assert!(value(&mut world, Counter::Capsules).iter().all(|capsules| *capsules > 0), "every lcore had its QPs");
    assert!(value(&mut world, Counter::Crossed).iter().sum::<u64>() > 1_000, "frames crossed");
    assert_eq!(value(&mut world, Counter::CrossFull), [0; 3]);
    world.host(host).disconnect();
    assert!(world.run_until(SECOND, |world| *world.host(host).state() == State::Disconnected));
    settled(&mut world);
}
