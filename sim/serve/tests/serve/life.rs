//! A drive's life over vfio-user: brought up, used, reset, lost and found again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gantry_dma::Region;
use gantry_nvme::{Event, Reason};
use gantry_serve::{Notice, Options, Server};
use gantry_vfio_user::{Connection, Drive, Error};
use gantry_wire::nvme::register::{CAP, CC, CSTS, Csts};

use crate::rig::{Driver, PATIENCE, Served, folder};

fn verified(doorbells_mapped: bool, options: &str) {
    let folder = folder();
    let served = Served::start(&folder.path().join("s"), "mem:4M", doorbells_mapped);
    let drive = Drive::open(&served.uri(options)).unwrap();
    assert_eq!(drive.maps_doorbells(), doorbells_mapped && options.is_empty());
    let mut driver = Driver::of(&drive);
    driver.verify(60, || assert!(drive.poll()));
    assert_eq!(driver.controller.inventory().serial.len(), 20);
    // Another controller lifetime on the same connection: doorbells begin at 0 again.
    let now_ns = driver.now_ns();
    driver.controller.shutdown(now_ns);
    assert_eq!(driver.event(|| assert!(drive.poll())), Event::ShutDown);
    driver.controller.restart();
    driver.verify(5, || assert!(drive.poll()));
    let device = drive.bar().device;
    assert_eq!((device.vendor, device.device), (gantry_serve::VENDOR_ID, gantry_serve::DEVICE_ID));
    drop(drive);
    assert_eq!(served.notices.recv_timeout(PATIENCE), Ok(Notice::Connected));
    assert_eq!(served.notices.recv_timeout(PATIENCE), Ok(Notice::Gone(Error::Closed)));
}

#[test]
fn doorbells_that_are_mapped_need_no_forwarding() {
    verified(true, "");
}

#[test]
fn doorbells_that_the_server_keeps_are_forwarded() {
    verified(false, "");
}

#[test]
fn the_operator_may_have_doorbells_forwarded_all_the_same() {
    verified(true, ",doorbells=forwarded");
}

#[test]
fn what_was_unmapped_cannot_be_reached() {
    let folder = folder();
    let served = Served::start(&folder.path().join("s"), "mem:4M", true);
    let drive = Drive::open(&served.uri("")).unwrap();
    let mut driver = Driver::of(&drive);
    assert_eq!(driver.event(|| ()), Event::Ready);
    drive.unmap(&driver.memory);
    // Its queues are memory that it cannot reach: a doorbell, and the controller gives up.
    driver
        .controller
        .submit_admin(
            driver.now_ns(),
            gantry_wire::nvme::Sqe::new(0x0a, gantry_wire::nvme::Cid(0), gantry_wire::nvme::Nsid(0)),
        )
        .unwrap();
    let Event::Failed(failure) = driver.event(|| ()) else { panic!("it reached its queue") };
    assert_eq!(failure.reason, Reason::Fatal);
    drive.map(driver.memory.clone()).unwrap();
    driver.controller.restart();
    driver.verify(2, || ());
    // Mapped twice is refused here, and by the server.
    assert!(matches!(drive.map(driver.memory.clone()), Err(Error::Memory(_))));
}

#[test]
fn a_device_reset_disables_the_controller_and_keeps_memory() {
    let folder = folder();
    let served = Served::start(&folder.path().join("s"), "mem:4M", false);
    let drive = Drive::open(&served.uri("")).unwrap();
    let mut driver = Driver::of(&drive);
    driver.verify(3, || assert!(drive.poll()));
    assert!(drive.reset());
    let bar = drive.bar();
    assert_eq!((bar.registers.load_u32(CC), Csts(bar.registers.load_u32(CSTS)).rdy()), (0, 0));
    let Event::Failed(failure) = driver.event(|| assert!(drive.poll())) else { panic!("it noticed nothing") };
    assert_eq!((failure.reason, failure.stopped), (Reason::Reset, true));
    driver.controller.restart();
    driver.verify(3, || assert!(drive.poll()));
}

#[test]
fn a_peer_that_ends_is_gone_and_one_that_returns_is_opened_anew() {
    let folder = folder();
    let path = folder.path().join("s");
    let served = Served::start(&path, "mem:4M", false);
    let drive = Drive::open(&served.uri("")).unwrap();
    let mut driver = Driver::of(&drive);
    driver.verify(2, || assert!(drive.poll()));
    drop(served);
    assert!(!path.exists(), "the socket goes with its server");
    assert!(!drive.poll());
    assert_eq!(drive.failure(), Some(Error::Closed));
    let bar = drive.bar();
    assert_eq!([CAP, CC, CSTS].map(|at| bar.registers.load_u32(at)), [u32::MAX; 3]);
    bar.registers.store_u32(CC, 1);
    assert!(!drive.reset());
    drive.unmap(&driver.memory);
    let refused = drive.map(Region::shared(4096).unwrap());
    assert_eq!(refused, Err(Error::Closed));
    let Event::Failed(failure) = driver.event(|| assert!(!drive.poll())) else { panic!("it noticed nothing") };
    assert_eq!((failure.reason, failure.stopped), (Reason::Removed, false));

    let uri = gantry_vfio_user::Uri::parse(&format!("vfio-user:{}", path.display())).unwrap();
    let nobody = Drive::open(&uri).unwrap_err();
    assert!(nobody.to_string().starts_with("nobody serves a drive there"), "{nobody}");
    let _served = Served::start(&path, "mem:4M", false);
    let drive = Drive::open(&uri).unwrap();
    Driver::of(&drive).verify(2, || assert!(drive.poll()));
}

#[test]
fn one_client_at_a_time() {
    let folder = folder();
    let served = Served::start(&folder.path().join("s"), "mem:4M", true);
    let drive = Drive::open(&served.uri("")).unwrap();
    assert_eq!(Drive::open(&served.uri("")).unwrap_err(), Error::Closed);
    assert_eq!(served.notices.iter().take(2).collect::<Vec<_>>(), [Notice::Connected, Notice::TurnedAway]);
    Driver::of(&drive).verify(2, || ());
    drop(drive);
    assert_eq!(served.notices.recv_timeout(PATIENCE), Ok(Notice::Gone(Error::Closed)));
    Driver::of(&Drive::open(&served.uri("")).unwrap()).verify(2, || ());
}

#[test]
fn a_client_that_says_nothing_does_not_keep_others_out_for_long() {
    let folder = folder();
    let served = Served::start(&folder.path().join("s"), "mem:4M", true);
    let silent = Connection::connect(&served.path).unwrap();
    assert!(matches!(served.notices.recv_timeout(PATIENCE), Ok(Notice::Gone(Error::Silent(_)))));
    drop(silent);
    Drive::open(&served.uri("")).unwrap();
}

#[test]
fn a_socket_that_is_left_behind_is_taken_over_and_one_in_use_is_not() {
    let folder = folder();
    let path = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let served = Served::start(&path, "mem:1M", true);
    let bind = |path: &std::path::Path| {
        let drive = gantry_drive::open("mem:1M", "other").unwrap();
        Server::bind(path, drive, Options { doorbells_mapped: true }).map(drop).unwrap_err().to_string()
    };
    assert!(bind(&path).contains("another process serves there"));
    let file = folder.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    assert!(bind(&file).contains("socket"));
    assert_eq!(std::fs::read(&file).unwrap(), b"kept", "only sockets are replaced");
    drop(served);
}

/// What an lcore stores while the controller is disabled, or has stored before, is nobody's doorbell.
#[test]
fn doorbells_of_a_disabled_controller_are_not_forwarded() {
    let folder = folder();
    let served = Served::start(&folder.path().join("s"), "mem:4M", false);
    let drive = Drive::open(&served.uri("")).unwrap();
    let bar = drive.bar();
    bar.doorbells.store_u32(0x1000, 77, Ordering::Release);
    assert!(drive.poll());
    std::thread::sleep(Duration::from_millis(5));
    // Had it been, it would be an invalid doorbell of the admin queue.
    let mut driver = Driver::of(&drive);
    driver.verify(1, || assert!(drive.poll()));
    assert_eq!(driver.controller.admin_counters().unknown_cid, 0);
}
