//! What housekeeping opens: DPDK ports and drives, each kind in a file.

mod drives;
mod ports;
mod vfio;
mod vfio_user;

use std::sync::Arc;

use gantry_dma::{HUGEPAGE, Region};
use gantry_pipeline::housekeeping::{Attachment, Environment, OpenPort};
use rte_rs::{Eal, Epoll};

use gantry_poller::port::DpdkQueue;

/// The process's devices.
pub(crate) struct Devices {
    eal: Eal,
    /// What each lcore waits at.
    epolls: Vec<Epoll>,
    opening: vfio::Opening,
    memory: Memory,
}

/// What devices' memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// At device addresses of our own making, which an IOMMU or a software drive translates; large spans in hugepages, as far as
    /// they are there and wanted.
    Shared { huge: bool },
    /// Hugepages at physical addresses: for drives without an IOMMU as well.
    Physical,
}

impl Memory {
    /// Zeroed memory of `length` bytes.
    ///
    /// # Errors
    /// A line for the operator.
    pub(crate) fn make(self, length: usize) -> Result<Arc<Region>, String> {
        match self {
            Self::Shared { huge } => {
                if huge && length >= HUGEPAGE {
                    match Region::shared_huge(length) {
                        Ok(region) => return Ok(region),
                        Err(error) => {
                            tracing::info!(bytes = length, %error, "DMA memory in small pages: so many hugepages are not free");
                        }
                    }
                }
                Region::shared(length).map_err(|error| format!("{length} bytes of DMA memory: {error}"))
            }
            Self::Physical => rte_rs::vfio::physical_memory(length).map_err(|error| error.to_string()),
        }
    }
}

impl Devices {
    /// Devices for the lcores that wait at these.
    pub(crate) fn new(eal: Eal, epolls: Vec<Epoll>, memory: Memory) -> Self {
        Self { eal, epolls, opening: vfio::Opening::default(), memory }
    }
}

impl Environment for Devices {
    type Queue = DpdkQueue;

    fn open_port(&mut self, number: u16, mtu: u16, device: &str) -> Result<OpenPort<DpdkQueue>, String> {
        let opened = ports::open(&self.eal, &self.epolls, number, mtu, device);
        match &opened {
            Ok((open, interrupts)) => {
                tracing::info!(port = number, device, queues = open.queues.len(), interrupts, "port open");
            }
            Err(error) => tracing::error!(port = number, device, %error, "port not opened"),
        }
        opened.map(|(open, _)| open).map_err(|error| format!("port {number} ({device}): {error}"))
    }

    fn check_drive(&self, name: &str, uri: &str) -> Result<(), String> {
        drives::check(uri, self.memory).map_err(|error| format!("drive {name} ({uri}): {error}"))
    }

    fn open_drive(&mut self, name: &str, uri: &str) -> Result<Box<dyn Attachment>, String> {
        let opened = drives::open(&mut self.opening, name, uri, self.epolls.len());
        match &opened {
            Ok(_) => tracing::info!(drive = name, uri, "drive open"),
            // Every few seconds while it is not there; control hears of it once.
            Err(error) => tracing::debug!(drive = name, uri, error, "drive not opened"),
        }
        opened.map_err(|error| format!("drive {name} ({uri}): {error}"))
    }

    fn memory(&mut self, length: usize) -> Result<Arc<Region>, String> {
        self.memory.make(length)
    }

    fn random(&mut self) -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the kernel's random numbers");
        u64::from_le_bytes(bytes)
    }
}
