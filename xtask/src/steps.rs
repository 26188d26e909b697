//! `cargo xtask test`: every check as a named step, with its time, and a count at the end.

use std::time::{Duration, Instant};

use crate::Result;
use crate::digest;
use crate::install::{self, Need};
use crate::programs::{cargo, machines, machines_with_gantry, pass_signals_on, run};

/// What the host in the virtual machine connects to.
#[derive(Clone, Copy)]
enum Target {
    /// The kernel's own, in another virtual machine.
    Nvmet,
    /// Gantry's two processes.
    Gantry,
}

/// What the kernel's own target is asked to pass. Heavy I/O and loss are left out: under them rxe as a target stalls by
/// itself now and then, which says nothing of the suite; `--only harness/NAME` runs any of them.
const NVMET_SCENARIOS: &[&str] = &[
    "discover",
    "connect",
    "persistent",
    "filesystem",
    "zeroes",
    "reconnect",
    "reset",
    "wrong-nqn",
    "denied-host",
    "no-listener",
];

/// A part of what a step does.
#[derive(Clone, Copy)]
enum Action {
    /// One cargo command.
    Cargo(&'static [&'static str]),
    /// The same with a variable of its environment set.
    CargoWith((&'static str, &'static str), &'static [&'static str]),
    /// The interop suite against this target.
    Machines(Target),
    /// Gantry's processes are killed under a host in a virtual machine.
    Killing,
    /// A seed's runs are compared.
    Digests,
}

impl Action {
    /// Whether it has scenarios, one of which may be asked for by name.
    fn has_scenarios(self) -> bool {
        matches!(self, Self::Machines(_) | Self::Killing)
    }

    /// Does it, with these scenarios or all of its own; whether nothing failed.
    fn run(self, scenarios: &[&str]) -> Result<bool> {
        let mut command = match self {
            Self::Cargo(arguments) => cargo(arguments),
            Self::CargoWith((variable, value), arguments) => {
                let mut command = cargo(arguments);
                command.env(variable, value);
                command
            }
            Self::Machines(target) => {
                let (mut command, name) = match target {
                    Target::Nvmet => (machines()?, "nvmet"),
                    Target::Gantry => (machines_with_gantry()?, "gantry"),
                };
                command.args(["interop", "--target", name]);
                command
            }
            Self::Killing => {
                let mut command = machines_with_gantry()?;
                command.arg("kill");
                command
            }
            Self::Digests => return digest::compare(),
        };
        let scenarios = match self {
            Self::Machines(Target::Nvmet) if scenarios.is_empty() => NVMET_SCENARIOS,
            _ => scenarios,
        };
        command.args(scenarios.iter().flat_map(|scenario| ["--only", scenario]));
        Ok(run(&mut command)?.success())
    }
}

struct Step {
    name: &'static str,
    shows: &'static str,
    needs: &'static [&'static [Need]],
    /// One after the other, until one fails.
    actions: &'static [Action],
}

/// In the order of what fails soonest.
const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        shows: "the layout is rustfmt's",
        needs: &[],
        actions: &[Action::Cargo(&["fmt", "--all", "--check"])],
    },
    Step {
        name: "walls",
        shows: "arrows, unsafe code, sizes, dead files, words; licences and sources of dependencies",
        needs: &[],
        actions: &[Action::Cargo(&["test", "-p", "gantry-tests", "--test", "walls", "--test", "deny"])],
    },
    Step {
        name: "clippy",
        shows: "no warning anywhere",
        needs: &[install::BUILD],
        actions: &[Action::Cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])],
    },
    Step {
        name: "unit",
        shows: "everything that needs neither DPDK, QEMU nor root",
        needs: &[],
        actions: &[Action::Cargo(&["test"])],
    },
    Step {
        name: "dpdk",
        shows: "the safe DPDK layer and the data plane's process, whose lcore allocates nothing and calls no kernel",
        needs: &[install::BUILD, install::TRACE],
        actions: &[Action::Cargo(&["test", "-p", "dpdk-sys", "-p", "rte-rs", "-p", "gantry-poller"])],
    },
    Step {
        name: "instructions",
        shows: "no stage needs more instructions for an I/O than its snapshot says",
        needs: &[install::COUNT],
        actions: &[Action::Cargo(&["run", "--release", "-p", "gantry-sim", "--example", "instructions"])],
    },
    Step {
        name: "swarm",
        shows: "200 fresh seeds of the simulator hold, and reach every exit of every stage and every fault; old failures stay away",
        needs: &[],
        actions: &[
            Action::Cargo(&["run", "--release", "-p", "gantry-sim", "--", "replay", "tests/seeds"]),
            Action::Cargo(&["run", "--release", "-p", "gantry-sim", "--", "swarm", "--seeds", "200", "--cover"]),
        ],
    },
    Step {
        name: "digest",
        shows: "a seed gives the same run in every process, in debug and release, on x86-64 and arm64",
        needs: &[install::ARM64],
        actions: &[Action::Digests],
    },
    Step {
        name: "harness",
        shows: "the interop suite itself, against the kernel's own target",
        needs: &[install::MACHINES],
        actions: &[Action::Machines(Target::Nvmet)],
    },
    Step {
        name: "interop",
        shows: "a stock Linux host in a virtual machine works with Gantry",
        needs: &[install::BUILD, install::MACHINES],
        actions: &[Action::Machines(Target::Gantry)],
    },
    Step {
        name: "kill",
        shows: "either process dies at any instant and no host loses anything: simulated, then a Linux host",
        needs: &[install::BUILD, install::MACHINES],
        actions: &[
            Action::CargoWith(("GANTRY_KILLS", "all"), &["test", "--release", "-p", "gantry-sim", "--test", "kill"]),
            Action::Killing,
        ],
    },
];

/// Names every step.
pub(crate) fn list() {
    for step in STEPS {
        println!("{:<10} {}", step.name, step.shows);
    }
}

/// Runs the steps that `only` names, or all; true if none failed.
pub(crate) fn run_steps(only: &[String]) -> Result<bool> {
    let unknown = only.iter().find(|name| !STEPS.iter().any(|step| step.name == split(name).0));
    if let Some(name) = unknown {
        return Err(format!("no step is called {name}: see `cargo xtask test --list`"));
    }
    pass_signals_on()?;
    let chosen = STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| split(name).0 == step.name));
    let mut told: Vec<(&str, bool, Duration)> = Vec::new();
    for step in chosen {
        println!("\n=== {}: {}", step.name, step.shows);
        let begun = Instant::now();
        let passed = step.run(only).unwrap_or_else(|error| {
            eprintln!("{error}");
            false
        });
        let took = begun.elapsed();
        println!("=== {} {} in {:.1} s", step.name, if passed { "passed" } else { "FAILED" }, took.as_secs_f32());
        told.push((step.name, passed, took));
    }
    println!();
    for (name, passed, took) in &told {
        println!("{:<10} {:<6} {:7.1} s", name, if *passed { "ok" } else { "FAILED" }, took.as_secs_f32());
    }
    let failed = told.iter().filter(|(_, passed, _)| !passed).count();
    println!("{} passed, {failed} failed", told.len() - failed);
    Ok(failed == 0)
}

/// "interop/random" is the step interop and its scenario random.
fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('/').map_or((name, None), |(step, part)| (step, Some(part)))
}

impl Step {
    fn run(&self, only: &[String]) -> Result<bool> {
        install::ensure(self.needs)?;
        let named = only.iter().map(|name| split(name)).filter(|(step, _)| *step == self.name);
        let scenarios: Vec<&str> = named.filter_map(|(_, scenario)| scenario).collect();
        if !scenarios.is_empty() && !self.actions.iter().any(|action| action.has_scenarios()) {
            return Err(format!("{} has no scenarios to choose from", self.name));
        }
        for action in self.actions {
            // Who asks for one scenario asks for nothing else of the step.
            if !scenarios.is_empty() && !action.has_scenarios() {
                continue;
            }
            if !action.run(&scenarios)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
