//! Declarations of a program (P4_16 §7.2 types, §7.2.11 externs, §17 packages).

use super::{Known, Parsed, Reader};
use crate::ast::{
    Declaration, Enum, ExternObject, Field, Fields, Member, Method, Names, Package, Preamble, Program, TypeKind,
    TypeRef, Typedef,
};
use crate::diagnostics::Diagnostic;
use crate::lexer::Kind;

impl Reader<'_> {
    pub(super) fn program(&mut self) -> Program {
        let mut program = Program::default();
        while !self.is_end() {
            if self.eat(";") {
                continue;
            }
            let start = self.at;
            match self.declaration() {
                Ok(declaration) => program.declarations.push(declaration),
                Err(_) => self.recover(start),
            }
        }
        program
    }

    fn declaration(&mut self) -> Parsed<Declaration> {
        let preamble = self.preamble()?;
        let token = self.token();
        let word = self.word();
        match word {
            "const" => Ok(Declaration::Const(self.constant(preamble)?)),
            "typedef" => Ok(Declaration::Typedef(self.typedef(preamble)?)),
            "type" if !self.ahead(1).is("(") => Ok(Declaration::Typedef(self.typedef(preamble)?)),
            "header" => Ok(Declaration::Header(self.fields(preamble)?)),
            "struct" => Ok(Declaration::Struct(self.fields(preamble)?)),
            "header_union" => self.header_union(),
            "enum" => Ok(Declaration::Enum(self.enumeration(preamble)?)),
            "error" => Ok(Declaration::Error(self.names(preamble)?)),
            "match_kind" => Ok(Declaration::MatchKind(self.names(preamble)?)),
            "extern" => self.external(preamble),
            "action" => Ok(Declaration::Action(self.action(preamble)?)),
            "parser" | "control" => self.parser_or_control(preamble),
            "package" => Ok(Declaration::Package(self.package(preamble)?)),
            "value_set" => self.value_set(),
            "table" | "state" => {
                let home = if word == "table" { "controls" } else { "parsers" };
                self.fail(token.span, format!("a {word} is declared in {home} only"))
            }
            _ => self.instance_or_other(preamble),
        }
    }

    /// What starts with a type: an instance, or what is none.
    fn instance_or_other(&mut self, preamble: Preamble) -> Parsed<Declaration> {
        let start = self.here();
        let Some(behind) = self.behind_type(self.at) else { return self.unexpected("a declaration") };
        if self.tokens[behind].is("(") {
            let ty = self.ty()?;
            return Ok(Declaration::Instance(self.instance(preamble, ty, start)?));
        }
        if !self.is_name(&self.tokens[behind]) {
            return self.unexpected("a declaration");
        }
        let whole = start.to(self.tokens[behind].span);
        if self.tokens[behind + 1].is("(") || self.tokens[behind + 1].is("<") {
            let remedy = "write an action with `out` parameters in the control that needs it";
            return self.refuse(whole, "functions are", remedy);
        }
        let remedy = "declare it in the parser or control that uses it, or make it a `const`";
        self.told(Diagnostic::new(whole, "there are no variables outside of parsers and controls").remedy(remedy))
    }

    /// `typedef T name;` or `type T name;`.
    fn typedef(&mut self, preamble: Preamble) -> Parsed<Typedef> {
        let start = self.here();
        let distinct = self.advance().is("type");
        let ty = self.ty()?;
        let name = self.name("the type's name")?;
        self.declare(&name, Known::Type);
        self.expect(";")?;
        Ok(Typedef { preamble, distinct, ty, name, span: self.since(start) })
    }

    /// `header name { … }` or `struct name { … }`.
    fn fields(&mut self, preamble: Preamble) -> Parsed<Fields> {
        let start = self.here();
        let is_header = self.advance().is("header");
        let name = self.name(if is_header { "the header's name" } else { "the struct's name" })?;
        self.declare(&name, Known::Type);
        self.scopes.enter();
        let type_parameters = self.type_parameters();
        let fields = type_parameters.and_then(|type_parameters| {
            self.expect("{")?;
            let mut fields = Vec::new();
            while !self.is("}") && !self.is_end() {
                let from = self.at;
                match self.field() {
                    Ok(field) => fields.push(field),
                    Err(_) => self.recover(from),
                }
            }
            self.expect("}")?;
            Ok((type_parameters, fields))
        });
        self.scopes.leave();
        let (type_parameters, fields) = fields?;
        Ok(Fields { preamble, name, type_parameters, fields, span: self.since(start) })
    }

    fn field(&mut self) -> Parsed<Field> {
        let preamble = self.preamble()?;
        let ty = self.ty()?;
        let name = self.name("the field's name")?;
        self.expect(";")?;
        Ok(Field { preamble, ty, name })
    }

    /// `enum name { A, B }` or `enum bit<8> name { A = 1, B = 2 }`.
    fn enumeration(&mut self, preamble: Preamble) -> Parsed<Enum> {
        let start = self.expect("enum")?;
        let plain = self.is_name(self.token()) && self.ahead(1).is("{");
        let representation = if plain { None } else { Some(self.ty()?) };
        let name = self.name("the enum's name")?;
        self.declare(&name, Known::Type);
        self.expect("{")?;
        let members = self.list("}", |reader| {
            let preamble = reader.preamble()?;
            let name = reader.name("a member's name")?;
            let value = if reader.eat("=") { Some(reader.whole_expression()?) } else { None };
            let (message, remedy) = match (&representation, &value) {
                (None, Some(_)) => {
                    ("members of an enum without a type have no values", "write `enum bit<8> name { … }`")
                }
                (Some(_), None) => ("each member of a serializable enum has a value", "write `name = value`"),
                _ => return Ok(Member { preamble, name, value }),
            };
            reader.mention(Diagnostic::new(name.span, message).remedy(remedy));
            Ok(Member { preamble, name, value })
        })?;
        if members.is_empty() {
            self.mention(Diagnostic::new(name.span, "an enum has at least one member"));
        }
        Ok(Enum { preamble, name, representation, members, span: self.since(start) })
    }

    /// `error { A, B }` or `match_kind { a, b }`.
    fn names(&mut self, preamble: Preamble) -> Parsed<Names> {
        let start = self.here();
        self.advance();
        self.expect("{")?;
        let names = self.list("}", |reader| reader.name("a name"))?;
        Ok(Names { preamble, names, span: self.since(start) })
    }

    /// `extern name { … }` or `extern T name(…);`.
    fn external(&mut self, preamble: Preamble) -> Parsed<Declaration> {
        let start = self.expect("extern")?;
        let is_object = self.behind_type(self.at).is_some_and(|behind| self.tokens[behind].is("{"));
        self.scopes.enter();
        let declared =
            if is_object { self.extern_object(preamble, start) } else { self.extern_function(preamble, start) };
        self.scopes.leave();
        let declared = declared?;
        if let Some(name) = declared.name() {
            self.declare(name, if is_object { Known::Type } else { Known::Value });
        }
        Ok(declared)
    }

    fn extern_function(&mut self, preamble: Preamble, start: crate::source::Span) -> Parsed<Declaration> {
        let returns = self.ty()?;
        let mut function = self.method(preamble, returns)?;
        function.span = self.since(start);
        Ok(Declaration::Function(function))
    }

    fn extern_object(&mut self, preamble: Preamble, start: crate::source::Span) -> Parsed<Declaration> {
        let name = self.name("the extern's name")?;
        self.declare(&name, Known::Type);
        let type_parameters = self.type_parameters()?;
        self.expect("{")?;
        let mut object = ExternObject {
            preamble,
            name,
            type_parameters,
            constructors: Vec::new(),
            methods: Vec::new(),
            span: start,
        };
        while !self.is("}") && !self.is_end() {
            let from = self.at;
            self.scopes.enter();
            let read = self.extern_member(&mut object);
            self.scopes.leave();
            if read.is_err() {
                self.recover(from);
            }
        }
        self.expect("}")?;
        object.span = self.since(start);
        Ok(Declaration::Extern(object))
    }

    fn extern_member(&mut self, object: &mut ExternObject) -> Parsed<()> {
        let preamble = self.preamble()?;
        let token = self.token();
        if token.is("abstract") {
            return self.refuse(
                token.span,
                "abstract methods are",
                "give the extern a method, or arguments of its constructor",
            );
        }
        if token.kind == Kind::Word && token.text == object.name.text && self.ahead(1).is("(") {
            let returns = TypeRef { kind: TypeKind::Void, span: token.span };
            object.constructors.push(self.method(preamble, returns)?);
            return Ok(());
        }
        let returns = self.ty()?;
        object.methods.push(self.method(preamble, returns)?);
        Ok(())
    }

    /// `name<T>(…);` behind the type of what it returns.
    fn method(&mut self, preamble: Preamble, returns: TypeRef) -> Parsed<Method> {
        let name = self.name("the function's name")?;
        let type_parameters = self.type_parameters()?;
        let parameters = self.parameters()?;
        self.expect(";")?;
        let span = self.since(returns.span);
        Ok(Method { preamble, returns, name, type_parameters, parameters, span })
    }

    /// `package name<T>(…);`.
    fn package(&mut self, preamble: Preamble) -> Parsed<Package> {
        let start = self.expect("package")?;
        let name = self.name("the package's name")?;
        self.declare(&name, Known::Type);
        self.scopes.enter();
        let rest = self.type_parameters().and_then(|types| Ok((types, self.parameters()?)));
        self.scopes.leave();
        let (type_parameters, parameters) = rest?;
        self.expect(";")?;
        Ok(Package { preamble, name, type_parameters, parameters, span: self.since(start) })
    }
}
