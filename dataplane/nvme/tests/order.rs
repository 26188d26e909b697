//! A queue's order with its drive, in every order that the memory model allows (loom): entry and doorbell, phase and entry, entry
//! and the doorbell that gives it back. What stands between them is the product's own [`barrier`]; each is taken away in turn, and
//! its story notices.
//!
//! The drive is a thread here, which keeps the order that PCIe keeps. What arm64 makes of the barriers is looked for by
//! `cargo xtask test --only barriers`; there they are instructions, of which loom knows nothing.
#![cfg(not(target_arch = "aarch64"))]
#![forbid(unsafe_code)]

#[allow(unreachable_pub)]
#[path = "../../cpu/src/barrier.rs"]
mod barrier;

/// What the barriers are made of here: loom's fence, unless it is taken away.
mod atomic {
    pub(crate) use loom::sync::atomic::Ordering;
    use std::cell::Cell;

    thread_local! {
        /// loom's threads are all of one thread of the system's.
        pub(crate) static KEPT: Cell<bool> = const { Cell::new(true) };
    }

    pub(crate) fn fence(order: Ordering) {
        if KEPT.get() {
            loom::sync::atomic::fence(order);
        }
    }
}

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};

const EMPTY: u32 = 0;
const WHOLE: u32 = 7;
const READ: u32 = 8;

/// An entry, and the doorbell or phase bit that goes with it.
type Shared = (AtomicU32, AtomicU32);

/// What a core and a drive do with an entry holds in every order with the barriers, and not without.
fn needs_its_barrier(core: fn(&Shared), drive: fn(&Shared)) {
    let story = move || {
        let shared = Arc::new((AtomicU32::new(EMPTY), AtomicU32::new(0)));
        let drives = Arc::clone(&shared);
        let thread = thread::spawn(move || drive(&drives));
        core(&shared);
        thread.join().unwrap();
    };
    loom::model(story);
    atomic::KEPT.set(false);
    let without = catch_unwind(AssertUnwindSafe(|| loom::model(story)));
    atomic::KEPT.set(true);
    assert!(without.is_err(), "nothing was noticed of the missing barrier");
}

/// `submit` and `ring`: what a drive that has seen the doorbell fetches is what was stored before it rang.
#[test]
fn a_command_is_there_when_its_doorbell_rings() {
    let core = |(entry, doorbell): &Shared| {
        entry.store(WHOLE, Relaxed);
        barrier::store_before_doorbell();
        doorbell.store(1, Relaxed);
    };
    needs_its_barrier(core, |(entry, doorbell)| {
        if doorbell.load(Acquire) == 1 {
            assert_eq!(entry.load(Relaxed), WHOLE, "a command that was not there yet");
        }
    });
}

/// `poll`: what is read behind the phase bit is what the drive wrote before it.
#[test]
fn a_completion_is_whole_when_its_phase_is_seen() {
    let core = |(entry, phase): &Shared| {
        if phase.load(Relaxed) == 1 {
            barrier::read_after_phase();
            assert_eq!(entry.load(Relaxed), WHOLE, "a completion that was not there yet");
        }
    };
    needs_its_barrier(core, |(entry, phase)| {
        entry.store(WHOLE, Relaxed);
        phase.store(1, Release);
    });
}

/// `poll` and `release`: a completion was read when the drive may write over it. A store stands for the reading, for loom shows no
/// load a store that comes after it.
#[test]
fn a_completion_is_read_before_it_is_given_back() {
    let core = |(read, doorbell): &Shared| {
        read.store(READ, Relaxed);
        barrier::read_before_doorbell();
        doorbell.store(1, Relaxed);
    };
    needs_its_barrier(core, |(read, doorbell)| {
        if doorbell.load(Acquire) == 1 {
            assert_eq!(read.load(Relaxed), READ, "written over before it was read");
        }
    });
}
