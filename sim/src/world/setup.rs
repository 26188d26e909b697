//! How most worlds begin: one card with drives that every host may use, and hosts with addresses of their own.

use gantry_control::{Configuration, Drive, Hosts, Namespace, Port, Subsystem};
use gantry_pipeline::state::Sizes;

use super::{DEVICE, World};
use crate::host::HostConfig;

/// The card's address.
pub const ADDRESS: [u8; 4] = [10, 0, 0, 1];

/// Largest IP packet of card and hosts in bytes: it holds an IB path MTU of 4096.
pub const MTU: u16 = 4200;

/// How long drives have to come up.
const BRING_UP_NS: u64 = 100_000_000;

/// A world to be.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What control brings into being: port, drives, subsystems.
    pub configuration: Configuration,
    /// Lcores of the card.
    pub lcores: usize,
    /// What each of them has.
    pub sizes: Sizes,
    /// What draws QPNs, PSNs and the network's trouble.
    pub seed: u64,
}

impl Setup {
    /// A card with one lcore, a port with [`ADDRESS`], and no drives yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let port =
            Port { name: "wire0".into(), device: DEVICE.into(), mtu: MTU, vlan: 0, addresses: vec![ADDRESS.into()] };
        let configuration = Configuration { epoch: 1, ports: vec![port], ..Configuration::default() };
        Self { configuration, lcores: 1, sizes: Sizes::default(), seed }
    }

    /// Another drive, `mem:SIZE` or `file:/path`, called `d0`, `d1` and so on. It is namespace 1 of the subsystem
    /// [`nqn`] of its number, which every host may use.
    #[must_use]
    pub fn drive(mut self, uri: &str) -> Self {
        add_drive(&mut self.configuration, uri);
        self
    }

    /// So many lcores.
    #[must_use]
    pub fn lcores(mut self, lcores: usize) -> Self {
        self.lcores = lcores;
        self
    }

    /// The world, in which drives are up already.
    #[must_use]
    pub fn build(self) -> World {
        let mut world = World::new(self.configuration, self.lcores, self.sizes, self.seed);
        world.run_for(BRING_UP_NS);
        world
    }
}

/// The subsystem that [`add_drive`] makes of drive `number`.
#[must_use]
pub fn nqn(number: usize) -> String {
    format!("nqn.2026-11.io.gantry:drive-{number}")
}

/// Adds a drive and a subsystem of its own to a configuration; the drive's number.
pub fn add_drive(configuration: &mut Configuration, uri: &str) -> usize {
    let number = configuration.drives.len();
    let name = format!("d{number}");
    let mut uuid = [0x60; 16];
    uuid[8..].copy_from_slice(&(number as u64).to_be_bytes());
    configuration.drives.push(Drive { name: name.clone(), uri: uri.into() });
    let namespace = Namespace { nsid: 1, drive: name, drive_nsid: None, uuid, read_only: false };
    configuration.subsystems.push(Subsystem { nqn: nqn(number), hosts: Hosts::Any, namespaces: vec![namespace] });
    number
}

impl World {
    /// Plugs in another host, 10.0.1.1 and so on, for the card of [`Setup`]; its number.
    ///
    /// # Panics
    /// When there are 60,000 already.
    pub fn add_host(&mut self) -> usize {
        let number = self.hosts() + 1;
        assert!(number < 60_000, "addresses are used up");
        let [high, low] = [1 + number as u64 / 250, 1 + number as u64 % 250].map(|part| part as u8);
        let mut config = HostConfig::new([10, 0, high, low].into(), ADDRESS.into());
        config.mtu = MTU;
        self.plug(config)
    }
}
