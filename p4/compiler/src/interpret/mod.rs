//! An interpreter of the intermediate form: what a program means, said as plainly as possible, for tests to hold faster engines to.
//!
//! ```text
//! parser (P4_16 §13) -> control (§14) -> deparser (§16), calls of externs handed to [`Externs`]
//! ```
//!
//! What P4_16 leaves open is settled here, and every engine must do the same:
//! - Every variable is zero before the first block; so are the fields of a header that becomes valid (§8.18 lets them be anything).
//! - Fields of an invalid header are read as what their variables hold, and may be assigned to; that makes no header valid.
//! - A packet that the parser rejects goes on to the control, with what was extracted until then; whoever runs the program drops
//!   it there, or looks at [`Outcome::accepted`].

mod cursor;
mod entries;
mod expression;
mod externs;
mod recorder;
mod statement;
mod trace;

pub use cursor::Cursor;
pub use entries::{Entries, EntryError, EntryId, Row};
pub use expression::{State, TooShort};
pub use externs::{Call, Cell, Externs, Passed, Reply};
pub use recorder::{Count, Recorded, Recorder};
pub use trace::Step;

use crate::ir::{HeaderId, Program, TableId, VarId};

/// A program and the entries of its tables.
#[derive(Clone, Debug)]
pub struct Machine<'p> {
    program: &'p Program,
    tables: Vec<Entries<'p>>,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What every variable holds at the end, by [`VarId`].
    pub values: Vec<u128>,
    /// Which headers are valid at the end, by [`HeaderId`].
    pub valid: Vec<bool>,
    /// The parser came to `accept`, or there is none.
    pub accepted: bool,
    /// How the parser ended, by its place in [`Program::errors`]. A transition to `reject` leaves it at `NoError`.
    pub parser_error: u32,
    /// What the deparser emitted.
    pub emitted: Vec<u8>,
    /// What the parser did not look at, from the byte after the last it took or skipped.
    pub payload: Vec<u8>,
    /// What happened, in order.
    pub trace: Vec<Step>,
}

impl<'p> Machine<'p> {
    /// Tables hold what the program itself brings.
    #[must_use]
    pub fn new(program: &'p Program) -> Self {
        let tables = (0_u32..).zip(&program.tables).map(|(index, _)| Entries::new(program, TableId(index))).collect();
        Self { program, tables }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &'p Program {
        self.program
    }

    /// The entries of a table, to change them.
    pub fn entries(&mut self, table: TableId) -> &mut Entries<'p> {
        &mut self.tables[table.index()]
    }

    /// The entries of a table.
    #[must_use]
    pub fn table(&self, table: TableId) -> &Entries<'p> {
        &self.tables[table.index()]
    }

    /// Runs the program over one packet; `inputs` are what the architecture sets before the first block.
    ///
    /// # Panics
    /// If an input does not fit its variable, or the program is not what `lower` makes.
    pub fn run(&self, packet: &[u8], inputs: &[(VarId, u128)], externs: &mut dyn Externs) -> Outcome {
        let mut state = State::new(self.program, packet);
        for &(var, value) in inputs {
            state.assign(var, value);
        }
        externs.start();
        statement::Run::new(self, state, externs).whole()
    }

    /// Runs the control and what follows over a packet that nobody parsed: one that this side makes, with `valid` headers whose
    /// fields are among the `inputs`, and `payload` behind them.
    ///
    /// # Panics
    /// As [`Machine::run`].
    pub fn run_control(
        &self,
        payload: &[u8],
        inputs: &[(VarId, u128)],
        valid: &[HeaderId],
        externs: &mut dyn Externs,
    ) -> Outcome {
        let mut state = State::new(self.program, payload);
        for header in valid {
            state.set_valid(*header, true);
        }
        for &(var, value) in inputs {
            state.assign(var, value);
        }
        externs.start();
        statement::Run::new(self, state, externs).behind_the_parser(true, 0)
    }
}

impl Outcome {
    /// What a variable holds.
    #[must_use]
    pub fn value(&self, var: VarId) -> u128 {
        self.values[var.index()]
    }

    /// Whether a header is valid.
    #[must_use]
    pub fn is_valid(&self, header: HeaderId) -> bool {
        self.valid[header.index()]
    }

    /// The packet that leaves: what was emitted, and the payload behind it.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        [self.emitted.as_slice(), self.payload.as_slice()].concat()
    }

    /// The trace for people, a step a line.
    #[must_use]
    pub fn trace_text(&self, program: &Program) -> String {
        self.trace.iter().map(|step| step.text(program) + "\n").collect()
    }
}
