//! What one device may reach: an IOMMU in software, for the drive that is a program and not silicon.
//!
//! Mapped rarely, resolved for every pointer in every command. Whoever resolves holds the region it got, so an unmap
//! pulls no memory from under a copy that runs.

use alloc::sync::Arc;
use alloc::vec::Vec;

use parking_lot::RwLock;

use crate::{Error, Region};

/// The device addresses that one device can use, and the memory behind them. Shared between threads by reference.
#[derive(Debug, Default)]
pub struct AddressSpace {
    /// Sorted by first device address, without overlap.
    windows: RwLock<Vec<Window>>,
}

/// The addresses of one region.
#[derive(Debug)]
struct Window {
    first: u64,
    region: Arc<Region>,
}

impl Window {
    /// The offset of `iova`, when all `length` bytes are inside.
    fn offset(&self, iova: u64, length: usize) -> Option<usize> {
        let offset = usize::try_from(iova.checked_sub(self.first)?).ok()?;
        (offset.checked_add(length)? <= self.region.length()).then_some(offset)
    }
}

/// A device used an address that is not mapped, or only to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {} of {length} bytes at device address {iova:#x}", if *write { "write" } else { "read" })]
pub struct Fault {
    /// The first device address of the access.
    pub iova: u64,
    /// Bytes of the access.
    pub length: usize,
    /// Whether it was a store.
    pub write: bool,
}

impl AddressSpace {
    /// A device that reaches nothing.
    pub const fn new() -> AddressSpace {
        AddressSpace { windows: RwLock::new(Vec::new()) }
    }

    /// Lets the device reach `region` at its own device addresses ([`Region::iova`]).
    ///
    /// # Errors
    /// [`Error::Overlap`] when some of them are taken; [`Error::Length`] when they run past the end of 64 bits.
    pub fn map(&self, region: Arc<Region>) -> Result<(), Error> {
        let (first, length) = (region.iova(0), region.length());
        let last = first.checked_add(length as u64 - 1).ok_or(Error::Length(length))?;
        let mut windows = self.windows.write();
        let at = windows.partition_point(|window| window.first < first);
        let before = at.checked_sub(1).map(|i| &windows[i]);
        let clash = before.is_some_and(|w| w.offset(first, 1).is_some())
            || windows.get(at).is_some_and(|after| after.first <= last);
        if clash {
            return Err(Error::Overlap { iova: first, length });
        }
        windows.insert(at, Window { first, region });
        Ok(())
    }

    /// Takes `region` away from the device: its device addresses, whoever mapped them; in a successor the region is another
    /// mapping of the same memory. Returns whether it was mapped.
    pub fn unmap(&self, region: &Arc<Region>) -> bool {
        let mut windows = self.windows.write();
        let (first, length) = (region.iova(0), region.length());
        let found = windows.iter().position(|window| window.first == first && window.region.length() == length);
        found.map(|at| windows.remove(at)).is_some()
    }

    /// Takes everything away from the device.
    pub fn unmap_all(&self) {
        self.windows.write().clear();
    }

    /// The region and offset behind `length` bytes at `iova`, when one region holds them all.
    pub fn resolve(&self, iova: u64, length: usize) -> Option<(Arc<Region>, usize)> {
        self.with(iova, length, |region, offset| (Arc::clone(region), offset))
    }

    /// Copies what the device reads at `iova` to `dst`.
    pub fn read(&self, iova: u64, dst: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault { iova, length: dst.len(), write: false };
        self.with(iova, dst.len(), |region, offset| region.read(offset, dst)).ok_or(fault)
    }

    /// Copies what the device writes, `src`, to `iova`.
    pub fn write(&self, iova: u64, src: &[u8]) -> Result<(), Fault> {
        let fault = Fault { iova, length: src.len(), write: true };
        let written =
            self.with(iova, src.len(), |region, offset| region.is_writable().then(|| region.write(offset, src)));
        written.flatten().ok_or(fault)
    }

    /// Runs `use_it` on the region and offset behind `length` bytes at `iova`; the mapping stays for as long.
    fn with<R>(&self, iova: u64, length: usize, use_it: impl FnOnce(&Arc<Region>, usize) -> R) -> Option<R> {
        let windows = self.windows.read();
        let at = windows.partition_point(|window| window.first <= iova).checked_sub(1)?;
        let window = &windows[at];
        window.offset(iova, length).map(|offset| use_it(&window.region, offset))
    }
}
