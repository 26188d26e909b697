//! The blocks, and what stands around them: how a packet comes in and goes out.

use super::body::Body;
use super::expression::{Operand, Value};
use super::layout::Place;
use super::statement::Exits;
use super::{Lowering, Preamble, Slot};
use crate::ir::{BinaryOp, HeaderId, Match, Target, Transition, Type, VarId};

/// The fields of a slot in its preamble.
pub(super) fn slot_fields(slot: Slot, bytes: usize) -> Vec<(String, u32)> {
    let name = slot_name(slot);
    let bits = bytes as u32 * 8;
    if bits > 64 { vec![(format!("{name}_hi"), bits - 64), (format!("{name}_lo"), 64)] } else { vec![(name, bits)] }
}

fn slot_name(slot: Slot) -> String {
    match slot {
        Slot::Length => "length".to_owned(),
        Slot::Valid => "valid".to_owned(),
        Slot::Var(var) => format!("v{}", var.0),
        Slot::Answer(place) => format!("answer_{place}"),
        Slot::Called => "called".to_owned(),
    }
}

impl Lowering<'_> {
    fn slot(&self, var: VarId) -> (Slot, usize) {
        (Slot::Var(var), usize::from(self.program.vars[var.index()].ty.bits()).div_ceil(8))
    }

    /// The field of a variable of up to 64 bits in the metadata.
    fn field(&mut self, var: VarId) -> String {
        match self.layout.place(self.program, var) {
            Place::Whole(field) => field,
            place => unreachable!("{place:?} of {}", self.program.vars[var.index()].name),
        }
    }

    fn valid_bytes(&self) -> usize {
        if self.program.headers.len() <= 32 { 4 } else { 8 }
    }

    /// What comes before the blocks. It is made last: only then is known which variables there are.
    pub(super) fn enter(&mut self, body: &mut Body) -> Preamble {
        body.push("rx m.rx_port");
        body.push("extract h.in");
        let length = self.layout.own("length", 32, false);
        let mut slots = vec![(Slot::Length, 4)];
        body.push(format!("mov {length} h.in.length"));
        let held = self.layout.held().to_vec();
        for var in held {
            let place = self.layout.place(self.program, var);
            if self.is_input(var) {
                let slot = self.slot(var);
                for (field, to) in slot_fields(slot.0, slot.1).iter().zip(fields(&place)) {
                    body.push(format!("mov {to} h.in.{}", field.0));
                }
                slots.push(slot);
            } else {
                for to in fields(&place) {
                    body.push(format!("mov {to} 0"));
                }
            }
        }
        let zeroed: Vec<_> = self.layout.zeroed().cloned().collect();
        for field in zeroed {
            body.push(format!("mov {field} 0"));
        }
        for slot in self.answers() {
            let name = slot_name(slot);
            body.push(format!("mov m.{name} h.in.{name}"));
            slots.push((slot, 8));
        }
        if let Some(made) = &self.options.made {
            let parsed = body.label();
            let when = self.field(made.when);
            body.jump("jmpeq", parsed, format!("{when} 0"));
            slots.push((Slot::Valid, self.valid_bytes()));
            let valid = self.layout.own("valid", 64, false);
            for header in (0..self.program.headers.len() as u32).map(HeaderId) {
                if !made.headers.iter().any(|made| made.contains(&header)) {
                    continue;
                }
                let absent = body.label();
                body.push(format!("mov {valid} h.in.valid"));
                body.push(format!("and {valid} {:#x}", 1_u64 << header.0));
                body.jump("jmpeq", absent, format!("{valid} 0"));
                body.push(format!("extract {}", self.layout.header_name(header)));
                body.place(absent);
            }
            body.place(parsed);
        }
        if self.layout.has("left") {
            body.push(format!("mov m.left {length}"));
        }
        Preamble { slots }
    }

    pub(super) fn parser(&mut self, body: &mut Body) {
        let Some(parser) = &self.program.parser else { return };
        let end = body.label();
        if let Some(made) = &self.options.made {
            let when = self.field(made.when);
            body.jump("jmpneq", end, format!("{when} 0"));
        }
        let labels: Vec<_> = parser.states.iter().map(|_| body.label()).collect();
        let mut exits = Exits { end: Some(end), ..Exits::default() };
        for (state, label) in parser.states.iter().zip(&labels) {
            body.place(*label);
            self.block(body, &state.body, &mut exits);
            let target = |target: &Target| match target {
                Target::State(state) => labels[state.index()],
                // A transition to reject leaves no error: the control sees what was extracted, either way.
                Target::Accept | Target::Reject => end,
            };
            match &state.transition {
                Transition::To(to) => body.jump("jmp", target(to), ""),
                Transition::Select { keys, cases } => {
                    let depth = body.depth;
                    let values: Vec<_> = keys.iter().map(|key| (self.value(body, key), key.ty)).collect();
                    let mut open = true;
                    for (wanted, to) in cases {
                        if !open {
                            break;
                        }
                        open = wanted.iter().any(|wanted| *wanted != Match::Any);
                        self.case(body, &values, wanted, target(to));
                    }
                    if open {
                        let none = self.error_named(body, &mut exits, "NoMatch");
                        body.jump("jmp", none, "");
                    }
                    body.depth = depth;
                }
            }
        }
        for (error, label) in exits.errors {
            body.place(label);
            if let Some(var) = self.program.parser_error
                && let Place::Whole(field) = self.layout.place(self.program, var)
            {
                body.push(format!("mov {field} {error}"));
            }
            body.jump("jmp", end, "");
        }
        body.place(end);
    }

    /// Jumps if all keys match.
    fn case(&mut self, body: &mut Body, keys: &[(Value, Type)], wanted: &[Match], to: super::body::Label) {
        let no = body.label();
        let counts: Vec<_> = wanted.iter().zip(keys).filter(|(wanted, _)| **wanted != Match::Any).collect();
        for (at, (wanted, (value, ty))) in counts.iter().enumerate() {
            let is_last = at + 1 == counts.len();
            let (wanted, depth) = (**wanted, body.depth);
            match wanted {
                Match::Value(number) => {
                    let number = Value::number(number);
                    let (on, label) = if is_last { (true, to) } else { (false, no) };
                    self.compare(body, BinaryOp::Eq, value, &number, on, label);
                }
                Match::Mask { value: number, mask } => {
                    let masked = self.masked(body, value, mask);
                    let number = Value::number(number & mask);
                    let (on, label) = if is_last { (true, to) } else { (false, no) };
                    self.compare(body, BinaryOp::Eq, &masked, &number, on, label);
                }
                Match::Prefix { value: number, length } => {
                    let mask = ty.mask() & !ty.mask().checked_shr(length.into()).unwrap_or(0);
                    let masked = self.masked(body, value, mask);
                    let (on, label) = if is_last { (true, to) } else { (false, no) };
                    self.compare(body, BinaryOp::Eq, &masked, &Value::number(number & mask), on, label);
                }
                Match::Range { low, high } => {
                    self.compare(body, BinaryOp::Lt, value, &Value::number(low), true, no);
                    let (on, label) = if is_last { (true, to) } else { (false, no) };
                    self.compare(body, BinaryOp::Le, value, &Value::number(high), on, label);
                }
                Match::Any => unreachable!("they were left out"),
            }
            body.depth = depth;
        }
        if counts.is_empty() {
            body.jump("jmp", to, "");
        }
        body.place(no);
    }

    fn masked(&mut self, body: &mut Body, value: &Value, mask: u128) -> Value {
        let mut half = |of: &Operand, mask: u64| match of {
            Operand::Number(number) => Operand::Number(number & mask),
            Operand::Field(_) => {
                let to = self.copied(body, of);
                body.push(format!("and {to} {mask:#x}"));
                Operand::Field(to)
            }
        };
        Value { hi: half(&value.hi, (mask >> 64) as u64), lo: half(&value.lo, mask as u64) }
    }

    pub(super) fn control(&mut self, body: &mut Body) {
        let Some(control) = &self.program.control else { return };
        let end = body.label();
        self.block(body, &control.body, &mut Exits { end: Some(end), ..Exits::default() });
        body.place(end);
    }

    /// What `h.out` is to hold.
    pub(super) fn outputs(&mut self) -> Preamble {
        let mut slots = Vec::new();
        for var in self.layout.held().to_vec() {
            if self.is_output(var) {
                slots.push(self.slot(var));
            }
        }
        if self.options.told {
            slots.push((Slot::Valid, self.valid_bytes()));
            slots.push((Slot::Called, 2));
        }
        Preamble { slots }
    }

    /// The deparser, behind the preamble that tells what the control decided.
    pub(super) fn leave(&mut self, body: &mut Body) {
        let end = body.label();
        let mut emitted = Body::default();
        let told = self.options.told;
        let outputs = self.outputs();
        body.push("validate h.out");
        for (slot, bytes) in &outputs.slots {
            if let Slot::Var(var) = slot {
                let place = self.layout.place(self.program, *var);
                for (field, from) in slot_fields(*slot, *bytes).iter().zip(fields(&place)) {
                    body.push(format!("mov h.out.{} {from}", field.0));
                }
            }
        }
        if told {
            let called = self.layout.own("called", 16, true);
            body.push(format!("mov h.out.called {called}"));
            let valid = self.layout.own("valid", 64, false);
            body.push(format!("mov {valid} 0"));
            for header in (0..self.program.headers.len() as u32).map(HeaderId) {
                let absent = body.label();
                body.jump("jmpnv", absent, self.layout.header_name(header));
                body.push(format!("or {valid} {:#x}", 1_u64 << header.0));
                body.place(absent);
            }
            body.push(format!("mov h.out.valid {valid}"));
        }
        body.push("emit h.out");
        if let Some(deparser) = &self.program.deparser {
            let mut exits = Exits { end: Some(end), ..Exits::default() };
            self.block(body, &deparser.body, &mut exits);
        }
        body.place(end);
        emitted.push("tx 0");
        body.append(emitted);
    }
}

/// SWX's fields of a place in the metadata, the upper half first.
fn fields(place: &Place) -> Vec<String> {
    match place {
        Place::Whole(field) => vec![field.clone()],
        Place::Halves(hi, lo) => vec![hi.clone(), lo.clone()],
        Place::Part { .. } => unreachable!("only headers have containers"),
    }
}
