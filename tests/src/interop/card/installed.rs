//! A card of another processor, made by installing the Debian package: an aarch64 guest with a SMMUv3 in which systemd runs,
//! dpkg installs, and the package's own units start everything, as on a DPU. A stock x86-64 host is on its wire.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::interop::running::Running;
use crate::interop::target::HOST_ADDRESS;
use crate::interop::{Fio, Host, Pattern};
use crate::vm::{AARCH64, Contents, Error, Kernel, Machine, NET_ADDRESS, Nvme, Result, Switch};

use super::{CARD, HOST, MTU};

/// For what takes seconds on a machine with nothing else to do.
const LIMIT: Duration = Duration::from_secs(300);

/// The configuration's subsystems: one a drive.
const SUBSYSTEMS: [(&str, &str, &str); 2] = [
    ("nqn.2026-11.io.gantry:arm0", "d0", "3c5c1f1e-6d2b-4a57-9d8b-2b6f0b7c1a01"),
    ("nqn.2026-11.io.gantry:arm1", "d1", "3c5c1f1e-6d2b-4a57-9d8b-2b6f0b7c1a02"),
];

/// Bytes of each drive.
const DRIVE_BYTES: u64 = 32 << 20;

/// What is installed and where.
#[derive(Clone, Debug)]
pub struct Package {
    /// Debian packages for arm64, unpacked: a kernel, systemd, dpkg and all that the package depends on.
    pub root: PathBuf,
    /// The package.
    pub archive: PathBuf,
    /// A later version of it.
    pub next: PathBuf,
}

impl Package {
    /// From the environment, which `cargo xtask` sets: `GANTRY_ARM64_ROOT`, `GANTRY_ARM64_PACKAGE`, `GANTRY_ARM64_NEXT`.
    pub fn find() -> Result<Self> {
        let path = |variable: &str| {
            std::env::var_os(variable).map(PathBuf::from).ok_or_else(|| {
                Error::Unexpected(format!("{variable} is not set: `cargo xtask test --only card-arm64` does it"))
            })
        };
        Ok(Self {
            root: path("GANTRY_ARM64_ROOT")?,
            archive: path("GANTRY_ARM64_PACKAGE")?,
            next: path("GANTRY_ARM64_NEXT")?,
        })
    }
}

/// Installs, serves, restarts, upgrades and purges; fails at the first thing that is not as it should be. `on_step` is told what
/// was shown and how long it took.
pub fn story(package: &Package, on_step: &mut dyn FnMut(&str, Duration)) -> Result<()> {
    let mut begun = Instant::now();
    let mut step = |shown: &str| {
        on_step(shown, begun.elapsed());
        begun = Instant::now();
    };
    let switch = Switch::new(2, 1)?;
    // Both boot at once: each has one of this machine's cores.
    let (card, host) = thread::scope(|scope| {
        let card = scope.spawn(|| boot(package, &switch));
        let host = Machine::builder("host").wire(switch.wire(HOST)).mtu(MTU).address(&format!("{HOST_ADDRESS}/24"));
        let host = host.rdma().boot();
        (card.join().expect("the card's thread ends well"), host)
    });
    let card = Installed { machine: card? };
    let host = host?;
    host.run_ok("modprobe nvme_rdma")?;
    let host = Host::new(host, "10.0.0.1");
    step("systemd runs on the aarch64 card, behind a SMMUv3");

    let told = |error: Error| card.told(error);
    card.machine.run_ok_for("dpkg --install /root/gantry.deb", LIMIT).map_err(told)?;
    card.expect_active()?;
    card.run("gantryd --check; gantryctl counters >/dev/null; gantryctl drive list")?;
    step("dpkg installs the package; both processes run, and serve nothing yet");

    card.configure()?;
    step("drives and the port are on vfio-pci, and configured");

    let mut disks = Vec::new();
    for (nqn, _, _) in SUBSYSTEMS {
        disks.push(host.connect(nqn).map_err(told)?.block);
    }
    for disk in &disks {
        verify(&host, disk).map_err(told)?;
    }
    step("a stock x86-64 host connects to a drive each, and fio verifies");

    restarted(&card, &host, &disks[0], "systemctl restart gantryd").map_err(told)?;
    step("gantryd is restarted under verified I/O");
    restarted(&card, &host, &disks[1], "dpkg --force-confdef --force-confold --install /root/next.deb")
        .map_err(told)?;
    step("the package is upgraded under verified I/O: gantryd anew, the data plane as it was");

    let faults = card.run("dmesg | grep -i 'arm-smmu.*event' || true")?;
    if !faults.trim().is_empty() {
        return Err(Error::Unexpected(format!("the SMMU has stopped accesses:\n{faults}")));
    }
    host.disconnect_all()?;
    card.machine.run_ok_for("dpkg --purge gantry", LIMIT).map_err(told)?;
    card.run(
        "set -e; for gone in /usr/sbin/gantryd /etc/gantry /etc/default/gantry; do [ ! -e $gone ]; done
         for unit in gantryd gantry-dataplane; do [ \"$(systemctl is-active $unit)\" = inactive ]; done
         [ -z \"$(systemctl --failed --no-legend)\" ]",
    )?;
    card.machine.check_health()?;
    step("the package is purged, and nothing of it runs");
    Ok(())
}

/// Boots the card until systemd has started all that it wants to.
fn boot(package: &Package, switch: &Switch) -> Result<Machine> {
    let files: [(&str, &Path); 2] = [("gantry.deb", &package.archive), ("next.deb", &package.next)];
    let mut builder = Machine::builder("card")
        .platform(&AARCH64)
        .kernel(Kernel::in_root(&package.root)?)
        .contents(Contents::debian("arm64", &package.root, &files))
        .cpus(2)
        .memory_mb(1500)
        .iommu()
        .mac([0x52, 0x54, 0, 0, 0, 1])
        .wire(switch.wire(CARD))
        .drive(Nvme::new("d0").namespace(DRIVE_BYTES, 512))
        .drive(Nvme::new("d1").namespace(DRIVE_BYTES, 4096));
    // Nobody logs in, and what the console says is the kernel's.
    for word in ["getty.target", "serial-getty@ttyAMA0.service", "getty-static.service", "systemd-update-utmp.service"]
    {
        builder = builder.kernel_word(&format!("systemd.mask={word}"));
    }
    let machine = builder.kernel_word("systemd.show_status=0").boot()?;
    // It takes a moment until systemd answers at all.
    machine.run_ok_for(
        "until [ -S /run/systemd/private ]; do sleep 0.2; done
         state=$(systemctl is-system-running --wait); [ \"$state\" = running ] || { echo $state; systemctl --failed; exit 1; }",
        LIMIT,
    )?;
    Ok(machine)
}

/// The card, once the package is there.
struct Installed {
    machine: Machine,
}

impl Installed {
    fn run(&self, script: &str) -> Result<String> {
        self.machine.run_ok_for(script, LIMIT).map_err(|error| self.told(error))
    }

    /// `error`, after what the card's processes said.
    fn told(&self, error: Error) -> Error {
        let script = "journalctl --no-pager --output=cat -n 60 -u gantryd -u gantry-dataplane -u gantry-setup; dmesg | tail -n 20";
        let said = self.machine.run_for(script, LIMIT).map_or_else(|error| error.to_string(), |output| output.stdout);
        Error::Unexpected(format!("the card said:\n{said}\nand what failed is: {error}"))
    }

    fn expect_active(&self) -> Result<()> {
        self.run(
            "for unit in gantry-setup gantry-dataplane gantryd; do
                 state=$(systemctl is-active $unit); [ \"$state\" = active ] || { echo $unit is $state >&2; exit 1; }
             done",
        )
        .map(drop)
    }

    /// As docs/packages.md has it.
    fn configure(&self) -> Result<()> {
        let drives: Vec<String> = (0..SUBSYSTEMS.len()).map(Machine::drive_address).collect();
        let mut configuration = format!(
            "[dataplane]\nchannel = \"/run/gantry/channel\"\n\n[[port]]\nname = \"wire0\"\ndevice = \"{NET_ADDRESS}\"\n\
             addresses = [\"10.0.0.1/24\"]\nmtu = {MTU}\n"
        );
        for ((nqn, drive, uuid), address) in SUBSYSTEMS.iter().zip(&drives) {
            configuration += &format!(
                "\n[[drive]]\nname = \"{drive}\"\nuri = \"pci:{address}\"\n\n[[subsystem]]\nnqn = \"{nqn}\"\nhosts = \"any\"\n\
                 namespaces = [{{ nsid = 1, drive = \"{drive}\", uuid = \"{uuid}\" }}]\n"
            );
        }
        let drives = drives.join(" ");
        self.run(&format!(
            "set -e
             sed -i -e 's/^HUGEPAGES_MB=.*/HUGEPAGES_MB=192/' -e 's/^DRIVES=.*/DRIVES=\"{drives}\"/' \
                 -e 's/^PORTS=.*/PORTS=\"{NET_ADDRESS}\"/' \
                 -e 's/^DATAPLANE_OPTIONS=.*/DATAPLANE_OPTIONS=\"--lcores 1 --memory 128 --pci {NET_ADDRESS}\"/' \
                 /etc/default/gantry
             systemctl restart gantry-setup gantry-dataplane
             cat >/etc/gantry/gantry.toml <<'END'\n{configuration}END
             gantryd --check
             systemctl restart gantryd"
        ))?;
        self.expect_active()
    }

    /// The main processes: data plane and control.
    fn processes(&self) -> Result<(String, String)> {
        let id = |unit: &str| self.run(&format!("systemctl show --property=MainPID --value {unit}"));
        Ok((id("gantry-dataplane")?.trim().to_owned(), id("gantryd")?.trim().to_owned()))
    }
}

/// Every block of a disk once, written and read back.
fn verify(host: &Host, disk: &str) -> Result<()> {
    for (pattern, block_bytes) in [(Pattern::Random, 4096), (Pattern::Sequential, 64 << 10)] {
        host.fio(&Fio::verify(disk, pattern, block_bytes, 4 << 20).limit(LIMIT))?;
    }
    Ok(())
}

/// Runs a command in the card while fio writes and verifies: the data plane stays, control is another, the host
/// notices nothing.
fn restarted(card: &Installed, host: &Host, disk: &str, command: &str) -> Result<()> {
    let (dataplane, control) = card.processes()?;
    host.mark(command)?;
    let fio = Fio::verify(disk, Pattern::Random, 4096, 4 << 20).until_ended().limit(LIMIT);
    let begun = AtomicBool::new(false);
    thread::scope(|scope| {
        let running = Running::start(scope, host.machine(), &fio, |report| report.writes > 0, &begun)?;
        card.run(command)?;
        running.end()
    })?;
    card.expect_active()?;
    let (same, other) = card.processes()?;
    if same != dataplane || other == control {
        return Err(Error::Unexpected(format!(
            "`{command}` made processes {dataplane} and {control} to {same} and {other}, not a new gantryd alone"
        )));
    }
    let mut trouble = host.trouble_since(command)?;
    // A Keep Alive that an emulated processor answers late was answered: the connection is there.
    trouble.retain(|line| !line.contains("long keepalive RTT"));
    if !trouble.is_empty() {
        return Err(Error::Unexpected(format!("`{command}` was noticed by the host:\n{}", trouble.join("\n"))));
    }
    Ok(())
}
