//! Statements (P4_16 §12) and transitions of parsers (§13.5).

use super::{Block, Const, Expr, Name, Preamble, TypeRef};
use crate::source::Span;

/// A statement, or a declaration among statements.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What it is.
    pub kind: StatementKind,
    /// Where it is written.
    pub span: Span,
}

/// A statement, or a declaration among statements.
#[derive(Clone, Debug)]
pub enum StatementKind {
    /// `target = value;`.
    Assign {
        /// To what: a name, its members, a slice.
        target: Expr,
        /// What.
        value: Expr,
    },
    /// A call, always an [`ExprKind::Call`](super::ExprKind::Call).
    Call(Expr),
    /// `if`.
    If {
        /// A `bool`.
        condition: Expr,
        /// If it holds.
        then: Box<Statement>,
        /// If not.
        otherwise: Option<Box<Statement>>,
    },
    /// `switch`.
    Switch {
        /// What is looked at.
        on: Expr,
        /// Its cases.
        cases: Vec<SwitchCase>,
    },
    /// `{ … }`.
    Block(Block),
    /// `return;` or `return value;`.
    Return(Option<Expr>),
    /// `exit;`.
    Exit,
    /// `;`.
    Empty,
    /// A constant.
    Const(Const),
    /// A variable.
    Var(Var),
}

/// A case of a `switch` (P4_16 §12.7).
#[derive(Clone, Debug)]
pub struct SwitchCase {
    /// What it is for.
    pub label: Label,
    /// What is done; none when it is the same as in the next case that has a block.
    pub body: Option<Block>,
    /// Where it is written.
    pub span: Span,
}

/// What a case of a `switch` is for.
#[derive(Clone, Debug)]
pub enum Label {
    /// A value, or an action by its name.
    Value(Expr),
    /// `default`.
    Default(Span),
}

/// A variable.
#[derive(Clone, Debug)]
pub struct Var {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its type.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
    /// Its first value.
    pub value: Option<Expr>,
    /// Where it is written.
    pub span: Span,
}

/// Where a parser's state goes.
#[derive(Clone, Debug)]
pub enum Transition {
    /// `transition name;`.
    To(Name),
    /// `transition select(…) { … }`.
    Select {
        /// What is looked at.
        keys: Vec<Expr>,
        /// The cases, tried in order.
        cases: Vec<SelectCase>,
        /// Where it is written.
        span: Span,
    },
}

/// A case of a `select` (P4_16 §13.6).
#[derive(Clone, Debug)]
pub struct SelectCase {
    /// A match for each key; a single `default` or `_` stands for all of them.
    pub matches: Vec<Expr>,
    /// Where it leads.
    pub target: Name,
    /// Where it is written.
    pub span: Span,
}
