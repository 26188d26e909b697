//! One machine: how it is described, booted, spoken to and captured.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::agent::{Agent, Silence};
use super::process::{Process, Scratch};
use super::qmp::Qmp;
use super::{Console, Error, Initramfs, Kernel, Output, Result};

/// Ports for commands: as many run at once.
const AGENTS: usize = 4;

/// From the start of QEMU to the first prompt. 15 s is usual; other work on the same cores multiplies it.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// A command's time unless it is given one.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Where the machine's network device ends.
#[derive(Clone, Debug, Default)]
pub enum Wire {
    /// No network device.
    #[default]
    None,
    /// One datagram is one Ethernet frame without FCS: QEMU binds `local` and sends to `remote`.
    Dgram {
        /// QEMU's end.
        local: PathBuf,
        /// The other end.
        remote: PathBuf,
    },
    /// QEMU listens on `socket`; a DPDK `net_vhost` port with `client=1` connects. Boot waits for it.
    VhostUser {
        /// The socket that QEMU makes.
        socket: PathBuf,
    },
}

/// A machine to be.
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    memory_mb: u32,
    cpus: u32,
    kernel: Option<Kernel>,
    wire: Wire,
    mac: [u8; 6],
    mtu: u16,
    addresses: Vec<String>,
    vlan: Option<u16>,
    rdma: bool,
}

impl Builder {
    /// Guest memory in MiB; 1000 unless said.
    #[must_use]
    pub fn memory_mb(mut self, memory_mb: u32) -> Self {
        self.memory_mb = memory_mb;
        self
    }

    /// Virtual CPUs; 1 unless said.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Another kernel than [`Kernel::debian`].
    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Where eth0 leads.
    #[must_use]
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// eth0's address; two machines on one wire need two.
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.mac = mac;
        self
    }

    /// eth0's MTU in bytes of IP packet; 1500 unless said.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Adds an IP address with its prefix length, as in "10.0.0.2/24".
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// Puts the addresses on this VLAN of eth0.
    #[must_use]
    pub fn vlan(mut self, vlan: u16) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// Makes the RoCE device rxe0 over eth0.
    #[must_use]
    pub fn rdma(mut self) -> Self {
        self.rdma = true;
        self
    }

    /// Starts the machine and returns when it takes commands and its network is up.
    pub fn boot(self) -> Result<Machine> {
        self.boot_while(&|| Ok(()))
    }

    /// [`Self::boot`], given up as soon as `peer` fails: what the machine's wire leads to may have gone.
    pub fn boot_while(self, peer: &dyn Fn() -> Result<()>) -> Result<Machine> {
        let kernel = match &self.kernel {
            Some(kernel) => kernel.clone(),
            None => Kernel::debian()?,
        };
        let initramfs = Initramfs::build(&kernel)?;
        let scratch = Scratch::new()?;
        let begun = Instant::now();
        let errors = scratch.join("qemu.err");
        let stderr = File::create(&errors).map_err(Error::on("creating", &errors))?;
        let arguments = self.arguments(&kernel, &initramfs, &scratch);
        let qemu = Process::spawn(&self.name, "qemu-system-x86_64", |command| {
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
            unanswered(silence, &self.name, "boot", BOOT_LIMIT, format!("{}\n{said}", console.tail()))
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
        let machine = Machine { name: self.name.clone(), agents, qmp, console, qemu, scratch, boot: begun.elapsed() };
        if let Some(script) = self.network() {
            machine.run_ok(&script)?;
        }
        Ok(machine)
    }

    fn arguments(&self, kernel: &Kernel, initramfs: &Initramfs, scratch: &Scratch) -> Vec<String> {
        let memory = self.memory_mb;
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        let file = |name: &str| scratch.join(name).display().to_string();
        add("-accel", "tcg,thread=multi".into());
        add("-cpu", "max".into());
        add("-smp", self.cpus.to_string());
        add("-m", format!("{memory}M"));
        // Shared, because a vhost-user back end maps it.
        add("-object", format!("memory-backend-memfd,id=mem,size={memory}M,share=on"));
        add("-machine", "pc,memory-backend=mem,usb=off,vmport=off".into());
        add("-kernel", kernel.image.display().to_string());
        add("-initrd", initramfs.path.display().to_string());
        add("-append", "console=ttyS0 loglevel=5 panic=-1 mitigations=off random.trust_cpu=on net.ifnames=0".into());
        add("-display", "none".into());
        add("-chardev", "stdio,id=console,signal=off".into());
        add("-serial", "chardev:console".into());
        add("-chardev", format!("socket,id=shell,path={},server=on,wait=off", file("shell")));
        add("-serial", "chardev:shell".into());
        add("-qmp", format!("unix:{},server=on,wait=off", file("qmp")));
        add("-device", "virtio-rng-pci".into());
        add("-device", "virtio-serial-pci".into());
        for index in 0..AGENTS {
            let name = format!("agent{index}");
            add("-chardev", format!("socket,id={name},path={},server=on,wait=off", file(&name)));
            add("-device", format!("virtserialport,chardev={name},name={name}"));
        }
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        match &self.wire {
            Wire::None => {}
            Wire::Dgram { local, remote } => {
                let (local, remote) = (local.display(), remote.display());
                add(
                    "-netdev",
                    format!("dgram,id=n0,local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"),
                );
                add("-device", format!("virtio-net-pci,netdev=n0,mac={mac},romfile="));
            }
            Wire::VhostUser { socket } => {
                add("-chardev", format!("socket,id=vu,path={},server=on", socket.display()));
                add("-netdev", "vhost-user,id=n0,chardev=vu,queues=1".into());
                // QEMU 7.2 crashes on MSI-X notifiers when the guest's driver starts over vhost-user.
                add("-device", format!("virtio-net-pci,netdev=n0,mac={mac},vectors=0,romfile="));
            }
        }
        arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
        arguments
    }

    /// What the guest does to bring its network up.
    fn network(&self) -> Option<String> {
        if matches!(self.wire, Wire::None) {
            return None;
        }
        let mut script = format!("set -e\n/sbin/ip link set eth0 mtu {} up\n", self.mtu);
        let device = match self.vlan {
            None => "eth0".to_owned(),
            Some(vlan) => {
                script += &format!(
                    "modprobe 8021q\n/sbin/ip link add link eth0 name eth0.{vlan} type vlan id {vlan}\n\
                     /sbin/ip link set eth0.{vlan} up\n"
                );
                format!("eth0.{vlan}")
            }
        };
        for address in &self.addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            script += &format!("/sbin/ip addr add {address} dev {device}{nodad}\n");
        }
        if self.rdma {
            script += "modprobe -a rdma_rxe rdma_cm\nrdma link add rxe0 type rxe netdev eth0\n";
            // Each address makes a GID a moment later; a connection before that finds no route. An IPv4 one shows
            // as ::ffff:a.b.c.d, and an IPv6 one is none of link-local (fe80::) or empty.
            let global = self.addresses.len();
            script += &format!(
                "tries=0\nuntil [ \"$(cat /sys/class/infiniband/rxe0/ports/1/gids/* 2>/dev/null | \
                 grep -vc -e '^fe80' -e '^0000:0000:0000:0000:0000:0000:0000:0000')\" -ge {global} ]; do\n\
                 tries=$((tries + 1)); [ $tries -lt 100 ] || {{ echo no GID >&2; exit 1; }}\nsleep 0.1\ndone\n"
            );
        }
        Some(script)
    }
}

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
        Builder {
            name: name.to_owned(),
            memory_mb: 1000,
            cpus: 1,
            kernel: None,
            wire: Wire::None,
            mac: [0x52, 0x54, 0, 0, 0, 2],
            mtu: 1500,
            addresses: Vec::new(),
            vlan: None,
            rdma: false,
        }
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
