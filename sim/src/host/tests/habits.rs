//! A host's habits when things go wrong: it connects again by itself, it hangs and comes back.

use super::target::SUBNQN;
use super::*;
use crate::host::{Busy, CapsuleKind, Failure};
use gantry_wire::nvme::{Status, nvm};

const SECOND: u64 = 1_000_000_000;

fn reconnecting() -> Pair {
    let mut pair = Pair::with(HostConfig { reconnect_ms: Some(2_000), ..config() });
    pair.host.connect(SUBNQN, 2, 32, 5000);
    pair.run_until(|host| *host.state() == State::Ready);
    pair
}

fn read(tag: u64) -> Io {
    Io { queue: 1, kind: IoKind::Read, nsid: 1, slba: 0, blocks: 8, data: Vec::new(), tag }
}

#[test]
fn a_host_connects_again_until_it_succeeds() {
    let mut pair = reconnecting();
    let before = pair.host.exposed().unwrap();
    pair.host.submit(read(1)).unwrap();
    pair.loss_one_in = 1;
    pair.run_until(|host| matches!(host.state(), State::Failed(Failure::Transport(_))));
    let failed_ns = pair.now_ns;
    let done = pair.host.poll_completion().expect("it ends with the association");
    assert_eq!((done.tag, done.status), (1, Status::ABORTED_BY_HOST));
    assert_eq!(pair.host.submit(read(2)), Err(Busy::NotReady));
    pair.run_until(|host| *host.state() == State::Connecting);
    assert_eq!(pair.now_ns - failed_ns, 2 * SECOND);
    // Nobody answers: it fails, and tries again, and again.
    pair.run_until(|host| host.counters().reconnects == 3);
    pair.loss_one_in = 0;
    pair.run_until(|host| *host.state() == State::Ready);
    assert_eq!(pair.io(IoKind::Read, 0, 8, Vec::new()).status, Status::SUCCESS);
    let after = pair.host.exposed().unwrap();
    assert_eq!((before.queues.len(), after.queues.len()), (3, 3));
    for queue in &after.queues {
        let same = |old: &&crate::host::ExposedQueue| {
            old.local_qpn == queue.local_qpn || old.local_comm_id == queue.local_comm_id
        };
        assert_eq!(before.queues.iter().find(same), None, "a number of the former life");
    }
    assert_eq!(pair.host.violations(), []);
}

#[test]
fn a_host_that_the_target_dismisses_connects_again() {
    let mut pair = reconnecting();
    pair.target.hang_up();
    pair.run_until(|host| *host.state() == State::Disconnected);
    let begun_ns = pair.now_ns;
    pair.run_until(|host| *host.state() == State::Ready);
    assert!(pair.now_ns - begun_ns >= 2 * SECOND);
    assert_eq!(pair.host.counters().reconnects, 1);
}

#[test]
fn a_host_that_is_told_to_disconnect_stays_away() {
    let mut pair = reconnecting();
    pair.target.hang_up();
    pair.run_until(|host| *host.state() == State::Disconnected);
    pair.host.disconnect();
    pair.run_for(60 * SECOND);
    assert_eq!((pair.host.state(), pair.host.counters().reconnects), (&State::Disconnected, 0));
    // And one that loses its target on the way out does not come back either.
    let mut pair = reconnecting();
    pair.loss_one_in = 1;
    pair.host.disconnect();
    pair.run_until(|host| !matches!(host.state(), State::Disconnecting));
    pair.run_for(60 * SECOND);
    assert_eq!(pair.host.counters().reconnects, 0);
}

#[test]
fn a_silent_host_goes_on_where_it_was() {
    let mut pair = Pair::connected(1);
    for tag in 0..8 {
        pair.host.submit(read(tag)).unwrap();
    }
    // Some frames are out, some answers come while it hangs, and are lost.
    pair.step();
    let until_ns = pair.now_ns + SECOND;
    pair.host.silence(until_ns);
    let frames = pair.sent.len();
    assert_eq!(pair.host.submit(read(9)), Err(Busy::NotReady));
    let heard = pair.host.counters().frames_in;
    assert_eq!(pair.host.deadline_ns(), until_ns, "late timers fire when it comes back");
    while pair.now_ns < until_ns {
        assert_eq!((pair.sent.len(), pair.host.counters().frames_in), (frames, heard));
        assert!(pair.host.poll_completion().is_none());
        pair.step();
    }
    let mut tags = Vec::new();
    pair.run_until(|host| {
        tags.extend(host.poll_completion().map(|done| (done.tag, done.status)));
        tags.len() == 8
    });
    tags.sort_by_key(|(tag, _)| *tag);
    assert_eq!(tags, (0..8).map(|tag| (tag, Status::SUCCESS)).collect::<Vec<_>>());
    assert!(pair.host.counters().retransmitted > 0);
    assert_eq!((pair.host.state(), pair.host.violations()), (&State::Ready, &[][..]));
}

#[test]
fn fua_is_a_write_with_the_bit() {
    let mut pair = Pair::connected(1);
    for kind in [IoKind::Write, IoKind::WriteFua] {
        assert_eq!(pair.io(kind, 3, 1, vec![9; 512]).status, Status::SUCCESS);
        let (_, sqe) = pair.target.seen.iter().rev().find(|(qid, _)| *qid == 1).unwrap();
        assert_eq!((sqe[0], sqe[51] & 0x40 != 0), (nvm::WRITE, kind == IoKind::WriteFua));
    }
    assert_eq!(IoKind::ALL.into_iter().filter(|kind| kind.carries_data()).count(), 3);
}

/// The ring's last entry stays free, whatever CIDs its commands have: else SQHD could not say whether all or none were taken.
#[test]
fn two_commands_of_one_cid_take_two_entries() {
    let mut pair = Pair::connected(1);
    let room = pair.host.room(1);
    pair.host.violate(CapsuleKind::DuplicateCid, 1).unwrap();
    assert_eq!(pair.host.room(1), room - 2);
    pair.run_until(|host| host.room(1) == room);
    assert_eq!(pair.host.violations(), []);
}
