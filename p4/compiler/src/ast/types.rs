//! Types as they are written (P4_16 §7).

use super::{Expr, Path};
use crate::source::Span;

/// A type.
#[derive(Clone, Debug)]
pub struct TypeRef {
    /// Which.
    pub kind: TypeKind,
    /// Where it is written.
    pub span: Span,
}

/// A type.
#[derive(Clone, Debug)]
pub enum TypeKind {
    /// `bool`.
    Bool,
    /// `bit<N>`, N an expression; nothing for a plain `bit`, which is `bit<1>`.
    Bits(Option<Box<Expr>>),
    /// `int`, of numbers without a width: constants and arguments of constructors only.
    Int,
    /// `string`: constants and arguments of constructors only.
    String,
    /// `error`.
    Error,
    /// `match_kind`.
    MatchKind,
    /// `void`: what functions and methods of externs return.
    Void,
    /// A type by its name, or a type parameter.
    Named(Path),
    /// `Name<T, …>`.
    Specialised {
        /// The generic type.
        generic: Path,
        /// Its arguments.
        arguments: Vec<TypeRef>,
    },
    /// `tuple<T, …>`: arguments of externs only.
    Tuple(Vec<TypeRef>),
    /// `_`, a type argument that is to be inferred.
    Any,
}
