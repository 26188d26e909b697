//! How many I/Os the simulator does in a second of real time, on one core, and how that falls as hosts and queues grow.
//! The one scenario whose figures are not the same everywhere; its digest is.

use std::fmt::Write as _;
use std::time::Instant;

use gantry_pipeline::state::Sizes;

use super::crew::{Crew, Load, MILLISECOND, links};
use super::{Live, Report};
use crate::world::Setup;

/// Hosts, queues of each, and commands of each in flight.
const CASES: [(usize, u16, usize); 4] = [(1, 1, 32), (8, 8, 32), (16, 16, 32), (64, 64, 64)];

/// Blocks that a host uses: a drive takes memory for what is written first, and that is no simulated I/O.
const BLOCKS: u64 = 8_192;

/// Commands before the clock starts, and while it runs.
const WARM_UP: u64 = 20_000;
const COUNTED: u64 = 100_000;

pub(super) fn play(live: Live<'_>) -> Report {
    let mut report = Report {
        text: format!(
            "4 KiB, 70 % reads, one lcore, one drive a host\n{:>6}{:>8}{:>6}{:>11}{:>13}{:>12}{:>14}\n",
            "hosts", "queues", "QPs", "in flight", "commands", "seconds", "I/Os a second"
        ),
        ..Report::default()
    };
    for (hosts, queues, depth) in CASES {
        let (commands, seconds) = case(hosts, queues, depth, live, &mut report);
        let _ = writeln!(
            report.text,
            "{hosts:>6}{queues:>8}{:>6}{:>11}{commands:>13}{seconds:>12.3}{:>14.0}",
            hosts * usize::from(queues + 1),
            hosts * depth,
            commands as f64 / seconds
        );
    }
    report
}

/// What a processor has spent on this thread so far, in seconds: of no matter to it is what else the machine does. Where the
/// kernel does not say, real time.
fn spent(begun: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds: Option<f64> = told.as_deref().and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| begun.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// Commands, and the seconds that they took.
fn case(hosts: usize, queues: u16, depth: usize, live: Live<'_>, report: &mut Report) -> (u64, f64) {
    let qps = (hosts * usize::from(queues + 1)) as u32;
    let mut setup = Setup::new(30);
    setup.sizes = Sizes { qps: qps * 2, commands: 16_384, pages: 16_384, ..Sizes::default() };
    for _ in 0..hosts {
        setup = setup.drive("mem:64M");
    }
    let mut world = setup.build();
    let mut crew = Crew::default();
    for drive in 0..hosts {
        let load = Load { drive, queues, depth, length: 4096, reads: 70, blocks: BLOCKS };
        crew.join(&mut world, &format!("host {drive}"), &load, report);
    }
    links(&mut world, 25_000_000_000, 400_000_000_000);
    let done = |crew: &Crew| crew.members.iter().map(|member| member.workload.completed).sum::<u64>();
    let mut go_on = |crew: &mut Crew, wanted: u64| {
        let before = done(crew);
        while done(crew) < before + wanted {
            crew.run(&mut world, MILLISECOND / 10, live, |_| u64::MAX);
        }
        done(crew) - before
    };
    go_on(&mut crew, WARM_UP);
    let begun = Instant::now();
    let before = spent(begun);
    let commands = go_on(&mut crew, COUNTED);
    let seconds = spent(begun) - before;
    crew.end(&mut world, live, report);
    (commands, seconds)
}
