//! Expressions (P4_16 1.2.4 §8): typed, folded, calls in them hoisted into statements of their own.

use num_bigint::BigInt;
use num_traits::{ToPrimitive, Zero};

use super::Lowering;
use super::constant::{self, constant, slice, truth};
use super::scope::Symbol;
use super::storage::Storage;
use super::types::Ty;
use crate::ast::{self, ExprKind, Name, UnaryOp};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, Stmt};
use crate::source::Span;

/// The value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A number without a width.
    Int(BigInt),
    /// Bits.
    Scalar { expr: ir::Expr, ty: Ty },
    /// A struct's fields, a tuple's or a header's, and whether that is valid.
    Struct { ty: Ty, fields: Vec<Value>, valid: ir::Expr },
    /// `{a, b}`, of a type yet to be seen.
    List(Vec<(Value, Span)>),
    /// `{x = a, y = b}`, of a type yet to be seen.
    Record(Vec<(Name, Value)>),
    /// A string.
    String,
    /// What a call gives that gives nothing.
    Void,
    /// Something wrong that was told already.
    Wrong,
}

impl Value {
    /// A `bool` known to the compiler.
    pub(super) fn truth(value: bool) -> Self {
        Self::Scalar { expr: truth(value), ty: Ty::Bool }
    }

    /// Whether all of it is known to the compiler.
    pub(super) fn is_constant(&self) -> bool {
        match self {
            Self::Int(_) | Self::String => true,
            Self::Scalar { expr, .. } => constant::value(expr).is_some(),
            Self::Struct { fields, valid, .. } => {
                constant::value(valid).is_some() && fields.iter().all(Self::is_constant)
            }
            Self::List(parts) => parts.iter().all(|(part, _)| part.is_constant()),
            Self::Record(parts) => parts.iter().all(|(_, part)| part.is_constant()),
            Self::Void | Self::Wrong => false,
        }
    }

    /// Every value of bits in it.
    pub(super) fn scalars_mut<'v>(&'v mut self, into: &mut Vec<(&'v mut ir::Expr, Option<Ty>)>) {
        match self {
            Self::Scalar { expr, ty } => into.push((expr, Some(ty.clone()))),
            Self::Struct { fields, valid, .. } => {
                into.push((valid, None));
                fields.iter_mut().for_each(|field| field.scalars_mut(into));
            }
            Self::List(parts) => parts.iter_mut().for_each(|(part, _)| part.scalars_mut(into)),
            Self::Record(parts) => parts.iter_mut().for_each(|(_, part)| part.scalars_mut(into)),
            Self::Int(_) | Self::String | Self::Void | Self::Wrong => {}
        }
    }
}

impl<'a> Lowering<'a> {
    /// The value of an expression; [`Value::Wrong`] if something in it was told to be wrong.
    pub(super) fn expr(&mut self, expr: &'a ast::Expr) -> Value {
        match &expr.kind {
            ExprKind::Number(number) => match number.width {
                Some(bits) => {
                    let expr = constant(number.value, ir::Type::Bits(bits));
                    Value::Scalar { expr, ty: Ty::Bits(bits) }
                }
                None => Value::Int(BigInt::from(number.value)),
            },
            ExprKind::Bool(value) => Value::truth(*value),
            ExprKind::String(_) => Value::String,
            ExprKind::Error(name) => self.error_value(name),
            ExprKind::Name(path) => self.name(path),
            ExprKind::Member { of, member } => self.member(expr, of, member),
            ExprKind::Slice { of, hi, lo } => self.slice(of, hi, lo),
            ExprKind::Index { index, .. } => {
                self.tell(
                    Diagnostic::new(index.span, "there are no stacks and no elements of tuples")
                        .remedy("give each header a field of its own in the struct of headers"),
                );
                Value::Wrong
            }
            ExprKind::Call { callee, type_arguments, arguments } => {
                let value = self.call(expr.span, callee, type_arguments, arguments);
                if matches!(value, Value::Void) {
                    self.tell(Diagnostic::new(expr.span, "this call gives no value"));
                    return Value::Wrong;
                }
                value
            }
            ExprKind::Cast { ty, of } => {
                let ty = self.resolve(ty, &super::types::Bindings::default());
                let value = self.expr(of);
                self.cast(value, &ty, expr.span)
            }
            ExprKind::Unary { op, of } => self.unary(*op, of, expr.span),
            ExprKind::Binary { op, left, right } => self.binary(*op, left, right, expr.span),
            ExprKind::Choice { condition, then, otherwise } => self.choice(condition, then, otherwise, expr.span),
            ExprKind::List(parts) => {
                let mut values = Vec::new();
                for part in parts {
                    let mark = self.code.len();
                    let value = self.expr(part);
                    self.keep_before(mark, values.iter_mut().map(|(value, _)| value), expr.span);
                    values.push((value, part.span));
                }
                Value::List(values)
            }
            ExprKind::Struct(parts) => {
                let mut values: Vec<(Name, Value)> = Vec::new();
                for (name, part) in parts {
                    let mark = self.code.len();
                    let value = self.expr(part);
                    self.keep_before(mark, values.iter_mut().map(|(_, value)| value), expr.span);
                    values.push((name.clone(), value));
                }
                Value::Record(values)
            }
            ExprKind::Mask { .. } | ExprKind::Range { .. } | ExprKind::Default | ExprKind::Any => {
                self.tell(
                    Diagnostic::new(expr.span, "a set of values stands only where values are matched")
                        .remedy("sets are for the cases of a select and the entries of a table"),
                );
                Value::Wrong
            }
            ExprKind::Rest => {
                self.tell(
                    Diagnostic::new(expr.span, "default values are not supported").remedy("write the values out"),
                );
                Value::Wrong
            }
        }
    }

    fn error_value(&mut self, name: &Name) -> Value {
        let Some(place) = self.made.ir.errors.iter().position(|known| **known == *name.text) else {
            self.tell(
                Diagnostic::new(name.span, format!("there is no error `{name}`"))
                    .remedy(format!("declare it: error {{ {name} }}")),
            );
            return Value::Wrong;
        };
        Value::Scalar { expr: constant(place as u128, ir::Type::Bits(super::types::ERROR_BITS)), ty: Ty::Error }
    }

    fn name(&mut self, path: &ast::Path) -> Value {
        match self.lookup(path) {
            Symbol::Const(value) => {
                if let Value::Scalar { ty, .. } = &value {
                    self.kept_enums.extend(self.enum_of(ty));
                }
                value
            }
            Symbol::Variable { storage, .. } => self.load(&storage),
            Symbol::Wrong => Value::Wrong,
            other => {
                self.tell(Diagnostic::new(path.span, format!("`{path}` is {}, not a value", other.noun())));
                Value::Wrong
            }
        }
    }

    fn member(&mut self, whole: &'a ast::Expr, of: &'a ast::Expr, member: &Name) -> Value {
        if let ExprKind::Name(path) = &of.kind
            && let Some(Symbol::Type(ty)) = self.known(path)
        {
            return self.enum_member(&ty, path, member);
        }
        if super::statement::applied(whole).is_some() {
            self.tell(
                Diagnostic::new(whole.span, "a table's outcome may only be asked for by itself")
                    .remedy("write `if (t.apply().hit) { … }`, `if (t.apply().miss) { … }` or `switch (t.apply().action_run) { … }`"),
            );
            return Value::Wrong;
        }
        if let Some((storage, _)) = self.lookup_place(whole) {
            return match storage {
                Storage::Packet { .. } => Value::Wrong,
                storage => self.load(&storage),
            };
        }
        match self.expr(of) {
            Value::Struct { ty, fields, .. } => match self.field(&ty, member) {
                Some(place) => fields.into_iter().nth(place).unwrap_or(Value::Wrong),
                None => Value::Wrong,
            },
            Value::Wrong => Value::Wrong,
            other => {
                let ty = self.describe(&other);
                self.tell(Diagnostic::new(member.span, format!("a value of type {ty} has no fields")));
                Value::Wrong
            }
        }
    }

    /// What a path stands for, if anything; nothing is told.
    fn known(&self, path: &ast::Path) -> Option<Symbol<'a>> {
        let name = &path.name.text;
        let local = if path.global { None } else { self.scopes.iter().rev().find_map(|scope| scope.find(name)) };
        local.or_else(|| self.globals.find(name)).map(|(symbol, _)| symbol.clone())
    }

    fn enum_member(&mut self, ty: &Ty, path: &ast::Path, member: &Name) -> Value {
        let Ty::Enum(index) = ty else {
            self.tell(Diagnostic::new(path.span, format!("`{path}` is a type that has no members")));
            return Value::Wrong;
        };
        self.kept_enums.insert(*index);
        let declared = &self.made.ir.enums[*index as usize];
        match declared.members.iter().find(|(name, _)| **name == *member.text) {
            Some((_, value)) => {
                Value::Scalar { expr: constant(*value, ir::Type::Bits(declared.bits)), ty: Ty::Enum(*index) }
            }
            None => {
                let message = format!("`{path}` has no member `{member}`");
                let span = self.enum_spans[*index as usize];
                self.tell(Diagnostic::new(member.span, message).mark(span, "declared here"));
                Value::Wrong
            }
        }
    }

    /// The place of a field; told if there is none.
    pub(super) fn field(&mut self, ty: &Ty, name: &Name) -> Option<usize> {
        let (Ty::Struct(index) | Ty::Header(index)) = ty else {
            self.tell(Diagnostic::new(name.span, format!("a value of type {} has no fields", self.show(ty))));
            return None;
        };
        let composite = &self.composites[*index as usize];
        let place = composite.fields.iter().position(|(known, _)| *known == name.text);
        if place.is_none() {
            let (message, span) = (format!("`{}` has no field `{name}`", composite.name), composite.span);
            self.tell(Diagnostic::new(name.span, message).mark(span, "declared here"));
        }
        place
    }

    /// Where an expression's value is, if it is a variable or a part of one; and whether it may be assigned to.
    pub(super) fn lookup_place(&mut self, expr: &ast::Expr) -> Option<(Storage, bool)> {
        match &expr.kind {
            ExprKind::Name(path) => match self.known(path)? {
                Symbol::Variable { .. } => match self.lookup(path) {
                    Symbol::Variable { storage, writable } => Some((storage, writable)),
                    _ => None,
                },
                _ => None,
            },
            ExprKind::Member { of, member } => {
                let (storage, writable) = self.lookup_place(of)?;
                match storage {
                    Storage::Struct { ty, fields } | Storage::Header { ty, fields, .. } => {
                        let place = self.field(&ty, member);
                        let part = place.and_then(|place| fields.get(place).cloned());
                        Some((part.unwrap_or(Storage::Wrong), writable))
                    }
                    Storage::Wrong => Some((Storage::Wrong, writable)),
                    Storage::Scalar { ty, .. } | Storage::Packet { ty } => {
                        let message = format!("a value of type {} has no field `{member}`", self.show(&ty));
                        self.tell(Diagnostic::new(member.span, message));
                        Some((Storage::Wrong, writable))
                    }
                }
            }
            _ => None,
        }
    }

    fn slice(&mut self, of: &'a ast::Expr, hi: &'a ast::Expr, lo: &'a ast::Expr) -> Value {
        let value = self.expr(of);
        let Some((hi, lo, span)) = self.slice_bounds(hi, lo) else { return Value::Wrong };
        match self.underlying(value) {
            Value::Scalar { expr, ty: Ty::Bits(bits) } => {
                if hi >= bits {
                    let message =
                        format!("bit {hi} of a value of {bits} bits does not exist: the highest is {}", bits - 1);
                    self.tell(Diagnostic::new(span, message));
                    return Value::Wrong;
                }
                Value::Scalar { expr: slice(expr, hi, lo), ty: Ty::Bits(hi - lo + 1) }
            }
            Value::Int(value) => {
                let ty = ir::Type::Bits(hi - lo + 1);
                let value: BigInt = (value >> lo) & BigInt::from(ty.mask());
                let value = value.to_u128().expect("a masked value");
                Value::Scalar { expr: constant(value, ty), ty: Ty::Bits(ty.bits()) }
            }
            Value::Wrong => Value::Wrong,
            other => {
                let ty = self.describe(&other);
                self.tell(
                    Diagnostic::new(of.span, format!("a value of type {ty} has no slices"))
                        .remedy("cast it to bits first"),
                );
                Value::Wrong
            }
        }
    }

    /// The bounds of `[hi:lo]`; told if they are none.
    pub(super) fn slice_bounds(&mut self, hi: &'a ast::Expr, lo: &'a ast::Expr) -> Option<(u8, u8, Span)> {
        let high = self.constant_int(hi, "the bounds of a slice");
        let low = self.constant_int(lo, "the bounds of a slice");
        let (high, low, span) = (high?, low?, hi.span.to(lo.span));
        match (high.to_u8(), low.to_u8()) {
            (Some(high), Some(low)) if low <= high && high < super::types::BITS_MAX => Some((high, low, span)),
            _ => {
                let message = format!("[{high}:{low}] is not a slice");
                self.tell(
                    Diagnostic::new(span, message).remedy("write the highest bit first, the lowest second: [7:0]"),
                );
                None
            }
        }
    }

    fn unary(&mut self, op: UnaryOp, of: &'a ast::Expr, span: Span) -> Value {
        let value = self.expr(of);
        match (op, self.underlying(value)) {
            (_, Value::Wrong) => Value::Wrong,
            (UnaryOp::Not, Value::Scalar { expr, ty: Ty::Bool }) => {
                Value::Scalar { expr: constant::not(expr), ty: Ty::Bool }
            }
            (UnaryOp::Complement, Value::Scalar { expr, ty: ty @ Ty::Bits(_) }) => {
                Value::Scalar { expr: constant::complement(expr), ty }
            }
            (UnaryOp::Negate, Value::Scalar { expr, ty: ty @ Ty::Bits(_) }) => {
                Value::Scalar { expr: constant::negate(expr), ty }
            }
            (UnaryOp::Plus, value @ (Value::Scalar { ty: Ty::Bits(_), .. } | Value::Int(_))) => value,
            (UnaryOp::Negate, Value::Int(value)) => Value::Int(-value),
            (op, other) => {
                let ty = self.describe(&other);
                let mut diagnostic = Diagnostic::new(span, format!("`{}` cannot be applied to {ty}", op.symbol()));
                diagnostic = match (op, &other) {
                    (UnaryOp::Not, _) => diagnostic.remedy("compare it with something: `x != 0`"),
                    (UnaryOp::Complement, Value::Int(_)) => diagnostic.remedy("give the number a width: `~8w1`"),
                    _ => diagnostic.remedy("cast it to bits first"),
                };
                self.tell(diagnostic);
                Value::Wrong
            }
        }
    }

    fn choice(&mut self, condition: &'a ast::Expr, then: &'a ast::Expr, otherwise: &'a ast::Expr, span: Span) -> Value {
        let condition = self.truth(condition);
        let (yes, yes_code) = self.collect(|this| this.expr(then));
        let (no, no_code) = self.collect(|this| this.expr(otherwise));
        if let Some(known) = constant::value(&condition) {
            let (value, code) = if known == 0 { (no, no_code) } else { (yes, yes_code) };
            self.code.extend(code);
            return value;
        }
        let Some((yes, no, ty)) = self.same_type(yes, no, span) else { return Value::Wrong };
        if matches!(ty, Ty::Int) {
            self.tell(
                Diagnostic::new(span, "neither number has a width").remedy("give one of them a width: `c ? 8w1 : 2`"),
            );
            return Value::Wrong;
        }
        if yes_code.is_empty() && no_code.is_empty() {
            return merge(&condition, yes, no);
        }
        let storage = self.temporary(&ty, "chosen", span);
        let ((), then) = self.collect(|this| {
            this.code.extend(yes_code);
            this.assign(&storage, yes, span);
        });
        let ((), otherwise) = self.collect(|this| {
            this.code.extend(no_code);
            this.assign(&storage, no, span);
        });
        self.code.push(Stmt::If { condition, then, otherwise });
        self.load(&storage)
    }

    /// The value of a condition; `false` if it was told to be wrong.
    pub(super) fn truth(&mut self, expr: &'a ast::Expr) -> ir::Expr {
        match self.expr(expr) {
            Value::Scalar { expr, ty: Ty::Bool } => expr,
            Value::Wrong => truth(false),
            other => {
                let ty = self.describe(&other);
                self.tell(
                    Diagnostic::new(expr.span, format!("a condition must be a bool, not {ty}"))
                        .remedy("compare it with something: `x != 0`"),
                );
                truth(false)
            }
        }
    }

    /// Lets values that were computed before the statements from `mark` on keep what they were, whatever these do.
    pub(super) fn keep_before<'v>(&mut self, mark: usize, values: impl Iterator<Item = &'v mut Value>, span: Span) {
        if self.code.len() == mark {
            return;
        }
        let behind = self.code.split_off(mark);
        for value in values {
            self.keep(value, span);
        }
        self.code.extend(behind);
    }

    /// Replaces what is not constant in a value by variables that have it.
    pub(super) fn keep(&mut self, value: &mut Value, span: Span) {
        let mut scalars = Vec::new();
        value.scalars_mut(&mut scalars);
        for (expr, ty) in scalars {
            if constant::value(expr).is_some() {
                continue;
            }
            let ty = ty.unwrap_or(Ty::Bool);
            let storage = self.temporary(&ty, "kept", span);
            let Storage::Scalar { place, .. } = &storage else { continue };
            let place = *place;
            let kept = constant::var(place.var, expr.ty);
            let value = std::mem::replace(expr, kept);
            self.code.push(Stmt::Assign { place, value });
        }
    }

    /// An integer known to the compiler: of `what`, for messages.
    pub(super) fn constant_int(&mut self, expr: &'a ast::Expr, what: &str) -> Option<BigInt> {
        let (value, code) = self.collect(|this| this.expr(expr));
        match self.underlying(value) {
            Value::Int(value) if code.is_empty() => Some(value),
            Value::Scalar { expr, ty: Ty::Bits(_) } if code.is_empty() && constant::value(&expr).is_some() => {
                constant::value(&expr).map(BigInt::from)
            }
            Value::Wrong => None,
            _ => {
                self.tell(Diagnostic::new(expr.span, format!("{what} must be a constant number")));
                None
            }
        }
    }

    /// A constant number that is not negative and fits 32 bits: a size.
    pub(super) fn constant_u32(&mut self, expr: &'a ast::Expr, what: &str) -> Option<u32> {
        let value = self.constant_int(expr, what)?;
        let small = value.to_u32();
        if small.is_none() || value < BigInt::zero() {
            self.tell(Diagnostic::new(expr.span, format!("{what} must fit 32 bits, {value} does not")));
        }
        small
    }
}

/// One of two values of one type, part by part.
fn merge(condition: &ir::Expr, yes: Value, no: Value) -> Value {
    match (yes, no) {
        (Value::Scalar { expr: yes, ty }, Value::Scalar { expr: no, .. }) => {
            Value::Scalar { expr: constant::choice(condition.clone(), yes, no), ty }
        }
        (Value::Struct { ty, fields: yes, valid: was }, Value::Struct { fields: no, valid: is, .. }) => Value::Struct {
            ty,
            fields: yes.into_iter().zip(no).map(|(yes, no)| merge(condition, yes, no)).collect(),
            valid: constant::choice(condition.clone(), was, is),
        },
        _ => Value::Wrong,
    }
}
