//! The drives that the configuration names as `pci:ADDRESS`: with VFIO, alone in their group, at full speed, without errors.

use super::Report;
use super::plan::Plan;
use crate::drive::uses::Look;
use crate::drive::{Address, bind, uses};
use crate::machine::Machine;

/// Corrected link errors since boot that are more than a bad day.
const CORRECTED_MAX: u64 = 100;

pub(super) fn examine(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    for (name, socket) in &plan.sockets {
        match machine.exists(socket) {
            true => report.fine("drive", format!("drive {name}: {socket} is there")),
            false => report.error(
                "drive.no-server",
                format!("drive {name}: there is no socket {socket}, so nobody serves it"),
                "start the program that serves it over vfio-user; the data plane tries again by itself",
            ),
        }
    }
    for (name, written) in &plan.drives {
        let Ok(address) = written.parse::<Address>() else {
            // gantryd's check says so too, when it can be asked.
            continue;
        };
        let before = report.0.len();
        if !machine.exists(&address.attribute("class")) {
            report.error(
                "drive.absent",
                format!("drive {name}: nothing is at PCI address {address}"),
                "`gantryctl drive list` shows the drives there are; `echo 1 > /sys/bus/pci/rescan` looks for one just put in; \
                 else see that it sits in its slot",
            );
            continue;
        }
        if !address.is_nvme(machine) {
            report.error(
                "drive.class",
                format!("drive {name}: {address} is not an NVMe controller"),
                "`gantryctl drive list` shows the drives there are: write one of those into the configuration",
            );
            continue;
        }
        let guarded = !plan.unguarded.contains(name);
        driver(machine, name, (address, guarded), report);
        group(machine, name, address, report);
        link(machine, name, address, report);
        errors(machine, name, address, report);
        distance(machine, plan, name, address, report);
        report.unless_found(before, "drive", format!("drive {name}: {address} is ready{}", speed(machine, address)));
    }
}

fn driver(machine: &Machine<'_>, name: &str, (address, guarded): (Address, bool), report: &mut Report) {
    let driver = address.driver(machine);
    let (wanted, option) = if guarded { ("vfio-pci", "") } else { ("uio_pci_generic", " --without-iommu") };
    if !guarded {
        report.warning(
            "drive.without-iommu",
            format!("drive {name}: {address} is driven without an IOMMU (iommu=off): it can write all of this machine's memory"),
            "turn the IOMMU on and leave iommu=off out; or know what you do",
        );
    }
    if driver.as_deref().is_some_and(|driver| driver == wanted || guarded && driver.starts_with("vfio")) {
        return;
    }
    if let Some(first) = uses::of(machine, address, Look::Only).found.first() {
        report.error(
            "drive.in-use",
            format!("drive {name}: {address} is the kernel's and in use: {} {}", first.device, first.by),
            format!(
                "stop using it (`gantryctl drive list` shows every use), then `gantryctl drive bind {address}{option}`"
            ),
        );
        return;
    }
    let has = driver.map_or_else(|| "no driver".to_owned(), |driver| format!("driver {driver}"));
    report.error(
        "drive.not-vfio",
        format!("drive {name}: {address} has {has}, not {wanted}"),
        format!("gantryctl drive bind {address}{option}"),
    );
}

fn group(machine: &Machine<'_>, name: &str, address: Address, report: &mut Report) {
    let others = bind::blocking(machine, address);
    if !others.is_empty() {
        report.error(
            "drive.group",
            format!("drive {name}: {address} shares its IOMMU group with devices of the kernel: {}", others.join(", ")),
            "unbind those from their drivers, or put the drive into another slot",
        );
    }
}

/// GT/s and lanes, as the function's link has them now and could have them.
fn capability(machine: &Machine<'_>, folder: &str, which: &str) -> Option<(f64, u32)> {
    let speed = machine.text(&format!("{folder}/{which}_link_speed"))?;
    Some((speed.split_whitespace().next()?.parse().ok()?, machine.number(&format!("{folder}/{which}_link_width"))?))
}

fn speed(machine: &Machine<'_>, address: Address) -> String {
    capability(machine, &address.attribute("."), "current")
        .map_or_else(String::new, |(speed, width)| format!(", its link is {speed} GT/s x{width}"))
}

fn link(machine: &Machine<'_>, name: &str, address: Address, report: &mut Report) {
    let folder = address.attribute(".");
    let Some((speed, width)) = capability(machine, &folder, "current") else { return };
    let Some((most_speed, most_width)) = capability(machine, &folder, "max") else { return };
    // A slot may be slower than the drive: then nothing is amiss. The link's other end is the folder above.
    let slot = address.upstream(machine).and_then(|slot| capability(machine, &slot.attribute("."), "max"));
    let (slot_speed, slot_width) = slot.unwrap_or((f64::INFINITY, u32::MAX));
    let (could_speed, could_width) = (most_speed.min(slot_speed), most_width.min(slot_width));
    if speed < could_speed || width < could_width {
        report.warning(
            "drive.link",
            format!("drive {name}: {address}'s link is {speed} GT/s x{width}, both ends could do {could_speed} GT/s x{could_width}"),
            "reseat the drive and its cable or riser; see that the slot is not bifurcated into fewer lanes by the firmware; \
             `lspci -vv` shows both ends",
        );
    }
}

/// Errors since boot by Advanced Error Reporting (Linux Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats).
fn errors(machine: &Machine<'_>, name: &str, address: Address, report: &mut Report) {
    let total = |kind: &str| -> u64 {
        let text = machine.text(&address.attribute(&format!("aer_dev_{kind}"))).unwrap_or_default();
        let line =
            text.lines().find_map(|line| line.strip_prefix("TOTAL_ERR_")?.split_whitespace().nth(1)?.parse().ok());
        line.unwrap_or(0)
    };
    let (fatal, other, corrected) = (total("fatal"), total("nonfatal"), total("correctable"));
    if fatal + other > 0 || corrected >= CORRECTED_MAX {
        report.warning(
            "drive.pci-errors",
            format!("drive {name}: {address}'s link had {fatal} fatal, {other} other and {corrected} corrected errors since boot"),
            "reseat the drive, its cable or its riser; if the counts in its aer_dev_* files go on growing, replace them one by one",
        );
    }
}

/// Every byte of an I/O crosses between the drive's node and the port's.
fn distance(machine: &Machine<'_>, plan: &Plan, name: &str, address: Address, report: &mut Report) {
    let Some(node) = address.node(machine) else { return };
    let ports: Vec<(&str, u32)> = plan
        .ports
        .iter()
        .filter_map(|port| Some((port.name.as_str(), super::ports::function(machine, port)?.node(machine)?)))
        .collect();
    if ports.is_empty() || ports.iter().any(|(_, other)| *other == node) {
        return;
    }
    let (port, other) = ports[0];
    let distances = machine.text(&format!("sys/devices/system/node/node{node}/distance")).unwrap_or_default();
    let far = distances.split_whitespace().nth(other as usize).unwrap_or("?");
    report.warning(
        "drive.numa",
        format!("drive {name}: {address} is at NUMA node {node}, port {port} at node {other} (distance {far})"),
        "put the drive and the port into slots of one node, and let the data plane's cores and hugepages be there",
    );
}
