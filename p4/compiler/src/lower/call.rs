//! Calls (P4_16 1.2.4 §8.20): what is called, and by whom it is made.

use super::expression::Value;
use super::scope::Symbol;
use super::storage::Storage;
use super::types::{Bindings, Ty};
use super::{Lowering, Place};
use crate::ast::{self, Argument, ExprKind, TypeRef};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, Stmt};
use crate::source::Span;
use num_bigint::BigInt;

impl<'a> Lowering<'a> {
    /// A call, and the value that it gives.
    pub(super) fn call(
        &mut self,
        span: Span,
        callee: &'a ast::Expr,
        type_arguments: &'a [TypeRef],
        arguments: &'a [Argument],
    ) -> Value {
        match &callee.kind {
            ExprKind::Name(path) => match self.lookup(path) {
                Symbol::Action(index) => {
                    self.inline(index, arguments, span);
                    Value::Void
                }
                Symbol::Functions(functions) if &*path.name.text == "verify" && arguments.len() == 2 => {
                    let [condition, error] = arguments else { return Value::Wrong };
                    debug_assert!(!functions.is_empty());
                    self.verify(&condition.value, &error.value, span)
                }
                Symbol::Functions(functions) => {
                    self.extern_call(None, &path.name, &functions, Bindings::default(), type_arguments, arguments, span)
                }
                Symbol::Wrong => Value::Wrong,
                other => {
                    self.tell(Diagnostic::new(
                        callee.span,
                        format!("`{path}` is {} and cannot be called", other.noun()),
                    ));
                    Value::Wrong
                }
            },
            ExprKind::Member { of, member } => self.method(span, of, member, type_arguments, arguments),
            _ => {
                self.tell(Diagnostic::new(callee.span, "this cannot be called"));
                Value::Wrong
            }
        }
    }

    fn method(
        &mut self,
        span: Span,
        of: &'a ast::Expr,
        member: &'a ast::Name,
        type_arguments: &'a [TypeRef],
        arguments: &'a [Argument],
    ) -> Value {
        if let Some((storage, writable)) = self.lookup_place(of) {
            return match storage {
                Storage::Packet { ty } => self.packet_method(&ty, member, type_arguments, arguments, span),
                Storage::Wrong => Value::Wrong,
                storage => self.value_method(&storage, writable, member, arguments, span),
            };
        }
        let ExprKind::Name(path) = &of.kind else {
            self.tell(Diagnostic::new(of.span, "only instances, headers and packets have methods"));
            return Value::Wrong;
        };
        match self.lookup(path) {
            Symbol::Instance(id) => self.instance_method(id, member, type_arguments, arguments, span),
            Symbol::Table(_) => {
                let (message, remedy) = if &*member.text == "apply" {
                    let message = "a table can only be applied as a statement, or where its outcome decides";
                    (
                        message.to_owned(),
                        "write `t.apply();`, `if (t.apply().hit) { … }` or `switch (t.apply().action_run)`",
                    )
                } else {
                    (format!("a table has no method `{member}`"), "tables have `apply` only")
                };
                self.tell(Diagnostic::new(span, message).remedy(remedy));
                Value::Wrong
            }
            Symbol::Parser(_) | Symbol::Control(_) | Symbol::Main => {
                self.tell(
                    Diagnostic::new(span, "blocks cannot apply other blocks here")
                        .remedy("write its statements where it is applied, or make an action of them"),
                );
                Value::Wrong
            }
            Symbol::Wrong => Value::Wrong,
            other => {
                self.tell(Diagnostic::new(of.span, format!("`{path}` is {} and has no methods", other.noun())));
                Value::Wrong
            }
        }
    }

    /// Methods of headers (P4_16 1.2.4 §8.17), and the sizes that every value knows (§9).
    fn value_method(
        &mut self,
        storage: &Storage,
        writable: bool,
        member: &ast::Name,
        arguments: &[Argument],
        span: Span,
    ) -> Value {
        let ty = storage.ty();
        let name = &*member.text;
        let known = match (storage, name) {
            (_, "minSizeInBits" | "maxSizeInBits" | "minSizeInBytes" | "maxSizeInBytes") => true,
            (Storage::Header { .. }, name) => matches!(name, "isValid" | "setValid" | "setInvalid"),
            _ => false,
        };
        if !known {
            self.tell(Diagnostic::new(
                member.span,
                format!("a value of type {} has no method `{name}`", self.show(&ty)),
            ));
            return Value::Wrong;
        }
        if !arguments.is_empty() {
            self.tell(Diagnostic::new(span, format!("`{name}` takes no arguments")));
            return Value::Wrong;
        }
        match (storage, name) {
            (Storage::Header { header, .. }, "isValid") => {
                Value::Scalar { expr: super::constant::valid(*header), ty: Ty::Bool }
            }
            (Storage::Header { header, .. }, "setValid" | "setInvalid") => {
                if !writable {
                    self.tell(Diagnostic::new(span, "this header is an input and cannot be changed"));
                    return Value::Wrong;
                }
                self.code.push(Stmt::SetValid { header: *header, valid: name == "setValid" });
                Value::Void
            }
            _ => match self.size(&ty) {
                Some(bits) if name.ends_with("Bits") => Value::Int(BigInt::from(bits)),
                Some(bits) => Value::Int(BigInt::from(bits.div_ceil(8))),
                None => Value::Wrong,
            },
        }
    }

    fn verify(&mut self, condition: &'a ast::Expr, error: &'a ast::Expr, span: Span) -> Value {
        if self.place != Place::Parser {
            self.tell(
                Diagnostic::new(span, "`verify` is for parsers only (P4_16 §13.7)").remedy("use `if` and `exit`"),
            );
        }
        let condition = self.truth(condition);
        let value = self.expr(error);
        let value = self.coerce(value, &Ty::Error, error.span);
        let Value::Scalar { expr, .. } = value else { return Value::Void };
        match super::constant::value(&expr).and_then(|error| u32::try_from(error).ok()) {
            Some(_) if super::constant::value(&condition) == Some(1) => {}
            Some(error) => self.code.push(Stmt::Verify { condition, error }),
            None => self.tell(
                Diagnostic::new(error.span, "the error must be constant").remedy("write one `verify` for each error"),
            ),
        }
        Value::Void
    }

    /// The value of a call that gives one: a variable of its own.
    pub(super) fn result(&mut self, ty: &Ty, name: &str, span: Span) -> Option<(ir::Place, Value)> {
        let storage = self.temporary(ty, name, span);
        match &storage {
            Storage::Scalar { place, .. } => Some((*place, self.load(&storage))),
            Storage::Wrong => None,
            _ => {
                let message = format!("a call cannot give a value of type {}", self.show(ty));
                self.tell(Diagnostic::new(span, message).remedy("use `out` parameters"));
                None
            }
        }
    }
}
