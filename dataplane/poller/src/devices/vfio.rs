//! `pci:ADDRESS`: a PCIe drive through VFIO, in an IOMMU container of its own (NVMe PCIe Transport 1.0); with `iommu=off` through
//! uio_pci_generic, at physical addresses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use gantry_dma::Region;
use gantry_nvme::{Bar, Registers};
use gantry_pipeline::housekeeping::{Attachment, Presence};
use rte_rs::vfio::{self, Device, PciAddress, UioDevice};

use super::Memory;

/// How often a drive is asked whether it is there: a load across PCIe and a system call.
const ASKED_EVERY: Duration = Duration::from_millis(1);

/// What housekeeping waits for a drive to be opened. A reset by FLR takes 100 ms.
const OPEN_WAIT: Duration = Duration::from_secs(1);

/// What housekeeping waits for a reset. One that takes longer goes on by itself.
const RESET_WAIT: Duration = Duration::from_millis(500);

/// Where doorbells begin (NVMe PCIe Transport 1.0 §3.1.2).
const DOORBELLS: usize = 0x1000;

/// Where CAP's upper half is, whose lowest four bits are DSTRD (NVMe Base 2.0 §3.1.3.1).
const CAP_UPPER: usize = 4;

/// An open function.
enum Function {
    /// Behind an IOMMU.
    Vfio(Device),
    /// With all of the machine's memory before it.
    Uio(UioDevice),
}

impl Function {
    fn open(address: PciAddress, iommu: bool) -> Result<Self, vfio::Error> {
        match iommu {
            true => Device::open(address, vfio::Error::NVME).map(Self::Vfio),
            false => UioDevice::open(address, vfio::Error::NVME).map(Self::Uio),
        }
    }

    fn address(&self) -> PciAddress {
        match self {
            Self::Vfio(device) => device.address(),
            Self::Uio(device) => device.address(),
        }
    }

    fn identity(&self) -> [u16; 4] {
        match self {
            Self::Vfio(device) => device.identity(),
            Self::Uio(device) => device.identity(),
        }
    }

    fn bar0(&self) -> &Arc<Region> {
        match self {
            Self::Vfio(device) => device.bar0(),
            Self::Uio(device) => device.bar0(),
        }
    }

    fn presence(&self) -> vfio::Presence {
        match self {
            Self::Vfio(device) => device.presence(),
            Self::Uio(device) => device.presence(),
        }
    }

    /// Whether it has reported an error. Without VFIO the kernel tells nobody.
    fn take_error(&self) -> bool {
        matches!(self, Self::Vfio(device) if device.take_error())
    }

    fn can_reset(&self) -> bool {
        match self {
            Self::Vfio(device) => device.can_reset(),
            Self::Uio(_) => true,
        }
    }

    fn reset(&self) -> Result<(), vfio::Error> {
        match self {
            Self::Vfio(device) => device.reset(),
            Self::Uio(device) => device.reset(),
        }
    }
}

/// A drive on vfio-pci, or on uio_pci_generic.
pub(super) struct Attached {
    name: String,
    device: Arc<Function>,
    asked: Instant,
    presence: Presence,
    /// A reset that runs, and how it ends.
    reset: Option<Receiver<Result<(), vfio::Error>>>,
    resets: Arc<AtomicBool>,
}

/// The registers of a drive, which are not touched while it is reset: the kernel lets whoever does so wait.
#[derive(Debug)]
struct Answering {
    bar0: Arc<Region>,
    resets: Arc<AtomicBool>,
}

impl Registers for Answering {
    fn load_u32(&self, offset: usize) -> u32 {
        if self.resets.load(Ordering::Acquire) { u32::MAX } else { self.bar0.load_u32(offset) }
    }

    fn store_u32(&self, offset: usize, value: u32) {
        if !self.resets.load(Ordering::Acquire) {
            self.bar0.store_u32(offset, value);
        }
    }
}

/// Drives that the kernel is not done opening.
#[derive(Default)]
pub(super) struct Opening(BTreeMap<PciAddress, Receiver<Result<Function, vfio::Error>>>);

impl Opening {
    /// Opens a drive on a thread: the kernel resets it first, and a drive may take long over that. One that takes longer than
    /// [`OPEN_WAIT`] is had by who asks again.
    fn open(&mut self, address: PciAddress, iommu: bool) -> Result<Function, String> {
        let (end, wait) = match self.0.remove(&address) {
            Some(end) => (end, Duration::ZERO),
            None => {
                let (opened, end) = channel();
                let open = move || drop(opened.send(Function::open(address, iommu)));
                let thread = std::thread::Builder::new().name("vfio-open".into()).spawn(open);
                thread.map_err(|error| format!("{address}: no thread to open it on: {error}"))?;
                (end, OPEN_WAIT)
            }
        };
        match end.recv_timeout(wait) {
            Ok(opened) => opened.map_err(|error| error.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                self.0.insert(address, end);
                Err(format!("{address} is still being opened: the kernel resets it; it is asked for again"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!("{address}: opening it panicked")),
        }
    }
}

/// Opens the drive that stands behind `pci:`, for as many queue pairs as there are `lcores`.
///
/// # Errors
/// A line for the operator.
pub(super) fn open(opening: &mut Opening, name: &str, rest: &str, lcores: usize) -> Result<Attached, String> {
    let Told { address, iommu } = parse(rest)?;
    let device = opening.open(address, iommu)?;
    if !iommu {
        tracing::warn!(
            drive = name,
            %address,
            "no IOMMU: this drive, its firmware, or an address that is wrong can read and write anywhere in the machine's memory"
        );
    }
    // A register of a drive that does not answer reads as all ones: bring-up says so.
    let stride = 4_usize << (device.bar0().load_u32(CAP_UPPER) & 0xF);
    let (needed, found) = (DOORBELLS + 2 * (lcores + 1) * stride, device.bar0().length());
    if needed > found {
        return Err(format!(
            "{address}: the doorbells of {lcores} lcores need {needed} bytes of BAR 0, and {found} can be mapped"
        ));
    }
    Ok(Attached {
        name: name.to_owned(),
        device: Arc::new(device),
        asked: Instant::now(),
        presence: Presence::There,
        reset: None,
        resets: Arc::default(),
    })
}

/// Checks what stands behind `pci:`, without looking whether there is such a drive.
///
/// # Errors
/// A line for the operator.
pub(super) fn check(rest: &str, memory: Memory) -> Result<(), String> {
    let told = parse(rest)?;
    if !told.iommu && memory != Memory::Physical {
        return Err(
            "iommu=off: gantry-dataplane drives it when it is started with --physical-memory; such a drive can \
                    write anywhere in the machine's memory"
                .into(),
        );
    }
    Ok(())
}

/// What stands behind `pci:`.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    address: PciAddress,
    iommu: bool,
}

/// Reads it; its options are known.
fn parse(rest: &str) -> Result<Told, String> {
    let mut parts = rest.split(',');
    let address = parts.next().unwrap_or_default().parse().map_err(|error: vfio::Error| error.to_string())?;
    let mut iommu = true;
    for option in parts {
        match option {
            // Read by housekeeping.
            "sgl=off" => {}
            "iommu=off" => iommu = false,
            option => {
                let option = option.escape_default();
                return Err(format!("'{option}' is no option of a PCIe drive: `sgl=off` and `iommu=off` are"));
            }
        }
    }
    Ok(Told { address, iommu })
}

impl Attached {
    /// How the reset that runs has ended, if it has within `wait`.
    fn reset_ended(&mut self, wait: Duration) -> Option<bool> {
        let ended = match self.reset.as_ref()?.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => return None,
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(drive = self.name, %error, "reset failed");
                false
            }
            Err(RecvTimeoutError::Disconnected) => false,
        };
        self.reset = None;
        self.resets.store(false, Ordering::Release);
        Some(ended)
    }
}

impl Attachment for Attached {
    fn bar(&self) -> Bar {
        let [vendor, device, subsystem_vendor, subsystem_device] = self.device.identity();
        let device = gantry_nvme::Device { vendor, device, subsystem_vendor, subsystem_device };
        let bar0 = Arc::clone(self.device.bar0());
        let registers = Answering { bar0: Arc::clone(&bar0), resets: Arc::clone(&self.resets) };
        Bar { registers: Box::new(registers), doorbells: bar0, device }
    }

    fn map(&self, region: Arc<Region>) -> Result<(), String> {
        match &*self.device {
            Function::Vfio(device) => device.map(region),
            Function::Uio(device) => device.map(region),
        }
        .map_err(|error| error.to_string())
    }

    fn unmap(&self, region: &Arc<Region>) {
        match &*self.device {
            // What a drive may still write is never handed out again, so there is no going on.
            Function::Vfio(device) => {
                device.unmap(region).unwrap_or_else(|error| panic!("drive {}: {error}", self.name))
            }
            Function::Uio(device) => device.unmap(region),
        };
    }

    fn set_dma(&self, on: bool) -> Result<(), String> {
        match &*self.device {
            Function::Vfio(_) => Ok(()),
            Function::Uio(device) => device.set_dma(on).map_err(|error| error.to_string()),
        }
    }

    fn poll(&mut self) -> Presence {
        if self.asked.elapsed() < ASKED_EVERY || (self.reset.is_some() && self.reset_ended(Duration::ZERO).is_none()) {
            return self.presence;
        }
        self.asked = Instant::now();
        if self.device.take_error() {
            tracing::error!(drive = self.name, address = %self.device.address(), "PCIe reports an error of the drive's");
        }
        let presence = match self.device.presence() {
            vfio::Presence::There => Presence::There,
            vfio::Presence::Leaving => Presence::Leaving,
            vfio::Presence::Gone => Presence::Gone,
        };
        if presence != self.presence {
            tracing::warn!(drive = self.name, address = %self.device.address(), ?presence, "drive");
            self.presence = presence;
        }
        presence
    }

    fn reset(&mut self) -> bool {
        if self.reset.is_none() {
            if !self.device.can_reset() {
                return false;
            }
            let (device, (ended, end)) = (Arc::clone(&self.device), channel());
            let reset = move || drop(ended.send(device.reset()));
            self.resets.store(true, Ordering::Release);
            if std::thread::Builder::new().name("vfio-reset".into()).spawn(reset).is_err() {
                self.resets.store(false, Ordering::Release);
                return false;
            }
            self.reset = Some(end);
        }
        self.reset_ended(RESET_WAIT).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_pci_is_an_address_and_options() {
        let told = |text: &str, iommu| Told { address: text.parse().unwrap(), iommu };
        assert_eq!(parse("0000:01:00.0"), Ok(told("0000:01:00.0", true)));
        assert_eq!(parse("01:00.0,sgl=off"), Ok(told("0000:01:00.0", true)));
        assert_eq!(parse("01:00.0,sgl=off,iommu=off"), Ok(told("0000:01:00.0", false)));
        let refused = |rest| parse(rest).unwrap_err();
        assert_eq!(refused("nvme0"), "'nvme0' is no PCI address: write it as 0000:01:00.0");
        assert_eq!(refused("01:00.0,size=4"), "'size=4' is no option of a PCIe drive: `sgl=off` and `iommu=off` are");
        assert!(refused("01:00.0,iommu=on").starts_with("'iommu=on' is no option"));
    }

    #[test]
    fn without_an_iommu_only_who_says_so_twice() {
        let refused = check("01:00.0,iommu=off", Memory::Shared { huge: false }).unwrap_err();
        assert!(refused.contains("--physical-memory") && refused.lines().count() == 1, "{refused}");
        assert_eq!(check("01:00.0,iommu=off", Memory::Physical), Ok(()));
        assert_eq!(check("01:00.0", Memory::Shared { huge: false }), Ok(()));
        let refused = open(&mut Opening::default(), "d0", "ffff:ff:1f.7,iommu=off", 1).err().unwrap();
        assert!(refused.starts_with("there is no PCI device ffff:ff:1f.7"), "{refused}");
    }

    #[test]
    fn a_drive_that_is_not_there_is_refused_with_one_line() {
        let refused = open(&mut Opening::default(), "d0", "ffff:ff:1f.7", 1).err().unwrap();
        let line = "there is no PCI device ffff:ff:1f.7: `gantryctl drive list` shows those there are";
        assert_eq!(refused, line);
    }
}
