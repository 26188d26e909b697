//! `gantryctl drive bind` and `unbind`: a drive goes from the kernel's driver to VFIO, or to UIO where there is no IOMMU, and back, by `driver_override`
//! (Linux Documentation/ABI/testing/sysfs-bus-pci). What a failed step had changed is put back.

use super::list::held;
use super::pci::{Address, group_members};
use super::uses::{self, Look, Use};
use super::{KERNELS_DRIVER, UIO, VFIO};
use crate::machine::Machine;
use std::io;

/// Why a drive stays where it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("{0}: there is no such PCI device; `gantryctl drive list` shows the drives")]
    Absent(Address),
    #[error("{address}: not an NVMe controller (class {class}); `gantryctl drive list` shows the drives")]
    NoDrive { address: Address, class: String },
    #[error("{address} is in use, so it stays with the kernel:\n{}\nunmount or stop what uses it, then bind it again", listed(.uses))]
    InUse { address: Address, uses: Vec<Use> },
    #[error("{address}: this user may not see who uses {device}; run gantryctl as root")]
    Unseen { address: Address, device: String },
    #[error(
        "{address}: no IOMMU group, so nothing would keep the drive's DMA within bounds; turn the IOMMU on in the firmware and \
         boot the kernel with {remedy}, or say --without-iommu and take the risk"
    )]
    NoIommu { address: Address, remedy: &'static str },
    #[error(
        "{address}: IOMMU group {group} has other devices with drivers of the kernel, which VFIO does not accept: {}; unbind \
         those too, or put the drive into another slot", .others.join(", ")
    )]
    Group { address: Address, group: u32, others: Vec<String> },
    #[error("{address}: the kernel has no driver {driver} ({said}); `modprobe {driver}` has to succeed first")]
    NoDriver { address: Address, driver: &'static str, said: String },
    #[error("{address}: {step}: {error}{}", after(.back))]
    Step { address: Address, step: String, error: io::Error, back: Back },
    #[error("{address}: {driver} did not take it, see the kernel's log (dmesg){}", after(.back))]
    NotTaken { address: Address, driver: &'static str, back: Back },
    #[error("{address} has the driver {driver}, not vfio-pci or uio_pci_generic: there is nothing to give back")]
    NotOurs { address: Address, driver: String },
    #[error("{address} is in use, so it stays where it is:\n{}\nremove the drive from the configuration or stop gantry-dataplane, then unbind it again", listed(.uses))]
    Held { address: Address, uses: Vec<Use> },
}

/// How far things were put back after a step that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// Nothing had been changed, or all is as it was.
    AsBefore,
    /// The drive is without its former driver: why.
    No(String),
}

fn after(back: &Back) -> String {
    match back {
        Back::AsBefore => "; everything is as it was".to_owned(),
        Back::No(why) => format!("; and its former driver did not take it back: {why}"),
    }
}

fn listed(uses: &[Use]) -> String {
    uses.iter().map(|Use { device, by }| format!("  {device} {by}")).collect::<Vec<_>>().join("\n")
}

/// What turns the IOMMU on in the kernel, on this architecture.
fn iommu(machine: &Machine<'_>) -> &'static str {
    match machine.is_arm() {
        false => "`intel_iommu=on iommu=pt` (Intel) or `iommu=pt` (AMD)",
        true => "its SMMU driver, which finds the SMMU in the device tree or in ACPI's IORT",
    }
}

/// What `bind` or `unbind` did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was there already.
    Already,
    /// It is with another driver now.
    Moved { from: Option<String>, to: String },
}

fn check(machine: &Machine<'_>, address: Address) -> Result<(), BindError> {
    let class = machine.text(&address.attribute("class")).ok_or(BindError::Absent(address))?;
    if address.is_nvme(machine) { Ok(()) } else { Err(BindError::NoDrive { address, class }) }
}

/// Gives a drive to vfio-pci, or to uio_pci_generic where there is no IOMMU and who asks knows that, unless somebody uses it.
pub(crate) fn bind(machine: &Machine<'_>, address: Address, without_iommu: bool) -> Result<Done, BindError> {
    check(machine, address)?;
    let from = address.driver(machine);
    let group = address.group(machine);
    let to = if group.is_none() && without_iommu { UIO } else { VFIO };
    if from.as_deref() == Some(to) {
        return Ok(Done::Already);
    }
    // Held until the kernel's driver has let go: nobody mounts the drive in between.
    let uses::Uses { found, claims, unseen, .. } = uses::of(machine, address, Look::AndClaim);
    if !found.is_empty() {
        return Err(BindError::InUse { address, uses: found });
    }
    if let Some(device) = unseen {
        return Err(BindError::Unseen { address, device });
    }
    match group {
        Some(group) => alone(machine, address, group)?,
        None if !without_iommu && from.is_none() => return offer(machine, address),
        None if !without_iommu => return Err(BindError::NoIommu { address, remedy: iommu(machine) }),
        None => {}
    }
    load(machine, address, to)?;
    let moved = hand_over(machine, address, from.as_deref(), to);
    drop(claims);
    moved
}

/// Whether VFIO accepts the IOMMU group.
fn alone(machine: &Machine<'_>, address: Address, group: u32) -> Result<(), BindError> {
    let others = blocking(machine, address);
    if others.is_empty() { Ok(()) } else { Err(BindError::Group { address, group, others }) }
}

/// Gives a drive to vfio-pci that has neither driver nor group: on Arm a function gets its group when it is first offered to a
/// driver. One that has no group then, or one that VFIO does not accept, is let go of again.
fn offer(machine: &Machine<'_>, address: Address) -> Result<Done, BindError> {
    load(machine, address, VFIO)?;
    let moved = hand_over(machine, address, None, VFIO);
    let may = match address.group(machine) {
        Some(group) => alone(machine, address, group),
        None => Err(BindError::NoIommu { address, remedy: iommu(machine) }),
    };
    if may.is_err() && moved.is_ok() {
        let undone = machine
            .write(&format!("sys/bus/pci/drivers/{VFIO}/unbind"), &address.to_string())
            .and_then(|()| machine.write(&address.attribute("driver_override"), NO_OVERRIDE));
        undone.map_err(|error| BindError::Step {
            address,
            step: "letting go of it".into(),
            error,
            back: Back::AsBefore,
        })?;
    }
    may.and(moved)
}

/// Gives a drive back to the kernel's driver, unless a process has it open.
pub(crate) fn unbind(machine: &Machine<'_>, address: Address) -> Result<Done, BindError> {
    check(machine, address)?;
    let from = address.driver(machine);
    match from.as_deref() {
        Some(KERNELS_DRIVER) => return Ok(Done::Already),
        Some(VFIO | UIO) | None => {}
        Some(driver) => return Err(BindError::NotOurs { address, driver: driver.to_owned() }),
    }
    let uses::Uses { found, unseen, .. } = held(machine, address, Look::AndClaim);
    if !found.is_empty() {
        return Err(BindError::Held { address, uses: found });
    }
    if let Some(device) = unseen {
        return Err(BindError::Unseen { address, device });
    }
    load(machine, address, KERNELS_DRIVER)?;
    // By its name: vfio-pci may have been told (new_id) to take every drive of this make.
    let moved = hand_over(machine, address, from.as_deref(), KERNELS_DRIVER)?;
    // And from now on by the kernel's choice. It has the drive in any case.
    let _ = machine.write(&address.attribute("driver_override"), NO_OVERRIDE);
    Ok(moved)
}

/// What keeps the IOMMU group of `address` from VFIO: other functions, with their drivers.
pub(crate) fn blocking(machine: &Machine<'_>, address: Address) -> Vec<String> {
    let members = address.group(machine).map(|group| group_members(machine, group)).unwrap_or_default();
    members.into_iter().filter(|other| *other != address).filter_map(|other| blocks(machine, other)).collect()
}

/// A function whose driver keeps a group from VFIO: "0000:01:00.1 (nvme)". Those without a driver, VFIO's own, pci-stub and
/// bridges do not.
fn blocks(machine: &Machine<'_>, other: Address) -> Option<String> {
    let driver = other.driver(machine)?;
    let class = machine.text(&other.attribute("class")).unwrap_or_default();
    let harmless = driver.starts_with("vfio") || driver == "pci-stub" || class.starts_with("0x0604");
    (!harmless).then(|| format!("{other} ({driver})"))
}

/// Sees to it that the kernel has `driver`.
fn load(machine: &Machine<'_>, address: Address, driver: &'static str) -> Result<(), BindError> {
    let there = || machine.exists(&format!("sys/bus/pci/drivers/{driver}"));
    if there() {
        return Ok(());
    }
    let said = match machine.kernel().run("modprobe", &[driver]) {
        Ok((true, _)) if there() => return Ok(()),
        Ok((true, _)) => "modprobe succeeded, but it is not there".to_owned(),
        Ok((false, said)) => said,
        Err(error) => format!("modprobe: {error}"),
    };
    Err(BindError::NoDriver { address, driver, said })
}

/// What an override is that names no driver.
const NO_OVERRIDE: &str = "\n";

/// Unbinds from `from`, and lets the bus find the driver that `driver_override` names: `driver`.
fn hand_over(
    machine: &Machine<'_>,
    address: Address,
    from: Option<&str>,
    driver: &'static str,
) -> Result<Done, BindError> {
    let before =
        machine.text(&address.attribute("driver_override")).filter(|text| text != "(null)").unwrap_or_default();
    let mut unbound = false;
    let moved = steps(machine, address, from, driver, &mut unbound);
    let error = match moved {
        Ok(()) => match address.driver(machine).as_deref() == Some(driver) {
            true => return Ok(Done::Moved { from: from.map(str::to_owned), to: driver.to_owned() }),
            false => None,
        },
        Err(failed) => Some(failed),
    };
    let back = put_back(machine, address, from.filter(|_| unbound), &before);
    Err(match error {
        Some((step, error)) => BindError::Step { address, step, error, back },
        None => BindError::NotTaken { address, driver, back },
    })
}

fn steps(
    machine: &Machine<'_>,
    address: Address,
    from: Option<&str>,
    driver_override: &str,
    unbound: &mut bool,
) -> Result<(), (String, io::Error)> {
    let write = |path: &str, text: &str| machine.write(path, text).map_err(|error| (format!("writing /{path}"), error));
    write(&address.attribute("driver_override"), driver_override)?;
    if let Some(from) = from {
        write(&format!("sys/bus/pci/drivers/{from}/unbind"), &address.to_string())?;
        *unbound = true;
    }
    write("sys/bus/pci/drivers_probe", &address.to_string())
}

/// The override as it was, and the driver, if it had been unbound.
fn put_back(machine: &Machine<'_>, address: Address, from: Option<&str>, driver_override: &str) -> Back {
    let text = if driver_override.is_empty() { NO_OVERRIDE } else { driver_override };
    if let Err(error) = machine.write(&address.attribute("driver_override"), text) {
        return Back::No(format!("driver_override: {error}"));
    }
    let Some(from) = from else { return Back::AsBefore };
    let probed = machine.write("sys/bus/pci/drivers_probe", &address.to_string());
    match (address.driver(machine), probed) {
        (Some(driver), _) if driver == from => Back::AsBefore,
        (_, Err(error)) => Back::No(format!("probing it: {error}")),
        (driver, Ok(())) => Back::No(format!("it is with {}", driver.as_deref().unwrap_or("no driver"))),
    }
}

/// For messages.
pub(crate) fn told(address: Address, done: &Done) -> String {
    match done {
        Done::Already => format!("{address} is there already; nothing was changed"),
        Done::Moved { from, to } => {
            format!("{address} went from {} to {to}", from.as_deref().unwrap_or("no driver"))
        }
    }
}
