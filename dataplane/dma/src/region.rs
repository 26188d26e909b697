//! One span of shared memory: how it comes to be and how it goes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::Error;

/// The smallest page of x86-64 and arm64, in bytes.
const PAGE_MIN: usize = 4096;

/// A hugepage of both, in bytes.
pub const HUGEPAGE: usize = 2 << 20;

/// Where device addresses of our own memory begin: above DPDK's, which are virtual addresses from 4 GiB on, and within the 39
/// bits that the smallest IOMMUs have.
const IOVA_BASE: u64 = 1 << 38;

/// The next device address that nobody has had. A virtual address would not do: memory that was handed over keeps its device
/// address, and the kernel gives the virtual one to the next that asks.
static NEXT_IOVA: AtomicU64 = AtomicU64::new(IOVA_BASE);

/// Device addresses for `length` bytes, and a page behind them that no device reaches.
fn fresh_iova(length: usize) -> u64 {
    NEXT_IOVA.fetch_add(behind(0, length), Ordering::Relaxed)
}

/// The same from a multiple of a hugepage on, so that an IOMMU translates each by one entry.
fn fresh_huge_iova(length: usize) -> u64 {
    let aligned = |next: u64| next.next_multiple_of(HUGEPAGE as u64);
    let taken = |next| Some(behind(aligned(next), length));
    let next =
        NEXT_IOVA.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).expect("every address has one behind");
    aligned(next)
}

/// The first device address that may follow `length` bytes at `iova`.
fn behind(iova: u64, length: usize) -> u64 {
    (iova + length as u64).next_multiple_of(PAGE_MIN as u64) + PAGE_MIN as u64
}

/// A span of memory that a device, another thread or another process may read and write at any time.
///
/// Offsets are bytes from its start. An access outside it is a broken invariant of ours and panics.
#[derive(Debug)]
pub struct Region {
    pub(crate) base: NonNull<u8>,
    length: usize,
    iova: u64,
    writable: bool,
    owner: Owner,
}

/// What keeps the memory there.
enum Owner {
    /// A mapping of ours, with the file behind it when it is to be handed over.
    Mapping { length: usize, file: Option<OwnedFd> },
    /// Someone else's memory: dropped when the region goes.
    Other { _keep: Box<dyn Send + Sync> },
}

impl core::fmt::Debug for Owner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Owner::Mapping { file, .. } => f.debug_struct("Mapping").field("file", file).finish_non_exhaustive(),
            Owner::Other { .. } => f.write_str("Other"),
        }
    }
}

// SAFETY: the memory is reached by raw copies and atomics only, so any thread may do so at any time; the owner is
// Send + Sync by its bound.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// New memory of `length` bytes, zeroed, page-aligned, present (no lcore faults on it) and backed by a memfd of whole
    /// pages, so that it can be handed to another process; sealed against resizing, so that nobody it is handed to can take it
    /// away. Its device address is one that no other region of this process has had.
    pub fn shared(length: usize) -> Result<Arc<Region>, Error> {
        Self::made(length, PAGE_MIN, 0, fresh_iova)
    }

    /// The same of whole [hugepages](HUGEPAGE), to which its length is rounded up: a processor and an IOMMU hold far more of it in
    /// their TLBs. Its device address is a multiple of a hugepage's size.
    ///
    /// # Errors
    /// As [`Region::shared`]: so many hugepages are not free.
    pub fn shared_huge(length: usize) -> Result<Arc<Region>, Error> {
        let whole = length.checked_next_multiple_of(HUGEPAGE).ok_or(Error::Length(length))?;
        Self::made(whole, HUGEPAGE, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB, fresh_huge_iova)
    }

    fn made(
        length: usize,
        page: usize,
        flags: libc::c_uint,
        fresh_iova: fn(usize) -> u64,
    ) -> Result<Arc<Region>, Error> {
        if length == 0 || length > isize::MAX as usize {
            return Err(Error::Length(length));
        }
        let flags = flags | libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: a NUL-terminated name and flags; the result is checked.
        let fd = unsafe { libc::memfd_create(c"gantry-dma".as_ptr(), flags) };
        if fd < 0 {
            return Err(Error::last("memfd_create"));
        }
        // SAFETY: a descriptor just opened, owned by nobody else.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        // Sized, then filled with pages: memory that is not there is an error now and not SIGBUS on an lcore. Whole pages,
        // as another process's device has to map them.
        let size = length.next_multiple_of(page) as libc::off_t;
        // SAFETY: plain calls on a descriptor that is open.
        if unsafe { libc::ftruncate(fd, size) } != 0 {
            return Err(Error::last("ftruncate"));
        }
        // SAFETY: as above.
        if unsafe { libc::fallocate(fd, 0, 0, size) } != 0 {
            return Err(Error::last("fallocate"));
        }
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: as above.
        if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } != 0 {
            return Err(Error::last("fcntl(F_ADD_SEALS)"));
        }
        let base = map(file.as_fd(), length, true)?;
        // MAP_POPULATE is a wish. Nobody else has the descriptor yet, so each page can be written to.
        for offset in (0..length).step_by(page) {
            // SAFETY: inside the mapping just made.
            unsafe { base.add(offset).write_volatile(0) };
        }
        Ok(Arc::new(Region {
            base,
            length,
            iova: fresh_iova(length),
            writable: true,
            owner: Owner::Mapping { length, file: Some(file) },
        }))
    }

    /// The first `length` bytes of `file` (a memfd that another process handed over, the statistics segment), mapped
    /// shared. A store to a region that is not `writable` panics. The file must not shrink while it is mapped; one
    /// from [`Region::shared`] cannot.
    pub fn file(file: impl AsFd, length: usize, writable: bool) -> Result<Arc<Region>, Error> {
        Self::mapped(file, length, writable, None)
    }

    /// A region of [`Region::shared`] that another process made and handed over, mapped here. Devices go on seeing it at
    /// `iova`, where they were told that it is.
    pub fn handed_over(file: impl AsFd, length: usize, iova: u64) -> Result<Arc<Region>, Error> {
        // Guard page included.
        if iova.checked_add(length as u64).is_none_or(|end| end > u64::MAX - 2 * PAGE_MIN as u64) {
            return Err(Error::Length(length));
        }
        if iova >= IOVA_BASE {
            NEXT_IOVA.fetch_max(behind(iova, length), Ordering::Relaxed);
        }
        Self::mapped(file, length, true, Some(iova))
    }

    fn mapped(file: impl AsFd, length: usize, writable: bool, iova: Option<u64>) -> Result<Arc<Region>, Error> {
        if length == 0 || length > isize::MAX as usize {
            return Err(Error::Length(length));
        }
        let file = file.as_fd();
        within(file, 0, length)?;
        let kept = file.try_clone_to_owned().map_err(|_| Error::last("dup"))?;
        let base = map(file, length, writable)?;
        Ok(Arc::new(Region {
            base,
            length,
            iova: iova.unwrap_or_else(|| fresh_iova(length)),
            writable,
            owner: Owner::Mapping { length, file: Some(kept) },
        }))
    }

    /// `length` bytes of `file` from `offset` on (a multiple of the page size): memory of another process that maps them too,
    /// such as a virtual machine's. A device that this process plays reaches it at `iova`. Pages come when they are touched:
    /// what is mapped may be larger than what this machine has to spare. The file must not shrink while it is mapped.
    ///
    /// # Errors
    /// [`Error::FileTooShort`]; [`Error::Length`] when it is empty or runs past the end of device addresses; or what the
    /// system says.
    pub fn window(
        file: impl AsFd,
        offset: u64,
        length: usize,
        iova: u64,
        writable: bool,
    ) -> Result<Arc<Region>, Error> {
        if length == 0 || length > isize::MAX as usize || iova.checked_add(length as u64).is_none() {
            return Err(Error::Length(length));
        }
        let file = file.as_fd();
        let offset = within(file, offset, length)?;
        let base = map_at(None, Some((file, offset)), length, writable)?;
        Ok(Arc::new(Region { base, length, iova, writable, owner: Owner::Mapping { length, file: None } }))
    }

    /// `lead` bytes of memory of this process's own and, behind them, `length` bytes of `file` from `offset` on: a BAR whose
    /// owner maps its doorbells and not the registers before them. `lead` and `offset` are multiples of the page size. The
    /// file must not shrink while it is mapped.
    ///
    /// # Errors
    /// As [`Region::window`].
    pub fn behind(lead: usize, file: impl AsFd, offset: u64, length: usize) -> Result<Arc<Region>, Error> {
        let whole = lead.checked_add(length).filter(|&whole| length != 0 && whole <= isize::MAX as usize);
        let whole = whole.ok_or(Error::Length(length))?;
        let file = file.as_fd();
        let offset = within(file, offset, length)?;
        let base = map_at(None, None, whole, true)?;
        let region = Region {
            base,
            length: whole,
            iova: fresh_iova(whole),
            writable: true,
            owner: Owner::Mapping { length: whole, file: None },
        };
        // SAFETY: `lead` is inside the mapping just made.
        let place = unsafe { base.add(lead) };
        map_at(Some(place), Some((file, offset)), length, true)?;
        Ok(Arc::new(region))
    }

    /// Memory that someone else made: DPDK's, a mapped BAR. `iova` is where a device sees its first byte; `owner` is
    /// dropped with the region.
    ///
    /// # Safety
    /// `base` is readable and writable for `length` bytes until `owner` is dropped, and no Rust reference to it exists
    /// meanwhile.
    ///
    /// # Panics
    /// When `base` is null or `length` zero.
    pub unsafe fn from_raw(base: *mut u8, length: usize, iova: u64, owner: Box<dyn Send + Sync>) -> Arc<Region> {
        assert!(length != 0 && length <= isize::MAX as usize, "a region of {length} bytes");
        let base = NonNull::new(base).expect("a region at null");
        Arc::new(Region { base, length, iova, writable: true, owner: Owner::Other { _keep: owner } })
    }

    /// Bytes in the region.
    #[inline]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The address at which a device reaches the byte at `offset`.
    ///
    /// # Panics
    /// When `offset` is past the end (the end itself is allowed).
    #[inline]
    pub fn iova(&self, offset: usize) -> u64 {
        assert!(offset <= self.length, "offset {offset} of a region of {} bytes", self.length);
        self.iova + offset as u64
    }

    /// The first byte's address in this process, for those who hand it to a device or a kernel (VFIO maps by virtual
    /// address). Reading or writing through it is the caller's unsafe.
    #[inline]
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Whether stores are allowed.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The file behind the region, to be handed over a socket; none for memory that someone else made.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.owner {
            Owner::Mapping { file, .. } => file.as_ref().map(AsFd::as_fd),
            Owner::Other { .. } => None,
        }
    }

    /// The address of `length` bytes at `offset` that may be loaded.
    #[inline]
    pub(crate) fn readable(&self, offset: usize, length: usize) -> *mut u8 {
        match offset.checked_add(length) {
            // SAFETY: offset is within the allocation, as just checked.
            Some(end) if end <= self.length => unsafe { self.base.as_ptr().add(offset) },
            _ => out_of_bounds(offset, length, self.length),
        }
    }

    /// The address of `length` bytes at `offset` that may be stored to.
    #[inline]
    pub(crate) fn writable(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(self.writable, "a store to a region mapped for reading");
        self.readable(offset, length)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Owner::Mapping { length, .. } = self.owner {
            // SAFETY: the mapping was made with this length and no pointer to it outlives the region.
            unsafe { libc::munmap(self.base.as_ptr().cast(), length) };
        }
    }
}

#[cold]
#[inline(never)]
fn out_of_bounds(offset: usize, length: usize, region: usize) -> ! {
    panic!("{length} bytes at {offset} of a region of {region} bytes")
}

/// `offset` as mmap takes it, when `file` has `length` bytes from there on.
fn within(file: BorrowedFd<'_>, offset: u64, length: usize) -> Result<libc::off_t, Error> {
    // SAFETY: `stat` is plain data, filled by the call; the descriptor is open.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    if unsafe { libc::fstat(file.as_raw_fd(), &raw mut stat) } != 0 {
        return Err(Error::last("fstat"));
    }
    let found = usize::try_from(stat.st_size).unwrap_or(0);
    let wanted = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(length)).unwrap_or(usize::MAX);
    if found < wanted {
        return Err(Error::FileTooShort { wanted, found });
    }
    libc::off_t::try_from(offset).map_err(|_| Error::Length(length))
}

/// Maps `length` bytes of a file, or of nothing, at an address of the kernel's choice, or over what this process has mapped
/// at `place`.
fn map_at(
    place: Option<NonNull<u8>>,
    file: Option<(BorrowedFd<'_>, libc::off_t)>,
    length: usize,
    writable: bool,
) -> Result<NonNull<u8>, Error> {
    let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let (kind, descriptor, offset) = match file {
        Some((file, offset)) => (libc::MAP_SHARED, file.as_raw_fd(), offset),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
    };
    let (at, fixed) = place.map_or((ptr::null_mut(), 0), |place| (place.as_ptr().cast(), libc::MAP_FIXED));
    // SAFETY: without `place` the mapping disturbs none that exists; with it, it replaces part of the caller's own.
    let base = unsafe { libc::mmap(at, length, protection, kind | fixed, descriptor, offset) };
    if base == libc::MAP_FAILED {
        return Err(Error::last("mmap"));
    }
    // SAFETY: the span was mapped just above. A refusal costs nothing but the hint.
    unsafe { libc::madvise(base, length, libc::MADV_DONTFORK) };
    Ok(NonNull::new(base.cast()).expect("mmap gave null"))
}

/// Maps and makes present the first `length` bytes of `file`.
fn map(file: BorrowedFd<'_>, length: usize, writable: bool) -> Result<NonNull<u8>, Error> {
    let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice disturbs none that exists.
    let base = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, file.as_raw_fd(), 0) };
    if base == libc::MAP_FAILED {
        return Err(Error::last("mmap"));
    }
    // A successor maps what it was handed; a child of a fork must not share a device's memory by accident.
    // SAFETY: the span was mapped just above. A refusal costs nothing but the hint.
    unsafe { libc::madvise(base, length, libc::MADV_DONTFORK) };
    Ok(NonNull::new(base.cast()).expect("mmap gave null"))
}
