//! VFIO's ioctls, typed (uapi linux/vfio.h). What the kernel answers is read with bounds, as any bytes from outside.
//! Little-endian machines, as all that this runs on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use dpdk_sys as sys;

/// An ioctl whose argument is a number, or none.
pub(super) fn call(file: &impl AsFd, request: u32, argument: u64) -> io::Result<i32> {
    // SAFETY: the requests that this module passes here take a number, and give no memory back.
    check(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), request.into(), argument) })
}

/// An ioctl that reads and writes `argument`.
///
/// # Safety
/// `T` is the struct of the request, or begins with it, with `argsz` its size.
unsafe fn exchange<T: ?Sized>(file: &impl AsFd, request: u32, argument: &mut T) -> io::Result<i32> {
    let argument: *mut T = argument;
    // SAFETY: the caller's promise.
    check(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), request.into(), argument.cast::<u8>()) })
}

fn check(ret: i32) -> io::Result<i32> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// The length of a struct, as its first field tells the kernel.
const fn size_u32<T>() -> u32 {
    size_of::<T>() as u32
}

/// The flags of a group (`VFIO_GROUP_FLAGS_*`).
pub(super) fn group_flags(group: &impl AsFd) -> io::Result<u32> {
    let mut status = sys::vfio_group_status { argsz: size_u32::<sys::vfio_group_status>(), flags: 0 };
    // SAFETY: the request's struct.
    unsafe { exchange(group, sys::VFIO_GROUP_GET_STATUS, &mut status) }?;
    Ok(status.flags)
}

/// Attaches a group to a container.
pub(super) fn set_container(group: &impl AsFd, container: BorrowedFd<'_>) -> io::Result<()> {
    let mut descriptor = container.as_raw_fd();
    // SAFETY: the request reads an int.
    unsafe { exchange(group, sys::VFIO_GROUP_SET_CONTAINER, &mut descriptor) }?;
    Ok(())
}

/// The device of a group that has this name.
pub(super) fn device(group: &impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let mut name = std::ffi::CString::new(name)?.into_bytes_with_nul();
    // SAFETY: the request reads a NUL-terminated string.
    let descriptor = unsafe { exchange(group, sys::VFIO_GROUP_GET_DEVICE_FD, name.as_mut_slice()) }?;
    // SAFETY: a descriptor just opened, owned by nobody else.
    let device = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(device)
}

/// The flags of a device (`VFIO_DEVICE_FLAGS_*`).
pub(super) fn device_flags(device: &impl AsFd) -> io::Result<u32> {
    let argsz = size_u32::<sys::vfio_device_info>();
    let mut info = sys::vfio_device_info { argsz, flags: 0, num_regions: 0, num_irqs: 0, cap_offset: 0 };
    // SAFETY: the request's struct.
    unsafe { exchange(device, sys::VFIO_DEVICE_GET_INFO, &mut info) }?;
    Ok(info.flags)
}

/// A region of a device: a BAR, or configuration space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegionInfo {
    /// Where it is in the device's file.
    pub(super) offset: u64,
    /// Its bytes.
    pub(super) size: u64,
    /// Bytes from its start that can be mapped without a hole (the kernel may keep the MSI-X table from being mapped).
    pub(super) mappable: u64,
}

/// The most that the kernel may say of one region or IOMMU, in bytes.
const INFO_BYTES_MAX: usize = 64 << 10;

/// Region `index` of a device.
pub(super) fn region(device: &impl AsFd, index: u32) -> io::Result<RegionInfo> {
    let bytes = chained(size_of::<sys::vfio_region_info>(), |words| {
        words[1] = u64::from(index);
        // SAFETY: the request's struct begins with argsz, flags and index; `words` is aligned and argsz long.
        unsafe { exchange(device, sys::VFIO_DEVICE_GET_REGION_INFO, words) }
    })?;
    let (flags, size, offset) = (u32_at(&bytes, 4), u64_at(&bytes, 16), u64_at(&bytes, 24));
    let (flags, size, offset) = (flags.unwrap_or(0), size.unwrap_or(0), offset.unwrap_or(0));
    let sparse = (flags & sys::VFIO_REGION_INFO_FLAG_CAPS != 0)
        .then(|| capability(&bytes, u32_at(&bytes, 12)?, sys::VFIO_REGION_INFO_CAP_SPARSE_MMAP))
        .flatten();
    let mappable = match sparse {
        _ if flags & sys::VFIO_REGION_INFO_FLAG_MMAP == 0 => 0,
        None => size,
        // An area is an offset and a size.
        Some(at) => without_hole(pairs(&bytes, at).collect(), size),
    };
    Ok(RegionInfo { offset, size, mappable })
}

/// Bytes from 0 that `areas` cover, at most `size`.
fn without_hole(mut areas: Vec<(u64, u64)>, size: u64) -> u64 {
    areas.sort_unstable();
    let reach = |end: u64, (offset, length): (u64, u64)| {
        if offset <= end { end.max(offset.saturating_add(length)) } else { end }
    };
    areas.into_iter().fold(0, reach).min(size)
}

/// Device addresses that an IOMMU takes: first and last of each range. Empty when it does not say.
pub(super) fn iova_ranges(container: &impl AsFd) -> io::Result<Vec<(u64, u64)>> {
    // argsz, flags, iova_pgsizes, cap_offset.
    let bytes = chained(size_of::<sys::vfio_iommu_type1_info>(), |words| {
        // SAFETY: the request's struct begins with argsz; `words` is aligned and argsz long.
        unsafe { exchange(container, sys::VFIO_IOMMU_GET_INFO, words) }
    })?;
    let has = u32_at(&bytes, 4).unwrap_or(0) & sys::VFIO_IOMMU_INFO_CAPS != 0;
    let at = u32_at(&bytes, 16)
        .filter(|_| has)
        .and_then(|first| capability(&bytes, first, sys::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE));
    Ok(at.map(|at| pairs(&bytes, at).collect()).unwrap_or_default())
}

/// What the kernel answers to a request whose struct is `shortest` bytes and may have capabilities behind it: asked
/// once for its length, once for all.
fn chained(shortest: usize, mut ask: impl FnMut(&mut [u64]) -> io::Result<i32>) -> io::Result<Vec<u8>> {
    let mut length = shortest;
    loop {
        let mut words = vec![0_u64; length.div_ceil(8)];
        words[0] = length as u64;
        ask(&mut words)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let wanted = u32_at(&bytes, 0).unwrap_or(0) as usize;
        if wanted <= length || length > shortest {
            return Ok(bytes);
        }
        length = wanted.min(INFO_BYTES_MAX);
    }
}

/// Where the capability `id` begins, in a chain whose first is at `at`.
fn capability(bytes: &[u8], at: u32, id: u32) -> Option<usize> {
    let mut at = at as usize;
    // The chain goes up: it ends, whatever it says.
    while at != 0 {
        let header = u32_at(bytes, at)?;
        if header & 0xFFFF == id {
            return Some(at);
        }
        let next = u32_at(bytes, at + 4)? as usize;
        if next <= at {
            return None;
        }
        at = next;
    }
    None
}

/// The pairs of a capability at `at`: a header of 8 bytes, their count, 4 bytes, then they.
fn pairs(bytes: &[u8], at: usize) -> impl Iterator<Item = (u64, u64)> {
    let count = u32_at(bytes, at + 8).unwrap_or(0) as usize;
    (0..count).map_while(move |pair| {
        let at = at + 16 + pair * 16;
        Some((u64_at(bytes, at)?, u64_at(bytes, at + 8)?))
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Whether interrupt `index` exists and can signal an eventfd.
pub(super) fn has_eventfd(device: &impl AsFd, index: u32) -> bool {
    let mut info = sys::vfio_irq_info { argsz: size_u32::<sys::vfio_irq_info>(), flags: 0, index, count: 0 };
    // SAFETY: the request's struct.
    let told = unsafe { exchange(device, sys::VFIO_DEVICE_GET_IRQ_INFO, &mut info) };
    told.is_ok() && info.count > 0 && info.flags & sys::VFIO_IRQ_INFO_EVENTFD != 0
}

/// Lets interrupt `index` signal `eventfd`.
pub(super) fn set_eventfd(device: &impl AsFd, index: u32, eventfd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = sys::VFIO_IRQ_SET_DATA_EVENTFD | sys::VFIO_IRQ_SET_ACTION_TRIGGER;
    // vfio_irq_set: argsz, flags, index, start, count, and one descriptor behind it.
    let mut set = [24, flags, index, 0, 1, eventfd.as_raw_fd() as u32];
    // SAFETY: the request's struct, 24 bytes.
    unsafe { exchange(device, sys::VFIO_DEVICE_SET_IRQS, &mut set) }?;
    Ok(())
}

/// Lets the devices of a container reach `length` bytes at `address` under `iova`. The kernel pins them.
///
/// # Safety
/// The bytes stay mapped in this process until they are unmapped from the container; what devices do to them is the
/// caller's to bear.
pub(super) unsafe fn map(container: &impl AsFd, address: u64, iova: u64, length: u64, write: bool) -> io::Result<()> {
    let flags = sys::VFIO_DMA_MAP_FLAG_READ | if write { sys::VFIO_DMA_MAP_FLAG_WRITE } else { 0 };
    let argsz = size_u32::<sys::vfio_iommu_type1_dma_map>();
    let mut map = sys::vfio_iommu_type1_dma_map { argsz, flags, vaddr: address, iova, size: length };
    // SAFETY: the request's struct; the memory is the caller's promise.
    unsafe { exchange(container, sys::VFIO_IOMMU_MAP_DMA, &mut map) }?;
    Ok(())
}

/// Takes `length` bytes at `iova` away from the devices of a container; returns how many were.
pub(super) fn unmap(container: &impl AsFd, iova: u64, length: u64) -> io::Result<u64> {
    // vfio_iommu_type1_dma_unmap: argsz and flags, iova, size.
    let mut unmap = [24_u64, iova, length];
    // SAFETY: the request's struct, 24 bytes.
    unsafe { exchange(container, sys::VFIO_IOMMU_UNMAP_DMA, &mut unmap) }?;
    Ok(unmap[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct of 24 bytes, then capabilities: header, count of pairs, pairs.
    fn chain(capabilities: &[(u16, &[(u64, u64)])]) -> Vec<u8> {
        let mut bytes = vec![0_u8; 24];
        for (number, (id, pairs)) in capabilities.iter().enumerate() {
            let next = if number + 1 == capabilities.len() { 0 } else { bytes.len() + 16 + pairs.len() * 16 };
            bytes.extend(id.to_ne_bytes());
            bytes.extend(1_u16.to_ne_bytes());
            bytes.extend((next as u32).to_ne_bytes());
            bytes.extend((pairs.len() as u32).to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(pairs.iter().flat_map(|pair| [pair.0, pair.1]).flat_map(u64::to_ne_bytes));
        }
        bytes
    }

    #[test]
    fn a_capability_is_found_behind_others() {
        let bytes = chain(&[(3, &[]), (1, &[(0, 0x2000), (0x3000, 0x1000)]), (9, &[(5, 5)])]);
        let at = capability(&bytes, 24, 1).unwrap();
        assert_eq!(pairs(&bytes, at).collect::<Vec<_>>(), [(0, 0x2000), (0x3000, 0x1000)]);
        assert_eq!(capability(&bytes, 24, 2), None);
        assert_eq!(capability(&bytes, 0, 1), None);
    }

    #[test]
    fn chains_that_go_nowhere_end() {
        let mut circle = chain(&[(3, &[]), (4, &[])]);
        circle[44..48].copy_from_slice(&24_u32.to_ne_bytes());
        assert_eq!(capability(&circle, 24, 1), None);
        assert_eq!(capability(&circle, 4096, 1), None);
        assert_eq!(capability(&circle, u32::MAX, 1), None);
        // More pairs than there are bytes.
        let mut long = chain(&[(1, &[(0, 1)])]);
        long[32..36].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(pairs(&long, 24).count(), 1);
    }

    #[test]
    fn a_bar_is_mapped_up_to_its_first_hole() {
        assert_eq!(without_hole(vec![(0, 0x2000), (0x3000, 0x1000)], 0x4000), 0x2000);
        assert_eq!(without_hole(vec![(0x2000, 0x2000), (0, 0x2000)], 0x4000), 0x4000);
        assert_eq!(without_hole(vec![(0x1000, 0x3000)], 0x4000), 0);
        assert_eq!(without_hole(vec![], 0x4000), 0);
        assert_eq!(without_hole(vec![(0, u64::MAX), (1, u64::MAX)], 0x4000), 0x4000);
    }

    #[test]
    fn the_kernel_is_asked_again_for_what_did_not_fit() {
        let mut lengths = Vec::new();
        let bytes = chained(32, |words| {
            lengths.push(words[0]);
            words[0] = 80;
            Ok(0)
        });
        assert_eq!((bytes.unwrap().len(), lengths), (80, vec![32, 80]));
        // A kernel that wants more each time is not believed for ever.
        let bytes = chained(32, |words| {
            words[0] = u64::from(u32::MAX);
            Ok(0)
        });
        assert_eq!(bytes.unwrap().len(), INFO_BYTES_MAX);
    }
}
