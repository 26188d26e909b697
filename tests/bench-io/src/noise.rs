//! What the machine took away: time that this thread waited for a processor, and that the processor waited for the machine.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

/// Where the kernel tells it. What it does not tell counts as nothing.
pub struct Noise {
    schedule: Option<File>,
    statistics: Option<File>,
    buffer: Vec<u8>,
}

/// Counted from the thread's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Nanoseconds that this thread was ready and did not run.
    waited_ns: u64,
    /// Ticks that the machine's processors were another's.
    stolen: u64,
}

impl Noise {
    /// Of a machine that is not asked: nothing is ever taken.
    #[must_use]
    pub fn unknown() -> Self {
        Self { schedule: None, statistics: None, buffer: Vec::new() }
    }

    /// Of any thread, by its folder; see [`thread`].
    #[must_use]
    pub fn of(thread: &Path) -> Self {
        let schedule = File::open(thread.join("schedstat")).ok();
        Self { schedule, statistics: File::open("/proc/stat").ok(), buffer: Vec::with_capacity(1 << 16) }
    }

    /// What was taken so far.
    pub fn taken(&mut self) -> Taken {
        let waited_ns = Self::field(&mut self.schedule, &mut self.buffer, 1);
        // "cpu  user nice system idle iowait irq softirq steal": the first field behind the name is doubly separated.
        let stolen = Self::field(&mut self.statistics, &mut self.buffer, 8);
        Taken { waited_ns, stolen }
    }

    fn field(file: &mut Option<File>, buffer: &mut Vec<u8>, at: usize) -> u64 {
        let Some(file) = file else { return 0 };
        buffer.clear();
        if file.rewind().is_err() || file.read_to_end(buffer).is_err() {
            return 0;
        }
        let text = String::from_utf8_lossy(buffer);
        text.split_ascii_whitespace().nth(at).and_then(|field| field.parse().ok()).unwrap_or(0)
    }
}

/// The calling thread's folder, for others to look at.
#[must_use]
pub fn thread() -> PathBuf {
    std::fs::read_link("/proc/thread-self").map_or_else(|_| PathBuf::new(), |own| Path::new("/proc").join(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_shares_its_processor_has_waited() {
        let mut noise = Noise::of(&thread());
        let before = noise.taken();
        let busy = || (0..30_000_000_u64).fold(1, |sum: u64, at| std::hint::black_box(sum.wrapping_mul(31) ^ at));
        std::thread::scope(|scope| {
            let threads = 2 * std::thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(busy)));
            busy();
        });
        assert!(noise.taken().waited_ns > before.waited_ns, "{:?}", noise.taken());
    }
}
