//! A plan from a seed: topology, load and faults.
//!
//! Nearly half of all plans hold only what no host may notice, so that any error in them is a bug. A plan draws from a few kinds
//! of fault only, so that combinations repeat and each gets its share of time.

use super::fault::{Denial, Excuse, Fault, Throttle, Trouble, What};
use super::plan::{BUFFERS_ENOUGH, DrivePlan, HostPlan, Load, Plan, Site};
use crate::host::CapsuleKind;
use crate::random::Random;
use crate::rogue::RogueKind;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Commands of a host in one run, about.
const COMMANDS: u64 = 1_500;

/// The plan that a seed draws.
#[must_use]
pub fn draw(seed: u64) -> Plan {
    // What TOML can hold.
    let seed = seed & (i64::MAX as u64);
    let mut random = Random::new(seed);
    let random = &mut random;
    let targets: Vec<Site> = (0..1 + random.below(8) / 7).map(|_| site(random)).collect();
    let drives: Vec<DrivePlan> = (0..random.between(1, 4)).map(|_| drive(random, targets.len())).collect();
    let length_ns = match random.below(8) {
        0..=4 => random.spread(2 * MILLISECOND, 200 * MILLISECOND),
        5 | 6 => random.spread(200 * MILLISECOND, 3 * SECOND),
        _ => random.spread(3 * SECOND, 30 * SECOND),
    };
    let deaf = random.chance(4);
    let length_ns = if deaf { 30 * SECOND } else { length_ns };
    let hosts: Vec<HostPlan> = (0..random.between(1, 5)).map(|_| host(random, &drives, length_ns)).collect();
    let mut plan = Plan { seed, length_ns, targets, drives, hosts, faults: Vec::new() };
    plan.faults = faults(random, &plan);
    if deaf {
        // Responses wait for so long that the card gives up sending them again: nothing else ends the association before.
        plan.hosts[0].kato_ms = 0;
        let what = What::Pause { host: 0, up: false };
        plan.faults.push(Fault { at_ns: SECOND, for_ns: 25 * SECOND, what });
        plan.faults.sort_by_key(|fault| fault.at_ns);
    }
    // From sequences of their own.
    let kinds = &mut Random::new(seed ^ 0xd21e5);
    plan.drives.iter_mut().for_each(|drive| drive.options = kind(kinds));
    if Random::new(seed ^ 0xf100d).chance(4) {
        flood(&mut plan);
    }
    let mut random = Random::new(seed ^ 0x001e_4d1e);
    if random.chance(25) {
        plan.drives.iter_mut().for_each(|drive| drive.queues = random.between(1, 2) as u16);
    }
    plan
}

/// A card that cannot send is asked more than its port holds answers for.
fn flood(plan: &mut Plan) {
    let target = plan.drives[plan.hosts[0].drive].target;
    let site = &mut plan.targets[target];
    (site.buffers, site.tx) = (4096, 32);
    plan.length_ns = plan.length_ns.max(10 * MILLISECOND);
    let pause = Fault { at_ns: MILLISECOND, for_ns: 5 * MILLISECOND, what: What::PauseCard { target } };
    let asked = What::Rogue { host: 0, kind: RogueKind::EchoFlood, forged: false, times: 60 };
    let ask = Fault { at_ns: 2 * MILLISECOND, for_ns: 0, what: asked };
    plan.faults.extend([pause, ask]);
    plan.faults.sort_by_key(|fault| fault.at_ns);
}

fn site(random: &mut Random) -> Site {
    // Sometimes hardly anything, so that commands wait for pages and for slots.
    let (commands, pages) = match random.below(4) {
        0 => (64, 160),
        1 => (192, 320),
        _ => (1024, 2048),
    };
    let (buffers, tx) = match random.below(8) {
        0 => (random.spread(96, u64::from(BUFFERS_ENOUGH) - 1), 32),
        1 => (random.spread(BUFFERS_ENOUGH.into(), 1024), 64),
        2 | 3 => (random.spread(1024, 2048), 256),
        _ => (4096, 1024),
    };
    Site {
        lcores: [1, 1, 2, 3][random.index(4)],
        commands,
        pages,
        buffers: buffers as usize,
        tx,
        reports: if random.chance(30) { random.spread(2, 16) as usize } else { 256 },
        crossed: if random.chance(30) { random.spread(64, 128) as usize } else { 1024 },
    }
}

fn drive(random: &mut Random, targets: usize) -> DrivePlan {
    let block = if random.chance(25) { 4096 } else { 512 };
    let base_ns = if random.chance(50) { random.spread(MICROSECOND, 200 * MICROSECOND) } else { 0 };
    DrivePlan {
        target: random.index(targets),
        block,
        blocks: random.spread(64, 1024),
        volatile: random.chance(40),
        entries: if random.chance(30) { random.between(2, 8) as u32 } else { 1024 },
        base_ns,
        jitter_ns: if base_ns > 0 { random.spread(1, base_ns) } else { 0 },
        mdts: if random.chance(30) { 8_192 << random.below(6) } else { 0 },
        read_only: random.chance(6),
        options: String::new(),
        queues: 64,
    }
}

/// What a drive is like, where hosts need not know: half of them as the software drive is without options.
fn kind(random: &mut Random) -> String {
    let mut options: Vec<String> = Vec::new();
    if random.chance(50) {
        return String::new();
    }
    if random.chance(60) {
        options.push(format!("sgl={}", ["none", "dword", "off"][random.index(3)]));
    }
    if random.chance(30) {
        options.push(format!("dstrd={}", random.between(1, 4)));
    }
    if random.chance(30) {
        let version = ["1.0", "1.2", "2.0"][random.index(3)];
        options.push(format!("version={version}"));
        if version == "2.0" {
            options.push(format!("wzsl={},dmrl={}", random.below(4), random.between(1, 4)));
        }
    }
    if random.chance(20) {
        options.push("defect=short-write-zeroes".into());
    }
    if random.chance(20) {
        options.push(format!("acl=0,aerl=0,ready={}", random.below(5)));
    }
    options.join(",")
}

fn host(random: &mut Random, drives: &[DrivePlan], length_ns: u64) -> HostPlan {
    let index = random.index(drives.len());
    let drive = &drives[index];
    let mut share = |percent, most| if random.chance(percent) { random.between(1, most) as u32 } else { 0 };
    let (writes, fua, flushes, zeroes, trims) =
        (share(95, 70), share(30, 10), share(50, 5), share(30, 5), share(30, 5));
    let eager = random.chance(30);
    // A transfer of at most 128 KiB, which is the controllers' MDTS.
    let most = (131_072 / u64::from(drive.block)).min(drive.blocks / 4).max(1);
    let load = Load {
        depth: random.spread(1, 48) as usize,
        // For a short while as fast as it goes: slots and pages run out.
        pace_ns: if length_ns <= 20 * MILLISECOND && eager { 1 } else { (length_ns / COMMANDS).max(1) },
        blocks: random.spread(1, most) as u32,
        writes,
        fua,
        flushes: if drive.volatile { flushes.max(1) } else { flushes },
        zeroes,
        trims,
    };
    HostPlan {
        drive: index,
        mtu: [1500, 1500, 4200, 9000, 600][random.index(5)],
        queues: random.between(1, 4) as u16,
        entries: random.spread(4, 128) as u16,
        kato_ms: [0, 1_000, 5_000, 5_000][random.index(4)],
        remote_invalidate: random.chance(75),
        ipv6: random.chance(25),
        load,
    }
}

fn faults(random: &mut Random, plan: &Plan) -> Vec<Fault> {
    let quiet = random.chance(45);
    let kinds: Vec<usize> = (0..random.between(1, 6)).map(|_| random.index(KINDS)).collect();
    let wanted = random.spread(1, 24) as usize;
    let mut faults = Vec::new();
    for _ in 0..wanted * 4 {
        if faults.len() >= wanted {
            break;
        }
        let kind = kinds[random.index(kinds.len())];
        let fault = fault(random, plan, kind);
        for fault in companions(random, plan, fault) {
            if !quiet || fault.excuse() == Excuse::Nothing {
                faults.push(fault);
            }
        }
    }
    faults.sort_by_key(|fault| fault.at_ns);
    faults
}

/// What comes along with a fault now and then: all that a host or a rogue can do wrong, one after the other; a flood of
/// questions while a card cannot answer.
fn companions(random: &mut Random, plan: &Plan, fault: Fault) -> Vec<Fault> {
    if !random.chance(if matches!(fault.what, What::PauseCard { .. }) { 90 } else { 50 }) {
        return vec![fault];
    }
    let gap_ns = random.spread(MICROSECOND, plan.length_ns / 64 + MICROSECOND);
    let later = |number: usize, what| Fault { at_ns: fault.at_ns + number as u64 * gap_ns, for_ns: 0, what };
    match fault.what {
        What::Misdeed { host, .. } => {
            // Those after which there is no association would hide the others.
            let each = CapsuleKind::ALL.iter().filter(|kind| !kind.may_end_association()).enumerate();
            let last = Fault { at_ns: fault.at_ns + CapsuleKind::ALL.len() as u64 * gap_ns, ..fault.clone() };
            each.map(|(number, kind)| later(number, What::Misdeed { host, kind: *kind })).chain([last]).collect()
        }
        What::Rogue { host, forged, times, .. } => {
            let lasting = |kind: &&RogueKind| !kind.may_end_association(super::fault::name_of(forged));
            let each = RogueKind::ALL.iter().filter(lasting).enumerate();
            let last = Fault { at_ns: fault.at_ns + RogueKind::ALL.len() as u64 * gap_ns, ..fault.clone() };
            let rogue =
                |(number, kind): (usize, &RogueKind)| later(number, What::Rogue { host, kind: *kind, forged, times });
            each.map(rogue).chain([last]).collect()
        }
        What::PauseCard { .. } => {
            let host = random.index(plan.hosts.len());
            let flood = |(kind, times)| What::Rogue { host, kind, forged: false, times };
            // More than a port holds.
            let asked =
                [(RogueKind::ArpFlood, 1_500), (RogueKind::NeighborFlood, 100), (RogueKind::EchoFlood, 100)].map(flood);
            let at_ns = fault.at_ns + fault.for_ns / 2;
            let floods = asked.into_iter().map(|what| Fault { at_ns, for_ns: 0, what });
            std::iter::once(fault.clone()).chain(floods).collect()
        }
        _ => vec![fault],
    }
}

/// Kinds that [`fault`] draws between.
const KINDS: usize = 39;

fn fault(random: &mut Random, plan: &Plan, kind: usize) -> Fault {
    let at_ns = random.below(plan.length_ns);
    let mut for_ns = random.spread(10 * MICROSECOND, plan.length_ns.max(20 * MICROSECOND));
    let host = random.index(plan.hosts.len());
    let drive = random.index(plan.drives.len());
    let target = random.index(plan.targets.len());
    let up = random.chance(50);
    let gentle = if random.chance(80) { random.spread(1, 300) } else { random.spread(300, 5_000) } as u32;
    let link = |trouble| What::Link { host, up, trouble, chance: gentle };
    let mut lasts = true;
    let what = match kind {
        0 => link(Trouble::Loss),
        1 => What::Link { host, up, trouble: Trouble::BurstLoss, chance: random.spread(1, 100) as u32 },
        2 => link(Trouble::Duplication),
        3 => link(Trouble::Reordering),
        4 => link(Trouble::Corruption),
        5 => link(Trouble::Truncation),
        6 => What::Delay { host, delay_ns: random.spread(MICROSECOND, 2 * MILLISECOND) },
        7 => What::Narrow {
            target,
            rate_bps: random.spread(500_000_000, 25_000_000_000),
            queue_bytes: random.spread(8_192, 1 << 20),
            pfc: random.chance(60),
        },
        8 => What::Marks { host },
        9 => What::Pause { host, up },
        10 => What::Partition { host },
        11 => What::Mtu { host, bytes: random.between(64, 1_400) as usize },
        12 | 13 => {
            lasts = false;
            What::KillControl { target, restart_ns: random.spread(10 * MICROSECOND, 2 * SECOND) }
        }
        14 => What::KillControlOften { target, every_ns: random.spread(100 * MICROSECOND, 100 * MILLISECOND) },
        15 => What::CutChannel { target },
        16 => {
            lasts = false;
            What::KillDataPlane { target }
        }
        17 | 18 => What::HandOver { target, every_ns: random.spread(5 * MICROSECOND, 50 * MILLISECOND) },
        19 => {
            lasts = false;
            What::ClockStep { target, by_ns: random.spread(MICROSECOND, 40 * SECOND) }
        }
        20 => What::SlowDrive {
            drive,
            base_ns: random.spread(MICROSECOND, 10 * MILLISECOND),
            tail_ns: random.spread(MILLISECOND, 20 * SECOND),
        },
        21 => What::MediaErrors { drive, chance: gentle },
        22 => What::BusyDrive { drive, chance: gentle },
        23 => {
            lasts = false;
            What::Swallow { drive, times: random.between(1, 8) as u32 }
        }
        24 => What::Fatal { drive },
        25 => What::Stopped { drive },
        26 => {
            lasts = false;
            What::PowerLoss { drive }
        }
        27 => {
            lasts = random.chance(50);
            match (lasts, random.chance(60)) {
                (true, _) => What::Silence { host },
                (false, true) => What::Reset { host },
                (false, false) => What::Leave { host },
            }
        }
        28 | 33 => {
            lasts = false;
            let ends = random.chance(50);
            let kinds: Vec<_> =
                CapsuleKind::ALL.into_iter().filter(|kind| kind.may_end_association() == ends).collect();
            What::Misdeed { host, kind: kinds[random.index(kinds.len())] }
        }
        29 => What::Stall { target },
        30 => What::StallHousekeeping { target },
        31 => What::PauseCard { target },
        32 => {
            lasts = false;
            What::Stray { drive, times: random.between(1, 4) as u32 }
        }
        34 => {
            lasts = false;
            What::Trespass { drive }
        }
        35 => {
            let hows = [Denial::Silent, Denial::Told, Denial::Shown];
            What::Deny { host, how: hows[random.index(hows.len())] }
        }
        36 => {
            let (what, least, most) = if random.chance(60) {
                (Throttle::Bytes, 1_000, 10_000_000)
            } else {
                (Throttle::Commands, 100, 1_000_000)
            };
            What::Throttle { target, what, rate: random.spread(least, most) }
        }
        _ => {
            lasts = false;
            let kind = RogueKind::ALL[random.index(RogueKind::ALL.len())];
            What::Rogue { host, kind, forged: random.chance(50), times: random.spread(1, 40) as u32 }
        }
    };
    // What may break something often does not last long enough to.
    if (Fault { at_ns, for_ns, what }).worsens() && random.chance(if plan.length_ns < SECOND { 70 } else { 20 }) {
        for_ns = for_ns.min(random.spread(10 * MICROSECOND, 150 * MILLISECOND));
    }
    // A hand-over costs the simulator a lot.
    if let What::HandOver { every_ns, .. } = what {
        for_ns = for_ns.min(every_ns * 50);
    }
    // While commands wait for their turn the lcore looks at them in every poll.
    if let What::Throttle { .. } = what {
        for_ns = for_ns.min(5 * MILLISECOND);
    }
    if let What::KillControlOften { every_ns, .. } = what {
        for_ns = for_ns.min(every_ns * 100);
    }
    Fault { at_ns, for_ns: if lasts { for_ns } else { 0 }, what }
}
