//! Gantry's processes die under a host's I/O, and the host loses nothing.
//!
//! The scenarios run like the interop suite's, against Gantry on drives that are files. The campaign that kills control
//! around every frame of the channel is in the simulator's own tests; here a real kernel is the judge.

mod control;
mod dataplane;
mod host;
mod pauses;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::vm::{Error, Result};

use super::scenario::{Scenario, ensure};
use super::{Fio, Gantry, Host, Report};

macro_rules! scenarios {
    ($($name:literal, $shows:literal, $may_stall:literal, $run:expr;)*) => {
        &[$(Scenario { name: $name, shows: $shows, may_stall: $may_stall, run: $run }),*]
    };
}

/// All of them.
pub const ALL: &[Scenario<Gantry>] = scenarios![
    "kill-control", "control is killed again and again under I/O, admin commands and connections", false, control::killed;
    "two-controls", "a second control takes the data plane over, and the first one says so", false, control::superseded;
    "kill-dataplane", "the data plane is killed under I/O: the host returns by itself to the same drives", true,
        dataplane::killed;
    "vanished-host", "a host is cut off with writes under way, and returns", true, host::vanished;
];

/// Words of the host's kernel about NVMe that none of its lines may hold when nothing was to be noticed.
const TROUBLE: &[&str] = &[
    "timeout",
    "timed out",
    "reset",
    "econnect",
    "recovery",
    "error",
    "failed",
    "identifiers changed",
    "keep",
    "not found",
    "command_id",
    "mismatch",
];

/// The lines of the host's kernel since `mark` that speak of trouble with NVMe or a block device.
fn trouble(host: &Host, mark: &str) -> Result<Vec<String>> {
    let log = host.log_since(mark)?;
    let about = |line: &&str| ["nvme", "I/O error", "rxe"].iter().any(|word| line.contains(word));
    let bad = |line: &&str| {
        let line = line.to_lowercase();
        TROUBLE.iter().any(|word| line.contains(word))
    };
    Ok(log.lines().filter(about).filter(bad).map(str::to_owned).collect())
}

/// fio in a thread, and what its reports said.
struct Running<'scope> {
    thread: thread::ScopedJoinHandle<'scope, Result<Report>>,
}

impl<'scope> Running<'scope> {
    /// Starts `fio` and waits until `begun` says that a report is what was waited for.
    fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        host: &'env Host,
        fio: &'env Fio,
        begun: fn(&Report) -> bool,
        flag: &'env AtomicBool,
    ) -> Result<Self> {
        let thread = scope.spawn(move || {
            host.fio_with(fio, &mut |report| {
                if begun(&report) {
                    flag.store(true, Ordering::Relaxed);
                }
            })
        });
        let running = Self { thread };
        let end = Instant::now() + fio.limit;
        while !flag.load(Ordering::Relaxed) {
            if running.thread.is_finished() || Instant::now() >= end {
                running.join()?;
                return Err(Error::Unexpected("fio ended before anything could be shown".to_owned()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// Fails if fio is over: what comes now would not be under I/O.
    fn check(self) -> Result<Self> {
        if self.thread.is_finished() {
            self.join()?;
            return Err(Error::Unexpected("fio ended too early, so nothing was shown".to_owned()));
        }
        Ok(self)
    }

    fn join(self) -> Result<Report> {
        join(self.thread)
    }
}

/// What a thread gave.
fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| Error::Unexpected("a thread of the scenario panicked".to_owned()))?
}

/// UUID and size of a namespace, and serial and firmware of its controller, as the host's kernel has them.
fn identity(host: &Host, block: &str) -> Result<String> {
    let name = block.trim_start_matches("/dev/");
    let text =
        host.machine().run_ok(&format!("cd /sys/block/{name}; cat uuid size device/serial device/firmware_rev"))?;
    let words: Vec<&str> = text.split_whitespace().collect();
    ensure(words.len() == 4, || format!("uuid, size, serial, firmware: {text:?}"))?;
    Ok(words.join(" "))
}

/// Waits until the host's kernel has lost its connection (which it says after `mark`) and is live again with the same
/// namespace, at most `limit`.
fn wait_return(host: &Host, mark: &str, controller: &str, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    let name = controller.trim_start_matches("/dev/");
    loop {
        let log = host.log_since(mark)?;
        let state = host.machine().run_ok(&format!("cat /sys/class/nvme/{name}/state"))?;
        if let Some(changed) = log.lines().find(|line| line.contains("identifiers changed")) {
            return Err(Error::Unexpected(changed.to_owned()));
        }
        if log.contains("Reconnecting in") && state.trim() == "live" {
            return Ok(());
        }
        if Instant::now() >= end {
            let message = format!("{name} is {} after {limit:?}, its kernel said:\n{}", state.trim(), log.trim());
            return Err(Error::Unexpected(message));
        }
        thread::sleep(Duration::from_millis(200));
    }
}
