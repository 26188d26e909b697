//! Verified I/O through the real process, with control there and without it.

use std::time::{Duration, Instant};

use crate::alone;
use crate::data_plane::Folder;
use crate::rig::{FILE, Link, MEM, Rig, workload};

/// What a drive on a file keeps: its data and its identity.
pub(crate) const DRIVE_FILES: &[&str] = &["drive.img", "drive.img.identity"];

/// Keep-alive timeout. What is shorter than a busy machine's own pauses would end connections, and rightly.
const KATO_MS: u32 = 5_000;

fn verified_io(link: Link) {
    let mut rig = Rig::start(link, Folder::new(), &[]);
    rig.connect(KATO_MS);
    for nsid in [MEM, FILE] {
        let mut workload = workload(nsid);
        rig.run(&mut workload, Duration::from_millis(1_500));
        assert!(workload.bytes_read > 0 && workload.bytes_written > 0, "both directions");
        println!("{link:?}, namespace {nsid}: {} commands", workload.completed);
    }
    rig.disconnect();
    let folder = rig.stop(DRIVE_FILES);
    let data = std::fs::read(folder.path("drive.img")).unwrap();
    assert!(data.iter().any(|byte| *byte != 0), "what was written is in the file");
}

#[test]
fn verified_io_over_vhost_user() {
    let _alone = alone();
    verified_io(Link::Vhost);
}

#[test]
fn verified_io_over_memif() {
    let _alone = alone();
    verified_io(Link::Memif);
}

/// Control is gone for longer than the keep-alive timeout, in the middle of I/O and while all is quiet.
#[test]
fn io_goes_on_while_control_is_away() {
    let _alone = alone();
    let mut rig = Rig::start(Link::Vhost, Folder::new(), &[]);
    rig.connect(KATO_MS);
    let mut workload = workload(MEM);
    let dropped = Instant::now() + Duration::from_millis(500);
    let mut away = false;
    rig.until("I/O around the loss of control", |rig| {
        workload.turn(&mut rig.host);
        if !away && Instant::now() > dropped {
            assert!(!workload.drain(&mut rig.host), "commands are under way");
            rig.drop_session();
            away = true;
        }
        away && dropped.elapsed() > Duration::from_secs(2)
    });
    rig.run(&mut workload, Duration::from_millis(500));
    let keep_alives = rig.host.counters().keep_alives;
    rig.rest(Duration::from_millis(u64::from(KATO_MS) + 1_000));
    assert!(rig.host.counters().keep_alives > keep_alives, "only Keep Alives in a quiet time");
    rig.run(&mut workload, Duration::from_millis(500));
    assert!(rig.plane.told().contains("control has gone; I/O goes on"), "the data plane has noticed");

    // Control is back, finds the connections it knew, and takes the host's leave.
    rig.open_session();
    rig.run(&mut workload, Duration::from_millis(300));
    rig.disconnect();
    rig.connect(KATO_MS);
    rig.run(&mut workload, Duration::from_millis(300));
    rig.disconnect();
    rig.stop(DRIVE_FILES);
}
