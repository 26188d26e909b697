//! Serves a P4Info text file on a loopback port, with a data plane in memory: to try clients out.
//!
//! `cargo run -p gantry-api --example p4runtime -- control/api/tests/data/access.p4info.txt 9559`. With that very file it has an
//! entry in control's table, and every two seconds tells a packet and, if somebody wants it, a digest.

#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use gantry_api::p4runtime::{
    ActionCall, ActionId, DigestId, Handle, Key, Limits, Match, MemoryPlane, Pipeline, Server, TableId, serve,
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
    let is_ours = info.pkg_info.as_ref().is_some_and(|program| program.name == "access");
    let mut server = Server::new(1, Limits::default(), MemoryPlane::default(), Some(Pipeline::new(info, Vec::new())?));
    if is_ours {
        let action = ActionCall { action: ActionId(0x0100_0006), arguments: [2].into() };
        server.mirror(TableId(0x0200_0003), &Key::new(0, [Match::Value(0x123)]), Some(action))?;
    }
    let handle = Handle::new(server);
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("P4Runtime on {}", listener.local_addr()?);
    if is_ours {
        tokio::spawn(tell(handle.clone()));
    }
    serve(handle, listener, std::future::pending()).await?;
    Ok(())
}

/// What a data plane would tell from time to time.
async fn tell(handle: Handle<MemoryPlane>) {
    for tick in 1_u128.. {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now_ns = handle.now_ns();
        handle.with(|server| {
            server.handle_packet_in(&[7, tick & 0xff], b"a packet for the client");
            server.handle_digest(now_ns, DigestId(0x1700_0001), &[tick & 0xffff, 0x0a00_0001]);
        });
    }
}
