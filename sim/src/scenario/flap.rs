//! A host's link goes and comes. As long as the transport's retries last, its commands only wait, and other hosts notice
//! nothing. When it stays away for longer, the association ends, the host comes back, and what it wrote is there: that part
//! is judged by the oracles of [`crate::swarm`].

use gantry_roce::RETRY_MIN_NS;

use super::crew::{Crew, Load, MICROSECOND, MILLISECOND, SECOND, flash, links};
use super::{Live, Report};
use crate::swarm::fault::{Fault, What};
use crate::swarm::plan::{DrivePlan, HostPlan, Load as SwarmLoad, Plan, Site};
use crate::swarm::report as swarm;
use crate::world::Setup;

const HOSTS: usize = 4;
/// How long the link is away, and how long it is there in between.
const AWAY_NS: u64 = 50 * MILLISECOND;
const THERE_NS: u64 = 150 * MILLISECOND;
const FLAPS: u64 = 3;

/// How long the host stands still at most: a retransmission's timeout begins with [`RETRY_MIN_NS`] and doubles, so that the
/// first one behind the link's return comes after at most as much again.
const STILL_NS: u64 = 2 * AWAY_NS + 2 * RETRY_MIN_NS;

/// A time that no association lives through.
const LONG_NS: u64 = 8 * SECOND;

pub(super) fn play(live: Live<'_>) -> Report {
    let mut report = Report::default();
    short(live, &mut report);
    long(live, &mut report);
    report
}

fn short(live: Live<'_>, report: &mut Report) {
    let mut setup = Setup::new(27);
    for _ in 0..HOSTS {
        setup = setup.drive("mem:64M");
    }
    let mut world = setup.build();
    let mut crew = Crew::default();
    for drive in 0..HOSTS {
        let load = Load { drive, queues: 1, depth: 4, length: 4096, reads: 70, blocks: 16_384 };
        crew.join(&mut world, &format!("host {drive}"), &load, report);
    }
    flash(&mut world, HOSTS, 500 * MICROSECOND);
    links(&mut world, 25_000_000_000, 100_000_000_000);
    crew.run(&mut world, 2 * MILLISECOND, live, |_| u64::MAX);
    crew.begin(&mut world);
    let flapping = crew.members[0].host;
    for _ in 0..FLAPS {
        for (cut, length_ns) in [(true, AWAY_NS), (false, THERE_NS)] {
            let (up, down) = world.link(flapping);
            (up.weather.cut, down.weather.cut) = (cut, cut);
            crew.run(&mut world, length_ns, live, |_| u64::MAX);
        }
    }
    let figures = crew.figures(&mut world);
    let title = format!("the link of host 0 is away {FLAPS} times for {} ms", AWAY_NS / MILLISECOND);
    report.text += &crew.table(&title, &figures);
    let pause_ns = figures[0].pause_ns;
    report.text += &format!("host 0 stood still for {:.1} ms at most\n", pause_ns as f64 / 1e6);
    report.check(pause_ns >= AWAY_NS, || "host 0 went on without a link".to_owned());
    report.check(pause_ns <= STILL_NS, || format!("host 0 stood still for {pause_ns} ns"));
    for (member, figures) in crew.members.iter().zip(&figures).skip(1) {
        let noticed = figures.pause_ns > 10 * MILLISECOND || figures.retransmitted > 0;
        report.check(!noticed, || format!("{} noticed another host's link", member.name));
    }
    crew.end(&mut world, live, report);
}

fn long(live: Live<'_>, report: &mut Report) {
    let drive = DrivePlan {
        target: 0,
        block: 512,
        blocks: 512,
        volatile: true,
        entries: 1024,
        base_ns: 0,
        jitter_ns: 0,
        mdts: 0,
        read_only: false,
        options: String::new(),
        queues: 64,
    };
    let load = SwarmLoad {
        depth: 8,
        pace_ns: 10 * MILLISECOND,
        blocks: 16,
        writes: 50,
        fua: 5,
        flushes: 2,
        zeroes: 0,
        trims: 0,
    };
    let host = |drive| HostPlan {
        drive,
        mtu: 4200,
        queues: 2,
        entries: 32,
        kato_ms: 5_000,
        remote_invalidate: true,
        ipv6: false,
        load: load.clone(),
    };
    let plan = Plan {
        seed: 27,
        length_ns: 12 * SECOND,
        targets: vec![Site::roomy(1)],
        drives: vec![drive.clone(), drive],
        hosts: vec![host(0), host(1)],
        faults: vec![Fault { at_ns: SECOND, for_ns: LONG_NS, what: What::Partition { host: 0 } }],
    };
    let outcome = swarm::run_live(&plan, |run| {
        let seconds = run.world().now_ns() as f64 / 1e9;
        live(&|| format!("{seconds:.6} s of virtual time, a link away for long"));
    });
    report.text += &format!(
        "\naway for {} s: {} commands, {} reconnects, and every block was what it had to be\n",
        LONG_NS / SECOND,
        outcome.completed,
        outcome.reconnects
    );
    report.check(outcome.reconnects > 0, || "an association outlived its link".to_owned());
    report.check(outcome.finding.is_none(), || outcome.finding.clone().unwrap_or_default());
    report.digest ^= outcome.digest;
}
