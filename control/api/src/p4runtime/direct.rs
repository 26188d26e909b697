//! Counters and meters in entries, by themselves (P4Runtime 1.5.0 §9.3.1, §9.4.1).

use gantry_p4_proto::runtime::{DirectCounterEntry, DirectMeterEntry, TableEntry};

use super::message;
use super::pipeline::{Pipeline, Table, TableId};
use super::plane::{At, Change};
use super::status::{Refusal, invalid, not_found, unsupported};
use super::store::{Entry, Store};
use super::write::{Batch, Kind, table_of};

/// The entry that a message names by its key.
pub(super) fn locate<'a>(
    pipeline: &'a Pipeline,
    store: &Store,
    given: Option<&TableEntry>,
) -> Result<(TableId, &'a Table, At, Entry), Refusal> {
    let Some(given) = given else { return Err(invalid("the table's entry is not named")) };
    let (id, table) = table_of(pipeline, given.table_id)?;
    let at = if given.is_default_action {
        if !given.r#match.is_empty() || given.priority != 0 {
            return Err(invalid(format!("{}: a default entry has no match and no priority", table.object.name)));
        }
        At::Default
    } else {
        At::Entry(message::key(table, given)?)
    };
    match store.entry(id, &at) {
        Some(entry) => Ok((id, table, at, entry.clone())),
        None => Err(not_found(format!("{}: there is no such entry", table.object.name))),
    }
}

impl Batch<'_> {
    pub(super) fn direct_counter(&mut self, kind: Kind, given: &DirectCounterEntry) -> Result<(), Refusal> {
        if kind != Kind::Modify {
            return Err(invalid("direct counters can only be modified: they come and go with their entries"));
        }
        let (id, table, at, _) = locate(self.pipeline, self.store, given.table_entry.as_ref())?;
        self.authority.may_write(id.0, &table.object)?;
        if table.counter.is_none() {
            return Err(invalid(format!("{} has no direct counter", table.object.name)));
        }
        if let Some(data) = &given.data {
            let counts = message::counts(&table.object.name, data)?;
            self.changes.push(Change::DirectCounter { table: id, at, counts });
        }
        Ok(())
    }

    pub(super) fn direct_meter(&mut self, kind: Kind, given: &DirectMeterEntry) -> Result<(), Refusal> {
        if kind != Kind::Modify {
            return Err(invalid("direct meters can only be modified: they come and go with their entries"));
        }
        let (id, table, at, now) = locate(self.pipeline, self.store, given.table_entry.as_ref())?;
        self.authority.may_write(id.0, &table.object)?;
        let name = &table.object.name;
        let Some((_, kind)) = table.meter else { return Err(invalid(format!("{name} has no direct meter"))) };
        if given.counter_data.is_some() {
            return Err(unsupported(format!("{name}: counts by colour can only be read")));
        }
        let rates = given.config.as_ref().map(|config| message::rates(name, kind, config)).transpose()?;
        if rates != now.rates {
            self.changes.push(Change::DirectMeter { table: id, at: at.clone(), rates });
            let entry = Entry { rates, ..now };
            match &at {
                At::Entry(key) => self.store.put(&mut self.undo, id, key, Some(entry)),
                At::Default => self.store.put_default(&mut self.undo, id, entry),
            }
        }
        Ok(())
    }
}
