//! Declarations of types: headers, structs, enums, errors, new types (P4_16 1.2.4 §7.2).

use std::rc::Rc;

use num_traits::ToPrimitive;

use super::Lowering;
use super::coerce::fits_unsigned;
use super::notes::notes;
use super::scope::Symbol;
use super::types::{BITS_MAX, Bindings, Composite, ERROR_BITS, NewType, Ty};
use crate::ast;
use crate::diagnostics::Diagnostic;
use crate::ir;

/// Bits of a header at most: more than any protocol has, and offsets stay far from their limits.
const HEADER_BITS_MAX: u32 = 1 << 16;

impl<'a> Lowering<'a> {
    pub(super) fn typedef(&mut self, declared: &'a ast::Typedef) {
        let of = self.resolve(&declared.ty, &Bindings::default());
        if !declared.distinct {
            self.declare(&declared.name, Symbol::Type(of));
            return;
        }
        if self.representation(&of).is_none() && of != Ty::Unknown {
            let message = format!("`type` makes new types of bits, bool and enums, not of {}", self.show(&of));
            self.tell(Diagnostic::new(declared.ty.span, message).remedy("use `typedef` for another name"));
            self.declare(&declared.name, Symbol::Wrong);
            return;
        }
        if of == Ty::Unknown {
            self.declare(&declared.name, Symbol::Wrong);
            return;
        }
        let notes = notes(&declared.preamble, &[]);
        let index = u32::try_from(self.new_types.len()).expect("fewer types than bytes");
        if let Some(ty) = self.representation(&of) {
            let name = declared.name.text.to_string();
            self.made.ir.new_types.push(ir::NewType { name, ty, notes: notes.clone() });
        }
        self.new_types.push(NewType { name: declared.name.text.clone(), of, notes });
        self.declare(&declared.name, Symbol::Type(Ty::New(index)));
    }

    pub(super) fn composite(&mut self, declared: &'a ast::Fields, header: bool) {
        if let Some(parameter) = declared.type_parameters.first() {
            self.tell(
                Diagnostic::new(parameter.span, "structs and headers take no type parameters here")
                    .remedy("declare one for each type that it is used with"),
            );
        }
        let bindings = Bindings::free(&declared.type_parameters);
        let mut fields: Vec<(Rc<str>, Ty)> = Vec::new();
        for field in &declared.fields {
            let ty = self.resolve(&field.ty, &bindings);
            if let Some(place) = fields.iter().position(|(name, _)| *name == field.name.text) {
                let first = declared.fields[place].name.span;
                let message = format!("field `{}` is declared twice", field.name);
                self.tell(Diagnostic::new(field.name.span, message).mark(first, "declared here"));
                continue;
            }
            let ty = self.field_type(ty, field, header);
            fields.push((field.name.text.clone(), ty));
        }
        let whole = !fields.iter().any(|(_, ty)| *ty == Ty::Unknown);
        let name = declared.name.text.clone();
        let index = u32::try_from(self.composites.len()).expect("fewer types than bytes");
        let ty = if header { Ty::Header(index) } else { Ty::Struct(index) };
        let doc = declared.preamble.doc.clone();
        let bits = fields.iter().try_fold(0u32, |sum, (_, ty)| sum.checked_add(self.size(ty)?));
        self.composites.push(Composite { name, fields, bits, doc, span: declared.name.span });
        if header && whole {
            self.header_size(declared, &ty);
        }
        self.controller_header(declared, index);
        self.declare(&declared.name, Symbol::Type(ty));
    }

    fn field_type(&mut self, ty: Ty, field: &ast::Field, header: bool) -> Ty {
        let (goes, remedy) = match &ty {
            Ty::Unknown => (true, ""),
            Ty::Struct(_) | Ty::Header(_) | Ty::Tuple(_) => (!header, "write its fields out in this header"),
            Ty::Enum(_) => (!header || self.serializable(&ty).is_some(), "declare it with its bits: `enum bit<8> …`"),
            Ty::Error => (!header, "headers have bits, bool and enums with a representation"),
            _ => (self.representation(&ty).is_some(), "give it a width: bit<32>"),
        };
        if goes {
            return ty;
        }
        let what = if header { "header" } else { "struct" };
        let message = format!("a {what} cannot have a field of type {}", self.show(&ty));
        self.tell(Diagnostic::new(field.ty.span, message).remedy(remedy));
        Ty::Unknown
    }

    fn header_size(&mut self, declared: &ast::Fields, ty: &Ty) {
        match self.size(ty) {
            Some(bits) if bits > HEADER_BITS_MAX => {
                let message = format!("header `{}` has more than {HEADER_BITS_MAX} bits", declared.name);
                self.tell(Diagnostic::new(declared.name.span, message).remedy("split it"));
            }
            Some(bits) if bits % 8 == 0 && bits > 0 => {}
            bits => {
                let bits = bits.unwrap_or(0);
                let message = format!("header `{}` has {bits} bits, which are no whole bytes", declared.name);
                self.tell(
                    Diagnostic::new(declared.name.span, message).remedy("add a reserved field for the bits that lack"),
                );
            }
        }
    }

    pub(super) fn enum_declaration(&mut self, declared: &'a ast::Enum) {
        let representation = declared.representation.as_ref().map(|written| {
            let ty = self.resolve(written, &Bindings::default());
            if !matches!(ty, Ty::Bits(_) | Ty::Unknown) {
                let message = format!("an enum is represented by bits, not by {}", self.show(&ty));
                self.tell(Diagnostic::new(written.span, message).remedy("write `enum bit<8> …`"));
            }
            ty
        });
        let bits = match representation {
            Some(Ty::Bits(bits)) => bits,
            Some(_) => BITS_MAX,
            None => bits_for(declared.members.len()),
        };
        let mut members: Vec<(String, u128)> = Vec::new();
        for (place, member) in declared.members.iter().enumerate() {
            if members.iter().any(|(name, _)| **name == *member.name.text) {
                let message = format!("`{}` has two members `{}`", declared.name, member.name);
                self.tell(Diagnostic::new(member.name.span, message));
                continue;
            }
            let value = match (&member.value, &representation) {
                (None, None) => place as u128,
                (Some(value), Some(_)) => self.member_value(value, bits).unwrap_or_default(),
                (None, Some(_)) => {
                    let message = format!("member `{}` has no value", member.name);
                    self.tell(
                        Diagnostic::new(member.name.span, message).remedy("give every member a value (P4_16 §7.2.1)"),
                    );
                    0
                }
                (Some(value), None) => {
                    self.tell(
                        Diagnostic::new(value.span, "only enums with a representation give values to their members")
                            .remedy(format!("write `enum bit<8> {}`", declared.name)),
                    );
                    0
                }
            };
            members.push((member.name.text.to_string(), value));
        }
        let index = u32::try_from(self.made.ir.enums.len()).expect("fewer enums than bytes");
        let (name, serializable) = (declared.name.text.to_string(), declared.representation.is_some());
        self.made.ir.enums.push(ir::Enum { name, bits, members, serializable });
        self.enum_spans.push(declared.name.span);
        if !self.in_library(declared.span) {
            self.kept_enums.insert(index);
        }
        self.declare(&declared.name, Symbol::Type(Ty::Enum(index)));
    }

    fn member_value(&mut self, value: &'a ast::Expr, bits: u8) -> Option<u128> {
        let number = self.constant_int(value, "the value of an enum's member")?;
        if !fits_unsigned(&number, bits) {
            self.tell(Diagnostic::new(value.span, format!("{number} does not fit bit<{bits}>")));
            return None;
        }
        number.to_u128()
    }

    pub(super) fn errors(&mut self, declared: &'a ast::Names) {
        for name in &declared.names {
            let known = &mut self.made.ir.errors;
            if known.iter().any(|error| **error == *name.text) {
                self.tell(Diagnostic::new(name.span, format!("error `{name}` is declared twice")));
            } else if known.len() == 1 << ERROR_BITS {
                self.tell(Diagnostic::new(name.span, "the program has more than 256 errors"));
            } else {
                known.push(name.text.to_string());
            }
        }
    }

    pub(super) fn match_kinds(&mut self, declared: &'a ast::Names) {
        for name in &declared.names {
            if self.match_kinds.contains(&name.text) {
                self.tell(Diagnostic::new(name.span, format!("match kind `{name}` is declared twice")));
            } else {
                self.match_kinds.push(name.text.clone());
            }
        }
    }

    /// A header that `@controller_header` says is of packets from or to the control plane (P4Runtime 1.5.0 §6.4.6).
    fn controller_header(&mut self, declared: &'a ast::Fields, index: u32) {
        let Some(annotation) = declared.preamble.annotation("controller_header") else { return };
        let Some(name) = annotation.string() else {
            self.tell(
                Diagnostic::new(annotation.span, "this annotation takes a string")
                    .remedy("write `@controller_header(\"packet_in\")` or `(\"packet_out\")`"),
            );
            return;
        };
        let name = name.to_owned();
        let mut fields = Vec::new();
        for (field, ty) in &self.composites[index as usize].fields {
            let bits = self.representation(ty).map_or(0, ir::Type::bits);
            fields.push((field.to_string(), bits));
        }
        let id = self.explicit_id(&declared.preamble, super::identifier::CONTROLLER_HEADER);
        self.made.ir.controller_headers.push(ir::ControllerHeader { name, id, fields });
    }
}

/// Bits that tell so many members apart.
fn bits_for(members: usize) -> u8 {
    let bits = usize::BITS - members.saturating_sub(1).leading_zeros();
    u8::try_from(bits.max(1)).expect("at most 64")
}
