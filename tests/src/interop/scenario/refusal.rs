//! What a host may not have, it is told in words that its kernel knows.

use crate::interop::{Host, subsystem};
use crate::vm::Result;

use super::ensure;

/// Connects in vain; the kernel's log must hold `words`.
fn refused(host: &Host, nqn: &str, port: u16, words: &str) -> Result<String> {
    let mark = format!("refusal of {nqn} on {port}");
    host.mark(&mark)?;
    let output = host.try_connect(nqn, port)?;
    ensure(!output.ok(), || format!("connecting to {nqn} on port {port} succeeded"))?;
    let log = host.log_since(&mark)?;
    ensure(log.contains(words), || format!("the kernel's log lacks {words:?}:\n{log}"))?;
    Ok(format!("{words:?}"))
}

pub(super) fn wrong_nqn(host: &mut Host) -> Result<String> {
    refused(host, subsystem::ABSENT, 4420, "Connect Invalid Data Parameter, subsysnqn")
}

pub(super) fn denied_host(host: &mut Host) -> Result<String> {
    refused(host, subsystem::PRIVATE, 4420, "is not allowed, hostnqn")
}

pub(super) fn no_listener(host: &mut Host) -> Result<String> {
    refused(host, subsystem::OPEN, 4421, "Connect rejected: status 8 (invalid service ID)")
}
