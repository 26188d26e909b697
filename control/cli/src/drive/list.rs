//! `gantryctl drive list`: what is known of each NVMe controller on the PCI bus, for a reader or as JSON.

use super::pci::{self, Address};
use super::uses::{self, Look, Use};
use super::{KERNELS_DRIVER, UIO, VFIO};
use crate::machine::Machine;
use serde::Serialize;
use std::fmt::Write as _;

/// One NVMe controller. Field names are the JSON's.
#[derive(Debug, Serialize)]
pub(crate) struct Drive {
    /// PCI address.
    pub(crate) address: String,
    /// Vendor and device id: `144d:a80a`.
    pub(crate) id: String,
    /// As the kernel's driver read it from Identify Controller; absent with another driver.
    pub(crate) model: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) firmware: Option<String>,
    /// `nvme0`.
    pub(crate) kernel_name: Option<String>,
    pub(crate) driver: Option<String>,
    /// Absent when no IOMMU is on.
    pub(crate) iommu_group: Option<u32>,
    /// Other functions of the group: all of them go to user space or none.
    pub(crate) group_shared_with: Vec<Neighbour>,
    /// Absent on a machine of one node.
    pub(crate) numa_node: Option<u32>,
    pub(crate) in_use: Vec<Use>,
    /// Namespaces that are paths of a multipath head.
    pub(crate) paths: Vec<Path>,
    /// A block device whose use this user may not see.
    pub(crate) unseen: Option<String>,
}

/// Another function of a drive's IOMMU group.
#[derive(Debug, Serialize)]
pub(crate) struct Neighbour {
    pub(crate) address: String,
    pub(crate) driver: Option<String>,
}

/// A namespace behind a multipath head.
#[derive(Debug, Serialize)]
pub(crate) struct Path {
    pub(crate) namespace: String,
    pub(crate) head: String,
}

/// Every NVMe controller, in the order of their addresses.
pub(crate) fn drives(machine: &Machine<'_>, how: Look) -> Vec<Drive> {
    let controllers = pci::functions(machine).into_iter().filter(|address| address.is_nvme(machine));
    controllers.map(|address| drive(machine, address, how)).collect()
}

fn drive(machine: &Machine<'_>, address: Address, how: Look) -> Drive {
    let id = |name: &str| {
        let text = machine.text(&address.attribute(name)).unwrap_or_default();
        text.trim_start_matches("0x").to_owned()
    };
    let kernel_name = pci::kernel_name(machine, address);
    let told = |name: &str| {
        let controller = kernel_name.as_ref()?;
        machine.text(&format!("{}/{controller}/{name}", address.attribute("nvme")))
    };
    let driver = address.driver(machine);
    let group = address.group(machine);
    let others = group.map(|group| pci::group_members(machine, group)).unwrap_or_default();
    let neighbours = others.into_iter().filter(|other| *other != address);
    let look = if matches!(driver.as_deref(), Some(VFIO | UIO)) { held } else { uses::of };
    let uses = look(machine, address, how);
    Drive {
        address: address.to_string(),
        id: format!("{}:{}", id("vendor"), id("device")),
        model: told("model"),
        serial: told("serial"),
        firmware: told("firmware_rev"),
        driver,
        iommu_group: group,
        group_shared_with: neighbours
            .map(|other| Neighbour { address: other.to_string(), driver: other.driver(machine) })
            .collect(),
        numa_node: address.node(machine),
        kernel_name,
        in_use: uses.found,
        paths: uses.paths.into_iter().map(|(namespace, head)| Path { namespace, head }).collect(),
        unseen: uses.unseen,
    }
}

/// Who has a drive that is VFIO's.
pub(super) fn held(machine: &Machine<'_>, address: Address, how: Look) -> uses::Uses {
    let mut uses = uses::Uses::default();
    let mut nodes: Vec<String> = address.group(machine).map(|group| format!("/dev/vfio/{group}")).into_iter().collect();
    // Groups without an IOMMU have names of their own, and iommufd has a node a device.
    nodes.extend(address.group(machine).map(|group| format!("/dev/vfio/noiommu-{group}")));
    nodes.extend(machine.names(&address.attribute("vfio-dev")).iter().map(|name| format!("/dev/vfio/devices/{name}")));
    let device = address.to_string();
    // Never opened here: the kernel turns the drive's bus mastering off when anybody closes it.
    let unguarded =
        machine.names(&address.attribute("uio")).iter().map(|name| format!("/dev/{name}")).collect::<Vec<_>>();
    let openers = machine.openers(&[nodes.clone(), unguarded].concat());
    uses.found.extend(openers.into_iter().map(|who| Use { device: device.clone(), by: format!("is open in {who}") }));
    if uses.found.is_empty() && how == Look::AndClaim {
        for node in nodes.iter().filter(|node| machine.exists(node)) {
            match machine.kernel().claim(&machine.at(node)) {
                // Given back at once: the kernel would wait for it when the drive is unbound.
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    let by = format!("is held through {node}, by a process that cannot be seen from here");
                    uses.found.push(Use { device: device.clone(), by });
                }
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => uses.unseen = Some(node.clone()),
                Err(_) => {}
            }
        }
    }
    uses
}

/// Drives for a reader.
pub(crate) fn shown(drives: &[Drive]) -> String {
    let mut text = String::new();
    for drive in drives {
        let names =
            [Some(drive.id.as_str()), drive.model.as_deref(), drive.serial.as_deref(), drive.kernel_name.as_deref()];
        let names: Vec<&str> = names.into_iter().flatten().collect();
        writeln!(text, "{}  {}", drive.address, names.join("  ")).expect("a String takes all");
        let driver = match drive.driver.as_deref() {
            Some(KERNELS_DRIVER) => "the kernel's driver nvme".to_owned(),
            Some(driver) => format!("driver {driver}"),
            None => "no driver".to_owned(),
        };
        let group = match drive.iommu_group {
            Some(group) => format!("IOMMU group {group}{}", neighbours(&drive.group_shared_with)),
            None => "no IOMMU group".to_owned(),
        };
        let node = drive.numa_node.map(|node| format!(", NUMA node {node}")).unwrap_or_default();
        writeln!(text, "              {driver}; {group}{node}").expect("a String takes all");
        for Path { namespace, head } in &drive.paths {
            writeln!(text, "              {namespace} is a path of {head}").expect("a String takes all");
        }
        for Use { device, by } in &drive.in_use {
            writeln!(text, "              in use: {device} {by}").expect("a String takes all");
        }
        if let Some(device) = &drive.unseen {
            writeln!(text, "              not looked at as this user: {device}").expect("a String takes all");
        } else if drive.in_use.is_empty() {
            text.push_str("              free\n");
        }
    }
    if text.is_empty() {
        text.push_str("there is no NVMe drive on the PCI bus\n");
    }
    text
}

fn neighbours(others: &[Neighbour]) -> String {
    let each: Vec<String> = others
        .iter()
        .map(|other| format!("{} ({})", other.address, other.driver.as_deref().unwrap_or("no driver")))
        .collect();
    if each.is_empty() { " alone".to_owned() } else { format!(" with {}", each.join(", ")) }
}
