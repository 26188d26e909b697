//! The lcores' ways to a drive: each a queue pair of its own, or, where the drive grants fewer, the loan of another's
//! (see [`crate::lending`]).

use alloc::boxed::Box;
use alloc::vec::Vec;

use gantry_nvme::Controller;

use super::{Attached, Drive};
use crate::drive::{Own, Path};
use crate::lending::{Borrower, owner_of, rings};

/// How each of the lcores reaches a drive that is ready, and the entries of the queue pair that it uses.
pub(super) fn ways_to(controller: &mut Controller, number: u16, lcores: usize) -> Vec<(Path, u16)> {
    let shape = (usize::from(controller.granted()), lcores);
    let entries = controller.io_entries();
    let mut borrowers: Vec<Vec<Borrower>> = (0..lcores).map(|_| Vec::new()).collect();
    let mut borrowed: Vec<Option<Path>> = (0..lcores).map(|_| None).collect();
    for (lcore, way) in borrowed.iter_mut().enumerate() {
        let (owner, _) = owner_of(number, lcore, shape);
        if owner != lcore {
            let (borrower, lender) = rings(lcore as u16, owner as u16, entries - 1);
            borrowers[owner].push(borrower);
            *way = Some(Path::Borrowed(Box::new(lender)));
        }
    }
    let mut own = |lcore: usize, borrowers| {
        let queue = controller.take_io_queue(owner_of(number, lcore, shape).1);
        Path::Own(Own { borrowers, turn: 0, queue })
    };
    let ways = borrowed.into_iter().zip(borrowers).enumerate();
    ways.map(|(lcore, (way, borrowers))| (way.unwrap_or_else(|| own(lcore, borrowers)), entries)).collect()
}

impl Drive {
    /// The lcore that has the queue pair for an lcore's commands, which of the drive's it is, from 0, and its entries. `None` of a
    /// drive that is not there.
    pub(in crate::housekeeping) fn way_to(&self, number: u16, lcore: usize, lcores: usize) -> Option<(u16, u16, u16)> {
        let Attached { controller, .. } = self.attached.as_ref()?;
        let (owner, queue) = owner_of(number, lcore, (usize::from(controller.granted()).max(1), lcores));
        Some((owner as u16, queue, controller.io_entries()))
    }
}
