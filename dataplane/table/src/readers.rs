//! Who reads: lcores, and which generation each of them is in.
//!
//! The protocol is that of epochs. An lcore that comes out of quiescence says that it is here, fences, and only then takes the
//! generation that it will look up in; the writer publishes a generation, fences, and only then asks who is where. So either
//! the writer sees the lcore, or the lcore takes that generation or a later one. An lcore that goes from one generation to the
//! next needs no fence: until its new number is seen, the old one holds back more than it must.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::Generation;
use crate::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// What a seat holds while its lcore is in no generation.
const QUIESCENT: u64 = 0;

/// On a pair of cache lines of its own, for processors with lines of 128 bytes and those that fetch lines in pairs.
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// What writer and lcores share.
pub(crate) struct Readers {
    current: Apart<AtomicU64>,
    seats: Box<[Seat]>,
}

#[repr(align(128))]
struct Seat {
    entered: AtomicU64,
    taken: AtomicBool,
}

impl Readers {
    pub(crate) fn new(first: u64, seats: usize) -> Self {
        let seat = |_| Seat { entered: AtomicU64::new(QUIESCENT), taken: AtomicBool::new(false) };
        Self { current: Apart(AtomicU64::new(first)), seats: (0..seats).map(seat).collect() }
    }

    /// Makes a generation the one that lcores enter from now on.
    pub(crate) fn publish(&self, generation: u64) {
        // Release: whoever enters it sees every store before.
        self.current.0.store(generation, Ordering::Release);
    }

    /// A generation that every lcore has reached, and below which none will enter any more.
    pub(crate) fn reached(&self) -> u64 {
        let current = self.current.0.load(Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Acquire: what lcores read before they left happens before slots are written again.
        let entered = self.seats.iter().map(|seat| seat.entered.load(Ordering::Acquire));
        entered.filter(|&g| g != QUIESCENT).fold(current, u64::min)
    }

    /// A seat that nobody has.
    pub(crate) fn seat(readers: &Arc<Self>) -> Option<Lcore> {
        let free = |seat: &Seat| !seat.taken.swap(true, Ordering::AcqRel);
        let seat = readers.seats.iter().position(free)?;
        Some(Lcore { readers: Arc::clone(readers), seat, entered: QUIESCENT })
    }
}

/// A reader's seat: an lcore's, or that of another thread that reads, for a dump for instance.
///
/// A generation stays as it was while any reader is in it, so a reader that stays for long keeps slots from being used again,
/// and in the end the writer from staging ([`ReadersBehind`](crate::StageError::ReadersBehind)).
pub struct Lcore {
    readers: Arc<Readers>,
    seat: usize,
    entered: u64,
}

impl Lcore {
    /// Enters the current generation, at the beginning of a burst, and leaves the one before. Lookups until the next call use the
    /// result. When nothing was published meanwhile this is one load.
    #[inline]
    pub fn enter(&mut self) -> Generation {
        let current = self.readers.current.0.load(Ordering::Acquire);
        if current != self.entered { self.move_to(current) } else { Generation(current) }
    }

    #[cold]
    fn move_to(&mut self, current: u64) -> Generation {
        let (seat, mut enters) = (&self.readers.seats[self.seat].entered, current);
        if self.entered == QUIESCENT {
            seat.store(current, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            enters = self.readers.current.0.load(Ordering::Acquire);
        }
        // Release: what was read in the generation before stays before.
        seat.store(enters, Ordering::Release);
        self.entered = enters;
        Generation(enters)
    }

    /// Enters a generation that was published, at the beginning of a burst: for an lcore that is told with other news which
    /// generation belongs to it. Lookups see nothing that was published later.
    ///
    /// # Panics
    /// When the lcore is in no generation, or in a later one: what it asks for may be gone.
    pub fn enter_at(&mut self, generation: Generation) -> Generation {
        let published = self.readers.current.0.load(Ordering::Acquire);
        let Generation(number) = generation;
        assert!(self.entered != QUIESCENT && (self.entered..=published).contains(&number), "a generation that is gone");
        // As in `enter`: what was read in the generation before stays before.
        self.readers.seats[self.seat].entered.store(number, Ordering::Release);
        self.entered = number;
        generation
    }

    /// Leaves: before it sleeps. Entries looked up are no longer to be relied on.
    pub fn leave(&mut self) {
        self.readers.seats[self.seat].entered.store(QUIESCENT, Ordering::Release);
        self.entered = QUIESCENT;
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        self.leave();
        self.readers.seats[self.seat].taken.store(false, Ordering::Release);
    }
}
