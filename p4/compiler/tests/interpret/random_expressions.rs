//! Random expressions against a second evaluator that knows no numbers: it works on lists of single bits, as adders do.

use gantry_p4c::interpret::State;
use gantry_p4c::ir::{BinaryOp, Expr, ExprKind, HeaderId, Type, VarId, VarKind};
use proptest::prelude::*;

use crate::build::{BOOL, Build, bits, expr};

const PACKET: [u8; 20] = *b"\x9a\x00\xff\x13\x57twelve more \x80\x01\xfe";

/// Random choices, from bytes that proptest can shrink; zeros when they run out, which end the expression.
struct Dice {
    bytes: Vec<u8>,
    at: usize,
}

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.at += 1;
        usize::from(self.bytes.get(self.at - 1).copied().unwrap_or(0)) % limit
    }

    fn number(&mut self, ty: Type) -> u128 {
        // Values at the ends of their range find more than others.
        let random = (0..16).fold(0_u128, |value, _| value << 8 | self.below(256) as u128);
        [0, 1, ty.mask(), ty.mask() >> 1, random & ty.mask(), random >> 64 & ty.mask()][self.below(6)]
    }

    fn width(&mut self) -> u8 {
        [1, 2, 7, 8, 9, 16, 31, 32, 48, 63, 64, 65, 127, 128][self.below(14)]
    }
}

struct Random {
    build: Build,
    values: Vec<(VarId, u128)>,
    dice: Dice,
}

impl Random {
    fn leaf(&mut self, ty: Type) -> Expr {
        let value = self.dice.number(ty);
        match self.dice.below(4) {
            0 => expr(ExprKind::Const(value), ty),
            3 if ty == BOOL => expr(ExprKind::Valid(HeaderId(self.dice.below(2) as u32)), ty),
            3 if ty == bits(32) => expr(ExprKind::Length, ty),
            3 if ty != BOOL => expr(ExprKind::Lookahead, ty),
            _ => {
                let var = self.build.var("v", ty, VarKind::Local);
                self.values.push((var, value));
                expr(ExprKind::Var(var), ty)
            }
        }
    }

    fn any(&mut self, ty: Type, depth: usize) -> Expr {
        if depth == 0 || self.dice.below(8) == 0 {
            return self.leaf(ty);
        }
        let depth = depth - 1;
        if self.dice.below(8) == 1 {
            let condition = self.any(BOOL, depth).into();
            let (then, otherwise) = (self.any(ty, depth).into(), self.any(ty, depth).into());
            return expr(ExprKind::Choice { condition, then, otherwise }, ty);
        }
        match ty {
            Type::Bool => self.boolean(depth),
            Type::Bits(width) => self.number(width, depth),
        }
    }

    fn boolean(&mut self, depth: usize) -> Expr {
        use BinaryOp::{Eq, Ge, Gt, Le, LogicalAnd, LogicalOr, Lt, Ne};
        let kind = match self.dice.below(6) {
            0 => ExprKind::Not(self.any(BOOL, depth).into()),
            1 => ExprKind::Cast(self.any(bits(1), depth).into()),
            2 => {
                let op = [LogicalAnd, LogicalOr, Eq, Ne][self.dice.below(4)];
                ExprKind::Binary { op, left: self.any(BOOL, depth).into(), right: self.any(BOOL, depth).into() }
            }
            _ => {
                let of = bits(self.dice.width());
                let op = [Eq, Ne, Lt, Le, Gt, Ge][self.dice.below(6)];
                ExprKind::Binary { op, left: self.any(of, depth).into(), right: self.any(of, depth).into() }
            }
        };
        expr(kind, BOOL)
    }

    fn number(&mut self, width: u8, depth: usize) -> Expr {
        use BinaryOp::{Add, AddSaturating, And, Mul, Or, Shl, Shr, Sub, SubSaturating, Xor};
        let ty = bits(width);
        let kind = match self.dice.below(8) {
            0 => ExprKind::Complement(self.any(ty, depth).into()),
            1 => ExprKind::Negate(self.any(ty, depth).into()),
            2 => {
                let from = if width == 1 && self.dice.below(2) == 0 { BOOL } else { bits(self.dice.width()) };
                ExprKind::Cast(self.any(from, depth).into())
            }
            3 => {
                let spare = 128 - width;
                let above = self.dice.below(usize::from(spare) + 1) as u8;
                let lo = self.dice.below(usize::from(above) + 1) as u8;
                ExprKind::Slice { of: self.any(bits(width + above), depth).into(), hi: lo + width - 1, lo }
            }
            4 if width > 1 => {
                let right = 1 + self.dice.below(usize::from(width) - 1) as u8;
                ExprKind::Concat(self.any(bits(width - right), depth).into(), self.any(bits(right), depth).into())
            }
            5 => {
                let by = bits(self.dice.width());
                let op = [Shl, Shr][self.dice.below(2)];
                ExprKind::Binary { op, left: self.any(ty, depth).into(), right: self.any(by, depth).into() }
            }
            _ => {
                let op = [Add, Sub, AddSaturating, SubSaturating, Mul, And, Or, Xor][self.dice.below(8)];
                ExprKind::Binary { op, left: self.any(ty, depth).into(), right: self.any(ty, depth).into() }
            }
        };
        expr(kind, ty)
    }
}

/// A number as its bits, the lowest first.
type Bits = Vec<bool>;

fn split(value: u128, ty: Type) -> Bits {
    (0..ty.bits()).map(|bit| value >> bit & 1 == 1).collect()
}

fn joined(bits: &Bits) -> u128 {
    bits.iter().rev().fold(0, |value, bit| value << 1 | u128::from(*bit))
}

/// The sum and the carry out of it.
fn add(left: &Bits, right: &Bits, mut carry: bool) -> (Bits, bool) {
    let mut sum = Bits::new();
    for (a, b) in left.iter().zip(right) {
        sum.push(a ^ b ^ carry);
        carry = a & b | carry & (a ^ b);
    }
    (sum, carry)
}

fn inverted(bits: &Bits) -> Bits {
    bits.iter().map(|bit| !bit).collect()
}

/// The difference, and whether there was nothing to borrow.
fn subtract(left: &Bits, right: &Bits) -> (Bits, bool) {
    add(left, &inverted(right), true)
}

fn multiply(left: &Bits, right: &Bits) -> Bits {
    let mut product = vec![false; left.len()];
    let mut shifted = left.clone();
    for bit in right {
        if *bit {
            product = add(&product, &shifted, false).0;
        }
        shifted.insert(0, false);
        shifted.pop();
    }
    product
}

fn shift(value: &Bits, by: &Bits, left: bool) -> Bits {
    let mut value = value.clone();
    let distance = by.iter().enumerate().filter(|(_, bit)| **bit);
    // More than eight bits of distance are more than any width.
    let distance =
        distance.map(|(place, _)| if place < 8 { 1_usize << place } else { 256 }).fold(0, |a, b| (a + b).min(256));
    for _ in 0..distance {
        if left {
            value.insert(0, false);
            value.pop();
        } else {
            value.remove(0);
            value.push(false);
        }
    }
    value
}

fn less(left: &Bits, right: &Bits) -> bool {
    let differ = left.iter().zip(right).rev().find(|(a, b)| a != b);
    differ.is_some_and(|(a, _)| !a)
}

fn reference(random: &Random, expr: &Expr) -> Bits {
    let of = |expr: &Expr| reference(random, expr);
    match &expr.kind {
        ExprKind::Const(value) => split(*value, expr.ty),
        ExprKind::Var(var) => {
            let (_, value) = random.values.iter().find(|(each, _)| each == var).expect("every variable has a value");
            split(*value, expr.ty)
        }
        // Only the first header is valid.
        ExprKind::Valid(header) => vec![*header == HeaderId(0)],
        ExprKind::Slice { of: value, hi, lo } => of(value)[usize::from(*lo)..=usize::from(*hi)].to_vec(),
        ExprKind::Cast(value) => {
            let mut value = of(value);
            value.resize(usize::from(expr.ty.bits()), false);
            value
        }
        ExprKind::Not(value) | ExprKind::Complement(value) => inverted(&of(value)),
        ExprKind::Negate(value) => subtract(&vec![false; usize::from(expr.ty.bits())], &of(value)).0,
        ExprKind::Concat(left, right) => [of(right), of(left)].concat(),
        ExprKind::Choice { condition, then, otherwise } => {
            if of(condition)[0] {
                of(then)
            } else {
                of(otherwise)
            }
        }
        ExprKind::Lookahead => {
            let all = PACKET.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
            let mut ahead: Bits = all.take(expr.ty.bits().into()).collect();
            ahead.reverse();
            ahead
        }
        ExprKind::Length => split(20, expr.ty),
        ExprKind::Binary { op, left, right } => {
            let (left, right) = (of(left), of(right));
            let pairs = || left.iter().zip(&right);
            match op {
                BinaryOp::Add => add(&left, &right, false).0,
                BinaryOp::Sub => subtract(&left, &right).0,
                BinaryOp::AddSaturating => match add(&left, &right, false) {
                    (_, true) => vec![true; left.len()],
                    (sum, false) => sum,
                },
                BinaryOp::SubSaturating => match subtract(&left, &right) {
                    (_, false) => vec![false; left.len()],
                    (difference, true) => difference,
                },
                BinaryOp::Mul => multiply(&left, &right),
                BinaryOp::And => pairs().map(|(a, b)| a & b).collect(),
                BinaryOp::Or => pairs().map(|(a, b)| a | b).collect(),
                BinaryOp::Xor => pairs().map(|(a, b)| a ^ b).collect(),
                BinaryOp::Shl => shift(&left, &right, true),
                BinaryOp::Shr => shift(&left, &right, false),
                BinaryOp::Eq => vec![left == right],
                BinaryOp::Ne => vec![left != right],
                BinaryOp::Lt => vec![less(&left, &right)],
                BinaryOp::Le => vec![!less(&right, &left)],
                BinaryOp::Gt => vec![less(&right, &left)],
                BinaryOp::Ge => vec![!less(&left, &right)],
                BinaryOp::LogicalAnd => vec![left[0] && right[0]],
                BinaryOp::LogicalOr => vec![left[0] || right[0]],
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_evaluators_agree(bytes in prop::collection::vec(any::<u8>(), 0..400), width in 0_u8..=128) {
        let mut build = Build::new();
        build.header("hdr.valid", &[("a", 8)]);
        build.header("hdr.invalid", &[("a", 8)]);
        let mut random = Random { build, values: Vec::new(), dice: Dice { bytes, at: 0 } };
        let ty = if width == 0 { BOOL } else { bits(width) };
        let expr = random.any(ty, 6);

        let mut state = State::new(&random.build.program, &PACKET);
        state.set_valid(HeaderId(0), true);
        for (var, value) in &random.values {
            state.assign(*var, *value);
        }
        let wanted = reference(&random, &expr);
        prop_assert_eq!(wanted.len(), usize::from(ty.bits()));
        prop_assert_eq!(state.value(&expr), Ok(joined(&wanted)), "{:?}", expr);
    }
}
