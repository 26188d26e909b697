//! Hosts with verified I/O, each with a load of its own, and the table of what they got.

use std::fmt::Write as _;

use gantry_drive::Latency;
use gantry_pipeline::tables::mix;

use super::{Live, Report};
use crate::host::State;
use crate::workload::{Latencies, Plan, Workload};
use crate::world::{World, nqn};

pub(super) const MICROSECOND: u64 = 1_000;
pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

/// Bytes of a block.
pub(super) const BLOCK: u32 = 512;

/// What a host does.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// On which drive.
    pub(super) drive: usize,
    pub(super) queues: u16,
    pub(super) depth: usize,
    /// Bytes of each command.
    pub(super) length: u32,
    /// Of 100.
    pub(super) reads: u32,
    /// Blocks of the drive that it uses, from the first. Who writes has the drive to itself, or what is read could not be
    /// verified.
    pub(super) blocks: u64,
}

pub(super) struct Member {
    pub(super) name: String,
    pub(super) host: usize,
    pub(super) workload: Workload,
    /// Takes part: otherwise it submits nothing.
    pub(super) active: bool,
    /// Commands at the beginning of the phase.
    completed_before: u64,
    bytes_before: u64,
    retransmitted_before: u64,
    last_ns: u64,
    longest_pause_ns: u64,
    errors_told: usize,
}

/// What a host got in a phase.
pub(super) struct Figures {
    pub(super) iops: f64,
    pub(super) megabytes: f64,
    pub(super) latencies: Latencies,
    /// Longest time without a completion.
    pub(super) pause_ns: u64,
    pub(super) retransmitted: u64,
}

/// Rates of every host's link and of the card's, in bits a second.
pub(super) fn links(world: &mut World, host_bps: u64, card_bps: u64) {
    for host in 0..world.hosts() {
        let (up, down) = world.link(host);
        (up.weather.rate_bps, down.weather.rate_bps) = (host_bps, host_bps);
    }
    let station = world.target_station(0);
    let (up, down) = world.network().link(station);
    (up.weather.rate_bps, down.weather.rate_bps) = (card_bps, card_bps);
}

/// What commands take on every drive: a base, as much again by chance, and now and then a slow one.
pub(super) fn flash(world: &mut World, drives: usize, base_ns: u64) {
    for drive in 0..drives {
        let faults = world.card().faults(&format!("d{drive}")).expect("drives are up");
        let seed = mix(drive as u64);
        let tail_ns = 5 * base_ns;
        let latency = Latency { seed, base_ns, jitter_ns: base_ns / 2, tail_of_10_000: 20, tail_ns };
        faults.lock().latency = Some(latency);
    }
}

/// All hosts of a scenario.
#[derive(Default)]
pub(super) struct Crew {
    pub(super) members: Vec<Member>,
    /// When the phase began.
    begun_ns: u64,
}

impl Crew {
    /// Plugs a host in and connects it.
    pub(super) fn join(&mut self, world: &mut World, name: &str, load: &Load, report: &mut Report) {
        let host = world.add_host();
        world.host(host).connect(&nqn(load.drive), load.queues, 128, 5_000);
        world.run_until(10 * SECOND, |world| !matches!(world.host(host).state(), State::Connecting));
        let state = *world.host(host).state();
        report.check(state == State::Ready, || format!("{name} did not connect: {state:?}"));
        let plan = Plan {
            nsid: 1,
            blocks: load.blocks,
            block_size: BLOCK,
            queues: load.queues,
            depth: load.depth,
            lengths: vec![load.length],
            reads: load.reads,
            seed: mix(host as u64),
        };
        self.members.push(Member {
            name: name.to_owned(),
            host,
            workload: Workload::new(plan),
            active: true,
            completed_before: 0,
            bytes_before: 0,
            retransmitted_before: 0,
            last_ns: 0,
            longest_pause_ns: 0,
            errors_told: 0,
        });
    }

    /// A phase begins: figures count from here.
    pub(super) fn begin(&mut self, world: &mut World) {
        self.begun_ns = world.now_ns();
        for member in &mut self.members {
            member.completed_before = member.workload.completed;
            member.bytes_before = member.bytes();
            member.retransmitted_before = world.host(member.host).counters().retransmitted;
            member.workload.take_latencies();
            (member.last_ns, member.longest_pause_ns) = (self.begun_ns, 0);
        }
    }

    /// I/O for so long. `meanwhile` is asked in every round what happens, and answers when it wants to be asked again.
    pub(super) fn run(
        &mut self,
        world: &mut World,
        length_ns: u64,
        live: Live<'_>,
        mut meanwhile: impl FnMut(&mut World) -> u64,
    ) {
        let end_ns = world.now_ns() + length_ns;
        for member in self.members.iter_mut().filter(|member| member.active) {
            member.workload.turn(world.host(member.host));
        }
        for round in 0_u32.. {
            let next_ns = meanwhile(world);
            world.round(world.now_ns());
            self.tend(world);
            if round.is_multiple_of(1024) {
                self.tell(world, live);
            }
            if world.now_ns() >= end_ns {
                break;
            }
            world.pass_time(end_ns.min(next_ns));
        }
        for member in &mut self.members {
            member.longest_pause_ns = member.longest_pause_ns.max(world.now_ns() - member.last_ns);
        }
    }

    fn tend(&mut self, world: &mut World) {
        let now_ns = world.now_ns();
        while let Some(host) = world.next_stirred() {
            let Some(place) = self.place_of(host) else { continue };
            let member = &mut self.members[place];
            let before = member.workload.completed;
            let host = world.host(host);
            if member.active {
                member.workload.turn(host);
            } else {
                member.workload.drain(host);
            }
            if member.workload.completed > before {
                member.longest_pause_ns = member.longest_pause_ns.max(now_ns - member.last_ns);
                member.last_ns = now_ns;
            }
        }
    }

    fn place_of(&self, host: usize) -> Option<usize> {
        // Most often nobody else is plugged in.
        if self.members.get(host).is_some_and(|member| member.host == host) {
            return Some(host);
        }
        self.members.iter().position(|member| member.host == host)
    }

    fn tell(&self, world: &World, live: Live<'_>) {
        live(&|| {
            let commands: u64 = self.members.iter().map(|member| member.workload.completed).sum();
            format!("{:.6} s of virtual time, {commands} commands", world.now_ns() as f64 / 1e9)
        });
    }

    /// What each got since [`Crew::begin`], in the order of joining.
    pub(super) fn figures(&mut self, world: &mut World) -> Vec<Figures> {
        let seconds = (world.now_ns() - self.begun_ns) as f64 / 1e9;
        let figures = self.members.iter_mut().map(|member| Figures {
            iops: (member.workload.completed - member.completed_before) as f64 / seconds,
            megabytes: (member.bytes() - member.bytes_before) as f64 / seconds / 1e6,
            latencies: member.workload.take_latencies(),
            pause_ns: member.longest_pause_ns,
            retransmitted: world.host(member.host).counters().retransmitted - member.retransmitted_before,
        });
        figures.collect()
    }

    /// The table of a phase.
    pub(super) fn table(&self, title: &str, figures: &[Figures]) -> String {
        let mut text = format!(
            "{title}\n{:<14}{:>9}{:>9}{:>10}{:>10}{:>10}{:>12}{:>8}\n",
            "host", "IOPS", "MB/s", "p50 us", "p99 us", "p99.9 us", "pause us", "resent"
        );
        for (member, figures) in self.members.iter().zip(figures).filter(|(member, _)| member.active) {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| figures.latencies.quantile_ns(share) as f64 / 1e3);
            let _ = writeln!(
                text,
                "{:<14}{:>9.0}{:>9.1}{p50:>10.1}{p99:>10.1}{p999:>10.1}{:>12.1}{:>8}",
                member.name,
                figures.iops,
                figures.megabytes,
                figures.pause_ns as f64 / 1e3,
                figures.retransmitted
            );
        }
        text
    }

    /// What is in flight ends; hosts leave; everything must have been right, and everything is given back.
    pub(super) fn end(&mut self, world: &mut World, live: Live<'_>, report: &mut Report) {
        for member in &mut self.members {
            member.active = false;
        }
        let quiet = |crew: &mut Self, world: &mut World| {
            crew.members.iter_mut().all(|member| member.workload.drain(world.host(member.host)))
        };
        let end_ns = world.now_ns() + 60 * SECOND;
        while !quiet(self, world) && world.now_ns() < end_ns {
            self.run(world, MILLISECOND, live, |_| u64::MAX);
        }
        report.check(quiet(self, world), || "commands do not end".to_owned());
        for member in &mut self.members {
            member.judge(world, report);
            if *world.host(member.host).state() == State::Ready {
                world.host(member.host).disconnect();
            }
            report.digest = mix(report.digest ^ world.digest(member.host));
        }
        let hosts: Vec<usize> = self.members.iter().map(|member| member.host).collect();
        let gone = world.run_until(10 * SECOND, |world| {
            hosts.iter().all(|host| !matches!(world.host(*host).state(), State::Ready | State::Disconnecting))
        });
        report.check(gone, || "a host cannot leave".to_owned());
        let at_rest = world.run_until(90 * SECOND, |world| taken(world).is_none());
        report.check(at_rest, || taken(world).unwrap_or_default());
    }
}

impl Member {
    fn bytes(&self) -> u64 {
        self.workload.bytes_read + self.workload.bytes_written
    }

    /// Errors are looked at once.
    pub(super) fn judge(&mut self, world: &mut World, report: &mut Report) {
        let errors = &self.workload.errors[self.errors_told..];
        self.errors_told = self.workload.errors.len();
        report.check(errors.is_empty(), || format!("{}: {} errors, first: {}", self.name, errors.len(), errors[0]));
        let violations = world.host(self.host).violations();
        report.check(violations.is_empty(), || format!("{}: the target broke a rule: {:?}", self.name, violations[0]));
    }
}

/// What of the card's is taken though nobody is there.
fn taken(world: &mut World) -> Option<String> {
    let card = world.card();
    for lcore in 0..card.lcores() {
        let core = card.lcore(lcore).core();
        let free = core.commands.free() == core.commands.capacity()
            && core.memory.free_pages() == core.memory.capacity()
            && core.reader.entries().0 == 0;
        if !free {
            return Some(format!("lcore {lcore}: commands, pages or QPs were not given back"));
        }
    }
    None
}
