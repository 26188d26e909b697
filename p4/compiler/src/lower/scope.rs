//! Names and what they stand for (P4_16 1.2.4 §6.9).

use std::collections::HashMap;
use std::rc::Rc;

use super::Lowering;
use super::expression::Value;
use super::storage::Storage;
use super::types::Ty;
use crate::ast::{self, Name, Path};
use crate::diagnostics::Diagnostic;
use crate::ir::ExternId;
use crate::source::Span;

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Symbol<'a> {
    /// A value known to the compiler.
    Const(Value),
    /// A variable or a parameter.
    Variable {
        /// Where its values are.
        storage: Storage,
        /// It may be assigned to.
        writable: bool,
    },
    /// A type.
    Type(Ty),
    /// An extern type, by its place in the list of them.
    ExternObject(u32),
    /// Extern functions of one name.
    Functions(Vec<&'a ast::ExternFunction>),
    /// An action, by its place in the list of them.
    Action(usize),
    /// A table, by its place in the list of them.
    Table(usize),
    /// An instance of an extern.
    Instance(ExternId),
    /// A parser with its states.
    Parser(&'a ast::Parser),
    /// A control with its body.
    Control(&'a ast::Control),
    /// The signature of a parser or control.
    Signature(&'a ast::Signature),
    /// A package.
    Package(&'a ast::Package),
    /// The program's package instance.
    Main,
    /// Something wrong that was told already.
    Wrong,
}

/// The names of one block.
#[derive(Clone, Default)]
pub(super) struct Scope<'a> {
    names: HashMap<Rc<str>, (Symbol<'a>, Span)>,
}

impl<'a> Scope<'a> {
    pub(super) fn find(&self, name: &str) -> Option<&(Symbol<'a>, Span)> {
        self.names.get(name)
    }
}

impl Symbol<'_> {
    /// What it is, for messages.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Const(_) => "a constant",
            Self::Variable { .. } => "a variable",
            Self::Type(_) | Self::ExternObject(_) => "a type",
            Self::Functions(_) => "a function",
            Self::Action(_) => "an action",
            Self::Table(_) => "a table",
            Self::Instance(_) | Self::Main => "an instance",
            Self::Parser(_) => "a parser",
            Self::Control(_) => "a control",
            Self::Signature(_) => "the type of a block",
            Self::Package(_) => "a package",
            Self::Wrong => "unknown",
        }
    }
}

impl<'a> Lowering<'a> {
    /// Declares a name in the innermost scope. A name may not hide another of the program: readers would mix them up.
    pub(super) fn declare(&mut self, name: &Name, symbol: Symbol<'a>) {
        let entry = (symbol, name.span);
        let Some(depth) = self.scopes.len().checked_sub(1) else {
            self.declare_globally(name, entry);
            return;
        };
        let hidden = self.scopes[depth].find(&name.text).map(|(_, span)| (*span, true));
        let hidden = hidden.or_else(|| {
            let outer = self.scopes[..depth].iter().rev().find_map(|scope| scope.find(&name.text));
            let global = || self.globals.find(&name.text).filter(|(_, span)| !self.in_library(*span));
            outer.or_else(global).map(|(_, span)| (*span, false))
        });
        if let Some((span, same)) = hidden {
            let message = if same {
                format!("`{name}` is declared twice")
            } else {
                format!("`{name}` hides another declaration of that name")
            };
            self.tell(
                Diagnostic::new(name.span, message).mark(span, "declared here").remedy("give one of them another name"),
            );
        }
        self.scopes[depth].names.insert(name.text.clone(), entry);
    }

    fn declare_globally(&mut self, name: &Name, entry: (Symbol<'a>, Span)) {
        if let Some((Symbol::Functions(known), _)) = self.globals.names.get_mut(&name.text)
            && let (Symbol::Functions(more), _) = &entry
        {
            let same = known.iter().find(|one| one.parameters.len() == more[0].parameters.len());
            let same = same.map(|one| one.name.span);
            known.extend(more);
            if let Some(span) = same {
                let message = format!("function `{name}` is declared twice with as many parameters");
                self.tell(
                    Diagnostic::new(name.span, message)
                        .mark(span, "declared here")
                        .remedy("functions of one name must differ in the number of their parameters"),
                );
            }
            return;
        }
        if let Some((_, span)) = self.globals.find(&name.text) {
            let span = *span;
            let message = format!("`{name}` is declared twice");
            self.tell(
                Diagnostic::new(name.span, message).mark(span, "declared here").remedy("give one of them another name"),
            );
            return;
        }
        self.globals.names.insert(name.text.clone(), entry);
    }

    /// What a path stands for; told if nothing.
    pub(super) fn lookup(&mut self, path: &Path) -> Symbol<'a> {
        let name = &path.name;
        let local = if path.global { None } else { self.scopes.iter().rev().find_map(|scope| scope.find(&name.text)) };
        let Some((symbol, span)) = local.or_else(|| self.globals.find(&name.text)) else {
            let mut diagnostic = Diagnostic::new(path.span, format!("`{path}` is not declared"));
            if let Some(near) = self.nearest(&name.text) {
                diagnostic = diagnostic.remedy(format!("there is `{near}`"));
            }
            self.tell(diagnostic);
            return Symbol::Wrong;
        };
        let (symbol, span) = (symbol.clone(), *span);
        if span.file == path.span.file && span.start > path.span.start {
            self.tell(
                Diagnostic::new(path.span, format!("`{path}` is used before it is declared"))
                    .mark(span, "declared here")
                    .remedy("move the declaration up (P4_16 §6.9)"),
            );
        }
        symbol
    }

    /// A declared name that differs in little.
    fn nearest(&self, name: &str) -> Option<Rc<str>> {
        let all = self.scopes.iter().chain(std::iter::once(&self.globals)).flat_map(|scope| scope.names.keys());
        let near = all.map(|known| (distance(name, known), known)).filter(|(distance, _)| *distance <= 2);
        near.min().map(|(_, known)| known.clone())
    }

    /// Runs `f` with a scope of its own.
    pub(super) fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        self.scopes.push(Scope::default());
        let made = f(self);
        self.scopes.pop();
        made
    }

    /// Runs `f` with the outermost `depth` scopes only, where something was declared.
    pub(super) fn at_depth<T>(&mut self, depth: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        let inner = self.scopes.split_off(depth.min(self.scopes.len()));
        let made = f(self);
        self.scopes.truncate(depth);
        self.scopes.extend(inner);
        made
    }
}

/// Letters to change, to add or to drop to come from one name to the other; 3 stands for more.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    if a.len().abs_diff(b.len()) > 2 || a.len().min(b.len()) < 3 {
        return 3;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()].min(3)
}
