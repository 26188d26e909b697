//! The same through gRPC: whoever waits for the data plane is woken when it has answered.

use std::time::Duration;

use gantry_api::p4runtime::{ChannelPlane, Handle, Limits, Pipeline, Server, exchange, serve};
use gantry_control::{Configuration, Control};
use gantry_p4_proto::runtime::p4_runtime_client::P4RuntimeClient;
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::{
    Entity, MasterArbitrationUpdate, ReadRequest, StreamMessageRequest, TableEntry, Uint128, WriteRequest, entity,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::bed::{DEVICE, info, insert, table, tenant};
use crate::table_plane::TablePlane;

/// gantryd's loop, with a scripted data plane in the place of the socket.
async fn carry(handle: Handle<ChannelPlane>) {
    let mut control = Control::new(Configuration::default(), 9);
    control.serve_tables();
    control.connected(1);
    let mut plane = TablePlane::new();
    plane.owned.insert(table("PacketControl.qps"), Vec::new());
    loop {
        handle.quietly(|server| exchange(server, &mut control, 1));
        match control.poll_frame() {
            Some(frame) => {
                for answer in plane.take(&frame) {
                    control.handle_frame(1, &answer).expect("a sound frame");
                }
            }
            None => handle.stirred().await,
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn writes_and_reads_wait_for_the_data_plane_and_no_longer() {
    let pipeline = Pipeline::new(info(), Vec::new()).expect("it can be served");
    let plane = ChannelPlane::new(&pipeline);
    let handle = Handle::new(Server::new(DEVICE, Limits::default(), plane, Some(pipeline)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(serve(handle.clone(), listener, std::future::pending()));
    let client = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let mut client = P4RuntimeClient::new(endpoint.connect().await.expect("the server listens"));
        let (say, said) = tokio::sync::mpsc::channel(1);
        let election_id = Some(Uint128 { high: 0, low: 1 });
        let update = MasterArbitrationUpdate { device_id: DEVICE, election_id, ..MasterArbitrationUpdate::default() };
        say.send(StreamMessageRequest { update: Some(Request::Arbitration(update)) }).await.expect("room");
        let mut stream = client.stream_channel(ReceiverStream::new(said)).await.expect("a stream").into_inner();
        stream.message().await.expect("an answer");
        let updates = vec![insert(tenant(1)), insert(tenant(2))];
        let write = WriteRequest { device_id: DEVICE, election_id, updates, ..WriteRequest::default() };
        client.write(write).await.expect("it is written");
        // Tables with an owner among them, about which the data plane is asked.
        let all = Entity { entity: Some(entity::Entity::TableEntry(TableEntry::default())) };
        let read = ReadRequest { device_id: DEVICE, entities: vec![all], ..ReadRequest::default() };
        let mut answer = client.read(read).await.expect("it is read").into_inner();
        let mut found = 0;
        while let Some(message) = answer.message().await.expect("no failure") {
            found += message.entities.len();
        }
        found
    };
    tokio::select! {
        found = client => assert_eq!(found, 2),
        () = carry(handle) => unreachable!("it has no end"),
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("somebody waits for ever"),
    }
}
