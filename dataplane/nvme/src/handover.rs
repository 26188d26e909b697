//! A drive's controller and its queues told to a successor, and taken up there.
//!
//! Registers and queues stay where they are: the successor is handed the same BAR and the same memory, and finds the
//! queues at the places that bring-up gave them. What is told is where both sides stand in them, and who waits for what.
//! The drive notices nothing; it may post completions in between.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use gantry_dma::Region;
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::register::{Cap, cq_doorbell, sq_doorbell};
use gantry_wire::nvme::{Cqe, Nsid, Sqe, Status, feature::AsyncEvent};
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, IntoBytes};

use crate::controller::{ADMIN_ENTRIES, Config, Controller, Event, State, Waiter};
use crate::inventory::Unusable;
use crate::jobs::{Job, Jobs};
use crate::queue::{CLASSES, Counters, IoQueue, Place};
use crate::{Bar, Doorbells};

/// What was told of a drive cannot be its state. The text says what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inconsistent(pub &'static str);

fn must(holds: bool, what: &'static str) -> Result<(), Inconsistent> {
    if holds { Ok(()) } else { Err(Inconsistent(what)) }
}

/// A queue pair, told.
#[derive(Debug, Serialize, Deserialize)]
pub struct IoQueueState {
    qid: u16,
    entries: u16,
    sq_tail: u16,
    sq_tail_rung: u16,
    sq_head: u16,
    cq_head: u16,
    cq_head_rung: u16,
    phase: bool,
    /// CIDs outstanding, each with its age class.
    outstanding: Vec<(u16, u8)>,
    class: u8,
    class_since_ns: Option<u64>,
    expired: bool,
    counters: Counters,
}

impl IoQueue {
    /// Tells a successor everything but where the queue lies.
    #[must_use]
    pub fn tell(&self) -> IoQueueState {
        let IoQueue { doorbells: _, memory: _, sq: _, cq: _, sq_doorbell: _, cq_doorbell: _, timeout_ns: _, .. } = self;
        let IoQueue { qid, entries, sq_tail, sq_tail_rung, sq_head, cq_head, cq_head_rung, phase, .. } = *self;
        // Follow from the classes of the CIDs.
        let IoQueue { outstanding: _, in_class: _, class_of, class, class_since_ns, expired, counters, .. } = self;
        let classes = class_of.iter().enumerate().filter(|(_, class)| **class != 0);
        IoQueueState {
            qid,
            entries,
            sq_tail,
            sq_tail_rung,
            sq_head,
            cq_head,
            cq_head_rung,
            phase,
            outstanding: classes.map(|(cid, class)| (cid as u16, *class)).collect(),
            class: *class,
            class_since_ns: *class_since_ns,
            expired: *expired,
            counters: *counters,
        }
    }
}

impl IoQueueState {
    /// Its identifier.
    #[must_use]
    pub fn qid(&self) -> u16 {
        self.qid
    }

    /// CIDs outstanding.
    pub fn outstanding(&self) -> impl Iterator<Item = u16> + '_ {
        self.outstanding.iter().map(|(cid, _)| *cid)
    }

    fn take_up(
        self,
        doorbells: &Doorbells,
        memory: &Arc<Region>,
        place: Place,
        timeout_ns: u64,
    ) -> Result<IoQueue, Inconsistent> {
        let Place { qid, entries, sq, cq, dstrd } = place;
        must((self.qid, self.entries) == (qid, entries), "a queue is not the one that belongs there")?;
        must(cq_doorbell(qid, dstrd) + 4 <= doorbells.length(), "a queue's doorbells are outside the BAR")?;
        let inside = |at: usize, entry: usize| at + usize::from(entries) * entry <= memory.length();
        must(inside(sq, Sqe::LEN) && inside(cq, Cqe::LEN), "a queue is outside its memory")?;
        let indices = [self.sq_tail, self.sq_tail_rung, self.sq_head, self.cq_head, self.cq_head_rung];
        must(indices.iter().all(|index| *index < entries), "an index past the end of its queue")?;
        must((1..=CLASSES as u8).contains(&self.class), "no age class")?;
        must(self.outstanding.len() < usize::from(entries), "more commands outstanding than a queue has entries")?;
        let mut class_of: Box<[u8]> = vec![0; 1 << 16].into_boxed_slice();
        let mut in_class = [0; CLASSES];
        for (cid, class) in &self.outstanding {
            must((1..=CLASSES as u8).contains(class), "no age class")?;
            let of_cid = &mut class_of[usize::from(*cid)];
            must(*of_cid == 0, "a CID is outstanding twice")?;
            *of_cid = *class;
            in_class[usize::from(*class) - 1] += 1;
        }
        let queue = IoQueue {
            doorbells: Arc::clone(doorbells),
            memory: Arc::clone(memory),
            qid,
            entries,
            sq,
            cq,
            sq_doorbell: sq_doorbell(qid, dstrd),
            cq_doorbell: cq_doorbell(qid, dstrd),
            sq_tail: self.sq_tail,
            sq_tail_rung: self.sq_tail_rung,
            sq_head: self.sq_head,
            cq_head: self.cq_head,
            cq_head_rung: self.cq_head_rung,
            phase: self.phase,
            outstanding: self.outstanding.len() as u16,
            class_of,
            class: self.class,
            class_since_ns: self.class_since_ns,
            in_class,
            expired: self.expired,
            timeout_ns,
            counters: self.counters,
        };
        let ahead = queue.distance(queue.sq_head, queue.sq_tail_rung);
        must(ahead <= queue.distance(queue.sq_head, queue.sq_tail), "a tail was rung that was not reached")?;
        Ok(queue)
    }
}

/// A drive's controller, told.
#[derive(Debug, Serialize, Deserialize)]
pub struct ControllerState {
    config: Config,
    cap: u64,
    state: State,
    admin: Option<IoQueueState>,
    /// Who waits for an admin CID, by CID.
    waiters: Vec<(u16, Waiter)>,
    async_outstanding: u16,
    jobs: Jobs,
    /// Queue pairs that exist and were not taken yet.
    io_queues: Vec<Option<IoQueueState>>,
    taken: u16,
    events: VecDeque<Event>,
    next_ticket: u64,
}

impl Controller {
    /// Tells a successor everything but the BAR and the memory, which it is handed.
    #[must_use]
    pub fn tell(&self) -> ControllerState {
        let Controller {
            registers: _,
            doorbells: _,
            device: _,
            quirks: _,
            memory: _,
            offset: _,
            config,
            cap,
            state,
            admin,
            waiters,
            jobs,
            io_queues,
            ..
        } = self;
        let Controller { async_outstanding, taken, events, next_ticket, .. } = self;
        let waiting = waiters.iter().enumerate().filter(|(_, waiter)| **waiter != Waiter::Nobody);
        ControllerState {
            config: *config,
            cap: cap.0,
            state: *state,
            admin: admin.as_ref().map(IoQueue::tell),
            waiters: waiting.map(|(cid, waiter)| (cid as u16, *waiter)).collect(),
            async_outstanding: *async_outstanding,
            jobs: jobs.clone(),
            io_queues: io_queues.iter().map(|queue| queue.as_ref().map(IoQueue::tell)).collect(),
            taken: *taken,
            events: events.clone(),
            next_ticket: *next_ticket,
        }
    }

    /// The queue pair that an lcore of the predecessor had taken.
    ///
    /// # Errors
    /// [`Inconsistent`], also when the drive has no such queue.
    pub fn take_up_queue(&self, told: IoQueueState) -> Result<IoQueue, Inconsistent> {
        must((1..=self.config.io_queues).contains(&told.qid), "a queue that the drive has not")?;
        let place = self.io_place(told.qid);
        told.take_up(&self.doorbells, &self.memory, place, self.config.command_timeout_ns)
    }

    /// How the drive is driven.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Queue pairs that lcores have.
    #[must_use]
    pub fn taken(&self) -> u16 {
        self.taken
    }
}

impl ControllerState {
    /// How the drive is driven.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Makes the controller over the registers and the memory that the predecessor drove it with. Touches neither.
    ///
    /// # Errors
    /// [`Inconsistent`].
    pub fn take_up(self, bar: impl Into<Bar>, memory: Arc<Region>, offset: usize) -> Result<Controller, Inconsistent> {
        let config = self.config;
        must(config.io_queues >= 1 && config.io_entries >= 2, "a drive without queues")?;
        let length = Controller::memory_needed(config.io_queues, config.io_entries);
        must(offset.checked_add(length).is_some_and(|end| end <= memory.length()), "the queues' memory is too short")?;
        must(memory.iova(offset) as usize & (PAGE - 1) == 0, "the queues' memory is not page-aligned")?;
        must(
            usize::from(self.taken) + self.io_queues.iter().flatten().count() <= usize::from(config.io_queues),
            "more queues than there are",
        )?;
        let mut controller = Controller::new(bar, memory, offset, length, config);
        controller.cap = Cap(self.cap);
        let (doorbells, memory) = (Arc::clone(&controller.doorbells), Arc::clone(&controller.memory));
        let mut outstanding = [false; ADMIN_ENTRIES as usize];
        if let Some(told) = self.admin {
            for cid in told.outstanding() {
                *outstanding.get_mut(usize::from(cid)).ok_or(Inconsistent("an admin CID that nobody gave"))? = true;
            }
            let place = controller.admin_place();
            controller.admin = Some(told.take_up(&doorbells, &memory, place, config.command_timeout_ns)?);
        }
        for (cid, waiter) in self.waiters {
            let place =
                controller.waiters.get_mut(usize::from(cid)).ok_or(Inconsistent("an admin CID that nobody gave"))?;
            *place = waiter;
        }
        if matches!(self.state, State::Enabling { .. } | State::Running { .. } | State::ShuttingDown { .. }) {
            must(controller.admin.is_some(), "an enabled drive without an admin queue")?;
            let waits = controller.waiters.iter().map(|waiter| *waiter != Waiter::Nobody);
            must(waits.eq(outstanding), "an admin command that nobody waits for, or the reverse")?;
            must((1..=config.io_queues).contains(&self.jobs.io_queues), "a bring-up of other queues")?;
            let events = controller.waiters.iter().filter(|waiter| **waiter == Waiter::Events).count();
            must(usize::from(self.async_outstanding) >= events, "more event requests than are counted")?;
            let waiters = controller.waiters.iter();
            let point =
                |job: &Job| matches!(job, Job::Walk | Job::Adopt | Job::BecomeReady | Job::SayNamespacesChanged);
            must(!waiters.into_iter().any(|w| matches!(w, Waiter::Job(job, _) if point(job))), "no command")?;
        }
        let created =
            |job: &Job| matches!(job, Job::CreateCq(qid) | Job::CreateSq(qid) if *qid == 0 || *qid > config.io_queues);
        must(!self.jobs.queue.iter().any(created), "a queue to create that there is not")?;
        for (index, told) in self.io_queues.into_iter().enumerate() {
            let queue = match told {
                Some(told) if usize::from(told.qid) == index + 1 => Some(controller.take_up_queue(told)?),
                Some(_) => return Err(Inconsistent("queues out of order")),
                None => None,
            };
            controller.io_queues.push(queue);
        }
        controller.state = self.state;
        controller.async_outstanding = self.async_outstanding;
        controller.jobs = self.jobs;
        controller.taken = self.taken;
        controller.events = self.events;
        controller.next_ticket = self.next_ticket;
        Ok(controller)
    }
}

/// How NVMe's numbers are told.
pub(crate) mod number {
    use serde::de::{Deserialize, DeserializeOwned, Deserializer};
    use serde::ser::{Serialize, Serializer};

    /// Something told as plain numbers.
    pub(crate) trait Number: Sized {
        type Plain: Serialize + DeserializeOwned;
        fn plain(&self) -> Self::Plain;
        fn of(plain: Self::Plain) -> Self;
    }

    pub(crate) fn serialize<T: Number, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.plain().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Number, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::Plain::deserialize(deserializer).map(T::of)
    }
}

impl number::Number for Nsid {
    type Plain = u32;
    fn plain(&self) -> u32 {
        self.0
    }
    fn of(plain: u32) -> Nsid {
        Nsid(plain)
    }
}

impl number::Number for Status {
    type Plain = u16;
    fn plain(&self) -> u16 {
        self.0
    }
    fn of(plain: u16) -> Status {
        Status(plain)
    }
}

impl number::Number for AsyncEvent {
    type Plain = u32;
    fn plain(&self) -> u32 {
        self.emit()
    }
    fn of(plain: u32) -> AsyncEvent {
        AsyncEvent::parse(plain)
    }
}

impl number::Number for Cqe {
    type Plain = [u8; Cqe::LEN];
    fn plain(&self) -> Self::Plain {
        self.as_bytes().try_into().expect("16 bytes")
    }
    fn of(plain: Self::Plain) -> Cqe {
        Cqe::read_from_bytes(&plain).expect("16 bytes")
    }
}

impl number::Number for Vec<(Nsid, Unusable)> {
    type Plain = Vec<(u32, Unusable)>;
    fn plain(&self) -> Self::Plain {
        self.iter().map(|(nsid, why)| (nsid.0, *why)).collect()
    }
    fn of(plain: Self::Plain) -> Self {
        plain.into_iter().map(|(nsid, why)| (Nsid(nsid), why)).collect()
    }
}

/// How a failure's fixed texts are told: as they are. A predecessor's text that this release has not is lost.
pub(crate) mod what {
    use super::{Job, Nsid, String};
    use gantry_wire::nvme::feature::AsyncEvent;
    use serde::de::{Deserialize, Deserializer};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(what: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(what)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
        let told = String::deserialize(deserializer)?;
        Ok(texts().find(|text| *text == told).unwrap_or("something that this release has no name for"))
    }

    /// All texts that [`crate::Reason`] is made with.
    pub(super) fn texts() -> impl Iterator<Item = &'static str> {
        let jobs = [
            Job::IdentifyController,
            Job::Limits,
            Job::ActiveNamespaces { after: Nsid(0) },
            Job::Namespace(Nsid(0)),
            Job::Descriptors(Nsid(0)),
            Job::QueueCount,
            Job::EventConfiguration,
            Job::CreateCq(0),
            Job::CreateSq(0),
            Job::ReadLog(AsyncEvent::NAMESPACE_CHANGED),
        ];
        jobs.into_iter().map(Job::what).chain(crate::failure::text::ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that is not among those known would be lost on the way: the one a drive would be failed with first.
    #[test]
    fn every_name_of_a_command_is_known_to_a_successor() {
        for job in [Job::IdentifyController, Job::QueueCount, Job::CreateSq(3), Job::ReadLog(AsyncEvent::parse(0))] {
            assert_eq!(what::texts().filter(|text| *text == job.what()).count(), 1, "{job:?}");
        }
    }
}
