//! Two cores: the lcore and its drives on one, hosts on the other, as it is with a card. I/Os a second and latencies, which are
//! the machine's as well as the data plane's: only windows count in which neither thread was taken off its core.

use std::hint;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use gantry_bench::machine::Clock as Counter;
use gantry_bench::numbers::{Quartiles, quantile};
use gantry_cpu::Cpu;
use rte_rs::{Eal, LcoreId};
use serde::Serialize;

use crate::alternate::{Effort, Elsewhere, fill, remove_file, verify};
use crate::case::{Case, DriveKind, Pass};
use crate::load::Load;
use crate::noise::thread;
use crate::rig::{Clock, Far, Rig, Side, step};
use crate::wire::Wires;

/// How long a window is: less than a busy machine's time slices.
const WINDOW_NS: u64 = 1_000_000;

/// For each window of the alternating mode.
const WINDOWS: usize = 4;

/// So many times fewer where caches are to be cold, which takes some ten times as long as what comes then.
const FEWER: usize = 12;

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
    /// I/Os of all windows over their time: with loss, some windows wait for a timer and for nothing else.
    pub mean_ios_per_second: f64,
    /// Latency as hosts see it, their own work included, in us: 50, 99 and 99.9 %.
    pub latency_us: [f64; 3],
    /// With one command in flight, from the request's frame in the ring to the response out of it, less what the drive took
    /// meanwhile: the same shares, in us.
    pub added_us: Option<[f64; 3]>,
    /// I/Os behind these figures.
    pub ios: u64,
    /// All that the two cores completed, in windows that do not count and after the last too.
    pub completed: u64,
}

/// Measures a case on two lcores of DPDK's: this one and the first worker. None on a machine with one core.
///
/// # Errors
/// What went wrong, or was not right.
pub fn measure(wires: &mut Wires, counter: &Counter, case: &Case, effort: &Effort) -> Result<Option<Apart>, String> {
    let Some(worker) = wires.eal().worker_lcores().first().copied() else { return Ok(None) };
    let mut rig = Rig::build(wires, &case.shape(effort))?;
    let measured = measure_in(&mut rig, wires.eal(), worker, case, effort);
    remove_file();
    let told = measured.map_err(|error| format!("{} on two cores: {error}", case.name))?;
    Ok(Some(told.report(case, counter)))
}

fn measure_in(rig: &mut Rig, eal: &Eal, worker: LcoreId, case: &Case, effort: &Effort) -> Result<Told, String> {
    if case.drive != DriveKind::Null {
        fill(rig, case, effort)?;
    }
    rig.lose(case.loss);
    let Side { mut lcore, far, drives } = rig.sides.pop().expect("one side");
    let load = Load::new(case.plan(effort), &far.hosts, 3);
    let (clock, cpu) = (rig.clock, Cpu::detect());
    let between = Arc::new(Between::default());
    let (done, back) = channel();
    let (target, given, of, how) = (thread(), between.clone(), case.clone(), *effort);
    let hosts = move || {
        let ended = Hosts { far, load, cpu, between: given, sent: None }.run(&clock, &of, &how, &target);
        let _ = done.send(ended);
    };
    eal.launch(worker, Box::new(hosts)).map_err(|error| format!("the hosts' lcore: {error}"))?;
    let (mut stepped, mut walked, mut elsewhere) = (0, 0, Elsewhere::of(case));
    let ended = loop {
        for _ in 0..1024 {
            lcore.poll(clock.now_ns());
            let begun = cpu.timestamp();
            step(&drives, clock.now_ns());
            stepped += cpu.timestamp() - begun;
            between.stepped.store(stepped, Ordering::Release);
            let asked = between.asked.load(Ordering::Acquire);
            if asked != walked {
                elsewhere.walk();
                walked = asked;
                between.walked.store(walked, Ordering::Release);
            }
        }
        if let Ok(ended) = back.try_recv() {
            break ended;
        }
    };
    eal.wait(worker).map_err(|error| format!("the hosts' lcore: {error}"))?;
    let (far, load, told) = ended;
    rig.sides.push(Side { lcore, far, drives });
    load.right()?;
    verify(rig, case, effort, &load)?;
    Ok(told)
}

/// What the two cores tell each other.
#[derive(Default)]
struct Between {
    /// Ticks that the drives' steps took so far.
    stepped: AtomicU64,
    /// How often the lcore's core is to walk over memory elsewhere.
    asked: AtomicU64,
    /// How often it has.
    walked: AtomicU64,
}

struct Hosts {
    far: Far,
    load: Load,
    cpu: Cpu,
    between: Arc<Between>,
    /// When the one command in flight was sent, and what drives had taken by then, in ticks.
    sent: Option<(u64, u64)>,
}

#[derive(Default)]
struct Told {
    rates: Vec<f64>,
    /// In the windows that count.
    ios: u64,
    /// In all.
    completed: u64,
    seconds: f64,
    dropped: usize,
    latencies_ns: Vec<u64>,
    added: Vec<u64>,
}

impl Hosts {
    fn run(mut self, clock: &Clock, case: &Case, effort: &Effort, target: &Path) -> (Far, Load, Told) {
        let (mut own, mut other) = (effort.noise(&thread()), effort.noise(target));
        let windows = WINDOWS * effort.windows;
        let windows = if case.pass == Pass::Usual { windows } else { (windows / FEWER).max(2) };
        let mut told = Told::default();
        let mut added: Vec<u64> = Vec::with_capacity(KEPT);
        self.load.latencies_ns = Vec::with_capacity(KEPT);
        // The first window warms up.
        for number in 0..=windows {
            self.begin_pass(clock, case);
            let taken = (own.taken(), other.taken());
            added.clear();
            self.load.latencies_ns.clear();
            let (begun_ns, begun) = (clock.now_ns(), self.load.completed);
            match case.pass {
                Pass::Usual => loop {
                    self.turn(clock, &mut added);
                    if clock.now_ns() >= begun_ns + WINDOW_NS {
                        break;
                    }
                },
                Pass::First | Pass::Second => self.complete(clock, case.pass_ios(), &mut added),
            }
            let seconds = (clock.now_ns() - begun_ns) as f64 / 1e9;
            if number == 0 {
                continue;
            }
            if (own.taken(), other.taken()) != taken || !self.load.errors.is_empty() {
                told.dropped += 1;
                continue;
            }
            let completed = self.load.completed - begun;
            told.rates.push(completed as f64 / seconds);
            told.ios += completed;
            told.seconds += seconds;
            told.latencies_ns.extend(&self.load.latencies_ns);
            told.added.extend(&added);
        }
        self.drain(clock);
        told.completed = self.load.completed;
        (self.far, self.load, told)
    }

    /// Leaves in the lcore's caches what the case wants to find there, with nothing in flight but for the usual.
    fn begin_pass(&mut self, clock: &Clock, case: &Case) {
        if case.pass == Pass::Usual {
            return;
        }
        self.drain(clock);
        let asked = self.between.asked.fetch_add(1, Ordering::AcqRel) + 1;
        while self.between.walked.load(Ordering::Acquire) != asked {
            hint::spin_loop();
        }
        // Hosts stamp a command with the time that they were told last.
        self.turn(clock, &mut Vec::new());
        self.load.limit = u64::MAX;
        if case.pass == Pass::Second {
            self.complete(clock, case.pass_ios(), &mut Vec::new());
        }
    }

    /// Turns until nothing is in flight, or something was wrong.
    fn drain(&mut self, clock: &Clock) {
        self.load.limit = self.load.sent;
        let begun_ns = clock.now_ns();
        while !self.load.is_idle() && self.load.errors.is_empty() {
            self.turn(clock, &mut Vec::new());
            self.load.give_up(clock.now_ns() - begun_ns);
        }
    }

    /// Turns until so many more I/Os are done, or something was wrong.
    fn complete(&mut self, clock: &Clock, ios: u64, added: &mut Vec<u64>) {
        let (until, begun_ns) = (self.load.completed + ios, clock.now_ns());
        while self.load.completed < until && self.load.errors.is_empty() {
            self.turn(clock, added);
            self.load.give_up(clock.now_ns() - begun_ns);
        }
    }

    /// Hosts have their turn. With one command in flight, what was added to it is noted while there is room.
    fn turn(&mut self, clock: &Clock, added: &mut Vec<u64>) {
        let (completed, asked) = (self.load.completed, self.load.sent);
        let (load, stepped) = (&mut self.load, &self.between.stepped);
        let mut drive = 0;
        self.far.turn(clock, |hosts| {
            drive = stepped.load(Ordering::Acquire);
            load.turn(hosts);
        });
        if self.load.completed != completed
            && let Some((at, drive_before)) = self.sent.take()
            && added.len() < added.capacity()
        {
            let took = self.far.wire.arrived.saturating_sub(at);
            added.push(took.saturating_sub(drive - drive_before));
        }
        if self.load.in_flight() == 1 && self.load.sent != asked {
            self.sent = Some((self.cpu.timestamp(), self.between.stepped.load(Ordering::Acquire)));
        }
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
            mean_ios_per_second: self.ios as f64 / self.seconds,
            latency_us: shares(self.latencies_ns.into_iter().map(|ns| ns as f64 / 1e3).collect()),
            added_us: (case.in_flight == 1).then(|| shares(added)),
            ios,
            completed: self.completed,
        }
    }
}
