//! The I/O benchmark's command line.

#![forbid(unsafe_code)]

mod tell;

use std::process::ExitCode;

use clap::Parser;
use gantry_bench_io::alternate::{self, Effort};
use gantry_bench_io::case::Case;
use gantry_bench_io::wire::Wires;
use rte_rs::Eal;

#[derive(Parser)]
#[command(name = "gantry-bench-io", about = "What an I/O costs the data plane")]
struct Arguments {
    /// One JSON object a case instead of a table.
    #[arg(long)]
    json: bool,
    /// Fewer windows: a minute or two for all.
    #[arg(long)]
    quick: bool,
    /// A few I/Os of each case: whether it works, and what they bring back is right.
    #[arg(long, conflicts_with = "quick")]
    token: bool,
    /// Only cases whose name begins so; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gantry-bench-io: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut wires = Wires::new(&eal()?);
    let effort = match arguments {
        Arguments { token: true, .. } => Effort::TOKEN,
        Arguments { quick: true, .. } => Effort::QUICK,
        _ => Effort::FULL,
    };
    let wanted =
        |case: &Case| arguments.only.is_empty() || arguments.only.iter().any(|only| case.name.starts_with(only));
    if !arguments.json {
        println!("{}", tell::ALTERNATED);
    }
    for case in Case::all().into_iter().filter(wanted) {
        let measured = alternate::measure(&mut wires, &case, &effort)?;
        match arguments.json {
            true => println!("{}", serde_json::json!({ "bench": "io", "mode": "alternating", "report": measured })),
            false => println!("{}", tell::alternated(&measured)),
        }
    }
    Ok(())
}

/// A ring that is there already is no error.
const RINGS: &str = "--log-level=lib.ring:critical";

/// DPDK on as many cores as there are, without hugepages.
fn eal() -> Result<Eal, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let lcores = format!("--lcores={}", if cores > 1 { "0,1" } else { "0,1@0" });
    let own = format!("gantry-bench-io-{}", std::process::id());
    let prefix = format!("--file-prefix={own}");
    let fixed = ["--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "256", "--log-level", "error", RINGS];
    let list: Vec<String> = fixed.into_iter().chain([prefix.as_str(), lcores.as_str()]).map(String::from).collect();
    let eal = Eal::init(&list).map_err(|error| format!("DPDK's EAL did not start: {error}"))?;
    for runtime in ["/run/dpdk", "/tmp/dpdk"] {
        // It makes a folder of this name although it is asked for no files.
        let _ = std::fs::remove_dir(std::path::Path::new(runtime).join(&own));
    }
    Ok(eal)
}
