//! Names, types and constants: from the syntax tree to the intermediate form (P4_16 1.2.4 §6 to §16).
//!
//! Declarations are taken in order, since a name must be declared before it is used (§6.9). The package's instance `main` says
//! which parser and controls there are; those are lowered, with all that they reach, and the rest is left out. Every mistake
//! that can be told without following from another one is told.

mod action;
mod architecture;
mod assign;
mod call;
mod coerce;
mod compose;
mod constant;
mod declare;
mod entry;
mod expression;
mod extern_call;
mod extern_instance;
mod identifier;
mod notes;
mod operator;
mod packet;
mod parser;
mod prune;
mod returns;
mod scope;
mod statement;
mod storage;
mod table;
mod types;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::ast;
use crate::diagnostics::{Diagnostic, in_order};
use crate::ir;
use crate::source::{Sources, Span};

use action::ActionDecl;
use extern_instance::Instance;
use scope::Scope;
use storage::Storage;
use table::TableDecl;
use types::{Composite, NewType, Ty};

/// Variables of one program at most; structs within structs could ask for any number.
const VARS_MAX: usize = 1 << 16;
/// Calls of actions that are inlined at most; actions that call actions could ask for any number.
const INLINED_MAX: u32 = 1 << 12;

/// The intermediate form of a program, which is called `name`.
///
/// # Errors
/// What is wrong with the program, in the order of the text.
///
/// # Panics
/// If the tree's spans are not of these sources.
pub fn lower(program: &ast::Program, sources: &Sources, name: &str) -> Result<ir::Program, Vec<Diagnostic>> {
    let mut lowering = Lowering::new(sources);
    lowering.made.ir.name = name.to_owned();
    for declaration in &program.declarations {
        lowering.declare_global(declaration);
    }
    lowering.package(program);
    lowering.direct_externs();
    lowering.identifiers();
    if lowering.diagnostics.is_empty() {
        Ok(prune::prune(lowering.made.ir, &lowering.kept_enums, &lowering.kept_new_types))
    } else {
        Err(in_order(lowering.diagnostics))
    }
}

/// What kind of code is being lowered, for what may stand where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No code: constants, types.
    Declarations,
    /// A parser's state.
    Parser,
    /// A control's body.
    Control,
    /// A deparser's body.
    Deparser,
    /// An action's body.
    Action,
}

/// What has been made; copied where something is lowered only to find its mistakes.
#[derive(Clone, Default)]
struct Made<'a> {
    ir: ir::Program,
    tables: Vec<TableDecl<'a>>,
    actions: Vec<ActionDecl<'a>>,
    instances: Vec<Instance<'a>>,
    names: HashSet<String>,
}

/// The state of the work.
struct Lowering<'a> {
    sources: &'a Sources,
    diagnostics: Vec<Diagnostic>,
    made: Made<'a>,
    globals: Scope<'a>,
    scopes: Vec<Scope<'a>>,
    composites: Vec<Composite>,
    new_types: Vec<NewType>,
    extern_objects: Vec<&'a ast::ExternObject>,
    match_kinds: Vec<Rc<str>>,
    enum_spans: Vec<Span>,
    kept_enums: HashSet<u32>,
    kept_new_types: HashSet<String>,
    /// Statements of the block that is being lowered.
    code: Vec<ir::Stmt>,
    place: Place,
    /// The name of the block that is being lowered, before those of its parts.
    block: Rc<str>,
    /// Storage of the package's parameters.
    shared: HashMap<(Ty, String), Storage>,
    inlined: u32,
    /// Actions whose body is being lowered.
    calls: Vec<usize>,
    /// What `exit` has to write back to arguments before it leaves, of each call that is being inlined.
    written_back: Vec<Vec<(Storage, Storage)>>,
}

impl<'a> Lowering<'a> {
    fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            diagnostics: Vec::new(),
            made: Made::default(),
            globals: Scope::default(),
            scopes: Vec::new(),
            composites: Vec::new(),
            new_types: Vec::new(),
            extern_objects: Vec::new(),
            match_kinds: Vec::new(),
            enum_spans: Vec::new(),
            kept_enums: HashSet::new(),
            kept_new_types: HashSet::new(),
            code: Vec::new(),
            place: Place::Declarations,
            block: Rc::from(""),
            shared: HashMap::new(),
            inlined: 0,
            calls: Vec::new(),
            written_back: Vec::new(),
        }
    }

    /// Notes a mistake.
    fn tell(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether a span is in a library file, so not of the program itself.
    fn in_library(&self, span: Span) -> bool {
        self.sources.file(span).library
    }

    /// What `f` makes, and the statements that it made on the way.
    fn collect<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> (T, Vec<ir::Stmt>) {
        let outer = std::mem::take(&mut self.code);
        let made = f(self);
        (made, std::mem::replace(&mut self.code, outer))
    }

    /// Lowers something for its mistakes only.
    fn check_only(&mut self, f: impl FnOnce(&mut Self)) {
        let made = self.made.clone();
        let ((), _) = self.collect(f);
        self.made = made;
    }

    /// A type's name for messages.
    fn show(&self, ty: &Ty) -> String {
        match ty {
            Ty::Bool => "bool".to_owned(),
            Ty::Bits(bits) => format!("bit<{bits}>"),
            Ty::Int => "int".to_owned(),
            Ty::String => "string".to_owned(),
            Ty::Error => "error".to_owned(),
            Ty::Void => "void".to_owned(),
            Ty::Enum(index) => self.made.ir.enums[*index as usize].name.clone(),
            Ty::New(index) => self.new_types[*index as usize].name.to_string(),
            Ty::Struct(index) | Ty::Header(index) => self.composites[*index as usize].name.to_string(),
            Ty::Tuple(parts) => {
                format!("tuple<{}>", parts.iter().map(|part| self.show(part)).collect::<Vec<_>>().join(", "))
            }
            Ty::Extern(index, _) => self.extern_objects[*index as usize].name.text.to_string(),
            Ty::Parameter(name) => name.to_string(),
            Ty::Unknown => "unknown".to_owned(),
        }
    }
}
