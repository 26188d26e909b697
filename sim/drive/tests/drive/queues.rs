//! Rings: wrap, phase, full, doorbells, two queues at once, completions out of order.

use crate::rig::{CONFIG, Rig, pattern};
use gantry_drive::{Action, Rule};
use gantry_nvme::{Config, IoQueue, QueueFull, command};
use gantry_wire::nvme::{Cid, Nsid, Status, nvm};
use proptest::prelude::*;
use std::collections::BTreeSet;

const ONE: Nsid = Nsid(1);

fn take_all(queue: &mut IoQueue, outstanding: &mut BTreeSet<u16>) -> usize {
    let mut taken = 0;
    while let Some(cqe) = queue.poll() {
        assert!(cqe.status().is_success());
        assert!(outstanding.remove(&cqe.cid().0), "CID {:#x} was answered twice", cqe.cid().0);
        taken += 1;
    }
    taken
}

#[test]
fn full_is_one_less_than_the_entries() {
    for entries in [2u16, 3, 64] {
        let mut rig = Rig::with("mem:1M", Config { io_entries: entries, ..CONFIG });
        let mut queue = rig.controller.take_io_queue(0);
        for lap in 0..3 * entries {
            let mut outstanding = BTreeSet::new();
            for cid in 0..entries - 1 {
                assert_eq!(queue.room(), entries - 1 - cid);
                queue.submit(&command::flush(ONE, Cid(cid))).unwrap();
                outstanding.insert(cid);
            }
            assert_eq!(queue.submit(&command::flush(ONE, Cid(0xffff))), Err(QueueFull));
            assert_eq!(queue.outstanding(), entries - 1);
            queue.ring();
            // Nothing is free before an answer says so.
            assert_eq!(queue.room(), 0);
            for _ in 0..10 {
                rig.tick();
            }
            assert_eq!(take_all(&mut queue, &mut outstanding), usize::from(entries) - 1, "lap {lap}");
            queue.release();
            assert_eq!(queue.room(), entries - 1);
        }
        let counters = queue.counters();
        assert_eq!((counters.unknown_cid, counters.bad_sqhd), (0, 0));
        assert_eq!((counters.sq_doorbells, counters.cq_doorbells), (3 * u64::from(entries), 3 * u64::from(entries)));
    }
}

/// The drive must not know of a command before its doorbell, nor reuse an entry before its release.
#[test]
fn doorbells_are_what_the_drive_goes_by() {
    let mut rig = Rig::with("mem:1M", Config { io_entries: 4, ..CONFIG });
    let mut queue = rig.controller.take_io_queue(0);
    queue.submit(&command::flush(ONE, Cid(1))).unwrap();
    rig.quiet(10);
    assert_eq!(queue.poll(), None, "not rung");
    queue.ring();
    queue.ring();
    rig.quiet(10);
    assert_eq!(queue.poll().unwrap().cid(), Cid(1));
    assert_eq!(queue.counters().sq_doorbells, 1, "a doorbell only when there is something new");
    // Three more completions fill the queue of four (one is unreleased): the third has no entry.
    for cid in 2..=4 {
        queue.submit(&command::flush(ONE, Cid(cid))).unwrap();
    }
    queue.ring();
    rig.quiet(10);
    assert_eq!((queue.poll().map(|cqe| cqe.cid()), queue.poll().map(|cqe| cqe.cid())), (Some(Cid(2)), Some(Cid(3))));
    rig.quiet(10);
    assert_eq!(queue.poll(), None, "the completion queue is full until released");
    queue.release();
    rig.quiet(10);
    assert_eq!(queue.poll().unwrap().cid(), Cid(4));
}

#[test]
#[should_panic(expected = "outstanding on queue 1")]
fn a_cid_used_twice_is_our_own_fault() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    queue.submit(&command::flush(ONE, Cid(7))).unwrap();
    queue.submit(&command::flush(ONE, Cid(7))).unwrap();
}

#[test]
fn late_answers_come_out_of_order_and_all_come() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let slow = Rule { admin: false, opcode: Some(nvm::FLUSH), times: 1, action: Action::DelayNs(5_000_000) };
    rig.faults(|faults| faults.rules.push(slow));
    for cid in 1..=3 {
        queue.submit(&command::flush(ONE, Cid(cid))).unwrap();
    }
    queue.ring();
    let order: Vec<u16> = (0..3).map(|_| rig.answer(&mut queue).cid().0).collect();
    assert_eq!(order, [2, 3, 1]);
    assert!(rig.now_ns >= 5_000_000);
    // Its entry was fetched long ago: the queue has all its room.
    assert_eq!((queue.room(), queue.outstanding()), (63, 0));
}

#[test]
fn two_lcores_share_a_drive_and_nothing_else() {
    let mut rig = Rig::new("mem:8M");
    let mut queues = [rig.controller.take_io_queue(0), rig.controller.take_io_queue(1)];
    let prps = rig.prps(0, 512);
    // Queue 0 is never polled until the end: queue 1 goes on regardless.
    for cid in 0..63 {
        queues[0].submit(&command::write(ONE, Cid(cid), 0, 1, prps, false)).unwrap();
    }
    queues[0].ring();
    for round in 0..500 {
        let slba = 100 + round % 100;
        let data = pattern(round, 512);
        rig.put(0, &data);
        // The same CIDs as on the other queue.
        let cid = Cid((round % 63) as u16);
        assert!(rig.run(&mut queues[1], &command::write(ONE, cid, slba, 1, prps, false)).status().is_success());
        assert!(rig.run(&mut queues[1], &command::compare(ONE, cid, slba, 1, prps, false)).status().is_success());
    }
    let mut outstanding: BTreeSet<u16> = (0..63).collect();
    assert_eq!(take_all(&mut queues[0], &mut outstanding), 63);
    assert_eq!(queues[1].counters().completed, 1000);
}

#[test]
fn an_answer_with_a_status_is_handed_out_as_it_is() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(1);
    let answer = Action::Answer(Status::NAMESPACE_NOT_READY);
    rig.faults(|faults| faults.rules.push(Rule { admin: false, opcode: None, times: 1, action: answer }));
    let cqe = rig.run(&mut queue, &command::flush(ONE, Cid(0xffff)));
    assert_eq!((cqe.status(), cqe.sqid.get(), cqe.sqhd.get()), (Status::NAMESPACE_NOT_READY, 2, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Any mix of submitting, ringing, polling and releasing: each command is answered once, however often the
    /// rings wrap.
    #[test]
    fn every_command_is_answered_once(entries in 2u16..9, acts in prop::collection::vec(0u8..5, 200..600)) {
        let mut rig = Rig::with("mem:1M", Config { io_queues: 1, io_entries: entries, ..CONFIG });
        let delay = |ns, times| Rule { admin: false, opcode: None, times, action: Action::DelayNs(ns) };
        let mut queue = rig.controller.take_io_queue(0);
        let mut outstanding = BTreeSet::new();
        let mut next = 0u16;
        for act in acts {
            match act {
                0 | 1 => {
                    next = next.wrapping_add(0x0fff);
                    let full = queue.room() == 0;
                    if next.is_multiple_of(7) {
                        rig.faults(|faults| faults.rules = vec![delay(u64::from(next) * 10, 1)]);
                    }
                    let done = queue.submit(&command::flush(ONE, Cid(next)));
                    prop_assert_eq!(done.is_err(), full);
                    if !full {
                        outstanding.insert(next);
                    }
                }
                2 => queue.ring(),
                3 => {
                    rig.tick();
                    take_all(&mut queue, &mut outstanding);
                }
                _ => queue.release(),
            }
            prop_assert_eq!(usize::from(queue.outstanding()), outstanding.len());
        }
        queue.ring();
        for _ in 0..500 {
            rig.tick();
            take_all(&mut queue, &mut outstanding);
            queue.release();
        }
        prop_assert!(outstanding.is_empty());
        prop_assert_eq!(queue.room(), entries - 1);
        prop_assert_eq!((queue.counters().unknown_cid, queue.counters().bad_sqhd), (0, 0));
    }
}
