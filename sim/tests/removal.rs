//! Drives that come and go: pulled out under load, put back, replaced, asked for, absent from the beginning. Others do not
//! feel it, no host is given another drive's blocks, and whoever waits for a drive gets it soon.

mod story;

use gantry_control::{DriveState, Namespace, Notice};
use gantry_drive::{Action, MediaError, Rule};
use gantry_sim::host::{Command, Data, Done, Io, IoKind, State};
use gantry_sim::world::World;
use gantry_wire::nvme::log::{ErrorEntry, SmartHealth};
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin};
use story::{NQN, SECOND, configuration, connect, plug, settled, sizes, world, world_of};
use zerocopy::FromBytes;

fn io(kind: IoKind, nsid: u32, slba: u64, data: Vec<u8>, tag: u64) -> Io {
    Io { queue: 1, kind, nsid, slba, blocks: 8, data, tag }
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

/// Two drives, as namespaces 1 and 2 of one subsystem.
fn two_drives(lcores: usize, seed: u64) -> World {
    let mut configuration = configuration("mem:64M");
    configuration.drives.push(gantry_control::Drive { name: "d1".into(), uri: "mem:64M".into() });
    let namespaces = &mut configuration.subsystems[0].namespaces;
    namespaces.push(Namespace { nsid: 2, drive: "d1".into(), uuid: [8; 16], read_only: false, drive_nsid: None });
    world_of(configuration, lcores, sizes(), seed)
}

fn ends_well(mut world: World, host: usize) {
    assert_eq!(world.host(host).violations(), []);
    world.host(host).disconnect();
    world.run_for(SECOND);
    settled(&mut world);
}

fn state(world: &mut World, drive: usize) -> DriveState {
    world.status().drives[drive].state.clone()
}

fn failed(world: &mut World, drive: usize) -> String {
    match state(world, drive) {
        DriveState::Failed(text) => text,
        other => panic!("{other:?}"),
    }
}

fn is_ready(world: &mut World, drive: usize) -> bool {
    matches!(state(world, drive), DriveState::Ready { .. })
}

/// Pulled out with commands in flight: they end at once and may be tried again, the other drive's never pause, and when it is
/// put back it serves what it held.
#[test]
fn pulled_out_under_load_and_put_back() {
    for lcores in [1, 2] {
        let mut world = two_drives(lcores, 100);
        let host = connect(&mut world, 1500, 2, 32);
        let written = run_one(&mut world, host, io(IoKind::Write, 1, 0, vec![0x5a; 4096], 1));
        assert!(written.status.is_success());
        let faults = world.card().faults("d0").unwrap();
        let slow =
            gantry_drive::Latency { seed: 1, base_ns: SECOND / 100, jitter_ns: 0, tail_of_10_000: 0, tail_ns: 0 };
        faults.lock().latency = Some(slow);
        for tag in 10..18 {
            world.host(host).submit(io(IoKind::Read, 1, tag, Vec::new(), tag)).unwrap();
        }
        world.run_for(SECOND / 1000);
        world.card().remove_drive("d0", 1);
        let begun_ns = world.now_ns();
        let mut ended = Vec::new();
        while ended.len() < 8 {
            assert!(world.now_ns() - begun_ns < SECOND / 100, "{} of 8 have ended", ended.len());
            let asked_ns = world.now_ns();
            let mut healthy = None;
            world.host(host).submit(io(IoKind::Read, 2, 0, Vec::new(), asked_ns)).unwrap();
            assert!(world.run_until(SECOND, |world| {
                while let Some(done) = world.host(host).poll_completion() {
                    if done.tag == asked_ns { healthy = Some(done) } else { ended.push(done) }
                }
                healthy.is_some()
            }));
            assert!(healthy.unwrap().status.is_success());
            assert!(world.now_ns() - asked_ns < SECOND / 1000, "the other drive pauses");
        }
        for done in &ended {
            assert!(!done.status.is_success() && !done.status.dnr(), "{}", done.status);
        }
        world.run_for(10 * SECOND);
        assert!(failed(&mut world, 0).contains("its slot is empty; waiting for it"));
        assert!(world.card().has_let_go_of("d0"));
        let told = |world: &World| world.notices().iter().filter(|n| matches!(n, Notice::DriveAbsent { .. })).count();
        assert_eq!(told(&world), 2, "what does not change is told once: {:#?}", world.notices());
        faults.lock().latency = None;
        world.card().return_drive("d0");
        assert!(world.run_until(5 * SECOND, |world| is_ready(world, 0)), "{:#?}", world.notices());
        let read = run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 3));
        assert_eq!((read.status, read.data), (Status::SUCCESS, vec![0x5a; 4096]));
        ends_well(world, host);
    }
}

/// Somebody unbinds the drive, or wants to unplug it in order: it is disabled and let go of well within a second, also when it
/// does not confirm that it is disabled.
#[test]
fn asked_for_it_is_let_go_of_soon() {
    for silent in [false, true] {
        let mut world = two_drives(2, 101);
        let host = connect(&mut world, 1500, 2, 32);
        world.card().faults("d0").unwrap().lock().stopped = silent;
        for tag in 10..14 {
            world.host(host).submit(io(IoKind::Read, 1, tag, Vec::new(), tag)).unwrap();
        }
        world.run_for(SECOND / 10);
        world.card().ask_for_drive("d0");
        let limit_ns = if silent { SECOND * 6 / 10 } else { SECOND / 100 };
        assert!(world.run_until(limit_ns, |world| world.card().has_let_go_of("d0")), "silent: {silent}");
        let mut ended = 0;
        assert!(world.run_until(SECOND / 100, |world| {
            ended += std::iter::from_fn(|| world.host(host).poll_completion()).count();
            ended == 4
        }));
        world.run_for(5 * SECOND);
        assert!(world.card().has_let_go_of("d0"), "it is not taken again while somebody wants it");
        world.card().faults("d0").unwrap().lock().stopped = false;
        world.card().return_drive("d0");
        assert!(world.run_until(5 * SECOND, |world| is_ready(world, 0)), "{:#?}", world.notices());
        assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 3)).status.is_success());
        ends_well(world, host);
    }
}

/// Pulled out and put back, or exchanged, faster than anybody looks.
#[test]
fn exchanged_at_once_and_another_in_its_place() {
    let mut world = two_drives(1, 102);
    let host = connect(&mut world, 1500, 2, 32);
    assert!(run_one(&mut world, host, io(IoKind::Write, 1, 0, vec![0x5a; 4096], 1)).status.is_success());
    world.card().remove_drive("d0", 1);
    world.card().return_drive("d0");
    world.run_for(2 * SECOND);
    let read = run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 2));
    assert_eq!((read.status, read.data), (Status::SUCCESS, vec![0x5a; 4096]));

    world.card().remove_drive("d0", 1);
    world.card().replace_drive("d0", "mem:64M", "another");
    world.run_for(30 * SECOND);
    let text = failed(&mut world, 0);
    assert!(text.contains("another drive is there") && text.contains("put the drive back that was there"), "{text}");
    assert!(!run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 3)).status.is_success());
    assert!(run_one(&mut world, host, io(IoKind::Read, 2, 0, Vec::new(), 4)).status.is_success());

    // The old one again, which is empty now as every memory drive is, but the same by its identity.
    world.card().remove_drive("d0", 1);
    world.card().replace_drive("d0", "mem:64M", "d0");
    assert!(world.run_until(5 * SECOND, |world| is_ready(world, 0)), "{:#?}", world.notices());
    assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 5)).status.is_success());
    ends_well(world, host);
}

/// A drive of the configuration that is not there when everything starts: the rest is served, hosts connect without waiting,
/// and they get its namespace when it is put in.
#[test]
fn absent_from_the_beginning() {
    let mut configuration = configuration("mem:64M");
    configuration.drives.push(gantry_control::Drive { name: "d1".into(), uri: "mem:64M".into() });
    let namespaces = &mut configuration.subsystems[0].namespaces;
    namespaces.push(Namespace { nsid: 2, drive: "d1".into(), uuid: [8; 16], read_only: false, drive_nsid: None });
    let mut world = World::new(configuration, 1, sizes(), 103);
    world.card().remove_drive("d1", 1);
    world.run_for(SECOND / 10);
    let begun_ns = world.now_ns();
    let host = connect(&mut world, 1500, 1, 32);
    assert!(world.now_ns() - begun_ns < SECOND, "a host does not wait for a drive that is not there");
    assert!(failed(&mut world, 1).contains("waiting for it"));
    assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 1)).status.is_success());
    assert_eq!(
        run_one(&mut world, host, io(IoKind::Read, 2, 0, Vec::new(), 2)).status.code(),
        Status::INVALID_NAMESPACE.code()
    );
    world.card().return_drive("d1");
    assert!(world.run_until(5 * SECOND, |world| is_ready(world, 1)), "{:#?}", world.notices());
    // The host is told, and scans.
    world.run_for(SECOND);
    assert_eq!(world.host(host).namespaces().len(), 2);
    assert!(run_one(&mut world, host, io(IoKind::Read, 2, 0, Vec::new(), 3)).status.is_success());
    ends_well(world, host);
}

/// A configuration that no waiting mends is refused at once.
#[test]
fn a_uri_that_is_none_is_refused() {
    let mut configuration = configuration("mem:64M");
    configuration.drives.push(gantry_control::Drive { name: "d1".into(), uri: "mem:lots".into() });
    let mut world = World::new(configuration, 1, sizes(), 104);
    world.run_for(SECOND / 10);
    assert!(world.notices().iter().any(|notice| matches!(notice, Notice::Refused { what, .. } if what == "drive d1")));
    assert!(is_ready(&mut world, 0));
}

/// Pulled out while control is dead: I/O to it ends without anybody's help, and a control that comes back hears of it; put
/// back while control is dead, it serves.
#[test]
fn pulled_out_and_put_back_while_control_is_dead() {
    let mut world = two_drives(1, 105);
    let host = connect(&mut world, 1500, 1, 32);
    world.target().control_restart_ns = 8 * SECOND;
    world.kill_control();
    world.card().remove_drive("d0", 1);
    world.run_for(SECOND / 10);
    assert!(!run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 1)).status.is_success());
    assert!(run_one(&mut world, host, io(IoKind::Read, 2, 0, Vec::new(), 2)).status.is_success());
    world.run_for(10 * SECOND);
    assert!(failed(&mut world, 0).contains("waiting for it"));
    world.kill_control();
    world.card().return_drive("d0");
    world.run_for(6 * SECOND);
    assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 3)).status.is_success());
    world.run_for(4 * SECOND);
    assert!(is_ready(&mut world, 0));
    ends_well(world, host);
}

/// Pulled out at each moment of its bring-up, and put back.
#[test]
fn pulled_out_during_bring_up() {
    let mut world = world("mem:64M", 106);
    let slow = Action::DelayNs(SECOND / 1000);
    world.card().faults("d0").unwrap().lock().rules.push(Rule {
        admin: true,
        opcode: None,
        times: 10_000,
        action: slow,
    });
    let mut moments = 0;
    loop {
        world.card().remove_drive("d0", 1);
        world.run_for(SECOND / 10);
        assert!(world.card().has_let_go_of("d0"), "after {moments} moments");
        assert!(!is_ready(&mut world, 0));
        world.card().return_drive("d0");
        assert!(world.run_until(5 * SECOND, |world| !world.card().has_let_go_of("d0")), "it is looked for");
        world.run_for(moments * SECOND / 2000);
        if is_ready(&mut world, 0) {
            break;
        }
        moments += 1;
    }
    assert!(moments > 10, "{moments} moments");
    let host = connect(&mut world, 1500, 1, 32);
    assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 1)).status.is_success());
    ends_well(world, host);
}

/// Pulled out just before a successor takes the data plane over, which finds it gone; and handed over while it is absent.
#[test]
fn pulled_out_around_a_handover() {
    let mut world = two_drives(2, 107);
    let host = connect(&mut world, 1500, 2, 32);
    assert!(run_one(&mut world, host, io(IoKind::Write, 1, 0, vec![0x5a; 4096], 1)).status.is_success());
    world.card().faults("d0").unwrap().lock().stopped = true;
    for tag in 10..14 {
        world.host(host).submit(io(IoKind::Read, 1, tag, Vec::new(), tag)).unwrap();
    }
    world.run_for(SECOND / 100);
    world.card().remove_drive("d0", 1);
    world.hand_over();
    let mut ended = 0;
    assert!(world.run_until(SECOND / 10, |world| {
        ended += std::iter::from_fn(|| world.host(host).poll_completion()).count();
        ended == 4
    }));
    world.run_for(3 * SECOND);
    world.hand_over();
    world.run_for(3 * SECOND);
    assert!(failed(&mut world, 0).contains("waiting for it"));
    assert!(run_one(&mut world, host, io(IoKind::Read, 2, 0, Vec::new(), 2)).status.is_success());
    world.card().faults("d0").unwrap().lock().stopped = false;
    world.card().return_drive("d0");
    world.hand_over();
    assert!(world.run_until(6 * SECOND, |world| is_ready(world, 0)), "{:#?}", world.notices());
    let read = run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 3));
    assert_eq!((read.status, read.data), (Status::SUCCESS, vec![0x5a; 4096]));
    // The successor of a successor knows what drive it was.
    world.card().remove_drive("d0", 1);
    world.run_for(SECOND / 10);
    world.hand_over();
    world.card().replace_drive("d0", "mem:64M", "another");
    world.run_for(6 * SECOND);
    assert!(failed(&mut world, 0).contains("another drive is there"));
    assert_eq!(*world.host(host).state(), State::Ready);
    ends_well(world, host);
}

/// A drive that no longer answers to CC.EN is reset below NVMe: it serves again, and was cut off meanwhile.
#[test]
fn a_reset_below_nvme_revives_it() {
    let mut world = world("mem:64M", 108);
    let host = connect(&mut world, 1500, 1, 32);
    world.card().set_takes_reset("d0", true);
    world.card().faults("d0").unwrap().lock().stopped = true;
    let read = run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 1));
    assert!(!read.status.is_success() && !read.status.dnr());
    assert!(world.run_until(3 * SECOND, |world| is_ready(world, 0)), "{:#?}", world.notices());
    assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 2)).status.is_success());
    ends_well(world, host);
}

/// A host that connects while a drive is away has the other's namespace at once.
#[test]
fn a_host_connects_while_a_drive_is_away() {
    let mut world = two_drives(1, 109);
    world.card().remove_drive("d0", 1);
    world.run_for(SECOND);
    let host = plug(&mut world, 1500);
    world.host(host).connect(NQN, 1, 32, 5_000);
    assert!(world.run_until(SECOND, |world| *world.host(host).state() == State::Ready), "{:#?}", world.notices());
    assert!(run_one(&mut world, host, io(IoKind::Read, 2, 0, Vec::new(), 1)).status.is_success());
    world.card().return_drive("d0");
    world.run_for(6 * SECOND);
    assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 2)).status.is_success());
    ends_well(world, host);
}

/// What a host hears of a drive that goes and comes: its namespace is inaccessible meanwhile, and commands end with a status
/// that lets it take another path or wait; a new control tells it nothing twice.
#[test]
fn hosts_hear_that_a_namespace_cannot_be_reached() {
    let mut world = two_drives(1, 110);
    let host = connect(&mut world, 1500, 1, 32);
    let access = |world: &mut World| (world.host(host).access(1), world.host(host).access(2));
    assert_eq!(access(&mut world), (Some(1), Some(1)));
    world.card().remove_drive("d0", 1);
    world.run_for(SECOND / 100);
    assert_eq!(access(&mut world), (Some(3), Some(1)), "inaccessible; the other optimized");
    for (tag, kind) in [(1, IoKind::Read), (2, IoKind::Write), (3, IoKind::Flush)] {
        let data = if kind == IoKind::Write { vec![0; 4096] } else { Vec::new() };
        assert_eq!(run_one(&mut world, host, io(kind, 1, 0, data, tag)).status, Status::ANA_INACCESSIBLE);
    }
    let told = world.host(host).counters().async_events;
    assert_eq!(told, 1);
    world.kill_control();
    world.run_for(2 * SECOND);
    assert_eq!((world.host(host).counters().async_events, access(&mut world)), (told, (Some(3), Some(1))));
    // A host that connects meanwhile has it already, as inaccessible: it keeps what it knew of it.
    let late = story::plug_as(&mut world, 1500, 5);
    world.host(late).connect(NQN, 1, 32, 5_000);
    assert!(world.run_until(SECOND, |world| *world.host(late).state() == State::Ready), "{:#?}", world.notices());
    assert_eq!((world.host(late).namespaces().len(), world.host(late).access(1)), (2, Some(3)));
    world.target().control_restart_ns = SECOND / 2;
    world.kill_control();
    world.card().return_drive("d0");
    assert!(world.run_until(6 * SECOND, |world| {
        world.host(host).access(1) == Some(1) && world.host(late).access(1) == Some(1)
    }));
    for host in [host, late] {
        assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 5)).status.is_success());
    }
    world.host(late).disconnect();
    ends_well(world, host);
}

/// While a drive that fell silent is being reset its commands wait, what comes meanwhile is refused as inaccessible, and hosts
/// have heard of it.
#[test]
fn a_drive_that_is_reset_is_inaccessible_meanwhile() {
    let mut world = two_drives(1, 111);
    let host = connect(&mut world, 1500, 1, 32);
    world.card().faults("d0").unwrap().lock().stopped = true;
    world.host(host).submit(io(IoKind::Read, 1, 0, Vec::new(), 1)).unwrap();
    assert!(world.run_until(16 * SECOND, |world| world.host(host).access(1) == Some(3)), "after ten seconds");
    assert!(world.host(host).poll_completion().is_none(), "the drive may still write to its buffer");
    assert_eq!(run_one(&mut world, host, io(IoKind::Read, 1, 8, Vec::new(), 2)).status, Status::ANA_INACCESSIBLE);
    let mut first = None;
    assert!(world.run_until(12 * SECOND, |world| {
        first = world.host(host).poll_completion();
        first.is_some()
    }));
    assert_eq!(first.unwrap().status, Status::INTERNAL_ERROR);
    world.card().faults("d0").unwrap().lock().stopped = false;
    assert!(world.run_until(3 * SECOND, |world| world.host(host).access(1) == Some(1)));
    assert!(run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 3)).status.is_success());
    ends_well(world, host);
}

/// An administrator elsewhere takes a namespace away, gives it back, and gives it another size: hosts see it, and no other
/// namespace takes its place.
#[test]
fn namespaces_come_go_and_change_size() {
    let mut world = world("mem:64M,namespaces=2", 112);
    let host = connect(&mut world, 1500, 1, 32);
    assert!(run_one(&mut world, host, io(IoKind::Write, 1, 0, vec![0x5a; 4096], 1)).status.is_success());
    world.card().set_active("d0", Nsid(1), false);
    world.run_for(SECOND / 10);
    assert_eq!(world.host(host).namespaces(), [], "gone, and the drive's second namespace is not given for it");
    let refused = run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 2));
    assert_eq!(refused.status.code(), Status::INVALID_NAMESPACE.code());
    // Neither does a control that has not seen the first.
    world.kill_control();
    world.run_for(2 * SECOND);
    assert_eq!(world.host(host).namespaces(), []);
    world.card().set_active("d0", Nsid(1), true);
    world.run_for(SECOND / 10);
    let read = run_one(&mut world, host, io(IoKind::Read, 1, 0, Vec::new(), 3));
    assert_eq!((read.status, read.data), (Status::SUCCESS, vec![0x5a; 4096]));
    assert_eq!(world.host(host).namespaces()[0].blocks, 65_536);
    world.card().set_blocks("d0", Nsid(1), 1_000);
    world.run_for(SECOND / 10);
    assert_eq!(world.host(host).namespaces()[0].blocks, 1_000);
    let beyond = run_one(&mut world, host, io(IoKind::Read, 1, 1_000, Vec::new(), 4));
    assert_eq!(beyond.status.code(), Status::LBA_OUT_OF_RANGE.code());
    ends_well(world, host);
}

/// A host's Get Log Page of the admin queue.
fn log(world: &mut World, host: usize, lid: u32, nsid: u32, bytes: u32, tag: u64) -> Vec<u8> {
    let mut sqe = Sqe::new(admin::LOG_PAGE, Cid(0), Nsid(nsid));
    sqe.cdw10 = (lid | (bytes / 4 - 1) << 16).into();
    world.host(host).submit_command(Command { queue: 0, sqe, data: Data::ToHost(bytes), tag }).unwrap();
    let mut done = None;
    assert!(world.run_until(SECOND, |world| {
        done = world.host(host).poll_completion().filter(|done| done.tag == tag);
        done.is_some()
    }));
    let done = done.unwrap();
    assert_eq!(done.status, Status::SUCCESS);
    done.data
}

/// A drive's SMART and error logs reach its hosts, of one namespace and of the controller, and a warning is told to a host
/// that asked.
#[test]
fn health_and_errors_are_passed_on() {
    let mut world = two_drives(1, 113);
    let host = connect(&mut world, 1500, 1, 32);
    let faults = world.card().faults("d0").unwrap();
    faults.lock().media_errors.push(MediaError { nsid: Nsid(1), slba: 100, blocks: 1, reads: true, writes: false });
    for tag in 0..3 {
        assert!(!run_one(&mut world, host, io(IoKind::Read, 1, 96, Vec::new(), tag)).status.is_success());
    }
    world.run_for(31 * SECOND);
    let health = |world: &mut World, nsid: u32| {
        let log = log(world, host, 2, nsid, 512, 1 << 32 | u64::from(nsid));
        SmartHealth::read_from_bytes(&log).unwrap()
    };
    let errors = |health: &SmartHealth| u128::from_le_bytes(health.media_errors);
    let (first, second, both) = (health(&mut world, 1), health(&mut world, 2), health(&mut world, u32::MAX));
    assert_eq!((errors(&first), errors(&second), errors(&both)), (3, 0, 3));
    let entries = log(&mut world, host, 1, u32::MAX, 256, 10);
    let entries = <[ErrorEntry]>::ref_from_bytes(&entries).unwrap();
    let newest = &entries[0];
    assert_eq!((newest.nsid.get(), newest.lba.get(), newest.cid.get()), (1, 96, 0xffff));
    assert!(newest.error_count > entries[1].error_count);

    let mut sqe = Sqe::new(admin::SET_FEATURES, Cid(0), Nsid(0));
    (sqe.cdw10, sqe.cdw11) = (0x0b.into(), (1 << 11 | 1 << 8 | 1 << 1).into());
    world.host(host).submit_command(Command { queue: 0, sqe, data: Data::None, tag: 11 }).unwrap();
    world.run_for(SECOND / 100);
    let told = world.host(host).counters().async_events;
    world.card().warn("d1", 1 << 1);
    world.run_for(SECOND / 10);
    assert_eq!(world.host(host).counters().async_events, told + 1, "its temperature, for which it asked");
    world.card().warn("d0", 1 << 0);
    world.run_for(SECOND / 10);
    assert_eq!(world.host(host).counters().async_events, told + 1, "its spare, for which it did not");
    // A new control knows what the one before did.
    world.kill_control();
    world.run_for(2 * SECOND);
    let (first, second, both) = (health(&mut world, 1), health(&mut world, 2), health(&mut world, u32::MAX));
    assert_eq!((first.critical_warning, second.critical_warning, both.critical_warning), (1, 2, 3));
    assert_eq!(errors(&both), 3);
    assert_eq!(world.host(host).counters().async_events, told + 1);
    while world.host(host).poll_completion().is_some() {}
    ends_well(world, host);
}
