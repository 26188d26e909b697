//! What a sick drive does to its driver: clean failure, memory that is safe or is said not to be, and a new start.

use crate::rig::{CONFIG, Rig, TICK_NS, pattern};
use gantry_drive::{Action, MediaError, Rule};
use gantry_nvme::{Event, Failure, Reason, command};
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin, nvm};

const ONE: Nsid = Nsid(1);

fn rule(admin: bool, opcode: Option<u8>, action: Action) -> Rule {
    Rule { admin, opcode, times: 1, action }
}

#[test]
fn blocks_that_fail_fail_alone() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    let bad = MediaError { nsid: ONE, slba: 100, blocks: 2, reads: true, writes: false };
    rig.faults(|faults| faults.media_errors.push(bad));
    let prps = rig.prps(0, 512);
    let mut ask = |slba, write: bool| {
        let cid = rig.cid();
        let ask = if write { command::write } else { command::read };
        rig.run(&mut queue, &ask(ONE, cid, slba, 1, prps, false)).status()
    };
    assert_eq!((ask(99, false), ask(102, false)), (Status::SUCCESS, Status::SUCCESS));
    assert_eq!((ask(100, false), ask(101, false)), (Status::UNRECOVERED_READ_ERROR, Status::UNRECOVERED_READ_ERROR));
    assert_eq!(ask(100, true), Status::SUCCESS);
    rig.faults(|faults| faults.media_errors[0] = MediaError { reads: false, writes: true, ..bad });
    let cid = rig.cid();
    let zeroes = command::write_zeroes(ONE, cid, 0, 101, false, false);
    assert_eq!(rig.run(&mut queue, &zeroes).status(), Status::WRITE_FAULT);
}

/// Found between one and one and a half times the timeout, never sooner.
#[test]
fn a_command_that_is_never_answered_fails_its_drive() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    rig.faults(|faults| faults.rules.push(rule(false, Some(nvm::WRITE), Action::Swallow)));
    let prps = rig.prps(0, 512);
    // A healthy stretch first, so that age classes have gone round.
    while rig.now_ns < 3 * CONFIG.command_timeout_ns {
        let cid = rig.cid();
        assert!(rig.run(&mut queue, &command::flush(ONE, cid)).status().is_success());
        assert!(!queue.expired(rig.now_ns));
        rig.quiet(1000);
    }
    queue.submit(&command::write(ONE, Cid(9), 0, 1, prps, false)).unwrap();
    queue.ring();
    let since_ns = rig.now_ns;
    while !queue.expired(rig.now_ns) {
        // Others are answered all the while.
        let cid = rig.cid();
        queue.submit(&command::flush(ONE, cid)).unwrap();
        queue.ring();
        assert_eq!(rig.answer(&mut queue).cid(), cid);
        rig.quiet(100);
        assert!(rig.now_ns < since_ns + 2 * CONFIG.command_timeout_ns);
    }
    let age_ns = rig.now_ns - since_ns;
    let timeout_ns = CONFIG.command_timeout_ns;
    assert!((timeout_ns..timeout_ns * 3 / 2 + 200 * TICK_NS).contains(&age_ns), "found at {age_ns} ns");
    assert!(queue.outstanding_cids().eq([Cid(9)]));

    rig.controller.fail(rig.now_ns, Reason::IoTimeout { qid: queue.qid() });
    assert!(!rig.controller.is_ready());
    let failure = Failure { reason: Reason::IoTimeout { qid: 1 }, stopped: true };
    assert_eq!(rig.event(), Event::Failed(failure));
    rig.quiet(100);

    rig.controller.give_back(queue);
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
    let mut queue = rig.controller.take_io_queue(0);
    assert!(rig.run(&mut queue, &command::write(ONE, Cid(9), 0, 1, prps, false)).status().is_success());
}

#[test]
fn an_admin_command_that_is_never_answered() {
    for opcode in [admin::IDENTIFY, admin::SET_FEATURES, admin::CREATE_IO_CQ, admin::CREATE_IO_SQ] {
        let drive = gantry_drive::open("mem:1M", "test").unwrap();
        let mut rig = Rig::cold(drive, CONFIG);
        rig.faults(|faults| faults.rules.push(rule(true, Some(opcode), Action::Swallow)));
        let Event::Failed(failure) = rig.event() else { panic!("{opcode:#x}") };
        assert!(failure.stopped && matches!(failure.reason, Reason::Timeout { .. }), "{opcode:#x}: {failure}");
        rig.controller.restart();
        assert_eq!(rig.event(), Event::Ready, "{opcode:#x}: the fault happens once");
    }
}

#[test]
fn a_bring_up_command_that_is_refused_is_named() {
    for (opcode, what) in
        [(admin::IDENTIFY, "Identify Controller"), (admin::CREATE_IO_SQ, "Create I/O Submission Queue")]
    {
        let drive = gantry_drive::open("mem:1M", "test").unwrap();
        let mut rig = Rig::cold(drive, CONFIG);
        rig.faults(|faults| faults.rules.push(rule(true, Some(opcode), Action::Answer(Status::INTERNAL_ERROR))));
        let reason = Reason::Command { what, status: Status::INTERNAL_ERROR };
        assert_eq!(rig.event(), Event::Failed(Failure { reason, stopped: true }));
    }
}

/// Descriptors are optional: the namespace is served with what Identify said.
#[test]
fn a_namespace_without_descriptors_is_served() {
    let mut rig = Rig::cold(gantry_drive::open("mem:1M", "test").unwrap(), CONFIG);
    let mut identify = 0;
    let rules = [Action::DelayNs(0), Action::DelayNs(0), Action::DelayNs(0), Action::Answer(Status::INVALID_FIELD)];
    rig.faults(|faults| faults.rules.extend(rules.map(|action| rule(true, Some(admin::IDENTIFY), action))));
    assert_eq!(rig.event(), Event::Ready);
    rig.faults(|faults| identify = faults.rules.iter().map(|rule| rule.times).sum());
    assert_eq!(identify, 0, "controller, list, namespace, descriptors");
    let namespace = rig.controller.inventory().namespaces[0];
    assert_eq!(namespace.uuid, [0; 16]);
    assert_ne!(namespace.nguid, [0; 16]);
}

#[test]
fn a_fatal_controller_is_disabled_and_may_recover() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    queue.submit(&command::flush(ONE, Cid(1))).unwrap();
    rig.faults(|faults| faults.fatal = true);
    queue.ring();
    assert_eq!(rig.event(), Event::Failed(Failure { reason: Reason::Fatal, stopped: true }));
    assert_eq!(queue.poll(), None, "a fatal controller answers nothing");
    assert!(queue.outstanding_cids().eq([Cid(1)]));
    rig.controller.give_back(queue);
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Failed(Failure { reason: Reason::Fatal, stopped: true }), "still fatal");
    rig.faults(|faults| faults.fatal = false);
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
}

/// It does not even follow CC.EN: its memory must not be reused, and the failure says so.
#[test]
fn a_dead_controller_did_not_confirm_that_it_stopped() {
    let mut rig = Rig::new("mem:1M");
    rig.faults(|faults| faults.stopped = true);
    rig.controller.fail(rig.now_ns, Reason::IoTimeout { qid: 1 });
    let Event::Failed(failure) = rig.event() else { panic!() };
    assert!(!failure.stopped);
    assert!(failure.to_string().contains("must not be reused"));
    // CAP.TO of this drive is 20 units of 500 ms.
    assert!(rig.now_ns >= 10_000_000_000);
    rig.controller.restart();
    let Event::Failed(failure) = rig.event() else { panic!() };
    assert_eq!(failure.reason, Reason::NotDisabled { timeout_ns: 10_000_000_000 });
    rig.faults(|faults| faults.stopped = false);
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
}

/// What was submitted before a reset never lands after it: not on the medium, not in memory.
#[test]
fn reset_under_load_leaves_nothing_behind() {
    let mut rig = Rig::new("mem:1M");
    let mut queues = [rig.controller.take_io_queue(0), rig.controller.take_io_queue(1)];
    let late = Rule { admin: false, opcode: None, times: u32::MAX, action: Action::DelayNs(50_000_000) };
    rig.faults(|faults| faults.rules.push(late));
    rig.put(0, &pattern(1, 512));
    let prps = rig.prps(0, 512);
    for queue in &mut queues {
        for cid in 0..30 {
            queue.submit(&command::write(ONE, Cid(cid), u64::from(cid), 1, prps, false)).unwrap();
            queue.submit(&command::read(ONE, Cid(100 + cid), 500, 1, prps, false)).unwrap();
        }
        queue.ring();
    }
    rig.quiet(100);
    rig.controller.fail(rig.now_ns, Reason::Requested);
    assert_eq!(rig.event(), Event::Failed(Failure { reason: Reason::Requested, stopped: true }));
    rig.faults(|faults| faults.rules.clear());
    rig.paint(0xaa);
    queues.into_iter().for_each(|queue| rig.controller.give_back(queue));
    rig.controller.restart();
    assert_eq!(rig.event(), Event::Ready);
    rig.quiet(10_000);
    assert!(rig.all_data().iter().all(|&byte| byte == 0xaa), "a read landed after the reset");
    let mut queue = rig.controller.take_io_queue(0);
    let prps = rig.prps(0, 30 * 512);
    assert!(rig.run(&mut queue, &command::read(ONE, Cid(0), 0, 30, prps, false)).status().is_success());
    assert!(rig.take(0, 30 * 512).iter().all(|&byte| byte == 0), "a write landed after the reset");
}

#[test]
fn abort_finds_what_is_still_held() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(1);
    rig.faults(|faults| faults.rules.push(rule(false, None, Action::DelayNs(500_000_000))));
    queue.submit(&command::flush(ONE, Cid(77))).unwrap();
    queue.ring();
    rig.quiet(10);
    for not_aborted in [0, 1] {
        let mut abort = Sqe::new(admin::ABORT, Cid(0), Nsid(0));
        abort.cdw10 = (2 | 77 << 16).into();
        let ticket = rig.controller.submit_admin(rig.now_ns, abort).unwrap();
        let Event::AdminCompleted { ticket: answered, cqe } = rig.event() else { panic!() };
        assert_eq!((answered, cqe.status(), cqe.dw0.get()), (ticket, Status::SUCCESS, not_aborted));
    }
    let cqe = queue.poll().unwrap();
    assert_eq!((cqe.cid(), cqe.status()), (Cid(77), Status::ABORT_REQUESTED));
}

/// A queue whose memory the drive cannot reach is fatal to it, as to a real one.
#[test]
fn queue_memory_taken_away() {
    let mut rig = Rig::new("mem:1M");
    let mut queue = rig.controller.take_io_queue(0);
    assert!(rig.drive.space().unmap(&rig.memory));
    queue.submit(&command::flush(ONE, Cid(1))).unwrap();
    queue.ring();
    assert_eq!(rig.event(), Event::Failed(Failure { reason: Reason::Fatal, stopped: true }));
}

/// It answers everything and says each time that it has fetched nothing yet.
#[test]
fn a_drive_that_frees_no_entry_fails() {
    let mut rig = Rig::new("mem:8M,namespaces=64");
    rig.quiet(10);
    rig.drive.model().set_active(Nsid(9), false);
    for _ in 0..10_000 {
        rig.now_ns += TICK_NS;
        rig.drive.model().step(rig.now_ns);
        for entry in 0..64 {
            rig.memory.write(4096 + entry * 16 + 8, &[0, 0]);
        }
        match rig.controller.poll(rig.now_ns) {
            None | Some(Event::AsyncEvent(_)) => {}
            event => return assert_eq!(event, Some(Event::Failed(Failure { reason: Reason::SqHead, stopped: true }))),
        }
    }
    panic!("no failure");
}
