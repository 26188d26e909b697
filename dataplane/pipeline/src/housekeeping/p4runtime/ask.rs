//! What control asks of tables for P4Runtime's clients: counts, and entries of the tables that housekeeping fills itself.

use alloc::string::String;
use alloc::vec::Vec;

use gantry::channel::operation::{NAMESPACE_READ_ONLY, NamespaceAdd};
use gantry::channel::session::Reason;
use gantry::channel::table::{
    ABSENT, COUNTERS_MAX, CounterRead, CounterValue, Entry, Field, FieldKind, TableDump, TableEntries, Verb, emit_entry,
};
use gantry::channel::{self, FRAME_MAX, Frame, Header, Kind};
use gantry::{command, packet};
use gantry_table::EntryIndex;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U32, U64};

use super::{Clients, Overlay, Refusal, refusal};
use crate::tables::{TENANT, Writer};

const NAMESPACES: &str = "Command.namespaces";

/// Room for entries in an answer.
const ROOM: usize = FRAME_MAX - size_of::<Header>() - size_of::<TableEntries>();

/// Where the entries are that housekeeping fills tables with.
pub(crate) trait Filled {
    /// Port, VLAN and address of the card's, from the nth on.
    fn addresses(&self, from: u64) -> impl Iterator<Item = (u16, u16, [u8; 16])>;
    /// QPN, lcore and slot of the QPs that packets reach, from that QPN on.
    fn qps(&self, from: u32) -> impl Iterator<Item = (u32, u16, u32)>;
    /// Namespaces, from that controller and NSID on.
    fn namespaces(&self, from: (u16, u32)) -> impl Iterator<Item = &NamespaceAdd>;
}

/// An answer's entries, as long as there is room for more.
struct Page {
    table: u32,
    bytes: Vec<u8>,
    next: u64,
}

impl Page {
    /// Adds an entry, whose place is `at`. False when it is the next answer's.
    fn add(&mut self, at: u64, values: &[u128], action: u32, arguments: &[u128]) -> bool {
        let before = self.bytes.len();
        let fields: Vec<Field> = values.iter().map(|value| Field::new(FieldKind::Value, 0, *value, 0)).collect();
        let arguments = arguments.iter().copied();
        emit_entry(&mut self.bytes, Verb::Insert, self.table, 0, &fields, action, arguments, 0, &[]);
        if self.bytes.len() > ROOM {
            self.bytes.truncate(before);
            self.next = at;
        }
        self.next == ABSENT
    }
}

impl Clients {
    /// The answer to a question, as a frame.
    pub(in crate::housekeeping) fn answer(
        &self,
        now_ns: u64,
        writer: &Writer,
        filled: &impl Filled,
        frame: &Frame<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        let malformed = || (Reason::Malformed, String::from("a question that cannot be read"));
        match frame.kind {
            Kind::CounterRead => {
                let (read, tail) = frame.body::<CounterRead>().map_err(|_| malformed())?;
                let entries = Entry::parse_all(tail).map_err(|_| malformed())?;
                let values = self.counters(writer, read, &entries)?;
                Ok(channel::emit(Kind::Counters, frame.transaction, &[], values.as_slice().as_bytes()))
            }
            Kind::SinceHit => {
                let entries = Entry::parse_all(frame.bytes).map_err(|_| malformed())?;
                let none = Overlay::default();
                let since = |entry: &Entry<'_>| {
                    let idle = writer.tables.idle(entry.head.table.get())?;
                    idle.since(self.index(&none, &entry.key())?, now_ns)
                };
                let hits: Vec<U64> = entries.iter().map(|entry| U64::new(since(entry).unwrap_or(ABSENT))).collect();
                Ok(channel::emit(Kind::Hits, frame.transaction, &[], hits.as_slice().as_bytes()))
            }
            _ => {
                let (dump, _) = frame.body::<TableDump>().map_err(|_| malformed())?;
                let page = page(filled, dump.table.get(), dump.from.get())?;
                let body = TableEntries { table: U32::new(page.table), reserved: U32::ZERO, next: U64::new(page.next) };
                Ok(channel::emit(Kind::TableEntries, frame.transaction, body.as_bytes(), &page.bytes))
            }
        }
    }

    fn counters(
        &self,
        writer: &Writer,
        read: &CounterRead,
        entries: &[Entry<'_>],
    ) -> Result<Vec<CounterValue>, Refusal> {
        let (object, first, count) = (read.object.get(), read.first.get() as usize, read.count.get() as usize);
        let Some(counters) = writer.tables.counters(object) else {
            return refusal(Reason::NotFound, "there are no such counters");
        };
        if count + entries.len() > COUNTERS_MAX {
            return refusal(Reason::Invalid, "more counters than an answer has");
        }
        let none = Overlay::default();
        let cells = (first..first + count).map(Some);
        let direct = entries.iter().map(|entry| match entry.verb {
            Verb::Default => Some(counters.len() - 1),
            _ => self.index(&none, &entry.key()).or_else(|| owned(writer, entry)).map(|index| index.index()),
        });
        let value = |cell: Option<usize>| match cell.and_then(|cell| counters.read(cell)) {
            Some(value) => CounterValue { packets: U64::new(value.packets), bytes: U64::new(value.bytes) },
            None => CounterValue { packets: U64::new(ABSENT), bytes: U64::new(ABSENT) },
        };
        Ok(cells.chain(direct).map(value).collect())
    }
}

/// Where an entry is that housekeeping has filled in. Of its tables only that of namespaces counts.
fn owned(writer: &Writer, entry: &Entry<'_>) -> Option<EntryIndex> {
    let namespaces = command::TABLES.iter().find(|table| table.name == NAMESPACES)?;
    let fields: Vec<u128> = entry.fields.iter().map(|field| field.value.get()).collect();
    (entry.head.table.get() == namespaces.id).then(|| writer.namespace_index(&fields)).flatten()
}

/// Entries of a table that housekeeping fills.
fn page(filled: &impl Filled, table: u32, from: u64) -> Result<Page, Refusal> {
    let is = |name: &str| packet::TABLES.iter().find(|found| found.name == name && found.id == table);
    let mut page = Page { table, bytes: Vec::new(), next: ABSENT };
    if let Some(found) = is("PacketControl.local_addresses") {
        let action = &found.actions[0];
        for (at, (port, vlan, ip)) in (from..).zip(filled.addresses(from)) {
            let values = [port.into(), vlan.into(), u128::from_be_bytes(ip)];
            if !page.add(at, &values, action.id, &[TENANT.into()]) {
                break;
            }
        }
        return Ok(page);
    }
    if let Some(found) = is("PacketControl.qps") {
        let action = &found.actions[0];
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        for (qpn, lcore, slot) in filled.qps(from) {
            if !page.add(qpn.into(), &[qpn.into()], action.id, &[lcore.into(), slot.into()]) {
                break;
            }
        }
        return Ok(page);
    }
    let namespaces = command::TABLES.iter().find(|table| table.name == NAMESPACES);
    if let Some(found) = namespaces.filter(|found| found.id == table) {
        let action = found.actions[0].id;
        for add in filled.namespaces(((from >> 32) as u16, from as u32)) {
            let (cntlid, nsid) = (add.cntlid.get(), add.nsid.get());
            let protected = u128::from(add.flags.get() & NAMESPACE_READ_ONLY != 0);
            let arguments = [
                add.drive.get().into(),
                add.drive_nsid.get().into(),
                add.lba_base.get().into(),
                add.lba_count.get().into(),
                protected,
                TENANT.into(),
            ];
            let at = u64::from(cntlid) << 32 | u64::from(nsid);
            if !page.add(at, &[cntlid.into(), nsid.into()], action, &arguments) {
                break;
            }
        }
        return Ok(page);
    }
    refusal(Reason::NotFound, "not a table that the data plane fills")
}
