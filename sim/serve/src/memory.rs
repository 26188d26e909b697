//! What the client lets the drive reach. vfio-user protocol, "VFIO_USER_DMA_MAP" and "VFIO_USER_DMA_UNMAP".

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use gantry_dma::{AddressSpace, Region};
use gantry_vfio_user::message::{DmaMap, DmaUnmap, dma};
use rustix::io::Errno;

/// Mappings that are kept at most.
pub(crate) const MAPPINGS_MAX: usize = 4096;

/// Addresses, sizes and files are multiples of this.
const PAGE: u64 = 4096;

/// The mappings of one client.
#[derive(Debug)]
pub(crate) struct Memory {
    space: Arc<AddressSpace>,
    /// By first device address: bytes, and the memory unless it came without a file.
    mappings: BTreeMap<u64, (u64, Option<Arc<Region>>)>,
}

impl Memory {
    /// A drive that reaches nothing.
    pub(crate) fn new(space: Arc<AddressSpace>) -> Self {
        Self { space, mappings: BTreeMap::new() }
    }

    /// Lets it reach memory.
    pub(crate) fn map(&mut self, map: &DmaMap, mut fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let (first, size, offset) = (map.address.get(), map.size.get(), map.offset.get());
        let end = first.checked_add(size).ok_or(Errno::INVAL)?;
        if size == 0 || (first | size | offset) & (PAGE - 1) != 0 || fds.len() > 1 {
            return Err(Errno::INVAL);
        }
        if self.mappings.len() >= MAPPINGS_MAX {
            return Err(Errno::NOSPC);
        }
        let before = self.mappings.range(..end).next_back();
        if before.is_some_and(|(&at, &(bytes, _))| at + bytes > first) {
            return Err(Errno::EXIST);
        }
        let region = match fds.pop() {
            Some(file) => {
                let length = usize::try_from(size).map_err(|_| Errno::INVAL)?;
                let writable = map.flags.get() & dma::WRITE != 0;
                let region = Region::window(file, offset, length, first, writable).map_err(|_| Errno::INVAL)?;
                self.space.map(Arc::clone(&region)).map_err(|_| Errno::EXIST)?;
                Some(region)
            }
            // A virtual machine's ROMs are such: they are known, so that they can be taken back, and cannot be reached.
            None => None,
        };
        self.mappings.insert(first, (size, region));
        Ok(())
    }

    /// Takes memory back: whole mappings.
    pub(crate) fn unmap(&mut self, unmap: &DmaUnmap) -> Result<(), Errno> {
        let (first, size) = (unmap.address.get(), unmap.size.get());
        if unmap.flags.get() & dma::UNMAP_ALL != 0 {
            return if first == 0 && size == 0 { self.clear() } else { Err(Errno::INVAL) };
        }
        let end = first.checked_add(size).filter(|_| size > 0).ok_or(Errno::INVAL)?;
        let inside: Vec<u64> = self.mappings.range(first..end).map(|(&at, _)| at).collect();
        // The last mapping that begins before an address is the only one that can lie across it.
        let lies_across = |address: u64| {
            self.mappings.range(..address).next_back().is_some_and(|(&at, &(bytes, _))| at + bytes > address)
        };
        if lies_across(first) || lies_across(end) {
            return Err(Errno::INVAL);
        }
        if inside.is_empty() {
            return Err(Errno::NOENT);
        }
        for at in inside {
            self.remove(at);
        }
        Ok(())
    }

    /// Takes everything back.
    pub(crate) fn clear(&mut self) -> Result<(), Errno> {
        while let Some((&at, _)) = self.mappings.first_key_value() {
            self.remove(at);
        }
        Ok(())
    }

    /// Whether some of it came without a file.
    pub(crate) fn is_partly_out_of_reach(&self) -> bool {
        self.mappings.values().any(|(_, region)| region.is_none())
    }

    fn remove(&mut self, at: u64) {
        if let Some((_, Some(region))) = self.mappings.remove(&at) {
            self.space.unmap(&region);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64) -> OwnedFd {
        let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, bytes).unwrap();
        file
    }

    fn map(flags: u32, offset: u64, address: u64, size: u64) -> DmaMap {
        DmaMap {
            argsz: 32.into(),
            flags: flags.into(),
            offset: offset.into(),
            address: address.into(),
            size: size.into(),
        }
    }

    fn unmap(flags: u32, address: u64, size: u64) -> DmaUnmap {
        DmaUnmap { argsz: 24.into(), flags: flags.into(), address: address.into(), size: size.into() }
    }

    fn memory() -> (Memory, Arc<AddressSpace>) {
        let space = Arc::new(AddressSpace::new());
        (Memory::new(space.clone()), space)
    }

    #[test]
    fn a_file_s_part_is_reached_where_it_was_put() {
        let (mut memory, space) = memory();
        let file = file(0x4000);
        rustix::io::pwrite(&file, b"here", 0x1002).unwrap();
        memory.map(&map(dma::READ | dma::WRITE, 0x1000, 0xc000_0000, 0x2000), vec![file.try_clone().unwrap()]).unwrap();
        let mut bytes = [0; 4];
        space.read(0xc000_0002, &mut bytes).unwrap();
        assert_eq!(&bytes, b"here");
        space.write(0xc000_1ffc, b"back").unwrap();
        rustix::io::pread(&file, &mut bytes, 0x2ffc).unwrap();
        assert_eq!(&bytes, b"back");
        memory.map(&map(dma::READ, 0, 0xd000_0000, 0x1000), vec![file]).unwrap();
        assert!(space.write(0xd000_0000, &[1]).is_err(), "only to be read");
        memory.unmap(&unmap(0, 0xc000_0000, 0x2000)).unwrap();
        assert!(space.read(0xc000_0002, &mut bytes).is_err());
    }

    #[test]
    fn memory_without_a_file_is_known_and_out_of_reach() {
        let (mut memory, space) = memory();
        memory.map(&map(3, 0, 0x1000, 0x1000), Vec::new()).unwrap();
        assert!(memory.is_partly_out_of_reach() && space.read(0x1000, &mut [0]).is_err());
        assert_eq!(memory.map(&map(3, 0, 0x1000, 0x1000), vec![file(0x1000)]), Err(Errno::EXIST));
        memory.unmap(&unmap(0, 0x1000, 0x1000)).unwrap();
        assert!(!memory.is_partly_out_of_reach());
    }

    #[test]
    fn mappings_neither_overlap_nor_are_cut() {
        let (mut memory, space) = memory();
        let put = |memory: &mut Memory, at, size| memory.map(&map(3, 0, at, size), vec![file(size)]);
        put(&mut memory, 0x2000, 0x2000).unwrap();
        put(&mut memory, 0x4000, 0x1000).unwrap();
        for (at, size) in [(0x2000, 0x2000), (0x1000, 0x2000), (0x3000, 0x1000), (0, 0x8000), (0x4000, 0x4000)] {
            assert_eq!(put(&mut memory, at, size), Err(Errno::EXIST), "{at:x}+{size:x}");
        }
        for (at, size) in [(0x2000, 0x1000), (0x3000, 0x1000), (0x3000, 0x2000), (0x1000, 0x2000)] {
            assert_eq!(memory.unmap(&unmap(0, at, size)), Err(Errno::INVAL), "{at:x}+{size:x}");
        }
        assert_eq!(memory.unmap(&unmap(0, 0x8000, 0x1000)), Err(Errno::NOENT));
        memory.unmap(&unmap(0, 0x1000, 0x5000)).unwrap();
        assert!(space.resolve(0x2000, 1).is_none() && space.resolve(0x4000, 1).is_none(), "both, for they are inside");
        put(&mut memory, 0x2000, 0x2000).unwrap();
        assert_eq!(memory.unmap(&unmap(dma::UNMAP_ALL, 0x2000, 0x2000)), Err(Errno::INVAL));
        memory.unmap(&unmap(dma::UNMAP_ALL, 0, 0)).unwrap();
        assert!(space.resolve(0x2000, 1).is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let (mut memory, _) = memory();
        let wrong = [(0, 0, 0), (1, 0, 0x1000), (0, 0x800, 0x1000), (0, 0, 0x1001), (0, !0xfff, 0x2000)];
        for (offset, address, size) in wrong {
            assert_eq!(memory.map(&map(3, offset, address, size), vec![file(0x1000)]), Err(Errno::INVAL));
        }
        assert_eq!(memory.map(&map(3, 0, 0, 0x2000), vec![file(0x1000)]), Err(Errno::INVAL), "a file too short");
        assert_eq!(memory.map(&map(3, !0xfff, 0, 0x1000), vec![file(0x1000)]), Err(Errno::INVAL));
        assert_eq!(memory.map(&map(3, 0, 0, 0x1000), vec![file(0x1000), file(0x1000)]), Err(Errno::INVAL));
        assert_eq!(memory.unmap(&unmap(0, 0, 0)), Err(Errno::INVAL));
        for at in 0..MAPPINGS_MAX as u64 {
            memory.map(&map(3, 0, at * 0x1000, 0x1000), Vec::new()).unwrap();
        }
        assert_eq!(memory.map(&map(3, 0, 1 << 40, 0x1000), Vec::new()), Err(Errno::NOSPC));
    }
}
