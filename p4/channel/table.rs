//! Tables, counters, meters and digests that P4Runtime clients program, and packets for them: minor version 2.
//!
//! ```text
//! in a transaction   TableWrite, MeterWrite, CounterWrite, DigestWrite      each entry of a TableWrite is one operation
//! asked              CounterRead -> Counters   SinceHit -> Hits   TableDump -> TableEntries    or Refused, under the same number
//! told               PacketIn, DigestData, Idle; at the session's beginning TableState, MeterState, DigestState
//! ```
//!
//! Objects go by the ids of the program's P4Info. The data plane keeps what clients have written and tells it to the next
//! control; a data plane that starts anew has nothing, and its control writes it again. Counts are not kept.

use super::{FRAME_MAX, FrameError, Header};
use alloc::vec::Vec;
use zerocopy::byteorder::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most fields of a key, and most arguments of an action.
pub const FIELDS_MAX: usize = 32;

/// Most bytes of an entry's or digest's note.
pub const NOTE_MAX: usize = 1280;

/// Most operations of one transaction.
pub const TRANSACTION_MAX: usize = 65_536;

/// Most bytes of a packet that goes to a client or comes from one; of a longer one the client gets the beginning.
pub const PACKET_MAX: usize = FRAME_MAX - size_of::<Header>() - size_of::<PacketIn>();

/// What becomes of an entry, as [`EntryHead::verb`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// A new entry; also an entry that is told of.
    Insert = 1,
    /// An entry gets another action. Its counter and meter go on.
    Modify = 2,
    /// An entry goes. Arguments and note are empty.
    Delete = 3,
    /// The default entry, which has no fields; action 0 is what the program says.
    Default = 4,
}

/// How a field is compared, as [`Field::kind`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// Not at all.
    Any = 0,
    /// Equal to `value`; of an exact or an optional field.
    Value = 1,
    /// Its first `length` bits.
    Prefix = 2,
    /// Its bits under the mask `other`.
    Mask = 3,
    /// From `value` to `other`, both included.
    Range = 4,
}

/// An entry of a table: this, then its [`Field`]s in P4Info's order, its action's arguments as 16 bytes each, and a note that
/// is control's own and that the data plane keeps without reading it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct EntryHead {
    /// The table.
    pub table: U32,
    /// The action; 0 for none.
    pub action: U32,
    /// Greater is more important; 0 in tables whose entries have none.
    pub priority: U32,
    /// A [`Verb`].
    pub verb: u8,
    /// Number of [`Field`]s, at most [`FIELDS_MAX`].
    pub fields: u8,
    /// Number of arguments, at most [`FIELDS_MAX`].
    pub arguments: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes of the note, at most [`NOTE_MAX`].
    pub note: U16,
    /// Zero.
    pub reserved_too: [u8; 6],
    /// Time without a hit, in nanoseconds, after which the entry is told to be idle; 0 is never.
    pub idle_timeout_ns: U64,
}

/// One field of a key.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Field {
    /// A [`FieldKind`].
    pub kind: u8,
    /// Bits of a prefix; zero otherwise.
    pub length: u8,
    /// Zero.
    pub reserved: U16,
    /// The value; the least of a range.
    pub value: U128,
    /// The mask, or the greatest of a range; zero otherwise.
    pub other: U128,
}

impl Field {
    /// A field of that kind.
    #[must_use]
    pub fn new(kind: FieldKind, length: u8, value: u128, other: u128) -> Self {
        Self { kind: kind as u8, length, reserved: U16::ZERO, value: U128::new(value), other: U128::new(other) }
    }

    /// How it is compared, if that is known.
    #[must_use]
    pub fn kind(&self) -> Option<FieldKind> {
        use FieldKind::*;
        [Any, Value, Prefix, Mask, Range].into_iter().find(|kind| *kind as u8 == self.kind)
    }
}

/// An entry as received: counts checked, bytes where they are.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its head.
    pub head: &'a EntryHead,
    /// What becomes of it.
    pub verb: Verb,
    /// Its key.
    pub fields: &'a [Field],
    /// Its action's arguments.
    pub arguments: &'a [U128],
    /// Control's own.
    pub note: &'a [u8],
    /// All of it.
    pub bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry at the front, and what is behind it.
    ///
    /// # Errors
    /// [`FrameError::Length`] when it is cut short, has too much of something or no known verb.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), FrameError> {
        let wrong = FrameError::Length;
        let (head, rest) = EntryHead::ref_from_prefix(bytes).map_err(|_| wrong)?;
        let (fields, arguments) = (usize::from(head.fields), usize::from(head.arguments));
        let note = usize::from(head.note.get());
        if fields > FIELDS_MAX || arguments > FIELDS_MAX || note > NOTE_MAX {
            return Err(wrong);
        }
        let verbs = [Verb::Insert, Verb::Modify, Verb::Delete, Verb::Default];
        let verb = verbs.into_iter().find(|verb| *verb as u8 == head.verb).ok_or(wrong)?;
        let (fields, rest) = <[Field]>::ref_from_prefix_with_elems(rest, fields).map_err(|_| wrong)?;
        let (arguments, rest) = <[U128]>::ref_from_prefix_with_elems(rest, arguments).map_err(|_| wrong)?;
        if rest.len() < note || fields.iter().any(|field| field.kind().is_none()) {
            return Err(wrong);
        }
        let (note, rest) = rest.split_at(note);
        let bytes = &bytes[..bytes.len() - rest.len()];
        Ok((Self { head, verb, fields, arguments, note, bytes }, rest))
    }

    /// All entries of a tail.
    ///
    /// # Errors
    /// As [`Entry::parse`], for the first that is wrong.
    pub fn parse_all(mut bytes: &'a [u8]) -> Result<Vec<Self>, FrameError> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let (entry, rest) = Self::parse(bytes)?;
            entries.push(entry);
            bytes = rest;
        }
        Ok(entries)
    }

    /// What tells entries of all tables apart: table, whether it is the default, priority and fields.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(9 + size_of_val(self.fields));
        key.extend_from_slice(&self.head.table.get().to_be_bytes());
        key.push(u8::from(self.verb == Verb::Default));
        key.extend_from_slice(&self.head.priority.get().to_be_bytes());
        key.extend_from_slice(self.fields.as_bytes());
        key
    }
}

/// Writes an entry behind what `out` holds.
///
/// # Panics
/// When there are more fields, arguments or bytes of a note than an entry may have: callers bound them.
#[allow(clippy::too_many_arguments, reason = "an entry has so many parts")]
pub fn emit_entry(
    out: &mut Vec<u8>,
    verb: Verb,
    table: u32,
    priority: u32,
    fields: &[Field],
    action: u32,
    arguments: impl ExactSizeIterator<Item = u128>,
    idle_timeout_ns: u64,
    note: &[u8],
) {
    assert!(fields.len() <= FIELDS_MAX && arguments.len() <= FIELDS_MAX && note.len() <= NOTE_MAX);
    let head = EntryHead {
        table: U32::new(table),
        action: U32::new(action),
        priority: U32::new(priority),
        verb: verb as u8,
        fields: fields.len() as u8,
        arguments: arguments.len() as u8,
        reserved: 0,
        note: U16::new(note.len() as u16),
        reserved_too: [0; 6],
        idle_timeout_ns: U64::new(idle_timeout_ns),
    };
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(fields.as_bytes());
    for argument in arguments {
        out.extend_from_slice(U128::new(argument).as_bytes());
    }
    out.extend_from_slice(note);
}

/// [`MeterWrite::index`], [`CounterWrite::index`]: every cell.
pub const EVERY_CELL: u32 = u32::MAX;

/// Rates of a meter's cell, or of an entry's direct meter. Tail: for a direct one its [`Entry`], of which the key counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct MeterWrite {
    /// The meter; of a direct one the table.
    pub object: U32,
    /// The cell, or [`EVERY_CELL`]; zero of a direct one.
    pub index: U32,
    /// 1: these rates. 0: everything is green.
    pub configured: U32,
    /// Zero.
    pub reserved: U32,
    /// Committed information rate, in the meter's unit (bytes or packets) a second (RFC 2698).
    pub cir: U64,
    /// Committed burst size, in that unit.
    pub cburst: U64,
    /// Peak information rate.
    pub pir: U64,
    /// Peak burst size.
    pub pburst: U64,
    /// Excess burst size, of single-rate meters (RFC 2697).
    pub eburst: U64,
}

/// What a counter's cell, or an entry's direct counter, counts on from. Tail as in [`MeterWrite`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CounterWrite {
    /// The counter; of a direct one the table.
    pub object: U32,
    /// The cell, or [`EVERY_CELL`]; zero of a direct one.
    pub index: U32,
    /// Packets.
    pub packets: U64,
    /// Bytes.
    pub bytes: U64,
}

/// Whether somebody wants a digest. Tail: a note, as in an entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct DigestWrite {
    /// The digest.
    pub digest: U32,
    /// 1: it is told from now on. 0: not any more.
    pub wanted: U32,
}

/// Asks for `count` cells from `first` on; or, with entries as tail, for their direct counters, one for each.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CounterRead {
    /// The counter; of direct ones the table.
    pub object: U32,
    /// The first cell.
    pub first: U32,
    /// How many, at most [`COUNTERS_MAX`]; zero with entries.
    pub count: U32,
    /// Zero.
    pub reserved: U32,
}

/// Most counters of one answer.
pub const COUNTERS_MAX: usize = (FRAME_MAX - size_of::<Header>()) / size_of::<CounterValue>();

/// One value of an answer to [`CounterRead`]. [`ABSENT`] twice: there is no such cell or entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct CounterValue {
    /// Packets.
    pub packets: U64,
    /// Bytes.
    pub bytes: U64,
}

/// In answers: there is no such thing.
pub const ABSENT: u64 = u64::MAX;

/// Asks for a table's entries from a place on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct TableDump {
    /// The table.
    pub table: U32,
    /// Zero.
    pub reserved: U32,
    /// Zero at first, then the last answer's [`TableEntries::next`].
    pub from: U64,
}

/// A table's next entries, as [`Entry`]s to the end of the frame. One that comes or goes while others are told of may be missed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct TableEntries {
    /// The table.
    pub table: U32,
    /// Zero.
    pub reserved: U32,
    /// Where to go on; [`ABSENT`] when these are the last.
    pub next: U64,
}

/// A packet for P4Runtime's clients. Tail: the frame from its Ethernet header on, at most [`PACKET_MAX`] bytes of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct PacketIn {
    /// The port that it came by.
    pub port: U32,
    /// Why the program punted it.
    pub reason: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes of the whole frame.
    pub length: U16,
}

/// A frame for the data plane to send as it is. Tail: the frame from its Ethernet header on, at most [`PACKET_MAX`] bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct PacketOut {
    /// The port to leave by.
    pub port: U32,
    /// Zero.
    pub reserved: U32,
}

/// A digest. Tail: the values of its fields, 16 bytes each, those of structs inside it one after the other.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct DigestData {
    /// The digest.
    pub digest: U32,
    /// How many values.
    pub values: U32,
}

/// Most values of a digest.
pub const DIGEST_VALUES_MAX: usize = 64;

impl DigestData {
    /// The digest and its values.
    ///
    /// # Errors
    /// [`FrameError::Length`] when there are not as many as it says, or too many.
    pub fn parse(bytes: &[u8]) -> Result<(u32, &[U128]), FrameError> {
        let (data, rest) = Self::ref_from_prefix(bytes).map_err(|_| FrameError::Length)?;
        let count = data.values.get() as usize;
        match <[U128]>::ref_from_bytes(rest) {
            Ok(values) if values.len() == count && count <= DIGEST_VALUES_MAX => Ok((data.digest.get(), values)),
            _ => Err(FrameError::Length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let fields = [
            Field::new(FieldKind::Any, 0, 0, 0),
            Field::new(FieldKind::Value, 0, 7, 0),
            Field::new(FieldKind::Prefix, 24, 0x0a00_0000, 0),
            Field::new(FieldKind::Mask, 0, 1 << 127, u128::MAX),
            Field::new(FieldKind::Range, 0, 3, 9),
        ];
        let arguments = [5_u128, u128::MAX].into_iter();
        emit_entry(&mut out, Verb::Insert, 0x0200_0001, 11, &fields, 0x0100_0002, arguments, 1_000, b"mine");
        out
    }

    #[test]
    fn entries_survive_the_trip() {
        let one = sample();
        let mut two = one.clone();
        emit_entry(&mut two, Verb::Default, 0x0200_0001, 0, &[], 0, [].into_iter(), 0, &[]);
        let entries = Entry::parse_all(&two).unwrap();
        assert_eq!(entries.len(), 2);
        let entry = &entries[0];
        assert_eq!(entry.bytes, one);
        assert_eq!((entry.head.table.get(), entry.head.action.get()), (0x0200_0001, 0x0100_0002));
        assert_eq!((entry.head.priority.get(), entry.head.idle_timeout_ns.get()), (11, 1_000));
        assert_eq!(entry.fields[2], Field::new(FieldKind::Prefix, 24, 0x0a00_0000, 0));
        assert_eq!(entry.arguments.iter().map(|value| value.get()).collect::<Vec<_>>(), [5, u128::MAX]);
        assert_eq!(entry.note, b"mine");
        assert_eq!((entries[1].verb, entries[1].fields.len()), (Verb::Default, 0));
        assert_ne!(entries[0].key(), entries[1].key());
    }

    #[test]
    fn what_is_cut_or_too_much_is_refused() {
        let whole = sample();
        for end in 1..whole.len() {
            assert!(Entry::parse_all(&whole[..end]).is_err(), "{end}");
        }
        let place = |offset: usize, value: u8| {
            let mut bytes = whole.clone();
            bytes[offset] = value;
            Entry::parse_all(&bytes).is_err()
        };
        let (verb, fields, arguments, note) = (12, 13, 14, 17);
        assert!(place(verb, 0) && place(verb, 5));
        assert!(place(fields, FIELDS_MAX as u8 + 1) && place(arguments, 255) && place(note, 255));
        assert!(place(size_of::<EntryHead>(), 5), "a kind of field that nobody knows");
        assert!(!place(verb, Verb::Modify as u8));
    }

    #[test]
    fn the_largest_entry_fits_a_frame() {
        let mut out = Vec::new();
        let field = Field::new(FieldKind::Mask, 0, u128::MAX, u128::MAX);
        let arguments = [u128::MAX; FIELDS_MAX].into_iter();
        emit_entry(&mut out, Verb::Modify, 1, 1, &[field; FIELDS_MAX], 1, arguments, u64::MAX, &[9; NOTE_MAX]);
        assert!(out.len() + size_of::<Header>() + size_of::<MeterWrite>() <= FRAME_MAX);
        assert_eq!(Entry::parse_all(&out).unwrap().len(), 1);
    }

    /// Bytes of anybody: a small generator, so that every run sees the same.
    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let whole = sample();
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            // A sound entry with some bytes changed, or noise.
            let mut bytes =
                if next() % 2 == 0 { whole.clone() } else { (0..next() % 256).map(|_| next() as u8).collect() };
            for _ in 0..next() % 4 {
                if !bytes.is_empty() {
                    let at = next() as usize % bytes.len();
                    bytes[at] = next() as u8;
                }
            }
            match Entry::parse_all(&bytes) {
                Ok(entries) => read += usize::from(entries.iter().all(|entry| entry.key().len() >= 9)),
                Err(_) => refused += 1,
            }
            if let Ok((_, values)) = DigestData::parse(&bytes) {
                assert!(values.len() <= DIGEST_VALUES_MAX);
            }
        }
        assert!(read > 100 && refused > 100, "{read} {refused}");
    }

    #[test]
    fn digests_have_as_many_values_as_they_say() {
        let digest = |values: u32, bytes: usize| {
            let mut out = DigestData { digest: U32::new(7), values: U32::new(values) }.as_bytes().to_vec();
            out.resize(out.len() + bytes, 1);
            out
        };
        assert_eq!(DigestData::parse(&digest(2, 32)).unwrap().1.len(), 2);
        assert!(DigestData::parse(&digest(2, 31)).is_err());
        assert!(DigestData::parse(&digest(2, 48)).is_err());
        assert!(DigestData::parse(&digest(65, 65 * 16)).is_err());
    }
}
