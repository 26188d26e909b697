//! The card's machine: an IOMMU, hugepages, and everything that is not the machine's own on vfio-pci.

use crate::vm::{Machine, NET_ADDRESS, Nvme, Result, Wire};

use super::{FOLDER, Programs};

/// 2 MiB pages for DPDK.
const HUGEPAGES: u32 = 96;

/// Two for the lcore and housekeeping.
const CPUS: u32 = 2;

const MEMORY_MB: u32 = 1200;

/// The card's drives, in the order of their PCI addresses (the first is 0000:01:00.0).
pub fn drives() -> Vec<Nvme> {
    vec![
        Nvme::new("d0").namespace(64 << 20, 512),
        Nvme::new("d1").namespace(64 << 20, 4096),
        Nvme::new("d2").namespace(32 << 20, 512).namespace(16 << 20, 4096).namespace(16 << 20, 512),
        Nvme::new("d3").namespace(64 << 20, 512).option("mdts", 2),
    ]
}

/// Boots a card with these programs and drives; its network device and its drives are on vfio-pci, also a drive that is
/// plugged later.
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
         # Every NVMe controller of QEMU's, whenever it comes: there is no other driver for them here.
         echo 1b36 0010 >drivers/vfio-pci/new_id
         if [ -e devices/{NET_ADDRESS} ]; then
             echo vfio-pci >devices/{NET_ADDRESS}/driver_override
             [ ! -e devices/{NET_ADDRESS}/driver ] || echo {NET_ADDRESS} >devices/{NET_ADDRESS}/driver/unbind
             echo {NET_ADDRESS} >drivers_probe
         fi"
    ))?;
    Ok(machine)
}
