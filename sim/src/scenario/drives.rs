//! 24 hosts, each on a drive of its own behind one card: everybody gets the same.

use super::crew::{Crew, Load, MICROSECOND, MILLISECOND, flash, links};
use super::{Live, Report};
use crate::world::Setup;

const HOSTS: usize = 24;
const LENGTH_NS: u64 = 20 * MILLISECOND;

/// The slowest host has at least this share of the fastest's IOPS, of 100.
const FAIR: f64 = 90.0;

pub(super) fn play(live: Live<'_>) -> Report {
    let mut report = Report::default();
    let mut setup = Setup::new(24).lcores(2);
    for _ in 0..HOSTS {
        setup = setup.drive("mem:64M");
    }
    let mut world = setup.build();
    let mut crew = Crew::default();
    for drive in 0..HOSTS {
        let load = Load { drive, queues: 2, depth: 8, length: 4096, reads: 70, blocks: 16_384 };
        crew.join(&mut world, &format!("host {drive}"), &load, &mut report);
    }
    flash(&mut world, HOSTS, 80 * MICROSECOND);
    links(&mut world, 25_000_000_000, 100_000_000_000);
    // Until all are under way.
    crew.run(&mut world, MILLISECOND, live, |_| u64::MAX);
    crew.begin(&mut world);
    crew.run(&mut world, LENGTH_NS, live, |_| u64::MAX);
    let figures = crew.figures(&mut world);
    report.text = crew.table("4 KiB, 70 % reads, 8 in flight each; 2 lcores, hosts 25 Gb/s, card 100 Gb/s", &figures);
    let slowest = figures.iter().map(|figures| figures.iops).fold(f64::MAX, f64::min);
    let fastest = figures.iter().map(|figures| figures.iops).fold(0.0, f64::max);
    report.text += &format!("the slowest has {:.1} % of the fastest's IOPS\n", 100.0 * slowest / fastest);
    report.check(slowest * 100.0 >= fastest * FAIR, || "hosts with the same load do not get the same".to_owned());
    crew.end(&mut world, live, &mut report);
    report
}
