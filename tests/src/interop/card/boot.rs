//! The card's machine: an IOMMU, hugepages, and everything that is not the machine's own on vfio-pci.

use crate::vm::{Machine, NET_ADDRESS, Nvme, Result, Wire};

use super::{FOLDER, Programs};

/// 2 MiB pages for DPDK.
const HUGEPAGES: u32 = 96;

/// Two for the lcore and housekeeping.
const CPUS: u32 = 2;

const MEMORY_MB: u32 = 1200;

/// Boots a card with these programs and drives. Its network device is on vfio-pci; its drives have no driver yet.
pub fn boot(programs: &Programs, drives: Vec<Nvme>, wire: Wire) -> Result<Machine> {
    let mut builder = Machine::builder("card")
        .cpus(CPUS)
        .memory_mb(MEMORY_MB)
        .iommu()
        .kernel_word(&format!("hugepages={HUGEPAGES}"))
        .contents(programs.clone().contents())
        .mac([0x52, 0x54, 0, 0, 0, 1])
        .wire(wire);
    for drive in drives {
        builder = builder.drive(drive);
    }
    let machine = builder.boot()?;
    machine.run_ok(&format!(
        "set -e; mkdir -p {FOLDER}; modprobe -a vfio_pci vfio_iommu_type1
         cd /sys/bus/pci
         if [ -e devices/{NET_ADDRESS} ]; then
             echo vfio-pci >devices/{NET_ADDRESS}/driver_override
             [ ! -e devices/{NET_ADDRESS}/driver ] || echo {NET_ADDRESS} >devices/{NET_ADDRESS}/driver/unbind
             echo {NET_ADDRESS} >drivers_probe
         fi"
    ))?;
    Ok(machine)
}
