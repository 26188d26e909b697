//! gantryd: the control process. A shell around [`gantry_control::Control`] and, when it is asked for, the P4Runtime server of
//! [`gantry_api`]: the configuration file, the channel's socket, the clock, the log. It may be killed at any instant; hosts' I/O goes on in the data plane.
//!
//! It ends with 0 when it is told to end, with 1 when it cannot run, and with 3 when a newer gantryd has the data plane:
//! starting it again would take the data plane away from that one.

#![forbid(unsafe_code)]

mod channel;
mod config;
mod epoch;
mod p4runtime;

use clap::Parser;
use config::Config;
use gantry_control::Control;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// Gantry's control process.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/gantry/gantry.toml")]
    config: PathBuf,
    /// Check the configuration file and do nothing else.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match read(&arguments.config) {
        Ok(config) => config,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.check {
        let desired = &config.desired;
        let (ports, drives, subsystems) = (desired.ports.len(), desired.drives.len(), desired.subsystems.len());
        println!("{}: good; ports: {ports}, drives: {drives}, subsystems: {subsystems}", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).init();
    match run(config) {
        Ok(End::Told) => ExitCode::SUCCESS,
        Ok(End::Fenced(text)) => {
            error!("this gantryd ends, for another one has the data plane: {text}");
            ExitCode::from(EXIT_FENCED)
        }
        Err(failure) => {
            error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &Path) -> Result<Config, String> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    config::parse(&file, &text).map_err(|problems| problems.to_string())
}

/// Exit status of a gantryd that a newer one has fenced.
const EXIT_FENCED: u8 = 3;

/// Why it ends.
enum End {
    /// By a signal.
    Told,
    /// By a newer control; the data plane's words.
    Fenced(String),
}

fn run(config: Config) -> std::io::Result<End> {
    let Config { channel, mut desired, p4runtime } = config;
    desired.epoch = epoch::next(&channel);
    let mut seed = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let control = Control::new(desired, u64::from_ne_bytes(seed));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tables = p4runtime.map(|config| {
            let tables = p4runtime::tables(config.device_id);
            tokio::spawn(p4runtime::listen(tables.clone(), config));
            tables
        });
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            text = channel::serve(control, &channel, tables.as_ref()) => return Ok(End::Fenced(text)),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("gantryd ends; the data plane goes on serving");
        Ok(End::Told)
    })
}
