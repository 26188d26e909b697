//! When to send again, and when to give up.
//!
//! The retransmission timeout follows the measured round trip (RFC 6298's estimator), doubles while nothing is
//! measured, and never exceeds the peer's ACK timeout. What was sent more than once measures nothing (Karn), so that a
//! timeout that was too short stays doubled until a packet sent once was answered (RFC 6298 §5), or the peer told of a
//! gap. Giving up counts elapsed time without progress, not tries: an adaptive timeout retries far more often than the
//! peer's retry count foresees.

use gantry_wire::ib::Psn;
use serde::{Deserialize, Serialize};

use crate::handover::number;

/// The shortest retransmission timeout, in nanoseconds: more than a scheduler's tick of 10 ms for which the peer's
/// software may have to wait until it runs. Gaps are told long before; it only counts when the last packet is lost.
pub const RETRY_MIN_NS: u64 = 16_000_000;
/// The retransmission timeout before a round trip was measured, in nanoseconds.
pub const RETRY_INITIAL_NS: u64 = 100_000_000;
/// The longest retransmission timeout of a peer that names none, in nanoseconds.
const RETRY_MAX_NS: u64 = 1_000_000_000;
/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

// Eight bytes for moments, four for what lasts: a queue pair is held to few cache lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Timer {
    /// When to go back, unless something arrives, or when the delay of an RNR NAK ends; [`NEVER`] when nothing is outstanding.
    due_at_ns: u64,
    /// The last progress, or when the first outstanding packet was sent.
    stalled_since_ns: u64,
    /// The longest retransmission timeout.
    retry_max_ns: u64,
    /// When the packet at `timed_psn` was sent; [`NEVER`] when none is timed.
    timed_at_ns: u64,
    /// When the round trip was measured last. What was sent before that is not measured: one measurement a round trip.
    measured_at_ns: u64,
    #[serde(with = "number")]
    timed_psn: Psn,
    /// Smoothed round trip; 0 before the first measurement.
    round_trip_ns: u32,
    /// Its mean deviation.
    deviation_ns: u32,
    /// So many times the longest timeout may pass without progress until the queue pair fails; 0 for endless.
    stall_limit: u8,
    /// Timeouts since the last measurement, or the last gap that was told of.
    backoff: u8,
    /// Something moved since the last timeout, but nothing was measured.
    moved: bool,
    /// An RNR NAK has asked for a delay, which runs.
    rnr: bool,
}

/// What an expired deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing: it has moved.
    Nothing,
    /// The delay of an RNR NAK is over.
    Rnr,
    /// Go back and send again.
    Retry {
        /// What the last timeout sent again was answered, and nothing else.
        moved: bool,
    },
    /// Too long without progress.
    Exhausted,
}

impl Timer {
    /// `ack_timeout_ns` 0: never gives up.
    pub(crate) fn new(ack_timeout_ns: u64, retry_count: u8) -> Timer {
        let named = ack_timeout_ns != 0;
        Timer {
            due_at_ns: NEVER,
            stalled_since_ns: 0,
            retry_max_ns: if named { ack_timeout_ns } else { RETRY_MAX_NS },
            timed_at_ns: NEVER,
            measured_at_ns: 0,
            timed_psn: Psn::new(0),
            round_trip_ns: 0,
            deviation_ns: 0,
            stall_limit: if named { retry_count.saturating_add(1) } else { 0 },
            backoff: 0,
            moved: false,
            rnr: false,
        }
    }

    /// The next moment at which something is due.
    #[inline]
    pub(crate) fn deadline_ns(&self) -> u64 {
        match self.due_at_ns {
            due_at_ns if due_at_ns == NEVER || self.rnr => due_at_ns,
            due_at_ns => due_at_ns.min(self.exhausted_at_ns()),
        }
    }

    /// When the queue pair fails unless something moves; [`NEVER`] for not at all.
    #[inline]
    fn exhausted_at_ns(&self) -> u64 {
        match self.stall_limit {
            0 => NEVER,
            times => self.stalled_since_ns.saturating_add(self.retry_max_ns.saturating_mul(times.into())),
        }
    }

    /// A delay that an RNR NAK asked for is running.
    #[inline]
    pub(crate) fn rnr_waits(&self) -> bool {
        self.rnr
    }

    /// A packet that will be acknowledged has left.
    #[inline]
    pub(crate) fn sent(&mut self, now_ns: u64) {
        if self.due_at_ns == NEVER {
            self.stalled_since_ns = now_ns;
            self.due_at_ns = now_ns.saturating_add(self.retry_timeout_ns());
        }
    }

    /// Measures the round trip of a packet that asks for an answer and is sent for the first time.
    #[inline]
    pub(crate) fn measure(&mut self, now_ns: u64, psn: Psn) {
        if self.timed_at_ns == NEVER {
            self.timed_at_ns = now_ns;
            self.timed_psn = psn;
        }
    }

    /// What was sent once at `sent_ns` is answered.
    #[inline]
    pub(crate) fn sample(&mut self, now_ns: u64, sent_ns: u64) {
        if sent_ns >= self.measured_at_ns || self.backoff > 0 {
            self.learn(now_ns, now_ns.saturating_sub(sent_ns).max(1));
        }
    }

    /// What was sent once goes on being answered. A pause longer than a round trip counts as one.
    pub(crate) fn pause(&mut self, now_ns: u64) {
        let pause_ns = now_ns.saturating_sub(self.stalled_since_ns);
        if self.round_trip_ns != 0 && pause_ns > self.round_trip_ns.into() {
            self.learn(now_ns, pause_ns);
        }
    }

    /// The peer's answers show that packets were lost. So that is why nothing came, not that the peer is slow: a sender
    /// that goes back all the time would have nothing to measure, and its timeout would stay doubled for ever.
    pub(crate) fn loss_shown(&mut self) {
        self.backoff = 0;
    }

    /// Everything up to `acked` has arrived, or a READ response has.
    #[inline]
    pub(crate) fn progress(&mut self, now_ns: u64, acked: Psn, outstanding: bool) {
        if self.timed_at_ns != NEVER && acked.distance_from(self.timed_psn) >= 0 {
            self.sample(now_ns, self.timed_at_ns);
            self.timed_at_ns = NEVER;
        }
        self.moved = self.backoff > 0;
        self.stalled_since_ns = now_ns;
        if !self.rnr {
            self.due_at_ns = if outstanding { now_ns.saturating_add(self.retry_timeout_ns()) } else { NEVER };
        }
    }

    /// Packets are about to be sent again: their answers measure nothing (Karn).
    pub(crate) fn go_back(&mut self) {
        self.timed_at_ns = NEVER;
    }

    /// The peer asks for a delay. It is alive, so that giving up starts anew behind the delay.
    pub(crate) fn rnr(&mut self, now_ns: u64, delay_ns: u64) {
        self.rnr = true;
        self.due_at_ns = now_ns.saturating_add(delay_ns);
        self.timed_at_ns = NEVER;
    }

    /// The request that the peer was not ready for has arrived after all.
    #[inline]
    pub(crate) fn rnr_over(&mut self) {
        if core::mem::take(&mut self.rnr) {
            self.due_at_ns = NEVER;
        }
    }

    /// What is due at `now_ns`.
    pub(crate) fn expire(&mut self, now_ns: u64) -> Expired {
        if self.rnr && now_ns >= self.due_at_ns {
            self.rnr_over();
            return Expired::Rnr;
        }
        if self.rnr || self.due_at_ns == NEVER {
            return Expired::Nothing;
        }
        if now_ns >= self.exhausted_at_ns() {
            return Expired::Exhausted;
        }
        if now_ns < self.due_at_ns {
            return Expired::Nothing;
        }
        self.backoff = self.backoff.saturating_add(1);
        self.due_at_ns = now_ns.saturating_add(self.retry_timeout_ns());
        Expired::Retry { moved: core::mem::replace(&mut self.moved, false) }
    }

    /// Nothing is due any more.
    pub(crate) fn stop(&mut self) {
        self.due_at_ns = NEVER;
        self.rnr = false;
        self.timed_at_ns = NEVER;
    }

    #[inline]
    fn learn(&mut self, now_ns: u64, sample_ns: u64) {
        self.measured_at_ns = now_ns;
        self.backoff = 0;
        // A round trip of more than four seconds counts as four.
        let sample_ns = u32::try_from(sample_ns).unwrap_or(u32::MAX);
        if self.round_trip_ns == 0 {
            self.round_trip_ns = sample_ns;
            self.deviation_ns = sample_ns / 2;
        } else {
            let error_ns = self.round_trip_ns.abs_diff(sample_ns);
            let mean =
                |times: u64, kept: u32, new: u32| ((times * u64::from(kept) + u64::from(new)) / (times + 1)) as u32;
            self.deviation_ns = mean(3, self.deviation_ns, error_ns);
            self.round_trip_ns = mean(7, self.round_trip_ns, sample_ns);
        }
    }

    #[inline]
    fn retry_timeout_ns(&self) -> u64 {
        let base_ns = match self.round_trip_ns {
            0 => RETRY_INITIAL_NS,
            round_trip_ns => (u64::from(round_trip_ns) + 4 * u64::from(self.deviation_ns)).max(RETRY_MIN_NS),
        };
        let doubled_ns = match self.backoff {
            0 => base_ns,
            backoff => base_ns.saturating_mul(1 << backoff.min(20)),
        };
        doubled_ns.min(self.retry_max_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK_TIMEOUT_NS: u64 = 2_147_483_648;

    #[test]
    fn the_timeout_follows_the_round_trip_and_doubles() {
        let mut timer = Timer::new(ACK_TIMEOUT_NS, 7);
        timer.sent(0);
        assert_eq!(timer.deadline_ns(), RETRY_INITIAL_NS);
        timer.measure(0, Psn::new(1));
        timer.progress(8_000_000, Psn::new(1), true);
        // 8 ms + 4 × 4 ms.
        assert_eq!(timer.deadline_ns(), 32_000_000);
        assert_eq!(timer.expire(32_000_000), Expired::Retry { moved: false });
        assert_eq!(timer.deadline_ns(), 32_000_000 + 48_000_000);
        assert_eq!(timer.expire(80_000_000), Expired::Retry { moved: false });
        assert_eq!(timer.deadline_ns(), 80_000_000 + 96_000_000);
        timer.progress(100_000_000, Psn::new(2), false);
        assert_eq!(timer.deadline_ns(), NEVER);
    }

    #[test]
    fn the_timeout_stays_within_floor_and_cap() {
        let mut timer = Timer::new(ACK_TIMEOUT_NS, 7);
        timer.measure(0, Psn::new(1));
        timer.progress(1_000, Psn::new(1), true);
        assert_eq!(timer.deadline_ns(), 1_000 + RETRY_MIN_NS);
        for _ in 0..40 {
            let now_ns = timer.deadline_ns();
            if timer.expire(now_ns) == Expired::Exhausted {
                assert_eq!(now_ns, 1_000 + 8 * ACK_TIMEOUT_NS);
                return;
            }
            assert!(timer.deadline_ns() - now_ns <= ACK_TIMEOUT_NS);
        }
        panic!("never exhausted");
    }

    #[test]
    fn a_packet_sent_again_measures_nothing() {
        let mut timer = Timer::new(ACK_TIMEOUT_NS, 7);
        timer.measure(0, Psn::new(1));
        timer.go_back();
        timer.progress(1_000, Psn::new(1), true);
        assert_eq!(timer.deadline_ns(), 1_000 + RETRY_INITIAL_NS);
    }
}
