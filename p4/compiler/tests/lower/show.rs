//! The intermediate form as text, for tests to compare with.

use gantry_p4c::ir::{
    Argument, BinaryOp, Expr, ExprKind, Match, Outcome, Place, Program, Stmt, Target, Transition, Type, VarId,
};

/// What the control does, without the spaces before lines.
pub(crate) fn control(program: &Program) -> String {
    code(program, &program.control.as_ref().expect("a control").body)
}

/// What an action does.
pub(crate) fn action(program: &Program, name: &str) -> String {
    let action = program.actions.iter().find(|it| it.name == name);
    code(program, &action.unwrap_or_else(|| panic!("no action {name}")).body)
}

/// The parser's states with where they lead.
pub(crate) fn parser(program: &Program) -> String {
    let parser = program.parser.as_ref().expect("a parser");
    let target = |target: &Target| match target {
        Target::State(id) => parser.states[id.index()].name.clone(),
        Target::Accept => "accept".to_owned(),
        Target::Reject => "reject".to_owned(),
    };
    let mut text = String::new();
    for state in &parser.states {
        text += &format!("{}:\n{}", state.name, code(program, &state.body));
        match &state.transition {
            Transition::To(to) => text += &format!("-> {}\n", target(to)),
            Transition::Select { keys, cases } => {
                let keys: Vec<_> = keys.iter().map(|key| expr(program, key)).collect();
                text += &format!("select {}\n", keys.join(", "));
                for (matches, to) in cases {
                    let matches: Vec<_> = matches.iter().map(matching).collect();
                    text += &format!("{} -> {}\n", matches.join(", "), target(to));
                }
            }
        }
    }
    text
}

pub(crate) fn matching(it: &Match) -> String {
    match it {
        Match::Any => "_".to_owned(),
        Match::Value(value) => format!("{value}"),
        Match::Mask { value, mask } => format!("{value:#x}&&&{mask:#x}"),
        Match::Range { low, high } => format!("{low}..{high}"),
        Match::Prefix { value, length } => format!("{value:#x}/{length}"),
    }
}

pub(crate) fn code(program: &Program, stmts: &[Stmt]) -> String {
    stmts.iter().map(|it| stmt(program, it)).collect()
}

fn stmt(program: &Program, it: &Stmt) -> String {
    let header = |id: gantry_p4c::ir::HeaderId| program.headers[id.index()].name.clone();
    match it {
        Stmt::Assign { place: to, value } => format!("{} = {}\n", place(program, *to), expr(program, value)),
        Stmt::SetValid { header: id, valid } => {
            format!("{} {}\n", if *valid { "valid" } else { "invalid" }, header(*id))
        }
        Stmt::If { condition, then, otherwise } => {
            let mut text = format!("if {} {{\n{}", expr(program, condition), code(program, then));
            if !otherwise.is_empty() {
                text += &format!("}} else {{\n{}", code(program, otherwise));
            }
            text + "}\n"
        }
        Stmt::Apply { table, then } => {
            let mut text = format!("apply {}", program.tables[table.index()].name);
            match then {
                Outcome::Any => return text + "\n",
                Outcome::Hit { hit, miss } => {
                    text += &format!(" {{\nhit:\n{}miss:\n{}", code(program, hit), code(program, miss));
                }
                Outcome::Action { cases, otherwise } => {
                    text += " {\n";
                    for (actions, body) in cases {
                        let names: Vec<_> = actions.iter().map(|id| program.actions[id.index()].name.clone()).collect();
                        text += &format!("{}:\n{}", names.join(", "), code(program, body));
                    }
                    text += &format!("otherwise:\n{}", code(program, otherwise));
                }
            }
            text + "}\n"
        }
        Stmt::Call { instance, function, arguments, result, .. } => {
            let result = result.map_or_else(String::new, |to| format!("{} = ", place(program, to)));
            let instance = instance.map_or_else(String::new, |id| format!("{}.", program.externs[id.index()].name));
            let arguments: Vec<_> = arguments
                .iter()
                .map(|it| match it {
                    Argument::In(value) => expr(program, value),
                    Argument::Out(to) => format!("out {}", place(program, *to)),
                })
                .collect();
            format!("{result}{instance}{function}({})\n", arguments.join(", "))
        }
        Stmt::Extract(id) => format!("extract {}\n", header(*id)),
        Stmt::Advance(by) => format!("advance {}\n", expr(program, by)),
        Stmt::Verify { condition, error } => {
            format!("verify {} else {}\n", expr(program, condition), program.errors[*error as usize])
        }
        Stmt::Emit(id) => format!("emit {}\n", header(*id)),
        Stmt::Return => "return\n".to_owned(),
        Stmt::Exit => "exit\n".to_owned(),
    }
}

fn var(program: &Program, id: VarId) -> String {
    program.vars[id.index()].name.clone()
}

fn place(program: &Program, it: Place) -> String {
    let name = var(program, it.var);
    it.slice.map_or_else(|| name.clone(), |(hi, lo)| format!("{name}[{hi}:{lo}]"))
}

pub(crate) fn expr(program: &Program, it: &Expr) -> String {
    let of = |it: &Expr| expr(program, it);
    match &it.kind {
        ExprKind::Const(value) => match it.ty {
            Type::Bool => (*value == 1).to_string(),
            Type::Bits(bits) => format!("{bits}w{value}"),
        },
        ExprKind::Var(id) => var(program, *id),
        ExprKind::Valid(id) => format!("{}.isValid()", program.headers[id.index()].name),
        ExprKind::Slice { of: inner, hi, lo } => format!("{}[{hi}:{lo}]", of(inner)),
        ExprKind::Cast(inner) => match it.ty {
            Type::Bool => format!("(bool){}", of(inner)),
            Type::Bits(bits) => format!("(bit<{bits}>){}", of(inner)),
        },
        ExprKind::Not(inner) => format!("!{}", of(inner)),
        ExprKind::Complement(inner) => format!("~{}", of(inner)),
        ExprKind::Negate(inner) => format!("-{}", of(inner)),
        ExprKind::Binary { op, left, right } => format!("({} {} {})", of(left), symbol(*op), of(right)),
        ExprKind::Concat(left, right) => format!("({} ++ {})", of(left), of(right)),
        ExprKind::Choice { condition, then, otherwise } => {
            format!("({} ? {} : {})", of(condition), of(then), of(otherwise))
        }
        ExprKind::Lookahead => format!("lookahead<{}>", it.ty.bits()),
        ExprKind::Length => "length".to_owned(),
    }
}

fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::AddSaturating => "|+|",
        BinaryOp::SubSaturating => "|-|",
        BinaryOp::Mul => "*",
        BinaryOp::And => "&",
        BinaryOp::Or => "|",
        BinaryOp::Xor => "^",
        BinaryOp::Shl => "<<",
        BinaryOp::Shr => ">>",
        BinaryOp::Eq => "==",
        BinaryOp::Ne => "!=",
        BinaryOp::Lt => "<",
        BinaryOp::Le => "<=",
        BinaryOp::Gt => ">",
        BinaryOp::Ge => ">=",
        BinaryOp::LogicalAnd => "&&",
        BinaryOp::LogicalOr => "||",
    }
}
