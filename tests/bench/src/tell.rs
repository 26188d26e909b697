//! Reports as tables for people.

use std::fmt::Write;

use gantry_bench::numbers::{Median, Percentiles, Quartiles};
use gantry_bench::swap::KINDS;
use gantry_bench::swx::Swx;
use gantry_bench::{bulk, classify, swap, visible};

/// A line; writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($what:tt)*) => {{ let _ = writeln!($out, $($what)*); }};
}

fn quartiles(of: &Quartiles) -> String {
    format!("{:.0} ({:.0}-{:.0})", of.median, of.low, of.high)
}

/// `classify`.
pub(crate) fn classify(report: &classify::Report) -> String {
    let mut out = String::new();
    line!(
        out,
        "classify: ticks a packet, median (quartiles) of {} rounds; {:.0} ticks a us",
        report.rounds,
        report.ticks_per_us
    );
    line!(
        out,
        "{:>9} {:>5} {:>15} {:>15} {:>15} {:>19} {:>18} {:>18}",
        "QPs",
        "rules",
        "generated",
        "its parser",
        "by hand",
        "generated/by hand",
        "cold: generated",
        "by hand"
    );
    for size in &report.sizes {
        let ratio = format!("{:.2} ({:.2}-{:.2})", size.ratio.median, size.ratio.low, size.ratio.high);
        line!(
            out,
            "{:>9} {:>5} {:>15} {:>15} {:>15} {ratio:>19} {:>18} {:>18}",
            size.qps,
            size.rules,
            quartiles(&size.generated),
            quartiles(&size.parser),
            quartiles(&size.by_hand),
            quartiles(&size.cold),
            quartiles(&size.cold_by_hand)
        );
    }
    if report.sizes.iter().all(|size| size.swx.is_none()) {
        line!(out, "SWX was not measured: it needs DPDK, and `cargo xtask bench` to build it");
    }
    for size in &report.sizes {
        match &size.swx {
            Some(Swx::Measured { before, after, ratio }) => {
                line!(out, "{:>9} SWX: {before:.0} before, {after:.0} after; generated/SWX {ratio:.2}", size.qps);
            }
            Some(Swx::Failed(error)) => line!(out, "{:>9} SWX: {error}", size.qps),
            None => {}
        }
    }
    out
}

fn median(of: &Median) -> String {
    format!("{:+.2} % ({:+.2} to {:+.2})", of.median, of.from, of.to)
}

/// `bulk`.
pub(crate) fn bulk(report: &bulk::Report) -> String {
    let mut out = String::new();
    let rates = &report.alone;
    line!(
        out,
        "bulk: a million entries, {:.1} million inserts a second, {:.1} modifications, {:.1} removals",
        rates.inserts / 1e6,
        rates.modifies / 1e6,
        rates.removes / 1e6
    );
    line!(out, "cost to an lcore: busy ticks a packet, median of pairs (95 % interval)");
    let all = [("1 M/s", &report.paced), ("unpaced", &report.unpaced), ("nothing", &report.nothing)];
    for (name, cost) in all {
        line!(
            out,
            "{name:>9}: {:.2} M/s, {} pairs: {}; off {}, on {}; with interrupted bursts {}; interrupted {:.3} % off, {:.3} % on",
            cost.changes / 1e6,
            cost.pairs,
            median(&cost.percent),
            quartiles(&cost.off),
            quartiles(&cost.on),
            median(&cost.percent_raw),
            100.0 * cost.interrupted[0],
            100.0 * cost.interrupted[1]
        );
    }
    out
}

fn percentiles(of: &Percentiles) -> String {
    format!("{:.1} / {:.1} / {:.0} of {}", of.p50, of.p99, of.max, of.count)
}

/// `visible`.
pub(crate) fn visible(report: &visible::Report) -> String {
    let mut out = String::new();
    line!(out, "visible: one update until every lcore has looked it up, us: p50 / p99 / longest of how many");
    for ways in &report.ways {
        let own = if ways.own_processors { "a processor each" } else { "fewer processors than threads" };
        line!(out, "{} lcores and the writer, {own}", ways.lcores);
        let rows = [
            ("entry", &ways.entry),
            ("flag", &ways.flag),
            ("entry, nobody interrupted", &ways.entry_undisturbed),
            ("flag, nobody interrupted", &ways.flag_undisturbed),
        ];
        for (name, row) in rows {
            line!(out, "{name:>28}: {}", percentiles(row));
        }
    }
    out
}

/// `swap`.
pub(crate) fn swap(report: &swap::Report) -> String {
    let mut out = String::new();
    let swap::Report { swaps, lcores, bursts, seen, seconds } = report;
    line!(out, "swap: {swaps} transactions in {seconds:.1} s, {bursts} bursts on {lcores} lcores");
    for (kind, seen) in KINDS.iter().zip(seen) {
        line!(
            out,
            "{kind:>14}: {} packets saw one side, {} the other, {} half of a swap",
            seen.one,
            seen.other,
            seen.half
        );
    }
    out
}
