//! QPs come and go beside a steady load: what one created or destroyed adds to the lcore's poll, and to the others' I/O.
//!
//! One thread, as in [`alternate`](crate::alternate), and time is the lcore's own: the hosts' clock moves by what polls take. So
//! a latency is how long the lcore kept an I/O waiting, whatever hosts, drives, housekeeping and control took in between.

use std::collections::BTreeMap;

use gantry_bench::numbers::quantile;
use gantry_cpu::Cpu;
use gantry_pipeline::counters::Counter;
use gantry_sim::host::State;
use serde::Serialize;

use crate::alternate::{Effort, fill, finish, verify};
use crate::case::Case;
use crate::load::Load;
use crate::noise::{Noise, thread};
use crate::rig::{Clock, Rig};
use crate::wire::Wires;

/// I/O queue pairs that work all the time, with the base case's reads, and commands in flight on them together: so few that a
/// burst has room for the frames of those that come and go.
const STEADY: usize = 16;
const IN_FLIGHT: usize = 8;

/// Turns between two looks at what the machine took away. Polls and I/Os of those in which it took something do not count.
const CHUNK: usize = 32;

/// Turns that do not count either, behind those: I/Os of before are still under way.
const SETTLE: usize = 8;

/// Polls of one kind that must have been seen before another is compared with them.
const ENOUGH: usize = 8;

/// Turns that the coming and going of hosts may take.
const PATIENCE: usize = 2_000_000;

/// Hosts that connect at once and disconnect at once, over and over.
#[derive(Clone, Debug, Serialize)]
pub struct Crowd {
    /// Its name.
    pub name: &'static str,
    /// Hosts.
    pub hosts: usize,
    /// I/O queues of each; each has an admin queue besides.
    pub queues: u16,
}

impl Crowd {
    /// One after the other, and as many at once as a card may see when its hosts boot.
    pub const ALL: [Self; 2] = [
        Self { name: "QPs come and go one by one", hosts: 1, queues: 4 },
        Self { name: "QPs come and go, 256 at once", hosts: 4, queues: 64 },
    ];
}

/// Median, 99 % and the most, in us.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// The most.
    pub worst: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| if values.is_empty() { f64::NAN } else { quantile(&values, share) };
        Self { count: values.len(), p50: at(0.5), p99: at(0.99), worst: at(1.0) }
    }
}

/// What coming and going QPs cost.
#[derive(Clone, Debug, Serialize)]
pub struct Churned {
    /// Which.
    pub crowd: Crowd,
    /// QPs created and destroyed in chunks that count.
    pub created: u64,
    /// See there.
    pub destroyed: u64,
    /// QPs created in a second of the lcore's own time, and as many destroyed.
    pub creates_per_second: f64,
    /// Polls that changed no QP.
    pub poll: Spread,
    /// Polls that created one, over others that moved as many frames, for each QP.
    pub create: Spread,
    /// The same for polls that destroyed one.
    pub destroy: Spread,
    /// Polls that applied any batch, over others that moved as many frames.
    pub change: Spread,
    /// The others' I/Os in windows without changes.
    pub latency: Spread,
    /// The same while QPs come and go.
    pub latency_beside: Spread,
    /// What the lcore's time for a QP was, all told, from its creation to its end: its host's connection management, Connect and
    /// admin commands included.
    pub each: f64,
    /// Chunks of turns that count.
    pub chunks: usize,
    /// Chunks that were dropped.
    pub dropped: usize,
}

/// What a busy poll did.
#[derive(Clone, Copy)]
struct Poll {
    cost: u64,
    frames: (u64, u64),
    batches: u64,
    created: u64,
    retired: u64,
}

/// What windows of one kind have shown.
#[derive(Default)]
struct Shown {
    polls: Vec<Poll>,
    latencies_ns: Vec<u64>,
    ticks: u64,
    ios: u64,
}

struct Runner {
    rig: Rig,
    load: Load,
    cpu: Cpu,
    ticks_per_us: f64,
    /// The lcore's time so far, since the hosts' clock has been it.
    ticks: u64,
    begun_ns: u64,
    noise: Noise,
    chunk: Shown,
    chunks: usize,
    dropped: usize,
}

/// Measures it.
///
/// # Errors
/// What did not come about, or was not right.
pub fn measure(wires: &mut Wires, ticks_per_us: f64, crowd: &Crowd, effort: &Effort) -> Result<Churned, String> {
    let case = Case { name: crowd.name.into(), qps: STEADY, in_flight: IN_FLIGHT, ..Case::base() };
    let mut shape = case.shape(effort);
    // QPNs rest for seconds before they are used again.
    shape.sizes.qps = 1 << 15;
    let mut rig = Rig::build(wires, &shape)?;
    fill(&mut rig, &case, effort)?;
    let load = Load::new(case.plan(effort), &rig.sides[0].far.hosts, 3);
    let idle = rig.add_idle_hosts(&shape, crowd.hosts);
    let begun_ns = rig.clock.now_ns();
    let (cpu, noise) = (Cpu::detect(), effort.noise(&thread()));
    let chunk = Shown::default();
    let mut runner = Runner { rig, load, cpu, ticks_per_us, ticks: 0, begun_ns, noise, chunk, chunks: 0, dropped: 0 };
    runner.load.latencies_ns = Vec::with_capacity(1 << 16);
    let (mut without, mut with) = (Shown::default(), Shown::default());
    // The first time everything is cold.
    runner.come_and_go(crowd, idle, &mut Shown::default())?;
    for _ in 0..(effort.windows / 10).max(1) {
        let turns = runner.come_and_go(crowd, idle, &mut with)?;
        runner.turns(turns, &mut without)?;
    }
    let Runner { mut rig, mut load, chunks, dropped, .. } = runner;
    load.limit = load.sent;
    let hosts = &mut rig.sides[0].far.hosts;
    if let Some(violation) = hosts.iter().find_map(|host| host.violations().first()) {
        return Err(format!("a rule was broken: {violation:?}"));
    }
    hosts.truncate(idle);
    finish(&mut rig, &mut load)?;
    verify(&mut rig, &case, effort, &load)?;
    Ok(report(crowd, &without, &with, ticks_per_us, (chunks, dropped)))
}

impl Runner {
    /// The crowd connects, and disconnects when all are there; in how many turns.
    fn come_and_go(&mut self, crowd: &Crowd, idle: usize, shown: &mut Shown) -> Result<usize, String> {
        let all = idle..idle + crowd.hosts;
        for at in all.clone() {
            let far = &mut self.rig.sides[0].far;
            far.hosts[at].connect(&Rig::nqn(0), crowd.queues, 32, 0);
        }
        let mut turns = 0;
        for wanted in [State::Ready, State::Disconnected] {
            loop {
                self.turns(CHUNK, shown)?;
                turns += CHUNK;
                let hosts = &self.rig.sides[0].far.hosts[all.clone()];
                if let Some(State::Failed(failure)) =
                    hosts.iter().map(|host| host.state()).find(|state| matches!(state, State::Failed(_)))
                {
                    return Err(format!("{}: a host failed: {failure:?}", crowd.name));
                }
                if hosts.iter().all(|host| *host.state() == wanted) {
                    break;
                }
                if turns > PATIENCE {
                    return Err(format!("{}: hosts are not {wanted:?}", crowd.name));
                }
            }
            if wanted == State::Ready {
                self.rig.sides[0].far.hosts[all.clone()].iter_mut().for_each(|host| host.disconnect());
            }
        }
        Ok(turns)
    }

    /// So many turns, which count where the machine took nothing away.
    fn turns(&mut self, turns: usize, shown: &mut Shown) -> Result<(), String> {
        for _ in 0..turns.div_ceil(CHUNK) {
            let taken = self.noise.taken();
            self.chunk.polls.clear();
            self.load.latencies_ns.clear();
            let (ticks, ios) = (self.ticks, self.load.completed);
            (0..CHUNK).for_each(|_| self.turn());
            self.load.right()?;
            if self.noise.taken() != taken {
                self.dropped += 1;
                (0..SETTLE).for_each(|_| self.turn());
                continue;
            }
            self.chunks += 1;
            shown.polls.append(&mut self.chunk.polls);
            shown.latencies_ns.append(&mut self.load.latencies_ns);
            shown.ticks += self.ticks - ticks;
            shown.ios += self.load.completed - ios;
        }
        Ok(())
    }

    fn turn(&mut self) {
        let Self { rig, load, cpu, .. } = self;
        let (clock, side) = (rig.clock, &mut rig.sides[0]);
        let own = Clock::still(self.begun_ns + (self.ticks as f64 * 1e3 / self.ticks_per_us) as u64);
        // Those that come and go are behind those that stay, and have no I/O.
        side.far.turn(&own, |hosts| load.turn(hosts));
        side.step_drives(clock.now_ns());
        let before = Seen::of(&mut side.lcore);
        let now_ns = clock.now_ns();
        let begun = cpu.timestamp();
        let busy = side.lcore.poll(now_ns);
        let cost = cpu.timestamp().wrapping_sub(begun);
        self.ticks += cost;
        if busy {
            let seen = Seen::of(&mut side.lcore);
            self.chunk.polls.push(Poll {
                cost,
                frames: (seen.0[0] - before.0[0], seen.0[1] - before.0[1]),
                batches: seen.0[2] - before.0[2],
                created: seen.0[3] - before.0[3],
                retired: seen.0[4] - before.0[4],
            });
        }
        rig.keep_house();
    }
}

/// Frames in and out, batches, QPs created and retired.
struct Seen([u64; 5]);

impl Seen {
    fn of<P: gantry_pipeline::port::Port, X: gantry_pipeline::exchange::Exchange<P>>(
        lcore: &mut gantry_pipeline::Lcore<P, X>,
    ) -> Self {
        let core = lcore.core();
        let value = |counter| core.counters.value(counter);
        Self([
            value(Counter::RxFrames),
            value(Counter::TxFrames),
            core.batches,
            value(Counter::QpsCreated),
            value(Counter::QpsRetired),
        ])
    }
}

fn report(
    crowd: &Crowd,
    without: &Shown,
    with: &Shown,
    ticks_per_us: f64,
    (chunks, dropped): (usize, usize),
) -> Churned {
    let us = |ticks: f64| ticks / ticks_per_us;
    // What polls take that change nothing, by how many frames they move.
    let mut usual: BTreeMap<(u64, u64), Vec<f64>> = BTreeMap::new();
    let all = || with.polls.iter().chain(&without.polls);
    for poll in all().filter(|poll| poll.batches == 0) {
        usual.entry(poll.frames).or_default().push(poll.cost as f64);
    }
    let usual: BTreeMap<(u64, u64), f64> = usual
        .into_iter()
        .filter(|(_, costs)| costs.len() >= ENOUGH)
        .map(|(frames, mut costs)| {
            costs.sort_by(f64::total_cmp);
            (frames, quantile(&costs, 0.5))
        })
        .collect();
    let over = |poll: &Poll| Some(us(poll.cost as f64 - usual.get(&poll.frames)?));
    let by = |count: fn(&Poll) -> u64| {
        let each = |poll: &Poll| Some(over(poll)? / count(poll) as f64);
        Spread::of(with.polls.iter().filter(|poll| count(poll) > 0).filter_map(each).collect())
    };
    let latencies = |shown: &Shown| Spread::of(shown.latencies_ns.iter().map(|ns| *ns as f64 / 1e3).collect());
    let created: u64 = with.polls.iter().map(|poll| poll.created).sum();
    let an_io = without.ticks as f64 / without.ios as f64;
    Churned {
        crowd: crowd.clone(),
        created,
        destroyed: with.polls.iter().map(|poll| poll.retired).sum(),
        creates_per_second: created as f64 / us(with.ticks as f64) * 1e6,
        poll: Spread::of(all().filter(|poll| poll.batches == 0).map(|poll| us(poll.cost as f64)).collect()),
        create: by(|poll| if poll.retired == 0 { poll.created } else { 0 }),
        destroy: by(|poll| if poll.created == 0 { poll.retired } else { 0 }),
        change: Spread::of(with.polls.iter().filter(|poll| poll.batches > 0).filter_map(over).collect()),
        latency: latencies(without),
        latency_beside: latencies(with),
        each: us(with.ticks as f64 - an_io * with.ios as f64) / created as f64,
        chunks,
        dropped,
    }
}
