//! A timer wheel over QPs: constant cost to arm, nothing to do for what is not armed.
//!
//! Arming to a later time leaves a timer where it is; when its slot comes up the owner is asked for the
//! true deadline and armed again. So the frequent case (a deadline moved on by every packet) costs one comparison.

use alloc::boxed::Box;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::command::NONE;

/// Nanoseconds of one slot: 131 µs.
const TICK_SHIFT: u32 = 17;
const SLOTS: u64 = 1024;

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    /// Tick it is armed for; `u64::MAX` when it is not.
    tick: u64,
}

/// Timers for a fixed number of objects.
pub struct Wheel {
    heads: Box<[u32]>,
    links: Box<[Link]>,
    tick: u64,
    armed: u32,
}

/// A wheel, told to a successor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WheelState {
    tick: u64,
    /// Objects and the ticks that they are armed for, in the order in which arming them anew gives the same wheel.
    armed: Vec<(u32, u64)>,
}

impl Wheel {
    /// Tells a successor what is armed.
    pub(crate) fn tell(&self) -> WheelState {
        let mut armed = Vec::with_capacity(self.armed as usize);
        for head in self.heads.iter().rev() {
            let on = |object: u32| (object != NONE).then_some(object);
            let objects = core::iter::successors(on(*head), |object| on(self.links[*object as usize].next));
            armed.extend(objects.map(|object| (object, self.links[object as usize].tick)));
        }
        // A slot is a stack: what was armed last comes up first.
        armed.reverse();
        WheelState { tick: self.tick, armed }
    }

    /// Timers for objects `0..count`, armed as they were; `None` when an object is none of them, is armed twice or beyond
    /// the wheel.
    pub(crate) fn take_up(told: &WheelState, count: u32) -> Option<Self> {
        let mut wheel = Self { tick: told.tick, ..Self::new(count, 0) };
        let last = told.tick.checked_add(SLOTS)?;
        for (object, tick) in &told.armed {
            if wheel.links.get(*object as usize)?.tick != u64::MAX || *tick <= told.tick || *tick >= last {
                return None;
            }
            wheel.link(*object, *tick);
        }
        Some(wheel)
    }

    /// The objects armed.
    pub(crate) fn objects(told: &WheelState) -> impl Iterator<Item = u32> + '_ {
        told.armed.iter().map(|(object, _)| *object)
    }

    /// Timers for objects `0..count`, none armed.
    #[must_use]
    pub fn new(count: u32, now_ns: u64) -> Self {
        Self {
            heads: (0..SLOTS).map(|_| NONE).collect(),
            links: (0..count).map(|_| Link { next: NONE, previous: NONE, tick: u64::MAX }).collect(),
            tick: now_ns >> TICK_SHIFT,
            armed: 0,
        }
    }

    /// How many are armed.
    #[must_use]
    pub fn armed(&self) -> u32 {
        self.armed
    }

    /// Makes sure that the object comes up no later than one tick after `deadline_ns`.
    pub fn arm(&mut self, object: u32, deadline_ns: u64) {
        // A deadline beyond the wheel comes up at its end and is armed again from there.
        let tick = ((deadline_ns >> TICK_SHIFT) + 1).clamp(self.tick + 1, self.tick + SLOTS - 1);
        if self.links[object as usize].tick <= tick {
            return;
        }
        self.disarm(object);
        self.link(object, tick);
    }

    fn link(&mut self, object: u32, tick: u64) {
        let head = &mut self.heads[(tick % SLOTS) as usize];
        self.links[object as usize] = Link { next: *head, previous: NONE, tick };
        if *head != NONE {
            self.links[*head as usize].previous = object;
        }
        *head = object;
        self.armed += 1;
    }

    /// Takes the object off the wheel.
    pub fn disarm(&mut self, object: u32) {
        let Link { next, previous, tick } = self.links[object as usize];
        if tick == u64::MAX {
            return;
        }
        if previous == NONE {
            self.heads[(tick % SLOTS) as usize] = next;
        } else {
            self.links[previous as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.links[object as usize].tick = u64::MAX;
        self.armed -= 1;
    }

    /// When the next slot that holds an object comes up; `u64::MAX` when nothing is armed.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        let mut ticks = self.tick + 1..self.tick + SLOTS;
        let next = if self.armed == 0 { None } else { ticks.find(|tick| self.heads[(tick % SLOTS) as usize] != NONE) };
        next.map_or(u64::MAX, |tick| tick << TICK_SHIFT)
    }

    /// The next object whose slot has come up, taken off the wheel; the caller arms it again as needed.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<u32> {
        let now = now_ns >> TICK_SHIFT;
        if self.armed == 0 {
            self.tick = self.tick.max(now);
            return None;
        }
        // Whoever slept for longer than the wheel is round goes round once: every slot has come up.
        self.tick = self.tick.max(now.saturating_sub(SLOTS));
        while self.tick < now {
            let head = self.heads[((self.tick + 1) % SLOTS) as usize];
            if head != NONE && self.links[head as usize].tick <= self.tick + 1 {
                self.disarm(head);
                return Some(head);
            }
            self.tick += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const TICK: u64 = 1 << TICK_SHIFT;

    fn due(wheel: &mut Wheel, now_ns: u64) -> Vec<u32> {
        let mut due: Vec<u32> = core::iter::from_fn(|| wheel.pop_due(now_ns)).collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn the_next_time_is_when_the_first_object_comes_up() {
        let mut wheel = Wheel::new(4, 0);
        assert_eq!(wheel.next_ns(), u64::MAX);
        for (object, deadline_ns) in [(0, 700 * TICK), (1, 3 * TICK), (2, 5000 * TICK)] {
            wheel.arm(object, deadline_ns);
        }
        let mut times = Vec::new();
        while wheel.armed() > 0 {
            let next_ns = wheel.next_ns();
            assert_eq!(due(&mut wheel, next_ns - 1), [], "nothing comes up before");
            assert_eq!(due(&mut wheel, next_ns).len(), 1);
            times.push(next_ns / TICK);
        }
        // What lies beyond the wheel comes up at its end, to be armed again.
        assert_eq!(times, [4, 701, 1023]);
    }

    #[test]
    fn timers_come_up_once_and_not_early() {
        let mut wheel = Wheel::new(8, 0);
        wheel.arm(1, 5 * TICK);
        wheel.arm(2, 5 * TICK + 1);
        wheel.arm(3, 900 * TICK);
        assert_eq!(due(&mut wheel, 5 * TICK), []);
        assert_eq!(due(&mut wheel, 6 * TICK), [1, 2]);
        assert_eq!(due(&mut wheel, 899 * TICK), []);
        assert_eq!(due(&mut wheel, 2000 * TICK), [3]);
        assert_eq!(wheel.armed(), 0);
    }

    #[test]
    fn an_earlier_deadline_moves_a_timer_and_a_later_one_does_not() {
        let mut wheel = Wheel::new(2, 0);
        wheel.arm(0, 100 * TICK);
        wheel.arm(0, 10 * TICK);
        wheel.arm(0, 500 * TICK);
        assert_eq!(wheel.armed(), 1);
        assert_eq!(due(&mut wheel, 11 * TICK), [0]);
        assert_eq!(due(&mut wheel, 600 * TICK), []);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_comes_up_at_its_end() {
        let mut wheel = Wheel::new(1, 0);
        wheel.arm(0, 5000 * TICK);
        assert_eq!(due(&mut wheel, 1022 * TICK), []);
        assert_eq!(due(&mut wheel, 1023 * TICK), [0]);
    }

    #[test]
    fn after_a_long_sleep_the_wheel_goes_round_once() {
        let mut wheel = Wheel::new(1000, 0);
        (0..1000).for_each(|object| wheel.arm(object, u64::from(object) * TICK));
        let now_ns = 1_000_000 * TICK;
        let mut order = Vec::new();
        while let Some(object) = wheel.pop_due(now_ns) {
            order.push(object);
            // What is not yet to be is armed again, and comes up no more before the wheel has gone round.
            wheel.arm(object, 2 * now_ns);
        }
        // But for those of the first slots, which are round again when the present is reached.
        assert!(order.len() <= 1002, "{} timers came up", order.len());
        order.sort_unstable();
        order.dedup();
        assert_eq!(order, (0..1000).collect::<Vec<u32>>());
        assert_eq!(wheel.armed(), 1000);
        assert_eq!(due(&mut wheel, now_ns + SLOTS * TICK).len(), 1000, "each within a round of the wheel");
    }

    #[test]
    fn disarmed_timers_stay_silent() {
        let mut wheel = Wheel::new(3, 0);
        (0..3).for_each(|i| wheel.arm(i, 3 * TICK));
        wheel.disarm(1);
        wheel.disarm(1);
        assert_eq!(due(&mut wheel, 10 * TICK), [0, 2]);
    }
}
