//! Running other programs: cargo, and what it has built.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

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
pub(crate) fn built(profile: &str, name: impl AsRef<Path>) -> Result<PathBuf> {
    Ok(target()?.join(profile).join(name))
}

/// The target folder: xtask itself lies in `<target>/debug`.
pub(crate) fn target() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| format!("finding xtask itself: {error}"))?;
    own.ancestors().nth(2).map(Path::to_owned).ok_or_else(|| "xtask lies in no target folder".to_owned())
}

/// Crates whose programs, examples and tests are wanted as a release. Each build names all of them, because cargo settles the
/// features of their dependencies for those that are named together: others would be another build.
const RELEASED: [&str; 5] = ["gantry-poller", "gantryd", "gantryctl", "gantry-sim", "rte-rs"];

/// A cargo command about a release.
pub(crate) fn release(subcommand: &str, chosen: &[&str]) -> Command {
    let mut command = cargo(&[subcommand, "--release"]);
    command.args(RELEASED.iter().flat_map(|name| ["-p", name])).args(chosen);
    command
}

/// Builds a release, and gives the path of `name` of it.
pub(crate) fn released(kind: &str, name: &str) -> Result<PathBuf> {
    done(&mut release("build", &[kind, name]))?;
    built("release", if kind == "--example" { format!("examples/{name}") } else { name.to_owned() })
}

/// Builds a program or an example as it is for tests, and gives its path. The test that is named beside it is a small one: with
/// any, cargo counts the features that tests want, and the build is the one of `cargo test --workspace`.
pub(crate) fn tested(kind: &str, name: &str) -> Result<PathBuf> {
    done(&mut cargo(&["build", "--workspace", kind, name, "--test", "region"]))?;
    built("debug", if kind == "--example" { format!("examples/{name}") } else { name.to_owned() })
}

/// Builds the machines' program, and gives it.
pub(crate) fn machines() -> Result<Command> {
    Ok(Command::new(tested("--bin", "gantry-vm")?))
}

/// The same, with Gantry built (release) and the program told where it is.
pub(crate) fn machines_with_gantry() -> Result<Command> {
    let programs = [("GANTRY_DATAPLANE", "gantry-dataplane"), ("GANTRYD", "gantryd"), ("GANTRYCTL", "gantryctl")];
    done(&mut release("build", &programs.map(|(_, name)| ["--bin", name]).concat()))?;
    let mut command = machines()?;
    for (variable, name) in programs {
        command.env(variable, built("release", name)?);
    }
    Ok(command)
}

/// The same, with gantryctl.
pub(crate) fn machines_with_gantryctl() -> Result<Command> {
    let mut command = machines()?;
    command.env("GANTRYCTL", tested("--bin", "gantryctl")?);
    Ok(command)
}

/// The same, with the simulator's program built (release), which serves drives.
pub(crate) fn machines_with_drives() -> Result<Command> {
    let mut command = machines()?;
    command.env("GANTRY_SIM", released("--bin", "gantry-sim")?);
    Ok(command)
}

/// The same, with what else is put into a card.
pub(crate) fn machines_with_card() -> Result<Command> {
    let mut command = machines_with_gantry()?;
    command.env("GANTRY_STRAY", tested("--example", "stray")?);
    Ok(command)
}

/// The machines' program, and rte-rs's example that drives PCIe drives.
pub(crate) fn machines_with_drive_program() -> Result<(Command, PathBuf)> {
    Ok((machines()?, tested("--example", "drive")?))
}

/// `command` with the P4Runtime clients' environments made, and told where they are.
pub(crate) fn with_clients(mut command: Command) -> Result<Command> {
    command.env("GANTRY_VENVS", python::environments()?);
    Ok(command)
}

/// Runs `command`, which is to succeed.
pub(crate) fn done(command: &mut Command) -> Result<()> {
    match run(command)? {
        status if status.success() => Ok(()),
        status => {
            let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
            Err(format!("{} {} failed ({status})", command.get_program().display(), words.join(" ")))
        }
    }
}

/// Where what `run` starts writes to, if not in sight of the user.
static LOG: Mutex<Option<File>> = Mutex::new(None);

/// From now on what `run` starts writes to `log`, or, without one, in sight of the user.
pub(crate) fn write_to(log: Option<File>) {
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = log;
}

/// Says `text` there too.
pub(crate) fn tell(text: &str) {
    match &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
        // What a full disk takes no more is missed by who reads the log.
        Some(log) => drop(log.write_all(text.as_bytes())),
        None => print!("{text}"),
    }
}

/// The children that a signal has to reach.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Runs `command` to its end, in sight of the user or, after `write_to`, into its log.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    if let Some(log) = log()? {
        command.stdout(log);
    }
    log_errors(command)?;
    wait(start(command)?)
}

/// The same, and gives what the program prints on its standard output.
pub(crate) fn output(command: &mut Command) -> Result<(ExitStatus, String)> {
    log_errors(command)?;
    let mut child = start(command.stdout(Stdio::piped()))?;
    let told = read_all(child.1.stdout.take().expect("it was piped just above"));
    Ok((wait(child)?, told?))
}

/// The same, and gives what the program prints anywhere, in its order.
pub(crate) fn output_of_both(mut command: Command) -> Result<(ExitStatus, String)> {
    let failed = |error: std::io::Error| format!("making a pipe: {error}");
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let child = start(&mut command)?;
    // It holds the pipe's other end.
    drop(command);
    let told = read_all(reader);
    Ok((wait(child)?, told?))
}

fn log_errors(command: &mut Command) -> Result<()> {
    if let Some(log) = log()? {
        command.stderr(log);
    }
    Ok(())
}

fn log() -> Result<Option<File>> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.as_ref().map(|log| log.try_clone().map_err(|error| format!("opening the log again: {error}"))).transpose()
}

fn read_all(mut from: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(|error| format!("reading what a program prints: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A child and what it is called.
type Named = (String, Child);

fn start(command: &mut Command) -> Result<Named> {
    let named = command.get_program().display().to_string();
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("starting {named}: {error}"))?;
    running.insert(child.id());
    Ok((named, child))
}

fn wait((named, mut child): Named) -> Result<ExitStatus> {
    let status = child.wait().map_err(|error| format!("waiting for {named}: {error}"));
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&child.id());
    status
}

/// What programs that have ended have computed, they and those they waited for, on all cores together.
pub(crate) fn computed() -> Duration {
    computed_by(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default()).unwrap_or_default()
}

/// proc(5): behind the name in brackets the 14th and 15th field are what children took for themselves and of the kernel, in
/// hundredths of a second.
fn computed_by(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// On SIGINT and SIGTERM from now on: passes SIGTERM on to the running children, waits for them to clean up after themselves,
/// and ends with status 130.
pub(crate) fn pass_signals_on() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .map_err(|error| format!("registering for signals: {error}"))?;
    thread::spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        // Who waits for a child needs the lock after it, and starts nothing new.
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &*running {
            let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status();
        }
        for id in &*running {
            while Path::new(&format!("/proc/{id}/exe")).exists() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        eprintln!("interrupted");
        std::process::exit(130);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_children_computed_is_told() {
        let stat = "71 (x) y) S 1 71 71 0 -1 4194560 9 8 7 6 5 4 310 25 20 0 1 0 99";
        assert_eq!(computed_by(stat), Some(Duration::from_millis(3350)));
        assert_eq!(computed_by("71 (x) S 1"), None);
        let before = computed();
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(run(Command::new("sh").args(["-c", busy])).unwrap().success());
        assert!(computed() > before);
    }

    #[test]
    fn output_is_kept_in_its_order() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 4"]);
        let (status, told) = output_of_both(command).unwrap();
        assert_eq!((status.code(), told.as_str()), (Some(4), "one\ntwo\nthree\n"));
        let (status, told) = output(Command::new("sh").args(["-c", "echo one; echo two >&2"])).unwrap();
        assert_eq!((status.success(), told.as_str()), (true, "one\n"));
    }
}
