//! The data plane's counters, read from its statistics segment; the layout is [`gantry::stats`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use gantry::stats::{CounterName, MAGIC, Preamble};
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U64;

use crate::vm::{Error, Result};

/// Every counter, summed over lcores.
#[derive(Clone, Debug)]
pub struct Counters {
    /// The data plane's process id.
    pub pid: u32,
    sums: Vec<(String, u64)>,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, sum) in self.sums.iter().filter(|(_, sum)| *sum > 0) {
            write!(f, "{separator}{name} {sum}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Counters {
    /// Reads the segment at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::on("reading", path))?;
        Self::parse(&bytes).ok_or_else(|| Error::Unexpected(format!("{} holds no statistics", path.display())))
    }

    /// Reads a copy of a segment.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (preamble, after) = Preamble::ref_from_prefix(bytes).ok()?;
        if preamble.magic.get() != MAGIC {
            return None;
        }
        let count = preamble.names.get() as usize;
        let (names, _) = <[CounterName]>::ref_from_prefix_with_elems(after, count).ok()?;
        let mut sums: Vec<(String, u64)> = Vec::new();
        for name in names {
            sums.push((String::from_utf8_lossy(name).trim_end_matches('\0').to_owned(), 0));
        }
        for lcore in 0..preamble.lcores.get() as usize {
            let row = preamble.rows.get() as usize + lcore * preamble.stride.get() as usize * 8;
            let (values, _) = <[U64]>::ref_from_prefix_with_elems(bytes.get(row..)?, count).ok()?;
            for ((_, sum), value) in sums.iter_mut().zip(values) {
                *sum += value.get();
            }
        }
        Some(Self { pid: preamble.pid.get(), sums })
    }

    /// What was added since `before`, which the same process wrote.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let added =
            |((name, now), (_, then)): (&(String, u64), &(String, u64))| (name.clone(), now.wrapping_sub(*then));
        Self { pid: self.pid, sums: self.sums.iter().zip(&before.sums).map(added).collect() }
    }

    /// The counter called `stage.name`; it fails loudly if there is none, for it has been renamed.
    pub fn of(&self, name: &str) -> u64 {
        let found = self.sums.iter().find(|(other, _)| other == name);
        found.unwrap_or_else(|| panic!("no counter is called {name}")).1
    }
}

/// How often [`Watch`] looks.
const LOOK: Duration = Duration::from_millis(20);

/// What the completions of I/O looked like from outside while a [`Watch`] was on.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Responses sent to hosts.
    pub responses: u64,
    /// Bytes that hosts read and wrote.
    pub bytes: u64,
    /// The longest time in which no response was sent.
    pub pause: Duration,
    /// When that pause began, since the watch's start.
    pub pause_began: Duration,
    /// What was counted during that pause.
    pub in_pause: Counters,
}

/// Looks at the counters of the segment at `path` until `end` is set.
pub fn watch(path: PathBuf, end: &AtomicBool) -> Result<Flow> {
    let start = Instant::now();
    let responses = |counters: &Counters| counters.of("s8_respond.responses");
    let bytes = |counters: &Counters| counters.of("s8_respond.read_bytes") + counters.of("s8_respond.written_bytes");
    let first = Counters::read(&path)?;
    let mut flow = Flow {
        responses: 0,
        bytes: 0,
        pause: Duration::ZERO,
        pause_began: Duration::ZERO,
        in_pause: first.since(&first),
    };
    // The last look before the count moved, so that a pause is never taken for shorter than it was.
    let (mut moved, mut then) = (start, first.clone());
    let (mut looked, mut last) = (start, first.clone());
    while !end.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
        let now = Counters::read(&path)?;
        if moved.elapsed() > flow.pause {
            (flow.pause, flow.pause_began, flow.in_pause) = (moved.elapsed(), moved - start, now.since(&then));
        }
        if responses(&now) != responses(&last) {
            (moved, then) = (looked, last);
        }
        (looked, last) = (Instant::now(), now);
    }
    let all = last.since(&first);
    (flow.responses, flow.bytes) = (responses(&all), bytes(&all));
    Ok(flow)
}

#[cfg(test)]
mod tests {
    use gantry::stats::VERSION;
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    /// Two lcores with these responses; all other counters of the flow are zero.
    fn segment(responses: [u64; 2]) -> Vec<u8> {
        let mut preamble = Preamble::new_zeroed();
        (preamble.magic, preamble.version) = (MAGIC.into(), VERSION.into());
        (preamble.lcores, preamble.names) = (2.into(), 3.into());
        (preamble.rows, preamble.stride, preamble.pid) = (256.into(), 16.into(), 77.into());
        let mut bytes = preamble.as_bytes().to_vec();
        for name in ["s8_respond.read_bytes", "s8_respond.written_bytes", "s8_respond.responses"] {
            let mut field: CounterName = [0; 64];
            field[..name.len()].copy_from_slice(name.as_bytes());
            bytes.extend_from_slice(&field);
        }
        bytes.resize(256 + 2 * 128, 0);
        for (lcore, value) in responses.into_iter().enumerate() {
            bytes[256 + lcore * 128 + 16..][..8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn rows_are_summed_and_what_is_cut_short_is_nothing() {
        let bytes = segment([5, 7]);
        let counters = Counters::parse(&bytes).expect("a segment");
        assert_eq!((counters.pid, counters.of("s8_respond.responses")), (77, 12));
        for end in 0..256 + 128 + 24 {
            assert!(Counters::parse(&bytes[..end]).is_none(), "{end} bytes");
        }
    }

    #[test]
    fn a_pause_is_seen_with_its_length() {
        let scratch = crate::vm::process::Scratch::new().expect("a folder");
        let path = scratch.join("stats");
        let write = |count| {
            // Renamed into place, as a reader must never see half of it.
            let partial = scratch.join("partial");
            fs::write(&partial, segment([count, 0])).expect("a file");
            fs::rename(&partial, &path).expect("a rename");
        };
        write(0);
        let end = AtomicBool::new(false);
        let flow = thread::scope(|scope| {
            let watching = scope.spawn(|| watch(path.clone(), &end));
            for count in 1..=60 {
                thread::sleep(Duration::from_millis(if count == 30 { 700 } else { 10 }));
                write(count);
            }
            thread::sleep(Duration::from_millis(100));
            end.store(true, Ordering::Relaxed);
            watching.join().expect("it does not panic").expect("it reads")
        });
        assert_eq!((flow.responses, flow.bytes), (60, 0));
        assert_eq!(
            flow.in_pause.to_string(),
            format!("s8_respond.responses {}", flow.in_pause.of("s8_respond.responses"))
        );
        assert!(flow.pause >= Duration::from_millis(700), "{flow:?}");
        assert!(flow.pause < Duration::from_secs(5) && flow.pause_began >= Duration::from_millis(290 - 20), "{flow:?}");
    }
}
