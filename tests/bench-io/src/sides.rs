//! Two lcores of one data plane, each alternating with its own hosts and drive on its own core: what the second costs the first.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};

use gantry_bench::numbers::{Median, Quartiles};
use gantry_cpu::Cpu;
use serde::Serialize;

use crate::alternate::{Effort, Seen, Window, filling, run_window};
use crate::case::Case;
use crate::load::Load;
use crate::noise::{Noise, thread};
use crate::rig::{Clock, Rig, Shape, Side};
use crate::wire::Wires;

/// What two lcores do, beside one.
#[derive(Clone, Debug, Serialize)]
pub struct Sides {
    /// Pairs of windows that count: one lcore alone, then both.
    pub pairs: usize,
    /// Pairs in which a thread was taken off its core.
    pub dropped: usize,
    /// Busy cycles an I/O of one lcore while the other rests.
    pub alone: Median,
    /// Of each while both run.
    pub both: [Median; 2],
    /// I/Os a busy cycle of both over those of one, by pairs.
    pub scale: Quartiles,
}

/// Measures a case. None on a machine with one core.
///
/// # Errors
/// What went wrong.
pub fn measure(wires: &mut Wires, case: &Case, effort: &Effort) -> Result<Option<Sides>, String> {
    let Some(worker) = wires.eal().worker_lcores().first().copied() else { return Ok(None) };
    let mut rig = Rig::build(wires, &Shape { sides: 2, ..case.shape(effort) })?;
    let clock = rig.clock;
    let mut runner = |seed| Runner::new(rig.sides.pop().expect("two sides"), case, effort, clock, seed);
    let (second, mut first) = (runner(4), runner(3));
    first.warm_up(case, effort)?;
    let ios = first.ios;
    let gate = Arc::new(Barrier::new(2));
    let (done, back) = channel();
    let (theirs, of, how) = (gate.clone(), case.clone(), *effort);
    let run = move || {
        let mut second = second;
        // It looks at its own thread.
        second.noise = how.noise(&thread());
        let warm = second.warm_up(&of, &how);
        second.ios = ios;
        let mut seen = Vec::with_capacity(how.windows);
        for _ in 0..how.windows {
            // The first alone; then both.
            theirs.wait();
            theirs.wait();
            seen.push(second.window());
        }
        let _ = done.send(warm.and_then(|()| second.load.right()).map(|()| seen));
    };
    wires.eal().launch(worker, Box::new(run)).map_err(|error| format!("the second lcore: {error}"))?;
    let (mut alone, mut both) = (Vec::new(), Vec::new());
    for _ in 0..effort.windows {
        alone.push(first.window());
        gate.wait();
        gate.wait();
        both.push(first.window());
    }
    wires.eal().wait(worker).map_err(|error| format!("the second lcore: {error}"))?;
    let second = back.recv().map_err(|_| "the second lcore said nothing".to_owned())??;
    first.load.right()?;
    Ok(Some(report(&alone, &both, &second)))
}

fn report(alone: &[Window], both: &[Window], second: &[Window]) -> Sides {
    let cost = |window: &Window| window.cycles as f64 / window.ios as f64;
    let triples = alone.iter().zip(both).zip(second).map(|((alone, first), second)| [*alone, *first, *second]);
    let kept: Vec<[Window; 3]> = triples.filter(|all| all.iter().all(|window| !window.preempted)).collect();
    let costs = |at: usize| kept.iter().map(|all| cost(&all[at])).collect::<Vec<_>>();
    let scale = kept.iter().map(|[alone, first, second]| cost(alone) * (1.0 / cost(first) + 1.0 / cost(second)));
    Sides {
        pairs: kept.len(),
        dropped: alone.len() - kept.len(),
        alone: Median::of(costs(0)),
        both: [Median::of(costs(1)), Median::of(costs(2))],
        scale: Quartiles::of(scale.collect()),
    }
}

/// A side and its load, on the thread that has it.
struct Runner {
    side: Side,
    load: Load,
    clock: Clock,
    cpu: Cpu,
    noise: Noise,
    saw: Seen,
    polls: Vec<u32>,
    ios: u64,
}

impl Runner {
    fn new(side: Side, case: &Case, effort: &Effort, clock: Clock, seed: u64) -> Self {
        let load = Load::new(case.plan(effort), &side.far.hosts, seed);
        let (cpu, noise, saw, polls) = (Cpu::detect(), effort.noise(&thread()), Seen::default(), Vec::new());
        Self { side, load, clock, cpu, noise, saw, polls, ios: 64 }
    }

    /// Fills the drive and finds out how long a window is.
    fn warm_up(&mut self, case: &Case, effort: &Effort) -> Result<(), String> {
        let mut filling = Load::new(filling(case, effort), &self.side.far.hosts, 1);
        filling.limit = filling.places() * case.drives as u64;
        std::mem::swap(&mut self.load, &mut filling);
        while !(self.load.sent == self.load.limit && self.load.is_idle()) {
            let left = self.load.limit - self.load.completed;
            self.ios = left.clamp(1, 8);
            self.window();
            self.load.right()?;
        }
        std::mem::swap(&mut self.load, &mut filling);
        self.ios = 8 * case.in_flight as u64;
        let window = self.window();
        self.ios = ((effort.window_cycles * window.ios as f64 / window.cycles as f64) as u64).max(self.ios / 4);
        self.load.right()
    }

    fn window(&mut self) -> Window {
        let taken = self.noise.taken();
        let (ways, saw, polls) = ((&self.clock, &self.cpu), &mut self.saw, &mut self.polls);
        let mut window = run_window(&mut self.side, ways, &mut self.load, self.ios, saw, polls);
        window.preempted = self.noise.taken() != taken;
        window
    }
}
