//! The edge towards the data plane.

use super::digest::DigestConfig;
use super::entry::{ActionCall, Counts, Key, Note, Rates};
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
        /// The client's own.
        note: Note,
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
        /// The client's own.
        note: Note,
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
        /// The client's own.
        note: Note,
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
        /// How it is told to whoever does; none if nobody does.
        config: Option<DigestConfig>,
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

/// The number under which an answer of the data plane will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What becomes of something that the data plane was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun<T> {
    /// It is over.
    Over(T),
    /// It is under way: [`Plane::poll_done`] will tell.
    UnderWay(Ticket),
}

/// What became of a transaction.
pub type Committed = Result<(), Refused>;

/// Answers, one for each question; or why there are none.
pub type Told = Result<Vec<Answer>, Refusal>;

/// Something that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A transaction.
    Committed(Ticket, Committed),
    /// Questions.
    Told(Ticket, Told),
}

/// Something that the data plane knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A counter's cell: [`Answer::Counts`].
    Counter(CounterId, u32),
    /// The counter of a table's entry: [`Answer::Counts`].
    DirectCounter(TableId, At),
    /// What a meter's cell counted by colour: [`Answer::Colours`].
    MeterCounts(MeterId, u32),
    /// What the meter of a table's entry counted by colour: [`Answer::Colours`].
    DirectMeterCounts(TableId, At),
    /// The time since a packet hit the entry, or since it was made: [`Answer::Nanoseconds`].
    SinceLastHit(TableId, Key),
    /// A register's cell: [`Answer::Value`].
    Register(RegisterId, u32),
    /// Entries of a table that has an owner, from a place on, which is 0 at first: [`Answer::Entries`].
    Entries(TableId, u64),
}

/// What the data plane says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is no such thing, or it does not count.
    Nothing,
    /// Packets and bytes.
    Counts(Counts),
    /// Packets and bytes by colour.
    Colours(Colours),
    /// A time.
    Nanoseconds(u64),
    /// A number.
    Value(u128),
    /// Entries, and where to go on if there are more.
    Entries(Vec<(Key, ActionCall)>, Option<u64>),
}

/// The data plane, as far as P4Runtime goes. What it is given it does in that order.
pub trait Plane {
    /// Whether it can be reached.
    ///
    /// # Errors
    /// Why not.
    fn reachable(&self) -> Result<(), Refusal> {
        Ok(())
    }

    /// Makes all the changes, in their order, or none of them; a packet sees all of them or none.
    fn commit(&mut self, changes: &[Change]) -> Begun<Committed>;

    /// Answers questions.
    fn ask(&mut self, questions: Vec<Question>) -> Begun<Told>;

    /// The next thing that was under way and is over.
    fn poll_done(&mut self) -> Option<Done> {
        None
    }

    /// Whether it answers [`Question::Entries`]; otherwise what is [mirrored](super::Server::mirror) is told.
    fn tells_entries(&self) -> bool {
        false
    }

    /// Sends a packet: the values of `packet_out`'s fields in P4Info's order, and the bytes behind them.
    ///
    /// # Errors
    /// When it cannot be sent.
    fn packet_out(&mut self, metadata: &[u128], payload: &[u8]) -> Result<(), Refusal>;
}
