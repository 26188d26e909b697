//! The channel's socket: connects, moves frames both ways, connects again until a newer control has the data plane.

use crate::p4runtime::Tables;
use gantry::channel::FRAME_MAX;
use gantry_api::p4runtime::exchange;
use gantry_control::{Control, Notice};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_seqpacket::UnixSeqpacket;
use tracing::{debug, info, warn};

/// First and longest wait before connecting again.
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a sleep may be: a deadline that never comes is looked at again.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Serves `control` on the socket at `path` until it is dropped, or fenced: then the data plane's words are the answer.
/// `tables` is who programs tables through it.
pub(crate) async fn serve(mut control: Control, path: &Path, tables: Option<&Tables>) -> String {
    if tables.is_some() {
        control.serve_tables();
    }
    let start = Instant::now();
    let mut wait = WAIT_FIRST;
    let mut silent = false;
    loop {
        match UnixSeqpacket::connect(path).await {
            Ok(socket) => {
                debug!("connected to {}", path.display());
                let ended = session(&mut control, &socket, start, tables).await;
                let (refused, fenced) = (control.session_refused(), control.is_fenced());
                control.disconnected(now_ns(start));
                carry(&mut control, tables);
                let refusal = log(&mut control, fenced);
                if fenced {
                    return refusal;
                }
                debug!("channel closed: {ended}");
                silent = false;
                wait = if refused { WAIT_MAX } else { WAIT_FIRST };
            }
            Err(error) if !silent => {
                info!("waiting for the data plane at {}: {error}", path.display());
                silent = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// One connection, until it breaks or is refused: why it ended.
async fn session(control: &mut Control, socket: &UnixSeqpacket, start: Instant, tables: Option<&Tables>) -> io::Error {
    let mut buffer = [0; FRAME_MAX];
    control.connected(now_ns(start));
    let mut outgoing = None;
    loop {
        if control.session_refused() {
            return io::Error::other("refused");
        }
        log(control, false);
        carry(control, tables);
        outgoing = outgoing.or_else(|| control.poll_frame());
        let now = now_ns(start);
        let due = Duration::from_nanos(control.deadline_ns().saturating_sub(now)).min(SLEEP_MAX);
        // Sending never keeps from receiving: both ends may have full buffers at once.
        tokio::select! {
            sent = socket.send(outgoing.as_deref().unwrap_or_default()), if outgoing.is_some() => match sent {
                Ok(_) => outgoing = None,
                Err(error) => return error,
            },
            received = socket.recv(&mut buffer) => match received {
                Ok(info) if info.bytes_read() == 0 => return io::ErrorKind::UnexpectedEof.into(),
                Ok(info) => {
                    // A frame that is refused is counted and noticed by control itself.
                    let _ = control.handle_frame(now_ns(start), &buffer[..info.bytes_read()]);
                }
                Err(error) => return error,
            },
            () = stirred(tables) => {}
            () = tokio::time::sleep(due) => control.on_deadline(now_ns(start)),
        }
    }
}

/// Brings what tables are to become to control, and what became of it back.
fn carry(control: &mut Control, tables: Option<&Tables>) {
    if let Some(tables) = tables {
        let now_ns = tables.now_ns();
        tables.quietly(|server| exchange(server, control, now_ns));
    }
}

/// Waits until somebody programs tables.
async fn stirred(tables: Option<&Tables>) {
    match tables {
        Some(tables) => tables.stirred().await,
        None => std::future::pending().await,
    }
}

fn now_ns(start: Instant) -> u64 {
    start.elapsed().as_nanos() as u64
}

/// Logs what there is to log. Of a control that is `fenced` the refusal is the answer: whoever ends it says so.
fn log(control: &mut Control, fenced: bool) -> String {
    let mut refusal = String::new();
    while let Some(notice) = control.poll_notice() {
        match notice {
            Notice::SessionRefused { text } if fenced => refusal = text,
            Notice::SessionOpened { .. }
            | Notice::PortUp { .. }
            | Notice::DriveReady { .. }
            | Notice::Connected { .. }
            | Notice::QueueConnected { .. }
            | Notice::Ended { .. } => info!("{notice}"),
            _ => warn!("{notice}"),
        }
    }
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry::channel::session::{Reason, Refused, Welcome};
    use gantry::channel::{Frame, Kind, emit};
    use gantry_control::{Configuration, Drive};
    use tokio_seqpacket::UnixSeqpacketListener;
    use zerocopy::{FromZeros, IntoBytes};

    async fn next(socket: &UnixSeqpacket) -> (Kind, u64) {
        let mut buffer = [0; FRAME_MAX];
        let length = socket.recv(&mut buffer).await.unwrap().bytes_read();
        let frame = Frame::parse(&buffer[..length]).unwrap();
        (frame.kind, frame.transaction)
    }

    async fn send(socket: &UnixSeqpacket, kind: Kind, transaction: u64, body: &[u8]) {
        socket.send(&emit(kind, transaction, body, &[])).await.unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn it_connects_serves_and_connects_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("channel");
        let drives = vec![Drive { name: "a".into(), uri: "mem:1M".into() }];
        let control = Control::new(Configuration { drives, ..Configuration::default() }, 1);
        let data_plane = async {
            // It is late: control waits for it.
            tokio::time::sleep(Duration::from_millis(120)).await;
            let mut listener = UnixSeqpacketListener::bind(&path).unwrap();
            let first = listener.accept().await.unwrap();
            assert_eq!(next(&first).await, (Kind::Hello, 0));
            let welcome = Welcome { major: 1.into(), qps: 16.into(), boot_id: 5.into(), ..Welcome::new_zeroed() };
            send(&first, Kind::Welcome, 0, welcome.as_bytes()).await;
            let (begin, id) = next(&first).await;
            assert_eq!(begin, Kind::Begin);
            for kind in [Kind::DriveAdd, Kind::Prepare] {
                assert_eq!(next(&first).await, (kind, id));
            }
            send(&first, Kind::Prepared, id, &[]).await;
            assert_eq!(next(&first).await, (Kind::Commit, id));
            // It goes away without an answer, and comes back.
            drop(first);
            let second = listener.accept().await.unwrap();
            assert_eq!(next(&second).await, (Kind::Hello, 0));
            send(&second, Kind::Welcome, 0, welcome.as_bytes()).await;
            for kind in [Kind::Begin, Kind::DriveAdd, Kind::Prepare] {
                assert_eq!(next(&second).await, (kind, id + 1));
            }
        };
        tokio::select! {
            text = serve(control, &path, None) => panic!("nobody fences it: {text}"),
            () = data_plane => {}
            () = tokio::time::sleep(Duration::from_secs(20)) => panic!("nothing came"),
        }
    }

    /// One that came before, one that comes after.
    #[tokio::test(flavor = "current_thread")]
    async fn it_ends_when_a_newer_control_has_the_data_plane() {
        for welcomed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("channel");
            let control = Control::new(Configuration::default(), 1);
            let mut listener = UnixSeqpacketListener::bind(&path).unwrap();
            let data_plane = async {
                let socket = listener.accept().await.unwrap();
                assert_eq!(next(&socket).await, (Kind::Hello, 0));
                if welcomed {
                    let welcome = Welcome { major: 1.into(), minor: 1.into(), ..Welcome::new_zeroed() };
                    send(&socket, Kind::Welcome, 0, welcome.as_bytes()).await;
                }
                let refused = Refused { reason: (Reason::Fenced as u16).into(), ..Refused::new_zeroed() };
                socket.send(&emit(Kind::Refused, 0, refused.as_bytes(), b"a newer control has it")).await.unwrap();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                text = serve(control, &path, None) => assert_eq!(text, "a newer control has it"),
                () = data_plane => unreachable!("it waits"),
                () = tokio::time::sleep(Duration::from_secs(20)) => panic!("it goes on"),
            }
        }
    }
}
