//! Idle back-off: an lcore with nothing to do polls on, then pauses, then sleeps until something comes.
//!
//! What comes is a frame (by its queue's interrupt), a batch of housekeeping's or another lcore's frame (by the bell), or
//! the time of the next timer. An lcore that has something under way, or a port without interrupts, only naps: drives are
//! polled, and their completions come soon.

use std::sync::Arc;
use std::time::Duration;

use gantry_cpu::Cpu;
use gantry_pipeline::Lcore;
use rte_rs::Interrupts;

use crate::bell::Bell;
use crate::exchange::LcoreEnd;
use crate::port::DpdkQueue;

/// Idle polls that follow each other at once.
const POLLS: u32 = 256;

/// Idle polls with a pause in between, after which the lcore sleeps when nothing is under way.
const PAUSES: u32 = 2048;

/// The same while commands or packets are under way: their next step comes soon.
const PAUSES_BUSY: u32 = 16_384;

/// First and longest nap.
const NAP: Duration = Duration::from_micros(20);
const NAP_MAX: Duration = Duration::from_micros(200);

/// The longest sleep: what has no interrupt and no bell (a link that comes up, a drive's news) waits so long.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// What an lcore does when a poll has done nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Poll,
    Pause,
    Nap(Duration),
    Sleep,
}

/// How long an lcore has been idle.
#[derive(Debug, Default)]
struct Spell {
    polls: u32,
    nap: Option<Duration>,
}

impl Spell {
    /// After another poll that did nothing.
    fn next(&mut self, in_flight: bool) -> Rest {
        self.polls = self.polls.saturating_add(1);
        if self.polls < POLLS {
            return Rest::Poll;
        }
        if self.polls < if in_flight { PAUSES_BUSY } else { PAUSES } {
            return Rest::Pause;
        }
        if in_flight { Rest::Nap(self.nap()) } else { Rest::Sleep }
    }

    /// A nap, twice as long as the one before.
    fn nap(&mut self) -> Duration {
        let nap = self.nap.map_or(NAP, |nap| (nap * 2).min(NAP_MAX));
        self.nap = Some(nap);
        nap
    }
}

/// An lcore's idle back-off.
pub struct Idle {
    spell: Spell,
    bell: Arc<Bell>,
    interrupts: Interrupts,
}

impl Idle {
    /// For the lcore whose bell this is. Its queues are [attached](rte_rs::RxQueue::attach) to the same interrupts, which
    /// the bell ends as well.
    pub fn new(bell: Arc<Bell>, interrupts: Interrupts) -> Self {
        Self { spell: Spell::default(), bell, interrupts }
    }

    /// After a poll that did something.
    pub fn busy(&mut self) {
        self.spell = Spell::default();
    }

    /// After a poll that did nothing. Whether it slept; `before` is done first, what others are to see of the lcore
    /// meanwhile.
    pub fn idle(
        &mut self,
        lcore: &mut Lcore<DpdkQueue, LcoreEnd>,
        cpu: &Cpu,
        now_ns: impl Fn() -> u64,
        before: impl FnOnce(&mut Lcore<DpdkQueue, LcoreEnd>),
    ) -> bool {
        match self.spell.next(lcore.has_work_in_flight()) {
            Rest::Poll => false,
            Rest::Pause => {
                cpu.pause();
                false
            }
            Rest::Nap(nap) => {
                std::thread::sleep(nap);
                true
            }
            Rest::Sleep => {
                before(lcore);
                self.sleep(lcore, now_ns)
            }
        }
    }

    /// Sleeps until something comes. Whether it did: what came before is found by one more look, without sleep.
    fn sleep(&mut self, lcore: &mut Lcore<DpdkQueue, LcoreEnd>, now_ns: impl Fn() -> u64) -> bool {
        let armed = lcore.ports().iter_mut().all(|port| port.queue.arm());
        self.bell.listen();
        let found = lcore.poll(now_ns());
        if found {
            self.busy();
        } else {
            let until = Duration::from_nanos(lcore.next_timer_ns().saturating_sub(now_ns())).min(SLEEP_MAX);
            // The timer's granularity is a millisecond.
            if armed && until >= Duration::from_millis(1) {
                self.interrupts.wait(until);
            } else {
                std::thread::sleep(self.spell.nap());
            }
        }
        self.bell.answer();
        for port in lcore.ports() {
            port.queue.disarm();
        }
        !found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first rest of each kind in one spell, and after how many polls.
    fn kinds(in_flight: bool) -> Vec<(u32, Rest)> {
        let mut spell = Spell::default();
        let mut kinds: Vec<(u32, Rest)> = Vec::new();
        for poll in 1..20_000 {
            let rest = spell.next(in_flight);
            if kinds.last().is_none_or(|(_, last)| *last != rest) {
                kinds.push((poll, rest));
            }
        }
        kinds
    }

    #[test]
    fn nothing_under_way_sleeps_and_something_naps() {
        assert_eq!(kinds(false), [(1, Rest::Poll), (POLLS, Rest::Pause), (PAUSES, Rest::Sleep)]);
        let naps = [20, 40, 80, 160, 200].map(|us| Rest::Nap(Duration::from_micros(us)));
        let naps = (PAUSES_BUSY..).zip(naps);
        assert_eq!(kinds(true), [(1, Rest::Poll), (POLLS, Rest::Pause)].into_iter().chain(naps).collect::<Vec<_>>());
    }
}
