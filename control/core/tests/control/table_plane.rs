//! A data plane that has tables and nothing else: it takes sessions, transactions and questions as the contract has them.

use gantry::channel::session::{Hello, Reason, Refused, Welcome};
use gantry::channel::table::{
    ABSENT, CounterRead, CounterValue, CounterWrite, DigestWrite, EVERY_CELL, Entry, MeterWrite, PacketOut, TableDump,
    TableEntries, Verb,
};
use gantry::channel::{Frame, Header, Kind, emit};
use std::collections::BTreeMap;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A transaction's frames.
type Operations = Vec<(Kind, Vec<u8>)>;

/// What it keeps of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// As it was inserted, or last modified.
    pub(crate) bytes: Vec<u8>,
    pub(crate) counts: (u64, u64),
}

/// What it has. A transaction is tried on a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) entries: BTreeMap<Vec<u8>, Kept>,
    /// By object, cell (none for every one) and the entry's key of direct ones.
    pub(crate) meters: BTreeMap<(u32, Option<u32>, Vec<u8>), Vec<u8>>,
    pub(crate) digests: BTreeMap<u32, Vec<u8>>,
    pub(crate) counters: BTreeMap<(u32, u32), (u64, u64)>,
}

#[derive(Default)]
pub(crate) struct TablePlane {
    pub(crate) state: State,
    pub(crate) boot_id: u64,
    pub(crate) minor: u16,
    /// Entries of one table that it takes.
    pub(crate) room: Option<(u32, usize)>,
    /// Entries of a table that somebody else fills, as TABLE_DUMP tells them, so many at a time.
    pub(crate) owned: BTreeMap<u32, Vec<Vec<u8>>>,
    pub(crate) page: usize,
    /// It does not answer to these, and nothing after them in the transaction.
    pub(crate) deaf_to: Option<Kind>,
    /// Kinds of frames in the order they came.
    pub(crate) heard: Vec<Kind>,
    /// Frames sent from ports.
    pub(crate) sent: Vec<(u32, Vec<u8>)>,
    /// Transactions applied.
    pub(crate) commits: usize,
    /// Its id, its operations, and what PREPARE made of them.
    open: Option<(u64, Operations, Option<State>)>,
}

impl TablePlane {
    pub(crate) fn new() -> Self {
        Self { boot_id: 5, minor: 2, page: 2, ..Self::default() }
    }

    /// Another run of it, with nothing.
    pub(crate) fn restart(&mut self) {
        (self.state, self.open) = (State::default(), None);
        self.boot_id += 1;
    }

    /// The channel is gone: what was not committed is forgotten.
    pub(crate) fn hang_up(&mut self) {
        self.open = None;
    }

    /// Takes a frame of control; what it answers.
    pub(crate) fn take(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let frame = Frame::parse(datagram).expect("control's frames are sound");
        self.heard.push(frame.kind);
        let id = frame.transaction;
        if self.deaf_to == Some(frame.kind) {
            return Vec::new();
        }
        match frame.kind {
            Kind::Hello => self.welcome(frame.body().unwrap().0),
            Kind::Begin => {
                assert!(self.open.is_none(), "one transaction at a time");
                self.open = Some((id, Vec::new(), None));
                Vec::new()
            }
            Kind::Prepare => {
                let (of, operations, _) = self.open.take().expect("PREPARE closes a BEGIN");
                assert_eq!(of, id);
                match self.attempt(&operations) {
                    Ok(state) => {
                        self.open = Some((id, operations, Some(state)));
                        vec![emit(Kind::Prepared, id, &[], &[])]
                    }
                    Err((at, reason)) => vec![refused(id, at, reason)],
                }
            }
            Kind::Commit => {
                let (of, _, state) = self.open.take().expect("COMMIT follows PREPARE");
                assert_eq!(of, id);
                self.state = state.expect("it is prepared");
                self.commits += 1;
                vec![emit(Kind::Committed, id, &[], &[])]
            }
            Kind::CounterRead => self.counters(id, &frame),
            Kind::SinceHit => {
                let hit = |entry: &Entry<'_>| if self.state.entries.contains_key(&entry.key()) { 42 } else { ABSENT };
                let entries = Entry::parse_all(frame.bytes).unwrap();
                let hits: Vec<u8> = entries.iter().flat_map(|entry| u64::to_le_bytes(hit(entry))).collect();
                vec![emit(Kind::Hits, id, &[], &hits)]
            }
            Kind::TableDump => {
                let (dump, _) = frame.body::<TableDump>().unwrap();
                let Some(all) = self.owned.get(&dump.table.get()) else {
                    return vec![refused(id, u32::MAX, Reason::NotFound)];
                };
                let from = dump.from.get() as usize;
                let page: Vec<u8> = all.iter().skip(from).take(self.page).flatten().copied().collect();
                let next = if from + self.page < all.len() { (from + self.page) as u64 } else { ABSENT };
                let body = TableEntries { table: dump.table, reserved: 0.into(), next: next.into() };
                vec![emit(Kind::TableEntries, id, body.as_bytes(), &page)]
            }
            Kind::PacketOut => {
                let (packet, bytes) = frame.body::<PacketOut>().unwrap();
                self.sent.push((packet.port.get(), bytes.to_vec()));
                Vec::new()
            }
            kind => {
                let (of, operations, prepared) = self.open.as_mut().expect("operations come in transactions");
                assert!(*of == id && prepared.is_none(), "{kind:?} out of place");
                operations.push((kind, frame.bytes.to_vec()));
                Vec::new()
            }
        }
    }

    fn welcome(&mut self, hello: &Hello) -> Vec<Vec<u8>> {
        let minor = self.minor.min(hello.minor.get());
        let welcome =
            Welcome { major: 1.into(), minor: minor.into(), boot_id: self.boot_id.into(), ..Welcome::new_zeroed() };
        let mut frames = vec![emit(Kind::Welcome, 0, welcome.as_bytes(), &[])];
        if minor >= 2 {
            frames.extend(self.state.entries.values().map(|kept| emit(Kind::TableState, 0, &kept.bytes, &[])));
            frames.extend(self.state.meters.values().map(|bytes| emit(Kind::MeterState, 0, bytes, &[])));
            frames.extend(self.state.digests.values().map(|bytes| emit(Kind::DigestState, 0, bytes, &[])));
        }
        if minor >= 1 {
            frames.push(emit(Kind::Synchronized, 0, &[], &[]));
        }
        frames
    }

    /// What it would have after these; else which of them is refused.
    fn attempt(&self, operations: &[(Kind, Vec<u8>)]) -> Result<State, (u32, Reason)> {
        let mut state = self.state.clone();
        let mut at = 0;
        for (kind, bytes) in operations {
            match kind {
                Kind::TableWrite => {
                    for entry in Entry::parse_all(bytes).expect("control's entries are sound") {
                        self.write(&mut state, &entry).map_err(|reason| (at, reason))?;
                        at += 1;
                    }
                    continue;
                }
                Kind::MeterWrite => {
                    let (write, tail) = MeterWrite::ref_from_prefix(bytes).unwrap();
                    let entry = if tail.is_empty() { Vec::new() } else { Entry::parse(tail).unwrap().0.key() };
                    let object = write.object.get();
                    let cell = Some(write.index.get()).filter(|cell| *cell != EVERY_CELL);
                    if cell.is_none() {
                        state.meters.retain(|(of, _, entry), _| *of != object || !entry.is_empty());
                    }
                    state.meters.insert((object, cell, entry), bytes.clone());
                }
                Kind::CounterWrite => {
                    let (write, tail) = CounterWrite::ref_from_prefix(bytes).unwrap();
                    let counts = (write.packets.get(), write.bytes.get());
                    if tail.is_empty() {
                        state.counters.insert((write.object.get(), write.index.get()), counts);
                    } else {
                        let key = Entry::parse(tail).unwrap().0.key();
                        state.entries.get_mut(&key).ok_or((at, Reason::NotFound))?.counts = counts;
                    }
                }
                Kind::DigestWrite => {
                    let (write, _) = DigestWrite::ref_from_prefix(bytes).unwrap();
                    match write.wanted.get() {
                        0 => drop(state.digests.remove(&write.digest.get())),
                        _ => drop(state.digests.insert(write.digest.get(), bytes.clone())),
                    }
                }
                Kind::PortAdd | Kind::AddressAdd | Kind::DriveAdd => {}
                kind => panic!("{kind:?} is no business of tables"),
            }
            at += 1;
        }
        Ok(state)
    }

    fn write(&self, state: &mut State, entry: &Entry<'_>) -> Result<(), Reason> {
        let (key, bytes, table) = (entry.key(), entry.bytes.to_vec(), entry.head.table.get());
        let of_table = state.entries.keys().filter(|key| key[..4] == table.to_be_bytes()).count();
        match (entry.verb, state.entries.contains_key(&key)) {
            (Verb::Insert, true) => return Err(Reason::Exists),
            (Verb::Insert, false) if self.room.is_some_and(|(of, room)| of == table && of_table >= room) => {
                return Err(Reason::Full);
            }
            (Verb::Modify | Verb::Delete, false) => return Err(Reason::NotFound),
            (Verb::Delete, true) => {
                state.entries.remove(&key);
                state.meters.retain(|(_, _, of), _| *of != key);
            }
            (Verb::Default, _) if entry.head.action.get() == 0 => drop(state.entries.remove(&key)),
            (Verb::Insert | Verb::Modify | Verb::Default, _) => {
                let mut kept = state.entries.remove(&key).unwrap_or(Kept { bytes: Vec::new(), counts: (0, 0) });
                kept.bytes = bytes;
                // It tells entries as insertions.
                if entry.verb == Verb::Modify {
                    kept.bytes[12] = Verb::Insert as u8;
                }
                state.entries.insert(key, kept);
            }
        }
        Ok(())
    }

    fn counters(&self, id: u64, frame: &Frame<'_>) -> Vec<Vec<u8>> {
        let (read, tail) = frame.body::<CounterRead>().unwrap();
        let object = read.object.get();
        let cells = (read.first.get()..read.first.get() + read.count.get())
            .map(|cell| Some(self.state.counters.get(&(object, cell)).copied().unwrap_or_default()));
        let entries = Entry::parse_all(tail).unwrap();
        let direct = entries.iter().map(|entry| self.state.entries.get(&entry.key()).map(|kept| kept.counts));
        let values = cells.chain(direct).flat_map(|counts| {
            let (packets, bytes) = counts.unwrap_or((ABSENT, ABSENT));
            CounterValue { packets: packets.into(), bytes: bytes.into() }.as_bytes().to_vec()
        });
        vec![emit(Kind::Counters, id, &[], &values.collect::<Vec<u8>>())]
    }
}

pub(crate) fn refused(id: u64, at: u32, reason: Reason) -> Vec<u8> {
    let body = Refused { operation: at.into(), reason: (reason as u16).into(), reserved: 0.into() };
    emit(Kind::Refused, id, body.as_bytes(), b"the data plane's words")
}

/// Number of entries in a TABLE_WRITE.
pub(crate) fn entries_in(datagram: &[u8]) -> usize {
    Entry::parse_all(&datagram[size_of::<Header>()..]).map_or(0, |entries| entries.len())
}
