//! What the card must do, in the order in which a reader would try it by hand. Each starts and ends disconnected.

use crate::interop::host::Host;
use crate::interop::scenario::{Scenario, data, ensure};
use crate::interop::subsystem;
use crate::vm::{Error, Machine, Result};

use super::drives::{SERVED, STRAY, Served};
use super::jobs::{self, JOB_LIMIT, Job};
use super::{Card, errors, removal, stray};

macro_rules! scenarios {
    ($($name:literal, $shows:literal, $run:expr;)*) => {
        &[$(Scenario { name: $name, shows: $shows, may_stall: false, run: $run }),*]
    };
}

/// All of the card's scenarios.
pub const ALL: &[Scenario<Card>] = scenarios![
    "placement", "every namespace has its size, blocks and identity, and its data lies on the right drive", placement;
    "mixed-sizes", "verified I/O of 512 B to 256 KiB on four drives at once, one of them of 4 KiB blocks, one with a small \
                    MDTS and by PRPs only", mixed_sizes;
    "filesystem", "ext4 on 4 KiB blocks keeps its files over a remount and a new connection", filesystem;
    "media-errors", "what a drive cannot read reaches the host as such, for these blocks and no other", errors::media;
    "stray-dma", "the IOMMU stops a drive that writes where nothing is mapped for it, and nobody else notices", stray::stopped;
    "binding", "gantryctl gives a drive back to the kernel and takes it again, unless somebody uses it", binding;
    "removal", "a drive is taken away under load and returned; the others' I/O goes on", removal::returned;
];

/// Connects, and finds the block device of each of [`SERVED`].
pub(super) fn connect(host: &Host) -> Result<Vec<String>> {
    host.connect(subsystem::OPEN)?;
    SERVED.iter().map(|served| disk(host, served.nsid)).collect()
}

/// The block device of a namespace, once it is there.
pub(super) fn disk(host: &Host, nsid: u32) -> Result<String> {
    let found = host.machine().run_ok(&format!(
        "tries=0
         while [ $tries -lt 200 ]; do
             for disk in /sys/block/nvme*n*; do
                 name=${{disk##*/}}
                 case $name in nvme*c*n*) continue ;; esac
                 [ \"$(cat $disk/nsid)\" = {nsid} ] && [ -b /dev/$name ] && [ \"$(cat $disk/size)\" -gt 0 ] || continue
                 echo /dev/$name; exit 0
             done
             tries=$((tries + 1)); sleep 0.1
         done
         echo no namespace {nsid} after twenty seconds >&2; dmesg | tail -20 >&2; exit 1"
    ))?;
    Ok(found.trim().to_owned())
}

/// Where the marks of [`placement`] are.
const MARK_OFFSET: u64 = 1 << 20;
const MARK_BYTES: usize = 64 << 10;

fn placement(card: &mut Card, host: &mut Host) -> Result<String> {
    let disks = connect(host)?;
    for (served, disk) in SERVED.iter().zip(&disks) {
        let name = disk.trim_start_matches("/dev/");
        let told = host.machine().run_ok(&format!(
            "set -e; cd /sys/block/{name}; cat size queue/logical_block_size uuid
             yes {mark} | head -c {MARK_BYTES} >/tmp/mark
             dd if=/tmp/mark of={disk} bs={MARK_BYTES} seek={at} oflag=direct 2>/dev/null
             dd if={disk} of=/tmp/again bs={MARK_BYTES} skip={at} count=1 iflag=direct 2>/dev/null
             cmp /tmp/mark /tmp/again",
            mark = mark(served),
            at = MARK_OFFSET / MARK_BYTES as u64,
        ))?;
        let expected = format!("{}\n{}\n{}\n", served.bytes / 512, served.block_bytes, served.uuid);
        ensure(told == expected, || format!("namespace {} is {told:?}, not {expected:?}", served.nsid))?;
    }
    host.disconnect(subsystem::OPEN)?;
    for served in &SERVED {
        let expected: Vec<u8> = format!("{}\n", mark(served)).bytes().cycle().take(MARK_BYTES).collect();
        let there = card.machine().image_bytes(served.port, served.drive_nsid as usize - 1, MARK_OFFSET, MARK_BYTES)?;
        ensure(there == expected, || format!("namespace {}'s data is not on its drive", served.nsid))?;
    }
    card.expect_hugepages()?;
    card.expect_interrupts()?;
    Ok(format!("{} namespaces on {STRAY} drives", SERVED.len()))
}

fn mark(served: &Served) -> String {
    format!("namespace-{}", served.nsid)
}

/// Jobs that keep away from the bad sectors: (NSID, smallest and largest I/O, bytes).
const MIXED: [(u32, (u64, u64), u64); 6] = [
    (1, (512, 64 << 10), 3 << 20),
    (2, (4 << 10, 256 << 10), 6 << 20),
    (3, (512, 8 << 10), 512 << 10),
    (4, (4 << 10, 64 << 10), 2 << 20),
    (5, (512, 128 << 10), 2 << 20),
    (6, (512, 128 << 10), 4 << 20),
];

/// The jobs of [`MIXED`] on these namespaces.
pub(super) fn mixed(disks: &[String], nsids: &[u32]) -> Vec<Job> {
    let wanted = MIXED.iter().filter(|(nsid, ..)| nsids.contains(nsid));
    let job = |&(nsid, blocks, bytes): &(u32, (u64, u64), u64)| Job {
        disk: disks[nsid as usize - 1].clone(),
        blocks,
        offset: 2 << 20,
        bytes,
    };
    wanted.map(job).collect()
}

fn mixed_sizes(_: &mut Card, host: &mut Host) -> Result<String> {
    let disks = connect(host)?;
    let done = jobs::run(host, &mixed(&disks, &[1, 2, 3, 4, 5, 6]), JOB_LIMIT)?;
    host.disconnect(subsystem::OPEN)?;
    Ok(format!("{} writes read back", done.writes))
}

fn filesystem(_: &mut Card, host: &mut Host) -> Result<String> {
    data::filesystem_on(host, |host| Ok(connect(host)?.swap_remove(1)))
}

fn binding(card: &mut Card, _: &mut Host) -> Result<String> {
    let (machine, address) = (card.machine(), Machine::drive_address(STRAY));
    let driver = || {
        let link = format!("readlink /sys/bus/pci/devices/{address}/driver");
        machine.run_ok(&link).map(|path| path.trim().rsplit('/').next().unwrap_or_default().to_owned())
    };
    machine.run_ok(&format!("gantryctl drive unbind {address}"))?;
    ensure(driver()? == "nvme", || format!("{address} is with {:?}", driver()))?;
    let held = machine.run(&format!(
        "disk=/dev/$(ls -d /sys/bus/pci/devices/{address}/nvme/nvme*/nvme*n1 | sed 's|.*/||')
         tries=0; until [ -b $disk ]; do tries=$((tries + 1)); [ $tries -lt 100 ] || exit 9; sleep 0.1; done
         exec 7<$disk; gantryctl drive bind {address}"
    ))?;
    ensure(held.status == 1 && held.stderr.contains("in use"), || format!("binding a drive in use {held}"))?;
    ensure(driver()? == "nvme", || "a drive in use was taken from the kernel".to_owned())?;
    machine.run_ok(&format!("gantryctl drive bind {address}"))?;
    ensure(driver()? == "vfio-pci", || "it was not taken again".to_owned())?;
    let held = machine.run(&format!("gantryctl drive unbind {}", Machine::drive_address(0)))?;
    ensure(held.status == 1 && held.stderr.contains("in use"), || format!("unbinding a drive that serves {held}"))?;
    card.check_faults().map(|()| "given back, refused in use, taken again; refused while it serves".to_owned())
}

/// Fails if the host's kernel has something to say since `mark` other than about these words.
pub(super) fn quiet_but(host: &Host, mark: &str, about: &[&str]) -> Result<()> {
    let mut seen = host.trouble_since(mark)?;
    seen.retain(|line| !about.iter().any(|word| line.contains(word)));
    if seen.is_empty() {
        Ok(())
    } else {
        Err(Error::Unexpected(format!("the host's kernel noticed:\n{}", seen.join("\n"))))
    }
}
