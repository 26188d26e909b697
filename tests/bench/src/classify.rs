//! Parse and control, cycles a packet: the generated Rust, the same by hand, and DPDK's SWX pipeline.
//!
//! RC SENDs whose QPNs are drawn anew over the whole table before every round of 32 bursts. Frames are warm, as behind a NIC
//! that writes into the cache; the table's lines are as warm as its size lets them be. The cold figures are of one burst
//! behind a walk over more memory than the core's own caches hold.

use std::hint::black_box;
use std::path::Path;
use std::thread;

use gantry_table::Writer;
use serde::Serialize;

use crate::by_hand::{Answer, ByHand};
use crate::lcore::{BURST, Lcore, card, deny_others};
use crate::machine::{Clock, INTERRUPTED_US, settle};
use crate::numbers::{Numbers, Quartiles};
use crate::swx::{self, Swx};
use crate::traffic::{Frames, qpn};

/// Bursts of a round.
const BURSTS: usize = 32;
/// More than a core's own caches hold.
const COLD_BYTES: usize = 16 << 20;

/// One size of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// QPs in the table.
    pub qps: u32,
    /// Access rules, none of which matches.
    pub rules: u32,
    /// Ticks a packet: parser and control, generated.
    pub generated: Quartiles,
    /// Its parser alone.
    pub parser: Quartiles,
    /// By hand.
    pub by_hand: Quartiles,
    /// Generated over by hand, round by round.
    pub ratio: Quartiles,
    /// One burst with cold caches, generated.
    pub cold: Quartiles,
    /// By hand.
    pub cold_by_hand: Quartiles,
    /// DPDK's pipeline, warm.
    pub swx: Option<Swx>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Ticks in a microsecond.
    pub ticks_per_us: f64,
    /// Rounds of each engine and size.
    pub rounds: usize,
    /// By the table's size.
    pub sizes: Vec<Size>,
}

/// Measures with so many QPs and access rules; beside DPDK's pipeline, if there is a program for that, where there are no rules.
#[must_use]
pub fn run(clock: &Clock, sizes: &[(u32, u32)], rounds: usize, swx: Option<&Path>) -> Report {
    let measured = |(qps, rules): &(u32, u32)| {
        let reference = || swx.filter(|_| *rules == 0).map(|program| swx::measure(program, *qps, rounds));
        let before = reference();
        // In a thread of its own: DPDK's program must not inherit where it settles.
        let mut measured = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                settle(0, 2);
                size(clock, *qps, *rules, rounds)
            });
            thread.join().expect("the measuring thread")
        });
        measured.swx = before.zip(reference()).map(|(b, a)| Swx::of(b, a, measured.generated.median));
        measured
    };
    Report { ticks_per_us: clock.ticks_per_us, rounds, sizes: sizes.iter().map(measured).collect() }
}

/// Ticks a packet of bursts, without those that the machine has interrupted.
fn uninterrupted(clock: &Clock, views: &[&[u8]], mut run: impl FnMut(&[&[u8]])) -> f64 {
    let limit = clock.of_us(INTERRUPTED_US);
    let (mut sum, mut packets) = (0, 0);
    for burst in views.chunks_exact(BURST) {
        let begun = clock.ticks();
        run(burst);
        let ticks = clock.ticks() - begun;
        if ticks < limit {
            (sum, packets) = (sum + ticks, packets + BURST);
        }
    }
    sum as f64 / packets as f64
}

fn size(clock: &Clock, qps: u32, rules: u32, rounds: usize) -> Size {
    let mut writer = Writer::new(1, 5);
    let tables = card(&mut writer, (qps as usize).max(1024), qps, 2);
    deny_others(&mut writer, &tables, rules);
    let (mut lcore, mut by_hand) = (Lcore::new(&writer, &tables), ByHand::new(&tables));
    let mut numbers = Numbers::new(u64::from(qps));
    let mut frames = Frames::sends(BURSTS * BURST);
    let (mut generated, mut parser, mut hand, mut ratio) = (vec![], vec![], vec![], vec![]);
    let (mut cold, mut cold_hand) = (vec![], vec![]);
    let walked = vec![1_u8; COLD_BYTES];
    let per_packet = |ticks: u64, packets: usize| ticks as f64 / packets as f64;
    for round in 0..rounds + rounds / 10 {
        let mut of_round = [0.0; 3];
        let mut order = [0, 1, 2];
        order.rotate_left(numbers.below(3) as usize);
        for engine in order {
            frames.readdress(|| qpn(numbers.below(qps)));
            let views = frames.views();
            of_round[engine] = match engine {
                0 => uninterrupted(clock, &views, |burst| {
                    black_box(lcore.run(burst));
                }),
                1 => uninterrupted(clock, &views, |burst| {
                    let generation = lcore.generation();
                    black_box(by_hand.run(&tables, generation, burst, 0));
                }),
                _ => uninterrupted(clock, &views, |burst| {
                    black_box(lcore.parse(burst));
                }),
            };
        }
        // Both say the same of what was just measured.
        let burst = &frames.views()[..BURST];
        let generation = lcore.generation();
        let answers = by_hand.run(&tables, generation, burst, 0);
        assert!(lcore.run(burst).iter().zip(answers).all(|(packet, answer)| Answer::of(packet) == *answer));
        assert!(answers.iter().all(|answer| answer.verdict == 1), "every SEND has a QP");
        // One round in ten is for warming up.
        if round >= rounds / 10 && of_round.iter().all(|ticks| ticks.is_finite()) {
            generated.push(of_round[0]);
            hand.push(of_round[1]);
            parser.push(of_round[2]);
            ratio.push(of_round[0] / of_round[1]);
        }
    }
    for round in 0..rounds / 2 {
        for engine in [round % 2, 1 - round % 2] {
            frames.readdress(|| qpn(numbers.below(qps)));
            black_box(walked.iter().step_by(64).fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte))));
            let views = frames.views();
            let (burst, generation) = (&views[..BURST], lcore.generation());
            let begun = clock.ticks();
            if engine == 0 {
                black_box(lcore.run(burst));
                cold.push(per_packet(clock.ticks() - begun, BURST));
            } else {
                black_box(by_hand.run(&tables, generation, burst, 0));
                cold_hand.push(per_packet(clock.ticks() - begun, BURST));
            }
        }
    }
    let of = Quartiles::of;
    Size {
        qps,
        rules,
        generated: of(generated),
        parser: of(parser),
        by_hand: of(hand),
        ratio: of(ratio),
        cold: of(cold),
        cold_by_hand: of(cold_hand),
        swx: None,
    }
}
