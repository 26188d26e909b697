//! `gantryctl drive` on a stock kernel with an IOMMU and QEMU's NVMe drives: they go to vfio-pci and come back, and one that anything
//! uses stays.

use std::path::Path;

use crate::vm::{Contents, Error, Machine, Nvme, Result};

/// One after the other on one machine, each leaving every drive with the kernel and unused.
const STORIES: &[(&str, Story)] = &[
    ("listed with model, serial number, group and users", listed),
    ("a mounted file system", mounted),
    ("a mount that only another process sees", mounted_elsewhere),
    ("swap", swap),
    ("a loop device", looped),
    ("open in a program", open),
    ("held by a program through VFIO", held),
    ("taken and given back, with all that is on them", taken),
];

type Story = fn(&Machine) -> Result<()>;

const FIRST: &str = "0000:01:00.0";
const SECOND: &str = "0000:02:00.0";

/// Boots the machine with this gantryctl in it, and tells every story.
pub fn run(gantryctl: &Path) -> Result<bool> {
    let machine = Machine::builder("drives")
        .memory_mb(512)
        .iommu()
        .contents(Contents::mover("drives").program("gantryctl", gantryctl))
        .drive(Nvme::new("first").namespace(64 << 20, 512))
        .drive(Nvme::new("second").namespace(32 << 20, 4096))
        .boot()?;
    println!("the machine booted in {:.1} s", machine.boot_time().as_secs_f32());
    machine.run_ok("modprobe -a nvme ext4 loop; mkdir -p /mnt; mkfs.ext4 -q /dev/nvme0n1; mkswap /dev/nvme1n1")?;
    let mut failed = 0;
    for (name, story) in STORIES {
        match story(&machine) {
            Ok(()) => println!("{name}: ok"),
            Err(error) => {
                failed += 1;
                println!("{name}: FAILED\n{error}");
            }
        }
    }
    machine.check_health()?;
    println!("{} passed, {failed} failed", STORIES.len() - failed);
    Ok(failed == 0)
}

fn ensure(condition: bool, message: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { Err(Error::Unexpected(message())) }
}

/// After `before`, gantryctl refuses to `what` and says `why`, and the drive stays with `driver`; then comes `after`.
fn refused(machine: &Machine, before: &str, what: &str, (why, driver): (&str, &str), after: &str) -> Result<()> {
    machine.run_ok(before)?;
    let output = machine.run(&format!("gantryctl drive {what}"))?;
    let address = what.split(' ').nth(1).unwrap_or_default();
    let bound = machine.run_ok(&format!("basename $(readlink /sys/bus/pci/devices/{address}/driver)"))?;
    machine.run_ok(after)?;
    ensure(output.status == 1, || format!("{what} ended with {}: {}", output.status, output.stdout))?;
    ensure(output.stderr.contains(why), || format!("`{why}` is not in: {}", output.stderr))?;
    ensure(bound.trim() == driver, || format!("{address} is with {bound}"))
}

/// The drives as the JSON has them.
fn list(machine: &Machine) -> Result<serde_json::Value> {
    let text = machine.run_ok("gantryctl drive list --json")?;
    serde_json::from_str(&text).map_err(|error| Error::Unexpected(format!("{error} in: {text}")))
}

fn listed(machine: &Machine) -> Result<()> {
    let drives = list(machine)?;
    ensure(drives.as_array().is_some_and(|drives| drives.len() == 2), || format!("not two drives: {drives}"))?;
    for (drive, address, serial, name) in
        [(&drives[0], FIRST, "first", "nvme0"), (&drives[1], SECOND, "second", "nvme1")]
    {
        let said = [("address", address), ("serial", serial), ("kernel_name", name), ("driver", "nvme")];
        for (field, value) in said {
            ensure(drive[field] == value, || format!("{field} is not {value}: {drive}"))?;
        }
        ensure(drive["id"] == "1b36:0010" && drive["model"] == "QEMU NVMe Ctrl", || format!("another make: {drive}"))?;
        ensure(drive["iommu_group"].is_u64(), || format!("no group: {drive}"))?;
        ensure(drive["in_use"].as_array().is_some_and(Vec::is_empty), || format!("in use: {drive}"))?;
    }
    machine.run_ok("mount /dev/nvme0n1 /mnt")?;
    let drives = list(machine);
    machine.run_ok("umount /mnt")?;
    let by = &drives?[0]["in_use"][0];
    ensure(by["device"] == "nvme0n1" && by["by"] == "is mounted at /mnt", || format!("not in use: {by}"))
}

fn mounted(machine: &Machine) -> Result<()> {
    let why = ("nvme0n1 is mounted at /mnt", "nvme");
    refused(machine, "mount /dev/nvme0n1 /mnt", &format!("bind {FIRST}"), why, "umount /mnt")
}

/// Its namespace goes with the process. gantryctl's own mountinfo says nothing; the kernel does.
fn mounted_elsewhere(machine: &Machine) -> Result<()> {
    let before =
        "unshare -m sh -c 'mount /dev/nvme0n1 /mnt && touch /run/mounted && exec sleep 1000' & echo $! >/run/mounter
        tries=0; until [ -e /run/mounted ]; do tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1; done
        ! grep -q /dev/nvme0n1 /proc/self/mountinfo";
    let after = "kill $(cat /run/mounter); rm /run/mounted; tries=0
        until mount /dev/nvme0n1 /mnt 2>/dev/null; do
            tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1
        done; umount /mnt";
    let why = ("nvme0n1 is held exclusively", "nvme");
    refused(machine, before, &format!("bind {FIRST}"), why, after)
}

fn swap(machine: &Machine) -> Result<()> {
    let why = ("nvme1n1 is swap space", "nvme");
    refused(machine, "swapon /dev/nvme1n1", &format!("bind {SECOND}"), why, "swapoff /dev/nvme1n1")
}

fn looped(machine: &Machine) -> Result<()> {
    let why = ("nvme1n1 is behind loop0", "nvme");
    refused(machine, "losetup /dev/loop0 /dev/nvme1n1", &format!("bind {SECOND}"), why, "losetup -d /dev/loop0")
}

fn open(machine: &Machine) -> Result<()> {
    let before = "sleep 1000 </dev/nvme1n1 & echo $! >/run/reader";
    let why = ("nvme1 is open in sleep", "nvme");
    refused(machine, before, &format!("bind {SECOND}"), why, "kill $(cat /run/reader); wait")
}

fn held(machine: &Machine) -> Result<()> {
    let before = format!(
        "gantryctl drive bind {SECOND}
         group=$(basename $(readlink /sys/bus/pci/devices/{SECOND}/iommu_group))
         sleep 1000 </dev/vfio/$group & echo $! >/run/holder; sleep 0.2"
    );
    let after = format!("kill $(cat /run/holder); wait; gantryctl drive unbind {SECOND}");
    refused(machine, &before, &format!("unbind {SECOND}"), ("is open in sleep", "vfio-pci"), &after)
}

fn taken(machine: &Machine) -> Result<()> {
    machine.run_ok("mount /dev/nvme0n1 /mnt && echo kept >/mnt/file && umount /mnt")?;
    let said = machine.run_ok(&format!("gantryctl drive bind {FIRST} {SECOND}"))?;
    let moved = |said: &str, from: &str, to: &str| {
        let wanted = [FIRST, SECOND].map(|address| format!("{address} went from {from} to {to}"));
        ensure(said.lines().eq(wanted.iter().map(String::as_str)), || format!("not moved: {said}"))
    };
    moved(&said, "nvme", "vfio-pci")?;
    let drives = list(machine)?;
    ensure([0, 1].iter().all(|at| drives[*at]["driver"] == "vfio-pci"), || format!("not there: {drives}"))?;
    machine.run_ok("[ ! -e /dev/nvme0n1 ] && ls /dev/vfio")?;
    let said = machine.run_ok(&format!("gantryctl drive unbind {FIRST} {SECOND}"))?;
    moved(&said, "vfio-pci", "nvme")?;
    // Numbers are given out anew: which is which, the serial number says.
    let kept = machine.run_ok(
        "tries=0; until disk=$(grep -l first /sys/block/nvme*/device/serial); do
             tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1
         done
         mount /dev/$(echo $disk | cut -d/ -f4) /mnt && cat /mnt/file && umount /mnt
         cat /sys/bus/pci/devices/0000:01:00.0/driver_override",
    )?;
    ensure(kept == "kept\n(null)\n" || kept == "kept\n\n", || format!("what was on it: {kept:?}"))
}
