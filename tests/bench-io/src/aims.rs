//! What is aimed at, and what was measured: one line an aim. And how many cores a link takes at the measured cost.

use serde::Serialize;

use crate::apart::Apart;
use crate::churn::Churned;
use crate::reference::References;
use crate::report::Alternated;
use crate::sides::Sides;

/// An aim.
#[derive(Clone, Debug, Serialize)]
pub struct Aim {
    /// What is aimed at.
    pub aim: &'static str,
    /// What it is to be: at most this, or at least.
    pub limit: f64,
    /// Whether it is to be at least that.
    pub at_least: bool,
    /// What was measured; none when the case did not run.
    pub measured: Option<f64>,
    /// Whether it is met.
    pub met: Option<bool>,
}

impl Aim {
    fn new(aim: &'static str, limit: f64, at_least: bool, measured: Option<f64>) -> Self {
        let measured = measured.filter(|measured| measured.is_finite());
        let met = measured.map(|measured| if at_least { measured >= limit } else { measured <= limit });
        Self { aim, limit, at_least, measured, met }
    }
}

/// Everything that a run has measured.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Cases of the alternating mode.
    pub cases: Vec<Alternated>,
    /// Cases of two cores.
    pub apart: Vec<Apart>,
    /// Two lcores.
    pub sides: Option<Sides>,
    /// QPs that come and go.
    pub churned: Vec<Churned>,
    /// References.
    pub references: Option<References>,
}

impl Run {
    fn cycles(&self, name: &str) -> Option<f64> {
        self.case(name).map(|measured| measured.cycles.median)
    }

    fn case(&self, name: &str) -> Option<&Alternated> {
        self.cases.iter().find(|measured| measured.case.name == name)
    }

    /// Over the base case, where the machine was steady meanwhile.
    fn over_base(&self, name: &str) -> Option<f64> {
        self.case(name).filter(|measured| measured.steady).map(|measured| measured.over_base)
    }

    /// Every aim.
    #[must_use]
    pub fn aims(&self) -> Vec<Aim> {
        let base = "read 4 KiB";
        let large = self.references.as_ref().and_then(|references| {
            let copies = references.copies.iter().find(|copies| copies.length == 131_072)?;
            Some(copies.in_place.median / self.cycles("read 128 KiB")?)
        });
        let entries = self.over_base("read 4 KiB, a million entries").and_then(|million| {
            let thousand = self.over_base("read 4 KiB, a thousand entries")?;
            Some(million / thousand)
        });
        let one = self.apart.iter().find(|apart| apart.case.name == "read 4 KiB, 1 in flight");
        let added = one.and_then(|apart| apart.added_us);
        let churned = self.churned.first().map(|churned| churned.create.p50.max(churned.destroy.p50));
        let most = |aim, limit, measured| Aim::new(aim, limit, false, measured);
        let least = |aim, limit, measured| Aim::new(aim, limit, true, measured);
        vec![
            most("read 4 KiB, memory drive: busy cycles an I/O", 1500.0, self.cycles(base)),
            most("read 4 KiB, null drive: busy cycles an I/O", 1000.0, self.cycles("read 4 KiB, null drive")),
            most("read 512 B, memory drive: busy cycles an I/O", 800.0, self.cycles("read 512 B")),
            most("write 4 KiB: busy cycles an I/O", 2000.0, self.cycles("write 4 KiB")),
            least("read 128 KiB: share of what CRC with one copy allows", 0.8, large),
            most("latency added with one in flight: p50 in us", 5.0, added.map(|added| added[0])),
            most("latency added with one in flight: p99 over p50", 3.0, added.map(|added| added[1] / added[0])),
            most("16,384 QPs over one: cycles an I/O", 1.15, self.over_base("read 4 KiB, 16384 QPs")),
            most("a million QP entries over a thousand", 1.1, entries),
            most("24 drives over one: cycles an I/O", 1.1, self.over_base("read 4 KiB, 24 drives")),
            most("a QP created, or destroyed: us added to the poll", 5.0, churned),
            least("two lcores over one: I/Os a busy cycle", 1.9, self.sides.as_ref().map(|sides| sides.scale.median)),
            least(
                "payload over wire bytes, in its direction, read 4 KiB",
                0.95,
                self.case(base).map(|at| at.payload_share),
            ),
        ]
    }

    /// Cores that links of 100, 200 and 400 Gb/s take, for some cases.
    #[must_use]
    pub fn projection(&self, ticks_per_us: f64) -> Vec<Projection> {
        let names = ["read 4 KiB", "write 4 KiB", "read 128 KiB", "write 128 KiB"];
        let project = |measured: &Alternated| {
            let ios_per_core = ticks_per_us * 1e6 / measured.cycles.median;
            let payload_gbps = ios_per_core * f64::from(measured.case.length) * 8.0 / 1e9;
            let wire_gbps = payload_gbps / measured.payload_share;
            Projection {
                case: measured.case.name.clone(),
                ios_per_core,
                payload_gbps_per_core: payload_gbps,
                cores: [100.0, 200.0, 400.0].map(|link| link / wire_gbps),
            }
        };
        names.iter().filter_map(|name| self.case(name)).map(project).collect()
    }
}

/// How many cores it takes: a core's whole time at the measured cycles an I/O, bursts as in the case, its timestamp counter's
/// rate, every core as good as the first; the link is full of this case's frames in the payload's direction. What a NIC's PMD
/// costs beyond a ring, and what reading data costs that a drive's DMA has put elsewhere than a core's copy does, is not in it.
#[derive(Clone, Debug, Serialize)]
pub struct Projection {
    /// Which case.
    pub case: String,
    /// I/Os that a core does in a second.
    pub ios_per_core: f64,
    /// Payload of them.
    pub payload_gbps_per_core: f64,
    /// Cores for 100, 200 and 400 Gb/s.
    pub cores: [f64; 3],
}
