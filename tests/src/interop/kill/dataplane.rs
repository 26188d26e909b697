//! The data plane dies: hosts notice, wait, and return by themselves to the drives that they had.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::interop::{Fio, Gantry, Host, Pattern, Target, subsystem};
use crate::vm::{Error, Result};

use super::{Running, ensure, identity, wait_return};

/// From the data plane's death until the host is back. The host's side takes some 17 s: its own retransmissions.
const RETURN_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn killed(gantry: &mut Gantry, host: &mut Host) -> Result<String> {
    let host: &Host = host;
    let device = host.connect_with(subsystem::OPEN, "--reconnect-delay=1")?;
    let before = identity(host, &device.block)?;
    // Everything is written before anything is read: what is read at the end was written before, around and after.
    let fio = Fio::verify(&device.block, Pattern::Random, 8 << 10, 24 << 20).limit(Duration::from_secs(300));
    let begun = AtomicBool::new(false);
    let (away, report) = thread::scope(|scope| {
        let io = Running::start(scope, host.machine(), &fio, |report| report.writes > 100, &begun)?;
        let died = Instant::now();
        gantry.kill_dataplane()?;
        thread::sleep(Duration::from_secs(1));
        gantry.start_dataplane()?;
        wait_return(host, "kill-dataplane", &device.controller, RETURN_LIMIT)?;
        let away = died.elapsed();
        Ok::<_, Error>((away, io.check()?.join()?))
    })?;
    let after = identity(host, &device.block)?;
    ensure(before == after, || format!("the drive was {before} and is {after}"))?;
    gantry.check_health()?;
    host.disconnect(subsystem::OPEN)?;
    // The same blocks once more, through a new connection and from the file.
    let device = host.connect(subsystem::OPEN)?;
    let again = host.fio(&Fio { filename: device.block, ..fio }.reread())?;
    host.disconnect(subsystem::OPEN)?;
    Ok(format!(
        "live again {:.1} s after the death, {} I/Os, {} blocks verified by another connection; {after}",
        away.as_secs_f32(),
        report.reads + report.writes,
        again.reads
    ))
}
