//! Leaves out what nothing uses: variables of unused parameters and folded branches, enums and new types of libraries.

use std::collections::{HashMap, HashSet};

use crate::ir::{Argument, Expr, ExprKind, Outcome, Place, Program, State, Stmt, Transition, VarId, VarKind};

/// The program with only those local variables that it looks at or assigns to, these enums and these new types.
pub(super) fn prune(mut program: Program, enums: &HashSet<u32>, new_types: &HashSet<String>) -> Program {
    let mut used = HashSet::new();
    visit(&mut program, &mut |var| {
        used.insert(*var);
    });
    let kept = |(place, var): &(u32, crate::ir::Var)| match var.kind {
        VarKind::Local => used.contains(&VarId(*place)),
        // Parameters of actions that were looked at for their mistakes only are gone with these.
        VarKind::Field { .. } | VarKind::Metadata { .. } | VarKind::Parameter { .. } => true,
    };
    let vars: Vec<_> = (0u32..).zip(std::mem::take(&mut program.vars)).filter(kept).collect();
    let places: HashMap<VarId, VarId> = (0u32..).zip(&vars).map(|(new, (old, _))| (VarId(*old), VarId(new))).collect();
    program.vars = vars.into_iter().map(|(_, var)| var).collect();
    visit(&mut program, &mut |var| *var = places[var]);

    let mut enum_places = HashMap::new();
    let all: Vec<_> = (0u32..).zip(std::mem::take(&mut program.enums)).collect();
    for (old, declared) in all {
        if enums.contains(&old) {
            let new = u32::try_from(program.enums.len()).expect("fewer than before");
            enum_places.insert(old, new);
            program.enums.push(declared);
        }
    }
    for var in &mut program.vars {
        var.of_enum = var.of_enum.map(|old| enum_places[&old]);
    }
    program.new_types.retain(|declared| new_types.contains(&declared.name));
    program
}

/// Every mention of a variable.
fn visit(program: &mut Program, f: &mut dyn FnMut(&mut VarId)) {
    for header in &mut program.headers {
        header.fields.iter_mut().for_each(|field| f(&mut field.var));
    }
    program.parser_error.iter_mut().for_each(&mut *f);
    for action in &mut program.actions {
        action.parameters.iter_mut().for_each(&mut *f);
        code(&mut action.body, f);
    }
    for key in program.tables.iter_mut().flat_map(|table| &mut table.keys) {
        expr(&mut key.expr, f);
    }
    for State { body, transition, .. } in program.parser.iter_mut().flat_map(|parser| &mut parser.states) {
        code(body, f);
        if let Transition::Select { keys, .. } = transition {
            keys.iter_mut().for_each(|key| expr(key, f));
        }
    }
    program.control.iter_mut().for_each(|control| code(&mut control.body, f));
    program.deparser.iter_mut().for_each(|deparser| code(&mut deparser.body, f));
}

fn code(stmts: &mut [Stmt], f: &mut dyn FnMut(&mut VarId)) {
    for stmt in stmts {
        match stmt {
            Stmt::Assign { place, value } => {
                f(&mut place.var);
                expr(value, f);
            }
            Stmt::If { condition, then, otherwise } => {
                expr(condition, f);
                code(then, f);
                code(otherwise, f);
            }
            Stmt::Apply { then, .. } => match then {
                Outcome::Any => {}
                Outcome::Hit { hit, miss } => {
                    code(hit, f);
                    code(miss, f);
                }
                Outcome::Action { cases, otherwise } => {
                    cases.iter_mut().for_each(|(_, body)| code(body, f));
                    code(otherwise, f);
                }
            },
            Stmt::Call { arguments, result, .. } => {
                for argument in arguments {
                    match argument {
                        Argument::In(value) => expr(value, f),
                        Argument::Out(Place { var, .. }) => f(var),
                    }
                }
                result.iter_mut().for_each(|place| f(&mut place.var));
            }
            Stmt::Advance(value) | Stmt::Verify { condition: value, .. } => expr(value, f),
            Stmt::SetValid { .. } | Stmt::Extract(_) | Stmt::Emit(_) | Stmt::Return | Stmt::Exit => {}
        }
    }
}

fn expr(value: &mut Expr, f: &mut dyn FnMut(&mut VarId)) {
    match &mut value.kind {
        ExprKind::Var(var) => f(var),
        ExprKind::Const(_) | ExprKind::Valid(_) | ExprKind::Lookahead | ExprKind::Length => {}
        ExprKind::Slice { of, .. }
        | ExprKind::Cast(of)
        | ExprKind::Not(of)
        | ExprKind::Complement(of)
        | ExprKind::Negate(of) => expr(of, f),
        ExprKind::Binary { left, right, .. } | ExprKind::Concat(left, right) => {
            expr(left, f);
            expr(right, f);
        }
        ExprKind::Choice { condition, then, otherwise } => {
            expr(condition, f);
            expr(then, f);
            expr(otherwise, f);
        }
    }
}
