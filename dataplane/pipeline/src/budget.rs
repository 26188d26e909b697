//! Budgets: what the commands of one drive may hold of an lcore's slots and pages. Asked by s5 before it reserves anything, so
//! that a drive which does not answer holds nothing that the others need.
//!
//! Of every pool a little is kept for each drive (its least), whatever the others do. The rest is shared by a dynamic
//! threshold, as switches share their buffers: a drive may hold as much of it as is left over, so one drive among others never
//! has more than half of what the others leave, and a drive that is alone has nearly everything. Constant cost a command.

use alloc::boxed::Box;

use crate::state::{DRIVES, Sizes};

/// Pages that a drive is sure of, where there are enough: those of the largest command.
const LEAST_PAGES: u32 = crate::command::PAGES_MAX as u32;

/// Commands that a drive is sure of, where there are enough.
const LEAST_COMMANDS: u32 = 4;

/// The sum of what drives are sure of is this part of a pool, or more when that is too little for each of many.
const LEAST_PART: u32 = 16;

/// How much more than is left over a drive may hold while no other has work, as a power of two: 16 of 17 parts of a pool.
const ALONE_SHIFT: u32 = 4;

/// Commands of one drive that may be on their way to it, beside twice as many as its queue takes.
const ON_THE_WAY: u32 = 64;

/// What one drive's commands hold, from when they have been admitted until they are answered, and what it is sure of.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    commands: u32,
    pages: u32,
    least_commands: u32,
    least_pages: u32,
    /// More would only stand before its queue.
    most_commands: u32,
}

/// What an lcore's pools have that nobody holds, without what is kept for admin queues.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// Commands that are free, or wait for a budget and hold nothing but their slot.
    pub commands: u32,
    /// Pages.
    pub pages: u32,
}

/// Whether a command may take what it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It may.
    Admitted,
    /// The pool has not as much as it needs.
    Short,
    /// Its drive holds its share.
    BeyondShare,
}

/// The budgets of one lcore's drives.
pub struct Budgets {
    shares: Box<[Share]>,
    /// What drives are sure of and do not hold.
    kept_commands: u32,
    kept_pages: u32,
    /// Drives that hold anything.
    active: u32,
    /// Commands that wait for their drive's budget or for pages, on all drives' lists.
    pub waiting: u32,
    /// The drive whose turn among those that wait comes first, by its place among the drives.
    pub turn: usize,
}

impl Budgets {
    /// No drives yet.
    #[must_use]
    pub fn new() -> Self {
        let shares = (0..DRIVES).map(|_| Share::default()).collect();
        Self { shares, kept_commands: 0, kept_pages: 0, active: 0, waiting: 0, turn: 0 }
    }

    /// Divides the pools anew between these drives: one has come or gone. What a drive that has gone still holds is counted
    /// until its last command is answered.
    pub fn divide(&mut self, sizes: &Sizes, drives: &[u16]) {
        let count = (drives.len() as u32).max(1);
        let least = |pool: u32, each: u32| (pool / LEAST_PART / count).max(each.min(pool / count));
        let commands = least(sizes.commands - sizes.admin_commands(), LEAST_COMMANDS);
        let pages = least(sizes.pages - sizes.admin_pages() as u32, LEAST_PAGES);
        for share in &mut self.shares {
            (share.least_commands, share.least_pages) = (0, 0);
        }
        for drive in drives {
            let share = &mut self.shares[usize::from(*drive)];
            (share.least_commands, share.least_pages) = (commands, pages);
        }
        let kept = |of: fn(&Share) -> u32| self.shares.iter().map(of).sum();
        self.kept_commands = kept(|share| share.least_commands.saturating_sub(share.commands));
        self.kept_pages = kept(|share| share.least_pages.saturating_sub(share.pages));
    }

    /// How many commands the queue takes that leads to a drive.
    pub fn set_depth(&mut self, drive: u16, depth: u16) {
        self.shares[usize::from(drive)].most_commands = 2 * u32::from(depth) + ON_THE_WAY;
    }

    /// Whether a command for a drive may go on with so many pages.
    #[inline]
    #[must_use]
    pub fn admits(&self, drive: u16, pages: u32, left: Left) -> Admission {
        let share = &self.shares[usize::from(drive)];
        if pages > left.pages {
            return Admission::Short;
        }
        let others = self.active - u32::from(share.commands > 0);
        let shift = if others == 0 { ALONE_SHIFT } else { 0 };
        if share.commands >= share.least_commands {
            let open = left.commands.saturating_sub(self.kept_commands);
            if share.commands >= (open << shift).min(share.most_commands) {
                return Admission::BeyondShare;
            }
        }
        let held = share.pages + pages;
        // One that holds nothing is never turned away while the pool has what it needs: the largest command goes on some time.
        if pages == 0 || held <= share.least_pages || share.pages == 0 {
            return Admission::Admitted;
        }
        let open = left.pages.saturating_sub(self.kept_pages) + share.least_pages.saturating_sub(share.pages);
        if pages <= open && held <= open << shift { Admission::Admitted } else { Admission::BeyondShare }
    }

    /// A command for a drive goes on with so many pages.
    #[inline]
    pub fn charge(&mut self, drive: u16, pages: u32) {
        let share = &mut self.shares[usize::from(drive)];
        self.active += u32::from(share.commands == 0);
        self.kept_commands -= u32::from(share.commands < share.least_commands);
        self.kept_pages -= pages.min(share.least_pages.saturating_sub(share.pages));
        share.commands += 1;
        share.pages += pages;
    }

    /// It is answered, or has ended without an answer.
    #[inline]
    pub fn discharge(&mut self, drive: u16, pages: u32) {
        let share = &mut self.shares[usize::from(drive)];
        share.commands -= 1;
        share.pages -= pages;
        self.active -= u32::from(share.commands == 0);
        self.kept_commands += u32::from(share.commands < share.least_commands);
        self.kept_pages += pages.min(share.least_pages.saturating_sub(share.pages));
    }

    /// Commands and pages that a drive's commands hold.
    #[must_use]
    pub fn held(&self, drive: u16) -> (u32, u32) {
        let share = &self.shares[usize::from(drive)];
        (share.commands, share.pages)
    }

    /// Whether nothing is held and nobody waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.active == 0 && self.waiting == 0 && self.shares.iter().all(|share| share.pages == 0)
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { qps: 64, commands: 4096, pages: 8192, namespaces: 64, addresses: 8 };

    /// Budgets of drives `0..drives`, and what their pools have.
    struct Rig {
        budgets: Budgets,
        left: Left,
    }

    impl Rig {
        fn new(sizes: Sizes, drives: u16) -> Self {
            let mut budgets = Budgets::new();
            budgets.divide(&sizes, &Vec::from_iter(0..drives));
            (0..drives).for_each(|drive| budgets.set_depth(drive, 4096));
            let left = Left {
                commands: sizes.commands - sizes.admin_commands(),
                pages: sizes.pages - sizes.admin_pages() as u32,
            };
            Self { budgets, left }
        }

        fn take(&mut self, drive: u16, pages: u32) -> bool {
            let admitted = self.budgets.admits(drive, pages, self.left) == Admission::Admitted;
            if admitted {
                self.budgets.charge(drive, pages);
                self.left = Left { commands: self.left.commands - 1, pages: self.left.pages - pages };
            }
            admitted
        }

        fn give_back(&mut self, drive: u16, pages: u32) {
            self.budgets.discharge(drive, pages);
            self.left = Left { commands: self.left.commands + 1, pages: self.left.pages + pages };
        }

        /// Takes as many commands of so many pages as it gets.
        fn fill(&mut self, drive: u16, pages: u32) -> u32 {
            (0..).take_while(|_| self.take(drive, pages)).count() as u32
        }
    }

    use alloc::vec::Vec;

    #[test]
    fn a_drive_that_is_alone_has_nearly_everything() {
        let mut rig = Rig::new(SIZES, 24);
        let pages = rig.fill(0, 32) * 32;
        assert!((6_800..7_400).contains(&pages), "{pages} pages of {}", SIZES.pages);
        let mut rig = Rig::new(SIZES, 24);
        let commands = rig.fill(0, 0);
        assert!((3_500..3_800).contains(&commands), "{commands} commands of {}", SIZES.commands);
        let mut rig = Rig::new(SIZES, 1);
        assert!(rig.fill(0, 1) > 3_700, "and more when there is no other");
    }

    #[test]
    fn no_more_slots_stand_before_a_queue_than_it_takes_twice_and_some() {
        let mut rig = Rig::new(SIZES, 1);
        rig.budgets.set_depth(0, 255);
        assert_eq!(rig.fill(0, 0), 2 * 255 + 64);
    }

    #[test]
    fn beside_others_a_drive_has_half_of_what_they_leave() {
        let mut rig = Rig::new(SIZES, 24);
        for drive in 1..24 {
            for _ in 0..2 {
                assert!(rig.take(drive, 32));
            }
        }
        let stalled = rig.fill(0, 32) * 32;
        let others = 23 * 64;
        let half = (8192 - 64 - others) / 2;
        assert!((half - 64..=half + 64).contains(&stalled), "{stalled} pages, half is {half}");
        // All that they have they may double, and once more.
        for drive in 1..24 {
            assert!(rig.take(drive, 32) && rig.take(drive, 32), "drive {drive}");
        }
    }

    #[test]
    fn every_drive_is_sure_of_its_least_whatever_the_others_hold() {
        for (drives, commands, pages) in [(2, 64, 160), (4, 64, 160), (24, 4096, 8192), (200, 4096, 8192)] {
            let sizes = Sizes { commands, pages, ..SIZES };
            let mut rig = Rig::new(sizes, drives);
            for drive in 1..drives {
                rig.fill(drive, 8);
                rig.fill(drive, 1);
                rig.fill(drive, 0);
            }
            assert!(rig.take(0, 32), "the largest command, {drives} drives");
            assert!(rig.take(0, 0) && rig.take(0, 0) && rig.take(0, 0), "and some more, {drives} drives");
        }
    }

    #[test]
    fn what_was_taken_is_given_back_whatever_came_and_went_meanwhile() {
        let mut rig = Rig::new(SIZES, 3);
        let mut taken = Vec::new();
        for round in 0..2_000_u32 {
            let drive = (round * 7 % 3) as u16;
            let pages = round * 13 % 33;
            if rig.take(drive, pages) {
                taken.push((drive, pages));
            }
            if round % 5 == 0 {
                let (drive, pages) = taken.swap_remove(round as usize % taken.len());
                rig.give_back(drive, pages);
            }
            match round {
                // Drive 1 goes with commands that are not answered yet, and comes back.
                500 => rig.budgets.divide(&SIZES, &[0, 2]),
                1_000 => rig.budgets.divide(&SIZES, &[0, 2, 1]),
                _ => {}
            }
        }
        for (drive, pages) in taken {
            rig.give_back(drive, pages);
        }
        assert!(rig.budgets.is_idle());
        let fresh = Rig::new(SIZES, 3).budgets;
        let kept = |budgets: &Budgets| (budgets.kept_commands, budgets.kept_pages);
        assert_eq!(kept(&rig.budgets), kept(&fresh));
    }

    #[test]
    fn a_short_pool_is_told_from_a_share_that_is_used_up() {
        let mut rig = Rig::new(SIZES, 2);
        rig.fill(0, 32);
        assert_eq!(rig.budgets.admits(0, 32, rig.left), Admission::BeyondShare);
        assert_eq!(rig.budgets.admits(1, 32, Left { pages: 31, ..rig.left }), Admission::Short);
    }
}
