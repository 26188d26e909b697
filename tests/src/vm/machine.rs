//! One machine: booted, spoken to, captured, its drives taken away and returned.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent::{Agent, Silence};
use super::process::{Process, Scratch};
use super::qmp::Qmp;
use super::{Builder, Console, Error, Initramfs, Nvme, Output, Result, nvme};

/// How long QEMU may take to let go of the image of a drive that it has unplugged.
const PLUG_LIMIT: Duration = Duration::from_secs(10);

/// Ports for commands: as many run at once.
pub(super) const AGENTS: usize = 4;

/// From the start of QEMU to the first prompt. 15 s is usual; other work on the same cores multiplies it.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// A command's time unless it is given one.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

fn unanswered(silence: Silence, machine: &str, command: &str, limit: Duration, console: String) -> Error {
    let (machine, command) = (machine.to_owned(), command.to_owned());
    match silence {
        Silence::Late => Error::Late { machine, command, limit, console },
        Silence::Dead => Error::Dead { machine, command, console },
    }
}

/// A running machine; it ends when this is dropped.
pub struct Machine {
    // Dropped in this order: the process before the folder that it writes in.
    name: String,
    drives: Vec<Nvme>,
    agents: Vec<Mutex<Agent>>,
    qmp: Mutex<Qmp>,
    console: Console,
    qemu: Process,
    scratch: Scratch,
    boot: Duration,
}

impl Machine {
    /// Describes a machine; `name` is for messages.
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    /// Boots what `builder` describes.
    pub(super) fn start(builder: Builder, peer: &dyn Fn() -> Result<()>) -> Result<Self> {
        let kernel = builder.kernel_image()?;
        let initramfs = Initramfs::build(&kernel, &builder.contents)?;
        let scratch = Scratch::new()?;
        for drive in &builder.drives {
            drive.make_files(scratch.path())?;
        }
        let begun = Instant::now();
        let errors = scratch.join("qemu.err");
        let stderr = File::create(&errors).map_err(Error::on("creating", &errors))?;
        let (emulator, arguments) = builder.command(&kernel, &initramfs, &scratch);
        let qemu = Process::spawn(&builder.name, emulator, |command| {
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        })?;
        let stdout = qemu.take_stdout().expect("QEMU's output was piped just above");
        let console = Console::watch(stdout, scratch.join("console"))?;

        let alive = || qemu.exited().is_none() && peer().is_ok();
        let failed = |silence| {
            if let Err(error) = peer() {
                return error;
            }
            let said = fs::read_to_string(&errors).unwrap_or_default();
            unanswered(silence, &builder.name, "boot", BOOT_LIMIT, format!("{}\n{said}", console.tail()))
        };
        let deadline = begun + BOOT_LIMIT;
        let mut agents = Vec::new();
        for index in 0..AGENTS {
            agents.push(Agent::connect(&scratch.join(format!("agent{index}")), deadline, &alive).map_err(failed)?);
        }
        for agent in &mut agents {
            agent.greet(deadline, &alive).map_err(failed)?;
        }
        let qmp = Mutex::new(Qmp::connect(&scratch.join("qmp"))?);
        let agents = agents.into_iter().map(Mutex::new).collect();
        let script = builder.network();
        let (name, drives, boot) = (builder.name, builder.drives, begun.elapsed());
        let machine = Self { name, drives, agents, qmp, console, qemu, scratch, boot };
        if let Some(script) = script {
            machine.run_ok(&script)?;
        }
        Ok(machine)
    }

    /// The name given to the builder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From QEMU's start to the first prompt.
    pub fn boot_time(&self) -> Duration {
        self.boot
    }

    /// What the kernel says.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The socket of the second serial line, where a login shell waits.
    pub fn shell_socket(&self) -> PathBuf {
        self.scratch.join("shell")
    }

    /// Runs `command` under the guest's shell for at most a minute.
    pub fn run(&self, command: &str) -> Result<Output> {
        self.run_for(command, COMMAND_LIMIT)
    }

    /// Runs `command` for at most `limit`; then it is killed and the call fails.
    pub fn run_for(&self, command: &str, limit: Duration) -> Result<Output> {
        self.stream(command, limit, &mut |_| {})
    }

    /// Runs `command` and gives its output, or fails if its status is not 0.
    pub fn run_ok(&self, command: &str) -> Result<String> {
        self.run_ok_for(command, COMMAND_LIMIT)
    }

    /// [`Self::run_ok`] with a limit.
    pub fn run_ok_for(&self, command: &str, limit: Duration) -> Result<String> {
        let output = self.run_for(command, limit)?;
        if output.ok() {
            return Ok(output.stdout);
        }
        Err(Error::Failed { machine: self.name.clone(), command: command.to_owned(), output })
    }

    /// Runs `command`, handing over each line of its output when it comes. Up to four commands run at once.
    pub fn stream(&self, command: &str, limit: Duration, on_line: &mut dyn FnMut(&str)) -> Result<Output> {
        let alive = || self.qemu.exited().is_none();
        let fail = |silence| unanswered(silence, &self.name, command, limit, self.console.tail());
        let output = self.free_agent().run(command, limit, &alive, on_line).map_err(fail)?;
        // What `timeout` leaves: 128 + SIGTERM, or + SIGKILL.
        if matches!(output.status, 137 | 143) {
            return Err(fail(Silence::Late));
        }
        Ok(output)
    }

    fn free_agent(&self) -> MutexGuard<'_, Agent> {
        loop {
            for agent in &self.agents {
                match agent.try_lock() {
                    Ok(agent) => return agent,
                    Err(TryLockError::Poisoned(agent)) => return agent.into_inner(),
                    Err(TryLockError::WouldBlock) => {}
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs one QMP command.
    pub fn qmp(&self, command: &str, arguments: serde_json::Value) -> Result<serde_json::Value> {
        self.qmp.lock().unwrap_or_else(PoisonError::into_inner).execute(command, arguments)
    }

    /// The drives that it was built with.
    pub fn drives(&self) -> &[Nvme] {
        &self.drives
    }

    /// Where the drive on the port of this number is, in the machine.
    pub fn drive_address(port: usize) -> String {
        nvme::address(port)
    }

    /// What lies at `offset` of a namespace (counted from 0) of the drive on this port, behind QEMU's back.
    pub fn image_bytes(&self, port: usize, namespace: usize, offset: u64, length: usize) -> Result<Vec<u8>> {
        let path = self.drives[port].file(self.scratch.path(), namespace);
        let mut bytes = vec![0; length];
        let file = File::open(&path).map_err(Error::on("opening", &path))?;
        file.read_exact_at(&mut bytes, offset).map_err(Error::on("reading", &path))?;
        Ok(bytes)
    }

    /// Asks the machine to let go of the drive on this port (QMP `device_del`) and waits until it is gone, at most `limit`.
    pub fn unplug(&self, port: usize, limit: Duration) -> Result<()> {
        let name = self.drives[port].name();
        self.qmp("device_del", json!({ "id": name }))?;
        let end = Instant::now() + limit;
        loop {
            let devices = self.qmp("qom-list", json!({ "path": "/machine/peripheral" }))?;
            let there = |device: &Value| device["name"].as_str() == Some(name);
            if !devices.as_array().is_some_and(|devices| devices.iter().any(there)) {
                return Ok(());
            }
            if Instant::now() >= end {
                let message = format!("{}: {name} is still there {limit:?} after device_del", self.name);
                return Err(Error::Unexpected(message));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Puts the drive of this port back (QMP `device_add`), with what its namespace held.
    pub fn plug(&self, port: usize) -> Result<()> {
        let end = Instant::now() + PLUG_LIMIT;
        loop {
            match self.qmp("device_add", self.drives[port].device(port)) {
                // QEMU forgets a device's name before it lets go of its image, a moment later.
                Err(Error::Unexpected(text)) if text.contains("Permission conflict") && Instant::now() < end => {
                    thread::sleep(Duration::from_millis(50));
                }
                done => return done.map(drop),
            }
        }
    }

    /// Writes every frame of eth0 to the pcap file `path` until the capture is dropped. Not with
    /// [`Wire::VhostUser`], whose frames QEMU never sees.
    pub fn capture(&self, path: &Path) -> Result<Capture<'_>> {
        let path = std::path::absolute(path).map_err(Error::on("resolving", path))?.display().to_string();
        self.qmp("object-add", json!({"qom-type": "filter-dump", "id": "capture", "netdev": "n0", "file": path}))?;
        Ok(Capture { machine: self })
    }

    /// Fails if the kernel has panicked, oopsed or hangs.
    pub fn check_health(&self) -> Result<()> {
        let trouble = self.console.trouble();
        if trouble.is_empty() && self.qemu.exited().is_none() {
            return Ok(());
        }
        let console = format!("{}\n{}", trouble.join("\n"), self.console.tail());
        Err(Error::Dead { machine: self.name.clone(), command: "health check".into(), console })
    }
}

/// A capture in progress.
#[must_use = "the capture ends when this is dropped"]
pub struct Capture<'a> {
    machine: &'a Machine,
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        // A machine that has died has closed its file.
        let _ = self.machine.qmp("object-del", json!({"id": "capture"}));
    }
}
