//! What a Read asks for: found in the store, or, of tables that have an owner, to be asked for (P4Runtime 1.5.0 §13).

use std::collections::VecDeque;

use gantry_p4_proto::runtime::{
    CounterEntry, DigestEntry, DirectCounterEntry, DirectMeterEntry, Entity, MeterEntry, RegisterEntry, TableEntry,
    entity,
};

use super::direct::locate;
use super::indirect::{counter_of, digest_of, meter_of, register_of};
use super::message;
use super::pipeline::{MeterId, Pipeline, TableId};
use super::plane::At;
use super::read::{Filter, Item, Wanted};
use super::role::Authority;
use super::status::{Refusal, exhausted, invalid};
use super::store::{Entry, Store};
use super::write::table_of;

/// Finds what a Read asks for.
pub(super) struct Search<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) store: &'a Store,
    pub(super) authority: &'a Authority,
    pub(super) items: VecDeque<Item>,
    /// Entities that may still be found.
    pub(super) room: usize,
    /// The data plane tells the entries of tables that have an owner.
    pub(super) asks: bool,
}

impl Search<'_> {
    /// Whether the data plane is asked for a table's entries: it has an owner, and not those that the program brings.
    fn is_asked(&self, id: TableId) -> bool {
        let owned = |table: &super::pipeline::Table| table.owner().is_some();
        let here = self.store.tables.get(&id).is_some_and(|of| !of.entries.is_empty());
        self.asks && !here && self.pipeline.tables.get(&id).is_some_and(owned)
    }

    pub(super) fn entity(&mut self, entity: &Entity) -> Result<(), Refusal> {
        use entity::Entity as E;
        let Some(entity) = &entity.entity else { return Err(invalid("an entity of no kind")) };
        match entity {
            E::TableEntry(entry) => self.table_entries(entry),
            E::DirectCounterEntry(entry) => self.direct_counters(entry),
            E::DirectMeterEntry(entry) => self.direct_meters(entry),
            E::CounterEntry(entry) => self.counters(entry),
            E::MeterEntry(entry) => self.meters(entry),
            E::RegisterEntry(entry) => self.registers(entry),
            E::DigestEntry(entry) => self.digests(entry),
            // There are none of these, and all of none is nothing.
            E::PacketReplicationEngineEntry(_) => Ok(()),
            E::ActionProfileMember(member) => none_but_all(member.action_profile_id),
            E::ActionProfileGroup(group) => none_but_all(group.action_profile_id),
            E::ValueSetEntry(set) => none_but_all(set.value_set_id),
            E::ExternEntry(entry) => none_but_all(entry.extern_type_id),
        }
    }

    fn found(&mut self, item: Item, entities: u32) -> Result<(), Refusal> {
        match self.room.checked_sub(entities as usize) {
            None => Err(exhausted("one Read finds too much: ask for less at once")),
            Some(room) => {
                self.room = room;
                self.items.push_back(item);
                Ok(())
            }
        }
    }

    /// Tables that a message means: one, or with id 0 all in the role's charge.
    fn tables(&self, id: u32) -> Result<Vec<TableId>, Refusal> {
        let all =
            if id == 0 { self.pipeline.tables.keys().copied().collect() } else { vec![table_of(self.pipeline, id)?.0] };
        Ok(all.into_iter().filter(|id| self.authority.covers(id.0)).collect())
    }

    /// §9.1.6.
    #[allow(deprecated)]
    fn table_entries(&mut self, given: &TableEntry) -> Result<(), Refusal> {
        let wanted = Wanted {
            counter: given.counter_data.is_some(),
            rates: given.meter_config.is_some(),
            colours: given.meter_counter_data.is_some(),
            last_hit: given.time_since_last_hit.is_some(),
        };
        let filtered = !given.r#match.is_empty() || given.action.is_some() || given.priority != 0;
        if given.table_id == 0 && (filtered || given.controller_metadata != 0 || !given.metadata.is_empty()) {
            return Err(invalid("entries of all tables can be filtered by nothing else"));
        }
        if given.table_id != 0 {
            let (_, table) = table_of(self.pipeline, given.table_id)?;
            let missing = (wanted.counter && table.counter.is_none())
                || ((wanted.rates || wanted.colours) && table.meter.is_none())
                || (wanted.last_hit && !table.idle_timeout);
            if missing {
                let name = &table.object.name;
                return Err(invalid(format!("{name} has not the counter, meter or idle timeout that is asked for")));
            }
        }
        let action = match &given.action {
            None => None,
            Some(action) => match &action.r#type {
                Some(gantry_p4_proto::runtime::table_action::Type::Action(action)) => Some(action.action_id),
                _ => return Err(invalid("entries can be filtered by the action's id only")),
            },
        };
        let fits = |entry: &Entry| {
            action.is_none_or(|id| entry.action.as_ref().is_some_and(|call| call.action.0 == id))
                && (given.controller_metadata == 0 || entry.note.controller_metadata == given.controller_metadata)
                && (given.metadata.is_empty() || entry.note.metadata == given.metadata)
        };
        for id in self.tables(given.table_id)? {
            let table = &self.pipeline.tables[&id];
            let of = &self.store.tables[&id];
            if self.is_asked(id) && !given.is_default_action {
                let noted = given.controller_metadata != 0 || !given.metadata.is_empty();
                if !noted {
                    let filter = Filter::new(table, given, action)?;
                    self.found(Item::Owned { table: id, from: 0, filter, wanted: Some(wanted) }, 0)?;
                }
            } else if given.is_default_action {
                if fits(&of.default) {
                    self.found(Item::Entry { table: id, at: At::Default, entry: of.default.clone(), wanted }, 1)?;
                }
            } else if !given.r#match.is_empty() && (given.priority != 0 || !table.has_priority()) {
                let key = message::key(table, given)?;
                if let Some(entry) = of.entries.get(&key).filter(|entry| fits(entry)) {
                    self.found(Item::Entry { table: id, at: At::Entry(key), entry: entry.clone(), wanted }, 1)?;
                }
            } else {
                // A match without priority finds that match in every priority.
                let only = match given.r#match.is_empty() {
                    true => None,
                    false => Some(message::key(table, &TableEntry { priority: 1, ..given.clone() })?),
                };
                for (key, entry) in &of.entries {
                    let priority = given.priority == 0 || key.priority() == given.priority;
                    let same = only.as_ref().is_none_or(|only| only.matches() == key.matches());
                    if priority && same && fits(entry) {
                        let (at, entry) = (At::Entry(key.clone()), entry.clone());
                        self.found(Item::Entry { table: id, at, entry, wanted }, 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Entries of tables that have a counter or meter, which a message means by its table's entry.
    fn direct(
        &mut self,
        given: Option<&TableEntry>,
        has: impl Fn(TableId) -> bool,
    ) -> Result<Vec<(TableId, At)>, Refusal> {
        let all = TableEntry::default();
        let given = given.unwrap_or(&all);
        let one = given.is_default_action || !given.r#match.is_empty();
        if given.table_id != 0 && one && (given.is_default_action || !self.is_asked(TableId(given.table_id))) {
            let (id, table, at, _) = locate(self.pipeline, self.store, Some(given))?;
            if !has(id) {
                return Err(invalid(format!("{} has none", table.object.name)));
            }
            return Ok(if self.authority.covers(id.0) { vec![(id, at)] } else { Vec::new() });
        }
        if given.table_id != 0 && !has(TableId(given.table_id)) {
            return Err(invalid(format!("{} has none", table_of(self.pipeline, given.table_id)?.1.object.name)));
        }
        let mut found = Vec::new();
        for id in self.tables(given.table_id)?.into_iter().filter(|id| has(*id)) {
            if self.is_asked(id) {
                let filter = Filter::new(&self.pipeline.tables[&id], given, None)?;
                self.found(Item::Owned { table: id, from: 0, filter, wanted: None }, 0)?;
                continue;
            }
            let keys = self.store.tables[&id].entries.keys();
            found.extend(keys.map(|key| (id, At::Entry(key.clone()))));
        }
        Ok(found)
    }

    fn direct_counters(&mut self, given: &DirectCounterEntry) -> Result<(), Refusal> {
        let tables = &self.pipeline.tables;
        let has = |id: TableId| tables.get(&id).is_some_and(|table| table.counter.is_some());
        for (table, at) in self.direct(given.table_entry.as_ref(), has)? {
            self.found(Item::DirectCounter { table, at }, 1)?;
        }
        Ok(())
    }

    fn direct_meters(&mut self, given: &DirectMeterEntry) -> Result<(), Refusal> {
        let tables = &self.pipeline.tables;
        let has = |id: TableId| tables.get(&id).is_some_and(|table| table.meter.is_some());
        for (table, at) in self.direct(given.table_entry.as_ref(), has)? {
            let rates = self.store.entry(table, &at).and_then(|entry| entry.rates);
            self.found(Item::DirectMeter { table, at, rates, colours: given.counter_data.is_some() }, 1)?;
        }
        Ok(())
    }

    fn counters(&mut self, given: &CounterEntry) -> Result<(), Refusal> {
        if given.counter_id == 0 {
            all_cells(given.index.is_none())?;
            for (id, array) in self.pipeline.counters.iter().filter(|(id, _)| self.authority.covers(id.0)) {
                self.found(Item::Counters { counter: *id, next: 0, end: array.size }, array.size)?;
            }
            return Ok(());
        }
        let (counter, array) = counter_of(self.pipeline, given.counter_id)?;
        let (next, end) = cells(&array.object.name, given.index.as_ref(), array.size)?;
        if !self.authority.covers(counter.0) {
            return Ok(());
        }
        self.found(Item::Counters { counter, next, end }, end - next)
    }

    fn meters(&mut self, given: &MeterEntry) -> Result<(), Refusal> {
        let colours = given.counter_data.is_some();
        let item = |meter: MeterId, next: u32, end: u32| {
            let rates = self.store.meters[&meter].range(next..end).map(|(index, rates)| (*index, *rates)).collect();
            Item::Meters { meter, next, end, rates, colours }
        };
        if given.meter_id == 0 {
            all_cells(given.index.is_none())?;
            for (id, array) in self.pipeline.meters.iter().filter(|(id, _)| self.authority.covers(id.0)) {
                let item = item(*id, 0, array.size);
                self.found(item, array.size)?;
            }
            return Ok(());
        }
        let (meter, array) = meter_of(self.pipeline, given.meter_id)?;
        let (next, end) = cells(&array.object.name, given.index.as_ref(), array.size)?;
        if !self.authority.covers(meter.0) {
            return Ok(());
        }
        let item = item(meter, next, end);
        self.found(item, end - next)
    }

    fn registers(&mut self, given: &RegisterEntry) -> Result<(), Refusal> {
        if given.register_id == 0 {
            all_cells(given.index.is_none())?;
            for (id, array) in self.pipeline.registers.iter().filter(|(id, _)| self.authority.covers(id.0)) {
                self.found(Item::Registers { register: *id, next: 0, end: array.size }, array.size)?;
            }
            return Ok(());
        }
        let (register, array) = register_of(self.pipeline, given.register_id)?;
        let (next, end) = cells(&array.object.name, given.index.as_ref(), array.size)?;
        if !self.authority.covers(register.0) {
            return Ok(());
        }
        self.found(Item::Registers { register, next, end }, end - next)
    }

    fn digests(&mut self, given: &DigestEntry) -> Result<(), Refusal> {
        if given.digest_id != 0 {
            digest_of(self.pipeline, given.digest_id)?;
        }
        for (digest, config) in &self.store.digests {
            if (given.digest_id == 0 || given.digest_id == digest.0) && self.authority.covers(digest.0) {
                self.found(Item::Digest { digest: *digest, config: *config }, 1)?;
            }
        }
        Ok(())
    }
}

/// There are no such objects: asking for all of them finds nothing.
fn none_but_all(id: u32) -> Result<(), Refusal> {
    if id == 0 { Ok(()) } else { Err(invalid(format!("there is nothing with the id {id:#010x}"))) }
}

fn all_cells(all: bool) -> Result<(), Refusal> {
    if all { Ok(()) } else { Err(invalid("an index needs an id")) }
}

fn cells(of: &str, index: Option<&gantry_p4_proto::runtime::Index>, size: u32) -> Result<(u32, u32), Refusal> {
    Ok(message::index(of, index, size)?.map_or((0, size), |index| (index, index + 1)))
}
