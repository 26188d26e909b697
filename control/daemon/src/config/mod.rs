//! The configuration file: TOML in, desired state out, and every mistake at once with its line and its remedy.
//!
//! ```text
//! [dataplane] channel
//! [[port]] name, device, addresses, vlan, mtu
//! [[drive]] name, uri
//! [[subsystem]] nqn, hosts, namespaces = [{ nsid, drive, uuid, read_only }]
//! [p4runtime] listen, device_id, without_authentication
//! ```

mod document;
mod problem;
mod sections;
#[cfg(test)]
mod tests;

pub(crate) use problem::Problems;

use document::Section;
use gantry_control::Configuration;
use problem::Found;
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::de::DeTable;

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The data plane's socket.
    pub(crate) channel: PathBuf,
    /// Everything that is to exist; its epoch is the caller's.
    pub(crate) desired: Configuration,
    /// P4Runtime, if it is to be served.
    pub(crate) p4runtime: Option<P4Runtime>,
}

/// How P4Runtime is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct P4Runtime {
    /// Where.
    pub(crate) listen: Listen,
    /// What clients call this device.
    pub(crate) device_id: u64,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// At a TCP port.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

/// Reads the text of `file`.
///
/// # Errors
/// [`Problems`]: every mistake, in the order of the lines.
pub(crate) fn parse(file: &str, text: &str) -> Result<Config, Problems> {
    let mut found = Found::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        found.add(error.span().unwrap_or(0..0), format!("not TOML: {message}"), "see https://toml.io for the syntax");
    }
    if found.is_empty() {
        let root = Section::root(document.get_ref());
        let config = sections::read(&root, &mut found);
        if let (Some(config), true) = (config, found.is_empty()) {
            return Ok(config);
        }
    }
    Err(found.into_problems(file, text))
}
