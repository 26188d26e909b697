//! Many hosts write at once to one card, over a link that is narrower than all of theirs: the switch's queue fills. With PFC
//! it pauses senders and nothing is lost; without, frames are dropped and RoCE sends again from the gap on, or after a timeout
//! when the last ones are gone. Every command must end well all the same.

use super::crew::{Crew, Figures, Load, MILLISECOND, links};
use super::{Live, Report};
use crate::network::{Counters, Queue};
use crate::world::Setup;

const HOSTS: usize = 16;
const LENGTH_NS: u64 = 50 * MILLISECOND;
const HOST_BPS: u64 = 25_000_000_000;
const CARD_BPS: u64 = 10_000_000_000;

/// Bytes that the switch holds for the card.
const QUEUE: u64 = 128 << 10;

/// Share of the narrow link that data must fill when nothing is lost, of 100.
const FILLED: f64 = 85.0;

pub(super) fn play(live: Live<'_>) -> Report {
    let mut report = Report::default();
    let (with, dropped) = run(true, live, &mut report);
    report.check(dropped.queue_dropped == 0, || format!("PFC, and {} frames were dropped", dropped.queue_dropped));
    let filled = with.iter().map(|figures| figures.megabytes).sum::<f64>() * 8e8 / CARD_BPS as f64;
    report.check(filled >= FILLED, || format!("with PFC data fill {filled:.1} % of the link"));
    let resent: u64 = with.iter().map(|figures| figures.retransmitted).sum();
    report.check(resent == 0, || format!("nothing was lost, and {resent} packets were sent again"));
    let (without, dropped) = run(false, live, &mut report);
    report.check(dropped.queue_dropped > 0, || "without PFC nothing was dropped: no incast".to_owned());
    let starved = without.iter().filter(|figures| figures.iops == 0.0).count();
    let resent: u64 = without.iter().map(|figures| figures.retransmitted).sum();
    report.text +=
        &format!("{resent} packets sent again, {starved} hosts not served at all; there is no congestion control\n");
    report
}

fn run(pfc: bool, live: Live<'_>, report: &mut Report) -> (Vec<Figures>, Counters) {
    let mut setup = Setup::new(26);
    for _ in 0..HOSTS {
        setup = setup.drive("mem:64M");
    }
    let mut world = setup.build();
    let mut crew = Crew::default();
    for drive in 0..HOSTS {
        let load = Load { drive, queues: 1, depth: 16, length: 4096, reads: 0, blocks: 16_384 };
        crew.join(&mut world, &format!("host {drive}"), &load, report);
    }
    links(&mut world, HOST_BPS, CARD_BPS);
    let station = world.target_station(0);
    world.network().link(station).1.queue = Queue { bytes: QUEUE, pfc, ..Queue::OPEN };
    crew.run(&mut world, MILLISECOND, live, |_| u64::MAX);
    crew.begin(&mut world);
    crew.run(&mut world, LENGTH_NS, live, |_| u64::MAX);
    let figures = crew.figures(&mut world);
    let counters = world.network().link(station).1.counters;
    let title = format!(
        "{}: {HOSTS} hosts of 25 Gb/s write 4 KiB, 16 in flight each, over 10 Gb/s and a queue of {} KiB",
        if pfc { "with PFC" } else { "\nwithout PFC" },
        QUEUE >> 10
    );
    report.text += &crew.table(&title, &figures);
    let all: f64 = figures.iter().map(|figures| figures.megabytes).sum();
    let filled = all * 8e8 / CARD_BPS as f64;
    let dropped = counters.queue_dropped;
    report.text += &format!("{all:.1} MB/s in all, {filled:.1} % of the narrow link; {dropped} frames dropped\n");
    crew.end(&mut world, live, report);
    (figures, counters)
}
