//! Operators between two operands (P4_16 1.2.4 §8.2 to §8.8).

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use super::Lowering;
use super::constant::{self, binary, constant, not};
use super::expression::Value;
use super::types::{BITS_MAX, Ty};
use crate::ast::{self, BinaryOp};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, Stmt};
use crate::source::Span;

/// Bits of a number without a width at most.
const INT_BITS_MAX: u64 = 512;

impl<'a> Lowering<'a> {
    /// The value of `left op right`.
    pub(super) fn binary(&mut self, op: BinaryOp, left: &'a ast::Expr, right: &'a ast::Expr, span: Span) -> Value {
        if matches!(op, BinaryOp::LogicalAnd | BinaryOp::LogicalOr) {
            return self.logical(op, left, right, span);
        }
        let mut left = self.expr(left);
        let mark = self.code.len();
        let right = self.expr(right);
        self.keep_before(mark, std::iter::once(&mut left), span);
        if matches!(left, Value::Wrong) || matches!(right, Value::Wrong) {
            return Value::Wrong;
        }
        match op {
            BinaryOp::Concat => self.concat(left, right, span),
            BinaryOp::Shl | BinaryOp::Shr => self.shift(op, left, right, span),
            BinaryOp::Eq | BinaryOp::Ne => {
                let Some((left, right, _)) = self.same_type(left, right, span) else { return Value::Wrong };
                let Some(equal) = self.equal(&left, &right, span) else { return Value::Wrong };
                Value::Scalar { expr: if op == BinaryOp::Eq { equal } else { not(equal) }, ty: Ty::Bool }
            }
            _ => self.arithmetic(op, left, right, span),
        }
    }

    fn logical(&mut self, op: BinaryOp, left: &'a ast::Expr, right: &'a ast::Expr, span: Span) -> Value {
        let and = op == BinaryOp::LogicalAnd;
        let left = self.truth(left);
        let (right, code) = self.collect(|this| this.truth(right));
        let decided = constant::value(&left).map(|left| (left == 1) != and);
        if decided == Some(true) || code.is_empty() {
            let op = if and { ir::BinaryOp::LogicalAnd } else { ir::BinaryOp::LogicalOr };
            return Value::Scalar { expr: binary(op, left, right), ty: Ty::Bool };
        }
        // The right operand's calls are made only where its value matters.
        let storage = self.temporary(&Ty::Bool, "both", span);
        self.assign(&storage, Value::Scalar { expr: left, ty: Ty::Bool }, span);
        let result = self.load(&storage);
        let Value::Scalar { expr: so_far, .. } = result.clone() else { return Value::Wrong };
        let ((), then) = self.collect(|this| {
            this.code.extend(code);
            this.assign(&storage, Value::Scalar { expr: right, ty: Ty::Bool }, span);
        });
        let condition = if and { so_far } else { not(so_far) };
        self.code.push(Stmt::If { condition, then, otherwise: Vec::new() });
        result
    }

    fn concat(&mut self, left: Value, right: Value, span: Span) -> Value {
        match (self.underlying(left), self.underlying(right)) {
            (Value::Scalar { expr: left, ty: Ty::Bits(high) }, Value::Scalar { expr: right, ty: Ty::Bits(low) }) => {
                match high.checked_add(low) {
                    Some(bits) if bits <= BITS_MAX => {
                        Value::Scalar { expr: constant::concat(left, right), ty: Ty::Bits(bits) }
                    }
                    _ => {
                        let bits = u32::from(high) + u32::from(low);
                        self.tell(
                            Diagnostic::new(span, format!("`++` gives {bits} bits, values have at most {BITS_MAX}"))
                                .remedy("keep the parts in variables of their own"),
                        );
                        Value::Wrong
                    }
                }
            }
            (left, right) => {
                let message = format!("`++` joins bits, not {} and {}", self.describe(&left), self.describe(&right));
                self.tell(
                    Diagnostic::new(span, message).remedy("give numbers a width: `8w1 ++ x`; cast other types to bits"),
                );
                Value::Wrong
            }
        }
    }

    fn shift(&mut self, op: BinaryOp, left: Value, right: Value, span: Span) -> Value {
        let by = match self.underlying(right) {
            Value::Int(by) if by.is_negative() => {
                self.tell(Diagnostic::new(span, format!("a shift by {by}")).remedy("shift the other way"));
                return Value::Wrong;
            }
            Value::Int(by) => constant(by.to_u8().unwrap_or(u8::MAX).into(), ir::Type::Bits(8)),
            Value::Scalar { expr, ty: Ty::Bits(_) } => expr,
            other => {
                let message = format!("a shift by {}: it must be bits", self.describe(&other));
                self.tell(Diagnostic::new(span, message));
                return Value::Wrong;
            }
        };
        match (self.underlying(left), constant::value(&by)) {
            (Value::Scalar { expr, ty: ty @ Ty::Bits(_) }, _) => {
                let op = if op == BinaryOp::Shl { ir::BinaryOp::Shl } else { ir::BinaryOp::Shr };
                Value::Scalar { expr: binary(op, expr, by), ty }
            }
            (Value::Int(value), Some(by)) => {
                let by = u8::try_from(by).unwrap_or(u8::MAX);
                self.bounded(if op == BinaryOp::Shl { value << by } else { value >> by }, span)
            }
            (Value::Int(_), None) => {
                self.tell(
                    Diagnostic::new(span, "a number without a width is shifted by what is not constant")
                        .remedy("give the number a width: `32w1 << x`"),
                );
                Value::Wrong
            }
            (other, _) => {
                let message = format!("{} cannot be shifted", self.describe(&other));
                self.tell(Diagnostic::new(span, message).remedy("cast it to bits first"));
                Value::Wrong
            }
        }
    }

    fn arithmetic(&mut self, op: BinaryOp, left: Value, right: Value, span: Span) -> Value {
        let (left, right) = (self.underlying(left), self.underlying(right));
        if let (Value::Int(left), Value::Int(right)) = (&left, &right) {
            return self.of_ints(op, left, right, span);
        }
        let Some((left, right, ty)) = self.same_type(left, right, span) else { return Value::Wrong };
        let (Value::Scalar { expr: left, .. }, Value::Scalar { expr: right, .. }, Ty::Bits(_)) = (left, right, &ty)
        else {
            let message = format!("`{}` computes with bits, not with {}", op.symbol(), self.show(&ty));
            let remedy = if ty == Ty::Bool { "use `&&`, `||` and `!=`" } else { "cast both operands to bits" };
            self.tell(Diagnostic::new(span, message).remedy(remedy));
            return Value::Wrong;
        };
        let (op, gives) = match op {
            BinaryOp::Add => (ir::BinaryOp::Add, ty),
            BinaryOp::Sub => (ir::BinaryOp::Sub, ty),
            BinaryOp::AddSaturating => (ir::BinaryOp::AddSaturating, ty),
            BinaryOp::SubSaturating => (ir::BinaryOp::SubSaturating, ty),
            BinaryOp::Mul => (ir::BinaryOp::Mul, ty),
            BinaryOp::And => (ir::BinaryOp::And, ty),
            BinaryOp::Or => (ir::BinaryOp::Or, ty),
            BinaryOp::Xor => (ir::BinaryOp::Xor, ty),
            BinaryOp::Lt => (ir::BinaryOp::Lt, Ty::Bool),
            BinaryOp::Le => (ir::BinaryOp::Le, Ty::Bool),
            BinaryOp::Gt => (ir::BinaryOp::Gt, Ty::Bool),
            BinaryOp::Ge => (ir::BinaryOp::Ge, Ty::Bool),
            BinaryOp::Div | BinaryOp::Mod => return self.divide(op, &left, &right, ty, span),
            _ => unreachable!("told apart before"),
        };
        Value::Scalar { expr: binary(op, left, right), ty: gives }
    }

    fn divide(&mut self, op: BinaryOp, left: &ir::Expr, right: &ir::Expr, ty: Ty, span: Span) -> Value {
        match (constant::value(left), constant::value(right)) {
            (_, Some(0)) => {
                self.tell(Diagnostic::new(span, "a division by zero"));
                Value::Wrong
            }
            (Some(l), Some(r)) => {
                let value = if op == BinaryOp::Div { l / r } else { l % r };
                Value::Scalar { expr: constant(value, left.ty), ty }
            }
            _ => {
                let remedy = if op == BinaryOp::Div {
                    "divide by powers of two with `>>`"
                } else {
                    "take the low bits with a slice"
                };
                self.tell(Diagnostic::new(span, format!("`{}` is for constants only", op.symbol())).remedy(remedy));
                Value::Wrong
            }
        }
    }

    fn of_ints(&mut self, op: BinaryOp, left: &BigInt, right: &BigInt, span: Span) -> Value {
        let value = match op {
            BinaryOp::Add => left + right,
            BinaryOp::Sub => left - right,
            BinaryOp::Mul => left * right,
            BinaryOp::And => left & right,
            BinaryOp::Or => left | right,
            BinaryOp::Xor => left ^ right,
            BinaryOp::Lt => return Value::truth(left < right),
            BinaryOp::Le => return Value::truth(left <= right),
            BinaryOp::Gt => return Value::truth(left > right),
            BinaryOp::Ge => return Value::truth(left >= right),
            BinaryOp::Div | BinaryOp::Mod if right.is_zero() => {
                self.tell(Diagnostic::new(span, "a division by zero"));
                return Value::Wrong;
            }
            // P4_16 1.2.4 §8.8: of numbers that are not negative only.
            BinaryOp::Div | BinaryOp::Mod if left.is_negative() || right.is_negative() => {
                self.tell(Diagnostic::new(span, format!("`{}` is not defined for negative numbers", op.symbol())));
                return Value::Wrong;
            }
            BinaryOp::Div => left / right,
            BinaryOp::Mod => left % right,
            _ => {
                self.tell(
                    Diagnostic::new(span, format!("`{}` needs a width to stop at", op.symbol()))
                        .remedy("give one of the numbers a width: `8w255`"),
                );
                return Value::Wrong;
            }
        };
        self.bounded(value, span)
    }

    fn bounded(&mut self, value: BigInt, span: Span) -> Value {
        if value.bits() > INT_BITS_MAX {
            self.tell(Diagnostic::new(span, format!("a number of more than {INT_BITS_MAX} bits")));
            return Value::Wrong;
        }
        Value::Int(value)
    }

    /// Whether two values of one type are equal; headers are if neither is valid, or both are and their fields are equal.
    fn equal(&mut self, left: &Value, right: &Value, span: Span) -> Option<ir::Expr> {
        match (left, right) {
            (Value::Int(left), Value::Int(right)) => Some(constant::truth(left == right)),
            (Value::Scalar { expr: left, .. }, Value::Scalar { expr: right, .. }) => {
                Some(binary(ir::BinaryOp::Eq, left.clone(), right.clone()))
            }
            (
                Value::Struct { ty, fields: left, valid: left_valid },
                Value::Struct { fields: right, valid: right_valid, .. },
            ) => {
                let mut all = constant::truth(true);
                for (left, right) in left.iter().zip(right) {
                    let equal = self.equal(left, right, span)?;
                    all = binary(ir::BinaryOp::LogicalAnd, all, equal);
                }
                if !matches!(ty, Ty::Header(_)) {
                    return Some(all);
                }
                let both = binary(ir::BinaryOp::LogicalAnd, left_valid.clone(), right_valid.clone());
                let neither = binary(ir::BinaryOp::LogicalAnd, not(left_valid.clone()), not(right_valid.clone()));
                let equal = binary(ir::BinaryOp::LogicalAnd, both, all);
                Some(binary(ir::BinaryOp::LogicalOr, neither, equal))
            }
            _ => {
                self.tell(Diagnostic::new(span, "values of this type cannot be compared"));
                None
            }
        }
    }
}
