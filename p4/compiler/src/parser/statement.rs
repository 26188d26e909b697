//! Statements (P4_16 §12) and the constants and variables among them (§11).

use super::{Known, Parsed, Reader};
use crate::ast::{Block, Const, Expr, ExprKind, Label, Preamble, Statement, StatementKind, SwitchCase, Var};
use crate::diagnostics::Diagnostic;
use crate::lexer::Kind;

impl Reader<'_> {
    /// `{ … }`, which must be here.
    pub(super) fn block(&mut self, preamble: Preamble) -> Parsed<Block> {
        self.nested(|reader| {
            let start = reader.expect("{")?;
            reader.scopes.enter();
            let statements = reader.statements(|reader| reader.is("}"));
            reader.scopes.leave();
            reader.expect("}")?;
            Ok(Block { preamble, statements, span: reader.since(start) })
        })
    }

    /// Statements up to what ends them. Mistakes in one do not keep from the next.
    pub(super) fn statements(&mut self, ends: impl Fn(&Self) -> bool) -> Vec<Statement> {
        let mut statements = Vec::new();
        while !ends(self) && !self.is("}") && !self.is_end() {
            let start = self.at;
            match self.statement() {
                Ok(statement) => statements.push(statement),
                Err(_) => self.recover(start),
            }
        }
        statements
    }

    fn statement(&mut self) -> Parsed<Statement> {
        self.nested(Self::statement_here)
    }

    fn statement_here(&mut self) -> Parsed<Statement> {
        let start = self.here();
        let preamble = self.preamble()?;
        let annotated = preamble.annotations.first().map(|annotation| annotation.span);
        let token = self.token();
        let word = self.word();
        if let (true, "switch" | "return" | "exit") = (self.in_parser, word) {
            let remedy =
                "choose with `transition select(…)`; leave with `transition accept;`, `transition reject;` or verify";
            return self.told(Diagnostic::new(token.span, format!("parsers have no `{word}`")).remedy(remedy));
        }
        let kind = match word {
            "const" => StatementKind::Const(self.constant(preamble)?),
            "if" => self.conditional()?,
            "switch" => self.switch()?,
            "return" => {
                self.advance();
                let value = if self.is(";") { None } else { Some(self.whole_expression()?) };
                self.expect(";")?;
                StatementKind::Return(value)
            }
            "exit" => {
                self.advance();
                self.expect(";")?;
                StatementKind::Exit
            }
            "for" | "while" | "break" | "continue" if self.is_loop() => {
                let remedy = "write the steps one after the other: a packet's way through the program has no loops";
                return self.refuse(token.span, "loops are", remedy);
            }
            "action" | "table" | "state" | "parser" | "control" | "header" | "struct" | "enum" | "extern"
                if self.is_name(self.ahead(1)) =>
            {
                let message = format!("`{word}` is not declared among statements");
                return self.fail(token.span, message);
            }
            _ if token.is("{") => StatementKind::Block(self.block(preamble)?),
            _ if token.is(";") => {
                self.advance();
                StatementKind::Empty
            }
            _ if self.is_declaration() => StatementKind::Var(self.variable(preamble)?),
            _ => self.assignment_or_call()?,
        };
        let takes = matches!(kind, StatementKind::Const(_) | StatementKind::Var(_) | StatementKind::Block(_));
        if let Some(annotation) = annotated.filter(|_| !takes) {
            self.mention(Diagnostic::new(annotation, "only declarations and blocks have annotations among statements"));
        }
        Ok(Statement { kind, span: self.since(start) })
    }

    fn is_loop(&self) -> bool {
        let next = self.ahead(1);
        if self.is("for") || self.is("while") { next.is("(") } else { next.is(";") }
    }

    /// Whether a variable is declared here: a type, then a name.
    pub(super) fn is_declaration(&self) -> bool {
        self.behind_type(self.at).is_some_and(|behind| self.tokens[behind].kind == Kind::Word)
    }

    /// `const T name = value;`, which must be here.
    pub(super) fn constant(&mut self, preamble: Preamble) -> Parsed<Const> {
        let start = self.expect("const")?;
        let ty = self.ty()?;
        let name = self.name("the constant's name")?;
        self.declare(&name, Known::Value);
        self.expect("=")?;
        let value = self.whole_expression()?;
        self.expect(";")?;
        Ok(Const { preamble, ty, name, value, span: self.since(start) })
    }

    /// `T name;` or `T name = value;`.
    pub(super) fn variable(&mut self, preamble: Preamble) -> Parsed<Var> {
        let start = self.here();
        let ty = self.ty()?;
        let name = self.name("the variable's name")?;
        self.declare(&name, Known::Value);
        let value = if self.eat("=") { Some(self.whole_expression()?) } else { None };
        if self.is(",") {
            let diagnostic = Diagnostic::new(self.here(), "a declaration has one variable");
            return self.told(diagnostic.remedy("declare the others on lines of their own"));
        }
        self.expect(";")?;
        Ok(Var { preamble, ty, name, value, span: self.since(start) })
    }

    fn conditional(&mut self) -> Parsed<StatementKind> {
        self.expect("if")?;
        self.expect("(")?;
        let condition = self.whole_expression()?;
        self.expect(")")?;
        let then = Box::new(self.statement()?);
        let otherwise = if self.eat("else") { Some(Box::new(self.statement()?)) } else { None };
        Ok(StatementKind::If { condition, then, otherwise })
    }

    fn switch(&mut self) -> Parsed<StatementKind> {
        self.expect("switch")?;
        self.expect("(")?;
        let on = self.whole_expression()?;
        self.expect(")")?;
        self.expect("{")?;
        let mut cases = Vec::new();
        while !self.eat("}") {
            let start = self.here();
            let label =
                if self.eat("default") { Label::Default(start) } else { Label::Value(self.whole_expression()?) };
            self.expect(":")?;
            let preamble = self.preamble()?;
            let body = if self.is("{") { Some(self.block(preamble)?) } else { None };
            cases.push(SwitchCase { label, body, span: self.since(start) });
        }
        Ok(StatementKind::Switch { on, cases })
    }

    fn assignment_or_call(&mut self) -> Parsed<StatementKind> {
        self.operators = 0;
        let start = self.at;
        let target = self.postfix()?;
        if let Kind::Symbol(symbol) = self.token().kind {
            let next = self.ahead(1);
            let compound =
                matches!(symbol, "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | "|+|" | "|-|" | "++")
                    && next.glued
                    && next.is("=");
            let shift = symbol == ">" && next.glued && next.is(">=");
            if compound || shift {
                let (span, symbol) = (self.here().to(next.span), if shift { ">>" } else { symbol });
                let written = self.sources.text(target.span);
                let remedy = format!("write `{written} = {written} {symbol} …;`");
                return self.refuse(span, "assignments with an operator are", &remedy);
            }
        }
        if self.eat("=") {
            if !is_place(&target) {
                self.mention(Diagnostic::new(
                    target.span,
                    "this cannot be assigned to: it is not a variable, a member or a slice",
                ));
            }
            let value = self.whole_expression()?;
            self.expect(";")?;
            return Ok(StatementKind::Assign { target, value });
        }
        if matches!(target.kind, ExprKind::Call { .. }) {
            if self.is_name(self.token()) {
                let remedy = "declare it in the parser or control, before its states or its `apply`";
                let span = target.span.to(self.here());
                return self.told(Diagnostic::new(span, "instances are not declared among statements").remedy(remedy));
            }
            self.expect(";")?;
            return Ok(StatementKind::Call(target));
        }
        if self.binary_follows() {
            // Read it all, to point at all of it.
            self.at = start;
            let value = self.whole_expression()?;
            return self.fail(value.span, "a value alone is not a statement");
        }
        if self.is(";") {
            return self.fail(target.span, "a value alone is not a statement");
        }
        self.unexpected("`=`, or `(` of a call,")
    }

    fn binary_follows(&self) -> bool {
        matches!(
            self.token().kind,
            Kind::Symbol("+" | "-" | "==" | "!=" | "<" | "&&" | "||" | "++" | "?" | "&" | "|" | "^")
        )
    }
}

fn is_place(target: &Expr) -> bool {
    match &target.kind {
        ExprKind::Name(_) => true,
        ExprKind::Member { of, .. } | ExprKind::Slice { of, .. } | ExprKind::Index { of, .. } => is_place(of),
        _ => false,
    }
}
