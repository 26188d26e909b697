//! The card's machine: an IOMMU, hugepages, and everything that is not the machine's own on vfio-pci.

use crate::vm::{Machine, NET_ADDRESS, Nvme, Result, Wire};

use super::{FOLDER, Programs};

/// 2 MiB pages for DPDK and lcores and, without an IOMMU, for drives.
const HUGEPAGES: u32 = 112;

/// Two for the lcore and housekeeping.
const CPUS: u32 = 2;

const MEMORY_MB: u32 = 1200;

/// What stands between a card's devices and its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// An IOMMU; devices are on vfio-pci.
    Iommu,
    /// Nothing; devices are on uio_pci_generic.
    None,
}

/// Boots a card with an IOMMU.
pub fn boot(programs: &Programs, drives: Vec<Nvme>, wire: Wire) -> Result<Machine> {
    boot_with(Guard::Iommu, programs, drives, wire)
}

/// Boots a card with these programs and drives. Its network device is on its driver; its drives have none yet.
pub(super) fn boot_with(guard: Guard, programs: &Programs, drives: Vec<Nvme>, wire: Wire) -> Result<Machine> {
    let builder = Machine::builder("card").cpus(CPUS).memory_mb(MEMORY_MB);
    let (builder, modules, driver) = match guard {
        Guard::Iommu => (builder.iommu(), "vfio_pci vfio_iommu_type1", "vfio-pci"),
        Guard::None => (builder.unguarded(), "uio_pci_generic", "uio_pci_generic"),
    };
    let mut builder = builder
        .kernel_word(&format!("hugepages={HUGEPAGES}"))
        .contents(programs.clone().contents())
        .mac([0x52, 0x54, 0, 0, 0, 1])
        .wire(wire);
    for drive in drives {
        builder = builder.drive(drive);
    }
    let machine = builder.boot()?;
    machine.run_ok(&format!(
        "set -e; mkdir -p {FOLDER}; modprobe -a {modules}
         cd /sys/bus/pci
         if [ -e devices/{NET_ADDRESS} ]; then
             echo {driver} >devices/{NET_ADDRESS}/driver_override
             [ ! -e devices/{NET_ADDRESS}/driver ] || echo {NET_ADDRESS} >devices/{NET_ADDRESS}/driver/unbind
             echo {NET_ADDRESS} >drivers_probe
         fi"
    ))?;
    Ok(machine)
}
