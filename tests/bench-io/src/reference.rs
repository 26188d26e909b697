//! What the machine allows, measured in turns with the cases: CRC with one copy of a payload; bursts over the same kind of ring;
//! the drive driven locally.

use std::hint::black_box;
use std::sync::Arc;

use arrayvec::ArrayVec;
use gantry_bench::numbers::Quartiles;
use gantry_cpu::Cpu;
use gantry_dma::Region;
use gantry_drive::SoftwareDrive;
use gantry_nvme::{Config, Controller, Event, IoQueue, command, prp};
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::{Cid, Nsid};
use rte_rs::{BURST, Eal, Mbuf, Mempool, Port, PortConfig, RxQueue, SocketId, TxQueue};
use serde::Serialize;

/// Lengths of an I/O that references are measured at.
pub const LENGTHS: [usize; 4] = [512, 4096, 16_384, 131_072];

/// A frame's largest payload.
const FRAME: usize = 4096;

/// I/Os in flight, as in the base case.
const IN_FLIGHT: usize = 32;

/// Bytes that hold no caches but the machine's last, if that.
const COLD: usize = 256 << 20;

/// What references cost, in cycles.
#[derive(Clone, Debug, Serialize)]
pub struct References {
    /// CRC with one copy of an I/O's payload, by its length.
    pub copies: Vec<Copies>,
    /// A frame's tx_burst, 32 at a time.
    pub tx_frame: Quartiles,
    /// A frame's rx_burst, 32 at a time.
    pub rx_frame: Quartiles,
    /// The drive driven locally, by length.
    pub local: Vec<Local>,
    /// Reading the timestamp counter.
    pub timestamp: Quartiles,
    /// Reading the clock, as the process does once a poll.
    pub clock: Quartiles,
}

/// CRC with one copy, frame by frame: cycles an I/O.
#[derive(Clone, Debug, Serialize)]
pub struct Copies {
    /// Bytes of an I/O.
    pub length: usize,
    /// The same bytes over and over.
    pub warm: Quartiles,
    /// As in the base case: 32 I/Os that somebody on this core has just written, into as many frames as are under way.
    pub in_place: Quartiles,
    /// From memory that was not touched for long.
    pub cold: Quartiles,
}

/// The driver and the software drive without a network: cycles an I/O, reads, 32 in flight.
#[derive(Clone, Debug, Serialize)]
pub struct Local {
    /// Bytes of an I/O.
    pub length: usize,
    /// Submitting, one doorbell a burst, taking completions.
    pub driver: Quartiles,
    /// The software drive itself, which stands where hardware does.
    pub drive: Quartiles,
}

#[derive(Default)]
struct Samples {
    warm: Vec<f64>,
    in_place: Vec<f64>,
    cold: Vec<f64>,
    driver: Vec<f64>,
    drive: Vec<f64>,
}

/// Measures all of them, a round at a time.
pub struct Yardstick {
    cpu: Cpu,
    cold: Vec<u8>,
    cold_at: usize,
    placed: Vec<u8>,
    written: Vec<u8>,
    frames: Vec<u8>,
    ring: Ring,
    local: LocalDrive,
    samples: [Samples; LENGTHS.len()],
    tx: Vec<f64>,
    rx: Vec<f64>,
    timestamp: Vec<f64>,
    clock: Vec<f64>,
}

impl Yardstick {
    /// Takes memory, a ring and a drive.
    ///
    /// # Errors
    /// DPDK's, or the drive's.
    pub fn new(eal: &Eal) -> Result<Self, String> {
        let most = LENGTHS[LENGTHS.len() - 1] * IN_FLIGHT;
        Ok(Self {
            cpu: Cpu::detect(),
            cold: vec![1; COLD],
            cold_at: 0,
            placed: vec![1; most],
            written: vec![2; most],
            frames: vec![3; IN_FLIGHT * 2 * FRAME],
            ring: Ring::new(eal).map_err(|error| format!("the reference's ring: {error}"))?,
            local: LocalDrive::new()?,
            samples: Default::default(),
            tx: Vec::new(),
            rx: Vec::new(),
            timestamp: Vec::new(),
            clock: Vec::new(),
        })
    }

    /// One sample of each: some milliseconds.
    pub fn sample(&mut self) {
        for (at, length) in LENGTHS.into_iter().enumerate() {
            let ios = if length > FRAME { 8 } else { IN_FLIGHT };
            let warm = self.copies(length, ios, |_| 0, false);
            // The first round leaves everything in the nearest cache.
            let warm = warm.min(self.copies(length, ios, |_| 0, false));
            self.samples[at].warm.push(warm);
            let total = length * IN_FLIGHT;
            self.placed[..total].copy_from_slice(&self.written[..total]);
            let in_place = self.copies(length, IN_FLIGHT, |io| io * length, false);
            self.samples[at].in_place.push(in_place);
            let begin = if self.cold_at + total > COLD { 0 } else { self.cold_at };
            self.cold_at = begin + 3 * total;
            let cold = self.copies(length, IN_FLIGHT, |io| begin + io * length, true);
            self.samples[at].cold.push(cold);
            let (driver, drive) = self.local.sample(&self.cpu, length);
            self.samples[at].driver.push(driver);
            self.samples[at].drive.push(drive);
        }
        let (tx, rx) = self.ring.sample(&self.cpu);
        self.tx.push(tx);
        self.rx.push(rx);
        let begun = self.cpu.timestamp();
        for _ in 0..100 {
            black_box(self.cpu.timestamp());
        }
        self.timestamp.push((self.cpu.timestamp() - begun) as f64 / 100.0);
        let clock = crate::rig::Clock::start();
        let begun = self.cpu.timestamp();
        for _ in 0..100 {
            black_box(clock.now_ns());
        }
        self.clock.push((self.cpu.timestamp() - begun) as f64 / 100.0);
    }

    /// Cycles an I/O of this length, where `place` says each of them lies.
    fn copies(&mut self, length: usize, ios: usize, place: impl Fn(usize) -> usize, cold: bool) -> f64 {
        let source = if cold { &self.cold } else { &self.placed };
        let slots = self.frames.len() / FRAME;
        let mut slot = 0;
        let begun = self.cpu.timestamp();
        for io in 0..ios {
            for part in source[place(io)..][..length].chunks(FRAME) {
                let frame = &mut self.frames[slot % slots * FRAME..][..part.len()];
                black_box(self.cpu.copy_crc32(frame, part, 0));
                slot += 1;
            }
        }
        (self.cpu.timestamp() - begun) as f64 / ios as f64
    }

    /// What all samples say.
    #[must_use]
    pub fn references(&self) -> References {
        let of = |values: &Vec<f64>| Quartiles::of(values.clone());
        let pairs = || LENGTHS.into_iter().zip(&self.samples);
        let copies = pairs().map(|(length, samples)| Copies {
            length,
            warm: of(&samples.warm),
            in_place: of(&samples.in_place),
            cold: of(&samples.cold),
        });
        let local =
            pairs().map(|(length, samples)| Local { length, driver: of(&samples.driver), drive: of(&samples.drive) });
        References {
            copies: copies.collect(),
            tx_frame: of(&self.tx),
            rx_frame: of(&self.rx),
            local: local.collect(),
            timestamp: of(&self.timestamp),
            clock: of(&self.clock),
        }
    }
}

/// A ring alone.
struct Ring {
    rx: RxQueue,
    tx: TxQueue,
    burst: ArrayVec<Mbuf, BURST>,
    _port: Port,
    _pool: Mempool,
}

impl Ring {
    fn new(eal: &Eal) -> Result<Self, rte_rs::Error> {
        let pool = Mempool::create(eal, "reference", 255, 0, 4416, SocketId::ANY)?;
        let mut port = Port::attach(eal, "net_ring30")?;
        port.configure(PortConfig {
            rx_pools: vec![pool.clone()],
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 4200,
            promiscuous: false,
        })?;
        port.start()?;
        let (rx, tx, mut burst) = (port.rx_queue(0)?, port.tx_queue(0)?, ArrayVec::new());
        pool.alloc_bulk(&mut burst, BURST);
        Ok(Self { rx, tx, burst, _port: port, _pool: pool })
    }

    /// Cycles of a frame sent, and received.
    fn sample(&mut self, cpu: &Cpu) -> (f64, f64) {
        let (mut sending, mut receiving) = (0, 0);
        let frames = 16 * self.burst.len();
        for _ in 0..16 {
            let begun = cpu.timestamp();
            self.tx.tx_burst(&mut self.burst);
            let sent = cpu.timestamp();
            self.rx.rx_burst(&mut self.burst);
            sending += sent - begun;
            receiving += cpu.timestamp() - sent;
        }
        (sending as f64 / frames as f64, receiving as f64 / frames as f64)
    }
}

/// A drive, and its driver right beside it.
struct LocalDrive {
    drive: SoftwareDrive,
    queue: IoQueue,
    memory: Arc<Region>,
    data: usize,
    now_ns: u64,
    at: u64,
    _controller: Controller,
}

const LOCAL_BYTES: u64 = 64 << 20;

impl LocalDrive {
    fn new() -> Result<Self, String> {
        let uri = format!("mem:{LOCAL_BYTES}");
        let mut drive = gantry_drive::open(&uri, "reference").map_err(|error| error.to_string())?;
        let config = Config { io_queues: 1, io_entries: 64, command_timeout_ns: u64::MAX / 4, sgl: true };
        let queues = Controller::memory_needed(config.io_queues, config.io_entries).next_multiple_of(PAGE);
        let data = LENGTHS[LENGTHS.len() - 1] * IN_FLIGHT;
        // A list a command, behind the data.
        let memory = Region::shared(queues + data + IN_FLIGHT * PAGE).map_err(|error| error.to_string())?;
        drive.map(memory.clone()).map_err(|error| error.to_string())?;
        let mut controller = Controller::new(drive.bar(), memory.clone(), 0, queues, config);
        let mut now_ns = 1;
        let ready = (0..1_000_000).any(|_| {
            now_ns += 1_000;
            drive.model().step(now_ns);
            controller.poll(now_ns) == Some(Event::Ready)
        });
        if !ready {
            return Err("the reference's drive did not come up".to_owned());
        }
        let queue = controller.take_io_queue(0);
        let mut local = Self { drive, queue, memory, data: queues, now_ns, at: 0, _controller: controller };
        // Blocks that were never written are not read, but made up.
        for _ in 0..LOCAL_BYTES as usize / data {
            local.burst(&Cpu::detect(), LENGTHS[LENGTHS.len() - 1], false);
        }
        Ok(local)
    }

    /// Cycles of the driver and of the drive, an I/O.
    fn sample(&mut self, cpu: &Cpu, length: usize) -> (f64, f64) {
        self.burst(cpu, length, true)
    }

    fn burst(&mut self, cpu: &Cpu, length: usize, read: bool) -> (f64, f64) {
        let (blocks, nsid) = ((length / 512) as u32, Nsid(1));
        let begun = cpu.timestamp();
        for io in 0..IN_FLIGHT {
            let first = self.memory.iova(self.data + io * LENGTHS[LENGTHS.len() - 1]);
            let pages = (0..length.div_ceil(PAGE)).map(|page| first + (page * PAGE) as u64);
            let list = self.data + LENGTHS[LENGTHS.len() - 1] * IN_FLIGHT + io * PAGE;
            let prps = prp::describe(pages, length, &self.memory, list);
            if self.at + length as u64 > LOCAL_BYTES {
                self.at = 0;
            }
            let slba = self.at / 512;
            self.at += length as u64;
            let make = if read { command::read } else { command::write };
            self.queue.submit(&make(nsid, Cid(io as u16), slba, blocks, prps, false)).expect("the queue has room");
        }
        self.queue.ring();
        let submitted = cpu.timestamp();
        self.now_ns += 1_000;
        while self.drive.model().step(self.now_ns) {}
        let done = cpu.timestamp();
        let mut answered = 0;
        while let Some(cqe) = self.queue.poll() {
            assert!(cqe.status().is_success(), "the reference's drive: {}", cqe.status());
            answered += 1;
        }
        self.queue.release();
        let ended = cpu.timestamp();
        assert_eq!(answered, IN_FLIGHT, "the drive has answered all");
        let each = |ticks: u64| ticks as f64 / IN_FLIGHT as f64;
        (each(submitted - begun + ended - done), each(done - submitted))
    }
}
