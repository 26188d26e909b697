//! PCI functions through VFIO, for drives: one IOMMU container each, which maps what the drive is to reach and nothing
//! else. Linux's VFIO interface (Documentation/driver-api/vfio.rst, uapi linux/vfio.h).
//!
//! ```text
//! PciAddress ── sysfs: bound? group? class? ──> Device::open ──> container ── group ── device
//!                                                 ├─ bar0: Region           (registers, doorbells)
//!                                                 ├─ map, unmap: Region     (what the device reaches)
//!                                                 └─ presence, take_error   (who asks for it back, what went wrong)
//! ```
//!
//! [`UioDevice`] is its sibling for machines without an IOMMU, which reaches [`physical_memory`].
//!
//! Nothing here needs the EAL. All descriptors can be borrowed, so that another process can be given them.

mod abi;
mod address;
mod claim;
mod device;
mod error;
mod fault;
mod physical;
mod sysfs;
mod uio;

pub use address::PciAddress;
pub use device::{Descriptors, Device, Presence};
pub use error::{Error, Holder};
pub use physical::physical_memory;
pub use uio::UioDevice;
