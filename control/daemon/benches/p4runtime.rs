//! Entries a second through everything: a P4Runtime client, gantryd, the channel's socket, housekeeping and an lcore.
//!
//! `cargo test -p gantryd --bench p4runtime` (or `cargo bench`, which builds it optimized). gantryd is the process itself; the data
//! plane is the simulator's card in a thread behind a real `SOCK_SEQPACKET` socket. The client writes batches of 1,000 one after
//! the other. It fails below 50,000 entries a second.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use gantry::channel::FRAME_MAX;
use gantry::packet;
use gantry_p4_proto::runtime::entity::Entity as E;
use gantry_p4_proto::runtime::field_match::{self, FieldMatchType};
use gantry_p4_proto::runtime::p4_runtime_client::P4RuntimeClient;
use gantry_p4_proto::runtime::stream_message_request::Update as Request;
use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{
    Action, Entity, FieldMatch, MasterArbitrationUpdate, StreamMessageRequest, TableAction, TableEntry, Uint128,
    Update, WriteRequest, table_action, update,
};
use gantry_pipeline::state::Sizes;
use gantry_sim::card::Card;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

const SIZES: Sizes = Sizes { qps: 4, commands: 64, pages: 64, namespaces: 8, addresses: 4 };
/// Updates of one Write.
const BATCH: u32 = 1000;
/// Entries that are inserted and deleted again in one round.
const ENTRIES: u32 = 4000;
const ROUNDS: u32 = 20;
/// Entries a second that it has to reach.
const AIM: f64 = 50_000.0;
const PATIENCE: Duration = Duration::from_secs(30);

/// gantryd, which ends with the benchmark.
struct Gantryd(Child);

impl Drop for Gantryd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves one session with a card.
fn data_plane(path: PathBuf, ready: std::sync::mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut listener = UnixSeqpacketListener::bind(&path).expect("the channel's socket");
        ready.send(()).expect("somebody waits");
        let socket: UnixSeqpacket = listener.accept().await.expect("gantryd connects");
        let mut card = Card::new(0, 1, SIZES, 5, 1);
        let start = Instant::now();
        let mut buffer = [0; FRAME_MAX];
        loop {
            let heard = tokio::time::timeout(Duration::from_millis(1), socket.recv(&mut buffer)).await;
            let now_ns = start.elapsed().as_nanos() as u64;
            match heard {
                Ok(Ok(info)) if info.bytes_read() > 0 => {
                    card.housekeeping.handle_frame(now_ns, &buffer[..info.bytes_read()]);
                }
                Ok(_) => return,
                Err(_) => {}
            }
            card.keep_house(now_ns);
            card.poll_lcores(now_ns);
            card.keep_house(now_ns);
            while let Some(frame) = card.housekeeping.poll_frame() {
                if socket.send(&frame).await.is_err() {
                    return;
                }
            }
        }
    });
}

fn entry(number: u32) -> TableEntry {
    let table = packet::TABLES.iter().find(|table| table.name == "PacketControl.tenants").expect("the table");
    let value = match number.to_be_bytes() {
        [_, _, 0, low] => vec![low],
        [_, _, high, low] => vec![high, low],
    };
    let exact = FieldMatchType::Exact(field_match::Exact { value });
    let action = Action { action_id: table.actions[0].id, params: Vec::new() };
    TableEntry {
        table_id: table.id,
        r#match: vec![FieldMatch { field_id: 1, field_match_type: Some(exact) }],
        action: Some(TableAction { r#type: Some(table_action::Type::Action(action)) }),
        ..TableEntry::default()
    }
}

fn batch(kind: update::Type, first: u32) -> WriteRequest {
    let update =
        |number| Update { r#type: kind.into(), entity: Some(Entity { entity: Some(E::TableEntry(entry(number))) }) };
    WriteRequest {
        device_id: 1,
        election_id: Some(Uint128 { high: 0, low: 1 }),
        updates: (first..first + BATCH).map(update).collect(),
        atomicity: Atomicity::DataplaneAtomic.into(),
        ..WriteRequest::default()
    }
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let channel = folder.path().join("channel");
    let (ready, is_ready) = std::sync::mpsc::channel();
    let path = channel.clone();
    let card = std::thread::spawn(move || data_plane(path, ready));
    is_ready.recv().expect("the data plane listens");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let config = folder.path().join("gantry.toml");
    let text =
        format!("[dataplane]\nchannel = \"{}\"\n[p4runtime]\nlisten = \"127.0.0.1:{port}\"\n", channel.display());
    std::fs::write(&config, text).expect("a configuration");
    let gantryd =
        Command::new(env!("CARGO_BIN_EXE_gantryd")).arg("--config").arg(&config).stdout(Stdio::null()).spawn();
    let gantryd = Gantryd(gantryd.expect("gantryd runs"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rate = runtime.block_on(rate(port));
    drop(gantryd);
    card.join().expect("the data plane ends with the session");
    println!("{rate:.0} entries/s in batches of {BATCH}, insertions and deletions ({} in all)", 2 * ENTRIES * ROUNDS);
    if rate < AIM {
        eprintln!("fewer than {AIM:.0} entries a second");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn rate(port: u16) -> f64 {
    let started = Instant::now();
    let mut client = loop {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
        match endpoint.connect().await {
            Ok(connection) => break P4RuntimeClient::new(connection),
            Err(error) => assert!(started.elapsed() < PATIENCE, "gantryd does not serve: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (say, said) = tokio::sync::mpsc::channel(1);
    let election_id = Some(Uint128 { high: 0, low: 1 });
    let update = MasterArbitrationUpdate { device_id: 1, election_id, ..MasterArbitrationUpdate::default() };
    say.send(StreamMessageRequest { update: Some(Request::Arbitration(update)) }).await.expect("room");
    let mut stream = client.stream_channel(ReceiverStream::new(said)).await.expect("a stream").into_inner();
    stream.message().await.expect("an answer");
    // The session with the data plane may still be on its way.
    while let Err(status) = client.write(batch(update::Type::Insert, 0)).await {
        assert!(started.elapsed() < PATIENCE, "nothing can be written: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.write(batch(update::Type::Delete, 0)).await.expect("it goes again");
    let start = Instant::now();
    for _ in 0..ROUNDS {
        for kind in [update::Type::Insert, update::Type::Delete] {
            for first in (0..ENTRIES).step_by(BATCH as usize) {
                client.write(batch(kind, first)).await.expect("a batch is written");
            }
        }
    }
    f64::from(2 * ENTRIES * ROUNDS) / start.elapsed().as_secs_f64()
}
