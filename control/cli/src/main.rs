//! gantryctl: what an operator asks of a card, running or not: counters, drives, and what there is to mend.

#![forbid(unsafe_code)]

mod counters;
#[cfg(test)]
mod described;
mod doctor;
mod drive;
mod machine;
mod segment;

use clap::{Parser, Subcommand};
use machine::{Machine, Running};
use std::path::PathBuf;
use std::process::ExitCode;

/// Questions to a card.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// The data plane's counters, summed over its lcores.
    Counters {
        /// The statistics segment: the channel's path with `.stats` behind it.
        #[arg(long, value_name = "PATH", default_value = "/run/gantry/channel.stats")]
        stats: PathBuf,
        /// Show counters that are zero too.
        #[arg(long)]
        all: bool,
        /// Show them every second, with what was added in it.
        #[arg(long)]
        watch: bool,
    },
    /// This machine's NVMe drives: list them, give them to the data plane, give them back.
    Drive {
        #[command(subcommand)]
        action: drive::Action,
    },
    /// Look at this machine and say what to mend, each with its remedy. Ends with 1 when there are errors, with 3 when there are
    /// warnings only.
    Doctor {
        /// gantryd's configuration.
        #[arg(long, value_name = "FILE", default_value = "/etc/gantry/gantry.toml")]
        config: PathBuf,
        /// The gantryd that checks it.
        #[arg(long, value_name = "PROGRAM", default_value = "gantryd")]
        gantryd: String,
        /// As JSON, one object a finding.
        #[arg(long)]
        json: bool,
        /// Leave out what is fine.
        #[arg(long)]
        faults: bool,
    },
}

fn main() -> ExitCode {
    let machine = Machine::new("/", &Running);
    match Arguments::parse().question {
        Question::Counters { stats, all, watch } => counters::run(&stats, all, watch),
        Question::Doctor { config, gantryd, json, faults } => doctor::run(&machine, &config, &gantryd, json, faults),
        Question::Drive { action } => drive::run(&action, &machine),
    }
}
