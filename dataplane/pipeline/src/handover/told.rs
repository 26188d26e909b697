//! How values that other crates own are told: as plain numbers and bytes.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// A fixed struct of a wire or of the channel: its bytes.
pub(crate) mod bytes {
    use core::marker::PhantomData;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;
    use zerocopy::{FromBytes, Immutable, IntoBytes};

    pub(crate) fn serialize<T: IntoBytes + Immutable, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(value.as_bytes())
    }

    pub(crate) fn deserialize<'de, T: FromBytes, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        struct Whole<T>(PhantomData<T>);
        impl<T: FromBytes> Visitor<'_> for Whole<T> {
            type Value = T;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{} bytes", size_of::<T>())
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
                T::read_from_bytes(bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        from.deserialize_bytes(Whole(PhantomData))
    }
}

/// An R_Key.
pub(crate) mod rkey {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use gantry_wire::ib::Rkey;

    pub(crate) fn serialize<S: Serializer>(rkey: &Rkey, to: S) -> Result<S::Ok, S::Error> {
        rkey.0.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Rkey, D::Error> {
        u32::deserialize(from).map(Rkey)
    }
}

/// A kind of event.
pub(crate) mod event_kind {
    use super::{Deserialize, Deserializer, Error, Serialize, Serializer};
    use gantry::channel::event::EventKind;

    pub(crate) fn serialize<S: Serializer>(kind: &EventKind, to: S) -> Result<S::Ok, S::Error> {
        (*kind as u16).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EventKind, D::Error> {
        EventKind::from_u16(u16::deserialize(from)?).ok_or_else(|| D::Error::custom("no such event"))
    }
}
