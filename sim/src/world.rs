//! Hosts, a network, a card and control in one thread, on one clock.
//!
//! The card and control are the product's own code. Time is virtual ([`World::run_until`] moves it on to the next thing
//! that happens) or handed in ([`World::round`], for a demonstration in real time).

use std::collections::VecDeque;

use gantry::channel::{Frame, Kind};
use gantry_control::{Configuration, Control, Notice};
use gantry_pipeline::counters::Counter;
use gantry_pipeline::state::Sizes;
use gantry_pipeline::tables::mix;

use crate::card::Card;
use crate::host::{Host, HostConfig};
use crate::network::{Direction, Weather};

/// The name of the simulated port's wire.
const WIRE: &str = "net0";

/// Device string of the one port a world's card has.
pub const DEVICE: &str = "wire:net0";

/// Longest step of virtual time: the resolution of the lcores' timers.
const STEP_NS: u64 = 50_000;

/// What a round costs in virtual time when something happened in it, and what each frame that an lcore moved adds.
pub const ROUND_NS: u64 = 200;
/// See [`ROUND_NS`].
pub const FRAME_NS: u64 = 100;

/// Frames that a host sends in one round.
const HOST_BURST: usize = 64;

struct Attached {
    host: Host,
    /// Of every frame that reached the host, in order.
    digest: u64,
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
    configuration: Configuration,
    sizes: Sizes,
    /// Frames that lcores had moved when time last passed.
    moved: u64,
    /// Until when control is dead; zero when it lives.
    control_dead_until_ns: u64,
    /// How long a new control takes to come up.
    pub control_restart_ns: u64,
    /// When control dies next.
    pub kill: Option<Kill>,
    /// Control dies again and again: a seed, and the longest time between two deaths.
    pub kill_every_ns: Option<(u64, u64)>,
    next_kill_ns: u64,
    /// How often control has died.
    pub kills: u64,
    /// Frames between control and the data plane, both ways, that have begun their way.
    pub channel_frames: u64,
    /// The last of them: number, whether control sent it, what it was, its transaction.
    pub last_frames: VecDeque<(u64, bool, Kind, u64)>,
}

/// Channel frames that a world remembers.
const LAST_FRAMES: usize = 48;

/// When control dies: around the channel's frame of this number, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Before it has sent the frame, or before it has taken it in.
    Before(u64),
    /// When the data plane has the frame, or when control has taken it in and said nothing yet.
    After(u64),
}

impl World {
    /// A card with this many lcores that control programs with `configuration`.
    #[must_use]
    pub fn new(configuration: Configuration, lcores: usize, sizes: Sizes, seed: u64) -> Self {
        let now_ns = 1_000_000_000;
        let card = Card::new(lcores, sizes, seed, now_ns);
        let mut control = Control::new(configuration.clone(), seed);
        control.connected(now_ns);
        Self {
            now_ns,
            seed,
            card,
            control,
            hosts: Vec::new(),
            notices: Vec::new(),
            configuration,
            sizes,
            moved: 0,
            control_dead_until_ns: 0,
            control_restart_ns: 10_000_000,
            kill: None,
            kill_every_ns: None,
            next_kill_ns: 0,
            kills: 0,
            channel_frames: 0,
            last_frames: VecDeque::new(),
        }
    }

    /// `kill -9` of control. A new one, of a higher epoch and with nothing but the configuration, comes up after
    /// [`World::control_restart_ns`].
    pub fn kill_control(&mut self) {
        self.kills += 1;
        self.configuration.epoch += 1;
        self.control = Control::new(self.configuration.clone(), self.seed ^ self.kills << 16);
        self.card.housekeeping.disconnected();
        self.control_dead_until_ns = self.now_ns + self.control_restart_ns;
    }

    /// `kill -9` of the data plane; another starts at once, with nothing. Control's channel breaks and opens anew.
    pub fn kill_card(&mut self) {
        let lcores = self.card.lcores();
        self.card = Card::new(lcores, self.sizes, self.seed ^ self.now_ns, self.now_ns);
        self.moved = 0;
        self.control.disconnected(self.now_ns);
        self.control.connected(self.now_ns);
    }

    /// A successor takes the data plane over; control's channel breaks and opens anew. Answers how many bytes the state took.
    pub fn hand_over(&mut self) -> usize {
        let bytes = self.card.hand_over(self.now_ns);
        if self.control_dead_until_ns == 0 {
            self.control.disconnected(self.now_ns);
            self.control.connected(self.now_ns);
        }
        bytes
    }

    /// What a new control is to bring into being, from its next life on.
    pub fn configuration(&mut self) -> &mut Configuration {
        &mut self.configuration
    }

    /// Plugs a host in and answers its number.
    pub fn plug(&mut self, config: HostConfig) -> usize {
        let mac = config.mac;
        let seed = self.seed ^ (self.hosts.len() as u64) << 32;
        self.hosts.push(Attached {
            host: Host::new(config, self.now_ns),
            digest: 0,
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

    /// What has reached a host so far, every byte in order, as one number.
    #[must_use]
    pub fn digest(&self, index: usize) -> u64 {
        self.hosts[index].digest
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

    /// Everything once, at `now_ns`; whether anything happened on the way of hosts' I/O. What housekeeping and control do
    /// does not count, so that time passes for hosts as if control were not there.
    pub fn round(&mut self, now_ns: u64) -> bool {
        self.now_ns = now_ns;
        let mut busy = self.hosts_send();
        busy |= self.card.poll_lcores(now_ns);
        busy |= self.card.step_drives(now_ns);
        self.card.keep_house(now_ns);
        self.control_round();
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
            let moved = self.frames_moved();
            let cost_ns = ROUND_NS + FRAME_NS * (moved - self.moved);
            self.moved = moved;
            self.now_ns = if busy { self.now_ns + cost_ns } else { self.next_ns() };
        }
    }

    /// Frames that lcores have received and sent so far.
    fn frames_moved(&mut self) -> u64 {
        (0..self.card.lcores())
            .map(|lcore| {
                let counters = &self.card.lcore(lcore).core().counters;
                counters.value(Counter::RxFrames) + counters.value(Counter::TxFrames)
            })
            .sum()
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
                attached.digest = frame.chunks(8).fold(attached.digest, |digest, chunk| {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    mix(digest ^ u64::from_le_bytes(word))
                });
                attached.host.handle_frame(now_ns, &frame);
            }
        }
        busy
    }

    fn control_round(&mut self) {
        let now_ns = self.now_ns;
        if let Some((seed, longest_ns)) = self.kill_every_ns
            && now_ns >= self.next_kill_ns
        {
            self.next_kill_ns = now_ns + self.control_restart_ns + mix(seed ^ self.kills << 32) % longest_ns;
            self.kill_control();
        }
        if self.control_dead_until_ns > 0 {
            if now_ns < self.control_dead_until_ns {
                return;
            }
            self.control_dead_until_ns = 0;
            self.control.connected(now_ns);
        }
        if self.control.deadline_ns() <= now_ns {
            self.control.on_deadline(now_ns);
        }
        while let Some(frame) = self.control.poll_frame() {
            self.remember(true, &frame);
            if self.dies(Kill::Before) {
                return;
            }
            self.card.housekeeping.handle_frame(now_ns, &frame);
            if self.passed_and_dies() {
                return;
            }
        }
        while let Some(frame) = self.card.housekeeping.poll_frame() {
            self.remember(false, &frame);
            if self.dies(Kill::Before) {
                return;
            }
            self.control.handle_frame(now_ns, &frame).expect("the data plane writes frames of the contract");
            if self.passed_and_dies() {
                return;
            }
        }
        while let Some(notice) = self.control.poll_notice() {
            self.notices.push(notice);
        }
    }

    fn remember(&mut self, from_control: bool, frame: &[u8]) {
        let frame = Frame::parse(frame).expect("both sides write frames of the contract");
        if self.last_frames.len() == LAST_FRAMES {
            self.last_frames.pop_front();
        }
        self.last_frames.push_back((self.channel_frames, from_control, frame.kind, frame.transaction));
    }

    fn dies(&mut self, moment: fn(u64) -> Kill) -> bool {
        let dies = self.kill == Some(moment(self.channel_frames));
        if dies {
            self.kill = None;
            self.kill_control();
        }
        dies
    }

    fn passed_and_dies(&mut self) -> bool {
        let dies = self.dies(Kill::After);
        self.channel_frames += 1;
        dies
    }
}
