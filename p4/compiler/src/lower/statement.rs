//! Statements (P4_16 1.2.4 §12).

use super::constant::{self, binary, not};
use super::expression::Value;
use super::scope::Symbol;
use super::storage::Storage;
use super::types::{Bindings, Ty};
use super::{Lowering, Place};
use crate::ast::{self, ExprKind, Label, Path, Statement, StatementKind, UnaryOp};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, Outcome, Stmt, TableId};
use crate::source::Span;

/// The table of `t.apply()`, and what of its outcome is asked for: `hit`, `miss`, `action_run`, or nothing.
pub(super) struct Applied<'e> {
    pub(super) table: &'e Path,
    pub(super) outcome: Option<&'e str>,
    pub(super) arguments: &'e [ast::Argument],
}

/// Whether an expression has the form of `t.apply()`, with or without a member of its outcome.
pub(super) fn applied(expr: &ast::Expr) -> Option<Applied<'_>> {
    match &expr.kind {
        ExprKind::Call { callee, arguments, .. } => match &callee.kind {
            ExprKind::Member { of, member } if &*member.text == "apply" => match &of.kind {
                ExprKind::Name(table) => Some(Applied { table, outcome: None, arguments }),
                _ => None,
            },
            _ => None,
        },
        ExprKind::Member { of, member } => {
            let applied = applied(of)?;
            let asked = ["hit", "miss", "action_run"].contains(&&*member.text) && applied.outcome.is_none();
            asked.then_some(Applied { outcome: Some(&member.text), ..applied })
        }
        _ => None,
    }
}

/// `t.apply().hit` or `.miss` behind any number of `!`, and whether `then` is what is done on a hit.
fn condition_on_table(expr: &ast::Expr) -> Option<(Applied<'_>, bool)> {
    match &expr.kind {
        ExprKind::Unary { op: UnaryOp::Not, of } => condition_on_table(of).map(|(applied, hit)| (applied, !hit)),
        _ => {
            let applied = applied(expr)?;
            match applied.outcome {
                Some("hit") => Some((applied, true)),
                Some("miss") => Some((applied, false)),
                _ => None,
            }
        }
    }
}

impl<'a> Lowering<'a> {
    /// A block's statements in a scope of their own.
    pub(super) fn block(&mut self, statements: &'a [Statement]) {
        self.scoped(|this| this.statements(statements));
    }

    /// Statements one after the other; what follows a `return` or `exit` is looked at for its mistakes only.
    pub(super) fn statements(&mut self, statements: &'a [Statement]) {
        for (place, statement) in statements.iter().enumerate() {
            self.statement(statement);
            if matches!(self.code.last(), Some(Stmt::Return | Stmt::Exit)) {
                self.check_only(|this| this.scoped(|this| this.statements(&statements[place + 1..])));
                return;
            }
        }
    }

    /// What a branch does, apart.
    fn branch(&mut self, statement: &'a Statement) -> Vec<Stmt> {
        self.collect(|this| this.block(std::slice::from_ref(statement))).1
    }

    fn statement(&mut self, statement: &'a Statement) {
        match &statement.kind {
            StatementKind::Empty => {}
            StatementKind::Assign { target, value } => {
                let value = self.expr(value);
                let storage = self.target(target);
                if !matches!(storage, Storage::Wrong) {
                    self.assign(&storage, value, statement.span);
                }
            }
            StatementKind::Call(expr) => self.call_statement(expr),
            StatementKind::If { condition, then, otherwise } => self.if_(condition, then, otherwise.as_deref()),
            StatementKind::Switch { on, cases } => self.switch(on, cases, statement.span),
            StatementKind::Block(block) => self.block(&block.statements),
            StatementKind::Return(value) => self.return_(value.as_ref(), statement.span),
            StatementKind::Exit => self.exit(statement.span),
            StatementKind::Const(constant) => self.constant_declaration(constant),
            StatementKind::Var(var) => self.variable(var),
        }
    }

    fn call_statement(&mut self, expr: &'a ast::Expr) {
        if let Some(applied) = applied(expr)
            && let Some(table) = self.apply(&applied, expr.span)
        {
            self.code.push(Stmt::Apply { table, then: Outcome::Any });
            return;
        }
        if applied(expr).is_some() {
            return;
        }
        let ExprKind::Call { callee, type_arguments, arguments } = &expr.kind else {
            self.tell(Diagnostic::new(expr.span, "this does nothing"));
            return;
        };
        self.call(expr.span, callee, type_arguments, arguments);
    }

    fn if_(&mut self, condition: &'a ast::Expr, then: &'a Statement, otherwise: Option<&'a Statement>) {
        if let Some((applied, on_hit)) = condition_on_table(condition) {
            let table = self.apply(&applied, condition.span);
            let then = self.branch(then);
            let otherwise = otherwise.map_or_else(Vec::new, |otherwise| self.branch(otherwise));
            let (hit, miss) = if on_hit { (then, otherwise) } else { (otherwise, then) };
            let Some(table) = table else { return };
            let none = hit.is_empty() && miss.is_empty();
            let then = if none { Outcome::Any } else { Outcome::Hit { hit, miss } };
            self.code.push(Stmt::Apply { table, then });
            return;
        }
        let condition = self.truth(condition);
        match constant::value(&condition) {
            Some(known) => {
                let (taken, left) = if known == 1 { (Some(then), otherwise) } else { (otherwise, Some(then)) };
                if let Some(left) = left {
                    self.check_only(|this| {
                        this.branch(left);
                    });
                }
                if let Some(taken) = taken {
                    self.block(std::slice::from_ref(taken));
                }
            }
            None => {
                let then = self.branch(then);
                let otherwise = otherwise.map_or_else(Vec::new, |otherwise| self.branch(otherwise));
                self.push_if(condition, then, otherwise);
            }
        }
    }

    /// An `if`, unless neither branch does anything.
    fn push_if(&mut self, condition: ir::Expr, then: Vec<Stmt>, otherwise: Vec<Stmt>) {
        match (then.is_empty(), otherwise.is_empty()) {
            (true, true) => {}
            (true, false) => self.code.push(Stmt::If { condition: not(condition), then: otherwise, otherwise: then }),
            _ => self.code.push(Stmt::If { condition, then, otherwise }),
        }
    }

    fn return_(&mut self, value: Option<&'a ast::Expr>, span: Span) {
        if let Some(value) = value {
            self.tell(Diagnostic::new(value.span, "actions and controls return nothing").remedy("write `return;`"));
        } else if self.place == Place::Parser {
            self.tell(Diagnostic::new(span, "a parser's state cannot return (P4_16 §13.4)").remedy("use a transition"));
        } else {
            self.code.push(Stmt::Return);
        }
    }

    fn exit(&mut self, span: Span) {
        if self.place == Place::Parser {
            self.tell(Diagnostic::new(span, "a parser cannot exit (P4_16 §12.5)").remedy("use `transition reject;`"));
            return;
        }
        // Arguments get their values even so (P4_16 §12.5).
        let written_back: Vec<_> = self.written_back.iter().rev().flatten().cloned().collect();
        for (to, from) in written_back {
            let value = self.load(&from);
            self.assign(&to, value, span);
        }
        self.code.push(Stmt::Exit);
    }

    /// A constant, of a block or of the whole program.
    pub(super) fn constant_declaration(&mut self, declared: &'a ast::Const) {
        let ty = self.resolve(&declared.ty, &Bindings::default());
        let (value, code) = self.collect(|this| this.expr(&declared.value));
        let value = self.coerce(value, &ty, declared.value.span);
        let known = value.is_constant() && code.is_empty();
        if !known && !matches!(value, Value::Wrong) {
            self.tell(Diagnostic::new(
                declared.value.span,
                format!("the value of `{}` is not constant", declared.name),
            ));
        }
        let symbol = if known { Symbol::Const(value) } else { Symbol::Wrong };
        self.declare(&declared.name, symbol);
    }

    /// A variable of a block.
    pub(super) fn variable(&mut self, declared: &'a ast::Var) {
        let ty = self.resolve(&declared.ty, &Bindings::default());
        let value = declared.value.as_ref().map(|value| (self.expr(value), value.span));
        let storage = self.storage(&ty, &declared.name.text, ir::VarKind::Local, declared.name.span);
        if let Some((value, span)) = value {
            self.assign(&storage, value, span);
        }
        self.declare(&declared.name, Symbol::Variable { storage, writable: true });
    }

    fn switch(&mut self, on: &'a ast::Expr, cases: &'a [ast::SwitchCase], span: Span) {
        match applied(on) {
            Some(applied) if applied.outcome == Some("action_run") => self.switch_on_action(&applied, on.span, cases),
            _ => self.switch_on_value(on, cases, span),
        }
    }

    /// The labels of each block: those of cases without one go with the next that has one.
    fn groups(&mut self, cases: &'a [ast::SwitchCase]) -> Vec<(Vec<&'a Label>, &'a ast::Block)> {
        let (mut groups, mut labels) = (Vec::new(), Vec::new());
        for case in cases {
            labels.push(&case.label);
            if let Some(body) = &case.body {
                groups.push((std::mem::take(&mut labels), body));
            }
        }
        if let (false, Some(last)) = (labels.is_empty(), cases.last()) {
            self.tell(
                Diagnostic::new(last.span, "the last case has no block").remedy("write `{}` if nothing is to be done"),
            );
        }
        groups
    }

    fn switch_on_action(&mut self, applied: &Applied<'a>, span: Span, cases: &'a [ast::SwitchCase]) {
        let table = self.apply(applied, span);
        let (mut made, mut otherwise, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (labels, body) in self.groups(cases) {
            let ((), code) = self.collect(|this| this.block(&body.statements));
            let (mut actions, mut default) = (Vec::new(), false);
            for label in labels {
                match label {
                    Label::Default(_) => default = true,
                    Label::Value(value) => {
                        let action = table.and_then(|table| self.action_of_table(table, value));
                        if let Some(action) = action {
                            if seen.contains(&action) {
                                self.tell(Diagnostic::new(value.span, "there is a case for this action already"));
                            }
                            seen.push(action);
                            actions.push(action);
                        }
                    }
                }
            }
            // Labels beside `default` say nothing that it does not.
            if default {
                otherwise = code;
            } else if !actions.is_empty() {
                made.push((actions, code));
            }
        }
        let Some(table) = table else { return };
        let none = otherwise.is_empty() && made.iter().all(|(_, code)| code.is_empty());
        let then = if none { Outcome::Any } else { Outcome::Action { cases: made, otherwise } };
        self.code.push(Stmt::Apply { table, then });
    }

    fn action_of_table(&mut self, table: TableId, label: &'a ast::Expr) -> Option<ir::ActionId> {
        let ExprKind::Name(path) = &label.kind else {
            self.tell(Diagnostic::new(label.span, "the cases of `action_run` are names of actions"));
            return None;
        };
        let symbol = self.lookup(path);
        let declared = &self.made.ir.tables[table.index()];
        let found = match symbol {
            Symbol::Action(index) => {
                let of_table = declared.actions.iter().map(|action| action.action);
                self.made.actions[index].lowered.filter(|action| of_table.into_iter().any(|one| one == *action))
            }
            Symbol::Wrong => return None,
            _ => None,
        };
        if found.is_none() {
            let (message, span) = (format!("table `{}` has no action `{path}`", declared.name), declared.span);
            self.tell(Diagnostic::new(label.span, message).mark(span, "declared here"));
        }
        found
    }

    /// A `switch` on a value (P4_16 1.2.4 §12.7.2): the first case that fits.
    fn switch_on_value(&mut self, on: &'a ast::Expr, cases: &'a [ast::SwitchCase], span: Span) {
        let mut value = self.expr(on);
        if let Value::Int(_) | Value::List(_) | Value::Record(_) | Value::Struct { .. } | Value::String = value {
            self.tell(
                Diagnostic::new(on.span, "a switch is on bits, an enum, an error or a table's `action_run`")
                    .remedy("use `if`"),
            );
            value = Value::Wrong;
        }
        self.keep(&mut value, on.span);
        let (mut branches, mut otherwise) = (Vec::new(), Vec::new());
        for (labels, body) in self.groups(cases) {
            let ((), code) = self.collect(|this| this.block(&body.statements));
            let (mut condition, mut default) = (constant::truth(false), false);
            for label in labels {
                match label {
                    Label::Default(_) => default = true,
                    Label::Value(label) => {
                        let case = self.expr(label);
                        if !case.is_constant() && !matches!(case, Value::Wrong) {
                            self.tell(Diagnostic::new(label.span, "the cases of a switch must be constant"));
                        }
                        if let Some((left, right, Ty::Bits(_) | Ty::Bool | Ty::Enum(_) | Ty::Error | Ty::New(_))) =
                            self.same_type(value.clone(), case, span)
                            && let (Value::Scalar { expr: left, .. }, Value::Scalar { expr: right, .. }) = (left, right)
                        {
                            let equal = binary(ir::BinaryOp::Eq, left, right);
                            condition = binary(ir::BinaryOp::LogicalOr, condition, equal);
                        }
                    }
                }
            }
            if default {
                otherwise = code;
            } else {
                branches.push((condition, code));
            }
        }
        for (condition, then) in branches.into_iter().rev() {
            match constant::value(&condition) {
                Some(0) => {}
                Some(_) => otherwise = then,
                None => otherwise = self.collect(|this| this.push_if(condition, then, otherwise)).1,
            }
        }
        self.code.extend(otherwise);
    }
}
