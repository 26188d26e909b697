//! Write: each update is checked and made in the store, then all of them go to the data plane (P4Runtime 1.5.0 §12).

use gantry_p4_proto::runtime::write_request::Atomicity;
use gantry_p4_proto::runtime::{TableEntry, Update, WriteRequest, entity::Entity, update};

use super::calls::{Step, Work};
use super::entry::{ActionCall, Counts, Key, Note, Rates};
use super::message;
use super::pipeline::{Pipeline, Table, TableId};
use super::plane::{At, Change, Committed, Plane, Refused};
use super::role::Authority;
use super::server::Server;
use super::status::{Code, Failure, Refusal, denied, exhausted, exists, invalid, not_found, precondition, unsupported};
use super::store::{Entry, Store, Undo};

/// Bytes of the client's own that an entry may carry.
pub(super) const METADATA_BYTES_MAX: usize = 1024;

/// What an update does, `UNSPECIFIED` being none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Insert,
    Modify,
    Delete,
}

/// A batch that is being made.
pub(super) struct Batch<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) authority: &'a Authority,
    pub(super) store: &'a mut Store,
    pub(super) undo: Vec<Undo>,
    pub(super) changes: Vec<Change>,
}

/// A Write whose changes, or some of them, are with the plane.
pub(super) struct Write {
    request: WriteRequest,
    authority: Authority,
    undo: Vec<Undo>,
    stage: Stage,
}

enum Stage {
    /// All or none: how many changes there are up to the end of each update.
    Whole(Vec<usize>),
    /// Each by itself, all at once for a try; those that were refused already.
    Each(Vec<Result<(), Refusal>>),
    /// One by one, this one's changes being with the plane; the outcomes of those before it.
    One(usize, Vec<Result<(), Refusal>>),
}

impl<P: Plane> Server<P> {
    #[allow(deprecated)]
    pub(super) fn begin_write(&mut self, request: WriteRequest) -> Step {
        let authority = self.writer(request.device_id, request.role_id, &request.role, request.election_id.as_ref());
        let authority = match authority.and_then(|authority| self.plane.reachable().map(|()| authority)) {
            Ok(authority) => authority,
            Err(refusal) => return Step::Over(Err(refusal.into())),
        };
        let Some(pipeline) = self.pipeline.clone() else { return Step::Over(Err(no_pipeline().into())) };
        let mut batch = Batch::new(&pipeline, &authority, &mut self.store);
        match Atomicity::try_from(request.atomicity) {
            Ok(Atomicity::ContinueOnError) => {
                let outcomes: Vec<_> = request.updates.iter().map(|update| batch.update(update)).collect();
                let Batch { undo, changes, .. } = batch;
                if changes.is_empty() {
                    return Step::Over(Failure::batch("Write", outcomes));
                }
                Step::Commit(Work::Write(Write { request, authority, undo, stage: Stage::Each(outcomes) }), changes)
            }
            // The data plane makes every transaction at once, so that there is no difference.
            Ok(Atomicity::RollbackOnError | Atomicity::DataplaneAtomic) => {
                let mut changes_of = Vec::with_capacity(request.updates.len());
                for (at, update) in request.updates.iter().enumerate() {
                    if let Err(refusal) = batch.update(update) {
                        let undo = batch.undo;
                        self.store.roll_back(undo);
                        return Step::Over(none(request.updates.len(), Some(at), &refusal));
                    }
                    changes_of.push(batch.changes.len());
                }
                let Batch { undo, changes, .. } = batch;
                if changes.is_empty() {
                    return Step::Over(Ok(()));
                }
                Step::Commit(Work::Write(Write { request, authority, undo, stage: Stage::Whole(changes_of) }), changes)
            }
            Err(_) => Step::Over(Err(invalid(format!("there is no atomicity {}", request.atomicity)).into())),
        }
    }

    /// The plane has said what became of a Write's changes.
    pub(super) fn go_on_writing(&mut self, write: Write, committed: Committed) -> Step {
        let Write { request, authority, undo, stage } = write;
        if committed.is_err() {
            self.store.roll_back(undo);
        }
        match (stage, committed) {
            (Stage::Whole(_), Ok(())) => Step::Over(Ok(())),
            (Stage::Whole(changes_of), Err(Refused { at, reason })) => {
                let at = at.map(|change| changes_of.partition_point(|end| *end <= change));
                Step::Over(none(changes_of.len(), at, &reason))
            }
            (Stage::Each(outcomes), Ok(())) => Step::Over(Failure::batch("Write", outcomes)),
            (Stage::Each(mut outcomes), Err(Refused { at: None, reason })) => {
                let made = outcomes.iter_mut().filter(|outcome| outcome.is_ok());
                made.for_each(|outcome| *outcome = Err(reason.clone()));
                Step::Over(Failure::batch("Write", outcomes))
            }
            // One of them is too much for the data plane: once more, one by one, so that it alone is left out.
            (Stage::Each(_), Err(_)) => self.write_on(request, authority, Vec::new()),
            (Stage::One(_, mut outcomes), Ok(())) => {
                outcomes.push(Ok(()));
                self.write_on(request, authority, outcomes)
            }
            (Stage::One(at, mut outcomes), Err(Refused { at: None, reason })) => {
                let rest = request.updates.len() - at;
                outcomes.extend(std::iter::repeat_n(Err(reason), rest));
                Step::Over(Failure::batch("Write", outcomes))
            }
            (Stage::One(_, mut outcomes), Err(Refused { reason, .. })) => {
                outcomes.push(Err(reason));
                self.write_on(request, authority, outcomes)
            }
        }
    }

    /// The next update that changes something, by itself.
    fn write_on(
        &mut self,
        request: WriteRequest,
        authority: Authority,
        mut outcomes: Vec<Result<(), Refusal>>,
    ) -> Step {
        let pipeline = self.pipeline.clone().expect("it was there when the call began");
        while let Some(update) = request.updates.get(outcomes.len()) {
            let mut batch = Batch::new(&pipeline, &authority, &mut self.store);
            let outcome = batch.update(update);
            let Batch { undo, changes, .. } = batch;
            if outcome.is_err() || changes.is_empty() {
                outcomes.push(outcome);
                continue;
            }
            let stage = Stage::One(outcomes.len(), outcomes);
            return Step::Commit(Work::Write(Write { request, authority, undo, stage }), changes);
        }
        Step::Over(Failure::batch("Write", outcomes))
    }
}

/// No update of a batch is made, because of one of them or for a reason that none has given.
fn none(updates: usize, at: Option<usize>, refusal: &Refusal) -> Result<(), Failure> {
    let others = match at {
        Some(_) => Refusal::new(Code::Aborted, "not made: another update of the batch failed"),
        None => refusal.clone(),
    };
    let outcomes = (0..updates).map(|one| Err(if at == Some(one) { refusal.clone() } else { others.clone() }));
    Failure::batch("Write", outcomes.collect())
}

/// Clients look for these words.
pub(super) fn no_pipeline() -> Refusal {
    precondition("no forwarding pipeline config is set yet: the data plane has not told its program")
}

/// The table that a message names.
pub(super) fn table_of(pipeline: &Pipeline, id: u32) -> Result<(TableId, &Table), Refusal> {
    let table = pipeline.tables.get(&TableId(id));
    table.map(|table| (TableId(id), table)).ok_or_else(|| invalid(format!("there is no table {id:#010x}")))
}

impl<'a> Batch<'a> {
    fn new(pipeline: &'a Pipeline, authority: &'a Authority, store: &'a mut Store) -> Self {
        Self { pipeline, authority, store, undo: Vec::new(), changes: Vec::new() }
    }

    /// Checks an update and makes it in the store. A refused one leaves everything as it was.
    fn update(&mut self, update: &Update) -> Result<(), Refusal> {
        let kind = match update::Type::try_from(update.r#type) {
            Ok(update::Type::Insert) => Kind::Insert,
            Ok(update::Type::Modify) => Kind::Modify,
            Ok(update::Type::Delete) => Kind::Delete,
            Ok(update::Type::Unspecified) | Err(_) => return Err(invalid("the update's type is not said")),
        };
        let Some(entity) = update.entity.as_ref().and_then(|entity| entity.entity.as_ref()) else {
            return Err(invalid("the update has no entity"));
        };
        match entity {
            Entity::TableEntry(entry) => self.table_entry(kind, entry),
            Entity::DirectCounterEntry(entry) => self.direct_counter(kind, entry),
            Entity::DirectMeterEntry(entry) => self.direct_meter(kind, entry),
            Entity::CounterEntry(entry) => self.counter(kind, entry),
            Entity::MeterEntry(entry) => self.meter(kind, entry),
            Entity::RegisterEntry(entry) => self.register(kind, entry),
            Entity::DigestEntry(entry) => self.digest(kind, entry),
            Entity::ActionProfileMember(_) | Entity::ActionProfileGroup(_) => {
                Err(invalid("the program has no action profile"))
            }
            Entity::ValueSetEntry(_) => Err(invalid("the program has no value set")),
            Entity::ExternEntry(_) => Err(invalid("the program has no extern of that type")),
            Entity::PacketReplicationEngineEntry(_) => Err(unsupported("a NIC replicates no packets")),
        }
    }

    /// An entry of a table (§9.1).
    fn table_entry(&mut self, kind: Kind, entry: &TableEntry) -> Result<(), Refusal> {
        let (id, table) = table_of(self.pipeline, entry.table_id)?;
        self.authority.may_write(id.0, &table.object)?;
        if entry.is_const {
            return Err(invalid(format!("{}: clients make no constant entries", table.object.name)));
        }
        if entry.is_default_action {
            return self.default_entry(kind, id, table, entry);
        }
        let key = message::key(table, entry)?;
        match kind {
            Kind::Insert => self.insert(id, table, key, entry),
            Kind::Modify => self.modify(id, table, key, entry),
            Kind::Delete => self.delete(id, table, &key),
        }
    }

    fn insert(&mut self, id: TableId, table: &Table, key: Key, given: &TableEntry) -> Result<(), Refusal> {
        let name = &table.object.name;
        if table.is_const {
            return Err(denied(format!("the entries of {name} are constant")));
        }
        let call = message::action_call(self.pipeline, table, self.authority, given.action.as_ref(), false)?;
        let Some(call) = call else { return Err(invalid(format!("{name}: a new entry needs an action"))) };
        let extras = Extras::new(table, given)?;
        let entries = &self.store.of(id).entries;
        if entries.contains_key(&key) {
            return Err(exists(format!("{name}: there is such an entry")));
        }
        if entries.len() >= table.size {
            return Err(exhausted(format!("{name} has its {} entries", table.size)));
        }
        let (idle_timeout_ns, note) = (extras.idle_timeout_ns, extras.note.clone());
        self.changes.push(Change::Insert { table: id, key: key.clone(), action: call.clone(), idle_timeout_ns, note });
        self.direct(id, &At::Entry(key.clone()), None, &extras);
        self.store.put(&mut self.undo, id, &key, Some(extras.entry(Some(call))));
        Ok(())
    }

    fn modify(&mut self, id: TableId, table: &Table, key: Key, given: &TableEntry) -> Result<(), Refusal> {
        let name = &table.object.name;
        let Some(now) = self.store.of(id).entries.get(&key).cloned() else {
            return Err(not_found(format!("{name}: there is no such entry")));
        };
        if now.is_const && given.action.is_some() {
            return Err(denied(format!("{name}: the entry is constant")));
        }
        let call = message::action_call(self.pipeline, table, self.authority, given.action.as_ref(), false)?;
        let call = call.or_else(|| now.action.clone());
        let extras = Extras::new(table, given)?;
        if now.is_const && extras.idle_timeout_ns != 0 {
            return Err(invalid(format!("{name}: constant entries have no idle timeout")));
        }
        if call != now.action || extras.idle_timeout_ns != now.idle_timeout_ns || extras.note != now.note {
            let (key, idle_timeout_ns, note) = (key.clone(), extras.idle_timeout_ns, extras.note.clone());
            let action = call.clone().expect("entries that are no defaults have an action");
            self.changes.push(Change::Modify { table: id, key, action, idle_timeout_ns, note });
        }
        self.direct(id, &At::Entry(key.clone()), now.rates, &extras);
        let entry = Entry { is_const: now.is_const, ..extras.entry(call) };
        self.store.put(&mut self.undo, id, &key, Some(entry));
        Ok(())
    }

    fn delete(&mut self, id: TableId, table: &Table, key: &Key) -> Result<(), Refusal> {
        let name = &table.object.name;
        match self.store.of(id).entries.get(key) {
            None if table.is_const => Err(denied(format!("the entries of {name} are constant"))),
            None => Err(not_found(format!("{name}: there is no such entry"))),
            Some(entry) if entry.is_const => Err(denied(format!("{name}: the entry is constant"))),
            Some(_) => {
                self.changes.push(Change::Delete { table: id, key: key.clone() });
                self.store.put(&mut self.undo, id, key, None);
                Ok(())
            }
        }
    }

    /// What a table does on a miss (§9.1.3).
    fn default_entry(&mut self, kind: Kind, id: TableId, table: &Table, given: &TableEntry) -> Result<(), Refusal> {
        let name = &table.object.name;
        if kind != Kind::Modify {
            return Err(invalid(format!("{name}: a default entry is always there, and can only be modified")));
        }
        if !given.r#match.is_empty() || given.priority != 0 {
            return Err(invalid(format!("{name}: a default entry has no match and no priority")));
        }
        if given.idle_timeout_ns != 0 || given.time_since_last_hit.is_some() {
            return Err(invalid(format!("{name}: a default entry has no idle timeout")));
        }
        if table.const_default {
            return Err(denied(format!("the default of {name} is constant")));
        }
        let call = message::action_call(self.pipeline, table, self.authority, given.action.as_ref(), true)?;
        let extras = Extras::new(table, given)?;
        let now = self.store.of(id).default.clone();
        let wanted = call.clone().or_else(|| table.initial_default.clone());
        let note = if call.is_some() { extras.note.clone() } else { Note::default() };
        if wanted != now.action || note != now.note {
            self.changes.push(Change::Default { table: id, action: call.clone(), note });
        }
        self.direct(id, &At::Default, now.rates, &extras);
        let entry = match call {
            Some(call) => extras.entry(Some(call)),
            // Without an action everything is as the program has it.
            None => Entry { rates: extras.rates, ..Entry::new(wanted) },
        };
        self.store.put_default(&mut self.undo, id, entry);
        Ok(())
    }

    /// Counter and meter of an entry that is being made or modified (§9.1.7).
    fn direct(&mut self, table: TableId, at: &At, rates_now: Option<Rates>, extras: &Extras) {
        if let Some(counts) = extras.counts {
            self.changes.push(Change::DirectCounter { table, at: at.clone(), counts });
        }
        if extras.rates != rates_now {
            self.changes.push(Change::DirectMeter { table, at: at.clone(), rates: extras.rates });
        }
    }
}

/// What an entry has besides key and action, checked.
struct Extras {
    counts: Option<Counts>,
    rates: Option<Rates>,
    idle_timeout_ns: u64,
    note: Note,
}

impl Extras {
    #[allow(deprecated)]
    fn new(table: &Table, given: &TableEntry) -> Result<Self, Refusal> {
        let name = &table.object.name;
        if given.time_since_last_hit.is_some() {
            return Err(invalid(format!("{name}: the time since the last hit can only be read")));
        }
        let Ok(idle_timeout_ns) = u64::try_from(given.idle_timeout_ns) else {
            return Err(invalid(format!("{name}: the idle timeout is negative")));
        };
        if idle_timeout_ns != 0 && !table.idle_timeout {
            return Err(invalid(format!("{name}: its entries have no idle timeout")));
        }
        let counts = match &given.counter_data {
            Some(_) if table.counter.is_none() => return Err(invalid(format!("{name} has no direct counter"))),
            Some(data) => Some(message::counts(name, data)?),
            None => None,
        };
        if given.meter_counter_data.is_some() {
            return Err(match table.meter {
                None => invalid(format!("{name} has no direct meter")),
                Some(_) => unsupported(format!("{name}: counts by colour can only be read")),
            });
        }
        let rates = match (&given.meter_config, table.meter) {
            (None, _) => None,
            (Some(_), None) => return Err(invalid(format!("{name} has no direct meter"))),
            (Some(config), Some((_, kind))) => Some(message::rates(name, kind, config)?),
        };
        if given.metadata.len() > METADATA_BYTES_MAX {
            return Err(exhausted(format!(
                "{name}: {} bytes of metadata; {METADATA_BYTES_MAX} fit",
                given.metadata.len()
            )));
        }
        let note = Note { metadata: given.metadata.clone(), controller_metadata: given.controller_metadata };
        Ok(Self { counts, rates, idle_timeout_ns, note })
    }

    fn entry(&self, action: Option<ActionCall>) -> Entry {
        Entry {
            action,
            note: self.note.clone(),
            idle_timeout_ns: self.idle_timeout_ns,
            rates: self.rates,
            is_const: false,
        }
    }
}
