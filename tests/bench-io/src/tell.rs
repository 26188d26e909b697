//! Reports as tables for people.

use gantry_bench_io::report::Alternated;

/// The alternating mode's first lines.
pub(crate) const ALTERNATED: &str = "\
Busy cycles of the lcore an I/O: median of windows, its 95 % interval, quartiles. Host, drive and lcore take turns on one core.
case                         cycles/IO          95 %      quartiles   poll  worst  polls/IO burst rx/IO tx/IO copied  payload  windows (dropped)";

/// A case of it.
pub(crate) fn alternated(measured: &Alternated) -> String {
    let Alternated { case, cycles, quartiles, .. } = measured;
    format!(
        "{:<26} {:>11.0} {:>13} {:>14} {:>6.0} {:>6.1} {:>9.3} {:>5.1} {:>5.2} {:>5.2} {:>6.0} {:>6.1} % {:>8} ({}+{}+{})",
        case.name,
        cycles.median,
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
        measured.windows,
        measured.dropped_preempted,
        measured.dropped_long_poll,
        measured.dropped_repeated
    )
}
