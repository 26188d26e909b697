//! s6, edge: SQEs with their PRPs or SGLs into this lcore's queue of a drive, one doorbell a burst.
//!
//! Leaves as: submitted, or QueueFull (waits). A command larger than the drive takes at once (MDTS; WZSL, DMRL) goes in pieces.

use gantry::channel::event::EventKind;
use gantry_nvme::command as build;
use gantry_nvme::data::Pointer;
use gantry_wire::nvme::{Cid, DsmRange, Nsid, Sqe, Status, nvm};

use crate::command::{Command, Data, State, Task};
use crate::counters::Counter;
use crate::drive::{DriveQueue, Path};
use crate::exchange::PRP_LIST_BYTES;
use crate::lending::Borrower;
use crate::memory::{Memory, PAGE, SQE_BYTES};
use crate::state::{Core, Notice};
use crate::{s5_command, s8_respond};

/// Puts a command whose buffers and data are there on its drive's list.
pub fn enqueue(core: &mut Core, index: u32) {
    let Task::Drive { drive, .. } = core.commands[index].task else {
        unreachable!("only commands for a drive come here");
    };
    let sqe = &core.commands[index].sqe;
    // Reads and writes without more are what there is to every drive.
    let plain = sqe.opcode <= nvm::READ && sqe.cdw12.get() & Sqe::CDW12_PRINFO == 0;
    if !plain && !is_taken(core, index, drive) {
        return;
    }
    let place = &mut core.drives[usize::from(drive)];
    DriveQueue::prefetch(place, &core.cpu);
    let Some(queue) = place.as_mut() else {
        core.commands[index].return_length = 0;
        s8_respond::respond(core, index, Status::ANA_INACCESSIBLE, 0, 0);
        return;
    };
    core.commands[index].state = State::Ready;
    queue.ready.push(&mut core.commands, index);
    core.ready.insert(drive);
}

/// Whether a drive takes a command that is more than a read or a write; one that it would refuse is answered. Here, and not
/// before its data is fetched, because few hosts send what they were not offered.
#[cold]
fn is_taken(core: &mut Core, index: u32, drive: u16) -> bool {
    let Some(drive) = core.drives[usize::from(drive)].as_ref() else { return true };
    let sqe = &core.commands[index].sqe;
    let (offers, limits) = (drive.offers(sqe.opcode), drive.limits);
    let is_list = sqe.opcode == nvm::DATASET_MANAGEMENT;
    // No namespace that is served has protection information (NVM Command Set 1.0 §5.2); others than commands for blocks
    // use the bits for something else.
    let protected = !is_list && sqe.opcode != nvm::FLUSH && sqe.cdw12.get() & Sqe::CDW12_PRINFO != 0;
    let (counter, status) = if !offers {
        (Counter::InvalidOpcode, Status::INVALID_OPCODE.with_dnr())
    } else if protected {
        (Counter::InvalidField, Status::INVALID_PROTECTION_INFORMATION.with_dnr())
    } else if !is_list {
        return true;
    } else {
        match s5_command::translate_ranges(core, index, &limits) {
            Ok(()) => return true,
            Err(status) if status.code() == Status::COMMAND_SIZE_LIMIT_EXCEEDED.code() => {
                (Counter::InvalidField, status)
            }
            Err(status) => (Counter::LbaRange, status),
        }
    };
    core.counters.count(counter);
    s8_respond::respond(core, index, status, 0, 0);
    false
}

/// Submits what is ready, drive by drive.
#[inline(never)]
pub fn run(core: &mut Core) {
    // For s7, which finds them in the nearest cache then.
    for number in core.in_flight.iter() {
        DriveQueue::prefetch(&core.drives[usize::from(number)], &core.cpu);
    }
    for number in core.ready.iter() {
        drive(core, number);
        let Some(drive) = core.drives[usize::from(number)].as_ref() else { continue };
        if drive.in_flight() > 0 {
            core.submitted.insert(number);
        }
        if drive.ready.is_empty() && !drive.has_borrowers() {
            core.ready.remove(number);
        }
    }
}

fn drive(core: &mut Core, number: u16) {
    let Some(drive) = core.drives[usize::from(number)].as_ref() else { return };
    let mut submitted = false;
    if drive.has_borrowers() {
        submitted = in_turn(core, number);
    } else {
        let borrows = matches!(drive.path, Path::Borrowed(_));
        let before = core.counters.value(Counter::Submitted);
        while let Step::Submitted | Step::Ended = step(core, number, &mut submitted) {}
        if borrows {
            let passed_on = core.counters.value(Counter::Submitted) - before;
            core.counters.add(Counter::Borrowed, passed_on);
            return;
        }
    }
    if submitted {
        core.counters.count(Counter::Doorbells);
        core.drives[usize::from(number)].as_mut().expect("the drive is here").ring(&core.cpu);
    }
}

/// What became of the first command on a drive's list.
#[derive(PartialEq, Eq)]
enum Step {
    /// It was submitted, or a piece of it.
    Submitted,
    /// Nobody waits for it any more.
    Ended,
    /// There is none, or nothing more is submitted to the drive.
    Nothing,
    /// The queue has no room.
    Full,
}

#[inline(always)]
fn step(core: &mut Core, number: u16, submitted: &mut bool) -> Step {
    let Some(drive) = core.drives[usize::from(number)].as_mut() else { return Step::Nothing };
    let Some(index) = drive.ready.front() else { return Step::Nothing };
    if core.commands[index].dead {
        drive.ready.pop(&core.commands);
        if core.commands[index].pieces == 0 {
            core.finish(index);
        } else {
            // The rest is not submitted; what was is waited for.
            core.commands[index].state = State::Submitted;
        }
        return Step::Ended;
    }
    if core.commands[index].aborted && core.commands[index].blocks_submitted == 0 {
        drive.ready.pop(&core.commands);
        core.end_aborted(index);
        return Step::Ended;
    }
    if drive.failed {
        return Step::Nothing;
    }
    let Some(cid) = drive.begin(index, core.now_ns) else {
        core.counters.count(Counter::QueueFull);
        return Step::Full;
    };
    let command = &mut core.commands[index];
    let (words, done) = piece(&core.memory, command, index, cid, drive);
    drive.submit(cid, words);
    *submitted = true;
    core.counters.count(Counter::Submitted);
    command.pieces += 1;
    command.blocks_submitted = done;
    if done >= extent(command) {
        command.state = State::Submitted;
        drive.ready.pop(&core.commands);
    }
    Step::Submitted
}

/// Takes what the lcores ask that borrow a drive's queue pair.
pub(crate) fn take_requests(core: &mut Core, number: u16) {
    let Core { drives, notices, counters, .. } = core;
    let Some(drive) = drives[usize::from(number)].as_mut() else { return };
    drive.take_requests(|cid| {
        counters.count(Counter::DriveSlow);
        notices.push_back(Notice { kind: EventKind::DriveSlow, reason: cid, object: number.into() });
    });
}

/// Submits for a drive whose queue pair other lcores borrow: one own command, then one of each of theirs, for as long as there is
/// room. Whose turn it is then stays for the next time. Whether anything was submitted.
#[inline(never)]
fn in_turn(core: &mut Core, number: u16) -> bool {
    take_requests(core, number);
    let mut submitted = false;
    let mut idle = 0;
    loop {
        let Some(drive) = core.drives[usize::from(number)].as_mut() else { return submitted };
        let now_ns = core.now_ns;
        let Path::Own(own) = &mut drive.path else { return submitted };
        let (turns, turn, room) = (own.borrowers.len() + 1, own.turn, own.queue.room());
        if idle == turns {
            return submitted;
        }
        let did = if turn == 0 {
            match step(core, number, &mut submitted) {
                Step::Ended => continue,
                Step::Full => return submitted,
                step => step == Step::Submitted,
            }
        } else if drive.failed {
            false
        } else if room == 0 {
            if own.borrowers.iter().any(Borrower::is_waiting) {
                core.counters.count(Counter::QueueFull);
            }
            return submitted;
        } else if drive.submit_lent(turn - 1, now_ns) {
            core.counters.count(Counter::Lent);
            submitted = true;
            true
        } else {
            false
        };
        idle = if did { 0 } else { idle + 1 };
        if let Some(DriveQueue { path: Path::Own(own), .. }) = core.drives[usize::from(number)].as_mut() {
            own.turn = if turn + 1 == turns { 0 } else { turn + 1 };
        }
    }
}

/// What a command for `blocks` covers, and its pieces parts of: ranges of a list, or else blocks.
pub(crate) fn extent_of(sqe: &Sqe, blocks: u32) -> u32 {
    if sqe.opcode == nvm::DATASET_MANAGEMENT { sqe.dsm_ranges().into() } else { blocks }
}

fn extent(command: &Command) -> u32 {
    let Task::Drive { blocks, .. } = command.task else { unreachable!("a drive's command") };
    extent_of(&command.sqe, blocks)
}

/// The next NVMe command of a host's command, as words, and how much of that is covered then.
// In place, and from values to words: an SQE that is put together in memory and then copied waits until its parts have left the
// store buffer, behind entries of other drives that are in no cache.
#[inline(always)]
fn piece(memory: &Memory, command: &Command, index: u32, cid: u16, drive: &DriveQueue) -> ([u64; 8], u32) {
    let Task::Drive { nsid, slba, block_shift, .. } = command.task else {
        unreachable!("a drive's command");
    };
    let list = usize::from(cid) * PRP_LIST_BYTES;
    let (cid, nsid, opcode) = (Cid(cid), Nsid(nsid), command.sqe.opcode);
    let start = command.blocks_submitted;
    let most = match opcode {
        nvm::READ | nvm::WRITE | nvm::COMPARE => drive.transfer_max >> block_shift,
        // NLB has 16 bits.
        nvm::WRITE_ZEROES => (drive.limits.write_zeroes_bytes >> block_shift).clamp(1, 1 << 16),
        nvm::DATASET_MANAGEMENT => drive.limits.dsm_ranges.into(),
        _ => return (build::flush(nsid, cid).words(), 0),
    };
    let count = (extent(command) - start).min(most);
    let (done, fua) = (start + count, command.sqe.fua());
    if opcode == nvm::WRITE_ZEROES {
        let slba = slba + u64::from(start);
        return (build::write_zeroes(nsid, cid, slba, count, command.sqe.deac(), fua).words(), done);
    }
    let is_list = opcode == nvm::DATASET_MANAGEMENT;
    let shift = if is_list { DsmRange::LEN.ilog2() } else { block_shift.into() };
    let (from, length) = ((start as usize) << shift, (count as usize) << shift);
    // Range lists go by PRPs: there are drives that take no SGL for them.
    let sgl = drive.sgl && !is_list;
    let pointer = if command.page_count == 0 && matches!(command.data, Data::InCapsule { .. }) {
        Pointer::to_piece(memory.slot_iova(index, SQE_BYTES + from), length, sgl)
    } else if is_list {
        Pointer::to_piece(memory.page_iova(command.pages[0]) + from as u64, length, sgl)
    } else {
        // Pieces end at page boundaries, because a drive's MDTS is a number of pages.
        let pages = &command.pages[from / PAGE..usize::from(command.page_count)];
        Pointer::to_pages(pages, |page| memory.page_iova(page), length, sgl, &drive.prp_lists, list)
    };
    let slba = slba + u64::from(start);
    if is_list {
        let mut sqe = build::dsm(nsid, cid, count as u16, pointer.dptr);
        sqe.cdw11 = command.sqe.cdw11;
        return (sqe.words(), done);
    }
    let sqe = build::transfer(opcode, nsid, cid, slba, count, pointer.dptr, fua);
    (Sqe { flags: pointer.psdt, ..sqe }.words(), done)
}
