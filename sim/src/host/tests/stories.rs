//! Stories: connect and use, reset, lose frames, be refused; and a target that breaks each rule once.

use super::target::{Fault, SUBNQN};
use super::*;
use crate::host::{Busy, Command, Data, Failure, Violation};
use gantry_wire::cm::Reason;
use gantry_wire::nvme::{Cid, Nsid, Sqe, Status, admin, nvm};

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect()
}

#[test]
fn a_host_connects_writes_and_reads_back() {
    let mut pair = Pair::connected(2);
    let [namespace] = pair.host.namespaces() else { panic!("one namespace") };
    assert_eq!((namespace.nsid, namespace.block_size, namespace.blocks), (1, 512, 4096));
    assert_eq!(namespace.uuid, Some([1; 16]));
    assert_eq!(pair.host.io_queues(), 2);
    // In the capsule up to 4096 bytes; by READ beyond; odd to the MTU.
    for (slba, blocks) in [(0, 1), (8, 8), (16, 9), (100, 256), (1000, 2048)] {
        let data = pattern(blocks as u8, blocks as usize * 512);
        let done = pair.io(IoKind::Write, slba, blocks, data.clone());
        assert_eq!((done.status, done.data.len()), (Status::SUCCESS, 0));
        let done = pair.io(IoKind::Read, slba, blocks, Vec::new());
        assert_eq!(done.status, Status::SUCCESS);
        assert!(done.data == data, "{blocks} blocks at {slba}");
        assert!(done.latency_ns >= 2 * DELAY_NS);
    }
    let by_capsule = pair.target.seen.iter().filter(|(qid, sqe)| *qid == 1 && sqe[0] == nvm::WRITE && sqe[39] == 0x01);
    assert_eq!(by_capsule.count(), 2);
    assert_eq!(pair.io(IoKind::Compare, 0, 1, pattern(1, 512)).status, Status::SUCCESS);
    assert_eq!(pair.io(IoKind::Compare, 0, 1, pattern(2, 512)).status, Status::COMPARE_FAILURE);
    assert_eq!(pair.io(IoKind::WriteZeroes, 0, 1, Vec::new()).status, Status::SUCCESS);
    assert_eq!(pair.io(IoKind::Read, 0, 1, Vec::new()).data, [0; 512]);
    assert_eq!(pair.io(IoKind::Dsm, 0, 8, Vec::new()).status, Status::SUCCESS);
    assert_eq!(pair.io(IoKind::Flush, 0, 0, Vec::new()).status, Status::SUCCESS);
    assert_eq!(pair.io(IoKind::Read, 4096, 1, Vec::new()).status, Status::LBA_OUT_OF_RANGE);
    assert_eq!(pair.host.violations(), []);
}

#[test]
fn a_queue_takes_one_less_than_its_entries() {
    let mut pair = Pair::connected(1);
    let read = |tag| Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: tag, blocks: 8, data: Vec::new(), tag };
    assert_eq!(pair.host.room(1), 31);
    for tag in 0..31 {
        pair.host.submit(read(tag)).unwrap();
    }
    assert_eq!(pair.host.submit(read(31)), Err(Busy::QueueFull));
    assert_eq!(pair.host.submit(Io { queue: 2, ..read(0) }), Err(Busy::NotReady));
    let mut tags = Vec::new();
    pair.run_until(|host| {
        tags.extend(host.poll_completion().map(|done| done.tag));
        tags.len() == 31
    });
    assert_eq!(tags, (0..31).collect::<Vec<_>>());
    // Round the ring and through all generations of CIDs.
    for turn in 0..600 {
        assert_eq!(pair.io(IoKind::Read, turn % 64, 1, Vec::new()).status, Status::SUCCESS);
    }
    assert_eq!(pair.host.violations(), []);
}

#[test]
fn lost_frames_lose_nothing() {
    for loss_one_in in [50, 15] {
        let mut pair = Pair::new();
        pair.loss_one_in = loss_one_in;
        pair.host.connect(SUBNQN, 1, 32, 5000);
        pair.run_until(|host| *host.state() != State::Connecting);
        assert_eq!(pair.host.state(), &State::Ready);
        for slba in 0..40 {
            let data = pattern(slba as u8, 64 * 512);
            assert_eq!(pair.io(IoKind::Write, slba * 64, 64, data.clone()).status, Status::SUCCESS);
            assert!(pair.io(IoKind::Read, slba * 64, 64, Vec::new()).data == data);
        }
        assert_eq!(pair.host.violations(), []);
        assert!(pair.host.counters().retransmitted > 0);
    }
}

#[test]
fn without_remote_invalidation_responses_are_plain() {
    let mut pair = Pair::with(HostConfig { remote_invalidate: false, ..config() });
    pair.host.connect(SUBNQN, 1, 32, 0);
    pair.run_until(|host| *host.state() == State::Ready);
    pair.io(IoKind::Write, 0, 64, pattern(3, 64 * 512));
    assert!(pair.io(IoKind::Read, 0, 64, Vec::new()).data == pattern(3, 64 * 512));
    assert!(pair.target.seen.iter().all(|(_, sqe)| sqe[39] != 0x4f));
    assert_eq!(pair.host.violations(), []);
    // Keep alive is off.
    pair.run_for(20_000_000_000);
    assert_eq!(pair.host.counters().keep_alives, 0);
}

#[test]
fn discovery_reads_the_log_and_leaves() {
    let mut pair = Pair::new();
    pair.host.discover();
    pair.run_until(|host| *host.state() == State::Disconnected);
    let [entry] = pair.host.discovery_log() else { panic!("one entry") };
    assert_eq!((entry.subnqn(), entry.traddr(), entry.trsvcid()), (Ok(SUBNQN), Some("10.9.0.1"), Some("4420")));
    assert_eq!(pair.host.violations(), []);
}

#[test]
fn disconnect_ends_what_is_outstanding() {
    let mut pair = Pair::connected(2);
    for tag in 0..4 {
        let read = Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: 0, blocks: 8, data: Vec::new(), tag };
        pair.host.submit(read).unwrap();
    }
    pair.host.disconnect();
    pair.run_until(|host| *host.state() == State::Disconnected);
    for tag in 0..4 {
        let done = pair.host.poll_completion().expect("aborted");
        assert_eq!((done.tag, done.status), (tag, Status::ABORTED_BY_HOST));
    }
    let (_, shutdown) = pair.target.seen.iter().rfind(|(_, sqe)| sqe[0] == 0x7f && sqe[4] == 0).unwrap();
    assert_eq!(shutdown[48..52], [0x61, 0x40, 0x46, 0]);
    assert_eq!(pair.host.violations(), []);
    // And again, from the start.
    pair.host.connect(SUBNQN, 1, 32, 5000);
    pair.run_until(|host| *host.state() == State::Ready);
    assert_eq!(pair.io(IoKind::Read, 0, 1, Vec::new()).status, Status::SUCCESS);
}

#[test]
fn a_reset_comes_back_by_itself() {
    let mut pair = Pair::connected(1);
    pair.io(IoKind::Write, 5, 1, pattern(9, 512));
    pair.host.reset();
    assert_eq!(pair.host.state(), &State::Connecting);
    pair.run_until(|host| *host.state() == State::Ready);
    assert_eq!(pair.io(IoKind::Read, 5, 1, Vec::new()).data, pattern(9, 512));
    assert_eq!(pair.host.violations(), []);
}

#[test]
fn keep_alive_runs_and_namespaces_are_looked_at_again() {
    let mut pair = Pair::connected(1);
    pair.run_for(20_000_000_000);
    assert_eq!(pair.host.counters().keep_alives, 8);
    pair.target.namespaces = vec![1, 7];
    pair.target.announce();
    pair.run_until(|host| host.namespaces().len() == 2);
    assert_eq!(pair.host.namespaces()[1].nsid, 7);
    assert_eq!((pair.host.state(), pair.host.counters().async_events), (&State::Ready, 1));
    // The next request is there.
    pair.target.announce();
    pair.run_for(1_000_000);
    assert_eq!(pair.host.counters().async_events, 2);
}

#[test]
fn any_admin_command_can_be_sent() {
    let mut pair = Pair::connected(1);
    let mut sqe = Sqe::new(admin::IDENTIFY, Cid(0), Nsid(99));
    pair.host.submit_command(Command { queue: 0, sqe, data: Data::ToHost(4096), tag: 1 }).unwrap();
    sqe.opcode = 0xc0;
    pair.host.submit_command(Command { queue: 0, sqe, data: Data::None, tag: 2 }).unwrap();
    let mut done = Vec::new();
    pair.run_until(|host| {
        done.extend(host.poll_completion());
        done.len() == 2
    });
    assert_eq!((done[0].tag, done[0].status), (1, Status::INVALID_NAMESPACE));
    assert_eq!((done[1].tag, done[1].status), (2, Status::INVALID_OPCODE));
}

#[test]
fn a_target_that_hangs_up_is_let_go() {
    let mut pair = Pair::connected(2);
    pair.target.hang_up();
    pair.run_until(|host| *host.state() == State::Disconnected);
    assert_eq!(pair.host.violations(), []);
}

#[test]
fn every_broken_rule_is_seen() {
    for (fault, seen) in [
        (Fault::WrongKey, (|v| matches!(v, Violation::Invalidated { qid: 1, .. })) as fn(&Violation) -> bool),
        (Fault::Twice, |v| matches!(v, Violation::UnknownCid { qid: 1, .. })),
        (Fault::WrongCid, |v| matches!(v, Violation::UnknownCid { qid: 1, .. })),
        (Fault::Short, |v| matches!(v, Violation::Data { landed: 4092, expected: 4096, .. })),
        (Fault::SqhdAhead, |v| matches!(v, Violation::Sqhd { .. })),
        (Fault::SqhdBehind, |v| matches!(v, Violation::Sqhd { .. })),
        (Fault::Phase, |v| matches!(v, Violation::Phase { qid: 1 })),
        (Fault::Long, |v| matches!(v, Violation::ResponseLength { qid: 1, length: 20 })),
        (Fault::Beyond, |v| matches!(v, Violation::Refused { qid: 1, .. })),
    ] {
        let mut pair = Pair::connected(1);
        pair.target.fault = fault;
        let read = Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: 0, blocks: 8, data: Vec::new(), tag: 0 };
        pair.host.submit(read).unwrap();
        pair.run_until(|host| matches!(host.state(), State::Failed(_)));
        let [violation] = pair.host.violations() else { panic!("{fault:?}: {:?}", pair.host.violations()) };
        assert!(seen(violation), "{fault:?}: {violation}");
        assert_eq!(pair.host.state(), &State::Failed(Failure::Violation(*violation)));
    }
    // What is wrong below the transport is seen, and recovered from.
    for (fault, seen) in [
        (Fault::Icrc, (|v| matches!(v, Violation::Icrc)) as fn(&Violation) -> bool),
        (Fault::Port, |v| matches!(v, Violation::SourcePort { .. })),
        (Fault::Partition, |v| matches!(v, Violation::Header(_))),
    ] {
        let mut pair = Pair::connected(1);
        pair.target.fault = fault;
        assert_eq!(pair.io(IoKind::Read, 0, 8, Vec::new()).status, Status::SUCCESS);
        let [violation] = pair.host.violations() else { panic!("{fault:?}: {:?}", pair.host.violations()) };
        assert!(seen(violation), "{fault:?}: {violation}");
    }
    let mut pair = Pair::new();
    pair.target.manner.confused = true;
    pair.host.connect(SUBNQN, 1, 32, 5000);
    pair.run_until(|host| matches!(host.state(), State::Failed(Failure::Violation(Violation::Cm(_)))));
}

#[test]
fn vlans_jumbo_frames_and_ipv6_carry_the_same() {
    let v6 = HostConfig::new("fd00::2".parse().unwrap(), "fd00::1".parse().unwrap());
    for config in [
        HostConfig { vlan: 7, ..config() },
        HostConfig { mtu: 4200, ..config() },
        HostConfig { target_mac: Some(target::MAC), ..v6.clone() },
    ] {
        let mut pair = Pair::with(config.clone());
        pair.host.connect(SUBNQN, 1, 32, 5000);
        pair.run_until(|host| *host.state() == State::Ready);
        assert_eq!(pair.io(IoKind::Write, 0, 64, pattern(3, 64 * 512)).status, Status::SUCCESS);
        assert!(pair.io(IoKind::Read, 0, 64, Vec::new()).data == pattern(3, 64 * 512));
        assert_eq!(pair.host.violations(), []);
        for frame in &pair.sent {
            assert_eq!(frame[12..14] == [0x81, 0], config.vlan != 0);
        }
        let longest = pair.sent.iter().map(Vec::len).max().unwrap();
        assert_eq!(longest > 1518, config.mtu > 1500);
    }
    // Without an address to ask for and none given, there is no way.
    let mut pair = Pair::with(v6);
    pair.host.connect(SUBNQN, 1, 32, 5000);
    assert_eq!(pair.host.state(), &State::Failed(Failure::NoRoute));
}

/// Bytes that a sick target could send, past the ICRC: whatever they do to the association, the host lives.
#[test]
fn no_frame_brings_the_host_down() {
    let mut dice = crate::host::Random(7);
    let mut ends = [0; 2];
    for _ in 0..150 {
        let mut pair = Pair::new();
        pair.garble = Some(crate::host::Random(dice.next()));
        pair.host.connect(SUBNQN, 1, 32, 5000);
        for _ in 0..400 {
            pair.step();
            let read = Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: 0, blocks: 8, data: Vec::new(), tag: 0 };
            let _ = pair.host.submit(read);
            while pair.host.poll_completion().is_some() {}
        }
        ends[usize::from(matches!(pair.host.state(), State::Failed(_)))] += 1;
        for violation in pair.host.violations() {
            assert!(!violation.to_string().is_empty());
        }
    }
    assert!(ends[1] > 30, "garbled frames got past the ICRC: {ends:?}");
}

#[test]
fn refusals_have_their_reasons() {
    let fail = |change: fn(&mut Pair)| {
        let mut pair = Pair::new();
        change(&mut pair);
        pair.host.connect(SUBNQN, 1, 32, 5000);
        pair.run_until(|host| *host.state() != State::Connecting);
        match *pair.host.state() {
            State::Failed(failure) => (failure, pair.now_ns),
            other => panic!("{other:?}"),
        }
    };
    let (failure, after_ns) = fail(|pair| pair.target.manner.deaf = true);
    assert_eq!(failure, Failure::Unreachable);
    assert_eq!(after_ns / 1_000_000_000, 103);
    assert_eq!(fail(|pair| pair.loss_one_in = 1).0, Failure::NoRoute);
    let rejected = fail(|pair| pair.target.manner.reject = Some((Reason::CONSUMER_REJECT, 6))).0;
    assert_eq!(rejected, Failure::Rejected { reason: Reason::CONSUMER_REJECT, sts: Some(6) });
    let rejected = fail(|pair| pair.target.manner.reject = Some((Reason::INVALID_SERVICE_ID, 0))).0;
    assert_eq!(rejected, Failure::Rejected { reason: Reason::INVALID_SERVICE_ID, sts: None });
    let status = Status::CONNECT_INVALID_PARAMETERS.with_dnr();
    let refused = fail(|pair| pair.target.manner.connect = Status::CONNECT_INVALID_PARAMETERS.with_dnr()).0;
    assert_eq!(refused, Failure::Connect { qid: 0, status, dw0: 0x0001_0100 });
    for change in [
        (|pair| pair.target.manner.controller = |page| page.sgls = 1.into()) as fn(&mut Pair),
        |pair| pair.target.manner.controller = |page| page.kas = 0.into(),
        |pair| pair.target.manner.controller = |page| page.icdoff = 1.into(),
        |pair| pair.target.manner.controller = |page| page.maxcmd = 0.into(),
        |pair| pair.target.manner.controller = |page| page.mnan = 0.into(),
        |pair| pair.target.manner.controller = |page| page.cntlid = 2.into(),
    ] {
        assert!(matches!(fail(change).0, Failure::Unacceptable(_)));
    }
}
