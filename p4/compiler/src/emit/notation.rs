//! Expressions, matches and types in P4's notation, for what people read.

use crate::ir::{BinaryOp, Expr, ExprKind, Match, Program, Type, VarId};

/// A type: `bool`, `bit<9>`.
pub(super) fn ty(ty: Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::Bits(bits) => format!("bit<{bits}>"),
    }
}

/// An expression, every operation in parentheses but the outermost.
pub(super) fn expression(program: &Program, expr: &Expr) -> String {
    let whole = operand(program, expr);
    match whole.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner)
            if matches!(expr.kind, ExprKind::Binary { .. } | ExprKind::Concat(..) | ExprKind::Choice { .. }) =>
        {
            inner.to_owned()
        }
        _ => whole,
    }
}

fn operand(program: &Program, expr: &Expr) -> String {
    let text = |expr: &Expr| operand(program, expr);
    match &expr.kind {
        ExprKind::Const(value) => constant(*value, expr.ty),
        ExprKind::Var(var) => program.vars[var.index()].name.clone(),
        ExprKind::Valid(header) => format!("{}.isValid()", program.headers[header.index()].name),
        ExprKind::Slice { of, hi, lo } => format!("{}[{hi}:{lo}]", text(of)),
        ExprKind::Cast(of) => format!("({}){}", ty(expr.ty), text(of)),
        ExprKind::Not(of) => format!("!{}", text(of)),
        ExprKind::Complement(of) => format!("~{}", text(of)),
        ExprKind::Negate(of) => format!("-{}", text(of)),
        ExprKind::Binary { op, left, right } => {
            // A constant beside a variable of an enum is one of its members.
            let (left_enum, right_enum) = (enum_of(program, left), enum_of(program, right));
            let side = |expr: &Expr, of_enum| match expr.kind {
                ExprKind::Const(value) => member(program, of_enum, value).unwrap_or_else(|| text(expr)),
                _ => text(expr),
            };
            format!("({} {} {})", side(left, right_enum), operator(*op), side(right, left_enum))
        }
        ExprKind::Concat(left, right) => format!("({} ++ {})", text(left), text(right)),
        ExprKind::Choice { condition, then, otherwise } => {
            format!("({} ? {} : {})", text(condition), text(then), text(otherwise))
        }
        ExprKind::Lookahead => format!("lookahead<{}>()", ty(expr.ty)),
        ExprKind::Length => "length()".to_owned(),
    }
}

/// What a key is compared with; `key` tells its width, and its enum.
pub(super) fn matching(program: &Program, wanted: Match, key: &Expr) -> String {
    let of_enum = enum_of(program, key);
    let one = |value| member(program, of_enum, value).unwrap_or_else(|| constant(value, key.ty));
    match wanted {
        Match::Any => "_".to_owned(),
        Match::Value(value) => one(value),
        Match::Mask { value, mask } => format!("{value:#x} &&& {mask:#x}"),
        Match::Range { low, high } => format!("{} .. {}", one(low), one(high)),
        Match::Prefix { value, length } => format!("{value:#x}/{length}"),
    }
}

/// A value for a variable: a member of its enum, a number, `true` or `false`.
pub(super) fn value(program: &Program, var: VarId, value: u128) -> String {
    let var = &program.vars[var.index()];
    member(program, var.of_enum, value).unwrap_or_else(|| constant(value, var.ty))
}

fn enum_of(program: &Program, expr: &Expr) -> Option<u32> {
    match expr.kind {
        ExprKind::Var(var) => program.vars[var.index()].of_enum,
        _ => None,
    }
}

fn member(program: &Program, of_enum: Option<u32>, value: u128) -> Option<String> {
    let members = &program.enums[of_enum? as usize].members;
    members.iter().find(|(_, each)| *each == value).map(|(name, _)| name.clone())
}

/// Small numbers in decimal, others in hexadecimal.
fn constant(value: u128, ty: Type) -> String {
    match (ty, value) {
        (Type::Bool, 0) => "false".to_owned(),
        (Type::Bool, _) => "true".to_owned(),
        (Type::Bits(_), 0..=255) => value.to_string(),
        (Type::Bits(_), _) => format!("{value:#x}"),
    }
}

fn operator(op: BinaryOp) -> &'static str {
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
