//! Wakes a thread that has nothing to do. Ringing for one that is awake costs a fence and a load.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

/// One thread's bell. What is to be found when it wakes is written before the bell is rung.
#[derive(Debug)]
pub struct Bell {
    asleep: Line,
    event: OwnedFd,
}

/// Alone on its cache lines, which the sleeper writes and everybody else reads.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Line(AtomicBool);

impl Bell {
    /// A bell of a thread that is awake.
    ///
    /// # Errors
    /// The kernel's: no descriptor is left.
    pub fn new() -> std::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { asleep: Line::default(), event })
    }

    /// Wakes the thread, if it sleeps or is about to.
    pub fn ring(&self) {
        // Pairs with the fence in `listen`: either the sleeper's last look finds what was written, or this sees it asleep.
        fence(Ordering::SeqCst);
        if self.asleep.0.load(Ordering::Relaxed) && self.asleep.0.swap(false, Ordering::AcqRel) {
            // It fails when the counter is full, and then the thread wakes as well.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// From now on a ring is felt. The sleeper looks once more for something to do before it sleeps.
    pub fn listen(&self) {
        self.asleep.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The thread is awake, whoever woke it.
    pub fn answer(&self) {
        if !self.asleep.0.swap(false, Ordering::AcqRel) {
            // It was rung: the next sleep must not end at once.
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
    }
}

impl AsFd for Bell {
    /// Readable when the bell was rung.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rung(bell: &Bell) -> bool {
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn only_a_sleeper_is_rung_for_and_once() {
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(!rung(&bell), "it was awake");
        bell.listen();
        assert!(!rung(&bell));
        bell.ring();
        bell.ring();
        assert!(rung(&bell));
        bell.answer();
        assert!(!rung(&bell), "the ring was heard");
        bell.listen();
        bell.answer();
        bell.ring();
        assert!(!rung(&bell), "it woke by itself");
    }

    /// Each side hands the other a number and waits for the next: a ring that is lost ends it.
    #[test]
    fn no_ring_is_lost_between_the_last_look_and_the_sleep() {
        use std::sync::atomic::AtomicU64;

        const ROUNDS: u64 = 20_000;
        let bells = [Bell::new().unwrap(), Bell::new().unwrap()];
        let numbers = [AtomicU64::new(0), AtomicU64::new(0)];
        let (bells, numbers) = (&bells, &numbers);
        let play = |me: usize, first: u64| {
            for round in (first..ROUNDS).step_by(2) {
                while numbers[me].load(Ordering::Relaxed) != round {
                    bells[me].listen();
                    if numbers[me].load(Ordering::Relaxed) != round {
                        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
                        let heard = poll(&mut [PollFd::new(&bells[me], PollFlags::IN)], Some(&limit)).unwrap();
                        assert_eq!(heard, 1, "round {round}: nobody rang");
                    }
                    bells[me].answer();
                }
                numbers[1 - me].store(round + 1, Ordering::Relaxed);
                bells[1 - me].ring();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| play(0, 0));
            play(1, 1);
        });
        assert_eq!(numbers[0].load(Ordering::Relaxed), ROUNDS);
    }
}
