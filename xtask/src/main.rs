//! The developer's commands, as `cargo xtask <command>`.

#![forbid(unsafe_code)]

mod arm64;
mod barriers;
mod bench;
mod demo;
mod digest;
mod executables;
mod install;
mod mutants;
mod package;
mod programs;
mod python;
mod steps;
mod sysroot;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a command gives: success, failure already told, or a failure to tell.
type Result<T> = std::result::Result<T, String>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Gantry's commands for its developers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A stock Debian host in a virtual machine connects to Gantry, makes a filesystem and verifies its I/O.
    Demo {
        /// Leave everything running until Ctrl-C, and say how to log in.
        #[arg(long)]
        keep: bool,
        /// A host model in one process instead: neither QEMU nor root.
        #[arg(long, conflicts_with = "keep")]
        no_vm: bool,
    },
    /// Every test, or those named.
    Test {
        /// Only this step; may be repeated. `interop/NAME` runs one scenario of it.
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Name the steps instead.
        #[arg(long)]
        list: bool,
    },
    /// Debian packages, built on this machine.
    Package {
        /// Only for this architecture; may be repeated. For both without it.
        #[arg(long, value_name = "ARCHITECTURE")]
        arch: Vec<package::Architecture>,
    },
    /// Bugs are planted one at a time, from a list and by cargo-mutants: who finds them?
    Mutants(mutants::Arguments),
    /// What packets and table updates cost, each beside a reference in the same run.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo { no_vm: true, .. } => demo::without_machine(),
        Command::Demo { keep, .. } => demo::run_with_machine(keep),
        Command::Test { list: true, .. } => {
            steps::list();
            Ok(true)
        }
        Command::Bench(arguments) => bench::measure(&arguments),
        Command::Package { arch } => package::make(&arch),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::Test { only, .. } => steps::run_steps(&only),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
