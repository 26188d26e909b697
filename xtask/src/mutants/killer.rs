//! What may find a bug, the quickest first: the crate's own tests, seeds of the swarm, the simulator's tests.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::tree::Tree;
use super::{Mutant, PACKAGES};
use crate::Result;

/// The swarm's seeds, and the first of them.
const SEEDS: [&str; 4] = ["--seeds", "60", "--from", "1"];

/// A program that runs this much longer than without a bug hangs.
const SLOWER: u32 = 5;

/// And this long in any case.
const LEAST: Duration = Duration::from_secs(20);

/// How long a build may take on a busy machine.
const BUILD: Duration = Duration::from_secs(900);

/// Address space of a program that may have gone wild, in KiB.
const SPACE_KIB: &str = "8000000";

/// What became of a mutant.
pub(super) enum Verdict {
    /// It was found.
    Killed {
        /// By which kind of test.
        stage: &'static str,
        /// By which, in its words.
        killer: String,
    },
    /// By nobody.
    Survived,
    /// It is no program.
    DoesNotCompile,
}

/// A kind of test.
struct Stage {
    name: &'static str,
    /// Cargo's arguments to build it.
    build: Vec<&'static str>,
    /// Cargo's arguments to run it.
    run: Vec<&'static str>,
}

impl Stage {
    /// The tests of packages; neither their examples nor those in their documentation, which are built anew each time.
    fn tests(name: &'static str, packages: &[&'static str]) -> Self {
        let run: Vec<_> = ["test", "--lib", "--bins", "--tests"].into_iter().chain(packages.iter().copied()).collect();
        Self { name, build: run.iter().copied().chain(["--no-run"]).collect(), run }
    }
}

/// The tests, and how long they take.
pub(super) struct Hunt<'a> {
    tree: &'a Tree,
    /// By package, what finds bugs of it first.
    own: Vec<(&'static str, Stage, Duration)>,
    /// What finds those of any.
    all: Vec<(Stage, Duration)>,
}

/// What a program came to.
enum Outcome {
    Passed,
    Failed(String),
    Hung,
}

impl<'a> Hunt<'a> {
    /// Runs every test once without a bug: all must pass, and show how long they take.
    pub(super) fn begin(tree: &'a Tree) -> Result<Self> {
        let mut hunt = Self { tree, own: Vec::new(), all: Vec::new() };
        let packages: BTreeSet<&str> = PACKAGES.iter().map(|(package, _)| *package).collect();
        for package in packages {
            // The driver's tests against a drive are the drive's.
            let packages = match package {
                "gantry-nvme" => vec!["-p", package, "-p", "gantry-drive"],
                _ => vec!["-p", package],
            };
            let stage = Stage::tests("the crate's tests", &packages);
            let took = hunt.try_out(&stage)?;
            hunt.own.push((package, stage, took));
        }
        let mut swarm = vec!["run", "-p", "gantry-sim", "--bin", "gantry-sim", "--", "swarm", "--brief"];
        swarm.extend(SEEDS);
        let swarm =
            Stage { name: "the swarm", build: vec!["build", "-p", "gantry-sim", "--bin", "gantry-sim"], run: swarm };
        let stories = Stage::tests("the simulator's tests", &["-p", "gantry-sim"]);
        for stage in [swarm, stories] {
            let took = hunt.try_out(&stage)?;
            hunt.all.push((stage, took));
        }
        Ok(hunt)
    }

    fn try_out(&self, stage: &Stage) -> Result<Duration> {
        let what = format!("cargo {}", stage.run.join(" "));
        if !matches!(self.run(&stage.build, BUILD, false)?, Outcome::Passed) {
            return Err(format!("cargo {} fails without any bug", stage.build.join(" ")));
        }
        let begun = Instant::now();
        match self.run(&stage.run, BUILD, true)? {
            Outcome::Passed => {}
            Outcome::Failed(killer) => return Err(format!("{what} fails without any bug: {killer}")),
            Outcome::Hung => return Err(format!("{what} does not end, without any bug")),
        }
        let took = begun.elapsed();
        println!("{what}: {:.1} s", took.as_secs_f32());
        Ok(took)
    }

    /// Looks for whoever finds the bug that is planted now.
    pub(super) fn judge(&self, mutant: &Mutant) -> Result<Verdict> {
        let own = self.own.iter().find(|(package, ..)| *package == mutant.package);
        let own = own.map(|(_, stage, took)| (stage, took));
        for (stage, took) in own.into_iter().chain(self.all.iter().map(|(stage, took)| (stage, took))) {
            if !matches!(self.run(&stage.build, BUILD, false)?, Outcome::Passed) {
                return Ok(Verdict::DoesNotCompile);
            }
            let killer = match self.run(&stage.run, LEAST.max(*took * SLOWER), true)? {
                Outcome::Passed => continue,
                Outcome::Failed(killer) => killer,
                Outcome::Hung => "it hangs".to_owned(),
            };
            return Ok(Verdict::Killed { stage: stage.name, killer });
        }
        Ok(Verdict::Survived)
    }

    /// Runs cargo in the tree with a bug; all that it starts ends with it.
    fn run(&self, arguments: &[&str], limit: Duration, confined: bool) -> Result<Outcome> {
        let said = self.tree.said();
        let failed = |error: std::io::Error| format!("cargo {}: {error}", arguments.join(" "));
        let out = File::create(&said).map_err(failed)?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new("sh");
        let space = if confined { SPACE_KIB } else { "unlimited" };
        command.args(["-c", "ulimit -v \"$0\"; exec \"$@\"", space]).arg(cargo).args(arguments);
        command.current_dir(self.tree.root()).env("CARGO_TARGET_DIR", self.tree.target());
        // Nobody looks at the lines of a mutant: building is all that this costs.
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stderr(out.try_clone().map_err(failed)?).stdout(out).process_group(0);
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = command.spawn().map_err(failed)?;
        *running = Some(child.id());
        drop(running);
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break Some(status);
            }
            if begun.elapsed() > limit {
                break None;
            }
            thread::sleep(Duration::from_millis(20));
        };
        if status.is_none() {
            kill_group(child.id());
            child.wait().map_err(failed)?;
        }
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let Some(status) = status else { return Ok(Outcome::Hung) };
        if status.success() {
            return Ok(Outcome::Passed);
        }
        let said = String::from_utf8_lossy(&fs::read(&said).map_err(failed)?).into_owned();
        Ok(Outcome::Failed(killer_of(&said)))
    }
}

/// The group that runs.
static RUNNING: Mutex<Option<u32>> = Mutex::new(None);

/// Ends a whole group: cargo passes no signal on.
fn kill_group(id: u32) {
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status();
}

/// On SIGINT and SIGTERM from now on: ends what runs, and this, with status 130. The next run mends the tree.
pub(super) fn end_on_signals() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .map_err(|error| format!("registering for signals: {error}"))?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            RUNNING.lock().unwrap_or_else(PoisonError::into_inner).map(kill_group);
            eprintln!("interrupted");
            std::process::exit(130);
        }
    });
    Ok(())
}

/// Who says in a test's or the swarm's output that something is wrong.
fn killer_of(said: &str) -> String {
    let failed = |line: &str| line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned);
    let tests: Vec<String> = said.lines().filter_map(failed).collect();
    let seed = || said.lines().find(|line| line.starts_with("seed ")).map(str::to_owned);
    let signal = || said.lines().find(|line| line.contains("signal:")).map(|line| line.trim().to_owned());
    let found = match tests.as_slice() {
        [] => seed().or_else(signal).unwrap_or_else(|| "its exit status".to_owned()),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    let short: String = found.chars().take(240).collect();
    short
}

#[cfg(test)]
mod tests {
    use super::killer_of;

    #[test]
    fn whoever_failed_is_named() {
        let one = "running 2 tests\ntest a ... ok\ntest b::c ... FAILED\n";
        assert_eq!(killer_of(one), "b::c");
        assert_eq!(killer_of(&format!("{one}test d ... FAILED\n")), "b::c and 1 more");
        assert_eq!(
            killer_of("swarm: seeds from 1\nseed 9: block 3 is torn\nswarm: 2 seeds"),
            "seed 9: block 3 is torn"
        );
        assert_eq!(
            killer_of("error: test failed\n  process didn't exit (signal: 6, SIGABRT)"),
            "process didn't exit (signal: 6, SIGABRT)"
        );
        assert_eq!(killer_of(""), "its exit status");
    }
}
