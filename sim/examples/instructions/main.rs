//! Instructions per I/O by stage, counted by callgrind on a fixed run, and held to a snapshot.
//!
//! ```text
//! cargo run --release -p gantry-sim --example instructions            # compare; fails when a stage has grown
//! GANTRY_SNAPSHOT=update cargo run --release -p gantry-sim --example instructions
//! ```
//!
//! It runs itself under valgrind once a case (`fixed_run.rs`), reads callgrind's file (`profile.rs`), and compares with
//! `tests/instructions/` (`snapshot.rs`). One more run (`life.rs`) counts every poll (`numbered.rs`) and holds the longest to
//! a multiple of the median (`polls.rs`). What the figures mean: docs/performance.md.

#![forbid(unsafe_code)]

mod fixed_run;
mod life;
mod numbered;
mod polls;
mod profile;
mod snapshot;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fixed_run::{CASES, Case};
use polls::Polls;
use profile::Profile;
use snapshot::{Figures, Snapshot};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", "life"] => life::run(),
        ["--run", name] => fixed_run::run(case(name)),
        [] => compare(),
        _ => Err("usage: instructions".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn case(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).expect("a case of the table")
}

fn compare() -> Result<(), String> {
    let mut found = Snapshot::here();
    // Counted side by side: it takes as long as all the others.
    let (figures, polls) = thread::scope(|scope| {
        let polls = scope.spawn(count_polls);
        (count_all(), polls.join().expect("it ends well"))
    });
    found.figures = figures?;
    println!("{found}");
    let polls = polls?;
    println!("{polls}");
    polls.judge()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/instructions").join(Snapshot::file());
    if std::env::var_os("GANTRY_SNAPSHOT").is_some_and(|value| value == "update") {
        return std::fs::write(&path, found.to_string()).map_err(|error| format!("{}: {error}", path.display()));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| {
        format!(
            "{}: {error}; this machine's architecture has no snapshot: GANTRY_SNAPSHOT=update makes it",
            path.display()
        )
    })?;
    let kept = text.parse::<Snapshot>().map_err(|error| format!("{}: {error}", path.display()))?;
    let changes = kept.changes(&found);
    for change in &changes.smaller {
        println!("less: {change}");
    }
    if changes.larger.is_empty() {
        println!("no stage has grown by more than {}% ({} figures)", snapshot::TOLERANCE_PERCENT, changes.compared);
        return Ok(());
    }
    let mut report = String::from("instructions per I/O have grown:\n");
    for change in &changes.larger {
        report += &format!("  {change}\n");
    }
    for difference in kept.conditions_that_differ(&found) {
        report += &format!("  (the snapshot is of another {difference})\n");
    }
    Err(report + "Find out why. When it is worth it: GANTRY_SNAPSHOT=update, and say in the commit what it buys.")
}

/// Every case, in their order: instructions are the same whatever runs beside, so that as many run as there are cores.
fn count_all() -> Result<Vec<Figures>, String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut counted = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = CASES.get(index) else { return counted };
            counted.push((index, count(case)));
        }
    };
    let mut all: Vec<_> = thread::scope(|scope| {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends well")).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, figures)| figures).collect()
}

/// One case under callgrind.
fn count(case: &Case) -> Result<Figures, String> {
    let (profile, _) = under_callgrind(case.name, "*fixed_run*measured*")?;
    Figures::of(case, &profile)
}

/// Every poll of a life.
fn count_polls() -> Result<Polls, String> {
    let (profile, told) = under_callgrind("life", "*numbered*poll*")?;
    Polls::of(&told, &profile)
}

/// Runs a case, counting in functions of this name; what it said.
fn under_callgrind(name: &str, counted: &str) -> Result<(Profile, String), String> {
    let output = std::env::temp_dir().join(format!("gantry-instructions-{}-{name}", std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--collect-atstart=no"]).arg(format!("--toggle-collect={counted}"));
    valgrind.arg(format!("--callgrind-out-file={}", output.display()));
    valgrind.arg(std::env::current_exe().map_err(|error| error.to_string())?).args(["--run", name]);
    // glibc picks memcpy by the processor it finds: here the one that every x86-64 has, so that machines agree.
    valgrind.env(
        "GLIBC_TUNABLES",
        "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-SSSE3,-ERMS,-FSRM,-AVX512F,-AVX512VL",
    );
    let ran = valgrind.output().map_err(|error| format!("valgrind (Debian package valgrind): {error}"))?;
    if !ran.status.success() {
        return Err(format!("{name}: {}\n{}", ran.status, String::from_utf8_lossy(&ran.stderr)));
    }
    let text = std::fs::read_to_string(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    let _ = std::fs::remove_file(&output);
    Ok((Profile::parse(&text)?, String::from_utf8_lossy(&ran.stdout).into_owned()))
}
