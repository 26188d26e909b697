//! How things end: media errors, silent drives, vanished hosts, expired timers. What one breaks, others do not feel.

mod story;

use gantry_control::{Drive, Namespace, Notice};
use gantry_drive::{Action, MediaError, Rule};
use gantry_pipeline::counters::Counter;
use gantry_sim::host::{Command, Data, Done, Failure, Io, IoKind, State};
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::World;
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin, nvm};
use story::{NQN, SECOND, configuration, connect, plug_again, plug_as, settled, sizes, world, world_of};

fn io(kind: IoKind, slba: u64, blocks: u32, data: Vec<u8>, tag: u64) -> Io {
    Io { queue: 1, kind, nsid: 1, slba, blocks, data, tag }
}

fn run_one(world: &mut World, host: usize, io: Io) -> Done {
    let tag = io.tag;
    world.host(host).submit(io).unwrap();
    let mut done = None;
    world.run_until(40 * SECOND, |world| {
        done = world.host(host).poll_completion().filter(|done| done.tag == tag);
        done.is_some()
    });
    done.expect("the command ends")
}

/// Reads a block every 20 ms until `limit_ns` has passed or a command with tag `wanted` has ended: the longest that a
/// read took, and that command.
fn pulse(world: &mut World, host: usize, nsid: u32, limit_ns: u64, wanted: u64) -> (u64, Option<Done>) {
    let end_ns = world.now_ns() + limit_ns;
    let mut worst_ns = 0;
    let mut found = None;
    while world.now_ns() < end_ns && found.is_none() {
        let tag = world.now_ns();
        let begun_ns = world.now_ns();
        world.host(host).submit(Io { nsid, ..io(IoKind::Read, 64, 1, Vec::new(), tag) }).unwrap();
        let mut read = None;
        world.run_until(SECOND, |world| {
            while let Some(done) = world.host(host).poll_completion() {
                if done.tag == tag {
                    read = Some(done);
                } else if done.tag == wanted {
                    found = Some(done);
                }
            }
            read.is_some()
        });
        assert!(read.expect("the read ends").status.is_success());
        worst_ns = worst_ns.max(world.now_ns() - begun_ns);
        world.run_for(SECOND / 50);
    }
    (worst_ns, found)
}

#[test]
fn a_media_error_reaches_the_host_for_its_blocks_and_no_others() {
    let mut world = world("mem:64M", 40);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    faults.lock().media_errors.push(MediaError { nsid: Nsid(1), slba: 100, blocks: 1, reads: true, writes: false });
    let hit = run_one(&mut world, host, io(IoKind::Read, 96, 8, Vec::new(), 1));
    assert_eq!(hit.status.code(), Status::UNRECOVERED_READ_ERROR.code());
    assert_eq!(world.card().lcore(0).core().counters.value(Counter::ReadBytes), 0, "no data comes with an error");
    for (slba, tag) in [(92, 2), (101, 3)] {
        assert!(run_one(&mut world, host, io(IoKind::Read, slba, 8, Vec::new(), tag)).status.is_success());
    }
    assert_eq!(world.host(host).violations(), []);
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

#[test]
fn refusals_have_the_right_status() {
    let mut world = world("mem:64M", 41);
    let host = connect(&mut world, 1500, 1, 32);
    let last = 131_072;
    let beyond = run_one(&mut world, host, io(IoKind::Read, last - 1, 2, Vec::new(), 1));
    assert_eq!(beyond.status.code(), Status::LBA_OUT_OF_RANGE.code());
    let wrapped = run_one(&mut world, host, io(IoKind::Read, u64::MAX, 2, Vec::new(), 2));
    assert_eq!(wrapped.status.code(), Status::LBA_OUT_OF_RANGE.code());
    let trimmed = run_one(&mut world, host, io(IoKind::Dsm, last - 1, 2, Vec::new(), 3));
    assert_eq!(trimmed.status.code(), Status::LBA_OUT_OF_RANGE.code());
    let mut elsewhere = io(IoKind::Read, 0, 1, Vec::new(), 4);
    elsewhere.nsid = 2;
    assert_eq!(run_one(&mut world, host, elsewhere).status.code(), Status::INVALID_NAMESPACE.code());
    let same = run_one(&mut world, host, io(IoKind::Compare, 0, 1, vec![0; 512], 5));
    assert!(same.status.is_success());
    let other = run_one(&mut world, host, io(IoKind::Compare, 0, 1, vec![1; 512], 6));
    assert_eq!(other.status.code(), Status::COMPARE_FAILURE.code());
    let too_long = run_one(&mut world, host, io(IoKind::Read, 0, 257, Vec::new(), 7));
    assert_eq!(too_long.status.code(), Status::INVALID_FIELD.code());
    assert_eq!(world.host(host).violations(), []);
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// Writes, zeroes, trims: what is read back is what each of them promises.
#[test]
fn zeroes_and_trims_read_back_as_zeroes() {
    let mut world = world("mem:64M", 42);
    let host = connect(&mut world, 4200, 1, 32);
    assert!(run_one(&mut world, host, io(IoKind::Write, 0, 64, vec![0xa5; 32_768], 1)).status.is_success());
    assert!(run_one(&mut world, host, io(IoKind::WriteZeroes, 8, 8, Vec::new(), 2)).status.is_success());
    assert!(run_one(&mut world, host, io(IoKind::Dsm, 32, 8, Vec::new(), 3)).status.is_success());
    assert!(run_one(&mut world, host, io(IoKind::Flush, 0, 1, Vec::new(), 4)).status.is_success());
    let read = run_one(&mut world, host, io(IoKind::Read, 0, 64, Vec::new(), 5));
    for (lba, block) in read.data.chunks_exact(512).enumerate() {
        let expected = if (8..16).contains(&lba) || (32..40).contains(&lba) { 0 } else { 0xa5 };
        assert!(block.iter().all(|byte| *byte == expected), "block {lba}");
    }
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// Two namespaces of one drive, each under another NSID than the drive's own, are two disks.
#[test]
fn namespaces_of_one_drive_are_disks_apart() {
    let mut configuration = configuration("mem:64M,namespaces=2");
    let namespaces = &mut configuration.subsystems[0].namespaces;
    namespaces[0].drive_nsid = Some(2);
    let second = Namespace { nsid: 2, drive: "d0".into(), drive_nsid: Some(1), uuid: [8; 16], read_only: false };
    let third = Namespace { nsid: 3, drive: "d0".into(), drive_nsid: Some(3), uuid: [9; 16], read_only: false };
    namespaces.extend([second, third]);
    let mut world = world_of(configuration, 1, sizes(), 44);
    let host = connect(&mut world, 1500, 1, 32);
    let seen: Vec<u32> = world.host(host).namespaces().iter().map(|namespace| namespace.nsid).collect();
    assert_eq!(seen, [1, 2], "the drive has no third");
    for (nsid, byte) in [(1, 0x11), (2, 0x22)] {
        let write = Io { nsid, ..io(IoKind::Write, 0, 8, vec![byte; 4096], u64::from(nsid)) };
        assert!(run_one(&mut world, host, write).status.is_success());
    }
    for (nsid, byte) in [(1, 0x11), (2, 0x22)] {
        let read = run_one(&mut world, host, Io { nsid, ..io(IoKind::Read, 0, 8, Vec::new(), u64::from(10 + nsid)) });
        assert!(read.status.is_success() && read.data == vec![byte; 4096], "namespace {nsid}");
    }
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// A drive that swallows a command, and its abort, is reset: its commands end with an error in bounded time, it comes back,
/// and the other drive's I/O never pauses.
#[test]
fn a_silent_drive_fails_cleanly_and_alone() {
    let mut configuration = configuration("mem:64M");
    configuration.drives.push(Drive { name: "d1".into(), uri: "mem:64M".into() });
    let namespaces = &mut configuration.subsystems[0].namespaces;
    namespaces.push(Namespace { nsid: 2, drive: "d1".into(), drive_nsid: None, uuid: [8; 16], read_only: false });
    let mut world = world_of(configuration, 1, sizes(), 43);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    faults.lock().rules.push(Rule { admin: false, opcode: Some(nvm::READ), times: 1, action: Action::Swallow });
    world.host(host).submit(io(IoKind::Read, 0, 8, Vec::new(), u64::MAX)).unwrap();
    let begun_ns = world.now_ns();
    let (worst_ns, ended) = pulse(&mut world, host, 2, 25 * SECOND, u64::MAX);
    let took_ns = world.now_ns() - begun_ns;
    assert!(!ended.expect("the swallowed command ends").status.is_success());
    assert!((10 * SECOND..16 * SECOND).contains(&took_ns), "ended after {took_ns} ns");
    assert!(worst_ns < SECOND / 1000, "the healthy drive paused for {worst_ns} ns");
    assert!(world.notices().iter().any(|notice| matches!(notice, Notice::DriveFailed { drive, .. } if drive == "d0")));
    // The reset has brought it back.
    assert!(world.run_until(SECOND, |world| {
        world
            .notices()
            .iter()
            .filter(|notice| matches!(notice, Notice::DriveReady { drive, .. } if drive == "d0"))
            .count()
            == 2
    }));
    assert!(run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), u64::MAX - 1)).status.is_success());
    pulse(&mut world, host, 2, SECOND / 10, 0);
    assert_eq!(world.host(host).violations(), []);
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// A drive that stops, and does not even confirm that it is disabled, is cut off from memory: its commands end all the same,
/// it refuses from then on, and the buffers it had are used again. When it stirs it gets its memory back and serves.
#[test]
fn a_dead_drive_is_cut_off_until_it_stirs() {
    let mut world = world("mem:64M", 48);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    faults.lock().stopped = true;
    for tag in 0..8 {
        world.host(host).submit(io(IoKind::Write, tag * 8, 8, vec![1; 4096], tag)).unwrap();
    }
    let begun_ns = world.now_ns();
    let mut ended = Vec::new();
    assert!(world.run_until(29 * SECOND, |world| {
        ended.extend(world.host(host).poll_completion());
        !ended.is_empty()
    }));
    // Until it is cut off it may still touch its commands' buffers: none of them ends before.
    world.run_for(SECOND / 1000);
    let is_told = |notice: &Notice| matches!(notice, Notice::DriveFailed { drive, .. } if drive == "d0");
    assert!(world.notices().iter().any(is_told), "a command has ended at a drive that was not cut off");
    assert!(world.run_until(SECOND, |world| {
        ended.extend(world.host(host).poll_completion());
        ended.len() == 8
    }));
    assert!(ended.iter().all(|done| !done.status.is_success() && done.status != Status::ABORTED_BY_HOST));
    assert!(world.now_ns() - begun_ns < 28 * SECOND, "before the host's own timeout");
    let refused = run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), 100));
    assert!(!refused.status.is_success());
    world.run_for(60 * SECOND);
    faults.lock().stopped = false;
    world.run_for(2 * SECOND);
    assert!(run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), 101)).status.is_success());
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// Completions that answer nothing take entries of the completion queue like any other, and are given back.
#[test]
fn stray_completions_do_not_fill_the_completion_queue() {
    let mut world = world("mem:64M,entries=4", 52);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    for tag in 0..8 {
        faults.lock().stray = 3;
        let begun_ns = world.now_ns();
        assert!(run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), tag)).status.is_success());
        assert!(world.now_ns() - begun_ns < SECOND / 1000);
    }
    // The last few are found with the next command.
    let unknown = world.card().lcore(0).core().counters.value(Counter::UnknownCid);
    assert!((20..=24).contains(&unknown), "{unknown} counted");
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// A drive that loses power while nobody asks anything of it is brought up again at once, and the next command finds it there.
#[test]
fn lost_power_is_noticed_without_a_command() {
    let mut world = world("mem:64M", 50);
    let host = connect(&mut world, 1500, 1, 32);
    world.card().lose_power("d0", 1);
    world.run_for(SECOND / 10);
    let begun_ns = world.now_ns();
    assert!(run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), 1)).status.is_success());
    assert!(world.now_ns() - begun_ns < SECOND / 1000);
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// A drive that reports itself broken for a while is tried again, later and later, until it serves.
#[test]
fn a_broken_drive_is_tried_again() {
    let mut world = world("mem:64M", 51);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    faults.lock().fatal = true;
    world.run_for(20 * SECOND);
    let failures =
        |world: &World| world.notices().iter().filter(|notice| matches!(notice, Notice::DriveFailed { .. })).count();
    assert!((4..10).contains(&failures(&world)), "{} attempts in 20 s", failures(&world));
    assert!(!run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), 1)).status.is_success());
    faults.lock().fatal = false;
    world.run_for(30 * SECOND);
    assert!(run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), 2)).status.is_success());
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// A drive that is slow is asked to abort: the command ends without a reset, and the drive serves on.
#[test]
fn a_slow_command_is_aborted_before_the_drive_is_reset() {
    let mut world = world("mem:64M", 49);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    let slow = Rule { admin: false, opcode: Some(nvm::READ), times: 1, action: Action::DelayNs(60 * SECOND) };
    faults.lock().rules.push(slow);
    let begun_ns = world.now_ns();
    let ended = run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), 1));
    assert_eq!(ended.status.code(), Status::ABORT_REQUESTED.code());
    assert!((5 * SECOND..6 * SECOND).contains(&(world.now_ns() - begun_ns)));
    assert!(run_one(&mut world, host, io(IoKind::Read, 0, 8, Vec::new(), 2)).status.is_success());
    assert!(!world.notices().iter().any(|notice| matches!(notice, Notice::DriveFailed { .. })));
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// A host aborts a command that a drive is slow over: the Abort reaches the drive, and the command ends long before anybody's
/// timeout.
#[test]
fn a_hosts_abort_reaches_the_drive() {
    let mut world = world("mem:64M", 50);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    let slow = Rule { admin: false, opcode: Some(nvm::READ), times: 1, action: Action::DelayNs(60 * SECOND) };
    faults.lock().rules.push(slow);
    world.host(host).submit(io(IoKind::Read, 0, 8, Vec::new(), 1)).unwrap();
    world.run_for(SECOND / 100);
    let begun_ns = world.now_ns();
    // Its CID is not told; a host of its own would know it. At most one of these is the read's.
    let mut ended = None;
    for cid in 0..=u16::MAX {
        let mut sqe = Sqe::new(admin::ABORT, Cid(0), Nsid(0));
        sqe.cdw10 = (u32::from(cid) << 16 | 1).into();
        let tag = 1_000 + u64::from(cid);
        world.host(host).submit_command(Command { queue: 0, sqe, data: Data::None, tag }).unwrap();
        let mut answered = false;
        assert!(world.run_until(SECOND, |world| {
            while let Some(done) = world.host(host).poll_completion() {
                answered |= done.tag == tag;
                if done.tag == 1 {
                    ended = Some(done);
                }
            }
            answered
        }));
        world.run_for(SECOND / 1000);
        while let Some(done) = world.host(host).poll_completion() {
            ended = Some(done);
        }
        if ended.is_some() {
            break;
        }
        assert!(world.now_ns() - begun_ns < 4 * SECOND, "no Abort reached the command");
    }
    assert_eq!(ended.unwrap().status.code(), Status::ABORT_REQUESTED.code());
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// A host vanishes with a write at a slow drive, comes back at once and writes the same blocks anew. The late write must
/// not land behind the new one: the new association waits until the old one's write has ended.
#[test]
fn a_late_write_never_lands_after_its_retry() {
    let mut world = world("mem:64M", 44);
    let first = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    let slow = Rule { admin: false, opcode: Some(nvm::WRITE), times: 1, action: Action::DelayNs(4 * SECOND) };
    faults.lock().rules.push(slow);
    world.host(first).submit(io(IoKind::Write, 0, 8, vec![0x0d; 4096], 1)).unwrap();
    // The write is at the drive when the host goes.
    world.run_for(SECOND / 100);
    assert_eq!(world.card().lcore(0).core().counters.value(Counter::Submitted), 1);
    world.host(first).disconnect();
    world.run_for(SECOND / 100);
    world.unplug(first);
    let again = plug_again(&mut world, 1500, 2);
    world.host(again).connect(NQN, 1, 32, 5_000);
    let begun_ns = world.now_ns();
    let ready = world.run_until(20 * SECOND, |world| {
        // A rebooted host uses QPNs of its former life: its first REQ ends the connection that has gone stale.
        if matches!(world.host(again).state(), State::Failed(Failure::Rejected { .. })) {
            world.host(again).connect(NQN, 1, 32, 5_000);
        }
        *world.host(again).state() == State::Ready
    });
    let state = *world.host(again).state();
    assert!(ready, "{state:?} {:?}", world.target().last_frames);
    let waited_ns = world.now_ns() - begun_ns;
    assert!(run_one(&mut world, again, io(IoKind::Write, 0, 8, vec![0x4e; 4096], 2)).status.is_success());
    world.run_for(6 * SECOND);
    let read = run_one(&mut world, again, io(IoKind::Read, 0, 8, Vec::new(), 3));
    assert!(read.data.iter().all(|byte| *byte == 0x4e), "the late write landed after its retry");
    assert!(waited_ns > 3 * SECOND, "the Connect waited for the old write");
    world.host(again).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// A host that is cut off in the middle of I/O costs nothing for good: its QPs fail or its keep alive expires, and all
/// that it held comes back. Another host does not notice.
#[test]
fn a_host_cut_off_under_load_gives_everything_back() {
    let mut world = world("mem:64M", 45);
    let lost = connect(&mut world, 1500, 2, 32);
    let other = plug_as(&mut world, 1500, 3);
    world.host(other).connect(NQN, 1, 32, 5_000);
    assert!(world.run_until(10 * SECOND, |world| *world.host(other).state() == State::Ready));
    let mut doomed = Workload::new(Plan {
        nsid: 1,
        blocks: 8_192,
        block_size: 512,
        queues: 2,
        depth: 32,
        lengths: vec![4096, 131_072],
        reads: 50,
        seed: 6,
    });
    world.run_until(SECOND / 50, |world| {
        doomed.turn(world.host(lost));
        false
    });
    assert!(doomed.completed > 0);
    world.unplug(lost);
    let (worst_ns, _) = pulse(&mut world, other, 1, 30 * SECOND, 0);
    assert!(worst_ns < SECOND / 1000, "the other host paused for {worst_ns} ns");
    world.host(other).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// Large writes at full depth: READs in flight never exceed the port's budget, and everything arrives.
#[test]
fn fetches_keep_within_their_budget() {
    let mut world = world("mem:64M", 46);
    let host = connect(&mut world, 4200, 4, 64);
    let mut writes = Workload::new(Plan {
        nsid: 1,
        blocks: 131_072,
        block_size: 512,
        queues: 4,
        depth: 40,
        lengths: vec![131_072],
        reads: 0,
        seed: 8,
    });
    let mut most = 0;
    assert!(world.run_until(60 * SECOND, |world| {
        writes.turn(world.host(host));
        most = most.max(world.card().lcore(0).core().fetching[0]);
        writes.completed >= 400
    }));
    assert!(world.run_until(SECOND, |world| writes.drain(world.host(host))));
    assert_eq!(writes.errors, Vec::<String>::new());
    assert!(most > 1 << 19 && most <= 1 << 20, "{most} bytes in flight");
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

/// More commands than there are buffers for: hosts wait, nothing fails, nothing stays behind.
#[test]
fn starved_of_buffers_everything_still_completes() {
    let mut few = sizes();
    (few.commands, few.pages) = (96, 160);
    let mut world = world_of(configuration("mem:64M"), 1, few, 47);
    let host = connect(&mut world, 1500, 4, 64);
    let mut load = Workload::new(Plan {
        nsid: 1,
        blocks: 131_072,
        block_size: 512,
        queues: 4,
        depth: 200,
        lengths: vec![512, 65_536, 131_072],
        reads: 50,
        seed: 9,
    });
    let done = world.run_until(300 * SECOND, |world| {
        load.turn(world.host(host));
        load.completed >= 2_000
    });
    let state = *world.host(host).state();
    assert!(done, "{} commands, {state:?}, {:?}", load.completed, load.errors);
    assert!(world.run_until(30 * SECOND, |world| load.drain(world.host(host))));
    assert_eq!(load.errors, Vec::<String>::new());
    let counters = &world.card().lcore(0).core().counters;
    assert!(counters.value(Counter::WaitedBuffers) > 0 && counters.value(Counter::Rnr) > 0, "it was starved");
    world.host(host).disconnect();
    world.run_for(5 * SECOND);
    settled(&mut world);
}
