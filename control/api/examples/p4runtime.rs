//! Serves a P4Info text file on a loopback port, with a data plane in memory: to try clients out.
//!
//! `cargo run -p gantry-api --example p4runtime -- tests/data/access.p4info.txt 9559`. Every two seconds it tells a packet and, if
//! somebody wants it, a digest: the shapes are those of that file.

#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use gantry_api::p4runtime::{
    ActionCall, ActionId, DigestId, Handle, Key, Limits, Match, MemoryPlane, Pipeline, Server, serve,
};
use gantry_p4_proto::text;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(port)) = (arguments.next(), arguments.next()) else {
        return Err("usage: p4runtime <P4Info text file> <port>".into());
    };
    let info = text::from_text(&std::fs::read_to_string(file)?)?;
    let qps =
        info.tables.iter().filter_map(|table| table.preamble.as_ref()).find(|preamble| preamble.name == "Main.qps");
    let qps = qps.map(|preamble| preamble.id);
    let digests: Vec<_> = info.digests.iter().filter_map(|digest| digest.preamble.as_ref()).map(|of| of.id).collect();
    let mut server = Server::new(1, Limits::default(), MemoryPlane::default(), Some(Pipeline::new(info, Vec::new())?));
    if let Some(table) = qps {
        let key = Key::new(0, [Match::Value(0x123)]);
        let action = ActionCall { action: ActionId(0x0100_0006), arguments: [2].into() };
        server.mirror(gantry_api::p4runtime::TableId(table), &key, Some(action))?;
    }
    let handle = Handle::new(server);
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("P4Runtime on {}", listener.local_addr()?);

    let tick = handle.clone();
    tokio::spawn(async move {
        for tick_number in 1_u128.. {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now_ns = tick.now_ns();
            tick.with(|server| {
                let has_packets = server.pipeline().is_some_and(|pipeline| {
                    pipeline.info().controller_packet_metadata.iter().any(|header| header.metadata.len() == 2)
                });
                if has_packets {
                    server.handle_packet_in(&[7, tick_number & 0xff], b"a packet for the client");
                }
                if let Some(digest) = digests.first() {
                    server.handle_digest(now_ns, DigestId(*digest), &[tick_number & 0xffff, 0x0a00_0001]);
                }
            });
        }
    });
    serve(handle, listener, std::future::pending()).await?;
    Ok(())
}
