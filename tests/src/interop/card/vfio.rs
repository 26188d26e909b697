//! The card's drives as `rte_rs::vfio` sees them, without a data plane: dataplane/rte-rs/examples/drive.rs in the card, on its own and
//! with everything around it that may happen to a drive.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::vm::{Error, Machine, Result, Wire};

use super::{Programs, boot, drives};

/// What the program takes for two drives, and a drive to be given back, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the program's output is, when it runs beside others.
const LOG: &str = "/run/drive.log";

/// Boots a card and walks through all of it; `program` is the example.
pub fn run(program: &Path) -> Result<()> {
    let machine = boot(&Programs::none()?.with("drive", program), drives(), Wire::None)?;
    // Every NVMe controller of QEMU's, whenever it comes: there is no other driver for them here.
    machine.run_ok("echo 1b36 0010 >/sys/bus/pci/drivers/vfio-pci/new_id")?;
    let card = Card { machine };
    card.drives_it()?;
    card.stops_dma()?;
    card.refuses()?;
    card.gives_back_on_unbind()?;
    card.gives_back_on_unplug()?;
    card.machine.check_health()
}

struct Card {
    machine: Machine,
}

impl Card {
    /// Two drives at once: see the example for what is done with them. It goes on and waits for what becomes of them.
    fn drives_it(&self) -> Result<()> {
        self.machine.run_ok(&format!("setsid drive 0000:01:00.0 0000:02:00.0 watch 600 >{LOG} 2>&1 &"))?;
        for step in [
            "0000:01:00.0: block 131071 written and read",
            "0000:02:00.0: block 16383 written and read",
            "0000:01:00.0: a read into unmapped memory touched nothing",
            "0000:01:00.0: reset in ",
            "0000:01:00.0: taken over by process ",
            "0000:02:00.0: without power it is Gone, CSTS 0xffffffff",
            "0000:02:00.0: closed and open again after ",
            "watching 2 drives",
        ] {
            self.hears(step)?;
        }
        Ok(())
    }

    /// What the drive was not given, the IOMMU kept from it, and the kernel says so.
    fn stops_dma(&self) -> Result<()> {
        let faults =
            self.machine.run_ok("dmesg | grep -E 'DMAR:.*DMA Write.*01:00.0.*fault addr|arm-smmu-v3.*event 0x10'")?;
        // Device addresses begin at 1 << 38.
        let told = faults.lines().any(|line| line.contains("fault addr 0x4000") || line.contains("event 0x10"));
        expect(told, || format!("no fault in the kernel's log: {faults}"))
    }

    /// Each refusal is one line that says what to do.
    fn refuses(&self) -> Result<()> {
        self.refusal("drive 0000:01:00.0", "0000:01:00.0 (IOMMU group ", " is held by drive (process ")?;
        self.refusal("drive 0000:7f:00.0", "there is no PCI device 0000:7f:00.0: ", "`gantryctl drive list`")?;
        self.refusal("drive 0000:00:00.0", "0000:00:00.0 has class 060000, not 010802: ", "no NVMe controller")?;
        let group = "/dev/vfio/$(basename $(readlink -f /sys/bus/pci/devices/0000:03:00.0/iommu_group))";
        self.machine.run_ok("echo gantry:x:999:999::/:/bin/sh >>/etc/passwd")?;
        let user = "ulimit -l 4; su gantry -c 'drive 0000:03:00.0'";
        self.refusal(
            user,
            "/dev/vfio/",
            ": permission denied: run gantry-dataplane as root, or give the file to its user",
        )?;
        self.machine.run_ok(&format!("chown gantry {group}"))?;
        self.refusal(
            user,
            "0000:03:00.0: 20480 bytes of memory may not be locked, the limit is 4096: ",
            "LimitMEMLOCK=infinity",
        )?;
        // A user who may lock memory needs nothing else.
        self.machine.run_ok_for("ulimit -l 64; su gantry -c 'drive 0000:03:00.0'", LIMIT)?;
        self.machine.run_ok("echo 0000:04:00.0 >/sys/bus/pci/drivers/vfio-pci/unbind")?;
        self.refusal("drive 0000:04:00.0", "0000:04:00.0 has no driver: ", "`gantryctl drive bind 0000:04:00.0`")
    }

    /// The kernel's `unbind` waits until the process has let go, and the other drive stays.
    fn gives_back_on_unbind(&self) -> Result<()> {
        self.machine.run_ok_for("echo 0000:01:00.0 >/sys/bus/pci/drivers/vfio-pci/unbind", LIMIT)?;
        self.hears("0000:01:00.0: Leaving")?;
        self.machine.run_ok("echo 0000:01:00.0 >/sys/bus/pci/drivers/vfio-pci/bind")?;
        self.machine.run_ok_for("drive 0000:01:00.0", LIMIT)?;
        let log = self.log()?;
        expect(!log.contains("0000:02:00.0: Leaving"), || format!("the other drive left too: {log}"))
    }

    /// A drive that is unplugged goes when the process has let go, and works when it is plugged in again.
    fn gives_back_on_unplug(&self) -> Result<()> {
        self.machine.unplug(1, LIMIT)?;
        self.hears("0000:02:00.0: Leaving")?;
        self.machine.plug(1)?;
        let back = "until drive 0000:02:00.0; do sleep 0.2; done";
        self.machine.run_ok_for(back, LIMIT).map(drop)
    }

    fn refusal(&self, command: &str, begins: &str, contains: &str) -> Result<()> {
        let output = self.machine.run_for(command, LIMIT)?;
        let line = output.stderr.trim();
        let well = !output.ok() && line.starts_with(begins) && line.contains(contains) && line.lines().count() == 1;
        expect(well, || format!("{command} ended {} and said: {line}", output.status))
    }

    /// Waits until the program that runs has said this.
    fn hears(&self, words: &str) -> Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            let log = self.log()?;
            if log.contains(words) {
                return Ok(());
            }
            expect(Instant::now() < end, || format!("nothing was heard of `{words}`:\n{log}"))?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> Result<String> {
        self.machine.run_ok(&format!("cat {LOG}"))
    }
}

fn expect(well: bool, message: impl FnOnce() -> String) -> Result<()> {
    if well { Ok(()) } else { Err(Error::Unexpected(message())) }
}
