//! The corpus of planted faults: on each machine exactly its fault is named, with its remedy; on healthy ones nothing is.

use super::{Finding, Report, Severity, examine, shown};
use crate::described::{Described, folder};
use std::collections::BTreeSet;
use std::path::Path;

fn report(described: &Described) -> Report {
    examine(&described.machine(), Path::new("/etc/gantry/gantry.toml"), "gantryd")
}

fn faults(report: &Report) -> Vec<&Finding> {
    report.0.iter().filter(|finding| finding.severity != Severity::Fine).collect()
}

#[test]
fn nothing_is_found_on_a_healthy_machine() {
    for name in ["healthy-x86", "healthy-arm64"] {
        let report = report(&Described::named(name));
        assert!(faults(&report).is_empty(), "{name}:\n{}", shown(&report));
        // It has looked at everything.
        let seen: BTreeSet<&str> = report.0.iter().map(|finding| finding.code).collect();
        let all = [
            "channel",
            "config",
            "cpu",
            "dataplane",
            "dpdk",
            "drive",
            "hugepages",
            "iommu",
            "memory",
            "port",
            "stats",
            "vfio",
        ];
        let missing: Vec<_> = all.iter().filter(|code| !seen.contains(*code)).collect();
        assert!(missing.is_empty(), "{name}: nothing of {missing:?}:\n{}", shown(&report));
    }
}

#[test]
fn each_planted_fault_is_named_and_nothing_else() {
    let mut tried = BTreeSet::new();
    for entry in std::fs::read_dir(folder().join("faults")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let described = Described::named(&format!("faults/{name}"));
        let (code, remedy) = described.named.clone().unwrap_or_else(|| panic!("{name} names nothing"));
        assert!(name.starts_with(&code) || name.split('.').next() == code.split('.').next(), "{name} plants {code}");
        let report = report(&described);
        let found = faults(&report);
        let own: Vec<_> = found.iter().filter(|finding| finding.code == code).collect();
        let others =
            found.iter().filter(|finding| finding.code != code && !described.also.contains(&finding.code.to_owned()));
        assert!(own.len() == 1 && others.count() == 0, "{name}:\n{}", shown(&report));
        let told = own[0].remedy.as_deref().unwrap_or_default();
        assert!(!remedy.is_empty() && told.contains(&remedy), "{name}: the remedy is {told}");
        tried.insert(code);
    }
    let known = codes();
    let untried: Vec<_> = known.iter().filter(|code| !tried.contains(**code)).collect();
    assert!(untried.is_empty(), "no machine has {untried:?}");
    assert_eq!(tried.len(), known.len());
}

/// Every code of a fault in the sources: `error("area.fault"` and `warning("area.fault"`.
fn codes() -> BTreeSet<&'static str> {
    let sources = [
        include_str!("cpu.rs"),
        include_str!("drives.rs"),
        include_str!("memory.rs"),
        include_str!("ports.rs"),
        include_str!("processes.rs"),
        include_str!("vfio.rs"),
    ];
    let quoted = sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2));
    let is_code = |text: &&str| {
        let parts: Vec<&str> = text.split('.').collect();
        let word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte == b'5')
        };
        parts.len() == 2 && parts.iter().all(word)
    };
    quoted.filter(is_code).collect()
}

#[test]
fn every_code_is_in_the_documentation() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/doctor.md")).unwrap();
    let missing: Vec<_> = codes().into_iter().filter(|code| !page.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "docs/doctor.md says nothing of {missing:?}");
}

#[test]
fn several_faults_are_all_named() {
    let mut described = Described::named("healthy-x86");
    described
        .add("/sys/devices/system/clocksource/clocksource0/current_clocksource = hpet\nmode /run/gantry/channel = 666");
    described.add(
        "/sys/bus/pci/devices/0000:02:00.0/numa_node = 1\n/sys/bus/pci/devices/0000:02:00.0/current_link_width = 1",
    );
    let report = report(&described);
    let found: Vec<&str> = faults(&report).iter().map(|finding| finding.code).collect();
    assert_eq!(found, ["drive.link", "drive.numa", "cpu.clock", "channel.open"]);
    let text = shown(&report);
    assert!(text.ends_with("0 errors, 4 warnings\n"), "{text}");
    assert!(text.contains("WARNING  channel.open       everybody"), "{text}");
    assert!(text.contains("         remedy: chmod o-rwx /run/gantry/channel"), "{text}");
}

#[test]
fn a_machine_of_nonsense_or_of_nothing_is_looked_at_to_the_end() {
    let empty = report(&Described::new(""));
    assert!(faults(&empty).iter().any(|finding| finding.code == "config.missing"));
    let mut described = Described::named("healthy-x86");
    described.add(
        "/etc/gantry/gantry.toml = port = 7\n/proc/meminfo = MemTotal: x\n/proc/cpuinfo = \n/sys/devices/system/cpu/isolated = -\n\
         /run/gantry/channel.stats = \n/proc/712/cmdline = \n/proc/712/status = Uid: x\n/proc/self/mountinfo = - - -\n\
         /sys/kernel/mm/hugepages/hugepages-xkB/nr_hugepages = 99999999999999999999\n\
         /sys/bus/pci/devices/0000:01:00.0/numa_node = 99999999999",
    );
    report(&described);
}

#[test]
fn a_card_of_software_drives_needs_no_iommu() {
    let mut described = Described::named("healthy-x86");
    described.add("- /sys/kernel/iommu_groups\n- /dev/vfio/vfio\n/etc/gantry/gantry.toml\n| [[port]]\n| device = \"net_vhost0,iface=/run/x\"\n| mtu = 4200");
    let report = report(&described);
    assert!(faults(&report).is_empty(), "{}", shown(&report));
}
