//! The syntax tree: a program as it is written, every node with its place in the text.
//!
//! It covers the subset of P4_16 1.2.4 that Gantry takes (appendix G has the whole grammar). The parser makes it, `lower` reads it.
//! Names are unresolved, types unchecked and constants unfolded. Trees are of bounded height, so walking one may recurse.

mod annotation;
mod declaration;
mod expression;
mod statement;
mod types;

pub use annotation::{Annotation, AnnotationBody, Preamble};
pub use declaration::{
    Action, ActionRef, Block, Const, Control, Declaration, DefaultAction, Direction, Entries, Entry, Enum,
    ExternFunction, ExternObject, Field, Fields, Instance, KeyElement, Local, Member, Method, Names, Package,
    Parameter, Parser, Property, Signature, State, Table, Typedef,
};
pub use expression::{Argument, BinaryOp, Expr, ExprKind, Number, UnaryOp};
pub use statement::{Label, SelectCase, Statement, StatementKind, SwitchCase, Transition, Var};
pub use types::{TypeKind, TypeRef};

use std::fmt;
use std::rc::Rc;

use crate::source::Span;

/// A program: its declarations in order, those of included files where they were included.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The declarations.
    pub declarations: Vec<Declaration>,
}

/// An identifier.
#[derive(Clone, Debug)]
pub struct Name {
    /// As it is written.
    pub text: Rc<str>,
    /// Where.
    pub span: Span,
}

/// A reference to something by its name: `x`, or `.x` for what the outermost scope calls `x` (P4_16 §6.9).
#[derive(Clone, Debug)]
pub struct Path {
    /// It is written with a leading dot.
    pub global: bool,
    /// The name.
    pub name: Name,
    /// Where, with the dot.
    pub span: Span,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.global { "." } else { "" }, self.name)
    }
}
