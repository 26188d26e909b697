//! s0, edge: frames from a port's receive queue.

use arrayvec::ArrayVec;

use crate::counters::Counter;
use crate::port::{BURST, Port, RxFrame};
use crate::state::Core;

/// Takes one burst.
#[inline(never)]
pub fn run<P: Port>(core: &mut Core, port: &mut P, burst: &mut ArrayVec<P::Rx, BURST>) {
    port.rx_burst(burst);
    core.counters.add(Counter::RxFrames, burst.len() as u64);
    core.counters.add(Counter::RxBytes, burst.iter().map(|frame| frame.bytes().len() as u64).sum());
}
