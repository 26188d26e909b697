//! The machine: its timestamp counter in microseconds, and threads on cores of their own.

use std::thread;
use std::time::{Duration, Instant};

use gantry_cpu::Cpu;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A processor that knows how fast its counter counts.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The processor.
    pub cpu: Cpu,
    /// Ticks of its timestamp counter in a microsecond.
    pub ticks_per_us: f64,
}

impl Clock {
    /// Counts for a while.
    #[must_use]
    pub fn measure() -> Self {
        let cpu = Cpu::detect();
        let (begun, at) = (Instant::now(), cpu.timestamp());
        thread::sleep(Duration::from_millis(50));
        let ticks = cpu.timestamp() - at;
        Self { cpu, ticks_per_us: ticks as f64 / begun.elapsed().as_secs_f64() / 1e6 }
    }

    /// Now, in ticks.
    #[inline]
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.cpu.timestamp()
    }

    /// Ticks in microseconds.
    #[must_use]
    pub fn us(&self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks_per_us
    }

    /// Microseconds in ticks.
    #[must_use]
    pub fn of_us(&self, us: f64) -> u64 {
        (us * self.ticks_per_us) as u64
    }
}

/// Processors that this process may run on.
#[must_use]
pub fn processors() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect()
}

/// Keeps the calling thread on one of the processors, if there are more than one. Threads that share one are left to the kernel.
pub fn settle(thread: usize, threads: usize) {
    let processors = processors();
    if threads > 1 && threads <= processors.len() {
        let mut one = CpuSet::new();
        one.set(processors[thread]);
        // Where it is not allowed the kernel chooses, and figures are noisier.
        let _ = sched_setaffinity(None, &one);
    }
}
