//! Tables and their actions. A key's parts have to lie in one struct: those that do not are copied into the metadata first.

use super::body::Body;
use super::entries::Part;
use super::layout::{Place, argument_struct, last, plain};
use super::statement::Exits;
use super::{Action, Lowering, Table};
use crate::ir::{ActionId, ActionScope, ExprKind, MatchKind, TableId, VarKind};

/// Bytes of the key of one lookup.
const KEY_MAX: u32 = 64;

impl Lowering<'_> {
    /// Gives what tables look up its place before all else, so that every key is within reach of one lookup.
    pub(super) fn keys_first(&mut self) {
        let tables: Vec<_> = (0..).map(TableId).zip(&self.program.tables).collect();
        for (id, table) in &tables {
            let exact = table.keys.iter().all(|key| key.kind == MatchKind::Exact);
            let scattered = table.keys.iter().any(|key| match key.expr.kind {
                ExprKind::Var(var) => self.layout.is_placed(var),
                _ => false,
            });
            if exact && scattered && table.keys.len() > 1 {
                self.copied.insert(*id);
                continue;
            }
            for at in 0..table.keys.len() {
                self.key_fields(*id, at);
            }
        }
        for id in self.copied.clone() {
            for at in 0..self.program.tables[id.index()].keys.len() {
                self.key_fields(id, at);
            }
        }
    }

    /// The fields that a part of a key is looked up in, and whether it has to be copied there.
    fn key_fields(&mut self, id: TableId, at: usize) -> (Vec<String>, bool) {
        let program = self.program;
        let table = &program.tables[id.index()];
        let key = &table.keys[at];
        if let ExprKind::Var(var) = key.expr.kind
            && !self.copied.contains(&id)
        {
            let is_field = matches!(program.vars[var.index()].kind, VarKind::Field { .. });
            if !is_field || table.keys.len() == 1 {
                match self.layout.place(program, var) {
                    Place::Whole(field) => return (vec![field], false),
                    Place::Halves(hi, lo) => return (vec![hi, lo], false),
                    Place::Part { .. } => {}
                }
            }
        }
        let whole = u32::from(key.expr.ty.bits()).next_multiple_of(8);
        let own = format!("key_{}_{}", plain(last(&table.name)), plain(&key.name));
        let fields = if whole > 64 {
            vec![
                self.layout.own(&format!("{own}_hi"), whole - 64, false),
                self.layout.own(&format!("{own}_lo"), 64, false),
            ]
        } else {
            vec![self.layout.own(&own, whole, false)]
        };
        (fields, true)
    }

    /// Brings the key together and looks it up.
    pub(super) fn look_up(&mut self, body: &mut Body, id: TableId) {
        let program = self.program;
        let table = &program.tables[id.index()];
        let name = plain(last(&table.name));
        let (mut keys, mut parts) = (Vec::new(), Vec::new());
        for (number, key) in table.keys.iter().enumerate() {
            let bits = u32::from(key.expr.ty.bits());
            let (fields, copied) = self.key_fields(id, number);
            if copied {
                let depth = body.depth;
                let value = self.value(body, &key.expr);
                if let [hi, _] = fields.as_slice() {
                    body.push(format!("mov {hi} {}", value.hi.text()));
                }
                body.push(format!("mov {} {}", fields.last().expect("one at least"), value.lo.text()));
                body.depth = depth;
            }
            for (at, field) in fields.iter().enumerate() {
                let upper = fields.len() == 2 && at == 0;
                parts.push(Part {
                    key: number,
                    offset: self.layout.offset(field) as usize,
                    bytes: field_bytes(bits, fields.len() == 2, upper),
                    upper,
                    network_order: field.starts_with("h."),
                });
            }
            keys.extend(fields);
        }
        let first = parts.iter().map(|part| part.offset).min().unwrap_or(0);
        for part in &mut parts {
            part.offset -= first;
        }
        if parts.iter().any(|part| part.offset + part.bytes > KEY_MAX as usize) {
            self.refuse(format!("the key of {}", table.name), "64 bytes are compared at most");
        }
        body.push(format!("table {name}"));
        if self.tables.iter().all(|other| other.id != id) {
            let table = self.table(id, name, keys, parts);
            self.tables.push(table);
        }
    }

    fn table(&mut self, id: TableId, name: String, keys: Vec<String>, layout: Vec<Part>) -> Table {
        let program = self.program;
        let table = &program.tables[id.index()];
        let mut actions = Vec::new();
        let mut listed = table.actions.clone();
        if listed.iter().all(|of| of.action != table.default_action.0) {
            listed.push(crate::ir::TableAction { action: table.default_action.0, scope: ActionScope::Default });
        }
        for of in &listed {
            let action = self.action(of.action);
            actions.push((action, of.scope != ActionScope::Default, of.scope != ActionScope::Entries));
        }
        let (default, arguments) = &table.default_action;
        let names = self.layout.arguments(program, *default);
        let mut text = Vec::new();
        let vars = &program.actions[default.index()].parameters;
        for ((var, value), _) in vars.iter().zip(arguments).zip(&names) {
            match self.layout.place(program, *var) {
                Place::Whole(field) => text.push(format!("{} {value:#x}", last(&field))),
                Place::Halves(hi, lo) => {
                    text.push(format!("{} {:#x}", last(&hi), value >> 64));
                    text.push(format!("{} {:#x}", last(&lo), *value as u64));
                }
                Place::Part { .. } => unreachable!("an argument has no container"),
            }
        }
        Table {
            name,
            id,
            keys,
            exact: table.keys.iter().all(|key| key.kind == MatchKind::Exact),
            actions,
            default: (plain(&program.actions[default.index()].name), (!text.is_empty()).then(|| text.join(" "))),
            const_default: table.const_default,
            size: table.size,
            layout,
        }
    }

    /// An action's name; it is lowered when it is first named.
    fn action(&mut self, id: ActionId) -> String {
        let program = self.program;
        let action = &program.actions[id.index()];
        let name = plain(&action.name);
        if !self.actions.contains_key(&id) {
            let arguments = self.layout.arguments(program, id);
            let mut body = Body::default();
            self.block(&mut body, &action.body, &mut Exits::default());
            body.push("return");
            let action = Action {
                name: name.clone(),
                id,
                arguments: (!arguments.is_empty()).then(|| argument_struct(id)),
                instructions: body.into_text(),
            };
            self.actions.insert(id, action);
        }
        name
    }
}

fn field_bytes(bits: u32, halves: bool, upper: bool) -> usize {
    match (halves, upper) {
        (false, _) => bits.div_ceil(8) as usize,
        (true, true) => (bits.div_ceil(8) - 8) as usize,
        (true, false) => 8,
    }
}
