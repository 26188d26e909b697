//! An lcore allocates and frees nothing once it runs: neither Rust's nor C's, neither malloc nor rte_malloc.
//!
//! `count.c` is compiled and preloaded; the counts are read while the process runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::alone;
use crate::data_plane::Folder;
use crate::io::DRIVE_FILES;
use crate::rig::{FILE, Link, MEM, Rig, workload};

/// Compiles the shim into `folder`.
pub(crate) fn shim(folder: &Folder) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/count.c");
    let library = folder.path("count.so");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    let compiled = cc.output().unwrap_or_else(|error| panic!("cc (Debian package gcc): {error}"));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

/// Allocations and frees of one thread so far; zero for one that has never called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    allocations: u64,
    frees: u64,
}

fn count(file: &Path, tid: u32) -> Count {
    let bytes = std::fs::read(file).unwrap();
    let number = |slot: &[u8], at: usize| u64::from_ne_bytes(slot[at * 8..][..8].try_into().unwrap());
    let slot = bytes.chunks_exact(32).find(|slot| number(slot, 0) == u64::from(tid));
    slot.map_or(Count { allocations: 0, frees: 0 }, |slot| Count {
        allocations: number(slot, 1),
        frees: number(slot, 2),
    })
}

fn no_allocation(link: Link) {
    let folder = Folder::new();
    let (library, counts) = (shim(&folder), folder.path("counts"));
    let mut rig = Rig::start(link, folder, &[("LD_PRELOAD", &library), ("GANTRY_COUNTS", &counts)]);
    let (main, lcore) = (rig.plane.pid(), rig.plane.lcore_tid());
    rig.connect(5_000);
    let (main_before, before) = (count(&counts, main), count(&counts, lcore));
    assert!(main_before.allocations > 1_000, "the main thread's are counted: {main_before:?}");

    let mut workloads = [workload(MEM), workload(FILE)];
    for workload in &mut workloads {
        rig.run(workload, Duration::from_secs(1));
        assert_eq!(count(&counts, lcore), before, "the lcore, after I/O");
    }
    rig.rest(Duration::from_millis(200));
    assert_eq!(count(&counts, lcore), before, "the lcore, idle");
    // Connections that come and go are housekeeping's work: it allocates and frees what the lcore only applies.
    for _ in 0..2 {
        rig.disconnect();
        rig.connect(5_000);
        rig.run(&mut workloads[0], Duration::from_millis(100));
    }
    assert_eq!(count(&counts, lcore), before, "the lcore, after connections came and went");
    let main_after = count(&counts, main);
    assert!(main_after.allocations > main_before.allocations, "a thread that allocates is counted: {main_after:?}");
    assert!(main_after.frees > main_before.frees, "a thread that frees is counted: {main_after:?}");

    rig.disconnect();
    let folder = rig.stop(&[DRIVE_FILES, &["counts"]].concat());
    // Its own end is the proof that it would have been counted: it frees what it owned.
    let after = count(&folder.path("counts"), lcore);
    assert!(after.frees > before.frees, "an lcore that frees is counted: {after:?}");
}

#[test]
fn an_lcore_allocates_nothing_over_vhost_user() {
    let _alone = alone();
    no_allocation(Link::Vhost);
}

#[test]
fn an_lcore_allocates_nothing_over_memif() {
    let _alone = alone();
    no_allocation(Link::Memif);
}
