//! Frames are lost, doubled, reordered and damaged, and no byte is wrong.

mod story;

use gantry_pipeline::counters::Counter;
use gantry_sim::host::State;
use gantry_sim::network::Weather;
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::World;
use story::{SECOND, connect, settled, world};

fn plan(seed: u64) -> Plan {
    Plan {
        nsid: 1,
        blocks: 8_192,
        block_size: 512,
        queues: 2,
        depth: 16,
        lengths: vec![512, 4096, 16_384, 131_072],
        reads: 50,
        seed,
    }
}

/// Runs verified I/O through this weather, then clears the sky and lets everything end.
fn verified_io(seed: u64, to_card: Weather, to_host: Weather, commands: u64) -> World {
    let mut world = world("mem:64M", seed);
    let host = connect(&mut world, 1500, 2, 32);
    let (card_link, host_link) = world.link(host);
    (card_link.weather, host_link.weather) = (to_card, to_host);
    let mut workload = Workload::new(plan(seed));
    let done = world.run_until(600 * SECOND, |world| {
        workload.turn(world.host(host));
        workload.completed >= commands
    });
    let state = *world.host(host).state();
    assert!(done, "seed {seed}: {} commands, {state:?}, {:?}", workload.completed, workload.errors);
    let (card_link, host_link) = world.link(host);
    (card_link.weather, host_link.weather) = (Weather::FAIR, Weather::FAIR);
    assert!(
        world.run_until(60 * SECOND, |world| workload.drain(world.host(host))),
        "seed {seed}: the last commands end"
    );
    assert_eq!(workload.errors, Vec::<String>::new(), "seed {seed}");
    assert_eq!(world.host(host).violations(), [], "seed {seed}");
    world.host(host).disconnect();
    assert!(world.run_until(60 * SECOND, |world| *world.host(host).state() == State::Disconnected));
    settled(&mut world);
    world
}

#[test]
fn two_percent_lost_from_target_to_host() {
    let loss = Weather { loss: 200, ..Weather::FAIR };
    let mut world = verified_io(21, Weather::FAIR, loss, 800);
    assert!(world.link(0).1.counters.lost > 100, "the loss was real");
}

#[test]
fn two_percent_lost_both_ways() {
    let loss = Weather { loss: 200, ..Weather::FAIR };
    let mut world = verified_io(22, loss, loss, 800);
    assert!(world.link(0).0.counters.lost > 100 && world.link(0).1.counters.lost > 100, "the loss was real");
}

#[test]
fn everything_at_once_over_many_seeds() {
    let to_host = Weather { loss: 50, duplication: 100, reordering: 100, ..Weather::FAIR };
    // Towards the card only: the host, which judges, would take a damaged frame for the target's fault.
    let to_card = Weather { corruption: 20, ..to_host };
    let mut damaged = 0;
    for seed in 30..42 {
        let mut world = verified_io(seed, to_card, to_host, 200);
        damaged += world.card().lcore(0).core().counters.value(Counter::BadIcrc);
    }
    assert!(damaged > 0, "damaged frames reached the ICRC");
}

/// A duplicated SEND is acknowledged again and never executed again: with every frame doubled, the target sees each
/// command once.
#[test]
fn a_duplicated_send_is_never_executed_twice() {
    let doubled = Weather { duplication: 10_000, ..Weather::FAIR };
    let mut world = verified_io(23, doubled, Weather::FAIR, 500);
    let commands = world.host(0).counters().commands;
    let core = world.card().lcore(0).core();
    assert_eq!(core.counters.value(Counter::Capsules), commands);
    assert!(core.counters.value(Counter::Duplicate) > commands, "every request came twice");
}
