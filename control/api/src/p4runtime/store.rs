//! What clients want, by table: the state that Reads tell and that a data plane is brought to.
//!
//! Every change is noted in an [`Undo`] first, so that a batch that fails leaves no trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::digest::DigestConfig;
use super::entry::{ActionCall, Key, Note, Rates};
use super::pipeline::{DigestId, MeterId, Pipeline, TableId};
use super::plane::{At, Change};

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it does. None only for default entries that are as the program has them, where P4Info does not tell.
    pub action: Option<ActionCall>,
    /// The client's own.
    pub note: Note,
    /// The time without a hit after which it is told to be idle; 0 is never.
    pub idle_timeout_ns: u64,
    /// Rates of its direct meter.
    pub rates: Option<Rates>,
    /// Clients cannot change it.
    pub is_const: bool,
}

impl Entry {
    /// One that does that and has nothing else.
    #[must_use]
    pub fn new(action: Option<ActionCall>) -> Self {
        Self { action, note: Note::default(), idle_timeout_ns: 0, rates: None, is_const: false }
    }
}

/// The entries of one table.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    pub(super) entries: BTreeMap<Key, Arc<Entry>>,
    pub(super) default: Arc<Entry>,
}

/// What clients want.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pub(super) tables: BTreeMap<TableId, Entries>,
    /// Cells that are not green for everything.
    pub(super) meters: BTreeMap<MeterId, BTreeMap<u32, Rates>>,
    pub(super) digests: BTreeMap<DigestId, DigestConfig>,
}

/// How something was before.
pub(super) enum Undo {
    Entry(TableId, Key, Option<Arc<Entry>>),
    Default(TableId, Arc<Entry>),
    Cell(MeterId, u32, Option<Rates>),
    Cells(MeterId, BTreeMap<u32, Rates>),
    Digest(DigestId, Option<DigestConfig>),
}

impl Store {
    /// As the program leaves it: its own entries and defaults.
    pub(super) fn new(pipeline: &Pipeline) -> Self {
        let mut store = Self::default();
        for (id, table) in &pipeline.tables {
            let default = Entry { is_const: table.const_default, ..Entry::new(table.initial_default.clone()) };
            store.tables.insert(*id, Entries { entries: BTreeMap::new(), default: Arc::new(default) });
        }
        for own in &pipeline.initial {
            let is_const = own.is_const || pipeline.tables[&own.table].is_const;
            let entry = Entry { is_const, ..Entry::new(Some(own.action.clone())) };
            store.of(own.table).entries.insert(own.key.clone(), Arc::new(entry));
        }
        for meter in pipeline.meters.keys() {
            store.meters.insert(*meter, BTreeMap::new());
        }
        store
    }

    /// Entries of a table, in the order of priority and key.
    pub fn entries(&self, table: TableId) -> impl Iterator<Item = (&Key, &Entry)> {
        self.tables.get(&table).into_iter().flat_map(|of| of.entries.iter().map(|(key, entry)| (key, &**entry)))
    }

    /// An entry, if it is there.
    #[must_use]
    pub fn entry(&self, table: TableId, at: &At) -> Option<&Entry> {
        let of = self.tables.get(&table)?;
        match at {
            At::Default => Some(&of.default),
            At::Entry(key) => of.entries.get(key).map(|entry| &**entry),
        }
    }

    /// How many entries a table has, without its default.
    #[must_use]
    pub fn len(&self, table: TableId) -> usize {
        self.tables.get(&table).map_or(0, |of| of.entries.len())
    }

    pub(super) fn of(&mut self, table: TableId) -> &mut Entries {
        self.tables.get_mut(&table).expect("every table of the pipeline is here")
    }

    /// An entry becomes, or goes.
    pub(super) fn put(&mut self, undo: &mut Vec<Undo>, table: TableId, key: &Key, entry: Option<Entry>) {
        let entries = &mut self.of(table).entries;
        let before = match entry {
            Some(entry) => entries.insert(key.clone(), Arc::new(entry)),
            None => entries.remove(key),
        };
        undo.push(Undo::Entry(table, key.clone(), before));
    }

    pub(super) fn put_default(&mut self, undo: &mut Vec<Undo>, table: TableId, entry: Entry) {
        let before = std::mem::replace(&mut self.of(table).default, Arc::new(entry));
        undo.push(Undo::Default(table, before));
    }

    pub(super) fn put_cell(&mut self, undo: &mut Vec<Undo>, meter: MeterId, index: u32, rates: Option<Rates>) {
        let cells = self.meters.get_mut(&meter).expect("every meter of the pipeline is here");
        let before = match rates {
            Some(rates) => cells.insert(index, rates),
            None => cells.remove(&index),
        };
        undo.push(Undo::Cell(meter, index, before));
    }

    pub(super) fn put_cells(&mut self, undo: &mut Vec<Undo>, meter: MeterId, cells: BTreeMap<u32, Rates>) {
        let before = self.meters.insert(meter, cells).expect("every meter of the pipeline is here");
        undo.push(Undo::Cells(meter, before));
    }

    pub(super) fn put_digest(&mut self, undo: &mut Vec<Undo>, digest: DigestId, config: Option<DigestConfig>) {
        let before = match config {
            Some(config) => self.digests.insert(digest, config),
            None => self.digests.remove(&digest),
        };
        undo.push(Undo::Digest(digest, before));
    }

    /// As it was before what is noted, the last of it first.
    pub(super) fn roll_back(&mut self, undo: Vec<Undo>) {
        for one in undo.into_iter().rev() {
            match one {
                Undo::Entry(table, key, Some(before)) => drop(self.of(table).entries.insert(key, before)),
                Undo::Entry(table, key, None) => drop(self.of(table).entries.remove(&key)),
                Undo::Default(table, before) => self.of(table).default = before,
                Undo::Cell(meter, index, Some(before)) => {
                    self.meters.entry(meter).or_default().insert(index, before);
                }
                Undo::Cell(meter, index, None) => {
                    self.meters.entry(meter).or_default().remove(&index);
                }
                Undo::Cells(meter, before) => drop(self.meters.insert(meter, before)),
                Undo::Digest(digest, Some(before)) => drop(self.digests.insert(digest, before)),
                Undo::Digest(digest, None) => drop(self.digests.remove(&digest)),
            }
        }
    }

    /// Something that the data plane has kept is as it says. None if the program cannot have it.
    pub(super) fn adopt(&mut self, pipeline: &Pipeline, change: &Change) -> Option<()> {
        let clients = |table: &TableId| pipeline.tables.get(table).filter(|declared| declared.owner().is_none());
        match change {
            Change::Insert { table, key, action, idle_timeout_ns, note }
            | Change::Modify { table, key, action, idle_timeout_ns, note } => {
                let declared = clients(table)?;
                let of = self.of(*table);
                if !pipeline.knows(*table, key, action) || of.entries.len() >= declared.size {
                    return None;
                }
                let (idle_timeout_ns, note) = (*idle_timeout_ns, note.clone());
                let entry = Entry { idle_timeout_ns, note, ..Entry::new(Some(action.clone())) };
                of.entries.insert(key.clone(), Arc::new(entry));
            }
            Change::Default { table, action: Some(action), note } => {
                let declared = clients(table)?;
                if !pipeline.fits(declared, action) || declared.const_default {
                    return None;
                }
                let rates = self.of(*table).default.rates;
                let entry = Entry { rates, note: note.clone(), ..Entry::new(Some(action.clone())) };
                self.of(*table).default = Arc::new(entry);
            }
            Change::DirectMeter { table, at, rates } => {
                clients(table)?.meter?;
                let of = self.of(*table);
                let entry = match at {
                    At::Entry(key) => of.entries.get_mut(key)?,
                    At::Default => &mut of.default,
                };
                Arc::make_mut(entry).rates = *rates;
            }
            Change::Meter { meter, index, rates } => {
                let size = pipeline.meters.get(meter).filter(|array| array.object.owner.is_none())?.size;
                let cells = self.meters.get_mut(meter)?;
                match (index, rates) {
                    (Some(index), _) if *index >= size => return None,
                    (Some(index), Some(rates)) => drop(cells.insert(*index, *rates)),
                    (Some(index), None) => drop(cells.remove(index)),
                    (None, Some(rates)) => *cells = (0..size).map(|index| (index, *rates)).collect(),
                    (None, None) => cells.clear(),
                }
            }
            Change::Digest { digest, config: Some(config) } => {
                pipeline.digests.get(digest)?;
                self.digests.insert(*digest, *config);
            }
            _ => return None,
        }
        Some(())
    }

    /// The changes that bring a data plane from this to what the program brings, where clients may write.
    pub(super) fn clearing(&self, pipeline: &Pipeline) -> Vec<Change> {
        let fresh = Self::new(pipeline);
        let mut changes = Vec::new();
        for (id, of) in &self.tables {
            if pipeline.tables[id].object.owner.is_none() {
                clear_table(*id, of, &fresh.tables[id], &mut changes);
            }
        }
        for (meter, cells) in &self.meters {
            if pipeline.meters[meter].object.owner.is_none() && !cells.is_empty() {
                changes.push(Change::Meter { meter: *meter, index: None, rates: None });
            }
        }
        changes.extend(self.digests.keys().map(|digest| Change::Digest { digest: *digest, config: None }));
        changes
    }

    /// As the program leaves it where clients may write; the rest stays.
    pub(super) fn clear(&mut self, pipeline: &Pipeline) {
        let fresh = Self::new(pipeline);
        for (id, of) in fresh.tables {
            if pipeline.tables[&id].object.owner.is_none() {
                self.tables.insert(id, of);
            }
        }
        for (meter, cells) in fresh.meters {
            if pipeline.meters[&meter].object.owner.is_none() {
                self.meters.insert(meter, cells);
            }
        }
        self.digests.clear();
    }
}

fn clear_table(table: TableId, now: &Entries, then: &Entries, changes: &mut Vec<Change>) {
    let call = |entry: &Entry| entry.action.clone().expect("entries that are no defaults have an action");
    for key in now.entries.keys().filter(|key| !then.entries.contains_key(key)) {
        changes.push(Change::Delete { table, key: key.clone() });
    }
    for (key, entry) in &then.entries {
        let (key, action) = (key.clone(), call(entry));
        match now.entries.get(&key) {
            None => changes.push(Change::Insert { table, key, action, idle_timeout_ns: 0, note: Note::default() }),
            Some(now) => {
                if now.rates.is_some() {
                    changes.push(Change::DirectMeter { table, at: At::Entry(key.clone()), rates: None });
                }
                if **now != **entry {
                    changes.push(Change::Modify { table, key, action, idle_timeout_ns: 0, note: Note::default() });
                }
            }
        }
    }
    if now.default.rates.is_some() {
        changes.push(Change::DirectMeter { table, at: At::Default, rates: None });
    }
    if now.default.action != then.default.action || now.default.note != then.default.note {
        changes.push(Change::Default { table, action: None, note: Note::default() });
    }
}
