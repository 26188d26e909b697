//! One direction of a link: the queue before the line, the line with its rate, and what befalls frames on the way.

use std::collections::VecDeque;

use gantry_host_wire::ethernet::{self, Mac};
use gantry_pipeline::tables::mix;

use super::fate::{Counters, Fate, Trouble};
use super::ip;
use super::weather::{Queue, Weather};

/// What a frame takes on the line beside its own bytes: preamble, FCS, gap (IEEE 802.3 §3.1, §4.4.2).
const OVERHEAD: u64 = 24;
/// Shortest frame on a line, without its FCS; shorter ones are padded.
const SHORTEST: u64 = 60;
/// Longest burst of losses: what makes one (a port that flaps, a full buffer) is over by then, however few frames pass.
const BURST_MAX_NS: u64 = 1_000_000_000;
/// Least range of the time that a frame is held back for.
const HELD_NS: u64 = 1_000;

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// Whom its sender sent it to. Damage that a receiver sees was done behind the check of the FCS, so it never misleads
    /// the switch.
    pub(super) destination: Mac,
    pub(super) fate: Fate,
}

/// What a direction makes of one frame.
pub(super) struct Verdict {
    /// All that befalls the frame or its copies.
    pub(super) fate: Fate,
    /// What arrives.
    pub(super) copies: [Option<Passage>; 2],
}

/// One frame's way to the far end.
#[derive(Clone, Copy)]
pub(super) struct Passage {
    pub(super) arrival_ns: u64,
    flipped_bit: Option<usize>,
    length: usize,
    fate: Fate,
}

impl Passage {
    /// The frame as it arrives.
    pub(super) fn apply(&self, frame: &mut Frame) {
        if let Some(bit) = self.flipped_bit {
            frame.bytes[bit / 8] ^= 1 << (bit % 8);
        }
        frame.bytes.truncate(self.length);
        frame.fate = frame.fate.and(self.fate);
    }
}

/// What is drawn for a frame. Each has numbers of its own, so that one kind of trouble more or less, or more of it,
/// changes nothing about the others: what shrinks a failing run relies on that.
#[derive(Clone, Copy)]
enum Draw {
    Loss,
    BurstBegins,
    BurstEnds,
    Duplication,
    Reordering,
    HeldFor,
    Corruption,
    Bit,
    Truncation,
    Length,
}

/// One direction of a link.
pub struct Direction {
    /// How it behaves from now on.
    pub weather: Weather,
    /// The queue before it, from now on.
    pub queue: Queue,
    /// What it has done so far.
    pub counters: Counters,
    seed: u64,
    /// Frames judged so far: what draws are made for.
    frames: u64,
    /// A burst of losses is under way, and is over by then.
    burst_ends_ns: Option<u64>,
    /// Arrival of the frame before, which none overtakes but by [`Weather::reordering`].
    last_arrival_ns: u64,
    waiting: VecDeque<Frame>,
    waiting_bytes: u64,
    line_free_ns: u64,
    /// Line time that whole nanoseconds have not paid for, in bits times a billion.
    owed: u64,
    pub(super) paused_until_ns: u64,
    /// Full queues that hold it back.
    pub(super) held_by: usize,
    /// When it is to be looked at again; `u64::MAX` when nothing is planned.
    pub(super) wake_ns: u64,
}

impl Direction {
    /// A direction whose trouble `seed` draws.
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        Self {
            weather,
            queue: Queue::OPEN,
            counters: Counters::default(),
            seed,
            frames: 0,
            burst_ends_ns: None,
            last_arrival_ns: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            line_free_ns: 0,
            owed: 0,
            paused_until_ns: 0,
            held_by: 0,
            wake_ns: u64::MAX,
        }
    }

    /// Bytes that wait for the line.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Takes a frame into the queue; gives it back when it does not fit. A `lossless` queue takes any.
    pub(super) fn enqueue(&mut self, mut frame: Frame, lossless: bool) -> Result<(), Frame> {
        let filled = self.waiting_bytes + frame.bytes.len() as u64;
        if self.queue.bytes > 0 && filled > self.queue.bytes && !lossless {
            self.counters.queue_dropped += 1;
            frame.fate = frame.fate.with(Trouble::QueueDropped);
            return Err(frame);
        }
        let marks = self.queue.ecn_bytes > 0 && filled >= self.queue.ecn_bytes;
        if marks && ip::mark(&mut frame.bytes, self.queue.mark_anyway) {
            self.counters.marked += 1;
            frame.fate = frame.fate.with(Trouble::Marked);
        }
        self.waiting_bytes = filled;
        self.waiting.push_back(frame);
        Ok(())
    }

    /// Whether those who feed the queue are to be paused.
    pub(super) fn is_over_full(&self) -> bool {
        self.queue.pfc && self.queue.bytes > 0 && self.waiting_bytes > self.queue.bytes
    }

    /// Whether those who feed the queue may go on.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes <= self.queue.bytes / 2
    }

    /// The next frame to go on the line, and when it has left. Otherwise when to ask again: `u64::MAX` when somebody else
    /// will say.
    pub(super) fn start(&mut self, now_ns: u64) -> Result<(Frame, u64), u64> {
        let free_ns = self.line_free_ns.max(self.paused_until_ns);
        if self.waiting.is_empty() || self.held_by > 0 {
            return Err(u64::MAX);
        }
        if free_ns > now_ns {
            return Err(free_ns);
        }
        let frame = self.waiting.pop_front().expect("not empty");
        self.waiting_bytes -= frame.bytes.len() as u64;
        if self.line_free_ns < now_ns {
            self.owed = 0;
        }
        self.line_free_ns = now_ns + self.line_time_ns(frame.bytes.len() as u64);
        Ok((frame, self.line_free_ns))
    }

    /// What a frame of this many bytes takes on the line, in whole nanoseconds; what they leave over is owed to the next,
    /// so that frames back to back keep the rate exactly.
    fn line_time_ns(&mut self, length: u64) -> u64 {
        let rate_bps = self.weather.rate_bps;
        if rate_bps == 0 {
            return 0;
        }
        let due = (length.max(SHORTEST) + OVERHEAD) * 8 * 1_000_000_000 + self.owed;
        self.owed = due % rate_bps;
        due / rate_bps
    }

    /// What becomes of a frame that has left at `left_ns`.
    pub(super) fn judge(&mut self, frame: &[u8], left_ns: u64) -> Verdict {
        self.counters.sent += 1;
        self.frames += 1;
        if let Some(trouble) = self.drop_reason(frame, left_ns) {
            self.counters.count(trouble);
            return Verdict { fate: Fate::PLAIN.with(trouble), copies: [None; 2] };
        }
        let first = self.passage(frame.len(), left_ns, 0);
        let mut verdict = Verdict { fate: first.fate, copies: [Some(first), None] };
        if self.chance(self.weather.duplication, Draw::Duplication, 0) {
            self.counters.duplicated += 1;
            let mut second = self.passage(frame.len(), left_ns, 1);
            second.fate = second.fate.with(Trouble::Duplicated);
            verdict.fate = verdict.fate.and(second.fate);
            verdict.copies[1] = Some(second);
        }
        verdict
    }

    fn drop_reason(&mut self, frame: &[u8], now_ns: u64) -> Option<Trouble> {
        let weather = self.weather;
        if weather.cut {
            return Some(Trouble::Cut);
        }
        if weather.mtu > 0 && ip::packet_len(frame) > weather.mtu {
            return Some(Trouble::OverMtu);
        }
        let lasts = |ends_ns: &u64| weather.burst_loss > 0 && now_ns < *ends_ns;
        let begun = self.burst_ends_ns.take().filter(lasts);
        if begun.is_some() || self.chance(weather.burst_loss, Draw::BurstBegins, 0) {
            if !self.draw(Draw::BurstEnds, 0).is_multiple_of(u64::from(weather.burst_length.max(1))) {
                self.burst_ends_ns = begun.or(Some(now_ns + BURST_MAX_NS));
            }
            return Some(Trouble::BurstLost);
        }
        self.chance(weather.loss, Draw::Loss, 0).then_some(Trouble::Lost)
    }

    fn passage(&mut self, mut length: usize, left_ns: u64, copy: u64) -> Passage {
        let weather = self.weather;
        let mut fate = Fate::PLAIN;
        let mut befalls = |direction: &mut Self, chance, draw, trouble| {
            let befallen = direction.chance(chance, draw, copy);
            if befallen {
                direction.counters.count(trouble);
                fate = fate.with(trouble);
            }
            befallen
        };
        let mut arrival_ns = self.last_arrival_ns.max(left_ns + weather.delay_ns);
        if befalls(self, weather.reordering, Draw::Reordering, Trouble::Reordered) {
            arrival_ns += 1 + self.draw(Draw::HeldFor, copy) % (weather.delay_ns * 20).max(HELD_NS);
        } else {
            self.last_arrival_ns = arrival_ns;
        }
        let mut flipped_bit = None;
        if befalls(self, weather.corruption, Draw::Corruption, Trouble::Corrupted) {
            flipped_bit = Some((self.draw(Draw::Bit, copy) % (length as u64 * 8)) as usize);
        }
        if length > ethernet::LEN && befalls(self, weather.truncation, Draw::Truncation, Trouble::Truncated) {
            let behind = (length - ethernet::LEN) as u64;
            length = ethernet::LEN + (self.draw(Draw::Length, copy) % behind) as usize;
        }
        Passage { arrival_ns, flipped_bit, length, fate }
    }

    fn draw(&self, draw: Draw, copy: u64) -> u64 {
        mix(self.seed ^ mix(self.frames << 8 | copy << 7 | draw as u64))
    }

    fn chance(&self, of_ten_thousand: u32, draw: Draw, copy: u64) -> bool {
        of_ten_thousand > 0 && self.draw(draw, copy) % 10_000 < u64::from(of_ten_thousand)
    }
}
