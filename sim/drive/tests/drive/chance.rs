//! What goes wrong by chance: latency, media errors, a busy drive. The same seed draws the same.

use crate::rig::{CONFIG, Rig, pattern};
use gantry_drive::{Action, Busy, Latency, MediaChance, Rule};
use gantry_nvme::{IoQueue, command};
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin, nvm};

const ONE: Nsid = Nsid(1);
const SLOW: Latency = Latency { seed: 11, base_ns: 80_000, jitter_ns: 40_000, tail_of_10_000: 500, tail_ns: 5_000_000 };

/// Steps the drive at `now_ns` until it has nothing more to do, and takes what it answered.
fn step(rig: &mut Rig, queue: &mut IoQueue, now_ns: u64) -> Vec<Cid> {
    rig.now_ns = now_ns;
    while rig.drive.model().step(now_ns) {}
    let answered = std::iter::from_fn(|| queue.poll().map(|cqe| cqe.cid())).collect();
    queue.release();
    answered
}

/// 1,200 flushes, sixty at a time: how long each took, by a clock that only jumps to when the drive has something to do.
fn latencies(latency: Latency) -> (Vec<u64>, bool) {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    rig.faults(|faults| faults.latency = Some(latency));
    assert_eq!(rig.drive.model().next_ns(), u64::MAX);
    let mut took_ns = vec![0; 1200];
    let mut overtaken = false;
    for round in 0..20 {
        let begun_ns = rig.now_ns;
        for cid in 0..60 {
            queue.submit(&command::flush(ONE, Cid(round * 60 + cid))).unwrap();
        }
        queue.ring();
        assert_eq!(step(&mut rig, &mut queue, begun_ns), []);
        let mut last = None;
        while queue.outstanding() > 0 {
            let due_ns = rig.drive.model().next_ns();
            assert_eq!(step(&mut rig, &mut queue, due_ns - 1), [], "not before its time");
            let answered = step(&mut rig, &mut queue, due_ns);
            assert!(!answered.is_empty(), "at its time");
            for cid in answered {
                took_ns[usize::from(cid.0)] = due_ns - begun_ns;
                overtaken |= last.replace(cid.0) > Some(cid.0);
            }
        }
        assert_eq!(rig.drive.model().next_ns(), u64::MAX);
    }
    (took_ns, overtaken)
}

#[test]
fn latencies_are_the_distribution_and_the_seed() {
    let (took_ns, overtaken) = latencies(SLOW);
    assert!(overtaken);
    let fast: Vec<u64> = took_ns.iter().copied().filter(|&ns| ns < SLOW.tail_ns).collect();
    assert!((30..100).contains(&(took_ns.len() - fast.len())), "{} of 1200 are slow", took_ns.len() - fast.len());
    assert!(fast.iter().all(|ns| (80_000..=120_000).contains(ns)));
    assert!(fast.iter().min() < Some(&81_000) && fast.iter().max() > Some(&119_000));
    for slow_ns in took_ns.iter().filter(|&&ns| ns >= SLOW.tail_ns) {
        assert!((5_080_000..=5_120_000).contains(slow_ns));
    }
    assert_eq!(latencies(SLOW).0, took_ns);
    assert_ne!(latencies(Latency { seed: 12, ..SLOW }).0, took_ns);
    let even = Latency { jitter_ns: 0, tail_of_10_000: 0, ..SLOW };
    let (took_ns, overtaken) = latencies(even);
    assert!(took_ns.iter().all(|&ns| ns == 80_000) && !overtaken, "equal times keep the order of arrival");
}

/// A command reads and writes when it is due, not when it arrives.
#[test]
fn the_medium_is_touched_when_the_command_is_due() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    rig.put(0, &pattern(1, 512));
    let (data, prps) = (pattern(1, 512), rig.prps(0, 512));
    let late =
        |opcode, delay_ns| Rule { admin: false, opcode: Some(opcode), times: 1, action: Action::DelayNs(delay_ns) };
    rig.faults(|faults| {
        faults.latency = Some(Latency { jitter_ns: 0, tail_of_10_000: 0, ..SLOW });
        faults.rules = vec![late(nvm::WRITE, 1_000_000), late(nvm::READ, 900_000)];
    });
    let begun_ns = rig.now_ns;
    queue.submit(&command::write(ONE, Cid(1), 7, 1, prps, false)).unwrap();
    // The first read is due 100 µs before the write, on top of what each command takes; the second arrives after it.
    queue.submit(&command::read(ONE, Cid(2), 7, 1, rig.prps(4096, 512), false)).unwrap();
    queue.ring();
    assert_eq!(step(&mut rig, &mut queue, begun_ns), []);
    assert_eq!(step(&mut rig, &mut queue, begun_ns + 980_000), [Cid(2)]);
    assert_eq!(rig.take(4096, 512), [0; 512], "the write was not due");
    assert_eq!(step(&mut rig, &mut queue, begun_ns + 1_079_999), []);
    // What lies in memory when it is due is written, not what lay there when it came.
    rig.put(0, &pattern(2, 512));
    assert_eq!(step(&mut rig, &mut queue, begun_ns + 1_080_000), [Cid(1)]);
    queue.submit(&command::read(ONE, Cid(3), 7, 1, prps, false)).unwrap();
    queue.ring();
    step(&mut rig, &mut queue, begun_ns + 1_100_000);
    assert_eq!(step(&mut rig, &mut queue, begun_ns + 1_180_000), [Cid(3)]);
    assert!(rig.take(0, 512) == pattern(2, 512) && data != pattern(2, 512));
}

#[test]
fn what_falls_due_together_goes_in_the_order_of_time() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let rule = |delay_ns| Rule { admin: false, opcode: None, times: 1, action: Action::DelayNs(delay_ns) };
    rig.faults(|faults| faults.rules = [300, 100, 200, 100].map(rule).to_vec());
    for cid in 0..4 {
        queue.submit(&command::flush(ONE, Cid(cid))).unwrap();
    }
    queue.ring();
    let now_ns = rig.now_ns;
    assert_eq!(step(&mut rig, &mut queue, now_ns), []);
    assert_eq!(rig.drive.model().next_ns(), now_ns + 100);
    assert_eq!(step(&mut rig, &mut queue, now_ns + 1000), [Cid(1), Cid(3), Cid(2), Cid(0)]);
}

/// Deleting a queue answers what it holds, in the order in which it came, and nothing of another queue.
#[test]
fn a_queue_that_goes_takes_its_held_commands_along() {
    let mut rig = Rig::new("mem:1M");
    let mut queues = [rig.controller.take_io_queue(0), rig.controller.take_io_queue(1)];
    rig.faults(|faults| faults.latency = Some(Latency { base_ns: 50_000_000, ..SLOW }));
    for cid in [5, 3, 9, 1] {
        for queue in &mut queues {
            queue.submit(&command::flush(ONE, Cid(cid))).unwrap();
            queue.ring();
        }
    }
    rig.quiet(3);
    let mut delete = Sqe::new(admin::DELETE_IO_SQ, Cid(0), Nsid(0));
    delete.cdw10 = 1.into();
    rig.controller.submit_admin(rig.now_ns, delete).unwrap();
    rig.event();
    let answered: Vec<_> = std::iter::from_fn(|| queues[0].poll()).map(|cqe| (cqe.cid().0, cqe.status())).collect();
    assert_eq!(answered, [5, 3, 9, 1].map(|cid| (cid, Status::ABORTED_SQ_DELETION)));
    assert_eq!(queues[1].poll(), None);
    rig.now_ns += 100_000_000;
    rig.drive.model().step(rig.now_ns);
    assert_eq!(std::iter::from_fn(|| queues[1].poll()).filter(|cqe| cqe.status().is_success()).count(), 4);
    assert_eq!(queues[0].poll(), None);
}

/// How many of 2,000 writes of eight blocks failed, and how many blocks each of those left written.
fn failed_writes(rig: &mut Rig, queue: &mut IoQueue, chance: MediaChance, zeroes: bool) -> Vec<usize> {
    const LENGTH: usize = 8 * 512;
    let prps = rig.prps(0, LENGTH);
    let mut left = Vec::new();
    for round in 0..2000u32 {
        let (old, new) = ((round % 100 + 1) as u8, if zeroes { 0 } else { (round % 100 + 101) as u8 });
        let mut run = |rig: &mut Rig, sqe: Sqe, byte| {
            rig.put(0, &[byte; LENGTH]);
            rig.run(queue, &sqe).status()
        };
        rig.faults(|faults| faults.media_chance = None);
        assert!(run(rig, command::write(ONE, Cid(1), 40, 8, prps, false), old).is_success());
        rig.faults(|faults| faults.media_chance = Some(chance));
        let write = match zeroes {
            false => command::write(ONE, Cid(1), 40, 8, prps, false),
            true => command::write_zeroes(ONE, Cid(1), 40, 8, false, false),
        };
        let status = run(rig, write, new);
        rig.faults(|faults| faults.media_chance = None);
        assert!(run(rig, command::read(ONE, Cid(1), 40, 8, prps, false), 0xff).is_success());
        let data = rig.take(0, LENGTH);
        let written = data.iter().take_while(|&&byte| byte == new).count();
        assert!(written % 512 == 0 && data[written..].iter().all(|&byte| byte == old), "a block was torn");
        if status.is_success() {
            assert_eq!(written, LENGTH);
        } else {
            assert_eq!(status, Status::WRITE_FAULT);
            left.push(written / 512);
        }
    }
    left
}

#[test]
fn a_write_that_fails_leaves_nothing_or_its_beginning() {
    for zeroes in [false, true] {
        let chance = MediaChance { seed: 5, reads_of_10_000: 10_000, writes_of_10_000: 3000 };
        let mut rig = Rig::new("mem:1M");
        let mut queue = rig.controller.take_io_queue(0);
        let left = failed_writes(&mut rig, &mut queue, chance, zeroes);
        assert!((500..700).contains(&left.len()), "{} of 2000 failed", left.len());
        let count = |blocks| left.iter().filter(|&&written| written == blocks).count();
        assert!(count(0) > left.len() / 3, "every other leaves nothing");
        assert!((1..=8).all(|blocks| count(blocks) > 10), "any beginning is left now and then");
        let mut again = Rig::new("mem:1M");
        let mut queue = again.controller.take_io_queue(0);
        assert_eq!(failed_writes(&mut again, &mut queue, chance, zeroes), left);
    }
}

#[test]
fn a_read_that_fails_brings_no_data() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let chance = MediaChance { seed: 6, reads_of_10_000: 2500, writes_of_10_000: 0 };
    rig.faults(|faults| faults.media_chance = Some(chance));
    let prps = rig.prps(0, 512);
    let mut failed = 0;
    for round in 0..2000u64 {
        rig.put(0, &[(round % 250 + 1) as u8; 512]);
        assert!(rig.run(&mut queue, &command::write(ONE, Cid(1), round % 9, 1, prps, false)).status().is_success());
        rig.paint(0);
        let compare = round % 2 == 0;
        let ask = if compare { command::compare } else { command::read };
        match rig.run(&mut queue, &ask(ONE, Cid(1), round % 9, 1, prps, false)).status() {
            Status::UNRECOVERED_READ_ERROR => {
                failed += 1;
                assert!(rig.take(0, 512).iter().all(|&byte| byte == 0));
            }
            status if compare => assert_eq!(status, Status::COMPARE_FAILURE.with_dnr()),
            status => assert!(status.is_success() && rig.take(0, 512)[0] == (round % 250 + 1) as u8),
        }
    }
    assert!((400..600).contains(&failed), "{failed} of 2000");
    // What is wrong with the command itself is said first.
    let beyond = command::read(ONE, Cid(1), 1 << 40, 1, prps, false);
    assert_eq!(rig.run(&mut queue, &beyond).status(), Status::LBA_OUT_OF_RANGE.with_dnr());
}

#[test]
fn a_busy_drive_sends_commands_back_undone() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let prps = rig.prps(0, 512);
    let (mut sent_back, mut last) = ([0, 0], 0);
    for round in 1..=1000u32 {
        let byte = (round % 255 + 1) as u8;
        rig.put(0, &[byte; 512]);
        rig.faults(|faults| faults.busy = Some(Busy { seed: 9, of_10_000: 4000 }));
        match rig.run(&mut queue, &command::write(ONE, Cid(1), 3, 1, prps, false)).status() {
            Status::NAMESPACE_NOT_READY => sent_back[0] += 1,
            Status::COMMAND_INTERRUPTED => sent_back[1] += 1,
            status => {
                assert!(status.is_success());
                last = byte;
            }
        }
        rig.faults(|faults| faults.busy = None);
        assert!(rig.run(&mut queue, &command::read(ONE, Cid(1), 3, 1, prps, false)).status().is_success());
        assert_eq!(rig.take(0, 1), [last]);
    }
    assert!(sent_back.iter().all(|count| (150..250).contains(count)), "{sent_back:?}");
    // Only I/O commands: a drive that is always busy is brought up all the same.
    rig.faults(|faults| faults.busy = Some(Busy { seed: 9, of_10_000: 10_000 }));
    rig.controller.give_back(queue);
    rig.controller.shutdown(rig.now_ns);
    rig.event();
    rig.controller.restart();
    assert_eq!(rig.event(), gantry_nvme::Event::Ready);
    assert_eq!(rig.controller.inventory().io_entries, CONFIG.io_entries);
}
