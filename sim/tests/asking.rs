//! What a test asks of a simulated card, one thing after the other, and what it is told when that does not work.

use gantry_sim::host::{Busy, Io, IoKind};
use gantry_sim::world::{AskError, Setup, add_drive, nqn};
use gantry_wire::nvme::Status;

#[test]
fn what_is_written_is_read_by_another_host_too() {
    let mut world = Setup::new(90).lcores(2).drive("mem:64M,block=4096").build();
    let [one, two] = [world.add_host(), world.add_host()];
    world.connect(one, &nqn(0)).unwrap();
    world.connect(two, &nqn(0)).unwrap();
    // 64 KiB are too much for a capsule, 4 KiB are not.
    for (slba, blocks) in [(0, 16), (100, 1)] {
        let data: Vec<u8> = (0..blocks * 4096).map(|at: u32| (at / 7) as u8).collect();
        world.write(one, 1, slba, &data).unwrap();
        world.flush(one, 1).unwrap();
        assert_eq!(world.read(two, 1, slba, blocks).unwrap(), data);
    }
    for host in [one, two] {
        world.disconnect(host).unwrap();
        assert_eq!(world.host(host).violations(), []);
    }
}

#[test]
fn what_cannot_be_is_said() {
    let mut world = Setup::new(91).drive("mem:64M").build();
    let host = world.add_host();
    assert_eq!(world.read(host, 1, 0, 8), Err(AskError::Busy(Busy::NotReady)));
    assert!(matches!(world.connect(host, &nqn(1)), Err(AskError::Failed(_))), "there is no second drive");
    world.connect(host, &nqn(0)).unwrap();
    assert_eq!(world.read(host, 1, 64 << 20, 8), Err(AskError::Status(Status::LBA_OUT_OF_RANGE.with_dnr())));
    assert_eq!(world.write(host, 2, 0, &[0; 512]), Err(AskError::Status(Status::INVALID_NAMESPACE.with_dnr())));
    world.unplug(host);
    let error = world.read(host, 1, 0, 8).unwrap_err();
    assert_eq!(error, AskError::Status(Status::ABORTED_BY_HOST), "{error}");
}

/// A call that waits takes no answer but its own.
#[test]
fn others_keep_their_completions() {
    let mut world = Setup::new(92).drive("mem:64M").build();
    let host = world.add_host();
    world.connect(host, &nqn(0)).unwrap();
    for tag in 0..4 {
        let read = Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: tag, blocks: 1, data: Vec::new(), tag };
        world.host(host).submit(read).unwrap();
    }
    world.write(host, 1, 0, &[7; 512]).unwrap();
    world.run_for(1_000_000);
    let mut tags: Vec<u64> = std::iter::from_fn(|| world.host(host).poll_completion()).map(|done| done.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, [0, 1, 2, 3]);
}

#[test]
fn a_drive_is_added_under_a_host_that_reads() {
    let mut world = Setup::new(93).drive("mem:64M").build();
    let host = world.add_host();
    world.connect(host, &nqn(0)).unwrap();
    world.write(host, 1, 0, &[1; 512]).unwrap();
    world.reconfigure(|configuration| assert_eq!(add_drive(configuration, "mem:64M"), 1));
    assert_eq!(world.read(host, 1, 0, 1).unwrap(), [1; 512], "the drive stays what it was");
    world.run_for(100_000_000);
    assert_eq!(world.status().drives.len(), 2);
    let other = world.add_host();
    world.connect(other, &nqn(1)).unwrap();
    assert_eq!(world.read(other, 1, 0, 1).unwrap(), [0; 512], "and the new one is another");
}
