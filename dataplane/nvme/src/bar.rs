//! Where a drive's registers and doorbells are: in a BAR that is mapped, or behind another process that is asked for each
//! register. Housekeeping reads and writes registers; lcores ring doorbells, which are memory to them in either case.
//! PCIe Transport 1.0 §3.1 (registers and doorbells), NVMe Base 2.0 §3.1.3.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt::Debug;
use core::sync::atomic::Ordering;

use gantry_dma::Region;

/// The BAR as memory. Lcores store to the doorbells from [`DOORBELLS`](gantry_wire::nvme::register::DOORBELLS) on and touch
/// nothing else of it.
pub type Doorbells = Arc<Region>;

/// A drive's registers, as housekeeping reaches them. A drive that is not there, or does not answer in time, reads as
/// all ones, as on PCIe; what is stored to it is lost.
pub trait Registers: Debug + Send {
    /// The 32-bit register at `offset` bytes.
    fn load_u32(&self, offset: usize) -> u32;

    /// Stores to the 32-bit register at `offset` bytes, after everything that was stored to memory before.
    fn store_u32(&self, offset: usize, value: u32);
}

impl Registers for Arc<Region> {
    fn load_u32(&self, offset: usize) -> u32 {
        Region::load_u32(self, offset, Ordering::Acquire)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        Region::store_u32(self, offset, value, Ordering::Release);
    }
}

/// Which make a drive is: the identifiers in its function's PCI configuration space (PCI Local Bus 3.0 §6.2.1, §6.2.4). What is
/// known to be wrong with drives is known by them. All 0 for a drive that is no PCI function, as software drives are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Device {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem Vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem_device: u16,
}

/// A drive's registers and doorbells, and which make it is. A BAR that is mapped is both.
#[derive(Debug)]
pub struct Bar {
    /// Its registers.
    pub registers: Box<dyn Registers>,
    /// Its doorbells, at their offsets in the BAR.
    pub doorbells: Doorbells,
    /// Which make it is.
    pub device: Device,
}

impl From<Arc<Region>> for Bar {
    fn from(mapped: Arc<Region>) -> Self {
        Self { registers: Box::new(Arc::clone(&mapped)), doorbells: mapped, device: Device::default() }
    }
}
