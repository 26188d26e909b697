//! Tables: for each a key, an enum of what its entries do, and the runtime's table of its kind; counters and meters beside them.

mod action;
mod changes;
mod holder;
mod info;
mod key;

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use crate::ir::{ExternId, ExternKind, MatchKind, Table, TableId, Type, VarId};

use super::names::{Scope, camel, last, snake};
use super::plan::{Home, Plan};

/// What holds a table's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// No key: there is only the default action.
    Keyless,
    Exact,
    /// The key at this place by its prefix, the others exactly.
    Lpm(usize),
    /// Masks, ranges, priorities.
    Ternary,
}

/// By the kinds of its keys.
pub(super) fn engine(table: &Table) -> Engine {
    let has = |kinds: &[MatchKind]| table.keys.iter().position(|key| kinds.contains(&key.kind));
    if table.keys.is_empty() {
        Engine::Keyless
    } else if has(&[MatchKind::Ternary, MatchKind::Range, MatchKind::Optional]).is_some() {
        Engine::Ternary
    } else {
        has(&[MatchKind::Lpm]).map_or(Engine::Exact, Engine::Lpm)
    }
}

/// A key's field in Rust and its type.
pub(super) fn key_fields(table: &Table) -> Vec<(Ident, Type)> {
    let mut scope = Scope::default();
    let field = |name: &str, ty| (scope.first(&[snake(last(name)), snake(name)]), ty);
    table
        .keys
        .iter()
        .map(|key| (key.name.as_str(), key.expr.ty))
        .map({
            let mut field = field;
            move |(name, ty)| field(name, ty)
        })
        .collect()
}

/// The fields that the key's struct has: not the one that is looked up by its prefix.
pub(super) fn struct_fields(table: &Table) -> Vec<(usize, Ident, Type)> {
    let prefix = match engine(table) {
        Engine::Lpm(at) => Some(at),
        _ => None,
    };
    let fields = key_fields(table).into_iter().enumerate().filter(|(at, _)| Some(*at) != prefix);
    fields.map(|(at, (name, ty))| (at, name, ty)).collect()
}

/// A variant of a table's enum of actions.
pub(super) struct Variant {
    pub(super) action: usize,
    pub(super) name: Ident,
    /// Its parameters: their names and variables.
    pub(super) parameters: Vec<(Ident, VarId)>,
}

/// The actions of a table, its default action among them.
pub(super) fn variants(plan: &Plan<'_>, table: &Table) -> Vec<Variant> {
    let mut scope = Scope::default();
    let mut actions: Vec<_> = table.actions.iter().map(|of| of.action).collect();
    if !actions.contains(&table.default_action.0) {
        actions.push(table.default_action.0);
    }
    let variant = |action: crate::ir::ActionId| {
        let declared = &plan.program.actions[action.index()];
        let parameters = declared.parameters.iter().map(|var| match &plan.homes[var.index()] {
            Home::Local(name) => (name.clone(), *var),
            _ => unreachable!("parameters are local to their action"),
        });
        let name = scope.first(&[camel(last(&declared.name)), camel(&declared.name)]);
        Variant { action: action.index(), name, parameters: parameters.collect() }
    };
    actions.into_iter().map(variant).collect()
}

/// The externs that have a field in `Tables`, with their types.
fn cells<'p>(plan: &Plan<'p>) -> impl Iterator<Item = (ExternId, &'p ExternKind)> {
    let all = plan.program.externs.iter().enumerate().map(|(at, of)| (ExternId(at as u32), &of.kind));
    all.filter(|(_, kind)| counts(kind) || meters(kind))
}

fn counts(kind: &ExternKind) -> bool {
    matches!(kind, ExternKind::Counter { .. } | ExternKind::DirectCounter { .. })
}

fn meters(kind: &ExternKind) -> bool {
    matches!(kind, ExternKind::Meter { .. } | ExternKind::DirectMeter { .. })
}

/// Everything about tables.
pub(super) fn emit(plan: &Plan<'_>) -> TokenStream {
    let each = plan.program.tables.iter().enumerate().map(|(index, table)| {
        let (key, action) = (key::emit(plan, index, table), action::emit(plan, index, table));
        quote!(#key #action)
    });
    let each: TokenStream = each.collect();
    let tables = holder::emit(plan);
    quote!(#each #tables)
}

/// The field of a table's default action, and of its idle times.
pub(super) fn beside(plan: &Plan<'_>, table: TableId) -> (Ident, Ident) {
    let field = &plan.tables[table.index()].0;
    (format_ident!("{field}_default"), format_ident!("{field}_idle"))
}

/// Types of entries by ids and numbers, and `TABLES`.
pub(super) use changes::matches;
pub(super) use info::info;
