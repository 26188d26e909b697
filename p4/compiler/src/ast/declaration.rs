//! Declarations: types (P4_16 §7.2), externs, parsers (§13), controls and tables (§14), packages (§17).

use super::{Argument, Expr, Name, Path, Preamble, Statement, Transition, TypeRef, Var};
use crate::source::Span;

/// A declaration of a program.
#[derive(Clone, Debug)]
pub enum Declaration {
    /// `const`.
    Const(Const),
    /// `typedef` and `type`.
    Typedef(Typedef),
    /// `header`.
    Header(Fields),
    /// `struct`.
    Struct(Fields),
    /// `enum`.
    Enum(Enum),
    /// `error { … }`, which adds to the errors there are.
    Error(Names),
    /// `match_kind { … }`, which adds to the kinds there are.
    MatchKind(Names),
    /// `extern` with constructors and methods.
    Extern(ExternObject),
    /// `extern` function.
    Function(ExternFunction),
    /// An action outside of any control.
    Action(Action),
    /// A parser with its states.
    Parser(Parser),
    /// The signature of a parser, of an architecture.
    ParserType(Signature),
    /// A control with its body.
    Control(Control),
    /// The signature of a control, of an architecture.
    ControlType(Signature),
    /// `package`, of an architecture.
    Package(Package),
    /// An instance, the program's package for one.
    Instance(Instance),
}

/// `const T name = value;`.
#[derive(Clone, Debug)]
pub struct Const {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its type.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
    /// Its value.
    pub value: Expr,
    /// Where it is written.
    pub span: Span,
}

/// `typedef T name;` or `type T name;`.
#[derive(Clone, Debug)]
pub struct Typedef {
    /// What stands before it.
    pub preamble: Preamble,
    /// It is `type`: a type of its own, not another name (P4_16 §7.2.9).
    pub distinct: bool,
    /// What it is made of.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
    /// Where it is written.
    pub span: Span,
}

/// A header or a struct.
#[derive(Clone, Debug)]
pub struct Fields {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_parameters: Vec<Name>,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Where it is written.
    pub span: Span,
}

/// A field of a header or a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its type.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
}

/// An enum.
#[derive(Clone, Debug)]
pub struct Enum {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// The type that represents it, of a serializable enum.
    pub representation: Option<TypeRef>,
    /// Its members.
    pub members: Vec<Member>,
    /// Where it is written.
    pub span: Span,
}

/// A member of an enum.
#[derive(Clone, Debug)]
pub struct Member {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// Its value, of a serializable enum.
    pub value: Option<Expr>,
}

/// The names that `error` or `match_kind` adds.
#[derive(Clone, Debug)]
pub struct Names {
    /// What stands before it.
    pub preamble: Preamble,
    /// The names.
    pub names: Vec<Name>,
    /// Where it is written.
    pub span: Span,
}

/// An extern with constructors and methods.
#[derive(Clone, Debug)]
pub struct ExternObject {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_parameters: Vec<Name>,
    /// Its constructors: [`Method::returns`] is `void`, the name is the extern's.
    pub constructors: Vec<Method>,
    /// Its methods.
    pub methods: Vec<Method>,
    /// Where it is written.
    pub span: Span,
}

/// A function, a method or a constructor of an extern.
#[derive(Clone, Debug)]
pub struct Method {
    /// What stands before it.
    pub preamble: Preamble,
    /// The type of what it returns.
    pub returns: TypeRef,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_parameters: Vec<Name>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Where it is written.
    pub span: Span,
}

/// An extern function.
pub type ExternFunction = Method;

/// A parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its annotations.
    pub preamble: Preamble,
    /// Its direction.
    pub direction: Direction,
    /// Its type.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
    /// Its value where a call gives none.
    pub default: Option<Expr>,
    /// Where it is written.
    pub span: Span,
}

/// The direction of a parameter (P4_16 §6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// None: of constructors, externs, and what the control plane gives to an action.
    None,
    /// `in`.
    In,
    /// `out`.
    Out,
    /// `inout`.
    InOut,
}

/// `parser P<T>(…)` or `control C<T>(…)`: all that comes before the body.
#[derive(Clone, Debug)]
pub struct Signature {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// Its type parameters, of an architecture's declarations.
    pub type_parameters: Vec<Name>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Where it is written.
    pub span: Span,
}

/// A parser.
#[derive(Clone, Debug)]
pub struct Parser {
    /// Its name and parameters.
    pub signature: Signature,
    /// Parameters of its constructor.
    pub constructor: Vec<Parameter>,
    /// Constants, variables and instances.
    pub locals: Vec<Local>,
    /// Its states.
    pub states: Vec<State>,
    /// Where it is written, body and all.
    pub span: Span,
}

/// A state of a parser.
#[derive(Clone, Debug)]
pub struct State {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// What it does.
    pub body: Vec<Statement>,
    /// Where it goes; to `reject` if it does not say (P4_16 §13.5).
    pub transition: Option<Transition>,
    /// Where it is written.
    pub span: Span,
}

/// A control.
#[derive(Clone, Debug)]
pub struct Control {
    /// Its name and parameters.
    pub signature: Signature,
    /// Parameters of its constructor.
    pub constructor: Vec<Parameter>,
    /// Constants, variables, instances, actions and tables.
    pub locals: Vec<Local>,
    /// What `apply` does.
    pub body: Block,
    /// Where it is written, body and all.
    pub span: Span,
}

/// A declaration inside of a parser or a control.
#[derive(Clone, Debug)]
pub enum Local {
    /// A constant.
    Const(Const),
    /// A variable.
    Var(Var),
    /// An instance.
    Instance(Instance),
    /// An action; controls only.
    Action(Action),
    /// A table; controls only.
    Table(Table),
}

/// `{ … }`.
#[derive(Clone, Debug)]
pub struct Block {
    /// Annotations before the bracket.
    pub preamble: Preamble,
    /// What is in it.
    pub statements: Vec<Statement>,
    /// Where it is written, with its brackets.
    pub span: Span,
}

/// `package`.
#[derive(Clone, Debug)]
pub struct Package {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_parameters: Vec<Name>,
    /// Parameters of its constructor.
    pub parameters: Vec<Parameter>,
    /// Where it is written.
    pub span: Span,
}

/// `Type(arguments) name;`.
#[derive(Clone, Debug)]
pub struct Instance {
    /// What stands before it.
    pub preamble: Preamble,
    /// Of what, [`TypeKind::Named`](super::TypeKind::Named) or [`TypeKind::Specialised`](super::TypeKind::Specialised).
    pub ty: TypeRef,
    /// Arguments of the constructor.
    pub arguments: Vec<Argument>,
    /// Its name.
    pub name: Name,
    /// Where it is written.
    pub span: Span,
}

/// An action.
#[derive(Clone, Debug)]
pub struct Action {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// Its parameters, those with a direction first.
    pub parameters: Vec<Parameter>,
    /// What it does.
    pub body: Block,
    /// Where it is written.
    pub span: Span,
}

/// A table (P4_16 §14.2).
#[derive(Clone, Debug)]
pub struct Table {
    /// What stands before it.
    pub preamble: Preamble,
    /// Its name.
    pub name: Name,
    /// `key`; empty if it has none.
    pub keys: Vec<KeyElement>,
    /// `actions`.
    pub actions: Vec<ActionRef>,
    /// `default_action`.
    pub default_action: Option<DefaultAction>,
    /// `entries`.
    pub entries: Option<Entries>,
    /// Every other property, in order: `size` and those of the architecture.
    pub properties: Vec<Property>,
    /// Where it is written.
    pub span: Span,
}

/// `expression : match_kind;`.
#[derive(Clone, Debug)]
pub struct KeyElement {
    /// Its annotations; in P4 they stand behind the match kind.
    pub preamble: Preamble,
    /// What is looked up.
    pub expr: Expr,
    /// `exact`, `lpm` and so on.
    pub match_kind: Name,
    /// Where it is written.
    pub span: Span,
}

/// An action where a table names it.
#[derive(Clone, Debug)]
pub struct ActionRef {
    /// Its annotations: `@tableonly`, `@defaultonly`.
    pub preamble: Preamble,
    /// Its name.
    pub path: Path,
    /// Its arguments; none where no brackets are written.
    pub arguments: Option<Vec<Argument>>,
    /// Where it is written.
    pub span: Span,
}

/// `default_action = …;`.
#[derive(Clone, Debug)]
pub struct DefaultAction {
    /// `const`.
    pub constant: bool,
    /// The action.
    pub action: ActionRef,
    /// Where it is written.
    pub span: Span,
}

/// `entries = { … }`.
#[derive(Clone, Debug)]
pub struct Entries {
    /// `const`: the control plane may add no others.
    pub constant: bool,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where it is written.
    pub span: Span,
}

/// `priority = 1 : (matches) : action;` (P4_16 §14.2.1.4).
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its annotations; in P4 they stand behind the action.
    pub preamble: Preamble,
    /// `const`: the control plane may not change it.
    pub constant: bool,
    /// Its priority.
    pub priority: Option<Expr>,
    /// A match for each key; a single `default` or `_` stands for all of them.
    pub matches: Vec<Expr>,
    /// What is done.
    pub action: ActionRef,
    /// Where it is written.
    pub span: Span,
}

/// `name = value;`, a property of a table.
#[derive(Clone, Debug)]
pub struct Property {
    /// What stands before it.
    pub preamble: Preamble,
    /// `const`.
    pub constant: bool,
    /// Its name.
    pub name: Name,
    /// Its value.
    pub value: Expr,
    /// Where it is written.
    pub span: Span,
}

impl Table {
    /// The property of that name, other than those that have a place of their own.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|property| &*property.name.text == name)
    }
}

impl Declaration {
    /// What it declares; none for `error` and `match_kind`.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Const(it) => Some(&it.name),
            Self::Typedef(it) => Some(&it.name),
            Self::Header(it) | Self::Struct(it) => Some(&it.name),
            Self::Enum(it) => Some(&it.name),
            Self::Error(_) | Self::MatchKind(_) => None,
            Self::Extern(it) => Some(&it.name),
            Self::Function(it) => Some(&it.name),
            Self::Action(it) => Some(&it.name),
            Self::Parser(it) => Some(&it.signature.name),
            Self::ParserType(it) | Self::ControlType(it) => Some(&it.name),
            Self::Control(it) => Some(&it.signature.name),
            Self::Package(it) => Some(&it.name),
            Self::Instance(it) => Some(&it.name),
        }
    }

    /// Where it is written.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Const(it) => it.span,
            Self::Typedef(it) => it.span,
            Self::Header(it) | Self::Struct(it) => it.span,
            Self::Enum(it) => it.span,
            Self::Error(it) | Self::MatchKind(it) => it.span,
            Self::Extern(it) => it.span,
            Self::Function(it) => it.span,
            Self::Action(it) => it.span,
            Self::Parser(it) => it.span,
            Self::ParserType(it) | Self::ControlType(it) => it.span,
            Self::Control(it) => it.span,
            Self::Package(it) => it.span,
            Self::Instance(it) => it.span,
        }
    }
}
