//! s1, parser: headers and lengths of every frame of a burst, nothing else looked at.
//!
//! Leaves as: Malformed.

use arrayvec::ArrayVec;
use gantry_wire::packet::{self, Packet};

use crate::counters::Counter;
use crate::port::{BURST, RxFrame};
use crate::state::Core;

/// A parsed frame: its place in the burst and its headers.
pub type Parsed = ArrayVec<(usize, Packet), BURST>;

/// Parses a burst.
#[inline(never)]
pub fn run<F: RxFrame>(core: &mut Core, burst: &[F], parsed: &mut Parsed) {
    for (index, frame) in burst.iter().enumerate() {
        match packet::parse(frame.bytes()) {
            Ok(packet) => parsed.push((index, packet)),
            Err(_) => core.counters.count(Counter::Malformed),
        }
    }
}
