//! The card in a virtual machine: both processes inside a guest with an IOMMU, its network and its NVMe drives driven from
//! user space, and a stock host in a second guest.
//!
//! ```text
//!   host (Debian, nvme-rdma, rxe) --- Switch --- card: virtio-net --- vfio-pci --- gantry-dataplane
//!                                                      QEMU's NVMe -- vfio-pci --- |        gantryd
//! ```

mod boot;
mod drives;
mod errors;
pub mod installed;
mod jobs;
mod programs;
mod removal;
mod scenario;
mod stray;
pub mod unguarded;
pub mod vfio;

use std::time::Duration;

use crate::vm::{Error, Machine, NET_ADDRESS, Result, Switch, SwitchPort};

use super::counters::Counters;
use super::target::{HOST_ADDRESS, Target};

use boot::boot_with;
pub use boot::{Guard, boot};
pub use drives::drives;
use drives::{SERVED, STRAY, configuration};
pub use programs::Programs;
pub use scenario::ALL;

const HOST: SwitchPort = SwitchPort(0);
const CARD: SwitchPort = SwitchPort(1);

/// Largest IP packet: an RDMA MTU of 4096 fits.
const MTU: u16 = 4200;

/// The card's folder for everything.
const FOLDER: &str = "/run/gantry";

/// From a process's start to its readiness, on a machine that is busy with other things.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A machine that is a card, with both processes in it.
pub struct Card {
    // The machine ends before the wire that it is on.
    machine: Machine,
    guard: Guard,
    switch: Switch,
}

impl Card {
    /// Boots the card, starts both processes; `seed` is for the wire's losses.
    pub fn start(programs: &Programs, seed: u64) -> Result<Self> {
        Self::start_with(Guard::Iommu, programs, seed)
    }

    /// The same with this between the devices and the card's memory.
    pub fn start_with(guard: Guard, programs: &Programs, seed: u64) -> Result<Self> {
        let switch = Switch::new(2, seed)?;
        let machine = boot_with(guard, programs, drives(), switch.wire(CARD))?;
        let card = Self { machine, guard, switch };
        // As on any card: the kernel has the drives first.
        card.machine.run_ok("modprobe nvme")?;
        (0..=STRAY).try_for_each(|port| card.bind(port))?;
        card.start_dataplane()?;
        card.machine.run_ok(&format!("cat >{FOLDER}/gantry.toml <<'END'\n{}END", configuration(guard)))?;
        card.start_process("gantryd", "--config /run/gantry/gantry.toml")?;
        Ok(card)
    }

    /// The card's machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Gives the drive on this port to vfio-pci once the kernel has found it.
    pub fn bind(&self, port: usize) -> Result<()> {
        let address = Machine::drive_address(port);
        let device = format!("/sys/bus/pci/devices/{address}");
        let option = if self.guard == Guard::None { " --without-iommu" } else { "" };
        self.machine
            .run_ok(&format!(
                "tries=0; until [ -e {device}/driver ]; do tries=$((tries + 1)); [ $tries -lt 200 ] || break; sleep 0.1; done
                 gantryctl drive bind {address}{option}"
            ))
            .map(drop)
    }

    /// The DMA that the IOMMU has stopped, in the kernel's words.
    pub fn faults(&self) -> Result<Vec<String>> {
        let log = self.machine.run_ok("dmesg")?;
        Ok(log.lines().filter(|line| line.contains("DMAR: [")).map(str::to_owned).collect())
    }

    /// Fails if the IOMMU has stopped anything but the stray drive: the data plane would have told a drive a wrong address.
    pub fn check_faults(&self) -> Result<()> {
        let stray = format!("[{}]", &Machine::drive_address(STRAY)["0000:".len()..]);
        let mut faults = self.faults()?;
        faults.retain(|line| !line.contains(&stray));
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::Unexpected(format!("the IOMMU stopped a drive that serves:\n{}", faults.join("\n"))))
    }

    /// Starts the data plane and waits until it takes a control.
    fn start_dataplane(&self) -> Result<()> {
        let physical = if self.guard == Guard::None { " --physical-memory" } else { "" };
        let arguments = format!("--channel {FOLDER}/channel --lcores 1 --memory 128 --pci {NET_ADDRESS}{physical}");
        self.start_process("gantry-dataplane", &arguments)?;
        self.machine
            .run_ok_for(
                &format!(
                    "until [ -S {FOLDER}/channel ] && [ -s {FOLDER}/channel.stats ]; do
                         [ -d /proc/$(cat {FOLDER}/gantry-dataplane.pid) ] || exit 1; sleep 0.1
                     done"
                ),
                START_LIMIT,
            )
            .map(drop)
            .map_err(|error| Error::Unexpected(format!("{error}{}", self.said())))
    }

    /// Fails if the lcore's memory, which drives and their IOMMU reach, is not of hugepages.
    fn expect_hugepages(&self) -> Result<()> {
        let look = format!("grep -A2 memfd:gantry-dma /proc/$(cat {FOLDER}/gantry-dataplane.pid)/smaps");
        let seen = self.machine.run_ok(&look)?;
        if seen.lines().any(|line| line.starts_with("KernelPageSize:") && line.trim_end().ends_with(" 2048 kB")) {
            return Ok(());
        }
        Err(Error::Unexpected(format!("the lcore's memory is in small pages:\n{seen}{}", self.said())))
    }

    /// Fails if the port does not wake its lcore.
    fn expect_interrupts(&self) -> Result<()> {
        let look = format!("grep 'port open.*interrupts=true' {FOLDER}/gantry-dataplane.log");
        let seen = self.machine.run_ok(&look).map(drop);
        seen.map_err(|error| Error::Unexpected(format!("the port has no interrupts: {error}{}", self.said())))
    }

    fn start_process(&self, name: &str, arguments: &str) -> Result<()> {
        let script = format!(
            "cd {FOLDER}; NO_COLOR=1 setsid {name} {arguments} </dev/null >>{name}.log 2>&1 & echo $! >{FOLDER}/{name}.pid"
        );
        self.machine.run_ok(&script).map(drop)
    }

    /// What the data plane has counted.
    pub fn counters(&self) -> Result<Counters> {
        let text = self.machine.run_ok(&format!("xxd -p {FOLDER}/channel.stats"))?;
        let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
        Counters::parse(&bytes).ok_or_else(|| Error::Unexpected("the card's statistics cannot be read".to_owned()))
    }
}

impl Target for Card {
    fn name(&self) -> &str {
        "card"
    }

    fn address(&self) -> &str {
        "10.0.0.1"
    }

    fn boot_host(&mut self) -> Result<Machine> {
        Machine::builder("host")
            .wire(self.switch.wire(HOST))
            .mtu(MTU)
            .address(&format!("{HOST_ADDRESS}/24"))
            .rdma()
            .boot_while(&|| self.check_health())
    }

    fn check_health(&self) -> Result<()> {
        self.machine.check_health()?;
        self.check_faults()?;
        for name in ["gantry-dataplane", "gantryd"] {
            let alive = self.machine.run(&format!("[ -d /proc/$(cat {FOLDER}/{name}.pid) ]"))?;
            if !alive.ok() {
                return Err(Error::Unexpected(format!("{name} ended by itself in the card{}", self.said())));
            }
        }
        Ok(())
    }

    fn said(&self) -> String {
        let logs = format!("cd {FOLDER}; for log in *.log; do echo \"; the end of $log:\"; tail -n 30 $log; done");
        let logs = self.machine.run(&logs).map_or_else(|error| error.to_string(), |output| output.stdout);
        format!("{logs}\nthe card's kernel:\n{}", self.machine.console().tail())
    }

    /// Control first, as a user would (SIGTERM).
    fn stop(self: Box<Self>) -> Result<()> {
        self.check_health()?;
        for name in ["gantryd", "gantry-dataplane"] {
            let script = format!(
                "id=$(cat {FOLDER}/{name}.pid); kill -TERM $id
                 tries=0; while [ -d /proc/$id ]; do tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; sleep 0.1; done"
            );
            let ended = self.machine.run(&script)?;
            if !ended.ok() {
                return Err(Error::Unexpected(format!("{name} does not end on SIGTERM{}", self.said())));
            }
        }
        Ok(())
    }
}
