//! The benchmarks' command line.

#![forbid(unsafe_code)]

mod tell;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use gantry_bench::machine::{Clock, processors};
use gantry_bench::swap::Way;
use gantry_bench::{bulk, classify, swap, visible};
use serde::Serialize;

#[derive(Parser)]
#[command(
    name = "gantry-bench",
    about = "What packets and table updates cost, each beside a reference in the same run"
)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// As one JSON object instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Fewer rounds: some seconds instead of a minute.
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Subcommand)]
enum Bench {
    /// Parse and control: ticks a packet, beside the same by hand and DPDK's SWX pipeline.
    Classify {
        /// DPDK's pipeline: a program that measures the same and says what it found as a line of JSON.
        #[arg(long, value_name = "PROGRAM")]
        swx: Option<PathBuf>,
    },
    /// Inserts, modifications and removals a second, and what they cost running traffic.
    Bulk,
    /// One update: until every lcore has looked it up, beside a flag.
    Visible,
    /// Pairs of tables are swapped while packets run: none sees half of it.
    Swap {
        /// Transactions; a million, or a tenth with --quick.
        #[arg(long)]
        swaps: Option<u64>,
        /// Publish the two tables one after the other: what is to be found out.
        #[arg(long)]
        halves: bool,
    },
}

fn main() -> ExitCode {
    let Arguments { bench, json, quick } = Arguments::parse();
    let clock = Clock::measure();
    // Before any thread settles.
    let _ = processors();
    match bench {
        Bench::Classify { swx } => {
            let rounds = if quick { 200 } else { 2000 };
            let sizes = [(1_000, 0), (100_000, 0), (1_000_000, 0), (100_000, 64)];
            let report = classify::run(&clock, &sizes, rounds, swx.as_deref());
            say("classify", &report, json, tell::classify)
        }
        Bench::Bulk => {
            let (pairs, window_ms) = if quick { (30, 10) } else { (100, 10) };
            say("bulk", &bulk::run(&clock, pairs, window_ms), json, tell::bulk)
        }
        Bench::Visible => {
            let (updates, seconds) = if quick { (20_000, 5) } else { (100_000, 60) };
            say("visible", &visible::run(&clock, updates, Duration::from_secs(seconds)), json, tell::visible)
        }
        Bench::Swap { swaps, halves } => {
            let swaps = swaps.unwrap_or(if quick { 100_000 } else { 1_000_000 });
            let report = swap::run(swaps, 2, if halves { Way::Halves } else { Way::Whole });
            say("swap", &report, json, tell::swap);
            if report.seen.iter().any(|seen| seen.half > 0) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

/// Says it in one form or the other.
fn say<R: Serialize>(name: &str, report: &R, json: bool, table: fn(&R) -> String) -> ExitCode {
    if json {
        println!("{}", serde_json::json!({ "bench": name, "report": report }));
    } else {
        print!("{}", table(report));
    }
    ExitCode::SUCCESS
}
