//! A drive behind a socket, for housekeeping: opened within a second or not at all; registers, memory and reset as commands;
//! doorbells mapped from the server's file or forwarded. vfio-user protocol; NVMe Base 2.0 §3.1.3; PCI Local Bus 3.0 §6.1.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_dma::Region;
use gantry_nvme::{Bar, Device, Registers};
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::register::{self, Cap, Cc};
use parking_lot::Mutex;
use rustix::fs::SealFlags;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::link::Link;
use crate::message::{DeviceInfo, DmaMap, DmaUnmap, RegionInfo, command, device, dma, region};
use crate::regions::RegionLayout;
use crate::shadow::Shadow;
use crate::{Doorbells, Error, Uri};

/// What opening a drive may take.
const OPEN_LIMIT: Duration = Duration::from_secs(1);

/// How old CSTS may be when it is looked at over and over: housekeeping asks for it in each of its rounds.
const STATUS_AGE: Duration = Duration::from_millis(1);

/// Bytes of a BAR that are mapped at most.
const BAR_MAX: u64 = 16 << 20;

/// Doorbells that a mapping must reach, in bytes behind the first: 65 queue pairs without a stride.
const DOORBELLS_MIN: u64 = 65 * 8;

/// A drive that another process emulates.
#[derive(Debug)]
pub struct Drive {
    shared: Arc<Mutex<Shared>>,
    doorbells: Arc<Region>,
    /// All of the BAR, where the server maps its registers too.
    mapped: Option<Arc<Region>>,
    device: Device,
}

/// What registers and housekeeping both use; one thread's.
#[derive(Debug)]
struct Shared {
    link: Link,
    /// Doorbells that have to be forwarded.
    shadow: Option<Shadow>,
    /// Whether CC.EN is 1, as far as was written.
    enabled: bool,
    status: Option<(Instant, u32)>,
}

impl Drive {
    /// Opens the drive that is served on a socket. The controller is left as it is found.
    ///
    /// # Errors
    /// What is wrong with it, after a second at the latest.
    pub fn open(uri: &Uri) -> Result<Drive, Error> {
        let mut link = Link::open(&uri.path, OPEN_LIMIT)?;
        let mut ask = DeviceInfo::new_zeroed();
        ask.argsz = (size_of::<DeviceInfo>() as u32).into();
        let reply = link.call(command::DEVICE_GET_INFO, &[ask.as_bytes()], &[])?;
        let (info, _) =
            DeviceInfo::read_from_prefix(&reply.body).map_err(|_| Error::Protocol("a device without a description"))?;
        if info.flags.get() & device::PCI == 0 || info.regions.get() <= region::CONFIG {
            return Err(Error::NoBar);
        }
        let device = identify(&mut link)?;
        let bar = layout(&mut link, region::BAR0)?;
        let bar_bytes = bar.info.size.get().min(BAR_MAX);
        if bar_bytes <= register::DOORBELLS as u64 {
            return Err(Error::NoBar);
        }
        let (mapped, doorbells) = mapped(&bar, bar_bytes, uri.doorbells);
        let (shadow, doorbells) = match doorbells {
            Some(doorbells) => (None, doorbells),
            None => {
                let mut cap = [0; 8];
                link.read(region::BAR0, register::CAP as u64, &mut cap)?;
                let shadow = Shadow::new(bar_bytes as usize, Cap(u64::from_le_bytes(cap)).dstrd())?;
                let region = shadow.region();
                (Some(shadow), region)
            }
        };
        link.opened();
        let shared = Shared { link, shadow, enabled: false, status: None };
        Ok(Drive { shared: Arc::new(Mutex::new(shared)), doorbells, mapped, device })
    }

    /// Its registers and doorbells.
    #[must_use]
    pub fn bar(&self) -> Bar {
        let registers: Box<dyn Registers> = match &self.mapped {
            Some(bar) => Box::new(Arc::clone(bar)),
            None => Box::new(Remote(Arc::clone(&self.shared))),
        };
        Bar { registers, doorbells: Arc::clone(&self.doorbells), device: self.device }
    }

    /// Whether lcores reach the doorbells themselves; else [`Drive::poll`] forwards them.
    #[must_use]
    pub fn maps_doorbells(&self) -> bool {
        self.shared.lock().shadow.is_none()
    }

    /// Offers a region to the other process, as its file, in whole pages. Each region is mapped once.
    ///
    /// # Errors
    /// [`Error::NoFile`], or that the process refuses or has gone.
    pub fn map(&self, region: Arc<Region>) -> Result<(), Error> {
        let shared = &mut *self.shared.lock();
        let size = region.length().next_multiple_of(PAGE);
        let rights = if region.is_writable() { dma::READ | dma::WRITE } else { dma::READ };
        let map = DmaMap {
            argsz: (size_of::<DmaMap>() as u32).into(),
            flags: rights.into(),
            offset: 0.into(),
            address: region.iova(0).into(),
            size: (size as u64).into(),
        };
        let file = region.fd().ok_or(Error::NoFile)?;
        shared.link.space.map(Arc::clone(&region))?;
        let called = shared.link.call(command::DMA_MAP, &[map.as_bytes()], &[file]);
        if called.is_err() {
            shared.link.space.unmap(&region);
        }
        called.map(drop)
    }

    /// Takes a region back. A process that has gone, or does not answer, has nothing to say about it.
    pub fn unmap(&self, region: &Arc<Region>) {
        let shared = &mut *self.shared.lock();
        if !shared.link.space.unmap(region) {
            return;
        }
        let unmap = DmaUnmap {
            argsz: (size_of::<DmaUnmap>() as u32).into(),
            flags: 0.into(),
            address: region.iova(0).into(),
            size: (region.length().next_multiple_of(PAGE) as u64).into(),
        };
        let _ = shared.link.call(command::DMA_UNMAP, &[unmap.as_bytes()], &[]);
    }

    /// Forwards doorbells, answers what the other process asks, and says whether that process is there; in no time unless
    /// it is gone.
    pub fn poll(&self) -> bool {
        let Shared { link, shadow, enabled, .. } = &mut *self.shared.lock();
        if let Some(shadow) = shadow
            && *enabled
        {
            // Where it fails the link is broken, which is said below.
            let _ = shadow.forward(|at, value| link.post(at, value));
        }
        link.hear();
        link.broken().is_none()
    }

    /// Why the other process counts as gone, if it does.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.shared.lock().link.broken()
    }

    /// Resets the device; whether that was done. What it may reach stays mapped.
    pub fn reset(&self) -> bool {
        let shared = &mut *self.shared.lock();
        shared.enabled = false;
        shared.status = None;
        if let Some(shadow) = &mut shared.shadow {
            shadow.clear();
        }
        // Bus mastering is off after it.
        shared.link.call(command::DEVICE_RESET, &[], &[]).is_ok() && make_master(&mut shared.link).is_ok()
    }
}

impl Drop for Drive {
    /// Whoever still holds registers finds that the drive is gone, and the other process hears that this one has.
    fn drop(&mut self) {
        self.shared.lock().link.close();
    }
}

/// Finds out what the device is, and lets it use memory.
fn identify(link: &mut Link) -> Result<Device, Error> {
    let mut head = [0; 64];
    link.read(region::CONFIG, 0, &mut head)?;
    let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let class = u32::from_le_bytes([head[9], head[10], head[11], 0]);
    if class != 0x01_0802 {
        return Err(Error::Class(class));
    }
    make_master(link)?;
    Ok(Device { vendor: word(0), device: word(2), subsystem_vendor: word(0x2c), subsystem_device: word(0x2e) })
}

/// Command register: memory space and bus master (PCI Local Bus 3.0 §6.2.2).
fn make_master(link: &mut Link) -> Result<(), Error> {
    link.write(region::CONFIG, 4, &6u16.to_le_bytes())
}

/// Asks what of region `index` can be mapped.
fn layout(link: &mut Link, index: u32) -> Result<RegionLayout, Error> {
    let mut room = size_of::<RegionInfo>() as u32;
    // Asked again when it has more to say than there was room for.
    for _ in 0..2 {
        let mut ask = RegionInfo::new_zeroed();
        (ask.argsz, ask.index) = (room.into(), index.into());
        let reply = link.call(command::DEVICE_GET_REGION_INFO, &[ask.as_bytes()], &[])?;
        let wanted = RegionInfo::read_from_prefix(&reply.body).map_or(0, |(info, _)| info.argsz.get());
        if wanted <= room || wanted > 64 << 10 {
            return RegionLayout::parse(reply);
        }
        room = wanted;
    }
    Err(Error::Protocol("a region whose description grows"))
}

/// The mapped BAR, and its doorbells, where the server offers them and the operator's choice allows it. What cannot be mapped
/// after all is forwarded.
fn mapped(bar: &RegionLayout, bar_bytes: u64, choice: Doorbells) -> (Option<Arc<Region>>, Option<Arc<Region>>) {
    let first = register::DOORBELLS as u64;
    for (index, area) in bar.areas.iter().enumerate() {
        let (from, size) = (area.offset.get(), area.size.get());
        let until = from.saturating_add(size).min(bar_bytes);
        let Some((file, offset)) = bar.file(index) else { continue };
        if from > first || until < bar_bytes.min(first + DOORBELLS_MIN) || !may_map(file, choice) {
            continue;
        }
        let whole = from == 0;
        let Ok(region) = Region::behind(from as usize, file, offset, (until - from) as usize) else { continue };
        return (whole.then(|| Arc::clone(&region)), Some(region));
    }
    (None, None)
}

/// Whether a server's file may be mapped: one that it could truncate would end this process with SIGBUS.
fn may_map(file: impl AsFd, choice: Doorbells) -> bool {
    match choice {
        Doorbells::Mapped => true,
        Doorbells::Forwarded => false,
        Doorbells::Safe => {
            let sealed = || rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
            // One that takes seals is given this one.
            sealed() || rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).is_ok() && sealed()
        }
    }
}

/// Registers that the server is asked for.
#[derive(Debug)]
struct Remote(Arc<Mutex<Shared>>);

impl Registers for Remote {
    fn load_u32(&self, offset: usize) -> u32 {
        let shared = &mut *self.0.lock();
        if offset == register::CSTS
            && let Some((since, value)) = shared.status
            && since.elapsed() < STATUS_AGE
            && shared.link.broken().is_none()
        {
            return value;
        }
        let mut bytes = [0; 4];
        let read = shared.link.read(region::BAR0, offset as u64, &mut bytes);
        let value = read.map_or(u32::MAX, |()| u32::from_le_bytes(bytes));
        if offset == register::CSTS {
            shared.status = Some((Instant::now(), value));
        }
        value
    }

    fn store_u32(&self, offset: usize, value: u32) {
        let shared = &mut *self.0.lock();
        shared.status = None;
        if offset == register::CC {
            let enabled = Cc(value).en() == 1;
            if enabled
                && !shared.enabled
                && let Some(shadow) = &mut shared.shadow
            {
                shadow.clear();
            }
            shared.enabled = enabled;
        }
        // What is stored to a drive that is gone is lost.
        let _ = shared.link.write(region::BAR0, offset as u64, &value.to_le_bytes());
    }
}
