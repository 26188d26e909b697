//! `gantryctl drive`: which NVMe drives this machine has, who uses them, and whose driver has them. It works on the machine
//! that it runs on and needs no daemon.

pub(crate) mod bind;
mod list;
mod pci;
#[cfg(test)]
mod tests;
pub(crate) mod uses;

use crate::machine::Machine;
use clap::Subcommand;
pub(crate) use pci::Address;
use std::io::Write as _;
use std::process::ExitCode;

/// The driver that gives a device to user space under an IOMMU.
const VFIO: &str = "vfio-pci";
/// The driver that gives a device to user space where there is no IOMMU.
const UIO: &str = "uio_pci_generic";
/// The kernel's own NVMe driver.
const KERNELS_DRIVER: &str = "nvme";

/// What is asked of the drives.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Every NVMe controller on the PCI bus: its driver, its IOMMU group, who uses it.
    List {
        /// As JSON, one object a drive.
        #[arg(long)]
        json: bool,
        /// Try each drive by an exclusive open too, which finds users that leave no other trace. A mount, or a data plane that starts,
        /// at the same instant would be refused.
        #[arg(long)]
        claim: bool,
    },
    /// Take a drive from the kernel's driver and give it to vfio-pci, for `pci:ADDRESS`. Refused while anything uses it.
    Bind {
        /// PCI address, as `drive list` shows it; more than one may be given.
        #[arg(required = true)]
        address: Vec<Address>,
        /// Without an IOMMU the drive can write all memory, and so can whoever makes it. Only for machines that have none: the drive
        /// goes to uio_pci_generic, for `pci:ADDRESS,iommu=off`.
        #[arg(long)]
        without_iommu: bool,
    },
    /// Give a drive back to the kernel's driver. Refused while a data plane has it open.
    Unbind {
        /// PCI address; more than one may be given.
        #[arg(required = true)]
        address: Vec<Address>,
    },
}

pub(crate) fn run(action: &Action, machine: &Machine<'_>) -> ExitCode {
    let (addresses, without_iommu) = match action {
        Action::List { json, claim } => {
            let how = if *claim { uses::Look::AndClaim } else { uses::Look::Only };
            let drives = list::drives(machine, how);
            let text = match json {
                true => serde_json::to_string_pretty(&drives).expect("texts and numbers") + "\n",
                false => list::shown(&drives),
            };
            // A pipe that nobody reads any more is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Action::Bind { address, without_iommu } => (address, Some(*without_iommu)),
        Action::Unbind { address } => (address, None),
    };
    let mut failed = false;
    for address in addresses {
        let done = match without_iommu {
            Some(without_iommu) => bind::bind(machine, *address, without_iommu),
            None => bind::unbind(machine, *address),
        };
        match done {
            Ok(done) => println!("{}", bind::told(*address, &done)),
            Err(error) => {
                eprintln!("{error}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
