//! Verified I/O: random reads and writes in a closed loop, every byte read compared with what was last written.
//!
//! Commands in flight never overlap, so that there is one right answer for every read.

use std::collections::BTreeMap;

use gantry_pipeline::tables::mix;

use crate::host::{Done, Host, Io, IoKind};

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Namespace.
    pub nsid: u32,
    /// Blocks of the namespace to use, from zero.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_size: u32,
    /// I/O queues to spread over, from 1.
    pub queues: u16,
    /// Commands in flight.
    pub depth: usize,
    /// Lengths to draw from, in bytes, each a multiple of the block size.
    pub lengths: Vec<u32>,
    /// Reads, of 100 commands.
    pub reads: u32,
    /// What draws everything.
    pub seed: u64,
}

struct InFlight {
    kind: IoKind,
    slba: u64,
    blocks: u32,
    version: u32,
}

/// Latencies in powers of two with eight steps each.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    fn new() -> Self {
        Self { counts: vec![0; 64 * 8], total: 0 }
    }

    fn add(&mut self, latency_ns: u64) {
        let value = latency_ns.max(8);
        let exponent = value.ilog2();
        let step = value >> (exponent - 3) & 7;
        self.counts[(exponent * 8) as usize + step as usize] += 1;
        self.total += 1;
    }

    /// The latency in nanoseconds that `share` (0 to 1) of the commands did not exceed; zero when there were none.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let rank = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                let (exponent, step) = (index as u32 / 8, index as u64 % 8);
                return (8 + step + 1) << (exponent - 3);
            }
        }
        0
    }
}

/// A running workload.
pub struct Workload {
    plan: Plan,
    /// Of each block; zero is never written.
    versions: Vec<u32>,
    in_flight: BTreeMap<u64, InFlight>,
    next_tag: u64,
    version: u32,
    seed: u64,
    /// Commands completed well.
    pub completed: u64,
    /// Bytes read and compared.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// What went wrong, in order.
    pub errors: Vec<String>,
    /// Of all commands.
    pub latencies: Latencies,
}

impl Workload {
    /// A workload that has done nothing yet.
    ///
    /// # Panics
    /// When a length is no multiple of the block size or larger than the range.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        for length in &plan.lengths {
            assert!(length.is_multiple_of(plan.block_size) && *length > 0, "{length} is no number of blocks");
            assert!(u64::from(length / plan.block_size) <= plan.blocks, "{length} is longer than the range");
        }
        Self {
            versions: vec![0; plan.blocks as usize],
            in_flight: BTreeMap::new(),
            next_tag: 1,
            version: 0,
            seed: plan.seed,
            completed: 0,
            bytes_read: 0,
            bytes_written: 0,
            errors: Vec::new(),
            latencies: Latencies::new(),
            plan,
        }
    }

    /// Takes completions and keeps the depth filled.
    pub fn turn(&mut self, host: &mut Host) {
        self.collect(host);
        while self.in_flight.len() < self.plan.depth {
            let (kind, slba, blocks) = self.draw();
            if !self.submit(host, kind, slba, blocks) {
                return;
            }
        }
    }

    /// Latencies of the commands since this was last asked.
    pub fn take_latencies(&mut self) -> Latencies {
        std::mem::replace(&mut self.latencies, Latencies::new())
    }

    /// Takes completions only; whether nothing is in flight any more.
    pub fn drain(&mut self, host: &mut Host) -> bool {
        self.collect(host);
        self.in_flight.is_empty()
    }

    fn collect(&mut self, host: &mut Host) {
        while let Some(done) = host.poll_completion() {
            if let Some(io) = self.in_flight.remove(&done.tag) {
                self.finish(&io, &done);
            }
        }
    }

    fn finish(&mut self, io: &InFlight, done: &Done) {
        if !done.status.is_success() {
            self.errors.push(format!("{:?} of {} blocks at {}: {}", io.kind, io.blocks, io.slba, done.status));
            return;
        }
        self.completed += 1;
        self.latencies.add(done.latency_ns);
        let block_size = self.plan.block_size as usize;
        if io.kind == IoKind::Write {
            self.bytes_written += u64::from(io.blocks) * block_size as u64;
            self.versions[io.slba as usize..][..io.blocks as usize].fill(io.version);
            return;
        }
        self.bytes_read += done.data.len() as u64;
        if done.data.len() != io.blocks as usize * block_size {
            self.errors.push(format!("read of {} blocks at {}: {} bytes", io.blocks, io.slba, done.data.len()));
            return;
        }
        let mut expected = vec![0; block_size];
        for (lba, found) in (io.slba..).zip(done.data.chunks_exact(block_size)) {
            let version = self.versions[lba as usize];
            pattern(lba, version, &mut expected);
            if found != expected {
                self.errors.push(format!("block {lba} is not what version {version} wrote"));
            }
        }
    }

    fn draw(&mut self) -> (IoKind, u64, u32) {
        let kind = if self.random() % 100 < u64::from(self.plan.reads) { IoKind::Read } else { IoKind::Write };
        let choice = self.random() as usize % self.plan.lengths.len();
        let length = self.plan.lengths[choice];
        let blocks = length / self.plan.block_size;
        let slba = self.random() % (self.plan.blocks - u64::from(blocks) + 1);
        (kind, slba, blocks)
    }

    fn submit(&mut self, host: &mut Host, kind: IoKind, slba: u64, blocks: u32) -> bool {
        let overlaps = |io: &InFlight| slba < io.slba + u64::from(io.blocks) && io.slba < slba + u64::from(blocks);
        if self.in_flight.values().any(overlaps) {
            // Drawn anew in the next turn.
            return false;
        }
        let block_size = self.plan.block_size as usize;
        let mut data = Vec::new();
        if kind == IoKind::Write {
            self.version += 1;
            data.resize(blocks as usize * block_size, 0);
            for (lba, block) in (slba..).zip(data.chunks_exact_mut(block_size)) {
                pattern(lba, self.version, block);
            }
        }
        let tag = self.next_tag;
        let queue = 1 + (tag % u64::from(self.plan.queues)) as u16;
        let io = Io { queue, kind, nsid: self.plan.nsid, slba, blocks, data, tag };
        if host.submit(io).is_err() {
            return false;
        }
        self.next_tag += 1;
        self.in_flight.insert(tag, InFlight { kind, slba, blocks, version: self.version });
        true
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        mix(self.seed)
    }
}

/// What a version of a block holds: zeroes when it was never written.
pub fn pattern(lba: u64, version: u32, block: &mut [u8]) {
    if version == 0 {
        block.fill(0);
        return;
    }
    let start = mix(lba << 32 | u64::from(version));
    for (index, word) in block.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&start.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
    }
}
