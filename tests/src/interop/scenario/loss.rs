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

const PERCENT: f64 = 2.0;

pub(super) fn to_host(host: &mut Host) -> Result<String> {
    lossy(host, 0.0, PERCENT)
}

pub(super) fn no_registration(host: &mut Host) -> Result<String> {
    host.register_always(false)?;
    let said = every_size(host, Pattern::Random);
    host.register_always(true)?;
    said
}

pub(super) fn both_ways(host: &mut Host) -> Result<String> {
    host.register_always(false)?;
    let said = lossy(host, PERCENT, PERCENT);
    if said.is_ok() {
        host.register_always(true)?;
    }
    said
}

/// The loss begins once connected: a lost CM message costs 6 s each, and shows nothing new.
fn lossy(host: &Host, to_target: f64, to_host: f64) -> Result<String> {
    let device = host.connect(subsystem::OPEN)?;
    host.set_loss(to_target, to_host)?;
    for (block_bytes, bytes) in [(4 << 10, 1 << 20), (128 << 10, 2 << 20)] {
        let fio = Fio::verify(&device.block, Pattern::Random, block_bytes, bytes).limit(Duration::from_secs(240));
        host.fio(&fio)?;
    }
    let (lost_to_target, lost_to_host) = host.lost()?;
    host.set_loss(0.0, 0.0)?;
    host.disconnect(subsystem::OPEN)?;
    ensure((lost_to_target > 0) == (to_target > 0.0) && lost_to_host > 0, || {
        format!("nothing was lost, so nothing was shown: {lost_to_target} to the target, {lost_to_host} to the host")
    })?;
    Ok(format!("lost {lost_to_target} to the target, {lost_to_host} to the host"))
}
