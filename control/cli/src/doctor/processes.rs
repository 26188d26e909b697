//! The configuration, DPDK's libraries, and the two processes as they run.

use super::Report;
use super::plan::Plan;
use crate::machine::Machine;
use crate::segment::{self, SegmentError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where a package puts the data plane.
const PROGRAMS: [&str; 2] = ["usr/sbin/gantry-dataplane", "usr/bin/gantry-dataplane"];
/// Longest part of a program that is searched for the names of its libraries, in bytes.
const SEARCHED: u64 = 64 << 20;

pub(super) fn configuration(machine: &Machine<'_>, config: &Path, gantryd: &str, plan: &Plan, report: &mut Report) {
    let file = config.display().to_string();
    if !machine.exists(&file) {
        report.error(
            "config.missing",
            format!("there is no configuration {file}"),
            "install the example there (deploy/gantry.toml, /usr/share/doc/gantry) and write your ports and drives into it, or name \
             another with --config",
        );
        return;
    }
    match machine.kernel().run(gantryd, &["--config", &file, "--check"]) {
        Ok((true, said)) => report.fine("config", said),
        Ok((false, said)) => report.error(
            "config.wrong",
            format!("{file} has mistakes:\n{said}"),
            format!("mend what it names; `gantryd --config {file} --check` looks again"),
        ),
        Err(error) => {
            // Whether it is TOML at all can be said without gantryd.
            let broken = if plan.configured { "" } else { ", and it is not TOML" };
            report.warning(
                "config.unchecked",
                format!("{gantryd} could not be asked about {file} ({error}){broken}"),
                "install gantryd, or say where it is with --gantryd",
            );
        }
    }
}

/// The libraries that the data plane was linked with have to be there in the same version.
pub(super) fn dpdk(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    use std::io::Read;
    let before = report.0.len();
    let mut bytes = Vec::new();
    let file = PROGRAMS.iter().find_map(|program| std::fs::File::open(machine.at(program)).ok());
    if file.and_then(|file| file.take(SEARCHED).read_to_end(&mut bytes).ok()).is_none() {
        // It may have been started from elsewhere.
        return;
    }
    const NAME: &[u8] = b"librte_eal.so.";
    let at = bytes.windows(NAME.len()).position(|window| window == NAME);
    let Some(at) = at else {
        report.fine("dpdk", "linked into gantry-dataplane");
        return;
    };
    let digits = bytes[at + NAME.len()..].iter().take(3).take_while(|byte| byte.is_ascii_digit());
    let abi: String = digits.map(|byte| char::from(*byte)).collect();
    let architecture = if machine.is_arm() { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" };
    let folders =
        ["usr/lib", "usr/local/lib", "lib"].map(|folder| [folder.to_owned(), format!("{folder}/{architecture}")]);
    let has = |name: &str| folders.iter().flatten().any(|folder| machine.exists(&format!("{folder}/{name}")));
    if !has(&format!("librte_eal.so.{abi}")) {
        report.error(
            "dpdk.library",
            format!(
                "gantry-dataplane was built for DPDK {} (librte_eal.so.{abi}), which is not installed",
                release(&abi)
            ),
            format!("apt install librte-eal{abi}, or a gantry-dataplane that was built for this system's DPDK"),
        );
    } else if super::ports::any_mlx5(machine, plan)
        && !has(&format!("librte_net_mlx5.so.{abi}"))
        && !has(&format!("dpdk/pmds-{abi}.0/librte_net_mlx5.so.{abi}"))
    {
        report.error(
            "dpdk.mlx5",
            format!("a port is mlx5, and DPDK {}'s driver for it is not installed", release(&abi)),
            format!("apt install librte-net-mlx5-{abi}"),
        );
    }
    report.unless_found(before, "dpdk", format!("{}, ABI {abi}", release(&abi)));
}

/// DPDK's release of an ABI: one a year, in November (DPDK's ABI policy).
fn release(abi: &str) -> String {
    match abi.parse::<u32>() {
        Ok(abi @ 21..=99) => format!("{}.11", abi - 1),
        _ => "of an unknown release".to_owned(),
    }
}

/// The data plane, its channel, its statistics.
pub(super) fn running(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    let Some(process) = &plan.process else {
        report.warning(
            "dataplane.stopped",
            "gantry-dataplane does not run",
            "systemctl enable --now gantry-dataplane; `journalctl -u gantry-dataplane` says why it ended",
        );
        return;
    };
    report.fine("dataplane", format!("process {}", process.pid));
    let channel = &plan.channel;
    let given = plan.option("--channel").unwrap_or(channel);
    if given != channel {
        report.error(
            "channel.other",
            format!("gantry-dataplane listens at {given}, the configuration says {channel}"),
            format!(
                "write channel = \"{given}\" under [dataplane], or start gantry-dataplane with --channel {channel}"
            ),
        );
        return;
    }
    let Ok(metadata) = machine.at(channel).metadata() else {
        report.error(
            "channel.absent",
            format!("gantry-dataplane runs, but its channel {channel} is not there"),
            "something removed it (a second data plane, a cleaner of /run): restart gantry-dataplane at a quiet time",
        );
        return;
    };
    match metadata.mode() & 0o002 {
        0 => report.fine("channel", channel),
        _ => report.warning(
            "channel.open",
            format!("everybody on this machine may write to {channel}, and who does programs the card"),
            format!("chmod o-rwx {channel}, and UMask=0077 in gantry-dataplane's unit"),
        ),
    }
    statistics(machine, &format!("{channel}.stats"), &process.pid, report);
}

fn statistics(machine: &Machine<'_>, path: &str, pid: &str, report: &mut Report) {
    let parsed = std::fs::read(machine.at(path)).map_err(SegmentError::from).and_then(|bytes| segment::parse(&bytes));
    match parsed {
        Ok(counters) if counters.pid.to_string() != pid => report.warning(
            "stats.stale",
            format!("{path} was written by process {}, the data plane is process {pid}", counters.pid),
            "two data planes used one channel's path: stop the one that is not wanted, restart the other",
        ),
        Ok(counters) => report.fine("stats", format!("counters: {}", counters.sums.len())),
        Err(error @ SegmentError::Version(_)) => report.error(
            "stats.version",
            format!("{path}: {error}"),
            "gantryctl and gantry-dataplane are of different releases: install both from one, restart the data plane at a quiet time",
        ),
        Err(error) => report.error(
            "stats.unreadable",
            format!("{path}: {error}"),
            "run gantryctl as root; if it is root already, restart gantry-dataplane at a quiet time",
        ),
    }
}
