//! How a direction of a link and the queue before it behave; a test or a seed sets it and may change it at any time.

/// How one direction behaves. Chances are of 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Time on the way in nanoseconds.
    pub delay_ns: u64,
    /// Bits a second; 0 for no limit. A frame takes its own bytes (60 at least), 4 of FCS, 8 of preamble, 12 of gap.
    pub rate_bps: u64,
    /// Frames lost, each for itself.
    pub loss: u32,
    /// Chance that a frame is the first of a burst of lost ones (Gilbert and Elliott's model).
    pub burst_loss: u32,
    /// Mean length of such a burst in frames, 0 counts as 1; where few frames pass, it ends after a second.
    pub burst_length: u32,
    /// Frames that arrive twice.
    pub duplication: u32,
    /// Frames held back for up to twenty times the delay (a microsecond at least), so that later ones overtake them.
    pub reordering: u32,
    /// Frames with a bit turned over, any bit.
    pub corruption: u32,
    /// Frames cut short, behind the Ethernet header.
    pub truncation: u32,
    /// Frames with more than this many bytes behind the Ethernet header and tag are dropped; 0 for no limit.
    pub mtu: usize,
    /// A partition: nothing passes, not even what is on the way.
    pub cut: bool,
}

impl Weather {
    /// One microsecond and no trouble.
    pub const FAIR: Weather = Weather {
        delay_ns: 1_000,
        rate_bps: 0,
        loss: 0,
        burst_loss: 0,
        burst_length: 0,
        duplication: 0,
        reordering: 0,
        corruption: 0,
        truncation: 0,
        mtu: 0,
        cut: false,
    };
}

/// The queue that frames wait in before they go on a line: a station's own, or the switch's for that station. It fills
/// only when the line has a rate or is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Bytes of frames that may wait; 0 for no limit.
    pub bytes: u64,
    /// From how many waiting bytes on, the frame itself included, an ECN-capable frame is marked CE (RFC 3168 §5); 0 for
    /// never, 1 for always.
    pub ecn_bytes: u64,
    /// Frames that say Not-ECT are marked too, which no lawful switch does.
    pub mark_anyway: bool,
    /// In the switch: more than `bytes` drops nothing but pauses the stations that feed the queue, until half of it is
    /// free (IEEE 802.1Q clause 36, one priority). What they have sent by then still fits, as in a switch's headroom.
    pub pfc: bool,
}

impl Queue {
    /// No limit and no marks.
    pub const OPEN: Queue = Queue { bytes: 0, ecn_bytes: 0, mark_anyway: false, pfc: false };
}
