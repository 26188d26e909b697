//! Read: what is found is noted at once, so that a Write comes before or after all of it, and told in portions (P4Runtime 1.5.0
//! §13). Counts, and entries of tables that have an owner, are asked for when their portion is made.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gantry_p4_proto::runtime::{
    CounterEntry, DigestEntry, DirectCounterEntry, DirectMeterEntry, Entity, MeterEntry, ReadRequest, ReadResponse,
    RegisterEntry, TableEntry, digest_entry, entity, table_entry,
};

use super::digest::DigestConfig;
use super::entry::{ActionCall, Key, Rates};
use super::message;
use super::pipeline::{ActionId, CounterId, DigestId, MeterId, Pipeline, RegisterId, Table, TableId};
use super::plane::{Answer, At, Begun, Plane, Question, Ticket};
use super::role::Authority;
use super::search::Search;
use super::server::Server;
use super::status::{Failure, Refusal, not_found};
use super::store::Entry;
use super::write::no_pipeline;

/// What of an entry is wanted besides itself.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) counter: bool,
    pub(super) rates: bool,
    pub(super) colours: bool,
    pub(super) last_hit: bool,
}

/// Which entries of a table that the data plane tells.
#[derive(Clone)]
pub(super) struct Filter {
    priority: i32,
    matches: Option<Key>,
    action: Option<u32>,
}

impl Filter {
    pub(super) fn new(table: &Table, given: &TableEntry, action: Option<u32>) -> Result<Self, Refusal> {
        // A match without priority finds that match in every priority.
        let priority = if table.has_priority() { given.priority.max(1) } else { 0 };
        let matches = match given.r#match.is_empty() {
            true => None,
            false => Some(message::key(table, &TableEntry { priority, ..given.clone() })?),
        };
        Ok(Self { priority: given.priority, matches, action })
    }

    fn takes(&self, key: &Key, call: &ActionCall) -> bool {
        (self.priority == 0 || key.priority() == self.priority)
            && self.matches.as_ref().is_none_or(|only| only.matches() == key.matches())
            && self.action.is_none_or(|action| call.action == ActionId(action))
    }
}

/// Something found.
pub(super) enum Item {
    Entry {
        table: TableId,
        at: At,
        entry: Arc<Entry>,
        wanted: Wanted,
    },
    /// Entries that the data plane tells; without anything wanted of them, their counters.
    Owned {
        table: TableId,
        from: u64,
        filter: Filter,
        wanted: Option<Wanted>,
    },
    DirectCounter {
        table: TableId,
        at: At,
    },
    DirectMeter {
        table: TableId,
        at: At,
        rates: Option<Rates>,
        colours: bool,
    },
    Counters {
        counter: CounterId,
        next: u32,
        end: u32,
    },
    Meters {
        meter: MeterId,
        next: u32,
        end: u32,
        rates: BTreeMap<u32, Rates>,
        colours: bool,
    },
    Registers {
        register: RegisterId,
        next: u32,
        end: u32,
    },
    Digest {
        digest: DigestId,
        config: DigestConfig,
    },
}

impl Item {
    /// Of several cells the first, and the rest.
    fn split(self) -> (Self, Option<Self>) {
        match self {
            Self::Counters { counter, next, end } if next + 1 < end => {
                (Self::Counters { counter, next, end: next + 1 }, Some(Self::Counters { counter, next: next + 1, end }))
            }
            Self::Meters { meter, next, end, mut rates, colours } if next + 1 < end => {
                let first = rates.remove_entry(&next).into_iter().collect();
                let rest = Self::Meters { meter, next: next + 1, end, rates, colours };
                (Self::Meters { meter, next, end: next + 1, rates: first, colours }, Some(rest))
            }
            Self::Registers { register, next, end } if next + 1 < end => {
                let rest = Self::Registers { register, next: next + 1, end };
                (Self::Registers { register, next, end: next + 1 }, Some(rest))
            }
            one => (one, None),
        }
    }
}

/// A Read that is being answered.
pub struct Reading {
    pipeline: Arc<Pipeline>,
    items: VecDeque<Item>,
    /// The portion that is being made.
    taken: Vec<Item>,
    /// The data plane's answers to it will come under this number.
    ticket: Option<Ticket>,
    outcome: Option<Result<(), Failure>>,
}

/// What comes next of a Read.
#[derive(Clone, Debug, PartialEq)]
pub enum Portion {
    /// A message.
    Message(ReadResponse),
    /// Nothing before the data plane has answered: to be called again after [`Server::progress`].
    Waits,
    /// It has failed, and this is all.
    Failed(Failure),
    /// It is told.
    Over,
}

impl<P: Plane> Server<P> {
    /// Read (§13): the answer comes from [`Server::read_on`].
    ///
    /// # Errors
    /// If the device or role is another one, or there is no program yet, or the data plane cannot be reached.
    pub fn read(&self, request: &ReadRequest) -> Result<Reading, Refusal> {
        self.is_ours(request.device_id)?;
        let whole = Authority::Whole;
        let authority = match request.role.as_str() {
            "" => &whole,
            role => match self.roles.get(role) {
                Some(state) => &state.authority,
                None => return Err(not_found(format!("no client has the role {role:?}"))),
            },
        };
        let pipeline = self.pipeline.clone().ok_or_else(no_pipeline)?;
        self.plane.reachable()?;
        let mut search = Search {
            pipeline: &pipeline,
            store: &self.store,
            authority,
            items: VecDeque::new(),
            room: self.limits.entities_a_read,
            asks: self.plane.tells_entries(),
        };
        let outcomes = request.entities.iter().map(|entity| search.entity(entity)).collect();
        let (items, outcome) = (search.items, Some(Failure::batch("Read", outcomes)));
        Ok(Reading { pipeline, items, taken: Vec::new(), ticket: None, outcome })
    }

    /// The next portion of an answer; at its end once the outcome, then nothing.
    pub fn read_on(&mut self, reading: &mut Reading) -> Portion {
        loop {
            let told = match reading.ticket {
                Some(ticket) => match self.take_told(ticket) {
                    None => return Portion::Waits,
                    Some(told) => told,
                },
                None if reading.items.is_empty() => {
                    return match reading.outcome.take() {
                        Some(Err(failure)) => Portion::Failed(failure),
                        Some(Ok(())) | None => Portion::Over,
                    };
                }
                None => {
                    let questions = self.take_portion(reading);
                    let begun =
                        if questions.is_empty() { Begun::Over(Ok(Vec::new())) } else { self.plane.ask(questions) };
                    match begun {
                        Begun::Over(told) => told,
                        Begun::UnderWay(ticket) => {
                            reading.ticket = Some(ticket);
                            self.asked.insert(ticket, None);
                            continue;
                        }
                    }
                }
            };
            reading.ticket = None;
            let answers = match told {
                Ok(answers) => answers,
                Err(refusal) => {
                    reading.items.clear();
                    reading.taken.clear();
                    reading.outcome = None;
                    return Portion::Failed(refusal.into());
                }
            };
            let mut answers = answers.into_iter();
            let (mut entities, mut more) = (Vec::new(), Vec::new());
            for item in std::mem::take(&mut reading.taken) {
                if let Some(entity) = tell_item(&reading.pipeline, item, &mut answers, &mut more) {
                    entities.push(Entity { entity: Some(entity) });
                }
            }
            more.into_iter().rev().for_each(|item| reading.items.push_front(item));
            if !entities.is_empty() {
                return Portion::Message(ReadResponse { entities });
            }
        }
    }

    /// Nobody is interested in that Read any more.
    pub fn abandon(&mut self, reading: &Reading) {
        if let Some(ticket) = reading.ticket {
            self.asked.remove(&ticket);
        }
    }

    /// Takes as many items as fit a message; what there is to ask about them, in their order.
    fn take_portion(&self, reading: &mut Reading) -> Vec<Question> {
        let mut questions = Vec::new();
        while reading.taken.len() < self.limits.entities_a_message
            && let Some(item) = reading.items.pop_front()
        {
            let (item, rest) = item.split();
            questions.extend(questions_about(&reading.pipeline, &item));
            reading.taken.push(item);
            if let Some(rest) = rest {
                reading.items.push_front(rest);
            }
        }
        questions
    }
}

/// What the data plane has to be asked about one item; [`tell_item`] takes as many answers, in this order.
fn questions_about(pipeline: &Pipeline, item: &Item) -> Vec<Question> {
    match item {
        Item::Entry { table, at, wanted, .. } => {
            let declared = &pipeline.tables[table];
            let mut questions = Vec::new();
            if wanted.counter && declared.counter.is_some() {
                questions.push(Question::DirectCounter(*table, at.clone()));
            }
            if wanted.colours && declared.meter.is_some() {
                questions.push(Question::DirectMeterCounts(*table, at.clone()));
            }
            if let At::Entry(key) = at
                && wanted.last_hit
                && declared.idle_timeout
            {
                questions.push(Question::SinceLastHit(*table, key.clone()));
            }
            questions
        }
        Item::Owned { table, from, .. } => vec![Question::Entries(*table, *from)],
        Item::DirectCounter { table, at } => vec![Question::DirectCounter(*table, at.clone())],
        Item::DirectMeter { table, at, colours: true, .. } => vec![Question::DirectMeterCounts(*table, at.clone())],
        Item::Counters { counter, next, .. } => vec![Question::Counter(*counter, *next)],
        Item::Meters { meter, next, colours: true, .. } => vec![Question::MeterCounts(*meter, *next)],
        Item::Registers { register, next, .. } => vec![Question::Register(*register, *next)],
        Item::DirectMeter { .. } | Item::Meters { .. } | Item::Digest { .. } => Vec::new(),
    }
}

/// An item's entity, from the data plane's answers; `more` are items that they lead to.
fn tell_item(
    pipeline: &Pipeline,
    item: Item,
    answers: &mut impl Iterator<Item = Answer>,
    more: &mut Vec<Item>,
) -> Option<entity::Entity> {
    let mut counts = || match answers.next() {
        Some(Answer::Counts(counts)) => Some(counts),
        _ => None,
    };
    Some(match item {
        Item::Entry { table, at, entry, wanted } => {
            let declared = &pipeline.tables[&table];
            let mut message = entry_message(pipeline, table, &at, &entry);
            if wanted.counter && declared.counter.is_some() {
                message.counter_data = Some(message::counts_message(counts().unwrap_or_default()));
            }
            if wanted.rates {
                message.meter_config = entry.rates.map(message::rates_message);
            }
            if wanted.colours
                && declared.meter.is_some()
                && let Some(Answer::Colours(colours)) = answers.next()
            {
                message.meter_counter_data = Some(message::colours_message(colours));
            }
            if matches!(at, At::Entry(_)) && wanted.last_hit && declared.idle_timeout {
                let elapsed_ns = match answers.next() {
                    Some(Answer::Nanoseconds(elapsed_ns)) => i64::try_from(elapsed_ns).unwrap_or(i64::MAX),
                    _ => 0,
                };
                message.time_since_last_hit = Some(table_entry::IdleTimeout { elapsed_ns });
            }
            entity::Entity::TableEntry(message)
        }
        Item::Owned { table, filter, wanted, .. } => {
            let Some(Answer::Entries(entries, next)) = answers.next() else { return None };
            for (key, call) in entries {
                if !pipeline.knows(table, &key, &call) || !filter.takes(&key, &call) {
                    continue;
                }
                let at = At::Entry(key);
                more.push(match wanted {
                    Some(wanted) => {
                        let entry = Entry { is_const: true, ..Entry::new(Some(call)) };
                        Item::Entry { table, at, entry: Arc::new(entry), wanted }
                    }
                    None => Item::DirectCounter { table, at },
                });
            }
            if let Some(from) = next {
                more.push(Item::Owned { table, from, filter, wanted });
            }
            return None;
        }
        Item::DirectCounter { table, at } => {
            let data = Some(message::counts_message(counts().unwrap_or_default()));
            let table_entry = Some(key_only(pipeline, table, &at));
            entity::Entity::DirectCounterEntry(DirectCounterEntry { table_entry, data })
        }
        Item::DirectMeter { table, at, rates, colours } => {
            let counts = match colours.then(|| answers.next()).flatten() {
                Some(Answer::Colours(counts)) => Some(counts),
                _ => None,
            };
            let entry = DirectMeterEntry {
                table_entry: Some(key_only(pipeline, table, &at)),
                config: rates.map(message::rates_message),
                counter_data: counts.map(message::colours_message),
            };
            entity::Entity::DirectMeterEntry(entry)
        }
        Item::Counters { counter, next, .. } => {
            let (index, data) = (message::index_message(next), counts().unwrap_or_default());
            let data = Some(message::counts_message(data));
            entity::Entity::CounterEntry(CounterEntry { counter_id: counter.0, index, data })
        }
        Item::Meters { meter, next, rates, colours, .. } => {
            let counts = match colours.then(|| answers.next()).flatten() {
                Some(Answer::Colours(counts)) => Some(counts),
                _ => None,
            };
            let entry = MeterEntry {
                meter_id: meter.0,
                index: message::index_message(next),
                config: rates.get(&next).copied().map(message::rates_message),
                counter_data: counts.map(message::colours_message),
            };
            entity::Entity::MeterEntry(entry)
        }
        Item::Registers { register, next, .. } => {
            let value = match answers.next() {
                Some(Answer::Value(value)) => value,
                _ => 0,
            };
            let data = Some(pipeline.registers[&register].spec.data(&mut std::iter::once(value)));
            let index = message::index_message(next);
            entity::Entity::RegisterEntry(RegisterEntry { register_id: register.0, index, data })
        }
        Item::Digest { digest, config } => {
            let config = digest_entry::Config {
                max_timeout_ns: i64::try_from(config.max_timeout_ns).unwrap_or(i64::MAX),
                max_list_size: i32::try_from(config.max_list_size).unwrap_or(i32::MAX),
                ack_timeout_ns: i64::try_from(config.ack_timeout_ns).unwrap_or(i64::MAX),
            };
            entity::Entity::DigestEntry(DigestEntry { digest_id: digest.0, config: Some(config) })
        }
    })
}

fn key_only(pipeline: &Pipeline, table: TableId, at: &At) -> TableEntry {
    match at {
        At::Default => TableEntry { table_id: table.0, is_default_action: true, ..TableEntry::default() },
        At::Entry(key) => TableEntry {
            table_id: table.0,
            r#match: message::key_message(&pipeline.tables[&table], key),
            priority: key.priority(),
            ..TableEntry::default()
        },
    }
}

#[allow(deprecated)]
fn entry_message(pipeline: &Pipeline, table: TableId, at: &At, entry: &Entry) -> TableEntry {
    TableEntry {
        action: entry.action.as_ref().map(|call| message::action_message(pipeline, call)),
        controller_metadata: entry.note.controller_metadata,
        metadata: entry.note.metadata.clone(),
        idle_timeout_ns: i64::try_from(entry.idle_timeout_ns).unwrap_or(i64::MAX),
        is_const: entry.is_const,
        ..key_only(pipeline, table, at)
    }
}
