//! What a test asks of a host, one thing after the other: each call moves virtual time on until it has its answer.

use std::fmt;

use gantry_control::{Configuration, Status};
use gantry_wire::nvme;

use super::World;
use crate::host::{Busy, Done, Failure, Io, IoKind, State};

/// How long a call waits: longer than a host that gives up by itself.
const LIMIT_NS: u64 = 120_000_000_000;

/// Tags of commands that are waited for; others use lower ones.
const TAGS: u64 = 1 << 63;

/// I/O queues of a host that [`World::connect`] connects, the entries of each, and its keep-alive timeout.
const QUEUES: u16 = 2;
const ENTRIES: u16 = 128;
const KATO_MS: u32 = 5_000;

/// Why a call was not answered as hoped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    /// The host has given its association up, or was refused one.
    Failed(Failure),
    /// The target has ended the association.
    Ended,
    /// The host takes no command now.
    Busy(Busy),
    /// The command ended with this status.
    Status(nvme::Status),
    /// Nothing came of it within two minutes of virtual time.
    Unanswered,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Failed(failure) => write!(f, "the association failed: {failure:?}"),
            AskError::Ended => write!(f, "the target has ended the association"),
            AskError::Busy(Busy::QueueFull) => write!(f, "the host's queue is full"),
            AskError::Busy(Busy::NotReady) => write!(f, "the host is not connected"),
            AskError::Status(status) => write!(f, "the command ended with {status}"),
            AskError::Unanswered => write!(f, "no answer within {} s", LIMIT_NS / 1_000_000_000),
        }
    }
}

impl std::error::Error for AskError {}

impl World {
    /// Connects a host to a subsystem, with two I/O queues of 128 entries and a keep-alive timeout of 5 s.
    ///
    /// # Errors
    /// [`AskError::Failed`], [`AskError::Ended`], [`AskError::Unanswered`].
    ///
    /// # Panics
    /// While it is connected.
    pub fn connect(&mut self, host: usize, nqn: &str) -> Result<(), AskError> {
        self.host(host).connect(nqn, QUEUES, ENTRIES, KATO_MS);
        self.wait(|world| match world.host(host).state() {
            State::Ready => Some(Ok(())),
            State::Failed(failure) => Some(Err(AskError::Failed(*failure))),
            State::Disconnected => Some(Err(AskError::Ended)),
            _ => None,
        })
    }

    /// Disconnects a host.
    ///
    /// # Errors
    /// [`AskError::Failed`], [`AskError::Unanswered`].
    pub fn disconnect(&mut self, host: usize) -> Result<(), AskError> {
        self.host(host).disconnect();
        self.wait(|world| match world.host(host).state() {
            State::Disconnected => Some(Ok(())),
            State::Failed(failure) => Some(Err(AskError::Failed(*failure))),
            _ => None,
        })
    }

    /// Writes whole blocks.
    ///
    /// # Errors
    /// Any [`AskError`].
    ///
    /// # Panics
    /// When `data` is no whole number of blocks.
    pub fn write(&mut self, host: usize, nsid: u32, slba: u64, data: &[u8]) -> Result<(), AskError> {
        let namespaces = self.hosts[host].host.namespaces();
        let block = namespaces.iter().find(|known| known.nsid == nsid).map_or(512, |known| known.block_size);
        assert!(data.len().is_multiple_of(block as usize), "{} bytes are no whole blocks of {block}", data.len());
        let blocks = data.len() as u32 / block;
        self.ask(host, IoKind::Write, nsid, (slba, blocks), data.to_vec()).map(drop)
    }

    /// Reads blocks.
    ///
    /// # Errors
    /// Any [`AskError`].
    pub fn read(&mut self, host: usize, nsid: u32, slba: u64, blocks: u32) -> Result<Vec<u8>, AskError> {
        self.ask(host, IoKind::Read, nsid, (slba, blocks), Vec::new()).map(|done| done.data)
    }

    /// Makes what was written outlive a loss of power.
    ///
    /// # Errors
    /// Any [`AskError`].
    pub fn flush(&mut self, host: usize, nsid: u32) -> Result<(), AskError> {
        self.ask(host, IoKind::Flush, nsid, (0, 0), Vec::new()).map(drop)
    }

    /// Changes what the first target's control is to bring into being, and restarts it: gantryd reads its configuration
    /// when it starts. Ports and drives are known by their place: append new ones.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Configuration)) {
        change(self.target().configuration());
        self.kill_control();
        self.wait(|world| world.target().has_control().then_some(Ok(()))).expect("control comes up by itself");
    }

    /// What the first target's control knows: ports, drives, subsystems, who is connected. A new control knows drives and
    /// hosts as soon as it has adopted what runs.
    pub fn status(&mut self) -> Status {
        self.target().control().status()
    }

    fn ask(
        &mut self,
        host: usize,
        kind: IoKind,
        nsid: u32,
        (slba, blocks): (u64, u32),
        data: Vec<u8>,
    ) -> Result<Done, AskError> {
        self.asked += 1;
        let tag = TAGS | self.asked;
        let io = Io { queue: 1, kind, nsid, slba, blocks, data, tag };
        self.host(host).submit(io).map_err(AskError::Busy)?;
        let done = self.wait(|world| world.host(host).take_completion(tag).map(Ok))?;
        match done.status {
            nvme::Status::SUCCESS => Ok(done),
            status => Err(AskError::Status(status)),
        }
    }

    fn wait<T>(&mut self, mut answer: impl FnMut(&mut World) -> Option<Result<T, AskError>>) -> Result<T, AskError> {
        let mut answered = None;
        self.run_until(LIMIT_NS, |world| {
            answered = answer(world);
            answered.is_some()
        });
        answered.unwrap_or(Err(AskError::Unanswered))
    }
}
