//! The edge towards the data plane.

use super::entry::{ActionCall, Counts, Key, Rates};
use super::pipeline::{CounterId, DigestId, MeterId, RegisterId, TableId};
use super::status::Refusal;

/// Which of a table's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The one with that key.
    Entry(Key),
    /// The default entry.
    Default,
}

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new entry.
    Insert {
        /// In which table.
        table: TableId,
        /// Its key, which no other entry has.
        key: Key,
        /// What it does.
        action: ActionCall,
        /// The time without a hit after which it is told to be idle; 0 is never.
        idle_timeout_ns: u64,
    },
    /// An entry does something else from now on. Its counter and meter go on.
    Modify {
        /// In which table.
        table: TableId,
        /// Its key.
        key: Key,
        /// What it does.
        action: ActionCall,
        /// As in [`Change::Insert`].
        idle_timeout_ns: u64,
    },
    /// An entry goes.
    Delete {
        /// From which table.
        table: TableId,
        /// Its key.
        key: Key,
    },
    /// What a table does on a miss.
    Default {
        /// Which table.
        table: TableId,
        /// What it does; none is what the program says.
        action: Option<ActionCall>,
    },
    /// The direct counter of an entry has this value.
    DirectCounter {
        /// In which table.
        table: TableId,
        /// Of which entry.
        at: At,
        /// The value.
        counts: Counts,
    },
    /// The direct meter of an entry has these rates; none means that everything is green.
    DirectMeter {
        /// In which table.
        table: TableId,
        /// Of which entry.
        at: At,
        /// The rates.
        rates: Option<Rates>,
    },
    /// A counter's cell has this value.
    Counter {
        /// Which counter.
        counter: CounterId,
        /// Which cell; none is all of them.
        index: Option<u32>,
        /// The value.
        counts: Counts,
    },
    /// A meter's cell has these rates; none means that everything is green.
    Meter {
        /// Which meter.
        meter: MeterId,
        /// Which cell; none is all of them.
        index: Option<u32>,
        /// The rates.
        rates: Option<Rates>,
    },
    /// A register's cell has this value.
    Register {
        /// Which register.
        register: RegisterId,
        /// Which cell; none is all of them.
        index: Option<u32>,
        /// The value.
        value: u128,
    },
    /// Whether anybody wants a digest.
    Digest {
        /// Which.
        digest: DigestId,
        /// Somebody does.
        wanted: bool,
    },
}

/// Why the data plane did not take a transaction. It is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// Which change it was, if one alone is to blame.
    pub at: Option<usize>,
    /// Why.
    pub reason: Refusal,
}

/// Counts by colour: green, yellow, red.
pub type Colours = [Counts; 3];

/// The data plane, as far as P4Runtime goes. What it reads of things that are not there is none.
pub trait Plane {
    /// Makes all the changes, in their order, or none of them; a packet sees all of them or none.
    ///
    /// # Errors
    /// When the data plane has no room, or cannot be reached.
    fn commit(&mut self, changes: &[Change]) -> Result<(), Refused>;

    /// A counter's cell.
    fn counter(&mut self, counter: CounterId, index: u32) -> Option<Counts>;

    /// The counter of a table's entry.
    fn direct_counter(&mut self, table: TableId, at: &At) -> Option<Counts>;

    /// What a meter's cell counted by colour; none if it does not count.
    fn meter_counts(&mut self, meter: MeterId, index: u32) -> Option<Colours>;

    /// What the meter of a table's entry counted by colour; none if it does not count.
    fn direct_meter_counts(&mut self, table: TableId, at: &At) -> Option<Colours>;

    /// Nanoseconds since a packet hit the entry, or since it was made.
    fn since_last_hit_ns(&mut self, table: TableId, key: &Key) -> Option<u64>;

    /// A register's cell.
    fn register(&mut self, register: RegisterId, index: u32) -> Option<u128>;

    /// Sends a packet: the values of `packet_out`'s fields in P4Info's order, and the bytes behind them.
    ///
    /// # Errors
    /// When it cannot be sent.
    fn packet_out(&mut self, metadata: &[u128], payload: &[u8]) -> Result<(), Refusal>;
}
