//! P4Runtime's place in the process: the server over the channel's tables, and where it listens.

use crate::config::{Listen, P4Runtime};
use gantry_api::p4runtime::{ChannelPlane, Handle, Limits, Pipeline, Server, serve, serve_unix};
use gantry_p4_proto::{Message as _, P4Info};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tracing::{info, warn};

/// Wait before it is tried again to listen: a gantryd that is being replaced has the place for a moment.
const WAIT: Duration = Duration::from_millis(500);

/// The way to a server of both programs.
pub(crate) type Tables = Handle<ChannelPlane>;

/// A server of both programs, without a session yet.
///
/// # Panics
/// When the programs' P4Info cannot be served: the build is broken.
pub(crate) fn tables(device_id: u64) -> Tables {
    let info = P4Info::decode(gantry::P4INFO).expect("the build's P4Info");
    let pipeline = Pipeline::new(info, Vec::new()).expect("the build's P4Info can be served");
    Handle::new(Server::new(device_id, Limits::default(), ChannelPlane::new(&pipeline), Some(pipeline)))
}

/// Serves until it is dropped.
pub(crate) async fn listen(tables: Tables, config: P4Runtime) {
    let place = match &config.listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => path.display().to_string(),
    };
    let mut silent = false;
    loop {
        let served = match &config.listen {
            Listen::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => {
                    info!("P4Runtime is served at {place}");
                    serve(tables.clone(), listener, std::future::pending()).await.map_err(io::Error::other)
                }
                Err(error) => Err(error),
            },
            Listen::Unix(path) => match bind(path) {
                Ok(listener) => {
                    info!("P4Runtime is served at {place}");
                    serve_unix(tables.clone(), listener, std::future::pending()).await.map_err(io::Error::other)
                }
                Err(error) => Err(error),
            },
        };
        if let (Err(error), false) = (served, silent) {
            warn!("P4Runtime is not served at {place}, and it is tried again: {error}");
            silent = true;
        }
        tokio::time::sleep(WAIT).await;
    }
}

/// The socket, in the place of one that an earlier gantryd has left; for its owner only.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
