//! Fields are read and written only where their header is valid. In SWX a field of an invalid header is memory that belongs to
//! nobody, so a program is refused unless every way through it is seen to keep to that.

use std::collections::{BTreeMap, BTreeSet};

use super::{Options, Refused};
use crate::ir::{
    Argument, BinaryOp, Expr, ExprKind, HeaderId, Outcome, Program, Stmt, Target, Transition, Type, VarId, VarKind,
};

/// Ways through a program that are kept apart at once.
const WAYS: usize = 20_000;

/// What is known on one way: the valid headers, and of some variables whether they are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    valid: BTreeSet<HeaderId>,
    nonzero: BTreeMap<VarId, bool>,
}

type Ways = BTreeSet<Way>;

struct Walk<'p> {
    program: &'p Program,
    refused: BTreeSet<String>,
    /// Where a block is left before its end.
    left: Ways,
}

pub(super) fn check(program: &Program, options: &Options, refused: &mut Vec<Refused>) {
    let mut walk = Walk { program, refused: BTreeSet::new(), left: Ways::new() };
    let mut parsed = Way::default();
    let mut ways = Ways::new();
    if let Some(made) = &options.made {
        parsed.nonzero.insert(made.when, false);
        for headers in &made.headers {
            let nonzero = [(made.when, true)].into_iter().chain(program.parser_error.map(|error| (error, false)));
            ways.insert(Way { valid: headers.iter().copied().collect(), nonzero: nonzero.collect() });
        }
    }
    ways.extend(walk.parser(parsed));
    for block in [program.control.as_ref().map(|of| &of.body), program.deparser.as_ref().map(|of| &of.body)] {
        ways = walk.block(block.map_or(&[], Vec::as_slice), ways);
        ways.extend(std::mem::take(&mut walk.left));
    }
    for what in walk.refused {
        refused.push(Refused { what, why: "a field of a header that may not be valid is nobody's memory" });
    }
}

impl Walk<'_> {
    fn parser(&mut self, start: Way) -> Ways {
        let Some(parser) = &self.program.parser else { return Ways::from([start]) };
        let mut at = vec![Ways::new(); parser.states.len()];
        let mut ends = Ways::new();
        at[0].insert(start);
        for (place, state) in parser.states.iter().enumerate() {
            let ways = self.block(&state.body, std::mem::take(&mut at[place]));
            let mut go = |target: &Target, ways: &Ways| match target {
                Target::State(next) => at[next.index()].extend(ways.iter().cloned()),
                Target::Accept | Target::Reject => ends.extend(ways.iter().map(|way| self.ended(way, false))),
            };
            match &state.transition {
                Transition::To(target) => go(target, &ways),
                Transition::Select { cases, .. } => cases.iter().for_each(|(_, target)| go(target, &ways)),
            }
            if let Transition::Select { keys, .. } = &state.transition {
                for key in keys {
                    self.value(key, &ways);
                }
                // Where no case matches.
                self.left.extend(ways);
            }
        }
        let failed: Vec<_> = std::mem::take(&mut self.left).iter().map(|way| self.ended(way, true)).collect();
        ends.extend(failed);
        ends
    }

    fn ended(&self, way: &Way, error: bool) -> Way {
        let mut way = way.clone();
        way.nonzero.extend(self.program.parser_error.map(|var| (var, error)));
        way
    }

    fn block(&mut self, block: &[Stmt], mut ways: Ways) -> Ways {
        for stmt in block {
            ways = self.statement(stmt, ways);
            if ways.len() > WAYS {
                self.refused.insert(format!("more than {WAYS} ways through {}", self.program.name));
                return Ways::new();
            }
        }
        ways
    }

    fn statement(&mut self, stmt: &Stmt, ways: Ways) -> Ways {
        match stmt {
            Stmt::Assign { place, value } => {
                let split = if value.ty == Type::Bool && place.slice.is_none() {
                    self.condition(value, ways)
                } else {
                    self.value(value, &ways);
                    match value.kind {
                        ExprKind::Const(0) => (Ways::new(), ways),
                        ExprKind::Const(_) if place.slice.is_none() => (ways, Ways::new()),
                        _ => {
                            self.touch(place.var, &ways);
                            return changed(ways, |way| _ = way.nonzero.remove(&place.var));
                        }
                    }
                };
                self.touch(place.var, &split.0);
                self.touch(place.var, &split.1);
                let known = |ways, nonzero| changed(ways, |way| _ = way.nonzero.insert(place.var, nonzero));
                known(split.0, true).into_iter().chain(known(split.1, false)).collect()
            }
            Stmt::SetValid { header, valid: true } => changed(ways, |way| _ = way.valid.insert(*header)),
            Stmt::SetValid { header, .. } => changed(ways, |way| _ = way.valid.remove(header)),
            Stmt::Extract(header) => {
                // Packets may be too short.
                self.left.extend(ways.iter().cloned());
                changed(ways, |way| _ = way.valid.insert(*header))
            }
            Stmt::If { condition, then, otherwise } => {
                let (yes, no) = self.condition(condition, ways);
                let mut ways = self.block(then, yes);
                ways.extend(self.block(otherwise, no));
                ways
            }
            Stmt::Verify { condition, .. } => {
                let (yes, no) = self.condition(condition, ways);
                self.left.extend(no);
                yes
            }
            Stmt::Apply { table, then } => {
                let program = self.program;
                let table = &program.tables[table.index()];
                for key in &table.keys {
                    self.value(&key.expr, &ways);
                }
                let mut after = Ways::new();
                for id in table.actions.iter().map(|of| of.action).chain([table.default_action.0]) {
                    let left = std::mem::take(&mut self.left);
                    after.extend(self.block(&program.actions[id.index()].body, ways.clone()));
                    // `return` ends the action only.
                    after.extend(std::mem::replace(&mut self.left, left));
                }
                let blocks: Vec<&[Stmt]> = match then {
                    Outcome::Any => return after,
                    Outcome::Hit { hit, miss } => vec![hit, miss],
                    Outcome::Action { cases, otherwise } => {
                        cases.iter().map(|(_, block)| block.as_slice()).chain([otherwise.as_slice()]).collect()
                    }
                };
                blocks.into_iter().flat_map(|block| self.block(block, after.clone())).collect()
            }
            Stmt::Call { arguments, result, .. } => {
                let mut changes: Vec<VarId> = result.iter().map(|place| place.var).collect();
                for argument in arguments {
                    match argument {
                        Argument::In(expr) => self.value(expr, &ways),
                        Argument::Out(place) => changes.push(place.var),
                    }
                }
                for var in &changes {
                    self.touch(*var, &ways);
                }
                changed(ways, |way| way.nonzero.retain(|var, _| !changes.contains(var)))
            }
            Stmt::Advance(expr) => {
                self.value(expr, &ways);
                self.left.extend(ways.iter().cloned());
                ways
            }
            Stmt::Emit(_) => ways,
            Stmt::Return | Stmt::Exit => {
                self.left.extend(ways);
                Ways::new()
            }
        }
    }

    /// A variable is read or written on these ways.
    fn touch(&mut self, var: VarId, ways: &Ways) {
        let declared = &self.program.vars[var.index()];
        if let VarKind::Field { header, .. } = declared.kind
            && ways.iter().any(|way| !way.valid.contains(&header))
        {
            self.refused.insert(declared.name.clone());
        }
    }

    fn value(&mut self, expr: &Expr, ways: &Ways) {
        match &expr.kind {
            ExprKind::Const(_) | ExprKind::Valid(_) | ExprKind::Lookahead | ExprKind::Length => {}
            ExprKind::Var(var) => self.touch(*var, ways),
            ExprKind::Slice { of, .. } | ExprKind::Cast(of) | ExprKind::Complement(of) | ExprKind::Negate(of) => {
                self.value(of, ways);
            }
            ExprKind::Concat(left, right) => {
                self.value(left, ways);
                self.value(right, ways);
            }
            ExprKind::Choice { condition, then, otherwise } => {
                let (yes, no) = self.condition(condition, ways.clone());
                self.value(then, &yes);
                self.value(otherwise, &no);
            }
            ExprKind::Not(_) | ExprKind::Binary { op: BinaryOp::LogicalAnd | BinaryOp::LogicalOr, .. } => {
                self.condition(expr, ways.clone());
            }
            ExprKind::Binary { left, right, .. } => {
                self.value(left, ways);
                self.value(right, ways);
            }
        }
    }

    /// The ways on which a condition may hold, and those on which it may not.
    fn condition(&mut self, expr: &Expr, ways: Ways) -> (Ways, Ways) {
        match &expr.kind {
            ExprKind::Const(value) if *value != 0 => (ways, Ways::new()),
            ExprKind::Const(_) => (Ways::new(), ways),
            ExprKind::Valid(header) => ways.into_iter().partition(|way| way.valid.contains(header)),
            ExprKind::Not(of) => {
                let (yes, no) = self.condition(of, ways);
                (no, yes)
            }
            ExprKind::Var(var) => {
                self.touch(*var, &ways);
                known(*var, ways)
            }
            ExprKind::Binary { op: BinaryOp::LogicalAnd, left, right } => {
                let (yes, mut no) = self.condition(left, ways);
                let (yes, more) = self.condition(right, yes);
                no.extend(more);
                (yes, no)
            }
            ExprKind::Binary { op: BinaryOp::LogicalOr, left, right } => {
                let (mut yes, no) = self.condition(left, ways);
                let (more, no) = self.condition(right, no);
                yes.extend(more);
                (yes, no)
            }
            ExprKind::Binary { op: op @ (BinaryOp::Eq | BinaryOp::Ne), left, right } => {
                self.value(left, &ways);
                self.value(right, &ways);
                match (&left.kind, &right.kind) {
                    (ExprKind::Var(var), ExprKind::Const(0)) => {
                        let (nonzero, zero) = known(*var, ways);
                        if *op == BinaryOp::Ne { (nonzero, zero) } else { (zero, nonzero) }
                    }
                    _ => (ways.clone(), ways),
                }
            }
            _ => {
                self.value(expr, &ways);
                (ways.clone(), ways)
            }
        }
    }
}

/// The ways on which a variable may be other than zero, and those on which it may be zero.
fn known(var: VarId, ways: Ways) -> (Ways, Ways) {
    let (mut nonzero, mut zero) = (Ways::new(), Ways::new());
    for way in ways {
        match way.nonzero.get(&var) {
            Some(true) => _ = nonzero.insert(way),
            Some(false) => _ = zero.insert(way),
            None => {
                nonzero.insert(way.clone());
                zero.insert(way);
            }
        }
    }
    (nonzero, zero)
}

fn changed(ways: Ways, change: impl Fn(&mut Way)) -> Ways {
    let each = |mut way: Way| {
        change(&mut way);
        way
    };
    ways.into_iter().map(each).collect()
}
