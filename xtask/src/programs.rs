//! Running other programs: cargo, and what it has built.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::{Result, python};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the workspace").to_owned()
}

/// A cargo command in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// `<target>/<profile>/<name>`, where cargo puts what it builds.
fn built(profile: &str, name: &str) -> Result<PathBuf> {
    Ok(target()?.join(profile).join(name))
}

/// The target folder: xtask itself lies in `<target>/debug`.
pub(crate) fn target() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| format!("finding xtask itself: {error}"))?;
    own.ancestors().nth(2).map(Path::to_owned).ok_or_else(|| "xtask lies in no target folder".to_owned())
}

/// Builds the machines' program, and gives it.
pub(crate) fn machines() -> Result<Command> {
    build(&["build", "-p", "gantry-tests", "--bin", "gantry-vm"])?;
    Ok(Command::new(built("debug", "gantry-vm")?))
}

/// The same, with Gantry built (release) and the program told where it is.
pub(crate) fn machines_with_gantry() -> Result<Command> {
    build(&["build", "--release", "-p", "gantry-poller", "-p", "gantryd", "-p", "gantryctl"])?;
    let mut command = machines()?;
    let programs = [("GANTRY_DATAPLANE", "gantry-dataplane"), ("GANTRYD", "gantryd"), ("GANTRYCTL", "gantryctl")];
    for (variable, name) in programs {
        command.env(variable, built("release", name)?);
    }
    Ok(command)
}

/// The same, with gantryctl.
pub(crate) fn machines_with_gantryctl() -> Result<Command> {
    build(&["build", "-p", "gantryctl"])?;
    let mut command = machines()?;
    command.env("GANTRYCTL", built("debug", "gantryctl")?);
    Ok(command)
}

/// The same, with the simulator's program built (release), which serves drives.
pub(crate) fn machines_with_drives() -> Result<Command> {
    build(&["build", "--release", "-p", "gantry-sim", "--bin", "gantry-sim"])?;
    let mut command = machines()?;
    command.env("GANTRY_SIM", built("release", "gantry-sim")?);
    Ok(command)
}

/// The same, with what else is put into a card.
pub(crate) fn machines_with_card() -> Result<Command> {
    let mut command = machines_with_gantry()?;
    build(&["build", "--release", "-p", "rte-rs", "--example", "stray"])?;
    command.env("GANTRY_STRAY", built("release", "examples/stray")?);
    Ok(command)
}

/// The machines' program, and rte-rs's example that drives PCIe drives.
pub(crate) fn machines_with_drive_program() -> Result<(Command, PathBuf)> {
    build(&["build", "--release", "-p", "rte-rs", "--example", "drive"])?;
    Ok((machines()?, built("release", "examples/drive")?))
}

/// `command` with the P4Runtime clients' environments made, and told where they are.
pub(crate) fn with_clients(mut command: Command) -> Result<Command> {
    command.env("GANTRY_VENVS", python::environments()?);
    Ok(command)
}

fn build(arguments: &[&str]) -> Result<()> {
    match run(&mut cargo(arguments))? {
        status if status.success() => Ok(()),
        _ => Err(format!("cargo {} failed", arguments.join(" "))),
    }
}

/// Where what `run` starts writes to, if not in sight of the user.
static LOG: Mutex<Option<File>> = Mutex::new(None);

/// From now on what `run` starts writes to `log`, or, without one, in sight of the user.
pub(crate) fn write_to(log: Option<File>) {
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = log;
}

/// The child that a signal has to reach.
static RUNNING: Mutex<Option<u32>> = Mutex::new(None);

/// Runs `command` to its end, in sight of the user or, after `write_to`, into its log.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    let named = format!("{}", command.get_program().display());
    if let Some(log) = &*LOG.lock().unwrap_or_else(PoisonError::into_inner) {
        let again = || log.try_clone().map_err(|error| format!("opening the log of {named} again: {error}"));
        command.stdout(again()?).stderr(again()?);
    }
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let spawned = command.stdin(Stdio::null()).spawn();
    let mut child: Child = spawned.map_err(|error| format!("starting {named}: {error}"))?;
    *running = Some(child.id());
    drop(running);
    let status = child.wait().map_err(|error| format!("waiting for {named}: {error}"));
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = None;
    status
}

/// On SIGINT and SIGTERM from now on: passes SIGTERM on to the running child, waits for it to clean up after itself,
/// and ends with status 130.
pub(crate) fn pass_signals_on() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .map_err(|error| format!("registering for signals: {error}"))?;
    thread::spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = *running {
            let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status();
            // The main thread waits for the child, and then needs the lock: it starts nothing new.
            while Path::new(&format!("/proc/{id}/exe")).exists() {
                thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        eprintln!("interrupted");
        std::process::exit(130);
    });
    Ok(())
}
