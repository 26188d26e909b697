//! What P4Runtime's clients have written, each thing as the operation that makes it: what a session begins with, and what a new
//! data plane is brought to.

use super::{DigestWrite, Entry, MeterWrite, TableOperation};
use gantry::channel::FrameError;
use gantry::channel::table::{EVERY_CELL, EntryHead, Verb, emit_entry};
use std::collections::BTreeMap;
use std::mem::offset_of;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

/// A meter's cell or an entry's meter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MeterKey {
    object: u32,
    /// Zero for every cell, which comes before the cells.
    cell: u32,
    /// Of a direct one its entry's.
    entry: Option<Vec<u8>>,
}

/// What clients have written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// Insertions and defaults by what tells them apart.
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    meters: BTreeMap<MeterKey, Vec<u8>>,
    digests: BTreeMap<u32, Vec<u8>>,
}

fn meter(bytes: &[u8]) -> Result<(MeterKey, &MeterWrite), FrameError> {
    let (write, tail) = MeterWrite::ref_from_prefix(bytes).map_err(|_| FrameError::Length)?;
    let entry = if tail.is_empty() { None } else { Some(Entry::parse(tail)?.0.key()) };
    Ok((MeterKey { object: write.object.get(), cell: write.index.get().wrapping_add(1), entry }, write))
}

fn digest(bytes: &[u8]) -> Result<&DigestWrite, FrameError> {
    DigestWrite::ref_from_prefix(bytes).map(|(write, _)| write).map_err(|_| FrameError::Length)
}

fn one_entry(bytes: &[u8]) -> Result<Entry<'_>, FrameError> {
    Entry::parse(bytes).map(|(entry, _)| entry)
}

/// What an operation is about, for the operator.
pub(super) fn name(operation: &TableOperation) -> String {
    match operation {
        TableOperation::Entry(bytes) => one_entry(bytes)
            .map_or_else(|_| "an entry".into(), |entry| format!("an entry of table {:#010x}", entry.head.table)),
        TableOperation::Meter(bytes) => {
            meter(bytes).map_or_else(|_| "a meter".into(), |(key, _)| format!("a meter of {:#010x}", key.object))
        }
        TableOperation::Counter(_) => "a counter".into(),
        TableOperation::Digest(bytes) => {
            digest(bytes).map_or_else(|_| "a digest".into(), |write| format!("digest {:#010x}", write.digest))
        }
    }
}

impl Records {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.meters.is_empty() && self.digests.is_empty()
    }

    /// An operation of ours is made.
    pub(super) fn apply_sound(&mut self, operation: TableOperation) {
        self.apply(operation).expect("operations are in the channel's form");
    }

    /// An operation is made. What counters count is nobody's to keep.
    pub(super) fn apply(&mut self, operation: TableOperation) -> Result<(), FrameError> {
        match operation {
            TableOperation::Entry(mut bytes) => {
                let entry = one_entry(&bytes)?;
                let (key, verb) = (entry.key(), entry.verb);
                let is_gone = match verb {
                    Verb::Insert | Verb::Modify => false,
                    Verb::Delete => true,
                    Verb::Default => entry.head.action.get() == 0,
                };
                if is_gone {
                    self.entries.remove(&key);
                    if verb == Verb::Delete {
                        self.meters.retain(|meter, _| meter.entry.as_ref() != Some(&key));
                    }
                } else {
                    if verb == Verb::Modify {
                        bytes[offset_of!(EntryHead, verb)] = Verb::Insert as u8;
                    }
                    self.entries.insert(key, bytes);
                }
            }
            TableOperation::Meter(bytes) => {
                let (key, write) = meter(&bytes)?;
                let (configured, every) = (write.configured.get() != 0, write.index.get() == EVERY_CELL);
                if every && key.entry.is_none() {
                    self.meters.retain(|other, _| other.object != key.object || other.entry.is_some());
                }
                // A green cell is worth a word only where all the others are not.
                let others = MeterKey { cell: 0, ..key.clone() };
                if configured || (!every && key.entry.is_none() && self.meters.contains_key(&others)) {
                    self.meters.insert(key, bytes);
                } else {
                    self.meters.remove(&key);
                }
            }
            TableOperation::Counter(_) => {}
            TableOperation::Digest(bytes) => {
                let write = digest(&bytes)?;
                let (id, wanted) = (write.digest.get(), write.wanted.get() != 0);
                if wanted {
                    self.digests.insert(id, bytes);
                } else {
                    self.digests.remove(&id);
                }
            }
        }
        Ok(())
    }

    /// All of it, in an order in which it can be made.
    pub(super) fn operations(&self) -> Vec<TableOperation> {
        let entries = self.entries.values().cloned().map(TableOperation::Entry);
        let meters = self.meters.values().cloned().map(TableOperation::Meter);
        let digests = self.digests.values().cloned().map(TableOperation::Digest);
        entries.chain(meters).chain(digests).collect()
    }

    /// The operations that make `wanted` of this.
    pub(super) fn to_become(&self, wanted: &Self) -> Vec<TableOperation> {
        let mut operations = Vec::new();
        for bytes in self.entries.iter().filter(|(key, _)| !wanted.entries.contains_key(*key)).map(|(_, bytes)| bytes) {
            operations.push(TableOperation::Entry(removal(bytes)));
        }
        for (key, bytes) in &wanted.entries {
            match self.entries.get(key) {
                Some(same) if same == bytes => {}
                Some(_) => operations.push(TableOperation::Entry(modification(bytes))),
                None => operations.push(TableOperation::Entry(bytes.clone())),
            }
        }
        for (key, bytes) in self.meters.iter().filter(|(key, _)| !wanted.meters.contains_key(*key)) {
            let with_its_entry = key.entry.as_ref().is_some_and(|entry| !wanted.entries.contains_key(entry));
            let mut bytes = bytes.clone();
            let at = offset_of!(MeterWrite, configured);
            bytes[at..at + 4].copy_from_slice(U32::ZERO.as_bytes());
            // Of every cell: those that are wanted come after it. A direct one goes with its entry.
            if !with_its_entry {
                operations.push(TableOperation::Meter(bytes));
            }
        }
        for (key, bytes) in &wanted.meters {
            let all = MeterKey { cell: 0, ..key.clone() };
            let all_changed = key.entry.is_none() && self.meters.get(&all) != wanted.meters.get(&all);
            if self.meters.get(key) != Some(bytes) || all_changed {
                operations.push(TableOperation::Meter(bytes.clone()));
            }
        }
        for (id, bytes) in self.digests.iter().filter(|(id, _)| !wanted.digests.contains_key(*id)) {
            let unwanted = DigestWrite { digest: U32::new(*id), wanted: U32::ZERO };
            debug_assert!(bytes.len() >= unwanted.as_bytes().len());
            operations.push(TableOperation::Digest(unwanted.as_bytes().to_vec()));
        }
        for (_, bytes) in wanted.digests.iter().filter(|(id, bytes)| self.digests.get(*id) != Some(*bytes)) {
            operations.push(TableOperation::Digest(bytes.clone()));
        }
        operations
    }

    /// What an operation is about becomes what it is in `there`.
    pub(super) fn forget(&mut self, operation: &TableOperation, there: &Self) {
        fn settle<K: Ord + Clone>(ours: &mut BTreeMap<K, Vec<u8>>, key: &K, theirs: &BTreeMap<K, Vec<u8>>) {
            match theirs.get(key) {
                Some(bytes) => drop(ours.insert(key.clone(), bytes.clone())),
                None => drop(ours.remove(key)),
            }
        }
        match operation {
            TableOperation::Entry(bytes) => {
                let key = one_entry(bytes).expect("operations are in the channel's form").key();
                settle(&mut self.entries, &key, &there.entries);
                self.meters.retain(|meter, _| meter.entry.as_ref() != Some(&key));
                let of_it = there.meters.iter().filter(|(meter, _)| meter.entry.as_ref() == Some(&key));
                self.meters.extend(of_it.map(|(meter, bytes)| (meter.clone(), bytes.clone())));
            }
            TableOperation::Meter(bytes) => {
                let key = meter(bytes).expect("operations are in the channel's form").0;
                settle(&mut self.meters, &key, &there.meters);
            }
            TableOperation::Counter(_) => {}
            TableOperation::Digest(bytes) => {
                let id = digest(bytes).expect("operations are in the channel's form").digest.get();
                settle(&mut self.digests, &id, &there.digests);
            }
        }
    }
}

/// The operation that takes a recorded entry out again.
fn removal(bytes: &[u8]) -> Vec<u8> {
    let entry = one_entry(bytes).expect("records are in the channel's form");
    let verb = if entry.verb == Verb::Default { Verb::Default } else { Verb::Delete };
    let mut out = Vec::new();
    let (table, priority) = (entry.head.table.get(), entry.head.priority.get());
    emit_entry(&mut out, verb, table, priority, entry.fields, 0, [].into_iter(), 0, &[]);
    out
}

/// The operation that changes an entry into a recorded one.
fn modification(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let verb = &mut bytes[offset_of!(EntryHead, verb)];
    if *verb == Verb::Insert as u8 {
        *verb = Verb::Modify as u8;
    }
    bytes
}
