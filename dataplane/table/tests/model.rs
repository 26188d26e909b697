//! The readers' protocol in every order that the memory model allows (loom), over the product's own source.
//!
//! A slot is a word that the writer spoils when `reached` says that nobody can be in the generations that saw it. Whoever is in
//! such a generation must find it whole. (Loom shows no load a store that comes after it, so that leaving is a release is for
//! `readers.rs` to say, not for this to find.)

extern crate alloc;

mod atomic {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}

/// As in the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub(crate) u64);

#[allow(unreachable_pub, dead_code)]
#[path = "../src/readers.rs"]
mod readers;

use atomic::{Arc, AtomicU64, Ordering};
use loom::thread;
use readers::Readers;

const WHOLE: u64 = 7;
const SPOILT: u64 = 13;

/// One entry dies in generation 2, another is born in it: what a reader in generation 1 and one in generation 2 look at.
struct Slots {
    old: AtomicU64,
    new: AtomicU64,
}

fn look(slots: &Slots, generation: Generation) {
    let slot = if generation.0 == 1 { &slots.old } else { &slots.new };
    assert_eq!(slot.load(Ordering::Relaxed), WHOLE, "in {generation:?}");
}

fn check(reader: impl Fn(&mut readers::Lcore, &Slots) + Copy + Send + Sync + 'static) {
    loom::model(move || {
        let readers = Arc::new(Readers::new(1, 1));
        let slots = Arc::new(Slots { old: AtomicU64::new(WHOLE), new: AtomicU64::new(SPOILT) });
        let mut lcore = Readers::seat(&readers).unwrap();
        let seen = Arc::clone(&slots);
        let thread = thread::spawn(move || reader(&mut lcore, &seen));
        slots.new.store(WHOLE, Ordering::Relaxed);
        readers.publish(2);
        if readers.reached() >= 2 {
            slots.old.store(SPOILT, Ordering::Relaxed);
        }
        thread.join().unwrap();
        assert_eq!(readers.reached(), 2, "an lcore that is gone holds nothing back");
    });
}

#[test]
fn a_slot_is_whole_for_an_lcore_that_wakes_up() {
    check(|lcore, slots| look(slots, lcore.enter()));
}

#[test]
fn a_slot_is_whole_for_an_lcore_that_goes_on() {
    check(|lcore, slots| {
        let first = lcore.enter();
        look(slots, first);
        let second = lcore.enter();
        assert!(second >= first, "generations do not go back");
        look(slots, second);
    });
}

#[test]
fn a_slot_is_whole_for_an_lcore_that_sleeps_in_between() {
    check(|lcore, slots| {
        look(slots, lcore.enter());
        lcore.leave();
        look(slots, lcore.enter());
    });
}
