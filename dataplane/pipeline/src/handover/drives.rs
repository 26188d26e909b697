//! An lcore's ways to its drives, taken up: queue pairs, what waits for them, and what lcores without one lend.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::lcore::{LcoreState, link};
use super::{Handed, Refused, Resumed, must};
use crate::command::{State, Task};
use crate::drive::{DriveQueue, DriveQueueState, Lent, Own, Path, PathState};
use crate::exchange::{DriveQueueParts, PRP_LIST_BYTES};
use crate::housekeeping::{Environment, Housekeeping};
use crate::lending::{Borrower, Lender, rings};
use crate::memory::PAGE;
use crate::port::Port;
use crate::state::{Core, DEPTH_MAX};

/// The way to a drive, as it was.
fn take_up_path<E: Environment>(
    (number, lcore): (u16, u16),
    told: PathState,
    cids: impl Iterator<Item = u16>,
    housekeeping: &Housekeeping<E>,
    lending: &mut Lending,
) -> Result<(Path, u16), Refused> {
    let wrong = |what: &str| Refused::Inconsistent(format!("lcore {lcore}, drive {number}: {what}"));
    let (owner, queue_index, entries) = housekeeping.way_to(number, lcore)?;
    match told {
        PathState::Own { queue, borrowers, turn } => {
            let right = owner == lcore && queue.qid() == queue_index + 1 && queue.outstanding().eq(cids);
            if !right || turn as usize > borrowers.len() {
                return Err(wrong("its commands are not those of its queue"));
            }
            let queue = housekeeping.drive_queue(number, queue)?;
            let mut own = Own { queue, borrowers: Vec::new(), turn: turn as usize };
            for (borrower, waiting) in borrowers {
                let rings = lending.borrowers.remove(&(number, borrower));
                let mut rings = rings.ok_or_else(|| wrong("it is lent commands by an lcore that lends none"))?;
                rings.restore(&waiting);
                own.borrowers.push(rings);
            }
            Ok((Path::Own(own), entries))
        }
        PathState::Borrowed { lcore: of, answered } => {
            let rings = lending.lenders.remove(&(number, lcore)).filter(|_| of == owner);
            let mut rings = rings.ok_or_else(|| wrong("it borrows a queue from an lcore that has none"))?;
            rings.restore(&answered);
            Ok((Path::Borrowed(Box::new(rings)), entries))
        }
    }
}

/// The ends of the rings that a successor's lcores take up, by drive and borrower.
#[derive(Default)]
pub(super) struct Lending {
    borrowers: BTreeMap<(u16, u16), Borrower>,
    lenders: BTreeMap<(u16, u16), Lender>,
}

impl Lending {
    /// Rings for all that was told.
    pub(super) fn of<E: Environment>(told: &[LcoreState], housekeeping: &Housekeeping<E>) -> Result<Self, Refused> {
        let mut lending = Self::default();
        for (lcore, told) in (0..).zip(told) {
            for (number, drive) in &told.drives {
                if !matches!(drive.path, PathState::Borrowed { .. }) {
                    continue;
                }
                let (owner, _, entries) = housekeeping.way_to(*number, lcore)?;
                let (borrower, lender) = rings(lcore, owner, entries - 1);
                lending.borrowers.insert((*number, lcore), borrower);
                lending.lenders.insert((*number, lcore), lender);
            }
        }
        Ok(lending)
    }

    /// Whether every ring has both of its ends, and every command that is lent is known to both sides, once.
    pub(super) fn must_agree<P: Port>(&self, resumed: &[Resumed<P>]) -> Result<(), Refused> {
        let whole = self.borrowers.is_empty() && self.lenders.is_empty();
        must(whole, || String::from("an lcore lends commands that nobody takes"))?;
        for (number, at, drive, borrower) in resumed.iter().flat_map(|resumed| lent(&resumed.core)) {
            let other = resumed.get(usize::from(borrower.lcore)).and_then(|other| {
                let Path::Borrowed(lender) = &other.core.drives[usize::from(number)].as_ref()?.path else {
                    return None;
                };
                Some((&other.core, lender))
            });
            let mut lent: Vec<u16> = drive.lent_by(at).chain(borrower.waiting()).collect();
            let mut known: Vec<u16> = Vec::new();
            if let Some((core, lender)) = other {
                lent.extend(lender.answered());
                known.extend(core.drives[usize::from(number)].iter().flat_map(DriveQueue::cids));
            }
            lent.sort_unstable();
            must(lent == known, || {
                format!("drive {number}: commands of lcore {} that it does not know", borrower.lcore)
            })?;
        }
        Ok(())
    }
}

/// What an lcore's queue pairs are lent: drive, place among the borrowers, queue pair, borrower.
fn lent(core: &Core) -> impl Iterator<Item = (u16, usize, &DriveQueue, &Borrower)> {
    core.drive_numbers.iter().flat_map(|number| {
        let drive = core.drives[usize::from(*number)].as_ref().expect("a number of a drive that exists");
        let borrowers: &[Borrower] = if let Path::Own(own) = &drive.path { &own.borrowers } else { &[] };
        borrowers.iter().enumerate().map(move |(at, borrower)| (*number, at, drive, borrower))
    })
}

#[allow(clippy::too_many_arguments, reason = "each is one thing that was handed over")]
pub(super) fn take_up_drive<E: Environment>(
    core: &mut Core,
    number: u16,
    told: DriveQueueState,
    housekeeping: &Housekeeping<E>,
    regions: &mut Handed,
    lending: &mut Lending,
    pieces: &mut [u32],
) -> Result<(), Refused> {
    let lcore = core.lcore;
    let wrong = |what: &str| Refused::Inconsistent(format!("lcore {lcore}, drive {number}: {what}"));
    let DriveQueueState { path, ready, waiting, deficit, transfer_max, prp_lists, failed, progress_ns, .. } = told;
    let DriveQueueState { block_shifts, in_flight, limits, oncs, sgl, .. } = told;
    if core.drives.get(usize::from(number)).is_none_or(Option::is_some) {
        return Err(wrong("there is none, or it is there twice"));
    }
    let whole = block_shifts.iter().all(|shift| *shift <= 16 && transfer_max >> shift > 0);
    if (transfer_max as usize) < PAGE || !whole || !(1..=256).contains(&limits.dsm_ranges) {
        return Err(wrong("no blocks fit into a transfer"));
    }
    let cids = in_flight.iter().map(|(cid, ..)| *cid);
    let (path, entries) = take_up_path((number, lcore), path, cids, housekeeping, lending)?;
    let prp_lists = regions.take(prp_lists)?;
    if usize::from(entries) > DEPTH_MAX || prp_lists.length() < usize::from(entries) * PRP_LIST_BYTES {
        return Err(wrong("its queue is too deep for its PRP lists"));
    }
    let parts =
        DriveQueueParts { drive: number, path, entries, transfer_max, limits, oncs, sgl, block_shifts, prp_lists };
    let mut drive = DriveQueue::new(parts);
    (drive.failed, drive.deficit, drive.progress_ns) = (failed, deficit.min(1 << 16), progress_ns);
    let for_this = |task: Task| matches!(task, Task::Drive { drive, .. } if drive == number);
    for (_, command, ..) in &in_flight {
        if let Some(lent) = Lent::of(*command) {
            let borrowers = if let Path::Own(own) = &drive.path { own.borrowers.len() } else { 0 };
            if usize::from(lent.borrower) >= borrowers {
                return Err(wrong("a command of an lcore that lends none"));
            }
            continue;
        }
        let piece = pieces.get_mut(*command as usize).ok_or_else(|| wrong("a command that is none"))?;
        if !for_this(core.commands[*command].task) {
            return Err(wrong("a command for another drive"));
        }
        *piece += 1;
    }
    drive.restore(&in_flight).ok_or_else(|| wrong("a CID past the end of its queue"))?;
    link(&mut core.commands, &mut drive.ready, &ready, State::Ready)?;
    link(&mut core.commands, &mut drive.waiting, &waiting, State::WaitingPages)?;
    if !ready.iter().chain(&waiting).all(|index| for_this(core.commands[*index].task)) {
        return Err(wrong("a command for another drive waits"));
    }
    for index in waiting {
        let slot = core.commands[index].qp;
        core.qps[slot].waiting += 1;
        core.budgets.waiting += 1;
    }
    core.add_drive(number, drive);
    Ok(())
}
