//! Statements of parser, control, deparser and actions.

use super::body::{Body, Label};
use super::expression::{Operand, Value};
use super::layout::{Place, last, plain};
use super::{LeftOut, Lowering, Slot};
use crate::ir::{self, Argument, ExternId, ExternKind, HeaderId, Stmt, TableId};
use std::collections::BTreeMap;

/// Where a block's ways out lead.
#[derive(Default)]
pub(super) struct Exits {
    /// `return` and `exit`; none in an action, which SWX returns from by itself.
    pub(super) end: Option<Label>,
    /// The parser's errors that something leads to.
    pub(super) errors: BTreeMap<u32, Label>,
}

impl Lowering<'_> {
    pub(super) fn block(&mut self, body: &mut Body, block: &[Stmt], exits: &mut Exits) {
        for stmt in block {
            let depth = body.depth;
            self.statement(body, stmt, exits);
            body.depth = depth;
        }
    }

    fn statement(&mut self, body: &mut Body, stmt: &Stmt, exits: &mut Exits) {
        match stmt {
            Stmt::Assign { place, value } => {
                let value = self.value(body, value);
                self.assign(body, *place, &value);
            }
            Stmt::SetValid { header, valid } => self.set_valid(body, *header, *valid),
            Stmt::If { condition, then, otherwise } => {
                let (other, end) = (body.label(), body.label());
                self.jump_if(body, condition, false, other);
                self.block(body, then, exits);
                if !otherwise.is_empty() {
                    body.jump("jmp", end, "");
                }
                body.place(other);
                self.block(body, otherwise, exits);
                body.place(end);
            }
            Stmt::Apply { table, then } => self.apply(body, *table, then, exits),
            Stmt::Call { instance, function, arguments, result, .. } => {
                let value = self.call(body, *instance, function, arguments, result.is_some());
                if let (Some(place), Some(value)) = (result, value) {
                    self.assign(body, *place, &value);
                }
            }
            Stmt::Extract(header) => {
                let bytes = self.program.headers[header.index()].bits / 8;
                let left = self.layout.own("left", 32, false);
                let short = self.error_named(body, exits, "PacketTooShort");
                body.jump("jmplt", short, format!("{left} {bytes}"));
                body.push(format!("sub {left} {bytes}"));
                body.push(format!("extract {}", self.layout.header_name(*header)));
            }
            Stmt::Advance(_) => self.refuse("advance", "it skips whole headers only"),
            Stmt::Verify { condition, error } => {
                let to = *exits.errors.entry(*error).or_insert_with(|| body.label());
                self.jump_if(body, condition, false, to);
            }
            Stmt::Emit(header) => body.push(format!("emit {}", self.layout.header_name(*header))),
            Stmt::Return => match exits.end {
                Some(end) => body.jump("jmp", end, ""),
                None => body.push("return"),
            },
            Stmt::Exit => match exits.end {
                Some(end) => body.jump("jmp", end, ""),
                None => self.refuse("exit in an action", "an action returns to where its table is"),
            },
        }
    }

    /// Where a parser's error of core.p4 leads.
    pub(super) fn error_named(&mut self, body: &mut Body, exits: &mut Exits, name: &str) -> Label {
        let error = self.program.errors.iter().position(|error| error == name);
        let error = error.unwrap_or_else(|| panic!("a program with a parser declares error.{name}")) as u32;
        *exits.errors.entry(error).or_insert_with(|| body.label())
    }

    pub(super) fn assign(&mut self, body: &mut Body, place: ir::Place, value: &Value) {
        let target = self.layout.place(self.program, place.var);
        if let Place::Halves(hi, lo) = &target {
            if place.slice.is_some() {
                self.refuse(format!("a part of {}", self.program.vars[place.var.index()].name), "it is two fields");
                return;
            }
            // The lower half may come from what the upper one is about to replace.
            let low = match &value.lo {
                Operand::Field(from) if from == hi => Operand::Field(self.copied(body, &value.lo)),
                other => other.clone(),
            };
            self.store(body, hi, &value.hi);
            return self.store(body, lo, &low);
        }
        let (container, shift, bits, of) = match (&target, place.slice) {
            (Place::Whole(field), None) => return self.store(body, field, &value.lo),
            (Place::Whole(field), Some((hi, lo))) => {
                let of = u32::from(self.program.vars[place.var.index()].ty.bits());
                (field, u32::from(lo), u32::from(hi - lo + 1), of)
            }
            (Place::Part { container, container_bits, shift }, slice) => {
                let (hi, lo) = slice.unwrap_or((self.program.vars[place.var.index()].ty.bits() - 1, 0));
                (container, shift + u32::from(lo), u32::from(hi - lo + 1), *container_bits)
            }
            (Place::Halves(..), _) => unreachable!("they were dealt with"),
        };
        let ones = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        let all = if of == 64 { u64::MAX } else { (1 << of) - 1 };
        let to = self.copied(body, &Operand::Field(container.clone()));
        body.push(format!("and {to} {:#x}", all & !(ones << shift)));
        match &value.lo {
            Operand::Number(0) => {}
            Operand::Number(number) => body.push(format!("or {to} {:#x}", number << shift)),
            Operand::Field(_) => {
                let new = self.copied(body, &value.lo);
                if shift != 0 {
                    body.push(format!("shl {new} {shift}"));
                }
                body.push(format!("or {to} {new}"));
            }
        }
        body.push(format!("mov {container} {to}"));
    }

    fn store(&mut self, body: &mut Body, field: &str, value: &Operand) {
        if *value == Operand::Field(field.to_owned()) {
            return;
        }
        // An argument would go into a header as it lies in the table: in the order of the host.
        let value = match value {
            Operand::Field(from) if from.starts_with("t.") && field.starts_with("h.") => {
                Operand::Field(self.copied(body, value))
            }
            other => other.clone(),
        };
        body.push(format!("mov {field} {}", value.text()));
    }

    /// A header that becomes valid is zero; one that is valid already stays as it is.
    fn set_valid(&mut self, body: &mut Body, header: HeaderId, valid: bool) {
        let name = self.layout.header_name(header);
        if !valid {
            return body.push(format!("invalidate {name}"));
        }
        let there = body.label();
        body.jump("jmpv", there, name.clone());
        body.push(format!("validate {name}"));
        for container in self.layout.containers(header) {
            body.push(format!("mov {container} 0"));
        }
        body.place(there);
    }

    fn apply(&mut self, body: &mut Body, table: TableId, then: &ir::Outcome, exits: &mut Exits) {
        if exits.end.is_none() {
            return self.refuse("a table that an action applies", "an action applies no table");
        }
        self.look_up(body, table);
        let end = body.label();
        match then {
            ir::Outcome::Any => {}
            ir::Outcome::Hit { hit, miss } => {
                let other = body.label();
                body.jump("jmpnh", other, "");
                self.block(body, hit, exits);
                body.jump("jmp", end, "");
                body.place(other);
                self.block(body, miss, exits);
            }
            ir::Outcome::Action { cases, otherwise } => {
                let mut labels = Vec::new();
                for (actions, _) in cases {
                    let case = body.label();
                    labels.push(case);
                    for action in actions {
                        body.jump("jmpa", case, plain(&self.program.actions[action.index()].name));
                    }
                }
                self.block(body, otherwise, exits);
                for ((_, block), label) in cases.iter().zip(labels) {
                    body.jump("jmp", end, "");
                    body.place(label);
                    self.block(body, block, exits);
                }
            }
        }
        body.place(end);
    }

    /// An extern: its value, if one is wanted.
    fn call(
        &mut self,
        body: &mut Body,
        instance: Option<ExternId>,
        function: &str,
        arguments: &[Argument],
        wanted: bool,
    ) -> Option<Value> {
        let of = instance.map(|id| &self.program.externs[id.index()]);
        match of.map(|of| &of.kind) {
            Some(ExternKind::InternetChecksum) => {
                self.checksum(body, instance.expect("a checksum has an instance"), function, arguments)
            }
            Some(ExternKind::Counter { size, .. }) => {
                let (size, name) = (*size, plain(last(&of.expect("it has an instance").name)));
                self.count(body, &name, size, arguments);
                None
            }
            Some(ExternKind::Register { .. } | ExternKind::Hash { .. }) => {
                self.refuse(format!("{}.{function}", of.map_or("", |of| &of.name)), "not lowered: no program uses it");
                None
            }
            kind => {
                let why = match kind {
                    Some(ExternKind::DirectCounter { .. }) => "SWX counts by action, not by entry",
                    Some(ExternKind::Meter { .. } | ExternKind::DirectMeter { .. }) => {
                        "SWX meters by the TSC: the colour comes with the packet"
                    }
                    Some(ExternKind::Digest { .. }) => "SWX has no digests: only whether one was packed is told",
                    _ if wanted => "the program's own: the value comes with the packet",
                    _ => "the program's own: only whether it was called is told",
                };
                if arguments.iter().any(|argument| matches!(argument, Argument::Out(_))) {
                    self.refuse(function, "a call from outside gives one value");
                }
                let place = self.leave_out(instance, function, why);
                self.outside(body, place, wanted, matches!(kind, Some(ExternKind::DirectCounter { .. })))
            }
        }
    }

    /// What becomes of a call that SWX does not make.
    fn outside(&mut self, body: &mut Body, place: usize, wanted: bool, silent: bool) -> Option<Value> {
        if wanted {
            let field = self.layout.own(&format!("answer_{place}"), 64, false);
            return Some(Value { hi: Operand::Number(0), lo: Operand::Field(field) });
        }
        if self.options.told && !silent {
            let called = self.layout.own("called", 16, true);
            body.push(format!("or {called} {:#x}", 1_u32 << place));
        }
        None
    }

    fn leave_out(&mut self, instance: Option<ExternId>, function: &str, why: &'static str) -> usize {
        let what = match instance {
            Some(id) => format!("{}.{function}", self.program.externs[id.index()].name),
            None => function.to_owned(),
        };
        let left_out = LeftOut { what, why, instance, function: function.to_owned() };
        let there = self.left_out.iter().position(|other| *other == left_out);
        let place = there.unwrap_or_else(|| {
            self.left_out.push(left_out);
            self.left_out.len() - 1
        });
        if place >= 16 {
            self.refuse("more than 16 externs", "16 bits tell which were called");
        }
        place
    }

    /// Packets and bytes, in two register arrays. Beyond the last cell nothing is counted; SWX would count in another.
    fn count(&mut self, body: &mut Body, name: &str, size: u32, arguments: &[Argument]) {
        let Some(Argument::In(index)) = arguments.first() else { unreachable!("a counter is called with an index") };
        let index = self.value(body, index).lo;
        let (packets, bytes) = (format!("{name}_packets"), format!("{name}_bytes"));
        let length = self.layout.own("length", 32, false);
        let beyond = body.label();
        match &index {
            Operand::Number(number) if *number >= u64::from(size) => return,
            Operand::Number(_) => {}
            Operand::Field(field) => body.jump("jmpgt", beyond, format!("{field} {}", size - 1)),
        }
        // From a field: DPDK 22.11 adds nothing when index and addend are both numbers.
        let one = self.copied(body, &Operand::Number(1));
        body.push(format!("regadd {packets} {} {one}", index.text()));
        body.push(format!("regadd {bytes} {} {length}", index.text()));
        body.place(beyond);
        self.registers.insert(packets, size.next_power_of_two());
        self.registers.insert(bytes, size.next_power_of_two());
    }

    /// Answers that packets bring along.
    pub(super) fn answers(&self) -> Vec<Slot> {
        let held = |place: usize| self.layout.has(&format!("answer_{place}"));
        (0..self.left_out.len()).filter(|place| held(*place)).map(Slot::Answer).collect()
    }
}
