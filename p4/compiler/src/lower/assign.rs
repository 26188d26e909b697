//! Assignments (P4_16 1.2.4 §12.1): structs by their fields, headers with their validity.

use super::Lowering;
use super::constant;
use super::expression::Value;
use super::storage::Storage;
use super::types::Ty;
use crate::ast::{self, ExprKind};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, HeaderId, Place, Stmt, VarId};
use crate::source::Span;

impl<'a> Lowering<'a> {
    /// Where an expression can be assigned to; told if nowhere.
    pub(super) fn target(&mut self, expr: &'a ast::Expr) -> Storage {
        if let ExprKind::Slice { of, hi, lo } = &expr.kind {
            let whole = self.target(of);
            let Some((hi, lo, span)) = self.slice_bounds(hi, lo) else { return Storage::Wrong };
            return self.slice_of(whole, hi, lo, span);
        }
        match self.lookup_place(expr) {
            Some((Storage::Wrong, _)) => Storage::Wrong,
            Some((Storage::Packet { .. }, _)) => {
                self.tell(Diagnostic::new(expr.span, "the packet cannot be assigned to"));
                Storage::Wrong
            }
            Some((storage, true)) => storage,
            Some((_, false)) => {
                self.tell(
                    Diagnostic::new(expr.span, "this is an input and cannot be assigned to")
                        .remedy("copy it into a variable, or make the parameter `inout`"),
                );
                Storage::Wrong
            }
            None => {
                // What is wrong inside of it says more than that it is no variable.
                let known = self.diagnostics.len();
                let (value, _) = self.collect(|this| this.expr(expr));
                if self.diagnostics.len() == known && !matches!(value, Value::Wrong) {
                    self.tell(Diagnostic::new(expr.span, "only variables and their fields can be assigned to"));
                }
                Storage::Wrong
            }
        }
    }

    fn slice_of(&mut self, whole: Storage, hi: u8, lo: u8, span: Span) -> Storage {
        let Storage::Scalar { place, ty } = whole else {
            if !matches!(whole, Storage::Wrong) {
                self.tell(Diagnostic::new(span, "only bits have slices"));
            }
            return Storage::Wrong;
        };
        let bits = match ty {
            Ty::Bits(bits) => Some(bits),
            ref other => self.serializable(other),
        };
        match bits {
            Some(bits) if hi < bits => {
                let below = place.slice.map_or(0, |(_, lo)| lo);
                let whole = lo == 0 && hi + 1 == bits && place.slice.is_none();
                let slice = if whole { None } else { Some((hi + below, lo + below)) };
                Storage::Scalar { place: Place { var: place.var, slice }, ty: Ty::Bits(hi - lo + 1) }
            }
            Some(bits) => {
                let message = format!("bit {hi} of a value of {bits} bits does not exist: the highest is {}", bits - 1);
                self.tell(Diagnostic::new(span, message));
                Storage::Wrong
            }
            None => {
                let message = format!("a value of type {} has no slices", self.show(&ty));
                self.tell(Diagnostic::new(span, message));
                Storage::Wrong
            }
        }
    }

    /// Assigns a value, cast as far as that needs not be written.
    pub(super) fn assign(&mut self, storage: &Storage, value: Value, span: Span) {
        let mut value = self.coerce(value, &storage.ty(), span);
        // Reading `{a.y, a.x}` into `a` field by field would read what was just written.
        let (vars, headers) = (storage.vars(), storage.headers());
        if vars.len() > 1 && overwritten(&mut value, &vars, &headers) {
            self.keep(&mut value, span);
        }
        self.assign_parts(storage, value);
    }

    fn assign_parts(&mut self, storage: &Storage, value: Value) {
        match (storage, value) {
            (Storage::Scalar { place, .. }, Value::Scalar { expr, .. }) => {
                self.code.push(Stmt::Assign { place: *place, value: expr });
            }
            (Storage::Struct { fields, .. }, Value::Struct { fields: values, .. }) => {
                fields.iter().zip(values).for_each(|(field, value)| self.assign_parts(field, value));
            }
            (Storage::Header { header, fields, .. }, Value::Struct { fields: values, valid: is, .. }) => {
                let set = |valid| Stmt::SetValid { header: *header, valid };
                let ((), then) = self.collect(|this| {
                    this.code.push(set(true));
                    fields.iter().zip(values).for_each(|(field, value)| this.assign_parts(field, value));
                });
                match constant::value(&is) {
                    Some(1) => self.code.extend(then),
                    Some(_) => self.code.push(set(false)),
                    None => self.code.push(Stmt::If { condition: is, then, otherwise: vec![set(false)] }),
                }
            }
            _ => {}
        }
    }
}

/// Whether a part of a value looks at what is written before it, these being written in order.
fn overwritten(value: &mut Value, vars: &[VarId], headers: &[HeaderId]) -> bool {
    let mut scalars = Vec::new();
    value.scalars_mut(&mut scalars);
    // A header's validity is written first, and with it all that it has.
    let first = if headers.is_empty() { 0 } else { vars.len() };
    let mut written = 0;
    scalars.iter().any(|(expr, ty)| {
        let before = &vars[..written.max(first).min(vars.len())];
        written += usize::from(ty.is_some());
        reads(expr, before, headers)
    })
}

/// Whether an expression looks at one of these.
pub(super) fn reads(expr: &ir::Expr, vars: &[VarId], headers: &[HeaderId]) -> bool {
    let reads = |expr: &ir::Expr| reads(expr, vars, headers);
    match &expr.kind {
        ir::ExprKind::Var(var) => vars.contains(var),
        ir::ExprKind::Valid(header) => headers.contains(header),
        ir::ExprKind::Const(_) | ir::ExprKind::Lookahead | ir::ExprKind::Length => false,
        ir::ExprKind::Slice { of, .. }
        | ir::ExprKind::Cast(of)
        | ir::ExprKind::Not(of)
        | ir::ExprKind::Complement(of)
        | ir::ExprKind::Negate(of) => reads(of),
        ir::ExprKind::Binary { left, right, .. } | ir::ExprKind::Concat(left, right) => reads(left) || reads(right),
        ir::ExprKind::Choice { condition, then, otherwise } => reads(condition) || reads(then) || reads(otherwise),
    }
}
