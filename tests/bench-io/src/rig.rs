//! The data plane as the process has it, without its process: lcores on DPDK rings, housekeeping, control, and drives that are
//! stepped when it is their turn. Everything is polled by whoever holds it, so that what is measured is only what is meant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use gantry_control::{Configuration, Control, Drive, Hosts, Namespace, Port, Subsystem};
use gantry_cpu::Cpu;
use gantry_dma::Region;
use gantry_drive::SoftwareDrive;
use gantry_nvme::Device;
use gantry_pipeline::Lcore;
use gantry_pipeline::exchange::Liveness;
use gantry_pipeline::housekeeping::{Attachment, Bar, Environment, Housekeeping, OpenPort};
use gantry_pipeline::state::{Core, Sizes};
use gantry_pipeline::tables::Writer;
use gantry_poller::bell::Bell;
use gantry_poller::exchange::{HousekeepingEnd, LcoreEnd, ends};
use gantry_poller::port::DpdkQueue;
use gantry_sim::host::{Host, HostConfig, State};
use parking_lot::Mutex;

use crate::wire::{FIRST_HOST, HostEnd, MTU, Wires};

/// I/O queues that control grants an association.
pub const QUEUES_MAX: usize = 64;

/// Monotonic nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Hand);

#[derive(Clone, Copy, Debug)]
enum Hand {
    /// A second further than this is ago.
    Runs(Instant),
    Still(u64),
}

impl Clock {
    /// From now on, beginning with a second, so that zero is before everything.
    #[must_use]
    pub fn start() -> Self {
        Self(Hand::Runs(Instant::now()))
    }

    /// It is always so late.
    #[must_use]
    pub fn still(now_ns: u64) -> Self {
        Self(Hand::Still(now_ns))
    }

    /// Now.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        match &self.0 {
            Hand::Runs(since) => 1_000_000_000 + since.elapsed().as_nanos() as u64,
            Hand::Still(now_ns) => *now_ns,
        }
    }
}

/// What to put together.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Lcores, each with a wire, hosts and drives of its own: a side.
    pub sides: usize,
    /// URIs of one side's drives.
    pub drives: Vec<String>,
    /// I/O queues of a side's hosts, all told.
    pub qps: usize,
    /// Entries of each.
    pub entries: u16,
    /// The hosts' MTU: it decides the path MTU.
    pub mtu: u16,
    /// Whether hosts put up to 4 KiB of data into the capsule, where the target offers it.
    pub in_capsule: bool,
    /// Of the data plane.
    pub sizes: Sizes,
    /// Entries of the QP table for QPs that nobody has.
    pub strangers: u32,
}

/// The first of their QPNs: those of the hosts are drawn, and one of them would be refused.
const STRANGERS: u32 = 0x10_0000;

impl Shape {
    /// Sizes for so many QPs of hosts on one lcore, and others' entries beside them: the process's own defaults where they do.
    #[must_use]
    pub fn sizes(qps: usize, strangers: usize) -> Sizes {
        let all = qps + qps.div_ceil(QUEUES_MAX) + strangers;
        let default = Sizes::default();
        Sizes { qps: (all as u32 * 9 / 8 + 64).max(default.qps), ..default }
    }
}

/// A drive that whoever holds it steps.
pub type Stepped = Arc<Mutex<SoftwareDrive>>;

/// A drive that housekeeping has open.
struct Attached(Stepped);

impl Attachment for Attached {
    fn bar(&self) -> Bar {
        let drive = self.0.lock();
        let (vendor, device) = drive.make();
        Bar { device: Device { vendor, device, ..Device::default() }, ..drive.bar().into() }
    }

    fn map(&self, region: Arc<Region>) -> Result<(), String> {
        self.0.lock().map(region).map_err(|error| error.to_string())
    }

    fn unmap(&self, region: &Arc<Region>) {
        self.0.lock().space().unmap(region);
    }
}

/// What housekeeping opens: `ring:SIDE` ports that are made already, and software drives.
struct Devices {
    wires: Vec<Option<DpdkQueue>>,
    drives: BTreeMap<String, Stepped>,
    random: u64,
}

impl Environment for Devices {
    type Queue = DpdkQueue;

    fn open_port(&mut self, _port: u16, _mtu: u16, device: &str) -> Result<OpenPort<DpdkQueue>, String> {
        let side = device.strip_prefix("ring:").and_then(|side| side.parse::<usize>().ok());
        let queue = side.and_then(|side| Some((side, self.wires.get_mut(side)?.take()?)));
        let (side, queue) = queue.ok_or_else(|| format!("{device} is no ring of this rig"))?;
        Ok(OpenPort { mac: [2, 0, 0, 0, 1, side as u8], queues: vec![(side, queue)] })
    }

    fn check_drive(&self, name: &str, uri: &str) -> Result<(), String> {
        match null_bytes(uri) {
            Some(_) => Ok(()),
            None => gantry_drive::Uri::parse(uri).map(drop).map_err(|error| format!("drive {name} ({uri}): {error}")),
        }
    }

    fn open_drive(&mut self, name: &str, uri: &str) -> Result<Box<dyn Attachment>, String> {
        let opened = match null_bytes(uri) {
            Some(bytes) => gantry_drive::null(bytes, name),
            None => gantry_drive::open(uri, name),
        };
        let drive = opened.map_err(|error| format!("drive {name} ({uri}): {error}"))?;
        let drive = Arc::new(Mutex::new(drive));
        self.drives.insert(name.to_owned(), drive.clone());
        Ok(Box::new(Attached(drive)))
    }

    fn random(&mut self) -> u64 {
        self.random = gantry_pipeline::tables::mix(self.random.wrapping_add(1));
        self.random
    }
}

/// How large the null drive is that `null:BYTES` asks for, which nobody but a rig opens.
fn null_bytes(uri: &str) -> Option<u64> {
    uri.strip_prefix("null:")?.parse().ok()
}

/// The wire's far end, and the hosts there.
pub struct Far {
    /// The end.
    pub wire: HostEnd,
    /// The hosts.
    pub hosts: Vec<Host>,
}

impl Far {
    /// Hosts take what has arrived, are given more by `ask`, do what is due and send; whether anything happened.
    pub fn turn(&mut self, clock: &Clock, ask: impl FnOnce(&mut [Host])) -> bool {
        let mut busy = self.wire.receive(&mut self.hosts, || clock.now_ns());
        ask(&mut self.hosts);
        let now_ns = clock.now_ns();
        for host in &mut self.hosts {
            if host.deadline_ns() <= now_ns {
                host.on_deadline(now_ns);
                busy = true;
            }
            busy |= self.wire.send(host, now_ns);
        }
        busy
    }

    /// Frames that hosts have sent again.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.hosts.iter().map(|host| host.counters().retransmitted).sum()
    }
}

/// An lcore, and all that one thread needs to keep it busy.
pub struct Side {
    /// The product's lcore.
    pub lcore: Lcore<DpdkQueue, LcoreEnd>,
    /// Its hosts.
    pub far: Far,
    /// Its drives.
    pub drives: Vec<Stepped>,
}

impl Side {
    /// Drives do all that they were told to; whether there was anything.
    pub fn step_drives(&mut self, now_ns: u64) -> bool {
        step(&self.drives, now_ns)
    }
}

/// Drives do all that they were told to; whether there was anything.
pub fn step(drives: &[Stepped], now_ns: u64) -> bool {
    let mut busy = false;
    for drive in drives {
        let mut drive = drive.lock();
        while drive.model().step(now_ns) {
            busy = true;
        }
    }
    busy
}

/// All of it.
pub struct Rig {
    /// Its clock.
    pub clock: Clock,
    /// Lcores with their hosts and drives.
    pub sides: Vec<Side>,
    housekeeping: Housekeeping<Devices>,
    ends: Vec<HousekeepingEnd>,
    control: Control,
    notices: Vec<String>,
}

/// How long anything may take to come about: generous, for busy machines.
const PATIENCE_NS: u64 = 120_000_000_000;

impl Rig {
    /// Puts it together, until every host has its connections.
    ///
    /// # Errors
    /// What did not come about.
    pub fn build(wires: &mut Wires, shape: &Shape) -> Result<Self, String> {
        let clock = Clock::start();
        let cpu = Cpu::detect();
        let (sizes, seed) = (shape.sizes, 1);
        let liveness = Liveness::new();
        let mut tables = Writer::new(&sizes, shape.sides, seed);
        tables.add_strangers(STRANGERS, shape.strangers).map_err(|error| format!("the QP table: {error:?}"))?;
        let (mut memory, mut polled, mut queues, mut housekept) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let bell = Bell::new().map_err(|error| format!("a bell: {error}"))?;
        let pairs = ends(wires.eal(), shape.sides, &Arc::new(bell)).map_err(|error| error.to_string())?;
        for (number, (end, housekeeping_end)) in pairs.into_iter().enumerate() {
            let bytes = sizes.dma_bytes();
            let region = Region::shared_huge(bytes)
                .or_else(|_| Region::shared(bytes))
                .map_err(|error| format!("memory of an lcore: {error}"))?;
            memory.push(region.clone());
            let index = (number as u16, tables.reader());
            let core = Core::new(cpu, index, sizes, region, liveness.clone(), clock.now_ns());
            let (queue, host) = wires.make(number).map_err(|error| format!("wire {number}: {error}"))?;
            queues.push(Some(queue));
            housekept.push(housekeeping_end);
            polled.push((Lcore::new(core, end), host));
        }
        let devices = Devices { wires: queues, drives: BTreeMap::new(), random: seed };
        let mut control = Control::new(configuration(shape), seed);
        control.connected(clock.now_ns());
        let mut rig = Self {
            clock,
            sides: Vec::new(),
            housekeeping: Housekeeping::new(devices, sizes, liveness, memory, tables),
            ends: housekept,
            control,
            notices: Vec::new(),
        };
        for (lcore, wire) in polled {
            rig.sides.push(Side { lcore, far: Far { wire, hosts: Vec::new() }, drives: Vec::new() });
        }
        for drive in 0..shape.sides * shape.drives.len() {
            let ready = format!("drive d{drive} is ready");
            rig.until(&ready, |rig| rig.notices.iter().any(|notice| notice.starts_with(&ready)))?;
        }
        rig.connect(shape)?;
        Ok(rig)
    }

    fn connect(&mut self, shape: &Shape) -> Result<(), String> {
        for side in 0..shape.sides {
            for at in 0..shape.qps.div_ceil(QUEUES_MAX) {
                let mut host = self.host(shape, side);
                let queues = (shape.qps - at * QUEUES_MAX).min(QUEUES_MAX);
                host.connect(&Self::nqn(side), queues as u16, shape.entries, 0);
                self.sides[side].far.hosts.push(host);
                // One after the other: a crowd's datagrams would be lost, and come again seconds later.
                self.until("a connection", |rig| *rig.sides[side].far.hosts[at].state() == State::Ready)?;
            }
        }
        Ok(())
    }

    /// The next host of a side, which asks for nothing yet.
    fn host(&self, shape: &Shape, side: usize) -> Host {
        let [high, low] = ((FIRST_HOST + self.sides[side].far.hosts.len()) as u16).to_be_bytes();
        let mut config = HostConfig::new([10, side as u8, high, low].into(), address(side).into());
        config.mtu = shape.mtu;
        config.in_capsule = shape.in_capsule;
        Host::new(config, self.clock.now_ns())
    }

    /// Plugs so many hosts into the first side that ask for nothing yet; the number of the first of them.
    pub fn add_idle_hosts(&mut self, shape: &Shape, count: usize) -> usize {
        for _ in 0..count {
            let host = self.host(shape, 0);
            self.sides[0].far.hosts.push(host);
        }
        self.sides[0].far.hosts.len() - count
    }

    /// The subsystem that has every drive of a side as a namespace, NSID 1 and on.
    #[must_use]
    pub fn nqn(side: usize) -> String {
        format!("nqn.2026-11.io.gantry:bench-{side}")
    }

    /// Everything has its turn, until `done`.
    ///
    /// # Errors
    /// When it does not come about.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        let begun_ns = self.clock.now_ns();
        while !done(self) {
            self.turn();
            let failed = self.sides.iter().flat_map(|side| &side.far.hosts).find_map(|host| match host.state() {
                State::Failed(failure) => Some(format!("{failure:?}")),
                _ => None,
            });
            if failed.is_some() || self.clock.now_ns() > begun_ns + PATIENCE_NS {
                let failed = failed.unwrap_or_else(|| "nothing more happened".to_owned());
                return Err(format!("{what} did not come about: {failed}; control has noticed: {:?}", self.notices));
            }
        }
        Ok(())
    }

    /// Hosts, drives, lcores, housekeeping and control, each once.
    pub fn turn(&mut self) {
        for side in &mut self.sides {
            side.far.turn(&self.clock, |_| {});
            side.step_drives(self.clock.now_ns());
            side.lcore.poll(self.clock.now_ns());
        }
        self.keep_house();
    }

    /// Housekeeping and control, as long as they have something for each other.
    pub fn keep_house(&mut self) {
        for _ in 0..64 {
            let now_ns = self.clock.now_ns();
            let mut moved = self.pass_on(now_ns);
            if self.control.deadline_ns() <= now_ns {
                self.control.on_deadline(now_ns);
            }
            while let Some(frame) = self.control.poll_frame() {
                moved = true;
                self.housekeeping.handle_frame(now_ns, &frame);
            }
            while let Some(frame) = self.housekeeping.poll_frame() {
                moved = true;
                self.control.handle_frame(now_ns, &frame).expect("the data plane writes frames of the contract");
            }
            while let Some(notice) = self.control.poll_notice() {
                self.notices.push(notice.to_string());
            }
            if !moved {
                break;
            }
        }
        let drives = &self.housekeeping.environment().drives;
        let known: usize = self.sides.iter().map(|side| side.drives.len()).sum();
        if known < drives.len() {
            let sides = self.sides.len();
            for (at, side) in self.sides.iter_mut().enumerate() {
                let own = drives.iter().filter(|(name, _)| number(name) % sides == at);
                side.drives = own.map(|(_, drive)| drive.clone()).collect();
            }
        }
    }

    /// Batches and reports, both ways; whether there were any.
    fn pass_on(&mut self, now_ns: u64) -> bool {
        let mut moved = false;
        for (lcore, end) in self.ends.iter_mut().enumerate() {
            while let Ok(batch) = end.spent.pop() {
                moved = true;
                self.housekeeping.handle_applied(now_ns, *batch);
            }
            while let Ok(buffer) = end.frames.pop() {
                moved = true;
                self.housekeeping.handle_report(now_ns, lcore, buffer.frame());
                assert!(end.empty.push(buffer).is_ok(), "the ring holds all buffers");
            }
        }
        self.housekeeping.poll(now_ns);
        for (lcore, end) in self.ends.iter_mut().enumerate() {
            while end.batches.slots() > 0 {
                let Some(batch) = self.housekeeping.poll_batch(lcore) else { break };
                moved = true;
                assert!(end.batches.push(batch).is_ok(), "there is room");
            }
        }
        moved
    }

    /// Frames begin to get lost, so many of a million.
    pub fn lose(&mut self, of_million: u32) {
        for side in &mut self.sides {
            side.far.wire.loss.of_million = of_million;
        }
    }
}

/// The number in a drive's name.
fn number(name: &str) -> usize {
    name[1..].parse().expect("drives are called d and a number")
}

fn address(side: usize) -> [u8; 4] {
    [10, side as u8, 0, 1]
}

/// Drives go round the sides: drive `n` is of side `n` modulo the sides.
fn configuration(shape: &Shape) -> Configuration {
    let port = |side: usize| Port {
        name: format!("wire{side}"),
        device: format!("ring:{side}"),
        mtu: MTU,
        vlan: 0,
        addresses: vec![address(side).into()],
    };
    let (mut drives, mut subsystems) = (Vec::new(), Vec::new());
    let all = shape.sides * shape.drives.len();
    for number in 0..all {
        drives.push(Drive { name: format!("d{number}"), uri: shape.drives[number / shape.sides].clone() });
    }
    for side in 0..shape.sides {
        let namespaces = (side..all).step_by(shape.sides).zip(1..).map(|(number, nsid)| {
            let uuid = gantry_pipeline::tables::mix(number as u64 + 1).to_le_bytes();
            let uuid = std::array::from_fn(|at| uuid[at % 8] ^ (at / 8) as u8);
            Namespace { nsid, drive: format!("d{number}"), drive_nsid: None, uuid, read_only: false }
        });
        let namespaces = namespaces.collect();
        subsystems.push(Subsystem { nqn: Rig::nqn(side), hosts: Hosts::Any, namespaces });
    }
    Configuration { epoch: 1, ports: (0..shape.sides).map(port).collect(), drives, subsystems }
}
