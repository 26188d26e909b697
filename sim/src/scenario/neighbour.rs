//! One host floods a card with all that it has; what others notice. There are no quotas by host yet, so this reports and
//! sets no bound but that everybody is served.

use super::crew::{Crew, Figures, Load, MICROSECOND, MILLISECOND, flash, links};
use super::{Live, Report};
use crate::world::Setup;

const QUIET: usize = 4;
const LENGTH_NS: u64 = 20 * MILLISECOND;

pub(super) fn play(live: Live<'_>) -> Report {
    let mut report = Report::default();
    let mut setup = Setup::new(25);
    for _ in 0..=QUIET {
        setup = setup.drive("mem:64M");
    }
    let mut world = setup.build();
    let mut crew = Crew::default();
    for drive in 0..QUIET {
        let load = Load { drive, queues: 1, depth: 2, length: 4096, reads: 70, blocks: 16_384 };
        crew.join(&mut world, &format!("quiet {drive}"), &load, &mut report);
    }
    let load = Load { drive: QUIET, queues: 4, depth: 256, length: 131_072, reads: 50, blocks: 131_072 };
    crew.join(&mut world, "noisy", &load, &mut report);
    flash(&mut world, QUIET + 1, 80 * MICROSECOND);
    links(&mut world, 100_000_000_000, 100_000_000_000);
    crew.members[QUIET].active = false;
    let alone = phase(&mut crew, &mut world, live);
    report.text = crew.table("alone: 4 KiB, 70 % reads, 2 in flight each", &alone);
    crew.members[QUIET].active = true;
    let with = phase(&mut crew, &mut world, live);
    report.text += &crew.table("\nwith a host that keeps 256 commands of 128 KiB in flight", &with);
    let p99 = |figures: &Figures| figures.latencies.quantile_ns(0.99) as f64 / 1e3;
    let worst = |figures: &[Figures]| figures[..QUIET].iter().map(p99).fold(0.0, f64::max);
    report.text += &format!(
        "p99 of the quiet hosts at worst: {:.1} us alone, {:.1} us with the noisy one; there are no quotas yet\n",
        worst(&alone),
        worst(&with)
    );
    for (member, figures) in crew.members.iter().zip(&with) {
        report.check(figures.iops > 0.0, || format!("{} was not served at all", member.name));
    }
    crew.end(&mut world, live, &mut report);
    report
}

fn phase(crew: &mut Crew, world: &mut crate::world::World, live: Live<'_>) -> Vec<Figures> {
    crew.run(world, 2 * MILLISECOND, live, |_| u64::MAX);
    crew.begin(world);
    crew.run(world, LENGTH_NS, live, |_| u64::MAX);
    crew.figures(world)
}
