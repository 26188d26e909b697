//! What loss, queue depth and distance leave of a link: goodput of one host, in virtual time and from fixed seeds.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gantry_pipeline::state::Sizes;
use gantry_pipeline::tables::mix;

use super::crew::{BLOCK, SECOND, links};
use super::{Live, Report};
use crate::workload::{Plan, Workload};
use crate::world::{Setup, World, nqn};

/// The host's link.
const LINK_BPS: u64 = 25_000_000_000;
/// Bytes of a command.
const LENGTH: u32 = 64 << 10;

/// Frames lost, of 10,000, and commands that make a figure of them.
const LOSSES: [(u32, u64); 4] = [(0, 100), (1, 1_000), (10, 500), (100, 1_000)];
const DEPTHS: [usize; 3] = [1, 8, 32];
const ROUND_TRIPS_NS: [u64; 3] = [10_000, 100_000, 1_000_000];

/// One figure's conditions.
#[derive(Clone, Copy, Debug)]
struct Case {
    reads: bool,
    loss: u32,
    commands: u64,
    depth: usize,
    round_trip_ns: u64,
}

/// What came of it.
struct Cell {
    gbps: f64,
    digest: u64,
    wrong: Option<String>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for reads in [true, false] {
        for (loss, commands) in LOSSES {
            for round_trip_ns in ROUND_TRIPS_NS {
                for depth in DEPTHS {
                    cases.push(Case { reads, loss, commands, depth, round_trip_ns });
                }
            }
        }
    }
    cases
}

impl Case {
    fn run(self) -> Cell {
        let mut setup = Setup::new(29).drive("mem:64M");
        setup.sizes = Sizes { qps: 8, commands: 256, pages: 2048, ..setup.sizes };
        let mut world = setup.build();
        let host = world.add_host();
        let mut wrong = world.connect(host, &nqn(0)).err().map(|error| error.to_string());
        links(&mut world, LINK_BPS, 0);
        let (up, down) = world.link(host);
        for weather in [&mut up.weather, &mut down.weather] {
            weather.delay_ns = self.round_trip_ns / 2;
            weather.loss = self.loss;
        }
        let mut workload = Workload::new(Plan {
            nsid: 1,
            blocks: 131_072,
            block_size: BLOCK,
            queues: 1,
            depth: self.depth,
            lengths: vec![LENGTH],
            reads: if self.reads { 100 } else { 0 },
            seed: 1,
        });
        workload.turn(world.host(host));
        // Until the depth is filled with what was submitted one by one.
        let filled = 2 * self.depth as u64;
        let mut done = until(&mut world, host, &mut workload, filled);
        let (begun_ns, before) = (world.now_ns(), workload.bytes_read + workload.bytes_written);
        done &= until(&mut world, host, &mut workload, filled + self.commands);
        let bits = (workload.bytes_read + workload.bytes_written - before) * 8;
        if !done {
            wrong = wrong.or(Some(format!("{} commands of {}", workload.completed, self.commands)));
        }
        wrong = wrong.or(workload.errors.first().cloned());
        wrong = wrong.or(world.host(host).violations().first().map(|violation| format!("{violation:?}")));
        let gbps = bits as f64 / (world.now_ns() - begun_ns) as f64;
        Cell { gbps, digest: world.digest(host), wrong: wrong.map(|wrong| format!("{self:?}: {wrong}")) }
    }
}

/// Whether so many commands have ended well.
fn until(world: &mut World, host: usize, workload: &mut Workload, commands: u64) -> bool {
    world.run_until(60 * SECOND, |world| {
        while world.next_stirred().is_some() {
            workload.turn(world.host(host));
        }
        workload.completed >= commands || !workload.errors.is_empty()
    })
}

/// Every figure, with as many threads as there are processors: none knows of another.
fn measure() -> Vec<Cell> {
    let cases = cases();
    let cells: Vec<Mutex<Option<Cell>>> = cases.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { return };
            *cells[at].lock().expect("nobody panics with it") = Some(case.run());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let taken = cells.into_iter().map(|cell| cell.into_inner().expect("nobody panics with it"));
    taken.map(|cell| cell.expect("every case was run")).collect()
}

pub(super) fn play(live: Live<'_>) -> Report {
    live(&|| format!("{} figures", cases().len()));
    let cells = measure();
    Report {
        text: table(&cells),
        wrong: cells.iter().filter_map(|cell| cell.wrong.clone()).collect(),
        digest: cells.iter().fold(0, |digest, cell| mix(digest ^ cell.digest)),
    }
}

fn table(cells: &[Cell]) -> String {
    let mut text = format!(
        "Goodput in Gb/s of one host: commands of {} KiB, path MTU 4096, link {} Gb/s, one lcore, loss both ways.\n\
         In virtual time: it says what the protocol makes of a link, not what a processor can do.\n",
        LENGTH >> 10,
        LINK_BPS / 1_000_000_000
    );
    let mut cells = cells.iter();
    for reads in ["reads", "writes"] {
        let _ = write!(text, "\n{:<9}", reads);
        for round_trip_ns in ROUND_TRIPS_NS {
            let _ = write!(text, "|{:>21}", format!("round trip {} us", round_trip_ns / 1_000));
        }
        let _ = write!(text, "\n{:<9}", "loss");
        for _ in ROUND_TRIPS_NS {
            text.push('|');
            for depth in DEPTHS {
                let _ = write!(text, "{:>7}", format!("QD {depth}"));
            }
        }
        text.push('\n');
        for (loss, _) in LOSSES {
            let _ = write!(text, "{:<9}", format!("{} %", f64::from(loss) / 100.0));
            for _ in ROUND_TRIPS_NS {
                text.push('|');
                for cell in cells.by_ref().take(DEPTHS.len()) {
                    let _ = write!(text, "{:>7.3}", cell.gbps);
                }
            }
            text.push('\n');
        }
    }
    text
}
