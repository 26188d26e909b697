//! What P4Runtime's clients program: entries, defaults, meters, counters, digests, in the tables that lcores read.
//!
//! A transaction's operations are staged one after the other at PREPARE, where they can fail, and take effect at COMMIT. What
//! clients have written is kept as they wrote it: a control that comes is told it, and so is a successor. Counts are the
//! tables' own.

mod ask;
mod table;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use gantry::channel::session::Reason;
use gantry::channel::table::{CounterWrite, DigestWrite, EVERY_CELL, Entry, EntryHead, MeterWrite, Verb};
use gantry::channel::{self, FRAME_MAX, Frame, Header, Kind};
use gantry_table::{CounterValue, EntryIndex, MeterConfig};
use zerocopy::FromBytes;

use crate::tables::Writer;
pub(super) use ask::Filled;

/// Why an operation is refused.
pub(super) type Refusal = (Reason, String);

fn refusal<T>(reason: Reason, text: impl Into<String>) -> Result<T, Refusal> {
    Err((reason, text.into()))
}

/// One operation, in the channel's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Entry(Vec<u8>),
    Meter(Vec<u8>),
    Counter(Vec<u8>),
    Digest(Vec<u8>),
}

/// An operation that can no longer fail.
pub(super) enum Staged {
    /// An entry or a default: it is in the tables with the next generation.
    Entry {
        key: Vec<u8>,
        bytes: Vec<u8>,
        index: Option<EntryIndex>,
        gone: bool,
    },
    Meter {
        key: MeterKey,
        bytes: Vec<u8>,
        cell: Cell,
        config: Option<MeterConfig>,
    },
    Counter {
        object: u32,
        cell: Cell,
        value: CounterValue,
    },
    Digest {
        digest: u32,
        bytes: Vec<u8>,
        wanted: bool,
    },
}

/// A cell of counters or meters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Every,
    One(usize),
}

/// A meter's cell, zero for every one, or an entry's meter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MeterKey {
    object: u32,
    cell: u32,
    entry: Option<Vec<u8>>,
}

/// Entries that a transaction has made, by key; none of those that it has removed.
#[derive(Default)]
pub(super) struct Overlay(BTreeMap<Vec<u8>, Option<EntryIndex>>);

/// What is kept of an entry.
struct Kept {
    bytes: Vec<u8>,
    /// None of a default.
    index: Option<EntryIndex>,
}

/// What clients have written.
#[derive(Default)]
pub(super) struct Clients {
    entries: BTreeMap<Vec<u8>, Kept>,
    meters: BTreeMap<MeterKey, Vec<u8>>,
    digests: BTreeMap<u32, Vec<u8>>,
    /// Keys of the entries that have an idle timeout, by table and index.
    timed: BTreeMap<(u32, u32), Vec<u8>>,
    /// Where each table's next scan for idle ones begins, by table.
    scans: BTreeMap<u32, usize>,
}

/// Entries that one round of housekeeping looks at for idle ones.
const SCANNED: usize = 256;

impl Write {
    /// The operations of a frame; none when it has other ones, or cannot be read.
    pub(super) fn parse(frame: &Frame<'_>) -> Option<Vec<Self>> {
        let bytes = || frame.bytes.to_vec();
        Some(match frame.kind {
            Kind::TableWrite | Kind::TableState => {
                let entries = Entry::parse_all(frame.bytes).ok()?;
                entries.into_iter().map(|entry| Self::Entry(entry.bytes.to_vec())).collect()
            }
            Kind::MeterWrite | Kind::MeterState => {
                frame.body::<MeterWrite>().ok().filter(|(_, tail)| one_or_none(tail))?;
                Vec::from([Self::Meter(bytes())])
            }
            Kind::CounterWrite => {
                frame.body::<CounterWrite>().ok().filter(|(_, tail)| one_or_none(tail))?;
                Vec::from([Self::Counter(bytes())])
            }
            Kind::DigestWrite | Kind::DigestState => {
                let (_, note) = frame.body::<DigestWrite>().ok()?;
                if note.len() > channel::table::NOTE_MAX {
                    return None;
                }
                Vec::from([Self::Digest(bytes())])
            }
            _ => return None,
        })
    }
}

/// A tail of one entry, or of none.
fn one_or_none(tail: &[u8]) -> bool {
    tail.is_empty() || Entry::parse(tail).is_ok_and(|(_, rest)| rest.is_empty())
}

fn entry(bytes: &[u8]) -> Entry<'_> {
    Entry::parse(bytes).expect("entries are read as their frame comes").0
}

impl Clients {
    /// Checks an operation, and stages what it changes in the tables.
    pub(super) fn stage(&self, writer: &mut Writer, write: Write, overlay: &mut Overlay) -> Result<Staged, Refusal> {
        match write {
            Write::Entry(bytes) => self.stage_entry(writer, bytes, overlay),
            Write::Meter(bytes) => {
                let (write, tail) = MeterWrite::ref_from_prefix(&bytes).expect("meters are read as their frame comes");
                let object = write.object.get();
                let Some(meters) = writer.tables.meters(object) else {
                    return refusal(Reason::NotFound, format!("there is no meter {object:#010x}"));
                };
                let cell = self.cell(overlay, write.index.get(), tail, meters.len())?;
                let config = MeterConfig {
                    cir: write.cir.get(),
                    cburst: write.cburst.get(),
                    pir: write.pir.get(),
                    pburst: write.pburst.get(),
                };
                if write.eburst.get() != 0 {
                    return refusal(Reason::Invalid, "meters have two rates here, and no excess burst");
                }
                let config = (write.configured.get() != 0).then_some(config);
                let of = (!tail.is_empty()).then(|| entry(tail).key());
                let key = MeterKey { object, cell: write.index.get().wrapping_add(1), entry: of };
                Ok(Staged::Meter { key, bytes, cell, config })
            }
            Write::Counter(bytes) => {
                let (write, tail) =
                    CounterWrite::ref_from_prefix(&bytes).expect("counters are read as their frame comes");
                let object = write.object.get();
                let Some(counters) = writer.tables.counters(object) else {
                    return refusal(Reason::NotFound, format!("there is no counter {object:#010x}"));
                };
                let cell = self.cell(overlay, write.index.get(), tail, counters.len())?;
                let value = CounterValue { packets: write.packets.get(), bytes: write.bytes.get() };
                Ok(Staged::Counter { object, cell, value })
            }
            Write::Digest(bytes) => {
                let (write, _) = DigestWrite::ref_from_prefix(&bytes).expect("digests are read as their frame comes");
                let (digest, wanted) = (write.digest.get(), write.wanted.get() != 0);
                if !table::is_digest(digest) {
                    return refusal(Reason::NotFound, format!("there is no digest {digest:#010x}"));
                }
                Ok(Staged::Digest { digest, bytes, wanted })
            }
        }
    }

    fn stage_entry(&self, writer: &mut Writer, bytes: Vec<u8>, overlay: &mut Overlay) -> Result<Staged, Refusal> {
        let entry = entry(&bytes);
        let (key, verb, table) = (entry.key(), entry.verb, entry.head.table.get());
        let index = table::stage(writer, &entry)?;
        if verb == Verb::Insert
            && let (Some(counters), Some(index)) = (writer.tables.counters(table), index)
        {
            // Nobody counts there yet: what was there before is gone from every lcore's sight.
            counters.reset(index.index());
        }
        if verb == Verb::Insert
            && let (Some(meters), Some(index)) = (writer.tables.meters(table), index)
        {
            meters.configure(index.index(), None, 0);
        }
        let gone = verb == Verb::Delete || verb == Verb::Default && entry.head.action.get() == 0;
        overlay.0.insert(key.clone(), index.filter(|_| !gone));
        Ok(Staged::Entry { key, bytes, index, gone })
    }

    /// Where an entry of a client is, this transaction's changes included.
    fn index(&self, overlay: &Overlay, key: &[u8]) -> Option<EntryIndex> {
        match overlay.0.get(key) {
            Some(staged) => *staged,
            None => self.entries.get(key)?.index,
        }
    }

    /// The cell that an index or, of direct ones, an entry means. The last of direct ones is the default's.
    fn cell(&self, overlay: &Overlay, index: u32, tail: &[u8], cells: usize) -> Result<Cell, Refusal> {
        if tail.is_empty() {
            return match index {
                EVERY_CELL => Ok(Cell::Every),
                index if (index as usize) < cells => Ok(Cell::One(index as usize)),
                index => refusal(Reason::Invalid, format!("cell {index} of {cells}")),
            };
        }
        let entry = entry(tail);
        if entry.verb == Verb::Default {
            return Ok(Cell::One(cells - 1));
        }
        match self.index(overlay, &entry.key()) {
            Some(index) => Ok(Cell::One(index.index())),
            None => refusal(Reason::NotFound, "a counter or meter of an entry that is not there"),
        }
    }

    /// A staged operation takes effect. Entries have, with their generation.
    pub(super) fn apply(&mut self, now_ns: u64, writer: &Writer, staged: Staged) {
        match staged {
            Staged::Entry { key, bytes, index, gone: true } => {
                self.time(now_ns, writer, &bytes, index, None);
                self.entries.remove(&key);
                self.meters.retain(|meter, _| meter.entry.as_ref() != Some(&key));
            }
            Staged::Entry { key, mut bytes, index, gone: false } => {
                if entry(&bytes).verb == Verb::Modify {
                    bytes[core::mem::offset_of!(EntryHead, verb)] = Verb::Insert as u8;
                }
                self.time(now_ns, writer, &bytes, index, Some(&key));
                self.entries.insert(key, Kept { bytes, index });
            }
            Staged::Meter { key, bytes, cell, config } => {
                let meters = writer.tables.meters(key.object).expect("PREPARE has found it");
                match cell {
                    Cell::One(cell) => {
                        meters.configure(cell, config.as_ref(), now_ns);
                    }
                    Cell::Every => {
                        for cell in 0..meters.len() {
                            meters.configure(cell, config.as_ref(), now_ns);
                        }
                        self.meters.retain(|other, _| other.object != key.object || other.entry.is_some());
                    }
                }
                // A green cell is worth a word only where all the others are not.
                let every = MeterKey { cell: 0, ..key.clone() };
                if config.is_some() || (key.entry.is_none() && key.cell != 0 && self.meters.contains_key(&every)) {
                    self.meters.insert(key, bytes);
                } else {
                    self.meters.remove(&key);
                }
            }
            Staged::Counter { object, cell, value } => {
                let counters = writer.tables.counters(object).expect("PREPARE has found it");
                match cell {
                    Cell::One(cell) => {
                        counters.write(cell, value);
                    }
                    Cell::Every => (0..counters.len()).for_each(|cell| {
                        counters.write(cell, value);
                    }),
                }
            }
            Staged::Digest { digest, bytes, wanted: true } => drop(self.digests.insert(digest, bytes)),
            Staged::Digest { digest, wanted: false, .. } => drop(self.digests.remove(&digest)),
        }
    }

    /// An entry is new, changed or, without a key, gone: so is its idle timeout.
    fn time(&mut self, now_ns: u64, writer: &Writer, bytes: &[u8], index: Option<EntryIndex>, key: Option<&Vec<u8>>) {
        let head = entry(bytes).head;
        let table = head.table.get();
        let (Some(idle), Some(index)) = (writer.tables.idle(table), index) else { return };
        let timeout_ns = if key.is_some() { head.idle_timeout_ns.get() } else { 0 };
        idle.set(index, timeout_ns, now_ns);
        match key.filter(|_| timeout_ns != 0) {
            Some(key) => drop(self.timed.insert((table, index.0), key.clone())),
            None => drop(self.timed.remove(&(table, index.0))),
        }
        self.scans.entry(table).or_insert(0);
    }

    /// The next part of a scan for entries that nothing has hit for their timeout: as a frame, when there are any.
    pub(super) fn poll_idle(&mut self, now_ns: u64, writer: &Writer) -> Option<Vec<u8>> {
        const ROOM: usize = FRAME_MAX - size_of::<Header>();
        if self.timed.is_empty() {
            return None;
        }
        let Self { entries, timed, scans, .. } = self;
        let mut told = Vec::new();
        for (table, from) in scans {
            let Some(idle) = writer.tables.idle(*table) else { continue };
            *from = idle.scan(now_ns, *from, SCANNED, |index| {
                let kept = timed.get(&(*table, index.0)).and_then(|key| entries.get(key));
                // What finds no room is told after its next timeout.
                if let Some(kept) = kept.filter(|kept| told.len() + kept.bytes.len() <= ROOM) {
                    told.extend_from_slice(&kept.bytes);
                }
            });
        }
        (!told.is_empty()).then(|| channel::emit(Kind::Idle, 0, &[], &told))
    }

    /// Whether a client wants to be told a digest.
    pub(super) fn wants(&self, digest: u32) -> bool {
        self.digests.contains_key(&digest)
    }

    /// What clients have written, as frames: entries before what belongs to them.
    pub(super) fn frames(&self) -> Vec<Vec<u8>> {
        const ROOM: usize = FRAME_MAX - size_of::<Header>();
        let mut frames = Vec::new();
        let mut entries: Vec<u8> = Vec::new();
        for kept in self.entries.values() {
            if entries.len() + kept.bytes.len() > ROOM {
                frames.push(channel::emit(Kind::TableState, 0, &[], &entries));
                entries.clear();
            }
            entries.extend_from_slice(&kept.bytes);
        }
        if !entries.is_empty() {
            frames.push(channel::emit(Kind::TableState, 0, &[], &entries));
        }
        frames.extend(self.meters.values().map(|bytes| channel::emit(Kind::MeterState, 0, &[], bytes)));
        frames.extend(self.digests.values().map(|bytes| channel::emit(Kind::DigestState, 0, &[], bytes)));
        frames
    }

    /// Takes up what a predecessor told, into tables that have none of it; the writer publishes them.
    ///
    /// # Errors
    /// What of it cannot be.
    pub(super) fn take_up(now_ns: u64, writer: &mut Writer, frames: &[Vec<u8>]) -> Result<Self, String> {
        let mut clients = Self::default();
        let mut overlay = Overlay::default();
        let mut staged = Vec::new();
        for frame in frames {
            let writes = Frame::parse(frame).ok().and_then(|frame| Write::parse(&frame));
            for write in writes.ok_or_else(|| String::from("something of a P4Runtime client that cannot be read"))? {
                staged.push(clients.stage(writer, write, &mut overlay).map_err(|(_, text)| text)?);
            }
        }
        writer.publish();
        staged.into_iter().for_each(|staged| clients.apply(now_ns, writer, staged));
        Ok(clients)
    }
}
