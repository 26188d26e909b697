//! `run`, `swarm`, `replay`: plans from seeds and files, and what becomes of those that fail.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gantry_sim::random::Random;
use gantry_sim::swarm::coverage::Coverage;
use gantry_sim::swarm::draw::draw;
use gantry_sim::swarm::plan::Plan;
use gantry_sim::swarm::report;
use gantry_sim::swarm::run::Outcome;
use gantry_sim::swarm::shrink::shrink;

use super::live::Live;

/// One run.
#[derive(clap::Args)]
pub(crate) struct RunArguments {
    /// What draws topology, load and faults.
    #[arg(long)]
    seed: u64,
    /// Virtual hours of load, instead of what the seed draws.
    #[arg(long, value_parser = hours)]
    hours: Option<u64>,
    /// Print the plan and do not run it.
    #[arg(long)]
    plan: bool,
    /// Where a failure is written.
    #[arg(long, default_value = "gantry-sim-failures")]
    failures: PathBuf,
}

/// Many runs.
#[derive(clap::Args)]
pub(crate) struct SwarmArguments {
    /// How long.
    #[arg(long, conflicts_with = "seeds", default_value_t = 10.0)]
    minutes: f64,
    /// How many seeds, instead of how long.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed; drawn from the clock when not said. The others are drawn from it.
    #[arg(long)]
    from: Option<u64>,
    /// Runs at a time; as many as there are processors when not said.
    #[arg(long)]
    jobs: Option<usize>,
    /// Fail also when a stage's exit or a fault was never reached; with `--seeds`, not before five times as many were run.
    #[arg(long)]
    cover: bool,
    /// Stop at the first failure, and write and shrink nothing: who asks wants a yes or no.
    #[arg(long)]
    brief: bool,
    /// Where failures are written.
    #[arg(long, default_value = "gantry-sim-failures")]
    failures: PathBuf,
}

/// A run from a file.
#[derive(clap::Args)]
pub(crate) struct ReplayArguments {
    /// A plan, as a failure leaves it behind, or a folder of plans.
    file: PathBuf,
    /// Write frames and story also when nothing is wrong.
    #[arg(long)]
    record: bool,
    /// Where a failure is written.
    #[arg(long, default_value = "gantry-sim-failures")]
    failures: PathBuf,
}

fn hours(text: &str) -> Result<u64, String> {
    let hours: f64 = text.parse().map_err(|_| format!("'{text}' is no number of hours"))?;
    if hours > 0.0 && hours <= 1000.0 { Ok((hours * 3.6e12) as u64) } else { Err("it is 0 to 1000 hours".to_owned()) }
}

/// Runs one seed.
pub(crate) fn run(arguments: &RunArguments) -> Result<(), String> {
    let mut plan = draw(arguments.seed);
    if let Some(length_ns) = arguments.hours {
        plan.stretch(length_ns);
    }
    if arguments.plan {
        print!("{}", plan.to_text());
        return Ok(());
    }
    let outcome = watched(&plan);
    judge(&plan, &outcome, &arguments.failures, false)
}

/// Runs a plan from a file, or every plan of a folder.
pub(crate) fn replay(arguments: &ReplayArguments) -> Result<(), String> {
    if !arguments.file.is_dir() {
        return replay_file(&arguments.file, arguments);
    }
    let folder = arguments.file.display();
    let entries = std::fs::read_dir(&arguments.file).map_err(|error| format!("{folder}: {error}"))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    if files.is_empty() {
        return Err(format!("{folder} holds no plan, no file named *.toml"));
    }
    files.iter().try_for_each(|file| replay_file(file, arguments))
}

fn replay_file(file: &Path, arguments: &ReplayArguments) -> Result<(), String> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let plan = Plan::parse(&text).map_err(|error| format!("{name}: {error}"))?;
    println!("{name}");
    let outcome = watched(&plan);
    judge(&plan, &outcome, &arguments.failures, arguments.record)
}

fn watched(plan: &Plan) -> Outcome {
    report::keep_panics();
    let mut live = Live::new();
    let outcome = report::run_live(plan, |run| {
        live.show(|| {
            let now_ns = run.world().now_ns();
            format!(
                "seed {}: {:.6} s of virtual time, {} commands",
                plan.seed,
                now_ns as f64 / 1e9,
                run.completed_now()
            )
        });
    });
    live.end();
    outcome
}

fn judge(plan: &Plan, outcome: &Outcome, failures: &Path, record: bool) -> Result<(), String> {
    let Outcome { completed, errors, reconnects, took_ns, digest, .. } = outcome;
    if outcome.finding.is_some() || record {
        let (files, _) = report::write(plan, failures).map_err(|error| format!("{}: {error}", failures.display()))?;
        println!(
            "plan     {}\ncapture  {}\nstory    {}",
            files.plan.display(),
            files.capture.display(),
            files.story.display()
        );
    }
    let (seed, seconds) = (plan.seed, *took_ns as f64 / 1e9);
    println!(
        "seed {seed}: {completed} commands, {errors} errors, {reconnects} reconnects in {seconds:.3} s of virtual time"
    );
    match &outcome.finding {
        None => {
            println!("verdict: ok, digest {digest:016x}");
            Ok(())
        }
        Some(finding) => {
            println!("verdict: {finding}, digest {digest:016x}");
            Err(format!("seed {seed} failed"))
        }
    }
}

/// How many of what was reached least are shown.
const RAREST: usize = 6;

struct Failure {
    plan: Plan,
    outcome: Outcome,
}

#[derive(Default)]
struct Tally {
    coverage: Coverage,
    failures: Vec<Failure>,
    commands: u64,
    virtual_ns: u64,
    slowest: Option<(Duration, u64)>,
}

/// Runs many seeds.
pub(crate) fn swarm(arguments: &SwarmArguments) -> Result<(), String> {
    report::keep_panics();
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let from = arguments.from.unwrap_or_else(|| Random::new(clock()).draw() >> 32);
    let jobs = arguments.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let end = Instant::now() + Duration::from_secs_f64(arguments.minutes.max(0.0) * 60.0);
    let (begun, next, stop) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
    let tally = Mutex::new(Tally::default());
    let live = Mutex::new(Live::new());
    println!("swarm: seeds from {from}, {jobs} at a time");
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let over = match arguments.seeds {
                // What is rare in so many may take some times as many.
                Some(seeds) if arguments.cover && number < 5 * seeds => {
                    number >= seeds && tally.lock().expect("nobody panics with it").coverage.missing().is_empty()
                }
                Some(seeds) => number >= seeds,
                None => Instant::now() >= end,
            };
            if over {
                return;
            }
            let plan = draw(seed_of(from, number));
            let started = Instant::now();
            let outcome = report::run(&plan);
            let mut tally = tally.lock().expect("nobody panics with it");
            tally.coverage.add_run(&outcome.coverage);
            tally.commands += outcome.completed;
            tally.virtual_ns += outcome.took_ns;
            let took = started.elapsed();
            if tally.slowest.is_none_or(|(slowest, _)| took > slowest) {
                tally.slowest = Some((took, plan.seed));
            }
            if let Some(finding) = &outcome.finding {
                // It is shrunk at the end; who watches may want it now.
                live.lock().expect("nobody panics with it").say(&format!("seed {}: {finding}", plan.seed));
                tally.failures.push(Failure { plan, outcome });
                // A few are enough to go on with.
                let enough = if arguments.brief { 1 } else { 8 };
                stop.store(tally.failures.len() >= enough, Ordering::Relaxed);
            }
            let (commands, failed) = (tally.commands, tally.failures.len());
            drop(tally);
            live.lock().expect("nobody panics with it").show(|| {
                let seconds = begun.elapsed().as_secs();
                format!("{} seeds, {commands} commands, {failed} failed, {seconds} s", number + 1)
            });
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    live.into_inner().expect("nobody panics with it").end();
    let tally = tally.into_inner().expect("nobody panics with it");
    conclude(arguments, tally, begun.elapsed(), next.into_inner().saturating_sub(jobs as u64))
}

/// The seed of a swarm's run.
fn seed_of(from: u64, number: u64) -> u64 {
    Random::new(from.wrapping_add(number)).draw() >> 1
}

fn conclude(arguments: &SwarmArguments, tally: Tally, took: Duration, seeds: u64) -> Result<(), String> {
    let failed = tally.failures.len();
    for Failure { plan, outcome } in tally.failures {
        if arguments.brief {
            println!("seed {}: {}", plan.seed, outcome.finding.as_deref().unwrap_or_default());
            continue;
        }
        let (small, found) = shrink(plan, outcome, report::run);
        println!("seed {}: {}", small.seed, found.finding.as_deref().unwrap_or_default());
        println!("  shrunk to {} faults in {} ns:", small.faults.len(), small.length_ns);
        for fault in &small.faults {
            println!("  {fault:?}");
        }
        let written = report::write(&small, &arguments.failures);
        let (files, _) = written.map_err(|error| format!("{}: {error}", arguments.failures.display()))?;
        println!("  {}, {}, {}", files.plan.display(), files.capture.display(), files.story.display());
    }
    let missing = tally.coverage.missing();
    if !missing.is_empty() {
        println!("never reached: {}", missing.join(", "));
    }
    let rarest = tally.coverage.rarest(RAREST).into_iter().map(|(name, seeds)| format!("{name} {seeds}"));
    println!("rarest, in how many seeds: {}", Vec::from_iter(rarest).join(", "));
    if let Some((slowest, seed)) = tally.slowest {
        println!("slowest: seed {seed}, {:.1} s", slowest.as_secs_f64());
    }
    println!(
        "swarm: {seeds} seeds, {} commands, {:.0} s of virtual time in {:.0} s; {failed} failed",
        tally.commands,
        tally.virtual_ns as f64 / 1e9,
        took.as_secs_f64()
    );
    match (failed, arguments.cover && !missing.is_empty()) {
        (0, false) => Ok(()),
        (0, true) => Err("not everything was reached".to_owned()),
        (failed, _) => Err(format!("{failed} seeds failed")),
    }
}
