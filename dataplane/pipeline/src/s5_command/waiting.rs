//! s5, what waits: for its tenant's turn, for its drive's budget, for pages, for the port's fetch budget. Each holds as little as
//! it can while it waits, and no drive's commands wait behind another's.

use arrayvec::ArrayVec;
use gantry::command::{Packet, Verdict};
use gantry_roce::{Work, WorkKind};
use gantry_wire::nvme::Status;

use super::{Burst, ask_again, control};
use crate::budget::Admission;
use crate::command::{Data, List, State, Task};
use crate::counters::Counter;
use crate::memory::PAGE;
use crate::port::BURST;
use crate::state::Core;
use crate::{s6_submit, s8_respond};

/// Tries again those that wait: for their tenant's turn, for fetch budget, for their drive's budget and for pages.
#[inline(never)]
pub fn retry(core: &mut Core) {
    retry_tenants(core);
    retry_fetches(core);
    while let Some(index) = core.waiting_pages.front() {
        let command = &core.commands[index];
        if !command.dead && !command.aborted && !has_pages(core, index) {
            return;
        }
        let mut list = core.waiting_pages;
        list.pop(&core.commands);
        core.waiting_pages = list;
        if core.commands[index].dead {
            core.finish(index);
        } else if !core.end_aborted(index) {
            begin(core, index);
        }
    }
    if core.budgets.waiting > 0 {
        retry_drives(core);
    }
}

/// Pages that a drive's waiting commands get in one turn: one largest command. A turn is a poll.
const QUANTUM: u32 = crate::command::PAGES_MAX as u32;

/// Waiting commands of one drive that are ended in one poll.
const INTERRUPTED_MAX: u32 = 32;

/// How long a drive must have been silent, and a command must have waited for it, before the command may be ended because its
/// slot is needed.
pub const STALLED_NS: u64 = 1_000_000_000;

/// Lets drives' waiting commands go, drive by drive: which comes first moves on with each poll, and each gets as many pages in
/// its turn as the others (deficit round-robin).
#[inline(never)]
fn retry_drives(core: &mut Core) {
    let count = core.drive_numbers.len();
    let first = core.budgets.turn % count;
    core.budgets.turn = first + 1;
    for at in (first..count).chain(0..first) {
        let number = core.drive_numbers[at];
        retry_drive(core, number);
    }
}

fn retry_drive(core: &mut Core, number: u16) {
    let mut interrupted = 0;
    let mut granted = false;
    loop {
        let Some(drive) = core.drives[usize::from(number)].as_mut() else { return };
        let Some(index) = drive.waiting.front() else {
            drive.deficit = 0;
            return;
        };
        if !core::mem::replace(&mut granted, true) {
            drive.deficit = (drive.deficit + QUANTUM).min(2 * QUANTUM);
        }
        let (deficit, failed) = (drive.deficit, drive.failed);
        let command = &core.commands[index];
        let (dead, aborted) = (command.dead, command.aborted);
        let pages = pages_needed(core, index);
        let cost = pages.max(1);
        let ends = dead || aborted;
        let in_the_way = !ends && interrupted < INTERRUPTED_MAX && is_in_the_way(core, number, index);
        let goes_on = || cost <= deficit && core.budgets.admits(number, pages, core.left()) == Admission::Admitted;
        if !ends && !in_the_way && !goes_on() {
            return;
        }
        let drive = core.drives[usize::from(number)].as_mut().expect("the drive is here");
        drive.waiting.pop(&core.commands);
        if !ends && !in_the_way {
            drive.deficit -= cost;
        }
        core.waits_no_more(index);
        if dead {
            core.finish(index);
        } else if aborted {
            core.end_aborted(index);
        } else if in_the_way {
            interrupted += 1;
            core.counters.count(Counter::Interrupted);
            core.commands[index].return_length = 0;
            let status = if failed { Status::ANA_INACCESSIBLE } else { Status::COMMAND_INTERRUPTED };
            s8_respond::respond(core, index, status, 0, 0);
        } else {
            admit(core, index, number, pages);
        }
    }
}

/// Whether a command that waits for its drive holds a slot that others need: the drive has not answered for long, the command
/// has waited for long, and slots run out. It is ended then, so that its host tries again. A drive that is being given up
/// ends those that wait for it as well.
fn is_in_the_way(core: &Core, number: u16, index: u32) -> bool {
    let drive = core.drives[usize::from(number)].as_ref().expect("the drive is here");
    let waited_ns = core.now_ns.saturating_sub(core.commands[index].waiting_since_ns);
    let stalled = drive.silent_ns(core.now_ns) >= STALLED_NS && waited_ns >= STALLED_NS;
    let short = core.commands.free() <= core.sizes.admin_commands() + core.sizes.open_commands();
    drive.failed || stalled && short
}

/// Asks again for those whose tenants have had enough, a burst at a time in turn: one tenant's rate holds no other up.
fn retry_tenants(core: &mut Core) {
    if core.waiting_tenant.is_empty() {
        return;
    }
    let mut burst = Burst::new();
    let mut list = core.waiting_tenant;
    while !burst.is_full() {
        let Some(index) = list.pop(&core.commands) else {
            list = List::EMPTY;
            break;
        };
        burst.push(index);
    }
    core.waiting_tenant = list;
    let mut asked: ArrayVec<Packet, BURST> = ArrayVec::new();
    for index in &burst {
        asked.push(ask_again(core, *index));
    }
    control(core, &mut asked);
    for (index, packet) in burst.into_iter().zip(&asked) {
        let command = &mut core.commands[index];
        command.paid = packet.metadata.paid != 0;
        if command.dead {
            core.finish(index);
        } else if core.end_aborted(index) {
            // It was answered.
        } else if packet.metadata.verdict == Verdict::WAIT.0 {
            core.waiting_tenant.push(&mut core.commands, index);
        } else {
            reserve(core, index);
        }
    }
}

/// Bytes of pages that a command needs. In-capsule data needs none: it is where a drive can read it.
fn bytes_needed(core: &Core, index: u32) -> u32 {
    let command = &core.commands[index];
    if matches!(command.data, Data::InCapsule { .. }) && command.return_length == 0 { 0 } else { command.length }
}

fn pages_needed(core: &Core, index: u32) -> u32 {
    bytes_needed(core, index).div_ceil(PAGE as u32)
}

/// A command for control may take the last page.
fn has_pages(core: &Core, index: u32) -> bool {
    core.memory.free_pages() >= pages_needed(core, index) as usize
}

/// Takes what a decided command needs, or puts it at the end of those that wait for the same as it.
pub(super) fn reserve(core: &mut Core, index: u32) {
    let Task::Drive { drive: number, .. } = core.commands[index].task else {
        if has_pages(core, index) {
            begin(core, index);
        } else {
            core.counters.count(Counter::WaitedBuffers);
            core.commands[index].state = State::WaitingPages;
            core.waiting_pages.push(&mut core.commands, index);
        }
        return;
    };
    let Some(drive) = core.drives[usize::from(number)].as_mut() else {
        // It has gone while the command waited for its tenant's turn.
        core.end_with_error(index, Status::ANA_INACCESSIBLE);
        return;
    };
    let first_come = drive.waiting.is_empty();
    let pages = pages_needed(core, index);
    match core.budgets.admits(number, pages, core.left()) {
        Admission::Admitted if first_come || pages == 0 => admit(core, index, number, pages),
        admission => {
            let short = admission == Admission::Short;
            core.counters.count(if short { Counter::WaitedBuffers } else { Counter::WaitedBudget });
            let command = &mut core.commands[index];
            (command.state, command.waiting_since_ns) = (State::WaitingPages, core.now_ns);
            core.qps[command.qp].waiting += 1;
            core.budgets.waiting += 1;
            let drive = core.drives[usize::from(number)].as_mut().expect("the drive is here");
            drive.waiting.push(&mut core.commands, index);
        }
    }
}

/// A command goes on at its drive's expense.
fn admit(core: &mut Core, index: u32, number: u16, pages: u32) {
    core.budgets.charge(number, pages);
    core.commands[index].charged = true;
    begin(core, index);
}

/// Reserves, then fetches, submits or punts.
fn begin(core: &mut Core, index: u32) {
    let needed = bytes_needed(core, index);
    let reserved = core.memory.reserve(&mut core.commands[index], needed);
    assert!(reserved, "pages were there a moment ago");
    let command = &mut core.commands[index];
    match (command.data, command.return_length) {
        (Data::Keyed { .. }, 0) if command.length > 0 => {
            core.counters.count(Counter::CommandFetch);
            if core.waiting_fetch.is_empty() && within_budget(core, index) {
                fetch(core, index);
            } else {
                core.commands[index].state = State::WaitingFetch;
                core.waiting_fetch.push(&mut core.commands, index);
            }
        }
        _ if command.task == Task::Punt => core.punt(index),
        _ => {
            core.counters.count(Counter::CommandReady);
            s6_submit::enqueue(core, index);
        }
    }
}

/// Bytes of READs in flight on one port: what a 100 Gb/s wire carries in 80 µs. Responses beyond it would only stand
/// in the switch's queue, in front of everybody's.
const FETCH_BUDGET: u64 = 1 << 20;

/// Whether the port has budget for the command's READ. One is always let through.
fn within_budget(core: &Core, index: u32) -> bool {
    let command = &core.commands[index];
    let fetching = core.fetching[core.ways[core.qps[command.qp].way].port];
    fetching == 0 || fetching + u64::from(command.length) <= FETCH_BUDGET
}

/// Posts the READ of a command's data.
fn fetch(core: &mut Core, index: u32) {
    let command = &mut core.commands[index];
    let Data::Keyed { address, rkey, .. } = command.data else { unreachable!("only keyed data is fetched") };
    command.state = State::Fetching;
    let (length, slot) = (command.length, command.qp);
    let qp = &mut core.qps[slot];
    core.fetching[core.ways[qp.way].port] += u64::from(length);
    core.counters.add(Counter::FetchBytes, length.into());
    let work = Work { cookie: index, kind: WorkKind::Read { address, rkey }, length };
    qp.transport.post(&mut core.works, work).expect("two works for every command");
    core.posted(slot);
}

/// Lets READs go that waited for budget, oldest first.
fn retry_fetches(core: &mut Core) {
    while let Some(index) = core.waiting_fetch.front() {
        let (dead, aborted) = (core.commands[index].dead, core.commands[index].aborted);
        if !dead && !aborted && !within_budget(core, index) {
            return;
        }
        let mut list = core.waiting_fetch;
        list.pop(&core.commands);
        core.waiting_fetch = list;
        if dead {
            core.finish(index);
        } else if !core.end_aborted(index) {
            fetch(core, index);
        }
    }
}
