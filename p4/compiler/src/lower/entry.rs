//! Entries that a program brings (P4_16 1.2.4 §14.2.1.4), and matches of values in them and in selects (§8.15).

use num_traits::ToPrimitive;

use super::Lowering;
use super::constant;
use super::expression::Value;
use super::table::needs_priority;
use super::types::Ty;
use crate::ast::{self, ExprKind};
use crate::diagnostics::Diagnostic;
use crate::ir::{self, ActionId, ActionScope, Match, MatchKind, TableId};
use crate::source::Span;

impl<'a> Lowering<'a> {
    /// What a value of a type is compared with; told if that is nothing.
    pub(super) fn matching(&mut self, expr: &'a ast::Expr, ty: &Ty) -> Option<Match> {
        let mask = self.representation(ty)?.mask();
        match &expr.kind {
            ExprKind::Default | ExprKind::Any => Some(Match::Any),
            ExprKind::Mask { value, mask: under } => {
                let (value, under) = (self.matched(value, ty), self.matched(under, ty));
                let (value, under) = (value?, under?);
                Some(match under {
                    0 => Match::Any,
                    under if under == mask => Match::Value(value),
                    under => Match::Mask { value: value & under, mask: under },
                })
            }
            ExprKind::Range { low, high } => {
                let (low, high) = (self.matched(low, ty), self.matched(high, ty));
                let (low, high) = (low?, high?);
                if low > high {
                    self.tell(
                        Diagnostic::new(expr.span, format!("the range {low} .. {high} is empty"))
                            .remedy("write the least value first"),
                    );
                    return None;
                }
                let all = low == 0 && high == mask;
                Some(if all { Match::Any } else { Match::Range { low, high } })
            }
            _ => self.matched(expr, ty).map(Match::Value),
        }
    }

    fn matched(&mut self, expr: &'a ast::Expr, ty: &Ty) -> Option<u128> {
        let (value, _) = self.collect(|this| this.expr(expr));
        match self.coerce(value, ty, expr.span) {
            Value::Scalar { expr: made, .. } => {
                let value = constant::value(&made);
                if value.is_none() {
                    self.tell(
                        Diagnostic::new(expr.span, "what is matched against must be constant")
                            .remedy("compare with `==` in an `if`, or make it a key"),
                    );
                }
                value
            }
            _ => None,
        }
    }

    pub(super) fn entries(&mut self, declared: &'a ast::Table, id: TableId, types: &[Ty], names: &[(usize, ActionId)]) {
        let Some(entries) = &declared.entries else { return };
        self.made.ir.tables[id.index()].const_entries = entries.constant;
        let kinds: Vec<MatchKind> = self.made.ir.tables[id.index()].keys.iter().map(|key| key.kind).collect();
        if kinds.len() != types.len() {
            return;
        }
        let mut made: Vec<(ir::Entry, Span)> = Vec::new();
        let mut priorities = Vec::new();
        for entry in &entries.entries {
            let explicit = self.explicit_priority(entry, &kinds);
            let matches = self.entry_matches(entry, types, &kinds);
            let call = self.action_call(&entry.action, names, &declared.name);
            let (Some(matches), Some((named, arguments))) = (matches, call) else { continue };
            let table = &self.made.ir.tables[id.index()];
            if table.actions.iter().any(|it| it.action == named.action && it.scope == ActionScope::Default) {
                let message = format!("action `{}` is @defaultonly", named.declared.name);
                self.tell(Diagnostic::new(entry.action.span, message));
            }
            if !kinds.iter().any(|kind| needs_priority(*kind))
                && let Some((_, first)) = made.iter().find(|(known, _)| known.matches == matches)
            {
                let first = *first;
                self.tell(Diagnostic::new(entry.span, "there is an entry with this key already").mark(first, "here"));
            }
            priorities.push(explicit);
            made.push((ir::Entry { matches, priority: 0, action: named.action, arguments }, entry.span));
        }
        let size = self.made.ir.tables[id.index()].size as usize;
        if made.len() > size {
            let message = format!("{} entries in a table with room for {size}", made.len());
            self.tell(Diagnostic::new(entries.span, message).remedy(format!("write `size = {};`", made.len())));
        }
        let mut made: Vec<ir::Entry> = made.into_iter().map(|(entry, _)| entry).collect();
        if kinds.iter().any(|kind| needs_priority(*kind)) {
            self.priorities(declared, &mut made, &priorities);
            made.sort_by_key(|entry| std::cmp::Reverse(entry.priority));
        } else if let Some(place) = kinds.iter().position(|kind| *kind == MatchKind::Lpm) {
            made.sort_by_key(|entry| {
                std::cmp::Reverse(match entry.matches[place] {
                    Match::Prefix { length, .. } => length,
                    _ => 0,
                })
            });
        }
        self.made.ir.tables[id.index()].entries = made;
    }

    fn entry_matches(&mut self, entry: &'a ast::Entry, types: &[Ty], kinds: &[MatchKind]) -> Option<Vec<Match>> {
        let all = |it: &ast::Expr| matches!(it.kind, ExprKind::Default | ExprKind::Any);
        let given: Vec<Option<&'a ast::Expr>> = match entry.matches.as_slice() {
            [one] if all(one) => vec![Some(one); types.len()],
            [ast::Expr { kind: ExprKind::List(parts), .. }] if types.len() > 1 => parts.iter().map(Some).collect(),
            several => several.iter().map(Some).collect(),
        };
        if given.len() != types.len() {
            let message = format!("the table has {} keys, the entry {}", types.len(), given.len());
            self.tell(Diagnostic::new(entry.span, message).remedy("write `_` for a key that does not matter"));
            return None;
        }
        let mut matches = Vec::new();
        let mut wrong = false;
        for ((given, ty), kind) in given.iter().zip(types).zip(kinds) {
            let given = (*given)?;
            match self.matching(given, ty).and_then(|found| self.of_kind(found, *kind, ty, given.span)) {
                Some(found) => matches.push(found),
                None => wrong = true,
            }
        }
        (!wrong).then_some(matches)
    }

    /// A match in the form that its key's kind has.
    fn of_kind(&mut self, found: Match, kind: MatchKind, ty: &Ty, span: Span) -> Option<Match> {
        let representation = self.representation(ty)?;
        let (all, bits) = (representation.mask(), representation.bits());
        let told = match (kind, found) {
            (MatchKind::Exact, Match::Value(_)) => return Some(found),
            (MatchKind::Exact, _) => "an exact key matches one value",
            (_, Match::Any) => return Some(Match::Any),
            (MatchKind::Ternary, Match::Value(value)) => return Some(Match::Mask { value, mask: all }),
            (MatchKind::Ternary, Match::Mask { .. }) => return Some(found),
            (MatchKind::Ternary, _) => "a ternary key matches a value under a mask",
            (MatchKind::Optional, Match::Value(_)) => return Some(found),
            (MatchKind::Optional, _) => "an optional key matches one value, or anything",
            (MatchKind::Range, Match::Value(value)) => return Some(Match::Range { low: value, high: value }),
            (MatchKind::Range, Match::Range { .. }) => return Some(found),
            (MatchKind::Range, _) => "a range key matches what is between two values",
            (MatchKind::Lpm, Match::Value(value)) => return Some(Match::Prefix { value, length: bits }),
            (MatchKind::Lpm, Match::Mask { value, mask }) => {
                let length = bits - u8::try_from(mask.trailing_zeros()).unwrap_or(bits).min(bits);
                if mask == all & !(all.checked_shr(length.into()).unwrap_or(0)) {
                    return Some(Match::Prefix { value, length });
                }
                "an lpm key matches a prefix: the mask's ones come first"
            }
            (MatchKind::Lpm, _) => "an lpm key matches a prefix",
        };
        self.tell(Diagnostic::new(span, told));
        None
    }

    fn explicit_priority(&mut self, entry: &'a ast::Entry, kinds: &[MatchKind]) -> Option<i32> {
        let annotated = entry.preamble.annotation("priority");
        let (number, span) = match (&entry.priority, annotated) {
            (Some(written), _) => (self.constant_int(written, "a priority")?.to_i32(), written.span),
            (None, Some(annotation)) => {
                (annotation.number().and_then(|number| i32::try_from(number).ok()), annotation.span)
            }
            (None, None) => return None,
        };
        if !kinds.iter().any(|kind| needs_priority(*kind)) {
            self.tell(
                Diagnostic::new(span, "entries of this table have no priority: their keys alone decide")
                    .remedy("leave it out"),
            );
            return None;
        }
        let number = number.filter(|number| *number > 0);
        if number.is_none() {
            self.tell(Diagnostic::new(span, "a priority is 1 or more and fits 31 bits (P4Runtime §9.1)"));
        }
        number
    }

    /// Gives each entry its priority, greater being more important as P4Runtime has it: those that say none come one step below
    /// the entry before them; where none says any, the last has 1 (P4_16 1.2.4 §14.2.1.4).
    fn priorities(&mut self, declared: &'a ast::Table, entries: &mut [ir::Entry], explicit: &[Option<i32>]) {
        if let Some(property) = declared.property("largest_priority_wins") {
            let (value, _) = self.collect(|this| this.expr(&property.value));
            if !matches!(&value, Value::Scalar { expr, ty: Ty::Bool } if constant::value(expr) == Some(1)) {
                self.tell(
                    Diagnostic::new(property.value.span, "the largest priority wins here, as in P4Runtime")
                        .remedy("write the priorities the other way round"),
                );
            }
        }
        let step = match declared.property("priority_delta") {
            Some(property) => self.constant_u32(&property.value, "priority_delta").map_or(1, i64::from).max(1),
            None => 1,
        };
        let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        let mut next = 1 + (count - 1) * step;
        for (place, entry) in entries.iter_mut().enumerate() {
            let priority = explicit[place].map_or(next, i64::from);
            next = priority - step;
            match i32::try_from(priority) {
                Ok(priority @ 1..) => entry.priority = priority,
                _ => {
                    let span = declared.entries.as_ref().map_or(declared.span, |it| it.entries[place].span);
                    self.tell(
                        Diagnostic::new(span, format!("this entry's priority comes out as {priority}"))
                            .remedy("give it a priority, or entries before it a larger one"),
                    );
                }
            }
        }
    }
}
