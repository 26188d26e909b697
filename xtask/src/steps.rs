//! `cargo xtask test`: every check as a named step, with its time, and a count at the end.

use std::fs::{self, File, OpenOptions};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::barriers;
use crate::digest;
use crate::executables;
use crate::install::{self, Need};
use crate::package;
use crate::programs::{
    self, cargo, machines, machines_with_card, machines_with_drive_program, machines_with_drives, machines_with_gantry,
    machines_with_gantryctl, pass_signals_on, release, released, root, run, target, with_clients, write_to,
};

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
    /// Tests that need no DPDK.
    Tests,
    /// Tests that need it.
    DpdkTests,
    /// The simulator's program, a release.
    Simulator(&'static [&'static str]),
    /// Instructions are counted.
    Instructions,
    /// In the simulator either process dies after every round.
    SimulatedKilling,
    /// The interop suite against this target.
    Machines(Target),
    /// P4Runtime clients do all that they can with Gantry.
    Clients,
    /// Gantry's processes are killed under a host in a virtual machine.
    Killing,
    /// A guest's own driver works with drives that are served to it.
    ServedDrives,
    /// gantryctl moves drives between a kernel's drivers.
    MovedDrives,
    /// Gantry in a virtual machine with an IOMMU and drives, and a host in another.
    Card,
    /// PCIe drives in a virtual machine are driven through VFIO.
    Vfio,
    /// A seed's runs are compared.
    Digests,
    /// The arm64 package is installed in an aarch64 card, which serves a host.
    PackagedCard,
    /// Debian packages are made and looked into.
    Packages,
    /// The driver's barriers are looked for in what is compiled for arm64.
    Barriers,
}

impl Action {
    /// Whether it has scenarios, one of which may be asked for by name.
    fn has_scenarios(self) -> bool {
        matches!(self, Self::Machines(_) | Self::Killing | Self::ServedDrives | Self::Card)
    }

    /// Does it, with these scenarios or all of its own; whether nothing failed.
    fn run(self, scenarios: &[&str]) -> Result<bool> {
        let mut command = match self {
            Self::Cargo(arguments) => cargo(arguments),
            Self::Tests => return executables::without_dpdk(),
            Self::DpdkTests => return executables::with_dpdk(),
            Self::Simulator(arguments) => {
                let mut command = Command::new(released("--bin", "gantry-sim")?);
                command.args(arguments).current_dir(root());
                command
            }
            Self::Instructions => Command::new(released("--example", "instructions")?),
            Self::SimulatedKilling => {
                let mut command = release("test", &["--test", "kill"]);
                command.env("GANTRY_KILLS", "all");
                command
            }
            Self::Machines(target) => {
                let (mut command, name) = match target {
                    Target::Nvmet => (machines()?, "nvmet"),
                    Target::Gantry => (with_clients(machines_with_gantry()?)?, "gantry"),
                };
                command.args(["interop", "--target", name]);
                command
            }
            Self::Killing => {
                let mut command = machines_with_gantry()?;
                command.arg("kill");
                command
            }
            Self::ServedDrives => {
                let mut command = machines_with_drives()?;
                command.arg("vfio-user");
                command
            }
            Self::MovedDrives => {
                let mut command = machines_with_gantryctl()?;
                command.arg("drives");
                command
            }
            Self::Card => {
                let mut command = machines_with_card()?;
                command.arg("card");
                command
            }
            Self::Vfio => {
                let (mut command, program) = machines_with_drive_program()?;
                command.arg("vfio").arg(program);
                command
            }
            Self::Clients => {
                let mut command = with_clients(machines_with_gantry()?)?;
                command.arg("clients");
                command
            }
            Self::PackagedCard => {
                let mut command = machines()?;
                package::arm64_for(&mut command)?;
                command.arg("card-arm64");
                command
            }
            Self::Digests => return digest::compare(),
            Self::Packages => return package::make_and_check(),
            Self::Barriers => return barriers::check(),
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
        actions: &[Action::Cargo(&["test", "--workspace", "--test", "walls", "--test", "deny"])],
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
        needs: &[install::BUILD],
        actions: &[Action::Tests],
    },
    Step {
        name: "dpdk",
        shows: "the safe DPDK layer; the data plane's process, whose lcore allocates nothing and calls no kernel; the I/O benchmark works",
        needs: &[install::BUILD, install::TRACE],
        actions: &[Action::DpdkTests],
    },
    Step {
        name: "instructions",
        shows: "no stage needs more instructions for an I/O than its snapshot says, and no poll more than twenty times the median",
        needs: &[install::COUNT],
        actions: &[Action::Instructions],
    },
    Step {
        name: "swarm",
        shows: "200 fresh seeds of the simulator hold, and reach every exit of every stage and every fault; old failures stay away",
        needs: &[],
        actions: &[
            Action::Simulator(&["replay", "tests/seeds"]),
            Action::Simulator(&["swarm", "--seeds", "200", "--cover"]),
        ],
    },
    Step {
        name: "digest",
        shows: "a seed gives the same run in every process, in debug and release, on x86-64 and arm64",
        needs: &[install::CROSS, install::EMULATED],
        actions: &[Action::Digests],
    },
    Step {
        name: "package",
        shows: "Debian packages for amd64 and arm64: what is in them, installed, upgraded, removed and purged",
        needs: &[install::BUILD, install::PACKAGE, install::CROSS],
        actions: &[Action::Packages],
    },
    Step {
        name: "barriers",
        shows: "compiled for arm64, the driver has its barriers between phases, entries and doorbells",
        needs: &[install::BUILD, install::CROSS],
        actions: &[Action::Barriers],
    },
    Step {
        name: "clients",
        shows: "p4runtime-shell and finsy program the card",
        needs: &[install::BUILD, install::CLIENTS],
        actions: &[Action::Clients],
    },
    Step {
        name: "vfio-user",
        shows: "software drives served over vfio-user to a stock Linux NVMe driver in a virtual machine",
        needs: &[install::MACHINES, install::NEXT_QEMU],
        actions: &[Action::ServedDrives],
    },
    Step {
        name: "drives",
        shows: "gantryctl takes drives from a stock kernel and gives them back, and leaves those in use",
        needs: &[install::MACHINES],
        actions: &[Action::MovedDrives],
    },
    Step {
        name: "vfio",
        shows: "PCIe drives through VFIO in a virtual machine: kept apart by the IOMMU, reset, handed over, asked for back, refused",
        needs: &[install::BUILD, install::MACHINES],
        actions: &[Action::Vfio],
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
        needs: &[install::BUILD, install::MACHINES, install::CLIENTS],
        actions: &[Action::Machines(Target::Gantry)],
    },
    Step {
        name: "card",
        shows: "Gantry in a machine with an IOMMU serves NVMe drives through VFIO to a Linux host",
        needs: &[install::BUILD, install::MACHINES],
        actions: &[Action::Card],
    },
    Step {
        name: "kill",
        shows: "either process dies at any instant and no host loses anything: simulated, then a Linux host",
        needs: &[install::BUILD, install::MACHINES],
        actions: &[Action::SimulatedKilling, Action::Killing],
    },
    Step {
        name: "card-arm64",
        shows: "an aarch64 card with a SMMUv3, from the arm64 package and its units, serves a stock host",
        needs: &[install::BUILD, install::PACKAGE, install::CROSS, install::MACHINES, install::ARM64_MACHINES],
        actions: &[Action::PackagedCard],
    },
];

/// Names every step.
pub(crate) fn list() {
    for step in STEPS {
        println!("{:<10} {}", step.name, step.shows);
    }
}

/// Of a failed step's log, as many lines are shown: more than any test's own words and backtrace.
const SHOWN_LINES: usize = 150;

/// At the very end, as many of them once more: who sees only the end of a long run sees why each step failed.
const LAST_WORDS: usize = 16;

/// Runs the steps that `only` names, or all; true if none failed. At a terminal all they print is seen; elsewhere it goes
/// to a log a step, and its end is shown if the step fails, so that the reason is not lost among what went well.
pub(crate) fn run_steps(only: &[String]) -> Result<bool> {
    let unknown = only.iter().find(|name| !STEPS.iter().any(|step| step.name == split(name).0));
    if let Some(name) = unknown {
        return Err(format!("no step is called {name}: see `cargo xtask test --list`"));
    }
    pass_signals_on()?;
    let chosen = STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| split(name).0 == step.name));
    let watched = std::io::stdout().is_terminal();
    let mut told: Vec<(&str, bool, String)> = Vec::new();
    let mut failed_logs = Vec::new();
    for step in chosen {
        println!("\n=== {}: {}", step.name, step.shows);
        let (begun, computed) = (Instant::now(), programs::computed());
        let log = if watched { None } else { Some(new_log(step.name)?) };
        let passed = step.run(only).unwrap_or_else(|error| {
            eprintln!("{error}");
            false
        });
        write_to(None);
        if let Some(log) = log.filter(|_| !passed) {
            show_end(&log, SHOWN_LINES);
            failed_logs.push(log);
        }
        let (took, computed) = (begun.elapsed(), programs::computed().saturating_sub(computed));
        let took = format!("{:7.1} s, {:7.1} s of a core", took.as_secs_f32(), computed.as_secs_f32());
        println!("=== {} {} in {}", step.name, if passed { "passed" } else { "FAILED" }, took.trim_start());
        told.push((step.name, passed, took));
    }
    for log in &failed_logs {
        println!();
        show_end(log, LAST_WORDS);
    }
    println!();
    for (name, passed, took) in &told {
        println!("{:<12} {:<6} {took}", name, if *passed { "ok" } else { "FAILED" });
    }
    let failed = told.iter().filter(|(_, passed, _)| !passed).count();
    println!("{} passed, {failed} failed", told.len() - failed);
    Ok(failed == 0)
}

/// An empty `<target>/test-logs/<step>.log`, which takes what the step prints from now on.
fn new_log(step: &str) -> Result<PathBuf> {
    let path = target()?.join("test-logs").join(step).with_extension("log");
    let failed = |error: std::io::Error| format!("writing {}: {error}", path.display());
    fs::create_dir_all(path.parent().expect("it lies in a folder")).map_err(failed)?;
    File::create(&path).map_err(failed)?;
    // Several programs write to it, one after the other and at once.
    write_to(Some(OpenOptions::new().append(true).open(&path).map_err(failed)?));
    Ok(path)
}

fn show_end(log: &Path, shown: usize) {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(shown);
    println!("the last {} of {} lines of {}:", lines.len() - from, lines.len(), log.display());
    lines[from..].iter().for_each(|line| println!("{line}"));
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
