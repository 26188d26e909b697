//! P4Info as text: protocol buffers' text format, which controllers read and people too.

use std::sync::LazyLock;

use prost_reflect::text_format::FormatOptions;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::P4Info;
use crate::config::P4TypeInfo;

/// Every descriptor of this crate, as protocol buffers have it: a `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Braces deeper than P4Info ever needs.
const DEPTH_MAX: usize = 32;

const INFO: &str = "p4.config.v1.P4Info";
const TYPES: &str = "p4.config.v1.P4TypeInfo";

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the build made these descriptors"));

/// Why a text is not P4Info.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not in protocol buffers' text format, or has fields that P4Info has not.
    #[error("not P4Info: {0}")]
    Format(String),
    /// Its braces go deeper than any P4Info's do.
    #[error("not P4Info: more than {DEPTH_MAX} levels of braces")]
    Depth,
}

/// All descriptors, for reflection.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).expect("p4info.proto declares it")
}

fn pretty(name: &str, message: &impl prost::Message) -> String {
    let mut dynamic = DynamicMessage::new(descriptor(name));
    dynamic.transcode_from(message).expect("the descriptors are of the same files as the types");
    let mut text = dynamic.to_text_format_with_options(&FormatOptions::new().pretty(true));
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// P4Info as text, a field a line. The same P4Info always gives the same text.
#[must_use]
pub fn to_text(info: &P4Info) -> String {
    let mut rest = info.clone();
    let types = rest.type_info.take();
    let mut text = pretty(INFO, &rest);
    if let Some(types) = types {
        text.push_str("type_info {\n");
        for part in parts(types) {
            for line in pretty(TYPES, &part).lines() {
                text.push_str("  ");
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push_str("}\n");
    }
    text
}

/// One message an entry: reflection does not keep the order of a map's entries.
fn parts(types: P4TypeInfo) -> Vec<P4TypeInfo> {
    let mut parts = Vec::new();
    macro_rules! each {
        ($($map:ident)*) => {$(
            for entry in types.$map {
                parts.push(P4TypeInfo { $map: [entry].into(), ..P4TypeInfo::default() });
            }
        )*};
    }
    each!(structs headers header_unions enums);
    if types.error.is_some() {
        parts.push(P4TypeInfo { error: types.error, ..P4TypeInfo::default() });
    }
    each!(serializable_enums new_types);
    parts
}

/// The P4Info that a text describes.
///
/// # Errors
/// If it describes none.
pub fn from_text(text: &str) -> Result<P4Info, Error> {
    if depth(text) > DEPTH_MAX {
        return Err(Error::Depth);
    }
    let message =
        DynamicMessage::parse_text_format(descriptor(INFO), text).map_err(|error| Error::Format(error.to_string()))?;
    Ok(message.transcode_to().expect("the descriptors are of the same files as the types"))
}

/// How deep braces go outside strings and comments; the parser itself would follow them with its stack.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'<' | b'[' => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b'>' | b']' => now = now.saturating_sub(1),
            b'#' => drop(bytes.by_ref().find(|byte| *byte == b'\n')),
            b'"' | b'\'' => {
                while let Some(inner) = bytes.next() {
                    if inner == b'\\' {
                        bytes.next();
                    } else if inner == byte || inner == b'\n' {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    most
}
