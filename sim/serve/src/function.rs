//! The PCI function: a command in, an answer out, and the model behind it. No socket and no clock of its own.
//! vfio-user protocol, "Commands"; NVMe registers as PCIe Transport 1.0 §3.1 has them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use gantry_dma::Region;
use gantry_drive::{Model, SoftwareDrive};
use gantry_vfio_user::Message;
use gantry_vfio_user::message::{
    Area, Capability, DeviceInfo, DmaMap, DmaUnmap, IrqInfo, RegionAccess, RegionInfo, SetIrqs, SparseMmap, command,
    device, irq, region,
};
use gantry_vfio_user::version::DATA_MAX;
use gantry_wire::nvme::register;
use rustix::io::Errno;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::config_space::{BYTES as CONFIG_BYTES, ConfigSpace, Effect, MSIX_PENDING};
use crate::memory::Memory;
use crate::vectors::Vectors;

/// PCI vendor id: the letters GT. No committee has given it to anybody.
pub const VENDOR_ID: u16 = 0x5447;
/// PCI device id of the software drive.
pub const DEVICE_ID: u16 = 0x0001;

/// How the drive is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Whether clients may map the doorbells; else each is a message.
    pub doorbells_mapped: bool,
}

/// What a command is answered with.
#[derive(Debug, Default)]
pub struct Answer {
    /// What follows the header.
    pub body: Vec<u8>,
    /// Descriptors that go with it.
    pub fds: Vec<OwnedFd>,
}

impl Answer {
    fn of(body: &(impl IntoBytes + Immutable)) -> Result<Answer, Errno> {
        Ok(Answer { body: body.as_bytes().to_vec(), fds: Vec::new() })
    }

    fn empty() -> Result<Answer, Errno> {
        Ok(Answer::default())
    }
}

/// The function.
pub struct Function {
    drive: SoftwareDrive,
    bar: Arc<Region>,
    config: ConfigSpace,
    /// The MSI-X table and pending bits: clients keep their own; these are what was written.
    table: Vec<u8>,
    vectors: Vectors,
    memory: Memory,
    options: Options,
}

impl Function {
    /// The function of a drive, as after power-on.
    #[must_use]
    pub fn new(mut drive: SoftwareDrive, options: Options) -> Self {
        let (bar, vectors) = (drive.bar(), drive.model().interrupt_vectors());
        let memory = Memory::new(drive.space());
        let table = vec![0; 2 * MSIX_PENDING as usize];
        let mut this =
            Self { config: config(&bar, vectors), drive, bar, table, vectors: Vectors::new(vectors), memory, options };
        this.power_on();
        this
    }

    /// As it was at first: nothing is mapped and nothing interrupts.
    pub fn power_on(&mut self) {
        let _ = self.memory.clear();
        self.reset();
    }

    /// A reset of the function: memory and interrupts stay as the client has set them up.
    fn reset(&mut self) {
        let vectors = self.model().interrupt_vectors();
        self.config = config(&self.bar, vectors);
        self.table.fill(0);
        self.model().device_reset();
    }

    /// The drive's model, for faults and the like.
    pub fn model(&mut self) -> &mut Model {
        self.drive.model()
    }

    /// Whether some memory that the client offers cannot be reached.
    #[must_use]
    pub fn lacks_memory(&self) -> bool {
        self.memory.is_partly_out_of_reach()
    }

    /// Does what there is to do and raises interrupts; whether there was anything.
    pub fn step(&mut self, now_ns: u64) -> bool {
        let worked = self.model().step(now_ns);
        for vector in self.drive.model().take_interrupts() {
            self.vectors.raise(vector);
        }
        worked
    }

    /// Obeys a command.
    ///
    /// # Errors
    /// The errno that the client is told.
    pub fn handle(&mut self, now_ns: u64, message: Message) -> Result<Answer, Errno> {
        let Message { header, body, fds } = message;
        match header.command.get() {
            command::DMA_MAP => {
                self.memory.map(&parse::<DmaMap>(&body)?.0, fds)?;
                Answer::empty()
            }
            command::DMA_UNMAP => {
                let (unmap, _) = parse::<DmaUnmap>(&body)?;
                self.memory.unmap(&unmap)?;
                Answer::of(&unmap)
            }
            command::DEVICE_GET_INFO => Answer::of(&DeviceInfo {
                argsz: (size_of::<DeviceInfo>() as u32).into(),
                flags: (device::RESET | device::PCI).into(),
                regions: region::COUNT.into(),
                irqs: irq::COUNT.into(),
            }),
            command::DEVICE_GET_REGION_INFO => self.region_info(&body),
            command::DEVICE_GET_IRQ_INFO => self.irq_info(&body),
            command::DEVICE_SET_IRQS => {
                let (set, data) = parse::<SetIrqs>(&body)?;
                if set.index.get() != irq::MSIX {
                    // The others have no interrupts, so that there is nothing to be done to them.
                    return if set.count.get() == 0 { Answer::empty() } else { Err(Errno::INVAL) };
                }
                self.vectors.set(&set, data, fds)?;
                Answer::empty()
            }
            command::REGION_READ => self.read(&body),
            command::REGION_WRITE => self.write(now_ns, &body),
            command::DEVICE_RESET => {
                self.reset();
                Answer::empty()
            }
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    /// Bytes of a region; 0 for those that there are not.
    fn region_bytes(&self, index: u32) -> u64 {
        match index {
            region::BAR0 => bar_bytes(&self.bar),
            region::BAR4 => self.table.len() as u64,
            region::CONFIG => CONFIG_BYTES as u64,
            _ => 0,
        }
    }

    fn region_info(&self, body: &[u8]) -> Result<Answer, Errno> {
        let (asked, _) = parse::<RegionInfo>(body)?;
        let index = asked.index.get();
        if index >= region::COUNT {
            return Err(Errno::INVAL);
        }
        let size = self.region_bytes(index);
        let mut flags = if size > 0 { region::READ | region::WRITE } else { 0 };
        let mut capability = Vec::new();
        let mut fds = Vec::new();
        if index == region::BAR0 && self.options.doorbells_mapped {
            flags |= region::MMAP | region::CAPS;
            let head = Capability { id: Capability::SPARSE_MMAP.into(), version: 1.into(), next: 0.into() };
            let first = register::DOORBELLS as u64;
            let area = Area { offset: first.into(), size: (self.bar.length() as u64 - first).into() };
            let sparse = SparseMmap { areas: 1.into(), reserved: 0.into() };
            capability = [head.as_bytes(), sparse.as_bytes(), area.as_bytes()].concat();
        }
        let whole = size_of::<RegionInfo>() + capability.len();
        let fits = asked.argsz.get() as usize >= whole;
        let info = RegionInfo {
            argsz: (whole as u32).into(),
            flags: flags.into(),
            index: index.into(),
            capabilities: if capability.is_empty() { 0 } else { size_of::<RegionInfo>() as u32 }.into(),
            size: size.into(),
            offset: 0.into(),
        };
        let mut body = info.as_bytes().to_vec();
        if fits && !capability.is_empty() {
            body.extend_from_slice(&capability);
            let file = self.bar.fd().expect("the model's registers are shared memory");
            fds.push(file.try_clone_to_owned().map_err(|_| Errno::MFILE)?);
        }
        Ok(Answer { body, fds })
    }

    fn irq_info(&mut self, body: &[u8]) -> Result<Answer, Errno> {
        let (asked, _) = parse::<IrqInfo>(body)?;
        let index = asked.index.get();
        let (flags, count) = match index {
            irq::MSIX => (irq::EVENTFD | irq::MASKABLE, u32::from(self.model().interrupt_vectors())),
            0..irq::COUNT => (0, 0),
            _ => return Err(Errno::INVAL),
        };
        let argsz = (size_of::<IrqInfo>() as u32).into();
        Answer::of(&IrqInfo { argsz, flags: flags.into(), index: index.into(), count: count.into() })
    }

    /// Checks what is accessed: region, and where in it.
    fn accessed(&self, access: &RegionAccess) -> Result<(u32, usize, usize), Errno> {
        let (index, offset, count) = (access.region.get(), access.offset.get(), access.count.get() as usize);
        let end = offset.checked_add(count as u64).ok_or(Errno::INVAL)?;
        if count == 0 || count > DATA_MAX || end > self.region_bytes(index) {
            return Err(Errno::INVAL);
        }
        Ok((index, offset as usize, count))
    }

    fn read(&mut self, body: &[u8]) -> Result<Answer, Errno> {
        let (access, _) = parse::<RegionAccess>(body)?;
        let (index, offset, count) = self.accessed(&access)?;
        let mut body = access.as_bytes().to_vec();
        match index {
            region::CONFIG => body.extend_from_slice(self.config.read(offset, count).ok_or(Errno::INVAL)?),
            region::BAR4 => body.extend_from_slice(&self.table[offset..offset + count]),
            _ => {
                let from = body.len();
                body.resize(from + count, 0);
                // The BAR may be larger than what is in it: a power of two.
                let inside = count.min(self.bar.length().saturating_sub(offset));
                if inside > 0 {
                    self.bar.read(offset, &mut body[from..from + inside]);
                }
            }
        }
        Ok(Answer { body, fds: Vec::new() })
    }

    fn write(&mut self, now_ns: u64, body: &[u8]) -> Result<Answer, Errno> {
        let (access, data) = parse::<RegionAccess>(body)?;
        let (index, offset, count) = self.accessed(&access)?;
        let data = data.get(..count).ok_or(Errno::INVAL)?;
        match index {
            region::CONFIG => {
                if self.config.write(offset, data).ok_or(Errno::INVAL)? == Effect::Reset {
                    self.reset();
                }
            }
            region::BAR4 => self.table[offset..offset + count].copy_from_slice(data),
            _ => self.write_registers(now_ns, offset, data)?,
        }
        Answer::of(&access)
    }

    /// Registers are written as dwords, each taking effect before the next.
    fn write_registers(&mut self, now_ns: u64, offset: usize, data: &[u8]) -> Result<(), Errno> {
        if !offset.is_multiple_of(4) || !data.len().is_multiple_of(4) {
            return Err(Errno::INVAL);
        }
        for (at, dword) in (offset..).step_by(4).zip(data.chunks_exact(4)) {
            let is_written = matches!(at, register::CC | register::AQA)
                || (register::ASQ..register::ACQ + 8).contains(&at)
                || (register::DOORBELLS..self.bar.length()).contains(&at);
            if is_written {
                let value = u32::from_le_bytes(dword.try_into().expect("4 bytes"));
                self.bar.store_u32(at, value, Ordering::Release);
            }
            if at == register::CC {
                // Disabled and enabled at once is still a reset.
                self.step(now_ns);
            }
        }
        Ok(())
    }
}

fn bar_bytes(bar: &Region) -> u64 {
    bar.length().next_power_of_two() as u64
}

fn config(bar: &Region, vectors: u16) -> ConfigSpace {
    ConfigSpace::new((VENDOR_ID, DEVICE_ID), bar_bytes(bar), 2 * u64::from(MSIX_PENDING), vectors)
}

/// A structure and what follows it.
fn parse<T: FromBytes + KnownLayout + Immutable>(body: &[u8]) -> Result<(T, &[u8]), Errno> {
    T::read_from_prefix(body).map_err(|_| Errno::INVAL)
}
