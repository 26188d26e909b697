//! A PCI function without an IOMMU, on uio_pci_generic: its BAR and configuration space from sysfs, its driver's file held open
//! (Linux Documentation/PCI/sysfs-pci.rst, driver-api/uio-howto.rst). It reaches all of the machine's memory while its bus mastering is
//! on, and none while it is off: that bit (PCI Local Bus 3.0 §6.2.2) is what an IOMMU's mappings are to a [`Device`](super::Device).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gantry_dma::Region;
use parking_lot::Mutex;

use super::device::{Bar, IDENTITY, ON, Presence};
use super::physical::is_physical;
use super::{Error, PciAddress, abi, sysfs};

const COMMAND: u64 = dpdk_sys::PCI_COMMAND as u64;
const MASTER: u16 = dpdk_sys::PCI_COMMAND_MASTER as u16;

/// A PCI function that no IOMMU stands behind. Its bus mastering is off until [`UioDevice::set_dma`] turns it on.
///
/// Dropping it turns bus mastering off; so does the kernel when the process ends, however it ends.
#[derive(Debug)]
pub struct UioDevice {
    address: PciAddress,
    identity: [u16; 4],
    folder: PathBuf,
    /// The driver's place in sysfs: gone when the driver has let go of the function.
    node: PathBuf,
    /// Locked: the claim.
    config: File,
    bar0: Arc<Region>,
    bar: Arc<Bar>,
    mapped: Mutex<Vec<Arc<Region>>>,
    dma: Mutex<Dma>,
    /// Held open: the kernel turns bus mastering off when it is closed.
    _uio: File,
}

/// Its bus mastering.
#[derive(Debug)]
struct Dma {
    wanted: bool,
    /// It is being reset, with bus mastering off; configuration space cannot be had meanwhile.
    resets: bool,
}

impl UioDevice {
    /// Opens the function at `address`, which is to be of class `class` and on uio_pci_generic: reset, its memory decoding on, its bus
    /// mastering off. Takes as long as the reset.
    ///
    /// # Errors
    /// Each of [`Error`]'s that is not of VFIO.
    pub fn open(address: PciAddress, class: u32) -> Result<UioDevice, Error> {
        Self::open_in(Path::new("/sys"), Path::new("/dev"), address, class)
    }

    fn open_in(sysfs: &Path, dev: &Path, address: PciAddress, class: u32) -> Result<UioDevice, Error> {
        let sysfs::Uio { folder, name } = sysfs::uio(sysfs, address, class)?;
        let failed = |operation| move |error: io::Error| Error::system(address, operation, &error);
        let (node, device) = (folder.join("uio").join(&name), dev.join(&name));
        let open = |path: &Path| {
            File::options().read(true).write(true).open(path).map_err(|error| match error.raw_os_error() {
                Some(libc::EACCES | libc::EPERM) => Error::Permission(path.display().to_string()),
                _ => Error::system(path.display(), "open", &error),
            })
        };
        // The claim is of its configuration space: whoever closes the driver's file turns bus mastering off, its user's too.
        let config = open(&folder.join("config"))?;
        // SAFETY: a plain call on a descriptor that is open.
        if unsafe { libc::flock(config.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let holder = sysfs::holder(Path::new("/proc"), &device);
            return Err(Error::Taken { address, file: device.display().to_string(), holder });
        }
        let uio = open(&device)?;
        // What it did for somebody before must not go on when bus mastering is on again.
        change(&config, |command| command & !MASTER).map_err(failed("turning its bus mastering off"))?;
        write_reset(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoReset(address),
            _ => Error::system(address, "resetting it", &error),
        })?;
        change(&config, |command| command & !MASTER | ON & !MASTER).map_err(failed("enabling it"))?;

        let file = open(&folder.join("resource0"))?;
        let size = file.metadata().map_err(failed("reading the length of BAR 0"))?.len();
        let info = abi::RegionInfo { offset: 0, size, mappable: size };
        let bar = Arc::new(Bar::map(address, &file.into(), &info, None)?);
        // SAFETY: the mapping is readable and writable for its length until the last clone of `bar` is dropped, whatever becomes
        // of the device: a load that fails gives all ones.
        let bar0 = unsafe { Region::from_raw(bar.base(), bar.length(), 0, Box::new(bar.clone())) };
        let mut identity = [0; 4];
        for (id, at) in identity.iter_mut().zip(IDENTITY) {
            *id = word(&config, at).map_err(failed("reading its configuration space"))?;
        }
        let dma = Mutex::new(Dma { wanted: false, resets: false });
        Ok(UioDevice { address, identity, folder, node, config, bar0, bar, mapped: Mutex::default(), dma, _uio: uio })
    }

    /// Where it is.
    pub fn address(&self) -> PciAddress {
        self.address
    }

    /// Vendor, device, subsystem vendor and subsystem id, as they were when it was opened.
    pub fn identity(&self) -> [u16; 4] {
        self.identity
    }

    /// BAR 0. It stays readable and writable when the device is no longer there: it reads all ones then.
    pub fn bar0(&self) -> &Arc<Region> {
        &self.bar0
    }

    /// Keeps `region` for the device. Nothing keeps the device from other memory.
    ///
    /// # Errors
    /// [`Error::NotPhysical`] for memory of another kind than [`physical_memory`](super::physical_memory)'s; [`Error::Overlap`].
    pub fn map(&self, region: Arc<Region>) -> Result<(), Error> {
        let (iova, bytes) = (region.iova(0), region.length());
        if !is_physical(&region) {
            return Err(Error::NotPhysical(self.address));
        }
        let mut mapped = self.mapped.lock();
        if mapped.iter().any(|other| other.iova(0) == iova) {
            return Err(Error::Overlap { address: self.address, iova, bytes });
        }
        mapped.push(region);
        Ok(())
    }

    /// Lets go of `region`; whether it was kept. The device reaches it still, unless its bus mastering is off or it has been told to
    /// stop and has confirmed it.
    pub fn unmap(&self, region: &Arc<Region>) -> bool {
        let mut mapped = self.mapped.lock();
        let at = mapped.iter().position(|other| other.iova(0) == region.iova(0));
        at.map(|at| mapped.swap_remove(at)).is_some()
    }

    /// Turns the device's bus mastering on or off: with it, all of its DMA. When this returns, what it had written before has arrived.
    /// Does not wait for a reset that runs.
    ///
    /// # Errors
    /// [`Error::System`]: it is not so. A device that is no longer there does no DMA.
    pub fn set_dma(&self, on: bool) -> Result<(), Error> {
        let mut dma = self.dma.lock();
        dma.wanted = on;
        if dma.resets { Ok(()) } else { self.set_master(on) }
    }

    fn set_master(&self, on: bool) -> Result<(), Error> {
        let done = change(&self.config, |command| if on { command | ON } else { command & !MASTER });
        match done {
            // Read back: behind all that it had posted.
            Ok(()) => match word(&self.config, COMMAND) {
                Ok(command) if command == u16::MAX || (command & MASTER != 0) == on => Ok(()),
                Ok(_) => Err(io::Error::other("the device does not take it")),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
        .or_else(|error| if on || self.folder.exists() { Err(error) } else { Ok(()) })
        .map_err(|error| Error::system(self.address, "changing its PCI command register", &error))
    }

    /// Resets the function. Its bus mastering is off meanwhile, and afterwards as [`UioDevice::set_dma`] was last told. Takes 100 ms, and a
    /// minute at most when it does not come back.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn reset(&self) -> Result<(), Error> {
        {
            // Off before: the kernel puts back what it finds.
            let mut dma = self.dma.lock();
            self.set_master(false)?;
            dma.resets = true;
        }
        let reset = write_reset(&self.folder);
        let mut dma = self.dma.lock();
        dma.resets = false;
        reset.map_err(|error| Error::system(self.address, "resetting it", &error))?;
        if dma.wanted { self.set_master(true) } else { Ok(()) }
    }

    /// Whether it is there and may be kept. Two loads and two system calls.
    pub fn presence(&self) -> Presence {
        let ones = self.bar0.load_u32(0, Ordering::Relaxed) == u32::MAX;
        if ones || self.bar.has_replaced() || !self.folder.exists() {
            Presence::Gone
        } else if !self.node.exists() {
            // Unbound from its driver, which does not wait for us.
            Presence::Leaving
        } else {
            Presence::There
        }
    }
}

impl Drop for UioDevice {
    fn drop(&mut self) {
        // What another driver has by now is that driver's.
        if self.node.exists() {
            let _ = self.set_dma(false);
        }
    }
}

/// Has the kernel reset the function, by whichever way it knows for it (FLR first).
fn write_reset(folder: &Path) -> io::Result<()> {
    File::options().write(true).open(folder.join("reset"))?.write_all(b"1")
}

/// Two bytes of configuration space.
fn word(config: &File, at: u64) -> io::Result<u16> {
    let mut bytes = [0; 2];
    config.read_exact_at(&mut bytes, at)?;
    Ok(u16::from_le_bytes(bytes))
}

/// Changes the PCI command register.
fn change(config: &File, change: impl FnOnce(u16) -> u16) -> io::Result<()> {
    let command = change(word(config, COMMAND)?);
    config.write_all_at(&command.to_le_bytes(), COMMAND)
}

#[cfg(test)]
mod tests {
    use super::super::physical::pretend;
    use super::super::sysfs::tests::Tree;
    use super::*;
    use std::fs;

    const DRIVE: &str = "0000:01:00.0";

    fn address() -> PciAddress {
        DRIVE.parse().unwrap()
    }

    /// A function on uio_pci_generic as uio3, with bus mastering left on.
    fn tree() -> (Tree, PathBuf) {
        let tree = Tree::new();
        tree.function(DRIVE, "0x010802", Some("uio_pci_generic"), None);
        let folder = tree.root().join("bus/pci/devices").join(DRIVE);
        fs::create_dir_all(folder.join("uio/uio3")).unwrap();
        let mut config = [0; 64];
        config[..4].copy_from_slice(&[0x36, 0x1B, 0x10, 0]);
        config[4] = MASTER as u8;
        fs::write(folder.join("config"), config).unwrap();
        fs::write(folder.join("reset"), "").unwrap();
        fs::write(folder.join("resource0"), [0; 16384]).unwrap();
        fs::write(tree.root().join("uio3"), "").unwrap();
        (tree, folder)
    }

    fn open(tree: &Tree) -> Result<UioDevice, Error> {
        UioDevice::open_in(tree.root(), tree.root(), address(), Error::NVME)
    }

    fn command(folder: &Path) -> u16 {
        word(&File::open(folder.join("config")).unwrap(), COMMAND).unwrap()
    }

    #[test]
    fn its_dma_is_on_only_when_it_is_told_so() {
        let (tree, folder) = tree();
        let device = open(&tree).unwrap();
        assert_eq!((device.identity()[..2].to_vec(), device.bar0().length()), (vec![0x1B36, 0x10], 16384));
        assert_eq!(fs::read_to_string(folder.join("reset")).unwrap(), "1", "reset before anything else");
        assert_eq!(command(&folder), ON & !MASTER);
        device.set_dma(true).unwrap();
        assert_eq!(command(&folder), ON);
        device.reset().unwrap();
        assert_eq!(command(&folder), ON, "as before");
        device.set_dma(false).unwrap();
        device.reset().unwrap();
        assert_eq!(command(&folder), ON & !MASTER, "a reset does not turn it on again");
        device.set_dma(true).unwrap();
        drop(device);
        assert_eq!(command(&folder), ON & !MASTER);
        open(&tree).unwrap();
    }

    #[test]
    fn one_that_is_cut_off_while_it_is_reset_stays_so() {
        let (tree, folder) = tree();
        let device = open(&tree).unwrap();
        device.set_dma(true).unwrap();
        device.set_master(false).unwrap();
        device.dma.lock().resets = true;
        // Configuration space is not touched while the kernel keeps it.
        let before = fs::read(folder.join("config")).unwrap();
        device.set_dma(false).unwrap();
        device.set_dma(true).unwrap();
        assert_eq!(fs::read(folder.join("config")).unwrap(), before);
        device.set_dma(false).unwrap();
        device.dma.lock().resets = false;
        device.reset().unwrap();
        assert_eq!(command(&folder), ON & !MASTER);
    }

    #[test]
    fn memory_that_is_not_physical_is_refused() {
        let (tree, _) = tree();
        let device = open(&tree).unwrap();
        let shared = Region::shared(4096).unwrap();
        let refused = device.map(shared.clone()).unwrap_err().to_string();
        let line =
            "0000:01:00.0 has no IOMMU and reaches physical memory only: run gantry-dataplane with --physical-memory";
        assert_eq!(refused, line);
        pretend(&shared);
        device.map(shared.clone()).unwrap();
        assert!(matches!(device.map(shared.clone()), Err(Error::Overlap { .. })));
        assert!(device.unmap(&shared) && !device.unmap(&shared));
    }

    #[test]
    fn it_is_one_owners() {
        let (tree, _) = tree();
        let _device = open(&tree).unwrap();
        let refused = open(&tree).unwrap_err().to_string();
        assert!(refused.starts_with("0000:01:00.0 (") && refused.contains("uio3) is held by"), "{refused}");
    }

    #[test]
    fn it_leaves_with_its_driver_and_is_gone_with_its_folder() {
        let (tree, folder) = tree();
        let device = open(&tree).unwrap();
        device.set_dma(true).unwrap();
        assert_eq!(device.presence(), Presence::There);
        fs::remove_dir_all(folder.join("uio")).unwrap();
        assert_eq!(device.presence(), Presence::Leaving);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(device.presence(), Presence::Gone);
        drop(device);
        let (tree, _) = self::tree();
        let device = open(&tree).unwrap();
        device.bar0().store_u32(0, u32::MAX, Ordering::Relaxed);
        assert_eq!(device.presence(), Presence::Gone);
    }

    #[test]
    fn what_stands_in_the_way_is_named_with_its_remedy() {
        let refused = |tree: &Tree| open(tree).unwrap_err().to_string();
        let tree = Tree::new();
        tree.function(DRIVE, "0x010802", Some("nvme"), None);
        let line = "0000:01:00.0 is bound to the driver nvme: `gantryctl drive bind 0000:01:00.0 --without-iommu` gives it to \
                    uio_pci_generic";
        assert_eq!(refused(&tree), line);
        let tree = Tree::new();
        tree.function(DRIVE, "0x010802", Some("uio_pci_generic"), Some(4));
        let line = "0000:01:00.0 has an IOMMU (group 4): leave iommu=off out, and `gantryctl drive bind 0000:01:00.0`";
        assert_eq!(refused(&tree), line);
        let (tree, folder) = self::tree();
        fs::remove_file(folder.join("reset")).unwrap();
        assert!(refused(&tree).starts_with("0000:01:00.0 cannot be reset by the kernel"), "{}", refused(&tree));
        assert_eq!(command(&folder) & MASTER, 0);
        fs::remove_dir_all(folder.join("uio")).unwrap();
        assert!(refused(&tree).contains("uio_pci_generic has made no file for it"), "{}", refused(&tree));
    }
}
