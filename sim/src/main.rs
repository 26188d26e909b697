//! gantry-sim: the system in one thread, for those who have neither card nor virtual machine.

#![forbid(unsafe_code)]

mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let Command::Demo(arguments) = Arguments::parse().command;
    match demo::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gantry-sim: {error}");
            ExitCode::FAILURE
        }
    }
}
