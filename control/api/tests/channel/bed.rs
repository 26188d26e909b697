//! Server, control and a data plane in one thread, with a client's hands.

use std::collections::VecDeque;

use gantry_api::p4runtime::{
    CallId, ChannelPlane, Code, Failure, Limits, Output, Pipeline, Portion, Server, StreamId, exchange,
};
use gantry_control::{Configuration, Control};
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::field_match::{self, FieldMatchType};
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{
    Action, Entity, FieldMatch, MasterArbitrationUpdate, ReadRequest, StreamMessageRequest, StreamMessageResponse,
    TableAction, TableEntry, Uint128, Update, WriteRequest, action, table_action, update,
};
use gantry_p4_proto::{Message as _, P4Info};

pub(crate) const DEVICE: u64 = 1;

/// A data plane at the other end of the channel.
pub(crate) trait Peer {
    /// Takes a frame of control; what it has to say.
    fn take(&mut self, datagram: &[u8]) -> Vec<Vec<u8>>;
    /// The channel is gone.
    fn hang_up(&mut self);
}

pub(crate) struct Bed<P> {
    pub(crate) server: Server<ChannelPlane>,
    pub(crate) control: Control,
    pub(crate) peer: P,
    pub(crate) stream: StreamId,
    to_control: VecDeque<Vec<u8>>,
}

pub(crate) fn info() -> P4Info {
    P4Info::decode(gantry::P4INFO).expect("the build's P4Info")
}

fn server() -> (Server<ChannelPlane>, StreamId) {
    let pipeline = Pipeline::new(info(), Vec::new()).expect("it can be served");
    let plane = ChannelPlane::new(&pipeline);
    let mut server = Server::new(DEVICE, Limits::default(), plane, Some(pipeline));
    let stream = server.open_stream().expect("room");
    let election_id = Some(Uint128 { high: 0, low: 1 });
    let update = MasterArbitrationUpdate { device_id: DEVICE, election_id, ..MasterArbitrationUpdate::default() };
    server.handle_stream(stream, StreamMessageRequest { update: Some(Request::Arbitration(update)) });
    while server.poll_stream(stream).is_some() {}
    (server, stream)
}

impl<P: Peer> Bed<P> {
    /// A session is open, and the client the primary.
    pub(crate) fn new(peer: P, configuration: Configuration) -> Self {
        let (server, stream) = server();
        let mut control = Control::new(configuration, 9);
        control.serve_tables();
        let mut bed = Self { server, control, peer, stream, to_control: VecDeque::new() };
        bed.connect();
        bed
    }

    pub(crate) fn connect(&mut self) {
        self.control.connected(1);
        self.pump();
    }

    pub(crate) fn disconnect(&mut self) {
        self.control.disconnected(1);
        self.peer.hang_up();
        self.to_control.clear();
        exchange(&mut self.server, &mut self.control, 1);
    }

    /// gantryd dies; another comes up at the same data plane.
    pub(crate) fn restart_gantryd(&mut self, epoch: u64) {
        self.peer.hang_up();
        self.to_control.clear();
        (self.server, self.stream) = server();
        let configuration = Configuration { epoch, ..self.control.configuration().clone() };
        self.control = Control::new(configuration, 10);
        self.control.serve_tables();
        self.connect();
    }

    /// Everything happens that can.
    pub(crate) fn pump(&mut self) {
        loop {
            exchange(&mut self.server, &mut self.control, 1);
            if let Some(frame) = self.control.poll_frame() {
                let said = self.peer.take(&frame);
                self.to_control.extend(said);
            } else if let Some(frame) = self.to_control.pop_front() {
                self.control.handle_frame(1, &frame).expect("a sound frame");
            } else {
                return;
            }
        }
    }

    /// Something that the data plane says by itself.
    pub(crate) fn says(&mut self, frame: &[u8]) {
        self.control.handle_frame(1, frame).expect("a sound frame");
        self.pump();
    }

    pub(crate) fn begin(&mut self, updates: Vec<Update>, atomicity: Atomicity) -> CallId {
        self.server.submit_write(WriteRequest {
            device_id: DEVICE,
            election_id: Some(Uint128 { high: 0, low: 1 }),
            updates,
            atomicity: atomicity.into(),
            ..WriteRequest::default()
        })
    }

    pub(crate) fn write(&mut self, updates: Vec<Update>, atomicity: Atomicity) -> Result<(), Failure> {
        let call = self.begin(updates, atomicity);
        self.pump();
        self.server.take_outcome(call).expect("it is over")
    }

    /// Writes, and it succeeds.
    pub(crate) fn must(&mut self, updates: Vec<Update>) {
        assert_eq!(self.write(updates, Atomicity::DataplaneAtomic), Ok(()));
    }

    pub(crate) fn read(&mut self, entity: E) -> Result<Vec<E>, Failure> {
        let entities = vec![Entity { entity: Some(entity) }];
        let mut reading = self.server.read(&ReadRequest { device_id: DEVICE, entities, ..ReadRequest::default() })?;
        let mut found = Vec::new();
        for _ in 0..10_000 {
            match self.server.read_on(&mut reading) {
                Portion::Message(message) => found.extend(message.entities.into_iter().filter_map(|one| one.entity)),
                Portion::Waits => self.pump(),
                Portion::Failed(failure) => return Err(failure),
                Portion::Over => return Ok(found),
            }
        }
        panic!("the Read has no end");
    }

    pub(crate) fn entries(&mut self, asked: TableEntry) -> Vec<TableEntry> {
        let found = self.read(E::TableEntry(asked)).expect("it can be read");
        let entry = |entity| match entity {
            E::TableEntry(entry) => entry,
            other => panic!("{other:?}"),
        };
        found.into_iter().map(entry).collect()
    }

    pub(crate) fn heard(&mut self) -> Vec<StreamMessageResponse> {
        let mut heard = Vec::new();
        while let Some(Output::Message(message)) = self.server.poll_stream(self.stream) {
            heard.push(*message);
        }
        heard
    }
}

/// The id of a table, by its name.
pub(crate) fn table(name: &str) -> u32 {
    let info = info();
    let named = info.tables.iter().filter_map(|table| table.preamble.as_ref()).find(|of| of.name == name);
    named.expect("a table of that name").id
}

fn action_id(name: &str) -> u32 {
    let info = info();
    let named = info.actions.iter().filter_map(|action| action.preamble.as_ref()).find(|of| of.name == name);
    named.expect("an action of that name").id
}

pub(crate) fn act(name: &str) -> Option<TableAction> {
    let action = Action { action_id: action_id(name), params: Vec::<action::Param>::new() };
    Some(TableAction { r#type: Some(table_action::Type::Action(action)) })
}

/// A tenant is policed.
pub(crate) fn tenant(number: u16) -> TableEntry {
    let value = match number.to_be_bytes() {
        [0, low] => vec![low],
        both => both.to_vec(),
    };
    let exact = FieldMatchType::Exact(field_match::Exact { value });
    TableEntry {
        table_id: table("PacketControl.tenants"),
        r#match: vec![FieldMatch { field_id: 1, field_match_type: Some(exact) }],
        action: act("PacketControl.police"),
        ..TableEntry::default()
    }
}

/// A source is kept out.
pub(crate) fn denied(source: u8) -> TableEntry {
    let ternary = field_match::Ternary { value: vec![source], mask: vec![0xff; 16] };
    let info = info();
    let declared = info.tables.iter().find(|of| of.preamble.as_ref().is_some_and(|of| of.name == ACCESS));
    let fields = &declared.expect("the table").match_fields;
    let field_id = fields.iter().find(|of| of.name == "source").expect("the field").id;
    TableEntry {
        table_id: table(ACCESS),
        r#match: vec![FieldMatch { field_id, field_match_type: Some(FieldMatchType::Ternary(ternary)) }],
        action: act("PacketControl.deny"),
        priority: 10,
        ..TableEntry::default()
    }
}

pub(crate) const ACCESS: &str = "PacketControl.access";

pub(crate) fn change(kind: update::Type, entity: E) -> Update {
    Update { r#type: kind.into(), entity: Some(Entity { entity: Some(entity) }) }
}

pub(crate) fn insert(entry: TableEntry) -> Update {
    change(update::Type::Insert, E::TableEntry(entry))
}

pub(crate) fn modify(entry: TableEntry) -> Update {
    change(update::Type::Modify, E::TableEntry(entry))
}

pub(crate) fn delete(entry: TableEntry) -> Update {
    change(update::Type::Delete, E::TableEntry(entry))
}

/// The codes of a failed batch's updates.
pub(crate) fn codes(outcome: Result<(), Failure>) -> Vec<i32> {
    let failure = outcome.expect_err("it failed");
    assert_eq!(failure.refusal.code, Code::Unknown);
    failure.errors.iter().map(|error| error.canonical_code).collect()
}
