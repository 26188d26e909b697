//! What names mean to the grammar: whether one is a type decides how `(a) - b` and `a < b` are read (P4_16 §6.1).

use std::collections::HashMap;
use std::rc::Rc;

/// What a name is declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// A constant, variable, parameter, instance, function, action, table or state.
    Value,
    /// A type other than those below.
    Type,
    /// A parser.
    Parser,
}

/// The scopes from the outermost to the one that is being read.
#[derive(Debug)]
pub(super) struct Scopes(Vec<HashMap<Rc<str>, Known>>);

impl Default for Scopes {
    fn default() -> Self {
        Self(vec![HashMap::new()])
    }
}

impl Scopes {
    pub(super) fn enter(&mut self) {
        self.0.push(HashMap::new());
    }

    pub(super) fn leave(&mut self) {
        self.0.pop();
        assert!(!self.0.is_empty(), "the outermost scope is never left");
    }

    pub(super) fn declare(&mut self, name: &Rc<str>, known: Known) {
        self.0.last_mut().expect("the outermost scope").insert(Rc::clone(name), known);
    }

    /// What a name is declared as, if it is; `global` is `.name`.
    pub(super) fn known(&self, name: &str, global: bool) -> Option<Known> {
        let scopes = if global { &self.0[..1] } else { &self.0[..] };
        scopes.iter().rev().find_map(|scope| scope.get(name).copied())
    }

    /// Whether a name is declared as a type.
    pub(super) fn is_type(&self, name: &str, global: bool) -> bool {
        matches!(self.known(name, global), Some(Known::Type | Known::Parser))
    }
}
