//! What the generated module is made of: names, and for each variable of the program the place where it lives.

use std::collections::{BTreeSet, HashMap};

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{ActionId, Expr, ExprKind, HeaderId, Program, Stmt, Table, Type, VarId, VarKind};

use super::names::{Scope, behind_first, camel, ident, last, snake, upper};
use super::split::{self, After, Node, Split};
use super::walk;

/// Where a variable lives.
#[derive(Clone, Debug)]
pub(super) enum Home {
    /// In the packet's state: what the program assigns to, and locals that are needed behind a table.
    Packet(Ident),
    /// In the packet's metadata.
    Metadata(Ident),
    /// On the wire only: it is read from the frame when it is needed, by this accessor.
    Frame(HeaderId, Ident),
    /// In one function.
    Local(Ident),
}

/// A header type: instances of one type share it.
pub(super) struct Layout {
    /// Its name in Rust.
    pub(super) name: Ident,
    /// An instance of it.
    pub(super) header: HeaderId,
    /// For each field the names of what reads and what writes it.
    pub(super) fields: Vec<(Ident, Ident)>,
}

/// A header instance.
pub(super) struct Instance {
    /// What reads it in the frame, and a binding of it.
    pub(super) name: Ident,
    /// Its bit among those of the valid headers.
    pub(super) valid: Ident,
    /// Where it is in the frame.
    pub(super) at: Ident,
    /// Its type, of [`Plan::layouts`].
    pub(super) layout: usize,
    /// The program makes it valid somewhere.
    pub(super) made: bool,
}

/// The names of everything.
pub(super) struct Plan<'p> {
    pub(super) program: &'p Program,
    pub(super) split: Split<'p>,
    pub(super) layouts: Vec<Layout>,
    pub(super) headers: Vec<Instance>,
    pub(super) homes: Vec<Home>,
    /// Assigned to somewhere other than by `extract`.
    pub(super) written: BTreeSet<VarId>,
    pub(super) errors: Vec<Ident>,
    pub(super) states: Vec<Ident>,
    pub(super) actions: Vec<Ident>,
    /// For each table its field of `Tables`, and the names of its key and of what its entries do.
    pub(super) tables: Vec<(Ident, Ident, Ident)>,
    pub(super) joins: Vec<Ident>,
    pub(super) externs: Vec<Ident>,
    /// Types that nothing else shows, in the order of the enums.
    pub(super) enums: Vec<Ident>,
    pub(super) constants: Vec<Ident>,
}

/// Names of the generated module that do not depend on the program.
const FIXED: &[&str] = &[
    "self",
    "super",
    "crate",
    "packet",
    "frame",
    "frames",
    "burst",
    "run",
    "tables",
    "externs",
    "index",
    "at",
    "by",
    "entry",
    "keys",
    "hashes",
    "parse",
    "control",
    "deparse",
    "header",
    "peek",
    "part",
    "out",
    "start",
    "sum",
    "Packet",
    "Metadata",
    "Tables",
    "TABLES",
    "Externs",
    "Run",
    "ParserError",
    "Match",
    "EntryError",
    "Sizes",
    "Banks",
    "TableInfo",
    "KeyInfo",
    "MatchKind",
    "ActionInfo",
    "ParameterInfo",
    "fold",
    "sum_of",
    "color_of",
    "value_of",
    "work",
    "found",
    "table",
    "value",
    "action",
    "hit",
    "key",
    "Option",
    "Some",
    "None",
    "Result",
    "Ok",
    "Err",
    "Default",
    "Clone",
    "Copy",
    "Debug",
    "Eq",
    "PartialEq",
    "From",
    "Into",
    "Box",
    "Self",
    "DONE",
    "VISITS",
    "Visits",
    "visits",
    "ABSENT",
    "BURST",
    "gantry_table",
    "zerocopy",
    "core",
    "alloc",
];

impl<'p> Plan<'p> {
    /// Finds a name and a place for everything.
    pub(super) fn new(program: &'p Program) -> Self {
        let mut items = Scope::with(FIXED);
        let split = program.control.as_ref().map(split::split).unwrap_or_default();
        let made = made_headers(program);
        let (layouts, layout_of) = layouts(program, &mut items);
        let errors = errors(program);
        let enums = program.enums.iter().map(|of| items.take(&camel(&of.name))).collect();
        let constants = program.constants.iter().map(|of| items.take(&upper(&of.name))).collect();
        let states = program.parser.iter().flat_map(|parser| &parser.states);
        let states = states.map(|state| items.take(&format!("state_{}", snake(&state.name)))).collect();
        let own = |name: &str| vec![snake(last(name)), snake(name)];
        let actions = program.actions.iter().map(|action| items.first(&own(&action.name))).collect();
        let joins = split
            .joins
            .iter()
            .map(|j| items.take(&format!("after_{}", snake(last(&program.tables[j.table.index()].name)))));
        let joins = joins.collect();

        let mut fields = Scope::default();
        let tables = program.tables.iter().map(|table| {
            let field = fields.first(&own(&table.name));
            let base = camel(last(&table.name));
            (field, items.take(&format!("{base}Key")), items.take(&format!("{base}Action")))
        });
        let tables = tables.collect();
        let externs = program.externs.iter().map(|of| fields.first(&own(&of.name))).collect();

        let mut state =
            Scope::with(&["valid", "changed", "is_valid", "is_changed", "reset", "length", "payload_at", "metadata"]);
        let mut headers = Vec::new();
        for (index, header) in program.headers.iter().enumerate() {
            let name = snake(behind_first(&header.name));
            headers.push(Instance {
                name: items.take(&name),
                valid: items.take(&format!("VALID_{}", upper(&name))),
                at: state.take(&format!("{name}_at")),
                layout: layout_of[index],
                made: made.contains(&HeaderId(index as u32)),
            });
        }
        let mut plan = Self {
            program,
            split,
            layouts,
            headers,
            homes: Vec::new(),
            written: written(program),
            errors,
            states,
            actions,
            tables,
            joins,
            externs,
            enums,
            constants,
        };
        plan.homes = plan.find_homes(&items, state);
        plan
    }

    fn find_homes(&self, items: &Scope, mut state: Scope) -> Vec<Home> {
        let places = self.functions_of_locals();
        let mut metadata = Scope::default();
        let mut locals = items.clone();
        let mut parameters: HashMap<u32, Scope> = HashMap::new();
        let mut homes = Vec::new();
        for (index, var) in self.program.vars.iter().enumerate() {
            let id = VarId(index as u32);
            let short = snake(behind_first(&var.name));
            homes.push(match var.kind {
                VarKind::Field { header, field } => {
                    let instance = &self.headers[header.index()];
                    if self.written.contains(&id) {
                        Home::Packet(state.take(&short))
                    } else {
                        Home::Frame(header, self.layouts[instance.layout].fields[field as usize].0.clone())
                    }
                }
                VarKind::Metadata { .. } => Home::Metadata(metadata.first(&[short, snake(&var.name)])),
                VarKind::Local if places.get(&id).is_some_and(|places| places.len() > 1) => {
                    Home::Packet(state.take(&snake(&var.name)))
                }
                VarKind::Local => Home::Local(locals.take(&snake(&var.name))),
                VarKind::Parameter { action, .. } => {
                    let scope = parameters.entry(action.0).or_insert_with(|| items.clone());
                    let name = scope.take(&snake(last(&var.name)));
                    // A local of the same function must not hide it.
                    locals.take(&name.to_string());
                    Home::Local(name)
                }
            });
        }
        homes
    }

    /// For each local the functions that mention it.
    fn functions_of_locals(&self) -> HashMap<VarId, BTreeSet<usize>> {
        let mut places: HashMap<VarId, BTreeSet<usize>> = HashMap::new();
        let mut function = 0;
        let mut next = |mentioned: Vec<VarId>| {
            for var in mentioned {
                places.entry(var).or_default().insert(function);
            }
            function += 1;
        };
        let program = self.program;
        for state in program.parser.iter().flat_map(|parser| &parser.states) {
            let mut vars = mentioned(&state.body);
            if let crate::ir::Transition::Select { keys, .. } = &state.transition {
                keys.iter().for_each(|key| vars.extend(variables(key)));
            }
            next(vars);
        }
        used_actions(program).iter().for_each(|id| next(mentioned(&program.actions[id.index()].body)));
        program.deparser.iter().for_each(|deparser| next(mentioned(&deparser.body)));
        next(mentioned_by(&self.split.start));
        for site in &self.split.sites {
            let keys = &program.tables[site.table.index()].keys;
            next(keys.iter().flat_map(|key| variables(&key.expr)).collect());
            next(match &site.after {
                After::Any(nodes) => mentioned_by(nodes),
                After::Hit { hit, miss } => [mentioned_by(hit), mentioned_by(miss)].concat(),
                After::Action { cases, otherwise } => {
                    let mut vars = mentioned_by(otherwise);
                    cases.iter().for_each(|(_, nodes)| vars.extend(mentioned_by(nodes)));
                    vars
                }
            });
        }
        self.split.joins.iter().for_each(|join| next(mentioned_by(&join.body)));
        places
    }

    /// The integer that holds the bits of the valid headers.
    pub(super) fn valid_type(&self) -> Ident {
        natural(Type::Bits(self.headers.len().clamp(1, 128) as u8))
    }

    /// The variant of an error by its name, whether the program declares it or not.
    pub(super) fn error(&self, name: &str) -> TokenStream {
        let of = self.errors.iter().find(|error| *error == name).expect("an error of the core library");
        quote!(ParserError::#of)
    }

    /// Fields of the packet's state that hold values: their names and types.
    pub(super) fn stored(&self) -> impl Iterator<Item = (VarId, &Ident, Type)> {
        self.homes.iter().enumerate().filter_map(|(index, home)| match home {
            Home::Packet(name) => Some((VarId(index as u32), name, self.program.vars[index].ty)),
            _ => None,
        })
    }

    /// Fields of a header that live in the packet's state: their places in the header and their names.
    pub(super) fn stored_fields(&self, header: HeaderId) -> Vec<(usize, Ident)> {
        let fields = self.program.headers[header.index()].fields.iter().enumerate();
        let stored = fields.filter_map(|(at, field)| match &self.homes[field.var.index()] {
            Home::Packet(name) => Some((at, name.clone())),
            _ => None,
        });
        stored.collect()
    }

    /// Whether the parser changes a header in other ways than by `extract`.
    pub(super) fn written_in_parser(&self, header: HeaderId) -> bool {
        let mut written = false;
        for state in self.program.parser.iter().flat_map(|parser| &parser.states) {
            let of = |var: VarId| self.field_of(var).is_some_and(|(of, _)| of == header);
            walk::statements(&state.body, &mut |_| {}, &mut |var| written |= of(var));
            written |=
                walk::any(&state.body, |stmt| matches!(stmt, Stmt::SetValid { header: of, .. } if *of == header));
        }
        written
    }

    /// The header and the place there of a field's variable.
    pub(super) fn field_of(&self, var: VarId) -> Option<(HeaderId, usize)> {
        match self.program.vars[var.index()].kind {
            VarKind::Field { header, field } => Some((header, field as usize)),
            _ => None,
        }
    }

    /// The layout of a header.
    pub(super) fn layout(&self, header: HeaderId) -> &Layout {
        &self.layouts[self.headers[header.index()].layout]
    }
}

/// The smallest integer of Rust that holds a value.
pub(super) fn natural(ty: Type) -> Ident {
    match ty {
        Type::Bool => ident("bool"),
        Type::Bits(bits) => format_ident!("u{}", natural_bits(bits)),
    }
}

/// Bits of that integer.
pub(super) fn natural_bits(bits: u8) -> u8 {
    bits.next_power_of_two().max(8)
}

/// Comment lines as attributes.
pub(super) fn doc(lines: &str) -> TokenStream {
    let lines = lines.lines().map(|line| if line.is_empty() { String::new() } else { format!(" {line}") });
    quote!(#(#[doc = #lines])*)
}

fn errors(program: &Program) -> Vec<Ident> {
    let mut scope = Scope::default();
    let mut names: Vec<Ident> = program.errors.iter().map(|name| scope.take(&capital(name))).collect();
    for needed in ["NoError", "PacketTooShort", "NoMatch", "ParserInvalidArgument"] {
        if !names.iter().any(|name| name == needed) {
            names.push(scope.take(needed));
        }
    }
    names
}

/// Names of errors are written like types already.
fn capital(name: &str) -> String {
    if name.starts_with(|first: char| first.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric()) {
        name.to_owned()
    } else {
        camel(name)
    }
}

fn layouts(program: &Program, items: &mut Scope) -> (Vec<Layout>, Vec<usize>) {
    let mut layouts: Vec<Layout> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut of = Vec::new();
    for (index, header) in program.headers.iter().enumerate() {
        let next = layouts.len();
        let layout = *by_name.entry(&header.type_name).or_insert(next);
        if layout == next {
            let mut scope = Scope::with(&["new"]);
            let fields = header.fields.iter().map(|field| {
                let reads = scope.take(&snake(&field.name));
                let writes = scope.take(&format!("set_{}", snake(&field.name)));
                (reads, writes)
            });
            let fields = fields.collect();
            layouts.push(Layout {
                name: items.take(&camel(&header.type_name)),
                header: HeaderId(index as u32),
                fields,
            });
        }
        of.push(layout);
    }
    (layouts, of)
}

/// Statements of every block.
pub(super) fn bodies(program: &Program) -> impl Iterator<Item = &[Stmt]> {
    let states = program.parser.iter().flat_map(|parser| &parser.states).map(|state| state.body.as_slice());
    let control = program.control.iter().map(|control| control.body.as_slice());
    let deparser = program.deparser.iter().map(|deparser| deparser.body.as_slice());
    states
        .chain(control)
        .chain(deparser)
        .chain(used_actions(program).into_iter().map(|id| program.actions[id.index()].body.as_slice()))
}

/// Actions that a table may run; the others were put in where they are called.
pub(super) fn used_actions(program: &Program) -> BTreeSet<ActionId> {
    let listed =
        |table: &Table| table.actions.iter().map(|of| of.action).chain([table.default_action.0]).collect::<Vec<_>>();
    program.tables.iter().flat_map(listed).collect()
}

fn made_headers(program: &Program) -> BTreeSet<HeaderId> {
    let mut made = BTreeSet::new();
    for body in bodies(program) {
        walk::nested(body, &mut |stmt| {
            if let Stmt::SetValid { header, valid: true } = stmt {
                made.insert(*header);
            }
        });
    }
    made
}

fn written(program: &Program) -> BTreeSet<VarId> {
    let mut written = BTreeSet::new();
    for body in bodies(program) {
        walk::statements(body, &mut |_| {}, &mut |var| {
            written.insert(var);
        });
    }
    written
}

/// Variables of an expression.
pub(super) fn variables(expr: &Expr) -> Vec<VarId> {
    let mut vars = Vec::new();
    walk::expression(expr, &mut |part| {
        if let ExprKind::Var(var) = part.kind {
            vars.push(var);
        }
    });
    vars
}

/// Variables that statements mention.
pub(super) fn mentioned(stmts: &[Stmt]) -> Vec<VarId> {
    let mut written = Vec::new();
    let mut read = Vec::new();
    walk::statements(stmts, &mut |expr| read.extend(variables(expr)), &mut |var| written.push(var));
    read.extend(written);
    read
}

/// Variables that pieces mention.
pub(super) fn mentioned_by(nodes: &[Node<'_>]) -> Vec<VarId> {
    let mut vars = Vec::new();
    for node in nodes {
        match node {
            Node::Plain(stmt) => vars.extend(mentioned(std::slice::from_ref(*stmt))),
            Node::If { condition, then, otherwise } => {
                vars.extend(variables(condition));
                vars.extend(mentioned_by(then));
                vars.extend(mentioned_by(otherwise));
            }
            Node::Site(_) | Node::Join(_) | Node::Done => {}
        }
    }
    vars
}
