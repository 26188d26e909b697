//! The data plane behind gantryd's channel: transactions and questions go out as control's table operations, and what control
//! hears about tables comes in.

mod ask;
mod form;

use std::collections::{BTreeMap, VecDeque};

use gantry::channel::Kind;
use gantry::channel::session::Reason;
use gantry::channel::table::{DigestData, Entry as Record, PACKET_MAX, PacketIn};
use gantry_control::{Control, TableEvent, TableOperation, TablesClosed};
use zerocopy::FromBytes;

use super::entry::Key;
use super::pipeline::{DigestId, Pipeline, TableId};
use super::plane::{At, Begun, Change, Committed, Done, Plane, Question, Refused, Ticket, Told};
use super::server::Server;
use super::status::{Code, Refusal, exhausted, unsupported};
use ask::{Asked, Part};

/// The first minor version of the channel with tables.
const MINOR: u16 = 2;

/// What control is to do.
enum Wish {
    Commit(u64, Vec<TableOperation>),
    Ask(u64, Kind, Vec<u8>),
    Send(u32, Vec<u8>),
}

/// The data plane, as far as a session of control reaches it.
pub struct ChannelPlane {
    /// None while a session is open.
    closed: Option<Refusal>,
    tickets: u64,
    wishes: VecDeque<Wish>,
    committing: Vec<Ticket>,
    asked: BTreeMap<Ticket, Asked>,
    /// Which question each request on the channel is a part of.
    parts: BTreeMap<u64, (Ticket, Part)>,
    done: VecDeque<Done>,
    /// Which of `packet_out`'s fields is the port.
    port_at: Option<usize>,
}

impl ChannelPlane {
    /// Without a session yet.
    #[must_use]
    pub fn new(pipeline: &Pipeline) -> Self {
        let fields = pipeline.packet_out.as_deref().unwrap_or_default();
        Self {
            closed: Some(why(TablesClosed::NoSession)),
            tickets: 0,
            wishes: VecDeque::new(),
            committing: Vec::new(),
            asked: BTreeMap::new(),
            parts: BTreeMap::new(),
            done: VecDeque::new(),
            port_at: fields.iter().position(|field| field.name == "port"),
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// The session is over: nothing of what is under way will be answered.
    fn close(&mut self, refusal: &Refusal) {
        self.wishes.clear();
        self.parts.clear();
        for ticket in self.committing.drain(..) {
            let refused = Refused { at: None, reason: refusal.clone() };
            self.done.push_back(Done::Committed(ticket, Err(refused)));
        }
        for ticket in std::mem::take(&mut self.asked).into_keys() {
            self.done.push_back(Done::Told(ticket, Err(refusal.clone())));
        }
        self.closed = Some(refusal.clone());
    }

    fn committed(&mut self, ticket: u64, committed: Committed) {
        if let Some(at) = self.committing.iter().position(|of| of.0 == ticket) {
            let ticket = self.committing.swap_remove(at);
            self.done.push_back(Done::Committed(ticket, committed));
        }
    }

    /// An answer to a request, or why there is none; of nothing that is there the answers are [`super::Answer::Nothing`].
    fn answered(&mut self, request: u64, answer: Result<(Kind, &[u8]), Refusal>) {
        let Some((ticket, part)) = self.parts.remove(&request) else { return };
        let Some(asked) = self.asked.get_mut(&ticket) else { return };
        if let Err(refusal) = asked.take(&part, answer) {
            self.asked.remove(&ticket);
            self.done.push_back(Done::Told(ticket, Err(refusal)));
        } else if asked.is_complete() {
            let asked = self.asked.remove(&ticket).expect("it was there above");
            self.done.push_back(Done::Told(ticket, Ok(asked.answers)));
        }
    }
}

impl Plane for ChannelPlane {
    fn reachable(&self) -> Result<(), Refusal> {
        self.closed.clone().map_or(Ok(()), Err)
    }

    fn commit(&mut self, changes: &[Change]) -> Begun<Committed> {
        if let Some(reason) = self.closed.clone() {
            return Begun::Over(Err(Refused { at: None, reason }));
        }
        let mut operations = Vec::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            match form::operation(change) {
                Some(operation) => operations.push(operation),
                None => {
                    let reason = unsupported("the data plane has no registers");
                    return Begun::Over(Err(Refused { at: Some(at), reason }));
                }
            }
        }
        let ticket = self.ticket();
        self.committing.push(ticket);
        self.wishes.push_back(Wish::Commit(ticket.0, operations));
        Begun::UnderWay(ticket)
    }

    fn ask(&mut self, questions: Vec<Question>) -> Begun<Told> {
        if let Some(refusal) = self.closed.clone() {
            return Begun::Over(Err(refusal));
        }
        let (asked, parts) = Asked::new(questions);
        if parts.is_empty() {
            return Begun::Over(Ok(asked.answers));
        }
        let ticket = self.ticket();
        for part in parts {
            let request = self.ticket().0;
            let (kind, bytes) = part.request();
            self.wishes.push_back(Wish::Ask(request, kind, bytes));
            self.parts.insert(request, (ticket, part));
        }
        self.asked.insert(ticket, asked);
        Begun::UnderWay(ticket)
    }

    fn poll_done(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    fn tells_entries(&self) -> bool {
        true
    }

    fn packet_out(&mut self, metadata: &[u128], payload: &[u8]) -> Result<(), Refusal> {
        self.reachable()?;
        if payload.len() > PACKET_MAX {
            return Err(exhausted(format!("a packet of {} bytes; {PACKET_MAX} are possible", payload.len())));
        }
        let port = self.port_at.and_then(|at| metadata.get(at)).copied().unwrap_or_default();
        let port = u32::try_from(port).map_err(|_| super::status::out_of_range("packet_out: the port"))?;
        self.wishes.push_back(Wish::Send(port, payload.to_vec()));
        Ok(())
    }
}

/// Brings the server's wishes to control, and what control has heard about tables to the server, until there is nothing more.
/// Control serves its tables ([`Control::serve_tables`]).
pub fn exchange(server: &mut Server<ChannelPlane>, control: &mut Control, now_ns: u64) {
    loop {
        while let Some(event) = control.poll_table_event() {
            server.hear(now_ns, event);
        }
        server.progress();
        let mut idle = true;
        while let Some(wish) = server.plane.wishes.pop_front() {
            idle = false;
            match wish {
                Wish::Commit(ticket, operations) => control.commit_tables(ticket, operations),
                Wish::Ask(ticket, kind, bytes) => control.ask_tables(ticket, kind, &bytes),
                Wish::Send(port, frame) => control.send_packet(port, &frame),
            }
        }
        if idle {
            return;
        }
    }
}

impl Server<ChannelPlane> {
    fn hear(&mut self, now_ns: u64, event: TableEvent) {
        match event {
            TableEvent::Opened { state } => {
                let changes: Vec<Change> = state.iter().filter_map(form::change).collect();
                let left_out = state.len() - changes.len() + self.adopt(&changes);
                if left_out > 0 {
                    tracing::warn!(
                        "the data plane has kept {left_out} things of P4Runtime clients that its program cannot have"
                    );
                }
                self.plane.closed = None;
            }
            TableEvent::Closed(closed) => {
                self.plane.close(&why(closed));
                // Calls end before anything of the next session begins.
                self.progress();
            }
            TableEvent::Committed { ticket } => self.plane.committed(ticket, Ok(())),
            TableEvent::Refused { ticket, operation, reason, text } => {
                let reason = Refusal::new(code(reason), format!("the data plane: {text}"));
                self.plane.committed(ticket, Err(Refused { at: operation, reason: reason.clone() }));
                self.plane.answered(ticket, Err(reason));
            }
            TableEvent::Answered { ticket, kind, bytes } => self.plane.answered(ticket, Ok((kind, &bytes))),
            TableEvent::Told { kind, bytes } => self.told(now_ns, kind, &bytes),
        }
    }

    /// A packet, a digest or idle entries. What the program does not have is passed over.
    fn told(&mut self, now_ns: u64, kind: Kind, bytes: &[u8]) {
        let Some(pipeline) = self.pipeline.clone() else { return };
        match kind {
            Kind::PacketIn => {
                let (Ok((packet, frame)), Some(fields)) = (PacketIn::ref_from_prefix(bytes), &pipeline.packet_in)
                else {
                    return;
                };
                let value = |name: &str| match name {
                    "port" => u128::from(packet.port.get()),
                    "reason" => u128::from(packet.reason),
                    _ => 0,
                };
                let metadata: Vec<u128> = fields.iter().map(|field| value(&field.name)).collect();
                self.handle_packet_in(&metadata, frame);
            }
            Kind::DigestData => {
                let Ok((digest, values)) = DigestData::parse(bytes) else { return };
                let digest = DigestId(digest);
                if pipeline.digests.get(&digest).is_some_and(|declared| declared.values == values.len()) {
                    let values: Vec<u128> = values.iter().map(|value| value.get()).collect();
                    self.handle_digest(now_ns, digest, &values);
                }
            }
            Kind::Idle => {
                let Ok(entries) = Record::parse_all(bytes) else { return };
                let mut keys: BTreeMap<TableId, Vec<Key>> = BTreeMap::new();
                for entry in &entries {
                    if let At::Entry(key) = form::at(entry) {
                        keys.entry(TableId(entry.head.table.get())).or_default().push(key);
                    }
                }
                for (table, keys) in keys {
                    self.handle_idle(now_ns, table, &keys);
                }
            }
            _ => {}
        }
    }
}

fn why(closed: TablesClosed) -> Refusal {
    match closed {
        TablesClosed::NoSession => Refusal::new(Code::Unavailable, "there is no session with the data plane"),
        TablesClosed::TooOld { minor } => unsupported(format!(
            "the data plane speaks version 1.{minor} of the channel; P4Runtime needs 1.{MINOR}: upgrade gantry-dataplane"
        )),
    }
}

fn code(reason: Option<Reason>) -> Code {
    match reason {
        None | Some(Reason::Fenced) => Code::Unavailable,
        Some(Reason::Exists) => Code::AlreadyExists,
        Some(Reason::NotFound) => Code::NotFound,
        Some(Reason::Full) => Code::ResourceExhausted,
        Some(Reason::Invalid) => Code::InvalidArgument,
        Some(Reason::Version) => Code::Unimplemented,
        Some(Reason::Malformed | Reason::Device) => Code::Internal,
    }
}
