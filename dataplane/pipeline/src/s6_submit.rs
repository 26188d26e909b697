//! s6, edge: SQEs with their PRPs into this lcore's queue of a drive, one doorbell a burst.
//!
//! Leaves as: submitted, or QueueFull (waits). A command larger than the drive's MDTS goes in pieces.

use gantry_nvme::{command as build, prp};
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, nvm};

use crate::command::{Command, Data, State, Task};
use crate::counters::Counter;
use crate::exchange::PRP_LIST_BYTES;
use crate::memory::{Memory, PAGE, SQE_BYTES};
use crate::state::Core;
use crate::{s5_command, s8_respond};

/// Puts a command whose buffers and data are there on its drive's list.
pub fn enqueue(core: &mut Core, index: u32) {
    let Task::Drive { drive, .. } = core.commands[index].task else {
        unreachable!("only commands for a drive come here");
    };
    if core.commands[index].sqe.opcode == nvm::DATASET_MANAGEMENT
        && let Err(status) = s5_command::translate_ranges(core, index)
    {
        core.counters.count(Counter::LbaRange);
        s8_respond::respond(core, index, status, 0, 0);
        return;
    }
    let Some(queue) = core.drives[usize::from(drive)].as_mut() else {
        core.commands[index].return_length = 0;
        s8_respond::respond(core, index, Status::INTERNAL_ERROR, 0, 0);
        return;
    };
    core.commands[index].state = State::Ready;
    queue.ready.push(&mut core.commands, index);
}

/// Submits what is ready, drive by drive.
#[inline(never)]
pub fn run(core: &mut Core) {
    for at in 0..core.drive_numbers.len() {
        let number = core.drive_numbers[at];
        drive(core, number);
    }
}

fn drive(core: &mut Core, number: u16) {
    let mut submitted = false;
    loop {
        let Some(drive) = core.drives[usize::from(number)].as_mut() else { return };
        let Some(index) = drive.ready.front() else { break };
        if core.commands[index].dead {
            drive.ready.pop(&core.commands);
            if core.commands[index].pieces == 0 {
                core.finish(index);
            } else {
                // The rest is not submitted; what was is waited for.
                core.commands[index].state = State::Submitted;
            }
            continue;
        }
        if core.commands[index].aborted && core.commands[index].blocks_submitted == 0 {
            drive.ready.pop(&core.commands);
            core.end_aborted(index);
            continue;
        }
        if drive.failed {
            break;
        }
        let Some(cid) = drive.begin(index, core.now_ns) else {
            core.counters.count(Counter::QueueFull);
            break;
        };
        let command = &mut core.commands[index];
        let list = usize::from(cid) * PRP_LIST_BYTES;
        let (sqe, blocks) = piece(&core.memory, command, index, cid, drive.transfer_max, |pages, length| {
            prp::describe(pages, length, &drive.prp_lists, list)
        });
        drive.queue.submit(&sqe).expect("room was there for the CID");
        submitted = true;
        core.counters.count(Counter::Submitted);
        command.pieces += 1;
        command.blocks_submitted += blocks;
        let Task::Drive { blocks: all, .. } = command.task else { unreachable!("a drive's command") };
        if command.blocks_submitted >= all || !has_data(command) {
            command.state = State::Submitted;
            drive.ready.pop(&core.commands);
        }
    }
    if submitted {
        core.counters.count(Counter::Doorbells);
        core.drives[usize::from(number)].as_mut().expect("the drive is here").queue.ring();
    }
}

fn has_data(command: &Command) -> bool {
    matches!(command.sqe.opcode, nvm::READ | nvm::WRITE | nvm::COMPARE)
}

/// The next NVMe command of a host's command, and how many blocks it covers.
fn piece(
    memory: &Memory,
    command: &Command,
    index: u32,
    cid: u16,
    transfer_max: u32,
    describe: impl FnOnce(&mut dyn Iterator<Item = u64>, usize) -> (u64, u64),
) -> (Sqe, u32) {
    let Task::Drive { nsid, slba, blocks, block_shift, .. } = command.task else {
        unreachable!("a drive's command");
    };
    let (cid, nsid) = (Cid(cid), Nsid(nsid));
    let done = command.blocks_submitted;
    let fua = command.sqe.fua();
    let blocks = if has_data(command) { (blocks - done).min(transfer_max >> block_shift) } else { blocks };
    let slba = slba + u64::from(done);
    let (start, length) = match command.sqe.opcode {
        nvm::DATASET_MANAGEMENT => (0, command.length as usize),
        nvm::READ | nvm::WRITE | nvm::COMPARE => ((done as usize) << block_shift, (blocks as usize) << block_shift),
        _ => (0, 0),
    };
    let (prp1, prp2) = if length == 0 {
        (0, 0)
    } else if command.page_count == 0 && matches!(command.data, Data::InCapsule { .. }) {
        let mut pages = slot_pages(memory, index, SQE_BYTES + start, length);
        describe(&mut pages, length)
    } else {
        // Pieces end at page boundaries, because a drive's MDTS is a number of pages.
        let mut pages =
            command.pages[start / PAGE..usize::from(command.page_count)].iter().map(|page| memory.page_iova(*page));
        describe(&mut pages, length)
    };
    let sqe = match command.sqe.opcode {
        nvm::READ => build::read(nsid, cid, slba, blocks, (prp1, prp2), fua),
        nvm::WRITE => build::write(nsid, cid, slba, blocks, (prp1, prp2), fua),
        nvm::COMPARE => build::compare(nsid, cid, slba, blocks, (prp1, prp2), fua),
        nvm::WRITE_ZEROES => build::write_zeroes(nsid, cid, slba, blocks, command.sqe.deac(), fua),
        nvm::DATASET_MANAGEMENT => {
            let mut sqe = build::dsm(nsid, cid, command.sqe.dsm_ranges(), (prp1, prp2));
            sqe.cdw11 = command.sqe.cdw11;
            sqe
        }
        _ => build::flush(nsid, cid),
    };
    (sqe, blocks)
}

/// The pages under part of a receive slot, as a PRP list names them: the first address may lie within its page.
fn slot_pages(memory: &Memory, slot: u32, at: usize, length: usize) -> impl Iterator<Item = u64> {
    let first = memory.slot_iova(slot, at);
    let page = PAGE as u64;
    let end = first + length as u64;
    core::iter::successors(Some(first), move |address| {
        let next = (address & !(page - 1)) + page;
        (next < end).then_some(next)
    })
}
