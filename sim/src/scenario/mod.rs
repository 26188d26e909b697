//! Situations by name: who is there, what they do, what it comes to. Each measures, judges itself, and answers the same
//! digest whenever and wherever it runs.
//!
//! | file | what |
//! |---|---|
//! | `crew.rs` | hosts with verified I/O, and their table |
//! | `drives.rs` | hosts on drives of their own |
//! | `neighbour.rs` | one floods, others notice |
//! | `incast.rs` | many write at once over a narrow link |
//! | `flap.rs` | a link that goes and comes |
//! | `control.rs` | control dies again and again |
//! | [`goodput`] | what loss, depth and distance leave of a link |
//! | [`scale`] | I/Os in a second of real time |

mod control;
mod crew;
mod drives;
mod flap;
pub mod goodput;
mod incast;
mod neighbour;
pub mod scale;

/// Who looks on: it is handed what would be said now, and may ask for the words.
pub type Live<'a> = &'a mut dyn FnMut(&dyn Fn() -> String);

/// A situation.
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What happens, in a line.
    pub what: &'static str,
    play: fn(Live<'_>) -> Report,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Tables and lines for people.
    pub text: String,
    /// What should not have been.
    pub wrong: Vec<String>,
    /// Of every frame that reached a host.
    pub digest: u64,
}

/// Every scenario.
pub const ALL: &[Scenario] = &[
    Scenario { name: "hosts-and-drives", what: "24 hosts, each on a drive of its own", play: drives::play },
    Scenario { name: "noisy-neighbour", what: "one host floods; what others notice", play: neighbour::play },
    Scenario { name: "incast", what: "16 hosts write over a narrow link, with PFC and without", play: incast::play },
    Scenario { name: "link-flap", what: "a host's link goes and comes", play: flap::play },
    Scenario { name: "control-killed", what: "control is killed again and again under load", play: control::play },
    Scenario { name: "goodput", what: "goodput by loss, queue depth and round-trip time", play: goodput::play },
    Scenario { name: "scale", what: "I/Os in a second of real time, from 1 queue to 4,096", play: scale::play },
];

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Scenario> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// Runs it.
    pub fn play(&self, live: Live<'_>) -> Report {
        (self.play)(live)
    }
}

impl Report {
    /// Keeps `wrong`, when `ok` does not hold.
    fn check(&mut self, ok: bool, wrong: impl FnOnce() -> String) {
        if !ok {
            self.wrong.push(wrong());
        }
    }
}
