//! Memory that a device and a core share: NVMe queues and I/O buffers, BARs, the statistics segment.
//!
//! A device, or another process, may change such memory at any time, so no `&[u8]` over it exists: [`Region`] copies
//! in and out through raw pointers, checks every bound, and offers aligned atomic words for registers, doorbells and
//! phase bits. [`AddressSpace`] is what one device may reach: an IOMMU in software.

#![no_std]

extern crate alloc;
// For the file descriptor types of std::os::fd only.
extern crate std;

mod access;
mod address_space;
mod error;
mod region;

pub use address_space::{AddressSpace, Fault};
pub use error::Error;
pub use region::{HUGEPAGE, Region};
