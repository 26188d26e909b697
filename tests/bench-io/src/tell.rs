//! Reports as tables for people.

use std::fmt::Write;

use gantry_bench::numbers::{Median, Quartiles};
use gantry_bench_io::aims::{Aim, Projection};
use gantry_bench_io::apart::Apart;
use gantry_bench_io::churn::{Churned, Spread};
use gantry_bench_io::machine::Machine;
use gantry_bench_io::reference::References;
use gantry_bench_io::report::Alternated;
use gantry_bench_io::sides::Sides;

/// What it was measured on.
pub(crate) fn machine(machine: &Machine) -> String {
    let Machine { processor, processors, ticks_per_us, caches, kernel, dpdk, tunables, crc, load, .. } = machine;
    let virtual_machine = if machine.virtual_machine { ", in a virtual machine" } else { "" };
    let pages = if machine.hugepages { "hugepages" } else { "no hugepages" };
    let tunables = if tunables.is_empty() { String::new() } else { format!(" ({tunables})") };
    format!(
        "{processor}, {processors} processors{virtual_machine}; a cycle is a tick of {ticks_per_us:.0} a us; {}\n\
         Linux {kernel}, {dpdk}, {pages}{tunables}, CRC by {crc}; load {load} when it began",
        caches.join(", ")
    )
}

/// The alternating mode's first lines.
pub(crate) const ALTERNATED: &str = "\
One core: hosts, drives and lcore in turn. Busy cycles of the lcore an I/O: median of windows, over that of the base case (read 4 KiB) just
before and after (~ where those differ by more than a tenth), 95 % interval, quartiles; a busy poll's median, the longest over it; frames an I/O; bytes copied; payload over wire bytes in its direction and in both; windows
that count, and those dropped: preempted + long poll + repeated frames.
case                        cycles/IO /base          95 %      quartiles   poll worst polls/IO burst rx/IO tx/IO copied payload   both windows";

/// A case of it.
pub(crate) fn alternated(measured: &Alternated) -> String {
    let Alternated { case, cycles, quartiles, .. } = measured;
    let stages = measured.stages.iter().flatten().zip(0..).fold(String::new(), |mut line, (cycles, stage)| {
        let _ = write!(line, "{}s{stage} {cycles:.0}", if stage == 0 { "\n    " } else { "  " });
        line
    });
    format!(
        "{:<26} {:>10.0} {:>5.2}{} {:>12} {:>14} {:>6.0} {:>5.1} {:>8.3} {:>5.1} {:>5.2} {:>5.2} {:>6.0} {:>6.1}% {:>5.1}% {:>5} ({}+{}+{}){stages}",
        case.name,
        cycles.median,
        measured.over_base,
        if measured.steady { ' ' } else { '~' },
        format!("{:.0}-{:.0}", cycles.from, cycles.to),
        format!("{:.0}-{:.0}", quartiles.low, quartiles.high),
        measured.poll,
        measured.longest_poll,
        measured.polls_per_io,
        measured.rx_burst,
        measured.rx_frames_per_io,
        measured.tx_frames_per_io,
        measured.bytes_copied_per_io,
        100.0 * measured.payload_share,
        100.0 * measured.payload_share_both,
        measured.windows,
        measured.dropped_preempted,
        measured.dropped_long_poll,
        measured.dropped_repeated
    )
}

/// The references' first lines.
pub(crate) const REFERENCES: &str = "\
References, in turns with the cases: cycles, median (quartiles). CRC with one copy of an I/O's payload, a frame at a time: the same
bytes again, bytes just written on this core 32 I/Os at a time (as in the cases), bytes in no cache; the driver and the drive alone.
 bytes        CRC+copy warm             in place                 cold         driver alone          drive alone";

fn quartiles(of: &Quartiles) -> String {
    format!("{:.0} ({:.0}-{:.0})", of.median, of.low, of.high)
}

/// References.
pub(crate) fn references(references: &References) -> String {
    let mut out = String::new();
    for (copies, local) in references.copies.iter().zip(&references.local) {
        let columns = [&copies.warm, &copies.in_place, &copies.cold, &local.driver, &local.drive].map(quartiles);
        let [warm, in_place, cold, driver, drive] = columns;
        let _ = writeln!(out, "{:>6} {warm:>20} {in_place:>20} {cold:>20} {driver:>20} {drive:>20}", copies.length);
    }
    let frame = |of: &Quartiles| format!("{:.1} ({:.1}-{:.1})", of.median, of.low, of.high);
    let References { tx_frame, rx_frame, timestamp, clock, .. } = references;
    let [tx, rx, timestamp, clock] = [tx_frame, rx_frame, timestamp, clock].map(frame);
    let _ = write!(out, "a frame's tx_burst {tx}, rx_burst {rx}; timestamp counter {timestamp}, clock {clock}");
    out
}

/// Two cores' first lines.
pub(crate) const APART: &str = "\
Two cores: lcore and drive on one, hosts on the other. I/Os a second: median of windows (quartiles), and of all of them; latency in us as hosts see
it, their own work included: p50 / p99 / p99.9; added: from the request's frame in the ring to the response out of it, less the drive's time.
case                              I/Os a second (quartiles)  of all                  latency                 added  windows (dropped)";

fn shares(of: &[f64; 3]) -> String {
    format!("{:.1} / {:.1} / {:.1}", of[0], of[1], of[2])
}

/// A case of two cores.
pub(crate) fn apart(measured: &Apart) -> String {
    format!(
        "{:<28} {:>30} {:>7.0} {:>24} {:>21} {:>8} ({})",
        measured.case.name,
        quartiles(&measured.ios_per_second),
        measured.mean_ios_per_second,
        shares(&measured.latency_us),
        measured.added_us.as_ref().map_or_else(|| "-".to_owned(), shares),
        measured.windows,
        measured.dropped
    )
}

/// Two lcores' first line.
pub(crate) const SIDES: &str =
    "Two lcores of one data plane, each with hosts and a drive of its own on its core: busy cycles an I/O, read 4 KiB";

/// Two lcores.
pub(crate) fn sides(measured: &Sides) -> String {
    let median = |of: &Median| format!("{:.0} ({:.0}-{:.0})", of.median, of.from, of.to);
    let Sides { pairs, dropped, alone, both, scale } = measured;
    format!(
        "one alone {}; both {} and {}; two do {:.2} ({:.2}-{:.2}) times as much as one; {pairs} pairs of windows ({dropped} dropped)",
        median(alone),
        median(&both[0]),
        median(&both[1]),
        scale.median,
        scale.low,
        scale.high
    )
}

/// QPs that come and go: first lines.
pub(crate) const CHURNED: &str = "\
QPs come and go beside reads of 4 KiB, 8 in flight on 16 QPs, one core. In us of the lcore's own time, median / 99 % / most: a poll that changes no QP;
what a QP's creation and end add to their poll, and any change to its; the others' latency without and beside it; a QP all told.";

fn spread(of: &Spread) -> String {
    if of.count == 0 {
        return "too few to tell".to_owned();
    }
    format!("{:.2} / {:.2} / {:.2}", of.p50, of.p99, of.worst)
}

/// A crowd.
pub(crate) fn churned(measured: &Churned) -> String {
    let Churned { crowd, poll, create, destroy, change, latency, latency_beside, .. } = measured;
    format!(
        "{}: {:.0} created a second, as many destroyed\n    poll {}; create {} ({}); destroy {} ({}); any change {} ({})\n    \
         latency without {}, beside {}; each QP {:.1}; {} chunks ({} dropped)",
        crowd.name,
        measured.creates_per_second,
        spread(poll),
        spread(create),
        create.count,
        spread(destroy),
        destroy.count,
        spread(change),
        change.count,
        spread(latency),
        spread(latency_beside),
        measured.each,
        measured.chunks,
        measured.dropped
    )
}

/// The projection's first lines.
pub(crate) const PROJECTION: &str = "\
Projected from these cycles: a core's whole time, bursts as in the case, no NIC's PMD; cores for a link that is full of it
case                        I/Os a core  payload Gb/s a core   100 Gb/s   200 Gb/s   400 Gb/s";

/// A case projected.
pub(crate) fn projection(projection: &Projection) -> String {
    let Projection { case, ios_per_core, payload_gbps_per_core, cores: [one, two, four] } = projection;
    format!("{case:<26} {ios_per_core:>12.0} {payload_gbps_per_core:>20.1} {one:>10.1} {two:>10.1} {four:>10.1}")
}

/// The aims' first line.
pub(crate) const AIMS: &str = "Aims";

/// An aim.
pub(crate) fn aim(aim: &Aim) -> String {
    let limit = format!("{} {}", if aim.at_least { ">=" } else { "<=" }, aim.limit);
    let measured = aim.measured.map_or_else(|| "not measured".to_owned(), |measured| format!("{measured:.2}"));
    let met = match aim.met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "",
    };
    format!("{:<58} {limit:>8} {measured:>14}  {met}", aim.aim)
}
