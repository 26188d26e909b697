//! Sectors that a drive cannot read, seen from the host.

use std::collections::BTreeSet;

use crate::interop::host::Host;
use crate::interop::scenario::ensure;
use crate::interop::subsystem;
use crate::vm::Result;

use super::drives::{BAD_SECTORS, REMOVABLE};
use super::jobs::{self, JOB_LIMIT};
use super::scenario::{connect, mixed, quiet_but};
use super::{Card, SERVED};

/// Scanned block by block: both bad sectors and what is around them.
const SCAN: std::ops::Range<u64> = 19_984..20_144;

/// The NVMe status of what the medium does not give back (NVMe Base 2.0 figure 97): type 2, code 81h.
const UNRECOVERED_READ: &str = "0x281";

pub(super) fn media(_: &mut Card, host: &mut Host) -> Result<String> {
    let disks = connect(host)?;
    let bad: BTreeSet<u64> = BAD_SECTORS.into();
    for served in SERVED.iter().filter(|served| served.port == 0 || served.port == REMOVABLE) {
        let disk = &disks[served.nsid as usize - 1];
        for lba in BAD_SECTORS.iter().flat_map(|sector| [sector - 1, *sector, sector + 1]) {
            let read = host.machine().run(&format!("nvme read {disk} -s {lba} -c 0 -z 512 -d /dev/null"))?;
            let text = format!("{}{}", read.stdout, read.stderr).to_lowercase();
            let right = if bad.contains(&lba) { text.contains(UNRECOVERED_READ) } else { read.ok() };
            ensure(right, || format!("{disk}: block {lba}: `nvme read` {read}"))?;
        }
        // One command over both, in several pieces for a drive that takes little at once.
        let (first, last) = (BAD_SECTORS[0] - 100, 255);
        let read = host.machine().run(&format!("nvme read {disk} -s {first} -c {last} -z 131072 -d /dev/null"))?;
        let text = format!("{}{}", read.stdout, read.stderr).to_lowercase();
        ensure(text.contains(UNRECOVERED_READ), || format!("{disk}: 128 KiB over bad sectors: `nvme read` {read}"))?;

        let mark = format!("scan {disk}");
        host.mark(&mark)?;
        let count = SCAN.end - SCAN.start;
        host.machine().run(&format!(
            "dd if={disk} of=/tmp/scan bs=512 skip={} count={count} iflag=direct conv=noerror,sync 2>/dev/null",
            SCAN.start
        ))?;
        let (failed, seen) = failed_reads(&host.log_since(&mark)?);
        ensure(failed == bad, || format!("{disk}: the host could not read {failed:?}, of {bad:?}:\n{seen}"))?;
        host.machine().run_ok(&format!(
            "set -e; [ $(wc -c </tmp/scan) = {} ]
             dd if=/dev/zero of={disk} bs=512 seek={} count=1 oflag=direct 2>/dev/null",
            count * 512,
            BAD_SECTORS[0]
        ))?;
    }
    let mark = "beside errors";
    host.mark(mark)?;
    let done = jobs::run(host, &mixed(&disks, &[1, 2, 3, 4, 5, 6]), JOB_LIMIT)?;
    quiet_but(host, mark, &[])?;
    host.disconnect(subsystem::OPEN)?;
    Ok(format!("{UNRECOVERED_READ} for sectors {bad:?} of two drives alone; {} writes read back beside", done.writes))
}

/// The blocks in "nvme0c0n1: I/O Cmd(0x2) @ LBA 20000, 1 blocks, I/O Error (sct 0x2 / sc 0x81)", one of each command that the
/// host's kernel saw fail; and these lines. A command of another length or status stands for block 0, which is not bad.
fn failed_reads(log: &str) -> (BTreeSet<u64>, String) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("I/O Cmd(")).collect();
    let block = |line: &&str| {
        let (_, rest) = line.split_once("I/O Cmd(0x2) @ LBA ")?;
        let (block, rest) = rest.split_once(", ")?;
        let right = rest.trim_end() == "1 blocks, I/O Error (sct 0x2 / sc 0x81)";
        block.parse().ok().filter(|_| right)
    };
    (lines.iter().map(|line| block(line).unwrap_or(0)).collect(), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_reads_are_taken_from_the_kernels_words() {
        let right = "[ 1.2] nvme0c0n1: I/O Cmd(0x2) @ LBA 20000, 1 blocks, I/O Error (sct 0x2 / sc 0x81) \nother\n";
        assert_eq!(failed_reads(right).0, BTreeSet::from([20_000]));
        for wrong in ["sc 0x85", "0x1)", "2 blocks"] {
            let (of, instead) = match wrong {
                "sc 0x85" => ("sc 0x81", wrong),
                "0x1)" => ("0x2)", wrong),
                _ => ("1 blocks", wrong),
            };
            assert_eq!(failed_reads(&right.replacen(of, instead, 1)).0, BTreeSet::from([0]), "{wrong}");
        }
    }
}
