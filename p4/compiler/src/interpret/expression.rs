//! The values of expressions (P4_16 §8), and the state they are read from.

use crate::interpret::Cursor;
use crate::ir::{BinaryOp, Expr, ExprKind, HeaderId, Match, Place, Program, Type, VarId};

/// What a packet's run knows at one moment.
#[derive(Clone, Debug)]
pub struct State<'a> {
    pub(super) program: &'a Program,
    pub(super) values: Vec<u128>,
    pub(super) valid: Vec<bool>,
    pub(super) packet: Cursor<'a>,
}

/// The packet ends before what a `lookahead` wants to see (P4_16 §13.8.3): `PacketTooShort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort;

impl<'a> State<'a> {
    /// Every variable zero, every header invalid, nothing of the packet read.
    #[must_use]
    pub fn new(program: &'a Program, packet: &'a [u8]) -> Self {
        Self {
            program,
            values: vec![0; program.vars.len()],
            valid: vec![false; program.headers.len()],
            packet: Cursor::new(packet),
        }
    }

    /// Gives a variable a value.
    ///
    /// # Panics
    /// If the value has bits that the variable has not.
    pub fn assign(&mut self, var: VarId, value: u128) {
        let declared = &self.program.vars[var.index()];
        assert!(value <= declared.ty.mask(), "{value:#x} does not fit {} of {:?}", declared.name, declared.ty);
        self.values[var.index()] = value;
    }

    /// Gives a place a value: a variable, or some of its bits (P4_16 §8.6, slices on the left).
    pub fn assign_place(&mut self, place: Place, value: u128) {
        match place.slice {
            None => self.assign(place.var, value),
            Some((hi, lo)) => {
                let mask = Type::Bits(hi - lo + 1).mask();
                assert!(value <= mask, "{value:#x} does not fit bits {hi} to {lo}");
                let old = self.values[place.var.index()];
                self.assign(place.var, old & !(mask << lo) | value << lo);
            }
        }
    }

    /// What a place holds, and its type.
    #[must_use]
    pub fn read_place(&self, place: Place) -> (u128, Type) {
        let value = self.values[place.var.index()];
        match place.slice {
            None => (value, self.program.vars[place.var.index()].ty),
            Some((hi, lo)) => {
                let ty = Type::Bits(hi - lo + 1);
                (value >> lo & ty.mask(), ty)
            }
        }
    }

    /// `setValid` and `setInvalid` (P4_16 §8.18). Only a header that was not valid has its fields cleared.
    pub fn set_valid(&mut self, header: HeaderId, valid: bool) {
        if valid && !self.valid[header.index()] {
            for field in &self.program.headers[header.index()].fields {
                self.values[field.var.index()] = 0;
            }
        }
        self.valid[header.index()] = valid;
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// If it looks further ahead than the packet goes.
    ///
    /// # Panics
    /// If the expression's types do not fit together, which `lower` sees to.
    pub fn value(&self, expr: &Expr) -> Result<u128, TooShort> {
        let mask = expr.ty.mask();
        let value = match &expr.kind {
            ExprKind::Const(value) => *value,
            ExprKind::Var(var) => self.values[var.index()],
            ExprKind::Valid(header) => u128::from(self.valid[header.index()]),
            ExprKind::Slice { of, hi, lo } => self.value(of)? >> lo & Type::Bits(hi - lo + 1).mask(),
            ExprKind::Cast(of) => self.value(of)? & mask,
            ExprKind::Not(of) => u128::from(self.value(of)? == 0),
            ExprKind::Complement(of) => !self.value(of)? & mask,
            ExprKind::Negate(of) => self.value(of)?.wrapping_neg() & mask,
            ExprKind::Binary { op: BinaryOp::LogicalAnd, left, right } => {
                if self.value(left)? == 0 {
                    0
                } else {
                    self.value(right)?
                }
            }
            ExprKind::Binary { op: BinaryOp::LogicalOr, left, right } => {
                if self.value(left)? == 0 {
                    self.value(right)?
                } else {
                    1
                }
            }
            ExprKind::Binary { op, left, right } => binary(*op, self.value(left)?, self.value(right)?, left.ty),
            ExprKind::Concat(left, right) => self.value(left)? << right.ty.bits() | self.value(right)?,
            ExprKind::Choice { condition, then, otherwise } => {
                if self.value(condition)? == 0 {
                    self.value(otherwise)?
                } else {
                    self.value(then)?
                }
            }
            ExprKind::Lookahead => self.packet.peek(expr.ty.bits()).ok_or(TooShort)?,
            ExprKind::Length => self.packet.length() as u128 & mask,
        };
        assert!(value <= mask, "{value:#x} is no value of {:?}: {expr:?}", expr.ty);
        Ok(value)
    }
}

/// An operator on two values; `ty` is the left one's.
fn binary(op: BinaryOp, left: u128, right: u128, ty: Type) -> u128 {
    let mask = ty.mask();
    match op {
        BinaryOp::Add => left.wrapping_add(right) & mask,
        BinaryOp::Sub => left.wrapping_sub(right) & mask,
        BinaryOp::AddSaturating => left.saturating_add(right).min(mask),
        BinaryOp::SubSaturating => left.saturating_sub(right),
        BinaryOp::Mul => left.wrapping_mul(right) & mask,
        BinaryOp::And => left & right,
        BinaryOp::Or => left | right,
        BinaryOp::Xor => left ^ right,
        BinaryOp::Shl if right >= u128::from(ty.bits()) => 0,
        BinaryOp::Shl => left << right & mask,
        BinaryOp::Shr if right >= u128::from(ty.bits()) => 0,
        BinaryOp::Shr => left >> right,
        BinaryOp::Eq => u128::from(left == right),
        BinaryOp::Ne => u128::from(left != right),
        BinaryOp::Lt => u128::from(left < right),
        BinaryOp::Le => u128::from(left <= right),
        BinaryOp::Gt => u128::from(left > right),
        BinaryOp::Ge => u128::from(left >= right),
        BinaryOp::LogicalAnd | BinaryOp::LogicalOr => unreachable!("evaluated where the right operand may be left out"),
    }
}

/// Whether a value of so many bits matches (P4_16 §8.15 and §14.2.1.1).
pub(super) fn matches(wanted: Match, value: u128, bits: u8) -> bool {
    match wanted {
        Match::Any => true,
        Match::Value(wanted) => value == wanted,
        Match::Mask { value: wanted, mask } => value & mask == wanted & mask,
        Match::Range { low, high } => low <= value && value <= high,
        Match::Prefix { length: 0, .. } => true,
        Match::Prefix { value: wanted, length } => value >> (bits - length) == wanted >> (bits - length),
    }
}
