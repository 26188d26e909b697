//! The software drive served over vfio-user under the stock Linux NVMe driver: `gantry-sim serve-drive` on this machine, QEMU's
//! `vfio-user-pci` in between, and a Debian guest that takes what it finds for a PCIe card.
//!
//! ```text
//!   guest: nvme driver, fio, ext4 --- vfio-user-pci --- socket --- gantry-sim serve-drive
//! ```

mod scenario;
mod served;

use std::time::Instant;

use serde_json::json;

use crate::vm::{Contents, Emulator, Error, Machine, Result};

pub use scenario::{ALL, Scenario};
pub use served::{Served, program};

/// A guest and the drives that are served to it.
pub struct Bed {
    // The machine ends before what its drives are.
    machine: Machine,
    /// Three namespaces of 512-byte blocks, doorbells mapped, and blocks that fail.
    plain: Served,
    /// One namespace of 4096-byte blocks, each doorbell a message.
    forwarded: Served,
}

/// Blocks of namespace 3 that cannot be read, and one that cannot be written.
pub(crate) const UNREADABLE: std::ops::Range<u64> = 1000..1008;
pub(crate) const UNWRITABLE: u64 = 3000;

impl Bed {
    /// Serves both drives and boots the guest.
    pub fn start() -> Result<Self> {
        let (first, count) = (UNREADABLE.start, UNREADABLE.end - UNREADABLE.start);
        let (reads, write) = (format!("3:{first}+{count}"), format!("3:{UNWRITABLE}"));
        let faults = ["--fail-reads", &reads, "--fail-writes", &write];
        let plain = Served::start("plain", &[&["mem:96M,namespaces=3", "--name", "plain"], &faults[..]].concat())?;
        let forwarded =
            Served::start("forwarded", &["mem:32M,block=4096", "--name", "forwarded", "--no-mapped-doorbells"])?;
        let mut builder = Machine::builder("guest")
            .memory_mb(512)
            .emulator(Emulator::testing()?)
            .machine("q35,usb=off,vmport=off")
            .contents(Contents::pci_host());
        for (slot, drive) in [(0x10, &plain), (0x11, &forwarded)] {
            let socket = json!({ "type": "unix", "path": drive.socket() });
            let device = json!({ "driver": "vfio-user-pci", "addr": format!("{slot:#x}"), "socket": socket });
            builder = builder.device(&device.to_string());
        }
        let machine = builder.boot_while(&|| plain.check().and_then(|()| forwarded.check()))?;
        machine.run_ok(
            "modprobe nvme; tries=0; until [ -b /dev/nvme0n3 ] && [ -b /dev/nvme1n1 ]; do
            tries=$((tries + 1)); [ $tries -lt 100 ] || { dmesg | tail -n 30; exit 1; }; sleep 0.1; done",
        )?;
        Ok(Self { machine, plain, forwarded })
    }

    /// The guest.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Fails if the guest or a server is not well.
    pub fn check(&self) -> Result<()> {
        self.machine.check_health()?;
        self.plain.check()?;
        self.forwarded.check()
    }

    /// Ends the guest; the servers hear of it, and end in order when they are asked to.
    pub fn stop(self) -> Result<()> {
        self.check()?;
        drop(self.machine);
        for drive in [self.plain, self.forwarded] {
            drive.stop()?;
        }
        Ok(())
    }
}

/// Walks through the scenarios that `only` names, or all; whether none failed.
pub fn run(only: &[String]) -> Result<bool> {
    let chosen: Vec<&Scenario> =
        ALL.iter().filter(|one| only.is_empty() || only.iter().any(|part| one.name.contains(part.as_str()))).collect();
    if chosen.is_empty() {
        return Err(Error::Unexpected(format!("no scenario is called {}", only.join(" or "))));
    }
    let begun = Instant::now();
    let bed = Bed::start()?;
    println!("  guest with its drives up in {:.1} s", begun.elapsed().as_secs_f32());
    let mut failed = 0;
    for scenario in &chosen {
        let begun = Instant::now();
        let result = (scenario.run)(&bed).and_then(|note| bed.check().map(|()| note));
        let took = begun.elapsed().as_secs_f32();
        match result {
            Ok(note) => println!("  ok    {:<16} {took:6.1} s  {note}", scenario.name),
            Err(error) => {
                failed += 1;
                println!("  FAIL  {:<16} {took:6.1} s  {}\n{error}", scenario.name, scenario.shows);
                let log = bed.machine.run("dmesg | tail -n 40").map(|output| output.stdout).unwrap_or_default();
                println!("the guest's kernel:\n{log}\nthe servers:\n{}{}", bed.plain.said(), bed.forwarded.said());
            }
        }
    }
    if failed == 0 {
        bed.stop()?;
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    Ok(failed == 0)
}
