//! What the guest does with its drives.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use crate::vm::{Error, Result};

use super::super::running::Running;
use super::super::{Fio, Pattern};
use super::{Bed, UNREADABLE, UNWRITABLE};

/// One thing to be shown.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    pub(super) run: fn(&Bed) -> Result<String>,
}

/// All of them, in their order.
pub const ALL: &[Scenario] = &[
    Scenario { name: "identify", shows: "controller and namespaces are what was served", run: identify },
    Scenario { name: "verify", shows: "what is written is read, with doorbells mapped and forwarded", run: verify },
    Scenario { name: "interrupts", shows: "completions come as MSI-X, one vector a queue", run: interrupts },
    Scenario { name: "filesystem", shows: "ext4 keeps its files over an unmount", run: filesystem },
    Scenario { name: "errors", shows: "injected errors are the right blocks' and no other's", run: errors },
    Scenario {
        name: "reset",
        shows: "the controller is reset under verified I/O, and the function below it",
        run: reset,
    },
    Scenario {
        name: "return",
        shows: "a drive that was taken from its driver comes back with its data",
        run: comes_back,
    },
];

/// That `text` has each of `parts`.
fn expect(text: &str, parts: &[&str]) -> Result<()> {
    match parts.iter().find(|part| !text.contains(**part)) {
        Some(part) => Err(Error::Unexpected(format!("no '{part}' in:\n{text}"))),
        None => Ok(()),
    }
}

fn identify(bed: &Bed) -> Result<String> {
    let machine = bed.machine();
    let pci = machine.run_ok("cat /sys/class/nvme/nvme0/device/class /sys/class/nvme/nvme0/device/vendor")?;
    expect(&pci, &["0x010802", "0x5447"])?;
    let controller = machine.run_ok("/sbin/nvme id-ctrl /dev/nvme0")?;
    expect(&controller, &["Gantry software drive", "nn        : 3"])?;
    let one = machine.run_ok("/sbin/nvme id-ns /dev/nvme0n2; /sbin/nvme id-ns /dev/nvme1n1")?;
    // A third of 96 MiB in blocks of 512 bytes, and 32 MiB in blocks of 4096.
    expect(&one, &["nsze    : 0x10000", "lbads:9 ", "nsze    : 0x2000", "lbads:12 "])?;
    let serials = machine.run_ok("cat /sys/class/nvme/nvme0/serial /sys/class/nvme/nvme1/serial")?;
    let mut lines: Vec<&str> = serials.lines().map(str::trim).collect();
    lines.dedup();
    if lines.len() != 2 || lines.contains(&"") {
        return Err(Error::Unexpected(format!("serial numbers: {serials}")));
    }
    Ok("3 namespaces of 512-byte blocks, 1 of 4096".to_owned())
}

fn verify(bed: &Bed) -> Result<String> {
    let mut told = Vec::new();
    for (device, block_bytes, bytes) in
        [("/dev/nvme0n1", 4096, 8 << 20), ("/dev/nvme0n2", 131_072, 32 << 20), ("/dev/nvme1n1", 16_384, 8 << 20)]
    {
        let fio = Fio::verify(device, Pattern::Random, block_bytes, bytes);
        let report = fio.run(bed.machine(), &mut |_| {})?;
        told.push(format!("{} × {} KiB", report.writes, block_bytes >> 10));
    }
    Ok(format!("{} written and verified", told.join(", ")))
}

fn interrupts(bed: &Bed) -> Result<String> {
    let count = |queue: &str| -> Result<u64> {
        let text = bed.machine().run_ok("cat /proc/interrupts")?;
        let line = text.lines().find(|line| line.ends_with(queue));
        let line = line.ok_or_else(|| Error::Unexpected(format!("no interrupt of {queue} in:\n{text}")))?;
        expect(line, &["MSI"])?;
        Ok(line.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum())
    };
    let before = (count("nvme0q0")?, count("nvme0q1")?, count("nvme1q1")?);
    bed.machine().run_ok(
        "dd if=/dev/nvme0n1 of=/dev/null bs=4096 count=64 iflag=direct 2>/dev/null
         dd if=/dev/nvme1n1 of=/dev/null bs=4096 count=64 iflag=direct 2>/dev/null
         /sbin/nvme smart-log /dev/nvme0 >/dev/null",
    )?;
    let after = (count("nvme0q0")?, count("nvme0q1")?, count("nvme1q1")?);
    let more = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    if more.0 == 0 || more.1 < 64 || more.2 < 64 {
        return Err(Error::Unexpected(format!("interrupts of nvme0q0, nvme0q1, nvme1q1: {more:?} more")));
    }
    Ok(format!("{} and {} for 64 reads each", more.1, more.2))
}

fn filesystem(bed: &Bed) -> Result<String> {
    let script = "set -e
        mkfs.ext4 -q -F /dev/nvme0n2
        mkdir -p /mnt
        mount -t ext4 /dev/nvme0n2 /mnt
        i=0; while [ $i -lt 20 ]; do head -c 100000 /dev/urandom >/mnt/$i; i=$((i + 1)); done
        cd /mnt; md5sum [0-9]* >/tmp/sums; cd /
        umount /mnt
        echo 3 >/proc/sys/vm/drop_caches
        mount -t ext4 /dev/nvme0n2 /mnt
        cd /mnt; md5sum -c -s /tmp/sums; ls [0-9]* | wc -l; cd /
        umount /mnt";
    expect(&bed.machine().run_ok(script)?, &["20"])?;
    Ok("20 files of 100 kB".to_owned())
}

/// Whether one block of namespace 3 can be read or written by itself.
fn reaches(bed: &Bed, write: bool, block: u64) -> Result<bool> {
    let (from, to) = if write { ("/dev/zero", "/dev/nvme0n3") } else { ("/dev/nvme0n3", "/dev/null") };
    let place =
        if write { format!("seek={block} oflag=direct conv=notrunc") } else { format!("skip={block} iflag=direct") };
    Ok(bed.machine().run(&format!("dd if={from} of={to} bs=512 count=1 {place}"))?.ok())
}

fn errors(bed: &Bed) -> Result<String> {
    bed.machine().run_ok("dmesg -c >/dev/null; echo 0 >/sys/block/nvme0n3/queue/read_ahead_kb")?;
    for block in UNREADABLE.start - 2..UNREADABLE.end + 2 {
        if reaches(bed, false, block)? == UNREADABLE.contains(&block) {
            return Err(Error::Unexpected(format!("reading block {block}; {UNREADABLE:?} cannot be read")));
        }
    }
    for block in UNWRITABLE - 1..=UNWRITABLE + 1 {
        if reaches(bed, true, block)? == (block == UNWRITABLE) {
            return Err(Error::Unexpected(format!("writing block {block}; {UNWRITABLE} cannot be written")));
        }
    }
    let log = bed.machine().run_ok("dmesg")?;
    let sectors: Vec<u64> = log
        .lines()
        .filter_map(|line| line.split_once("dev nvme0n3, sector ")?.1.split_whitespace().next()?.parse().ok())
        .collect();
    let wanted: Vec<u64> = UNREADABLE.chain([UNWRITABLE]).collect();
    if sectors != wanted || !log.contains("critical medium error") {
        return Err(Error::Unexpected(format!("the kernel told of {sectors:?}, not {wanted:?}:\n{log}")));
    }
    Ok(format!("{} blocks, as medium errors", wanted.len()))
}

fn reset(bed: &Bed) -> Result<String> {
    let machine = bed.machine();
    machine.run_ok("dmesg -c >/dev/null")?;
    let fio = Fio::verify("/dev/nvme0n1", Pattern::Random, 4096, 4 << 20).until_ended();
    let begun = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        let io = Running::start(scope, machine, &fio, |report| report.reads > 0, &begun)?;
        for _ in 0..3 {
            machine.run_ok("/sbin/nvme reset /dev/nvme0")?;
            thread::sleep(Duration::from_millis(1200));
        }
        io.end()
    })?;
    // Below NVMe: the function-level reset that its PCI Express capability offers.
    machine.run_ok(
        "echo flr >/sys/class/nvme/nvme1/device/reset_method && echo 1 >/sys/class/nvme/nvme1/device/reset
         dd if=/dev/nvme1n1 of=/dev/null bs=4096 count=16 iflag=direct 2>/dev/null",
    )?;
    let log = machine.run_ok("dmesg")?;
    if let Some(line) = log.lines().find(|line| line.contains("timeout") || line.contains("I/O error")) {
        return Err(Error::Unexpected(format!("the guest's kernel met trouble: {line}\n{log}")));
    }
    Ok(format!("3 resets under {} verified blocks, 1 function-level reset", report.reads))
}

fn comes_back(bed: &Bed) -> Result<String> {
    let script = "set -e
        head -c 65536 /dev/urandom >/tmp/data
        dd if=/tmp/data of=/dev/nvme1n1 bs=4096 oflag=direct conv=notrunc 2>/dev/null
        address=$(basename $(readlink /sys/class/nvme/nvme1/device))
        echo $address >/sys/bus/pci/drivers/nvme/unbind
        [ ! -b /dev/nvme1n1 ]
        echo $address >/sys/bus/pci/drivers/nvme/bind
        tries=0; until [ -b /dev/nvme1n1 ]; do tries=$((tries + 1)); [ $tries -lt 100 ]; sleep 0.1; done
        dd if=/dev/nvme1n1 of=/tmp/back bs=4096 count=16 iflag=direct 2>/dev/null
        cmp /tmp/data /tmp/back";
    bed.machine().run_ok(script)?;
    Ok("unbound and bound again".to_owned())
}
