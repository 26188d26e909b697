//! A host vanishes with writes under way, and returns.
//!
//! Its wire loses everything, rather than its link going down: once Linux 6.1's rxe could not send a CM message (without a
//! link there is no route), its QP1 sends on and receives nothing, whatever the target, until rxe0 is made anew.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::interop::{Fio, Gantry, Host, Pattern, subsystem};
use crate::vm::{Error, Result};

use super::{Running, ensure, identity, wait_return};

/// Four times its keep-alive timeout.
const AWAY: Duration = Duration::from_secs(20);

/// From the wire's return until the host is back.
const RETURN_LIMIT: Duration = Duration::from_secs(40);

pub(super) fn vanished(gantry: &mut Gantry, host: &mut Host) -> Result<String> {
    let host: &Host = host;
    let device = host.connect_with(subsystem::OPEN, "--reconnect-delay=1")?;
    let before = identity(host, &device.block)?;
    let log = &gantry.logs()[1];
    let expired = || -> Result<usize> {
        let text = fs::read_to_string(log).map_err(Error::on("reading", log))?;
        Ok(text.matches("ends: keep-alive timeout").count())
    };
    let expired_before = expired()?;
    let fio = Fio::verify(&device.block, Pattern::Random, 8 << 10, 16 << 20).limit(Duration::from_secs(240));
    let begun = AtomicBool::new(false);
    let (back, report) = thread::scope(|scope| {
        let io = Running::start(scope, host.machine(), &fio, |report| report.writes > 100, &begun)?;
        host.set_wire("loss 100%", "loss 100%")?;
        thread::sleep(AWAY);
        host.set_wire("", "")?;
        let up = Instant::now();
        wait_return(host, "vanished-host", &device.controller, RETURN_LIMIT)?;
        let back = up.elapsed();
        Ok::<_, Error>((back, io.check()?.join()?))
    })?;
    ensure(expired()? > expired_before, || "Gantry never ended the controller whose host was silent".to_owned())?;
    let after = identity(host, &device.block)?;
    ensure(before == after, || format!("the drive was {before} and is {after}"))?;
    host.disconnect(subsystem::OPEN)?;
    Ok(format!(
        "away {:.0} s, live again {:.1} s after, {} I/Os",
        AWAY.as_secs_f32(),
        back.as_secs_f32(),
        report.reads + report.writes
    ))
}
