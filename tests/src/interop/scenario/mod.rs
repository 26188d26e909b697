//! The scenarios, in the order in which a reader would try things by hand. Each starts disconnected, on a lossless
//! wire, and returns a word about what it saw.

mod connection;
pub(super) mod data;
mod loss;
mod p4runtime;
mod refusal;

use crate::vm::{Error, Result};

use super::{Host, Target};

/// One thing that a host must be able to do with a target of this kind.
pub struct Scenario<T: ?Sized> {
    /// Short, for `--only`.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// Whether the host's commands may time out, because the scenario makes them.
    pub(super) may_stall: bool,
    pub(super) run: fn(&mut T, &mut Host) -> Result<String>,
}

macro_rules! scenarios {
    ($($name:literal, $shows:literal, $run:expr;)* $([$($more:expr),*])?) => {
        &[
            $(Scenario { name: $name, shows: $shows, may_stall: false, run: |_, host| $run(host) },)*
            $($($more),*)?
        ]
    };
}

/// All of the interop suite.
pub const ALL: &[Scenario<dyn Target>] = scenarios![
    "discover", "discovery lists what this host may use", connection::discover;
    "connect", "the namespace has the size and the identity configured", connection::connect;
    "sequential", "crc32c-verified sequential I/O of 512 B to 1 MiB", data::sequential;
    "random", "crc32c-verified random I/O of 512 B to 1 MiB", data::random;
    "persistent", "what was written is there for the next connection", data::persistent;
    "filesystem", "ext4 keeps its files over a remount and a new connection", data::filesystem;
    "zeroes", "flush, write zeroes and discard do what they say, and nothing beside it", data::zeroes;
    "reconnect", "connect and disconnect ten times", connection::ten_times;
    "reset", "a controller reset, idle and under verified I/O", connection::reset;
    "wrong-nqn", "a subsystem that does not exist is refused in words that the host understands", refusal::wrong_nqn;
    "denied-host", "a host that is not on the list is refused likewise", refusal::denied_host;
    "no-listener", "a port that nobody listens on is refused by the CM", refusal::no_listener;
    "loss-to-host", "2 % of packets lost on the way to the host", loss::to_host;
    "no-registration", "verified I/O without fast registration", loss::no_registration;
    "duplicates", "5 % of packets twice, each way", loss::duplicates;
    "loss-both-ways", "2 % lost each way, without fast registration", loss::both_ways;
    [Scenario {
        name: "p4runtime-deny",
        shows: "an access entry of a P4Runtime client stops the host's I/O, and its removal lets it go on",
        may_stall: false,
        run: p4runtime::deny,
    }]
];

/// Fails with `message` unless `condition`.
pub(super) fn ensure(condition: bool, message: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { Err(Error::Unexpected(message())) }
}
