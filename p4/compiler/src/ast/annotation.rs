//! What stands before a declaration: annotations (P4_16, Annotations) and comments.

use std::rc::Rc;

use super::{Expr, ExprKind, Name};
use crate::source::Span;

/// What stands before a declaration.
#[derive(Clone, Debug, Default)]
pub struct Preamble {
    /// Its annotations, in order.
    pub annotations: Vec<Annotation>,
    /// The block of comments directly before it, without the comment signs; lines are joined by `\n`. Empty if there is none.
    pub doc: Rc<str>,
}

/// An annotation: `@name`, `@name(…)` or `@name[…]`.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// Its name, without the `@`.
    pub name: Name,
    /// What is in its brackets.
    pub body: AnnotationBody,
    /// All of it as it is written, one space where there was space: `@p4runtime_translation("", 32)`.
    pub text: Rc<str>,
    /// Where, from the `@` to the closing bracket.
    pub span: Span,
}

/// What is in an annotation's brackets.
#[derive(Clone, Debug)]
pub enum AnnotationBody {
    /// There are none, or nothing is in them.
    Empty,
    /// Expressions: of `@x[1, 2]`, and of `@x(1, 2)` if its tokens can be read so.
    Expressions(Vec<Expr>),
    /// Pairs: of `@x[a = 1]`, and of `@x(a = 1)` if its tokens can be read so.
    Pairs(Vec<(Name, Expr)>),
    /// Tokens of `(…)` that are neither; [`Annotation::text`] has them.
    Tokens,
}

impl Preamble {
    /// The annotation of that name; the last if there are several.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&Annotation> {
        self.annotations.iter().rev().find(|annotation| &*annotation.name.text == name)
    }
}

impl Annotation {
    /// The string of `@x("string")`.
    #[must_use]
    pub fn string(&self) -> Option<&str> {
        match self.expressions() {
            [Expr { kind: ExprKind::String(text), .. }] => Some(text),
            _ => None,
        }
    }

    /// The number of `@x(1)`.
    #[must_use]
    pub fn number(&self) -> Option<u128> {
        match self.expressions() {
            [Expr { kind: ExprKind::Number(number), .. }] => Some(number.value),
            _ => None,
        }
    }

    /// The expressions in its brackets; none if something else is there.
    #[must_use]
    pub fn expressions(&self) -> &[Expr] {
        match &self.body {
            AnnotationBody::Expressions(expressions) => expressions,
            _ => &[],
        }
    }
}
