//! Control dies, and no host loses anything.
//!
//! Around every frame that passes the channel, and at random moments: a host's I/O is not disturbed, each admin command is
//! answered once (the host model would see a second answer), and whatever was begun ends.

mod story;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use gantry_sim::host::{Command, Data, Io, IoKind, State};
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::{Kill, World};
use gantry_wire::nvme::{Cid, Nsid, Sqe, admin};
use story::{NQN, SECOND, connect, plug_again, plug_as, settled, world};

fn steady(seed: u64) -> Workload {
    Workload::new(Plan {
        nsid: 1,
        blocks: 8_192,
        block_size: 512,
        queues: 1,
        depth: 2,
        lengths: vec![4096, 16_384],
        reads: 50,
        seed,
    })
}

/// Everything that a host asks of control, one thing after the other, while another host does I/O. Each wait has a bound.
fn everything_asked_of_control(world: &mut World, io: usize, workload: &mut Workload) -> usize {
    let until = |world: &mut World, workload: &mut Workload, what: &str, done: &mut dyn FnMut(&mut World) -> bool| {
        let mut next_ns = 0;
        let ok = world.run_until(30 * SECOND, |world| {
            // A trickle of I/O all the time, not a flood: each run is one of hundreds.
            if world.now_ns() >= next_ns {
                next_ns = world.now_ns() + SECOND / 2000;
                workload.turn(world.host(io));
            }
            done(world)
        });
        let notices: String = world.notices().iter().map(|notice| format!("\n  {notice}")).collect();
        let target = world.target();
        assert!(ok, "{what} after {} kills:{notices}\n{:?}", target.kills, target.last_frames);
    };
    let host = plug_as(world, 1500, 9);
    world.host(host).connect(NQN, 2, 32, 5_000);
    until(world, workload, "connect", &mut |world| *world.host(host).state() == State::Ready);
    for (tag, opcode, cdw10) in
        [(1, admin::IDENTIFY, 1), (2, admin::GET_FEATURES, 7), (3, admin::LOG_PAGE, 127 << 16 | 2)]
    {
        let mut sqe = Sqe::new(opcode, Cid(0), Nsid(0));
        sqe.cdw10 = cdw10.into();
        let data = match opcode {
            admin::IDENTIFY => Data::ToHost(4096),
            admin::LOG_PAGE => Data::ToHost(512),
            _ => Data::None,
        };
        world.host(host).submit_command(Command { queue: 0, sqe, data, tag }).unwrap();
        until(world, workload, "an admin command", &mut |world| {
            world.host(host).poll_completion().is_some_and(|done| done.tag == tag && done.status.is_success())
        });
    }
    let read = Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: 0, blocks: 8, data: Vec::new(), tag: 4 };
    world.host(host).submit(read).unwrap();
    until(world, workload, "a read", &mut |world| {
        world.host(host).poll_completion().is_some_and(|done| done.tag == 4 && done.status.is_success())
    });
    world.host(host).reset();
    until(world, workload, "a reset", &mut |world| *world.host(host).state() == State::Ready);
    world.host(host).disconnect();
    until(world, workload, "a disconnect", &mut |world| *world.host(host).state() == State::Disconnected);
    host
}

/// One run; how many frames passed the channel from its beginning on.
fn run(kill: Option<fn(u64) -> Kill>, frame: u64) -> u64 {
    let mut world = world("mem:64M", 60);
    let io = connect(&mut world, 1500, 1, 32);
    let mut workload = steady(61);
    let begun = world.target().channel_frames;
    world.target().kill = kill.map(|moment| moment(begun + frame));
    let killed = world.target().kill;
    println!("{killed:?}");
    let asking = everything_asked_of_control(&mut world, io, &mut workload);
    let frames = world.target().channel_frames - begun;
    assert!(world.run_until(SECOND, |world| workload.drain(world.host(io))), "{killed:?}: I/O ends");
    assert_eq!(workload.errors, Vec::<String>::new(), "{killed:?}");
    for host in [io, asking] {
        assert_eq!(world.host(host).violations(), [], "{killed:?}");
    }
    world.host(io).disconnect();
    let left = world.run_until(10 * SECOND, |world| *world.host(io).state() == State::Disconnected);
    assert!(left, "{killed:?}: {:#?}", world.notices());
    settled(&mut world);
    frames
}

#[test]
fn around_every_frame_of_everything_asked_of_control() {
    let frames = run(None, 0);
    assert!(frames > 100, "{frames} frames pass without a kill");
    // Each frame before and after: a stride keeps the everyday run short, `GANTRY_KILLS=all` takes every one.
    let stride = if std::env::var("GANTRY_KILLS").is_ok_and(|value| value == "all") { 1 } else { 7 };
    // Each run is a world of its own: as many at once as there are cores.
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let frame = next.fetch_add(stride, Ordering::Relaxed);
                    if frame >= frames {
                        break;
                    }
                    run(Some(Kill::Before), frame);
                    run(Some(Kill::After), frame);
                }
            });
        }
    });
}

/// At moments that a seed draws, several times in one run.
#[test]
fn at_random_moments() {
    let runs = if std::env::var("GANTRY_KILLS").is_ok_and(|value| value == "all") { 200 } else { 15 };
    for seed in 0..runs {
        let mut world = world("mem:64M", 70 + seed);
        let io = connect(&mut world, 1500, 1, 32);
        let mut workload = steady(seed);
        world.target().kill_every_ns = Some((seed + 1, SECOND / 20));
        let asking = everything_asked_of_control(&mut world, io, &mut workload);
        world.target().kill_every_ns = None;
        assert!(world.run_until(SECOND, |world| workload.drain(world.host(io))), "seed {seed}: I/O ends");
        assert_eq!(workload.errors, Vec::<String>::new(), "seed {seed}");
        for host in [io, asking] {
            assert_eq!(world.host(host).violations(), [], "seed {seed}");
        }
        world.host(io).disconnect();
        assert!(world.run_until(10 * SECOND, |world| *world.host(io).state() == State::Disconnected), "seed {seed}");
        settled(&mut world);
    }
}

/// What a host with running I/O receives is the same to the byte, whether control dies twenty times or never.
#[test]
fn io_frames_are_the_same_with_and_without_kills() {
    let digest = |kills: u64| {
        let mut world = world("mem:64M", 62);
        let io = connect(&mut world, 1500, 1, 32);
        let mut workload = steady(63);
        let (mut done_kills, mut next_ns) = (0, world.now_ns());
        let end_ns = world.now_ns() + SECOND;
        world.run_until(2 * SECOND, |world| {
            if done_kills < kills && world.now_ns() >= next_ns {
                done_kills += 1;
                next_ns = world.now_ns() + SECOND / 25;
                world.kill_control();
            }
            if world.now_ns() < end_ns - SECOND / 20 {
                if workload.completed < 4_000 {
                    workload.turn(world.host(io));
                } else {
                    workload.drain(world.host(io));
                }
            }
            world.now_ns() >= end_ns
        });
        assert_eq!(workload.errors, Vec::<String>::new());
        assert!(workload.completed >= 2_000, "{} commands", workload.completed);
        assert_eq!(world.target().kills, kills);
        (workload.completed, world.digest(io))
    };
    assert_eq!(digest(0), digest(20));
}

/// A new life of the data plane: hosts come back by themselves when they try again, and find the namespace they knew.
#[test]
fn a_data_plane_that_dies_is_programmed_anew() {
    let directory = tempfile::tempdir().unwrap();
    let uri = format!("file:{},size=64M", directory.path().join("d0").display());
    let mut world = world(&uri, 64);
    let host = connect(&mut world, 1500, 1, 32);
    let known = world.host(host).namespaces().to_vec();
    let serial = world.host(host).controller().map(|identify| identify.serial().to_owned());
    let write = Io { queue: 1, kind: IoKind::Write, nsid: 1, slba: 8, blocks: 8, data: vec![0x5a; 4096], tag: 1 };
    world.host(host).submit(write).unwrap();
    assert!(world.run_until(SECOND, |world| world.host(host).poll_completion().is_some()));
    world.kill_card();
    world.run_for(SECOND / 2);
    // What a Linux host does when its keep alive fails: it gives the association up and connects anew.
    let again = plug_again(&mut world, 1500, 2);
    world.unplug(host);
    world.host(again).connect(NQN, 1, 32, 5_000);
    assert!(world.run_until(20 * SECOND, |world| *world.host(again).state() == State::Ready), "{:#?}", world.notices());
    assert_eq!(world.host(again).namespaces(), known, "the same identity");
    assert_eq!(world.host(again).controller().map(|identify| identify.serial().to_owned()), serial);
    let read = Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: 8, blocks: 8, data: Vec::new(), tag: 2 };
    world.host(again).submit(read).unwrap();
    let mut data = Vec::new();
    assert!(world.run_until(SECOND, |world| match world.host(again).poll_completion() {
        Some(done) => {
            data = done.data;
            true
        }
        None => false,
    }));
    assert_eq!(data, vec![0x5a; 4096]);
}

/// A host dies while control is dead too: its keep-alive timeout fences it without anybody's help, and a control that comes
/// back later only has to clear away.
#[test]
fn a_dead_host_is_fenced_while_control_is_away() {
    let mut world = world("mem:64M", 65);
    let host = connect(&mut world, 1500, 2, 32);
    world.target().control_restart_ns = 30 * SECOND;
    world.kill_control();
    let write = Io { queue: 1, kind: IoKind::Write, nsid: 1, slba: 0, blocks: 8, data: vec![1; 4096], tag: 1 };
    world.host(host).submit(write).unwrap();
    assert!(world.run_until(SECOND, |world| world.host(host).poll_completion().is_some()), "I/O goes on");
    // Keep alive is answered by the data plane: a living host stays well beyond its timeout.
    world.run_for(12 * SECOND);
    assert_eq!(*world.host(host).state(), State::Ready);
    let fenced = |world: &mut World| -> Vec<bool> {
        let core = world.card().lcore(0).core();
        let slots = 0..core.qps.capacity();
        slots.filter_map(|slot| core.qps.at(slot).map(|qp| qp.fenced)).collect()
    };
    assert_eq!(fenced(&mut world), [false; 3]);
    world.unplug(host);
    world.run_for(7 * SECOND);
    assert_eq!(fenced(&mut world), [true; 3], "the data plane fenced by itself");
    world.run_for(15 * SECOND);
    settled(&mut world);
}
