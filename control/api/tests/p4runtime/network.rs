//! The same through gRPC on loopback: what only the network can spoil.

use std::time::Duration;

use gantry_api::p4runtime::{Code, Handle, serve};
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::p4_runtime_client::P4RuntimeClient;
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::stream_message_response::Update as Response;
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{
    CapabilitiesRequest, DigestEntry, Error, GetForwardingPipelineConfigRequest, SetForwardingPipelineConfigRequest,
    StreamMessageRequest, StreamMessageResponse, TableEntry, digest_entry, update,
};
use gantry_p4_proto::{Message as _, Status};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::fixture::{DENIALS, DEVICE, arbitration, insert, pipeline, read_request, request, route, update as entity};

const PATIENCE: Duration = Duration::from_secs(20);

type Plane = gantry_api::p4runtime::MemoryPlane;

async fn network() -> (Handle<Plane>, P4RuntimeClient<Channel>, oneshot::Sender<()>) {
    let limits = gantry_api::p4runtime::Limits::default();
    let server = gantry_api::p4runtime::Server::new(DEVICE, limits, Plane::default(), Some(pipeline()));
    let handle = Handle::new(server);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve(handle.clone(), listener, async move { drop(stopped.await) }));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.expect("the server listens");
    (handle, P4RuntimeClient::new(channel), stop)
}

struct Session {
    say: mpsc::Sender<StreamMessageRequest>,
    hear: Streaming<StreamMessageResponse>,
}

impl Session {
    async fn open(client: &mut P4RuntimeClient<Channel>, election: u64) -> Self {
        let (say, said) = mpsc::channel(8);
        let update = Some(Request::Arbitration(arbitration("", Some(election))));
        say.send(StreamMessageRequest { update }).await.expect("room");
        let hear = client.stream_channel(ReceiverStream::new(said)).await.expect("a stream").into_inner();
        Self { say, hear }
    }

    async fn next(&mut self) -> Result<Option<Response>, tonic::Status> {
        let message = timeout(PATIENCE, self.hear.message()).await.expect("an answer in time")?;
        Ok(message.and_then(|message| message.update))
    }

    async fn status(&mut self) -> i32 {
        match self.next().await {
            Ok(Some(Response::Arbitration(update))) => update.status.expect("it has one").code,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_s_day() {
    let (handle, mut client, _stop) = network().await;
    let told = client.capabilities(CapabilitiesRequest { device_id: DEVICE }).await.expect("an answer").into_inner();
    assert_eq!(told.p4runtime_api_version, "1.5.0");
    let ask = GetForwardingPipelineConfigRequest { device_id: DEVICE, response_type: 0 };
    let config = client.get_forwarding_pipeline_config(ask).await.expect("an answer").into_inner().config;
    assert_eq!(config.as_ref().and_then(|config| config.p4info.as_ref()), Some(pipeline().info()));

    let mut session = Session::open(&mut client, 1).await;
    assert_eq!(session.status().await, 0);
    let updates = vec![insert(route(1)), insert(route(1)), insert(route(2))];
    let status = client.write(request(updates, Atomicity::ContinueOnError)).await.expect_err("one of them failed");
    assert_eq!(status.code(), tonic::Code::Unknown);
    let details = Status::decode(status.details()).expect("a google.rpc.Status");
    assert_eq!((details.code, details.message.as_str()), (Code::Unknown as i32, status.message()));
    let error = |any: &gantry_p4_proto::Any| {
        assert_eq!(any.type_url, "type.googleapis.com/p4.v1.Error");
        Error::decode(any.value.as_slice()).expect("a p4.v1.Error").canonical_code
    };
    let codes: Vec<_> = details.details.iter().map(error).collect();
    assert_eq!(codes, [0, Code::AlreadyExists as i32, 0]);

    let entity_of_all = E::TableEntry(TableEntry::default());
    let mut answer = client.read(read_request(vec![entity_of_all])).await.expect("an answer").into_inner();
    let mut found = 0;
    while let Some(portion) = answer.message().await.expect("no failure") {
        found += portion.entities.len();
    }
    assert_eq!(found, 3, "two routes and the program's own entry");

    let reconcile = SetForwardingPipelineConfigRequest {
        device_id: DEVICE,
        election_id: Some(crate::fixture::id(1)),
        action: 5,
        config,
        ..SetForwardingPipelineConfigRequest::default()
    };
    client.set_forwarding_pipeline_config(reconcile).await.expect("the same program");
    handle.with(|server| server.handle_packet_in(&[7, 1], b"frame"));
    assert!(matches!(session.next().await, Ok(Some(Response::Packet(packet))) if packet.payload == b"frame"));
}

#[tokio::test]
async fn a_failed_read_ends_with_its_errors_after_what_was_found() {
    let (_, mut client, _stop) = network().await;
    let wrong = TableEntry { table_id: 9, ..TableEntry::default() };
    let asked = read_request(vec![E::TableEntry(TableEntry::default()), E::TableEntry(wrong)]);
    let mut answer = client.read(asked).await.expect("it begins").into_inner();
    let first = answer.message().await.expect("what was found").expect("something");
    assert_eq!(first.entities.len(), 1);
    let status = answer.message().await.expect_err("then the failure");
    assert_eq!(status.code(), tonic::Code::Unknown);
    assert_eq!(Status::decode(status.details()).expect("a google.rpc.Status").details.len(), 2);
}

#[tokio::test]
async fn a_client_that_goes_leaves_its_place() {
    let (_, mut client, _stop) = network().await;
    let mut first = Session::open(&mut client, 2).await;
    assert_eq!(first.status().await, 0);
    let mut second = Session::open(&mut client, 1).await;
    assert_eq!(second.status().await, Code::AlreadyExists as i32);
    let mut same = Session::open(&mut client, 1).await;
    let refused = same.next().await.expect_err("the id is taken");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    drop(first);
    assert_eq!(second.status().await, Code::NotFound as i32);
    let update = Some(Request::Arbitration(arbitration("", Some(3))));
    second.say.send(StreamMessageRequest { update }).await.expect("the stream goes on");
    assert_eq!(second.status().await, 0);
}

#[tokio::test]
async fn digests_come_when_their_time_does() {
    let (handle, mut client, _stop) = network().await;
    let mut session = Session::open(&mut client, 1).await;
    assert_eq!(session.status().await, 0);
    let config = Some(digest_entry::Config { max_timeout_ns: 50_000_000, max_list_size: 10, ack_timeout_ns: 0 });
    let entry = E::DigestEntry(DigestEntry { digest_id: DENIALS.0, config });
    let updates = vec![entity(update::Type::Insert, entry)];
    client.write(request(updates, Atomicity::DataplaneAtomic)).await.expect("digests are told");
    let now_ns = handle.now_ns();
    handle.with(|server| {
        server.handle_digest(now_ns, DENIALS, &[1, 1]);
        server.handle_digest(now_ns, DENIALS, &[2, 1]);
    });
    match session.next().await {
        Ok(Some(Response::Digest(list))) => assert_eq!(list.data.len(), 2),
        other => panic!("{other:?}"),
    }
    assert!(handle.now_ns() - now_ns >= 50_000_000, "not before");
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_no_more_than_the_bound() {
    let (handle, mut client, _stop) = network().await;
    let mut session = Session::open(&mut client, 1).await;
    assert_eq!(session.status().await, 0);
    for _ in 0..2000 {
        handle.with(|server| server.handle_packet_in(&[1, 1], &[0; 10_000]));
        tokio::task::yield_now().await;
    }
    let mut heard = 0;
    while let Ok(message) = timeout(Duration::from_millis(500), session.hear.message()).await {
        assert!(message.expect("the stream goes on").is_some());
        heard += 1;
    }
    assert!((100..2000).contains(&heard), "{heard} of 2000: what fits, and the rest is dropped");
    handle.with(|server| server.handle_packet_in(&[1, 1], b"after"));
    assert!(matches!(session.next().await, Ok(Some(Response::Packet(packet))) if packet.payload == b"after"));
}

#[tokio::test]
async fn the_server_ends_when_it_is_told_to() {
    let (_, mut client, stop) = network().await;
    stop.send(()).expect("it runs");
    let ended = async {
        while client.capabilities(CapabilitiesRequest { device_id: DEVICE }).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("calls fail soon");
}
