//! A server of a small program (`data/access.p4info.txt`) with a primary, and messages for it.

use gantry_api::p4runtime::{
    ActionCall, ActionId, At, Code, DigestId, Failure, Initial, Key, Limits, Match, MemoryPlane, MeterId, Output,
    Pipeline, Portion, Refusal, Server, StreamId, TableId,
};
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::field_match::{self, FieldMatchType};
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{
    Action, Entity, FieldMatch, Index, MasterArbitrationUpdate, ReadRequest, Role, SetForwardingPipelineConfigRequest,
    StreamMessageRequest, StreamMessageResponse, TableAction, TableEntry, Uint128, Update, WriteRequest, action,
    table_action, update,
};
use gantry_p4_proto::text;

pub(crate) const DEVICE: u64 = 1;
pub(crate) const ACCESS: TableId = TableId(0x0200_0001);
pub(crate) const ROUTES: TableId = TableId(0x0200_0002);
pub(crate) const QPS: TableId = TableId(0x0200_0003);
pub(crate) const OPCODES: TableId = TableId(0x0200_0004);
pub(crate) const ALLOW: u32 = 0x0100_0001;
pub(crate) const DENY: u32 = 0x0100_0002;
pub(crate) const MARK: u32 = 0x0100_0003;
pub(crate) const UNKNOWN: u32 = 0x0100_0004;
pub(crate) const NEXT_HOP: u32 = 0x0100_0005;
pub(crate) const TO_QP: u32 = 0x0100_0006;
pub(crate) const DROPPED: u32 = 0x1200_0001;
pub(crate) const TENANTS: MeterId = MeterId(0x1400_0001);
pub(crate) const GENERATION: u32 = 0x1600_0001;
pub(crate) const DENIALS: DigestId = DigestId(0x1700_0001);

pub(crate) type TestServer = Server<MemoryPlane>;

pub(crate) fn pipeline() -> Pipeline {
    let info = text::from_text(include_str!("../data/access.p4info.txt")).expect("the test's P4Info");
    let own = Initial {
        table: OPCODES,
        key: Key::new(0, [Match::Value(0x2a)]),
        action: ActionCall { action: ActionId(ALLOW), arguments: [].into() },
        is_const: true,
    };
    Pipeline::new(info, b"the program".to_vec()).expect("it can be served").with_entries(vec![own]).expect("it fits")
}

/// A server whose primary has election id 1, on the stream given.
pub(crate) fn server() -> (TestServer, StreamId) {
    let mut server = Server::new(DEVICE, Limits::default(), MemoryPlane::default(), Some(pipeline()));
    let stream = server.open_stream().expect("room for a stream");
    arbitrate(&mut server, stream, "", Some(1));
    assert_eq!(statuses(&mut server, stream), [(Code::Ok, Some(1))]);
    (server, stream)
}

/// Calls of a server whose data plane takes no time.
pub(crate) trait AtOnce {
    fn write(&mut self, request: &WriteRequest) -> Result<(), Failure>;
    fn set_config(&mut self, request: &SetForwardingPipelineConfigRequest) -> Result<(), Refusal>;
}

impl AtOnce for TestServer {
    fn write(&mut self, request: &WriteRequest) -> Result<(), Failure> {
        let call = self.submit_write(request.clone());
        self.take_outcome(call).expect("it is over at once")
    }

    fn set_config(&mut self, request: &SetForwardingPipelineConfigRequest) -> Result<(), Refusal> {
        let call = self.submit_config(request.clone());
        let outcome = self.take_outcome(call).expect("it is over at once");
        outcome.map_err(|failure| {
            assert!(failure.errors.is_empty());
            failure.refusal
        })
    }
}

pub(crate) fn id(low: u64) -> Uint128 {
    Uint128 { high: 0, low }
}

pub(crate) fn arbitration(role: &str, election: Option<u64>) -> MasterArbitrationUpdate {
    MasterArbitrationUpdate {
        device_id: DEVICE,
        role: (!role.is_empty()).then(|| Role { name: role.into(), ..Role::default() }),
        election_id: election.map(id),
        status: None,
    }
}

pub(crate) fn say(server: &mut TestServer, stream: StreamId, update: Request) {
    server.handle_stream(stream, StreamMessageRequest { update: Some(update) });
}

pub(crate) fn arbitrate(server: &mut TestServer, stream: StreamId, role: &str, election: Option<u64>) {
    say(server, stream, Request::Arbitration(arbitration(role, election)));
}

/// Everything that a stream has.
pub(crate) fn outputs(server: &mut TestServer, stream: StreamId) -> Vec<Output> {
    std::iter::from_fn(|| server.poll_stream(stream)).collect()
}

pub(crate) fn messages(server: &mut TestServer, stream: StreamId) -> Vec<StreamMessageResponse> {
    let message = |output| match output {
        Output::Message(message) => *message,
        Output::End(refusal) => panic!("the stream ends: {refusal}"),
    };
    outputs(server, stream).into_iter().map(message).collect()
}

/// The arbitration notices that a stream has, as status and highest election id.
pub(crate) fn statuses(server: &mut TestServer, stream: StreamId) -> Vec<(Code, Option<u64>)> {
    use gantry_p4_proto::runtime::stream_message_response::Update;
    let notice = |message: StreamMessageResponse| match message.update {
        Some(Update::Arbitration(update)) => {
            let status = update.status.expect("every notice has a status");
            (code(status.code), update.election_id.map(|id| id.low))
        }
        other => panic!("{other:?}"),
    };
    messages(server, stream).into_iter().map(notice).collect()
}

/// How a stream ends.
pub(crate) fn ending(server: &mut TestServer, stream: StreamId) -> (Code, String) {
    match outputs(server, stream).pop() {
        Some(Output::End(refusal)) => (refusal.code, refusal.message),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn code(number: i32) -> Code {
    let all = [
        Code::Ok,
        Code::Unknown,
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
    ];
    all.into_iter().find(|code| *code as i32 == number).expect("a code that is used")
}

pub(crate) fn exact(field_id: u32, value: &[u8]) -> FieldMatch {
    let exact = field_match::Exact { value: value.to_vec() };
    FieldMatch { field_id, field_match_type: Some(FieldMatchType::Exact(exact)) }
}

pub(crate) fn ternary(field_id: u32, value: &[u8], mask: &[u8]) -> FieldMatch {
    let ternary = field_match::Ternary { value: value.to_vec(), mask: mask.to_vec() };
    FieldMatch { field_id, field_match_type: Some(FieldMatchType::Ternary(ternary)) }
}

pub(crate) fn lpm(field_id: u32, value: &[u8], prefix_len: i32) -> FieldMatch {
    let lpm = field_match::Lpm { value: value.to_vec(), prefix_len };
    FieldMatch { field_id, field_match_type: Some(FieldMatchType::Lpm(lpm)) }
}

pub(crate) fn range(field_id: u32, low: &[u8], high: &[u8]) -> FieldMatch {
    let range = field_match::Range { low: low.to_vec(), high: high.to_vec() };
    FieldMatch { field_id, field_match_type: Some(FieldMatchType::Range(range)) }
}

pub(crate) fn optional(field_id: u32, value: &[u8]) -> FieldMatch {
    let optional = field_match::Optional { value: value.to_vec() };
    FieldMatch { field_id, field_match_type: Some(FieldMatchType::Optional(optional)) }
}

pub(crate) fn act(action_id: u32, arguments: &[&[u8]]) -> Option<TableAction> {
    let params =
        (1..).zip(arguments).map(|(param_id, value)| action::Param { param_id, value: value.to_vec() }).collect();
    Some(TableAction { r#type: Some(table_action::Type::Action(Action { action_id, params })) })
}

/// An entry of the access list: a whole match, so that tests change one thing.
pub(crate) fn access(priority: i32) -> TableEntry {
    TableEntry {
        table_id: ACCESS.0,
        r#match: vec![ternary(1, &[10, 0, 0, 0], &[255, 0, 0, 0]), range(2, &[1, 0], &[2, 0]), optional(3, &[7])],
        action: act(DENY, &[]),
        priority,
        ..TableEntry::default()
    }
}

pub(crate) fn access_key(priority: i32) -> Key {
    let mask = Match::Mask { value: 0x0a00_0000, mask: 0xff00_0000 };
    Key::new(priority, [mask, Match::Range { low: 0x100, high: 0x200 }, Match::Value(7)])
}

pub(crate) fn access_at(priority: i32) -> At {
    At::Entry(access_key(priority))
}

pub(crate) fn route(third: u8) -> TableEntry {
    TableEntry {
        table_id: ROUTES.0,
        r#match: vec![lpm(1, &[10, 0, third, 0], 24)],
        action: act(NEXT_HOP, &[&[1, third]]),
        ..TableEntry::default()
    }
}

pub(crate) fn default_entry(table: TableId, action: Option<TableAction>) -> TableEntry {
    TableEntry { table_id: table.0, action, is_default_action: true, ..TableEntry::default() }
}

pub(crate) fn update(kind: update::Type, entity: E) -> Update {
    Update { r#type: kind.into(), entity: Some(Entity { entity: Some(entity) }) }
}

pub(crate) fn insert(entry: TableEntry) -> Update {
    update(update::Type::Insert, E::TableEntry(entry))
}

pub(crate) fn modify(entry: TableEntry) -> Update {
    update(update::Type::Modify, E::TableEntry(entry))
}

pub(crate) fn delete(entry: TableEntry) -> Update {
    update(update::Type::Delete, E::TableEntry(entry))
}

pub(crate) fn request(updates: Vec<Update>, atomicity: Atomicity) -> WriteRequest {
    WriteRequest {
        device_id: DEVICE,
        election_id: Some(id(1)),
        updates,
        atomicity: atomicity.into(),
        ..WriteRequest::default()
    }
}

pub(crate) fn index(index: i64) -> Option<Index> {
    Some(Index { index })
}

/// Writes each update by itself; the code of each.
pub(crate) fn write(server: &mut TestServer, updates: Vec<Update>) -> Vec<Code> {
    let many = updates.len();
    codes(many, server.write(&request(updates, Atomicity::ContinueOnError)))
}

/// The code of each of so many updates.
pub(crate) fn codes(many: usize, outcome: Result<(), Failure>) -> Vec<Code> {
    match outcome {
        Ok(()) => vec![Code::Ok; many],
        Err(failure) => {
            assert_eq!(failure.refusal.code, Code::Unknown, "{failure:?}");
            assert_eq!(failure.errors.len(), many);
            failure.errors.iter().map(|error| code(error.canonical_code)).collect()
        }
    }
}

/// Writes one update; its code.
pub(crate) fn write_one(server: &mut TestServer, update: Update) -> Code {
    write(server, vec![update])[0]
}

pub(crate) fn read_request(entities: Vec<E>) -> ReadRequest {
    let entities = entities.into_iter().map(|entity| Entity { entity: Some(entity) }).collect();
    ReadRequest { device_id: DEVICE, entities, ..ReadRequest::default() }
}

/// What a Read finds, and the codes of its requests if one failed.
pub(crate) fn read(server: &mut TestServer, request: &ReadRequest) -> (Vec<E>, Vec<Code>) {
    let mut reading = server.read(request).expect("the request as a whole is right");
    let (mut found, mut codes_of) = (Vec::new(), vec![Code::Ok; request.entities.len()]);
    loop {
        match server.read_on(&mut reading) {
            Portion::Message(portion) => found.extend(portion.entities.into_iter().filter_map(|entity| entity.entity)),
            Portion::Failed(failure) => codes_of = codes(request.entities.len(), Err(failure)),
            Portion::Over => return (found, codes_of),
            Portion::Waits => panic!("the data plane takes no time"),
        }
    }
}

/// What one entity of a Read finds; it succeeds.
pub(crate) fn read_one(server: &mut TestServer, entity: E) -> Vec<E> {
    let (found, codes) = read(server, &read_request(vec![entity]));
    assert_eq!(codes, [Code::Ok]);
    found
}

pub(crate) fn entries(server: &mut TestServer, asked: TableEntry) -> Vec<TableEntry> {
    let entry = |entity| match entity {
        E::TableEntry(entry) => entry,
        other => panic!("{other:?}"),
    };
    read_one(server, E::TableEntry(asked)).into_iter().map(entry).collect()
}
