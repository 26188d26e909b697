//! Gantry's processes die under a host's I/O, and the host loses nothing.
//!
//! The scenarios run like the interop suite's, against Gantry on drives that are files. The campaign that kills control
//! around every frame of the channel is in the simulator's own tests; here a real kernel is the judge.

mod control;
mod dataplane;
mod host;
mod pauses;

use std::thread;
use std::time::{Duration, Instant};

use crate::vm::{Error, Result};

use super::running::{Running, join};
use super::scenario::{Scenario, ensure};
use super::{Gantry, Host};

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
