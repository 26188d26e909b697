//! Entries of a table in a plain list, and the lookup that goes through all of them (P4_16 §14.2, P4Runtime §9.1).

use crate::interpret::expression::matches;
use crate::ir::{ActionId, ActionScope, Entry, Match, MatchKind, Program, Table, TableId, Type};

/// An entry's name within its table, never given twice: the program's own come first, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub u64);

/// An entry that is in a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub id: EntryId,
    /// What it says, with matches in their canonical form.
    pub entry: Entry,
    /// The program brought it and nobody may change it.
    pub constant: bool,
}

/// What a table holds.
#[derive(Clone, Debug)]
pub struct Entries<'p> {
    program: &'p Program,
    table: &'p Table,
    /// In order of insertion.
    rows: Vec<Row>,
    default: (ActionId, Vec<u128>),
    next: u64,
}

/// Why an entry is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Nobody may change what is to be changed.
    #[error("constant")]
    Constant,
    /// There is no table entry to be in a table without a key.
    #[error("a table without a key has no entries")]
    Keyless,
    /// The number of matches is not the number of keys.
    #[error("not a match for each key")]
    Matches,
    /// A match is not of its key's kind.
    #[error("match {0} is not of its key's kind")]
    Kind(usize),
    /// A match does not fit its key, or its range is empty.
    #[error("match {0} does not fit its key")]
    Value(usize),
    /// Zero where the table needs a priority, or one where it has no use for it.
    #[error("priority")]
    Priority,
    /// Not an action of the table, or not one for this use.
    #[error("not an action for this")]
    Action,
    /// Arguments are not the action's parameters in number and width.
    #[error("arguments do not fit the action's parameters")]
    Arguments,
    /// There is an entry with these matches and this priority.
    #[error("such an entry exists")]
    Exists,
    /// There is none.
    #[error("no such entry")]
    NotFound,
}

impl<'p> Entries<'p> {
    /// With the program's own entries.
    pub(super) fn new(program: &'p Program, table: TableId) -> Self {
        let table = &program.tables[table.index()];
        let mut entries = Self { program, table, rows: Vec::new(), default: table.default_action.clone(), next: 0 };
        for entry in &table.entries {
            let matches = entries.canonical(&entry.matches).expect("the program's own entries fit their table");
            entries.push(Entry { matches, ..entry.clone() }, table.const_entries);
        }
        entries
    }

    /// All entries, in order of insertion.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What is done on a miss, and with which arguments.
    #[must_use]
    pub fn default_action(&self) -> (ActionId, &[u128]) {
        (self.default.0, &self.default.1)
    }

    /// Puts an entry behind the others.
    ///
    /// # Errors
    /// If it does not fit the table, or is there already.
    pub fn insert(&mut self, entry: &Entry) -> Result<EntryId, EntryError> {
        let entry = self.checked(entry)?;
        if self.position(&entry).is_some() {
            return Err(EntryError::Exists);
        }
        Ok(self.push(entry, false))
    }

    /// Gives the entry with these matches and this priority another action; it keeps its place and name.
    ///
    /// # Errors
    /// If it does not fit the table, or is not there.
    pub fn modify(&mut self, entry: &Entry) -> Result<EntryId, EntryError> {
        let entry = self.checked(entry)?;
        let place = self.position(&entry).ok_or(EntryError::NotFound)?;
        self.rows[place].entry = entry;
        Ok(self.rows[place].id)
    }

    /// Takes the entry with these matches and this priority out.
    ///
    /// # Errors
    /// If they do not fit the table, or there is none.
    pub fn delete(&mut self, matches: &[Match], priority: i32) -> Result<EntryId, EntryError> {
        if self.table.const_entries {
            return Err(EntryError::Constant);
        }
        let (matches, default) = (self.canonical(matches)?, self.default.clone());
        let entry = Entry { matches, priority, action: default.0, arguments: default.1 };
        let place = self.position(&entry).ok_or(EntryError::NotFound)?;
        Ok(self.rows.remove(place).id)
    }

    /// Changes what is done on a miss.
    ///
    /// # Errors
    /// If nobody may, or the action is not one for it.
    pub fn set_default(&mut self, action: ActionId, arguments: &[u128]) -> Result<(), EntryError> {
        if self.table.const_default {
            return Err(EntryError::Constant);
        }
        self.check_action(action, arguments, ActionScope::Entries)?;
        self.default = (action, arguments.to_vec());
        Ok(())
    }

    /// The entry that a key hits. Where a kind of match needs priorities the highest wins; then, and where none does from the
    /// beginning, the longest prefix; then what was inserted first.
    #[must_use]
    pub fn lookup(&self, key: &[u128]) -> Option<&Row> {
        assert_eq!(key.len(), self.table.keys.len(), "a value for each key");
        let mut best: Option<&Row> = None;
        for row in &self.rows {
            let mut parts = row.entry.matches.iter().zip(key).zip(&self.table.keys);
            let hit = parts.all(|((wanted, value), key)| matches(*wanted, *value, key.expr.ty.bits()));
            // A table without a key never hits (P4_16 §14.2.1.1).
            if hit && !key.is_empty() && best.is_none_or(|best| self.rank(row) > self.rank(best)) {
                best = Some(row);
            }
        }
        best
    }

    /// What decides between entries that match, the greatest first.
    fn rank(&self, row: &Row) -> (i32, u8) {
        let prefix = row.entry.matches.iter().zip(&self.table.keys).find(|(_, key)| key.kind == MatchKind::Lpm);
        let length = match prefix {
            Some((Match::Prefix { length, .. }, _)) => *length,
            _ => 0,
        };
        (if self.has_priorities() { row.entry.priority } else { 0 }, length)
    }

    fn has_priorities(&self) -> bool {
        let wants = |kind| matches!(kind, MatchKind::Ternary | MatchKind::Range | MatchKind::Optional);
        self.table.keys.iter().any(|key| wants(key.kind))
    }

    fn push(&mut self, entry: Entry, constant: bool) -> EntryId {
        let id = EntryId(self.next);
        self.next += 1;
        self.rows.push(Row { id, entry, constant });
        id
    }

    /// Entries are told apart by matches, and by priority where the table has priorities.
    fn position(&self, entry: &Entry) -> Option<usize> {
        let same_priority = |row: &Row| !self.has_priorities() || row.entry.priority == entry.priority;
        self.rows.iter().position(|row| row.entry.matches == entry.matches && same_priority(row))
    }

    fn checked(&self, entry: &Entry) -> Result<Entry, EntryError> {
        if self.table.const_entries {
            return Err(EntryError::Constant);
        }
        if self.table.keys.is_empty() {
            return Err(EntryError::Keyless);
        }
        let matches = self.canonical(&entry.matches)?;
        if self.has_priorities() != (entry.priority > 0) || entry.priority < 0 {
            return Err(EntryError::Priority);
        }
        self.check_action(entry.action, &entry.arguments, ActionScope::Default)?;
        Ok(Entry { matches, ..entry.clone() })
    }

    fn check_action(&self, action: ActionId, arguments: &[u128], unless: ActionScope) -> Result<(), EntryError> {
        let listed = self.table.actions.iter().find(|listed| listed.action == action).ok_or(EntryError::Action)?;
        if listed.scope == unless {
            return Err(EntryError::Action);
        }
        let parameters = &self.program.actions[action.index()].parameters;
        let fits = |(var, value): (&crate::ir::VarId, &u128)| *value <= self.program.vars[var.index()].ty.mask();
        if parameters.len() != arguments.len() || !parameters.iter().zip(arguments).all(fits) {
            return Err(EntryError::Arguments);
        }
        Ok(())
    }

    /// The one form in which each match is kept, so that equal matches are the same.
    fn canonical(&self, matches: &[Match]) -> Result<Vec<Match>, EntryError> {
        if matches.len() != self.table.keys.len() {
            return Err(EntryError::Matches);
        }
        let keys = self.table.keys.iter().map(|key| (key.kind, key.expr.ty));
        matches
            .iter()
            .zip(keys)
            .enumerate()
            .map(|(at, (wanted, (kind, ty)))| canonical(*wanted, kind, ty, at))
            .collect()
    }
}

fn canonical(wanted: Match, kind: MatchKind, ty: Type, at: usize) -> Result<Match, EntryError> {
    let (all, bits) = (ty.mask(), ty.bits());
    let fits = match wanted {
        Match::Any => true,
        Match::Value(value) => value <= all,
        Match::Mask { value, mask } => value <= all && mask <= all,
        Match::Range { low, high } => low <= high && high <= all,
        Match::Prefix { value, length } => value <= all && length <= bits,
    };
    if !fits {
        return Err(EntryError::Value(at));
    }
    Ok(match (kind, wanted) {
        (MatchKind::Exact, Match::Any) => return Err(EntryError::Kind(at)),
        (MatchKind::Exact | MatchKind::Optional, Match::Value(_)) | (_, Match::Any) => wanted,
        (MatchKind::Lpm, Match::Prefix { length: 0, .. }) => Match::Any,
        (MatchKind::Lpm, Match::Prefix { value, length }) => {
            Match::Prefix { value: value >> (bits - length) << (bits - length), length }
        }
        (MatchKind::Lpm, Match::Value(value)) => Match::Prefix { value, length: bits },
        (MatchKind::Ternary, Match::Value(value)) => Match::Mask { value, mask: all },
        (MatchKind::Ternary, Match::Mask { mask: 0, .. }) => Match::Any,
        (MatchKind::Ternary, Match::Mask { value, mask }) => Match::Mask { value: value & mask, mask },
        (MatchKind::Range, Match::Value(value)) => Match::Range { low: value, high: value },
        (MatchKind::Range, Match::Range { low: 0, high }) if high == all => Match::Any,
        (MatchKind::Range, Match::Range { .. }) => wanted,
        _ => return Err(EntryError::Kind(at)),
    })
}
