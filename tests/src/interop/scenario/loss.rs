//! Lost packets, and memory without fast registration.
//!
//! After it has retransmitted as a requester, rxe's own QP can go dead until the 30 s I/O timeout when it registers
//! memory for each I/O. So these runs are light with the default, and both ways only without it; a stall is held
//! against the target unless the host's counters show that the host itself retransmitted (see `suite`).

use std::time::Duration;

use crate::interop::{Fio, Host, Pattern, subsystem};
use crate::vm::Result;

use super::data::every_size;
use super::ensure;

/// In netem's words.
const LOSS: &str = "loss 2%";

pub(super) fn to_host(host: &mut Host) -> Result<String> {
    light_io_over(host, "", LOSS)
}

pub(super) fn no_registration(host: &mut Host) -> Result<String> {
    host.register_always(false)?;
    let said = every_size(host, Pattern::Random)?;
    host.register_always(true)?;
    Ok(said)
}

pub(super) fn both_ways(host: &mut Host) -> Result<String> {
    host.register_always(false)?;
    let said = light_io_over(host, LOSS, LOSS)?;
    host.register_always(true)?;
    Ok(said)
}

pub(super) fn duplicates(host: &mut Host) -> Result<String> {
    host.register_always(false)?;
    let before = duplicates_seen(host)?;
    light_io_over(host, "duplicate 5%", "duplicate 5%")?;
    let seen = duplicates_seen(host)? - before;
    host.register_always(true)?;
    ensure(seen > 0, || "the host saw no duplicate, so nothing was shown".to_owned())?;
    Ok(format!("the host saw {seen}"))
}

/// Requests that the host's rxe has had twice.
fn duplicates_seen(host: &Host) -> Result<u64> {
    let text = host.machine().run_ok("cat /sys/class/infiniband/rxe0/ports/1/hw_counters/duplicate_request")?;
    Ok(text.trim().parse().unwrap_or(0))
}

/// The fault begins once connected: a lost CM message costs 6 s each, and shows nothing new.
fn light_io_over(host: &Host, to_target: &str, to_host: &str) -> Result<String> {
    let device = host.connect(subsystem::OPEN)?;
    host.set_wire(to_target, to_host)?;
    for (block_bytes, bytes) in [(4 << 10, 1 << 20), (128 << 10, 2 << 20)] {
        let fio = Fio::verify(&device.block, Pattern::Random, block_bytes, bytes).limit(Duration::from_secs(240));
        host.fio(&fio)?;
    }
    let lost = host.lost()?;
    host.set_wire("", "")?;
    host.disconnect(subsystem::OPEN)?;
    let expected = (to_target == LOSS, to_host == LOSS);
    ensure((lost.0 > 0, lost.1 > 0) == expected, || {
        format!("lost {} to the target and {} to the host: not what was to be shown", lost.0, lost.1)
    })?;
    Ok(format!("lost {} to the target, {} to the host", lost.0, lost.1))
}
