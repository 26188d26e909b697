//! A program for DPDK's SWX pipeline (rte_swx_pipeline.h, 22.11), as plain data: structs, actions, tables, instructions.
//!
//! ```text
//! rx -> extract h.in (what the architecture sets) -> parser -> control -> h.out (what it looks at), deparser -> tx
//! ```
//!
//! SWX knows bytes up to 64 bits wide: a header's smaller fields share a container and are shifted and masked, wider ones are
//! halves; ranges and prefixes become masks. It does not tell a packet's length, so that comes in `h.in`, as do the answers of
//! externs. What cannot be said at all is refused by name; what is left out or answered from outside is listed.

mod body;
mod checksum;
mod entries;
mod expression;
mod layout;
mod parser;
mod statement;
mod table;
mod validity;

pub use entries::{EntryBytes, LookupKey};

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::{ActionId, ExternId, HeaderId, Program, TableId, VarId, VarKind};
use body::Body;
use layout::Layout;

/// A program for SWX. Names are SWX's own: `h.bth.dest_qp`, `m.meta_vid`, `t.tenant`.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    /// The structs, in the order in which they are to be registered.
    pub structs: Vec<Struct>,
    /// Header instances and the structs they are of. `in` comes before every packet, `out` before every answer.
    pub headers: Vec<(String, String)>,
    /// The metadata's struct.
    pub metadata: String,
    /// The actions of all tables.
    pub actions: Vec<Action>,
    /// The tables.
    pub tables: Vec<Table>,
    /// Register arrays, which count for counters, and their sizes.
    pub registers: Vec<(String, u32)>,
    /// The instructions from `rx` to `tx`.
    pub instructions: Vec<String>,
    /// What `h.in` holds.
    pub inputs: Preamble,
    /// What `h.out` holds.
    pub outputs: Preamble,
    /// What SWX does not do, or not by itself.
    pub left_out: Vec<LeftOut>,
}

/// A struct: names and bits of its fields, each a multiple of 8 up to 64, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Struct {
    /// Its name.
    pub name: String,
    /// Its fields.
    pub fields: Vec<(String, u32)>,
}

/// An action.
#[derive(Clone, Debug)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// Which of the program's it is.
    pub id: ActionId,
    /// The struct of its arguments, none without.
    pub arguments: Option<String>,
    /// What it does.
    pub instructions: Vec<String>,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Which of the program's it is.
    pub id: TableId,
    /// Its key's fields.
    pub keys: Vec<String>,
    /// Every key is exact: a hash table. Otherwise masks and priorities, in a classifier.
    pub exact: bool,
    /// Its actions' names, and whether each may be in entries and be the default.
    pub actions: Vec<(String, bool, bool)>,
    /// What is done on a miss, with arguments as SWX reads them.
    pub default: (String, Option<String>),
    /// Nobody may change that.
    pub const_default: bool,
    /// Entries that there is room for.
    pub size: u32,
    /// Where the key's parts lie, for entries.
    layout: Vec<entries::Part>,
}

/// A header of numbers that goes before a packet: fields in the order of the wire, most significant byte first.
#[derive(Clone, Debug, Default)]
pub struct Preamble {
    /// What there is, and the bytes of each.
    pub slots: Vec<(Slot, usize)>,
}

/// A number of a [`Preamble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The packet's length in bytes, without the preamble.
    Length,
    /// Which headers are valid, by the bits of their [`HeaderId`]s: in `h.in` those that a packet of this side's own begins with.
    Valid,
    /// A variable.
    Var(VarId),
    /// The value that a call returns: the place of the call in [`Pipeline::left_out`].
    Answer(usize),
    /// Which calls without value were made, by bits: the places of the calls in [`Pipeline::left_out`].
    Called,
}

/// Something that SWX leaves out, or that is answered for it from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What: the instance and method, `PacketControl.denials.pack`.
    pub what: String,
    /// What is done instead, and why.
    pub why: &'static str,
    /// The instance.
    pub instance: Option<ExternId>,
    /// The method or function.
    pub function: String,
}

/// A construct that cannot be said in SWX.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SWX cannot run {what}: {why}")]
pub struct Refused {
    /// What it is, and where.
    pub what: String,
    /// What SWX lacks.
    pub why: &'static str,
}

/// What is wanted of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Input variables that come in `h.in`; all that the program reads if none. Others are zero.
    pub inputs: Option<Vec<VarId>>,
    /// Variables that go into `h.out`; all metadata that the program uses if none.
    pub outputs: Option<Vec<VarId>>,
    /// Packets of this side's own. None if every packet is parsed.
    pub made: Option<Made>,
    /// `h.out` tells which headers are valid, and what was called.
    pub told: bool,
}

/// Packets that this side makes: they are not parsed, and come with headers at their front.
#[derive(Clone, Debug)]
pub struct Made {
    /// The input that tells them from others.
    pub when: VarId,
    /// The header sets that they may have.
    pub headers: Vec<Vec<HeaderId>>,
}

/// Lowers a program.
///
/// # Errors
/// Everything that SWX cannot do, by name.
pub fn lower(program: &Program, options: &Options) -> Result<Pipeline, Vec<Refused>> {
    let mut refused = Vec::new();
    validity::check(program, options, &mut refused);
    let mut lowering = Lowering {
        program,
        options,
        layout: Layout::new(program, &mut refused),
        refused,
        left_out: Vec::new(),
        registers: BTreeMap::new(),
        actions: BTreeMap::new(),
        tables: Vec::new(),
        copied: BTreeSet::new(),
    };
    lowering.keys_first();
    let mut rest = Body::default();
    lowering.parser(&mut rest);
    lowering.control(&mut rest);
    lowering.leave(&mut rest);
    let mut whole = Body::default();
    let inputs = lowering.enter(&mut whole);
    whole.append(rest);
    lowering.finish(inputs, whole)
}

/// What is known while a program is lowered.
struct Lowering<'p> {
    program: &'p Program,
    options: &'p Options,
    layout: Layout,
    refused: Vec<Refused>,
    left_out: Vec<LeftOut>,
    registers: BTreeMap<String, u32>,
    actions: BTreeMap<ActionId, Action>,
    tables: Vec<Table>,
    /// Exact tables whose keys do not lie one behind the other, which SWX would make classifiers: copies of them do.
    copied: BTreeSet<TableId>,
}

impl Lowering<'_> {
    fn refuse(&mut self, what: impl Into<String>, why: &'static str) {
        let refused = Refused { what: what.into(), why };
        if !self.refused.contains(&refused) {
            self.refused.push(refused);
        }
    }

    fn is_input(&self, var: VarId) -> bool {
        matches!(self.program.vars[var.index()].kind, VarKind::Metadata { input: true, .. })
            && self.program.parser_error != Some(var)
            && self.options.inputs.as_ref().is_none_or(|wanted| wanted.contains(&var))
    }

    fn is_output(&self, var: VarId) -> bool {
        matches!(self.program.vars[var.index()].kind, VarKind::Metadata { .. })
            && self.options.outputs.as_ref().is_none_or(|wanted| wanted.contains(&var))
    }

    fn finish(mut self, inputs: Preamble, whole: Body) -> Result<Pipeline, Vec<Refused>> {
        let outputs = self.outputs();
        if self.layout.metadata_bytes() > layout::REACH {
            self.refuse("the program's metadata", "instructions reach 256 bytes of it");
        }
        if !self.refused.is_empty() {
            return Err(self.refused);
        }
        let mut structs = self.layout.structs();
        structs.push(preamble_struct("in", &inputs));
        structs.push(preamble_struct("out", &outputs));
        let mut headers = vec![("in".to_owned(), "in".to_owned())];
        headers.extend(self.layout.header_names().map(|name| (name.to_owned(), name.to_owned())));
        // Last, so that reading 8 bytes at the end of another header's storage stays within it.
        headers.push(("out".to_owned(), "out".to_owned()));
        let metadata = self.layout.metadata_struct();
        let name = metadata.name.clone();
        structs.push(metadata);
        structs.extend(self.layout.argument_structs(self.actions.keys().copied()));
        Ok(Pipeline {
            structs,
            headers,
            metadata: name,
            actions: self.actions.into_values().collect(),
            tables: self.tables,
            registers: self.registers.into_iter().collect(),
            instructions: whole.into_text(),
            inputs,
            outputs,
            left_out: self.left_out,
        })
    }
}

fn preamble_struct(name: &str, preamble: &Preamble) -> Struct {
    let mut fields = Vec::new();
    for (slot, bytes) in &preamble.slots {
        let halves = parser::slot_fields(*slot, *bytes);
        fields.extend(halves);
    }
    // A field at the end is read as 8 bytes.
    fields.push(("spare".to_owned(), 64));
    Struct { name: name.to_owned(), fields }
}

impl Preamble {
    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|(_, bytes)| bytes).sum::<usize>() + 8
    }

    /// The preamble with these values, which are cut to their fields.
    #[must_use]
    pub fn encode(&self, value: impl Fn(Slot) -> u128) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes());
        for (slot, length) in &self.slots {
            bytes.extend_from_slice(&value(*slot).to_be_bytes()[16 - length..]);
        }
        bytes.resize(self.bytes(), 0);
        bytes
    }

    /// What a packet's preamble says, and what is behind it. None if the packet is too short.
    #[must_use]
    pub fn decode<'a>(&self, packet: &'a [u8]) -> Option<(BTreeMap<Slot, u128>, &'a [u8])> {
        if packet.len() < self.bytes() {
            return None;
        }
        let (mut at, mut values) = (0, BTreeMap::new());
        for (slot, length) in &self.slots {
            let number = packet[at..at + length].iter().fold(0, |value, byte| value << 8 | u128::from(*byte));
            values.insert(*slot, number);
            at += length;
        }
        Some((values, &packet[self.bytes()..]))
    }
}
