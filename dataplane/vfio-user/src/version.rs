//! What both ends agree on first: the protocol's version and what each can take. vfio-user protocol, "VFIO_USER_VERSION": a
//! [`Version`] and JSON, NUL-terminated.

use serde_json::{Value, json};
use zerocopy::{FromBytes, IntoBytes};

use crate::Error;
use crate::message::Version;

/// The version spoken here.
pub const MAJOR: u16 = 0;
/// Its minor.
pub const MINOR: u16 = 1;

/// Descriptors that this project takes in one message: as many as QEMU lets a server admit to.
pub const FDS_MAX: usize = 16;
/// Data bytes that it sends and takes in one message: the protocol's default.
pub const DATA_MAX: usize = 1 << 20;
/// Bytes of JSON that are read.
const JSON_MAX: usize = 4096;

/// What the other end speaks and can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Its minor.
    pub minor: u16,
    /// Descriptors in one message, at least 1.
    pub fds: usize,
    /// Data bytes in one message, at least 8 and at most [`DATA_MAX`].
    pub data_bytes: usize,
}

impl Default for Limits {
    /// What an end takes that says nothing.
    fn default() -> Self {
        Self { minor: MINOR, fds: 1, data_bytes: DATA_MAX }
    }
}

/// The body of this project's VERSION, as either end; a server's `minor` is no larger than its client's, and `dma_maps` is how
/// many mappings it keeps.
#[must_use]
pub fn emit(minor: u16, dma_maps: Option<usize>) -> Vec<u8> {
    let mut capabilities = json!({ "max_msg_fds": FDS_MAX, "max_data_xfer_size": DATA_MAX, "pgsizes": 4096 });
    if let Some(maps) = dma_maps {
        capabilities["max_dma_maps"] = maps.into();
    }
    let version = Version { major: MAJOR.into(), minor: minor.into() };
    let mut body = version.as_bytes().to_vec();
    body.extend_from_slice(json!({ "capabilities": capabilities }).to_string().as_bytes());
    body.push(0);
    body
}

/// Reads the other end's VERSION.
///
/// # Errors
/// [`Error::Version`] for another major, [`Error::Protocol`] for what is none.
pub fn parse(body: &[u8]) -> Result<Limits, Error> {
    let (version, json) =
        Version::read_from_prefix(body).map_err(|_| Error::Protocol("a version of less than 4 bytes"))?;
    if version.major.get() != MAJOR {
        return Err(Error::Version { major: version.major.get(), minor: version.minor.get() });
    }
    let end = json.iter().position(|&byte| byte == 0).unwrap_or(json.len());
    if end > JSON_MAX {
        return Err(Error::Protocol("capabilities of more than 4096 bytes"));
    }
    let json: Value = match &json[..end] {
        [] => Value::Null,
        text => serde_json::from_slice(text).map_err(|_| Error::Protocol("capabilities that are no JSON"))?,
    };
    let number = |name: &str| json["capabilities"][name].as_u64().map(|value| value.min(1 << 30) as usize);
    let mut limits = Limits { minor: version.minor.get(), ..Limits::default() };
    if let Some(fds) = number("max_msg_fds") {
        limits.fds = fds.max(1);
    }
    if let Some(bytes) = number("max_data_xfer_size") {
        if bytes < 8 {
            return Err(Error::Protocol("a data size of less than a register"));
        }
        limits.data_bytes = bytes.min(DATA_MAX);
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(major: u16, json: &[u8]) -> Vec<u8> {
        [Version { major: major.into(), minor: 1.into() }.as_bytes(), json].concat()
    }

    #[test]
    fn what_is_said_is_heard() {
        assert_eq!(parse(&emit(1, None)).unwrap(), Limits { minor: 1, fds: FDS_MAX, data_bytes: DATA_MAX });
        assert_eq!(parse(&emit(0, Some(4096))).unwrap(), Limits { minor: 0, ..parse(&emit(1, None)).unwrap() });
        assert_eq!(emit(0, Some(1)).last(), Some(&0));
        let small = body(0, b"{\"capabilities\":{\"max_msg_fds\":0,\"max_data_xfer_size\":64}}\0");
        assert_eq!(parse(&small).unwrap(), Limits { minor: 1, fds: 1, data_bytes: 64 });
    }

    #[test]
    fn who_says_nothing_takes_the_defaults() {
        for json in [b"".as_slice(), b"\0", b"{}\0", b"{\"capabilities\":[]}", b"{\"capabilities\":{\"x\":1}}\0\0"] {
            assert_eq!(parse(&body(0, json)).unwrap(), Limits::default(), "{}", String::from_utf8_lossy(json));
        }
    }

    #[test]
    fn another_protocol_is_told_apart_from_noise() {
        assert_eq!(parse(&body(3, b"{}\0")).unwrap_err(), Error::Version { major: 3, minor: 1 });
        for json in [b"{".as_slice(), b"\xff\0", &[b'['; 4000], &[b' '; 5000]] {
            assert!(matches!(parse(&body(0, json)), Err(Error::Protocol(_))));
        }
        assert!(matches!(parse(&[0, 0, 1]), Err(Error::Protocol(_))));
        let tiny = body(0, b"{\"capabilities\":{\"max_data_xfer_size\":4}}");
        assert!(matches!(parse(&tiny), Err(Error::Protocol(_))));
    }
}
