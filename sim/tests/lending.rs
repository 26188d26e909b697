//! Drives that grant fewer queue pairs than there are lcores, or short ones: every lcore's commands are served, and by the same
//! measure.

mod story;

use gantry_control::Notice;
use gantry_drive::{Action, Latency, Rule};
use gantry_pipeline::counters::Counter;
use gantry_pipeline::tables::mix;
use gantry_sim::host::{Command, Data, Io, IoKind, State};
use gantry_sim::workload::{Plan, Workload};
use gantry_sim::world::World;
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin, nvm};
use story::{SECOND, configuration, connect, settled, sizes, world_of};

const MICROSECOND: u64 = 1_000;

fn value(world: &mut World, counter: Counter) -> Vec<u64> {
    (0..world.card().lcores()).map(|lcore| world.card().lcore(lcore).core().counters.value(counter)).collect()
}

fn workload(queues: u16, depth: usize, reads: u32, seed: u64) -> Workload {
    let lengths = vec![512, 4096, 16_384, 131_072];
    Workload::new(Plan { nsid: 1, blocks: 65_536, block_size: 512, queues, depth, lengths, reads, seed })
}

fn ends_well(world: &mut World, host: usize, workload: &mut Workload) {
    assert!(world.run_until(20 * SECOND, |world| workload.drain(world.host(host))), "the last commands end");
    assert_eq!(world.host(host).violations(), []);
    world.host(host).disconnect();
    assert!(world.run_until(SECOND, |world| *world.host(host).state() == State::Disconnected));
    settled(world);
    for lcore in 0..world.card().lcores() {
        assert!(world.card().lcore(lcore).core().budgets.is_idle(), "budgets");
    }
}

/// Verified I/O over one and two queue pairs for two to four lcores, and over queues of one to seven commands.
#[test]
fn verified_io_over_fewer_queue_pairs_than_lcores() {
    for (lcores, options, owners) in [
        (2, "queues=1", 1),
        (4, "queues=1", 1),
        (4, "queues=2,entries=4", 2),
        (3, "queues=2,mdts=8K", 2),
        (2, "queues=1,entries=2", 1),
    ] {
        let mut world = world_of(configuration(&format!("mem:64M,{options}")), lcores, sizes(), 70);
        let queues = 2 * lcores as u16;
        let host = connect(&mut world, 4200, queues, 32);
        let mut load = workload(queues, 24, 60, 71);
        let done = world.run_until(60 * SECOND, |world| {
            load.turn(world.host(host));
            load.completed >= 1_000
        });
        assert!(done, "{lcores} lcores, {options}: {} commands in a minute", load.completed);
        assert_eq!(load.errors, Vec::<String>::new(), "{lcores} lcores, {options}");
        let lend = value(&mut world, Counter::Lent).iter().filter(|count| **count > 0).count();
        let borrow = value(&mut world, Counter::Borrowed).iter().filter(|count| **count > 0).count();
        assert_eq!((lend, borrow), (owners.min(lcores - owners), lcores - owners), "{lcores} lcores, {options}");
        ends_well(&mut world, host, &mut load);
        let come_back = value(&mut world, Counter::LentCompleted);
        assert_eq!(value(&mut world, Counter::Lent), come_back, "each lent command has come back");
    }
}

/// More commands than the queue pairs take, the same of every lcore: each lcore's share of what the drive completes is the same,
/// to a tenth.
#[test]
fn queue_pairs_and_their_depth_are_shared_evenly() {
    for (lcores, options) in
        [(2, "queues=1,entries=9"), (4, "queues=1,entries=9"), (4, "queues=2,entries=5"), (4, "queues=1,entries=4")]
    {
        let mut world = world_of(configuration(&format!("mem:64M,{options}")), lcores, sizes(), 72);
        let (base_ns, jitter_ns) = (50 * MICROSECOND, 10 * MICROSECOND);
        let latency = Latency { seed: 1, base_ns, jitter_ns, tail_of_10_000: 0, tail_ns: 0 };
        world.card().faults("d0").unwrap().lock().latency = Some(latency);
        let queues = lcores as u16;
        let host = connect(&mut world, 4200, queues, 64);
        // What one queue of the host has in flight does not depend on how the others fare.
        let mut sequence = 0;
        let mut in_flight = vec![0; lcores + 1];
        let mut turn = |world: &mut World| {
            while let Some(done) = world.host(host).poll_completion() {
                assert!(done.status.is_success());
                in_flight[(done.tag >> 40) as usize] -= 1;
            }
            for queue in 1..=queues {
                while in_flight[usize::from(queue)] < 32 {
                    sequence += 1;
                    let (slba, tag) = (mix(sequence) % 65_536, u64::from(queue) << 40 | sequence);
                    let read = Io { queue, kind: IoKind::Read, nsid: 1, slba, blocks: 8, data: Vec::new(), tag };
                    world.host(host).submit(read).unwrap();
                    in_flight[usize::from(queue)] += 1;
                }
            }
            false
        };
        world.run_until(SECOND / 100, &mut turn);
        let before = value(&mut world, Counter::Completed);
        world.run_until(SECOND / 20, &mut turn);
        let after = value(&mut world, Counter::Completed);
        let done: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        println!("{lcores} lcores, {options}: {done:?} commands completed");
        let (least, most) = (done.iter().min().unwrap(), done.iter().max().unwrap());
        assert!(*least > 500 && least * 10 >= most * 9, "{lcores} lcores, {options}: {done:?}");
        let drained = world.run_until(SECOND, |world| {
            while let Some(done) = world.host(host).poll_completion() {
                in_flight[(done.tag >> 40) as usize] -= 1;
            }
            in_flight.iter().all(|count| *count == 0)
        });
        assert!(drained);
        ends_well(&mut world, host, &mut workload(1, 1, 60, 1));
    }
}

/// The drive is reset again and again under load, by whichever lcore it is let go first: commands end, it comes back, and nothing
/// stays behind.
#[test]
fn a_shared_queue_pair_is_lost_and_comes_back() {
    let mut world = world_of(configuration("mem:64M,queues=1,entries=5"), 3, sizes(), 73);
    let host = connect(&mut world, 4200, 6, 32);
    let mut load = workload(6, 32, 100, 74);
    for life in 0..6 {
        let before = load.completed;
        world.run_until(SECOND, |world| {
            load.turn(world.host(host));
            load.completed >= before + 200 + life
        });
        assert!(load.completed > before, "life {life}: the drive serves");
        world.card().lose_power("d0", life);
        let ends = world.run_until(10 * SECOND, |world| {
            load.turn(world.host(host));
            let notices = world.notices().iter();
            notices.filter(|notice| matches!(notice, Notice::DriveReady { .. })).count() as u64 == life + 2
        });
        assert!(ends, "life {life}: the drive comes back");
        assert!(world.run_until(20 * SECOND, |world| load.drain(world.host(host))), "life {life}");
        // What the drive had when it lost power, and what came before it was back.
        let expected = [Status::INTERNAL_ERROR, Status::ANA_INACCESSIBLE].map(|status| status.to_string());
        let known = |error: &String| expected.iter().any(|status| error.contains(status.as_str()));
        assert!(load.errors.iter().all(known), "{:?}", load.errors);
        load.errors.clear();
        // It counts as steady after a minute.
        world.run_for(61 * SECOND);
    }
    ends_well(&mut world, host, &mut load);
}

/// The drive answers nothing: commands at it are aborted after five seconds, whoever's they are, and end with the reset after ten.
/// A host's abort reaches a command that is lent, at the drive and before it.
#[test]
fn a_lent_command_is_aborted() {
    let mut world = world_of(configuration("mem:64M,queues=1,entries=3"), 2, sizes(), 76);
    let host = connect(&mut world, 4200, 2, 32);
    let faults = world.card().faults("d0").unwrap();
    let slow = Rule { admin: false, opcode: Some(nvm::READ), times: u32::MAX, action: Action::DelayNs(60 * SECOND) };
    faults.lock().rules.push(slow);
    // Each of the host's queues is on another lcore: one of them borrows. Four commands each, and room for two at the drive.
    for tag in 0..8 {
        let queue = 1 + (tag % 2) as u16;
        let read = Io { queue, kind: IoKind::Read, nsid: 1, slba: tag * 8, blocks: 8, data: Vec::new(), tag };
        world.host(host).submit(read).unwrap();
    }
    world.run_for(SECOND / 100);
    assert!(value(&mut world, Counter::Borrowed).iter().sum::<u64>() >= 2, "commands are lent");
    let mut ended = Vec::new();
    'aborts: for queue in 1..=2_u32 {
        for cid in 0..64_u32 {
            let mut sqe = Sqe::new(admin::ABORT, Cid(0), Nsid(0));
            sqe.cdw10 = (cid << 16 | queue).into();
            let tag = 1_000 + u64::from(queue * 64 + cid);
            world.host(host).submit_command(Command { queue: 0, sqe, data: Data::None, tag }).unwrap();
            let mut answered = false;
            assert!(world.run_until(SECOND / 10, |world| {
                while let Some(done) = world.host(host).poll_completion() {
                    answered |= done.tag == tag;
                    if done.tag < 8 {
                        ended.push(done);
                    }
                }
                answered
            }));
            world.run_for(SECOND / 1000);
            while let Some(done) = world.host(host).poll_completion() {
                ended.push(done);
            }
            if ended.len() == 8 {
                break 'aborts;
            }
        }
    }
    assert_eq!(ended.len(), 8, "each command has ended before anybody's timeout: {ended:?}");
    assert!(ended.iter().all(|done| done.status.code() == Status::ABORT_REQUESTED.code()), "{ended:?}");
    faults.lock().rules.clear();
    // The ladder: two at the drive, the others wait; all end.
    let swallow = Rule { admin: false, opcode: Some(nvm::READ), times: u32::MAX, action: Action::Swallow };
    faults.lock().rules.push(swallow);
    for tag in 0..8 {
        let queue = 1 + (tag % 2) as u16;
        let read = Io { queue, kind: IoKind::Read, nsid: 1, slba: tag * 8, blocks: 8, data: Vec::new(), tag };
        world.host(host).submit(read).unwrap();
    }
    let mut ended = 0;
    world.run_for(6 * SECOND);
    faults.lock().rules.clear();
    assert!(world.run_until(12 * SECOND, |world| {
        while let Some(done) = world.host(host).poll_completion() {
            assert!(!done.status.is_success());
            ended += 1;
        }
        ended == 8
    }));
    world.run_for(SECOND);
    let mut load = workload(2, 8, 60, 77);
    world.run_until(SECOND, |world| {
        load.turn(world.host(host));
        load.completed >= 100
    });
    assert_eq!(load.errors, Vec::<String>::new());
    ends_well(&mut world, host, &mut load);
}

/// A host vanishes with commands that are lent.
#[test]
fn a_host_that_vanishes_leaves_nothing_lent() {
    let mut world = world_of(configuration("mem:64M,queues=1,entries=3"), 2, sizes(), 78);
    let latency = Latency { seed: 1, base_ns: 200 * MICROSECOND, jitter_ns: 1, tail_of_10_000: 0, tail_ns: 0 };
    world.card().faults("d0").unwrap().lock().latency = Some(latency);
    let host = connect(&mut world, 4200, 4, 32);
    let mut load = workload(4, 48, 60, 79);
    world.run_until(SECOND / 100, |world| {
        load.turn(world.host(host));
        false
    });
    assert!(value(&mut world, Counter::Borrowed).iter().sum::<u64>() > 20);
    world.unplug(host);
    world.run_for(30 * SECOND);
    settled(&mut world);
    assert_eq!(value(&mut world, Counter::Lent), value(&mut world, Counter::LentCompleted));
}

/// A successor takes the lcores over again and again, with commands on the rings between them, waiting and at the drive.
#[test]
fn lent_commands_are_handed_over() {
    let mut world = world_of(configuration("mem:64M,queues=1,entries=4"), 3, sizes(), 80);
    let latency =
        Latency { seed: 1, base_ns: 5 * MICROSECOND, jitter_ns: 5 * MICROSECOND, tail_of_10_000: 0, tail_ns: 0 };
    world.card().faults("d0").unwrap().lock().latency = Some(latency);
    let host = connect(&mut world, 4200, 6, 32);
    let mut load = workload(6, 40, 60, 81);
    let mut next_ns = 0;
    let mut handed = 0;
    assert!(world.run_until(60 * SECOND, |world| {
        load.turn(world.host(host));
        if world.now_ns() >= next_ns {
            world.hand_over();
            handed += 1;
            next_ns = world.now_ns() + 300 + mix(handed) % (10 * MICROSECOND);
        }
        load.completed >= 1_500
    }));
    assert!(handed > 300, "{handed} handovers");
    assert_eq!(load.errors, Vec::<String>::new());
    ends_well(&mut world, host, &mut load);
}
