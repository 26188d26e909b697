//! Gantry as the target: both processes as a user starts them, and a host machine over vhost-user.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::vm::process::{Process, Scratch};
use crate::vm::{Error, Machine, Result, Wire};

use super::target::{Target, subsystem};

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
        let find = |variable: &str, name: &str| {
            let path = match std::env::var_os(variable) {
                Some(path) => PathBuf::from(path),
                None => std::env::current_exe().map_err(Error::doing("finding this program"))?.with_file_name(name),
            };
            if path.exists() {
                return Ok(path);
            }
            Err(Error::Unexpected(format!("no {name} at {}: build it, or set {variable}", path.display())))
        };
        Ok(Self { dataplane: find("GANTRY_DATAPLANE", "gantry-dataplane")?, control: find("GANTRYD", "gantryd")? })
    }
}

/// Both processes, serving two software drives.
pub struct Gantry {
    control: Process,
    dataplane: Process,
    scratch: Scratch,
}

impl Gantry {
    /// Starts the data plane, then control with a configuration for [`subsystem`].
    pub fn start(paths: &Paths) -> Result<Self> {
        let scratch = Scratch::new()?;
        let channel = scratch.join("channel");
        let dataplane = start(&scratch, "gantry-dataplane", &paths.dataplane, |command| {
            command.arg("--channel").arg(&channel).args(["--lcores", "1", "--no-huge", "--memory", "256"]);
        })?;
        let end = Instant::now() + START_LIMIT;
        while !channel.exists() {
            ended(&scratch, &dataplane)?;
            if Instant::now() >= end {
                let message = format!("gantry-dataplane made no channel in {START_LIMIT:?}");
                return Err(Error::Unexpected(message + &log_tail(&scratch, dataplane.name())));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let config = scratch.join("gantry.toml");
        fs::write(&config, configuration(&channel, &scratch.join("wire"))).map_err(Error::on("writing", &config))?;
        let control = start(&scratch, "gantryd", &paths.control, |command| {
            command.arg("--config").arg(&config);
        })?;
        Ok(Self { control, dataplane, scratch })
    }

    /// The file of counters that the data plane keeps beside its channel.
    pub fn stats(&self) -> PathBuf {
        self.scratch.join("channel.stats")
    }

    /// The configuration that control was started with.
    pub fn config(&self) -> PathBuf {
        self.scratch.join("gantry.toml")
    }

    /// The logs of both processes.
    pub fn logs(&self) -> [PathBuf; 2] {
        [&self.dataplane, &self.control].map(|process| log_path(&self.scratch, process.name()))
    }

    /// Process ids: data plane, control.
    pub fn ids(&self) -> [u32; 2] {
        [self.dataplane.id(), self.control.id()]
    }
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
    let log = File::create(&path).map_err(Error::on("creating", &path))?;
    let errors = log.try_clone().map_err(Error::on("opening", &path))?;
    Process::spawn(name, program, |command| {
        set_up(command);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
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

fn configuration(channel: &Path, wire: &Path) -> String {
    let (channel, wire) = (channel.display(), wire.display());
    let open_bytes = subsystem::OPEN_BYTES >> 20;
    let (open, open_uuid) = (subsystem::OPEN, subsystem::OPEN_UUID);
    let (private, private_uuid, other) = (subsystem::PRIVATE, subsystem::PRIVATE_UUID, subsystem::OTHER_HOST);
    format!(
        r#"[dataplane]
channel = "{channel}"

[[port]]
name = "wire0"
device = "net_vhost0,iface={wire},client=1"
addresses = ["10.0.0.1/24"]
vlan = 0

[[drive]]
name = "d0"
uri = "mem:{open_bytes}M"

[[drive]]
name = "d1"
uri = "mem:16M"

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

    fn boot_host(&mut self) -> Result<Machine> {
        let socket = self.scratch.join("wire");
        // A host before this one may have left its socket: QEMU makes a new one.
        let _ = fs::remove_file(&socket);
        let builder = Machine::builder("host").wire(Wire::VhostUser { socket }).address("10.0.0.2/24").rdma();
        builder.boot_while(&|| self.check_health())
    }

    fn check_health(&self) -> Result<()> {
        ended(&self.scratch, &self.dataplane)?;
        ended(&self.scratch, &self.control)
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
        let text = configuration(Path::new("/run/channel"), Path::new("/run/wire"));
        let table: toml::Table = text.parse().expect("valid TOML");
        let subsystems = table["subsystem"].as_array().expect("a list");
        assert_eq!(subsystems.len(), 2);
        assert_eq!(table["port"][0]["device"].as_str(), Some("net_vhost0,iface=/run/wire,client=1"));
        assert_eq!(subsystems[0]["namespaces"][0]["uuid"].as_str(), Some(subsystem::OPEN_UUID));
    }
}
