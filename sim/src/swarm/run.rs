//! One run of a plan: hosts connect and do I/O while faults come and go; then everything heals, and must.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use gantry_control::{Configuration, Drive, Hosts, Namespace, Port, Subsystem};
use gantry_pipeline::s5_command::STALLED_NS;
use gantry_pipeline::state::Sizes;
use gantry_pipeline::tables::mix;
use gantry_wire::nvme::Status;
use parking_lot::Mutex;

use super::coverage::Coverage;
use super::fault::{Excuse, Fault, Trouble, What, Whom};
use super::guest::Guest;
use super::inflict;
use super::ledger::Ledger;
use super::plan::{BUFFERS_ENOUGH, DrivePlan, HostPlan, Plan, Site};
use super::rules::Rules;
use super::watch::{Watch, Watched};
use crate::card::{Card, Rings};
use crate::host::{Failure, HostConfig, State};
use crate::random::Random;
use crate::wire::Depth;
use crate::world::{DEVICE, World};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// How long drives have to come up before hosts connect.
const BRING_UP_NS: u64 = 100 * MILLISECOND;

/// Within this much of virtual time after the last fault has healed every host does I/O again. Linux' connection manager
/// alone may take a minute to give a REQ up.
const RECOVERY_NS: u64 = 200 * SECOND;

/// Commands that each host completes to show that it does.
const PROGRESS: u64 = 20;

/// How long commands in flight have to end, and what was taken to be given back.
const END_NS: u64 = 90 * SECOND;

/// A keep-alive timeout that outlasts a burst of lost frames, and more.
const BURST_PATIENCE_MS: u32 = 5_000;

/// How long a host that has left stays away.
const AWAY_NS: u64 = 20 * MILLISECOND;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was wrong, if anything was.
    pub finding: Option<String>,
    /// Of every frame that reached a host and every command that ended.
    pub digest: u64,
    /// Commands that ended well.
    pub completed: u64,
    /// Commands that ended with an error.
    pub errors: u64,
    /// How often hosts connected again.
    pub reconnects: u64,
    /// Virtual time that it took.
    pub took_ns: u64,
    /// What it reached.
    pub coverage: Coverage,
}

/// What happens when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The fault of this number begins.
    Begin(usize),
    /// It happens once more.
    Again(usize),
    /// It ends.
    End(usize),
    /// A host that has left comes back.
    Return(usize),
}

/// A run under way.
pub struct Run {
    pub(super) plan: Plan,
    pub(super) world: World,
    pub(super) guests: Vec<Guest>,
    /// For each host after those of the plan, the drive whose subsystem it is not admitted to.
    trespassers: Vec<usize>,
    /// Nothing is wrong any more.
    healed: bool,
    pub(super) rules: Rules,
    pub(super) ledgers: Vec<Ledger>,
    pub(super) watches: Vec<Arc<Mutex<Watch>>>,
    pub(super) coverage: Coverage,
    pub(super) random: Random,
    agenda: BinaryHeap<Reverse<(u64, Event)>>,
    ids: u64,
    /// When hosts began to connect.
    begun_ns: u64,
    /// What happened, in words, when somebody wants to know.
    pub(super) story: Option<Vec<(u64, String)>>,
}

/// A subsystem's name.
pub(super) fn nqn(drive: usize) -> String {
    format!("nqn.2026-11.io.gantry:swarm-{drive}")
}

impl Run {
    /// A run whose cards are up and whose hosts have not begun.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let watches: Vec<_> = plan.drives.iter().enumerate().map(watch).collect();
        let mut world = world(&plan, &watches);
        let guests = plan.hosts.iter().enumerate().map(|(number, host)| {
            let seed = mix(plan.seed ^ 0x6e57 << 32 ^ number as u64);
            Guest::new(number, host, &plan.drives[host.drive], seed)
        });
        let ledgers = plan.drives.iter().enumerate();
        let ledger = |(at, drive): (usize, &DrivePlan)| {
            let mut ledger = Ledger::new(at as u16, drive.blocks, drive.volatile);
            ledger.watch = Some(watches[at].clone());
            ledger
        };
        let ledgers = ledgers.map(ledger).collect();
        let mut guests: Vec<Guest> = guests.collect();
        for guest in &mut guests {
            if plan.targets[plan.drives[guest.drive()].target].buffers < BUFFERS_ENOUGH as usize {
                guest.excuse = Excuse::Association;
            }
        }
        for (number, host) in plan.hosts.iter().enumerate() {
            world.plug(host_config(&plan, number, host.mtu));
        }
        let targets = plan.targets.len();
        let begun_ns = world.now_ns() + BRING_UP_NS;
        let mut agenda = BinaryHeap::new();
        for (number, fault) in plan.faults.iter().enumerate() {
            agenda.push(Reverse((begun_ns + fault.at_ns, Event::Begin(number))));
        }
        Self {
            random: Random::new(plan.seed ^ 0xfa17),
            world,
            guests,
            trespassers: Vec::new(),
            rules: Rules::new(targets),
            healed: false,
            ledgers,
            watches,
            coverage: Coverage::default(),
            agenda,
            ids: 0,
            begun_ns,
            story: None,
            plan,
        }
    }

    /// The world, for what a report needs of it.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// When hosts began to connect.
    pub(super) fn began_ns(&self) -> u64 {
        self.begun_ns
    }

    /// Keeps the last frames, and what happens in words.
    pub fn record(&mut self) {
        self.story = Some(Vec::new());
        self.world.record();
        self.world.network().capture = Some(crate::network::capture::Capture::new(20_000, 32 << 20));
    }

    /// Commands that have ended well so far.
    #[must_use]
    pub fn completed_now(&self) -> u64 {
        self.guests.iter().map(|guest| guest.completed).sum()
    }

    /// Faults and their ends, in words.
    #[must_use]
    pub fn story(&self) -> &[(u64, String)] {
        self.story.as_deref().unwrap_or_default()
    }

    /// Runs to the end.
    pub fn to_end(&mut self, mut live: impl FnMut(&mut Run)) -> Outcome {
        let finding = self.phases(&mut live).err();
        self.outcome(finding)
    }

    /// What has come of it so far.
    pub fn outcome(&mut self, finding: Option<String>) -> Outcome {
        for target in 0..self.plan.targets.len() {
            self.coverage.add_target(self.world.target_at(target));
        }
        self.coverage.add_network(self.world.network());
        let hosts = 0..self.guests.len();
        let digest = hosts
            .clone()
            .fold(0, |digest, host| mix(digest ^ self.world.digest(host)).wrapping_add(mix(self.guests[host].digest)));
        Outcome {
            finding,
            digest,
            completed: self.completed_now(),
            errors: self.guests.iter().map(|guest| guest.errors).sum(),
            reconnects: hosts.map(|host| self.world.host(host).counters().reconnects).sum(),
            took_ns: self.world.now_ns(),
            coverage: self.coverage.clone(),
        }
    }

    fn phases(&mut self, live: &mut impl FnMut(&mut Run)) -> Result<(), String> {
        self.until(self.begun_ns, live, |_| false)?;
        for drive in 0..self.plan.drives.len() {
            let latency = inflict::latency(self, drive);
            inflict::faults(self, drive, |faults| faults.latency = latency);
        }
        for host in 0..self.guests.len() {
            self.connect(host);
        }
        self.until(self.begun_ns + self.plan.length_ns, live, |_| false)?;
        // Faults that last beyond the end heal now.
        while let Some(Reverse((_, event))) = self.agenda.pop() {
            if matches!(event, Event::End(_) | Event::Return(_)) {
                inflict::happen(self, event);
            }
        }
        inflict::heal(self);
        self.recover(live)?;
        self.come_to_rest(live)
    }

    fn recover(&mut self, live: &mut impl FnMut(&mut Run)) -> Result<(), String> {
        let (healed_ns, before) = (self.world.now_ns(), self.completed());
        for guest in &mut self.guests {
            guest.slow_down();
        }
        let wanted = |run: &Run, host: usize| run.guests[host].completed >= before[host] + PROGRESS;
        let recovered = |run: &mut Run| {
            // Who has shown it waits for the others.
            for host in 0..run.guests.len() {
                run.guests[host].resting = wanted(run, host);
            }
            run.guests.iter().all(|guest| guest.resting) && run.trespassers_refused() && run.rules.is_idle()
        };
        self.trespass_again();
        if !self.until(healed_ns + RECOVERY_NS, live, recovered)? {
            let Some(stuck) = (0..self.guests.len()).find(|host| !wanted(self, *host)) else {
                return Err("a host that is not admitted is not told so after all was healed".to_owned());
            };
            let state = *self.world.host(stuck).state();
            let done = self.guests[stuck].completed - before[stuck];
            return Err(format!(
                "host {stuck} has completed {done} commands in {} s after all was healed; it is {state:?}",
                RECOVERY_NS / SECOND
            ));
        }
        self.until_quiet(live)?;
        for guest in &mut self.guests {
            guest.begin_sweep();
        }
        let swept = |run: &mut Run| run.guests.iter().all(Guest::is_swept);
        match self.until(self.world.now_ns() + END_NS, live, swept)? {
            true => Ok(()),
            false => Err("what was written cannot be read within a minute and a half".to_owned()),
        }
    }

    fn until_quiet(&mut self, live: &mut impl FnMut(&mut Run)) -> Result<(), String> {
        let quiet = |run: &mut Run| run.guests.iter().all(Guest::is_quiet);
        if self.until(self.world.now_ns() + END_NS, live, quiet)? {
            return Ok(());
        }
        let loud = self.guests.iter().find(|guest| !guest.is_quiet()).expect("not all are quiet");
        Err(format!("commands of host {} do not end: {}", loud.number, loud.left()))
    }

    fn come_to_rest(&mut self, live: &mut impl FnMut(&mut Run)) -> Result<(), String> {
        // Nobody comes back any more.
        self.agenda.clear();
        for host in 0..self.guests.len() {
            self.guests[host].leaving = false;
            self.guests[host].excuse = Excuse::Association;
            self.world.host(host).disconnect();
        }
        let gone = |run: &mut Run| {
            (0..run.guests.len())
                .all(|host| !matches!(run.world.host(host).state(), State::Ready | State::Disconnecting))
        };
        let at_rest = move |run: &mut Run| gone(run) && run.not_given_back().is_none();
        // What is left of associations is found when KATO or TIMEWAIT ends.
        match self.until(self.world.now_ns() + END_NS, live, at_rest)? {
            true => Ok(()),
            false => Err(self.not_given_back().unwrap_or_else(|| "a host cannot leave".to_owned())),
        }
    }

    /// What of a card's is still taken though no host is left.
    fn not_given_back(&mut self) -> Option<String> {
        for target in 0..self.plan.targets.len() {
            if self.has_been_left(target) {
                continue;
            }
            let card = &mut self.world.target_at(target).card;
            for lcore in 0..card.lcores() {
                let core = card.lcore(lcore).core();
                let (qps, namespaces) = core.reader.entries();
                let taken = [
                    ("commands", core.commands.capacity() as usize - core.commands.free() as usize),
                    ("pages", core.memory.capacity() - core.memory.free_pages()),
                    ("work requests", core.works.capacity() as usize - core.works.available() as usize),
                    ("QPs", qps),
                    ("namespaces", namespaces),
                ];
                if let Some((what, count)) = taken.into_iter().find(|(_, count)| *count > 0) {
                    return Some(format!("target {target}, lcore {lcore}: {count} {what} were not given back"));
                }
            }
        }
        None
    }

    /// A host without keep alive has lost an association and perhaps taken leave of it unheard: the card keeps it for ever.
    fn has_been_left(&mut self, target: usize) -> bool {
        (0..self.guests.len()).any(|host| {
            let drive = self.guests[host].drive();
            self.plan.drives[drive].target == target
                && self.plan.hosts[host].kato_ms == 0
                && self.world.host(host).counters().reconnects > 0
        })
    }

    fn completed(&self) -> Vec<u64> {
        self.guests.iter().map(|guest| guest.completed).collect()
    }

    /// Goes on to `end_ns`, or until `done`; whether it was.
    fn until(
        &mut self,
        end_ns: u64,
        live: &mut impl FnMut(&mut Run),
        mut done: impl FnMut(&mut Run) -> bool,
    ) -> Result<bool, String> {
        let mut rounds = 0_u32;
        loop {
            let now_ns = self.world.now_ns();
            while let Some(Reverse((at_ns, event))) = self.agenda.peek().copied()
                && at_ns <= now_ns
            {
                self.agenda.pop();
                inflict::happen(self, event);
            }
            self.rules.tend(&mut self.world, now_ns);
            self.world.round(now_ns);
            self.tend(now_ns)?;
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(1024) {
                live(self);
            }
            if done(self) {
                return Ok(true);
            }
            if now_ns >= end_ns {
                return Ok(false);
            }
            let agenda_ns = self.agenda.peek().map_or(u64::MAX, |Reverse((at_ns, _))| *at_ns);
            let guests_ns = self.guests.iter().map(Guest::next_ns).min().unwrap_or(u64::MAX);
            self.world.pass_time(end_ns.min(agenda_ns).min(guests_ns).min(self.rules.next_ns()));
        }
    }

    fn tend(&mut self, now_ns: u64) -> Result<(), String> {
        while let Some(number) = self.world.next_stirred() {
            if number >= self.guests.len() {
                self.look_at_trespasser(number)?;
                continue;
            }
            let guest = &mut self.guests[number];
            guest.look(self.world.host(number), &mut self.ledgers[guest.drive()], now_ns)?;
            self.return_if_gone(number);
        }
        for guest in &mut self.guests {
            if guest.next_ns() <= now_ns {
                guest.submit(self.world.host(guest.number), &mut self.ledgers[guest.drive()], &mut self.ids, now_ns);
            }
        }
        for watch in &self.watches {
            if let Some(wrong) = watch.lock().wrong.take() {
                return Err(wrong);
            }
        }
        Ok(())
    }

    /// A host that was told to leave, and has, comes back after a while.
    pub(super) fn return_if_gone(&mut self, host: usize) {
        let gone = matches!(self.world.host(host).state(), State::Disconnected | State::Failed(_));
        let guest = &mut self.guests[host];
        if gone && std::mem::take(&mut guest.leaving) {
            self.later(self.world.now_ns() + AWAY_NS, Event::Return(host));
        }
    }

    pub(super) fn connect(&mut self, host: usize) {
        let HostPlan { drive, queues, entries, kato_ms, .. } = self.plan.hosts[host];
        if !matches!(self.world.host(host).state(), State::Ready | State::Connecting | State::Disconnecting) {
            self.world.host(host).connect(&nqn(drive), queues, entries, kato_ms);
        }
    }

    /// Another host connects to a subsystem to which it is not admitted.
    pub(super) fn trespass(&mut self, drive: usize) {
        let number = self.trespassers.len() as u8;
        let target = [10, 0, 0, 1 + self.plan.drives[drive].target as u8];
        let mut config = HostConfig::new([10, 0, 2, 1 + number].into(), target.into());
        config.seed ^= self.plan.seed << 8;
        let host = self.world.plug(config);
        assert_eq!(host, self.guests.len() + self.trespassers.len());
        self.trespassers.push(drive);
        self.world.host(host).connect(&nqn(drive), 2, 16, 5_000);
    }

    /// All is well: each is told that it is not admitted, now or when it has given up what it is at.
    fn trespass_again(&mut self) {
        self.healed = true;
        for host in self.guests.len()..self.world.hosts() {
            self.ask_again(host);
        }
    }

    fn ask_again(&mut self, host: usize) {
        let drive = self.trespassers[host - self.guests.len()];
        let host = self.world.host(host);
        if *host.state() != State::Connecting && !is_refused(host.state()) {
            host.connect(&nqn(drive), 2, 16, 5_000);
        }
    }

    fn trespassers_refused(&mut self) -> bool {
        (self.guests.len()..self.world.hosts()).all(|host| is_refused(self.world.host(host).state()))
    }

    fn look_at_trespasser(&mut self, host: usize) -> Result<(), String> {
        match *self.world.host(host).state() {
            State::Ready => {
                let drive = self.trespassers[host - self.guests.len()];
                Err(format!("host {host} is not admitted to {} and has connected", nqn(drive)))
            }
            _ => {
                if self.healed {
                    self.ask_again(host);
                }
                Ok(())
            }
        }
    }

    pub(super) fn later(&mut self, at_ns: u64, event: Event) {
        self.agenda.push(Reverse((at_ns, event)));
    }

    /// Whom a fault is about may from now on suffer what it may do to them.
    pub(super) fn excuse(&mut self, fault: &Fault) {
        let excuse = fault.excuse();
        for guest in &mut self.guests {
            let drive = guest.drive();
            let hit = match fault.whom() {
                Whom::Host(host) => guest.number == host,
                Whom::Drive(number) => drive == number,
                Whom::Target(target) => self.plan.drives[drive].target == target,
            };
            if hit {
                // On a quiet link a burst may last as long as a short keep-alive timeout.
                let burst = matches!(fault.what, What::Link { trouble: Trouble::BurstLoss, .. });
                let brittle = burst && (1..BURST_PATIENCE_MS).contains(&self.plan.hosts[guest.number].kato_ms);
                let excuse = if brittle { Excuse::Association } else { excuse };
                guest.excuse = guest.excuse.max(excuse);
                // A drive that is silent for a second while slots run out: hosts are asked to try again.
                guest.interrupted |=
                    matches!(fault.what, What::SlowDrive { base_ns, tail_ns, .. } if base_ns + tail_ns >= STALLED_NS);
            }
        }
    }
}

/// Whether a host was told that it is not admitted.
fn is_refused(state: &State) -> bool {
    let invalid_host = Status::CONNECT_INVALID_HOST.with_dnr();
    matches!(state, State::Failed(Failure::Connect { qid: 0, status, .. }) if *status == invalid_host)
}

fn watch((number, drive): (usize, &DrivePlan)) -> Arc<Mutex<Watch>> {
    let watch = Watch::new(number as u16, drive.block);
    watch.lock().read_only = drive.read_only;
    watch
}

fn host_config(plan: &Plan, number: usize, mtu: u16) -> HostConfig {
    let host = &plan.hosts[number];
    let target = plan.drives[host.drive].target;
    let [[own4, own6], [its4, its6]] = [addresses(1, number), addresses(0, target)];
    let mut config = if host.ipv6 { HostConfig::new(own6, its6) } else { HostConfig::new(own4, its4) };
    // Hosts ask for IPv4 addresses only.
    config.target_mac = host.ipv6.then(|| Card::mac(target as u8));
    config.mtu = mtu;
    config.remote_invalidate = host.remote_invalidate;
    config.reconnect_ms = Some(500);
    config.seed ^= plan.seed << 8;
    config
}

/// The address that a host sends from, an IPv4 one mapped into IPv6, and its card.
pub(super) fn source(plan: &Plan, number: usize) -> ([u8; 16], usize) {
    let host = &plan.hosts[number];
    let source = match addresses(1, number)[usize::from(host.ipv6)] {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    (source, plan.drives[host.drive].target)
}

/// The addresses of card `number`, in net 0, or of a host, in net 1.
fn addresses(net: u8, number: usize) -> [IpAddr; 2] {
    let last = 1 + number as u8;
    let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, net, last];
    [[10, 0, net, last].into(), v6.into()]
}

fn configuration(plan: &Plan, target: usize) -> Configuration {
    let drives = || plan.drives.iter().enumerate().filter(move |(_, drive)| drive.target == target);
    let uri = |drive: &DrivePlan| {
        let cache = if drive.volatile { ",cache=volatile" } else { "" };
        let (block, entries, queues, options) = (drive.block, drive.entries, drive.queues, &drive.options);
        let comma = if options.is_empty() { "" } else { "," };
        let mdts = if drive.mdts == 0 { 128 << 10 } else { drive.mdts };
        let shape = format!("block={block},entries={entries},queues={queues},mdts={mdts}");
        format!("mem:{},{shape}{cache}{comma}{options}", 16 << 20)
    };
    let hosts = |at: usize| {
        let of_drive = plan.hosts.iter().enumerate().filter(move |(_, host)| host.drive == at);
        of_drive.map(|(number, host)| host_config(plan, number, host.mtu).hostnqn).collect()
    };
    Configuration {
        epoch: 1,
        ports: vec![Port {
            name: "wire0".into(),
            device: DEVICE.into(),
            mtu: 9000,
            vlan: 0,
            addresses: addresses(0, target).into(),
        }],
        drives: drives().map(|(at, drive)| Drive { name: format!("d{at}"), uri: uri(drive) }).collect(),
        subsystems: drives()
            .map(|(at, _)| Subsystem {
                nqn: nqn(at),
                hosts: Hosts::Only(hosts(at)),
                namespaces: vec![Namespace {
                    nsid: 1,
                    drive: format!("d{at}"),
                    drive_nsid: None,
                    uuid: [at as u8 + 1; 16],
                    read_only: plan.drives[at].read_only,
                }],
            })
            .collect(),
    }
}

fn world(plan: &Plan, watches: &[Arc<Mutex<Watch>>]) -> World {
    let sizes =
        |site: &Site| Sizes { qps: 512, commands: site.commands, pages: site.pages, namespaces: 256, addresses: 16 };
    let first = &plan.targets[0];
    let mut world = World::new(configuration(plan, 0), first.lcores, sizes(first), plan.seed);
    for (number, site) in plan.targets.iter().enumerate().skip(1) {
        world.add_target(configuration(plan, number), site.lcores, sizes(site));
    }
    for (number, site) in plan.targets.iter().enumerate() {
        let watches = watches.to_vec();
        let card = &mut world.target_at(number).card;
        let port = Depth { buffers: site.buffers, tx: site.tx };
        card.set_rings(Rings { port, reports: site.reports, crossed: site.crossed });
        card.observe(Rc::new(move |name, media| {
            let drive: usize = name[1..].parse().expect("drives are named by their number");
            Box::new(Watched { media, watch: watches[drive].clone() })
        }));
    }
    world
}
