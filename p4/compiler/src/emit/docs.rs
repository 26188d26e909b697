//! The reference of a program's tables, counters, meters, digests, parser and headers in Markdown, for operators.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{annotation, notation};
use crate::ir::{
    ActionId, ActionScope, ExprKind, Extern, ExternKind, Header, MatchKind, Notes, Parser, Program, Stmt, Table,
    Target, Transition, Unit, Var,
};

/// The reference of one program.
#[must_use]
pub fn emit(program: &Program) -> String {
    document(&[program])
}

/// The reference of several programs, one after the other.
#[must_use]
pub fn document(programs: &[&Program]) -> String {
    let mut page = String::from("# Tables\n\n");
    page.push_str("Generated from the P4 programs. Names are those that P4Runtime and the command line use.\n");
    for program in programs {
        section(&mut page, program);
    }
    page
}

fn section(page: &mut String, program: &Program) {
    line(page, &format!("\n## {}", program.name));
    told(page, &program.notes);
    if !program.tables.is_empty() {
        line(page, "\n### Tables");
        for each in &program.tables {
            table(page, program, each);
        }
    }
    enums(page, program);
    instances(page, program);
    if let Some(parser) = &program.parser {
        states(page, program, parser);
    }
    if !program.headers.is_empty() {
        line(page, "\n### Headers");
        for each in &program.headers {
            header(page, each);
        }
    }
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

/// What comments say.
fn told(page: &mut String, notes: &Notes) {
    for text in [&notes.brief, &notes.description] {
        if !text.is_empty() {
            line(page, &format!("\n{text}"));
        }
    }
}

/// In a cell of a table a bar would end the cell, and a line the table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn table(page: &mut String, program: &Program, table: &Table) {
    line(page, &format!("\n#### `{}`", table.name));
    told(page, &table.notes);

    line(page, "");
    if table.keys.is_empty() {
        line(page, "It has no key: its default action is always done.");
    } else {
        line(page, "| key | bits | match | of |\n|---|---|---|---|");
    }
    for key in &table.keys {
        let kind = match key.kind {
            MatchKind::Exact => "exact",
            MatchKind::Lpm => "longest prefix",
            MatchKind::Ternary => "ternary",
            MatchKind::Range => "range",
            MatchKind::Optional => "optional",
        };
        let of = cell(&notation::expression(program, &key.expr));
        line(page, &format!("| `{}` | {} | {kind} | `{of}` |", cell(&key.name), key.expr.ty.bits()));
    }

    line(page, "\n| action | parameters | does |\n|---|---|---|");
    for listed in &table.actions {
        let action = &program.actions[listed.action.index()];
        let use_only = match listed.scope {
            ActionScope::Both => "",
            ActionScope::Entries => " (entries only)",
            ActionScope::Default => " (default only)",
        };
        let parameters: Vec<_> = action.parameters.iter().map(|var| &program.vars[var.index()]).collect();
        let parameters: Vec<_> =
            parameters.iter().map(|var| format!("`{} {}`", typed(program, var), short(&var.name))).collect();
        let (name, does) = (cell(&action.name), cell(&action.notes.brief));
        line(page, &format!("| `{name}`{use_only} | {} | {does} |", parameters.join(", ")));
    }

    line(page, "");
    let (default, arguments) = &table.default_action;
    let fixed = if table.const_default { ", which cannot be changed" } else { "" };
    line(page, &format!("- On a miss: `{}`{fixed}.", call(program, *default, arguments)));
    line(page, &format!("- Room for {} entries.", table.size));
    if table.const_entries {
        line(page, "- Entries are the program's own and cannot be changed.");
    } else if let Some(owner) = annotation::string(&table.notes.annotations, "owner") {
        line(page, &format!("- Entries belong to {owner}."));
    }
    if table.idle_timeout {
        line(page, "- Entries may have an idle time, after which the controller is told.");
    }
    for id in &table.direct {
        let direct = &program.externs[id.index()];
        line(page, &format!("- Each entry has {} `{}`.", what(&direct.kind), direct.name));
    }
    entries(page, program, table);
}

fn entries(page: &mut String, program: &Program, table: &Table) {
    if table.entries.is_empty() {
        return;
    }
    let names: Vec<_> = table.keys.iter().map(|key| cell(&key.name)).collect();
    line(page, &format!("\n| {} | action |\n|{}", names.join(" | "), "---|".repeat(names.len() + 1)));
    for entry in &table.entries {
        let matches = entry.matches.iter().zip(&table.keys);
        let matches: Vec<_> = matches.map(|(each, key)| cell(&notation::matching(program, *each, &key.expr))).collect();
        let action = cell(&call(program, entry.action, &entry.arguments));
        line(page, &format!("| {} | `{action}` |", matches.join(" | ")));
    }
}

/// An action with its arguments.
fn call(program: &Program, action: ActionId, arguments: &[u128]) -> String {
    let action = &program.actions[action.index()];
    let arguments = action.parameters.iter().zip(arguments).map(|(var, value)| notation::value(program, *var, *value));
    format!("{}({})", action.name, arguments.collect::<Vec<_>>().join(", "))
}

fn short(name: &str) -> &str {
    name.rsplit('.').next().expect("there is always a last part")
}

fn counted(unit: Unit) -> &'static str {
    match unit {
        Unit::Packets => "packets",
        Unit::Bytes => "bytes",
        Unit::PacketsAndBytes => "packets and bytes",
    }
}

/// A variable's type: its enum's name where it has one.
fn typed(program: &Program, var: &Var) -> String {
    var.of_enum.map_or_else(|| notation::ty(var.ty), |place| program.enums[place as usize].name.clone())
}

/// What the members of enums are that keys and parameters of actions have.
fn enums(page: &mut String, program: &Program) {
    let keys = program.tables.iter().flat_map(|table| &table.keys).filter_map(|key| match key.expr.kind {
        ExprKind::Var(var) => Some(var),
        _ => None,
    });
    let parameters = program.tables.iter().flat_map(|table| &table.actions);
    let parameters = parameters.flat_map(|listed| program.actions[listed.action.index()].parameters.iter().copied());
    let used = keys.chain(parameters).filter_map(|var| program.vars[var.index()].of_enum);
    for (index, place) in used.collect::<BTreeSet<_>>().into_iter().enumerate() {
        if index == 0 {
            line(page, "\n### Values\n");
        }
        let declared = &program.enums[place as usize];
        let members: Vec<_> = declared.members.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        line(page, &format!("- `{}`, {} bits: {}.", declared.name, declared.bits, members.join(", ")));
    }
}

fn cells(size: u32) -> String {
    if size == 1 { "1 cell".to_owned() } else { format!("{size} cells") }
}

/// What a direct extern is, with its article.
fn what(kind: &ExternKind) -> String {
    match kind {
        ExternKind::DirectCounter { unit, .. } => format!("a counter of {},", counted(*unit)),
        ExternKind::DirectMeter { unit, .. } => format!("a meter of {},", counted(*unit)),
        other => panic!("{other:?} belongs to no table"),
    }
}

/// Counters, meters, registers and digests, each kind a list.
fn instances(page: &mut String, program: &Program) {
    let mut list = |title: &str, text: &dyn Fn(&Extern) -> Option<String>| {
        let mut first = true;
        for (each, text) in program.externs.iter().filter_map(|each| Some((each, text(each)?))) {
            if first {
                line(page, &format!("\n### {title}\n"));
                first = false;
            }
            let mut said = format!("- `{}`: {text}.", each.name);
            for more in [&each.notes.brief, &each.notes.description] {
                if !more.is_empty() {
                    write!(said, " {}", more.replace('\n', " ")).expect("a String takes everything");
                }
            }
            line(page, &said);
        }
    };
    let of_table = |table: &crate::ir::TableId| &program.tables[table.index()].name;
    list("Counters", &|each| match &each.kind {
        ExternKind::Counter { size, unit } => Some(format!("{}, {}", cells(*size), counted(*unit))),
        ExternKind::DirectCounter { unit, table } => {
            Some(format!("one for each entry of `{}`, {}", of_table(table), counted(*unit)))
        }
        _ => None,
    });
    list("Meters", &|each| match &each.kind {
        ExternKind::Meter { size, unit } => Some(format!("{}, {}", cells(*size), counted(*unit))),
        ExternKind::DirectMeter { unit, table } => {
            Some(format!("one for each entry of `{}`, {}", of_table(table), counted(*unit)))
        }
        _ => None,
    });
    list("Registers", &|each| match &each.kind {
        ExternKind::Register { size, bits } => Some(format!("{} of {bits} bits", cells(*size))),
        _ => None,
    });
    list("Digests", &|each| match &each.kind {
        ExternKind::Digest { fields, .. } => {
            let fields: Vec<_> = fields.iter().map(|(name, ty)| format!("`{} {name}`", notation::ty(*ty))).collect();
            Some(fields.join(", "))
        }
        _ => None,
    });
}

fn states(page: &mut String, program: &Program, parser: &Parser) {
    line(page, &format!("\n### Parser `{}`", parser.name));
    if !parser.doc.is_empty() {
        line(page, &format!("\n{}", parser.doc));
    }
    line(page, "");
    let name = |target: &Target| match target {
        Target::State(state) => format!("`{}`", parser.states[state.index()].name),
        Target::Accept => "accept".to_owned(),
        Target::Reject => "reject".to_owned(),
    };
    for state in &parser.states {
        let mut does = Vec::new();
        takes(program, &state.body, &mut does);
        let does = if does.is_empty() { String::new() } else { format!("{}; ", does.join(", ")) };
        let goes = match &state.transition {
            Transition::To(target) => format!("then {}", name(target)),
            Transition::Select { keys, cases } => {
                let each = keys.iter().map(|key| format!("`{}`", notation::expression(program, key)));
                let cases = cases.iter().map(|(wanted, target)| {
                    let wanted = wanted.iter().zip(keys).map(|(each, key)| notation::matching(program, *each, key));
                    format!("{} → {}", wanted.collect::<Vec<_>>().join(", "), name(target))
                });
                format!("by {}: {}", each.collect::<Vec<_>>().join(", "), cases.collect::<Vec<_>>().join("; "))
            }
        };
        line(page, &format!("- `{}`: {does}{goes}", state.name));
    }
}

/// What a state takes from the packet, and what it insists on.
fn takes(program: &Program, body: &[Stmt], does: &mut Vec<String>) {
    for stmt in body {
        match stmt {
            Stmt::Extract(header) => does.push(format!("takes `{}`", program.headers[header.index()].name)),
            Stmt::Advance(bits) => does.push(format!("skips `{}` bits", notation::expression(program, bits))),
            Stmt::Verify { error, .. } => {
                let refuses = format!("may refuse with {}", program.errors[*error as usize]);
                if !does.contains(&refuses) {
                    does.push(refuses);
                }
            }
            Stmt::If { then, otherwise, .. } => {
                takes(program, then, does);
                takes(program, otherwise, does);
            }
            _ => {}
        }
    }
}

fn header(page: &mut String, header: &Header) {
    line(page, &format!("\n#### `{}`: {}, {} bytes", header.name, header.type_name, header.bits / 8));
    if !header.doc.is_empty() {
        line(page, &format!("\n{}", header.doc));
    }
    line(page, "\n| field | first bit | bits |\n|---|---|---|");
    for field in &header.fields {
        line(page, &format!("| `{}` | {} | {} |", field.name, field.offset, field.bits));
    }
}
