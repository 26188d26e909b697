//! Types (P4_16 §7), type arguments and type parameters.

use super::{Known, Parsed, Reader};
use crate::ast::{Name, TypeKind, TypeRef};
use crate::lexer::Kind;

impl Reader<'_> {
    /// A type, which must be here.
    pub(super) fn ty(&mut self) -> Parsed<TypeRef> {
        self.nested(Self::ty_here)
    }

    fn ty_here(&mut self) -> Parsed<TypeRef> {
        let start = self.here();
        let token = self.token();
        let word = self.word();
        let kind = match word {
            "bool" => self.plain(TypeKind::Bool),
            "string" => self.plain(TypeKind::String),
            "error" => self.plain(TypeKind::Error),
            "match_kind" => self.plain(TypeKind::MatchKind),
            "void" => self.plain(TypeKind::Void),
            "bit" => {
                self.advance();
                TypeKind::Bits(self.width()?)
            }
            "int" => {
                self.advance();
                if self.is("<") {
                    let remedy =
                        "write bit<N>: its arithmetic wraps, and only comparisons and >> tell signed from unsigned";
                    return self.refuse(start, "signed integers are", remedy);
                }
                TypeKind::Int
            }
            "varbit" => {
                let remedy =
                    "declare a header for each length that occurs and choose it in a `select`, or skip with `advance`";
                return self.refuse(start, "fields of variable length are", remedy);
            }
            "list" if self.ahead(1).is("<") => {
                let remedy = "write one instance, or one constant, for each element";
                return self.refuse(start, "lists as constructor arguments are", remedy);
            }
            "header_union" => return self.header_union(),
            "tuple" => {
                self.advance();
                TypeKind::Tuple(self.type_arguments()?)
            }
            _ => {
                if !self.is_name(token) && !token.is(".") {
                    return self.unexpected("a type");
                }
                let path = self.path("a type's name")?;
                if self.is("<") {
                    TypeKind::Specialised { generic: path, arguments: self.type_arguments()? }
                } else {
                    TypeKind::Named(path)
                }
            }
        };
        if self.is("[") {
            let whole = start.to(self.tokens[self.closing[self.at]].span);
            let remedy = "declare a header for each element: `vlan_outer`, `vlan_inner`";
            return self.refuse(whole, "header stacks are", remedy);
        }
        Ok(TypeRef { kind, span: self.since(start) })
    }

    fn plain(&mut self, kind: TypeKind) -> TypeKind {
        self.advance();
        kind
    }

    /// `<8>` or `<(expression)>`.
    fn width(&mut self) -> Parsed<Option<Box<crate::ast::Expr>>> {
        if !self.eat("<") {
            return Ok(None);
        }
        let token = self.token();
        if !matches!(token.kind, Kind::Number(_)) && !token.is("(") {
            let message = format!("a width is a number or stands in brackets, it is not {}", self.shown(token));
            let remedy = "write bit<8>, or bit<(WIDTH)> for a constant";
            return self.told(crate::diagnostics::Diagnostic::new(token.span, message).remedy(remedy));
        }
        let width = self.primary()?;
        self.expect(">")?;
        Ok(Some(Box::new(width)))
    }

    /// `<T, …>`, which must be here.
    pub(super) fn type_arguments(&mut self) -> Parsed<Vec<TypeRef>> {
        self.expect("<")?;
        self.list(">", |reader| {
            let start = reader.here();
            if reader.eat("_") { Ok(TypeRef { kind: TypeKind::Any, span: start }) } else { reader.ty() }
        })
    }

    /// `<T, …>` of a declaration, if it is here. The names are types in the scope that is open.
    pub(super) fn type_parameters(&mut self) -> Parsed<Vec<Name>> {
        if !self.eat("<") {
            return Ok(Vec::new());
        }
        self.list(">", |reader| {
            let name = reader.name("a type parameter")?;
            reader.declare(&name, Known::Type);
            Ok(name)
        })
    }

    pub(super) fn header_union<T>(&mut self) -> Parsed<T> {
        let remedy =
            "declare the headers as fields of a struct; at most one of them will be valid if the parser sees to it";
        self.refuse(self.here(), "header unions are", remedy)
    }
}
