//! DMA memory of the EAL: what a device that DPDK or VFIO drives reaches.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gantry_dma::Region;

use crate::error::{Errno, Error, c_name};
use crate::{Eal, SocketId};

/// A memzone, freed when dropped.
struct Memzone {
    raw: NonNull<dpdk_sys::rte_memzone>,
    _eal: Eal,
}

// SAFETY: a memzone is a record that DPDK guards with its own lock.
unsafe impl Send for Memzone {}
// SAFETY: as above.
unsafe impl Sync for Memzone {}

impl Drop for Memzone {
    fn drop(&mut self) {
        // SAFETY: reserved by us and freed once.
        unsafe { dpdk_sys::rte_memzone_free(self.raw.as_ptr()) };
    }
}

impl Eal {
    /// Zeroed memory of the EAL's, contiguous for devices: `length` bytes, its device address and its address both
    /// aligned to `align`, a power of two.
    ///
    /// # Errors
    /// [`Error::Call`]: `NoMemory`, `NoSpace` when the EAL's 2560 memzones are in use, `Invalid` for an alignment that
    /// is no power of two.
    pub fn dma_memory(&self, length: usize, align: u32, socket: SocketId) -> Result<Arc<Region>, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let failed = |errno| Error::Call { operation: "rte_memzone_reserve_aligned", errno };
        if length == 0 || !align.is_power_of_two() {
            // DPDK reads a length of zero as all that is left.
            return Err(failed(Errno::Invalid));
        }
        let name = format!("gantry_dma_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let name = c_name(&name, dpdk_sys::RTE_MEMZONE_NAMESIZE as usize)?;
        // SAFETY: a NUL-terminated name and plain numbers, validated by DPDK.
        let raw = unsafe {
            dpdk_sys::rte_memzone_reserve_aligned(
                name.as_ptr(),
                length,
                socket.0,
                dpdk_sys::RTE_MEMZONE_IOVA_CONTIG,
                align,
            )
        };
        let raw = NonNull::new(raw.cast_mut()).ok_or_else(|| failed(Errno::last()))?;
        let owner = Memzone { raw, _eal: self.clone() };
        // SAFETY: the memzone was just reserved and is `length` bytes or more until its owner drops; no reference to
        // it exists.
        let region = unsafe {
            let base = dpdk_sys::dpdk_sys_memzone_addr(raw.as_ptr()).cast();
            Region::from_raw(base, length, dpdk_sys::dpdk_sys_memzone_iova(raw.as_ptr()), Box::new(owner))
        };
        // Freed memory comes back as it was left.
        region.fill(0, length, 0);
        Ok(region)
    }
}
