//! Parsers (P4_16 §13), controls (§14) and what is declared in them.

use super::{Known, Parsed, Reader};
use crate::ast::{
    Action, Control, Declaration, Direction, Instance, Local, Parameter, Parser, Preamble, SelectCase, Signature,
    State, Transition, TypeKind, TypeRef,
};
use crate::diagnostics::Diagnostic;
use crate::source::Span;

impl Reader<'_> {
    /// `parser …` or `control …`, which must be here: a type with `;` behind its parameters, or all of it.
    pub(super) fn parser_or_control(&mut self, preamble: Preamble) -> Parsed<Declaration> {
        let start = self.here();
        let is_parser = self.advance().is("parser");
        let name = self.name(if is_parser { "the parser's name" } else { "the control's name" })?;
        self.declare(&name, if is_parser { Known::Parser } else { Known::Type });
        self.scopes.enter();
        let declared = self.signature_and_body(preamble, name, start, is_parser);
        self.scopes.leave();
        self.in_parser = false;
        declared
    }

    fn signature_and_body(
        &mut self,
        preamble: Preamble,
        name: crate::ast::Name,
        start: Span,
        is_parser: bool,
    ) -> Parsed<Declaration> {
        let type_parameters = self.type_parameters()?;
        let parameters = self.parameters()?;
        let signature = Signature { preamble, name, type_parameters, parameters, span: self.since(start) };
        if self.eat(";") {
            return Ok(if is_parser {
                Declaration::ParserType(signature)
            } else {
                Declaration::ControlType(signature)
            });
        }
        if let Some(first) = signature.type_parameters.first() {
            let diagnostic = Diagnostic::new(first.span, "only the types of an architecture have type parameters");
            self.mention(diagnostic.remedy("write the types themselves in its parameters"));
        }
        let constructor = if self.is("(") { self.parameters()? } else { Vec::new() };
        self.expect("{")?;
        self.in_parser = is_parser;
        if is_parser {
            return self.parser_body(signature, constructor, start);
        }
        self.control_body(signature, constructor, start)
    }

    fn parser_body(&mut self, signature: Signature, constructor: Vec<Parameter>, start: Span) -> Parsed<Declaration> {
        let mut locals = Vec::new();
        let mut states = Vec::new();
        while !self.is("}") && !self.is_end() {
            let from = self.at;
            let read = self.preamble().and_then(|preamble| {
                if self.is("state") {
                    states.push(self.state(preamble)?);
                } else {
                    let local = self.local(preamble, false)?;
                    if let Some(first) = states.first() {
                        let first: &State = first;
                        let diagnostic =
                            Diagnostic::new(self.behind(), "declarations of a parser come before its states");
                        return self.told(diagnostic.mark(first.name.span, "the first state"));
                    }
                    locals.push(local);
                }
                Ok(())
            });
            if read.is_err() {
                self.recover(from);
            }
        }
        self.expect("}")?;
        Ok(Declaration::Parser(Parser { signature, constructor, locals, states, span: self.since(start) }))
    }

    fn control_body(&mut self, signature: Signature, constructor: Vec<Parameter>, start: Span) -> Parsed<Declaration> {
        let mut locals = Vec::new();
        let mut body = None;
        while !self.is("}") && !self.is_end() {
            let from = self.at;
            let read = self.preamble().and_then(|preamble| {
                if self.is("apply") && self.ahead(1).is("{") {
                    let keyword = self.advance().span;
                    let block = self.block(preamble)?;
                    if body.is_some() {
                        return self.fail(keyword, "a control has one `apply`");
                    }
                    body = Some(block);
                    return Ok(());
                }
                let local = self.local(preamble, true)?;
                if body.is_some() {
                    let diagnostic =
                        Diagnostic::new(self.behind(), "declarations of a control come before its `apply`");
                    return self.told(diagnostic);
                }
                locals.push(local);
                Ok(())
            });
            if read.is_err() {
                self.recover(from);
            }
        }
        self.expect("}")?;
        let Some(body) = body else {
            let diagnostic = Diagnostic::new(signature.name.span, format!("control {} has no `apply`", signature.name));
            return self.told(diagnostic.remedy("write what it does in `apply { … }` behind its declarations"));
        };
        Ok(Declaration::Control(Control { signature, constructor, locals, body, span: self.since(start) }))
    }

    /// A declaration in a parser or a control.
    fn local(&mut self, preamble: Preamble, in_control: bool) -> Parsed<Local> {
        let token = self.token();
        match self.word() {
            "const" => return Ok(Local::Const(self.constant(preamble)?)),
            "action" if in_control => return Ok(Local::Action(self.action(preamble)?)),
            "table" if in_control => return Ok(Local::Table(self.table(preamble)?)),
            "action" | "table" => {
                let remedy = "parsers extract, verify and go to other states; declare it in the control";
                return self
                    .told(Diagnostic::new(token.span, format!("parsers have no {}s", token.text)).remedy(remedy));
            }
            "value_set" => return self.value_set(),
            "state" => return self.fail(token.span, "controls have no states"),
            "if" | "switch" | "return" | "exit" => {
                let remedy = if in_control { "write it in `apply { … }`" } else { "write it in a state" };
                return self
                    .told(Diagnostic::new(token.span, "statements do not stand among declarations").remedy(remedy));
            }
            _ => {}
        }
        let instance = self.behind_type(self.at).is_some_and(|behind| self.tokens[behind].is("("));
        if !instance && !self.is_declaration() {
            let wanted = if in_control { "a declaration or `apply`" } else { "a declaration or a state" };
            return self.unexpected(wanted);
        }
        if !instance {
            return Ok(Local::Var(self.variable(preamble)?));
        }
        let start = self.here();
        let ty = self.ty()?;
        let known = match &ty.kind {
            TypeKind::Named(path) => self.scopes.known(&path.name.text, path.global),
            _ => None,
        };
        if !in_control && known == Some(Known::Parser) {
            return self.refuse(ty.span, "parsers inside of parsers are", "write its states into this parser");
        }
        Ok(Local::Instance(self.instance(preamble, ty, start)?))
    }

    /// `(arguments) name;` behind the type of an instance.
    pub(super) fn instance(&mut self, preamble: Preamble, ty: TypeRef, start: Span) -> Parsed<Instance> {
        self.operators = 0;
        let arguments = self.arguments()?;
        let name = self.name("the instance's name")?;
        self.declare(&name, Known::Value);
        if self.eat("=") {
            // Its block, and not the `;` behind it, would look like the end of the declaration.
            let span = name.span.to(self.here());
            self.at = self.closing[self.at] + 1;
            let remedy = "declare the extern without abstract methods";
            return self.refuse(span, "instances with methods of their own are", remedy);
        }
        self.expect(";")?;
        Ok(Instance { preamble, ty, arguments, name, span: self.since(start) })
    }

    /// `action name(…) { … }`, which must be here.
    pub(super) fn action(&mut self, preamble: Preamble) -> Parsed<Action> {
        let start = self.expect("action")?;
        let name = self.name("the action's name")?;
        self.declare(&name, Known::Value);
        self.scopes.enter();
        let rest = self.parameters().and_then(|parameters| Ok((parameters, self.block(Preamble::default())?)));
        self.scopes.leave();
        let (parameters, body) = rest?;
        Ok(Action { preamble, name, parameters, body, span: self.since(start) })
    }

    /// `(…)` of a declaration, which must be here. The names are known in the scope that is open.
    pub(super) fn parameters(&mut self) -> Parsed<Vec<Parameter>> {
        self.expect("(")?;
        self.list(")", |reader| {
            let preamble = reader.preamble()?;
            let start = reader.here();
            let direction = match reader.word() {
                "in" => Direction::In,
                "out" => Direction::Out,
                "inout" => Direction::InOut,
                _ => Direction::None,
            };
            if direction != Direction::None {
                reader.advance();
            }
            let ty = reader.ty()?;
            let name = reader.name("the parameter's name")?;
            reader.declare(&name, Known::Value);
            reader.operators = 0;
            let default = if reader.eat("=") { Some(reader.expression()?) } else { None };
            Ok(Parameter { preamble, direction, ty, name, default, span: reader.since(start) })
        })
    }

    fn state(&mut self, preamble: Preamble) -> Parsed<State> {
        let start = self.expect("state")?;
        let name = self.name("the state's name")?;
        self.expect("{")?;
        self.scopes.enter();
        let body = self.statements(|reader| reader.is("transition"));
        let transition = self.is("transition").then(|| self.transition());
        self.scopes.leave();
        let transition = transition.transpose()?;
        if transition.is_some() && !self.is("}") {
            return self.fail(self.here(), "nothing follows a state's transition");
        }
        self.expect("}")?;
        Ok(State { preamble, name, body, transition, span: self.since(start) })
    }

    fn transition(&mut self) -> Parsed<Transition> {
        self.expect("transition")?;
        let start = self.here();
        if !self.eat("select") {
            let target = self.name("a state's name")?;
            self.expect(";")?;
            return Ok(Transition::To(target));
        }
        self.expect("(")?;
        self.operators = 0;
        let keys = self.list(")", Self::expression)?;
        self.expect("{")?;
        let mut cases = Vec::new();
        while !self.is("}") && !self.is_end() {
            let from = self.at;
            match self.select_case() {
                Ok(case) => cases.push(case),
                Err(_) => self.recover(from),
            }
        }
        self.expect("}")?;
        Ok(Transition::Select { keys, cases, span: self.since(start) })
    }

    fn select_case(&mut self) -> Parsed<SelectCase> {
        let start = self.here();
        let matches = self.matches()?;
        self.expect(":")?;
        let target = self.name("a state's name")?;
        self.expect(";")?;
        Ok(SelectCase { matches, target, span: self.since(start) })
    }

    pub(super) fn value_set<T>(&mut self) -> Parsed<T> {
        let remedy = "parse the header in any case, and look the value up in a table of the control";
        self.refuse(self.here(), "value sets are", remedy)
    }
}
