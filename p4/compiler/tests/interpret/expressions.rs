//! Every kind of expression (P4_16 §8), by answers worked out by hand.

use gantry_p4c::interpret::{State, TooShort};
use gantry_p4c::ir::{BinaryOp, Expr, ExprKind, Place, VarKind};

use crate::build::{BOOL, Build, binary, bits, expr, num, truth};

/// With a variable `x` of 16 bits that holds 0xabcd, a bool that is true, a valid header and an invalid one.
fn eval(make: impl FnOnce(&mut Build) -> Expr) -> Result<u128, TooShort> {
    let mut build = Build::new();
    let x = build.local("x", 16);
    let flag = build.var("flag", BOOL, VarKind::Local);
    let valid = build.header("hdr.valid", &[("a", 8)]);
    build.header("hdr.invalid", &[("a", 8)]);
    let expr = make(&mut build);
    let mut state = State::new(&build.program, &[0x12, 0x34, 0x56]);
    state.assign(x, 0xabcd);
    state.assign(flag, 1);
    state.set_valid(valid, true);
    state.value(&expr)
}

fn x(build: &Build) -> Expr {
    build.read(gantry_p4c::ir::VarId(0))
}

fn of(op: BinaryOp, left: u128, right: u128, width: u8) -> u128 {
    eval(|_| binary(op, num(left, width), num(right, width))).expect("no lookahead")
}

#[test]
fn variables_and_constants_are_what_they_hold() {
    assert_eq!(eval(|_| num(u128::MAX, 128)), Ok(u128::MAX));
    assert_eq!(eval(|build| x(build)), Ok(0xabcd));
    assert_eq!(eval(|build| build.read(gantry_p4c::ir::VarId(1))), Ok(1));
}

#[test]
fn validity_of_headers() {
    assert_eq!(eval(|_| expr(ExprKind::Valid(gantry_p4c::ir::HeaderId(0)), BOOL)), Ok(1));
    assert_eq!(eval(|_| expr(ExprKind::Valid(gantry_p4c::ir::HeaderId(1)), BOOL)), Ok(0));
}

#[test]
fn slices_count_from_the_lowest_bit() {
    let slice = |hi, lo| eval(|build| expr(ExprKind::Slice { of: x(build).into(), hi, lo }, bits(hi - lo + 1)));
    assert_eq!(slice(15, 0), Ok(0xabcd));
    assert_eq!(slice(11, 4), Ok(0xbc));
    assert_eq!(slice(15, 15), Ok(1));
    assert_eq!(slice(4, 4), Ok(0));
    let wide = eval(|_| expr(ExprKind::Slice { of: num(u128::MAX, 128).into(), hi: 127, lo: 127 }, bits(1)));
    assert_eq!(wide, Ok(1));
}

#[test]
fn casts_cut_off_or_fill_with_zeros() {
    assert_eq!(eval(|build| expr(ExprKind::Cast(x(build).into()), bits(8))), Ok(0xcd));
    assert_eq!(eval(|build| expr(ExprKind::Cast(x(build).into()), bits(128))), Ok(0xabcd));
    assert_eq!(eval(|_| expr(ExprKind::Cast(truth(true).into()), bits(1))), Ok(1));
    assert_eq!(eval(|_| expr(ExprKind::Cast(num(0, 1).into()), BOOL)), Ok(0));
}

#[test]
fn operators_with_one_operand() {
    assert_eq!(eval(|_| expr(ExprKind::Not(truth(true).into()), BOOL)), Ok(0));
    assert_eq!(eval(|_| expr(ExprKind::Not(truth(false).into()), BOOL)), Ok(1));
    assert_eq!(eval(|build| expr(ExprKind::Complement(x(build).into()), bits(16))), Ok(0x5432));
    assert_eq!(eval(|_| expr(ExprKind::Negate(num(1, 9).into()), bits(9))), Ok(0x1ff));
    assert_eq!(eval(|_| expr(ExprKind::Negate(num(0, 9).into()), bits(9))), Ok(0));
    assert_eq!(eval(|_| expr(ExprKind::Negate(num(1, 128).into()), bits(128))), Ok(u128::MAX));
}

#[test]
fn arithmetic_wraps_at_its_width() {
    assert_eq!(of(BinaryOp::Add, 255, 1, 8), 0);
    assert_eq!(of(BinaryOp::Add, u128::MAX, 2, 128), 1);
    assert_eq!(of(BinaryOp::Sub, 0, 1, 12), 0xfff);
    assert_eq!(of(BinaryOp::Sub, 0, 1, 128), u128::MAX);
    assert_eq!(of(BinaryOp::Mul, 0x80, 2, 8), 0);
    assert_eq!(of(BinaryOp::Mul, u128::MAX, u128::MAX, 128), 1);
}

#[test]
fn saturating_arithmetic_stops_at_its_ends() {
    assert_eq!(of(BinaryOp::AddSaturating, 250, 5, 8), 255);
    assert_eq!(of(BinaryOp::AddSaturating, 250, 6, 8), 255);
    assert_eq!(of(BinaryOp::AddSaturating, 250, 4, 8), 254);
    assert_eq!(of(BinaryOp::AddSaturating, u128::MAX, 1, 128), u128::MAX);
    assert_eq!(of(BinaryOp::SubSaturating, 3, 4, 8), 0);
    assert_eq!(of(BinaryOp::SubSaturating, 4, 3, 8), 1);
}

#[test]
fn bits_by_bits() {
    assert_eq!(of(BinaryOp::And, 0b1100, 0b1010, 4), 0b1000);
    assert_eq!(of(BinaryOp::Or, 0b1100, 0b1010, 4), 0b1110);
    assert_eq!(of(BinaryOp::Xor, 0b1100, 0b1010, 4), 0b0110);
}

#[test]
fn shifts_by_the_width_or_more_give_zero() {
    let shift = |op, by: u128, by_bits| eval(|build| binary(op, x(build), num(by, by_bits)));
    assert_eq!(shift(BinaryOp::Shl, 4, 3), Ok(0xbcd0));
    assert_eq!(shift(BinaryOp::Shr, 4, 128), Ok(0xabc));
    assert_eq!(shift(BinaryOp::Shl, 16, 8), Ok(0));
    assert_eq!(shift(BinaryOp::Shr, 16, 8), Ok(0));
    assert_eq!(shift(BinaryOp::Shr, 1 << 100, 128), Ok(0));
    assert_eq!(shift(BinaryOp::Shl, 1 << 100, 128), Ok(0));
}

#[test]
fn comparisons_are_of_unsigned_numbers() {
    for (op, less, equal, greater) in [
        (BinaryOp::Eq, 0, 1, 0),
        (BinaryOp::Ne, 1, 0, 1),
        (BinaryOp::Lt, 1, 0, 0),
        (BinaryOp::Le, 1, 1, 0),
        (BinaryOp::Gt, 0, 0, 1),
        (BinaryOp::Ge, 0, 1, 1),
    ] {
        assert_eq!(
            [of(op, 0x7f, 0x80, 8), of(op, 0x80, 0x80, 8), of(op, 0x80, 0x7f, 8)],
            [less, equal, greater],
            "{op:?}"
        );
    }
}

#[test]
fn logic_looks_at_its_right_side_only_when_it_matters() {
    let beyond = || {
        let ahead = expr(ExprKind::Lookahead, bits(32));
        binary(BinaryOp::Eq, ahead, num(0, 32))
    };
    assert_eq!(eval(|_| beyond()), Err(TooShort));
    assert_eq!(eval(|_| binary(BinaryOp::LogicalAnd, truth(false), beyond())), Ok(0));
    assert_eq!(eval(|_| binary(BinaryOp::LogicalAnd, truth(true), beyond())), Err(TooShort));
    assert_eq!(eval(|_| binary(BinaryOp::LogicalOr, truth(true), beyond())), Ok(1));
    assert_eq!(eval(|_| binary(BinaryOp::LogicalOr, truth(false), beyond())), Err(TooShort));
    for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
        let and = eval(|_| binary(BinaryOp::LogicalAnd, truth(left), truth(right)));
        let or = eval(|_| binary(BinaryOp::LogicalOr, truth(left), truth(right)));
        assert_eq!((and, or), (Ok((left && right).into()), Ok((left || right).into())));
    }
}

#[test]
fn concatenation_puts_the_left_above_the_right() {
    assert_eq!(eval(|build| expr(ExprKind::Concat(num(5, 4).into(), x(build).into()), bits(20))), Ok(0x5abcd));
    let whole = |build: &mut Build| {
        let _ = build;
        expr(ExprKind::Concat(num(1, 1).into(), num(0, 127).into()), bits(128))
    };
    assert_eq!(eval(whole), Ok(1 << 127));
}

#[test]
fn a_choice_evaluates_one_side() {
    let choice = |condition, then: Expr, otherwise: Expr| {
        let ty = then.ty;
        let kind =
            ExprKind::Choice { condition: truth(condition).into(), then: then.into(), otherwise: otherwise.into() };
        eval(|_| expr(kind, ty))
    };
    let beyond = || expr(ExprKind::Lookahead, bits(32));
    assert_eq!(choice(true, num(7, 32), beyond()), Ok(7));
    assert_eq!(choice(false, beyond(), num(8, 32)), Ok(8));
    assert_eq!(choice(false, num(7, 32), beyond()), Err(TooShort));
}

#[test]
fn lookahead_sees_what_comes_and_length_all_there_is() {
    assert_eq!(eval(|_| expr(ExprKind::Lookahead, bits(12))), Ok(0x123));
    assert_eq!(eval(|_| expr(ExprKind::Lookahead, bits(24))), Ok(0x12_3456));
    assert_eq!(eval(|_| expr(ExprKind::Lookahead, bits(25))), Err(TooShort));
    assert_eq!(eval(|_| expr(ExprKind::Length, bits(32))), Ok(3));
}

#[test]
fn a_slice_on_the_left_changes_its_own_bits_only() {
    let mut build = Build::new();
    let var = build.local("x", 128);
    let mut state = State::new(&build.program, &[]);
    state.assign(var, u128::MAX);
    state.assign_place(Place { var, slice: Some((11, 4)) }, 0x5a);
    assert_eq!(state.read_place(Place { var, slice: None }), (u128::MAX - 0xff0 + 0x5a0, bits(128)));
    assert_eq!(state.read_place(Place { var, slice: Some((11, 4)) }), (0x5a, bits(8)));
    state.assign_place(Place { var, slice: Some((127, 0)) }, 3);
    assert_eq!(state.read_place(Place { var, slice: None }).0, 3);
}

#[test]
#[should_panic(expected = "does not fit")]
fn a_value_too_wide_for_its_variable_is_no_program_of_ours() {
    let mut build = Build::new();
    let var = build.local("x", 4);
    State::new(&build.program, &[]).assign(var, 16);
}
