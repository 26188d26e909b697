//! The I/O benchmark's command line.

#![forbid(unsafe_code)]

mod draw;
mod tell;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use gantry_bench::machine::{Clock, processors};
use gantry_bench_io::aims::Run;
use gantry_bench_io::alternate::{self, Effort};
use gantry_bench_io::case::{Case, Extent};
use gantry_bench_io::churn::Crowd;
use gantry_bench_io::machine::Machine;
use gantry_bench_io::reference::Yardstick;
use gantry_bench_io::report::Alternated;
use gantry_bench_io::wire::Wires;
use gantry_bench_io::{apart, churn, sides};
use rte_rs::Eal;
use serde::Serialize;

#[derive(Parser)]
#[command(name = "gantry-bench-io", about = "What an I/O costs the data plane")]
struct Arguments {
    /// One JSON object a case, and one each for machine, references, aims and projection, instead of tables.
    #[arg(long)]
    json: bool,
    /// Fewer windows: a minute or two for all.
    #[arg(long)]
    quick: bool,
    /// A few I/Os of each case: whether it works, and what they bring back is right.
    #[arg(long, conflicts_with = "quick")]
    token: bool,
    /// Only cases, and of QPs that come and go, whose name begins so; may be repeated.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Writes plots (SVG) into this folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
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

/// How it is said.
struct Voice {
    json: bool,
}

impl Voice {
    fn say<T: Serialize>(&self, mode: &str, what: &T, text: impl FnOnce(&T) -> String) {
        match self.json {
            true => out(&serde_json::json!({ "bench": "io", "mode": mode, "report": what })),
            false => out(&text(what)),
        }
    }

    fn title(&self, title: &str) {
        if !self.json {
            out(&format_args!("\n{title}"));
        }
    }
}

/// A line for whoever reads. A pipe that nobody reads any more is a reason to stop, not to panic; a report that is not whole is a failure.
fn out(line: &dyn Display) {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("gantry-bench-io: the report cannot be written: {error}");
            std::process::exit(1);
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let clock = Clock::measure();
    // Before this thread settles on one, as DPDK has it.
    let _ = processors();
    let eal = eal()?;
    let voice = Voice { json: arguments.json };
    let machine = Machine::here(&clock, eal.version());
    voice.say("machine", &machine, tell::machine);
    let mut wires = Wires::new(&eal);
    let (effort, extent) = match arguments {
        Arguments { token: true, .. } => (Effort::TOKEN, Extent::Token),
        Arguments { quick: true, .. } => (Effort::QUICK, Extent::Quick),
        _ => (Effort::FULL, Extent::Full),
    };
    let all = arguments.only.is_empty();
    let wanted = |case: &Case| all || arguments.only.iter().any(|only| case.name.starts_with(only));
    let mut yardstick = Yardstick::new(&eal)?;
    let mut run = Run::default();

    voice.title(tell::ALTERNATED);
    let mut beside = Beside { effort: effort.beside(), last: None };
    for case in Case::all(extent).into_iter().filter(wanted) {
        // A few samples a case are enough to see the machine change.
        let (every, mut windows) = ((effort.windows / 4).max(1), 0);
        let measured = beside.measure(&mut wires, |wires| {
            alternate::measure(wires, &case, &effort, &mut || {
                if windows % every == 0 {
                    yardstick.sample();
                }
                windows += 1;
            })
        })?;
        voice.say("alternating", &measured, tell::alternated);
        run.cases.push(measured);
    }
    let references = yardstick.references();
    voice.title(tell::REFERENCES);
    voice.say("references", &references, tell::references);
    run.references = Some(references);
    voice.title(tell::APART);
    for case in Case::all(extent).into_iter().filter(wanted) {
        if let Some(measured) = apart::measure(&mut wires, &clock, &case, &effort)? {
            voice.say("two cores", &measured, tell::apart);
            run.apart.push(measured);
        }
    }
    if all {
        voice.title(tell::SIDES);
        run.sides = sides::measure(&mut wires, &Case::base(), &effort)?;
        if let Some(measured) = &run.sides {
            voice.say("two lcores", measured, tell::sides);
        }
    }
    voice.title(tell::CHURNED);
    let named = |crowd: &Crowd| all || arguments.only.iter().any(|only| crowd.name.starts_with(only));
    for crowd in Crowd::ALL.iter().filter(|crowd| named(crowd)) {
        let measured = churn::measure(&mut wires, clock.ticks_per_us, crowd, &effort)?;
        voice.say("come and go", &measured, tell::churned);
        run.churned.push(measured);
    }
    voice.title(tell::PROJECTION);
    for projection in run.projection(clock.ticks_per_us) {
        voice.say("projection", &projection, tell::projection);
    }
    voice.title(tell::AIMS);
    for aim in run.aims() {
        voice.say("aim", &aim, tell::aim);
    }
    match &arguments.plots {
        Some(folder) => draw::all(&run, folder),
        None => Ok(()),
    }
}

/// The base case, measured before and after each of the others: what its cycles are compared with.
struct Beside {
    effort: Effort,
    /// What it took the last time.
    last: Option<f64>,
}

/// How far the base case may differ before and after a case. A shared machine changes its speed by half for seconds at a time.
const STEADY: f64 = 0.1;

/// How often a case is measured until the machine was steady meanwhile.
const TRIES: usize = 5;

impl Beside {
    /// Measures a case until the machine was as fast after it as before, if it comes to that.
    fn measure(
        &mut self,
        wires: &mut Wires,
        mut case: impl FnMut(&mut Wires) -> Result<Alternated, String>,
    ) -> Result<Alternated, String> {
        let mut tries = 1;
        loop {
            let before = match self.last {
                Some(last) => last,
                None => self.base(wires)?,
            };
            let mut measured = case(wires)?;
            let after = self.base(wires)?;
            self.last = Some(after);
            measured.over_base = measured.cycles.median / ((before + after) / 2.0);
            measured.steady = (after / before - 1.0).abs() <= STEADY;
            if measured.steady || tries == TRIES {
                return Ok(measured);
            }
            tries += 1;
        }
    }

    fn base(&self, wires: &mut Wires) -> Result<f64, String> {
        Ok(alternate::measure(wires, &Case::base(), &self.effort, &mut || {})?.cycles.median)
    }
}

/// A ring that is there already is no error.
const RINGS: &str = "--log-level=lib.ring:critical";

/// DPDK on two cores where there are, without hugepages.
fn eal() -> Result<Eal, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let lcores = if cores > 1 { "--lcores=0,1" } else { "--lcores=0" };
    let own = format!("gantry-bench-io-{}", std::process::id());
    let prefix = format!("--file-prefix={own}");
    let fixed = ["--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "256", "--log-level", "error", RINGS];
    let list: Vec<String> = fixed.into_iter().chain([prefix.as_str(), lcores]).map(String::from).collect();
    let eal = Eal::init(&list).map_err(|error| format!("DPDK's EAL did not start: {error}"))?;
    for runtime in ["/run/dpdk", "/tmp/dpdk"] {
        // It makes a folder of this name although it is asked for no files.
        let _ = std::fs::remove_dir(std::path::Path::new(runtime).join(&own));
    }
    Ok(eal)
}
