//! Tables (P4_16 1.2.4 §14.2, PNA 0.7 §8): each applied in one place, its keys computed where it is.

use super::constant;
use super::expression::Value;
use super::identifier::TABLE;
use super::notes::notes;
use super::scope::Symbol;
use super::statement::Applied;
use super::types::{Bindings, Ty};
use super::{Lowering, Place};
use crate::ast::{self, Direction, ExprKind};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, ActionId, ActionScope, ExternId, MatchKind, TableId};
use crate::source::Span;

/// Entries of a table that does not say for how many there is to be room.
const SIZE_DEFAULT: u32 = 1024;

/// Bits of a range key: the runtime keeps each of its ends in one word.
const RANGE_BITS_MAX: u8 = 64;

/// A table as it is declared.
#[derive(Clone)]
pub(super) struct TableDecl<'a> {
    pub(super) declared: &'a ast::Table,
    within: std::rc::Rc<str>,
    /// Scopes that it sees.
    depth: usize,
    /// Where it is applied.
    applied: Option<Span>,
}

/// Which action of a table is meant, with what.
pub(super) struct Named<'a> {
    pub(super) action: ActionId,
    pub(super) declared: &'a ast::Action,
}

impl<'a> Lowering<'a> {
    pub(super) fn declare_table(&mut self, declared: &'a ast::Table) {
        let index = self.made.tables.len();
        let (within, depth) = (self.block.clone(), self.scopes.len());
        self.made.tables.push(TableDecl { declared, within, depth, applied: None });
        self.declare(&declared.name, Symbol::Table(index));
    }

    /// `t.apply()`: the table is lowered; what it takes to compute its keys is put before.
    pub(super) fn apply(&mut self, applied: &Applied<'_>, span: Span) -> Option<TableId> {
        let table = applied.table;
        let index = match self.lookup(table) {
            Symbol::Table(index) => index,
            Symbol::Wrong => return None,
            Symbol::Parser(_) | Symbol::Control(_) => {
                self.tell(
                    Diagnostic::new(span, "blocks cannot apply other blocks here")
                        .remedy("write its statements where it is applied, or make an action of them"),
                );
                return None;
            }
            other => {
                self.tell(Diagnostic::new(span, format!("`{table}` is {} and cannot be applied", other.noun())));
                return None;
            }
        };
        if !applied.arguments.is_empty() {
            self.tell(Diagnostic::new(span, "`apply` of a table takes no arguments"));
        }
        if self.place != Place::Control {
            self.tell(
                Diagnostic::new(span, "tables are applied in the body of the control only (P4_16 §14.2.2)")
                    .remedy("apply it before, and act on what its actions left in variables"),
            );
            return None;
        }
        if let Some(first) = self.made.tables[index].applied {
            self.tell(
                Diagnostic::new(span, format!("table `{table}` is applied in two places"))
                    .mark(first, "applied here too")
                    .remedy("apply it once, before the paths part, or declare a table for each"),
            );
            return None;
        }
        self.made.tables[index].applied = Some(span);
        Some(self.table(index))
    }

    /// Looks for mistakes in tables that are never applied; they are left out.
    pub(super) fn check_table(&mut self, index: usize) {
        if self.made.tables[index].applied.is_none() {
            self.check_only(|this| {
                this.table(index);
            });
        }
    }

    fn table(&mut self, index: usize) -> TableId {
        let TableDecl { declared, within, depth, .. } = self.made.tables[index].clone();
        let id = TableId(u32::try_from(self.made.ir.tables.len()).expect("fewer tables than bytes"));
        let name = self.control_plane_name(&declared.preamble, &declared.name, &within);
        let explicit = self.explicit_id(&declared.preamble, TABLE);
        self.made.ir.tables.push(ir::Table {
            name,
            id: explicit,
            keys: Vec::new(),
            actions: Vec::new(),
            default_action: (ActionId(0), Vec::new()),
            const_default: false,
            entries: Vec::new(),
            const_entries: false,
            size: SIZE_DEFAULT,
            direct: Vec::new(),
            idle_timeout: false,
            notes: notes(&declared.preamble, &[]),
            span: declared.name.span,
        });
        self.at_depth(depth, |this| {
            let types = this.keys(declared, id);
            this.properties(declared, id);
            let known = this.diagnostics.len();
            let place = std::mem::replace(&mut this.place, Place::Action);
            let names = this.actions(declared, id);
            this.place = place;
            this.default_action(declared, id, &names);
            if this.diagnostics.len() == known || names.len() == declared.actions.len() {
                this.entries(declared, id, &types, &names);
            }
        });
        id
    }

    fn keys(&mut self, declared: &'a ast::Table, id: TableId) -> Vec<Ty> {
        let mut types = Vec::new();
        let mut keys: Vec<ir::Key> = Vec::new();
        for key in &declared.keys {
            let mark = self.code.len();
            let mut value = self.expr(&key.expr);
            if self.code.len() > mark {
                // Calls in a later key may change what an earlier one has read.
                self.keep(&mut value, key.expr.span);
            }
            let name = self.key_name(key);
            let kind = self.match_kind(key);
            let ty = self.type_of(&value).unwrap_or(Ty::Unknown);
            types.push(ty.clone());
            let expr = match (value, self.representation(&ty)) {
                (Value::Scalar { expr, .. }, Some(_)) => expr,
                (Value::Wrong, _) => continue,
                (other, _) => {
                    let message =
                        format!("a key of type {}: keys are bits, bools, enums or errors", self.describe(&other));
                    self.tell(Diagnostic::new(key.expr.span, message).remedy("make one key of each field"));
                    continue;
                }
            };
            let Some(kind) = kind else { continue };
            if kind == MatchKind::Range && expr.ty.bits() > RANGE_BITS_MAX {
                let message = format!("a range key of {} bits: there are {RANGE_BITS_MAX} at most", expr.ty.bits());
                self.tell(
                    Diagnostic::new(key.expr.span, message).remedy("make it ternary, or take a slice of it as the key"),
                );
            }
            if keys.iter().any(|known| known.name == name) {
                self.tell(
                    Diagnostic::new(key.span, format!("two keys have the name `{name}`"))
                        .remedy("give one of them another `@name`"),
                );
            }
            let notes = self.typed_notes(&key.preamble, &ty);
            keys.push(ir::Key { name, expr, kind, notes });
        }
        let lpm = keys.iter().filter(|key| key.kind == MatchKind::Lpm).count();
        let priority = keys.iter().any(|key| needs_priority(key.kind));
        if lpm > 1 || lpm == 1 && priority {
            let message = if lpm > 1 {
                "a table has one lpm key at most (P4Runtime §9.1.1)"
            } else {
                "an lpm key beside ternary, range or optional keys: whether length or priority wins is not defined"
            };
            self.tell(
                Diagnostic::new(declared.name.span, message).remedy("make the lpm keys ternary: a prefix is a mask"),
            );
        }
        self.made.ir.tables[id.index()].keys = keys;
        types
    }

    /// The control plane's name for a key: as it is written, if that is a path, a slice of one, or `isValid()` (P4_16 §18.3).
    fn key_name(&mut self, key: &ast::KeyElement) -> String {
        if let Some(name) = key.preamble.annotation("name").and_then(|it| it.string()) {
            return name.to_owned();
        }
        match path_text(&key.expr, self.sources) {
            Some(text) => text,
            None => {
                self.tell(
                    Diagnostic::new(key.expr.span, "this key needs a name for the control plane")
                        .remedy("write `… : exact @name(\"x\");`"),
                );
                String::new()
            }
        }
    }

    fn match_kind(&mut self, key: &ast::KeyElement) -> Option<MatchKind> {
        let name = &key.match_kind;
        let declared = self.match_kinds.contains(&name.text);
        match &*name.text {
            "exact" if declared => Some(MatchKind::Exact),
            "lpm" if declared => Some(MatchKind::Lpm),
            "ternary" if declared => Some(MatchKind::Ternary),
            "range" if declared => Some(MatchKind::Range),
            "optional" if declared => Some(MatchKind::Optional),
            _ => {
                let message = if declared {
                    format!("match kind `{name}` is not supported")
                } else {
                    format!("there is no match kind `{name}`")
                };
                self.tell(
                    Diagnostic::new(name.span, message)
                        .remedy("match kinds are exact, lpm and ternary of core.p4, range and optional of pna.p4"),
                );
                None
            }
        }
    }

    fn properties(&mut self, declared: &'a ast::Table, id: TableId) {
        let (mut size, mut direct, mut idle) = (None, Vec::new(), false);
        for property in &declared.properties {
            match &*property.name.text {
                "size" => {
                    size = self.constant_u32(&property.value, "a table's size");
                    if size == Some(0) {
                        self.tell(Diagnostic::new(property.value.span, "a table with room for no entry"));
                    }
                }
                "pna_direct_counter" | "psa_direct_counter" | "counters" | "pna_direct_meter" | "psa_direct_meter"
                | "meters" => direct.extend(self.attach_kind(property, id)),
                "pna_idle_timeout" | "psa_idle_timeout" => idle = self.idle_timeout(property),
                // Read with the entries.
                "largest_priority_wins" | "priority_delta" => {}
                other => self.tell(
                    Diagnostic::new(property.name.span, format!("tables have no property `{other}` here")).remedy(
                        "properties are key, actions, default_action, entries, size, pna_direct_counter, pna_direct_meter \
                         and pna_idle_timeout",
                    ),
                ),
            }
        }
        let entries = declared.entries.as_ref().filter(|it| it.constant).map(|it| it.entries.len());
        let size = size.or(entries.and_then(|count| u32::try_from(count.max(1)).ok()));
        let table = &mut self.made.ir.tables[id.index()];
        (table.size, table.direct, table.idle_timeout) = (size.unwrap_or(SIZE_DEFAULT), direct, idle);
    }

    fn attach_kind(&mut self, property: &'a ast::Property, table: TableId) -> Option<ExternId> {
        let id = self.attach(&property.value, table)?;
        let meter = matches!(self.made.ir.externs[id.index()].kind, ir::ExternKind::DirectMeter { .. });
        if property.name.text.contains("meter") != meter {
            let message =
                format!("property `{}` with a direct {}", property.name, if meter { "meter" } else { "counter" });
            self.tell(Diagnostic::new(property.span, message));
        }
        Some(id)
    }

    fn idle_timeout(&mut self, property: &'a ast::Property) -> bool {
        let (value, _) = self.collect(|this| this.expr(&property.value));
        match self.member_name(&value).as_deref() {
            Some("NOTIFY_CONTROL") => true,
            Some("NO_TIMEOUT") => false,
            _ => {
                if !matches!(value, Value::Wrong) {
                    self.tell(
                        Diagnostic::new(property.value.span, "entries cannot be removed by the data plane")
                            .remedy("use PNA_IdleTimeout_t.NOTIFY_CONTROL, and let the control plane remove them"),
                    );
                }
                false
            }
        }
    }

    /// The table's actions; of each its place among the declared ones.
    fn actions(&mut self, declared: &'a ast::Table, id: TableId) -> Vec<(usize, ActionId)> {
        let mut made: Vec<(usize, ActionId)> = Vec::new();
        for reference in &declared.actions {
            let path = &reference.path;
            let index = match self.lookup(path) {
                Symbol::Action(index) => index,
                Symbol::Wrong => continue,
                other => {
                    self.tell(Diagnostic::new(path.span, format!("`{path}` is {}, not an action", other.noun())));
                    continue;
                }
            };
            if made.iter().any(|(known, _)| *known == index) {
                self.tell(Diagnostic::new(path.span, format!("action `{path}` is named twice")));
                continue;
            }
            let only = |name| reference.preamble.annotation(name).is_some();
            let scope = match (only("tableonly"), only("defaultonly")) {
                (false, false) => ActionScope::Both,
                (true, false) => ActionScope::Entries,
                (false, true) => ActionScope::Default,
                (true, true) => {
                    self.tell(Diagnostic::new(
                        reference.span,
                        "@tableonly and @defaultonly leave no use for this action",
                    ));
                    ActionScope::Both
                }
            };
            let Some(action) = self.table_action(index, reference) else { continue };
            made.push((index, action));
            self.made.ir.tables[id.index()].actions.push(ir::TableAction { action, scope });
        }
        made
    }

    fn default_action(&mut self, declared: &'a ast::Table, id: TableId, names: &[(usize, ActionId)]) {
        let Some(default) = &declared.default_action else {
            self.no_action(declared, id, names);
            return;
        };
        let Some((named, arguments)) = self.action_call(&default.action, names, &declared.name) else { return };
        let table = &mut self.made.ir.tables[id.index()];
        table.const_default = default.constant;
        let scope = table.actions.iter().find(|it| it.action == named.action).map(|it| it.scope);
        table.default_action = (named.action, arguments);
        if scope == Some(ActionScope::Entries) {
            self.tell(
                Diagnostic::new(default.action.span, format!("action `{}` is @tableonly", named.declared.name))
                    .remedy("leave the annotation out, or take another default action"),
            );
        }
    }

    /// A table without a default action has `NoAction` (P4_16 1.2.4 §14.2.1.3).
    fn no_action(&mut self, declared: &'a ast::Table, id: TableId, names: &[(usize, ActionId)]) {
        let Some((Symbol::Action(index), _)) = self.globals.find("NoAction").cloned() else {
            self.tell(
                Diagnostic::new(declared.name.span, "the table has no default action, and there is no `NoAction`")
                    .remedy("write `default_action = …;`, or include core.p4"),
            );
            return;
        };
        if let Some((_, action)) = names.iter().find(|(known, _)| *known == index) {
            self.made.ir.tables[id.index()].default_action = (*action, Vec::new());
            return;
        }
        let action = match self.made.actions[index].lowered {
            Some(action) => action,
            None => self.plain_action(index),
        };
        let table = &mut self.made.ir.tables[id.index()];
        table.actions.push(ir::TableAction { action, scope: ActionScope::Default });
        table.default_action = (action, Vec::new());
    }

    /// An action of the table where an entry or the default names it, with values for the control plane's parameters.
    pub(super) fn action_call(
        &mut self,
        reference: &'a ast::ActionRef,
        names: &[(usize, ActionId)],
        table: &ast::Name,
    ) -> Option<(Named<'a>, Vec<u128>)> {
        let path = &reference.path;
        let index = match self.lookup(path) {
            Symbol::Action(index) => index,
            Symbol::Wrong => return None,
            other => {
                self.tell(Diagnostic::new(path.span, format!("`{path}` is {}, not an action", other.noun())));
                return None;
            }
        };
        let Some((_, action)) = names.iter().find(|(known, _)| *known == index) else {
            self.tell(
                Diagnostic::new(path.span, format!("action `{path}` is not among those of table `{table}`"))
                    .remedy(format!("add it: `actions = {{ …; {path}; }}`")),
            );
            return None;
        };
        let declared = self.made.actions[index].declared;
        let all: Vec<&ast::Parameter> = declared.parameters.iter().collect();
        let given = reference.arguments.as_deref().unwrap_or_default();
        let free: Vec<&ast::Parameter> = all.iter().copied().filter(|it| it.direction == Direction::None).collect();
        // Arguments for parameters with a direction were given in the list of actions; they may be repeated (§14.2.1.3).
        let parameters = if given.len() == free.len() { &free } else { &all };
        let what = format!("action `{path}`");
        let arguments = self.arguments(&what, parameters, given, reference.span)?;
        let mut values = Vec::new();
        for (parameter, argument) in parameters.iter().zip(arguments) {
            if parameter.direction != Direction::None {
                continue;
            }
            let ty = self.resolve(&parameter.ty, &Bindings::default());
            let argument = argument.or(parameter.default.as_ref())?;
            let (value, _) = self.collect(|this| this.expr(argument));
            match self.coerce(value, &ty, argument.span) {
                Value::Scalar { expr, .. } if constant::value(&expr).is_some() => values.extend(constant::value(&expr)),
                Value::Wrong => return None,
                _ => {
                    self.tell(Diagnostic::new(argument.span, "this argument must be constant"));
                    return None;
                }
            }
        }
        Some((Named { action: *action, declared }, values))
    }

    /// An action without parameters that no list names.
    fn plain_action(&mut self, index: usize) -> ActionId {
        let declared = self.made.actions[index].declared;
        let id = ActionId(u32::try_from(self.made.ir.actions.len()).expect("fewer actions than bytes"));
        self.made.ir.actions.push(ir::Action {
            name: declared.name.text.to_string(),
            id: 0,
            parameters: Vec::new(),
            parameter_notes: Vec::new(),
            body: Vec::new(),
            notes: notes(&declared.preamble, &[]),
        });
        self.made.actions[index].lowered = Some(id);
        id
    }
}

/// Whether entries with such a key need a priority.
pub(super) fn needs_priority(kind: MatchKind) -> bool {
    matches!(kind, MatchKind::Ternary | MatchKind::Range | MatchKind::Optional)
}

/// An expression that is a path, as it is written without spaces.
fn path_text(expr: &ast::Expr, sources: &crate::source::Sources) -> Option<String> {
    match &expr.kind {
        ExprKind::Name(path) => Some(path.name.text.to_string()),
        ExprKind::Member { of, member } => Some(format!("{}.{member}", path_text(of, sources)?)),
        ExprKind::Slice { of, hi, lo } => {
            Some(format!("{}[{}:{}]", path_text(of, sources)?, sources.text(hi.span), sources.text(lo.span)))
        }
        ExprKind::Call { callee, arguments, .. } if arguments.is_empty() => match &callee.kind {
            ExprKind::Member { of, member } if &*member.text == "isValid" => {
                Some(format!("{}.isValid()", path_text(of, sources)?))
            }
            _ => None,
        },
        _ => None,
    }
}
