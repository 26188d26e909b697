//! Blobs: what a control must remember of a QP or a controller, kept by the data plane for the control that comes after.
//!
//! ```text
//! 0        2        4            8
//! | version| length | check      | version's own structs |
//! ```
//! Little-endian; `length` is the whole blob's; `check` is over everything behind it. A later version may say more; one
//! that this control does not know, or that is not as it was written, is refused, and its object taken down.

mod controller;
mod qp;

pub(crate) use controller::{CHANGED_MAX, ControllerBlob, Feature, encode_controller, parse_controller};
pub(crate) use qp::{QpBlob, encode_qp, parse_qp};

use crate::hash::fnv1a;
use gantry::channel::BLOB_MAX;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version that this control writes, of QPs' and of controllers' blobs.
const VERSION: u16 = 1;

#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct Head {
    version: U16,
    length: U16,
    check: U32,
}

/// Why a blob cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("nothing is remembered of it")]
    Missing,
    #[error("what is remembered of it is of version {0}, which this control does not know")]
    Version(u16),
    #[error("what is remembered of it is damaged")]
    Damaged,
}

fn check(content: &[u8]) -> u32 {
    let hash = fnv1a(content);
    (hash ^ hash >> 32) as u32
}

/// A blob of these parts.
fn seal(parts: &[&[u8]]) -> Vec<u8> {
    let length = size_of::<Head>() + parts.iter().map(|part| part.len()).sum::<usize>();
    assert!(length <= BLOB_MAX, "what is remembered is bounded");
    let mut blob = vec![0; size_of::<Head>()];
    parts.iter().for_each(|part| blob.extend_from_slice(part));
    let check = U32::new(check(&blob[size_of::<Head>()..]));
    let head = Head { version: U16::new(VERSION), length: U16::new(length as u16), check };
    blob[..size_of::<Head>()].copy_from_slice(head.as_bytes());
    blob
}

/// The parts of a blob, once it is found as it was written.
fn unseal(blob: &[u8]) -> Result<&[u8], Unreadable> {
    if blob.is_empty() {
        return Err(Unreadable::Missing);
    }
    let (version, _) = U16::read_from_prefix(blob).map_err(|_| Unreadable::Damaged)?;
    if version.get() != VERSION {
        return Err(Unreadable::Version(version.get()));
    }
    let (head, content) = Head::read_from_prefix(blob).map_err(|_| Unreadable::Damaged)?;
    let whole = usize::from(head.length.get()) == blob.len() && head.check.get() == check(content);
    if whole { Ok(content) } else { Err(Unreadable::Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_blob_of_another_version_is_told_from_a_damaged_one() {
        let mut blob = seal(&[b"abc", b"de"]);
        assert_eq!(unseal(&blob), Ok(&b"abcde"[..]));
        assert_eq!(unseal(&[]), Err(Unreadable::Missing));
        blob[0] = 2;
        assert_eq!(unseal(&blob), Err(Unreadable::Version(2)));
        assert_eq!(unseal(&blob[..3]), Err(Unreadable::Version(2)));
        assert_eq!(unseal(&[1]), Err(Unreadable::Damaged));
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unseen(content in proptest::collection::vec(any::<u8>(), 0..200), at: usize, bit in 0..8u8) {
            let mut blob = seal(&[&content]);
            let at = at % blob.len();
            blob[at] ^= 1 << bit;
            prop_assert!(unseal(&blob).is_err());
        }

        #[test]
        fn bytes_of_any_kind_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), sealed: bool) {
            let blob = if sealed { seal(&[&bytes]) } else { bytes };
            let _ = (parse_qp(&blob).is_ok(), parse_controller(&blob).is_ok());
        }
    }
}
