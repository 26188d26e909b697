//! What parsers and deparsers do with the packet (P4_16 1.2.4 §13.8, §16.1).

use super::constant::{cast, slice, truth};
use super::expression::Value;
use super::storage::Storage;
use super::types::{BITS_MAX, Bindings, Ty};
use super::{Lowering, Place};
use crate::ast::{self, Argument, TypeRef};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, Stmt};
use crate::source::Span;

impl<'a> Lowering<'a> {
    pub(super) fn packet_method(
        &mut self,
        packet: &Ty,
        member: &'a ast::Name,
        type_arguments: &'a [TypeRef],
        arguments: &'a [Argument],
        span: Span,
    ) -> Value {
        let Ty::Extern(object, _) = packet else { return Value::Wrong };
        let object = self.extern_objects[*object as usize];
        let methods: Vec<_> = object.methods.iter().filter(|it| it.name.text == member.text).collect();
        if methods.is_empty() {
            self.tell(Diagnostic::new(member.span, format!("`{}` has no method `{member}`", object.name)));
            return Value::Wrong;
        }
        if !methods.iter().any(|it| it.parameters.len() == arguments.len()) {
            let mut diagnostic =
                Diagnostic::new(span, format!("`{member}` does not take {} arguments", arguments.len()));
            if &*member.text == "extract" {
                diagnostic =
                    diagnostic.remedy("headers have a fixed length here: extract options as headers of their own");
            }
            self.tell(diagnostic);
            return Value::Wrong;
        }
        let wanted = if &*object.name.text == "packet_out" { Place::Deparser } else { Place::Parser };
        if self.place != wanted {
            let block = if wanted == Place::Parser { "parsers" } else { "deparsers" };
            self.tell(Diagnostic::new(span, format!("`{member}` is for {block} only")));
            return Value::Wrong;
        }
        match (&*member.text, arguments) {
            ("extract", [argument]) => {
                self.extract(&argument.value);
                Value::Void
            }
            ("emit", [argument]) => {
                self.emit(&argument.value);
                Value::Void
            }
            ("advance", [argument]) => {
                let value = self.expr(&argument.value);
                if let Value::Scalar { expr, .. } = self.coerce(value, &Ty::Bits(32), argument.value.span) {
                    self.code.push(Stmt::Advance(expr));
                }
                Value::Void
            }
            ("length", []) => {
                let expr = ir::Expr { kind: ir::ExprKind::Length, ty: ir::Type::Bits(32) };
                Value::Scalar { expr, ty: Ty::Bits(32) }
            }
            ("lookahead", []) => match type_arguments {
                [ty] => self.lookahead(ty, span),
                _ => {
                    self.tell(
                        Diagnostic::new(span, "`lookahead` needs the type to look at")
                            .remedy("write `packet.lookahead<bit<8>>()`"),
                    );
                    Value::Wrong
                }
            },
            _ => {
                self.tell(Diagnostic::new(member.span, format!("`{member}` is not supported")));
                Value::Wrong
            }
        }
    }

    fn extract(&mut self, argument: &'a ast::Expr) {
        match self.target(argument) {
            Storage::Header { header, .. } => self.code.push(Stmt::Extract(header)),
            Storage::Wrong => {}
            other => {
                let message = format!("only headers can be extracted, not {}", self.show(&other.ty()));
                self.tell(Diagnostic::new(argument.span, message).remedy("extract the headers in it one by one"));
            }
        }
    }

    fn emit(&mut self, argument: &'a ast::Expr) {
        match self.lookup_place(argument) {
            Some((storage, _)) => self.emit_storage(&storage, argument.span),
            None => {
                let known = self.diagnostics.len();
                self.expr(argument);
                if self.diagnostics.len() == known {
                    self.tell(
                        Diagnostic::new(argument.span, "only headers that are variables can be emitted")
                            .remedy("assign it to a header first"),
                    );
                }
            }
        }
    }

    fn emit_storage(&mut self, storage: &Storage, span: Span) {
        match storage {
            Storage::Header { header, .. } => self.code.push(Stmt::Emit(*header)),
            Storage::Struct { fields, .. } => fields.iter().for_each(|field| self.emit_storage(field, span)),
            Storage::Wrong => {}
            other => {
                let message = format!("only headers can be emitted, not {}", self.show(&other.ty()));
                self.tell(Diagnostic::new(span, message).remedy("put the bits into a header"));
            }
        }
    }

    fn lookahead(&mut self, written: &'a TypeRef, span: Span) -> Value {
        let ty = self.resolve(written, &Bindings::default());
        match self.size(&ty) {
            _ if ty == Ty::Unknown => Value::Wrong,
            Some(bits @ 1..) if bits <= u32::from(BITS_MAX) => {
                let bits = u8::try_from(bits).unwrap_or(BITS_MAX);
                let all = ir::Expr { kind: ir::ExprKind::Lookahead, ty: ir::Type::Bits(bits) };
                if let Some(representation) = self.representation(&ty) {
                    return Value::Scalar { expr: cast(all, representation), ty };
                }
                let Some((place, seen)) = self.result(&Ty::Bits(bits), "ahead", span) else { return Value::Wrong };
                self.code.push(Stmt::Assign { place, value: all });
                let Value::Scalar { expr, .. } = seen else { return Value::Wrong };
                let mut left = bits;
                self.parts(&ty, &expr, &mut left)
            }
            Some(bits) => {
                let message = format!("`lookahead` of {bits} bits: at most {BITS_MAX} can be looked at");
                self.tell(Diagnostic::new(span, message).remedy("look at the bits that decide, and extract the rest"));
                Value::Wrong
            }
            None => {
                let message = format!("`lookahead` of type {}, which has no size", self.show(&ty));
                self.tell(Diagnostic::new(span, message));
                Value::Wrong
            }
        }
    }

    /// A value cut out of the bits `left` and down of another.
    fn parts(&self, ty: &Ty, whole: &ir::Expr, left: &mut u8) -> Value {
        if let Some(representation) = self.representation(ty) {
            let hi = *left - 1;
            *left -= representation.bits();
            let expr = cast(slice(whole.clone(), hi, *left), representation);
            return Value::Scalar { expr, ty: ty.clone() };
        }
        let types: Vec<Ty> = match ty {
            Ty::Struct(index) | Ty::Header(index) => {
                self.composites[*index as usize].fields.iter().map(|(_, ty)| ty.clone()).collect()
            }
            Ty::Tuple(types) => types.clone(),
            _ => Vec::new(),
        };
        let fields = types.iter().map(|ty| self.parts(ty, whole, left)).collect();
        Value::Struct { ty: ty.clone(), fields, valid: truth(true) }
    }
}
