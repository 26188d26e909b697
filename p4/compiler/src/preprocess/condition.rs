//! The arithmetic of `#if` and `#elif`: integers, `defined`, C's operators. A name that is no macro is 0, as in C.

use super::macros::Macros;
use crate::diagnostics::Diagnostic;
use crate::lexer::{Kind, Token};
use crate::source::Span;

/// Brackets and operators inside one another.
const DEPTH_MAX: usize = 64;

/// Operators between operands, those that bind least first.
const LEVELS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", "<=", ">", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

/// The value of a condition.
pub(super) fn evaluate(
    tokens: &[Token],
    mistakes: &[Diagnostic],
    whole: Span,
    macros: &mut Macros,
) -> Result<i128, Diagnostic> {
    let mut expanded = Vec::new();
    let mut rest = tokens;
    while let Some((token, behind)) = rest.split_first() {
        rest = behind;
        if let Kind::Bad(place) = token.kind {
            return Err(mistakes[place as usize].clone());
        }
        if token.is("defined") {
            // Its name is not expanded.
            let length = match behind {
                [open, name, close, ..] if open.is("(") && name.kind == Kind::Word && close.is(")") => 3,
                [name, ..] if name.kind == Kind::Word => 1,
                _ => return Err(Diagnostic::new(token.span, "`defined` takes the name of one macro")),
            };
            let value = u128::from(macros.is_defined(&behind[length / 2].text));
            let kind = Kind::Number(crate::ast::Number { value, width: None });
            expanded.push(Token { kind, ..token.clone() });
            rest = &behind[length..];
        } else if macros.expand(token, &mut expanded).is_err() {
            return Err(Diagnostic::new(token.span, "this macro makes too many tokens"));
        }
    }
    let mut reader = Reader { tokens: &expanded, whole, depth: 0 };
    let value = reader.choice()?;
    match reader.tokens.first() {
        None => Ok(value),
        Some(token) => Err(Diagnostic::new(token.span, "this does not belong to the condition")),
    }
}

struct Reader<'t> {
    tokens: &'t [Token],
    whole: Span,
    depth: usize,
}

impl Reader<'_> {
    fn eat(&mut self, symbol: &str) -> bool {
        let found = self.tokens.first().is_some_and(|token| token.is(symbol));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn here(&self) -> Span {
        self.tokens.first().map_or(self.whole, |token| token.span)
    }

    fn choice(&mut self) -> Result<i128, Diagnostic> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Diagnostic::new(self.here(), format!("a condition nested more than {DEPTH_MAX} deep")));
        }
        let condition = self.binary(0)?;
        let value = if self.eat("?") {
            let then = self.choice()?;
            if !self.eat(":") {
                return Err(Diagnostic::new(self.here(), "`:` is missing in the condition"));
            }
            let otherwise = self.choice()?;
            if condition != 0 { then } else { otherwise }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(value)
    }

    fn binary(&mut self, level: usize) -> Result<i128, Diagnostic> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(operators) {
            let span = self.here();
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)
                .ok_or_else(|| Diagnostic::new(span, format!("{left} {operator} {right} has no value")))?;
        }
        Ok(left)
    }

    fn operator(&mut self, operators: &[&'static str]) -> Option<&'static str> {
        let [first, rest @ ..] = self.tokens else { return None };
        let shift = first.is(">") && rest.first().is_some_and(|next| next.glued && next.is(">"));
        let found = if shift { ">>" } else { operators.iter().copied().find(|symbol| first.is(symbol))? };
        let found = operators.iter().copied().find(|symbol| *symbol == found)?;
        self.tokens = if shift { &rest[1..] } else { rest };
        Some(found)
    }

    fn unary(&mut self) -> Result<i128, Diagnostic> {
        let Some((token, behind)) = self.tokens.split_first() else {
            return Err(Diagnostic::new(self.whole, "the condition has no end"));
        };
        self.tokens = behind;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Diagnostic::new(token.span, format!("a condition nested more than {DEPTH_MAX} deep")));
        }
        let value = match token.kind {
            Kind::Number(number) => i128::try_from(number.value).ok(),
            Kind::Word => Some(0),
            Kind::Symbol("(") => {
                let value = self.choice()?;
                if !self.eat(")") {
                    return Err(
                        Diagnostic::new(self.here(), "`)` is missing in the condition").mark(token.span, "for this")
                    );
                }
                Some(value)
            }
            Kind::Symbol("!") => Some(i128::from(self.unary()? == 0)),
            Kind::Symbol("~") => Some(!self.unary()?),
            Kind::Symbol("-") => self.unary()?.checked_neg(),
            Kind::Symbol("+") => Some(self.unary()?),
            _ => return Err(Diagnostic::new(token.span, "a condition is made of integers, macros and `defined`")),
        };
        self.depth -= 1;
        value.ok_or_else(|| Diagnostic::new(token.span, "this number is too large for a condition"))
    }
}

fn apply(operator: &str, left: i128, right: i128) -> Option<i128> {
    let bits = u32::try_from(right).ok().filter(|bits| *bits < 127);
    Some(match operator {
        "||" => i128::from(left != 0 || right != 0),
        "&&" => i128::from(left != 0 && right != 0),
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "==" => i128::from(left == right),
        "!=" => i128::from(left != right),
        "<" => i128::from(left < right),
        "<=" => i128::from(left <= right),
        ">" => i128::from(left > right),
        ">=" => i128::from(left >= right),
        "<<" => left.checked_mul(1i128 << bits?)?,
        ">>" => left >> bits?,
        "+" => left.checked_add(right)?,
        "-" => left.checked_sub(right)?,
        "*" => left.checked_mul(right)?,
        "/" => left.checked_div(right)?,
        "%" => left.checked_rem(right)?,
        _ => unreachable!("{operator} is in none of the levels"),
    })
}
