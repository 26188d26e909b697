//! The IOMMU and VFIO: what `pci:` drives and ports without a driver of their vendor's stand upon.

use super::Report;
use super::plan::Plan;
use crate::machine::Machine;

const GROUPS: &str = "sys/kernel/iommu_groups";

/// Capability CAP_DAC_OVERRIDE (capabilities(7)): permissions of files do not bind its owner.
const DAC_OVERRIDE: u64 = 1 << 1;

pub(super) fn examine(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    if plan.configured && !plan.needs_vfio(machine) {
        report.fine("iommu", "neither a drive nor a port of the configuration needs it");
        return;
    }
    // VFIO gives devices without an IOMMU groups too, and names them so.
    let real = |group: &&String| machine.text(&format!("{GROUPS}/{group}/name")).as_deref() != Some("vfio-noiommu");
    let groups = machine.names(GROUPS).iter().filter(real).count();
    if groups > 0 {
        report.fine("iommu", format!("on; groups: {groups}"));
    } else {
        no_iommu(machine, report);
    }
    let before = report.0.len();
    if machine.text("sys/module/vfio/parameters/enable_unsafe_noiommu_mode").as_deref() == Some("Y") {
        report.warning(
            "vfio.noiommu",
            "VFIO accepts devices without an IOMMU: such a drive can write all memory, and a fault in it or in what drives it does",
            "echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode, unless this machine has no IOMMU and you took the \
             risk; and take it out of /etc/modprobe.d",
        );
    }
    if machine.text("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts").as_deref() == Some("Y") {
        report.warning(
            "vfio.interrupts",
            "VFIO accepts devices without interrupt remapping: such a drive can raise any interrupt of this machine",
            "turn interrupt remapping on in the firmware (x2APIC, VT-d), then take allow_unsafe_interrupts=1 out of \
             /etc/modprobe.d",
        );
    }
    if !machine.exists("sys/bus/pci/drivers/vfio-pci") {
        report.error(
            "vfio.module",
            "the kernel's vfio-pci is not loaded",
            "modprobe vfio-pci; echo vfio-pci > /etc/modules-load.d/gantry.conf for the next boot",
        );
    } else if !machine.exists("dev/vfio/vfio") {
        report.error("vfio.node", "/dev/vfio/vfio is missing", "modprobe vfio; in a container, pass /dev/vfio into it");
    } else {
        permissions(machine, plan, report);
    }
    report.unless_found(before, "vfio", "vfio-pci is loaded, /dev/vfio/vfio is there");
}

/// What keeps the IOMMU off: the firmware, or the kernel's arguments.
fn no_iommu(machine: &Machine<'_>, report: &mut Report) {
    let line = machine.text("proc/cmdline").unwrap_or_default();
    let table = |name: &str| machine.exists(&format!("sys/firmware/acpi/tables/{name}"));
    let off = |word: &&str| ["intel_iommu=off", "amd_iommu=off", "iommu=off", "iommu.passthrough=off"].contains(word);
    if let Some(word) = line.split_whitespace().find(off) {
        report.error(
            "iommu.off",
            format!("the kernel was told to leave the IOMMU off: {word}"),
            format!("take {word} out of the kernel's arguments (GRUB_CMDLINE_LINUX in /etc/default/grub, update-grub) and reboot"),
        );
    } else if machine.is_arm() {
        let described = table("IORT")
            || machine
                .names("sys/firmware/devicetree/base")
                .iter()
                .any(|name| name.starts_with("iommu@") || name.starts_with("smmu"));
        match described {
            true => report.error(
                "iommu.off",
                "the firmware describes an SMMU, but the kernel has made no IOMMU group",
                "boot a kernel that has CONFIG_ARM_SMMU_V3=y; `dmesg | grep -i smmu` says what it met",
            ),
            false => report.error(
                "iommu.firmware",
                "the firmware describes no SMMU: neither ACPI's IORT nor the device tree has one",
                "turn the SMMU on in the card's firmware set-up (UEFI: Device Manager, System Configuration, Enable SMMU) and reboot",
            ),
        }
    } else if table("DMAR") {
        report.error(
            "iommu.off",
            "the firmware describes an Intel IOMMU, but the kernel has not turned it on",
            "add intel_iommu=on iommu=pt to the kernel's arguments (GRUB_CMDLINE_LINUX in /etc/default/grub, update-grub) and reboot",
        );
    } else if table("IVRS") {
        report.error(
            "iommu.off",
            "the firmware describes an AMD IOMMU, but the kernel has made no IOMMU group",
            "boot a kernel that has CONFIG_AMD_IOMMU=y, with iommu=pt; `dmesg | grep AMD-Vi` says what it met",
        );
    } else {
        report.error(
            "iommu.firmware",
            "the firmware describes no IOMMU: ACPI has neither DMAR nor IVRS",
            "turn on VT-d (Intel) or IOMMU (AMD) in the firmware's set-up and reboot",
        );
    }
}

/// Whether the data plane's user may open the groups of its drives.
fn permissions(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    use std::os::unix::fs::MetadataExt;
    let Some(process) = &plan.process else { return };
    let capabilities = process.status(machine, "CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok());
    let Some(user) = process.user(machine).filter(|user| *user != 0) else { return };
    if capabilities.unwrap_or(0) & DAC_OVERRIDE != 0 {
        return;
    }
    let groups = process.groups(machine);
    let nodes = plan.drives.iter().filter_map(|(_, address)| {
        let group = address.parse::<crate::drive::Address>().ok()?.group(machine)?;
        Some(format!("/dev/vfio/{group}"))
    });
    for node in nodes {
        let Ok(metadata) = machine.at(&node).metadata() else { continue };
        let shift = if metadata.uid() == user {
            6
        } else if groups.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        if metadata.mode() >> shift & 0o6 != 0o6 {
            report.error(
                "vfio.permission",
                format!("gantry-dataplane runs as user {user}, who may not open {node}"),
                format!(
                    "chown that user {node}, and a udev rule for the next boot: SUBSYSTEM==\"vfio\", OWNER=\"THE USER\""
                ),
            );
        }
    }
}
