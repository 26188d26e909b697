//! A timer wheel over QPs: constant cost to arm, nothing to do for what is not armed.
//!
//! Arming to a later time leaves a timer where it is and notes the time; when its slot comes up it goes on to that. So the frequent
//! case (a deadline moved on by every packet, or taken back by the last ACK) costs one comparison, and who is not due is not
//! looked at: of many QPs each would have to be fetched from memory.

use alloc::boxed::Box;

use alloc::vec::Vec;

use gantry_cpu::Cpu;
use serde::{Deserialize, Serialize};

use crate::command::NONE;

/// Nanoseconds of one slot: 131 µs.
const TICK_SHIFT: u32 = 17;
const SLOTS: u64 = 1024;

/// Of few timers those without a deadline stay where they are, for they may soon have one again. Of many each would have to be
/// fetched from memory when it came up, one behind the other; taken off at once, its neighbours are those armed last.
const FEW: u32 = 64;

/// Timers that are moved on, or left out, before the caller has its turn again.
const MOVED_MAX: u32 = 128;

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    /// Tick it is armed for; `u64::MAX` when it is not.
    tick: u64,
    /// Tick it is due at; `u64::MAX` for never. What does not know it, after a handover, comes up at `tick`.
    due: u64,
}

impl Link {
    const UNARMED: Self = Self { next: NONE, previous: NONE, tick: u64::MAX, due: u64::MAX };
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
            wheel.link(*object, *tick, *tick);
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
            links: (0..count).map(|_| Link::UNARMED).collect(),
            tick: now_ns >> TICK_SHIFT,
            armed: 0,
        }
    }

    /// How many are armed.
    #[must_use]
    pub fn armed(&self) -> u32 {
        self.armed
    }

    /// The object comes up within one tick after `deadline_ns`, and not before; with `u64::MAX` not at all.
    #[inline]
    pub fn arm(&mut self, object: u32, deadline_ns: u64) {
        let link = &mut self.links[object as usize];
        if deadline_ns == u64::MAX {
            link.due = u64::MAX;
            if self.armed > FEW {
                self.disarm(object);
            }
            return;
        }
        let due = (deadline_ns >> TICK_SHIFT) + 1;
        link.due = due;
        let tick = self.within(due);
        if self.links[object as usize].tick <= tick {
            return;
        }
        self.disarm(object);
        self.link(object, tick, due);
    }

    /// Starts to fetch an object's timer.
    #[inline]
    pub fn prefetch(&self, cpu: &Cpu, object: u32) {
        if let Some(link) = self.links.get(object as usize) {
            cpu.prefetch_write(link);
        }
    }

    /// The tick at which something that is due then is looked at: a deadline beyond the wheel at its end, and goes on from there.
    fn within(&self, due: u64) -> u64 {
        due.clamp(self.tick + 1, self.tick + SLOTS - 1)
    }

    fn link(&mut self, object: u32, tick: u64, due: u64) {
        let head = &mut self.heads[(tick % SLOTS) as usize];
        self.links[object as usize] = Link { next: *head, previous: NONE, tick, due };
        if *head != NONE {
            self.links[*head as usize].previous = object;
        }
        *head = object;
        self.armed += 1;
    }

    /// Takes the object off the wheel.
    pub fn disarm(&mut self, object: u32) {
        let Link { next, previous, tick, .. } = self.links[object as usize];
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
        self.links[object as usize] = Link::UNARMED;
        self.armed -= 1;
    }

    /// When the next slot that holds an object comes up; `u64::MAX` when nothing is armed.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        let mut ticks = self.tick + 1..self.tick + SLOTS;
        let next = if self.armed == 0 { None } else { ticks.find(|tick| self.heads[(tick % SLOTS) as usize] != NONE) };
        next.map_or(u64::MAX, |tick| tick << TICK_SHIFT)
    }

    /// The next object whose slot has come up and that is due, taken off the wheel; the caller arms it again as needed. Where many are
    /// not due none is given, though more may be left for the next time.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<u32> {
        let now = now_ns >> TICK_SHIFT;
        if self.armed == 0 {
            self.tick = self.tick.max(now);
            return None;
        }
        // Whoever slept for longer than the wheel is round goes round once: every slot has come up.
        self.tick = self.tick.max(now.saturating_sub(SLOTS));
        let mut moved = 0;
        while self.tick < now {
            let head = self.heads[((self.tick + 1) % SLOTS) as usize];
            if head == NONE || self.links[head as usize].tick > self.tick + 1 {
                self.tick += 1;
                continue;
            }
            let due = self.links[head as usize].due;
            self.disarm(head);
            if due <= self.tick + 1 {
                return Some(head);
            }
            if due != u64::MAX {
                // Not to the slot that is being looked at.
                self.link(head, self.within(due), due);
            }
            moved += 1;
            if moved == MOVED_MAX {
                return None;
            }
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
            times.extend(due(&mut wheel, next_ns).iter().map(|_| next_ns / TICK));
        }
        // What lies beyond the wheel is looked at on the way.
        assert_eq!(times, [4, 701, 5001]);
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
    fn the_last_deadline_counts_earlier_or_later() {
        let mut wheel = Wheel::new(2, 0);
        wheel.arm(0, 100 * TICK);
        wheel.arm(0, 10 * TICK);
        assert_eq!(due(&mut wheel, 11 * TICK), [0]);
        wheel.arm(0, 20 * TICK);
        for later in [21, 22, 500, 499] {
            wheel.arm(0, later * TICK);
            assert_eq!(wheel.armed(), 1);
        }
        assert_eq!(due(&mut wheel, 499 * TICK), []);
        assert_eq!(due(&mut wheel, 500 * TICK), [0]);
        assert_eq!((due(&mut wheel, 600 * TICK), wheel.armed()), (Vec::new(), 0));
    }

    #[test]
    fn a_deadline_that_is_taken_back_does_not_come_up_and_may_be_given_again() {
        let mut wheel = Wheel::new(2, 0);
        wheel.arm(0, 10 * TICK);
        wheel.arm(0, u64::MAX);
        wheel.arm(1, 10 * TICK);
        wheel.arm(1, u64::MAX);
        wheel.arm(1, 30 * TICK);
        assert_eq!(due(&mut wheel, 30 * TICK), []);
        assert_eq!(wheel.armed(), 1, "who has no deadline leaves when it would have come up");
        assert_eq!(due(&mut wheel, 31 * TICK), [1]);
        wheel.arm(0, u64::MAX);
        assert_eq!(wheel.armed(), 0);
    }

    #[test]
    fn of_many_none_stays_without_a_deadline() {
        let mut wheel = Wheel::new(1000, 0);
        (0..1000).for_each(|object| wheel.arm(object, 10 * TICK));
        (0..1000).for_each(|object| wheel.arm(object, 20 * TICK));
        // Some at a time go on.
        let polls = core::iter::repeat_with(|| wheel.pop_due(11 * TICK)).take(8);
        assert!(polls.into_iter().all(|popped| popped.is_none()));
        assert_eq!(wheel.links.iter().filter(|link| link.tick == 21).count(), 1000);
        (256..1000).for_each(|object| wheel.arm(object, u64::MAX));
        (0..256).for_each(|object| wheel.arm(object, u64::MAX));
        assert_eq!(wheel.armed(), FEW);
        wheel.arm(7, 22 * TICK);
        wheel.arm(255, 22 * TICK);
        assert_eq!(due(&mut wheel, 23 * TICK), [7, 255]);
        assert_eq!(wheel.armed(), 0);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_comes_up_in_its_time() {
        let mut wheel = Wheel::new(1, 0);
        wheel.arm(0, 5000 * TICK);
        assert_eq!(due(&mut wheel, 5000 * TICK), []);
        assert_eq!(wheel.armed(), 1);
        assert_eq!(due(&mut wheel, 5001 * TICK), [0]);
    }

    #[test]
    fn after_a_long_sleep_the_wheel_goes_round_once() {
        let mut wheel = Wheel::new(1000, 0);
        (0..1000).for_each(|object| wheel.arm(object, u64::from(object) * TICK));
        let now_ns = 1_000_000 * TICK;
        let mut order = Vec::new();
        while let Some(object) = wheel.pop_due(now_ns) {
            order.push(object);
            // What is not yet to be is armed again.
            wheel.arm(object, 2 * now_ns);
        }
        // But for those of the first slots, which are round again when the present is reached.
        assert!(order.len() <= 1002, "{} timers came up", order.len());
        order.sort_unstable();
        order.dedup();
        assert_eq!(order, (0..1000).collect::<Vec<u32>>());
        assert_eq!(wheel.armed(), 1000);
        let mut later = || -> usize { (0..16).map(|_| due(&mut wheel, 2 * now_ns + TICK).len()).sum() };
        assert_eq!((later(), later()), (1000, 0), "each at its time");
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
