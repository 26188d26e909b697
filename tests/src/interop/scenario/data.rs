//! Data that comes back as it was written.

use crate::interop::{Device, Fio, Host, Pattern, subsystem};
use crate::vm::Result;

use super::ensure;

/// Block size and bytes written: light, since a machine without KVM does some hundred I/Os a second.
const SIZES: [(u64, u64); 5] =
    [(512, 128 << 10), (4 << 10, 1 << 20), (16 << 10, 2 << 20), (128 << 10, 4 << 20), (1 << 20, 8 << 20)];

pub(super) fn sequential(host: &mut Host) -> Result<String> {
    every_size(host, Pattern::Sequential)
}

pub(super) fn random(host: &mut Host) -> Result<String> {
    every_size(host, Pattern::Random)
}

pub(super) fn every_size(host: &Host, pattern: Pattern) -> Result<String> {
    let device = host.connect(subsystem::OPEN)?;
    let mut done = 0;
    for (block_bytes, bytes) in SIZES {
        let report = host.fio(&Fio::verify(&device.block, pattern, block_bytes, bytes))?;
        done += report.reads + report.writes;
    }
    host.disconnect(subsystem::OPEN)?;
    Ok(format!("{done} I/Os"))
}

pub(super) fn persistent(host: &mut Host) -> Result<String> {
    let device = host.connect(subsystem::OPEN)?;
    let sum = |device: &Device| -> Result<String> {
        let text = host.machine().run_ok(&format!(
            "echo 3 >/proc/sys/vm/drop_caches; dd if={} bs=1M skip=3 count=4 2>/dev/null | sha256sum",
            device.block
        ))?;
        Ok(text.trim().to_owned())
    };
    host.machine().run_ok(&format!(
        "dd if=/dev/urandom bs=1M count=4 2>/dev/null | dd of={} bs=1M seek=3 conv=fsync iflag=fullblock 2>/dev/null",
        device.block
    ))?;
    let written = sum(&device)?;
    host.disconnect(subsystem::OPEN)?;
    let device = host.connect(subsystem::OPEN)?;
    let read = sum(&device)?;
    host.disconnect(subsystem::OPEN)?;
    ensure(read == written, || format!("{read} was {written}"))?;
    Ok("4 MiB".to_owned())
}

pub(super) fn filesystem(host: &mut Host) -> Result<String> {
    filesystem_on(host, |host| host.connect(subsystem::OPEN).map(|device| device.block))
}

/// ext4 on the disk that `connect` gives.
pub(in crate::interop) fn filesystem_on(host: &Host, connect: fn(&Host) -> Result<String>) -> Result<String> {
    let block = connect(host)?;
    host.machine().run_ok(&format!(
        "set -e
         mkfs.ext4 -q -F {0}; mount -t ext4 {0} /mnt; cd /mnt; mkdir -p a/b/c
         for size in 0 1 511 512 513 4095 4096 4097 65537 1048577 3000000; do
             dd if=/dev/urandom of=a/file$size bs=$((size > 0 ? size : 1)) count=$((size > 0)) iflag=fullblock 2>/dev/null
         done
         for i in $(seq 50); do echo $i >a/b/c/small$i; done
         find . -type f | sort | xargs sha256sum >/tmp/sums
         sync; cd /; umount /mnt
         mount -t ext4 {0} /mnt; cd /mnt; sha256sum -c -s /tmp/sums; cd /; umount /mnt",
        block
    ))?;
    host.disconnect(subsystem::OPEN)?;
    let block = connect(host)?;
    let checked = host.machine().run_ok(&format!(
        "set -e
         mount -t ext4 {block} /mnt; cd /mnt; sha256sum -c -s /tmp/sums; rm -r a; sync; cd /; umount /mnt; wc -l </tmp/sums"
    ))?;
    host.disconnect(subsystem::OPEN)?;
    // 11 files of chosen sizes and 50 small ones.
    ensure(checked.trim() == "61", || format!("{} files, not 61", checked.trim()))?;
    let log = host.machine().run_ok("dmesg | grep 'EXT4-fs error'; true")?;
    ensure(log.is_empty(), || log.clone())?;
    Ok("61 files".to_owned())
}

pub(super) fn zeroes(host: &mut Host) -> Result<String> {
    let device = host.connect(subsystem::OPEN)?;
    let block = &device.block;
    let name = block.trim_start_matches("/dev/");
    // 8 MiB of noise; then MiB 1 is zeroed by the block layer, 16 blocks of MiB 3 by hand, and MiB 5 discarded.
    let machine = host.machine();
    machine.run_ok(&format!(
        "set -e
         [ $(cat /sys/block/{name}/queue/write_zeroes_max_bytes) -gt 0 ] || {{ echo no write zeroes >&2; exit 1; }}
         [ $(cat /sys/block/{name}/queue/discard_max_bytes) -gt 0 ] || {{ echo no discard >&2; exit 1; }}
         dd if=/dev/urandom of=/tmp/before bs=1M count=8 iflag=fullblock 2>/dev/null
         dd if=/tmp/before of={block} bs=1M conv=fsync 2>/dev/null
         nvme flush {block}
         cp /tmp/before /tmp/expected
         /sbin/blkdiscard -z -o 1048576 -l 1048576 {block}
         dd if=/dev/zero of=/tmp/expected bs=1M seek=1 count=1 conv=notrunc 2>/dev/null
         nvme write-zeroes {block} -s 6144 -c 15
         dd if=/dev/zero of=/tmp/expected bs=512 seek=6144 count=16 conv=notrunc 2>/dev/null
         nvme flush {block}
         echo 3 >/proc/sys/vm/drop_caches
         dd if={block} of=/tmp/after bs=1M count=8 2>/dev/null
         cmp /tmp/expected /tmp/after"
    ))?;
    // Discarded blocks read as zeroes or as they were (NVM Command Set §3.2.3.2.1); all others are untouched.
    let discarded = machine.run_ok(&format!(
        "set -e
         /sbin/blkdiscard -o 5242880 -l 1048576 {block}
         echo 3 >/proc/sys/vm/drop_caches
         dd if={block} of=/tmp/after bs=1M count=8 2>/dev/null
         for part in '0 5' '6 2'; do
             set -- $part
             dd if=/tmp/expected bs=1M skip=$1 count=$2 2>/dev/null | sha256sum >/tmp/one
             dd if=/tmp/after bs=1M skip=$1 count=$2 2>/dev/null | sha256sum >/tmp/two
             cmp /tmp/one /tmp/two
         done
         one() {{ dd if=$1 bs=1M skip=$2 count=1 2>/dev/null | sha256sum; }}
         now=$(one /tmp/after 5)
         [ \"$now\" = \"$(one /dev/zero 0)\" ] && echo read as zeroes && exit 0
         [ \"$now\" = \"$(one /tmp/expected 5)\" ] && echo read as before && exit 0
         echo discarded blocks read as neither >&2; exit 1"
    ))?;
    machine.run_ok("rm -f /tmp/before /tmp/expected /tmp/after")?;
    host.disconnect(subsystem::OPEN)?;
    Ok(format!("discarded blocks {}", discarded.trim()))
}
