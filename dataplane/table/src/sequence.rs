//! A version beside words that one thread writes and lcores read: odd while they change (a sequence lock without waiting).
//!
//! The writer makes the version odd, fences, stores the words, and makes it even again as a release; an lcore acquires the
//! version, loads the words, fences, and looks at the version once more. All the words' own accesses are relaxed.

use crate::atomic::{AtomicU64, Ordering, fence};

/// The version.
pub(crate) struct Sequence(AtomicU64);

impl Sequence {
    pub(crate) fn new(version: u64) -> Self {
        Self(AtomicU64::new(version))
    }

    /// The version, for the thread that writes, and for a look at whether words are worth reading.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The words are about to change. `odd` is what lcores see meanwhile.
    pub(crate) fn begin(&self, odd: u64) {
        debug_assert!(odd & 1 == 1, "an even version says that nothing changes");
        self.0.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
    }

    /// They have changed.
    pub(crate) fn end(&self, even: u64) {
        debug_assert!(even & 1 == 0, "an odd version says that something changes");
        self.0.store(even, Ordering::Release);
    }

    /// Reads the words once, unless the version is at most `none`; whether they are of one version.
    #[inline]
    pub(crate) fn read<T>(&self, none: u64, words: impl FnOnce() -> T) -> Option<(T, bool)> {
        let version = self.0.load(Ordering::Acquire);
        if version <= none {
            return None;
        }
        let words = words();
        fence(Ordering::Acquire);
        Some((words, version & 1 == 0 && self.version() == version))
    }
}
