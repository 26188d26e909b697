//! A target: one card and the control process beside it, with the channel between them and the time that lcores take.
//!
//! An lcore that polls at `t` has done so at `t` plus what the poll cost: then its frames are on the wire, the drives see
//! its doorbells, and it polls again. What housekeeping and control do costs no time, so that time passes for hosts as if
//! control were not there.

use std::collections::VecDeque;

use gantry::channel::{Frame, Kind};
use gantry_control::{Configuration, Control, Notice};
use gantry_pipeline::counters::{Counter, NAMES};
use gantry_pipeline::state::Sizes;
use gantry_pipeline::tables::mix;

use crate::card::{Card, MailEnd};
use crate::wire::Queue;

/// The name of the simulated port's wire.
const WIRE: &str = "net0";

/// Longest step of virtual time: the resolution of the lcores' timers.
pub(super) const STEP_NS: u64 = 50_000;

/// What a poll costs in virtual time when something happened in it, and what each frame that it moved adds.
pub const POLL_NS: u64 = 200;
/// See [`POLL_NS`].
pub const FRAME_NS: u64 = 100;

/// Channel frames that a target remembers.
const LAST_FRAMES: usize = 48;

/// When control dies: around the channel's frame of this number, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Before it has sent the frame, or before it has taken it in.
    Before(u64),
    /// When the data plane has the frame, or when control has taken it in and said nothing yet.
    After(u64),
}

/// One lcore's time.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// When the poll that runs has ended; zero when none does.
    ends_ns: u64,
    /// There may be something to do.
    awake: bool,
    /// Frames that it had moved when time was last reckoned.
    moved: u64,
}

/// An lcore of a card.
pub type Lcore = gantry_pipeline::Lcore<Queue, MailEnd>;

/// Polls an lcore once, at this time; whether it did something.
pub type Poll = fn(&mut Lcore, u64) -> bool;

/// A card and its control.
pub struct Target {
    /// The card.
    pub card: Card,
    /// How its lcores are polled: who counts what a poll takes puts something around [`Lcore::poll`].
    pub poll: Poll,
    control: Control,
    number: u8,
    seed: u64,
    configuration: Configuration,
    sizes: Sizes,
    notices: Vec<Notice>,
    turns: Vec<Turn>,
    tick_ns: u64,
    /// The port may hold frames that its line had no room for.
    frames_wait: bool,
    /// Until when the machine stands still, and its housekeeping thread alone.
    stalled_until_ns: u64,
    housekeeping_stalled_until_ns: u64,
    /// How far this machine's clock is ahead of the world's.
    clock_ahead_ns: u64,
    /// When control next wants to be asked.
    control_next_ns: u64,
    /// Its deadline, unless something was done to it since it was asked.
    control_deadline_ns: Option<u64>,
    /// Until when control is dead or out of reach; zero when it is there.
    control_away_until_ns: u64,
    /// How long a new control takes to come up.
    pub control_restart_ns: u64,
    /// When control dies next.
    pub kill: Option<Kill>,
    /// Control dies again and again: a seed, and the longest time between two deaths.
    pub kill_every_ns: Option<(u64, u64)>,
    next_kill_ns: u64,
    /// How often control has died.
    pub kills: u64,
    /// Frames between control and the data plane, both ways, that have begun their way.
    pub channel_frames: u64,
    /// The last of them: number, whether control sent it, what it was, its transaction.
    pub last_frames: VecDeque<(u64, bool, Kind, u64)>,
    recorder: Option<Recorder>,
}

/// What a target remembers of what it did.
struct Recorder {
    events: VecDeque<(u64, String)>,
    /// Of each lcore, when last looked at.
    counters: Vec<Vec<u64>>,
}

/// Events that are remembered.
const EVENTS: usize = 20_000;

impl Recorder {
    fn add(&mut self, now_ns: u64, event: String) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back((now_ns, event));
    }
}

impl Target {
    pub(super) fn new(
        number: u8,
        configuration: Configuration,
        lcores: usize,
        sizes: Sizes,
        seed: u64,
        now_ns: u64,
    ) -> Self {
        let mut control = Control::new(configuration.clone(), seed);
        control.connected(now_ns);
        Self {
            card: Card::new(number, lcores, sizes, seed, now_ns),
            poll: Lcore::poll,
            control,
            number,
            seed,
            configuration,
            sizes,
            notices: Vec::new(),
            turns: vec![Turn::default(); lcores],
            tick_ns: now_ns,
            frames_wait: false,
            stalled_until_ns: 0,
            housekeeping_stalled_until_ns: 0,
            clock_ahead_ns: 0,
            control_next_ns: 0,
            control_deadline_ns: None,
            control_away_until_ns: 0,
            control_restart_ns: 10_000_000,
            kill: None,
            kill_every_ns: None,
            next_kill_ns: 0,
            kills: 0,
            channel_frames: 0,
            last_frames: VecDeque::new(),
            recorder: None,
        }
    }

    /// The control process.
    pub fn control(&mut self) -> &mut Control {
        self.control_deadline_ns = None;
        &mut self.control
    }

    /// Control's deadline, which it has to look for among all connections: remembered until something is done to it.
    fn control_deadline_ns(&mut self) -> u64 {
        let deadline_ns = *self.control_deadline_ns.get_or_insert_with(|| self.control.deadline_ns());
        debug_assert_eq!(deadline_ns, self.control.deadline_ns(), "nothing was done to control");
        deadline_ns
    }

    /// What a new control is to bring into being, from its next life on.
    pub fn configuration(&mut self) -> &mut Configuration {
        &mut self.configuration
    }

    /// What control has noticed so far.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Whether control lives and its channel is not cut.
    #[must_use]
    pub fn has_control(&self) -> bool {
        self.control_away_until_ns == 0
    }

    /// `kill -9` of control. A new one, of a higher epoch and with nothing but the configuration, comes up after
    /// [`Target::control_restart_ns`].
    pub(super) fn kill_control(&mut self, now_ns: u64) {
        self.kills += 1;
        self.configuration.epoch += 1;
        *self.control() = Control::new(self.configuration.clone(), self.seed ^ self.kills << 16);
        self.card.housekeeping.disconnected();
        self.control_away_until_ns = now_ns + self.control_restart_ns;
    }

    /// The channel breaks; control goes on alone and finds the data plane again after `for_ns`.
    pub(super) fn cut_channel(&mut self, now_ns: u64, for_ns: u64) {
        if self.has_control() {
            let clock_ns = now_ns + self.clock_ahead_ns;
            self.control().disconnected(clock_ns);
            self.card.housekeeping.disconnected();
            self.control_away_until_ns = now_ns + for_ns.max(1);
        }
    }

    /// `kill -9` of the data plane; another starts at once, with nothing but the drives, which it finds as they are.
    pub(super) fn kill_card(&mut self, now_ns: u64) {
        let clock_ns = now_ns + self.clock_ahead_ns;
        self.card.restart(self.sizes, self.seed ^ now_ns, clock_ns);
        self.turns.fill(Turn::default());
        self.reconnect(clock_ns);
    }

    /// A successor takes the data plane over; control's channel breaks and opens anew. How many bytes the state took.
    pub(super) fn hand_over(&mut self, now_ns: u64) -> usize {
        let clock_ns = now_ns + self.clock_ahead_ns;
        let bytes = self.card.hand_over(clock_ns);
        self.wake();
        self.reconnect(clock_ns);
        bytes
    }

    fn reconnect(&mut self, clock_ns: u64) {
        if self.has_control() {
            self.control().disconnected(clock_ns);
            self.control().connected(clock_ns);
        }
    }

    /// The machine stood still, or its clock was set: all that it measures is `by_ns` later at once.
    pub(super) fn step_clock(&mut self, by_ns: u64) {
        self.clock_ahead_ns += by_ns;
        self.wake();
    }

    /// The machine stands still: its lcores do not poll, frames wait at its port.
    pub(super) fn stall(&mut self, until_ns: u64) {
        self.stalled_until_ns = until_ns;
    }

    /// The housekeeping thread does not get the processor.
    pub(super) fn stall_housekeeping(&mut self, until_ns: u64) {
        self.housekeeping_stalled_until_ns = until_ns;
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        Card::mac(self.number)
    }

    /// A frame arrives at the port. It is lost when there is no port yet, or no room.
    pub(super) fn receive(&mut self, frame: &[u8]) {
        if let Some(wire) = self.card.wire(WIRE)
            && wire.send(frame)
        {
            self.wake();
        }
    }

    fn wake(&mut self) {
        for turn in &mut self.turns {
            turn.awake = true;
        }
    }

    /// Everything that is due. Frames that leave the port go to `send`, which answers whether the line takes more.
    pub(super) fn round(&mut self, now_ns: u64, room: bool, mut send: impl FnMut(&[u8]) -> bool) {
        if now_ns < self.stalled_until_ns {
            return;
        }
        let clock_ns = now_ns + self.clock_ahead_ns;
        let ticks = now_ns >= self.tick_ns;
        if ticks {
            self.tick_ns = now_ns + STEP_NS;
            self.wake();
        }
        let mut stirred = ticks;
        for turn in &mut self.turns {
            if turn.ends_ns != 0 && turn.ends_ns <= now_ns {
                *turn = Turn { ends_ns: 0, awake: true, ..*turn };
                stirred = true;
            }
        }
        if room && (stirred || self.frames_wait) {
            self.put_on_wire(&mut send);
        } else {
            self.frames_wait |= stirred;
        }
        if stirred || self.card.drives_next_ns() <= now_ns {
            stirred = true;
            self.step_drives(now_ns);
        }
        stirred |= self.poll_lcores(now_ns, clock_ns);
        let attentive = now_ns >= self.housekeeping_stalled_until_ns;
        if attentive && (stirred || self.control_due(now_ns, clock_ns)) {
            self.keep_house(now_ns, clock_ns);
        }
    }

    /// When [`Target::round`] next has something to do.
    pub(super) fn next_ns(&self) -> u64 {
        let next_ns = self.next_due_ns();
        next_ns.max(self.stalled_until_ns)
    }

    fn next_due_ns(&self) -> u64 {
        let lcores = self.turns.iter().map(|turn| match turn {
            Turn { ends_ns: 0, awake: true, .. } => 0,
            Turn { ends_ns: 0, .. } => u64::MAX,
            turn => turn.ends_ns,
        });
        let control = if self.has_control() {
            self.control_next_ns.saturating_sub(self.clock_ahead_ns)
        } else {
            self.control_away_until_ns
        };
        let control = control.max(self.housekeeping_stalled_until_ns);
        lcores.min().unwrap_or(u64::MAX).min(self.tick_ns).min(self.card.drives_next_ns()).min(control)
    }

    fn put_on_wire(&mut self, send: &mut impl FnMut(&[u8]) -> bool) {
        let Some(wire) = self.card.wire(WIRE) else { return };
        let was_full = wire.is_full();
        let mut frame = Vec::new();
        self.frames_wait = false;
        while wire.receive(&mut frame) {
            if !send(&frame) {
                self.frames_wait = true;
                break;
            }
        }
        if was_full {
            // Lcores may have waited for room.
            self.wake();
        }
    }

    fn step_drives(&mut self, now_ns: u64) {
        if self.card.step_drives(now_ns) {
            self.wake();
        }
    }

    /// Whether any did something.
    fn poll_lcores(&mut self, now_ns: u64, clock_ns: u64) -> bool {
        let mut busy = false;
        for lcore in 0..self.turns.len() {
            let turn = &mut self.turns[lcore];
            if turn.ends_ns != 0 || !turn.awake {
                continue;
            }
            turn.awake = false;
            let passed_on = self.passed_on(lcore);
            if !(self.poll)(self.card.lcore(lcore), clock_ns) {
                continue;
            }
            busy = true;
            if self.passed_on(lcore) != passed_on {
                // Other lcores find something on their rings.
                self.wake();
            }
            self.remember_poll(now_ns, lcore);
            let counters = &self.card.lcore(lcore).core().counters;
            let moved = counters.value(Counter::RxFrames) + counters.value(Counter::TxFrames);
            let turn = &mut self.turns[lcore];
            let cost_ns = POLL_NS + FRAME_NS * moved.saturating_sub(turn.moved);
            *turn = Turn { ends_ns: now_ns + cost_ns, awake: true, moved };
        }
        busy
    }

    /// Commands that an lcore has passed to others, and back to others.
    fn passed_on(&mut self, lcore: usize) -> u64 {
        let counters = &self.card.lcore(lcore).core().counters;
        counters.value(Counter::Borrowed) + counters.value(Counter::LentCompleted)
    }

    fn control_due(&self, now_ns: u64, clock_ns: u64) -> bool {
        if self.has_control() { self.control_next_ns <= clock_ns } else { self.control_away_until_ns <= now_ns }
    }

    /// Housekeeping and control, as often as they have something for each other.
    fn keep_house(&mut self, now_ns: u64, clock_ns: u64) {
        for _ in 0..64 {
            let mut moved = self.card.keep_house(clock_ns);
            moved |= self.card.step_drives(now_ns);
            if moved {
                self.wake();
            }
            moved |= self.control_round(now_ns, clock_ns);
            if !moved {
                break;
            }
        }
        while let Some(notice) = self.control.poll_notice() {
            if let Some(recorder) = &mut self.recorder {
                recorder.add(now_ns, format!("target {}: control: {notice}", self.number));
            }
            self.notices.push(notice);
        }
        self.control_next_ns = self.control_deadline_ns();
    }

    /// Whether a frame passed the channel.
    fn control_round(&mut self, now_ns: u64, clock_ns: u64) -> bool {
        if let Some((seed, longest_ns)) = self.kill_every_ns
            && now_ns >= self.next_kill_ns
        {
            self.next_kill_ns = now_ns + self.control_restart_ns + mix(seed ^ self.kills << 32) % longest_ns;
            self.kill_control(now_ns);
        }
        if self.control_away_until_ns > 0 {
            if now_ns < self.control_away_until_ns {
                return false;
            }
            self.control_away_until_ns = 0;
            self.control().connected(clock_ns);
        }
        if self.control_deadline_ns() <= clock_ns {
            self.control().on_deadline(clock_ns);
        }
        let begun = self.channel_frames;
        while let Some(frame) = self.control.poll_frame() {
            self.remember(now_ns, true, &frame);
            if self.dies(now_ns, Kill::Before) {
                return true;
            }
            self.card.housekeeping.handle_frame(clock_ns, &frame);
            if self.passed_and_dies(now_ns) {
                return true;
            }
        }
        while let Some(frame) = self.card.housekeeping.poll_frame() {
            self.remember(now_ns, false, &frame);
            if self.dies(now_ns, Kill::Before) {
                return true;
            }
            self.control().handle_frame(clock_ns, &frame).expect("the data plane writes frames of the contract");
            if self.passed_and_dies(now_ns) {
                return true;
            }
        }
        self.channel_frames != begun
    }

    pub(super) fn record(&mut self) {
        let lcores = self.card.lcores();
        let counters = vec![vec![0; NAMES.len()]; lcores];
        self.recorder = Some(Recorder { events: VecDeque::new(), counters });
    }

    pub(super) fn take_events(&mut self) -> Vec<(u64, String)> {
        self.recorder.as_mut().map_or_else(Vec::new, |recorder| recorder.events.drain(..).collect())
    }

    /// Which stages did something.
    fn remember_poll(&mut self, now_ns: u64, lcore: usize) {
        let Some(recorder) = &mut self.recorder else { return };
        let mut line = format!("target {}, lcore {lcore}:", self.number);
        let seen = &mut recorder.counters[lcore];
        for ((name, value), seen) in self.card.lcore(lcore).core().counters.iter().zip(seen.iter_mut()) {
            let more = value.wrapping_sub(std::mem::replace(seen, value));
            // A data plane that starts counts from zero.
            if more != 0 && more < 1 << 40 && !name.starts_with("lcore.") && !name.ends_with("bytes") {
                line.push_str(&format!(" {name} {more}"));
            }
        }
        recorder.add(now_ns, line);
    }

    fn remember(&mut self, now_ns: u64, from_control: bool, frame: &[u8]) {
        let frame = Frame::parse(frame).expect("both sides write frames of the contract");
        if let Some(recorder) = &mut self.recorder {
            let from = if from_control { "control" } else { "the data plane" };
            let (kind, transaction) = (frame.kind, frame.transaction);
            recorder.add(now_ns, format!("target {}: {from} sends {kind:?}, transaction {transaction}", self.number));
        }
        if self.last_frames.len() == LAST_FRAMES {
            self.last_frames.pop_front();
        }
        self.last_frames.push_back((self.channel_frames, from_control, frame.kind, frame.transaction));
    }

    fn dies(&mut self, now_ns: u64, moment: fn(u64) -> Kill) -> bool {
        let dies = self.kill == Some(moment(self.channel_frames));
        if dies {
            self.kill = None;
            self.kill_control(now_ns);
        }
        dies
    }

    fn passed_and_dies(&mut self, now_ns: u64) -> bool {
        let dies = self.dies(now_ns, Kill::After);
        self.channel_frames += 1;
        dies
    }
}
