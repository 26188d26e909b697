//! Declarations, in order: what each name stands for from then on.

use super::Lowering;
use super::scope::Symbol;
use super::types::{Bindings, Ty};
use crate::ast::{self, Declaration, Local};
use crate::diagnostics::Diagnostic;
use crate::ir;

impl<'a> Lowering<'a> {
    pub(super) fn declare_global(&mut self, declaration: &'a Declaration) {
        match declaration {
            Declaration::Const(it) => {
                self.constant_declaration(it);
                self.show_constant(it);
            }
            Declaration::Typedef(it) => self.typedef(it),
            Declaration::Header(it) => self.composite(it, true),
            Declaration::Struct(it) => self.composite(it, false),
            Declaration::Enum(it) => self.enum_declaration(it),
            Declaration::Error(it) => self.errors(it),
            Declaration::MatchKind(it) => self.match_kinds(it),
            Declaration::Extern(it) => {
                let index = u32::try_from(self.extern_objects.len()).expect("fewer externs than bytes");
                self.extern_objects.push(it);
                self.declare(&it.name, Symbol::ExternObject(index));
                self.overloads(it);
            }
            Declaration::Function(it) => self.declare(&it.name, Symbol::Functions(vec![it])),
            Declaration::Action(it) => self.declare_action(it),
            Declaration::Parser(it) => self.declare(&it.signature.name, Symbol::Parser(it)),
            Declaration::ParserType(it) | Declaration::ControlType(it) => {
                self.declare(&it.name, Symbol::Signature(it));
            }
            Declaration::Control(it) => self.declare(&it.signature.name, Symbol::Control(it)),
            Declaration::Package(it) => self.declare(&it.name, Symbol::Package(it)),
            Declaration::Instance(it) => {
                if self.is_package(it) {
                    self.declare(&it.name, Symbol::Main);
                } else {
                    self.instance(it);
                }
            }
        }
    }

    /// Methods of one name must differ in the number of their parameters (P4_16 1.2.4 §7.2.10).
    fn overloads(&mut self, object: &'a ast::ExternObject) {
        for (methods, what) in [(&object.constructors, "constructors"), (&object.methods, "methods")] {
            for (place, method) in methods.iter().enumerate() {
                let same = methods[..place].iter().find(|known| {
                    known.name.text == method.name.text && known.parameters.len() == method.parameters.len()
                });
                if let Some(first) = same {
                    let message = format!("two {what} `{}` take as many arguments", method.name);
                    self.tell(Diagnostic::new(method.name.span, message).mark(first.name.span, "the other one"));
                }
            }
        }
    }

    fn show_constant(&mut self, declared: &'a ast::Const) {
        if self.in_library(declared.span) {
            return;
        }
        let Some((Symbol::Const(super::expression::Value::Scalar { expr, .. }), _)) =
            self.globals.find(&declared.name.text)
        else {
            return;
        };
        let (ty, value) = (expr.ty, super::constant::value(expr).unwrap_or_default());
        let (name, doc) = (declared.name.text.to_string(), declared.preamble.doc.to_string());
        self.made.ir.constants.push(ir::Constant { name, ty, value, doc });
    }

    /// Declarations inside of a parser or a control; first values of variables become statements.
    pub(super) fn locals(&mut self, locals: &'a [Local]) {
        for local in locals {
            match local {
                Local::Const(it) => self.constant_declaration(it),
                Local::Var(it) => self.variable(it),
                Local::Instance(it) => self.instance(it),
                Local::Action(it) => self.declare_action(it),
                Local::Table(it) => self.declare_table(it),
            }
        }
    }

    /// Parameters of a parser or a control, with the storage that the architecture gives to them.
    pub(super) fn block_parameters(&mut self, parameters: &'a [ast::Parameter]) {
        for (place, parameter) in parameters.iter().enumerate() {
            let ty = self.resolve(&parameter.ty, &Bindings::default());
            let symbol = match &ty {
                Ty::Unknown => Symbol::Wrong,
                _ => {
                    let storage = self.parameter_storage(&ty, &parameters[..place], parameter);
                    let writable = matches!(parameter.direction, ast::Direction::Out | ast::Direction::InOut);
                    Symbol::Variable { storage, writable }
                }
            };
            self.declare(&parameter.name, symbol);
        }
    }
}
