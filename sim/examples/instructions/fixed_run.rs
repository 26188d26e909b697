//! The run that is counted: the world with one host, one lcore and a memory drive, in virtual time, from a fixed seed.

use std::hint::black_box;

use gantry_control::{Configuration, Drive, Hosts, Namespace, Port, Subsystem};
use gantry_pipeline::counters::Counter;
use gantry_pipeline::state::Sizes;
use gantry_sim::host::{HostConfig, State};
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::{DEVICE, World};

/// Commands in flight.
const DEPTH: usize = 32;

/// One second of virtual time.
const SECOND: u64 = 1_000_000_000;

const NQN: &str = "nqn.2026-11.io.gantry:instructions";

/// A kind of I/O.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    length: u32,
    /// Of 100.
    reads: u32,
    /// Largest IP packet; 4200 makes the path MTU 4096, 1500 makes it 1024.
    mtu: u16,
    /// Commands that are counted.
    pub(crate) commands: u64,
}

pub(crate) const CASES: &[Case] = &[
    Case { name: "read_512", length: 512, reads: 100, mtu: 4200, commands: 4_000 },
    Case { name: "read_4k", length: 4096, reads: 100, mtu: 4200, commands: 4_000 },
    Case { name: "write_4k_in_capsule", length: 4096, reads: 0, mtu: 4200, commands: 4_000 },
    Case { name: "write_16k_keyed", length: 16_384, reads: 0, mtu: 4200, commands: 2_000 },
    Case { name: "read_128k", length: 131_072, reads: 100, mtu: 4200, commands: 500 },
    Case { name: "read_128k_mtu_1024", length: 131_072, reads: 100, mtu: 1500, commands: 500 },
];

fn configuration() -> Configuration {
    Configuration {
        epoch: 1,
        ports: vec![Port {
            name: "wire0".into(),
            device: DEVICE.into(),
            mtu: 4200,
            vlan: 0,
            addresses: vec![[10, 0, 0, 1].into()],
        }],
        drives: vec![Drive { name: "d0".into(), uri: "mem:64M".into() }],
        subsystems: vec![Subsystem {
            nqn: NQN.into(),
            hosts: Hosts::Any,
            namespaces: vec![Namespace {
                nsid: 1,
                drive: "d0".into(),
                drive_nsid: None,
                uuid: [7; 16],
                read_only: false,
            }],
        }],
    }
}

/// Runs a case. What callgrind counts is [`measured`].
pub(crate) fn run(case: &Case) -> Result<(), String> {
    let sizes = Sizes { qps: 64, commands: 512, pages: 4096, namespaces: 256, addresses: 16 };
    let mut world = World::new(configuration(), 1, sizes, 1);
    world.run_for(SECOND / 10);
    let mut config = HostConfig::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into());
    config.mtu = case.mtu;
    let host = world.plug(config);
    world.host(host).connect(NQN, 1, DEPTH as u16 + 1, 0);
    if !world.run_until(10 * SECOND, |world| *world.host(host).state() == State::Ready) {
        return Err(format!("no connection: {:?}", world.host(host).state()));
    }
    let mut workload = Workload::new(Plan {
        nsid: 1,
        blocks: 131_072,
        block_size: 512,
        queues: 1,
        depth: DEPTH,
        lengths: vec![case.length],
        reads: case.reads,
        seed: 3,
    });
    // The first commands find everything cold: timers unset, lists empty.
    advance(&mut world, host, &mut workload, case.commands / 10)?;
    let polls = world.card().lcore(0).core().counters.value(Counter::BusyPolls);
    measured(&mut world, host, &mut workload, case.commands + case.commands / 10)?;
    let polls = world.card().lcore(0).core().counters.value(Counter::BusyPolls) - polls;
    if !workload.errors.is_empty() || !world.host(host).violations().is_empty() {
        return Err(format!("{:?}, {:?}", workload.errors, world.host(host).violations()));
    }
    eprintln!("{}: {} commands, {polls} polls that did something", case.name, workload.completed);
    Ok(())
}

/// callgrind switches on and off by this function's name.
#[inline(never)]
fn measured(world: &mut World, host: usize, workload: &mut Workload, completed: u64) -> Result<(), String> {
    black_box(advance(world, host, workload, completed))
}

fn advance(world: &mut World, host: usize, workload: &mut Workload, completed: u64) -> Result<(), String> {
    let done = world.run_until(60 * SECOND, |world| {
        workload.turn(world.host(host));
        workload.completed >= completed
    });
    if done { Ok(()) } else { Err(format!("{} commands of {completed} in a minute", workload.completed)) }
}
