//! Where a poll's cycles go: the timestamp counter between two stages, where the feature `stages` is on. Without it, which is how the
//! product is built, nothing of this is there. The I/O benchmark reads it.

use gantry_cpu::Cpu;

/// What is told apart, in the order of a poll. `s4_capsule` is with what it hands to s5 at once; `poll` is the walk itself,
/// changes that are applied and reports.
pub const NAMES: [&str; 10] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];

/// Cycles of each stage, and since when the next is running.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    #[cfg(feature = "stages")]
    since: u64,
    #[cfg(feature = "stages")]
    cycles: [u64; NAMES.len()],
}

impl Stages {
    /// A stage begins.
    #[inline(always)]
    pub fn begin(&mut self, cpu: Cpu) {
        #[cfg(feature = "stages")]
        {
            self.since = cpu.timestamp();
        }
        let _ = cpu;
    }

    /// Stage `number` ends, and the next begins.
    #[inline(always)]
    pub fn end(&mut self, number: usize, cpu: Cpu) {
        #[cfg(feature = "stages")]
        {
            let now = cpu.timestamp();
            self.cycles[number] += now.wrapping_sub(self.since);
            self.since = now;
        }
        let _ = (number, cpu);
    }

    /// Cycles so far; none where the feature is off.
    #[must_use]
    pub fn cycles(&self) -> Option<[u64; NAMES.len()]> {
        #[cfg(feature = "stages")]
        return Some(self.cycles);
        #[cfg(not(feature = "stages"))]
        None
    }
}
