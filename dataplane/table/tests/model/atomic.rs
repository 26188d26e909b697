//! loom's atomics, which note where each ordering stands in the product's source and can make one of them relaxed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::Location;

pub(crate) use loom::sync::atomic::Ordering;

/// A place in the source: file and line.
pub(crate) type Site = (&'static str, u32);

thread_local! {
    /// Orderings stronger than relaxed that were met. loom's threads are all of one thread of the system's.
    static MET: RefCell<BTreeSet<Site>> = const { RefCell::new(BTreeSet::new()) };
    /// The one that is made relaxed.
    static WEAK: RefCell<Option<Site>> = const { RefCell::new(None) };
}

/// Runs `work` with the ordering at `weak` made relaxed; what orderings it met.
pub(crate) fn weakened(weak: Option<Site>, work: impl FnOnce()) -> BTreeSet<Site> {
    WEAK.set(weak);
    MET.take();
    work();
    WEAK.set(None);
    MET.take()
}

/// Whether the ordering at the caller's caller is kept.
#[track_caller]
fn kept() -> bool {
    let place = Location::caller();
    let site = (place.file(), place.line());
    MET.with_borrow_mut(|met| met.insert(site));
    WEAK.with_borrow(|weak| *weak != Some(site))
}

#[track_caller]
fn order(order: Ordering) -> Ordering {
    if order == Ordering::Relaxed || kept() { order } else { Ordering::Relaxed }
}

#[track_caller]
pub(crate) fn fence(order: Ordering) {
    if kept() {
        loom::sync::atomic::fence(order);
    }
}

macro_rules! atomic {
    ($name:ident, $of:ty) => {
        #[derive(Default)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        #[allow(dead_code)]
        impl $name {
            pub(crate) fn new(value: $of) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, how: Ordering) -> $of {
                self.0.load(order(how))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $of, how: Ordering) {
                self.0.store(value, order(how));
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $of, how: Ordering) -> $of {
                self.0.swap(value, order(how))
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);
