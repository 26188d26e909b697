//! Bulk loading: entries a second through the writer, and what that costs running traffic.
//!
//! An lcore classifies bursts without a pause while the writer, on another core, inserts into the same table at a pace or does
//! not. Windows with and without make a pair, in random order; behind each the writer takes out again what it put in. In windows
//! without, its thread reads the clock in the same way, so that cores which share power, caches or a hypervisor's thread
//! differ in what happens to tables and in nothing else. A pair in which the kernel kept the writer from its pace, or the
//! lcore from running, is taken again.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use gantry::packet::Tables;
use gantry_table::{EntryIndex, StageError, Writer};
use serde::Serialize;

use crate::lcore::{BURST, Lcore, card, qp, staged};
use crate::machine::{Clock, INTERRUPTED_US, settle};
use crate::numbers::{Median, Numbers, Quartiles};
use crate::traffic::{Frames, qpn};

/// QPs with traffic.
const BUSY_QPS: u32 = 500_000;
/// QPs that the table has room for.
const ROOM: u32 = 1 << 20;
/// Changes of a transaction.
const TRANSACTION: u32 = 256;
/// How often a pair of windows is tried, on average.
const ATTEMPTS: usize = 20;

/// Entries a second, with nobody else in the tables.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rates {
    /// Inserted, from an empty table to a million entries.
    pub inserts: f64,
    /// Other actions for all of them.
    pub modifies: f64,
    /// Removed again.
    pub removes: f64,
}

/// What traffic paid.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Changes a second that the writer made, with traffic beside it.
    pub changes: f64,
    /// Pairs of windows.
    pub pairs: usize,
    /// Busy ticks a packet without changes.
    pub off: Quartiles,
    /// With them.
    pub on: Quartiles,
    /// The difference, per cent of `off`, pair by pair.
    pub percent: Median,
    /// The same with interrupted bursts counted too.
    pub percent_raw: Median,
    /// Share of bursts that were interrupted, in windows without changes and with.
    pub interrupted: [f64; 2],
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The writer alone.
    pub alone: Rates,
    /// A million inserts a second.
    pub paced: Cost,
    /// As many as it can.
    pub unpaced: Cost,
    /// No changes in either window: what this way of measuring says of nothing.
    pub nothing: Cost,
}

/// Measures with so many pairs of windows of so many milliseconds.
#[must_use]
pub fn run(clock: &Clock, pairs: usize, window_ms: u32) -> Report {
    Report {
        alone: alone(clock),
        paced: beside(clock, pairs, window_ms, Pace::Changes(1_000_000)),
        unpaced: beside(clock, pairs, window_ms, Pace::Unbounded),
        nothing: beside(clock, pairs, window_ms, Pace::Changes(0)),
    }
}

fn alone(clock: &Clock) -> Rates {
    let mut writer = Writer::new(1, 5);
    let tables = card(&mut writer, ROOM as usize, 0, 1);
    let mut all = |change: &mut dyn FnMut(&mut Writer, u32) -> Result<EntryIndex, StageError>| {
        let begun = clock.ticks();
        for n in 0..1_000_000 {
            change(&mut writer, n).expect("a table with room");
            if n % TRANSACTION == 0 {
                writer.publish();
                writer.reclaim(2 * TRANSACTION as usize);
            }
        }
        writer.publish();
        while writer.reclaim(4096) > 0 {}
        1e6 * 1e6 / clock.us(clock.ticks() - begun)
    };
    Rates {
        inserts: all(&mut |writer, n| tables.qps.insert(writer, &qp(n).0, &qp(n).1)),
        modifies: all(&mut |writer, n| tables.qps.modify(writer, &qp(n).0, &qp(n ^ 1).1)),
        removes: all(&mut |writer, n| tables.qps.remove(writer, &qp(n).0)),
    }
}

/// How fast the writer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// So many changes a second.
    Changes(u64),
    /// As it can.
    Unbounded,
}

/// Says to the lcore which window is open: 0 for none, `END` to stop.
const END: u64 = u64::MAX;

/// What an lcore did in a window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    number: u64,
    bursts: u64,
    ticks: u64,
    interrupted: u64,
    interrupted_ticks: u64,
}

impl Window {
    fn per_packet(&self) -> f64 {
        self.ticks as f64 / (self.bursts * BURST as u64) as f64
    }

    fn per_packet_raw(&self) -> f64 {
        (self.ticks + self.interrupted_ticks) as f64 / ((self.bursts + self.interrupted) * BURST as u64) as f64
    }
}

/// A window as the writer knows it.
#[derive(Clone, Copy)]
struct Loaded {
    /// Its number, as the lcore has it.
    number: u64,
    /// Whether there were to be changes.
    on: bool,
    changes: u32,
    seconds: f64,
    /// Whether the lcore had the processor for a burst of it.
    ran: bool,
}

fn beside(clock: &Clock, pairs: usize, window_ms: u32, pace: Pace) -> Cost {
    let mut writer = Writer::new(1, 5);
    let tables = card(&mut writer, ROOM as usize, BUSY_QPS, 1);
    let lcore = Lcore::new(&writer, &tables);
    let (open, ran) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut numbers = Numbers::new(17);
    let (windows, loaded) = thread::scope(|scope| {
        let thread = scope.spawn(|| traffic(clock, lcore, &open, &ran));
        settle(1, 2);
        let mut number = 0;
        let mut window = |writer: &mut Writer, on: bool| {
            // The lcore gets its lines back that the writer had.
            thread::sleep(Duration::from_millis(2));
            number += 1;
            open.store(number, Ordering::Relaxed);
            let begun = clock.ticks();
            let until = begun + clock.of_us(f64::from(window_ms) * 1000.0);
            let changes = load(clock, writer, &tables, until, if on { pace } else { Pace::Changes(0) });
            let seconds = clock.us(clock.ticks() - begun) / 1e6;
            open.store(0, Ordering::Relaxed);
            let ran = ran.load(Ordering::Relaxed) == number;
            unload(writer, &tables, changes);
            Loaded { number, on, changes, seconds, ran }
        };
        // For warming up.
        window(&mut writer, false);
        let mut loaded = Vec::new();
        for _ in 0..ATTEMPTS * pairs {
            let first = numbers.below(2) == 0;
            let pair = [first, !first].map(|on| window(&mut writer, on));
            let kept_pace = |window: &Loaded| match pace {
                Pace::Changes(rate) if window.on => {
                    f64::from(window.changes + TRANSACTION) > 0.95 * rate as f64 * window.seconds
                }
                _ => true,
            };
            if pair.iter().all(|window| window.ran && kept_pace(window)) {
                loaded.push(pair);
            }
            if loaded.len() == pairs {
                break;
            }
        }
        open.store(END, Ordering::Relaxed);
        (thread.join().expect("the lcore's thread"), loaded)
    });
    compare(&windows, &loaded)
}

/// What windows with changes cost, beside their twins without.
fn compare(windows: &[Window], loaded: &[[Loaded; 2]]) -> Cost {
    let windows: BTreeMap<u64, &Window> = windows.iter().map(|window| (window.number, window)).collect();
    let of = |loaded: &Loaded| windows[&loaded.number];
    let (mut on, mut off, mut percent, mut raw) = (vec![], vec![], vec![], vec![]);
    let (mut interrupted, mut changes, mut seconds) = ([[0_u64; 2]; 2], 0, 0.0);
    for pair in loaded {
        let [first, second] = pair.each_ref().map(of);
        let (without, with) = if pair[0].on { (second, first) } else { (first, second) };
        off.push(without.per_packet());
        on.push(with.per_packet());
        percent.push(100.0 * (with.per_packet() / without.per_packet() - 1.0));
        raw.push(100.0 * (with.per_packet_raw() / without.per_packet_raw() - 1.0));
        for (sum, window) in interrupted.iter_mut().zip([without, with]) {
            *sum = [sum[0] + window.interrupted, sum[1] + window.bursts + window.interrupted];
        }
        let on = pair.iter().filter(|window| window.on);
        (changes, seconds) = on.fold((changes, seconds), |(n, s), w| (n + u64::from(w.changes), s + w.seconds));
    }
    Cost {
        changes: changes as f64 / seconds,
        pairs: percent.len(),
        off: Quartiles::of(off),
        on: Quartiles::of(on),
        percent: Median::of(percent),
        percent_raw: Median::of(raw),
        interrupted: interrupted.map(|[some, all]| some as f64 / all.max(1) as f64),
    }
}

/// The lcore: bursts of SENDs to random QPs, busy ticks by window.
fn traffic(clock: &Clock, mut lcore: Lcore, open: &AtomicU64, ran: &AtomicU64) -> Vec<Window> {
    settle(0, 2);
    let mut numbers = Numbers::new(23);
    // As many QPs as a burst's worth of memory each: a window goes over all of them some times.
    let mut frames = Frames::sends(512 * BURST);
    frames.readdress(|| qpn(numbers.below(BUSY_QPS)));
    let views = frames.views();
    let mut windows: Vec<Window> = Vec::with_capacity(4096);
    let interrupted = clock.of_us(INTERRUPTED_US);
    let mut bursts = views.chunks_exact(BURST).cycle();
    loop {
        let number = open.load(Ordering::Relaxed);
        if number == END {
            return windows;
        }
        let burst = bursts.next().expect("it never ends");
        let begun = clock.ticks();
        black_box(lcore.run(burst));
        let ticks = clock.ticks() - begun;
        if windows.last().is_none_or(|window| window.number != number) {
            windows.push(Window { number, ..Window::default() });
        }
        let window = windows.last_mut().expect("there is one");
        if ticks > interrupted {
            window.interrupted += 1;
            window.interrupted_ticks += ticks;
        } else {
            window.bursts += 1;
            window.ticks += ticks;
            ran.store(number, Ordering::Relaxed);
        }
    }
}

/// Inserts at a pace until an instant; how many. What is to be inserted is decided by the clock, so that a writer that was put
/// aside catches up.
fn load(clock: &Clock, writer: &mut Writer, tables: &Tables, until: u64, pace: Pace) -> u32 {
    let (begun, mut made) = (clock.ticks(), 0);
    loop {
        let now = clock.ticks();
        let due = match pace {
            Pace::Changes(rate) => (clock.us(now - begun) * rate as f64 / 1e6) as u32,
            Pace::Unbounded => u32::MAX,
        };
        if now >= until || BUSY_QPS + made + TRANSACTION > ROOM {
            return made;
        }
        if due >= made + TRANSACTION {
            for _ in 0..TRANSACTION {
                let (key, action) = qp(BUSY_QPS + made);
                staged(writer, |writer| tables.qps.insert(writer, &key, &action));
                made += 1;
            }
            writer.publish();
            writer.reclaim(2 * TRANSACTION as usize);
        } else {
            clock.cpu.pause();
        }
    }
}

fn unload(writer: &mut Writer, tables: &Tables, made: u32) {
    for n in 0..made {
        staged(writer, |writer| tables.qps.remove(writer, &qp(BUSY_QPS + n).0));
        if n % TRANSACTION == 0 {
            writer.publish();
            writer.reclaim(2 * TRANSACTION as usize);
        }
    }
    writer.publish();
    while writer.unsettled() > 0 {
        writer.reclaim(4096);
    }
}
