//! Lost power: what a volatile write cache may lose and what it may not, and how the driver meets the drive again.

use crate::rig::{CONFIG, Rig};
use gantry_drive::{Action, Rule, SoftwareDrive, open};
use gantry_nvme::{Event, Failure, IoQueue, Reason, command};
use gantry_wire::nvme::feature::fid;
use gantry_wire::nvme::log::{SmartHealth, lid};
use gantry_wire::nvme::register::{self, Cc, Csts};
use gantry_wire::nvme::{Cid, DsmRange, Nsid, Sqe, admin};
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

const ONE: Nsid = Nsid(1);
const TWO: Nsid = Nsid(2);
const BLOCKS: u64 = 32;
const OLD: u8 = 1;
const NEW: u8 = 2;

fn write(rig: &mut Rig, queue: &mut IoQueue, nsid: Nsid, slba: u64, blocks: u64, byte: u8, fua: bool) {
    let length = blocks as usize * 512;
    rig.put(0, &vec![byte; length]);
    let sqe = command::write(nsid, Cid(1), slba, blocks as u32, rig.prps(0, length), fua);
    assert!(rig.run(queue, &sqe).status().is_success());
}

fn flush(rig: &mut Rig, queue: &mut IoQueue, nsid: Nsid) {
    assert!(rig.run(queue, &command::flush(nsid, Cid(1))).status().is_success());
}

/// What each block is full of.
fn blocks(rig: &mut Rig, queue: &mut IoQueue, nsid: Nsid) -> Vec<u8> {
    let length = BLOCKS as usize * 512;
    rig.put(0, &vec![0xee; length]);
    let sqe = command::read(nsid, Cid(1), 0, BLOCKS as u32, rig.prps(0, length), false);
    assert!(rig.run(queue, &sqe).status().is_success());
    let data = rig.take(0, length);
    let whole = |block: &[u8]| {
        assert!(block.iter().all(|&byte| byte == block[0]), "a block is torn");
        block[0]
    };
    data.chunks_exact(512).map(whole).collect()
}

/// Power is lost; the drive that comes back has a new driver.
fn lose_power(rig: Rig, seed: u64) -> (Rig, IoQueue) {
    let mut drive = taken_from(rig);
    drive.lose_power(seed);
    start(drive)
}

/// The drive without its driver, and without the driver's memory.
fn taken_from(rig: Rig) -> SoftwareDrive {
    assert!(rig.drive.space().unmap(&rig.memory));
    rig.drive
}

fn start(drive: SoftwareDrive) -> (Rig, IoQueue) {
    let mut rig = Rig::cold(drive, CONFIG);
    assert_eq!(rig.event(), Event::Ready);
    let queue = rig.controller.take_io_queue(0);
    (rig, queue)
}

/// Both namespaces hold OLD, durably; then NEW is written to both; then `and` happens, and power is lost. What the blocks
/// of both are then.
fn outcome(seed: u64, uri: &str, and: impl Fn(&mut Rig, &mut IoQueue)) -> [Vec<u8>; 2] {
    let (mut rig, mut queue) = start(open(uri, "test").unwrap());
    for nsid in [ONE, TWO] {
        write(&mut rig, &mut queue, nsid, 0, BLOCKS, OLD, false);
    }
    flush(&mut rig, &mut queue, Nsid::ALL);
    for nsid in [ONE, TWO] {
        write(&mut rig, &mut queue, nsid, 0, BLOCKS, NEW, false);
        assert_eq!(blocks(&mut rig, &mut queue, nsid), [NEW; BLOCKS as usize], "the cache is what is read");
    }
    and(&mut rig, &mut queue);
    let (mut rig, mut queue) = lose_power(rig, seed);
    [ONE, TWO].map(|nsid| blocks(&mut rig, &mut queue, nsid))
}

const CACHED: &str = "mem:1M,namespaces=2,cache=volatile";
const SEEDS: std::ops::Range<u64> = 0..40;

/// Whether some seed loses something of namespace `index`.
fn can_lose(uri: &str, index: usize, and: impl Fn(&mut Rig, &mut IoQueue)) -> bool {
    SEEDS.map(|seed| outcome(seed, uri, &and)).any(|blocks| blocks[index].contains(&OLD))
}

#[test]
fn what_is_not_durable_survives_block_by_block() {
    let (mut none, mut all, mut some) = (0, 0, 0);
    for seed in SEEDS {
        let ends = outcome(seed, CACHED, |_, _| {});
        assert_eq!(ends, outcome(seed, CACHED, |_, _| {}), "the seed decides");
        for blocks in ends {
            assert!(blocks.iter().all(|byte| [OLD, NEW].contains(byte)));
            match blocks.iter().filter(|&&byte| byte == NEW).count() as u64 {
                0 => none += 1,
                BLOCKS => all += 1,
                _ => some += 1,
            }
        }
    }
    assert!(none > 4 && all > 4 && some > 20, "none {none}, all {all}, some {some}");
}

#[test]
fn without_a_cache_nothing_is_lost() {
    assert!(!can_lose("mem:1M,namespaces=2", 0, |_, _| {}));
    let rig = Rig::new("mem:1M");
    assert!(!rig.controller.inventory().has_write_cache());
    assert!(Rig::new(CACHED).controller.inventory().has_write_cache());
}

#[test]
fn a_flush_is_its_namespaces() {
    let first = |rig: &mut Rig, queue: &mut IoQueue| flush(rig, queue, ONE);
    assert!(!can_lose(CACHED, 0, first) && can_lose(CACHED, 1, first));
    let every = |rig: &mut Rig, queue: &mut IoQueue| flush(rig, queue, Nsid::ALL);
    assert!(!can_lose(CACHED, 0, every) && !can_lose(CACHED, 1, every));
}

/// A write with FUA, and a read with it, make their own blocks durable and no others.
#[test]
fn fua_is_for_its_own_blocks() {
    let mut others_lost = [false; 2];
    for (seed, reads) in SEEDS.flat_map(|seed| [(seed, false), (seed, true)]) {
        let [blocks, _] = outcome(seed, CACHED, |rig, queue| {
            if reads {
                let read = command::read(ONE, Cid(1), 3, 4, rig.prps(0, 4 * 512), true);
                assert!(rig.run(queue, &read).status().is_success());
            } else {
                write(rig, queue, ONE, 3, 4, NEW, true);
            }
        });
        assert_eq!(blocks[3..7], [NEW; 4], "seed {seed}");
        others_lost[usize::from(reads)] |= blocks[2] == OLD && blocks[7] == OLD;
    }
    assert_eq!(others_lost, [true; 2]);
}

#[test]
fn with_the_cache_turned_off_every_write_is_durable() {
    let cache_off = |rig: &mut Rig, queue: &mut IoQueue| {
        let mut off = Sqe::new(admin::SET_FEATURES, Cid(0), Nsid(0));
        off.cdw10 = u32::from(fid::VOLATILE_WRITE_CACHE).into();
        rig.controller.submit_admin(rig.now_ns, off).unwrap();
        let Event::AdminCompleted { cqe, .. } = rig.event() else { panic!() };
        assert!(cqe.status().is_success());
        write(rig, queue, ONE, 0, BLOCKS, NEW, false);
    };
    assert!(!can_lose(CACHED, 0, cache_off) && can_lose(CACHED, 1, cache_off));
}

/// Zeroes and trims are writes like others: cached, lost, or flushed.
#[test]
fn zeroes_and_trims_are_cached_too() {
    let zeroes = |rig: &mut Rig, queue: &mut IoQueue| {
        flush(rig, queue, ONE);
        let sqe = command::write_zeroes(ONE, Cid(1), 0, BLOCKS as u32, true, false);
        assert!(rig.run(queue, &sqe).status().is_success());
    };
    let trim = |rig: &mut Rig, queue: &mut IoQueue| {
        flush(rig, queue, ONE);
        let range = DsmRange { cattr: 0.into(), nlb: (BLOCKS as u32).into(), slba: 0.into() };
        rig.put(0, range.as_bytes());
        let sqe = command::dsm(ONE, Cid(1), 1, rig.prps(0, 4096));
        assert!(rig.run(queue, &sqe).status().is_success());
    };
    for and in [zeroes, trim] as [fn(&mut Rig, &mut IoQueue); 2] {
        let seen: Vec<u8> = SEEDS.flat_map(|seed| outcome(seed, CACHED, and)[0].clone()).collect();
        assert!(seen.iter().all(|byte| [0, NEW].contains(byte)));
        assert!(seen.contains(&0) && seen.contains(&NEW));
        for seed in SEEDS {
            let [blocks, _] = outcome(seed, CACHED, |rig, queue| {
                and(rig, queue);
                flush(rig, queue, ONE);
            });
            assert_eq!(blocks, [0; BLOCKS as usize]);
        }
    }
}

/// An orderly shutdown makes all durable; a reset loses nothing and makes nothing durable.
#[test]
fn shutdown_and_reset() {
    let shut_down = |rig: &mut Rig, _: &mut IoQueue| {
        rig.controller.shutdown(rig.now_ns);
        assert_eq!(rig.event(), Event::ShutDown);
    };
    assert!(!can_lose(CACHED, 0, shut_down));
    let reset = |rig: &mut Rig, _: &mut IoQueue| {
        rig.controller.fail(rig.now_ns, Reason::Requested);
        rig.event();
    };
    assert!(can_lose(CACHED, 0, reset));
    let (mut rig, mut queue) = start(open(CACHED, "test").unwrap());
    write(&mut rig, &mut queue, ONE, 0, BLOCKS, NEW, false);
    reset(&mut rig, &mut queue);
    let (mut rig, mut queue) = start(taken_from(rig));
    assert_eq!(blocks(&mut rig, &mut queue, ONE), [NEW; BLOCKS as usize]);
}

/// The registers are those of a new drive, and what the controller held is never executed.
#[test]
fn what_was_in_flight_is_gone() {
    for uri in ["mem:1M", "mem:1M,cache=volatile"] {
        let (mut rig, mut queue) = start(open(uri, "test").unwrap());
        rig.put(0, &[NEW; 512]);
        let late = Rule { admin: false, opcode: None, times: u32::MAX, action: Action::DelayNs(1_000_000) };
        rig.faults(|faults| faults.rules.push(late));
        for cid in 0..20 {
            queue.submit(&command::write(ONE, Cid(cid), u64::from(cid), 1, rig.prps(0, 512), true)).unwrap();
        }
        queue.ring();
        rig.quiet(3);
        assert_ne!(rig.drive.model().next_ns(), u64::MAX);
        rig.drive.lose_power(1);
        assert_eq!(rig.drive.model().next_ns(), u64::MAX);
        let (bar, fresh) = (rig.drive.bar(), open(uri, "fresh").unwrap().bar());
        for at in (0..bar.length()).step_by(4) {
            assert_eq!(bar.load_u32(at, Ordering::Relaxed), fresh.load_u32(at, Ordering::Relaxed), "at {at:#x}");
        }
        // Rung in vain: nobody is enabled.
        queue.submit(&command::flush(ONE, Cid(99))).unwrap();
        queue.ring();
        for _ in 0..1000 {
            rig.now_ns += 10_000;
            assert!(!rig.drive.model().step(rig.now_ns));
        }
        assert_eq!(queue.poll(), None);
        rig.faults(|faults| faults.rules.clear());
        drop(queue);
        let (mut rig, mut queue) = start(taken_from(rig));
        rig.quiet(1000);
        assert_eq!(blocks(&mut rig, &mut queue, ONE), [0; BLOCKS as usize]);
    }
}

#[test]
fn smart_counts_lost_power() {
    let (mut rig, _) = start(open("mem:1M", "test").unwrap());
    rig.drive.lose_power(0);
    (rig, _) = start(taken_from(rig));
    rig.controller.shutdown(rig.now_ns);
    while Csts(rig.drive.bar().load_u32(register::CSTS, Ordering::Relaxed)).shst() != 2 {
        rig.now_ns += 1000;
        rig.drive.model().step(rig.now_ns);
    }
    let (mut rig, _) = lose_power(rig, 0);
    let mut log = Sqe::new(admin::LOG_PAGE, Cid(0), Nsid::ALL);
    log.cdw10 = (u32::from(lid::SMART_HEALTH) | 127 << 16).into();
    let prps = rig.prps(0, 512);
    log.set_prps(prps.0, prps.1);
    rig.controller.submit_admin(rig.now_ns, log).unwrap();
    rig.event();
    let smart = SmartHealth::read_from_bytes(&rig.take(0, 512)).unwrap();
    let counts = [smart.power_cycles, smart.unsafe_shutdowns].map(u128::from_le_bytes);
    assert_eq!(counts, [2, 1], "the second time it had been shut down");
}

/// The driver meets a controller that it did not disable: what it asked is never answered, so its timeout finds out, the
/// drive counts as stopped, and the restart brings it back.
#[test]
fn the_driver_finds_out_by_its_timeout() {
    let mut rig = Rig::new("mem:1M,cache=volatile");
    let mut queue = rig.controller.take_io_queue(0);
    rig.drive.lose_power(7);
    queue.submit(&command::flush(ONE, Cid(1))).unwrap();
    queue.ring();
    let since_ns = rig.now_ns;
    let mut failed = None;
    while failed.is_none() {
        failed = rig.tick();
        if queue.expired(rig.now_ns) && failed.is_none() {
            rig.controller.fail(rig.now_ns, Reason::IoTimeout { qid: 1 });
        }
        assert!(rig.now_ns < since_ns + 2 * CONFIG.command_timeout_ns);
    }
    assert!(matches!(failed, Some(Event::Failed(Failure { stopped: true, .. }))), "{failed:?}");
    rig.controller.give_back(queue);
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
}

/// Whenever it happens on the way up, the drive comes up in the end.
#[test]
fn power_lost_at_every_moment_of_bring_up() {
    let (mut ready, mut fails) = (false, 0);
    for ticks in 1.. {
        let mut rig = Rig::cold(open("mem:1M", "test").unwrap(), CONFIG);
        for _ in 0..ticks {
            ready |= rig.tick() == Some(Event::Ready);
        }
        if ready {
            break;
        }
        rig.drive.lose_power(0);
        loop {
            rig.now_ns += 1_000_000;
            rig.drive.model().step(rig.now_ns);
            match rig.controller.poll(rig.now_ns) {
                Some(Event::Ready) => break,
                Some(Event::Failed(_)) => {
                    fails += 1;
                    rig.controller.restart();
                }
                _ => assert!(rig.now_ns < 60_000_000_000),
            }
        }
        assert_eq!(Cc(rig.drive.bar().load_u32(register::CC, Ordering::Relaxed)).en(), 1);
    }
    assert!(fails > 5, "{fails}");
}
