//! One PCI function: opened, mapped, given memory, and closed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gantry_dma::Region;
use parking_lot::Mutex;

use super::claim::Claim;
use super::fault::Guard;
use super::{Error, PciAddress, abi, sysfs};

/// Where containers come from.
const CONTAINER: &str = "/dev/vfio/vfio";

/// Whether a device is where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It answers.
    There,
    /// The kernel asks for it back: it is to be unplugged or unbound, and whoever asked for that waits until the [`Device`] and
    /// its BAR are dropped.
    Leaving,
    /// Its registers read all ones: it was pulled out, or has lost its link or its power.
    Gone,
}

/// The descriptors that a device consists of, to be passed to another process (SCM_RIGHTS).
#[derive(Clone, Copy, Debug)]
pub struct Descriptors<'a> {
    /// The IOMMU container: what the device reaches.
    pub container: BorrowedFd<'a>,
    /// The IOMMU group.
    pub group: BorrowedFd<'a>,
    /// The device: its BARs, configuration space and interrupts.
    pub device: BorrowedFd<'a>,
}

/// A PCI function, and an IOMMU container that is its own.
///
/// Dropping it stops its DMA and closes it on a thread: the kernel resets a function that is closed, which takes 100 ms and, for one
/// that does not answer, much longer. Whoever still holds [`Device::bar0`] keeps the function from being released.
#[derive(Debug)]
pub struct Device {
    /// Taken when the device is dropped.
    open: Option<Open>,
}

impl Device {
    /// Opens the function at `address`: in a new container, with nothing mapped, reset by the kernel, its memory decoding and bus
    /// mastering on. `class` is what it has to be, such as [`Error::NVME`].
    ///
    /// Takes as long as the function's reset, which the kernel does first.
    ///
    /// # Errors
    /// Each of [`Error`]'s that is not of a mapping.
    pub fn open(address: PciAddress, class: u32) -> Result<Device, Error> {
        let group = sysfs::group(Path::new("/sys"), address, class)?;
        let claim = Claim::take(address, group.number)?;
        let container: OwnedFd = open_file(CONTAINER).map_err(|error| unopened(CONTAINER, &error))?.into();
        let version = abi::call(&container, dpdk_sys::VFIO_GET_API_VERSION, 0);
        let type1 = dpdk_sys::VFIO_TYPE1v2_IOMMU.into();
        let extension = abi::call(&container, dpdk_sys::VFIO_CHECK_EXTENSION, type1);
        if version.ok() != Some(dpdk_sys::VFIO_API_VERSION as i32) || extension.ok() != Some(1) {
            return Err(Error::NoType1(address));
        }

        let path = format!("/dev/vfio/{}", group.number);
        let file: OwnedFd = match open_file(&path) {
            Ok(file) => file.into(),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let holder = sysfs::holder(Path::new("/proc"), Path::new(&path));
                return Err(Error::Held { address, group: group.number, holder });
            }
            Err(error) => return Err(unopened(&path, &error)),
        };
        let failed = |operation| move |error: io::Error| Error::system(address, operation, &error);
        let flags = abi::group_flags(&file).map_err(failed("VFIO_GROUP_GET_STATUS"))?;
        if flags & dpdk_sys::VFIO_GROUP_FLAGS_VIABLE == 0 {
            return Err(Error::NotViable { address, group: group.number, others: group.hindered_by });
        }
        abi::set_container(&file, container.as_fd()).map_err(failed("VFIO_GROUP_SET_CONTAINER"))?;
        abi::call(&container, dpdk_sys::VFIO_SET_IOMMU, type1).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => Error::Interrupts(address),
            _ => Error::system(address, "VFIO_SET_IOMMU", &error),
        })?;
        let device = abi::device(&file, &address.to_string()).map_err(failed("VFIO_GROUP_GET_DEVICE_FD"))?;
        Self::connect(address, claim, container, file, device)
    }

    /// Takes up a device that another process opened and handed over, without touching what it does: it goes on reaching what it
    /// was given. `mapped` is that, as this process has it. The other [releases](Device::release) it: from now on this process hears
    /// of errors and requests.
    ///
    /// # Errors
    /// As for [`Device::open`].
    pub fn take_up(
        address: PciAddress,
        container: OwnedFd,
        group: OwnedFd,
        device: OwnedFd,
        mapped: Vec<Arc<Region>>,
    ) -> Result<Device, Error> {
        let number = sysfs::group(Path::new("/sys"), address, Error::NVME)?.number;
        let claim = Claim::take(address, number)?;
        let taken = Self::connect(address, claim, container, group, device)?;
        *taken.inner().mapped.lock() = mapped;
        Ok(taken)
    }

    fn connect(
        address: PciAddress,
        claim: Arc<Claim>,
        container: OwnedFd,
        group: OwnedFd,
        device: OwnedFd,
    ) -> Result<Device, Error> {
        let failed = |operation| move |error: io::Error| Error::system(address, operation, &error);
        let flags = abi::device_flags(&device).map_err(failed("VFIO_DEVICE_GET_INFO"))?;
        let region = |index| abi::region(&device, index).map_err(failed("VFIO_DEVICE_GET_REGION_INFO"));
        let config = region(dpdk_sys::VFIO_PCI_CONFIG_REGION_INDEX)?;
        let bar =
            Arc::new(Bar::map(address, &device, &region(dpdk_sys::VFIO_PCI_BAR0_REGION_INDEX)?, Some(claim.clone()))?);
        // SAFETY: the mapping is readable and writable for its length until the last clone of `bar` is dropped, whatever becomes
        // of the device: a load that fails gives all ones.
        let bar0 = unsafe { Region::from_raw(bar.base.as_ptr(), bar.length, 0, Box::new(bar.clone())) };

        let signal = |index| {
            let eventfd = eventfd().map_err(failed("eventfd"))?;
            let exists = abi::has_eventfd(&device, index);
            if exists {
                abi::set_eventfd(&device, index, eventfd.as_fd()).map_err(failed("VFIO_DEVICE_SET_IRQS"))?;
            }
            Ok::<_, Error>(eventfd)
        };
        let request = signal(dpdk_sys::VFIO_PCI_REQ_IRQ_INDEX)?;
        let error = signal(dpdk_sys::VFIO_PCI_ERR_IRQ_INDEX)?;
        let device = File::from(device);
        let mut identity = [0; 4];
        for (id, at) in identity.iter_mut().zip(IDENTITY) {
            let mut bytes = [0; 2];
            device.read_exact_at(&mut bytes, config.offset + at).map_err(failed("reading its configuration space"))?;
            *id = u16::from_le_bytes(bytes);
        }
        let open = Open {
            address,
            identity,
            can_reset: flags & dpdk_sys::VFIO_DEVICE_FLAGS_RESET != 0,
            command_at: config.offset + u64::from(dpdk_sys::PCI_COMMAND),
            mapped: Mutex::default(),
            requested: AtomicBool::new(false),
            released: false,
            request,
            error,
            bar0,
            bar,
            device,
            group,
            container,
            claim,
        };
        open.command(|command| command | ON).map_err(failed("enabling it in its PCI command register"))?;
        Ok(Device { open: Some(open) })
    }

    fn inner(&self) -> &Open {
        self.open.as_ref().expect("open until it is dropped")
    }

    /// Where it is.
    pub fn address(&self) -> PciAddress {
        self.inner().address
    }

    /// Vendor, device, subsystem vendor and subsystem id (PCI Local Bus 3.0 §6.2.1, §6.2.4), as they were when it was opened.
    pub fn identity(&self) -> [u16; 4] {
        self.inner().identity
    }

    /// BAR 0, up to its first hole. It stays readable and writable when the device is no longer there: it reads all ones then.
    pub fn bar0(&self) -> &Arc<Region> {
        &self.inner().bar0
    }

    /// Lets the device reach `region`, at the region's device addresses. It keeps the region until it is unmapped.
    ///
    /// # Errors
    /// [`Error::Overlap`], [`Error::Memlock`], [`Error::Unreachable`], [`Error::System`].
    pub fn map(&self, region: Arc<Region>) -> Result<(), Error> {
        let open = self.inner();
        let (address, iova, bytes) = (open.address, region.iova(0), pages(region.length()));
        let overlap = Error::Overlap { address, iova, bytes };
        let mut mapped = open.mapped.lock();
        let meets = |other: &Arc<Region>| {
            iova < other.iova(0) + pages(other.length()) as u64 && other.iova(0) < iova + bytes as u64
        };
        if mapped.iter().any(meets) {
            return Err(overlap);
        }
        // SAFETY: the region's memory stays mapped for as long as it lives, and it is kept until it is unmapped. Its contents are
        // reached by raw copies and atomics only.
        let done =
            unsafe { abi::map(&open.container, region.base().addr() as u64, iova, bytes as u64, region.is_writable()) };
        match done {
            Ok(()) => {
                mapped.push(region);
                Ok(())
            }
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::EEXIST) => overlap,
                Some(libc::ENOMEM) if let Some(limit) = memory_lock_limit() => Error::Memlock { address, bytes, limit },
                Some(libc::EINVAL | libc::E2BIG | libc::ERANGE | libc::EFAULT)
                    if let Some(ranges) = open.outside(iova, bytes) =>
                {
                    Error::Unreachable { address, iova, bytes, ranges }
                }
                _ => Error::system(address, "VFIO_IOMMU_MAP_DMA", &error),
            }),
        }
    }

    /// Takes `region` away from the device: its device addresses, whoever mapped them; in a successor the region is another
    /// mapping of the same memory. The device reaches none of it when this returns. Returns whether it was mapped.
    ///
    /// # Errors
    /// [`Error::System`]: the device reaches it still, and it is kept.
    pub fn unmap(&self, region: &Arc<Region>) -> Result<bool, Error> {
        let open = self.inner();
        let mut mapped = open.mapped.lock();
        let (iova, length) = (region.iova(0), region.length());
        let Some(at) = mapped.iter().position(|other| other.iova(0) == iova && other.length() == length) else {
            return Ok(false);
        };
        abi::unmap(&open.container, iova, pages(length) as u64)
            .map_err(|error| Error::system(open.address, "VFIO_IOMMU_UNMAP_DMA", &error))?;
        mapped.swap_remove(at);
        Ok(true)
    }

    /// Whether [`Device::reset`] can do something.
    pub fn can_reset(&self) -> bool {
        self.inner().can_reset
    }

    /// Resets the function (FLR, or whatever the kernel knows for it) and enables it again. Takes 100 ms, and a minute at most when
    /// it does not come back; whoever touches its BAR meanwhile waits.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn reset(&self) -> Result<(), Error> {
        let open = self.inner();
        let failed = |operation| move |error: io::Error| Error::system(open.address, operation, &error);
        abi::call(&open.device, dpdk_sys::VFIO_DEVICE_RESET, 0).map_err(failed("VFIO_DEVICE_RESET"))?;
        open.command(|command| command | ON).map_err(failed("enabling it in its PCI command register"))
    }

    /// Whether it is there and may be kept. Two loads and a system call.
    pub fn presence(&self) -> Presence {
        let open = self.inner();
        // A register block that begins with all ones is none: NVMe's begins with CAP, which has reserved bits.
        let ones = open.bar0.load_u32(0, Ordering::Relaxed) == u32::MAX;
        if ones || open.bar.guard.has_replaced() {
            Presence::Gone
        } else if open.requested.load(Ordering::Relaxed) || take(&open.request) {
            open.requested.store(true, Ordering::Relaxed);
            Presence::Leaving
        } else {
            Presence::There
        }
    }

    /// Whether the device reported an error that cannot be corrected (PCIe AER) since this was asked last.
    pub fn take_error(&self) -> bool {
        take(&self.inner().error)
    }

    /// Its descriptors.
    pub fn descriptors(&self) -> Descriptors<'_> {
        let open = self.inner();
        Descriptors { container: open.container.as_fd(), group: open.group.as_fd(), device: open.device.as_fd() }
    }
}

impl Device {
    /// Lets go of a device that another process has taken up: it goes on doing what it does.
    pub fn release(mut self) {
        let mut open = self.open.take().expect("open until it is dropped");
        open.released = true;
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            open.claim.is_closing();
            // A thread that cannot be had drops it here, by dropping the closure.
            let _ = std::thread::Builder::new().name("vfio-close".into()).spawn(move || drop(open));
        }
    }
}

/// What is on in a function that is used: memory decoding and DMA; its interrupt line is not.
pub(super) const ON: u16 =
    (dpdk_sys::PCI_COMMAND_MEMORY | dpdk_sys::PCI_COMMAND_MASTER | dpdk_sys::PCI_COMMAND_INTX_DISABLE) as u16;

/// Where vendor, device, subsystem vendor and subsystem id are in configuration space.
pub(super) const IDENTITY: [u64; 4] = [0, 2, 0x2C, 0x2E];

/// An open device. Its fields are dropped in this order: the BAR before the device, the container last.
#[derive(Debug)]
struct Open {
    address: PciAddress,
    identity: [u16; 4],
    can_reset: bool,
    /// Where its PCI command register is in its file.
    command_at: u64,
    /// What it reaches.
    mapped: Mutex<Vec<Arc<Region>>>,
    requested: AtomicBool,
    /// Another process has it.
    released: bool,
    request: OwnedFd,
    error: OwnedFd,
    bar0: Arc<Region>,
    bar: Arc<Bar>,
    device: File,
    group: OwnedFd,
    container: OwnedFd,
    claim: Arc<Claim>,
}

impl Open {
    /// Changes the PCI command register (PCI Local Bus 3.0 §6.2.2).
    fn command(&self, change: impl FnOnce(u16) -> u16) -> io::Result<()> {
        let mut bytes = [0; 2];
        self.device.read_exact_at(&mut bytes, self.command_at)?;
        let command = change(u16::from_le_bytes(bytes));
        self.device.write_all_at(&command.to_le_bytes(), self.command_at)
    }

    /// The device addresses that the IOMMU takes, in words, when `bytes` at `iova` are not among them.
    fn outside(&self, iova: u64, bytes: usize) -> Option<String> {
        let ranges = abi::iova_ranges(&self.container).ok()?;
        let last = iova + (bytes as u64 - 1);
        let inside = ranges.iter().any(|(first, end)| *first <= iova && last <= *end);
        let words = || ranges.iter().map(|(first, end)| format!("{first:#x}-{end:#x}")).collect::<Vec<_>>().join(", ");
        (!ranges.is_empty() && !inside).then(words)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        // Whoever still holds the BAR keeps the kernel from closing the device: it does no more DMA in any case. Neither can be
        // done to a device that has gone, nor need be.
        let _ = self.command(|command| command & !(dpdk_sys::PCI_COMMAND_MASTER as u16));
        for region in self.mapped.get_mut().drain(..) {
            let _ = abi::unmap(&self.container, region.iova(0), pages(region.length()) as u64);
        }
    }
}

/// A mapped BAR.
#[derive(Debug)]
pub(super) struct Bar {
    base: NonNull<u8>,
    /// Bytes of it; the mapping is whole pages.
    length: usize,
    guard: Guard,
    _claim: Option<Arc<Claim>>,
}

// SAFETY: an address and a length; what is there is reached by raw copies and atomics only.
unsafe impl Send for Bar {}
// SAFETY: as above.
unsafe impl Sync for Bar {}

impl Bar {
    /// Maps what can be mapped of it; `claim` is kept as long.
    pub(super) fn map(
        address: PciAddress,
        device: &OwnedFd,
        info: &abi::RegionInfo,
        claim: Option<Arc<Claim>>,
    ) -> Result<Bar, Error> {
        let length = usize::try_from(info.mappable).unwrap_or(0);
        if length < size_of::<u64>() {
            return Err(Error::Bar { address, bytes: info.size, mappable: info.mappable });
        }
        let failed = |operation| move |error: io::Error| Error::system(address, operation, &error);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let offset =
            libc::off_t::try_from(info.offset).map_err(|_| failed("mmap")(io::ErrorKind::InvalidInput.into()))?;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs none that exists.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), pages(length), protection, libc::MAP_SHARED, device.as_raw_fd(), offset)
        };
        if base == libc::MAP_FAILED {
            return Err(failed("mapping BAR 0")(io::Error::last_os_error()));
        }
        let base = NonNull::new(base.cast()).expect("mmap gave null");
        let Some(guard) = Guard::new(base.as_ptr(), pages(length)) else {
            // SAFETY: mapped just above, and nobody has it.
            unsafe { libc::munmap(base.as_ptr().cast(), pages(length)) };
            return Err(failed("guarding BAR 0")(io::Error::other("as many are open as can be")));
        };
        Ok(Bar { base, length, guard, _claim: claim })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Whether it was found gone.
    pub(super) fn has_replaced(&self) -> bool {
        self.guard.has_replaced()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length and no pointer to it outlives its last owner.
        unsafe { libc::munmap(self.base.as_ptr().cast(), pages(self.length)) };
    }
}

/// `bytes`, in whole pages of this machine.
fn pages(bytes: usize) -> usize {
    // SAFETY: a plain call.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    bytes.next_multiple_of(usize::try_from(page).expect("a page has a size"))
}

/// Opens a file of VFIO's.
fn open_file(path: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Why a file of VFIO's does not open.
fn unopened(path: &str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Error::NoVfio(path.to_owned()),
        Some(libc::EACCES | libc::EPERM) => Error::Permission(path.to_owned()),
        _ => Error::system(path, "open", error),
    }
}

fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: a plain call, checked.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just opened, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether an eventfd was signalled since it was asked last.
fn take(eventfd: &OwnedFd) -> bool {
    let mut count = 0_u64;
    // SAFETY: eight bytes of our own.
    unsafe { libc::read(eventfd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) == 8 }
}

/// RLIMIT_MEMLOCK, when there is one.
fn memory_lock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes a struct of our own.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (told == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}
