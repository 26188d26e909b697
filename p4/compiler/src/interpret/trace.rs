//! What a run did, step by step: for people, and to compare engines by.

use std::fmt::Write as _;

use crate::interpret::EntryId;
use crate::ir::{ActionId, ExternId, HeaderId, Program, StateId, TableId};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The parser came to a state.
    State(StateId),
    /// The parser came to its end.
    Parsed {
        /// To `accept`.
        accepted: bool,
        /// With this error, by its place in [`Program::errors`].
        error: u32,
    },
    /// A table was applied.
    Applied {
        /// Which.
        table: TableId,
        /// The values of its keys.
        key: Vec<u128>,
        /// What was hit; none on a miss.
        entry: Option<EntryId>,
        /// What was done.
        action: ActionId,
        /// With these arguments.
        arguments: Vec<u128>,
    },
    /// An extern was called.
    Called {
        /// Of which instance.
        instance: Option<ExternId>,
        /// Its name.
        function: String,
        /// What was passed.
        arguments: Vec<u128>,
    },
    /// A valid header was emitted.
    Emitted(HeaderId),
}

impl Step {
    /// For people, in one line.
    #[must_use]
    pub fn text(&self, program: &Program) -> String {
        match self {
            Self::State(state) => {
                let name = program.parser.as_ref().map_or("?", |parser| parser.states[state.index()].name.as_str());
                format!("state {name}")
            }
            Self::Parsed { accepted: true, .. } => "accept".to_owned(),
            Self::Parsed { error, .. } => {
                format!("reject: {}", program.errors.get(*error as usize).map_or("?", String::as_str))
            }
            Self::Applied { table, key, entry, action, arguments } => {
                let mut line = format!("{} [{}]", program.tables[table.index()].name, hexadecimal(key));
                match entry {
                    Some(EntryId(entry)) => write!(line, " hit {entry}"),
                    None => write!(line, " miss"),
                }
                .expect("a String takes everything");
                format!("{line} -> {}({})", program.actions[action.index()].name, hexadecimal(arguments))
            }
            Self::Called { instance, function, arguments } => {
                let instance = instance.map_or(String::new(), |id| format!("{}.", program.externs[id.index()].name));
                format!("{instance}{function}({})", hexadecimal(arguments))
            }
            Self::Emitted(header) => format!("emit {}", program.headers[header.index()].name),
        }
    }
}

fn hexadecimal(values: &[u128]) -> String {
    values.iter().map(|value| format!("{value:#x}")).collect::<Vec<_>>().join(", ")
}
