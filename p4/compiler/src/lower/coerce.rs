//! Casts (P4_16 1.2.4 §8, casts): those that are made where a type is expected, and those that are written.

use num_bigint::BigInt;
use num_traits::{One, ToPrimitive};

use super::Lowering;
use super::constant::{self, constant, truth};
use super::expression::Value;
use super::types::Ty;
use crate::diagnostics::Diagnostic;
use crate::ir;
use crate::source::Span;

/// The low bits of a number, a negative one in two's complement.
fn low_bits(value: &BigInt, ty: ir::Type) -> u128 {
    (value & BigInt::from(ty.mask())).to_u128().expect("a masked number is not negative and fits")
}

/// Whether a number can be written with so many bits, a negative one in two's complement.
fn fits(value: &BigInt, bits: u8) -> bool {
    let limit = BigInt::one() << bits;
    *value < limit && *value >= -(limit >> 1u8)
}

/// Whether a number can be written with so many bits and is not negative.
pub(super) fn fits_unsigned(value: &BigInt, bits: u8) -> bool {
    *value >= BigInt::ZERO && fits(value, bits)
}

impl Lowering<'_> {
    /// A value where a type is expected: the same, or cast as far as that needs not be written.
    pub(super) fn coerce(&mut self, value: Value, ty: &Ty, span: Span) -> Value {
        match (value, ty) {
            (Value::Wrong, _) | (_, Ty::Unknown) => Value::Wrong,
            (value @ Value::Int(_), Ty::Int) | (value @ Value::String, Ty::String) => value,
            (Value::Int(value), Ty::Bits(bits)) => {
                if !fits(&value, *bits) {
                    let message = format!("{value} does not fit bit<{bits}>");
                    self.tell(
                        Diagnostic::new(span, message)
                            .remedy(format!("to keep its low bits only, say so: `(bit<{bits}>){value}`")),
                    );
                    return Value::Wrong;
                }
                let of = ir::Type::Bits(*bits);
                Value::Scalar { expr: constant(low_bits(&value, of), of), ty: ty.clone() }
            }
            (Value::Scalar { expr, ty: is }, _) if is == *ty => Value::Scalar { expr, ty: is },
            (Value::Scalar { expr, ty: is }, Ty::Bits(bits)) if self.serializable(&is) == Some(*bits) => {
                Value::Scalar { expr, ty: ty.clone() }
            }
            (value @ Value::Struct { .. }, _) if self.type_of(&value).as_ref() == Some(ty) => value,
            (Value::List(parts), Ty::Struct(_) | Ty::Header(_) | Ty::Tuple(_)) => self.coerce_list(parts, ty, span),
            (Value::Record(parts), Ty::Struct(_) | Ty::Header(_)) => self.coerce_record(parts, ty, span),
            (value, _) => {
                self.mismatch(&value, ty, span);
                Value::Wrong
            }
        }
    }

    fn coerce_list(&mut self, parts: Vec<(Value, Span)>, ty: &Ty, span: Span) -> Value {
        let types: Vec<Ty> = match ty {
            Ty::Struct(index) | Ty::Header(index) => {
                self.composites[*index as usize].fields.iter().map(|(_, ty)| ty.clone()).collect()
            }
            Ty::Tuple(types) => types.clone(),
            _ => unreachable!("asked for composites only"),
        };
        if types.len() != parts.len() {
            let message = format!("{} has {} fields, the list {}", self.show(ty), types.len(), parts.len());
            self.tell(Diagnostic::new(span, message));
            return Value::Wrong;
        }
        let fields = parts.into_iter().zip(&types).map(|((part, span), ty)| self.coerce(part, ty, span)).collect();
        Value::Struct { ty: ty.clone(), fields, valid: truth(true) }
    }

    fn coerce_record(&mut self, mut parts: Vec<(crate::ast::Name, Value)>, ty: &Ty, span: Span) -> Value {
        let (Ty::Struct(index) | Ty::Header(index)) = ty else { unreachable!("asked for composites only") };
        let declared = self.composites[*index as usize].fields.clone();
        let mut fields = Vec::new();
        for (name, ty) in &declared {
            match parts.iter().position(|(known, _)| known.text == *name) {
                Some(place) => {
                    let (known, value) = parts.remove(place);
                    fields.push(self.coerce(value, ty, known.span));
                }
                None => {
                    self.tell(
                        Diagnostic::new(span, format!("field `{name}` has no value")).remedy("write all fields out"),
                    );
                    fields.push(Value::Wrong);
                }
            }
        }
        for (name, _) in parts {
            if declared.iter().any(|(known, _)| *known == name.text) {
                self.tell(Diagnostic::new(name.span, format!("field `{name}` has two values")));
            } else {
                self.tell(Diagnostic::new(name.span, format!("{} has no field `{name}`", self.show(ty))));
            }
        }
        Value::Struct { ty: ty.clone(), fields, valid: truth(true) }
    }

    fn mismatch(&mut self, value: &Value, ty: &Ty, span: Span) {
        let (is, wanted) = (self.describe(value), self.show(ty));
        let mut diagnostic = Diagnostic::new(span, format!("this is {is} where {wanted} is expected"));
        let castable = match (value, ty) {
            (Value::Int(_), Ty::Enum(_)) => self.serializable(ty).is_some(),
            (Value::Int(_), Ty::New(_)) | (Value::Scalar { ty: Ty::Bits(_), .. }, Ty::Bits(_)) => true,
            (Value::Scalar { ty: is, .. }, _) => {
                let under = |lowering: &Self, ty: &Ty| match ty {
                    Ty::New(index) => Some(lowering.new_types[*index as usize].of.clone()),
                    Ty::Enum(_) => lowering.serializable(ty).map(Ty::Bits),
                    _ => None,
                };
                let bool_and_bit = matches!((is, ty), (Ty::Bool, Ty::Bits(1)) | (Ty::Bits(1), Ty::Bool));
                bool_and_bit || under(self, is).as_ref() == Some(ty) || under(self, ty).as_ref() == Some(is)
            }
            _ => false,
        };
        if castable {
            diagnostic = diagnostic.remedy(format!("cast it: `({wanted})…`"));
        } else if matches!((value, ty), (_, Ty::Bool)) {
            diagnostic = diagnostic.remedy("compare it with something: `x != 0`");
        } else if let (Value::Scalar { ty: Ty::Bool, .. }, Ty::Bits(_)) = (value, ty) {
            diagnostic = diagnostic.remedy(format!("choose: `x ? {} : 0`", format_args!("({wanted})1")));
        } else if let (Value::Scalar { ty: Ty::New(_), .. }, Ty::Bits(_)) = (value, ty) {
            diagnostic = diagnostic.remedy(format!("cast it to what it is made of first, then to {wanted}"));
        }
        self.tell(diagnostic);
    }

    /// A cast that is written.
    pub(super) fn cast(&mut self, value: Value, ty: &Ty, span: Span) -> Value {
        match (value, ty) {
            (Value::Wrong, _) | (_, Ty::Unknown) => Value::Wrong,
            (Value::Int(value), Ty::Bits(bits)) => {
                let of = ir::Type::Bits(*bits);
                Value::Scalar { expr: constant(low_bits(&value, of), of), ty: ty.clone() }
            }
            (Value::Int(value), Ty::Bool) if value == BigInt::ZERO || value == BigInt::one() => {
                Value::truth(value == BigInt::one())
            }
            (Value::Scalar { expr, ty: Ty::Bits(_) }, Ty::Int) if constant::value(&expr).is_some() => {
                Value::Int(BigInt::from(constant::value(&expr).unwrap_or_default()))
            }
            (value @ (Value::Int(_) | Value::Scalar { ty: Ty::Bits(_), .. }), Ty::Enum(_))
                if self.serializable(ty).is_some() =>
            {
                let bits = self.serializable(ty).map(Ty::Bits).unwrap_or(Ty::Unknown);
                match self.coerce(value, &bits, span) {
                    Value::Scalar { expr, .. } => {
                        self.kept_enums.extend(self.enum_of(ty));
                        Value::Scalar { expr, ty: ty.clone() }
                    }
                    _ => Value::Wrong,
                }
            }
            (Value::Scalar { expr, ty: is }, _) if is == *ty => Value::Scalar { expr, ty: is },
            (value @ (Value::Int(_) | Value::Scalar { .. }), Ty::New(index)) => {
                let of = self.new_types[*index as usize].of.clone();
                match self.coerce(value, &of, span) {
                    Value::Scalar { expr, .. } => Value::Scalar { expr, ty: ty.clone() },
                    _ => Value::Wrong,
                }
            }
            (Value::Scalar { expr, ty: Ty::New(index) }, _) if self.new_types[index as usize].of == *ty => {
                Value::Scalar { expr, ty: ty.clone() }
            }
            (Value::Scalar { expr, ty: Ty::Bool }, Ty::Bits(1)) => {
                Value::Scalar { expr: constant::cast(expr, ir::Type::Bits(1)), ty: ty.clone() }
            }
            (Value::Scalar { expr, ty: Ty::Bits(1) }, Ty::Bool) => {
                Value::Scalar { expr: constant::cast(expr, ir::Type::Bool), ty: ty.clone() }
            }
            (Value::Scalar { expr, ty: is }, Ty::Bits(bits))
                if matches!(is, Ty::Bits(_)) || self.serializable(&is).is_some() =>
            {
                Value::Scalar { expr: constant::cast(expr, ir::Type::Bits(*bits)), ty: ty.clone() }
            }
            (value, _) => self.coerce(value, ty, span),
        }
    }

    /// Bits instead of a serializable enum, which stands for them everywhere (P4_16 1.2.4 §8.3).
    pub(super) fn underlying(&self, value: Value) -> Value {
        match value {
            Value::Scalar { expr, ty } => {
                let ty = self.serializable(&ty).map_or(ty, Ty::Bits);
                Value::Scalar { expr, ty }
            }
            other => other,
        }
    }

    /// Two values as values of one type; told if they cannot be.
    pub(super) fn same_type(&mut self, left: Value, right: Value, span: Span) -> Option<(Value, Value, Ty)> {
        let (left, right) = match (left, right) {
            (Value::Wrong, _) | (_, Value::Wrong) => return None,
            (left @ Value::Int(_), right @ Value::Int(_)) => return Some((left, right, Ty::Int)),
            (left @ Value::Int(_), right @ Value::Scalar { .. }) => (left, self.underlying(right)),
            (left @ Value::Scalar { .. }, right @ Value::Int(_)) => (self.underlying(left), right),
            (left @ Value::Scalar { .. }, right @ Value::Scalar { .. })
                if self.type_of(&left) != self.type_of(&right) =>
            {
                (self.underlying(left), self.underlying(right))
            }
            (left, right) => (left, right),
        };
        let ty = self.type_of(&left).or_else(|| self.type_of(&right));
        match ty {
            Some(ty) => {
                let (left, right) = (self.coerce(left, &ty, span), self.coerce(right, &ty, span));
                (!matches!(left, Value::Wrong) && !matches!(right, Value::Wrong)).then_some((left, right, ty))
            }
            None => {
                let message = format!("{} and {} do not go together", self.describe(&left), self.describe(&right));
                self.tell(Diagnostic::new(span, message));
                None
            }
        }
    }

    /// The type of a value that has one of its own.
    pub(super) fn type_of(&self, value: &Value) -> Option<Ty> {
        match value {
            Value::Scalar { ty, .. } | Value::Struct { ty, .. } => Some(ty.clone()),
            Value::String => Some(Ty::String),
            _ => None,
        }
    }

    /// A value's type for messages.
    pub(super) fn describe(&self, value: &Value) -> String {
        match value {
            Value::Scalar { ty, .. } | Value::Struct { ty, .. } => self.show(ty),
            Value::Int(_) => "a number without a width".to_owned(),
            Value::String => "string".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Record(_) => "a list of fields".to_owned(),
            Value::Void => "nothing".to_owned(),
            Value::Wrong => "unknown".to_owned(),
        }
    }
}
