//! gantry-sim: the system in one thread, for those who have neither card nor virtual machine.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli::{demo, runs, scenario, serve_drive};

/// Gantry's simulator.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A host connects, runs verified I/O in real time, and leaves; then a table of what happened at every stage.
    Demo(demo::Arguments),
    /// One run: topology, load and faults drawn from a seed, in virtual time. The last line is verdict and digest.
    Run(runs::RunArguments),
    /// Many runs, each from a seed of its own. What fails is shrunk and written down.
    Swarm(runs::SwarmArguments),
    /// A run from a file that a failure has left behind.
    Replay(runs::ReplayArguments),
    /// A situation by name: figures, then verdict and digest. Without a name, those that there are.
    Scenario(scenario::Arguments),
    /// The software drive as a PCI device for another process: a virtual machine, another gantry-dataplane. vfio-user.
    ServeDrive(serve_drive::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => runs::run(&arguments),
        Command::Swarm(arguments) => runs::swarm(&arguments),
        Command::Replay(arguments) => runs::replay(&arguments),
        Command::Scenario(arguments) => scenario::run(&arguments),
        Command::ServeDrive(arguments) => serve_drive::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gantry-sim: {error}");
            ExitCode::FAILURE
        }
    }
}
