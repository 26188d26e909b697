//! A drive of a card without an IOMMU, as `rte_rs::vfio::UioDevice` sees it: dataplane/rte-rs/examples/drive.rs, and then the
//! data plane itself, in a machine that has none.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::vm::{Error, Machine, Nvme, Result};

use super::Programs;

/// What each step takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

const FIRST: &str = "0000:01:00.0";
const LOG: &str = "/run/drive.log";

/// Boots a machine without an IOMMU and walks through all of it; `program` is the example.
pub fn run(program: &Path) -> Result<()> {
    let machine = Machine::builder("unguarded")
        .unguarded()
        .memory_mb(512)
        .kernel_word("hugepages=24")
        .contents(Programs::none()?.with("drive", program).contents())
        .drive(Nvme::new("d0").namespace(64 << 20, 512))
        .boot()?;
    machine.run_ok(&format!(
        "set -e; modprobe uio_pci_generic; cd /sys/bus/pci; [ ! -e devices/{FIRST}/iommu_group ]
         echo uio_pci_generic >devices/{FIRST}/driver_override; echo {FIRST} >drivers_probe; [ -e devices/{FIRST}/uio ]"
    ))?;
    let free = "awk '/HugePages_Free/ { print $2 }' /proc/meminfo";
    let before = machine.run_ok(free)?;
    machine.run_ok(&format!("setsid drive without-iommu {FIRST} watch 600 >{LOG} 2>&1 & echo $! >/run/drive.pid"))?;
    for step in [
        "block 131071 written and read",
        "wrote all over 16777216 bytes",
        "a read without bus mastering touched nothing",
        "reset in ",
        "watching ",
    ] {
        hears(&machine, step)?;
    }
    let held = machine.run_for(&format!("drive without-iommu {FIRST}"), LIMIT)?;
    let line = held.stderr.trim();
    let told = format!("{FIRST} (/dev/uio0) is held by drive (process ");
    expect(!held.ok() && line.starts_with(&told) && line.lines().count() == 1, || format!("it said: {line}"))?;

    // A process that is killed leaves no drive that can reach memory.
    expect(master(&machine)?, || "the drive that is used has no bus mastering".to_owned())?;
    machine.run_ok("id=$(cat /run/drive.pid); kill -KILL $id; while [ -d /proc/$id ]; do sleep 0.1; done")?;
    expect(!master(&machine)?, || "bus mastering outlives the process".to_owned())?;
    let after = machine.run_ok(free)?;
    expect(before == after, || format!("of {before} hugepages {after} came back"))?;

    // The next has it, and hears that it is unbound.
    machine.run_ok(&format!("setsid drive without-iommu {FIRST} watch 600 >{LOG} 2>&1 &"))?;
    hears(&machine, "watching ")?;
    machine.run_ok(&format!("echo {FIRST} >/sys/bus/pci/drivers/uio_pci_generic/unbind"))?;
    hears(&machine, ": Leaving")?;
    machine.check_health()
}

/// Whether the drive's bus mastering is on.
fn master(machine: &Machine) -> Result<bool> {
    let command = machine.run_ok(&format!("xxd -s 4 -l 1 -p /sys/bus/pci/devices/{FIRST}/config"))?;
    Ok(u8::from_str_radix(command.trim(), 16).is_ok_and(|command| command & 4 != 0))
}

/// Waits until the program that runs has said this.
fn hears(machine: &Machine, words: &str) -> Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        let log = machine.run_ok(&format!("cat {LOG}"))?;
        if log.contains(words) {
            return Ok(());
        }
        expect(Instant::now() < end, || format!("nothing was heard of `{words}`:\n{log}"))?;
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn expect(well: bool, message: impl FnOnce() -> String) -> Result<()> {
    if well { Ok(()) } else { Err(Error::Unexpected(message())) }
}
