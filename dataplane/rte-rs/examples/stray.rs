//! An NVMe controller is told to write where nothing is mapped for it, through the same container as the data plane's drives
//! have. It is for a machine whose IOMMU is to be seen stopping it: `stray 0000:06:00.0` (a drive that nobody uses).
//!
//! NVMe over PCIe 1.0 §3.1 (registers and doorbells), NVMe Base 2.0 §3.5.1 (enabling), §5.17 (Identify).

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use gantry_dma::Region;
use rte_rs::vfio::{Device, Error, PciAddress};

/// Registers.
const CAP: usize = 0x00;
const CC: usize = 0x14;
const CSTS: usize = 0x1c;
const AQA: usize = 0x24;
const ASQ: usize = 0x28;
const ACQ: usize = 0x30;
const DOORBELLS: usize = 0x1000;

/// Pages of the region that is mapped.
const SUBMISSIONS: usize = 0;
const COMPLETIONS: usize = 0x1000;
const DATA: usize = 0x2000;
const CANARY: usize = 0x3000;
const LENGTH: usize = 0x4000;

/// Entries of each admin queue.
const ENTRIES: u32 = 8;

const SQE_BYTES: usize = 64;
const CQE_BYTES: usize = 16;

/// How far behind the region nothing is mapped.
const BEYOND: u64 = 1 << 30;

const PATIENCE: Duration = Duration::from_secs(20);

struct Drive {
    device: Device,
    memory: Arc<Region>,
    stride: usize,
    commands: u16,
}

impl Drive {
    fn open(address: PciAddress) -> Result<Self, String> {
        let device = Device::open(address, Error::NVME).map_err(|error| error.to_string())?;
        let memory = Region::shared(LENGTH).map_err(|error| error.to_string())?;
        device.map(memory.clone()).map_err(|error| error.to_string())?;
        let stride = 4 << (device.bar0().load_u64(CAP, Ordering::Relaxed) >> 32 & 0xf);
        let drive = Self { device, memory, stride, commands: 0 };
        drive.store(CC, 0);
        drive.wait("CSTS.RDY = 0", |drive| drive.load(CSTS) & 1 == 0)?;
        drive.store(AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
        let bar = drive.device.bar0();
        bar.store_u64(ASQ, drive.memory.iova(SUBMISSIONS), Ordering::Relaxed);
        bar.store_u64(ACQ, drive.memory.iova(COMPLETIONS), Ordering::Relaxed);
        // IOCQES 2^4, IOSQES 2^6, enabled.
        drive.store(CC, 4 << 20 | 6 << 16 | 1);
        drive.wait("CSTS.RDY = 1", |drive| drive.load(CSTS) & 1 == 1)?;
        Ok(drive)
    }

    fn load(&self, register: usize) -> u32 {
        self.device.bar0().load_u32(register, Ordering::Acquire)
    }

    fn store(&self, register: usize, value: u32) {
        self.device.bar0().store_u32(register, value, Ordering::Release);
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !is_so(self) {
            if begun.elapsed() > PATIENCE {
                return Err(format!("no {what} after {PATIENCE:?}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Identify Controller to this address; gives the status field of its completion.
    fn identify(&mut self, address: u64) -> Result<u16, String> {
        assert!(u32::from(self.commands) < ENTRIES - 1, "once around the queue is enough");
        let slot = usize::from(self.commands);
        self.commands += 1;
        let mut entry = [0; SQE_BYTES];
        entry[0] = 0x06;
        entry[2..4].copy_from_slice(&self.commands.to_le_bytes());
        entry[24..32].copy_from_slice(&address.to_le_bytes());
        entry[40] = 1;
        self.memory.write(SUBMISSIONS + slot * SQE_BYTES, &entry);
        self.store(DOORBELLS, self.commands.into());
        let status = COMPLETIONS + slot * CQE_BYTES + 14;
        self.wait("completion", |drive| drive.memory.load_u16(status, Ordering::Acquire) & 1 == 1)?;
        self.store(DOORBELLS + self.stride, self.commands.into());
        Ok(self.memory.load_u16(status, Ordering::Acquire) >> 1)
    }

    /// Identify into the region, and whether it came there.
    fn identify_well(&mut self) -> Result<(), String> {
        self.memory.fill(DATA, 0x1000, 0);
        let address = self.memory.iova(DATA);
        let status = self.identify(address)?;
        let mut serial = [0; 20];
        self.memory.read(DATA + 4, &mut serial);
        if status != 0 || serial == [0; 20] {
            return Err(format!("Identify into mapped memory: status {status:#x}, serial {serial:?}"));
        }
        Ok(())
    }
}

fn run(address: &str) -> Result<(), String> {
    let mut drive = Drive::open(address.parse().map_err(|error| format!("{address}: {error}"))?)?;
    drive.memory.fill(CANARY, 0x1000, 0xa5);
    drive.identify_well()?;
    let beyond = drive.memory.iova(0) + BEYOND;
    let status = drive.identify(beyond)?;
    println!("{address} was told to write {beyond:#x}, where nothing is mapped; it said status {status:#x}");
    // It still works, and what was mapped beside is as it was.
    drive.identify_well()?;
    if drive.memory.compare(CANARY, &[0xa5; 0x1000]) {
        Ok(())
    } else {
        Err("mapped memory beside was written".to_owned())
    }
}

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: stray ADDRESS");
        return ExitCode::FAILURE;
    };
    match run(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stray: {error}");
            ExitCode::FAILURE
        }
    }
}
