//! Drives that another process emulates: here, this one, with a served software drive in a thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gantry_serve::{Options, Server};

use crate::alone;
use crate::data_plane::Folder;
use crate::idle::{UNWOKEN, answer, median};
use crate::rig::{DRIVE_BYTES, FILE, Link, MEM, Rig, workload};

/// A drive on a file of the folder, served beside it until it is dropped.
struct Served {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start(folder: &Path, name: &str, doorbells_mapped: bool) -> Self {
        let uri = format!("file:{}/{name}.img,size={DRIVE_BYTES}", folder.display());
        let drive = gantry_drive::open(&uri, name).unwrap();
        let mut server =
            Server::bind(&folder.join(format!("{name}.sock")), drive, Options { doorbells_mapped }).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || server.run(&stopped, |notice| println!("{notice:?}")));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        assert!(self.thread.take().unwrap().join().is_ok() || std::thread::panicking());
    }
}

/// Verified I/O on two served drives, one with its doorbells mapped and one with them forwarded; one of them ends and returns.
#[test]
fn drives_behind_vfio_user() {
    let _alone = alone();
    let folder = Folder::new();
    let root = folder.path("");
    let kept = ["one.img", "one.img.identity", "two.img", "two.img.identity"];
    let _one = Served::start(&root, "one", true);
    let two = Served::start(&root, "two", false);
    let uris = ["one", "two"].map(|name| format!("vfio-user:{}{name}.sock", root.display()));
    let mut rig = Rig::start_on(Link::Vhost, 1, folder, &[], uris);
    let told = rig.plane.told();
    for (drive, doorbells) in [("memory", "mapped"), ("file", "forwarded")] {
        let line = |line: &&str| line.contains("the process behind it answers") && line.contains(doorbells);
        assert!(told.lines().filter(line).any(|line| line.contains(drive)), "{drive}:\n{told}");
    }
    rig.connect(5_000);
    let mut workloads = [MEM, FILE].map(workload);
    for workload in &mut workloads {
        rig.run(workload, Duration::from_millis(1_000));
        println!("{} commands", workload.completed);
    }
    // Housekeeping forwards the doorbells, and must not have gone to sleep over it.
    std::thread::sleep(Duration::from_millis(100));
    let took = median((0..20).map(|_| answer(&mut rig, 1, FILE)).collect());
    assert!(took < UNWOKEN, "a read through forwarded doorbells took {took:?}");

    // The process behind one of them ends: the other drive goes on meanwhile.
    drop(two);
    rig.until("the drive's end", |rig| rig.plane.told().contains("drive gone"));
    rig.run(&mut workloads[0], Duration::from_millis(500));
    let _two = Served::start(&root, "two", false);
    let ready = |rig: &Rig| rig.notices.iter().filter(|notice| notice.starts_with("drive file is ready")).count();
    rig.until("the drive's return", |rig| ready(rig) == 2);
    // What was written before is there: the workload knows all of it.
    rig.run(&mut workloads[1], Duration::from_millis(1_000));
    rig.disconnect();
    // The servers go on, and so do their sockets.
    let kept = [&kept[..], &["one.sock", "two.sock"]].concat();
    rig.stop(&kept);
}
