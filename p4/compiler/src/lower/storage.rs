//! Where values are: structs and headers flattened to variables of bits.

use std::rc::Rc;

use super::constant::{truth, valid, var};
use super::expression::Value;
use super::types::Ty;
use super::{Lowering, VARS_MAX};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, HeaderId, Place, VarId, VarKind};
use crate::source::Span;

/// Where a value is.
#[derive(Clone, Debug)]
pub(super) enum Storage {
    /// One variable, or some of its bits.
    Scalar {
        place: Place,
        /// Of what is there; of a slice, its own.
        ty: Ty,
    },
    /// A struct's fields, or those of a tuple.
    Struct { ty: Ty, fields: Rc<[Storage]> },
    /// A header's.
    Header { ty: Ty, header: HeaderId, fields: Rc<[Storage]> },
    /// The packet that a parser reads or a deparser writes.
    Packet { ty: Ty },
    /// Something wrong that was told already.
    Wrong,
}

impl Storage {
    /// The type of what is there.
    pub(super) fn ty(&self) -> Ty {
        match self {
            Self::Scalar { ty, .. } | Self::Struct { ty, .. } | Self::Header { ty, .. } | Self::Packet { ty } => {
                ty.clone()
            }
            Self::Wrong => Ty::Unknown,
        }
    }

    /// Every variable of it.
    pub(super) fn vars(&self) -> Vec<VarId> {
        match self {
            Self::Scalar { place, .. } => vec![place.var],
            Self::Struct { fields, .. } | Self::Header { fields, .. } => fields.iter().flat_map(Self::vars).collect(),
            Self::Packet { .. } | Self::Wrong => Vec::new(),
        }
    }

    /// Every header of it.
    pub(super) fn headers(&self) -> Vec<HeaderId> {
        match self {
            Self::Header { header, .. } => vec![*header],
            Self::Struct { fields, .. } => fields.iter().flat_map(Self::headers).collect(),
            _ => Vec::new(),
        }
    }
}

impl Lowering<'_> {
    /// Makes storage for a value of a type, called `name`. A type without storage is told and gives [`Storage::Wrong`].
    pub(super) fn storage(&mut self, ty: &Ty, name: &str, kind: VarKind, span: Span) -> Storage {
        if let Some(representation) = self.representation(ty) {
            let var = self.var(name, representation, kind, self.enum_of(ty), span);
            return Storage::Scalar { place: Place { var, slice: None }, ty: ty.clone() };
        }
        if self.made.ir.vars.len() > VARS_MAX {
            self.tell(Diagnostic::new(span, format!("the program has more than {VARS_MAX} variables")));
            return Storage::Wrong;
        }
        match ty {
            Ty::Struct(index) => {
                let fields = self.composites[*index as usize].fields.clone();
                let storage = |(field, ty): &(Rc<str>, Ty)| self.storage(ty, &format!("{name}.{field}"), kind, span);
                Storage::Struct { ty: ty.clone(), fields: fields.iter().map(storage).collect() }
            }
            Ty::Tuple(parts) => {
                let parts: Vec<_> = parts.iter().enumerate().collect();
                let storage = |(place, ty): &(usize, &Ty)| self.storage(ty, &format!("{name}.{place}"), kind, span);
                Storage::Struct { ty: ty.clone(), fields: parts.iter().map(storage).collect() }
            }
            Ty::Header(index) => self.header(*index, name, span),
            Ty::Unknown => Storage::Wrong,
            _ => {
                let message = format!("there are no variables of type {}", self.show(ty));
                let remedy = if *ty == Ty::Int {
                    "give it a width: bit<32>"
                } else {
                    "use bits, bool, enums, structs or headers"
                };
                self.tell(Diagnostic::new(span, message).remedy(remedy));
                Storage::Wrong
            }
        }
    }

    fn header(&mut self, index: u32, name: &str, span: Span) -> Storage {
        let header = HeaderId(u32::try_from(self.made.ir.headers.len()).expect("fewer headers than variables"));
        let composite = &self.composites[index as usize];
        let (type_name, doc) = (composite.name.to_string(), composite.doc.to_string());
        let declared = composite.fields.clone();
        let name = self.unique(name);
        // Its place first: the fields' variables name it.
        self.made.ir.headers.push(ir::Header { name: name.clone(), type_name, fields: Vec::new(), bits: 0, doc });
        let (mut fields, mut storages, mut offset) = (Vec::new(), Vec::new(), 0u32);
        for (place, (field, ty)) in (0u32..).zip(&declared) {
            let kind = VarKind::Field { header, field: place };
            let storage = self.storage(ty, &format!("{name}.{field}"), kind, span);
            if let Storage::Scalar { place, .. } = &storage {
                let bits = self.made.ir.vars[place.var.index()].ty.bits();
                fields.push(ir::Field { name: field.to_string(), var: place.var, offset, bits });
                offset += u32::from(bits);
            }
            storages.push(storage);
        }
        let made = &mut self.made.ir.headers[header.index()];
        (made.fields, made.bits) = (fields, offset);
        Storage::Header { ty: Ty::Header(index), header, fields: storages.into() }
    }

    /// A variable. Its name is made unique, since emitters have all of them in one place; parameters keep theirs, which the
    /// control plane knows.
    pub(super) fn var(&mut self, name: &str, ty: ir::Type, kind: VarKind, of_enum: Option<u32>, span: Span) -> VarId {
        let name = match kind {
            VarKind::Parameter { .. } => {
                self.made.names.insert(name.to_owned());
                name.to_owned()
            }
            _ => self.unique(name),
        };
        if let Some(used) = of_enum {
            self.kept_enums.insert(used);
        }
        let id = VarId(u32::try_from(self.made.ir.vars.len()).expect("a number of variables that is bounded"));
        self.made.ir.vars.push(ir::Var { name, ty, kind, of_enum, span });
        id
    }

    fn unique(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        let mut number = 1u32;
        while !self.made.names.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        unique
    }

    /// A variable of the compiler's own.
    pub(super) fn temporary(&mut self, ty: &Ty, name: &str, span: Span) -> Storage {
        self.storage(ty, name, VarKind::Local, span)
    }

    /// What is there now.
    pub(super) fn load(&self, storage: &Storage) -> Value {
        match storage {
            Storage::Scalar { place, ty } => {
                let whole = var(place.var, self.made.ir.vars[place.var.index()].ty);
                let expr = match place.slice {
                    Some((hi, lo)) => super::constant::slice(whole, hi, lo),
                    None => whole,
                };
                Value::Scalar { expr, ty: ty.clone() }
            }
            Storage::Struct { ty, fields } => Value::Struct {
                ty: ty.clone(),
                fields: fields.iter().map(|field| self.load(field)).collect(),
                valid: truth(true),
            },
            Storage::Header { ty, header, fields } => Value::Struct {
                ty: ty.clone(),
                fields: fields.iter().map(|field| self.load(field)).collect(),
                valid: valid(*header),
            },
            Storage::Packet { .. } | Storage::Wrong => Value::Wrong,
        }
    }
}
