//! Macros without parameters.

use std::collections::HashMap;
use std::rc::Rc;

use super::TOKENS_MAX;
use crate::lexer::{Kind, Token};
use crate::source::Span;

/// Macros that stand for macros, at most so deep.
const DEPTH_MAX: usize = 64;

/// The macros of a program.
#[derive(Default)]
pub(super) struct Macros {
    named: HashMap<Rc<str>, (Rc<[Token]>, Span)>,
    /// How often one was used.
    uses: usize,
}

/// The macros make more of the program than is allowed.
#[derive(Debug)]
pub(super) struct TooMuch;

impl Macros {
    pub(super) fn is_defined(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    pub(super) fn undefine(&mut self, name: &str) {
        self.named.remove(name);
    }

    /// Adds a macro, or tells where another of that name is.
    pub(super) fn define(&mut self, name: &Token, value: &[Token]) -> Result<(), Span> {
        let same = |a: &Token, b: &Token| a.kind == b.kind && a.text == b.text;
        match self.named.get(&name.text) {
            Some((before, _)) if before.len() == value.len() && before.iter().zip(value).all(|(a, b)| same(a, b)) => {
                Ok(())
            }
            Some((_, before)) => Err(*before),
            None => {
                self.named.insert(Rc::clone(&name.text), (value.into(), name.span));
                Ok(())
            }
        }
    }

    /// Appends what a token stands for: itself, or a macro's tokens, in which a macro does not stand for itself again.
    pub(super) fn expand(&mut self, token: &Token, into: &mut Vec<Token>) -> Result<(), TooMuch> {
        let from = into.len();
        self.expand_within(token, &mut Vec::new(), into)?;
        // All of it is where the macro is used; what stands before that use stands before the first of its tokens.
        let mut made = into[from..].iter_mut();
        if let Some(head) = made.next() {
            *head = Token {
                span: token.span,
                first: token.first,
                glued: token.glued,
                doc: Rc::clone(&token.doc),
                ..head.clone()
            };
        }
        made.for_each(|behind| {
            behind.span = token.span;
            behind.first = false;
            behind.doc = "".into();
        });
        Ok(())
    }

    fn expand_within(
        &mut self,
        token: &Token,
        inside: &mut Vec<Rc<str>>,
        into: &mut Vec<Token>,
    ) -> Result<(), TooMuch> {
        let value = match token.kind {
            Kind::Word if !inside.contains(&token.text) => {
                self.named.get(&token.text).map(|(value, _)| Rc::clone(value))
            }
            _ => None,
        };
        let Some(value) = value else {
            into.push(token.clone());
            return Ok(());
        };
        self.uses += 1;
        if self.uses > TOKENS_MAX || into.len() > TOKENS_MAX || inside.len() >= DEPTH_MAX {
            return Err(TooMuch);
        }
        inside.push(Rc::clone(&token.text));
        let made = value.iter().try_for_each(|token| self.expand_within(token, inside, into));
        inside.pop();
        made
    }
}
