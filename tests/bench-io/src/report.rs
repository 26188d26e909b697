//! What was measured, for JSON and for tables.

use gantry_bench::numbers::{Median, Quartiles};
use serde::Serialize;

use crate::case::Case;

/// A case of the alternating mode.
#[derive(Clone, Debug, Serialize)]
pub struct Alternated {
    /// What was asked for.
    pub case: Case,
    /// I/Os of the windows that count.
    pub ios: u64,
    /// Windows that count.
    pub windows: usize,
    /// Windows that were dropped: the thread was taken off its processor, or the processor from the machine.
    pub dropped_preempted: usize,
    /// Windows that were dropped: a poll took more than twenty times the median.
    pub dropped_long_poll: usize,
    /// Windows that were dropped: a frame was sent again, though none gets lost.
    pub dropped_repeated: usize,
    /// Cycles of the lcore's busy polls an I/O: the median of windows and its 95 % interval.
    pub cycles: Median,
    /// Their median over that of the base case, measured just before and just after. Of who measures a case by itself: no number.
    pub over_base: f64,
    /// The base case took as long after it as before, but for a tenth.
    pub steady: bool,
    /// The same windows' quartiles.
    pub quartiles: Quartiles,
    /// Median cycles of a busy poll.
    pub poll: f64,
    /// The longest busy poll of windows that count, over the median.
    pub longest_poll: f64,
    /// Mean cycles of a poll that found nothing.
    pub idle_poll: f64,
    /// Busy polls an I/O.
    pub polls_per_io: f64,
    /// Mean frames of a burst that was not empty, as received.
    pub rx_burst: f64,
    /// Frames an I/O, received.
    pub rx_frames_per_io: f64,
    /// Frames an I/O, sent.
    pub tx_frames_per_io: f64,
    /// Bytes of those on the wire, received: with preamble, FCS and gap.
    pub rx_wire_bytes_per_io: f64,
    /// The same, sent.
    pub tx_wire_bytes_per_io: f64,
    /// Payload over wire bytes, in the payload's own direction.
    pub payload_share: f64,
    /// Payload over wire bytes of both directions.
    pub payload_share_both: f64,
    /// Bytes that the lcore has copied an I/O.
    pub bytes_copied_per_io: f64,
    /// Frames that hosts have sent again.
    pub repeated: u64,
    /// Cycles of each stage an I/O, s0 to s9, of all windows; none where they are not counted.
    pub stages: Option<[f64; 10]>,
    /// Latency of an I/O as the hosts see it, in us: 50, 99 and 99.9 %. One thread does everything in turn.
    pub latency_us: [f64; 3],
}
