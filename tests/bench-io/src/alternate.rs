//! One thread, one core: hosts fill the ring, drives are stepped, the lcore is polled. The timestamp counter is read around
//! the poll, and polls that did something are summed.

use std::path::{Path, PathBuf};

use gantry_bench::numbers::{Median, Quartiles, quantile};
use gantry_cpu::Cpu;
use gantry_pipeline::counters::Counter;

use crate::case::{Case, DriveKind, Pass};
use crate::load::{BLOCK, Check, Load, Plan};
use crate::noise::{Noise, thread};
use crate::report::Alternated;
use crate::rig::{Clock, Rig, Shape, Side};
use crate::wire::Wires;

/// How long a case is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Windows.
    pub windows: usize,
    /// Busy cycles of a window, about: what a quiet machine lets a thread have in one piece.
    pub window_cycles: f64,
    /// Bytes of each drive that are used.
    pub bytes: u64,
    /// Whether windows count that the machine disturbed: where nothing is to be measured they do.
    pub disturbed: bool,
}

impl Effort {
    /// Some seconds a case.
    pub const FULL: Self = Self { windows: 300, window_cycles: 1e6, bytes: 64 << 20, disturbed: false };
    /// A second a case.
    pub const QUICK: Self = Self { windows: 60, window_cycles: 1e6, bytes: 16 << 20, disturbed: false };
    /// A few I/Os a case: whether it works.
    pub const TOKEN: Self = Self { windows: 2, window_cycles: 1e5, bytes: 2 << 20, disturbed: true };

    /// For the base case beside each of the others.
    #[must_use]
    pub fn beside(self) -> Self {
        Self { windows: (self.windows / 8).max(2), ..self }
    }

    /// What the machine takes from a thread, by its folder, if that is to count.
    pub(crate) fn noise(&self, thread: &Path) -> Noise {
        if self.disturbed { Noise::unknown() } else { Noise::of(thread) }
    }
}

/// What a drive is filled with before it is read, in the largest commands.
const FILL: u32 = 131_072;

/// Versions of what drives hold; a drive's NSID is added.
const FILLED: u32 = 1;
const WRITTEN: u32 = 1_000;

/// On top of a frame's bytes on an Ethernet wire: preamble, FCS, gap (IEEE 802.3 §4).
const AROUND_FRAME: u64 = 8 + 4 + 12;

/// Where a file drive is, while it is measured.
fn file() -> PathBuf {
    std::env::temp_dir().join(format!("gantry-bench-io-{}.img", std::process::id()))
}

/// It goes, with what says who it is.
pub(crate) fn remove_file() {
    let _ = std::fs::remove_file(file());
    let _ = std::fs::remove_file(file().with_extension("img.identity"));
}

impl Case {
    /// Bytes of each drive that are used.
    fn bytes(&self, effort: &Effort) -> u64 {
        match self.pass {
            // Many drives share what one would have.
            Pass::Usual => (effort.bytes / self.drives as u64).next_multiple_of(FILL.into()),
            // As much as one pass takes.
            Pass::First | Pass::Second => u64::from(self.length) * self.pass_ios(),
        }
    }

    /// I/Os of a pass.
    pub(crate) fn pass_ios(&self) -> u64 {
        4 * self.in_flight as u64
    }

    /// The rig that it needs.
    #[must_use]
    pub fn shape(&self, effort: &Effort) -> Shape {
        let size = self.bytes(effort);
        let uri = match self.drive {
            DriveKind::Null => format!("null:{size}"),
            DriveKind::Memory => format!("mem:{size}"),
            DriveKind::File => format!("file:{},size={size}", file().display()),
        };
        let each = self.in_flight.div_ceil(self.qps) as u16;
        Shape {
            sides: 1,
            drives: vec![uri; self.drives],
            qps: self.qps,
            entries: (each + 1).max(4),
            // What an MTU of Ethernet's makes of it: 4200 an IB path MTU of 4096, 1500 one of 1024.
            mtu: if self.mtu == 4096 { 4200 } else { 1500 },
            in_capsule: self.in_capsule,
            sizes: Shape::sizes(self.qps, self.entries),
            strangers: self.entries as u32,
        }
    }

    pub(crate) fn plan(&self, effort: &Effort) -> Plan {
        Plan {
            read: self.read,
            length: self.length,
            in_flight: self.in_flight,
            bytes: self.bytes(effort),
            drives: self.drives as u32,
            in_order: self.pass != Pass::Usual,
            version: if self.read { FILLED } else { WRITTEN },
            check: if self.drive == DriveKind::Null { Check::None } else { Check::Glance },
        }
    }
}

/// Runs a load to its end: everything has its turn, nothing is measured.
///
/// # Errors
/// What went wrong, and when nothing goes on.
pub fn finish(rig: &mut Rig, load: &mut Load) -> Result<(), String> {
    let begun_ns = rig.clock.now_ns();
    while !(load.sent >= load.limit && load.is_idle()) && load.errors.is_empty() {
        let (clock, side) = (rig.clock, &mut rig.sides[0]);
        side.far.turn(&clock, |hosts| load.turn(hosts));
        side.step_drives(clock.now_ns());
        side.lcore.poll(clock.now_ns());
        rig.keep_house();
        load.give_up(rig.clock.now_ns() - begun_ns);
    }
    load.right()
}

/// Writes every block of the drives, in order.
pub(crate) fn filling(case: &Case, effort: &Effort) -> Plan {
    let (length, in_flight, in_order, version) = (FILL, 8, true, FILLED);
    let length = length.min(case.bytes(effort) as u32);
    Plan { read: false, length, in_flight, in_order, version, ..case.plan(effort) }
}

/// Fills the drives, so that every block that is read was written before.
///
/// # Errors
/// What went wrong.
pub fn fill(rig: &mut Rig, case: &Case, effort: &Effort) -> Result<(), String> {
    let mut load = Load::new(filling(case, effort), &rig.sides[0].far.hosts, 1);
    load.limit = load.places() * case.drives as u64;
    finish(rig, &mut load)
}

/// Reads everything of a sample back and compares all of it: what a case has written, or else anything.
///
/// # Errors
/// What is not as it should be.
pub fn verify(rig: &mut Rig, case: &Case, effort: &Effort, load: &Load) -> Result<(), String> {
    if case.drive == DriveKind::Null {
        return Ok(());
    }
    let check = Check::All;
    if case.read {
        let mut all = Load::new(Plan { check, ..case.plan(effort) }, &rig.sides[0].far.hosts, 5);
        all.limit = 64;
        return finish(rig, &mut all);
    }
    for nsid in 1..=case.drives as u32 {
        for place in load.written(nsid, 16) {
            let (read, in_flight, in_order, drives) = (true, 1, true, case.drives as u32);
            let mut one = Load::new(
                Plan { read, in_flight, in_order, drives, check, ..case.plan(effort) },
                &rig.sides[0].far.hosts,
                5,
            );
            one.begin_at(nsid, place);
            one.limit = 1;
            finish(rig, &mut one)?;
        }
    }
    Ok(())
}

/// What a window showed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Window {
    pub(crate) cycles: u64,
    pub(crate) polls: u64,
    pub(crate) longest: u32,
    pub(crate) ios: u64,
    pub(crate) preempted: bool,
    repeated: bool,
}

/// What counters and the loop have seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    rx_frames: u64,
    rx_bytes: u64,
    tx_frames: u64,
    tx_bytes: u64,
    copied: u64,
    polls_with_frames: u64,
    polled_frames: u64,
    idle_polls: u64,
    idle_cycles: u64,
    stages: Option<[u64; 10]>,
}

impl Seen {
    fn of(side: &mut Side) -> Self {
        let stages = side.lcore.core().stages.cycles();
        let counters = &side.lcore.core().counters;
        let value = |counter| counters.value(counter);
        Self {
            rx_frames: value(Counter::RxFrames),
            rx_bytes: value(Counter::RxBytes),
            tx_frames: value(Counter::TxFrames),
            tx_bytes: value(Counter::TxBytes),
            // Payload of what arrives goes to slots and pages; data and CQEs go into frames.
            copied: value(Counter::TransportPayload) + value(Counter::ReadBytes) + 16 * value(Counter::Responses),
            stages,
            ..Self::default()
        }
    }
}

/// Memory that is walked over to leave nothing else in caches.
pub(crate) struct Elsewhere(Vec<u8>);

impl Elsewhere {
    const BYTES: usize = 256 << 20;

    /// For passes that begin with cold caches; nothing for others.
    pub(crate) fn of(case: &Case) -> Self {
        Self(vec![1; if case.pass == Pass::Usual { 0 } else { Self::BYTES }])
    }

    /// Walks over it.
    pub(crate) fn walk(&mut self) {
        self.0.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
    }
}

/// Polls that are remembered, for their median.
const POLLS: usize = 1 << 18;

/// One turn of hosts, drives and lcore. What the poll cost, and whether it was busy.
#[inline]
fn turn(side: &mut Side, clock: &Clock, cpu: &Cpu, load: &mut Load) -> (u64, bool) {
    side.far.turn(clock, |hosts| load.turn(hosts));
    side.step_drives(clock.now_ns());
    let now_ns = clock.now_ns();
    let begun = cpu.timestamp();
    let busy = side.lcore.poll(now_ns);
    (cpu.timestamp().wrapping_sub(begun), busy)
}

/// Turns until so many I/Os more are done, or something was wrong.
pub(crate) fn run_window(
    side: &mut Side,
    (clock, cpu): (&Clock, &Cpu),
    load: &mut Load,
    ios: u64,
    saw: &mut Seen,
    polls: &mut Vec<u32>,
) -> Window {
    let (mut window, begun) = (Window::default(), load.completed);
    while load.completed < begun + ios && load.errors.is_empty() {
        let frames = side.lcore.core().counters.value(Counter::RxFrames);
        let (cost, busy) = turn(side, clock, cpu, load);
        if !busy {
            saw.idle_polls += 1;
            saw.idle_cycles += cost;
            continue;
        }
        let frames = side.lcore.core().counters.value(Counter::RxFrames) - frames;
        saw.polled_frames += frames;
        saw.polls_with_frames += u64::from(frames > 0);
        window.cycles += cost;
        window.polls += 1;
        window.longest = window.longest.max(cost as u32);
        if polls.len() < polls.capacity() {
            polls.push(cost as u32);
        }
    }
    window.ios = load.completed - begun;
    window
}

/// Measures a case. `between` has its turn between two windows.
///
/// # Errors
/// What did not come about, or was not right.
pub fn measure(
    wires: &mut Wires,
    case: &Case,
    effort: &Effort,
    between: &mut dyn FnMut(),
) -> Result<Alternated, String> {
    let mut rig = Rig::build(wires, &case.shape(effort))?;
    let measured = measure_in(&mut rig, case, effort, between);
    remove_file();
    measured.map_err(|error| format!("{}: {error}", case.name))
}

fn measure_in(rig: &mut Rig, case: &Case, effort: &Effort, between: &mut dyn FnMut()) -> Result<Alternated, String> {
    if case.drive != DriveKind::Null {
        fill(rig, case, effort)?;
    }
    rig.lose(case.loss);
    let mut load = Load::new(case.plan(effort), &rig.sides[0].far.hosts, 3);
    let (cpu, clock) = (Cpu::detect(), rig.clock);
    // Warm up: every queue has been used, and a window's length is known.
    let (mut cycles, warm_up) = (0, (2 * case.qps + 8 * case.in_flight) as u64);
    while load.completed < warm_up {
        let (cost, busy) = turn(&mut rig.sides[0], &clock, &cpu, &mut load);
        cycles += if busy { cost } else { 0 };
        rig.keep_house();
        load.right()?;
    }
    let each = cycles as f64 / load.completed as f64;
    let ios = match case.pass {
        Pass::Usual => ((effort.window_cycles / each) as u64).max(8),
        Pass::First | Pass::Second => case.pass_ios(),
    };
    load.latencies_ns = Vec::with_capacity(1 << 20);
    let mut polls: Vec<u32> = Vec::with_capacity(POLLS);
    let mut windows = Vec::with_capacity(effort.windows);
    let mut noise = effort.noise(&thread());
    let (before, mut loop_saw) = (Seen::of(&mut rig.sides[0]), Seen::default());
    let mut repeated = rig.sides[0].far.repeated();
    let repeated_before = repeated;
    let completed_before = load.completed;
    let mut elsewhere = Elsewhere::of(case);
    for _ in 0..effort.windows {
        between();
        rig.keep_house();
        elsewhere.walk();
        // The yardstick, or the kernel, had the caches; or the pass before the second.
        let settle = match case.pass {
            Pass::Usual => 2 * case.in_flight as u64,
            Pass::First => 0,
            Pass::Second => case.pass_ios(),
        };
        let settled = load.completed + settle;
        while load.completed < settled && load.errors.is_empty() {
            turn(&mut rig.sides[0], &clock, &cpu, &mut load);
        }
        let taken = noise.taken();
        let mut window = run_window(&mut rig.sides[0], (&clock, &cpu), &mut load, ios, &mut loop_saw, &mut polls);
        load.right()?;
        window.preempted = noise.taken() != taken;
        let now = rig.sides[0].far.repeated();
        window.repeated = now != std::mem::replace(&mut repeated, now);
        windows.push(window);
    }
    let ios = load.completed - completed_before;
    let after = Seen::of(&mut rig.sides[0]);
    let latencies = std::mem::take(&mut load.latencies_ns);
    load.limit = load.sent;
    finish(rig, &mut load)?;
    verify(rig, case, effort, &load)?;
    if let Some(violation) = rig.sides[0].far.hosts.iter().find_map(|host| host.violations().first()) {
        return Err(format!("a rule was broken: {violation:?}"));
    }
    let repeated = repeated - repeated_before;
    Ok(report((case, effort), ios, (windows, polls), (before, after, loop_saw), repeated, latencies))
}

fn report(
    (case, effort): (&Case, &Effort),
    ios: u64,
    (windows, polls): (Vec<Window>, Vec<u32>),
    (before, after, saw): (Seen, Seen, Seen),
    repeated: u64,
    latencies_ns: Vec<u64>,
) -> Alternated {
    let mut sorted: Vec<f64> = polls.iter().map(|cost| f64::from(*cost)).collect();
    sorted.sort_by(f64::total_cmp);
    let poll = quantile(&sorted, 0.5);
    let long = |window: &Window| !effort.disturbed && f64::from(window.longest) > 20.0 * poll;
    let again = |window: &Window| !effort.disturbed && case.loss == 0 && window.repeated;
    let dropped_preempted = windows.iter().filter(|window| window.preempted).count();
    let left = || windows.iter().filter(|window| !window.preempted);
    let dropped_repeated = left().filter(|window| again(window)).count();
    let dropped_long_poll = left().filter(|window| !again(window) && long(window)).count();
    let kept: Vec<&Window> = left().filter(|window| !again(window) && !long(window)).collect();
    let costs: Vec<f64> = kept.iter().map(|window| window.cycles as f64 / window.ios as f64).collect();
    let sum = |of: fn(&Window) -> u64| kept.iter().map(|window| of(window)).sum::<u64>() as f64;
    let each = |after: u64, before: u64| (after - before) as f64 / ios as f64;
    let (rx_frames, tx_frames) = (after.rx_frames - before.rx_frames, after.tx_frames - before.tx_frames);
    let rx_wire = after.rx_bytes - before.rx_bytes + rx_frames * AROUND_FRAME;
    let tx_wire = after.tx_bytes - before.tx_bytes + tx_frames * AROUND_FRAME;
    let payload = (ios * u64::from(case.length)) as f64;
    let mut latencies: Vec<f64> = latencies_ns.into_iter().map(|ns| ns as f64 / 1e3).collect();
    latencies.sort_by(f64::total_cmp);
    Alternated {
        case: case.clone(),
        ios: sum(|window| window.ios) as u64,
        windows: kept.len(),
        dropped_preempted,
        dropped_long_poll,
        dropped_repeated,
        cycles: Median::of(costs.clone()),
        over_base: f64::NAN,
        steady: false,
        quartiles: Quartiles::of(costs),
        poll,
        longest_poll: kept.iter().map(|window| f64::from(window.longest)).fold(0.0, f64::max) / poll,
        idle_poll: saw.idle_cycles as f64 / saw.idle_polls.max(1) as f64,
        polls_per_io: sum(|window| window.polls) / sum(|window| window.ios),
        rx_burst: saw.polled_frames as f64 / saw.polls_with_frames.max(1) as f64,
        rx_frames_per_io: each(after.rx_frames, before.rx_frames),
        tx_frames_per_io: each(after.tx_frames, before.tx_frames),
        rx_wire_bytes_per_io: rx_wire as f64 / ios as f64,
        tx_wire_bytes_per_io: tx_wire as f64 / ios as f64,
        payload_share: payload / if case.read { tx_wire } else { rx_wire } as f64,
        payload_share_both: payload / (tx_wire + rx_wire) as f64,
        bytes_copied_per_io: each(after.copied, before.copied),
        repeated,
        stages: after
            .stages
            .zip(before.stages)
            .map(|(after, before)| std::array::from_fn(|stage| (after[stage] - before[stage]) as f64 / ios as f64)),
        latency_us: [0.5, 0.99, 0.999].map(|share| quantile(&latencies, share)),
    }
}

/// A plan's length in blocks must come out even.
const _: () = assert!(FILL.is_multiple_of(BLOCK));
