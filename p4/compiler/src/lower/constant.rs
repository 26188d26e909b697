//! Expressions of the intermediate form, folded as they are made (P4_16 1.2.4 §8).

use crate::ir::{BinaryOp, Expr, ExprKind, HeaderId, Type, VarId};

/// A constant; of the value what fits.
pub(super) fn constant(value: u128, ty: Type) -> Expr {
    Expr { kind: ExprKind::Const(value & ty.mask()), ty }
}

/// `true` or `false`.
pub(super) fn truth(value: bool) -> Expr {
    constant(u128::from(value), Type::Bool)
}

/// A variable's value.
pub(super) fn var(var: VarId, ty: Type) -> Expr {
    Expr { kind: ExprKind::Var(var), ty }
}

/// Whether a header is valid.
pub(super) fn valid(header: HeaderId) -> Expr {
    Expr { kind: ExprKind::Valid(header), ty: Type::Bool }
}

/// The value of a constant.
pub(super) fn value(expr: &Expr) -> Option<u128> {
    match expr.kind {
        ExprKind::Const(value) => Some(value),
        _ => None,
    }
}

/// Bits `hi` down to `lo`.
pub(super) fn slice(of: Expr, hi: u8, lo: u8) -> Expr {
    debug_assert!(lo <= hi && hi < of.ty.bits());
    let ty = Type::Bits(hi - lo + 1);
    match of.kind {
        ExprKind::Const(value) => constant(value >> lo, ty),
        _ if of.ty == ty => of,
        ExprKind::Slice { of: inner, lo: below, .. } => {
            Expr { kind: ExprKind::Slice { of: inner, hi: hi + below, lo: lo + below }, ty }
        }
        _ => Expr { kind: ExprKind::Slice { of: Box::new(of), hi, lo }, ty },
    }
}

/// To another type: cut off or filled with zeros.
pub(super) fn cast(of: Expr, ty: Type) -> Expr {
    match of.kind {
        _ if of.ty == ty => of,
        ExprKind::Const(value) => constant(value, ty),
        _ => Expr { kind: ExprKind::Cast(Box::new(of)), ty },
    }
}

/// `!`.
pub(super) fn not(of: Expr) -> Expr {
    match of.kind {
        ExprKind::Const(value) => truth(value == 0),
        ExprKind::Not(inner) => *inner,
        ExprKind::Binary { op: BinaryOp::Eq, left, right } => compare(BinaryOp::Ne, left, right),
        ExprKind::Binary { op: BinaryOp::Ne, left, right } => compare(BinaryOp::Eq, left, right),
        _ => Expr { kind: ExprKind::Not(Box::new(of)), ty: Type::Bool },
    }
}

fn compare(op: BinaryOp, left: Box<Expr>, right: Box<Expr>) -> Expr {
    Expr { kind: ExprKind::Binary { op, left, right }, ty: Type::Bool }
}

/// `~`.
pub(super) fn complement(of: Expr) -> Expr {
    let ty = of.ty;
    match of.kind {
        ExprKind::Const(value) => constant(!value, ty),
        _ => Expr { kind: ExprKind::Complement(Box::new(of)), ty },
    }
}

/// `-`.
pub(super) fn negate(of: Expr) -> Expr {
    let ty = of.ty;
    match of.kind {
        ExprKind::Const(value) => constant(value.wrapping_neg(), ty),
        _ => Expr { kind: ExprKind::Negate(Box::new(of)), ty },
    }
}

/// `++`.
pub(super) fn concat(left: Expr, right: Expr) -> Expr {
    let ty = Type::Bits(left.ty.bits() + right.ty.bits());
    match (value(&left), value(&right)) {
        (Some(high), Some(low)) => constant(high << right.ty.bits() | low, ty),
        _ => Expr { kind: ExprKind::Concat(Box::new(left), Box::new(right)), ty },
    }
}

/// `?:`.
pub(super) fn choice(condition: Expr, then: Expr, otherwise: Expr) -> Expr {
    match value(&condition) {
        Some(0) => otherwise,
        Some(_) => then,
        None if value(&then).is_some() && value(&then) == value(&otherwise) => then,
        None => {
            let ty = then.ty;
            let (then, otherwise) = (Box::new(then), Box::new(otherwise));
            Expr { kind: ExprKind::Choice { condition: Box::new(condition), then, otherwise }, ty }
        }
    }
}

/// Two operands.
pub(super) fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    let ty = if compares(op) { Type::Bool } else { left.ty };
    match (op, value(&left), value(&right)) {
        (_, Some(l), Some(r)) => return constant(compute(op, l, r, left.ty), ty),
        (BinaryOp::LogicalAnd, Some(0), _) | (BinaryOp::LogicalOr, Some(1), _) => return left,
        (BinaryOp::LogicalAnd, Some(_), _) | (BinaryOp::LogicalOr, Some(_), _) => return right,
        (BinaryOp::LogicalAnd, _, Some(1)) | (BinaryOp::LogicalOr, _, Some(0)) => return left,
        (BinaryOp::Shl | BinaryOp::Shr, _, Some(0)) => return left,
        (BinaryOp::Shl | BinaryOp::Shr, _, Some(by)) if by >= u128::from(ty.bits()) => return constant(0, ty),
        _ => {}
    }
    Expr { kind: ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, ty }
}

/// Whether the result is a `bool` that says how the operands compare.
fn compares(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge)
}

/// Of two values of type `ty`, the right one of a shift aside; what does not fit is still to be cut off.
fn compute(op: BinaryOp, left: u128, right: u128, ty: Type) -> u128 {
    let shift = u32::try_from(right).unwrap_or(u32::MAX);
    match op {
        BinaryOp::Add => left.wrapping_add(right),
        BinaryOp::Sub => left.wrapping_sub(right),
        BinaryOp::AddSaturating => left.saturating_add(right).min(ty.mask()),
        BinaryOp::SubSaturating => left.saturating_sub(right),
        BinaryOp::Mul => left.wrapping_mul(right),
        BinaryOp::And => left & right,
        BinaryOp::Or => left | right,
        BinaryOp::Xor => left ^ right,
        BinaryOp::Shl => left.checked_shl(shift).unwrap_or(0),
        BinaryOp::Shr => left.checked_shr(shift).unwrap_or(0),
        BinaryOp::Eq => u128::from(left == right),
        BinaryOp::Ne => u128::from(left != right),
        BinaryOp::Lt => u128::from(left < right),
        BinaryOp::Le => u128::from(left <= right),
        BinaryOp::Gt => u128::from(left > right),
        BinaryOp::Ge => u128::from(left >= right),
        BinaryOp::LogicalAnd => left & right,
        BinaryOp::LogicalOr => left | right,
    }
}
