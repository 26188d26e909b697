//! A command from its capsule's first packet to its response's last acknowledgement.
//!
//! Commands live in a fixed array; index `i` owns receive slot `i`, so one take reserves both. A
//! command is on one [`List`] at most, and on its QP's ring of commands always.

use alloc::boxed::Box;
use gantry_wire::ib::Rkey;
use gantry_wire::nvme::{Sqe, Status};
use serde::{Deserialize, Serialize};

use crate::handover::told;

/// No command, no page.
pub const NONE: u32 = u32::MAX;

/// Pages of one command's data: 128 KiB.
pub const PAGES_MAX: usize = 32;

/// Where a command is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// In the free list.
    Free,
    /// Its capsule is arriving.
    Receiving,
    /// On the list of those that wait until their tenant may have more.
    WaitingTenant,
    /// On its drive's list of those that wait for the drive's budget or for pages, or on the one of those for control.
    WaitingPages,
    /// Holds its pages and waits for the port's fetch budget.
    WaitingFetch,
    /// Its data is being fetched from the host.
    Fetching,
    /// On a drive's list, not submitted.
    Ready,
    /// At the drive.
    Submitted,
    /// On the list of those that wait to be punted.
    Punting,
    /// At control.
    Punted,
    /// Its response is on the way.
    Responding,
}

/// Where the host keeps a command's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    /// Nowhere.
    None,
    /// In the capsule, behind the SQE.
    InCapsule {
        /// Bytes.
        length: u32,
    },
    /// In the host's memory.
    Keyed {
        /// Host address.
        address: u64,
        /// Bytes.
        length: u32,
        /// R_Key.
        #[serde(with = "told::rkey")]
        rkey: Rkey,
        /// The response must invalidate the key.
        invalidate: bool,
    },
}

impl Data {
    /// Bytes the SGL describes.
    #[must_use]
    pub fn length(&self) -> u32 {
        match *self {
            Data::None => 0,
            Data::InCapsule { length } | Data::Keyed { length, .. } => length,
        }
    }
}

/// What the pipeline must do with a command, as s5 decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Nothing yet.
    Undecided,
    /// Hand it to control, with its data when it carries some.
    Punt,
    /// Give it to a drive.
    Drive {
        /// Drive number.
        drive: u16,
        /// The drive's NSID.
        nsid: u32,
        /// First block on the drive.
        slba: u64,
        /// Blocks; zero for commands without a range.
        blocks: u32,
        /// log2 of the block size.
        block_shift: u8,
    },
}

/// One command.
pub struct Command {
    /// Where it is.
    pub state: State,
    /// Its QP is gone: what comes back for it is discarded.
    pub dead: bool,
    /// Its host wants it ended: it goes no further than it is.
    pub aborted: bool,
    /// Index of its QP.
    pub qp: u32,
    /// The command as received.
    pub sqe: Sqe,
    /// Bytes of the capsule, SQE included.
    pub capsule_length: u32,
    /// Where its data is.
    pub data: Data,
    /// What is to be done.
    pub task: Task,
    /// Who pays for it.
    pub tenant: u16,
    /// It is counted as one of its tenant's commands.
    pub paid: bool,
    /// It holds a part of its drive's budget.
    pub charged: bool,
    /// Since when it waits for its drive's budget.
    pub waiting_since_ns: u64,
    /// Bytes in `pages` that belong to the command.
    pub length: u32,
    /// Bytes of them that go to the host with the response.
    pub return_length: u32,
    /// Pages reserved, in order.
    pub pages: [u32; PAGES_MAX],
    /// How many of `pages` are in use.
    pub page_count: u8,
    /// Blocks, or ranges of its list, handed to the drive so far.
    pub blocks_submitted: u32,
    /// NVMe commands at the drive.
    pub pieces: u16,
    /// First error of its pieces, or success.
    pub status: Status,
    /// The response, ready to send.
    pub cqe: [u8; 16],
    /// Punt sequence, when punted.
    pub punt: u32,
    pub(crate) next: u32,
    pub(crate) qp_next: u32,
    pub(crate) qp_previous: u32,
}

/// All commands of an lcore.
pub struct Commands {
    array: Box<[Command]>,
    /// The first free one; the others by [`Command::next`].
    first_free: u32,
    free_count: u32,
}

/// A first-in first-out list of commands, linked through the commands.
#[derive(Clone, Copy, Debug)]
pub struct List {
    head: u32,
    tail: u32,
}

impl List {
    /// Nothing on it.
    pub const EMPTY: List = List { head: NONE, tail: NONE };

    /// Whether nothing is on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// The first.
    #[must_use]
    pub fn front(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Appends.
    pub fn push(&mut self, commands: &mut Commands, index: u32) {
        commands[index].next = NONE;
        if self.head == NONE {
            self.head = index;
        } else {
            commands[self.tail].next = index;
        }
        self.tail = index;
    }

    /// All that are on it, in order.
    pub(crate) fn walk(self, commands: &Commands) -> impl Iterator<Item = u32> + '_ {
        let on = |index: u32| (index != NONE).then_some(index);
        core::iter::successors(self.front(), move |index| on(commands[*index].next))
    }

    /// Takes the first.
    pub fn pop(&mut self, commands: &Commands) -> Option<u32> {
        let index = self.front()?;
        self.head = commands[index].next;
        Some(index)
    }
}

impl Commands {
    /// `count` commands, all free.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let array = (0..count).map(|_| Command::idle()).collect();
        let mut commands = Self { array, first_free: NONE, free_count: 0 };
        for index in (0..count).rev() {
            commands.put_back(index);
        }
        commands
    }

    /// Puts a predecessor's commands where they were, on their QPs' rings, last first; the others are free.
    ///
    /// # Panics
    /// When a place is taken twice: whoever read the state has checked.
    pub(crate) fn restore(count: u32, placed: impl Iterator<Item = (u32, Command)>) -> Self {
        let mut commands = Self::new(count);
        for (index, command) in placed {
            assert!(commands[index].state == State::Free && command.state != State::Free, "command {index} twice");
            commands[index] = command;
        }
        (commands.first_free, commands.free_count) = (NONE, 0);
        for index in (0..count).rev() {
            if commands[index].state == State::Free {
                commands.put_back(index);
            }
        }
        commands
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.free_count
    }

    /// How many there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.array.len() as u32
    }

    /// Takes a free command for a QP and puts it on the QP's ring, unless no more than `keep` would stay free.
    pub fn take(&mut self, qp: u32, ring: &mut Ring, keep: u32) -> Option<u32> {
        if self.free_count <= keep {
            return None;
        }
        let index = self.first_free;
        self.first_free = self[index].next;
        self.free_count -= 1;
        let command = &mut self[index];
        command.state = State::Receiving;
        command.dead = false;
        command.aborted = false;
        command.qp = qp;
        command.data = Data::None;
        command.task = Task::Undecided;
        command.length = 0;
        command.return_length = 0;
        command.page_count = 0;
        command.blocks_submitted = 0;
        command.pieces = 0;
        command.status = Status::SUCCESS;
        debug_assert!(!command.charged);
        ring.insert(self, index);
        Some(index)
    }

    /// Frees a command, which holds no pages any more.
    ///
    /// # Panics
    /// When it is free already or still holds pages.
    pub fn release(&mut self, ring: &mut Ring, index: u32) {
        let command = &self[index];
        assert!(command.state != State::Free && command.page_count == 0, "command {index} released in a wrong state");
        ring.remove(self, index);
        self.put_back(index);
    }

    fn put_back(&mut self, index: u32) {
        self[index].state = State::Free;
        // Last in, first out: the next command finds this one's memory warm.
        self[index].next = self.first_free;
        self.first_free = index;
        self.free_count += 1;
    }
}

impl core::ops::Index<u32> for Commands {
    type Output = Command;
    #[inline]
    fn index(&self, index: u32) -> &Command {
        &self.array[index as usize]
    }
}

impl core::ops::IndexMut<u32> for Commands {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Command {
        &mut self.array[index as usize]
    }
}

impl Command {
    pub(crate) fn idle() -> Self {
        Self {
            state: State::Free,
            dead: false,
            aborted: false,
            qp: NONE,
            sqe: Sqe::default(),
            capsule_length: 0,
            data: Data::None,
            task: Task::Undecided,
            tenant: 0,
            paid: false,
            charged: false,
            waiting_since_ns: 0,
            length: 0,
            return_length: 0,
            pages: [NONE; PAGES_MAX],
            page_count: 0,
            blocks_submitted: 0,
            pieces: 0,
            status: Status::SUCCESS,
            cqe: [0; 16],
            punt: 0,
            next: NONE,
            qp_next: NONE,
            qp_previous: NONE,
        }
    }
}

/// The commands of one QP.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    first: u32,
    count: u32,
}

impl Ring {
    /// None.
    pub const EMPTY: Ring = Ring { first: NONE, count: 0 };

    /// How many.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first, from which [`Ring::after`] walks on.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The one after `index`.
    #[must_use]
    pub fn after(commands: &Commands, index: u32) -> Option<u32> {
        let next = commands[index].qp_next;
        (next != NONE).then_some(next)
    }

    pub(crate) fn insert(&mut self, commands: &mut Commands, index: u32) {
        commands[index].qp_next = self.first;
        commands[index].qp_previous = NONE;
        if self.first != NONE {
            commands[self.first].qp_previous = index;
        }
        self.first = index;
        self.count += 1;
    }

    fn remove(&mut self, commands: &mut Commands, index: u32) {
        let (previous, next) = (commands[index].qp_previous, commands[index].qp_next);
        if previous == NONE {
            self.first = next;
        } else {
            commands[previous].qp_next = next;
        }
        if next != NONE {
            commands[next].qp_previous = previous;
        }
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_listed_and_released() {
        let mut commands = Commands::new(4);
        let mut ring = Ring::EMPTY;
        let taken: [u32; 3] = core::array::from_fn(|_| commands.take(0, &mut ring, 1).unwrap());
        assert_eq!(commands.take(0, &mut ring, 1), None, "the reserve stays");
        assert_eq!((ring.len(), commands.free()), (3, 1));
        let mut list = List::EMPTY;
        for index in taken {
            list.push(&mut commands, index);
        }
        assert_eq!([list.pop(&commands), list.pop(&commands), list.pop(&commands)], taken.map(Some));
        assert!(list.is_empty());
        commands.release(&mut ring, taken[1]);
        let left: alloc::vec::Vec<u32> = core::iter::successors(ring.first(), |i| Ring::after(&commands, *i)).collect();
        assert_eq!(left, [taken[2], taken[0]]);
        commands.release(&mut ring, taken[2]);
        commands.release(&mut ring, taken[0]);
        assert!(ring.is_empty() && commands.free() == 4);
    }

    #[test]
    #[should_panic(expected = "wrong state")]
    fn a_command_is_not_released_twice() {
        let mut commands = Commands::new(1);
        let mut ring = Ring::EMPTY;
        let index = commands.take(0, &mut ring, 0).unwrap();
        commands.release(&mut ring, index);
        commands.release(&mut ring, index);
    }
}
