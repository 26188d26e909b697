//! Gantry as the target: both processes as a user starts them, and a host machine over vhost-user.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{free_address, wait_for_listener};
use crate::vm::process::{Process, Scratch};
use crate::vm::{Error, Machine, Result, Wire};

use super::counters::Counters;
use super::target::{HOST_ADDRESS, Target, subsystem};

/// From the data plane's start to its channel.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Where the processes' programs are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `gantry-dataplane`.
    pub dataplane: PathBuf,
    /// `gantryd`.
    pub control: PathBuf,
}

impl Paths {
    /// From `GANTRY_DATAPLANE` and `GANTRYD`, else beside this program.
    pub fn find() -> Result<Self> {
        Ok(Self {
            dataplane: find_program("GANTRY_DATAPLANE", "gantry-dataplane")?,
            control: find_program("GANTRYD", "gantryd")?,
        })
    }
}

/// Where a program is: what the variable says, else beside this one.
pub(super) fn find_program(variable: &str, name: &str) -> Result<PathBuf> {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().map_err(Error::doing("finding this program"))?.with_file_name(name),
    };
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Unexpected(format!("no {name} at {}: build it, or set {variable}", path.display())))
}

/// From control's start to its P4Runtime server.
const LISTEN_LIMIT: Duration = Duration::from_secs(20);

/// Both processes, serving two software drives.
pub struct Gantry {
    control: Process,
    dataplane: Process,
    paths: Paths,
    scratch: Scratch,
    seed: u64,
    p4runtime: SocketAddr,
}

/// What the drives keep their blocks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    /// The data plane's memory: gone when it ends.
    Memory,
    /// Files, which outlive it.
    Files,
}

impl Gantry {
    /// Starts the data plane, then control with a configuration for [`subsystem`], on drives in memory.
    pub fn start(paths: &Paths) -> Result<Self> {
        Self::start_on(paths, Medium::Memory, 1)
    }

    /// [`Self::start`] on drives that are files; scenarios draw their chances from `seed`.
    pub fn start_on_files(paths: &Paths, seed: u64) -> Result<Self> {
        Self::start_on(paths, Medium::Files, seed)
    }

    fn start_on(paths: &Paths, medium: Medium, seed: u64) -> Result<Self> {
        let scratch = Scratch::new()?;
        let config = scratch.join(CONFIG);
        let p4runtime = free_address()?;
        fs::write(&config, configuration(scratch.path(), medium, p4runtime)).map_err(Error::on("writing", &config))?;
        let dataplane = dataplane(paths, &scratch)?;
        let control = control(paths, &scratch)?;
        Ok(Self { control, dataplane, paths: paths.clone(), scratch, seed, p4runtime })
    }

    /// Kills control (SIGKILL); fails if it had ended by itself.
    pub fn kill_control(&mut self) -> Result<()> {
        ended(&self.scratch, &self.control)?;
        self.control.kill();
        Ok(())
    }

    /// Starts control in place of one that has been killed.
    pub fn start_control(&mut self) -> Result<()> {
        self.control = control(&self.paths, &self.scratch)?;
        Ok(())
    }

    /// Starts a second control beside the one that serves, and gives that one away: this is now [`Gantry`]'s own.
    pub fn supersede_control(&mut self) -> Result<Process> {
        Ok(std::mem::replace(&mut self.control, control(&self.paths, &self.scratch)?))
    }

    /// Kills the data plane (SIGKILL); fails if it had ended by itself.
    pub fn kill_dataplane(&mut self) -> Result<()> {
        ended(&self.scratch, &self.dataplane)?;
        self.dataplane.kill();
        Ok(())
    }

    /// Starts the data plane in place of one that has been killed, and waits for its channel.
    pub fn start_dataplane(&mut self) -> Result<()> {
        self.dataplane = dataplane(&self.paths, &self.scratch)?;
        Ok(())
    }

    /// What scenarios draw their chances from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The file of counters that the data plane keeps beside its channel.
    pub fn stats(&self) -> PathBuf {
        stats(&self.scratch)
    }

    /// The configuration that control was started with.
    pub fn config(&self) -> PathBuf {
        self.scratch.join(CONFIG)
    }

    /// The logs of both processes. A process that was killed and its successor write the same one.
    pub fn logs(&self) -> [PathBuf; 2] {
        [&self.dataplane, &self.control].map(|process| log_path(&self.scratch, process.name()))
    }

    /// Process ids: data plane, control.
    pub fn ids(&self) -> [u32; 2] {
        [self.dataplane.id(), self.control.id()]
    }
}

/// Control's configuration, in the scratch folder; beside it lie the channel and the wire.
const CONFIG: &str = "gantry.toml";
const CHANNEL: &str = "channel";
const WIRE: &str = "wire";

fn stats(scratch: &Scratch) -> PathBuf {
    scratch.join(format!("{CHANNEL}.stats"))
}

/// Starts a data plane and waits until it takes a control.
fn dataplane(paths: &Paths, scratch: &Scratch) -> Result<Process> {
    let channel = scratch.join(CHANNEL);
    let dataplane = start(scratch, "gantry-dataplane", &paths.dataplane, |command| {
        command.arg("--channel").arg(&channel).args(["--lcores", "1", "--no-huge", "--memory", "256"]);
    })?;
    let end = Instant::now() + START_LIMIT;
    // The channel of one that was killed lies there still, so the statistics say whose it is: they come after it.
    while !Counters::read(&stats(scratch)).is_ok_and(|counters| counters.pid == dataplane.id()) {
        ended(scratch, &dataplane)?;
        if Instant::now() >= end {
            let message = format!("gantry-dataplane made no channel in {START_LIMIT:?}");
            return Err(Error::Unexpected(message + &log_tail(scratch, dataplane.name())));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(dataplane)
}

fn control(paths: &Paths, scratch: &Scratch) -> Result<Process> {
    start(scratch, "gantryd", &paths.control, |command| {
        command.arg("--config").arg(scratch.join(CONFIG));
    })
}

fn log_path(scratch: &Scratch, name: &str) -> PathBuf {
    scratch.join(format!("{name}.log"))
}

fn start(
    scratch: &Scratch,
    name: &str,
    program: &Path,
    set_up: impl FnOnce(&mut std::process::Command),
) -> Result<Process> {
    let path = log_path(scratch, name);
    let log = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::on("opening", &path))?;
    let errors = log.try_clone().map_err(Error::on("opening", &path))?;
    Process::spawn(name, program, |command| {
        set_up(command);
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(log).stderr(errors);
    })
}

fn log_tail(scratch: &Scratch, name: &str) -> String {
    let log = fs::read(log_path(scratch, name)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    let mut text = format!("; the end of {name}'s log:");
    for line in &lines[lines.len().saturating_sub(30)..] {
        write!(text, "\n    {line}").expect("a String takes all");
    }
    text
}

fn ended(scratch: &Scratch, process: &Process) -> Result<()> {
    match process.exited() {
        None => Ok(()),
        Some(status) => {
            let message = format!("{} ended by itself ({status})", process.name());
            Err(Error::Unexpected(message + &log_tail(scratch, process.name())))
        }
    }
}

fn configuration(folder: &Path, medium: Medium, p4runtime: SocketAddr) -> String {
    let (channel, wire) = (folder.join(CHANNEL), folder.join(WIRE));
    let (channel, wire) = (channel.display(), wire.display());
    let drive = |name: &str, megabytes: u64| match medium {
        Medium::Memory => format!("mem:{megabytes}M"),
        Medium::Files => format!("file:{},size={megabytes}M", folder.join(name).display()),
    };
    let (d0, d1) = (drive("d0", subsystem::OPEN_BYTES >> 20), drive("d1", 16));
    let (open, open_uuid) = (subsystem::OPEN, subsystem::OPEN_UUID);
    let (private, private_uuid, other) = (subsystem::PRIVATE, subsystem::PRIVATE_UUID, subsystem::OTHER_HOST);
    format!(
        r#"[dataplane]
channel = "{channel}"

[p4runtime]
listen = "{p4runtime}"

[[port]]
name = "wire0"
device = "net_vhost0,iface={wire},client=1"
addresses = ["10.0.0.1/24"]
vlan = 0

[[drive]]
name = "d0"
uri = "{d0}"

[[drive]]
name = "d1"
uri = "{d1}"

[[subsystem]]
nqn = "{open}"
hosts = "any"
namespaces = [{{ nsid = 1, drive = "d0", uuid = "{open_uuid}" }}]

[[subsystem]]
nqn = "{private}"
hosts = ["{other}"]
namespaces = [{{ nsid = 1, drive = "d1", uuid = "{private_uuid}" }}]
"#
    )
}

impl Target for Gantry {
    fn name(&self) -> &str {
        "gantry"
    }

    fn address(&self) -> &str {
        "10.0.0.1"
    }

    fn p4runtime(&self) -> Result<SocketAddr> {
        wait_for_listener(self.p4runtime, LISTEN_LIMIT, &|| self.check_health())?;
        Ok(self.p4runtime)
    }

    fn boot_host(&mut self) -> Result<Machine> {
        let socket = self.scratch.join(WIRE);
        // A host before this one may have left its socket: QEMU makes a new one.
        let _ = fs::remove_file(&socket);
        let builder =
            Machine::builder("host").wire(Wire::VhostUser { socket }).address(&format!("{HOST_ADDRESS}/24")).rdma();
        builder.boot_while(&|| self.check_health())
    }

    fn check_health(&self) -> Result<()> {
        ended(&self.scratch, &self.dataplane)?;
        ended(&self.scratch, &self.control)
    }

    fn said(&self) -> String {
        [&self.dataplane, &self.control].map(|process| log_tail(&self.scratch, process.name())).concat()
    }

    /// Control first, as a user would (SIGTERM).
    fn stop(self: Box<Self>) -> Result<()> {
        for process in [&self.control, &self.dataplane] {
            let status = process.stop(Duration::from_secs(10));
            if !status.is_some_and(|status| status.success()) {
                let message = format!("{} did not end well on SIGTERM ({status:?})", process.name());
                return Err(Error::Unexpected(message + &log_tail(&self.scratch, process.name())));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_with_both_subsystems() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 40000));
        for (medium, uri) in [(Medium::Memory, "mem:64M"), (Medium::Files, "file:/run/d0,size=64M")] {
            let table: toml::Table = configuration(Path::new("/run"), medium, listen).parse().expect("valid TOML");
            let subsystems = table["subsystem"].as_array().expect("a list");
            assert_eq!(subsystems.len(), 2);
            assert_eq!(table["p4runtime"]["listen"].as_str(), Some("127.0.0.1:40000"));
            assert_eq!(table["port"][0]["device"].as_str(), Some("net_vhost0,iface=/run/wire,client=1"));
            assert_eq!(table["drive"][0]["uri"].as_str(), Some(uri));
            assert_eq!(subsystems[0]["namespaces"][0]["uuid"].as_str(), Some(subsystem::OPEN_UUID));
        }
    }
}
