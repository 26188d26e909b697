//! Commands that are larger than a drive's MDTS go to it in pieces, and no byte is wrong.

mod story;

use gantry_pipeline::counters::Counter;
use gantry_sim::host::State;
use gantry_sim::workload::{Plan, Workload};
use story::{SECOND, connect, settled, world};

/// Verified I/O on a drive whose MDTS is 8 KiB, with commands around it and far above it.
fn in_pieces(uri: &str, block_size: u32) {
    let mut world = world(uri, 60);
    let host = connect(&mut world, 4200, 2, 32);
    let lengths = vec![4096, 8192, 8192 + block_size, 16_384, 65_536 - block_size, 131_072];
    let plan = Plan { nsid: 1, blocks: 8_192, block_size, queues: 2, depth: 16, lengths, reads: 50, seed: 60 };
    let mut workload = Workload::new(plan);
    let done = world.run_until(60 * SECOND, |world| {
        workload.turn(world.host(host));
        workload.completed >= 500
    });
    assert!(done && world.run_until(10 * SECOND, |world| workload.drain(world.host(host))));
    assert_eq!(workload.errors, Vec::<String>::new());
    assert_eq!(world.host(host).violations(), []);
    let counters = &world.card().lcore(0).core().counters;
    let (submitted, completed) = (counters.value(Counter::Submitted), counters.value(Counter::Completed));
    assert!(submitted > 4 * completed, "{submitted} pieces of {completed} commands");
    assert_eq!(counters.value(Counter::DriveErrors), 0);
    world.host(host).disconnect();
    assert!(world.run_until(60 * SECOND, |world| *world.host(host).state() == State::Disconnected));
    settled(&mut world);
}

#[test]
fn of_512_byte_blocks() {
    in_pieces("mem:64M,mdts=8K", 512);
}

#[test]
fn of_4096_byte_blocks() {
    in_pieces("mem:64M,block=4096,mdts=8K", 4096);
}
