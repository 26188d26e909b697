//! How many I/Os the simulator does in a second of real time, on one core, and how that falls as hosts and queues grow.
//! The one scenario whose figures are not the same everywhere; its digest is.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gantry_pipeline::state::Sizes;

use super::crew::{Crew, Load, MILLISECOND, links};
use super::{Live, Report};
use crate::world::Setup;

/// Hosts, queues of each, and commands of each in flight.
const CASES: [(usize, u16, usize); 4] = [(1, 1, 32), (8, 8, 32), (16, 16, 32), (64, 64, 64)];

pub(super) fn play(live: Live<'_>) -> Report {
    let mut report = Report {
        text: format!(
            "4 KiB, 70 % reads, one lcore, one drive a host\n{:>6}{:>8}{:>6}{:>11}{:>13}{:>12}{:>14}\n",
            "hosts", "queues", "QPs", "in flight", "commands", "real s", "I/Os a second"
        ),
        ..Report::default()
    };
    for (hosts, queues, depth) in CASES {
        let (commands, took) = case(hosts, queues, depth, 40_000, live, &mut report);
        let _ = writeln!(
            report.text,
            "{hosts:>6}{queues:>8}{:>6}{:>11}{commands:>13}{:>12.3}{:>14.0}",
            hosts * usize::from(queues + 1),
            hosts * depth,
            took.as_secs_f64(),
            commands as f64 / took.as_secs_f64()
        );
    }
    report
}

/// Commands, and the real time that they took.
fn case(hosts: usize, queues: u16, depth: usize, wanted: u64, live: Live<'_>, report: &mut Report) -> (u64, Duration) {
    let qps = (hosts * usize::from(queues + 1)) as u32;
    let mut setup = Setup::new(30);
    setup.sizes = Sizes { qps: qps * 2, commands: 16_384, pages: 16_384, ..Sizes::default() };
    for _ in 0..hosts {
        setup = setup.drive("mem:64M");
    }
    let mut world = setup.build();
    let mut crew = Crew::default();
    for drive in 0..hosts {
        let load = Load { drive, queues, depth, length: 4096, reads: 70, blocks: 131_072 };
        crew.join(&mut world, &format!("host {drive}"), &load, report);
    }
    links(&mut world, 25_000_000_000, 400_000_000_000);
    crew.run(&mut world, MILLISECOND, live, |_| u64::MAX);
    let begun = Instant::now();
    let done = |crew: &Crew| crew.members.iter().map(|member| member.workload.completed).sum::<u64>();
    let before = done(&crew);
    while done(&crew) < before + wanted {
        crew.run(&mut world, MILLISECOND, live, |_| u64::MAX);
    }
    let figures = (done(&crew) - before, begun.elapsed());
    crew.end(&mut world, live, report);
    figures
}
