//! Two cores: the lcore and its drives on one, hosts on the other, as it is with a card. I/Os a second and latencies, which are
//! the machine's as well as the data plane's: only windows count in which neither thread was taken off its core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use gantry_bench::machine::Clock as Counter;
use gantry_bench::numbers::{Quartiles, quantile};
use gantry_cpu::Cpu;
use serde::Serialize;

use crate::alternate::{Effort, fill, finish};
use crate::case::{Case, DriveKind};
use crate::load::Load;
use crate::noise::{Noise, thread};
use crate::rig::{Far, Rig, Side, step};
use crate::wire::Wires;

/// How long a window is: less than a busy machine's time slices.
const WINDOW_NS: u64 = 1_000_000;

/// For each window of the alternating mode.
const WINDOWS: usize = 8;

/// Latencies that are kept of a window.
const KEPT: usize = 1 << 16;

/// What two cores do.
#[derive(Clone, Debug, Serialize)]
pub struct Apart {
    /// What was asked for.
    pub case: Case,
    /// Windows that count.
    pub windows: usize,
    /// Windows in which a thread waited for its core, or the core was the machine's.
    pub dropped: usize,
    /// I/Os a second, of windows.
    pub ios_per_second: Quartiles,
    /// Latency as hosts see it, their own work included, in us: 50, 99 and 99.9 %.
    pub latency_us: [f64; 3],
    /// With one command in flight, from the request's frame in the ring to the response out of it, less what the drive took
    /// meanwhile: the same shares, in us.
    pub added_us: Option<[f64; 3]>,
    /// I/Os behind these figures.
    pub ios: u64,
}

/// Measures a case on two lcores of DPDK's: this one and the first worker. None on a machine with one core.
///
/// # Errors
/// What went wrong.
pub fn measure(wires: &mut Wires, counter: &Counter, case: &Case, effort: &Effort) -> Result<Option<Apart>, String> {
    let Some(worker) = wires.eal().worker_lcores().first().copied() else { return Ok(None) };
    let mut rig = Rig::build(wires, &case.shape(effort))?;
    if case.drive != DriveKind::Null {
        fill(&mut rig, case, effort)?;
    }
    let Side { mut lcore, far, drives } = rig.sides.pop().expect("one side");
    let load = Load::new(case.plan(effort), &far.hosts, 3);
    let (clock, cpu, windows) = (rig.clock, Cpu::detect(), WINDOWS * effort.windows);
    // Ticks that the drive's steps took so far.
    let drive = Arc::new(AtomicU64::new(0));
    let (done, back) = channel();
    let target = thread();
    let given = drive.clone();
    let hosts = move || {
        let ended = Hosts { far, load, cpu, drive: given }.run(&clock, windows, &target);
        let _ = done.send(ended);
    };
    wires.eal().launch(worker, Box::new(hosts)).map_err(|error| format!("the hosts' lcore: {error}"))?;
    let mut stepped = 0;
    let ended = loop {
        for _ in 0..1024 {
            lcore.poll(clock.now_ns());
            let begun = cpu.timestamp();
            step(&drives, clock.now_ns());
            stepped += cpu.timestamp() - begun;
            drive.store(stepped, Ordering::Release);
        }
        if let Ok(ended) = back.try_recv() {
            break ended;
        }
    };
    wires.eal().wait(worker).map_err(|error| format!("the hosts' lcore: {error}"))?;
    let (far, mut load, told) = ended;
    rig.sides.push(Side { lcore, far, drives });
    load.limit = load.sent;
    finish(&mut rig, &mut load)?;
    Ok(Some(told.report(case, counter)))
}

struct Hosts {
    far: Far,
    load: Load,
    cpu: Cpu,
    drive: Arc<AtomicU64>,
}

#[derive(Default)]
struct Told {
    rates: Vec<f64>,
    dropped: usize,
    latencies_ns: Vec<u64>,
    added: Vec<u64>,
}

impl Hosts {
    fn run(mut self, clock: &crate::rig::Clock, windows: usize, target: &std::path::Path) -> (Far, Load, Told) {
        let (mut own, mut other) = (Noise::here(), Noise::of(target));
        let one = self.load.in_flight() == 1;
        let mut told = Told::default();
        let mut added: Vec<u64> = Vec::with_capacity(KEPT);
        self.load.latencies_ns = Vec::with_capacity(KEPT);
        // The first window warms up.
        for number in 0..=windows {
            let taken = (own.taken(), other.taken());
            added.clear();
            self.load.latencies_ns.clear();
            let (begun_ns, begun) = (clock.now_ns(), self.load.completed);
            let mut sent: Option<(u64, u64)> = None;
            while clock.now_ns() < begun_ns + WINDOW_NS {
                let (completed, asked) = (self.load.completed, self.load.sent);
                let (load, stepped) = (&mut self.load, &self.drive);
                let mut drive = 0;
                self.far.turn(clock, |hosts| {
                    drive = stepped.load(Ordering::Acquire);
                    load.turn(hosts);
                });
                if self.load.completed != completed
                    && let Some((at, drive_before)) = sent.take()
                    && added.len() < KEPT
                {
                    let took = self.far.wire.arrived.saturating_sub(at);
                    added.push(took.saturating_sub(drive - drive_before));
                }
                if one && self.load.sent != asked {
                    sent = Some((self.cpu.timestamp(), self.drive.load(Ordering::Acquire)));
                }
            }
            let seconds = (clock.now_ns() - begun_ns) as f64 / 1e9;
            if number == 0 {
                continue;
            }
            if (own.taken(), other.taken()) != taken || !self.load.errors.is_empty() {
                told.dropped += 1;
                continue;
            }
            told.rates.push((self.load.completed - begun) as f64 / seconds);
            told.latencies_ns.extend(&self.load.latencies_ns);
            told.added.extend(&added);
        }
        (self.far, self.load, told)
    }
}

impl Told {
    fn report(self, case: &Case, counter: &Counter) -> Apart {
        let shares = |mut us: Vec<f64>| {
            us.sort_by(f64::total_cmp);
            [0.5, 0.99, 0.999].map(|share| quantile(&us, share))
        };
        let ios = self.latencies_ns.len() as u64;
        let added = self.added.into_iter().map(|ticks| counter.us(ticks)).collect::<Vec<_>>();
        Apart {
            case: case.clone(),
            windows: self.rates.len(),
            dropped: self.dropped,
            ios_per_second: Quartiles::of(self.rates),
            latency_us: shares(self.latencies_ns.into_iter().map(|ns| ns as f64 / 1e3).collect()),
            added_us: (case.in_flight == 1).then(|| shares(added)),
            ios,
        }
    }
}
