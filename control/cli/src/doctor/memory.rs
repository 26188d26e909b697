//! Hugepages, the limit on locked memory, free memory.

use super::Report;
use super::plan::Plan;
use crate::machine::Machine;

const SIZES: &str = "sys/kernel/mm/hugepages";
/// Capability CAP_IPC_LOCK (capabilities(7)): the limit on locked memory does not bind its owner.
const IPC_LOCK: u64 = 1 << 14;
/// Memory that a machine ought to have left, in MiB.
const SPARE_MIB: u64 = 128;

pub(super) fn examine(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    match plan.without_hugepages() {
        true => report.warning(
            "hugepages.unused",
            "gantry-dataplane runs with --no-huge",
            "leave --no-huge out on a card: small pages cost the IOMMU and the cores misses in their tables",
        ),
        false => hugepages(machine, plan, report),
    }
    locked(machine, plan, report);
    free(machine, report);
}

/// Pages of each size: KiB, how many, how many of them are free.
fn pages(machine: &Machine<'_>) -> Vec<(u64, u64, u64)> {
    let size = |name: &String| {
        let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let number = |file: &str| machine.number::<u64>(&format!("{SIZES}/{name}/{file}"));
        Some((kib, number("nr_hugepages")?, number("free_hugepages")?))
    };
    machine.names(SIZES).iter().filter_map(size).collect()
}

fn hugepages(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    let before = report.0.len();
    let pages = pages(machine);
    let need = plan.memory_mib();
    let (total, free) = pages.iter().fold((0, 0), |(total, free), (kib, pages, unused)| {
        (total + kib.saturating_mul(*pages) / 1024, free + kib.saturating_mul(*unused) / 1024)
    });
    let reserve = format!(
        "sysctl -w vm.nr_hugepages={}, and a file in /etc/sysctl.d for the next boot; on a machine of long uptime reserve them \
         by the kernel's arguments: hugepagesz=2M hugepages={0}",
        (need * 2).div_ceil(2)
    );
    if total == 0 {
        report.error("hugepages.none", "no hugepages are reserved", reserve);
    } else if plan.process.is_none() && free < need {
        report.error(
            "hugepages.few",
            format!("{free} MiB of hugepages are free ({total} MiB reserved), the data plane takes {need} MiB"),
            reserve,
        );
    } else {
        on_nodes(machine, plan, report);
    }
    report.unless_found(before, "hugepages", format!("{total} MiB reserved, {free} MiB free"));
}

/// Pages are wanted where the ports are: frames go into them.
fn on_nodes(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    for port in &plan.ports {
        let Some(node) = super::ports::function(machine, port).and_then(|address| address.node(machine)) else {
            continue;
        };
        let folder = format!("sys/devices/system/node/node{node}/hugepages");
        let sizes = machine.names(&folder);
        let count = |size: &String| machine.number::<u64>(&format!("{folder}/{size}/nr_hugepages")).unwrap_or(0);
        if !sizes.is_empty() && sizes.iter().map(count).sum::<u64>() == 0 {
            report.warning(
                "hugepages.node",
                format!("port {} is at NUMA node {node}, which has no hugepages", port.name),
                format!(
                    "echo {} > /sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages",
                    plan.memory_mib().max(2) / 2
                ),
            );
        }
    }
}

/// VFIO pins what it maps, and counts it as locked.
fn locked(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    let Some(process) = &plan.process else { return };
    let capabilities = process.status(machine, "CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok());
    if !plan.needs_vfio(machine) || capabilities.unwrap_or(0) & IPC_LOCK != 0 {
        return;
    }
    let limits = machine.text(&process.file("limits")).unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let Some(soft) = line.and_then(|line| line.split_whitespace().next()) else { return };
    let need = plan.memory_mib() + plan.data_memory_mib();
    // "unlimited" is no number.
    if soft.parse::<u64>().is_ok_and(|bytes| bytes >> 20 < need) {
        report.error(
            "memlock.low",
            format!("gantry-dataplane may lock {soft} bytes of memory, VFIO is to pin {need} MiB"),
            "LimitMEMLOCK=infinity in gantry-dataplane's systemd unit (`systemctl edit gantry-dataplane`), or `ulimit -l \
             unlimited` before it starts",
        );
    } else {
        report.fine("memlock", soft);
    }
}

fn free(machine: &Machine<'_>, report: &mut Report) {
    let text = machine.text("proc/meminfo").unwrap_or_default();
    let kib = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (Some(total), Some(available)) = (kib("MemTotal"), kib("MemAvailable")) else { return };
    let (total, available) = (total / 1024, available / 1024);
    if available < SPARE_MIB.max(total / 50) {
        report.warning(
            "memory.low",
            format!("{available} MiB of {total} MiB are available to programs"),
            "reserve fewer hugepages, or stop what else runs on the card: a process that the kernel kills here may be the data plane",
        );
    } else {
        report.fine("memory", format!("{available} MiB of {total} MiB are available"));
    }
}
