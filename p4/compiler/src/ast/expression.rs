//! Expressions (P4_16 §8).

use std::rc::Rc;

use super::{Name, Path, TypeRef};
use crate::source::Span;

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it is written; brackets around it are not in.
    pub span: Span,
}

/// A number as it is written: `0x1F`, `8w31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its value; it fits the width if there is one.
    pub value: u128,
    /// Bits of its type `bit<N>`, 1 to 128; none for an `int`.
    pub width: Option<u8>,
}

/// An expression.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A number.
    Number(Number),
    /// `true` or `false`.
    Bool(bool),
    /// A string.
    String(Rc<str>),
    /// A variable, constant, parameter, action, instance, function or type.
    Name(Path),
    /// `error.X`.
    Error(Name),
    /// `of.member`: a field, a method, or the member of an enum.
    Member {
        /// What it is a member of; the name of a type for an enum's members.
        of: Box<Expr>,
        /// The member.
        member: Name,
    },
    /// `of[hi:lo]`.
    Slice {
        /// The value.
        of: Box<Expr>,
        /// Its highest bit that counts.
        hi: Box<Expr>,
        /// Its lowest.
        lo: Box<Expr>,
    },
    /// `of[index]`, of stacks and tuples; `lower` refuses it.
    Index {
        /// The stack.
        of: Box<Expr>,
        /// Which of its elements.
        index: Box<Expr>,
    },
    /// A call of a function, an action or a method, or the construction of an instance without a name.
    Call {
        /// What is called: a name or a member.
        callee: Box<Expr>,
        /// Type arguments: `pkt.lookahead<bit<8>>()`.
        type_arguments: Vec<TypeRef>,
        /// Arguments.
        arguments: Vec<Argument>,
    },
    /// `(ty) of`.
    Cast {
        /// To this type.
        ty: TypeRef,
        /// What.
        of: Box<Expr>,
    },
    /// An operator before its operand.
    Unary {
        /// The operator.
        op: UnaryOp,
        /// The operand.
        of: Box<Expr>,
    },
    /// An operator between its operands.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// The left operand.
        left: Box<Expr>,
        /// The right one.
        right: Box<Expr>,
    },
    /// `condition ? then : otherwise`.
    Choice {
        /// A `bool`.
        condition: Box<Expr>,
        /// If it holds.
        then: Box<Expr>,
        /// If not.
        otherwise: Box<Expr>,
    },
    /// `{a, b}`.
    List(Vec<Expr>),
    /// `{a = 1, b = 2}`.
    Struct(Vec<(Name, Expr)>),
    /// `value &&& mask`, where values are matched.
    Mask {
        /// The bits wanted.
        value: Box<Expr>,
        /// Those that count.
        mask: Box<Expr>,
    },
    /// `low .. high`, where values are matched.
    Range {
        /// The least.
        low: Box<Expr>,
        /// The greatest.
        high: Box<Expr>,
    },
    /// `default`, where values are matched.
    Default,
    /// `_`, where values are matched, and as an argument for a result that nobody wants.
    Any,
    /// `...`, the default value of what is initialised.
    Rest,
}

/// An argument.
#[derive(Clone, Debug)]
pub struct Argument {
    /// The parameter's name, of `name = value`.
    pub name: Option<Name>,
    /// The value.
    pub value: Expr,
}

/// An operator before its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `!`.
    Not,
    /// `~`.
    Complement,
    /// `-`.
    Negate,
    /// `+`.
    Plus,
}

/// An operator between its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `*`.
    Mul,
    /// `/`, of constants.
    Div,
    /// `%`, of constants.
    Mod,
    /// `+`.
    Add,
    /// `-`.
    Sub,
    /// `|+|`.
    AddSaturating,
    /// `|-|`.
    SubSaturating,
    /// `++`.
    Concat,
    /// `<<`.
    Shl,
    /// `>>`.
    Shr,
    /// `<=`.
    Le,
    /// `>=`.
    Ge,
    /// `<`.
    Lt,
    /// `>`.
    Gt,
    /// `==`.
    Eq,
    /// `!=`.
    Ne,
    /// `&`.
    And,
    /// `^`.
    Xor,
    /// `|`.
    Or,
    /// `&&`.
    LogicalAnd,
    /// `||`.
    LogicalOr,
}

impl UnaryOp {
    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Not => "!",
            Self::Complement => "~",
            Self::Negate => "-",
            Self::Plus => "+",
        }
    }
}

impl BinaryOp {
    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Add => "+",
            Self::Sub => "-",
            Self::AddSaturating => "|+|",
            Self::SubSaturating => "|-|",
            Self::Concat => "++",
            Self::Shl => "<<",
            Self::Shr => ">>",
            Self::Le => "<=",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Gt => ">",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::And => "&",
            Self::Xor => "^",
            Self::Or => "|",
            Self::LogicalAnd => "&&",
            Self::LogicalOr => "||",
        }
    }
}
