//! Why a device cannot be driven: one line each, which says what to do.

use std::fmt;

use super::PciAddress;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Why a device was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not an address.
    #[error("'{0}' is no PCI address: write it as 0000:01:00.0")]
    Address(String),
    /// Nothing at the address.
    #[error("there is no PCI device {0}: `gantryctl drive list` shows those there are")]
    Missing(PciAddress),
    /// Another kind of device.
    #[error("{address} has class {found:06x}, not {wanted:06x}: {}", if *.wanted == Error::NVME {
        "it is no NVMe controller; `gantryctl drive list` shows those there are"
    } else {
        "it is another kind of device"
    })]
    Class {
        /// The device.
        address: PciAddress,
        /// Its class code: base class, subclass, programming interface.
        found: u32,
        /// The class code asked for.
        wanted: u32,
    },
    /// The kernel or another driver has it.
    #[error("{address} {}: `gantryctl drive bind {address}` gives it to vfio-pci", match .driver {
        Some(driver) => format!("is bound to the driver {driver}"),
        None => "has no driver".to_owned(),
    })]
    NotBound {
        /// The device.
        address: PciAddress,
        /// The driver that has it.
        driver: Option<String>,
    },
    /// The IOMMU is off.
    #[error("{0} has no IOMMU group: turn the IOMMU on in the firmware ({setting}), and boot with {argument}",
        setting = if cfg!(target_arch = "x86_64") { "VT-d, or AMD IOMMU" } else { "SMMU" },
        argument = if cfg!(target_arch = "x86_64") {
            "`intel_iommu=on` on Intel, without `amd_iommu=off` on AMD"
        } else {
            "an SMMU in the device tree or the ACPI IORT"
        })]
    NoGroup(PciAddress),
    /// The group is VFIO's own, without an IOMMU behind it.
    #[error(
        "{0} is in a no-IOMMU group, where a drive reaches all memory: turn the IOMMU on, and write N to \
        /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
    )]
    NoIommu(PciAddress),
    /// It was to be driven without an IOMMU, and has one.
    #[error("{address} has an IOMMU (group {group}): leave iommu=off out, and `gantryctl drive bind {address}`")]
    Guarded {
        /// The device.
        address: PciAddress,
        /// Its group.
        group: String,
    },
    /// It was to be driven without an IOMMU, and another driver has it.
    #[error("{address} {}: `gantryctl drive bind {address} --without-iommu` gives it to uio_pci_generic", match .driver {
        Some(driver) => format!("is bound to the driver {driver}"),
        None => "has no driver".to_owned(),
    })]
    NotUio {
        /// The device.
        address: PciAddress,
        /// The driver that has it.
        driver: Option<String>,
    },
    /// Its driver has no file for it.
    #[error("{0}: uio_pci_generic has made no file for it: see the kernel's log (dmesg)")]
    NoUio(PciAddress),
    /// Nothing can stop it.
    #[error(
        "{0} cannot be reset by the kernel: without an IOMMU nothing else makes sure that it has stopped, so it is not driven"
    )]
    NoReset(PciAddress),
    /// Somebody has it.
    #[error("{address} ({file}) is held by {}", match .holder {
        Some(holder) => format!("{holder}: end that first"),
        None => format!("this process or one that cannot be seen: `fuser -v {}` names it", .file),
    })]
    Taken {
        /// The device.
        address: PciAddress,
        /// Its driver's file.
        file: String,
        /// Who, as far as it can be told.
        holder: Option<Holder>,
    },
    /// Memory at device addresses of our own making.
    #[error("{0} has no IOMMU and reaches physical memory only: run gantry-dataplane with --physical-memory")]
    NotPhysical(PciAddress),
    /// Too few hugepages.
    #[error(
        "{length} bytes of physical memory need {wanted} hugepages of {page} bytes, one behind the other, and {free} are free: \
        reserve more when the machine boots (`hugepages=` on the kernel's command line), or larger ones"
    )]
    Hugepages {
        /// Bytes that were asked for.
        length: usize,
        /// Bytes of a hugepage; 0 when the kernel has none.
        page: usize,
        /// As many are needed.
        wanted: usize,
        /// As many are free, not all of them in one piece.
        free: usize,
    },
    /// Physical addresses are hidden from this process.
    #[error("physical addresses are hidden from this process: run it as root (CAP_SYS_ADMIN)")]
    Physical,
    /// Other devices of the group are not VFIO's.
    #[error("{address} shares IOMMU group {group} with {}: give {} to vfio-pci as well (`gantryctl drive bind`), or \
        leave none of the group to another driver", named(.others), if .others.len() == 1 { "it" } else { "them" })]
    NotViable {
        /// The device.
        address: PciAddress,
        /// Its group.
        group: u32,
        /// Devices of the group and the drivers that have them.
        others: Vec<(String, String)>,
    },
    /// No VFIO in the kernel.
    #[error("{0} is not there: `modprobe vfio-pci`")]
    NoVfio(String),
    /// A file of VFIO's cannot be opened.
    #[error("{0}: permission denied: run gantry-dataplane as root, or give the file to its user")]
    Permission(String),
    /// Somebody has the group.
    #[error("{address} (IOMMU group {group}) is held by {}", match .holder {
        Some(holder) => format!("{holder}: end that first"),
        None => "another process: `fuser -v /dev/vfio/*` names it".to_owned(),
    })]
    Held {
        /// The device.
        address: PciAddress,
        /// Its group.
        group: u32,
        /// Who, as far as it can be told.
        holder: Option<Holder>,
    },
    /// This process has another device of the group.
    #[error(
        "{address} shares IOMMU group {group} with {other}, which is open: the IOMMU cannot tell them apart; put \
        one of them into another slot, or turn ACS on in the firmware"
    )]
    Shared {
        /// The device.
        address: PciAddress,
        /// Their group.
        group: u32,
        /// The device that is open.
        other: PciAddress,
    },
    /// This process has it.
    #[error("{0} is open already, as another drive")]
    Open(PciAddress),
    /// This process had it and the kernel is not done closing it.
    #[error("{0} is still being closed: try again in a moment")]
    Closing(PciAddress),
    /// Interrupts cannot be kept apart.
    #[error(
        "{0}: the kernel refuses it to VFIO because the machine does not remap interrupts: turn interrupt \
        remapping on in the firmware (x2APIC), or accept that a drive may forge interrupts with \
        `options vfio_iommu_type1 allow_unsafe_interrupts=1` in /etc/modprobe.d"
    )]
    Interrupts(PciAddress),
    /// The container cannot do what is needed.
    #[error("{0}: this kernel's VFIO has no type 1 IOMMU: `modprobe vfio_iommu_type1`")]
    NoType1(PciAddress),
    /// A BAR cannot be mapped.
    #[error(
        "{address}: BAR 0 cannot be mapped ({bytes} bytes, of which {mappable} may be): it is too small, or shares a \
        page with another device's; `pci=resource_alignment={address}` gives it pages of its own"
    )]
    Bar {
        /// The device.
        address: PciAddress,
        /// Its size.
        bytes: u64,
        /// Bytes from its start that may be mapped.
        mappable: u64,
    },
    /// Memory may not be locked.
    #[error(
        "{address}: {bytes} bytes of memory may not be locked, the limit is {limit}: put `LimitMEMLOCK=infinity` \
        under [Service] in gantry-dataplane's unit, or run it under `ulimit -l unlimited`"
    )]
    Memlock {
        /// The device.
        address: PciAddress,
        /// Bytes that were to be mapped, beside those that are.
        bytes: usize,
        /// RLIMIT_MEMLOCK in bytes.
        limit: u64,
    },
    /// The IOMMU does not reach that far.
    #[error("{address}: its IOMMU does not take the device addresses {iova:#x}+{bytes:#x}, only {ranges}")]
    Unreachable {
        /// The device.
        address: PciAddress,
        /// First device address.
        iova: u64,
        /// Bytes.
        bytes: usize,
        /// What it takes.
        ranges: String,
    },
    /// The region, or part of its device addresses, is mapped.
    #[error("{address}: device addresses {iova:#x}+{bytes:#x} are mapped already")]
    Overlap {
        /// The device.
        address: PciAddress,
        /// First device address.
        iova: u64,
        /// Bytes.
        bytes: usize,
    },
    /// A call that the above do not explain.
    #[error("{subject}: {operation}: {reason}")]
    System {
        /// A device, or a file.
        subject: String,
        /// The call.
        operation: &'static str,
        /// The system's words.
        reason: String,
    },
}

impl Error {
    /// PCI class code of an NVMe I/O controller (PCI Code and ID Assignment 1.11 §1.9, NVMe PCIe Transport 1.0 §3.2.1).
    pub const NVME: u32 = 0x01_08_02;

    /// A failed call.
    pub(super) fn system(subject: impl fmt::Display, operation: &'static str, error: &std::io::Error) -> Error {
        Error::System { subject: subject.to_string(), operation, reason: error.to_string() }
    }
}

/// "0000:02:00.0 (nvme), 0000:02:00.1 (xhci_hcd)".
fn named(others: &[(String, String)]) -> String {
    others.iter().map(|(address, driver)| format!("{address} (driver {driver})")).collect::<Vec<_>>().join(", ")
}
