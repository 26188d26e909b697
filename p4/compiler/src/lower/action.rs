//! Actions (P4_16 1.2.4 §14.1): called directly they are inlined, with arguments copied in and out (§6.8); named by a table they
//! become actions of the intermediate form.

use super::constant::truth;
use super::expression::Value;
use super::identifier::ACTION;
use super::notes::{asked_id, notes};
use super::returns::{may_return, without_returns};
use super::scope::Symbol;
use super::storage::Storage;
use super::types::{Bindings, Ty};
use super::{INLINED_MAX, Lowering, Place};
use crate::ast::{self, Argument, Direction};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, ActionId, Stmt, VarKind};
use crate::source::Span;

/// An action as it is declared.
#[derive(Clone)]
pub(super) struct ActionDecl<'a> {
    pub(super) declared: &'a ast::Action,
    /// The control that it is in; empty outside of any.
    pub(super) within: std::rc::Rc<str>,
    /// Scopes that it sees.
    depth: usize,
    /// What became of it, if a table names it.
    pub(super) lowered: Option<ActionId>,
    /// What a table gave to its parameters with a direction, as text to compare with.
    bound: String,
}

impl<'a> Lowering<'a> {
    pub(super) fn declare_action(&mut self, declared: &'a ast::Action) {
        let index = self.made.actions.len();
        let (within, depth) = (self.block.clone(), self.scopes.len());
        self.made.actions.push(ActionDecl { declared, within, depth, lowered: None, bound: String::new() });
        self.declare(&declared.name, Symbol::Action(index));
    }

    /// The argument of each parameter, by place or by name.
    pub(super) fn arguments<'x>(
        &mut self,
        what: &str,
        parameters: &[&'a ast::Parameter],
        arguments: &'x [Argument],
        span: Span,
    ) -> Option<Vec<Option<&'x ast::Expr>>> {
        let mut given = vec![None; parameters.len()];
        for (place, argument) in arguments.iter().enumerate() {
            let place = match &argument.name {
                Some(name) => match parameters.iter().position(|it| it.name.text == name.text) {
                    Some(place) => place,
                    None => {
                        self.tell(Diagnostic::new(name.span, format!("{what} has no parameter `{name}`")));
                        return None;
                    }
                },
                None => place,
            };
            match given.get_mut(place) {
                Some(slot @ None) => *slot = Some(&argument.value),
                _ => return self.wrong_count(what, parameters.len(), arguments.len(), span),
            }
        }
        if given.iter().zip(parameters).any(|(given, it)| given.is_none() && it.default.is_none()) {
            return self.wrong_count(what, parameters.len(), arguments.len(), span);
        }
        Some(given)
    }

    fn wrong_count<T>(&mut self, what: &str, takes: usize, given: usize, span: Span) -> Option<T> {
        let message = format!("{what} takes {takes} argument{}, not {given}", if takes == 1 { "" } else { "s" });
        self.tell(Diagnostic::new(span, message));
        None
    }

    /// A direct call, inlined.
    pub(super) fn inline(&mut self, index: usize, arguments: &'a [Argument], span: Span) {
        let declared = self.made.actions[index].declared;
        let what = format!("action `{}`", declared.name);
        if !matches!(self.place, Place::Control | Place::Action | Place::Deparser) {
            self.tell(Diagnostic::new(span, "actions are called in controls only (P4_16 §14.1)"));
            return;
        }
        self.inlined += 1;
        if self.inlined > INLINED_MAX {
            if self.inlined == INLINED_MAX + 1 {
                let message = format!("calls of actions come to more than {INLINED_MAX} when they are inlined");
                self.tell(Diagnostic::new(span, message));
            }
            return;
        }
        let parameters: Vec<&ast::Parameter> = declared.parameters.iter().collect();
        let Some(given) = self.arguments(&what, &parameters, arguments, span) else { return };
        let mut symbols = Vec::new();
        let mut written_back = Vec::new();
        for (parameter, given) in parameters.iter().zip(given) {
            let ty = self.resolve(&parameter.ty, &Bindings::default());
            let value = given.or(parameter.default.as_ref());
            let Some(value) = value else { continue };
            let (symbol, back) = self.pass(parameter, &ty, value);
            symbols.push((&parameter.name, symbol));
            written_back.extend(back);
        }
        let body = self.body(index, symbols, &written_back, span);
        self.code.extend(body);
        if matches!(self.code.last(), Some(Stmt::Exit)) {
            return;
        }
        for (to, from) in written_back {
            let value = self.load(&from);
            self.assign(&to, value, span);
        }
    }

    /// What a parameter stands for in the body, and what is copied back to which place behind it.
    fn pass(
        &mut self,
        parameter: &'a ast::Parameter,
        ty: &Ty,
        argument: &'a ast::Expr,
    ) -> (Symbol<'a>, Option<(Storage, Storage)>) {
        let name = &parameter.name;
        if matches!(parameter.direction, Direction::In | Direction::None) {
            let value = self.expr(argument);
            let value = self.coerce(value, ty, argument.span);
            if value.is_constant() {
                return (Symbol::Const(value), None);
            }
            if matches!(value, Value::Wrong) {
                return (Symbol::Wrong, None);
            }
            let storage = self.storage(ty, &name.text, VarKind::Local, name.span);
            self.assign(&storage, value, argument.span);
            return (Symbol::Variable { storage, writable: false }, None);
        }
        let target = self.target(argument);
        if matches!(target, Storage::Wrong) {
            return (Symbol::Wrong, None);
        }
        if target.ty() != *ty {
            let (is, wanted) = (self.show(&target.ty()), self.show(ty));
            self.tell(
                Diagnostic::new(argument.span, format!("this is {is} where {wanted} is expected"))
                    .remedy("what is written to must have exactly the parameter's type"),
            );
            return (Symbol::Wrong, None);
        }
        let storage = self.storage(ty, &name.text, VarKind::Local, name.span);
        if parameter.direction == Direction::InOut {
            let value = self.load(&target);
            self.assign(&storage, value, argument.span);
        }
        (Symbol::Variable { storage: storage.clone(), writable: true }, Some((target, storage)))
    }

    /// An action's statements, without `return`, its parameters being these.
    fn body(
        &mut self,
        index: usize,
        symbols: Vec<(&'a ast::Name, Symbol<'a>)>,
        written_back: &[(Storage, Storage)],
        span: Span,
    ) -> Vec<Stmt> {
        let Some(code) = self.raw_body(index, symbols, written_back, span) else { return Vec::new() };
        if !may_return(&code) {
            return code;
        }
        let name = self.made.actions[index].declared.name.clone();
        let mut flag = None;
        let code = without_returns(code, &mut || match self.temporary(&Ty::Bool, &format!("{name}_left"), span) {
            Storage::Scalar { place, .. } => {
                flag = Some(place);
                place.var
            }
            _ => unreachable!("a bool is a scalar"),
        });
        // Tables may run an action more than once for a packet, so the flag is not false by itself.
        let reset = flag.map(|place| Stmt::Assign { place, value: truth(false) });
        reset.into_iter().chain(code).collect()
    }

    fn raw_body(
        &mut self,
        index: usize,
        symbols: Vec<(&'a ast::Name, Symbol<'a>)>,
        written_back: &[(Storage, Storage)],
        span: Span,
    ) -> Option<Vec<Stmt>> {
        let (declared, depth) = (self.made.actions[index].declared, self.made.actions[index].depth);
        if self.calls.contains(&index) {
            self.tell(
                Diagnostic::new(span, format!("action `{}` calls itself", declared.name))
                    .mark(declared.name.span, "declared here")
                    .remedy("actions may not be recursive (P4_16 §14.1)"),
            );
            return None;
        }
        self.calls.push(index);
        self.written_back.push(written_back.to_vec());
        let place = std::mem::replace(&mut self.place, Place::Action);
        let ((), code) = self.at_depth(depth, |this| {
            this.collect(|this| {
                this.scoped(|this| {
                    for (name, symbol) in symbols {
                        this.declare(name, symbol);
                    }
                    this.block(&declared.body.statements);
                });
            })
        });
        self.place = place;
        self.written_back.pop();
        self.calls.pop();
        Some(code)
    }

    /// An action that a table names: an action of the intermediate form.
    pub(super) fn table_action(&mut self, index: usize, reference: &'a ast::ActionRef) -> Option<ActionId> {
        let (declared, within) = (self.made.actions[index].declared, self.made.actions[index].within.clone());
        let what = format!("action `{}`", declared.name);
        let directed: Vec<&ast::Parameter> =
            declared.parameters.iter().filter(|it| it.direction != Direction::None).collect();
        let arguments = reference.arguments.as_deref().unwrap_or_default();
        let given =
            self.arguments(&format!("{what}, of parameters with a direction,"), &directed, arguments, reference.span)?;
        let bound = arguments.iter().map(|it| self.sources.text(it.value.span)).collect::<Vec<_>>().join(", ");
        if let Some(known) = self.made.actions[index].lowered {
            if self.made.actions[index].bound != bound {
                self.tell(
                    Diagnostic::new(reference.span, format!("{what} has other arguments in another table"))
                        .remedy("declare an action for each, which calls this one"),
                );
            }
            return Some(known);
        }
        let id = ActionId(u32::try_from(self.made.ir.actions.len()).expect("fewer actions than bytes"));
        let name = self.control_plane_name(&declared.preamble, &declared.name, &within);
        let explicit = self.explicit_id(&declared.preamble, ACTION);
        let notes = notes(&declared.preamble, &[]);
        self.made.ir.actions.push(ir::Action {
            name,
            id: explicit,
            parameters: Vec::new(),
            parameter_notes: Vec::new(),
            body: Vec::new(),
            notes,
        });
        self.made.actions[index].lowered = Some(id);
        self.made.actions[index].bound = bound;
        let (mut symbols, mut parameters, mut parameter_notes, mut written_back) = (vec![], vec![], vec![], vec![]);
        let ((), mut code) = self.collect(|this| {
            for (parameter, given) in directed.iter().zip(given) {
                let ty = this.resolve(&parameter.ty, &Bindings::default());
                let Some(value) = given.or(parameter.default.as_ref()) else { continue };
                let (symbol, back) = this.pass(parameter, &ty, value);
                symbols.push((&parameter.name, symbol));
                written_back.extend(back);
            }
        });
        for parameter in declared.parameters.iter().filter(|it| it.direction == Direction::None) {
            let ty = self.resolve(&parameter.ty, &Bindings::default());
            let Some(representation) = self.representation(&ty) else {
                if ty != Ty::Unknown {
                    let message = format!("the control plane cannot give a value of type {}", self.show(&ty));
                    self.tell(Diagnostic::new(parameter.ty.span, message).remedy("make one parameter of each field"));
                }
                symbols.push((&parameter.name, Symbol::Wrong));
                continue;
            };
            let kind =
                VarKind::Parameter { action: id, index: u32::try_from(parameters.len()).expect("fewer than bytes") };
            let var = self.var(&parameter.name.text, representation, kind, self.enum_of(&ty), parameter.name.span);
            let storage = Storage::Scalar { place: ir::Place { var, slice: None }, ty: ty.clone() };
            symbols.push((&parameter.name, Symbol::Variable { storage, writable: false }));
            parameters.push(var);
            parameter_notes.push(self.typed_notes(&parameter.preamble, &ty));
        }
        let body = if written_back.is_empty() {
            // `return` leaves the action, as it does in the intermediate form.
            self.raw_body(index, symbols, &[], reference.span).unwrap_or_default()
        } else {
            self.body(index, symbols, &written_back, reference.span)
        };
        code.extend(body);
        let ((), back) = self.collect(|this| {
            for (to, from) in written_back {
                let value = this.load(&from);
                this.assign(&to, value, reference.span);
            }
        });
        code.extend(back);
        let made = &mut self.made.ir.actions[id.index()];
        (made.parameters, made.parameter_notes, made.body) = (parameters, parameter_notes, code);
        Some(id)
    }

    /// Notes of a key or a parameter, with those of its type.
    pub(super) fn typed_notes(&mut self, preamble: &ast::Preamble, ty: &Ty) -> ir::Notes {
        let mut made = match ty {
            Ty::New(index) => {
                let declared = &self.new_types[*index as usize];
                let new_type = declared.name.to_string();
                self.kept_new_types.insert(new_type.clone());
                ir::Notes { new_type, ..notes(preamble, &declared.notes.annotations) }
            }
            _ => notes(preamble, &[]),
        };
        made.annotations.extend(asked_id(preamble));
        made
    }

    /// Looks for mistakes in actions that nothing uses.
    pub(super) fn check_action(&mut self, index: usize) {
        let declared = self.made.actions[index].declared;
        let mut symbols = Vec::new();
        for parameter in &declared.parameters {
            let ty = self.resolve(&parameter.ty, &Bindings::default());
            let storage = self.storage(&ty, &parameter.name.text, VarKind::Local, parameter.name.span);
            let writable = matches!(parameter.direction, Direction::Out | Direction::InOut);
            symbols.push((&parameter.name, Symbol::Variable { storage, writable }));
        }
        self.raw_body(index, symbols, &[], declared.span);
    }
}
