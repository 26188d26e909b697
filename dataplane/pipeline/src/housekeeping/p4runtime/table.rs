//! Both programs' tables by P4Runtime's ids: what an entry on the channel means to the generated code.

use alloc::format;
use alloc::vec::Vec;

use gantry::channel::session::Reason;
use gantry::channel::table::{Entry, FieldKind, Verb};
use gantry::{command, packet};
use gantry_table::{Counters, EntryIndex, Idle, Meters, StageError};

use super::{Refusal, refusal};
use crate::tables::{Tables, Writer};

impl Tables {
    /// The counters with that id; direct ones by their table's.
    pub(crate) fn counters(&self, id: u32) -> Option<&Counters> {
        self.packet.counters(id).or_else(|| self.command.counters(id))
    }

    /// When entries of the table with that id were hit, if that is noted.
    pub(crate) fn idle(&self, id: u32) -> Option<&Idle> {
        self.packet.idle(id).or_else(|| self.command.idle(id))
    }

    /// The meters with that id; direct ones by their table's.
    pub(crate) fn meters(&self, id: u32) -> Option<&Meters> {
        self.packet.meters(id).or_else(|| self.command.meters(id))
    }
}

/// Whether a program has that digest.
pub(super) fn is_digest(id: u32) -> bool {
    packet::DIGESTS.iter().any(|digest| digest.id == id) || command::DIGESTS.iter().any(|digest| digest.id == id)
}

fn stage_error(error: StageError) -> Refusal {
    let reason = match error {
        StageError::Exists => Reason::Exists,
        StageError::Missing => Reason::NotFound,
        StageError::BadMatch => Reason::Invalid,
        StageError::TableFull | StageError::NoRoomYet | StageError::ReadersBehind => Reason::Full,
    };
    (reason, format!("{error}"))
}

/// The same for either program, whose generated types differ.
macro_rules! staging {
    ($stage:ident, $program:ident) => {
        /// Stages an entry if its table is one of this program's.
        fn $stage(writer: &mut Writer, entry: &Entry<'_>) -> Option<Result<Option<EntryIndex>, Refusal>> {
            let id = entry.head.table.get();
            let table = $program::TABLES.iter().find(|table| table.id == id)?;
            let refused = |text: &str| Some(refusal(Reason::Invalid, format!("{}: {text}", table.name)));
            if table.owned || table.const_entries {
                return refused("its entries are not P4Runtime's");
            }
            if entry.head.idle_timeout_ns.get() != 0 && writer.tables.idle(id).is_none() {
                return refused("its entries have no idle timeout");
            }
            let action = entry.head.action.get();
            let arguments: Vec<u128> = entry.arguments.iter().map(|argument| argument.get()).collect();
            let default = entry.verb == Verb::Default;
            let allowed = |of: &$program::ActionInfo| of.id == action && if default { of.default } else { of.entries };
            if entry.verb != Verb::Delete && !(default && action == 0) && !table.actions.iter().any(allowed) {
                return refused("not an action of its entries");
            }
            if default && table.const_default {
                return refused("its default is constant");
            }
            let mut matches = Vec::with_capacity(entry.fields.len());
            for field in entry.fields {
                let (value, other) = (field.value.get(), field.other.get());
                matches.push(match field.kind()? {
                    FieldKind::Any => $program::Match::Any,
                    FieldKind::Value => $program::Match::Value(value),
                    FieldKind::Prefix => $program::Match::Prefix { value, length: field.length },
                    FieldKind::Mask => $program::Match::Mask { value, mask: other },
                    FieldKind::Range => $program::Match::Range { low: value, high: other },
                });
            }
            let Ok(priority) = i32::try_from(entry.head.priority.get()) else { return refused("the priority") };
            let Writer { tables, writer } = writer;
            let tables = &tables.$program;
            let staged = match entry.verb {
                Verb::Insert => tables.insert(writer, id, &matches, priority, action, &arguments).map(Some),
                Verb::Modify => tables.modify(writer, id, &matches, priority, action, &arguments).map(Some),
                Verb::Delete => tables.remove(writer, id, &matches, priority).map(Some),
                Verb::Default => tables.set_default(writer, id, action, &arguments).map(|()| None),
            };
            Some(staged.map_err(|error| match error {
                $program::EntryError::Stage(error) => stage_error(error),
                $program::EntryError::Table => (Reason::NotFound, format!("{} has no entries", table.name)),
                $program::EntryError::Matches => (Reason::Invalid, format!("{}: not a key of it", table.name)),
                $program::EntryError::Action => {
                    (Reason::Invalid, format!("{}: not arguments of the action", table.name))
                }
            }))
        }
    };
}

staging!(stage_packet, packet);
staging!(stage_command, command);

/// Stages an entry or a default; the index of an entry.
pub(super) fn stage(writer: &mut Writer, entry: &Entry<'_>) -> Result<Option<EntryIndex>, Refusal> {
    let staged = stage_packet(writer, entry).or_else(|| stage_command(writer, entry));
    staged.unwrap_or_else(|| refusal(Reason::NotFound, format!("there is no table {:#010x}", entry.head.table)))
}
