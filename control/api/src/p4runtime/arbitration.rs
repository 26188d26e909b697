//! Streams, and which of a role's clients is the primary (P4Runtime 1.5.0 §5, §16).

use std::collections::VecDeque;

use gantry_p4_proto::runtime::stream_error::Details;
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::stream_message_response::Update as Response;
use gantry_p4_proto::runtime::{
    DigestListAckError, MasterArbitrationUpdate, PacketOutError, Role, StreamError, StreamMessageRequest,
    StreamMessageResponse, StreamOtherError,
};
use gantry_p4_proto::{Any, Message as _, Status};

use super::plane::Plane;
use super::role::Authority;
use super::server::{Server, election_id, number};
use super::status::{Code, Refusal, denied, exhausted, invalid, not_found, precondition, unsupported};

/// Bytes of a role's name.
const ROLE_NAME_BYTES_MAX: usize = 256;

/// A client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What a stream has for its client.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A message.
    Message(Box<StreamMessageResponse>),
    /// The stream ends with this; the server has forgotten it.
    End(Refusal),
}

/// A stream's state.
#[derive(Default)]
pub(super) struct Stream {
    /// The role, once the client has arbitrated.
    role: Option<String>,
    election: Option<u128>,
    outbox: VecDeque<StreamMessageResponse>,
    outbox_bytes: usize,
    end: Option<Refusal>,
}

/// What is known of a role. It stays when its clients go: election ids never go down.
#[derive(Default)]
pub(super) struct RoleState {
    config: Option<Any>,
    pub(super) authority: Authority,
    /// Of all primaries ever.
    pub(super) highest: Option<u128>,
    pub(super) primary: Option<StreamId>,
}

impl<P: Plane> Server<P> {
    /// A client has opened a stream.
    ///
    /// # Errors
    /// If there are too many.
    pub fn open_stream(&mut self) -> Result<StreamId, Refusal> {
        if self.streams.len() >= self.limits.streams {
            return Err(exhausted(format!("{} streams are open", self.streams.len())));
        }
        self.streams_ever += 1;
        let id = StreamId(self.streams_ever);
        self.streams.insert(id, Stream::default());
        Ok(id)
    }

    /// A stream is closed or broken. If it was a primary's, the role has none until somebody arbitrates.
    pub fn close_stream(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.remove(&id) {
            self.leave(id, stream.role);
        }
        self.ready.remove(&id);
    }

    /// What a stream has for its client next. After [`Output::End`] it has nothing more.
    pub fn poll_stream(&mut self, id: StreamId) -> Option<Output> {
        let stream = self.streams.get_mut(&id)?;
        if let Some(message) = stream.outbox.pop_front() {
            stream.outbox_bytes -= message.encoded_len();
            return Some(Output::Message(Box::new(message)));
        }
        let end = stream.end.clone()?;
        self.close_stream(id);
        Some(Output::End(end))
    }

    /// Streams that have got something for their clients since the last call.
    pub fn take_ready(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.ready).into_iter().collect()
    }

    /// A client says something on its stream.
    pub fn handle_stream(&mut self, id: StreamId, request: StreamMessageRequest) {
        if self.streams.get(&id).is_none_or(|stream| stream.end.is_some()) {
            return;
        }
        match request.update {
            Some(Request::Arbitration(update)) => {
                if let Err(refusal) = self.arbitrate(id, &update) {
                    self.end(id, refusal);
                }
            }
            Some(Request::Packet(packet)) => {
                let sent = self.may(id, Authority::packet_out).and_then(|()| self.packet_out(&packet));
                self.answer(id, sent, || Details::PacketOut(PacketOutError { packet_out: Some(packet) }));
            }
            Some(Request::DigestAck(ack)) => {
                let taken =
                    self.may(id, |authority| authority.covers(ack.digest_id)).and_then(|()| self.digest_ack(&ack));
                self.answer(id, taken, || Details::DigestListAck(DigestListAckError { digest_list_ack: Some(ack) }));
            }
            Some(Request::Other(other)) => {
                let refusal = unsupported(format!("messages of the type {} mean nothing here", other.type_url));
                self.answer(id, Err(refusal), || Details::Other(StreamOtherError { other: Some(other) }));
            }
            None => self.end(id, invalid("an empty message")),
        }
    }

    /// A stream's client is a primary whose role has that right.
    fn may(&self, id: StreamId, right: impl Fn(&Authority) -> bool) -> Result<(), Refusal> {
        let role = self.streams[&id].role.as_ref().and_then(|role| self.roles.get(role));
        match role.filter(|role| role.primary == Some(id)) {
            None => Err(denied("the client is not the primary")),
            Some(role) if !right(&role.authority) => Err(denied("this is not in the role's charge")),
            Some(_) => Ok(()),
        }
    }

    /// Tells a client that something it said on the stream was refused (§16.6).
    fn answer(&mut self, id: StreamId, outcome: Result<(), Refusal>, details: impl FnOnce() -> Details) {
        if let Err(Refusal { code, message }) = outcome {
            let error = StreamError {
                canonical_code: code as i32,
                message,
                space: "gantry".into(),
                details: Some(details()),
                ..StreamError::default()
            };
            self.tell(id, StreamMessageResponse { update: Some(Response::Error(error)) });
        }
    }

    /// Who is the primary (§5.3).
    fn arbitrate(&mut self, id: StreamId, update: &MasterArbitrationUpdate) -> Result<(), Refusal> {
        let current = self.streams[&id].role.clone();
        if update.device_id != self.device_id {
            let message = format!("this stream's device is {}, not {}", self.device_id, update.device_id);
            return Err(if current.is_some() { precondition(message) } else { not_found(message) });
        }
        let role = role_name(update.role.as_ref())?;
        if current.as_ref().is_some_and(|current| current != role) {
            return Err(precondition("a stream keeps its role: another role needs another stream"));
        }
        let config = update.role.as_ref().and_then(|role| role.config.clone());
        if role.is_empty() && config.is_some() {
            return Err(invalid("the role without a name is in charge of everything and has no config"));
        }
        let authority = Authority::new(config.as_ref(), self.pipeline.as_deref())?;
        let election = update.election_id.as_ref().map(number);
        if let Some(election) = election {
            let taken = |(other, stream): (&StreamId, &Stream)| {
                *other != id && stream.role.as_deref() == Some(role) && stream.election == Some(election)
            };
            if self.streams.iter().any(taken) {
                return Err(invalid(format!("election id {election} is used by another client of the role")));
            }
        }
        if !self.roles.contains_key(role) && self.roles.len() >= self.limits.roles {
            return Err(exhausted(format!("there are {} roles", self.roles.len())));
        }

        let stream = self.streams.get_mut(&id).expect("it was there above");
        stream.role = Some(role.to_owned());
        stream.election = election;
        let state = self.roles.entry(role.to_owned()).or_default();
        let was_primary = state.primary == Some(id);
        if election.is_some() && election >= state.highest {
            (state.highest, state.primary) = (election, Some(id));
            (state.config, state.authority) = (config, authority);
            self.notify(role, None);
        } else if was_primary {
            state.primary = None;
            self.notify(role, None);
        } else {
            self.notify(role, Some(id));
        }
        Ok(())
    }

    /// Tells a role's clients, or one of them, who is the primary (§5.4): the primary last.
    fn notify(&mut self, role: &str, only: Option<StreamId>) {
        let state = &self.roles[role];
        let primary = state.primary;
        let message = |to: StreamId| {
            let status = match primary {
                Some(primary) if primary == to => Status::default(),
                Some(_) => Refusal::new(Code::AlreadyExists, "another client is the primary").status(),
                None => not_found("there is no primary").status(),
            };
            let role = Role { name: role.to_owned(), config: state.config.clone(), ..Role::default() };
            let update = MasterArbitrationUpdate {
                device_id: self.device_id,
                role: (!role.name.is_empty()).then_some(role),
                election_id: state.highest.map(election_id),
                status: Some(status),
            };
            StreamMessageResponse { update: Some(Response::Arbitration(update)) }
        };
        let members = self.streams.iter().filter(|(_, stream)| stream.role.as_deref() == Some(role)).map(|(id, _)| *id);
        let mut to: Vec<_> = members.filter(|id| only.is_none_or(|only| only == *id)).collect();
        to.sort_by_key(|id| Some(*id) == primary);
        let messages: Vec<_> = to.into_iter().map(|id| (id, message(id))).collect();
        for (id, message) in messages {
            if !self.tell(id, message) {
                self.end(id, exhausted("the client does not read what it is told"));
            }
        }
    }

    /// Puts a message into a stream's outbox; one without room drops it.
    fn tell(&mut self, id: StreamId, message: StreamMessageResponse) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return true };
        let bytes = message.encoded_len();
        let room = stream.outbox.len() < self.limits.messages_a_stream
            && stream.outbox_bytes + bytes <= self.limits.bytes_a_stream;
        if room {
            stream.outbox.push_back(message);
            stream.outbox_bytes += bytes;
            self.ready.insert(id);
        }
        room
    }

    /// Tells the primaries of all roles that have that right.
    pub(super) fn tell_primaries(&mut self, right: impl Fn(&Authority) -> bool, message: &StreamMessageResponse) {
        let primaries = self.roles.values().filter(|role| right(&role.authority)).filter_map(|role| role.primary);
        for id in primaries.collect::<Vec<_>>() {
            self.tell(id, message.clone());
        }
    }

    /// A stream is ended by the server; what it has already is still told.
    fn end(&mut self, id: StreamId, refusal: Refusal) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.end = Some(refusal);
        let role = stream.role.take();
        self.ready.insert(id);
        self.leave(id, role);
    }

    /// A client leaves its role.
    fn leave(&mut self, id: StreamId, role: Option<String>) {
        if let Some(role) = role
            && let Some(state) = self.roles.get_mut(&role)
            && state.primary == Some(id)
        {
            state.primary = None;
            self.notify(&role, None);
        }
    }
}

/// The role's name, empty for the one in charge of everything.
#[allow(deprecated)]
fn role_name(role: Option<&Role>) -> Result<&str, Refusal> {
    let Some(role) = role else { return Ok("") };
    if role.id != 0 {
        return Err(invalid("roles have names; the number is of the time before 1.4"));
    }
    if role.name.len() > ROLE_NAME_BYTES_MAX {
        return Err(invalid("the role's name is too long"));
    }
    Ok(&role.name)
}
