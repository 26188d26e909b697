//! Walks over statements and expressions of the intermediate form.

use crate::ir::{Argument, Expr, ExprKind, Outcome, Stmt, VarId};

/// Shows every expression of a statement, those of nested statements included, and every variable that is assigned to.
pub(super) fn statement<'p>(stmt: &'p Stmt, read: &mut impl FnMut(&'p Expr), write: &mut impl FnMut(VarId)) {
    match stmt {
        Stmt::Assign { place, value } => {
            read(value);
            write(place.var);
        }
        Stmt::If { condition, then, otherwise } => {
            read(condition);
            statements(then, read, write);
            statements(otherwise, read, write);
        }
        Stmt::Apply { then, .. } => match then {
            Outcome::Any => {}
            Outcome::Hit { hit, miss } => {
                statements(hit, read, write);
                statements(miss, read, write);
            }
            Outcome::Action { cases, otherwise } => {
                cases.iter().for_each(|(_, body)| statements(body, read, write));
                statements(otherwise, read, write);
            }
        },
        Stmt::Call { arguments, result, .. } => {
            for argument in arguments {
                match argument {
                    Argument::In(value) => read(value),
                    Argument::Out(place) => write(place.var),
                }
            }
            if let Some(place) = result {
                write(place.var);
            }
        }
        Stmt::Advance(bits) => read(bits),
        Stmt::Verify { condition, .. } => read(condition),
        Stmt::SetValid { .. } | Stmt::Extract(_) | Stmt::Emit(_) | Stmt::Return | Stmt::Exit => {}
    }
}

/// [`statement`], of each.
pub(super) fn statements<'p>(stmts: &'p [Stmt], read: &mut impl FnMut(&'p Expr), write: &mut impl FnMut(VarId)) {
    stmts.iter().for_each(|stmt| statement(stmt, read, write));
}

/// Shows an expression and all its parts.
pub(super) fn expression<'p>(expr: &'p Expr, see: &mut impl FnMut(&'p Expr)) {
    see(expr);
    match &expr.kind {
        ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::Valid(_) | ExprKind::Lookahead | ExprKind::Length => {}
        ExprKind::Slice { of: inner, .. }
        | ExprKind::Cast(inner)
        | ExprKind::Not(inner)
        | ExprKind::Complement(inner)
        | ExprKind::Negate(inner) => expression(inner, see),
        ExprKind::Binary { left, right, .. } | ExprKind::Concat(left, right) => {
            expression(left, see);
            expression(right, see);
        }
        ExprKind::Choice { condition, then, otherwise } => {
            expression(condition, see);
            expression(then, see);
            expression(otherwise, see);
        }
    }
}

/// Shows every statement, nested ones included.
pub(super) fn nested<'p>(stmts: &'p [Stmt], see: &mut impl FnMut(&'p Stmt)) {
    for stmt in stmts {
        see(stmt);
        match stmt {
            Stmt::If { then, otherwise, .. } => {
                nested(then, see);
                nested(otherwise, see);
            }
            Stmt::Apply { then: Outcome::Hit { hit, miss }, .. } => {
                nested(hit, see);
                nested(miss, see);
            }
            Stmt::Apply { then: Outcome::Action { cases, otherwise }, .. } => {
                cases.iter().for_each(|(_, body)| nested(body, see));
                nested(otherwise, see);
            }
            _ => {}
        }
    }
}

/// Whether one of them, or one inside them, does.
pub(super) fn any(stmts: &[Stmt], is: impl Fn(&Stmt) -> bool) -> bool {
    let mut found = false;
    nested(stmts, &mut |stmt| found |= is(stmt));
    found
}
