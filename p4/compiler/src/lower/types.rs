//! Types (P4_16 1.2.4 §7): what they are, and how their written form is resolved.

use std::rc::Rc;

use num_traits::ToPrimitive;

use super::Lowering;
use super::scope::Symbol;
use crate::ast::{self, TypeKind, TypeRef};
use crate::diagnostics::Diagnostic;
use crate::ir;
use crate::source::Span;

/// The widest value.
pub(super) const BITS_MAX: u8 = 128;
/// Bits that represent an error.
pub(super) const ERROR_BITS: u8 = 8;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ty {
    Bool,
    Bits(u8),
    /// Of numbers without a width.
    Int,
    String,
    Error,
    Void,
    /// By its place in the program's enums.
    Enum(u32),
    /// `type`, by its place in the list of them.
    New(u32),
    /// By its place in the list of composites.
    Struct(u32),
    /// By its place in the list of composites.
    Header(u32),
    Tuple(Vec<Ty>),
    /// An extern's instances, with the arguments of its type parameters.
    Extern(u32, Vec<Ty>),
    /// A type parameter that nothing is known of yet.
    Parameter(Rc<str>),
    /// Of what was told to be wrong; goes with everything.
    Unknown,
}

/// A struct or a header.
pub(super) struct Composite {
    pub(super) name: Rc<str>,
    pub(super) fields: Vec<(Rc<str>, Ty)>,
    /// Bits of all its fields, if they have a size.
    pub(super) bits: Option<u32>,
    pub(super) doc: Rc<str>,
    pub(super) span: Span,
}

/// A type declared by `type`.
pub(super) struct NewType {
    pub(super) name: Rc<str>,
    pub(super) of: Ty,
    /// `@p4runtime_translation` and the like, as written.
    pub(super) notes: ir::Notes,
}

/// Type parameters and what they stand for, as far as that is known.
#[derive(Clone, Default)]
pub(super) struct Bindings(Vec<(Rc<str>, Option<Ty>)>);

impl Bindings {
    /// Of these parameters nothing is known.
    pub(super) fn free(names: &[ast::Name]) -> Self {
        Self(names.iter().map(|name| (name.text.clone(), None)).collect())
    }

    /// These parameters stand for these types.
    pub(super) fn of(names: &[ast::Name], types: &[Ty]) -> Self {
        Self(names.iter().zip(types).map(|(name, ty)| (name.text.clone(), Some(ty.clone()))).collect())
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.splice(0..0, other.0);
    }

    pub(super) fn find(&self, name: &str) -> Option<&Option<Ty>> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, ty)| ty)
    }

    /// What is now known of a parameter.
    pub(super) fn bind(&mut self, name: &str, ty: Ty) {
        if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| &**known == name) {
            *known = Some(ty);
        }
    }
}

impl<'a> Lowering<'a> {
    /// The type that is written; told if there is none.
    pub(super) fn resolve(&mut self, written: &'a TypeRef, bindings: &Bindings) -> Ty {
        match &written.kind {
            TypeKind::Bool => Ty::Bool,
            TypeKind::Bits(None) => Ty::Bits(1),
            TypeKind::Bits(Some(width)) => self.width(width),
            TypeKind::Int => Ty::Int,
            TypeKind::String => Ty::String,
            TypeKind::Error => Ty::Error,
            TypeKind::Void => Ty::Void,
            TypeKind::MatchKind => {
                self.tell(Diagnostic::new(written.span, "there are no values of type match_kind"));
                Ty::Unknown
            }
            TypeKind::Tuple(parts) => Ty::Tuple(parts.iter().map(|part| self.resolve(part, bindings)).collect()),
            TypeKind::Any => Ty::Parameter(Rc::from("_")),
            TypeKind::Named(path) => {
                if !path.global
                    && let Some(known) = bindings.find(&path.name.text)
                {
                    return known.clone().unwrap_or_else(|| Ty::Parameter(path.name.text.clone()));
                }
                self.named(path, &[], bindings)
            }
            TypeKind::Specialised { generic, arguments } => self.named(generic, arguments, bindings),
        }
    }

    fn width(&mut self, width: &'a ast::Expr) -> Ty {
        let Some(bits) = self.constant_int(width, "the width of a type") else { return Ty::Unknown };
        match bits.to_u8() {
            Some(bits) if (1..=BITS_MAX).contains(&bits) => Ty::Bits(bits),
            _ => {
                self.tell(
                    Diagnostic::new(width.span, format!("bit<{bits}> is not a type here: widths are 1 to {BITS_MAX}"))
                        .remedy("split what is wider into several fields"),
                );
                Ty::Unknown
            }
        }
    }

    fn named(&mut self, path: &'a ast::Path, arguments: &'a [TypeRef], bindings: &Bindings) -> Ty {
        let symbol = self.lookup(path);
        let parameters = match &symbol {
            Symbol::ExternObject(index) => self.extern_objects[*index as usize].type_parameters.len(),
            _ => 0,
        };
        if parameters != arguments.len() && !matches!(symbol, Symbol::Wrong) {
            let message = format!("`{path}` takes {parameters} type arguments, not {}", arguments.len());
            self.tell(Diagnostic::new(path.span, message));
            return Ty::Unknown;
        }
        match symbol {
            Symbol::Type(ty) => ty,
            Symbol::ExternObject(index) => {
                Ty::Extern(index, arguments.iter().map(|argument| self.resolve(argument, bindings)).collect())
            }
            Symbol::Wrong => Ty::Unknown,
            other => {
                self.tell(Diagnostic::new(path.span, format!("`{path}` is {}, not a type", other.noun())));
                Ty::Unknown
            }
        }
    }

    /// What represents values of a type, if those are of bits.
    pub(super) fn representation(&self, ty: &Ty) -> Option<ir::Type> {
        match ty {
            Ty::Bool => Some(ir::Type::Bool),
            Ty::Bits(bits) => Some(ir::Type::Bits(*bits)),
            Ty::Error => Some(ir::Type::Bits(ERROR_BITS)),
            Ty::Enum(index) => Some(ir::Type::Bits(self.made.ir.enums[*index as usize].bits)),
            Ty::New(index) => self.representation(&self.new_types[*index as usize].of),
            _ => None,
        }
    }

    /// Bits of a value, headers and structs with all their fields; none for what has no size.
    pub(super) fn size(&self, ty: &Ty) -> Option<u32> {
        match ty {
            Ty::Struct(index) | Ty::Header(index) => self.composites[*index as usize].bits,
            Ty::Tuple(parts) => parts.iter().try_fold(0u32, |sum, ty| sum.checked_add(self.size(ty)?)),
            _ => self.representation(ty).map(|ty| u32::from(ty.bits())),
        }
    }

    /// A serializable enum's place in the list of enums, and the bits that represent it.
    pub(super) fn serializable(&self, ty: &Ty) -> Option<u8> {
        match ty {
            Ty::Enum(index) => {
                let declared = &self.made.ir.enums[*index as usize];
                declared.serializable.then_some(declared.bits)
            }
            _ => None,
        }
    }

    /// The enum that a type is, through `type`.
    pub(super) fn enum_of(&self, ty: &Ty) -> Option<u32> {
        match ty {
            Ty::Enum(index) => Some(*index),
            Ty::New(index) => self.enum_of(&self.new_types[*index as usize].of),
            _ => None,
        }
    }
}
