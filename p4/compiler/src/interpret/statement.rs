//! Statements (P4_16 §12), the parser's states (§13) and what tables do (§14.2): a packet's run through a program.

use crate::interpret::expression::matches;
use crate::interpret::{Call, Cell, Externs, Machine, Outcome, Passed, Reply, State, Step, TooShort};
use crate::ir::{self, Argument, ExternId, HeaderId, Place, Stmt, TableId, Target, Transition};

/// A packet's run.
pub(super) struct Run<'m, 'p, 'x> {
    machine: &'m Machine<'p>,
    state: State<'m>,
    externs: &'x mut dyn Externs,
    trace: Vec<Step>,
    emitted: Vec<u8>,
    /// The entry whose action runs.
    cell: Option<Cell>,
}

/// How a statement ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The next one follows.
    On,
    /// `return`.
    Return,
    /// `exit`.
    Exit,
    /// The parser ends with this error.
    Reject(u32),
}

impl<'m, 'p, 'x> Run<'m, 'p, 'x> {
    pub(super) fn new(machine: &'m Machine<'p>, state: State<'m>, externs: &'x mut dyn Externs) -> Self {
        Self { machine, state, externs, trace: Vec::new(), emitted: Vec::new(), cell: None }
    }

    /// The program's blocks one after the other.
    pub(super) fn whole(mut self) -> Outcome {
        let program = self.machine.program;
        let (mut accepted, mut parser_error) = (true, 0);
        if let Some(parser) = &program.parser {
            (accepted, parser_error) = self.parse(parser);
            self.trace.push(Step::Parsed { accepted, error: parser_error });
            if let Some(var) = program.parser_error {
                self.state.assign(var, u128::from(parser_error));
            }
        }
        self.behind_the_parser(accepted, parser_error)
    }

    /// The control and the deparser.
    pub(super) fn behind_the_parser(mut self, accepted: bool, parser_error: u32) -> Outcome {
        let program = self.machine.program;
        // `exit` ends a block and what it is called from; the architecture's next block runs all the same.
        if let Some(control) = &program.control {
            let _: Flow = self.block(&control.body);
        }
        if let Some(deparser) = &program.deparser {
            let _: Flow = self.block(&deparser.body);
        }
        Outcome {
            payload: self.state.packet.rest().to_vec(),
            values: self.state.values,
            valid: self.state.valid,
            accepted,
            parser_error,
            emitted: self.emitted,
            trace: self.trace,
        }
    }

    /// From state to state until the end: whether the packet is accepted, and the error.
    fn parse(&mut self, parser: &ir::Parser) -> (bool, u32) {
        let mut at = ir::StateId(0);
        loop {
            self.trace.push(Step::State(at));
            let state = &parser.states[at.index()];
            if let Flow::Reject(error) = self.block(&state.body) {
                return (false, error);
            }
            match self.transition(&state.transition) {
                Ok(Target::State(next)) => {
                    assert!(next > at, "states follow one another: {next:?} after {at:?}");
                    at = next;
                }
                Ok(Target::Accept) => return (true, 0),
                Ok(Target::Reject) => return (false, 0),
                Err(error) => return (false, error),
            }
        }
    }

    fn transition(&self, transition: &Transition) -> Result<Target, u32> {
        match transition {
            Transition::To(target) => Ok(*target),
            Transition::Select { keys, cases } => {
                let mut values = Vec::new();
                for key in keys {
                    values.push(self.state.value(key).map_err(|TooShort| self.error("PacketTooShort"))?);
                }
                for (wanted, target) in cases {
                    assert_eq!(wanted.len(), keys.len(), "a match for each key");
                    let each = wanted.iter().zip(&values).zip(keys);
                    if each.into_iter().all(|((wanted, value), key)| matches(*wanted, *value, key.ty.bits())) {
                        return Ok(*target);
                    }
                }
                Err(self.error("NoMatch"))
            }
        }
    }

    /// What represents one of the errors that core.p4 declares.
    fn error(&self, name: &str) -> u32 {
        let place = self.machine.program.errors.iter().position(|error| error == name);
        u32::try_from(place.unwrap_or_else(|| panic!("a program with a parser declares error.{name}")))
            .expect("few errors")
    }

    fn block(&mut self, body: &[Stmt]) -> Flow {
        for stmt in body {
            let flow = self.statement(stmt).unwrap_or_else(|TooShort| Flow::Reject(self.error("PacketTooShort")));
            if flow != Flow::On {
                return flow;
            }
        }
        Flow::On
    }

    fn statement(&mut self, stmt: &Stmt) -> Result<Flow, TooShort> {
        match stmt {
            Stmt::Assign { place, value } => {
                let value = self.state.value(value)?;
                self.state.assign_place(*place, value);
            }
            Stmt::SetValid { header, valid } => self.state.set_valid(*header, *valid),
            Stmt::If { condition, then, otherwise } => {
                let holds = self.state.value(condition)? != 0;
                return Ok(self.block(if holds { then } else { otherwise }));
            }
            Stmt::Apply { table, then } => return self.apply(*table, then),
            Stmt::Call { instance, function, arguments, result, .. } => {
                self.call(*instance, function, arguments, *result)?;
            }
            Stmt::Extract(header) => self.extract(*header)?,
            Stmt::Advance(bits) => {
                let bits = self.state.value(bits)?;
                if !self.state.packet.skip(bits) {
                    return Err(TooShort);
                }
            }
            Stmt::Verify { condition, error } => {
                if self.state.value(condition)? == 0 {
                    return Ok(Flow::Reject(*error));
                }
            }
            Stmt::Emit(header) => self.emit(*header),
            Stmt::Return => return Ok(Flow::Return),
            Stmt::Exit => return Ok(Flow::Exit),
        }
        Ok(Flow::On)
    }

    /// P4_16 §13.8.1: all of the header or nothing.
    fn extract(&mut self, header: HeaderId) -> Result<(), TooShort> {
        let declared = &self.machine.program.headers[header.index()];
        if u128::from(declared.bits) > self.state.packet.left_bits() {
            return Err(TooShort);
        }
        self.state.set_valid(header, true);
        for field in &declared.fields {
            let value = self.state.packet.peek(field.bits).expect("the whole header is there");
            self.state.assign(field.var, value);
            assert!(self.state.packet.skip(field.bits.into()), "the whole header is there");
        }
        Ok(())
    }

    /// P4_16 §16: nothing if the header is not valid.
    fn emit(&mut self, header: HeaderId) {
        if !self.state.valid[header.index()] {
            return;
        }
        let declared = &self.machine.program.headers[header.index()];
        let mut bits = Vec::new();
        for field in &declared.fields {
            let value = self.state.values[field.var.index()];
            bits.extend((0..field.bits).rev().map(|bit| (value >> bit & 1) as u8));
        }
        assert!(bits.len() as u32 == declared.bits && bits.len() % 8 == 0, "{} is of whole bytes", declared.name);
        self.emitted.extend(bits.chunks(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit)));
        self.trace.push(Step::Emitted(header));
    }

    /// P4_16 §14.2.2: keys, lookup, action, and what depends on the outcome.
    fn apply(&mut self, table: TableId, then: &ir::Outcome) -> Result<Flow, TooShort> {
        let machine = self.machine;
        let declared = &machine.program.tables[table.index()];
        let entries = machine.table(table);
        let mut key = Vec::new();
        for part in &declared.keys {
            key.push(self.state.value(&part.expr)?);
        }

        let row = entries.lookup(&key);
        let (action, arguments) = row.map_or(entries.default_action(), |row| (row.entry.action, &row.entry.arguments));
        self.trace.push(Step::Applied {
            table,
            key,
            entry: row.map(|row| row.id),
            action,
            arguments: arguments.to_vec(),
        });
        let body = &machine.program.actions[action.index()];
        assert_eq!(body.parameters.len(), arguments.len(), "an argument for each parameter of {}", body.name);
        for (var, value) in body.parameters.iter().zip(arguments) {
            self.state.assign(*var, *value);
        }
        self.cell = Some(row.map_or(Cell::Default(table), |row| Cell::Entry(table, row.id)));
        let flow = self.block(&body.body);
        self.cell = None;
        if matches!(flow, Flow::Exit | Flow::Reject(_)) {
            return Ok(flow);
        }

        Ok(match then {
            ir::Outcome::Any => Flow::On,
            ir::Outcome::Hit { hit, miss } => self.block(if row.is_some() { hit } else { miss }),
            ir::Outcome::Action { cases, otherwise } => {
                let case = cases.iter().find(|(actions, _)| actions.contains(&action));
                self.block(case.map_or(otherwise, |(_, body)| body))
            }
        })
    }

    fn call(
        &mut self,
        instance: Option<ExternId>,
        function: &str,
        arguments: &[Argument],
        result: Option<Place>,
    ) -> Result<(), TooShort> {
        let mut passed = Vec::new();
        for argument in arguments {
            passed.push(match argument {
                Argument::In(expr) => Passed { value: self.state.value(expr)?, ty: expr.ty, out: false },
                Argument::Out(place) => {
                    let (value, ty) = self.state.read_place(*place);
                    Passed { value, ty, out: true }
                }
            });
        }
        self.trace.push(Step::Called {
            instance,
            function: function.to_owned(),
            arguments: passed.iter().map(|passed| passed.value).collect(),
        });
        let Reply { result: value, outs } = self.externs.call(&Call {
            instance: instance.map(|id| (id, &self.machine.program.externs[id.index()])),
            function,
            arguments: passed,
            result: result.map(|place| self.state.read_place(place).1),
            cell: self.cell,
            packet_bytes: self.state.packet.length(),
        });

        // Copy-out goes from left to right, the result last (P4_16 §6.8).
        let places = arguments.iter().filter_map(|argument| match argument {
            Argument::In(_) => None,
            Argument::Out(place) => Some(*place),
        });
        for (place, value) in places.zip(outs).chain(result.map(|place| (place, value))) {
            let (_, ty) = self.state.read_place(place);
            self.state.assign_place(place, value & ty.mask());
        }
        Ok(())
    }
}
