//! s7, edge: completions of the drives that have commands out, found by their phase bit.
//!
//! Leaves as: a response for s8; UnknownCid.

use arrayvec::ArrayVec;
use gantry::channel::event::EventKind;

use crate::command::{State, Task};
use crate::counters::Counter;
use crate::drive::Lent;
use crate::s8_respond;
use crate::state::Core;

/// Completions taken from one drive in one poll.
const BURST: usize = 32;

/// How often drives are looked over for commands that are overdue.
const CHECK_NS: u64 = 100_000_000;

/// Polls every drive that had commands in flight before this poll: what was submitted just now no drive has answered yet.
#[inline(never)]
pub fn run(core: &mut Core) {
    let mut done = Done::new();
    let mut numbers = core.in_flight.iter();
    let mut next = numbers.next();
    while let Some(number) = next {
        next = numbers.next();
        if let Some(next) = next
            && let Some(next) = &core.drives[usize::from(next)]
        {
            next.prefetch_completion(&core.cpu);
        }
        drive(core, number, &mut done);
    }
    complete_all(core, &mut done);
    core.in_flight.insert_all(core::mem::take(&mut core.submitted));
    if core.now_ns >= core.drive_check_ns {
        core.drive_check_ns = core.now_ns + CHECK_NS;
        check(core);
    }
}

/// Commands that have ended at their drives, with what came of them: their QPs are on their way to the caches.
type Done = ArrayVec<(u32, u64), { 2 * BURST }>;

fn complete_all(core: &mut Core, done: &mut Done) {
    for (index, result) in done.drain(..) {
        complete(core, index, result);
    }
}

fn drive(core: &mut Core, number: u16, done: &mut Done) {
    if done.remaining_capacity() < BURST {
        complete_all(core, done);
    }
    let Some(drive) = core.drives[usize::from(number)].as_ref() else { return };
    if drive.in_flight() == 0 {
        core.in_flight.remove(number);
        return;
    }
    let unknown = drive.unknown_cids();
    let mut answered = false;
    for _ in 0..BURST {
        let Some(drive) = core.drives[usize::from(number)].as_mut() else { return };
        let Some(cqe) = drive.poll() else { break };
        answered = true;
        // The queue answers only for what is outstanding on it.
        let index = drive.end(cqe.cid().0).expect("a command under the CID of one that was submitted");
        if let Some(lent) = Lent::of(index) {
            core.counters.count(Counter::LentCompleted);
            drive.answer(lent, cqe);
            continue;
        }
        let command = &mut core.commands[index];
        command.pieces -= 1;
        if !cqe.status().is_success() && command.status.is_success() {
            command.status = cqe.status();
            core.counters.count(Counter::DriveErrors);
        }
        if command.pieces == 0 && command.state == State::Submitted {
            let slot = command.qp;
            core.qps.prefetch(&core.cpu, slot);
            done.push((index, cqe.result()));
        }
    }
    if let Some(drive) = core.drives[usize::from(number)].as_mut() {
        // What answered nothing has taken entries as well.
        let unknown = drive.release(unknown);
        if answered {
            drive.progress_ns = core.now_ns;
        }
        if unknown > 0 {
            core.counters.add(Counter::UnknownCid, unknown);
        }
    }
}

fn complete(core: &mut Core, index: u32, result: u64) {
    core.counters.count(Counter::Completed);
    let command = &mut core.commands[index];
    if command.dead {
        core.finish(index);
        return;
    }
    let status = command.status;
    if status.is_success() {
        let Task::Drive { .. } = command.task else { unreachable!("a drive's command") };
        let counter = if command.return_length > 0 {
            // s9 copies it out in this poll, behind what other completions ask of the core.
            core.memory.prefetch_pages(&core.cpu, command);
            Counter::ReadBytes
        } else {
            Counter::WriteBytes
        };
        core.counters.add(counter, command.length.into());
    } else {
        command.return_length = 0;
    }
    s8_respond::respond(core, index, status, result as u32, (result >> 32) as u32);
}

/// A drive that keeps a command for long is asked to abort it; one that has kept it for too long is failed: nothing more is submitted, and housekeeping resets it.
/// Its commands end when it is reset, because until then it may still write to their buffers.
fn check(core: &mut Core) {
    for at in 0..core.drive_numbers.len() {
        let number = core.drive_numbers[at];
        let now_ns = core.now_ns;
        while let Some(cid) = core.drives[usize::from(number)].as_mut().and_then(|drive| drive.next_slow(now_ns)) {
            core.counters.count(Counter::DriveSlow);
            core.notify(EventKind::DriveSlow, cid, number.into());
        }
        let Some(drive) = core.drives[usize::from(number)].as_mut() else { continue };
        if !drive.failed && drive.expired(now_ns) {
            drive.failed = true;
            core.counters.count(Counter::DriveTimeout);
            core.notify(EventKind::DriveFailed, 0, number.into());
        }
    }
}
