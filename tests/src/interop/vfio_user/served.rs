//! A served drive: the process, its socket and what it says.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::vm::process::{Process, Scratch};
use crate::vm::{Error, Result};

/// From its start to its socket, and from SIGTERM to its end.
const LIMIT: Duration = Duration::from_secs(20);

/// `gantry-sim serve-drive` in a process.
pub struct Served {
    // The process ends before the folder that it writes in.
    process: Process,
    scratch: Scratch,
}

/// gantry-sim, from `GANTRY_SIM`, else beside this program.
pub fn program() -> Result<PathBuf> {
    let path = match std::env::var_os("GANTRY_SIM") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().map_err(Error::doing("finding this program"))?.with_file_name("gantry-sim"),
    };
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Unexpected(format!("no gantry-sim at {}: build it, or set GANTRY_SIM", path.display())))
}

impl Served {
    /// Starts a server; `arguments` are the drive and its options.
    pub fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        let scratch = Scratch::new()?;
        let log = scratch.join("log");
        let file = File::create(&log).map_err(Error::on("creating", &log))?;
        let errors = file.try_clone().map_err(Error::on("opening", &log))?;
        let socket = scratch.join("socket");
        let process = Process::spawn(name, program()?, |command| {
            command.arg("serve-drive").args(arguments).arg("--socket").arg(&socket);
            command.stdin(Stdio::null()).stdout(file).stderr(errors);
        })?;
        let served = Self { process, scratch };
        served.until("its socket", || socket.exists())?;
        Ok(served)
    }

    /// Where it serves.
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("socket")
    }

    /// What it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub fn check(&self) -> Result<()> {
        match self.process.exited() {
            None => Ok(()),
            Some(status) => {
                Err(Error::Unexpected(format!("{} ended by itself: {status}\n{}", self.process.name(), self.said())))
            }
        }
    }

    /// Ends it once its client has gone, and holds it to a good end.
    pub fn stop(self) -> Result<()> {
        self.until("the client's end", || self.said().contains("the client has gone"))?;
        let status = self.process.stop(LIMIT);
        let said = self.said();
        if !status.is_some_and(|status| status.success()) || !said.ends_with("stopped\n") || self.socket().exists() {
            return Err(Error::Unexpected(format!("{} ended badly: {status:?}\n{said}", self.process.name())));
        }
        Ok(())
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while !done() {
            self.check()?;
            if Instant::now() >= end {
                return Err(Error::Unexpected(format!(
                    "{}: {what} did not come\n{}",
                    self.process.name(),
                    self.said()
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
