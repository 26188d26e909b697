//! Looking ahead over a type without reading it, where the grammar needs to know whether there is one.

use super::Reader;
use crate::lexer::Kind;

/// Type arguments inside one another that are looked over.
const DEPTH_MAX: usize = 16;

impl Reader<'_> {
    /// The place behind a type at that place, if there is what looks like one.
    pub(super) fn behind_type(&self, at: usize) -> Option<usize> {
        self.behind_type_within(at, 0)
    }

    /// The place behind `<…>` at that place, if it looks like type arguments.
    pub(super) fn behind_type_arguments(&self, at: usize) -> Option<usize> {
        self.behind_arguments_within(at, 0)
    }

    fn behind_type_within(&self, at: usize, depth: usize) -> Option<usize> {
        if depth > DEPTH_MAX {
            return None;
        }
        let token = self.tokens.get(at)?;
        let bare = match (token.kind, &*token.text) {
            (Kind::Word, "bool" | "error" | "match_kind" | "string" | "void" | "_") => return Some(at + 1),
            (Kind::Word, "bit" | "int" | "varbit") => return Some(self.behind_width(at + 1).unwrap_or(at + 1)),
            (Kind::Word, "tuple") => at + 1,
            (Kind::Symbol("."), _) if self.tokens.get(at + 1).is_some_and(|token| self.is_name(token)) => at + 2,
            _ if self.is_name(token) => at + 1,
            _ => return None,
        };
        let behind = if self.tokens[bare.min(self.tokens.len() - 1)].is("<") {
            self.behind_arguments_within(bare, depth + 1)?
        } else {
            bare
        };
        Some(self.behind_stack(behind))
    }

    /// `<8>` or `<(expression)>`.
    fn behind_width(&self, at: usize) -> Option<usize> {
        let inside = self.tokens.get(at).filter(|token| token.is("<")).map(|_| at + 1)?;
        let behind = self.closing.get(inside)? + 1;
        self.tokens.get(behind).filter(|token| token.is(">")).map(|_| behind + 1)
    }

    /// `[4]` behind a type: a header stack, so that it is told as one.
    fn behind_stack(&self, at: usize) -> usize {
        let is_stack = self.tokens.get(at).is_some_and(|token| token.is("["))
            && self.tokens.get(self.closing[at] + 1).is_some_and(|token| self.is_name(token));
        if is_stack { self.closing[at] + 1 } else { at }
    }

    fn behind_arguments_within(&self, at: usize, depth: usize) -> Option<usize> {
        if !self.tokens.get(at)?.is("<") {
            return None;
        }
        let mut at = at + 1;
        loop {
            at = self.behind_type_within(at, depth)?;
            let token = self.tokens.get(at)?;
            at += 1;
            if token.is(">") {
                return Some(at);
            }
            if !token.is(",") {
                return None;
            }
        }
    }
}
