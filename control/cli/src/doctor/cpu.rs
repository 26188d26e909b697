//! The cores that poll: alone, at full speed, with a clock that needs no system call and an instruction for the CRC.

use super::Report;
use super::plan::Plan;
use crate::machine::Machine;
use std::collections::BTreeSet;

const CPUS: &str = "sys/devices/system/cpu";

/// Clock sources that a process reads without the kernel (through the vDSO).
const QUICK: [&str; 4] = ["tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"];

pub(super) fn examine(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    let before = report.0.len();
    let cores = polling(machine, plan);
    let shown = || cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let isolated = set(&machine.text(&format!("{CPUS}/isolated")).unwrap_or_default());
    let crowded: Vec<String> = cores.difference(&isolated).map(u32::to_string).collect();
    if !crowded.is_empty() {
        report.warning(
            "cpu.not-isolated",
            format!("the kernel runs other programs on cores that poll: {}", crowded.join(",")),
            format!("add isolcpus={0} nohz_full={0} rcu_nocbs={0} to the kernel's arguments and reboot", shown()),
        );
    }
    let governor = |core: &u32| machine.text(&format!("{CPUS}/cpu{core}/cpufreq/scaling_governor"));
    let slow = cores.iter().find_map(|core| Some((core, governor(core).filter(|governor| governor != "performance")?)));
    if let Some((core, governor)) = slow {
        report.warning(
            "cpu.governor",
            format!("core {core} polls under the frequency governor {governor}, which may slow it down"),
            "cpupower frequency-set -g performance, and at every boot (cpufrequtils, or a unit of your own)",
        );
    }
    let clock = machine.text("sys/devices/system/clocksource/clocksource0/current_clocksource");
    if let Some(clock) = clock.filter(|clock| !QUICK.contains(&clock.as_str())) {
        report.warning(
            "cpu.clock",
            format!("the kernel's clock source is {clock}: each look at the clock is a system call, on every lcore and burst"),
            "`dmesg | grep -i clocksource` says why the kernel gave up a better one; a firmware update, or clocksource=tsc \
             tsc=reliable among the kernel's arguments where the TSC is sound",
        );
    }
    let features = machine.text("proc/cpuinfo").unwrap_or_default();
    let word = if machine.is_arm() { "crc32" } else { "pclmulqdq" };
    if !features.is_empty() && !features.split_whitespace().any(|feature| feature == word) {
        report.warning(
            "cpu.crc",
            format!("the processor has no {word}: each packet's checksum is computed by tables, several times slower"),
            "in a virtual machine, pass the processor through (-cpu host); elsewhere this processor is not for a card",
        );
    }
    report.unless_found(before, "cpu", format!("cores that poll: {}", shown()));
}

/// Cores of a list such as `1-3,8`; at most as many as a kernel can have.
fn set(list: &str) -> BTreeSet<u32> {
    let ranges = list.split(',').filter_map(|part| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?.min(8191))
    });
    ranges.flatten().collect()
}

/// Where the data plane's lcores are, or will be: cores 1 to `--lcores`. Core 0 is housekeeping's.
fn polling(machine: &Machine<'_>, plan: &Plan) -> BTreeSet<u32> {
    let mut cores = BTreeSet::new();
    if let Some(process) = &plan.process {
        for thread in machine.names(&process.file("task")) {
            let name = machine.text(&process.file(&format!("task/{thread}/comm"))).unwrap_or_default();
            // DPDK's own names: rte-worker-1 up to 23.07, dpdk-worker1 since.
            if !name.starts_with("rte-worker") && !name.starts_with("dpdk-worker") {
                continue;
            }
            let status = machine.text(&process.file(&format!("task/{thread}/status"))).unwrap_or_default();
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
            cores.extend(set(list));
        }
    }
    if cores.is_empty() { (1..=plan.lcores().min(64) as u32).collect() } else { cores }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert!(set("1-3,8").into_iter().eq([1, 2, 3, 8]));
        assert!(set("").is_empty() && set("x,3-,-").is_empty());
        assert_eq!(set("0-4294967295").len(), 8192);
        assert!(set("5-2").is_empty());
    }
}
