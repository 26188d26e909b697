//! Atomicity: while transactions swap pairs of tables, no packet sees half of one.
//!
//! The writer takes pairs of entries in two tables from one state to the other and back, both in a transaction; lcores run packets
//! through the generated controls right where the writer is at work. Each pair is made so that a packet which saw one
//! entry as before and the other as after ends as no packet may:
//!
//! - **admission**: an address passes to the other of two tenants, and so does the right to send. Half of it is a packet that
//!   is throttled.
//! - **access**: an address passes to the other of two tenants, and the rule that denies the tenant whose it is not moves to the
//!   other as well. Half of it is a packet that is denied.
//! - **way out**: a host gets another Ethernet address, and its tenant another DSCP. Half of it is a frame with an address
//!   and a DSCP that were never said together.
//! - **both programs**: a QP gets another place (packet.p4), and its controller's namespace another drive (command.p4). Half
//!   of it is a packet and a command of one burst that differ.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gantry::{command, packet};
use gantry_table::{Match, MeterConfig, Writer};
use serde::Serialize;

use crate::lcore::{Bare, Lcore, staged};
use crate::traffic::{Frames, Says, mapped};

/// Pairs of each kind: so many that the writer seldom waits for an lcore that the machine has put aside.
const PAIRS: u64 = 1000;
/// Pairs right ahead of the writer that a burst looks at, of each kind that comes in.
const NEAR: usize = 8;
/// One in so many swaps the writer passes its processor on between the two tables, so that lcores run there however busy the
/// machine is. Prime, so that every kind has its turn.
const PASSED_ON: u64 = 499;
/// What pairs swap.
pub const KINDS: [&str; 4] = ["admission", "access", "way out", "both programs"];

/// A way to swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Both entries of a pair in one transaction.
    Whole,
    /// Each in one of its own: what this is to find.
    Halves,
}

/// What lcores saw of one kind of pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Packets that saw a pair in its first state.
    pub one: u64,
    /// In its second.
    pub other: u64,
    /// Half of a swap.
    pub half: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Transactions that swapped a pair.
    pub swaps: u64,
    /// Threads that packets ran on.
    pub lcores: usize,
    /// Bursts that they ran.
    pub bursts: u64,
    /// By kind, in the order of [`KINDS`].
    pub seen: [Seen; 4],
    /// How long it took.
    pub seconds: f64,
}

/// Tables of both programs, and the writer of them.
struct Card {
    writer: Writer,
    packets: packet::Tables,
    commands: command::Tables,
}

/// The `n`th pair's own address.
fn address(kind: usize, pair: u64) -> [u8; 4] {
    [10, 1 + kind as u8, (pair >> 8) as u8, pair as u8]
}

/// Which of its two tenants has a pair's address.
fn tenant(kind: usize, pair: u64, state: u64) -> u16 {
    (2 * (kind as u64 * PAIRS + pair) + state) as u16
}

fn local(kind: usize, pair: u64, state: u64) -> (packet::LocalAddressesKey, packet::LocalAddressesAction) {
    let key = packet::LocalAddressesKey { port: 0, vid: 0, address: mapped(address(kind, pair)) };
    (key, packet::LocalAddressesAction::Local { tenant: tenant(kind, pair, state) })
}

/// The rule that denies a tenant.
fn denied(tenant: u16) -> Match<packet::AccessKey> {
    let any = packet::AccessKey::ZERO;
    Match {
        value: packet::AccessKey { tenant, ..any },
        // A range's mask holds its upper bound.
        mask: packet::AccessKey { tenant: u16::MAX, udp_source: u16::MAX, ..any },
        priority: 1,
    }
}

fn neighbor(pair: u64, state: u64) -> (packet::NeighborsKey, packet::NeighborsAction) {
    let key = packet::NeighborsKey { port: 0, vid: 0, address: mapped(address(2, pair)) };
    (key, packet::NeighborsAction::NextHop { mac: state })
}

fn traffic_class(pair: u64, state: u64) -> (packet::TrafficClassesKey, packet::TrafficClassesAction) {
    let action = packet::TrafficClassesAction::Mark { to_dscp: state as u8, to_ecn: 2, to_pcp: 0 };
    (packet::TrafficClassesKey { tenant: pair as u16 }, action)
}

/// QPN of a pair's QP.
fn qpn(pair: u64) -> u32 {
    0x100 + pair as u32
}

/// Whose nothing is swapped.
const QUIET: u16 = 4095;

/// QPN of the one QP that the kinds which come in all send to.
const ANY_QP: u32 = 0x77;

fn place(pair: u64, state: u64) -> (packet::QpsKey, packet::QpsAction) {
    (packet::QpsKey { qpn: qpn(pair) }, packet::QpsAction::ToQp { lcore: 0, qp: state as u32 })
}

fn namespace(pair: u64, state: u64) -> (command::NamespacesKey, command::NamespacesAction) {
    let action = command::NamespacesAction::BlocksOf {
        drive: state as u16,
        drive_nsid: 1,
        base: 0,
        count: 1 << 20,
        protected: 0,
        tenant: 0,
    };
    (command::NamespacesKey { cntlid: pair as u16, nsid: 1 }, action)
}

impl Card {
    fn new(lcores: usize) -> Self {
        let mut writer = Writer::new(lcores, 5);
        let pairs = PAIRS as usize;
        let sizes = packet::Sizes {
            neighbors: 4 * pairs,
            traffic_classes: 4 * pairs,
            local_addresses: 4 * pairs,
            access: 4 * pairs,
            tenants: 4 * pairs,
            qps: 4 * pairs,
            ..packet::Sizes::default()
        };
        let packets = packet::Tables::new(&mut writer, &sizes, lcores).expect("the program's entries fit");
        let sizes = command::Sizes { namespaces: 4 * pairs, ..command::Sizes::default() };
        let commands = command::Tables::new(&mut writer, &sizes, lcores).expect("the program's entries fit");
        let mut card = Self { writer, packets, commands };
        card.fill();
        card
    }

    /// Every pair in its first state.
    fn fill(&mut self) {
        let Self { writer, packets, commands } = self;
        // Who is policed has no token left, ever.
        let dry = MeterConfig { cir: 1, cburst: 1, pir: 1, pburst: 1 };
        for meter in 0..2 * PAIRS as usize {
            assert!(packets.tenant_rate.configure(meter, Some(&dry), 0), "a meter for every tenant");
        }
        let expect = "room for every pair";
        packets.tenants_default.set(writer, &packet::TenantsAction::Police).expect(expect);
        let action = packet::QpsAction::ToQp { lcore: 0, qp: 0 };
        packets.qps.insert(writer, &packet::QpsKey { qpn: ANY_QP }, &action).expect(expect);
        let key = packet::LocalAddressesKey { port: 0, vid: 0, address: mapped(address(3, 0)) };
        let action = packet::LocalAddressesAction::Local { tenant: QUIET };
        packets.local_addresses.insert(writer, &key, &action).expect(expect);
        for pair in 0..PAIRS {
            for kind in [0, 1] {
                let (key, action) = local(kind, pair, 0);
                packets.local_addresses.insert(writer, &key, &action).expect(expect);
            }
            self::tenants(packets, writer, pair, 0).expect(expect);
            for state in [0, 1] {
                // Of the second kind nobody is policed: these tenants have no meters.
                let key = packet::TenantsKey { tenant: tenant(1, pair, state) };
                packets.tenants.insert(writer, &key, &packet::TenantsAction::Observe).expect(expect);
            }
            packets.access.insert(writer, &denied(tenant(1, pair, 1)), &packet::AccessAction::Deny).expect(expect);
            let (key, action) = neighbor(pair, 0);
            packets.neighbors.insert(writer, &key, &action).expect(expect);
            let (key, action) = traffic_class(pair, 0);
            packets.traffic_classes.insert(writer, &key, &action).expect(expect);
            let (key, action) = place(pair, 0);
            packets.qps.insert(writer, &key, &action).expect(expect);
            let (key, action) = namespace(pair, 0);
            commands.namespaces.insert(writer, &key, &action).expect(expect);
        }
        writer.publish();
        while writer.reclaim(4096) > 0 {}
    }

    /// Swaps the pair that is the `n`th's turn.
    fn swap(&mut self, n: u64, way: Way) {
        let Self { writer, packets, commands } = self;
        let (kind, pair, state) = turn(n);
        let between = |writer: &mut Writer| {
            if way == Way::Halves {
                writer.publish();
            }
            if n.is_multiple_of(PASSED_ON) {
                thread::yield_now();
            }
        };
        match kind {
            0 => {
                let (key, action) = local(0, pair, state);
                staged(writer, |writer| packets.local_addresses.modify(writer, &key, &action));
                between(writer);
                let old = packet::TenantsKey { tenant: tenant(0, pair, 1 - state) };
                staged(writer, |writer| packets.tenants.remove(writer, &old));
                staged(writer, |writer| tenants(packets, writer, pair, state));
            }
            1 => {
                let (key, action) = local(1, pair, state);
                staged(writer, |writer| packets.access.remove(writer, &denied(tenant(1, pair, state))));
                let deny = packet::AccessAction::Deny;
                staged(writer, |writer| packets.access.insert(writer, &denied(tenant(1, pair, 1 - state)), &deny));
                between(writer);
                staged(writer, |writer| packets.local_addresses.modify(writer, &key, &action));
            }
            2 => {
                let (key, action) = neighbor(pair, state);
                staged(writer, |writer| packets.neighbors.modify(writer, &key, &action));
                between(writer);
                let (key, action) = traffic_class(pair, state);
                staged(writer, |writer| packets.traffic_classes.modify(writer, &key, &action));
            }
            _ => {
                let (key, action) = place(pair, state);
                staged(writer, |writer| packets.qps.modify(writer, &key, &action));
                between(writer);
                let (key, action) = namespace(pair, state);
                staged(writer, |writer| commands.namespaces.modify(writer, &key, &action));
            }
        }
        writer.publish();
        writer.reclaim(16);
    }
}

/// Lets the tenant whose turn it is send.
fn tenants(
    packets: &packet::Tables,
    writer: &mut Writer,
    pair: u64,
    state: u64,
) -> Result<gantry_table::EntryIndex, gantry_table::StageError> {
    let key = packet::TenantsKey { tenant: tenant(0, pair, state) };
    packets.tenants.insert(writer, &key, &packet::TenantsAction::Observe)
}

/// Kind, pair and new state of the `n`th swap. Kinds take turns, then pairs; a round takes every pair to its other state.
fn turn(n: u64) -> (usize, u64, u64) {
    let (kinds, pairs) = (KINDS.len() as u64, n / KINDS.len() as u64);
    ((n % kinds) as usize, pairs % PAIRS, 1 - (pairs / PAIRS) % 2)
}

/// Drives of any number have blocks of 512 bytes.
struct Blocks(Bare);

impl command::Externs for Blocks {
    #[inline(always)]
    fn prefetch(&mut self, line: &gantry_table::Line) {
        self.0.0.prefetch_read(line);
    }

    fn block_shift(&mut self, _: usize, _: u16, _: u32) -> u8 {
        9
    }
}

/// An lcore with both programs, and what it has seen.
struct Watcher {
    lcore: Lcore,
    commands: command::Tables,
    command_banks: command::Banks,
    externs: Blocks,
    bursts: u64,
    seen: [Seen; 4],
}

impl Watcher {
    fn new(card: &Card) -> Self {
        Self {
            lcore: Lcore::new(&card.writer, &card.packets),
            commands: card.commands.clone(),
            command_banks: card.commands.banks().expect("banks for every lcore"),
            externs: Blocks(Bare(gantry_cpu::Cpu::detect())),
            bursts: 0,
            seen: [Seen::default(); 4],
        }
    }

    /// A burst of packets of every kind at the pairs from `first` on, then the commands that go with the last kind, in the same
    /// generation.
    fn burst(&mut self, frames: &[Vec<&[u8]>; 4], first: usize) {
        let mut burst: [&[u8]; 4 * NEAR] = [&[]; 4 * NEAR];
        let pairs: [usize; NEAR] = std::array::from_fn(|ahead| (first + ahead) % PAIRS as usize);
        for (kind, part) in burst.chunks_exact_mut(NEAR).enumerate() {
            part.iter_mut().zip(pairs).for_each(|(frame, pair)| *frame = frames[kind][pair]);
        }
        let outgoing = |at: usize, packet: &mut packet::Packet| {
            if at / NEAR == 2 {
                let pair = pairs[at % NEAR] as u64;
                packet.metadata.outgoing = true;
                packet.metadata.tenant = pair as u16;
                packet.metadata.local_ip = mapped(address(3, 0));
                packet.metadata.remote_ip = mapped(address(2, pair));
            }
        };
        let (packets, generation) = self.lcore.run_in_generation(&burst, 0, outgoing);
        let mut note = |kind: usize, state: Option<bool>| {
            let seen = &mut self.seen[kind];
            *match state {
                Some(false) => &mut seen.one,
                Some(true) => &mut seen.other,
                None => &mut seen.half,
            } += 1;
        };
        for (at, packet) in packets[..2 * NEAR].iter().enumerate() {
            let passed = packet.metadata.verdict == packet::Verdict::TRANSPORT.0;
            note(at / NEAR, passed.then_some(packet.metadata.tenant % 2 == 1));
        }
        for packet in &packets[2 * NEAR..3 * NEAR] {
            assert_eq!(packet.metadata.verdict, packet::Verdict::SEND.0, "what leaves is sent");
            let (mac, dscp) = (packet.ethernet_destination, u64::from(packet.ipv4_dscp));
            note(2, (mac == dscp).then_some(mac == 1));
        }
        let command = |pair: usize| {
            let mut command = command::Packet::default();
            let fields = &mut command.metadata;
            (fields.cntlid, fields.nsid, fields.opcode) = (pair as u16, 1, command::Opcode::READ.0);
            (fields.blocks, fields.described) = (8, 4096);
            command
        };
        let mut commands = pairs.map(command);
        let mut run = command::Run {
            tables: &self.commands,
            banks: &mut self.command_banks,
            generation,
            now_ns: 0,
            externs: &mut self.externs,
        };
        command::control(&mut commands, &mut run);
        for (packet, command) in packets[3 * NEAR..].iter().zip(&commands) {
            assert_eq!(command.metadata.verdict, command::Verdict::DRIVE.0, "every command has its drive");
            let (qp, drive) = (packet.metadata.qp, u32::from(command.metadata.drive));
            note(3, (qp == drive).then_some(qp == 1));
        }
        self.bursts += 1;
    }
}

/// Frames of every kind, by pair.
fn frames() -> [Frames; 4] {
    std::array::from_fn(|kind| {
        let says = |pair| Says {
            destination: address(kind, if kind < 3 { pair } else { 0 }),
            ..Says::send(if kind == 3 { qpn(pair) } else { ANY_QP })
        };
        Frames::new(&(0..PAIRS).map(says).collect::<Vec<_>>())
    })
}

/// Swaps so many pairs while packets run on so many lcores. Stops early once lcores have seen half of a swap of every kind.
///
/// # Panics
/// When an lcore's thread has.
#[must_use]
pub fn run(swaps: u64, lcores: usize, way: Way) -> Report {
    let mut card = Card::new(lcores);
    let frames = frames();
    let (done, torn, at) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let mut made = 0;
    let watchers = thread::scope(|scope| {
        let threads: Vec<_> = (0..lcores)
            .map(|_| {
                let (mut watcher, frames) = (Watcher::new(&card), frames.each_ref().map(Frames::views));
                let (done, torn, at) = (&done, &torn, &at);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        watcher.burst(&frames, at.load(Ordering::Relaxed) as usize);
                        for (kind, _) in watcher.seen.iter().enumerate().filter(|(_, seen)| seen.half > 0) {
                            torn.fetch_or(1 << kind, Ordering::Relaxed);
                        }
                        if watcher.bursts.is_multiple_of(64) {
                            watcher.lcore.rest();
                            thread::yield_now();
                        }
                    }
                    watcher
                })
            })
            .collect();
        while made < swaps && torn.load(Ordering::Relaxed) != (1 << KINDS.len()) - 1 {
            at.store(turn(made).1, Ordering::Relaxed);
            card.swap(made, way);
            made += 1;
        }
        // A last look at what is settled.
        thread::sleep(Duration::from_millis(10));
        done.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("an lcore's thread")).collect::<Vec<_>>()
    });
    let sum = |kind: usize, part: fn(&Seen) -> u64| watchers.iter().map(|watcher| part(&watcher.seen[kind])).sum();
    Report {
        swaps: made,
        lcores,
        bursts: watchers.iter().map(|watcher| watcher.bursts).sum(),
        seen: std::array::from_fn(|kind| Seen {
            one: sum(kind, |seen| seen.one),
            other: sum(kind, |seen| seen.other),
            half: sum(kind, |seen| seen.half),
        }),
        seconds: begun.elapsed().as_secs_f64(),
    }
}
