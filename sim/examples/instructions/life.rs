//! A run like life, of which every poll is counted: sixteen QPs with commands of all kinds, and beside them what happens now
//! and then: a host comes, leaves, or dies, tables change, a drive goes. One lcore, from fixed seeds.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use gantry::channel::table::{Field, FieldKind, Verb, emit_entry};
use gantry::packet;
use gantry_control::{Configuration, Drive, Hosts, Namespace, Port, Subsystem, TableOperation};
use gantry_drive::Latency;
use gantry_pipeline::counters::Counter;
use gantry_pipeline::state::Sizes;
use gantry_sim::host::{HostConfig, Io, IoKind, State};
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::{DEVICE, Lcore, World};

use crate::numbered;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
const NQN: &str = "nqn.2026-11.io.gantry:life";

/// Hosts that work all the time, each with a drive and this many QPs; commands in flight on all of those together.
const STEADY: usize = 4;
const QUEUES: u16 = 4;
const DEPTH: usize = 32;

/// How long their commands are, each as often as it stands here.
const LENGTHS: [u32; 16] = {
    let mut lengths = [4096; 16];
    (lengths[0], lengths[1], lengths[2], lengths[3], lengths[4]) = (512, 512, 16_384, 16_384, 131_072);
    lengths
};

/// Hosts that do something together, and QPs of each.
const CROWD: usize = 4;
const CROWD_QUEUES: u16 = 64;

/// NSID of the crowd's drive.
const CROWD_NSID: u32 = STEADY as u32 + 1;

/// Bytes of a block, and blocks of a drive.
const BLOCK: u32 = 512;
const BLOCKS: u64 = 32_768;

/// What a poll did, as its counters tell: only what an event changes.
const TOLD: [(&str, Counter); 9] = [
    ("rx", Counter::RxFrames),
    ("tx", Counter::TxFrames),
    ("submitted", Counter::Submitted),
    ("completed", Counter::Completed),
    ("responses", Counter::Responses),
    ("created", Counter::QpsCreated),
    ("retired", Counter::QpsRetired),
    ("abandoned", Counter::Abandoned),
    ("retries exceeded", Counter::RetryExceeded),
];

/// What a poll did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Did {
    /// The event that came last before it.
    pub(crate) event: String,
    /// Whether it did anything.
    pub(crate) busy: bool,
    /// What, by name.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.event, if self.busy { "busy" } else { "idle" })?;
        self.counts.iter().try_for_each(|(name, count)| write!(f, ";{name}={count}"))
    }
}

impl FromStr for Did {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("{line}: no poll");
        let mut parts = line.split(';');
        let (event, busy) = (parts.next().ok_or_else(wrong)?.to_owned(), parts.next() == Some("busy"));
        let count = |part: &str| {
            let (name, count) = part.split_once('=')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let counts = parts.map(|part| count(part).ok_or_else(wrong)).collect::<Result<_, _>>()?;
        Ok(Self { event, busy, counts })
    }
}

/// What is happening, and every poll so far.
struct Log {
    event: &'static str,
    polls: Vec<Did>,
}

static LOG: Mutex<Log> = Mutex::new(Log { event: "", polls: Vec::new() });

fn log() -> std::sync::MutexGuard<'static, Log> {
    LOG.lock().expect("one thread")
}

/// Polls under the next number, and remembers what the poll did.
fn count(lcore: &mut Lcore, now_ns: u64) -> bool {
    let number = log().polls.len();
    if number == numbered::COUNT {
        return lcore.poll(now_ns);
    }
    let told = |lcore: &mut Lcore| TOLD.map(|(_, counter)| lcore.core().counters.value(counter));
    let (before, batches) = (told(lcore), lcore.core().batches);
    let busy = numbered::poll(number)(lcore, now_ns);
    let after = told(lcore);
    let mut counts = BTreeMap::new();
    for ((name, _), (after, before)) in TOLD.iter().zip(after.iter().zip(before)) {
        if *after > before {
            counts.insert((*name).to_owned(), after - before);
        }
    }
    let batches = lcore.core().batches - batches;
    if batches > 0 {
        counts.insert("batches".into(), batches);
    }
    let mut log = log();
    let event = log.event.to_owned();
    log.polls.push(Did { event, busy, counts });
    busy
}

fn configuration() -> Configuration {
    let drives = CROWD_NSID as usize;
    let namespace = |number: usize| Namespace {
        nsid: number as u32 + 1,
        drive: format!("d{number}"),
        drive_nsid: None,
        uuid: [number as u8 + 7; 16],
        read_only: false,
    };
    let namespaces = (0..drives).map(namespace).collect();
    Configuration {
        epoch: 1,
        ports: vec![Port {
            name: "wire0".into(),
            device: DEVICE.into(),
            mtu: 4200,
            vlan: 0,
            addresses: vec![[10, 0, 0, 1].into()],
        }],
        drives: (0..drives).map(|number| Drive { name: format!("d{number}"), uri: "mem:16M".into() }).collect(),
        subsystems: vec![Subsystem { nqn: NQN.into(), hosts: Hosts::Any, namespaces }],
    }
}

struct Life {
    world: World,
    /// Of the steady hosts, which are the first.
    workloads: Vec<Workload>,
    /// Of them, those whose commands must all end well.
    healthy: usize,
}

impl Life {
    fn new() -> Result<Self, String> {
        let mut world = World::new(configuration(), 1, Sizes::default(), 1);
        world.run_for(SECOND / 10);
        let mut life = Self { world, workloads: Vec::new(), healthy: STEADY };
        for number in 0..STEADY {
            let host = life.plug(number, QUEUES, if number == 1 { 1500 } else { 4200 }, number.is_multiple_of(2));
            life.ready(host)?;
            life.workloads.push(Workload::new(Plan {
                nsid: number as u32 + 1,
                blocks: BLOCKS,
                block_size: BLOCK,
                queues: QUEUES,
                depth: DEPTH / STEADY,
                lengths: LENGTHS.to_vec(),
                reads: 70,
                seed: number as u64 + 3,
            }));
        }
        for number in STEADY..STEADY + CROWD {
            let host = life.plug(number, CROWD_QUEUES, 4200, true);
            life.ready(host)?;
        }
        // The first commands find everything cold: timers unset, lists empty.
        life.until("warm", |life| life.workloads.iter().all(|workload| workload.completed > 50))?;
        life.world.target().poll = count;
        Ok(life)
    }

    fn plug(&mut self, number: usize, queues: u16, mtu: u16, in_capsule: bool) -> usize {
        let mut config = HostConfig::new([10, 0, 0, number as u8 + 2].into(), [10, 0, 0, 1].into());
        (config.mtu, config.in_capsule) = (mtu, in_capsule);
        let host = self.world.plug(config);
        self.world.host(host).connect(NQN, queues, DEPTH as u16 + 1, 0);
        host
    }

    fn ready(&mut self, host: usize) -> Result<(), String> {
        self.until("a connection", |life| *life.world.host(host).state() == State::Ready)
    }

    /// Goes on, work included, until it has come about.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        let end_ns = self.world.now_ns() + 10 * SECOND;
        while !done(self) {
            if self.world.now_ns() > end_ns || log().polls.len() == numbered::COUNT {
                return Err(format!("{what} did not come about in {} polls", log().polls.len()));
            }
            for (host, workload) in self.workloads.iter_mut().enumerate() {
                workload.turn(self.world.host(host));
            }
            self.world.pass_time(end_ns);
            self.world.round(self.world.now_ns());
        }
        Ok(())
    }

    /// From now on polls are told as being of this event.
    fn event(&self, event: &'static str) {
        log().event = event;
    }

    /// Goes on for so many polls.
    fn polls(&mut self, count: usize) -> Result<(), String> {
        let until = log().polls.len() + count;
        self.until("so many polls", |_| log().polls.len() >= until)
    }

    fn counted(&mut self, counter: Counter) -> u64 {
        self.world.card().lcore(0).core().counters.value(counter)
    }

    /// Every QP of these hosts reads so often; goes on until most commands have arrived.
    fn read_all(&mut self, hosts: &[usize], (nsid, each): (u32, u64)) -> Result<(), String> {
        for &host in hosts {
            for queue in 1..=self.world.host(host).io_queues() {
                for tag in 0..each {
                    let io = Io { queue, kind: IoKind::Read, nsid, slba: tag * 8, blocks: 8, data: Vec::new(), tag };
                    self.world.host(host).submit(io).map_err(|busy| format!("{busy:?}"))?;
                }
            }
        }
        let begun_ns = self.world.now_ns();
        self.until("commands in the card", |life| life.world.now_ns() > begun_ns + MILLISECOND / 4)
    }

    /// Sixteen QPs come, work, and go. Their commands are answered by then.
    fn a_host_comes_and_goes(&mut self) -> Result<(), String> {
        self.event("a host connects");
        let host = self.plug(STEADY + CROWD, 16, 4200, true);
        self.ready(host)?;
        self.read_all(&[host], (1, DEPTH as u64))?;
        self.event("a host disconnects");
        let (retired, open) = (self.counted(Counter::QpsRetired), u64::from(self.world.host(host).io_queues()) + 1);
        self.world.host(host).disconnect();
        self.until("the end of its QPs", |life| life.counted(Counter::QpsRetired) >= retired + open)
    }

    /// Two hundred and fifty-six rules that concern nobody.
    fn tables_change(&mut self) -> Result<(), String> {
        self.world.target().control().serve_tables();
        let table = packet::TABLES.iter().find(|table| table.name == "PacketControl.access").ok_or("no such table")?;
        let deny = table.actions.iter().find(|action| action.name == "PacketControl.deny").ok_or("no such action")?;
        let any = Field::new(FieldKind::Any, 0, 0, 0);
        let rule = |number: u32| {
            let source = Field::new(FieldKind::Mask, 0, 0xffff_0a01_0000 + u128::from(number), u128::MAX);
            let (mut bytes, fields) = (Vec::new(), [any, source, any, any, any]);
            let priority = 10 + number;
            emit_entry(&mut bytes, Verb::Insert, table.id, priority, &fields, deny.id, [].into_iter(), 0, &[]);
            TableOperation::Entry(bytes)
        };
        self.event("256 access rules are committed");
        self.world.target().control().commit_tables(1, (0..256).map(rule).collect());
        self.polls(50)
    }

    /// A drive is pulled out that works for four QPs, then one for which all of the crowd's commands wait.
    fn drives_go(&mut self) -> Result<(), String> {
        self.event("a drive is removed, commands under way");
        self.healthy = STEADY - 1;
        self.world.card().remove_drive(&format!("d{}", STEADY - 1), 1);
        self.polls(100)?;
        let crowd = format!("d{}", CROWD_NSID - 1);
        let slow = Latency { seed: 1, base_ns: SECOND, jitter_ns: 0, tail_of_10_000: 0, tail_ns: 0 };
        self.world.card().faults(&crowd).ok_or("a drive has faults")?.lock().latency = Some(slow);
        self.event("1,024 commands of 256 QPs for a drive that is silent");
        let hosts: Vec<usize> = (STEADY..STEADY + CROWD).collect();
        self.read_all(&hosts, (CROWD_NSID, 4))?;
        self.event("that drive is removed");
        self.world.card().remove_drive(&crowd, 1);
        self.polls(200)
    }

    /// Nothing reaches the crowd any more: timers of 256 QPs come up at once, until all have failed.
    fn hosts_die(&mut self) -> Result<(), String> {
        self.event("256 QPs get no answer");
        let hosts: Vec<usize> = (STEADY..STEADY + CROWD).collect();
        for &host in &hosts {
            while self.world.host(host).poll_completion().is_some() {}
            self.world.link(host).1.weather.cut = true;
        }
        self.read_all(&hosts, (1, 1))?;
        self.event("timers of 256 QPs come up at once");
        let exceeded = self.counted(Counter::RetryExceeded);
        for _ in 0..8 {
            // Four microseconds by two to the nineteenth: what hosts ask for.
            self.world.step_clock_at(0, 2_200 * MILLISECOND);
            self.polls(60)?;
        }
        let all = (CROWD * usize::from(CROWD_QUEUES)) as u64;
        self.until("the end of retries", |life| life.counted(Counter::RetryExceeded) >= exceeded + all)?;
        self.event("260 QPs are destroyed");
        let gone = |life: &mut Self| life.counted(Counter::QpsCreated) - life.counted(Counter::QpsRetired);
        self.until("their end", |life| gone(life) <= STEADY as u64 * u64::from(QUEUES + 1))?;
        self.polls(50)
    }

    fn right(&mut self) -> Result<(), String> {
        for (host, workload) in self.workloads.iter().enumerate().take(self.healthy) {
            if !workload.errors.is_empty() || !self.world.host(host).violations().is_empty() {
                return Err(format!("host {host}: {:?}, {:?}", workload.errors, self.world.host(host).violations()));
            }
        }
        Ok(())
    }
}

/// Runs it, and tells every poll in a line, in the order of their numbers.
pub(crate) fn run() -> Result<(), String> {
    let live = || {
        let mut life = Life::new()?;
        life.event("steady");
        life.polls(600)?;
        life.a_host_comes_and_goes()?;
        life.tables_change()?;
        life.drives_go()?;
        life.hosts_die()?;
        life.right()
    };
    let lived = live();
    log().polls.iter().for_each(|poll| println!("{poll}"));
    lived
}
