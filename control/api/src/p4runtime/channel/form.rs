//! Entries, meters and digests as the channel writes them, and back.

use gantry::channel::table::{
    CounterWrite, DigestWrite, EVERY_CELL, Entry as Record, Field, FieldKind, MeterWrite, Verb, emit_entry,
};
use gantry_control::TableOperation;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::super::digest::DigestConfig;
use super::super::entry::{ActionCall, Counts, Key, Match, Note, Rates};
use super::super::pipeline::{ActionId, DigestId, MeterId, TableId};
use super::super::plane::{At, Change};
use super::super::write::METADATA_BYTES_MAX;

/// What a note begins with: the form of what follows, which is ours alone.
const NOTE: [u8; 2] = [1, 0];

const _: () = assert!(NOTE.len() + 8 + METADATA_BYTES_MAX <= gantry::channel::table::NOTE_MAX);

/// A change as an operation; none of a register, which the channel does not have.
pub(super) fn operation(change: &Change) -> Option<TableOperation> {
    let entry = |verb, table: &TableId, at: &At, action: Option<&ActionCall>, idle_timeout_ns, note: &Note| {
        TableOperation::Entry(record(verb, *table, at, action, idle_timeout_ns, &note_bytes(note)))
    };
    let none = Note::default();
    Some(match change {
        Change::Insert { table, key, action, idle_timeout_ns, note } => {
            entry(Verb::Insert, table, &At::Entry(key.clone()), Some(action), *idle_timeout_ns, note)
        }
        Change::Modify { table, key, action, idle_timeout_ns, note } => {
            entry(Verb::Modify, table, &At::Entry(key.clone()), Some(action), *idle_timeout_ns, note)
        }
        Change::Delete { table, key } => entry(Verb::Delete, table, &At::Entry(key.clone()), None, 0, &none),
        Change::Default { table, action, note } => entry(Verb::Default, table, &At::Default, action.as_ref(), 0, note),
        Change::DirectCounter { table, at, counts } => {
            TableOperation::Counter([counter(table.0, 0, counts).as_bytes(), &place(*table, at)].concat())
        }
        Change::DirectMeter { table, at, rates } => {
            TableOperation::Meter([meter(table.0, 0, *rates).as_bytes(), &place(*table, at)].concat())
        }
        Change::Counter { counter: id, index, counts } => {
            TableOperation::Counter(counter(id.0, index.unwrap_or(EVERY_CELL), counts).as_bytes().to_vec())
        }
        Change::Meter { meter: id, index, rates } => {
            TableOperation::Meter(meter(id.0, index.unwrap_or(EVERY_CELL), *rates).as_bytes().to_vec())
        }
        Change::Register { .. } => return None,
        Change::Digest { digest, config } => {
            let write = DigestWrite { digest: U32::new(digest.0), wanted: U32::new(config.is_some().into()) };
            let mut bytes = write.as_bytes().to_vec();
            if let Some(DigestConfig { max_timeout_ns, max_list_size, ack_timeout_ns }) = config {
                bytes.extend(NOTE);
                bytes.extend(max_timeout_ns.to_le_bytes());
                bytes.extend(ack_timeout_ns.to_le_bytes());
                bytes.extend(max_list_size.to_le_bytes());
            }
            TableOperation::Digest(bytes)
        }
    })
}

/// An operation that control has kept, as the change that it was. None if it makes no sense: another version's, say.
pub(super) fn change(operation: &TableOperation) -> Option<Change> {
    match operation {
        TableOperation::Entry(bytes) => {
            let (entry, _) = Record::parse(bytes).ok()?;
            let (table, note) = (TableId(entry.head.table.get()), note(entry.note)?);
            let (action, idle_timeout_ns) = (call(&entry), entry.head.idle_timeout_ns.get());
            match at(&entry) {
                At::Entry(key) => Some(Change::Insert { table, key, action: action?, idle_timeout_ns, note }),
                At::Default => Some(Change::Default { table, action, note }),
            }
        }
        TableOperation::Meter(bytes) => {
            let (write, tail) = MeterWrite::ref_from_prefix(bytes).ok()?;
            let rates = Rates {
                cir: write.cir.get(),
                cburst: write.cburst.get(),
                pir: write.pir.get(),
                pburst: write.pburst.get(),
                eburst: write.eburst.get(),
            };
            let rates = (write.configured.get() != 0).then_some(rates);
            if tail.is_empty() {
                let index = Some(write.index.get()).filter(|index| *index != EVERY_CELL);
                return Some(Change::Meter { meter: MeterId(write.object.get()), index, rates });
            }
            let (entry, _) = Record::parse(tail).ok()?;
            Some(Change::DirectMeter { table: TableId(entry.head.table.get()), at: at(&entry), rates })
        }
        TableOperation::Counter(_) => None,
        TableOperation::Digest(bytes) => {
            let (write, note) = DigestWrite::ref_from_prefix(bytes).ok()?;
            let note = note.strip_prefix(&NOTE)?;
            let (max_timeout, rest) = note.split_first_chunk()?;
            let (ack_timeout, rest) = rest.split_first_chunk()?;
            let config = DigestConfig {
                max_timeout_ns: u64::from_le_bytes(*max_timeout),
                ack_timeout_ns: u64::from_le_bytes(*ack_timeout),
                max_list_size: u32::from_le_bytes(rest.try_into().ok()?),
            };
            Some(Change::Digest { digest: DigestId(write.digest.get()), config: Some(config) })
        }
    }
}

/// An entry of which only the key counts.
pub(super) fn place(table: TableId, at: &At) -> Vec<u8> {
    let verb = if *at == At::Default { Verb::Default } else { Verb::Insert };
    record(verb, table, at, None, 0, &[])
}

/// Which entry it is.
pub(super) fn at(entry: &Record<'_>) -> At {
    if entry.verb == Verb::Default { At::Default } else { At::Entry(key(entry)) }
}

pub(super) fn key(entry: &Record<'_>) -> Key {
    let matches = entry.fields.iter().map(|field| {
        let (value, other) = (field.value.get(), field.other.get());
        match field.kind().expect("kinds are checked as the entry is read") {
            FieldKind::Any => Match::Any,
            FieldKind::Value => Match::Value(value),
            FieldKind::Prefix => Match::Prefix { value, length: field.length },
            FieldKind::Mask => Match::Mask { value, mask: other },
            FieldKind::Range => Match::Range { low: value, high: other },
        }
    });
    Key::new(i32::try_from(entry.head.priority.get()).unwrap_or(i32::MAX), matches.collect::<Vec<_>>())
}

/// What it does.
pub(super) fn call(entry: &Record<'_>) -> Option<ActionCall> {
    let action = ActionId(entry.head.action.get());
    let arguments = entry.arguments.iter().map(|argument| argument.get()).collect();
    (action.0 != 0).then_some(ActionCall { action, arguments })
}

fn record(
    verb: Verb,
    table: TableId,
    at: &At,
    call: Option<&ActionCall>,
    idle_timeout_ns: u64,
    note: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let (priority, matches) = match at {
        At::Entry(key) => (key.priority().unsigned_abs(), key.matches()),
        At::Default => (0, [].as_slice()),
    };
    let fields: Vec<Field> = matches
        .iter()
        .map(|one| match *one {
            Match::Any => Field::new(FieldKind::Any, 0, 0, 0),
            Match::Value(value) => Field::new(FieldKind::Value, 0, value, 0),
            Match::Prefix { value, length } => Field::new(FieldKind::Prefix, length, value, 0),
            Match::Mask { value, mask } => Field::new(FieldKind::Mask, 0, value, mask),
            Match::Range { low, high } => Field::new(FieldKind::Range, 0, low, high),
        })
        .collect();
    let (action, arguments) = call.map_or((0, [].as_slice()), |call| (call.action.0, &*call.arguments));
    let arguments = arguments.iter().copied();
    emit_entry(&mut out, verb, table.0, priority, &fields, action, arguments, idle_timeout_ns, note);
    out
}

fn note_bytes(note: &Note) -> Vec<u8> {
    if *note == Note::default() {
        return Vec::new();
    }
    [&NOTE[..], &note.controller_metadata.to_le_bytes(), &note.metadata].concat()
}

fn note(bytes: &[u8]) -> Option<Note> {
    if bytes.is_empty() {
        return Some(Note::default());
    }
    let (controller_metadata, metadata) = bytes.strip_prefix(&NOTE)?.split_first_chunk()?;
    Some(Note { metadata: metadata.to_vec(), controller_metadata: u64::from_le_bytes(*controller_metadata) })
}

fn meter(object: u32, index: u32, rates: Option<Rates>) -> MeterWrite {
    let Rates { cir, cburst, pir, pburst, eburst } = rates.unwrap_or_default();
    MeterWrite {
        object: U32::new(object),
        index: U32::new(index),
        configured: U32::new(rates.is_some().into()),
        reserved: U32::ZERO,
        cir: U64::new(cir),
        cburst: U64::new(cburst),
        pir: U64::new(pir),
        pburst: U64::new(pburst),
        eburst: U64::new(eburst),
    }
}

fn counter(object: u32, index: u32, counts: &Counts) -> CounterWrite {
    let (packets, bytes) = (U64::new(counts.packets), U64::new(counts.bytes));
    CounterWrite { object: U32::new(object), index: U32::new(index), packets, bytes }
}
