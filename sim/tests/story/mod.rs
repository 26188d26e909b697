//! What stories begin and end with.

#![allow(dead_code, reason = "each story uses what it needs")]

use gantry_control::{Configuration, Drive, Hosts, Namespace, Port, Subsystem};
use gantry_pipeline::state::Sizes;
use gantry_sim::host::{HostConfig, State};
use gantry_sim::world::{DEVICE, World};

/// The subsystem of every story.
pub(crate) const NQN: &str = "nqn.2026-11.io.gantry:story";

/// One second of virtual time.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// One port, one drive, one subsystem that everybody may use.
pub(crate) fn configuration(uri: &str) -> Configuration {
    Configuration {
        epoch: 1,
        ports: vec![Port {
            name: "wire0".into(),
            device: DEVICE.into(),
            mtu: 4200,
            vlan: 0,
            addresses: vec!["10.0.0.1".parse().unwrap()],
        }],
        drives: vec![Drive { name: "d0".into(), uri: uri.into() }],
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

/// Sizes that a story runs short of when something leaks.
pub(crate) fn sizes() -> Sizes {
    Sizes { qps: 64, commands: 512, pages: 2048, namespaces: 256, addresses: 16 }
}

/// A world whose drive is up.
pub(crate) fn world(uri: &str, seed: u64) -> World {
    world_of(configuration(uri), 1, sizes(), seed)
}

/// A world of another configuration.
pub(crate) fn world_of(configuration: Configuration, lcores: usize, sizes: Sizes, seed: u64) -> World {
    let mut world = World::new(configuration, lcores, sizes, seed);
    world.run_for(SECOND / 10);
    world
}

/// Plugs in another host.
pub(crate) fn plug(world: &mut World, mtu: u16) -> usize {
    plug_as(world, mtu, 2)
}

/// Plugs in the host 10.0.0.`number`.
pub(crate) fn plug_as(world: &mut World, mtu: u16, number: u8) -> usize {
    let mut config = HostConfig::new([10, 0, 0, number].into(), [10, 0, 0, 1].into());
    config.mtu = mtu;
    world.plug(config)
}

/// Plugs in the host 10.0.0.`number` after a reboot: the same NQN and host id, other QPNs and communication ids.
pub(crate) fn plug_again(world: &mut World, mtu: u16, number: u8) -> usize {
    let mut config = HostConfig::new([10, 0, 0, number].into(), [10, 0, 0, 1].into());
    config.mtu = mtu;
    config.seed ^= 0x5eed << 32;
    world.plug(config)
}

/// Plugs in a host that connects.
pub(crate) fn connect(world: &mut World, mtu: u16, io_queues: u16, depth: u16) -> usize {
    let host = plug(world, mtu);
    world.host(host).connect(NQN, io_queues, depth, 5_000);
    let ready = world.run_until(10 * SECOND, |world| *world.host(host).state() == State::Ready);
    let state = *world.host(host).state();
    assert!(ready, "{state:?}; {:#?}", world.notices());
    host
}

/// Everything that was taken has been given back.
pub(crate) fn settled(world: &mut World) {
    world.run_for(6 * SECOND);
    for lcore in 0..world.card().lcores() {
        let core = world.card().lcore(lcore).core();
        assert_eq!(core.commands.free(), core.commands.capacity(), "commands");
        assert_eq!(core.memory.free_pages(), core.memory.capacity(), "pages");
        assert_eq!(core.works.available(), core.works.capacity(), "work requests");
        assert_eq!(core.reader.entries(), (0, 0), "QPs and namespaces");
    }
}
