//! Everything that needs a virtual machine, as one program: `gantry-vm interop`, `demo`, `shell`. `cargo xtask`
//! installs what it needs, builds Gantry and runs it.

#![forbid(unsafe_code)]

mod demo;
mod shell;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use gantry_tests::clients::CLIENTS;
use gantry_tests::interop::card::{self, Card, Guard, Programs};
use gantry_tests::interop::scenario::{self, Scenario};
use gantry_tests::interop::suite::{self, Score};
use gantry_tests::interop::{Gantry, Nvmet, Paths, Target, drives, kill, vfio_user};
use gantry_tests::vm::{self, Machine, Wire, process};

#[derive(Parser)]
#[command(about = "Gantry in virtual machines")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the interop suite against a target.
    Interop {
        /// What serves the drive.
        #[arg(long, value_enum, default_value = "gantry")]
        target: TargetKind,
        /// Only scenarios whose name contains this; may be repeated.
        #[arg(long)]
        only: Vec<String>,
        /// Name the scenarios instead.
        #[arg(long)]
        list: bool,
        /// Seed of the wire's losses.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Kill Gantry's processes under a host's I/O.
    Kill {
        /// Only scenarios whose name contains this; may be repeated.
        #[arg(long)]
        only: Vec<String>,
        /// Name the scenarios instead.
        #[arg(long)]
        list: bool,
        /// Seed of the moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// The stock Linux driver with software drives that are served over vfio-user.
    VfioUser {
        /// Only scenarios whose name contains this; may be repeated.
        #[arg(long)]
        only: Vec<String>,
        /// Name the scenarios instead.
        #[arg(long)]
        list: bool,
    },
    /// Gantry in a machine with an IOMMU and NVMe drives, and a host in another.
    Card {
        /// Only scenarios whose name contains this; may be repeated.
        #[arg(long)]
        only: Vec<String>,
        /// Name the scenarios instead.
        #[arg(long)]
        list: bool,
    },
    /// P4Runtime clients from PyPI do all that they can with Gantry, without a host.
    Clients,
    /// gantryctl takes drives from a stock kernel and gives them back.
    Drives,
    /// Boot the card (an IOMMU, QEMU's NVMe drives and a network device on vfio-pci) and run commands in it.
    OnCard {
        /// A program of this machine that is put into the card's /bin with its libraries; may be repeated.
        #[arg(long = "with", value_name = "PATH")]
        programs: Vec<PathBuf>,
        /// Shell commands, one after the other.
        #[arg(required = true)]
        commands: Vec<String>,
    },
    /// Install the Debian package in an aarch64 card, serve a host from it, upgrade it under I/O and purge it.
    CardArm64,
    /// Drive the card's drives through VFIO without a data plane.
    Vfio {
        /// The program that does it: rte-rs's example `drive`.
        program: PathBuf,
    },
    /// Boot a host on a target's wire and run commands in it.
    Run {
        /// What is at the other end of the wire.
        #[arg(long, value_enum, default_value = "gantry")]
        target: TargetKind,
        /// Write the host's frames to this pcap file (nvmet only: QEMU does not see vhost-user's).
        #[arg(long)]
        capture: Option<PathBuf>,
        /// Shell commands, one after the other.
        #[arg(required = true)]
        commands: Vec<String>,
    },
    /// Start Gantry and a stock Linux host, and show verified I/O.
    Demo {
        /// Leave everything running at the end, until Ctrl-C.
        #[arg(long)]
        keep: bool,
    },
    /// Open a shell on a machine.
    Shell {
        /// The machine's shell socket.
        socket: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum TargetKind {
    /// The kernel's own target in a second machine: a test of the suite itself.
    Nvmet,
    /// gantry-dataplane and gantryd on this machine.
    Gantry,
    /// The same in a second machine, which has an IOMMU and drives.
    Card,
    /// The same without the IOMMU.
    UnguardedCard,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Interop { list: true, only, .. } => {
            list_of(scenario::ALL, &only);
            Ok(true)
        }
        Command::Interop { target, only, seed, .. } => interop(target, &only, seed),
        Command::Kill { list: true, only, .. } => {
            list_of(kill::ALL, &only);
            Ok(true)
        }
        Command::Kill { only, seed, .. } => kill_processes(&only, seed),
        Command::VfioUser { list: true, .. } => {
            vfio_user::ALL.iter().for_each(|scenario| println!("{:<16} {}", scenario.name, scenario.shows));
            Ok(true)
        }
        Command::VfioUser { only, .. } => process::end_on_interrupt(|| eprintln!("interrupted: everything stopped"))
            .and_then(|()| vfio_user::run(&only)),
        Command::Card { list: true, only } => {
            list_of(card::ALL, &only);
            Ok(true)
        }
        Command::Card { only, .. } => card(&only),
        Command::Clients => clients(),
        Command::Drives => move_drives(),
        Command::OnCard { programs, commands } => on_card(&programs, &commands),
        Command::CardArm64 => card_arm64(),
        Command::Vfio { program } => vfio(&program),
        Command::Run { target, capture, commands } => run(target, capture.as_deref(), &commands),
        Command::Demo { keep } => demo::run(keep).map(|()| true),
        Command::Shell { socket } => shell::run(&socket).map(|()| true),
    };
    process::yield_to_interrupt();
    // Whatever a part that failed left running.
    process::end_all();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts a target of this kind.
fn start(kind: TargetKind, seed: u64) -> vm::Result<Box<dyn Target>> {
    Ok(match kind {
        TargetKind::Nvmet => Box::new(Nvmet::start(seed)?),
        TargetKind::Gantry => Box::new(Gantry::start(&Paths::find()?)?),
        TargetKind::Card => Box::new(Card::start(&Programs::gantry()?, seed)?),
        TargetKind::UnguardedCard => Box::new(Card::start_with(Guard::None, &Programs::gantry()?, seed)?),
    })
}

/// Commands in a card without a network.
fn on_card(paths: &[PathBuf], commands: &[String]) -> vm::Result<bool> {
    process::end_on_interrupt(|| eprintln!("interrupted: everything stopped"))?;
    let mut programs = Programs::none()?;
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        programs = programs.with(&name, path);
    }
    let machine = card::boot(&programs, card::drives(), Wire::None)?;
    eprintln!("the card booted in {:.1} s", machine.boot_time().as_secs_f32());
    // Every NVMe controller of QEMU's.
    machine.run_ok("echo 1b36 0010 >/sys/bus/pci/drivers/vfio-pci/new_id")?;
    all_of(&machine, commands)
}

/// The package's life in an aarch64 card.
fn card_arm64() -> vm::Result<bool> {
    process::end_on_interrupt(|| eprintln!("interrupted: everything stopped"))?;
    let begun = Instant::now();
    card::installed::story(&card::installed::Package::find()?, &mut |shown, took| {
        println!("{:6.1} s  {shown}", took.as_secs_f32());
    })?;
    println!("{:6.1} s  in all", begun.elapsed().as_secs_f32());
    Ok(true)
}

fn vfio(program: &Path) -> vm::Result<bool> {
    process::end_on_interrupt(|| eprintln!("interrupted: everything stopped"))?;
    card::vfio::run(program)?;
    card::unguarded::run(program)?;
    Ok(true)
}

fn run(kind: TargetKind, capture: Option<&Path>, commands: &[String]) -> vm::Result<bool> {
    process::end_on_interrupt(|| eprintln!("interrupted: everything stopped"))?;
    let mut target = start(kind, 1)?;
    let host = target.boot_host()?;
    let _capture = capture.map(|path| host.capture(path)).transpose()?;
    all_of(&host, commands)
}

/// Runs one command after the other; whether all ended well.
fn all_of(machine: &Machine, commands: &[String]) -> vm::Result<bool> {
    let mut all_well = true;
    for command in commands {
        println!("# {command}");
        let output = machine.stream(command, Duration::from_secs(600), &mut |line| println!("{line}"))?;
        eprint!("{}", output.stderr);
        all_well &= output.ok();
    }
    Ok(all_well)
}

/// `GANTRYCTL`, else what lies beside this program.
fn move_drives() -> vm::Result<bool> {
    process::end_on_interrupt(|| eprintln!("interrupted: everything stopped"))?;
    let beside = || std::env::current_exe().map(|own| own.with_file_name("gantryctl"));
    let gantryctl = std::env::var_os("GANTRYCTL").map_or_else(beside, |path| Ok(path.into()));
    drives::run(&gantryctl.map_err(vm::Error::doing("finding this program"))?)
}

/// Every client does everything that there is to do with Gantry.
fn clients() -> vm::Result<bool> {
    process::end_on_interrupt(|| eprintln!("interrupted: everything stopped"))?;
    let gantry = Box::new(Gantry::start(&Paths::find()?)?);
    let card = gantry.p4runtime()?;
    CLIENTS[0].wait_until_served(card, Duration::from_secs(20))?;
    for client in &CLIENTS {
        let begun = Instant::now();
        let said = client.run_ok(card, &["all", "192.0.2.7"])?;
        // What the library itself makes of the P4Info is long.
        said.lines().filter(|line| !line.starts_with('#')).for_each(|line| println!("  {line}"));
        println!("{}: {:.1} s", client.name, begun.elapsed().as_secs_f32());
    }
    gantry.check_health()?;
    gantry.stop()?;
    Ok(true)
}

fn list_of<T: ?Sized>(all: &[Scenario<T>], only: &[String]) {
    for scenario in suite::chosen(all, only) {
        println!("{:<16} {}", scenario.name, scenario.shows);
    }
}

fn interop(kind: TargetKind, only: &[String], seed: u64) -> vm::Result<bool> {
    scored(scenario::ALL, only, || start(kind, seed))
}

fn kill_processes(only: &[String], seed: u64) -> vm::Result<bool> {
    println!("seed {seed}");
    scored(kill::ALL, only, || Ok(Box::new(Gantry::start_on_files(&Paths::find()?, seed)?)))
}

fn card(only: &[String]) -> vm::Result<bool> {
    scored(card::ALL, only, || {
        let begun = Instant::now();
        let card = Card::start(&Programs::gantry()?, 1)?;
        let booted = card.machine().boot_time().as_secs_f32();
        println!("  card booted in {booted:.1} s, and serves after {:.1} s", begun.elapsed().as_secs_f32());
        Ok(Box::new(card))
    })
}

/// Runs the scenarios of `all` that `only` names against what `start` gives; true if none failed.
fn scored<T: Target + ?Sized>(
    all: &[Scenario<T>],
    only: &[String],
    start: impl FnOnce() -> vm::Result<Box<T>>,
) -> vm::Result<bool> {
    process::end_on_interrupt(|| eprintln!("interrupted: everything stopped"))?;
    let scenarios = suite::chosen(all, only);
    if scenarios.is_empty() {
        return Err(vm::Error::Unexpected(format!("no scenario is called {}", only.join(" or "))));
    }
    let mut target = start()?;
    println!("with {}", target.name());
    let Score { passed, failed } = suite::run(target.as_mut(), &scenarios)?;
    target.stop()?;
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}
