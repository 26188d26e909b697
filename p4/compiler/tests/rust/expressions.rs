//! Programs of random expressions, in the parser and in the control.

use gantry_p4c::ir::{
    BinaryOp, Expr, ExprKind, HeaderId, Place, Program, Stmt, Target, Transition, Type, VarId, VarKind,
};

use crate::build::{BOOL, Build, assign, bits, expr};
use crate::dice::Dice;

const WIDTHS: [u8; 14] = [1, 2, 7, 8, 9, 16, 31, 32, 48, 63, 64, 65, 127, 128];

struct Random {
    build: Build,
    /// What expressions read: inputs, fields.
    vars: Vec<VarId>,
    dice: Dice,
    in_parser: bool,
}

/// A header of fields at all kinds of places, a parser that looks ahead, and assignments of random expressions.
pub(crate) fn program(seed: u64) -> Program {
    let mut build = Build::new();
    let mut dice = Dice(seed * 7919 + 1);
    build.program.name = format!("random_{seed}");
    let mut fields: Vec<(String, u8)> = Vec::new();
    let mut total = 0_u32;
    while total < 300 {
        let width = WIDTHS[dice.below(WIDTHS.len())];
        fields.push((format!("f{}", fields.len()), width));
        total += u32::from(width);
    }
    if !total.is_multiple_of(8) {
        fields.push(("rest".into(), 8 - (total % 8) as u8));
    }
    let named: Vec<_> = fields.iter().map(|(name, width)| (name.as_str(), *width)).collect();
    let header = build.header("hdr.h", &named);
    let missing = build.header("hdr.missing", &[("a", 7), ("b", 9)]);
    let mut vars: Vec<VarId> = [header, missing]
        .iter()
        .flat_map(|of| build.program.headers[of.index()].fields.iter().map(|field| field.var).collect::<Vec<_>>())
        .collect();
    for width in WIDTHS {
        let kind = VarKind::Metadata { input: true, output: false };
        vars.push(build.var(&format!("istd.in{width}"), bits(width), kind));
    }
    let mut random = Random { build, vars, dice, in_parser: true };
    let start = [vec![Stmt::Extract(header)], random.assignments("p", 12)].concat();
    random.build.parser(vec![("start", start, Transition::To(Target::Accept))]);
    random.in_parser = false;
    let mut body = random.assignments("c", 40);
    // Fields that are written come out of the deparser changed.
    for at in 0..random.build.program.headers[header.index()].fields.len() {
        if random.dice.below(3) == 0 {
            let field = random.build.program.headers[header.index()].fields[at].clone();
            let value = random.any(bits(field.bits), 3);
            let (lo, hi) = (random.dice.below(usize::from(field.bits)) as u8, field.bits - 1);
            let part = expr(ExprKind::Slice { of: value.clone().into(), hi: hi - lo, lo: 0 }, bits(hi - lo + 1));
            body.push(match random.dice.below(2) {
                0 => assign(field.var, value),
                _ => Stmt::Assign { place: Place { var: field.var, slice: Some((hi, lo)) }, value: part },
            });
        }
    }
    random.build.control(body);
    random.build.deparser(&[missing, header]);
    random.build.program
}

impl Random {
    fn assignments(&mut self, prefix: &str, count: usize) -> Vec<Stmt> {
        let mut body = Vec::new();
        for at in 0..count {
            let width = WIDTHS[self.dice.below(WIDTHS.len())];
            let ty = bits(width);
            let kind = VarKind::Metadata { input: false, output: true };
            let to = self.build.var(&format!("meta.{prefix}{at}"), ty, kind);
            let value = self.any(ty, 4);
            if self.dice.below(4) == 0 {
                let condition = self.any(BOOL, 2);
                let other = self.any(ty, 2);
                body.push(Stmt::If { condition, then: vec![assign(to, value)], otherwise: vec![assign(to, other)] });
            } else {
                body.push(assign(to, value));
            }
        }
        body
    }

    fn leaf(&mut self, ty: Type) -> Expr {
        let of_type: Vec<_> =
            self.vars.iter().copied().filter(|var| self.build.program.vars[var.index()].ty == ty).collect();
        match self.dice.below(6) {
            0 => expr(ExprKind::Const(self.dice.number(ty.mask())), ty),
            1 if ty == BOOL => expr(ExprKind::Valid(HeaderId(self.dice.below(2) as u32)), ty),
            1 if self.in_parser && ty == bits(32) => expr(ExprKind::Length, ty),
            1 if self.in_parser => expr(ExprKind::Lookahead, ty),
            _ if of_type.is_empty() => expr(ExprKind::Const(self.dice.number(ty.mask())), ty),
            _ => self.build.read(of_type[self.dice.below(of_type.len())]),
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
                let of = bits(WIDTHS[self.dice.below(WIDTHS.len())]);
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
                let from = if width == 1 && self.dice.below(2) == 0 {
                    BOOL
                } else {
                    bits(WIDTHS[self.dice.below(WIDTHS.len())])
                };
                ExprKind::Cast(self.any(from, depth).into())
            }
            3 => {
                let above = self.dice.below(usize::from(128 - width) + 1) as u8;
                let lo = self.dice.below(usize::from(above) + 1) as u8;
                ExprKind::Slice { of: self.any(bits(width + above), depth).into(), hi: lo + width - 1, lo }
            }
            4 if width > 1 => {
                let right = 1 + self.dice.below(usize::from(width) - 1) as u8;
                ExprKind::Concat(self.any(bits(width - right), depth).into(), self.any(bits(right), depth).into())
            }
            5 => {
                let by = bits(WIDTHS[self.dice.below(WIDTHS.len())]);
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
