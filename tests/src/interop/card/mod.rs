//! The card in a virtual machine: both processes inside a guest with an IOMMU, its network and its NVMe drives driven from
//! user space, and a stock host in a second guest.
//!
//! ```text
//!   host (Debian, nvme-rdma, rxe) --- Switch --- card: virtio-net --- vfio-pci --- gantry-dataplane
//!                                                      QEMU's NVMe -- vfio-pci --- |        gantryd
//! ```

mod boot;
mod programs;

use std::time::Duration;

use crate::vm::{Error, Machine, NET_ADDRESS, Result, Switch, SwitchPort};

use super::counters::Counters;
use super::target::{HOST_ADDRESS, Target, subsystem};

pub use boot::{boot, drives};
pub use programs::Programs;

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
    switch: Switch,
}

impl Card {
    /// Boots the card, starts both processes; `seed` is for the wire's losses.
    pub fn start(programs: &Programs, seed: u64) -> Result<Self> {
        let switch = Switch::new(2, seed)?;
        let machine = boot(programs, drives(), switch.wire(CARD))?;
        let card = Self { machine, switch };
        card.start_dataplane()?;
        card.machine.run_ok(&format!("cat >{FOLDER}/gantry.toml <<'END'\n{}END", configuration()))?;
        card.start_process("gantryd", "--config /run/gantry/gantry.toml")?;
        Ok(card)
    }

    /// The card's machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Starts the data plane and waits until it takes a control.
    fn start_dataplane(&self) -> Result<()> {
        let arguments = format!("--channel {FOLDER}/channel --lcores 1 --memory 128 --pci {NET_ADDRESS}");
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

fn configuration() -> String {
    let (open, open_uuid) = (subsystem::OPEN, subsystem::OPEN_UUID);
    let megabytes = subsystem::OPEN_BYTES >> 20;
    format!(
        r#"[dataplane]
channel = "{FOLDER}/channel"

[[port]]
name = "wire0"
device = "{NET_ADDRESS}"
addresses = ["10.0.0.1/24"]
mtu = {MTU}

[[drive]]
name = "d0"
uri = "mem:{megabytes}M"

[[subsystem]]
nqn = "{open}"
hosts = "any"
namespaces = [{{ nsid = 1, drive = "d0", uuid = "{open_uuid}" }}]
"#
    )
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
