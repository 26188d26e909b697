//! Hosts, a network, a card and control in one thread, on one clock.
//!
//! The card and control are the product's own code. Time is virtual ([`World::run_until`] moves it on to the next thing
//! that happens) or handed in ([`World::round`], for a demonstration in real time).

use gantry_control::{Configuration, Control, Notice};
use gantry_pipeline::state::Sizes;

use crate::card::Card;
use crate::host::{Host, HostConfig};
use crate::network::{Direction, Weather};

/// The name of the simulated port's wire.
const WIRE: &str = "net0";

/// Device string of the one port a world's card has.
pub const DEVICE: &str = "wire:net0";

/// Longest step of virtual time: the resolution of the lcores' timers.
const STEP_NS: u64 = 50_000;

/// What a round costs in virtual time when something happened in it.
const ROUND_NS: u64 = 500;

/// Frames that a host sends in one round.
const HOST_BURST: usize = 64;

struct Attached {
    host: Host,
    mac: [u8; 6],
    to_card: Direction,
    to_host: Direction,
    reachable: bool,
}

/// The whole system.
pub struct World {
    now_ns: u64,
    seed: u64,
    /// The card.
    pub card: Card,
    /// The control process.
    pub control: Control,
    hosts: Vec<Attached>,
    notices: Vec<Notice>,
    /// Frames between control and the data plane, both ways.
    pub channel_frames: u64,
}

impl World {
    /// A card with this many lcores that control programs with `configuration`.
    #[must_use]
    pub fn new(configuration: Configuration, lcores: usize, sizes: Sizes, seed: u64) -> Self {
        let now_ns = 1_000_000_000;
        let card = Card::new(lcores, sizes, seed, now_ns);
        let mut control = Control::new(configuration, seed);
        control.connected(now_ns);
        Self { now_ns, seed, card, control, hosts: Vec::new(), notices: Vec::new(), channel_frames: 0 }
    }

    /// Plugs a host in and answers its number.
    pub fn plug(&mut self, config: HostConfig) -> usize {
        let mac = config.mac;
        let seed = self.seed ^ (self.hosts.len() as u64) << 32;
        self.hosts.push(Attached {
            host: Host::new(config, self.now_ns),
            mac,
            to_card: Direction::new(seed ^ 1, Weather::FAIR),
            to_host: Direction::new(seed ^ 2, Weather::FAIR),
            reachable: true,
        });
        self.hosts.len() - 1
    }

    /// A host.
    pub fn host(&mut self, index: usize) -> &mut Host {
        &mut self.hosts[index].host
    }

    /// The two directions of a host's link: to the card, to the host.
    pub fn link(&mut self, index: usize) -> (&mut Direction, &mut Direction) {
        let attached = &mut self.hosts[index];
        (&mut attached.to_card, &mut attached.to_host)
    }

    /// Pulls a host's plug: nothing it sends arrives, and nothing reaches it.
    pub fn unplug(&mut self, index: usize) {
        self.hosts[index].reachable = false;
    }

    /// Virtual time.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// What control has noticed so far.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Everything once, at `now_ns`; whether anything happened.
    pub fn round(&mut self, now_ns: u64) -> bool {
        self.now_ns = now_ns;
        let mut busy = self.hosts_send();
        busy |= self.card.poll_lcores(now_ns);
        busy |= self.card.step_drives(now_ns);
        busy |= self.card.keep_house(now_ns);
        busy |= self.control_round();
        busy | self.hosts_receive()
    }

    /// Moves time on until `done`, for at most `limit_ns`. Whether `done` came true.
    pub fn run_until(&mut self, limit_ns: u64, mut done: impl FnMut(&mut World) -> bool) -> bool {
        let end_ns = self.now_ns + limit_ns;
        loop {
            let busy = self.round(self.now_ns);
            if done(self) {
                return true;
            }
            if self.now_ns >= end_ns {
                return false;
            }
            self.now_ns = if busy { self.now_ns + ROUND_NS } else { self.next_ns() };
        }
    }

    /// Moves time on by `length_ns`.
    pub fn run_for(&mut self, length_ns: u64) {
        let end_ns = self.now_ns + length_ns;
        self.run_until(length_ns, |world| world.now_ns >= end_ns);
    }

    fn next_ns(&self) -> u64 {
        let hosts = self.hosts.iter().map(|attached| {
            attached.host.deadline_ns().min(attached.to_card.next_ns()).min(attached.to_host.next_ns())
        });
        let next = hosts.min().unwrap_or(u64::MAX).min(self.control.deadline_ns());
        next.clamp(self.now_ns + 1, self.now_ns + STEP_NS)
    }

    fn hosts_send(&mut self) -> bool {
        let now_ns = self.now_ns;
        let wire = self.card.wire(WIRE);
        let mut busy = false;
        let mut frame = Vec::new();
        for attached in &mut self.hosts {
            if attached.host.deadline_ns() <= now_ns {
                attached.host.on_deadline(now_ns);
                busy = true;
            }
            for _ in 0..HOST_BURST {
                if !attached.host.poll_frame(now_ns, &mut frame) {
                    break;
                }
                busy = true;
                if attached.reachable {
                    attached.to_card.send(now_ns, &frame);
                }
            }
            while let Some(frame) = attached.to_card.receive(now_ns) {
                busy = true;
                if let Some(wire) = &wire {
                    wire.send(&frame);
                }
            }
        }
        busy
    }

    fn hosts_receive(&mut self) -> bool {
        let now_ns = self.now_ns;
        let mut busy = false;
        let mut frame = Vec::new();
        if let Some(wire) = self.card.wire(WIRE) {
            while wire.receive(&mut frame) {
                busy = true;
                let broadcast = frame[0] & 1 == 1;
                for attached in &mut self.hosts {
                    if attached.reachable && (broadcast || frame[..6] == attached.mac) {
                        attached.to_host.send(now_ns, &frame);
                    }
                }
            }
        }
        for attached in &mut self.hosts {
            while let Some(frame) = attached.to_host.receive(now_ns) {
                busy = true;
                attached.host.handle_frame(now_ns, &frame);
            }
        }
        busy
    }

    fn control_round(&mut self) -> bool {
        let now_ns = self.now_ns;
        let mut busy = false;
        if self.control.deadline_ns() <= now_ns {
            self.control.on_deadline(now_ns);
        }
        while let Some(frame) = self.control.poll_frame() {
            busy = true;
            self.channel_frames += 1;
            self.card.housekeeping.handle_frame(now_ns, &frame);
        }
        while let Some(frame) = self.card.housekeeping.poll_frame() {
            busy = true;
            self.channel_frames += 1;
            self.control.handle_frame(now_ns, &frame).expect("the data plane writes frames of the contract");
        }
        while let Some(notice) = self.control.poll_notice() {
            self.notices.push(notice);
        }
        busy
    }
}
