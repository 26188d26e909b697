//! One update: from the writer's first step to the moment when every lcore has looked up what is new.
//!
//! Lcores take bursts through parser and control all the time; the last packet of each is for the QP whose entry changes. The
//! reference is a flag: one atomic that the same lcores look at behind every burst, which is the least that telling
//! them something can take. Where there are fewer processors than threads, lcores and writer pass theirs on behind every burst:
//! else the figures were those of the kernel's time slices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gantry::packet;
use gantry_table::Writer;
use serde::Serialize;

use crate::lcore::{BURST, Lcore, card, qp, staged};
use crate::machine::{Clock, INTERRUPTED_US, processors, settle};
use crate::numbers::{Numbers, Percentiles};
use crate::traffic::{Frames, qpn};

/// QPs in the table; the last is the one that changes.
const QPS: u32 = 100_000;

/// What was measured with so many lcores.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ways {
    /// Threads that packets ran on, beside the writer's.
    pub lcores: usize,
    /// Whether every thread had a processor of its own.
    pub own_processors: bool,
    /// An entry, microseconds.
    pub entry: Percentiles,
    /// The flag.
    pub flag: Percentiles,
    /// The entry, of those updates during which neither the writer nor an lcore was interrupted.
    pub entry_undisturbed: Percentiles,
    /// The flag.
    pub flag_undisturbed: Percentiles,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// By the number of lcores.
    pub ways: Vec<Ways>,
}

/// Measures so many updates with one and with two lcores, or as many as a time allows.
#[must_use]
pub fn run(clock: &Clock, updates: u32, at_most: Duration) -> Report {
    Report { ways: [1, 2].map(|lcores| ways(clock, lcores, updates, at_most)).into() }
}

/// What an lcore says; on lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Says {
    /// The last entry that it has looked up, and the flag that it has seen, with the instants.
    entry: AtomicU64,
    entry_at: AtomicU64,
    flag: AtomicU64,
    flag_at: AtomicU64,
    /// How often it was interrupted.
    interrupted: AtomicU64,
}

/// What the writer says; on lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Asks {
    flag: AtomicU64,
    done: AtomicBool,
    /// Lcores that take bursts.
    running: AtomicU64,
}

fn ways(clock: &Clock, lcores: usize, updates: u32, at_most: Duration) -> Ways {
    let mut writer = Writer::new(lcores, 5);
    let tables = card(&mut writer, QPS as usize, QPS, lcores);
    let says: Vec<Says> = (0..lcores).map(|_| Says::default()).collect();
    let asks = Asks::default();
    let own_processors = lcores < processors().len();
    let measured = thread::scope(|scope| {
        for (at, says) in says.iter().enumerate() {
            let lcore = Lcore::new(&writer, &tables);
            let asks = &asks;
            scope.spawn(move || {
                settle(at, lcores + 1);
                watch(clock, lcore, says, asks, own_processors);
            });
        }
        settle(lcores, lcores + 1);
        while asks.running.load(Ordering::Relaxed) < lcores as u64 {
            thread::yield_now();
        }
        let wait = |seen: fn(&Says) -> &AtomicU64, value: u64| {
            for says in &says {
                while seen(says).load(Ordering::Acquire) != value {
                    if own_processors { clock.cpu.pause() } else { thread::yield_now() }
                }
            }
        };
        let interrupted = || says.iter().map(|says| says.interrupted.load(Ordering::Relaxed)).sum::<u64>();
        let limit = clock.of_us(INTERRUPTED_US);
        let (mut numbers, begun) = (Numbers::new(29), Instant::now());
        // Instants from the first step on, and whether nobody was interrupted meanwhile.
        let (mut entries, mut flags) = (Vec::new(), Vec::new());
        let key = qp(QPS - 1).0;
        for update in 1..=u64::from(updates) {
            if begun.elapsed() > at_most {
                break;
            }
            for flagged in [update % 2 == 0, update % 2 != 0] {
                // So that an update begins anywhere in a burst.
                let until = clock.ticks() + u64::from(numbers.below(clock.of_us(20.0) as u32));
                while clock.ticks() < until {
                    clock.cpu.pause();
                }
                let before = interrupted();
                let begun = clock.ticks();
                if flagged {
                    asks.flag.store(update, Ordering::Release);
                } else {
                    let action = packet::QpsAction::ToQp { lcore: 0, qp: QPS + update as u32 };
                    staged(&mut writer, |writer| tables.qps.modify(writer, &key, &action));
                    writer.publish();
                }
                let told = clock.ticks();
                if flagged {
                    wait(|says| &says.flag, update)
                } else {
                    wait(|says| &says.entry, update)
                }
                let at = |says: &Says| if flagged { &says.flag_at } else { &says.entry_at }.load(Ordering::Relaxed);
                let last = says.iter().map(at).max().expect("an lcore");
                let undisturbed = told - begun < limit && interrupted() == before;
                let list = if flagged { &mut flags } else { &mut entries };
                list.push((clock.us(last.saturating_sub(begun)), undisturbed));
                writer.reclaim(64);
            }
        }
        asks.done.store(true, Ordering::Relaxed);
        [entries, flags]
    });
    let [entry, flag] = measured.each_ref().map(|list| Percentiles::of(list.iter().map(|(us, _)| *us).collect()));
    let [entry_undisturbed, flag_undisturbed] = measured.map(|list| {
        Percentiles::of(list.into_iter().filter(|(_, undisturbed)| *undisturbed).map(|(us, _)| us).collect())
    });
    Ways { lcores, own_processors, entry, flag, entry_undisturbed, flag_undisturbed }
}

/// An lcore: bursts, of which the last packet is for the QP that changes.
fn watch(clock: &Clock, mut lcore: Lcore, says: &Says, asks: &Asks, own_processor: bool) {
    let mut numbers = Numbers::new(31);
    let mut frames = Frames::sends(128 * BURST);
    let mut at = 0;
    frames.readdress(|| {
        at += 1;
        qpn(if at % BURST == 0 { QPS - 1 } else { numbers.below(QPS - 1) })
    });
    let views = frames.views();
    let limit = clock.of_us(INTERRUPTED_US);
    asks.running.fetch_add(1, Ordering::Relaxed);
    let (mut entry, mut flag, mut last) = (0, 0, clock.ticks());
    for burst in views.chunks_exact(BURST).cycle() {
        let packets = lcore.run(burst);
        let found = packets[BURST - 1].metadata.qp.saturating_sub(QPS);
        let asked = asks.flag.load(Ordering::Acquire);
        let now = clock.ticks();
        if now - last > limit {
            says.interrupted.fetch_add(1, Ordering::Relaxed);
        }
        last = now;
        if found != entry {
            entry = found;
            says.entry_at.store(now, Ordering::Relaxed);
            says.entry.store(entry.into(), Ordering::Release);
        }
        if asked != flag {
            flag = asked;
            says.flag_at.store(now, Ordering::Relaxed);
            says.flag.store(flag, Ordering::Release);
        }
        if asks.done.load(Ordering::Relaxed) {
            return;
        }
        if !own_processor {
            thread::yield_now();
        }
    }
}
