//! What a side's hosts ask for: so many commands in flight over their queues, random places, and data that says where it
//! belongs. It is cheap, for it runs beside what is measured: each read's first and last bytes are looked at, or all of them.

use gantry_pipeline::tables::mix;
use gantry_sim::host::{Done, Host, Io, IoKind};
use gantry_sim::workload::pattern;

/// Bytes of a block.
pub const BLOCK: u32 = 512;

/// Bytes of a block that are looked at when not all are.
const GLANCE: usize = 16;

/// How long I/Os are waited for. Transports give up long before.
const PATIENCE_NS: u64 = 120_000_000_000;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Read, or write.
    pub read: bool,
    /// Bytes of a command.
    pub length: u32,
    /// Commands in flight.
    pub in_flight: usize,
    /// Bytes of every drive that are used, from its beginning.
    pub bytes: u64,
    /// Drives: NSIDs 1 and on.
    pub drives: u32,
    /// One place after the other instead of random ones.
    pub in_order: bool,
    /// What blocks hold: a version of their own address.
    pub version: u32,
    /// What is done with data that comes back.
    pub check: Check,
}

/// How closely data is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// All of it.
    All,
    /// The beginning of the first and of the last block.
    Glance,
    /// Not at all: the drive has none.
    None,
}

#[derive(Clone, Copy, Default)]
struct Asked {
    nsid: u32,
    place: u64,
}

/// A load that runs.
pub struct Load {
    plan: Plan,
    /// Every I/O queue, as the host's place and the queue's id, in random order.
    queues: Vec<(usize, u16)>,
    turn: usize,
    asked: Vec<Asked>,
    free: Vec<usize>,
    random: u64,
    next_place: u64,
    only: Option<u32>,
    /// Places that were written, of each drive.
    written: Vec<Vec<bool>>,
    /// Commands that were sent.
    pub sent: u64,
    /// Send no more than this.
    pub limit: u64,
    /// Commands completed well.
    pub completed: u64,
    /// What went wrong; the first few.
    pub errors: Vec<String>,
    /// Latencies in nanoseconds as hosts see them, while there is room.
    pub latencies_ns: Vec<u64>,
}

impl Load {
    /// A load over all I/O queues of these hosts.
    #[must_use]
    pub fn new(plan: Plan, hosts: &[Host], seed: u64) -> Self {
        let of = |(at, host): (usize, &Host)| (1..=host.io_queues()).map(move |queue| (at, queue));
        let mut queues: Vec<(usize, u16)> = hosts.iter().enumerate().flat_map(of).collect();
        let mut random = seed;
        for at in (1..queues.len()).rev() {
            random = mix(random.wrapping_add(1));
            queues.swap(at, random as usize % (at + 1));
        }
        let places = plan.bytes / u64::from(plan.length);
        let written = if plan.read { Vec::new() } else { vec![vec![false; places as usize]; plan.drives as usize] };
        Self {
            queues,
            turn: 0,
            asked: vec![Asked::default(); plan.in_flight],
            free: (0..plan.in_flight).rev().collect(),
            random,
            next_place: 0,
            only: None,
            written,
            sent: 0,
            limit: u64::MAX,
            completed: 0,
            errors: Vec::new(),
            latencies_ns: Vec::new(),
            plan,
        }
    }

    /// The next command is for this drive and place, where they are taken in order.
    pub fn begin_at(&mut self, nsid: u32, place: u64) {
        self.only = Some(nsid);
        self.next_place = place;
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.free.len() == self.asked.len()
    }

    /// Commands that are kept in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.plan.in_flight
    }

    /// What is waited for for so long does not come: an error.
    pub fn give_up(&mut self, waited_ns: u64) {
        if waited_ns > PATIENCE_NS {
            self.wrong(format!("{} commands of {} completed in two minutes", self.completed, self.sent));
        }
    }

    /// Whether all went well so far.
    ///
    /// # Errors
    /// The first thing that did not.
    pub fn right(&self) -> Result<(), String> {
        self.errors.first().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Places of a drive.
    #[must_use]
    pub fn places(&self) -> u64 {
        self.plan.bytes / u64::from(self.plan.length)
    }

    /// Takes completions and keeps the depth filled.
    pub fn turn(&mut self, hosts: &mut [Host]) {
        for host in hosts.iter_mut() {
            while let Some(done) = host.poll_completion() {
                self.take(&done);
            }
        }
        while self.sent < self.limit
            && let Some(slot) = self.free.pop()
        {
            if !self.send(hosts, slot) {
                self.free.push(slot);
                return;
            }
        }
    }

    fn send(&mut self, hosts: &mut [Host], slot: usize) -> bool {
        let blocks = self.plan.length / BLOCK;
        let nsid = self.only.unwrap_or(1 + (self.sent % u64::from(self.plan.drives)) as u32);
        let turns = if self.only.is_some() { 1 } else { u64::from(self.plan.drives) };
        let place = if self.plan.in_order { self.next_place / turns } else { self.draw() } % self.places();
        let slba = place * u64::from(blocks);
        let mut data = Vec::new();
        if !self.plan.read {
            data.resize(self.plan.length as usize, 0);
            if self.plan.check != Check::None {
                for (lba, block) in (slba..).zip(data.chunks_exact_mut(BLOCK as usize)) {
                    pattern(lba, self.plan.version + nsid, block);
                }
            }
        }
        let kind = if self.plan.read { IoKind::Read } else { IoKind::Write };
        for _ in 0..self.queues.len() {
            let (host, queue) = self.queues[self.turn];
            self.turn = (self.turn + 1) % self.queues.len();
            if hosts[host].room(queue) == 0 {
                continue;
            }
            let io = Io { queue, kind, nsid, slba, blocks, data, tag: slot as u64 };
            if let Err(busy) = hosts[host].submit(io) {
                self.wrong(format!("a command was not taken: {busy:?}"));
                return false;
            }
            self.asked[slot] = Asked { nsid, place };
            self.sent += 1;
            self.next_place += 1;
            return true;
        }
        false
    }

    fn take(&mut self, done: &Done) {
        let slot = done.tag as usize;
        let Asked { nsid, place } = self.asked[slot];
        self.free.push(slot);
        if !done.status.is_success() {
            return self.wrong(format!("NSID {nsid}, place {place}: {}", done.status));
        }
        self.completed += 1;
        if self.latencies_ns.len() < self.latencies_ns.capacity() {
            self.latencies_ns.push(done.latency_ns);
        }
        if !self.plan.read {
            self.written[nsid as usize - 1][place as usize] = true;
        } else if !self.is_right(nsid, place, &done.data) {
            self.wrong(format!("NSID {nsid}, place {place}: other data than was written"));
        }
    }

    fn is_right(&self, nsid: u32, place: u64, data: &[u8]) -> bool {
        let blocks = self.plan.length / BLOCK;
        let first = place * u64::from(blocks);
        let looked = match self.plan.check {
            Check::All => BLOCK as usize,
            Check::Glance => GLANCE,
            Check::None => return true,
        };
        let right = |lba: u64| {
            let mut expected = [0; BLOCK as usize];
            pattern(lba, self.plan.version + nsid, &mut expected[..looked]);
            let at = (lba - first) as usize * BLOCK as usize;
            data.get(at..at + looked) == Some(&expected[..looked])
        };
        if data.len() != self.plan.length as usize {
            return false;
        }
        match self.plan.check {
            Check::All => (first..first + u64::from(blocks)).all(right),
            _ => right(first) && right(first + u64::from(blocks) - 1),
        }
    }

    /// Places of a drive that were written, at most so many.
    #[must_use]
    pub fn written(&self, nsid: u32, most: usize) -> Vec<u64> {
        let places = self.written.get(nsid as usize - 1).into_iter().flatten();
        places.zip(0..).filter(|(written, _)| **written).map(|(_, place)| place).take(most).collect()
    }

    fn wrong(&mut self, what: String) {
        if self.errors.len() < 8 {
            self.errors.push(what);
        }
    }

    fn draw(&mut self) -> u64 {
        self.random = mix(self.random.wrapping_add(1));
        self.random
    }
}

#[cfg(test)]
mod tests {
    use gantry_wire::nvme::Status;

    use super::*;

    const PLAN: Plan = Plan {
        read: true,
        length: BLOCK,
        in_flight: 1,
        bytes: 4 * BLOCK as u64,
        drives: 1,
        in_order: true,
        version: 1,
        check: Check::Glance,
    };

    /// A load whose one command has ended so.
    fn ended(status: Status, data: Vec<u8>) -> Load {
        let mut load = Load::new(PLAN, &[], 1);
        let tag = load.free.pop().expect("nothing is in flight") as u64;
        load.asked[tag as usize] = Asked { nsid: 1, place: 2 };
        load.sent += 1;
        load.take(&Done { tag, queue: 1, cid: 0, status, result: 0, data, latency_ns: 1 });
        load
    }

    #[test]
    fn a_load_is_right_only_if_every_command_brought_what_was_written() {
        let mut block = vec![0; BLOCK as usize];
        pattern(2, PLAN.version + 1, &mut block);
        let good = ended(Status::SUCCESS, block.clone());
        assert!(good.is_idle() && good.right() == Ok(()));
        // Nothing is in flight in these either.
        let failed = ended(Status::INTERNAL_ERROR, Vec::new());
        assert!(failed.is_idle() && failed.right().is_err());
        block[0] ^= 1;
        for data in [block, Vec::new()] {
            assert!(ended(Status::SUCCESS, data).right().unwrap_err().contains("other data than was written"));
        }
    }

    #[test]
    fn what_does_not_come_is_given_up() {
        let mut load = Load::new(PLAN, &[], 1);
        load.give_up(PATIENCE_NS);
        assert_eq!(load.right(), Ok(()));
        load.give_up(PATIENCE_NS + 1);
        assert!(load.right().is_err());
    }
}
