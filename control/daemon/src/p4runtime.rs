//! P4Runtime's place in the process: the server over the channel's tables, and where it listens.

use crate::config::{Listen, P4Runtime};
use gantry_api::p4runtime::{
    ActionCall, ActionId, ChannelPlane, Handle, Initial, Key, Limits, Match, Pipeline, Server, TableId, serve,
    serve_unix,
};
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
    let pipeline = Pipeline::new(info, Vec::new()).and_then(|pipeline| pipeline.with_entries(own_entries()));
    let pipeline = pipeline.expect("the build's P4Info can be served");
    Handle::new(Server::new(device_id, Limits::default(), ChannelPlane::new(&pipeline), Some(pipeline)))
}

/// The entries that a program brings, as the server has them.
macro_rules! entries_of {
    ($program:ident) => {
        gantry::$program::ENTRIES.iter().map(|own| Initial {
            table: TableId(own.table),
            key: Key::new(
                own.priority,
                own.matches
                    .iter()
                    .map(|wanted| match *wanted {
                        gantry::$program::Match::Any => Match::Any,
                        gantry::$program::Match::Value(value) => Match::Value(value),
                        gantry::$program::Match::Prefix { value, length } => Match::Prefix { value, length },
                        gantry::$program::Match::Mask { value, mask } => Match::Mask { value, mask },
                        gantry::$program::Match::Range { low, high } => Match::Range { low, high },
                    })
                    .collect::<Vec<_>>(),
            ),
            action: ActionCall { action: ActionId(own.action), arguments: own.arguments.into() },
            is_const: true,
        })
    };
}

/// The entries that both programs bring.
fn own_entries() -> Vec<Initial> {
    entries_of!(packet).chain(entries_of!(command)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What it would say is broken otherwise, it says at start only.
    #[test]
    fn the_builds_programs_can_be_served_with_their_entries() {
        let own = own_entries();
        assert!(own.len() > 20, "opcodes of both programs: {}", own.len());
        drop(tables(1));
    }
}
