//! The machine: its timestamp counter in microseconds, and threads on cores of their own.

use std::sync::OnceLock;
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

/// What takes longer than this, of bursts that take a few microseconds, was interrupted by the kernel or the host: far less than a
/// time slice.
pub const INTERRUPTED_US: f64 = 40.0;

/// Processors that this process was allowed to run on when it first asked: threads that [`settle`] are allowed fewer.
#[must_use]
pub fn processors() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect()
    })
}

/// Keeps the calling thread on a processor of its own, of which there have to be as many as threads. If there are fewer, all
/// threads may be on all of them. Threads that this one starts inherit it, until they settle themselves.
pub fn settle(thread: usize, threads: usize) {
    let mut set = CpuSet::new();
    match processors() {
        processors if threads <= processors.len() => set.set(processors[thread]),
        processors => processors.iter().for_each(|processor| set.set(*processor)),
    }
    // Where it is not allowed the kernel chooses, and figures are noisier.
    let _ = sched_setaffinity(None, &set);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_settle_apart_and_one_that_has_settled_does_not_narrow_the_next() {
        let all = processors().to_vec();
        let allowed = || {
            let set = sched_getaffinity(None).unwrap();
            (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect::<Vec<_>>()
        };
        thread::spawn(move || {
            settle(0, 1);
            assert_eq!(allowed(), all[..1]);
            let last = all.len() - 1;
            thread::spawn(move || {
                settle(last, last + 1);
                assert_eq!(allowed(), all[last..]);
                settle(0, last + 2);
                assert_eq!(allowed(), all);
            })
            .join()
            .unwrap();
        })
        .join()
        .unwrap();
    }
}
