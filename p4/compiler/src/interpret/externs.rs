//! What a program calls but does not say how to do: externs, and functions of the architecture (P4_16 §4.3).

use crate::interpret::EntryId;
use crate::ir::{Extern, ExternId, TableId, Type};

/// Does what a program's calls ask for.
pub trait Externs {
    /// A packet's run begins: what an extern remembers for one packet only is forgotten.
    fn start(&mut self) {}

    /// A call.
    fn call(&mut self, call: &Call<'_>) -> Reply;
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Of which instance and what it is; none for a function.
    pub instance: Option<(ExternId, &'a Extern)>,
    /// The method's or function's name.
    pub function: &'a str,
    /// What is passed, in order.
    pub arguments: Vec<Passed>,
    /// The type of the value that is wanted, if one is.
    pub result: Option<Type>,
    /// In an action that a table runs: of which table and entry, which direct externs belong to.
    pub cell: Option<Cell>,
    /// The length of the packet, as it came.
    pub packet_bytes: usize,
}

/// An argument that is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its value; of an `out` argument what the place holds before the call.
    pub value: u128,
    /// Its type.
    pub ty: Type,
    /// The call may change it.
    pub out: bool,
}

/// One of the counters or meters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cell {
    /// By its index.
    Index(u128),
    /// That of a table's entry.
    Entry(TableId, EntryId),
    /// That of a table's default action.
    Default(TableId),
}

/// What comes back from a call. Values are cut to the types they go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The call's value, where one is wanted.
    pub result: u128,
    /// New values of the arguments that the call may change, in order; those that are missing stay as they are.
    pub outs: Vec<u128>,
}

impl Reply {
    /// A value, and no argument changed.
    #[must_use]
    pub fn value(result: u128) -> Self {
        Self { result, outs: Vec::new() }
    }
}
