//! A file as a drive: what survives, who may have it, what its errors say, when it is made durable.

use crate::rig::{CONFIG, Rig, pattern};
use gantry_drive::{Identity, Media, Model, Shape, open};
use gantry_nvme::{Controller, Event, command};
use gantry_wire::nvme::feature::fid;
use gantry_wire::nvme::{Cid, Nsid, Sqe, admin};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const ONE: Nsid = Nsid(1);

/// A directory of this test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("gantry-drive-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("disk.img")
    }

    fn uri(&self, options: &str) -> String {
        format!("file:{}{options}", self.file().display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn refusal(uri: &str) -> String {
    open(uri, "test").err().expect("refused").to_string()
}

fn who(rig: &Rig) -> (String, [u8; 16], [u8; 8], [u8; 16]) {
    let inventory = rig.controller.inventory();
    let namespace = inventory.namespaces[0];
    (inventory.serial.clone(), namespace.nguid, namespace.eui64, namespace.uuid)
}

#[test]
fn data_and_identity_survive() {
    let folder = Folder::new("survive");
    let data = pattern(5, 64 << 10);
    let first = {
        let mut rig = Rig::new(&folder.uri(",size=4M"));
        assert!(rig.controller.inventory().has_write_cache());
        assert_eq!(rig.controller.inventory().namespaces[0].blocks, 8192);
        let mut queue = rig.controller.take_io_queue(0);
        rig.put(0, &data);
        let prps = rig.prps(0, data.len());
        assert!(rig.run(&mut queue, &command::write(ONE, Cid(1), 77, 128, prps, true)).status().is_success());
        who(&rig)
    };
    // The same words again, and without the size; another name changes nothing.
    for options in [",size=4M", ""] {
        let mut rig = Rig::cold(open(&folder.uri(options), "another name").unwrap(), CONFIG);
        assert_eq!(rig.event(), Event::Ready);
        assert_eq!(who(&rig), first);
        let mut queue = rig.controller.take_io_queue(0);
        let prps = rig.prps(0, data.len());
        assert!(rig.run(&mut queue, &command::read(ONE, Cid(1), 77, 128, prps, false)).status().is_success());
        assert!(rig.take(0, data.len()) == data);
    }
    // A copy is another drive.
    let copy = Folder::new("copy");
    std::fs::copy(folder.file(), copy.file()).unwrap();
    assert_ne!(who(&Rig::new(&copy.uri(""))), first);
}

#[test]
fn a_file_serves_one_drive() {
    let folder = Folder::new("one");
    let drive = open(&folder.uri(",size=1M"), "a").unwrap();
    assert!(refusal(&folder.uri("")).contains("in use by another drive"));
    drop(drive);
    open(&folder.uri(""), "b").unwrap();
}

#[test]
fn what_is_wrong_is_said_with_the_remedy() {
    let folder = Folder::new("wrong");
    assert!(refusal(&folder.uri("")).contains("no such file; add ,size="));
    assert!(refusal(&format!("file:{}/none/disk.img,size=1M", folder.0.display())).contains("cannot open it"));
    assert!(refusal(&format!("file:{},size=1M", folder.0.display())).contains("cannot open it"));
    drop(open(&folder.uri(",size=1M"), "test").unwrap());
    assert!(refusal(&folder.uri(",size=2M")).contains("has 1048576 bytes, size=2097152 was asked for"));
    let identity = format!("{}.identity", folder.file().display());
    for damage in ["not an identity", "\u{ff}", ""] {
        std::fs::write(&identity, damage).unwrap();
        assert!(refusal(&folder.uri("")).contains("32 hexadecimal digits"));
    }
    std::fs::write(&identity, [0xff, 0xfe]).unwrap();
    assert!(refusal(&folder.uri("")).contains("32 hexadecimal digits"));
    std::fs::write(folder.0.join("small"), [0; 1000]).unwrap();
    assert!(refusal(&format!("file:{}/small,block=4096", folder.0.display())).contains("too small"));
    assert!(refusal("file:/dev/null").contains("neither a regular file nor a block device"));
    assert!(!Path::new("/dev/null.identity").exists());
}

/// Space that is deallocated goes back to the file system; zeroes read as zeroes either way.
#[test]
fn deallocated_blocks_are_holes() {
    let folder = Folder::new("holes");
    let mut rig = Rig::new(&folder.uri(",size=8M,mdts=2M"));
    let mut queue = rig.controller.take_io_queue(0);
    rig.paint(0x5a);
    let prps = rig.prps(0, 2 << 20);
    let used = || std::fs::metadata(folder.file()).unwrap().blocks() * 512;
    assert!(rig.run(&mut queue, &command::write(ONE, Cid(1), 0, 4096, prps, true)).status().is_success());
    let full = used();
    assert!(full >= 2 << 20, "{full}");
    assert!(rig.run(&mut queue, &command::write_zeroes(ONE, Cid(1), 1, 2047, true, true)).status().is_success());
    assert!(used() <= full - (1 << 20) + (64 << 10), "{} of {full} bytes are left", used());
    assert!(rig.run(&mut queue, &command::write_zeroes(ONE, Cid(1), 3000, 100, false, false)).status().is_success());
    assert!(rig.run(&mut queue, &command::read(ONE, Cid(1), 0, 4096, prps, false)).status().is_success());
    let data = rig.take(0, 2 << 20);
    for (block, bytes) in data.chunks(512).enumerate() {
        let byte = if (1..2048).contains(&block) || (3000..3100).contains(&block) { 0 } else { 0x5a };
        assert!(bytes.iter().all(|&found| found == byte), "block {block}");
    }
    assert_eq!(std::fs::metadata(folder.file()).unwrap().len(), 8 << 20);
}

/// A medium that counts how often it is made durable.
struct Counting(Arc<AtomicU32>);

impl Media for Counting {
    fn read(&mut self, _offset: u64, _bytes: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::Other.into())
    }
    fn write(&mut self, offset: u64, _bytes: &[u8]) -> io::Result<()> {
        match offset {
            0 => Ok(()),
            512 => Err(io::ErrorKind::StorageFull.into()),
            _ => Err(io::ErrorKind::Other.into()),
        }
    }
    fn zero(&mut self, _offset: u64, _length: u64, _deallocate: bool) -> io::Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn flush_range(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        self.flush()
    }
    fn has_cache(&self) -> bool {
        true
    }
    fn lose_power(&mut self, _survives_seed: u64) {}
}

/// Only Flush, FUA and writes with the cache turned off reach the platter; and what the medium says becomes a status.
#[test]
fn durable_exactly_when_asked() {
    let flushes = Arc::new(AtomicU32::new(0));
    let shape = Shape::equal_parts(Identity::of_name("test", "counting"), 4096, 1, 9, 5).unwrap();
    let mut model = Model::new(shape, Box::new(Counting(Arc::clone(&flushes)))).unwrap();
    let needed = Controller::memory_needed(CONFIG.io_queues, CONFIG.io_entries);
    let memory = gantry_dma::Region::shared(needed + 4096).unwrap();
    model.space().map(Arc::clone(&memory)).unwrap();
    let page = memory.iova(needed);
    let mut controller = Controller::new(model.bar(), memory, 0, needed, CONFIG);
    let mut now = 0;
    let mut event = |model: &mut Model, controller: &mut Controller| {
        (0..1000).find_map(|_| {
            now += 1;
            model.step(now);
            controller.poll(now)
        })
    };
    assert_eq!(event(&mut model, &mut controller), Some(Event::Ready));
    assert!(controller.inventory().has_write_cache());
    let mut queue = controller.take_io_queue(0);
    let mut run = |model: &mut Model, sqe: Sqe| {
        let before = flushes.load(Ordering::Relaxed);
        queue.submit(&sqe).unwrap();
        queue.ring();
        model.step(0);
        let status = queue.poll().unwrap().status();
        queue.release();
        (status.code(), flushes.load(Ordering::Relaxed) - before)
    };
    let write = |slba, fua| command::write(ONE, Cid(1), slba, 1, (page, 0), fua);
    assert_eq!(run(&mut model, write(0, false)), (0, 0));
    assert_eq!(run(&mut model, write(0, true)), (0, 1));
    assert_eq!(run(&mut model, command::write_zeroes(ONE, Cid(1), 0, 1, false, true)), (0, 1));
    assert_eq!(run(&mut model, command::flush(ONE, Cid(1))), (0, 1));
    assert_eq!(run(&mut model, write(1, false)).0, 0x81, "Capacity Exceeded");
    assert_eq!(run(&mut model, write(2, false)).0, 0x280, "Write Fault");
    assert_eq!(run(&mut model, command::read(ONE, Cid(1), 0, 1, (page, 0), false)).0, 0x281, "Unrecovered Read Error");
    let mut cache_off = Sqe::new(admin::SET_FEATURES, Cid(0), Nsid(0));
    cache_off.cdw10 = u32::from(fid::VOLATILE_WRITE_CACHE).into();
    controller.submit_admin(0, cache_off).unwrap();
    assert!(
        matches!(event(&mut model, &mut controller), Some(Event::AdminCompleted { cqe, .. }) if cqe.status().is_success())
    );
    assert_eq!(run(&mut model, write(0, false)), (0, 1), "the cache is off");
}
