//! A data plane that is only its tables: for tests, and for trying clients out.

use std::collections::{BTreeMap, VecDeque};

use super::entry::{ActionCall, Counts, Key, Rates};
use super::pipeline::{CounterId, DigestId, MeterId, RegisterId, TableId};
use super::plane::{Answer, At, Begun, Change, Committed, Plane, Question, Refused, Told};
use super::status::{Code, Refusal};

/// What it has of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Slot {
    action: Option<ActionCall>,
    idle_timeout_ns: u64,
    counts: Counts,
    rates: Option<Rates>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    tables: BTreeMap<TableId, BTreeMap<Key, Slot>>,
    defaults: BTreeMap<TableId, Slot>,
    counters: BTreeMap<(CounterId, Option<u32>), Counts>,
    meters: BTreeMap<(MeterId, Option<u32>), Option<Rates>>,
    registers: BTreeMap<(RegisterId, Option<u32>), u128>,
    digests: BTreeMap<DigestId, bool>,
}

/// A data plane in memory. It holds every transaction to be one that a data plane could make.
#[derive(Debug, Default)]
pub struct MemoryPlane {
    state: State,
    /// Transactions made.
    pub commits: u64,
    /// A table that takes no more than so many entries.
    pub room: Option<(TableId, usize)>,
    /// Why it takes nothing at all.
    pub broken: Option<Refusal>,
    /// The latest packets that clients have sent: metadata and payload.
    pub packets: VecDeque<(Vec<u128>, Vec<u8>)>,
}

/// So many packets are kept.
const PACKETS_MAX: usize = 64;

impl MemoryPlane {
    /// The action of a table's entry.
    #[must_use]
    pub fn action(&self, table: TableId, at: &At) -> Option<&ActionCall> {
        self.slot(table, at)?.action.as_ref()
    }

    /// The rates of a table's entry.
    #[must_use]
    pub fn rates(&self, table: TableId, at: &At) -> Option<Rates> {
        self.slot(table, at)?.rates
    }

    /// The rates of a meter's cell.
    #[must_use]
    pub fn cell(&self, meter: MeterId, index: u32) -> Option<Rates> {
        let meters = &self.state.meters;
        meters.get(&(meter, Some(index))).or_else(|| meters.get(&(meter, None))).copied().flatten()
    }

    /// How many entries a table has.
    #[must_use]
    pub fn len(&self, table: TableId) -> usize {
        self.state.tables.get(&table).map_or(0, BTreeMap::len)
    }

    /// Whether somebody wants a digest.
    #[must_use]
    pub fn wants(&self, digest: DigestId) -> bool {
        self.state.digests.get(&digest).copied().unwrap_or_default()
    }

    fn slot(&self, table: TableId, at: &At) -> Option<&Slot> {
        match at {
            At::Default => self.state.defaults.get(&table),
            At::Entry(key) => self.state.tables.get(&table)?.get(key),
        }
    }

    fn make(&mut self, change: &Change) {
        let state = &mut self.state;
        match change.clone() {
            Change::Insert { table, key, action, idle_timeout_ns, note: _ } => {
                let slot = Slot { action: Some(action), idle_timeout_ns, ..Slot::default() };
                let before = state.tables.entry(table).or_default().insert(key, slot);
                assert!(before.is_none(), "an entry is inserted that is there");
            }
            Change::Modify { table, key, action, idle_timeout_ns, note: _ } => {
                let slot = state.slot(table, &At::Entry(key));
                (slot.action, slot.idle_timeout_ns) = (Some(action), idle_timeout_ns);
            }
            Change::Delete { table, key } => {
                let before = state.tables.get_mut(&table).and_then(|entries| entries.remove(&key));
                assert!(before.is_some(), "an entry is deleted that is not there");
            }
            Change::Default { table, action, note: _ } => state.slot(table, &At::Default).action = action,
            Change::DirectCounter { table, at, counts } => state.slot(table, &at).counts = counts,
            Change::DirectMeter { table, at, rates } => state.slot(table, &at).rates = rates,
            Change::Counter { counter, index, counts } => {
                if index.is_none() {
                    state.counters.retain(|(of, _), _| *of != counter);
                }
                state.counters.insert((counter, index), counts);
            }
            Change::Meter { meter, index, rates } => {
                if index.is_none() {
                    state.meters.retain(|(of, _), _| *of != meter);
                }
                state.meters.insert((meter, index), rates);
            }
            Change::Register { register, index, value } => {
                if index.is_none() {
                    state.registers.retain(|(of, _), _| *of != register);
                }
                state.registers.insert((register, index), value);
            }
            Change::Digest { digest, config } => drop(state.digests.insert(digest, config.is_some())),
        }
    }
}

impl State {
    fn slot(&mut self, table: TableId, at: &At) -> &mut Slot {
        match at {
            At::Default => self.defaults.entry(table).or_default(),
            At::Entry(key) => {
                let entries = self.tables.entry(table).or_default();
                entries.get_mut(key).expect("the entry that is changed is there")
            }
        }
    }
}

impl MemoryPlane {
    fn make_all(&mut self, changes: &[Change]) -> Committed {
        if let Some(reason) = &self.broken {
            return Err(Refused { at: None, reason: reason.clone() });
        }
        let before = self.room.is_some().then(|| self.state.clone());
        for (at, change) in changes.iter().enumerate() {
            self.make(change);
            if let Some((table, room)) = self.room
                && self.len(table) > room
            {
                self.state = before.expect("it was kept because there is a bound");
                let reason = Refusal::new(Code::ResourceExhausted, "the data plane has no room");
                return Err(Refused { at: Some(at), reason });
            }
        }
        self.commits += 1;
        Ok(())
    }

    fn answer(&self, question: &Question) -> Answer {
        let State { counters, registers, .. } = &self.state;
        let found = match question {
            Question::Counter(counter, index) => {
                let cell = counters.get(&(*counter, Some(*index))).or_else(|| counters.get(&(*counter, None)));
                cell.copied().map(Answer::Counts)
            }
            Question::DirectCounter(table, at) => self.slot(*table, at).map(|slot| Answer::Counts(slot.counts)),
            Question::SinceLastHit(table, key) => {
                self.slot(*table, &At::Entry(key.clone())).map(|_| Answer::Nanoseconds(0))
            }
            Question::Register(register, index) => {
                let cell = registers.get(&(*register, Some(*index))).or_else(|| registers.get(&(*register, None)));
                cell.copied().map(Answer::Value)
            }
            Question::MeterCounts(..) | Question::DirectMeterCounts(..) | Question::Entries(..) => None,
        };
        found.unwrap_or(Answer::Nothing)
    }
}

impl Plane for MemoryPlane {
    fn commit(&mut self, changes: &[Change]) -> Begun<Committed> {
        Begun::Over(self.make_all(changes))
    }

    fn ask(&mut self, questions: Vec<Question>) -> Begun<Told> {
        Begun::Over(Ok(questions.iter().map(|question| self.answer(question)).collect()))
    }

    fn packet_out(&mut self, metadata: &[u128], payload: &[u8]) -> Result<(), Refusal> {
        if self.packets.len() == PACKETS_MAX {
            self.packets.pop_front();
        }
        self.packets.push_back((metadata.to_vec(), payload.to_vec()));
        Ok(())
    }
}
