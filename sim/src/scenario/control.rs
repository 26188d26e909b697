//! Control dies again and again while hosts do I/O: the same hosts, with the same load, receive the same frames to the byte
//! as when it lives.

use super::crew::{Crew, Figures, Load, MICROSECOND, MILLISECOND, flash, links};
use super::{Live, Report};
use crate::world::Setup;

const HOSTS: usize = 4;
const LENGTH_NS: u64 = 500 * MILLISECOND;
/// Between two deaths, and how long the next takes to come up.
const EVERY_NS: u64 = 20 * MILLISECOND;
const RESTART_NS: u64 = 10 * MILLISECOND;

pub(super) fn play(live: Live<'_>) -> Report {
    let mut report = Report::default();
    let (lives, same) = run(false, live, &mut report);
    let (dies, digest) = run(true, live, &mut report);
    report.check(same == digest, || "hosts received other frames than without kills".to_owned());
    let longest = |figures: &[Figures]| figures.iter().map(|figures| figures.pause_ns).max().unwrap_or(0);
    let (without_ns, with_ns) = (longest(&lives), longest(&dies));
    report.text += &format!(
        "longest pause of any host: {:.1} us while control lives, {:.1} us while it dies; the frames are the same\n",
        without_ns as f64 / 1e3,
        with_ns as f64 / 1e3
    );
    report.check(with_ns == without_ns, || "a host paused for longer when control died".to_owned());
    report
}

/// Figures, and a digest of what hosts had received until then.
fn run(killed: bool, live: Live<'_>, report: &mut Report) -> (Vec<Figures>, Vec<u64>) {
    let mut setup = Setup::new(28);
    for _ in 0..HOSTS {
        setup = setup.drive("mem:64M");
    }
    let mut world = setup.build();
    let mut crew = Crew::default();
    for drive in 0..HOSTS {
        let load = Load { drive, queues: 1, depth: 4, length: 4096, reads: 70, blocks: 16_384 };
        crew.join(&mut world, &format!("host {drive}"), &load, report);
    }
    flash(&mut world, HOSTS, 200 * MICROSECOND);
    links(&mut world, 25_000_000_000, 100_000_000_000);
    crew.run(&mut world, MILLISECOND, live, |_| u64::MAX);
    crew.begin(&mut world);
    world.target().control_restart_ns = RESTART_NS;
    let mut next_ns = if killed { world.now_ns() } else { u64::MAX };
    crew.run(&mut world, LENGTH_NS, live, |world| {
        if world.now_ns() >= next_ns {
            next_ns += EVERY_NS;
            world.kill_control();
        }
        next_ns
    });
    let kills = world.target().kills;
    let figures = crew.figures(&mut world);
    let title = match killed {
        true => format!("\ncontrol dies {kills} times, every {} ms", EVERY_NS / MILLISECOND),
        false => "control lives".to_owned(),
    };
    report.text += &crew.table(&title, &figures);
    report.check(!killed || kills >= LENGTH_NS / EVERY_NS, || format!("control died {kills} times only"));
    let digests = (0..HOSTS).map(|host| world.digest(host)).collect();
    crew.end(&mut world, live, report);
    (figures, digests)
}
