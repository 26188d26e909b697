//! Hosts, a network, cards and their control in one thread, on one clock.
//!
//! Cards and control are the product's own code. Time is virtual ([`World::run_until`] moves it on to the next thing
//! that happens) or handed in ([`World::round`], for a demonstration in real time).

mod blocking;
mod setup;
mod target;

use std::collections::VecDeque;

use gantry_control::{Configuration, Notice};
use gantry_pipeline::state::Sizes;
use gantry_pipeline::tables::mix;

use crate::card::Card;
use crate::host::{Host, HostConfig};
use crate::network::{Direction, Network, StationId};

pub use blocking::AskError;
pub use setup::{ADDRESS, MTU, Setup, add_drive, nqn};
pub use target::{FRAME_NS, Kill, Lcore, POLL_NS, Poll, Target};

/// Device string of the one port a card has.
pub const DEVICE: &str = "wire:net0";

/// Frames that a host sends at once, and how long it waits before it sends more.
const HOST_BURST: usize = 64;
const HOST_PAUSE_NS: u64 = 1_000;

/// A time that is past.
const AT_ONCE: u64 = 0;

/// Bytes that may wait for a card's line before its port takes no more.
const LINE_BYTES: u64 = 4 << 10;

struct Attached {
    host: Host,
    station: StationId,
    /// It is among [`World::stirred`].
    stirred: bool,
    /// Of every frame that reached the host, in order.
    digest: u64,
}

/// Who is behind a station of the network.
#[derive(Clone, Copy)]
enum End {
    Target(usize),
    Host(usize),
}

/// The whole system.
pub struct World {
    now_ns: u64,
    seed: u64,
    network: Network,
    ends: Vec<End>,
    targets: Vec<(Target, StationId)>,
    hosts: Vec<Attached>,
    /// When each host next wants to be asked for frames: at once, when something may have changed since it was.
    host_due_ns: Vec<u64>,
    /// The earliest of them, or earlier.
    hosts_next_ns: u64,
    /// Hosts to which something has happened since their owner looked.
    stirred: VecDeque<usize>,
    /// Commands that were waited for.
    asked: u64,
}

impl World {
    /// A card with this many lcores that control programs with `configuration`.
    #[must_use]
    pub fn new(configuration: Configuration, lcores: usize, sizes: Sizes, seed: u64) -> Self {
        let mut world = Self {
            now_ns: 1_000_000_000,
            seed,
            network: Network::new(seed),
            ends: Vec::new(),
            targets: Vec::new(),
            hosts: Vec::new(),
            host_due_ns: Vec::new(),
            hosts_next_ns: u64::MAX,
            stirred: VecDeque::new(),
            asked: 0,
        };
        world.add_target(configuration, lcores, sizes);
        world
    }

    /// Another card with its control; its number. The first has number 0.
    pub fn add_target(&mut self, configuration: Configuration, lcores: usize, sizes: Sizes) -> usize {
        let number = self.targets.len();
        let seed = self.seed ^ (number as u64) << 48;
        let target = Target::new(number as u8, configuration, lcores, sizes, seed, self.now_ns);
        let station = self.attach(target.mac(), End::Target(number));
        // The host's link alone has a length.
        let (up, down) = self.network.link(station);
        (up.weather.delay_ns, down.weather.delay_ns) = (0, 0);
        self.targets.push((target, station));
        number
    }

    fn attach(&mut self, mac: [u8; 6], end: End) -> StationId {
        let station = self.network.attach(mac);
        debug_assert_eq!(station.0 as usize, self.ends.len());
        self.ends.push(end);
        station
    }

    /// Plugs a host in and answers its number.
    pub fn plug(&mut self, config: HostConfig) -> usize {
        let number = self.hosts.len();
        let station = self.attach(config.mac, End::Host(number));
        let host = Host::new(config, self.now_ns);
        self.hosts.push(Attached { host, station, stirred: false, digest: 0 });
        self.host_due_ns.push(AT_ONCE);
        self.hosts_next_ns = AT_ONCE;
        number
    }

    /// A host.
    pub fn host(&mut self, index: usize) -> &mut Host {
        self.host_due_ns[index] = AT_ONCE;
        self.hosts_next_ns = AT_ONCE;
        &mut self.hosts[index].host
    }

    /// A host to which a frame or a deadline has come since it was last named here.
    pub fn next_stirred(&mut self) -> Option<usize> {
        let number = self.stirred.pop_front()?;
        self.hosts[number].stirred = false;
        Some(number)
    }

    /// Hosts that were ever plugged in.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// What has reached a host so far, every byte in order, as one number.
    #[must_use]
    pub fn digest(&self, index: usize) -> u64 {
        self.hosts[index].digest
    }

    /// The first target.
    pub fn target(&mut self) -> &mut Target {
        self.target_at(0)
    }

    /// A target by its number.
    pub fn target_at(&mut self, index: usize) -> &mut Target {
        &mut self.targets[index].0
    }

    /// The first target's card.
    pub fn card(&mut self) -> &mut Card {
        &mut self.target().card
    }

    /// The network.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The two directions of a host's link: from the host, to the host.
    pub fn link(&mut self, index: usize) -> (&mut Direction, &mut Direction) {
        self.network.link(self.hosts[index].station)
    }

    /// A host's place in the network.
    #[must_use]
    pub fn host_station(&self, index: usize) -> StationId {
        self.hosts[index].station
    }

    /// A target's place in the network.
    #[must_use]
    pub fn target_station(&self, index: usize) -> StationId {
        self.targets[index].1
    }

    /// Pulls a host's plug: nothing it sends arrives, and nothing reaches it.
    pub fn unplug(&mut self, index: usize) {
        let (up, down) = self.link(index);
        (up.weather.cut, down.weather.cut) = (true, true);
    }

    /// `kill -9` of the first target's control; see [`Target::control_restart_ns`].
    pub fn kill_control(&mut self) {
        self.kill_control_at(0);
    }

    /// `kill -9` of a target's control.
    pub fn kill_control_at(&mut self, target: usize) {
        let now_ns = self.now_ns;
        self.target_at(target).kill_control(now_ns);
    }

    /// `kill -9` of the first target's data plane; another starts at once, with nothing but the drives.
    pub fn kill_card(&mut self) {
        self.kill_card_at(0);
    }

    /// `kill -9` of a target's data plane.
    pub fn kill_card_at(&mut self, target: usize) {
        let now_ns = self.now_ns;
        self.target_at(target).kill_card(now_ns);
    }

    /// A successor takes the first target's data plane over; control's channel breaks and opens anew. How many bytes the
    /// state took.
    pub fn hand_over(&mut self) -> usize {
        self.hand_over_at(0)
    }

    /// A successor takes a target's data plane over.
    pub fn hand_over_at(&mut self, target: usize) -> usize {
        let now_ns = self.now_ns;
        self.target_at(target).hand_over(now_ns)
    }

    /// The channel between a target's control and data plane breaks for a while; both live on.
    pub fn cut_channel_at(&mut self, target: usize, for_ns: u64) {
        let now_ns = self.now_ns;
        self.target_at(target).cut_channel(now_ns, for_ns);
    }

    /// A target's machine stands still for a while: nothing polls, frames wait at its port.
    pub fn stall_at(&mut self, target: usize, for_ns: u64) {
        let until_ns = self.now_ns + for_ns;
        self.target_at(target).stall(until_ns);
    }

    /// A target's housekeeping thread does not get the processor for a while.
    pub fn stall_housekeeping_at(&mut self, target: usize, for_ns: u64) {
        let until_ns = self.now_ns + for_ns;
        self.target_at(target).stall_housekeeping(until_ns);
    }

    /// A target's clock jumps ahead, as after a machine stood still.
    pub fn step_clock_at(&mut self, target: usize, by_ns: u64) {
        self.target_at(target).step_clock(by_ns);
    }

    /// From now on targets remember what their stages, channels and controls do; see [`World::take_events`].
    pub fn record(&mut self) {
        for (target, _) in &mut self.targets {
            target.record();
        }
    }

    /// What targets remember, with its time; they forget it. The oldest goes when there is too much.
    pub fn take_events(&mut self) -> Vec<(u64, String)> {
        self.targets.iter_mut().flat_map(|(target, _)| target.take_events()).collect()
    }

    /// Virtual time.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// What the first target's control has noticed so far.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        self.targets[0].0.notices()
    }

    /// Everything that is due at `now_ns`.
    pub fn round(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.network.advance(now_ns);
        while let Some((station, frame)) = self.network.next_arrival(now_ns) {
            match self.ends[station.0 as usize] {
                End::Target(number) => self.targets[number].0.receive(&frame),
                End::Host(number) => {
                    let attached = &mut self.hosts[number];
                    attached.digest = fold(attached.digest, &frame);
                    attached.host.handle_frame(now_ns, &frame);
                    self.host_due_ns[number] = AT_ONCE;
                    self.hosts_next_ns = AT_ONCE;
                    stir(&mut self.stirred, attached, number);
                }
            }
        }
        self.hosts_send();
        for (target, station) in &mut self.targets {
            let has_room = |network: &mut Network| network.link(*station).0.waiting_bytes() < LINE_BYTES;
            let room = has_room(&mut self.network);
            target.round(now_ns, room, |frame| {
                self.network.send(now_ns, *station, frame);
                has_room(&mut self.network)
            });
        }
    }

    /// Moves time on until `done`, for at most `limit_ns`. Whether `done` came true.
    pub fn run_until(&mut self, limit_ns: u64, mut done: impl FnMut(&mut World) -> bool) -> bool {
        let end_ns = self.now_ns + limit_ns;
        loop {
            self.round(self.now_ns);
            if done(self) {
                return true;
            }
            if self.now_ns >= end_ns {
                return false;
            }
            self.pass_time(end_ns);
        }
    }

    /// Moves time on to what happens next, to `end_ns` at most. What hosts were asked for meanwhile begins before that.
    pub fn pass_time(&mut self, end_ns: u64) {
        self.hosts_send();
        self.now_ns = self.next_ns().clamp(self.now_ns + 1, end_ns.max(self.now_ns + 1));
    }

    /// Moves time on by `length_ns`.
    pub fn run_for(&mut self, length_ns: u64) {
        let end_ns = self.now_ns + length_ns;
        self.run_until(length_ns, |world| world.now_ns >= end_ns);
    }

    fn next_ns(&self) -> u64 {
        let targets = self.targets.iter().map(|(target, _)| target.next_ns());
        targets.min().unwrap_or(u64::MAX).min(self.hosts_next_ns).min(self.network.next_ns())
    }

    fn hosts_send(&mut self) {
        let now_ns = self.now_ns;
        if self.hosts_next_ns > now_ns {
            return;
        }
        let mut frame = Vec::new();
        for (number, due_ns) in self.host_due_ns.iter_mut().enumerate() {
            if *due_ns > now_ns {
                continue;
            }
            let attached = &mut self.hosts[number];
            if attached.host.deadline_ns() <= now_ns {
                attached.host.on_deadline(now_ns);
                stir(&mut self.stirred, attached, number);
            }
            let host = &mut attached.host;
            let mut sent = 0;
            while sent < HOST_BURST && host.poll_frame(now_ns, &mut frame) {
                self.network.send(now_ns, attached.station, &frame);
                sent += 1;
            }
            *due_ns = if sent == HOST_BURST { now_ns + HOST_PAUSE_NS } else { host.deadline_ns() };
        }
        self.hosts_next_ns = self.host_due_ns.iter().copied().min().unwrap_or(u64::MAX);
    }
}

fn stir(stirred: &mut VecDeque<usize>, attached: &mut Attached, number: usize) {
    if !attached.stirred {
        attached.stirred = true;
        stirred.push_back(number);
    }
}

fn fold(digest: u64, frame: &[u8]) -> u64 {
    frame.chunks(8).fold(digest, |digest, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(digest ^ u64::from_le_bytes(word))
    })
}
