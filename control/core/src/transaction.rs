//! Transactions: what control asks of the data plane, and what follows once it is applied or refused.
//!
//! One is open at a time and the others wait in order: the simplest proof that no two conflict and that a QP's end
//! never overtakes its beginning.

use crate::nvmf::Entry;
use crate::plan::Item;
use crate::random::Random;
use crate::session::Session;
use crate::tables::TableOperation;
use gantry::channel::session::Reservation;
use gantry::channel::{self, Kind, operation};
use std::collections::VecDeque;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

/// One frame of operations as it goes on the channel.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    bytes: Vec<u8>,
    /// The QPN of a QpDestroy.
    pub(crate) qpn: Option<u32>,
}

impl Operation {
    pub(crate) fn new<B: IntoBytes + Immutable>(kind: Kind, body: &B, tail: &[u8]) -> Self {
        let mut bytes = body.as_bytes().to_vec();
        bytes.extend_from_slice(tail);
        Self { kind, bytes, qpn: None }
    }

    /// One whose body and tail are bytes already.
    pub(crate) fn of(kind: Kind, bytes: Vec<u8>) -> Self {
        Self { kind, bytes, qpn: None }
    }

    pub(crate) fn qp_destroy(qpn: u32) -> Self {
        let body = operation::QpDestroy { qpn: U32::new(qpn) };
        Self { qpn: Some(qpn), ..Self::new(Kind::QpDestroy, &body, &[]) }
    }

    pub(crate) fn controller_add(cntlid: u16, keep_alive_ms: u32, blob: &[u8]) -> Self {
        let (cntlid, keep_alive_ms) = (U16::new(cntlid), U32::new(keep_alive_ms));
        let body = operation::ControllerAdd { cntlid, reserved: U16::ZERO, keep_alive_ms };
        Self::new(Kind::ControllerAdd, &body, blob)
    }

    pub(crate) fn namespace_add(entry: &Entry) -> Self {
        Self::of(Kind::NamespaceAdd, entry.to_vec())
    }

    pub(crate) fn namespace_remove(cntlid: u16, nsid: u32) -> Self {
        let (cntlid, nsid) = (U16::new(cntlid), U32::new(nsid));
        let body = operation::NamespaceRemove { cntlid, reserved: U16::ZERO, nsid };
        Self::new(Kind::NamespaceRemove, &body, &[])
    }

    pub(crate) fn controller_remove(cntlid: u16) -> Self {
        Self::new(Kind::ControllerRemove, &operation::ControllerRemove { cntlid: U16::new(cntlid) }, &[])
    }
}

/// What a transaction was for, and so what follows its end.
#[derive(Debug)]
pub(crate) enum Then {
    /// Ports, addresses and drives of the configuration, one an operation.
    Planned(Vec<Item>),
    /// The QP of a REQ; the reservation comes with PREPARE.
    QpCreated { comm_id: u32, reserved: Option<Reservation> },
    /// An answer with its effects.
    Answered { qpn: u32 },
    /// The answer of a Connect that succeeds.
    Connected { qpn: u32, punt: u32 },
    /// Namespaces that came and went under a controller's feet; what is added, and the entries that it had of them.
    NamespacesChanged { cntlid: u16, before: Vec<(u32, Option<Entry>)> },
    /// Something that a controller's host is to be told of.
    Told { cntlid: u16 },
    /// What a controller remembers, by itself.
    Remembered,
    /// The end of QPs and controllers.
    Ended,
    /// What P4Runtime's clients write.
    Tables { ticket: u64, operations: Vec<TableOperation> },
    /// What they had written to a data plane that is gone.
    TablesReplayed(Vec<TableOperation>),
}

impl Then {
    fn is_of_tables(&self) -> bool {
        matches!(self, Self::Tables { .. } | Self::TablesReplayed(_))
    }
}

#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) operations: Vec<Operation>,
    pub(crate) then: Then,
    /// It was being committed when the channel broke: what exists or is gone already may be its own work.
    pub(crate) uncertain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Preparing,
    Committing,
}

#[derive(Debug)]
pub(crate) struct Transactions {
    last_id: u64,
    /// What was open when the channel broke: the data plane may still speak of it.
    interrupted: Option<u64>,
    open: Option<(u64, Step, Transaction)>,
    waiting: VecDeque<Transaction>,
    /// How many were ever submitted, and how many of those are over.
    submitted: u64,
    ended: u64,
}

impl Transactions {
    /// Ids do not begin at one: the data plane may still speak of those of an earlier control.
    pub(crate) fn new(random: &mut Random) -> Self {
        let last_id = u64::from(random.u32()) << 32;
        Self { last_id, interrupted: None, open: None, waiting: VecDeque::new(), submitted: 0, ended: 0 }
    }

    /// Whether `id` belongs to the session before.
    pub(crate) fn is_interrupted(&self, id: u64) -> bool {
        self.interrupted == Some(id)
    }

    pub(crate) fn submit(&mut self, session: &mut Session, operations: Vec<Operation>, then: Then) {
        self.submitted += 1;
        self.waiting.push_back(Transaction { operations, then, uncertain: false });
        self.pump(session);
    }

    /// The same, before everything that waits.
    pub(crate) fn submit_first(&mut self, session: &mut Session, operations: Vec<Operation>, then: Then) {
        self.submitted += 1;
        self.waiting.push_front(Transaction { operations, then, uncertain: false });
        self.pump(session);
    }

    /// A number for a transaction or request, which no other has had.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Opens the next one if none is open.
    pub(crate) fn pump(&mut self, session: &mut Session) {
        if self.open.is_some() || !session.is_open() {
            return;
        }
        let Some(transaction) = self.waiting.pop_front() else { return };
        let id = self.next_id();
        session.send(channel::emit(Kind::Begin, id, &[], &[]));
        for operation in &transaction.operations {
            session.send(channel::emit(operation.kind, id, &operation.bytes, &[]));
        }
        session.send(channel::emit(Kind::Prepare, id, &[], &[]));
        self.open = Some((id, Step::Preparing, transaction));
    }

    /// Transaction `id` can be committed: what it is for, or none when it is not at that step.
    pub(crate) fn prepared(&mut self, id: u64) -> Option<&mut Then> {
        match &mut self.open {
            Some((open, Step::Preparing, transaction)) if *open == id => Some(&mut transaction.then),
            _ => None,
        }
    }

    /// Commits the open one.
    pub(crate) fn commit(&mut self, session: &mut Session) {
        let (id, step, _) = self.open.as_mut().expect("only a prepared transaction is committed");
        *step = Step::Committing;
        session.send(channel::emit(Kind::Commit, *id, &[], &[]));
    }

    pub(crate) fn committed(&mut self, id: u64) -> Option<Then> {
        let over = self.open.take_if(|(open, step, _)| *open == id && *step == Step::Committing)?;
        self.ended += 1;
        Some(over.2.then)
    }

    pub(crate) fn refused(&mut self, id: u64) -> Option<Transaction> {
        let over = self.open.take_if(|(open, ..)| *open == id)?;
        self.ended += 1;
        Some(over.2)
    }

    /// The channel broke: the open one is first in the next session, where an object that exists or is gone already
    /// counts as done. Only the creation of a QP is given up, since the host repeats its REQ: the answer is its
    /// communication id.
    pub(crate) fn interrupt(&mut self) -> Option<u32> {
        let (id, step, mut transaction) = self.open.take()?;
        self.interrupted = Some(id);
        transaction.uncertain |= step == Step::Committing;
        if let Then::QpCreated { comm_id, .. } = transaction.then {
            self.ended += 1;
            return Some(comm_id);
        }
        self.waiting.push_front(transaction);
        None
    }

    /// Drops what P4Runtime's clients wait for, and what a new data plane was to get: the session is gone, and the next one
    /// begins with what became of it.
    pub(crate) fn drop_tables(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|transaction| !transaction.then.is_of_tables());
        self.ended += (before - self.waiting.len()) as u64;
    }

    /// Drops everything: the data plane that it was for is gone.
    pub(crate) fn forget(&mut self) {
        self.open = None;
        self.waiting.clear();
        self.ended = self.submitted;
    }

    /// Transactions so far; they end in order, so that what was submitted by now is over when as many have
    /// [`ended`](Self::ended).
    pub(crate) fn submitted(&self) -> u64 {
        self.submitted
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
