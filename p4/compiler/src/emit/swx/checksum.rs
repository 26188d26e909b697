//! InternetChecksum (RFC 1071) in plain arithmetic: a sum of 64 bits that is folded when it is asked for. Zero is what it folds to
//! only if nothing but zeros was added, as in ones' complement.

use super::Lowering;
use super::body::Body;
use super::expression::{Operand, Value};
use super::layout::Place;
use crate::ir::{Argument, Expr, ExprKind, ExternId, VarId, VarKind};

/// Data of a sum: a value and its bits.
struct Item {
    value: Value,
    bits: u32,
}

impl Lowering<'_> {
    fn sum_of(&mut self, instance: ExternId) -> String {
        self.layout.own(&format!("sum_{}", instance.0), 64, true)
    }

    /// A call of a checksum's method; the value of `get`.
    pub(super) fn checksum(
        &mut self,
        body: &mut Body,
        instance: ExternId,
        function: &str,
        arguments: &[Argument],
    ) -> Option<Value> {
        let sum = self.sum_of(instance);
        match function {
            "clear" => body.push(format!("mov {sum} 0")),
            "add" | "subtract" => self.add(body, &sum, arguments, function == "subtract"),
            "get" => {
                let (to, carry) = (self.copied(body, &Operand::Field(sum)), self.layout.temporary(body.depth));
                body.depth += 1;
                // Fields of 32 bits and less, shifted by up to 15, fewer than 64 of them: below 2^53.
                for _ in 0..4 {
                    body.push(format!("mov {carry} {to}"));
                    body.push(format!("shr {carry} 16"));
                    body.push(format!("and {to} 0xffff"));
                    body.push(format!("add {to} {carry}"));
                }
                body.push(format!("xor {to} 0xffff"));
                return Some(Value { hi: Operand::Number(0), lo: Operand::Field(to) });
            }
            _ => self.refuse(format!("InternetChecksum.{function}"), "only clear, add, subtract and get are lowered"),
        }
        None
    }

    fn add(&mut self, body: &mut Body, sum: &str, arguments: &[Argument], subtract: bool) {
        let exprs: Vec<&Expr> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::In(expr) => expr,
                Argument::Out(_) => unreachable!("a checksum changes no argument"),
            })
            .collect();
        let total: u32 = exprs.iter().map(|expr| u32::from(expr.ty.bits())).sum();
        // Words are counted from the front; what a last one lacks is zero.
        let (mut left, mut constant) = (total.next_multiple_of(16), 0_u64);
        if subtract {
            // The complement of each word.
            body.push(format!("add {sum} {:#x}", u64::from(left / 16) * 0xffff));
        }
        let mut at = 0;
        while at < exprs.len() {
            let depth = body.depth;
            let (item, taken) = self.item(body, &exprs[at..]);
            at += taken;
            let mut rest = item.bits;
            while rest != 0 {
                // A piece ends with the item or, where it must not reach over one, at a word's end.
                let end = left - rest;
                let piece = if subtract { rest.min((left - 1) % 16 + 1) } else { (rest - 1) % 32 + 1 };
                rest -= piece;
                left -= piece;
                let shift = left % 16;
                debug_assert!(end <= left, "pieces follow one another");
                if let (Operand::Number(_), Operand::Number(_)) = (&item.value.hi, &item.value.lo) {
                    let value = constant_of(&item.value);
                    constant += ((value >> rest) as u64 & ((1 << piece) - 1)) << shift;
                    continue;
                }
                let from = if rest >= 64 { &item.value.hi } else { &item.value.lo };
                let (below, of) = if rest >= 64 { (rest - 64, item.bits - 64) } else { (rest, item.bits.min(64)) };
                assert!(below + piece <= 64, "a piece lies in one half");
                let whole = below == 0 && piece == of && shift == 0;
                let source = if whole {
                    from.text()
                } else {
                    let to = self.copied(body, from);
                    if below != 0 {
                        body.push(format!("shr {to} {below}"));
                    }
                    if below + piece < of {
                        body.push(format!("and {to} {:#x}", (1_u64 << piece) - 1));
                    }
                    if shift != 0 {
                        body.push(format!("shl {to} {shift}"));
                    }
                    to
                };
                body.push(format!("{} {sum} {source}", if subtract { "sub" } else { "add" }));
                body.depth = depth + 4;
            }
            body.depth = depth;
        }
        if constant != 0 {
            body.push(format!("{} {sum} {constant:#x}", if subtract { "sub" } else { "add" }));
        }
    }

    /// The next data and how many expressions it is of: fields that fill a container are taken as the container.
    fn item(&mut self, body: &mut Body, exprs: &[&Expr]) -> (Item, usize) {
        if let Some((container, bits, taken)) = self.container(exprs) {
            return (Item { value: Value { hi: Operand::Number(0), lo: Operand::Field(container) }, bits }, taken);
        }
        (Item { value: self.value(body, exprs[0]), bits: u32::from(exprs[0].ty.bits()) }, 1)
    }

    fn container(&mut self, exprs: &[&Expr]) -> Option<(String, u32, usize)> {
        let part = |lowering: &mut Self, expr: &Expr| {
            let ExprKind::Var(var) = expr.kind else { return None };
            lowering.part(var)
        };
        let (first, bits, mut shift) = part(self, exprs[0])?;
        if shift + u32::from(exprs[0].ty.bits()) != bits {
            return None;
        }
        let mut taken = 1;
        while shift != 0 {
            let next = exprs.get(taken)?;
            let (container, _, below) = part(self, next)?;
            if container != first || below + u32::from(next.ty.bits()) != shift {
                return None;
            }
            (shift, taken) = (below, taken + 1);
        }
        Some((first, bits, taken))
    }

    fn part(&mut self, var: VarId) -> Option<(String, u32, u32)> {
        if !matches!(self.program.vars[var.index()].kind, VarKind::Field { .. }) {
            return None;
        }
        match self.layout.place(self.program, var) {
            Place::Part { container, container_bits, shift } => Some((container, container_bits, shift)),
            _ => None,
        }
    }
}

fn constant_of(value: &Value) -> u128 {
    match (&value.hi, &value.lo) {
        (Operand::Number(hi), Operand::Number(lo)) => u128::from(*hi) << 64 | u128::from(*lo),
        _ => unreachable!("both are numbers"),
    }
}
