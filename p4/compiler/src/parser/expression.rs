//! Expressions (P4_16 §8) and what values are matched with (§13.6).

use super::{OPERATORS_MAX, Parsed, Reader};
use crate::ast::{Argument, BinaryOp, Expr, ExprKind, Path, UnaryOp};
use crate::diagnostics::Diagnostic;
use crate::lexer::Kind;
use crate::source::Span;

/// Operators between operands, those that bind least first. Unlike in C, `&`, `^` and `|` bind tighter than comparisons (§8.1).
const LEVELS: [&[BinaryOp]; 10] = [
    &[BinaryOp::LogicalOr],
    &[BinaryOp::LogicalAnd],
    &[BinaryOp::Eq, BinaryOp::Ne],
    &[BinaryOp::Lt, BinaryOp::Gt, BinaryOp::Le, BinaryOp::Ge],
    &[BinaryOp::Or],
    &[BinaryOp::Xor],
    &[BinaryOp::And],
    &[BinaryOp::Shl, BinaryOp::Shr],
    &[BinaryOp::Concat, BinaryOp::Add, BinaryOp::Sub, BinaryOp::AddSaturating, BinaryOp::SubSaturating],
    &[BinaryOp::Mul, BinaryOp::Div, BinaryOp::Mod],
];

impl Reader<'_> {
    /// An expression, which must be here.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.nested(|reader| {
            let condition = reader.binary(0)?;
            if !reader.eat("?") {
                return Ok(condition);
            }
            let then = reader.expression()?;
            reader.expect(":")?;
            let otherwise = reader.expression()?;
            reader.operator(condition.span)?;
            let span = condition.span.to(otherwise.span);
            let (condition, then, otherwise) = (Box::new(condition), Box::new(then), Box::new(otherwise));
            Ok(Expr { kind: ExprKind::Choice { condition, then, otherwise }, span })
        })
    }

    /// An expression that is not part of another one.
    pub(super) fn whole_expression(&mut self) -> Parsed<Expr> {
        self.operators = 0;
        self.expression()
    }

    /// Counts an operator, so that trees stay low though their operators are not nested.
    fn operator(&mut self, span: Span) -> Parsed<()> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            let diagnostic = Diagnostic::new(span, format!("an expression of more than {OPERATORS_MAX} operators"));
            return self.told(diagnostic.remedy("give its parts names"));
        }
        Ok(())
    }

    fn binary(&mut self, least: usize) -> Parsed<Expr> {
        let mut left = self.unary()?;
        while let Some((op, level)) = self.binary_operator().filter(|(_, level)| *level >= least) {
            self.operator(self.here())?;
            self.at += if op == BinaryOp::Shr { 2 } else { 1 };
            let right = self.binary(level + 1)?;
            let span = left.span.to(right.span);
            left = Expr { kind: ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, span };
        }
        Ok(left)
    }

    /// The operator that is here, and its level.
    fn binary_operator(&self) -> Option<(BinaryOp, usize)> {
        let Kind::Symbol(symbol) = self.token().kind else { return None };
        let next = self.ahead(1);
        let symbol = if symbol == ">" && next.glued && next.is(">") { ">>" } else { symbol };
        let find = |ops: &[BinaryOp]| ops.iter().copied().find(|op| op.symbol() == symbol);
        LEVELS.iter().enumerate().find_map(|(level, ops)| Some((find(ops)?, level)))
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let start = self.here();
        let op = match self.token().kind {
            Kind::Symbol("!") => UnaryOp::Not,
            Kind::Symbol("~") => UnaryOp::Complement,
            Kind::Symbol("-") => UnaryOp::Negate,
            Kind::Symbol("+") => UnaryOp::Plus,
            Kind::Symbol("(") if self.is_cast() => {
                self.advance();
                let ty = self.ty()?;
                self.expect(")")?;
                let of = Box::new(self.nested(Self::unary)?);
                self.operator(start)?;
                let span = start.to(of.span);
                return Ok(Expr { kind: ExprKind::Cast { ty, of }, span });
            }
            _ => return self.postfix(),
        };
        self.advance();
        let of = Box::new(self.nested(Self::unary)?);
        self.operator(start)?;
        let span = start.to(of.span);
        Ok(Expr { kind: ExprKind::Unary { op, of }, span })
    }

    /// Whether `(…)` here is a cast: what is in it is a type, or must be one because an operand follows.
    fn is_cast(&self) -> bool {
        let inside = self.at + 1;
        let Some(close) = self.behind_type(inside).filter(|close| *close == self.closing[self.at]) else {
            return false;
        };
        let global = self.tokens[inside].is(".");
        let name = &self.tokens[inside + usize::from(global)];
        if !self.is_name(name) || self.scopes.is_type(&name.text, global) {
            return true;
        }
        if self.scopes.known(&name.text, global).is_some() {
            return false;
        }
        // Nothing has that name: a cast to what is not declared, if it cannot be anything else.
        let next = &self.tokens[(close + 1).min(self.tokens.len() - 1)];
        match next.kind {
            Kind::Word => self.is_name(next) || next.is("true") || next.is("false"),
            Kind::Number(_) | Kind::String => true,
            _ => next.is("!") || next.is("~"),
        }
    }

    /// An operand with its members, slices and calls.
    pub(super) fn postfix(&mut self) -> Parsed<Expr> {
        let mut of = self.primary()?;
        loop {
            let start = of.span;
            let kind = if self.eat(".") {
                let member = self.name("a member's name")?;
                ExprKind::Member { of: Box::new(of), member }
            } else if self.eat("[") {
                let hi = Box::new(self.expression()?);
                let kind = if self.eat(":") {
                    ExprKind::Slice { of: Box::new(of), hi, lo: Box::new(self.expression()?) }
                } else {
                    ExprKind::Index { of: Box::new(of), index: hi }
                };
                self.expect("]")?;
                kind
            } else if self.is("(") || self.is_generic(&of) {
                let type_arguments = if self.is("<") { self.type_arguments()? } else { Vec::new() };
                let arguments = self.arguments()?;
                ExprKind::Call { callee: Box::new(of), type_arguments, arguments }
            } else {
                return Ok(of);
            };
            self.operator(start)?;
            of = Expr { kind, span: self.since(start) };
        }
    }

    /// Whether `<` here opens type arguments: behind a type, and where only a call can be meant (values in comparisons are not
    /// called).
    fn is_generic(&self, of: &Expr) -> bool {
        if !self.is("<") {
            return false;
        }
        match &of.kind {
            ExprKind::Name(path) if self.scopes.is_type(&path.name.text, path.global) => true,
            ExprKind::Name(_) | ExprKind::Member { .. } => {
                self.behind_type_arguments(self.at).is_some_and(|behind| self.tokens[behind].is("("))
            }
            _ => false,
        }
    }

    /// `(…)` of a call, which must be here.
    pub(super) fn arguments(&mut self) -> Parsed<Vec<Argument>> {
        self.expect("(")?;
        self.list(")", |reader| {
            let named = reader.is_name(reader.token()) && reader.ahead(1).is("=");
            let name = if named {
                let name = reader.name("a parameter's name")?;
                reader.expect("=")?;
                Some(name)
            } else {
                None
            };
            let start = reader.here();
            let any = reader.eat("_");
            let value = if any { Expr { kind: ExprKind::Any, span: start } } else { reader.expression()? };
            Ok(Argument { name, value })
        })
    }

    /// An operand: a name, a literal, or something in brackets.
    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        let token = self.token();
        let start = token.span;
        let kind = match (token.kind, &*token.text) {
            (Kind::Number(number), _) => {
                self.advance();
                ExprKind::Number(number)
            }
            (Kind::String, _) => {
                self.advance();
                ExprKind::String(token.text.clone())
            }
            (Kind::Word, "true" | "false") => {
                self.advance();
                ExprKind::Bool(&*token.text == "true")
            }
            (Kind::Word, "error") => {
                self.advance();
                self.expect(".")?;
                ExprKind::Error(self.name("an error's name")?)
            }
            (Kind::Word, "this") => {
                return self.refuse(start, "abstract methods and `this` are", "call the instance by its name");
            }
            (Kind::Word, "bool" | "bit" | "int" | "string" | "tuple") => {
                let remedy = "casts have their type in brackets: (bit<8>)x";
                return self.told(Diagnostic::new(start, "a value is expected, not a type").remedy(remedy));
            }
            (Kind::Symbol("("), _) => {
                self.advance();
                let inside = self.expression()?;
                self.expect(")")?;
                return Ok(inside);
            }
            (Kind::Symbol("{"), _) => return self.braces(),
            (Kind::Symbol("..."), _) => {
                self.advance();
                ExprKind::Rest
            }
            _ if self.is_name(token) || token.is(".") => {
                let path: Path = self.path("a name")?;
                ExprKind::Name(path)
            }
            _ => return self.unexpected("an expression"),
        };
        Ok(Expr { kind, span: self.since(start) })
    }

    /// `{a, b}` or `{a = 1, b = 2}`.
    fn braces(&mut self) -> Parsed<Expr> {
        let start = self.expect("{")?;
        if self.is("#") {
            return self.refuse(
                start.to(self.here()),
                "invalid headers as values are",
                "call setInvalid() of the header",
            );
        }
        let is_struct = self.is_name(self.token()) && self.ahead(1).is("=");
        let kind = if is_struct {
            ExprKind::Struct(self.list("}", |reader| {
                if reader.is("...") {
                    let remedy = "write a value for each field";
                    return reader.refuse(reader.here(), "default values of fields are", remedy);
                }
                let name = reader.name("a field's name")?;
                reader.expect("=")?;
                Ok((name, reader.expression()?))
            })?)
        } else {
            ExprKind::List(self.list("}", Self::expression)?)
        };
        Ok(Expr { kind, span: self.since(start) })
    }

    /// What values are matched with, before the `:` of a case or an entry: one match, or several in brackets.
    pub(super) fn matches(&mut self) -> Parsed<Vec<Expr>> {
        self.operators = 0;
        let all_in_brackets = self.is("(") && self.tokens[self.closing[self.at] + 1].is(":");
        if all_in_brackets {
            self.advance();
            return self.list(")", Self::one_match);
        }
        Ok(vec![self.one_match()?])
    }

    fn one_match(&mut self) -> Parsed<Expr> {
        let start = self.here();
        if self.eat("default") {
            return Ok(Expr { kind: ExprKind::Default, span: start });
        }
        if self.eat("_") {
            return Ok(Expr { kind: ExprKind::Any, span: start });
        }
        let value = Box::new(self.expression()?);
        if self.eat("&&&") {
            let mask = Box::new(self.expression()?);
            return Ok(Expr { kind: ExprKind::Mask { value, mask }, span: self.since(start) });
        }
        if self.eat("..") {
            let high = Box::new(self.expression()?);
            return Ok(Expr { kind: ExprKind::Range { low: value, high }, span: self.since(start) });
        }
        Ok(*value)
    }
}
