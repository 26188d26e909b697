//! Names and ids for the control plane (P4Runtime 1.5.0 §6.3, P4_16 1.2.4 §18.3).

use std::collections::HashSet;

use super::Lowering;
use crate::ast::{Name, Preamble};
use crate::diagnostics::Diagnostic;
use crate::ir::ExternKind;

/// Prefixes of ids: the highest of their four bytes.
pub(super) const ACTION: u8 = 0x01;
pub(super) const TABLE: u8 = 0x02;
pub(super) const CONTROLLER_HEADER: u8 = 0x04;
pub(super) const COUNTER: u8 = 0x12;
pub(super) const DIRECT_COUNTER: u8 = 0x13;
pub(super) const METER: u8 = 0x14;
pub(super) const DIRECT_METER: u8 = 0x15;
pub(super) const REGISTER: u8 = 0x16;
pub(super) const DIGEST: u8 = 0x17;

/// The prefix of an extern's id; none of those that the control plane does not know.
pub(super) fn prefix_of(kind: &ExternKind) -> Option<u8> {
    match kind {
        ExternKind::Counter { .. } => Some(COUNTER),
        ExternKind::DirectCounter { .. } => Some(DIRECT_COUNTER),
        ExternKind::Meter { .. } => Some(METER),
        ExternKind::DirectMeter { .. } => Some(DIRECT_METER),
        ExternKind::Register { .. } => Some(REGISTER),
        ExternKind::Digest { .. } => Some(DIGEST),
        ExternKind::Hash { .. } | ExternKind::InternetChecksum | ExternKind::Other { .. } => None,
    }
}

impl Lowering<'_> {
    /// The control plane's name for something declared in the block `within`: `@name` or its own name, behind the block's
    /// and a dot; an `@name` that starts with a dot is the whole name (P4_16 1.2.4 §18.3).
    pub(super) fn control_plane_name(&mut self, preamble: &Preamble, name: &Name, within: &str) -> String {
        let mut local = name.text.to_string();
        if let Some(annotation) = preamble.annotation("name") {
            match annotation.string() {
                Some(text) if text.strip_prefix('.').is_some_and(|rest| !rest.is_empty()) => {
                    return text[1..].to_owned();
                }
                Some(text) if !text.is_empty() && text != "." => local = text.to_owned(),
                _ => {
                    self.tell(
                        Diagnostic::new(annotation.span, "`@name` takes a string").remedy("write `@name(\"x\")`"),
                    );
                }
            }
        }
        if within.is_empty() { local } else { format!("{within}.{local}") }
    }

    /// The id that `@id` gives, with or without its prefix; 0 where there is none.
    pub(super) fn explicit_id(&mut self, preamble: &Preamble, prefix: u8) -> u32 {
        let Some(annotation) = preamble.annotation("id") else { return 0 };
        let above = u32::from(prefix) << 24;
        match annotation.number().and_then(|number| u32::try_from(number).ok()) {
            Some(id) if id & 0x00ff_ffff != 0 && (id >> 24 == 0 || id >> 24 == u32::from(prefix)) => id | above,
            _ => {
                let span = annotation.span;
                self.tell(
                    Diagnostic::new(span, "this is no id for such an object")
                        .remedy(format!("ids are 1 to 0xffffff here, with or without the prefix {above:#010x}")),
                );
                0
            }
        }
    }

    /// Gives an id to everything that has none: a hash of its name, so that it stays what it is when others come or go. Those
    /// that meet are told apart in the order of their names.
    pub(super) fn identifiers(&mut self) {
        let ir = &mut self.made.ir;
        let mut all: Vec<(String, u8, &mut u32)> = Vec::new();
        all.extend(ir.actions.iter_mut().map(|it| (it.name.clone(), ACTION, &mut it.id)));
        all.extend(ir.tables.iter_mut().map(|it| (it.name.clone(), TABLE, &mut it.id)));
        all.extend(ir.controller_headers.iter_mut().map(|it| (it.name.clone(), CONTROLLER_HEADER, &mut it.id)));
        for it in &mut ir.externs {
            if let Some(prefix) = prefix_of(&it.kind) {
                all.push((it.name.clone(), prefix, &mut it.id));
            }
        }
        let mut taken = HashSet::new();
        let mut twice = Vec::new();
        for (name, _, id) in all.iter().filter(|(_, _, id)| **id != 0) {
            if !taken.insert(**id) {
                twice.push(format!("two objects have the id {id:#010x}, `{name}` is one of them"));
            }
        }
        all.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        for (name, prefix, id) in all {
            if *id != 0 {
                continue;
            }
            let mut low = hash(&name);
            while !taken.insert(u32::from(prefix) << 24 | low) {
                low = if low == 0x00ff_ffff { 1 } else { low + 1 };
            }
            *id = u32::from(prefix) << 24 | low;
        }
        for message in twice {
            self.tell(Diagnostic::new(self.main_span(), message).remedy("give one of them another `@id`"));
        }
        self.names_twice();
    }

    /// Two objects of one kind under one name would be one for the control plane.
    fn names_twice(&mut self) {
        let ir = &self.made.ir;
        let mut seen = HashSet::new();
        let mut twice = Vec::new();
        let tables = ir.tables.iter().map(|it| ("table", &it.name, it.span));
        let main = self.main_span();
        let actions = ir.actions.iter().map(|it| ("action", &it.name, main));
        let externs = ir.externs.iter().map(|it| ("extern", &it.name, it.span));
        for (kind, name, span) in tables.chain(actions).chain(externs) {
            if !seen.insert((kind, name)) {
                twice.push(Diagnostic::new(span, format!("there are two {kind}s with the name `{name}`")));
            }
        }
        for diagnostic in twice {
            self.tell(diagnostic.remedy("give one of them another `@name`"));
        }
    }
}

/// 24 bits of a name, not all zero: FNV-1a of 32 bits, its halves folded.
fn hash(name: &str) -> u32 {
    let full = name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    match (full >> 24) ^ (full & 0x00ff_ffff) {
        0 => 1,
        low => low,
    }
}
