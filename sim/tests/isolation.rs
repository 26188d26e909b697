//! A drive that does not answer holds nothing that the others need: 24 drives under load, one of them stops, and nobody who asks
//! the others notices.

mod story;

use gantry_control::{Configuration, Drive, Namespace, Notice};
use gantry_drive::{Action, Latency, Rule};
use gantry_pipeline::counters::Counter;
use gantry_pipeline::state::Sizes;
use gantry_sim::host::{Io, IoKind, State};
use gantry_sim::world::World;
use gantry_wire::nvme::Status;
use story::{NQN, SECOND, configuration, plug_as, settled, world_of};

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;

/// Drives of the card, each a namespace of the one subsystem; namespace 1 is the one that stops.
const DRIVES: u32 = 24;

/// Blocks of 512 bytes of a drive.
const BLOCKS: u64 = 131_072;

/// A host and what it keeps in flight.
struct Load {
    host: usize,
    queues: u16,
    /// Namespaces that it asks.
    namespaces: std::ops::RangeInclusive<u32>,
    /// Commands in flight for each of them.
    depth: u32,
    /// Blocks of each command.
    blocks: u32,
    /// Of 100.
    reads: u64,
    in_flight: [u32; DRIVES as usize + 1],
    sequence: u64,
    /// Latencies of commands to healthy drives that ended well.
    latencies: Vec<u64>,
    /// Commands that ended otherwise: namespace and status.
    errors: Vec<(u32, Status)>,
}

impl Load {
    fn connect(
        world: &mut World,
        number: u8,
        (queues, entries): (u16, u16),
        namespaces: std::ops::RangeInclusive<u32>,
        (depth, blocks, reads): (u32, u32, u64),
    ) -> Self {
        let host = plug_as(world, 4200, number);
        world.host(host).connect(NQN, queues, entries, 5_000);
        assert!(world.run_until(10 * SECOND, |world| *world.host(host).state() == State::Ready), "host {number}");
        let (latencies, errors) = (Vec::new(), Vec::new());
        let in_flight = [0; DRIVES as usize + 1];
        Self { host, queues, namespaces, depth, blocks, reads, in_flight, sequence: 0, latencies, errors }
    }

    fn collect(&mut self, world: &mut World) {
        while let Some(done) = world.host(self.host).poll_completion() {
            let nsid = (done.tag >> 40) as u32;
            self.in_flight[nsid as usize] -= 1;
            if !done.status.is_success() {
                self.errors.push((nsid, done.status));
            } else if nsid > 1 {
                self.latencies.push(done.latency_ns);
            }
        }
    }

    fn turn(&mut self, world: &mut World) {
        self.collect(world);
        for nsid in self.namespaces.clone() {
            while self.in_flight[nsid as usize] < self.depth {
                self.sequence += 1;
                let drawn = gantry_pipeline::tables::mix(self.sequence ^ (self.host as u64) << 48);
                let kind = if drawn % 100 < self.reads { IoKind::Read } else { IoKind::Write };
                let data =
                    if kind == IoKind::Write { vec![nsid as u8; self.blocks as usize * 512] } else { Vec::new() };
                let slba = (drawn >> 8) % (BLOCKS - u64::from(self.blocks));
                let queue = 1 + (self.sequence % u64::from(self.queues)) as u16;
                let tag = u64::from(nsid) << 40 | self.sequence;
                if world.host(self.host).submit(Io { queue, kind, nsid, slba, blocks: self.blocks, data, tag }).is_err()
                {
                    break;
                }
                self.in_flight[nsid as usize] += 1;
            }
        }
    }

    fn drained(&mut self, world: &mut World) -> bool {
        self.collect(world);
        self.in_flight.iter().all(|count| *count == 0)
    }
}

/// Load for so long: the 99th percentile of each load's commands to healthy drives.
fn phase(world: &mut World, loads: &mut [Load], length_ns: u64) -> Vec<u64> {
    for load in loads.iter_mut() {
        load.latencies.clear();
    }
    let end_ns = world.now_ns() + length_ns;
    world.run_until(length_ns, |world| {
        for load in loads.iter_mut() {
            load.turn(world);
        }
        world.now_ns() >= end_ns
    });
    let p99 = |load: &mut Load| {
        load.latencies.sort_unstable();
        load.latencies.get(load.latencies.len() * 99 / 100).copied().unwrap_or(u64::MAX)
    };
    loads.iter_mut().map(p99).collect()
}

/// Everybody stops asking healthy drives, and gets what is under way from them.
fn rest(world: &mut World, loads: &mut [Load]) {
    let calm = world.run_until(SECOND / 2, |world| {
        loads.iter_mut().all(|load| {
            load.collect(world);
            load.in_flight[2..].iter().all(|count| *count == 0)
        })
    });
    assert!(calm, "healthy drives' commands end");
}

fn drives() -> Configuration {
    let mut configuration = configuration("mem:64M");
    let namespaces = &mut configuration.subsystems[0].namespaces;
    for number in 1..DRIVES {
        let drive = format!("d{number}");
        configuration.drives.push(Drive { name: drive.clone(), uri: "mem:64M".into() });
        let mut uuid = [7; 16];
        uuid[0] = number as u8;
        namespaces.push(Namespace { nsid: number + 1, drive, drive_nsid: None, uuid, read_only: false });
    }
    configuration
}

/// 24 drives of 80 µs and more.
fn card(lcores: usize, sizes: Sizes, seed: u64) -> World {
    let mut world = world_of(drives(), lcores, sizes, seed);
    for number in 0..DRIVES {
        let base_ns = 80 * MICROSECOND;
        let latency =
            Latency { seed: number.into(), base_ns, jitter_ns: base_ns / 2, tail_of_10_000: 20, tail_ns: 5 * base_ns };
        world.card().faults(&format!("d{number}")).unwrap().lock().latency = Some(latency);
    }
    world
}

fn count(world: &mut World, counter: Counter) -> u64 {
    (0..world.card().lcores()).map(|lcore| world.card().lcore(lcore).core().counters.value(counter)).sum()
}

fn stop_drive(world: &mut World) {
    let swallow = Rule { admin: false, opcode: None, times: u32::MAX, action: Action::Swallow };
    world.card().faults("d0").unwrap().lock().rules.push(swallow);
}

/// The 99th percentile of each is at most so many hundredths of what it was.
fn must_not_notice(before: &[u64], after: &[u64], most: u64, whom: &str) {
    println!("{whom}: p99 {before:?} ns before, {after:?} ns while a drive is silent");
    for (before, after) in before.iter().zip(after) {
        assert!(*after * 100 < *before * most, "{whom}: p99 {before} ns before, {after} ns while a drive is silent");
    }
}

/// The ladder's end: the drive is reset at ten seconds, comes back once it answers again, and nothing stays behind.
fn comes_back(world: &mut World, mut loads: Vec<Load>) {
    assert!(count(world, Counter::DriveSlow) == 0, "not five seconds yet");
    world.run_for(6 * SECOND);
    assert!(count(world, Counter::DriveSlow) > 0, "aborts after five seconds");
    world.card().faults("d0").unwrap().lock().rules.clear();
    let drained = world.run_until(8 * SECOND, |world| loads.iter_mut().all(|load| load.drained(world)));
    assert!(drained, "the silent drive's commands end");
    let is_told = |notice: &Notice| matches!(notice, Notice::DriveFailed { drive, .. } if drive == "d0");
    assert!(world.notices().iter().any(is_told));
    world.run_for(SECOND);
    loads.iter_mut().for_each(|load| load.errors.clear());
    phase(world, &mut loads, MILLISECOND);
    assert!(world.run_until(SECOND, |world| loads.iter_mut().all(|load| load.drained(world))));
    for load in &loads {
        assert_eq!(load.errors, [], "the drive serves again");
        assert_eq!(world.host(load.host).violations(), []);
        world.host(load.host).disconnect();
    }
    world.run_for(SECOND);
    settled(world);
    for lcore in 0..world.card().lcores() {
        assert!(world.card().lcore(lcore).core().budgets.is_idle(), "budgets");
    }
}

/// One drive of 24 stops while hosts that ask all of them, over the same queues, and a host that floods the one that stops are
/// at it: the 99th percentile at the other 23 stays within a tenth, at once and a while later. Pages for all are not there.
#[test]
fn a_silent_drive_is_not_noticed_at_the_others() {
    let sizes = Sizes { qps: 64, commands: 1024, pages: 2048, namespaces: 1024, addresses: 16 };
    let mut world = card(2, sizes, 60);
    let mut all = Vec::new();
    for number in 2..5 {
        all.push(Load::connect(&mut world, number, (4, 64), 1..=DRIVES, (2, 8, 70)));
    }
    all.push(Load::connect(&mut world, 5, (4, 64), 2..=DRIVES, (2, 16, 70)));
    // 128 KiB each: 32 times the pages that an lcore has.
    let flood = Load::connect(&mut world, 6, (8, 128), 1..=1, (700, 256, 90));
    phase(&mut world, &mut all, 5 * MILLISECOND);
    let before = phase(&mut world, &mut all, 15 * MILLISECOND);
    stop_drive(&mut world);
    // The flood begins with the silence: what it would take of the wire otherwise is not the matter.
    all.push(flood);
    let mut at_once = phase(&mut world, &mut all, 15 * MILLISECOND);
    at_once.pop();
    must_not_notice(&before, &at_once, 110, "at once");
    assert!(count(&mut world, Counter::WaitedBudget) > 300, "the flood waits for its share");
    rest(&mut world, &mut all);
    world.run_for(2 * SECOND);
    // A host that has rested counts from when it last looked at the clock.
    phase(&mut world, &mut all, MILLISECOND);
    let mut later = phase(&mut world, &mut all, 15 * MILLISECOND);
    later.pop();
    must_not_notice(&before, &later, 110, "later");
    assert!(all.iter().all(|load| load.errors.is_empty()), "nobody was refused: there are slots enough");
    rest(&mut world, &mut all);
    comes_back(&mut world, all);
}

/// The same with a flood that no slots are left for: those who ask little of the silent drive are served as before, over the
/// same queues, from what is kept for them, but for the time that the lcore spends on what the flood sends again. Its commands end
/// after a second, to be tried again.
#[test]
fn a_flood_for_a_silent_drive_takes_no_slots_that_others_need() {
    let sizes = Sizes { qps: 64, commands: 640, pages: 2048, namespaces: 1024, addresses: 16 };
    let mut world = card(1, sizes, 61);
    let mut all = vec![
        Load::connect(&mut world, 2, (4, 64), 1..=DRIVES, (1, 8, 70)),
        Load::connect(&mut world, 3, (4, 64), 2..=DRIVES, (1, 8, 70)),
    ];
    let flood = Load::connect(&mut world, 6, (8, 128), 1..=1, (700, 8, 90));
    phase(&mut world, &mut all, 5 * MILLISECOND);
    let before = phase(&mut world, &mut all, 15 * MILLISECOND);
    stop_drive(&mut world);
    all.push(flood);
    let mut at_once = phase(&mut world, &mut all, 15 * MILLISECOND);
    at_once.pop();
    assert!(count(&mut world, Counter::Rnr) > 0, "slots run out");
    must_not_notice(&before, &at_once, 125, "at once");
    assert_eq!(count(&mut world, Counter::Interrupted), 0, "none has waited for a second");
    rest(&mut world, &mut all);
    world.run_for(SECOND + SECOND / 10);
    // Until an eighth of the slots is free again.
    let interrupted = count(&mut world, Counter::Interrupted);
    assert!(interrupted > u64::from(sizes.commands / 16), "{interrupted} commands have made room");
    rest(&mut world, &mut all);
    for load in &mut all {
        let refused = std::mem::take(&mut load.errors);
        assert!(refused.iter().all(|error| *error == (1, Status::COMMAND_INTERRUPTED)), "{refused:?}");
    }
    comes_back(&mut world, all);
}
