//! No packet sees half of a transaction, and a writer that publishes halves is found out.

use gantry_bench::swap::{KINDS, Report, Way, run};

/// Threads that packets run on, beside the writer's.
const LCORES: usize = 2;

fn saw_both_sides(report: &Report) {
    for (seen, kind) in report.seen.iter().zip(KINDS) {
        assert!(seen.one > 10_000 && seen.other > 10_000, "{kind}: {seen:?}");
    }
}

/// So many as GANTRY_SWAPS says, a million if it says nothing.
#[test]
fn no_packet_sees_half_of_a_transaction() {
    let swaps = std::env::var("GANTRY_SWAPS").map_or(1_000_000, |n| n.parse().expect("GANTRY_SWAPS is a number"));
    let report = run(swaps, LCORES, Way::Whole);
    for (seen, kind) in report.seen.iter().zip(KINDS) {
        assert_eq!(seen.half, 0, "{kind}: {seen:?}");
    }
    assert_eq!(report.swaps, swaps);
    saw_both_sides(&report);
}

/// The same with the two tables as two transactions: halves are seen, of every kind of pair.
#[test]
fn a_transaction_in_two_halves_is_found_out() {
    let report = run(1_000_000, LCORES, Way::Halves);
    for (seen, kind) in report.seen.iter().zip(KINDS) {
        assert!(seen.half > 0, "{kind} after {} swaps: {seen:?}", report.swaps);
    }
}
