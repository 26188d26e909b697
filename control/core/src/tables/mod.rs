//! Tables that P4Runtime's clients program: their transactions, what they ask, and what becomes of it all when a process ends.
//!
//! ```text
//!   client -> commit_tables, ask_tables, send_packet ----> transactions, requests ----> data plane
//!   client <- poll_table_event <---- Committed, Refused, Answered, Told, Opened, Closed
//! ```
//! The data plane keeps what clients have written, and every session begins with it telling that: a new control takes it over.
//! Control keeps a copy for a data plane that starts anew, which gets it before its ports. What was under way when a session
//! ended is told to have failed; the next session's beginning tells what became of it.

mod records;

use crate::session::FrameRefused;
use crate::transaction::{Operation, Then};
use crate::{Control, Notice};
use gantry::channel::session::{Reason, Refused};
use gantry::channel::table::{DigestWrite, Entry, MeterWrite, PACKET_MAX, PacketOut, TRANSACTION_MAX};
use gantry::channel::{self, FRAME_MAX, Frame, FrameError, Header, Kind};
use records::Records;
use std::collections::{BTreeMap, VecDeque};
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

/// Packets, digests and idle entries that wait for the client, before further ones are dropped.
const TOLD_MAX: usize = 4096;

/// An operation of a transaction over tables, in the channel's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableOperation {
    /// One [`Entry`].
    Entry(Vec<u8>),
    /// A [`MeterWrite`] and, of a direct one, its entry.
    Meter(Vec<u8>),
    /// A [`CounterWrite`](channel::table::CounterWrite) and, of a direct one, its entry.
    Counter(Vec<u8>),
    /// A [`DigestWrite`] and its note.
    Digest(Vec<u8>),
}

/// Why tables cannot be programmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TablesClosed {
    /// There is no session with a data plane, or it has only begun.
    NoSession,
    /// The data plane speaks a version of the channel that has no tables.
    TooOld {
        /// The minor version that it speaks.
        minor: u16,
    },
}

/// What the client of tables hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableEvent {
    /// A session is open. This is all that clients have written so far, entries before what belongs to them.
    Opened {
        /// Insertions, and what else brings an empty data plane there.
        state: Vec<TableOperation>,
    },
    /// The session is over: nothing that was asked is answered any more.
    Closed(TablesClosed),
    /// The transaction is applied.
    Committed {
        /// The client's number.
        ticket: u64,
    },
    /// The transaction or request is refused. Nothing of it was done.
    Refused {
        /// The client's number.
        ticket: u64,
        /// Which operation is to blame, if one alone is.
        operation: Option<usize>,
        /// Why, if the data plane said it in a way that is known.
        reason: Option<Reason>,
        /// Its words.
        text: String,
    },
    /// An answer.
    Answered {
        /// The client's number.
        ticket: u64,
        /// Which answer.
        kind: Kind,
        /// Its body and tail.
        bytes: Vec<u8>,
    },
    /// A packet, a digest or idle entries.
    Told {
        /// Which.
        kind: Kind,
        /// Its body and tail.
        bytes: Vec<u8>,
    },
}

/// What control keeps of tables.
#[derive(Debug)]
pub(crate) struct Tables {
    /// None while they can be programmed.
    closed: Option<TablesClosed>,
    /// Somebody takes the events.
    served: bool,
    events: VecDeque<TableEvent>,
    told: usize,
    /// Numbers of requests on the channel, and the client's.
    requests: BTreeMap<u64, u64>,
    /// What clients have written.
    records: Records,
    /// What the data plane has of that, while they may differ: in adoption, and until a new data plane has it all.
    there: Records,
    /// The data plane is not the one that the records were written to.
    owed: bool,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            closed: Some(TablesClosed::NoSession),
            served: false,
            events: VecDeque::new(),
            told: 0,
            requests: BTreeMap::new(),
            records: Records::default(),
            there: Records::default(),
            owed: false,
        }
    }
}

impl Tables {
    fn tell(&mut self, event: TableEvent) {
        if self.served {
            self.events.push_back(event);
        }
    }

    fn close(&mut self, why: TablesClosed) {
        self.requests.clear();
        if self.closed.replace(why) != Some(why) {
            self.tell(TableEvent::Closed(why));
        }
    }
}

impl Control {
    /// From now on somebody calls [`poll_table_event`](Self::poll_table_event).
    pub fn serve_tables(&mut self) {
        self.tables.served = true;
    }

    /// The next event for the client of tables.
    pub fn poll_table_event(&mut self) -> Option<TableEvent> {
        let event = self.tables.events.pop_front();
        self.tables.told -= usize::from(matches!(event, Some(TableEvent::Told { .. })));
        event
    }

    /// Makes all the operations, or none: [`TableEvent::Committed`] or [`TableEvent::Refused`] tells which, with this ticket,
    /// unless [`TableEvent::Closed`] comes first.
    ///
    /// # Panics
    /// When an operation is not one of the channel's form.
    pub fn commit_tables(&mut self, ticket: u64, operations: Vec<TableOperation>) {
        if self.tables.closed.is_some() {
            let text = "there is no session with the data plane".into();
            return self.tables.tell(TableEvent::Refused { ticket, operation: None, reason: None, text });
        }
        if operations.len() > TRANSACTION_MAX {
            let text =
                format!("{} operations in one transaction, which has {TRANSACTION_MAX} at most", operations.len());
            let reason = Some(Reason::Full);
            return self.tables.tell(TableEvent::Refused { ticket, operation: None, reason, text });
        }
        let frames = frames(&operations);
        self.transactions.submit(&mut self.session, frames, Then::Tables { ticket, operations });
    }

    /// Asks: [`TableEvent::Answered`] or [`TableEvent::Refused`] follows with this ticket, unless
    /// [`TableEvent::Closed`] comes first. `bytes` are the frame's body and tail.
    pub fn ask_tables(&mut self, ticket: u64, kind: Kind, bytes: &[u8]) {
        if self.tables.closed.is_some() {
            let text = "there is no session with the data plane".into();
            return self.tables.tell(TableEvent::Refused { ticket, operation: None, reason: None, text });
        }
        let id = self.transactions.next_id();
        self.tables.requests.insert(id, ticket);
        self.session.send(channel::emit(kind, id, &[], bytes));
    }

    /// Sends a frame from a port, as it is. What becomes of it is not told, except that a refusal is noticed.
    pub fn send_packet(&mut self, port: u32, frame: &[u8]) {
        if self.tables.closed.is_none() && frame.len() <= PACKET_MAX {
            let id = self.transactions.next_id();
            let body = PacketOut { port: U32::new(port), reserved: U32::ZERO };
            self.session.send(channel::emit(Kind::PacketOut, id, body.as_bytes(), frame));
        }
    }

    /// A session begins with another run of the data plane than the last.
    pub(crate) fn tables_start_anew(&mut self) {
        self.tables.owed = true;
    }

    /// The session is gone.
    pub(crate) fn tables_interrupted(&mut self) {
        self.transactions.drop_tables();
        self.tables.there = Records::default();
        self.tables.close(TablesClosed::NoSession);
    }

    /// The data plane has no tables that can be programmed.
    pub(crate) fn tables_too_old(&mut self, minor: u16) {
        self.tables.close(TablesClosed::TooOld { minor });
        if !self.tables.records.is_empty() {
            let text = "the data plane speaks a version of the channel without tables".into();
            self.notices.push(Notice::Refused { what: "what P4Runtime clients have written".into(), text });
        }
    }

    /// Something that clients have written, between Welcome and Synchronized.
    pub(crate) fn hear_tables(&mut self, frame: &Frame<'_>) -> Result<(), FrameRefused> {
        let there = &mut self.tables.there;
        match frame.kind {
            Kind::TableState => {
                for entry in Entry::parse_all(frame.bytes)? {
                    there.apply(TableOperation::Entry(entry.bytes.to_vec()))?;
                }
            }
            Kind::MeterState => there.apply(TableOperation::Meter(frame.bytes.to_vec()))?,
            Kind::DigestState => there.apply(TableOperation::Digest(frame.bytes.to_vec()))?,
            // Nobody is told before the session is open.
            _ => {}
        }
        Ok(())
    }

    /// All is told. A data plane that has what it was written is taken for the truth; a new one is written what is missing,
    /// before anything of the plan.
    pub(crate) fn adopt_tables(&mut self) {
        if !self.session.has_tables() {
            return self.tables_too_old(self.session.minor());
        }
        if !self.tables.owed {
            self.tables.records = std::mem::take(&mut self.tables.there);
        }
        self.replay_tables();
    }

    /// The next part of what a new data plane lacks; when nothing is left, tables are open.
    fn replay_tables(&mut self) {
        let tables = &mut self.tables;
        let mut missing = if tables.owed { tables.there.to_become(&tables.records) } else { Vec::new() };
        if !missing.is_empty() {
            missing.truncate(TRANSACTION_MAX);
            let frames = frames(&missing);
            return self.transactions.submit_first(&mut self.session, frames, Then::TablesReplayed(missing));
        }
        tables.owed = false;
        tables.there = Records::default();
        tables.closed = None;
        let state = if tables.served { tables.records.operations() } else { Vec::new() };
        tables.tell(TableEvent::Opened { state });
    }

    pub(crate) fn tables_committed(&mut self, ticket: u64, operations: Vec<TableOperation>) {
        operations.into_iter().for_each(|operation| self.tables.records.apply_sound(operation));
        self.tables.tell(TableEvent::Committed { ticket });
    }

    pub(crate) fn tables_refused(&mut self, ticket: u64, operation: u32, reason: u16, text: &str) {
        let operation = (operation != u32::MAX).then_some(operation as usize);
        let (reason, text) = (Reason::from_u16(reason), text.to_owned());
        self.tables.tell(TableEvent::Refused { ticket, operation, reason, text });
    }

    pub(crate) fn tables_replayed(&mut self, operations: Vec<TableOperation>) {
        operations.into_iter().for_each(|operation| self.tables.there.apply_sound(operation));
        self.replay_tables();
    }

    /// The new data plane does not take something that the old one had: that is lost, the rest is not.
    pub(crate) fn replay_refused(&mut self, operations: &[TableOperation], operation: u32, text: &str) {
        let tables = &mut self.tables;
        let what = match operations.get(operation as usize) {
            Some(operation) => {
                tables.records.forget(operation, &tables.there);
                format!("{}, which a P4Runtime client had written", records::name(operation))
            }
            None => {
                tables.records = tables.there.clone();
                "what P4Runtime clients had written".into()
            }
        };
        self.notices.push(Notice::Refused { what, text: text.to_owned() });
        self.replay_tables();
    }

    /// An answer to a request, or its refusal. False when `frame` is neither.
    pub(crate) fn handle_table_answer(&mut self, frame: &Frame<'_>) -> Result<bool, FrameError> {
        let Some(ticket) = self.tables.requests.remove(&frame.transaction) else { return Ok(false) };
        if frame.kind == Kind::Refused {
            let (refused, text) = frame.body::<Refused>()?;
            self.tables_refused(ticket, u32::MAX, refused.reason.get(), &String::from_utf8_lossy(text));
        } else {
            self.tables.tell(TableEvent::Answered { ticket, kind: frame.kind, bytes: frame.bytes.to_vec() });
        }
        Ok(true)
    }

    /// A packet, a digest, idle entries.
    pub(crate) fn handle_told(&mut self, frame: &Frame<'_>) {
        let tables = &mut self.tables;
        if tables.closed.is_none() && tables.served && tables.told < TOLD_MAX {
            tables.told += 1;
            tables.events.push_back(TableEvent::Told { kind: frame.kind, bytes: frame.bytes.to_vec() });
        }
    }
}

/// The frames of a transaction's operations: entries that follow one another share frames.
fn frames(operations: &[TableOperation]) -> Vec<Operation> {
    const ROOM: usize = FRAME_MAX - size_of::<Header>();
    let mut frames: Vec<Operation> = Vec::new();
    let mut entries = Vec::new();
    let close = |entries: &mut Vec<u8>, frames: &mut Vec<Operation>| {
        if !entries.is_empty() {
            frames.push(Operation::of(Kind::TableWrite, std::mem::take(entries)));
        }
    };
    for operation in operations {
        let (kind, bytes) = match operation {
            TableOperation::Entry(bytes) => {
                if entries.len() + bytes.len() > ROOM {
                    close(&mut entries, &mut frames);
                }
                entries.extend_from_slice(bytes);
                continue;
            }
            TableOperation::Meter(bytes) => (Kind::MeterWrite, bytes),
            TableOperation::Counter(bytes) => (Kind::CounterWrite, bytes),
            TableOperation::Digest(bytes) => (Kind::DigestWrite, bytes),
        };
        close(&mut entries, &mut frames);
        frames.push(Operation::of(kind, bytes.clone()));
    }
    close(&mut entries, &mut frames);
    frames
}
