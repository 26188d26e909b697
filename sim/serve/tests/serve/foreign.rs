//! Each end against rust-vmm's `vfio_user`, both of whose ends others wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use gantry_dma::Region;
use gantry_drive::Running;
use gantry_nvme::{Bar, Registers};
use gantry_vfio_user::{Drive, Uri};
use gantry_wire::nvme::register;
use rustix::event::{EventfdFlags, eventfd};
use std::sync::Mutex;
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE,
    vfio_region_info, vfio_region_sparse_mmap_area,
};
use vfio_user::{Client, DmaMapFlags, DmaUnmapFlags, IrqInfo, ServerBackend, ServerRegion, SparseArea};

use crate::rig::{Driver, Served, folder};

/// Their client as registers of a drive.
struct Theirs(Mutex<Client>);

impl fmt::Debug for Theirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Theirs")
    }
}

impl Registers for Theirs {
    fn load_u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.0.lock().unwrap().region_read(0, offset as u64, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.0.lock().unwrap().region_write(0, offset as u64, &value.to_le_bytes()).unwrap();
    }
}

#[test]
fn their_client_drives_the_served_drive() {
    let folder = folder();
    let served = Served::start(&folder.path().join("s"), "mem:4M", true);
    let mut client = Client::new(&served.path).unwrap();
    let mut head = [0; 64];
    client.region_read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &mut head).unwrap();
    assert_eq!(head[9..12], [0x02, 0x08, 0x01]);
    client.region_write(VFIO_PCI_CONFIG_REGION_INDEX, 4, &6u16.to_le_bytes()).unwrap();
    let vectors = client.get_irq_info(2).unwrap();
    assert_eq!((vectors.index, vectors.count), (2, 65));
    let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    // DATA_EVENTFD and ACTION_TRIGGER.
    client.set_irqs(2, 1 << 2 | 1 << 5, 0, 1, &[event.as_raw_fd()]).unwrap();

    let region = client.region(0).unwrap();
    let area = region.sparse_areas[0];
    assert_eq!((region.size, area.offset), (0x4000, 0x1000));
    let file = region.file_offset.as_ref().unwrap();
    let doorbells =
        Region::behind(area.offset as usize, file.file(), file.start() + area.offset, area.size as usize).unwrap();
    let memory = Driver::memory();
    let fd = memory.fd().unwrap().as_raw_fd();
    let (first, length) = (memory.iova(0), memory.length().next_multiple_of(4096) as u64);
    client.dma_map(0, first, length, fd).unwrap();
    let theirs = Arc::new(Theirs(Mutex::new(client)));

    #[derive(Debug)]
    struct Shared(Arc<Theirs>);
    impl Registers for Shared {
        fn load_u32(&self, offset: usize) -> u32 {
            self.0.load_u32(offset)
        }
        fn store_u32(&self, offset: usize, value: u32) {
            self.0.store_u32(offset, value);
        }
    }
    let bar = Bar { registers: Box::new(Shared(theirs.clone())), ..Bar::from(doorbells) };
    Driver::new(bar, memory).verify(20, || ());

    let mut count = [0; 8];
    rustix::io::read(&event, &mut count).unwrap();
    assert!(u64::from_ne_bytes(count) > 0, "the admin queue interrupts");
    let mut client = theirs.0.lock().unwrap();
    client.reset().unwrap();
    let mut cc = [0xff; 4];
    client.region_read(0, register::CC as u64, &mut cc).unwrap();
    assert_eq!(cc, [0; 4]);
    client.dma_unmap(first, length).unwrap();
    client.shutdown().unwrap();
}

/// A software drive behind their server.
struct Backend {
    drive: Running,
    config: [u8; 256],
    mapped: BTreeMap<u64, Arc<Region>>,
}

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        match region {
            0 => self.drive.bar().read(offset, data),
            _ => data.copy_from_slice(&self.config[offset..offset + data.len()]),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        match region {
            0 => self.drive.bar().write(offset, data),
            _ => self.config[offset..offset + data.len()].copy_from_slice(data),
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        assert_eq!((flags, offset), (DmaMapFlags::READ_WRITE, 0));
        let region = Region::window(file.unwrap(), offset, size as usize, address, true).unwrap();
        self.drive.map(region.clone()).unwrap();
        self.mapped.insert(address, region);
        Ok(())
    }

    fn dma_unmap(&mut self, _: DmaUnmapFlags, address: u64, _: u64) -> io::Result<()> {
        let region = self.mapped.remove(&address).ok_or(io::ErrorKind::NotFound)?;
        assert!(self.drive.space().unmap(&region));
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        Registers::store_u32(&self.drive.bar(), register::CC, 0);
        Ok(())
    }

    fn set_irqs(&mut self, _: u32, _: u32, _: u32, _: u32, _: Vec<File>) -> io::Result<()> {
        panic!("nobody asked for interrupts");
    }
}

fn their_server(mapped: bool) {
    let folder = folder();
    let path = folder.path().join("s");
    let drive = gantry_drive::open("mem:4M", "foreign").unwrap().spawn().unwrap();
    let bar = drive.bar();
    let mut config = [0; 256];
    config[9..12].copy_from_slice(&[0x02, 0x08, 0x01]);
    let size = |index| match index {
        0 => bar.length() as u64,
        VFIO_PCI_CONFIG_REGION_INDEX => 256,
        _ => 0,
    };
    let area = vfio_region_sparse_mmap_area { offset: 0x1000, size: bar.length() as u64 - 0x1000 };
    let regions = (0..9).map(|index| {
        let maps = mapped && index == 0;
        let mut flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        flags |= if maps { VFIO_REGION_INFO_FLAG_MMAP } else { 0 };
        ServerRegion {
            region_info: vfio_region_info { argsz: 32, flags, index, size: size(index), ..Default::default() },
            sparse_areas: if maps { vec![SparseArea { area }] } else { Vec::new() },
            mmap_fd: maps.then(|| bar.fd().unwrap().as_fd().as_raw_fd()),
        }
    });
    let irqs = (0..5).map(|index| IrqInfo { index, flags: 0, count: 0 }).collect();
    let server = vfio_user::Server::new(&path, true, irqs, regions.collect()).unwrap();
    let mut backend = Backend { drive, config, mapped: BTreeMap::new() };
    let thread = std::thread::spawn(move || {
        server.run(&mut backend).unwrap();
        backend
    });
    let drive = Drive::open(&Uri::parse(&format!("vfio-user:{}", path.display())).unwrap()).unwrap();
    assert_eq!(drive.maps_doorbells(), mapped);
    let mut driver = Driver::of(&drive);
    driver.verify(40, || assert!(drive.poll()));
    assert!(drive.reset());
    drive.unmap(&driver.memory);
    assert!(drive.poll());
    drop((drive, driver));
    let backend = thread.join().unwrap();
    assert_eq!(backend.config[4], 6, "memory space and bus master");
    assert!(backend.mapped.is_empty());
}

#[test]
fn a_drive_behind_their_server_with_doorbells_mapped() {
    their_server(true);
}

#[test]
fn a_drive_behind_their_server_with_doorbells_forwarded() {
    their_server(false);
}
