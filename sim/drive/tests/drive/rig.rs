//! A drive, its driver and memory between them, stepped on a virtual clock.

use gantry_dma::Region;
use gantry_drive::{Faults, SoftwareDrive, open};
use gantry_nvme::{Bar, Config, Controller, Event, IoQueue, prp};
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::{Cid, Cqe, Sqe};
use std::sync::Arc;

/// Data pages of the rig.
pub(crate) const DATA_PAGES: usize = 600;
/// What the driver is asked for unless a test says more.
pub(crate) const CONFIG: Config = Config { io_queues: 2, io_entries: 64, command_timeout_ns: 1_000_000_000, sgl: true };
/// A step of the clock.
pub(crate) const TICK_NS: u64 = 10_000;

pub(crate) struct Rig {
    pub(crate) drive: SoftwareDrive,
    pub(crate) controller: Controller,
    pub(crate) memory: Arc<Region>,
    pub(crate) now_ns: u64,
    data: usize,
    list: usize,
    next_cid: u16,
}

impl Rig {
    /// A drive that is not brought up yet.
    pub(crate) fn cold(drive: SoftwareDrive, config: Config) -> Rig {
        Rig::over(drive, |drive| drive.bar().into(), config)
    }

    /// A drive that is not brought up yet, behind the registers that `bar` makes of it.
    pub(crate) fn over(drive: SoftwareDrive, bar: impl FnOnce(&SoftwareDrive) -> Bar, config: Config) -> Rig {
        let queues = Controller::memory_needed(config.io_queues, config.io_entries);
        let memory = Region::shared(queues + (DATA_PAGES + 4) * PAGE).unwrap();
        drive.map(Arc::clone(&memory)).unwrap();
        let controller = Controller::new(bar(&drive), Arc::clone(&memory), 0, queues, config);
        let data = queues;
        Rig { drive, controller, memory, now_ns: 0, data, list: data + DATA_PAGES * PAGE, next_cid: 0xfff0 }
    }

    /// A drive that is ready.
    pub(crate) fn new(uri: &str) -> Rig {
        Rig::with(uri, CONFIG)
    }

    pub(crate) fn with(uri: &str, config: Config) -> Rig {
        let mut rig = Rig::cold(open(uri, "test").unwrap(), config);
        assert_eq!(rig.event(), Event::Ready);
        rig
    }

    /// One tick: the drive, then the driver.
    pub(crate) fn tick(&mut self) -> Option<Event> {
        self.now_ns += TICK_NS;
        self.drive.model().step(self.now_ns);
        self.controller.poll(self.now_ns)
    }

    /// Ticks until the driver has something to say.
    pub(crate) fn event(&mut self) -> Event {
        for _ in 0..10_000_000 {
            if let Some(event) = self.tick() {
                return event;
            }
        }
        panic!("nothing happened for {} s", self.now_ns / 1_000_000_000);
    }

    /// Ticks `count` times; nothing must happen to the drive meanwhile.
    pub(crate) fn quiet(&mut self, count: u32) {
        for _ in 0..count {
            assert_eq!(self.tick(), None);
        }
    }

    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.drive.faults().lock());
    }

    pub(crate) fn cid(&mut self) -> Cid {
        self.next_cid = self.next_cid.wrapping_add(1);
        Cid(self.next_cid)
    }

    /// Submits one command and waits for its answer.
    pub(crate) fn run(&mut self, queue: &mut IoQueue, sqe: &Sqe) -> Cqe {
        queue.submit(sqe).unwrap();
        queue.ring();
        let cqe = self.answer(queue);
        assert_eq!(cqe.cid(), sqe.cid());
        cqe
    }

    pub(crate) fn answer(&mut self, queue: &mut IoQueue) -> Cqe {
        for _ in 0..1000 {
            if let Some(cqe) = queue.poll() {
                queue.release();
                return cqe;
            }
            assert_eq!(self.tick(), None);
        }
        panic!("no answer");
    }

    /// Device addresses of data page after data page, scattered: neighbours in data are none in memory.
    pub(crate) fn pages(&self, offset: usize) -> impl Iterator<Item = u64> + use<> {
        let first = self.memory.iova(self.data);
        (0..DATA_PAGES).map(move |i| first + (scatter(i) * PAGE + if i == 0 { offset } else { 0 }) as u64)
    }

    /// PRPs of `length` bytes that start `offset` bytes into the first data page.
    pub(crate) fn prps(&self, offset: usize, length: usize) -> (u64, u64) {
        prp::describe(self.pages(offset), length, &self.memory, self.list)
    }

    /// Puts `bytes` where `prps(offset, …)` points.
    pub(crate) fn put(&self, offset: usize, bytes: &[u8]) {
        self.parts(offset, bytes.len(), |at, from, to| self.memory.write(at, &bytes[from..to]));
    }

    /// Takes `length` bytes from there.
    pub(crate) fn take(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.parts(offset, length, |at, from, to| self.memory.read(at, &mut bytes[from..to]));
        bytes
    }

    /// All data pages set to `byte`.
    pub(crate) fn paint(&self, byte: u8) {
        self.memory.fill(self.data, DATA_PAGES * PAGE, byte);
    }

    /// The bytes of every data page, in memory's order.
    pub(crate) fn all_data(&self) -> Vec<u8> {
        let mut bytes = vec![0; DATA_PAGES * PAGE];
        self.memory.read(self.data, &mut bytes);
        bytes
    }

    /// Offset in memory of the page that PRP lists and SGL segments go to.
    pub(crate) fn list(&self) -> usize {
        self.list
    }

    fn parts(&self, offset: usize, length: usize, mut each: impl FnMut(usize, usize, usize)) {
        let mut from = 0;
        let mut position = offset;
        while from < length {
            let to = length.min(from + PAGE - position % PAGE);
            each(self.data + scatter(position / PAGE) * PAGE + position % PAGE, from, to);
            position += to - from;
            from = to;
        }
    }
}

/// Where data page `i` lies: a permutation (7 and 600 have no common factor).
fn scatter(i: usize) -> usize {
    i * 7 % DATA_PAGES
}

/// Bytes that tell where they belong.
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
