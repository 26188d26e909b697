//! Idle back-off: an lcore with nothing to do polls on, then pauses, then sleeps.

use std::time::Duration;

use gantry_cpu::Cpu;

/// Idle polls that follow each other at once.
const POLLS: u32 = 256;

/// Idle polls with a pause in between, after which the lcore sleeps when nothing is under way.
const PAUSES: u32 = 2048;

/// The same while commands or packets are under way: their next step comes soon.
const PAUSES_BUSY: u32 = 16_384;

/// First and longest sleep.
const SLEEP: Duration = Duration::from_micros(20);
const SLEEP_MAX: Duration = Duration::from_micros(200);

/// How long an lcore has been idle.
#[derive(Default)]
pub struct Idle {
    polls: u32,
    sleep: Option<Duration>,
}

impl Idle {
    /// After a poll that did something.
    pub fn busy(&mut self) {
        *self = Self::default();
    }

    /// After a poll that did nothing. Whether it slept.
    pub fn idle(&mut self, cpu: &Cpu, in_flight: bool) -> bool {
        self.polls = self.polls.saturating_add(1);
        if self.polls < POLLS {
            return false;
        }
        if self.polls < if in_flight { PAUSES_BUSY } else { PAUSES } {
            cpu.pause();
            return false;
        }
        let sleep = self.sleep.map_or(SLEEP, |sleep| (sleep * 2).min(SLEEP_MAX));
        self.sleep = Some(sleep);
        std::thread::sleep(sleep);
        true
    }
}
