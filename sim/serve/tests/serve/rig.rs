//! A served drive in a thread, and a driver on the real clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gantry_dma::Region;
use gantry_drive::open;
use gantry_nvme::{Bar, Config, Controller, Event, IoQueue, command};
use gantry_serve::{Notice, Options, Server};
use gantry_vfio_user::{Drive, Uri};
use gantry_wire::nvme::{Cid, Nsid};

/// Longer than anything takes on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: Config = Config { io_queues: 2, io_entries: 32, command_timeout_ns: 30_000_000_000, sgl: true };

/// Pages of data behind the queues.
const DATA_PAGES: usize = 16;

/// A folder of a test's own.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A served drive; dropping it ends its thread, as SIGTERM does a process.
pub(crate) struct Served {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(crate) notices: Receiver<Notice>,
    pub(crate) path: PathBuf,
}

impl Served {
    pub(crate) fn start(path: &Path, drive: &str, doorbells_mapped: bool) -> Self {
        let drive = open(drive, "served").unwrap();
        let mut server = Server::bind(path, drive, Options { doorbells_mapped }).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (told, notices) = channel();
        // Whoever does not listen is not told.
        let thread = std::thread::spawn(move || {
            server.run(&stopped, |notice| {
                let _ = told.send(notice);
            });
        });
        Self { stop, thread: Some(thread), notices, path: path.to_owned() }
    }

    pub(crate) fn uri(&self, options: &str) -> Uri {
        Uri::parse(&format!("vfio-user:{}{options}", self.path.display())).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

/// A driver: registers, doorbells, memory, and something that has to be done now and then.
pub(crate) struct Driver {
    pub(crate) controller: Controller,
    pub(crate) memory: Arc<Region>,
    start: Instant,
    queues: usize,
}

impl Driver {
    /// Memory for one.
    pub(crate) fn memory() -> Arc<Region> {
        let queues = Controller::memory_needed(CONFIG.io_queues, CONFIG.io_entries);
        // Not of whole pages, as an lcore's lists are not.
        Region::shared(queues + DATA_PAGES * 4096 + 256).unwrap()
    }

    pub(crate) fn new(bar: Bar, memory: Arc<Region>) -> Self {
        let queues = Controller::memory_needed(CONFIG.io_queues, CONFIG.io_entries);
        let controller = Controller::new(bar, memory.clone(), 0, queues, CONFIG);
        Self { controller, memory, start: Instant::now(), queues }
    }

    /// The driver of a drive that is served.
    pub(crate) fn of(drive: &Drive) -> Self {
        let memory = Self::memory();
        drive.map(memory.clone()).unwrap();
        Self::new(drive.bar(), memory)
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// The next event; `turn` runs meanwhile.
    pub(crate) fn event(&mut self, mut turn: impl FnMut()) -> Event {
        let begun = Instant::now();
        loop {
            turn();
            if let Some(event) = self.controller.poll(self.now_ns()) {
                return event;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing happens");
            std::thread::yield_now();
        }
    }

    /// Brings it up and moves data through both queues, `rounds` times all pages: SQs and CQs wrap many times.
    pub(crate) fn verify(&mut self, rounds: u64, mut turn: impl FnMut()) {
        assert_eq!(self.event(&mut turn), Event::Ready);
        let mut queues = [self.controller.take_io_queue(0), self.controller.take_io_queue(1)];
        for round in 0..rounds {
            let byte = |cid: u16| (round as u8).wrapping_mul(31) ^ cid as u8 ^ 0x55;
            let queue = &mut queues[round as usize % 2];
            for write in [true, false] {
                for cid in 0..DATA_PAGES as u16 {
                    let at = self.queues + usize::from(cid) * 4096;
                    let (slba, prps) = ((u64::from(cid) + round % 7) * 8, (self.memory.iova(at), 0));
                    self.memory.fill(at, 4096, if write { byte(cid) } else { 0xee });
                    let make = if write { command::write } else { command::read };
                    queue.submit(&make(Nsid(1), Cid(cid), slba, 8, prps, false)).unwrap();
                }
                queue.ring();
                self.finish(queue, &mut turn);
            }
            for cid in 0..DATA_PAGES as u16 {
                let at = self.queues + usize::from(cid) * 4096;
                assert!(self.memory.compare(at, &[byte(cid); 4096]), "round {round} page {cid}");
            }
        }
        let [one, two] = queues;
        self.controller.give_back(one);
        self.controller.give_back(two);
    }

    fn finish(&mut self, queue: &mut IoQueue, turn: &mut impl FnMut()) {
        let begun = Instant::now();
        while queue.outstanding() > 0 {
            while let Some(cqe) = queue.poll() {
                assert!(cqe.status().is_success(), "{:?}", cqe.status());
            }
            queue.release();
            turn();
            assert!(begun.elapsed() < PATIENCE, "{} commands without an answer", queue.outstanding());
            std::thread::yield_now();
        }
    }
}
