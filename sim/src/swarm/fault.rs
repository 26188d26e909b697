//! Everything that can go wrong, as a line of a plan.

use serde::{Deserialize, Serialize};

use crate::host::CapsuleKind;
use crate::rogue::{As, RogueKind};

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, in nanoseconds after hosts begin to connect.
    pub at_ns: u64,
    /// For how long; 0 for what takes no time.
    #[serde(default)]
    pub for_ns: u64,
    /// What.
    pub what: What,
}

/// What befalls frames on a host's link. Chances are of 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Lost one by one.
    Loss,
    /// Lost in bursts of eight in the mean.
    BurstLoss,
    /// Arriving twice.
    Duplication,
    /// Overtaken.
    Reordering,
    /// With a bit turned over.
    Corruption,
    /// Cut short.
    Truncation,
}

/// What becomes of the packets of a host that an access rule keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denial {
    /// Nothing.
    Silent,
    /// A digest tells of them.
    Told,
    /// They go to P4Runtime's clients.
    Shown,
}

/// What a tenant may only have so much of in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Throttle {
    /// Bytes towards the card: further packets are dropped.
    Bytes,
    /// Commands: further ones wait.
    Commands,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Frames of a host's link are in trouble, to the switch or from it.
    Link {
        /// Whose link.
        host: usize,
        /// Towards the card.
        up: bool,
        /// What befalls them.
        trouble: Trouble,
        /// How many of 10,000.
        chance: u32,
    },
    /// A host's link is long.
    Delay {
        /// Whose.
        host: usize,
        /// One way in nanoseconds.
        delay_ns: u64,
    },
    /// The link to a card is narrow, and the switch's queue before it short: incast.
    Narrow {
        /// Which card.
        target: usize,
        /// Its rate.
        rate_bps: u64,
        /// Bytes of the queue; above, frames are dropped, or with `pfc` their senders paused.
        queue_bytes: u64,
        /// Lossless.
        pfc: bool,
    },
    /// The switch marks frames to a host, and from it, as having met congestion, whether they are ECN-capable or not.
    Marks {
        /// Whose link.
        host: usize,
    },
    /// A host pauses the switch, or the switch the host.
    Pause {
        /// Which host.
        host: usize,
        /// The host may not send.
        up: bool,
    },
    /// A link passes nothing.
    Partition {
        /// Whose.
        host: usize,
    },
    /// A link passes no frame that carries more than this.
    Mtu {
        /// Whose.
        host: usize,
        /// Bytes of the IP packet.
        bytes: usize,
    },
    /// `kill -9` of control.
    KillControl {
        /// Whose.
        target: usize,
        /// Until the next is up.
        restart_ns: u64,
    },
    /// Control is killed again and again.
    KillControlOften {
        /// Whose.
        target: usize,
        /// Longest time between two.
        every_ns: u64,
    },
    /// The channel between control and data plane breaks.
    CutChannel {
        /// Whose.
        target: usize,
    },
    /// `kill -9` of the data plane.
    KillDataPlane {
        /// Whose.
        target: usize,
    },
    /// Another data plane takes the running one over, again and again.
    HandOver {
        /// Whose.
        target: usize,
        /// Time between two.
        every_ns: u64,
    },
    /// A card's clock jumps ahead.
    ClockStep {
        /// Whose.
        target: usize,
        /// How far.
        by_ns: u64,
    },
    /// A card stands still: nothing polls, frames wait at its port.
    Stall {
        /// Which.
        target: usize,
    },
    /// A card's housekeeping thread does not get the processor.
    StallHousekeeping {
        /// Whose.
        target: usize,
    },
    /// The switch pauses a card.
    PauseCard {
        /// Which.
        target: usize,
    },
    /// A drive takes its time.
    SlowDrive {
        /// Which.
        drive: usize,
        /// What every command takes.
        base_ns: u64,
        /// What one of a hundred takes beyond that.
        tail_ns: u64,
    },
    /// A drive's medium fails.
    MediaErrors {
        /// Which.
        drive: usize,
        /// How many of 10,000 commands.
        chance: u32,
    },
    /// A drive sends commands back unexecuted.
    BusyDrive {
        /// Which.
        drive: usize,
        /// How many of 10,000.
        chance: u32,
    },
    /// A drive swallows I/O commands.
    Swallow {
        /// Which.
        drive: usize,
        /// How many.
        times: u32,
    },
    /// A drive completes commands that nobody sent.
    Stray {
        /// Which.
        drive: usize,
        /// How many.
        times: u32,
    },
    /// A drive says that it is broken (CSTS.CFS).
    Fatal {
        /// Which.
        drive: usize,
    },
    /// A drive does nothing at all.
    Stopped {
        /// Which.
        drive: usize,
    },
    /// A drive loses power for a moment.
    PowerLoss {
        /// Which.
        drive: usize,
    },
    /// A host resets its controller.
    Reset {
        /// Which.
        host: usize,
    },
    /// A host leaves, and comes back.
    Leave {
        /// Which.
        host: usize,
    },
    /// A host hangs.
    Silence {
        /// Which.
        host: usize,
    },
    /// A host sends a capsule that breaks the rules.
    Misdeed {
        /// Which host.
        host: usize,
        /// How.
        kind: CapsuleKind,
    },
    /// An access rule keeps a host out.
    Deny {
        /// Which host.
        host: usize,
        /// What becomes of its packets.
        how: Denial,
    },
    /// All hosts of a card are held to a rate together.
    Throttle {
        /// Which card.
        target: usize,
        /// Of what.
        what: Throttle,
        /// So many a second.
        rate: u64,
    },
    /// A host that is not admitted to a drive's subsystem connects to it.
    Trespass {
        /// Whose.
        drive: usize,
    },
    /// Somebody sends packets that break the rules, under a host's name or a stranger's.
    Rogue {
        /// Whose traffic they have seen.
        host: usize,
        /// What they send.
        kind: RogueKind,
        /// Under the host's own addresses.
        forged: bool,
        /// How often.
        times: u32,
    },
}

/// What a fault may do to a host's I/O at worst. Anything more is a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excuse {
    /// Nothing that the host notices but time.
    Nothing,
    /// Commands may end with an error.
    Errors,
    /// The association may end.
    Association,
}

/// How long a host's transport surely lives without hearing anything.
const PATIENCE_NS: u64 = 200_000_000;

/// Chances above this may use up retries.
const CHANCE_MAX: u32 = 300;

/// What a drive may take for a command before it is asked to abort it, and less.
const DRIVE_PATIENCE_NS: u64 = 4_000_000_000;

/// How far a clock jumps at least to make timers run out that would not have.
const CLOCK_PATIENCE_NS: u64 = 300_000_000;

/// Whom a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// A host.
    Host(usize),
    /// All hosts of a target.
    Target(usize),
    /// All hosts of a drive.
    Drive(usize),
}

/// In whose name a rogue sends.
pub(super) fn name_of(forged: bool) -> As {
    if forged { As::Itself } else { As::Stranger }
}

impl Fault {
    /// Whom it is about.
    #[must_use]
    pub fn whom(&self) -> Whom {
        match self.what {
            What::Link { host, .. }
            | What::Delay { host, .. }
            | What::Marks { host }
            | What::Pause { host, .. }
            | What::Partition { host }
            | What::Mtu { host, .. }
            | What::Deny { host, .. }
            | What::Reset { host }
            | What::Leave { host }
            | What::Silence { host }
            | What::Misdeed { host, .. }
            | What::Rogue { host, .. } => Whom::Host(host),
            What::Narrow { target, .. }
            | What::Throttle { target, .. }
            | What::KillControl { target, .. }
            | What::KillControlOften { target, .. }
            | What::CutChannel { target }
            | What::KillDataPlane { target }
            | What::HandOver { target, .. }
            | What::Stall { target }
            | What::StallHousekeeping { target }
            | What::PauseCard { target }
            | What::ClockStep { target, .. } => Whom::Target(target),
            What::SlowDrive { drive, .. }
            | What::MediaErrors { drive, .. }
            | What::BusyDrive { drive, .. }
            | What::Swallow { drive, .. }
            | What::Stray { drive, .. }
            | What::Fatal { drive }
            | What::Stopped { drive }
            | What::PowerLoss { drive }
            | What::Trespass { drive } => Whom::Drive(drive),
        }
    }

    /// What it may do at worst to those whom it is about.
    #[must_use]
    pub fn excuse(&self) -> Excuse {
        let broken_for = |for_ns| if for_ns > PATIENCE_NS { Excuse::Association } else { Excuse::Nothing };
        match self.what {
            What::Link { chance, .. } if chance > CHANCE_MAX => Excuse::Association,
            What::Link { .. }
            | What::Delay { .. }
            | What::Marks { .. }
            | What::KillControl { .. }
            | What::KillControlOften { .. }
            | What::CutChannel { .. }
            | What::Stray { .. }
            | What::Trespass { .. }
            | What::HandOver { .. } => Excuse::Nothing,
            What::Narrow { pfc, .. } => {
                if pfc {
                    Excuse::Nothing
                } else {
                    Excuse::Association
                }
            }
            What::Pause { .. }
            | What::PauseCard { .. }
            | What::Partition { .. }
            | What::Mtu { .. }
            | What::Silence { .. }
            | What::Stall { .. }
            | What::StallHousekeeping { .. } => broken_for(self.for_ns),
            What::ClockStep { by_ns, .. } if by_ns < CLOCK_PATIENCE_NS => Excuse::Nothing,
            // A rule goes when control is there to take it away.
            What::Deny { .. }
            | What::Throttle { .. }
            | What::ClockStep { .. }
            | What::KillDataPlane { .. }
            | What::Reset { .. }
            | What::Leave { .. } => Excuse::Association,
            What::SlowDrive { base_ns, tail_ns, .. } if base_ns + tail_ns < DRIVE_PATIENCE_NS => Excuse::Nothing,
            What::SlowDrive { .. }
            | What::MediaErrors { .. }
            | What::BusyDrive { .. }
            | What::Swallow { .. }
            | What::Fatal { .. }
            | What::Stopped { .. }
            | What::PowerLoss { .. } => Excuse::Errors,
            What::Misdeed { kind, .. } if !kind.may_end_association() => Excuse::Errors,
            What::Rogue { kind, forged, .. } if !kind.may_end_association(name_of(forged)) => Excuse::Nothing,
            What::Misdeed { .. } | What::Rogue { .. } => Excuse::Association,
        }
    }

    /// Whether it is only by lasting that it does more than take time.
    #[must_use]
    pub fn worsens(&self) -> bool {
        let lasting = |for_ns| Fault { for_ns, ..self.clone() }.excuse();
        lasting(0) != lasting(u64::MAX)
    }

    /// What coverage calls it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.what {
            What::Link { trouble, .. } => match trouble {
                Trouble::Loss => "loss",
                Trouble::BurstLoss => "burst-loss",
                Trouble::Duplication => "duplication",
                Trouble::Reordering => "reordering",
                Trouble::Corruption => "corruption",
                Trouble::Truncation => "truncation",
            },
            What::Delay { .. } => "delay",
            What::Narrow { pfc: false, .. } => "incast",
            What::Narrow { pfc: true, .. } => "incast-pfc",
            What::Marks { .. } => "marks",
            What::Pause { .. } => "pause",
            What::Partition { .. } => "partition",
            What::Mtu { .. } => "mtu",
            What::KillControl { .. } => "kill-control",
            What::KillControlOften { .. } => "kill-control-often",
            What::CutChannel { .. } => "cut-channel",
            What::KillDataPlane { .. } => "kill-data-plane",
            What::HandOver { .. } => "hand-over",
            What::ClockStep { .. } => "clock-step",
            What::Stall { .. } => "stall",
            What::StallHousekeeping { .. } => "stall-housekeeping",
            What::PauseCard { .. } => "pause-card",
            What::Stray { .. } => "stray-completions",
            What::SlowDrive { .. } => "slow-drive",
            What::MediaErrors { .. } => "media-errors",
            What::BusyDrive { .. } => "busy-drive",
            What::Swallow { .. } => "swallow",
            What::Fatal { .. } => "fatal",
            What::Stopped { .. } => "stopped",
            What::PowerLoss { .. } => "power-loss",
            What::Reset { .. } => "reset",
            What::Leave { .. } => "leave",
            What::Silence { .. } => "silence",
            What::Misdeed { .. } => "misdeed",
            What::Deny { .. } => "deny",
            What::Throttle { .. } => "throttle",
            What::Trespass { .. } => "trespass",
            What::Rogue { forged: true, .. } => "rogue-forged",
            What::Rogue { forged: false, .. } => "rogue-stranger",
        }
    }

    /// Every name that [`Fault::name`] can answer.
    pub const NAMES: [&'static str; 39] = [
        "loss",
        "burst-loss",
        "duplication",
        "reordering",
        "corruption",
        "truncation",
        "delay",
        "incast",
        "incast-pfc",
        "marks",
        "pause",
        "partition",
        "mtu",
        "kill-control",
        "kill-control-often",
        "cut-channel",
        "kill-data-plane",
        "hand-over",
        "clock-step",
        "stall",
        "stall-housekeeping",
        "pause-card",
        "stray-completions",
        "slow-drive",
        "media-errors",
        "busy-drive",
        "swallow",
        "fatal",
        "stopped",
        "power-loss",
        "reset",
        "leave",
        "silence",
        "misdeed",
        "deny",
        "throttle",
        "trespass",
        "rogue-forged",
        "rogue-stranger",
    ];
}
