//! NVMe drives through VFIO, by hand: each in a container of its own. Identify, a block written and read back, a DMA outside of what
//! is mapped, a function reset, a second process that takes the first drive over, and who asks for a drive back.
//!
//! `drive ADDRESS... [watch SECONDS]`; it writes to the last block of each drive's first namespace, and needs vfio-pci to have them.
//! `drive without-iommu ADDRESS [watch SECONDS]` does what can be done to one that uio_pci_generic has.

use std::error::Error;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gantry_dma::Region;
use rte_rs::vfio::{self, Device, PciAddress, Presence, UioDevice, physical_memory};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of a queue, and of a buffer.
const PAGE: usize = 4096;

/// Admin queues, I/O queues, and a buffer behind them.
const MEMORY: usize = 5 * PAGE;
const BUFFER: usize = 4 * PAGE;

/// Where vfio-pci keeps configuration space in a device's file: region 7.
const CONFIG: u64 = 7 << 40;

/// More than a hugepage, and than some of them.
const LONG: usize = 16 << 20;

/// Entries of each queue.
const ENTRIES: usize = 16;

/// Registers (NVMe Base 2.0 §3.1.3).
const CC: usize = 0x14;
const CSTS: usize = 0x1C;
const AQA: usize = 0x24;
const ASQ: usize = 0x28;
const ACQ: usize = 0x30;

/// A queue pair: 0 is the admin's.
#[derive(Default)]
struct Queue {
    qid: usize,
    tail: usize,
    head: usize,
    phase: u16,
}

/// A function, behind an IOMMU or not.
trait Function {
    fn bar0(&self) -> &Region;
    fn address(&self) -> PciAddress;
}

impl Function for Device {
    fn bar0(&self) -> &Region {
        Device::bar0(self)
    }

    fn address(&self) -> PciAddress {
        Device::address(self)
    }
}

impl Function for UioDevice {
    fn bar0(&self) -> &Region {
        UioDevice::bar0(self)
    }

    fn address(&self) -> PciAddress {
        UioDevice::address(self)
    }
}

/// A drive, its queues and a page for data.
struct Drive<F = Device> {
    device: F,
    memory: Arc<Region>,
    stride: usize,
    queues: [Queue; 2],
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, rest @ ..] = &arguments[..]
        && word == "successor"
    {
        return succeed(rest);
    }
    if let [word, address, rest @ ..] = &arguments[..]
        && word == "without-iommu"
    {
        let seconds = rest.get(1).map_or(Ok(0), |seconds| seconds.parse())?;
        return without_iommu(address.parse()?, Duration::from_secs(seconds));
    }
    let (addresses, watched) = match arguments.iter().position(|argument| argument == "watch") {
        Some(at) => (&arguments[..at], arguments.get(at + 1).map_or(Ok(10), |seconds| seconds.parse())?),
        None => (&arguments[..], 0),
    };
    let mut drives = Vec::new();
    for address in addresses {
        let device = Device::open(address.parse()?, vfio::Error::NVME)?;
        println!("{address}: open, {:x?}, {:#x} bytes of BAR 0", device.identity(), device.bar0().length());
        let memory = Region::shared(MEMORY)?;
        device.map(memory.clone())?;
        assert!(matches!(device.map(memory.clone()), Err(vfio::Error::Overlap { .. })), "mapped twice");
        let stride = 4 << (device.bar0().load_u32(4, Ordering::Relaxed) & 0xF);
        drives.push(Drive { device, memory, stride, queues: Default::default() });
    }
    // All at once, so that a drive that could reach another's memory would.
    for drive in &mut drives {
        drive.enable()?;
        drive.identify()?;
    }
    for (number, drive) in drives.iter_mut().enumerate() {
        drive.write_and_read(number as u8 + 1)?;
    }
    if !drives.is_empty() {
        let mut first = drives.remove(0);
        first.outside()?;
        first.reset()?;
        drives.insert(0, first.hand_over()?);
    }
    if let Some(last) = drives.pop() {
        drives.push(last.power_off()?);
    }
    println!("watching {} drives", drives.len());
    let until = Instant::now() + Duration::from_secs(watched);
    while Instant::now() < until && !drives.is_empty() {
        drives.retain(|drive| {
            let presence = drive.device.presence();
            if presence != Presence::There {
                println!("{}: {presence:?}", drive.device.address());
            }
            presence == Presence::There
        });
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A drive that sees physical addresses: its I/O, a region of many hugepages, its bus mastering off and on, a reset.
fn without_iommu(address: PciAddress, watched: Duration) -> Outcome<()> {
    let device = UioDevice::open(address, vfio::Error::NVME)?;
    println!("{address}: open, {:x?}, {:#x} bytes of BAR 0", device.identity(), device.bar0().length());
    assert!(matches!(device.map(Region::shared(PAGE)?), Err(vfio::Error::NotPhysical(_))), "any memory was taken");
    let memory = physical_memory(MEMORY)?;
    device.map(memory.clone())?;
    device.set_dma(true)?;
    let stride = 4 << (device.bar0().load_u32(4, Ordering::Relaxed) & 0xF);
    let mut drive = Drive { device, memory, stride, queues: Default::default() };
    drive.enable()?;
    drive.identify()?;
    drive.write_and_read(0xA5)?;

    let long = physical_memory(LONG)?;
    drive.device.map(long.clone())?;
    let last = drive.blocks()? - 1;
    let lba = [last as u32, (last >> 32) as u32, 0];
    for offset in (0..LONG).step_by(LONG / 64) {
        drive.command(1, 0x02, 1, long.iova(offset), lba)?;
        assert!(long.compare(offset, &[0xA5; 512]), "{address}: what it wrote at {offset:#x} is elsewhere");
    }
    println!("{address}: wrote all over {LONG} bytes from {:#x} on", long.iova(0));

    drive.device.set_dma(false)?;
    long.fill(0, PAGE, 0x5A);
    let queues = [0, 1].map(|queue| Queue { ..drive.queues[queue] });
    drive.submit(1, 0x02, 1, long.iova(0), lba);
    sleep(Duration::from_millis(500));
    assert!(long.compare(0, &[0x5A; PAGE]), "{address}: wrote to memory without bus mastering");
    drive.queues = queues;
    println!("{address}: a read without bus mastering touched nothing, CSTS {:#x}", drive.load(CSTS));
    let begun = Instant::now();
    drive.device.reset()?;
    println!("{address}: reset in {:?}, CC {:#x}", begun.elapsed(), drive.load(CC));
    drive.device.set_dma(true)?;
    drive.enable()?;
    drive.write_and_read(0xC6)?;
    assert!(drive.device.unmap(&long));

    println!("watching {address}");
    let until = Instant::now() + watched;
    while Instant::now() < until {
        let presence = drive.device.presence();
        if presence != Presence::There {
            println!("{address}: {presence:?}");
            break;
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

impl<F: Function> Drive<F> {
    fn load(&self, offset: usize) -> u32 {
        self.device.bar0().load_u32(offset, Ordering::Acquire)
    }

    fn store(&self, offset: usize, value: u32) {
        self.device.bar0().store_u32(offset, value, Ordering::Release);
    }

    fn store_wide(&self, offset: usize, value: u64) {
        self.store(offset, value as u32);
        self.store(offset + 4, (value >> 32) as u32);
    }

    fn wait_ready(&self, ready: u32) -> Outcome<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while self.load(CSTS) & 1 != ready {
            if Instant::now() > until {
                return Err(format!("CSTS stays {:#x}", self.load(CSTS)).into());
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// From reset to an I/O queue.
    fn enable(&mut self) -> Outcome<()> {
        self.store(CC, 0);
        self.wait_ready(0)?;
        self.memory.fill(0, MEMORY, 0);
        self.queues = [0, 1].map(|qid| Queue { qid, phase: 1, ..Queue::default() });
        self.store(AQA, (ENTRIES as u32 - 1) << 16 | (ENTRIES as u32 - 1));
        self.store_wide(ASQ, self.memory.iova(0));
        self.store_wide(ACQ, self.memory.iova(PAGE));
        // Entries of 64 and 16 bytes.
        self.store(CC, 4 << 20 | 6 << 16 | 1);
        self.wait_ready(1)?;
        let size = (ENTRIES as u32 - 1) << 16 | 1;
        self.command(0, 0x05, 0, self.memory.iova(3 * PAGE), [size, 1, 0])?;
        self.command(0, 0x01, 0, self.memory.iova(2 * PAGE), [size, 1 << 16 | 1, 0])?;
        Ok(())
    }

    /// Gives the drive one command; where the queue's doorbells are.
    fn submit(&mut self, queue: usize, opcode: u32, nsid: u32, data: u64, dwords: [u32; 3]) -> usize {
        let sq = 2 * queue * PAGE;
        let Queue { qid, tail, .. } = &mut self.queues[queue];
        let mut sqe = [0_u32; 16];
        sqe[0] = opcode | (*tail as u32) << 16;
        sqe[1] = nsid;
        [sqe[6], sqe[7]] = [data as u32, (data >> 32) as u32];
        sqe[10..13].copy_from_slice(&dwords);
        for (at, word) in sqe.iter().enumerate() {
            self.memory.store_u32(sq + *tail * 64 + at * 4, *word, Ordering::Relaxed);
        }
        *tail = (*tail + 1) % ENTRIES;
        fence(Ordering::SeqCst);
        let doorbell = 0x1000 + 2 * *qid * self.stride;
        self.device.bar0().store_u32(doorbell, *tail as u32, Ordering::Release);
        doorbell
    }

    /// Runs one command and waits for it; its status when it is not 0.
    fn command(&mut self, queue: usize, opcode: u32, nsid: u32, data: u64, dwords: [u32; 3]) -> Outcome<()> {
        let doorbell = self.submit(queue, opcode, nsid, data, dwords);
        let cq = (2 * queue + 1) * PAGE;
        let Queue { head, phase, .. } = &mut self.queues[queue];
        let until = Instant::now() + Duration::from_secs(20);
        let status = loop {
            let status = self.memory.load_u16(cq + *head * 16 + 14, Ordering::Acquire);
            if status & 1 == *phase {
                break status >> 1;
            }
            if Instant::now() > until {
                return Err(format!("opcode {opcode:#x} has no answer").into());
            }
        };
        *head = (*head + 1) % ENTRIES;
        *phase ^= u16::from(*head == 0);
        self.device.bar0().store_u32(doorbell + self.stride, *head as u32, Ordering::Release);
        if status == 0 { Ok(()) } else { Err(format!("opcode {opcode:#x} has status {status:#x}").into()) }
    }

    fn identify(&mut self) -> Outcome<()> {
        self.command(0, 0x06, 0, self.memory.iova(BUFFER), [1, 0, 0])?;
        let mut text = [0; 60];
        self.memory.read(BUFFER + 4, &mut text);
        println!("{}: {}", self.device.address(), String::from_utf8_lossy(&text).trim());
        Ok(())
    }

    /// Blocks of the first namespace.
    fn blocks(&mut self) -> Outcome<u64> {
        self.command(0, 0x06, 1, self.memory.iova(BUFFER), [0; 3])?;
        Ok(self.memory.load_u64(BUFFER, Ordering::Relaxed))
    }

    fn write_and_read(&mut self, byte: u8) -> Outcome<()> {
        let last = self.blocks()? - 1;
        let (at, lba) = (self.memory.iova(BUFFER), [last as u32, (last >> 32) as u32, 0]);
        self.memory.fill(BUFFER, 512, byte);
        self.command(1, 0x01, 1, at, lba)?;
        self.memory.fill(BUFFER, 512, 0);
        self.command(1, 0x02, 1, at, lba)?;
        assert!(self.memory.compare(BUFFER, &[byte; 512]), "{}: read back other bytes", self.device.address());
        println!("{}: block {last} written and read", self.device.address());
        Ok(())
    }
}

impl Drive {
    /// A read into memory that the drive was given and that was taken away again. Only the IOMMU stands between.
    fn outside(&mut self) -> Outcome<()> {
        let other = Region::shared(PAGE)?;
        other.fill(0, PAGE, 0x5A);
        self.device.map(other.clone())?;
        self.command(1, 0x02, 1, other.iova(0), [0; 3])?;
        assert!(!other.compare(0, &[0x5A; 512]), "the read went elsewhere");
        assert!(self.device.unmap(&other)? && !self.device.unmap(&other)?, "unmapped once");
        other.fill(0, PAGE, 0x5A);
        let outcome = self.command(1, 0x02, 1, other.iova(0), [0; 3]);
        assert!(other.compare(0, &[0x5A; PAGE]), "the drive wrote to memory that was taken away");
        println!("{}: a read into unmapped memory touched nothing and ended {outcome:?}", self.device.address());
        Ok(())
    }

    fn reset(&mut self) -> Outcome<()> {
        let begun = Instant::now();
        self.device.reset()?;
        println!("{}: reset in {:?}, CC {:#x}", self.device.address(), begun.elapsed(), self.load(CC));
        self.enable()?;
        self.identify()
    }

    /// Puts the function into D3hot, where the kernel takes its BAR's mapping away; then closes it and opens it again.
    fn power_off(self) -> Outcome<Drive> {
        let Drive { device, memory, stride, queues } = self;
        let address = device.address();
        let file = File::from(device.descriptors().device.try_clone_to_owned()?);
        let byte = |at: u64| -> Outcome<u64> {
            let mut byte = [0];
            file.read_exact_at(&mut byte, CONFIG + at)?;
            Ok(byte[0].into())
        };
        // The chain of capabilities (PCI Local Bus 3.0 §6.7) to power management's, id 1, with PMCSR in its second half.
        let mut at = byte(0x34)?;
        while at != 0 && byte(at)? != 1 {
            at = byte(at + 1)?;
        }
        if at == 0 {
            println!("{address}: has no power states");
        } else {
            file.write_all_at(&[3, 0], CONFIG + at + 4)?;
            device.bar0().store_u32(0x1000, 0, Ordering::Release);
            println!(
                "{address}: without power it is {:?}, CSTS {:#x}",
                device.presence(),
                device.bar0().load_u32(CSTS, Ordering::Acquire)
            );
        }
        drop((file, device));
        let begun = Instant::now();
        let device = Device::open(address, vfio::Error::NVME)?;
        println!("{address}: closed and open again after {:?}", begun.elapsed());
        device.map(memory.clone())?;
        let mut drive = Drive { device, memory, stride, queues };
        drive.enable()?;
        drive.write_and_read(0xD3)?;
        Ok(drive)
    }

    /// Lets another process, which has nothing but descriptors, use the drive as it runs; and takes it back by the same way.
    fn hand_over(self) -> Outcome<Drive> {
        let Drive { device, memory, stride, queues } = self;
        let address = device.address();
        let descriptors = device.descriptors();
        let kept = [descriptors.container, descriptors.group, descriptors.device]
            .map(|descriptor| descriptor.try_clone_to_owned());
        device.release();
        let [container, group, device] = kept;
        let (container, group, device) = (container?, group?, device?);
        let numbers = [container.as_raw_fd(), group.as_raw_fd(), device.as_raw_fd()];
        let file = memory.fd().expect("memory of our own").as_raw_fd();
        let [Queue { tail, head, phase, .. }, _] = &queues;
        let status = Command::new(std::env::current_exe()?)
            .args(["successor".to_owned(), address.to_string(), std::process::id().to_string()])
            .arg(memory.iova(0).to_string())
            .args(numbers.map(|number| number.to_string()))
            .arg(file.to_string())
            .args([*tail, *head, usize::from(*phase)].map(|word| word.to_string()))
            .status()?;
        if !status.success() {
            return Err("the successor failed".into());
        }
        let device = Device::take_up(address, container, group, device, vec![memory.clone()])?;
        let mut drive = Drive { device, memory, stride, queues };
        drive.enable()?;
        drive.write_and_read(0xB7)?;
        Ok(drive)
    }
}

/// The process that takes over: address, pid, device address of the memory, four descriptors, the admin queue's state.
fn succeed(arguments: &[String]) -> Outcome<()> {
    let [address, numbers @ ..] = arguments else { return Err("no address".into()) };
    let numbers: Vec<u64> = numbers.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
    let [pid, iova, container, group, device, memory, tail, head, phase] = numbers[..] else {
        return Err("other arguments".into());
    };
    // SAFETY: plain calls, whose results are checked.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let take = |descriptor: u64| {
        // SAFETY: as above.
        let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, descriptor, 0) };
        // SAFETY: a descriptor just opened, owned by nobody else.
        if taken < 0 { Err(std::io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(taken as i32) }) }
    };
    let memory = Region::handed_over(take(memory)?, MEMORY, iova)?;
    let mapped = vec![memory.clone()];
    let device = Device::take_up(address.parse()?, take(container)?, take(group)?, take(device)?, mapped)?;
    let stride = 4 << (device.bar0().load_u32(4, Ordering::Relaxed) & 0xF);
    let admin = Queue { qid: 0, tail: tail as usize, head: head as usize, phase: phase as u16 };
    let mut drive = Drive { device, memory, stride, queues: [admin, Queue::default()] };
    println!("{address}: taken over by process {}", std::process::id());
    drive.identify()?;
    drive.device.release();
    Ok(())
}
