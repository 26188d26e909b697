//! One of the card's programs as an SWX pipeline that runs: built from what the compiler's emitter says, entries kept up to date.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrayvec::ArrayVec;
use gantry_p4c::emit::swx::{EntryBytes, Pipeline, Slot};
use gantry_p4c::interpret::Machine;
use gantry_p4c::ir::{HeaderId, Program, TableId, VarId};
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;
use rte_rs::swx::{Builder, Entry, Table};
use rte_rs::{Eal, Mbuf, Mempool};

/// Instructions that one packet takes at most, the empty turns of SWX's other threads with them.
const ENOUGH: u32 = 4000;

/// One of the card's own programs.
pub(crate) fn own(name: &str) -> Program {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let options = Options { include_folders: vec![root.join("p4/include")], ..Options::default() };
    let mut sources = Sources::default();
    let file: PathBuf = root.join("p4").join(name);
    gantry_p4c::compile(&file, &options, &mut sources)
        .unwrap_or_else(|mistakes| panic!("{}", gantry_p4c::diagnostics::render(&mistakes, &sources, false)))
}

/// A variable by its name.
pub(crate) fn var(program: &Program, name: &str) -> VarId {
    let place = program.vars.iter().position(|var| var.name == name);
    VarId(place.unwrap_or_else(|| panic!("no variable {name}")) as u32)
}

/// A header by its name.
pub(crate) fn header(program: &Program, name: &str) -> HeaderId {
    let place = program.headers.iter().position(|header| header.name == name);
    HeaderId(place.unwrap_or_else(|| panic!("no header {name}")) as u32)
}

/// A pipeline that runs, and what its tables hold.
pub(crate) struct Lowered {
    pub(crate) plan: Pipeline,
    pub(crate) running: rte_rs::swx::Pipeline,
    installed: BTreeMap<LookupPlace, Held>,
}

/// A table's name, a key and a mask: SWX tells entries apart by these.
type LookupPlace = (String, Vec<u8>, Option<Vec<u8>>);
/// Priority, action and arguments.
type Held = (u32, String, Vec<u8>);

impl Lowered {
    /// `size` tells how many entries a table has room for.
    pub(crate) fn build(eal: &Eal, name: &str, plan: Pipeline, size: impl Fn(&str, u32) -> u32) -> Self {
        let mut builder = Builder::new(eal, name).expect("rings and an empty pipeline");
        for each in &plan.structs {
            builder.struct_type(&each.name, &each.fields).unwrap_or_else(|error| panic!("{}: {error}", each.name));
        }
        for (name, of) in &plan.headers {
            builder.header(name, of).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        builder.metadata(&plan.metadata).expect("metadata");
        for (name, size) in &plan.registers {
            builder.registers(name, *size).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for action in &plan.actions {
            builder
                .action(&action.name, action.arguments.as_deref(), &action.instructions)
                .unwrap_or_else(|error| panic!("{action:?}: {error}"));
        }
        for table in &plan.tables {
            let keys: Vec<_> = table.keys.iter().map(String::as_str).collect();
            let actions: Vec<_> =
                table.actions.iter().map(|(name, entry, default)| (name.as_str(), *entry, *default)).collect();
            let config = Table {
                name: &table.name,
                keys: &keys,
                exact: table.exact,
                actions: &actions,
                default: &table.default.0,
                default_arguments: table.default.1.as_deref(),
                const_default: table.const_default,
                size: size(&table.name, table.size),
            };
            builder.table(&config).unwrap_or_else(|error| panic!("{table:?}: {error}"));
        }
        // SAFETY: `lower` refuses programs that touch a field of a header that may not be valid or that have metadata beyond the
        // reach of instructions; a header is extracted only when as many bytes are left of the length that a packet brings along,
        // which `told` and the benchmark take from the packet.
        let running = unsafe { builder.build(&plan.instructions) };
        let running = running.unwrap_or_else(|error| panic!("{error}:\n{}", plan.instructions.join("\n")));
        Self { plan, running, installed: BTreeMap::new() }
    }

    /// The entries that a machine has: its tables hold them from now on, and no others.
    pub(crate) fn hold_what(&mut self, machine: &Machine<'_>) {
        let program = machine.program();
        let mut wanted: BTreeMap<LookupPlace, Held> = BTreeMap::new();
        for table in &self.plan.tables {
            for row in machine.table(table.id).rows() {
                let entry = self.plan.entry(program, table.id, &row.entry).expect("its table and action are lowered");
                for (place, held) in flat(&table.name, entry) {
                    // Of two with the same matches only the more important one can ever be hit, and SWX keeps but one.
                    let better = wanted.get(&place).is_none_or(|other| held.0 < other.0);
                    if better {
                        wanted.insert(place, held);
                    }
                }
            }
        }
        for ((table, key, mask), (priority, action, arguments)) in &self.installed {
            let entry = Entry { key, mask: mask.as_deref(), priority: *priority, action, arguments };
            if !wanted.contains_key(&(table.clone(), key.clone(), mask.clone())) {
                self.running.delete(table, &entry).unwrap_or_else(|error| panic!("{table}: {error}"));
            }
        }
        for (place, held) in &wanted {
            if self.installed.get(place) != Some(held) {
                let ((table, key, mask), (priority, action, arguments)) = (place, held);
                let entry = Entry { key, mask: mask.as_deref(), priority: *priority, action, arguments };
                self.running.add(table, &entry).unwrap_or_else(|error| panic!("{table}: {error}"));
            }
        }
        for table in &self.plan.tables {
            let (action, arguments) = machine.table(table.id).default_action();
            if !table.const_default {
                let bytes = self.plan.arguments(program, action, arguments).expect("the default action is lowered");
                let name = self.plan.actions.iter().find(|of| of.id == action).expect("it is lowered").name.clone();
                self.running.set_default(&table.name, &name, &bytes).unwrap_or_else(|error| panic!("{error}"));
            }
        }
        self.running.commit().expect("entries that fit");
        self.installed = wanted;
    }

    /// Runs one packet of `length` bytes behind the headers that a packet of this side's own has, with its preamble made of
    /// `value`: what was told of it, and what left.
    pub(crate) fn run(
        &mut self,
        pool: &Mempool,
        packet: &[u8],
        length: usize,
        value: impl Fn(Slot) -> u128,
    ) -> (BTreeMap<Slot, u128>, Vec<u8>) {
        assert!(length <= packet.len(), "what is parsed is there");
        let told = |slot| if slot == Slot::Length { length as u128 } else { value(slot) };
        let preamble = self.plan.inputs.encode(told);
        let mut burst: ArrayVec<Mbuf, 1> = ArrayVec::new();
        burst.push(mbuf(pool, &[&preamble, packet]));
        assert_eq!(self.running.offer(&mut burst), 1, "the ring has room");
        self.running.run(ENOUGH);
        self.running.flush();
        assert_eq!(self.running.take(&mut burst), 1, "the packet has left");
        let (values, rest) = self.plan.outputs.decode(burst[0].as_slice()).expect("its preamble");
        (values, rest.to_vec())
    }
}

/// A packet of these parts.
pub(crate) fn mbuf(pool: &Mempool, parts: &[&[u8]]) -> Mbuf {
    let mut mbuf = pool.alloc().expect("mbufs come back");
    for part in parts {
        mbuf.append(part.len()).expect("frames fit an mbuf").copy_from_slice(part);
    }
    mbuf
}

fn flat(table: &str, entry: EntryBytes) -> Vec<(LookupPlace, Held)> {
    let EntryBytes { keys, action, arguments } = entry;
    let each = |key: gantry_p4c::emit::swx::LookupKey| {
        ((table.to_owned(), key.key, key.mask), (key.priority, action.clone(), arguments.clone()))
    };
    keys.into_iter().map(each).collect()
}

/// The table of a name's last part.
pub(crate) fn table(program: &Program, name: &str) -> TableId {
    let place = program.tables.iter().position(|table| table.name.rsplit('.').next() == Some(name));
    TableId(place.unwrap_or_else(|| panic!("no table {name}")) as u32)
}
