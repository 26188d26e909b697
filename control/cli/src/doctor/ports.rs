//! The ports that the configuration names: PCI functions, mlx5 scalable functions; virtual devices are DPDK's own.

use super::Report;
use super::plan::{Plan, PlannedPort};
use crate::drive::Address;
use crate::machine::Machine;

/// NVIDIA's (Mellanox's) PCI vendor id: its driver stays with the kernel and DPDK shares the device with it.
const MELLANOX: &str = "0x15b3";
/// Where scalable functions are.
const AUXILIARY: &str = "sys/bus/auxiliary/devices";
/// Largest IP packet that an RDMA MTU of 4096 makes, with room for every header (docs/configuration.md).
const MTU: u64 = 4200;

/// The PCI function behind a port: itself, or the one that a scalable function belongs to.
pub(super) fn function(machine: &Machine<'_>, port: &PlannedPort) -> Option<Address> {
    if let Ok(address) = port.device.parse() {
        return Some(address);
    }
    let target = machine.target(&format!("{AUXILIARY}/{}", port.device.strip_prefix("auxiliary:")?))?;
    target.split('/').rev().find_map(|part| part.parse().ok())
}

fn is_mellanox(machine: &Machine<'_>, address: Address) -> bool {
    machine.text(&address.attribute("vendor")).as_deref() == Some(MELLANOX)
}

/// Whether a port needs vfio-pci.
pub(super) fn wants_vfio(machine: &Machine<'_>, port: &PlannedPort) -> bool {
    port.device.parse::<Address>().is_ok_and(|address| !is_mellanox(machine, address))
}

/// Whether any port is mlx5's.
pub(super) fn any_mlx5(machine: &Machine<'_>, plan: &Plan) -> bool {
    plan.ports.iter().filter_map(|port| function(machine, port)).any(|address| is_mellanox(machine, address))
}

pub(super) fn examine(machine: &Machine<'_>, plan: &Plan, report: &mut Report) {
    for port in &plan.ports {
        let before = report.0.len();
        if port.mtu < MTU {
            report.warning(
                "port.mtu",
                format!("port {}: an MTU of {} keeps hosts from an RDMA MTU of 4096", port.name, port.mtu),
                format!("write mtu = {MTU} for the port, and let switches and hosts carry as much (9000, say)"),
            );
        }
        device(machine, port, report);
        if port.device.parse::<Address>().is_ok() && !plan.allows(&port.device) {
            report.error(
                "port.not-given",
                format!("port {}: gantry-dataplane was not told that {} may become a port", port.name, port.device),
                format!(
                    "add --pci {} to its options (DATAPLANE_OPTIONS in /etc/default/gantry), and restart it",
                    port.device
                ),
            );
        }
        report.unless_found(before, "port", format!("port {}: {}", port.name, port.device));
    }
}

fn device(machine: &Machine<'_>, port: &PlannedPort, report: &mut Report) {
    let PlannedPort { name, device, .. } = port;
    if let Some(function) = device.strip_prefix("auxiliary:") {
        if !machine.exists(&format!("{AUXILIARY}/{function}")) {
            report.error(
                "port.absent",
                format!("port {name}: there is no scalable function {function}"),
                "make one and turn it on: `devlink port add` and `devlink port function set ... state active`, see \
                 docs/hardware.md; `ls /sys/bus/auxiliary/devices` shows those there are",
            );
            return;
        }
        return mlx5(machine, port, &format!("{AUXILIARY}/{function}"), report);
    }
    let Ok(address) = device.parse::<Address>() else { return };
    if !machine.exists(&address.attribute("vendor")) {
        report.error(
            "port.absent",
            format!("port {name}: nothing is at PCI address {address}"),
            "`lspci -D` shows the PCI functions there are: write one into the configuration",
        );
        return;
    }
    let driver = address.driver(machine);
    let has = driver.clone().unwrap_or_else(|| "no driver".to_owned());
    if !is_mellanox(machine, address) {
        if !driver.is_some_and(|driver| driver.starts_with("vfio") || driver.starts_with("uio")) {
            report.error(
                "port.not-vfio",
                format!("port {name}: {address} has {has}, not vfio-pci"),
                format!("dpdk-devbind.py --bind=vfio-pci {address}; mind that it is not the port you are logged in by"),
            );
        }
        return;
    }
    if driver.as_deref() != Some("mlx5_core") {
        report.error(
            "port.not-mlx5",
            format!("port {name}: {address} is an mlx5 device and has {has}; DPDK works beside the kernel's mlx5_core"),
            format!("give it back: dpdk-devbind.py --bind=mlx5_core {address}"),
        );
        return;
    }
    mlx5(machine, port, &address.attribute("."), report);
}

/// What a port of mlx5 needs of the kernel's driver, whose device is `folder`.
fn mlx5(machine: &Machine<'_>, port: &PlannedPort, folder: &str, report: &mut Report) {
    let name = &port.name;
    let verbs = machine.names(&format!("{folder}/infiniband_verbs"));
    if !verbs.iter().any(|node| machine.exists(&format!("dev/infiniband/{node}"))) {
        report.error(
            "port.verbs",
            format!("port {name}: {} has no verbs device, by which DPDK reaches it", port.device),
            "modprobe -a mlx5_ib ib_uverbs; in a container, pass /dev/infiniband into it",
        );
    }
    for netdev in machine.names(&format!("{folder}/net")) {
        let mtu: Option<u64> = machine.number(&format!("{folder}/net/{netdev}/mtu"));
        if let Some(mtu) = mtu.filter(|mtu| *mtu < port.mtu) {
            report.warning(
                "port.netdev-mtu",
                format!(
                    "port {name}: its kernel interface {netdev} has an MTU of {mtu}, the configuration says {}",
                    port.mtu
                ),
                format!(
                    "ip link set {netdev} mtu {}, and the same for its representor and the uplink",
                    port.mtu.max(9000)
                ),
            );
        }
        if machine.text(&format!("{folder}/net/{netdev}/carrier")).as_deref() == Some("0") {
            report.warning(
                "port.link",
                format!("port {name}: {netdev} has no link"),
                "see the cable, the module and the switch's port; `ethtool` shows what was negotiated",
            );
        }
    }
    roce(machine, port, report);
}

/// The adapter's own RoCE engine takes what DPDK is to see.
fn roce(machine: &Machine<'_>, port: &PlannedPort, report: &mut Report) {
    let handle = match port.device.strip_prefix("auxiliary:") {
        Some(function) => format!("auxiliary/{function}"),
        None => match port.device.parse::<Address>() {
            Ok(address) => format!("pci/{address}"),
            Err(_) => return,
        },
    };
    let answer = machine.kernel().run("devlink", &["dev", "param", "show", &handle, "name", "enable_roce"]);
    let Ok((true, said)) = answer else { return };
    // "  name enable_roce type generic / values: / cmode driverinit value true"
    let value = said.split("cmode driverinit value ").nth(1).and_then(|rest| rest.split_whitespace().next());
    if value == Some("true") {
        report.warning(
            "port.kernel-roce",
            format!("port {}: the adapter's own RoCE is on for {handle}; it may take UDP port 4791 before DPDK sees it", port.name),
            format!(
                "devlink dev param set {handle} name enable_roce value false cmode driverinit && devlink dev reload {handle}, \
                 see docs/hardware.md"
            ),
        );
    }
}
