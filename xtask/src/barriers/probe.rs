//! What the step `barriers` compiles for arm64 and reads: the driver's own queue, each of its touches of a device in a function.
//! It is compiled against gantry-nvme's library, so that this is the code that lcores run.

#![forbid(unsafe_code)]

use gantry_nvme::IoQueue;
use gantry_wire::nvme::Sqe;

/// A submission entry and its doorbell.
#[inline(never)]
pub fn probe_submit(queue: &mut IoQueue, sqe: &Sqe) {
    if queue.submit(sqe).is_ok() {
        queue.ring();
    }
}

/// A completion, by its phase bit.
#[inline(never)]
pub fn probe_poll(queue: &mut IoQueue) -> bool {
    queue.poll().is_some()
}

/// The completion queue's doorbell, behind what was read.
#[inline(never)]
pub fn probe_release(queue: &mut IoQueue) {
    queue.release();
}
