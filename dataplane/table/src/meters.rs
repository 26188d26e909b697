//! Meters, direct and indirect (PNA 0.7 §7, `Meter` and `DirectMeter`): two rates, three colours (RFC 2698).
//!
//! A bucket of RFC 2698 holds tokens that trickle in at a rate, up to a burst. Here it is the instant at which it would have
//! been empty: at `now` it holds (now − instant) × rate tokens, at most the burst, and taking tokens moves the instant on. So a
//! bucket is one word and one compare-and-swap, and lcores may share a meter: together they get its rate, exactly. The peak
//! bucket is asked first, then the committed one, as RFC 2698 §3 does; two lcores may find them in different orders, which no
//! serial order of their packets can be told from by more than one packet a colour.
//!
//! Instants count 2^-12 ns and wrap every 52 days. An instant up to a second ahead is a bucket that was just emptied on an lcore
//! whose clock was a little ahead; any other is a past one. A meter that was not asked for as long as that finds its buckets
//! fuller or emptier than they are for at most as long as a burst takes to trickle in.

use alloc::boxed::Box;
use alloc::sync::Arc;

use crate::atomic::{AtomicU64, Ordering};
use crate::sequence::Sequence;

/// Colours, as `PNA_MeterColor_t` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Color {
    /// Beyond the peak rate.
    Red,
    /// Within the committed rate.
    Green,
    /// In between.
    Yellow,
}

/// Rates in units a second, bursts in units; a unit is a byte or a packet, as the meter counts (P4Runtime 1.5 §9.4). A rate of 0
/// gives nothing, whatever the burst. A burst that takes longer than 12 days to trickle in is cut to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterConfig {
    /// CIR: committed information rate.
    pub cir: u64,
    /// CBS: committed burst size.
    pub cburst: u64,
    /// PIR: peak information rate.
    pub pir: u64,
    /// PBS: peak burst size.
    pub pburst: u64,
}

/// Fraction bits of instants, in nanoseconds.
const FRACTION: u32 = 12;
/// Fraction bits of a unit's share of time, in nanoseconds.
const PERIOD_FRACTION: u32 = 32;
/// How far an instant may be ahead: a second.
const AHEAD: u64 = 1_000_000_000 << FRACTION;
/// The longest burst.
const DEPTH: u64 = 1 << 62;

struct Bucket {
    /// Time of a unit, in 2^-32 ns.
    period: AtomicU64,
    /// Time in which the burst trickles in, in 2^-12 ns. None is granted when 0.
    depth: AtomicU64,
    /// When it would have been empty.
    instant: AtomicU64,
}

impl Bucket {
    fn new() -> Self {
        Self { period: AtomicU64::new(0), depth: AtomicU64::new(0), instant: AtomicU64::new(0) }
    }

    fn configure(&self, rate: u64, burst: u64, now: u64) {
        let per_unit = (1_000_000_000_u128 << PERIOD_FRACTION).checked_div(u128::from(rate));
        // Instants are given rounded down, so a burst is rounded down too and fits exactly.
        let depth = per_unit.map_or(0, |period| time(burst, period as u64).min(DEPTH));
        self.period.store(per_unit.unwrap_or(0) as u64, Ordering::Relaxed);
        self.depth.store(depth, Ordering::Relaxed);
        // RFC 2698 §3: buckets are full at first.
        self.instant.store(now.wrapping_sub(depth), Ordering::Relaxed);
    }
}

/// The time of so many units, in 2^-12 ns.
#[inline]
fn time(units: u64, period: u64) -> u64 {
    let time = (u128::from(units) * u128::from(period)) >> (PERIOD_FRACTION - FRACTION);
    u64::try_from(time).unwrap_or(u64::MAX)
}

impl Bucket {
    /// Takes tokens for so many units if there are as many.
    #[inline]
    fn take(&self, period: u64, depth: u64, units: u64, now: u64) -> bool {
        let needed = time(units, period);
        if needed > depth || depth == 0 {
            return units == 0;
        }
        let mut instant = self.instant.load(Ordering::Relaxed);
        loop {
            let ahead = instant.wrapping_sub(now);
            let held = if ahead <= AHEAD { 0 } else { now.wrapping_sub(instant).min(depth) };
            if held < needed {
                return false;
            }
            if needed == 0 {
                return true;
            }
            let next = now.wrapping_sub(held - needed);
            match self.instant.compare_exchange_weak(instant, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => instant = other,
            }
        }
    }
}

/// The version of a meter that was not configured and is about to be.
const FIRST: u64 = 3;

/// A cache line: nothing of a meter is elsewhere.
#[repr(align(64))]
struct Meter {
    /// 0 when not configured, odd while being configured, [`FIRST`] for the first time.
    version: Sequence,
    committed: Bucket,
    peak: Bucket,
}

struct Shared {
    meters: Box<[Meter]>,
    configs: Box<[[AtomicU64; 4]]>,
}

/// A set of meters: a handle; clones are the same meters. A meter that is not configured, or not there, says green.
#[derive(Clone)]
pub struct Meters(Arc<Shared>);

impl Meters {
    /// So many meters, none configured. 96 bytes a meter.
    #[must_use]
    pub fn new(meters: usize) -> Self {
        let meter = |_| Meter { version: Sequence::new(0), committed: Bucket::new(), peak: Bucket::new() };
        let config = |_| core::array::from_fn(|_| AtomicU64::new(0));
        Self(Arc::new(Shared { meters: (0..meters).map(meter).collect(), configs: (0..meters).map(config).collect() }))
    }

    /// Number of meters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.meters.len()
    }

    /// Whether there are no meters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Configures a meter, with full buckets, or not any more. One thread at a time; lcores may be metering meanwhile. Returns
    /// whether there is such a meter.
    pub fn configure(&self, meter: usize, config: Option<&MeterConfig>, now_ns: u64) -> bool {
        let Some(cell) = self.0.meters.get(meter) else { return false };
        let version = cell.version.version();
        cell.version.begin(version.wrapping_add(2) | 1);
        if let Some(config) = config {
            let now = now_ns << FRACTION;
            cell.committed.configure(config.cir, config.cburst, now);
            cell.peak.configure(config.pir, config.pburst, now);
            let words = [config.cir, config.cburst, config.pir, config.pburst];
            self.0.configs[meter].iter().zip(words).for_each(|(cell, word)| cell.store(word, Ordering::Relaxed));
        }
        let even = version.wrapping_add(4) & !1;
        cell.version.end(if config.is_some() { even.max(4) } else { 0 });
        true
    }

    /// How a meter is configured. For the thread that configures.
    #[must_use]
    pub fn config(&self, meter: usize) -> Option<MeterConfig> {
        if self.0.meters.get(meter)?.version.version() == 0 {
            return None;
        }
        let [cir, cburst, pir, pburst] = core::array::from_fn(|at| self.0.configs[meter][at].load(Ordering::Relaxed));
        Some(MeterConfig { cir, cburst, pir, pburst })
    }

    /// Where a meter is: what to prefetch.
    #[inline]
    #[must_use]
    pub fn line(&self, meter: usize) -> Option<&impl Sized> {
        self.0.meters.get(meter)
    }

    /// Meters so many units at an instant, colour-blind (RFC 2698 §3).
    #[inline]
    #[must_use]
    pub fn execute(&self, meter: usize, units: u64, now_ns: u64) -> Color {
        self.execute_aware(meter, Color::Green, units, now_ns)
    }

    /// Meters what already has a colour, which does not get better (RFC 2698 §3, colour-aware).
    #[inline]
    #[must_use]
    pub fn execute_aware(&self, meter: usize, colored: Color, units: u64, now_ns: u64) -> Color {
        match self.0.meters.get(meter) {
            Some(meter) if meter.version.version() > FIRST => meter.execute(colored, units, now_ns),
            _ => colored,
        }
    }
}

impl Meter {
    /// [`Meters::execute_aware`] of a meter that was configured.
    #[inline(never)]
    fn execute(&self, colored: Color, units: u64, now_ns: u64) -> Color {
        let Some([committed, peak]) = self.limits() else { return colored };
        let now = now_ns << FRACTION;
        if colored == Color::Red || !self.peak.take(peak.0, peak.1, units, now) {
            Color::Red
        } else if colored == Color::Yellow || !self.committed.take(committed.0, committed.1, units, now) {
            Color::Yellow
        } else {
            Color::Green
        }
    }

    /// Period and depth of the committed and the peak bucket; none when it is not configured. While the writer stands still in
    /// the middle of a change, old and new may be mixed: lcores do not wait for it.
    #[inline]
    fn limits(&self) -> Option<[(u64, u64); 2]> {
        let mut tries = 4;
        loop {
            let limits = || {
                [&self.committed, &self.peak]
                    .map(|bucket| (bucket.period.load(Ordering::Relaxed), bucket.depth.load(Ordering::Relaxed)))
            };
            let (limits, whole) = self.version.read(FIRST, limits)?;
            tries -= 1;
            if whole || tries == 0 {
                return Some(limits);
            }
        }
    }
}
