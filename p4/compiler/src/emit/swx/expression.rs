//! Expressions: values of up to 64 bits in one field or number, wider ones in two; conditions as jumps.

use super::Lowering;
use super::body::{Body, Label};
use super::layout::Place;
use crate::ir::{BinaryOp, Expr, ExprKind, Type, VarId};

/// Up to 64 bits: a number, or what a field of SWX holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Number(u64),
    Field(String),
}

/// A value: its upper bits beyond 64, and the lower 64.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) hi: Operand,
    pub(super) lo: Operand,
}

const ZERO: Operand = Operand::Number(0);

impl Operand {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => format!("{number:#x}"),
            Self::Field(field) => field.clone(),
        }
    }
}

impl Value {
    fn narrow(lo: Operand) -> Self {
        Self { hi: ZERO, lo }
    }

    pub(super) fn number(value: u128) -> Self {
        Self { hi: Operand::Number((value >> 64) as u64), lo: Operand::Number(value as u64) }
    }

    fn constant(&self) -> Option<u128> {
        match (&self.hi, &self.lo) {
            (Operand::Number(hi), Operand::Number(lo)) => Some(u128::from(*hi) << 64 | u128::from(*lo)),
            _ => None,
        }
    }
}

fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

impl Lowering<'_> {
    /// A temporary that holds an operand's value, to be changed.
    pub(super) fn copied(&mut self, body: &mut Body, from: &Operand) -> String {
        let to = self.layout.temporary(body.depth);
        body.depth += 1;
        body.push(format!("mov {to} {}", from.text()));
        to
    }

    /// What a variable holds.
    pub(super) fn read(&mut self, body: &mut Body, var: VarId) -> Value {
        let bits = u32::from(self.program.vars[var.index()].ty.bits());
        match self.layout.place(self.program, var) {
            Place::Whole(field) => Value::narrow(Operand::Field(field)),
            Place::Halves(hi, lo) => Value { hi: Operand::Field(hi), lo: Operand::Field(lo) },
            Place::Part { container, container_bits, shift } => {
                let to = self.copied(body, &Operand::Field(container));
                self.cut(body, &to, shift, bits, container_bits);
                Value::narrow(Operand::Field(to))
            }
        }
    }

    /// Bits from `shift` on of a temporary that has `of` bits.
    fn cut(&mut self, body: &mut Body, to: &str, shift: u32, bits: u32, of: u32) {
        if shift != 0 {
            body.push(format!("shr {to} {shift}"));
        }
        if shift + bits < of {
            body.push(format!("and {to} {:#x}", mask(bits)));
        }
    }

    /// The value of an expression, each bit above its type zero.
    pub(super) fn value(&mut self, body: &mut Body, expr: &Expr) -> Value {
        let bits = u32::from(expr.ty.bits());
        match &expr.kind {
            ExprKind::Const(value) => Value::number(*value),
            ExprKind::Var(var) => self.read(body, *var),
            ExprKind::Slice { of, hi, lo } => {
                let from = self.value(body, of);
                self.slice(body, &from, u32::from(*lo), u32::from(hi - lo + 1), of.ty)
            }
            ExprKind::Cast(of) => {
                let from = self.value(body, of);
                if bits < u32::from(of.ty.bits()) { self.slice(body, &from, 0, bits, of.ty) } else { from }
            }
            ExprKind::Length => Value::narrow(Operand::Field(self.layout.own("length", 32, false))),
            ExprKind::Lookahead => {
                self.refuse("lookahead", "it looks ahead by whole headers only");
                Value::number(0)
            }
            ExprKind::Complement(of) => {
                let from = self.value(body, of);
                let (high, low) = (mask(bits.saturating_sub(64)), mask(bits));
                self.halves("xor", body, &from, &Value { hi: number(high, bits > 64), lo: Operand::Number(low) })
            }
            ExprKind::Negate(of) => {
                let from = self.value(body, of);
                self.sum("sub", body, &Value::number(0), &from, bits)
            }
            ExprKind::Concat(left, right) => {
                let (upper, lower) = (self.value(body, left), self.value(body, right));
                self.concat(body, &upper, &lower, left.ty, right.ty)
            }
            ExprKind::Choice { condition, then, otherwise } => self.choice(body, condition, then, otherwise, bits),
            ExprKind::Binary { op, left, right } if !is_condition(*op) => self.binary(body, *op, left, right),
            ExprKind::Valid(_) | ExprKind::Not(_) | ExprKind::Binary { .. } => {
                let to = self.copied(body, &ZERO);
                let end = body.label();
                self.jump_if(body, expr, false, end);
                body.push(format!("mov {to} 1"));
                body.place(end);
                // Something has to stand where the jump leads.
                Value::narrow(Operand::Field(to))
            }
        }
    }

    fn choice(&mut self, body: &mut Body, condition: &Expr, then: &Expr, otherwise: &Expr, bits: u32) -> Value {
        let lo = self.layout.temporary(body.depth);
        let hi = self.layout.temporary(body.depth + 1);
        body.depth += 2;
        let (other, end) = (body.label(), body.label());
        self.jump_if(body, condition, false, other);
        for (value, last) in [(then, false), (otherwise, true)] {
            let value = self.value(body, value);
            if bits > 64 {
                body.push(format!("mov {hi} {}", value.hi.text()));
            }
            body.push(format!("mov {lo} {}", value.lo.text()));
            if !last {
                body.jump("jmp", end, "");
                body.place(other);
            }
        }
        body.place(end);
        Value { hi: if bits > 64 { Operand::Field(hi) } else { ZERO }, lo: Operand::Field(lo) }
    }

    /// `bits` bits of a value from `lo` on.
    fn slice(&mut self, body: &mut Body, from: &Value, lo: u32, bits: u32, ty: Type) -> Value {
        if let Some(value) = from.constant() {
            return Value::number(value >> lo & Type::Bits(bits as u8).mask());
        }
        let of = u32::from(ty.bits());
        if bits > 64 {
            if lo == 0 {
                let hi = self.copied(body, &from.hi);
                body.push(format!("and {hi} {:#x}", mask(bits - 64)));
                return Value { hi: Operand::Field(hi), lo: from.lo.clone() };
            }
            // What is left of the upper half, and the lower half filled up from it.
            let (hi, fill) = (self.copied(body, &from.hi), self.copied(body, &from.hi));
            let low = self.copied(body, &from.lo);
            self.cut(body, &hi, lo, bits - 64, of - 64);
            body.push(format!("shl {fill} {}", 64 - lo));
            body.push(format!("shr {low} {lo}"));
            body.push(format!("or {low} {fill}"));
            return Value { hi: Operand::Field(hi), lo: Operand::Field(low) };
        }
        if lo >= 64 {
            let to = if lo == 64 && lo + bits == of { return Value::narrow(from.hi.clone()) } else { &from.hi };
            let to = self.copied(body, to);
            self.cut(body, &to, lo - 64, bits, of - 64);
            return Value::narrow(Operand::Field(to));
        }
        if lo == 0 && bits == 64 {
            return Value::narrow(from.lo.clone());
        }
        let to = self.copied(body, &from.lo);
        if lo + bits <= 64 {
            self.cut(body, &to, lo, bits, of.min(64));
        } else {
            let upper = self.copied(body, &from.hi);
            body.push(format!("shr {to} {lo}"));
            body.push(format!("shl {upper} {}", 64 - lo));
            body.push(format!("or {to} {upper}"));
            body.push(format!("and {to} {:#x}", mask(bits)));
        }
        Value::narrow(Operand::Field(to))
    }

    fn concat(&mut self, body: &mut Body, upper: &Value, lower: &Value, left: Type, right: Type) -> Value {
        let (above, below) = (u32::from(left.bits()), u32::from(right.bits()));
        if let (Some(upper), Some(lower)) = (upper.constant(), lower.constant()) {
            return Value::number(upper << below | lower);
        }
        if below == 64 {
            return Value { hi: upper.lo.clone(), lo: lower.lo.clone() };
        }
        let shifted = self.shifted_left(body, upper, below, above + below);
        self.halves("or", body, &shifted, lower)
    }

    /// A value times 2^by, of `bits` bits: none of its own may be lost.
    fn shifted_left(&mut self, body: &mut Body, value: &Value, by: u32, bits: u32) -> Value {
        if let Some(value) = value.constant() {
            return Value::number(value.checked_shl(by).unwrap_or(0));
        }
        if by >= 64 {
            let hi = self.copied(body, &value.lo);
            body.push(format!("shl {hi} {}", by - 64));
            return Value { hi: Operand::Field(hi), lo: ZERO };
        }
        let hi = if bits > 64 && by != 0 {
            let (hi, carried) = (self.copied(body, &value.hi), self.copied(body, &value.lo));
            body.push(format!("shl {hi} {by}"));
            body.push(format!("shr {carried} {}", 64 - by));
            body.push(format!("or {hi} {carried}"));
            Operand::Field(hi)
        } else {
            value.hi.clone()
        };
        let lo = self.copied(body, &value.lo);
        body.push(format!("shl {lo} {by}"));
        Value { hi, lo: Operand::Field(lo) }
    }

    /// An operation that each bit decides by itself.
    fn halves(&mut self, operation: &str, body: &mut Body, left: &Value, right: &Value) -> Value {
        let mut half = |left: &Operand, right: &Operand| match (operation, left, right) {
            (_, Operand::Number(left), Operand::Number(right)) => Operand::Number(match operation {
                "and" => left & right,
                "or" => left | right,
                _ => left ^ right,
            }),
            ("or" | "xor", same, &ZERO) | ("or" | "xor", &ZERO, same) => same.clone(),
            ("and", &ZERO, _) | ("and", _, &ZERO) => ZERO,
            _ => {
                let to = self.copied(body, left);
                body.push(format!("{operation} {to} {}", right.text()));
                Operand::Field(to)
            }
        };
        Value { hi: half(&left.hi, &right.hi), lo: half(&left.lo, &right.lo) }
    }

    /// `add` and `sub`, modulo 2^bits.
    fn sum(&mut self, operation: &str, body: &mut Body, left: &Value, right: &Value, bits: u32) -> Value {
        let lo = self.copied(body, &left.lo);
        body.push(format!("{operation} {lo} {}", right.lo.text()));
        if bits <= 64 {
            if bits < 64 {
                body.push(format!("and {lo} {:#x}", mask(bits)));
            }
            return Value::narrow(Operand::Field(lo));
        }
        let hi = self.copied(body, &left.hi);
        body.push(format!("{operation} {hi} {}", right.hi.text()));
        // A sum that is less than a part of it, or a difference that is more than what it was taken from, carries.
        let (compared, whole) = if operation == "add" { ("jmplt", &right.lo) } else { ("jmpgt", &left.lo) };
        let (carries, end) = (body.label(), body.label());
        body.jump(compared, carries, format!("{lo} {}", whole.text()));
        body.jump("jmp", end, "");
        body.place(carries);
        body.push(format!("{operation} {hi} 1"));
        body.place(end);
        body.push(format!("and {hi} {:#x}", mask(bits - 64)));
        Value { hi: Operand::Field(hi), lo: Operand::Field(lo) }
    }

    fn binary(&mut self, body: &mut Body, op: BinaryOp, left: &Expr, right: &Expr) -> Value {
        let bits = u32::from(left.ty.bits());
        let (first, second) = (self.value(body, left), self.value(body, right));
        match op {
            BinaryOp::Add => self.sum("add", body, &first, &second, bits),
            BinaryOp::Sub => self.sum("sub", body, &first, &second, bits),
            BinaryOp::And => self.halves("and", body, &first, &second),
            BinaryOp::Or => self.halves("or", body, &first, &second),
            BinaryOp::Xor => self.halves("xor", body, &first, &second),
            BinaryOp::AddSaturating | BinaryOp::SubSaturating if bits < 64 => {
                self.saturating(body, op == BinaryOp::AddSaturating, &first, &second, bits)
            }
            BinaryOp::Shl | BinaryOp::Shr if bits <= 64 => self.shift(body, op == BinaryOp::Shl, &first, &second, bits),
            BinaryOp::Mul => {
                self.refuse("a product", "it does not multiply");
                first
            }
            _ => {
                self.refuse(format!("{op:?} of {bits} bits"), "its numbers have 64 bits");
                first
            }
        }
    }

    fn saturating(&mut self, body: &mut Body, adds: bool, left: &Value, right: &Value, bits: u32) -> Value {
        let to = self.copied(body, &left.lo);
        let end = body.label();
        let most = mask(bits);
        if adds {
            body.push(format!("add {to} {}", right.lo.text()));
            let over = body.label();
            body.jump("jmpgt", over, format!("{to} {most:#x}"));
            body.jump("jmp", end, "");
            body.place(over);
            body.push(format!("mov {to} {most:#x}"));
        } else {
            let under = body.label();
            body.jump("jmplt", under, format!("{to} {}", right.lo.text()));
            body.push(format!("sub {to} {}", right.lo.text()));
            body.jump("jmp", end, "");
            body.place(under);
            body.push(format!("mov {to} 0"));
        }
        body.place(end);
        Value::narrow(Operand::Field(to))
    }

    /// A shift by the width or more gives zero (P4_16 §8.6); the processor's would not.
    fn shift(&mut self, body: &mut Body, left: bool, value: &Value, by: &Value, bits: u32) -> Value {
        let operation = if left { "shl" } else { "shr" };
        if by.constant().is_some_and(|by| by >= u128::from(bits)) {
            return Value::number(0);
        }
        let to = self.copied(body, &value.lo);
        match &by.lo {
            Operand::Number(by) => body.push(format!("{operation} {to} {by}")),
            Operand::Field(by) => {
                let (over, end) = (body.label(), body.label());
                body.jump("jmpgt", over, format!("{by} {}", bits - 1));
                body.push(format!("{operation} {to} {by}"));
                body.jump("jmp", end, "");
                body.place(over);
                body.push(format!("mov {to} 0"));
                body.place(end);
            }
        }
        if left && bits < 64 {
            body.push(format!("and {to} {:#x}", mask(bits)));
        }
        Value::narrow(Operand::Field(to))
    }

    /// Jumps if a condition is as `wanted`.
    pub(super) fn jump_if(&mut self, body: &mut Body, condition: &Expr, wanted: bool, to: Label) {
        let depth = body.depth;
        match &condition.kind {
            ExprKind::Const(value) if (*value != 0) == wanted => body.jump("jmp", to, ""),
            ExprKind::Const(_) => {}
            ExprKind::Not(of) => self.jump_if(body, of, !wanted, to),
            ExprKind::Valid(header) => {
                let operation = if wanted { "jmpv" } else { "jmpnv" };
                body.jump(operation, to, self.layout.header_name(*header));
            }
            ExprKind::Binary { op: op @ (BinaryOp::LogicalAnd | BinaryOp::LogicalOr), left, right } => {
                // The left operand alone decides when it is this.
                let decides = *op == BinaryOp::LogicalOr;
                if decides == wanted {
                    self.jump_if(body, left, wanted, to);
                    self.jump_if(body, right, wanted, to);
                } else {
                    let end = body.label();
                    self.jump_if(body, left, decides, end);
                    self.jump_if(body, right, wanted, to);
                    body.place(end);
                }
            }
            ExprKind::Binary { op, left, right } if is_condition(*op) => {
                let (first, second) = (self.value(body, left), self.value(body, right));
                self.compare(body, *op, &first, &second, wanted, to);
            }
            _ => {
                let value = self.value(body, condition);
                self.compare(body, BinaryOp::Ne, &value, &Value::number(0), wanted, to);
            }
        }
        body.depth = depth;
    }

    /// Jumps if a comparison is as `wanted`.
    pub(super) fn compare(
        &mut self,
        body: &mut Body,
        op: BinaryOp,
        left: &Value,
        right: &Value,
        wanted: bool,
        to: Label,
    ) {
        match (op, wanted) {
            (BinaryOp::Eq, true) | (BinaryOp::Ne, false) => {
                let no = body.label();
                if !narrow(left, right) {
                    self.jump_on(body, "jmpneq", &left.hi, &right.hi, no);
                }
                self.jump_on(body, "jmpeq", &left.lo, &right.lo, to);
                body.place(no);
            }
            (BinaryOp::Eq, false) | (BinaryOp::Ne, true) => {
                if !narrow(left, right) {
                    self.jump_on(body, "jmpneq", &left.hi, &right.hi, to);
                }
                self.jump_on(body, "jmpneq", &left.lo, &right.lo, to);
            }
            (BinaryOp::Lt, true) | (BinaryOp::Ge, false) => self.less(body, left, right, to),
            (BinaryOp::Gt, true) | (BinaryOp::Le, false) => self.less(body, right, left, to),
            (BinaryOp::Lt | BinaryOp::Ge | BinaryOp::Gt | BinaryOp::Le, _) => {
                let no = body.label();
                match op {
                    BinaryOp::Lt | BinaryOp::Ge => self.less(body, left, right, no),
                    _ => self.less(body, right, left, no),
                }
                body.jump("jmp", to, "");
                body.place(no);
            }
            _ => unreachable!("{op:?} is no comparison"),
        }
    }

    fn less(&mut self, body: &mut Body, left: &Value, right: &Value, to: Label) {
        let no = body.label();
        if !narrow(left, right) {
            self.jump_on(body, "jmplt", &left.hi, &right.hi, to);
            self.jump_on(body, "jmpneq", &left.hi, &right.hi, no);
        }
        self.jump_on(body, "jmplt", &left.lo, &right.lo, to);
        body.place(no);
    }

    /// The first operand of a jump is a field.
    fn jump_on(&mut self, body: &mut Body, operation: &'static str, left: &Operand, right: &Operand, to: Label) {
        let turned = match operation {
            "jmplt" => "jmpgt",
            other => other,
        };
        match (left, right) {
            (Operand::Number(left), Operand::Number(right)) => {
                let jumps = match operation {
                    "jmpeq" => left == right,
                    "jmpneq" => left != right,
                    _ => left < right,
                };
                if jumps {
                    body.jump("jmp", to, "");
                }
            }
            (Operand::Number(number), Operand::Field(field)) => {
                body.jump(turned, to, format!("{field} {number:#x}"));
            }
            (Operand::Field(field), _) => body.jump(operation, to, format!("{field} {}", right.text())),
        }
    }
}

fn number(value: u64, there: bool) -> Operand {
    Operand::Number(if there { value } else { 0 })
}

fn narrow(left: &Value, right: &Value) -> bool {
    left.hi == ZERO && right.hi == ZERO
}

fn is_condition(op: BinaryOp) -> bool {
    use BinaryOp::{Eq, Ge, Gt, Le, LogicalAnd, LogicalOr, Lt, Ne};
    matches!(op, Eq | Ne | Lt | Le | Gt | Ge | LogicalAnd | LogicalOr)
}
