//! Expressions: types, casts that need not be written and those that must be, calls taken out of them.

use crate::from_text::{body, wrong};

#[test]
fn numbers_take_the_width_that_is_expected() {
    assert_eq!(body("", "m.w = m.w + 1; m.x = 255; m.y = -1;"), "m.w = (m.w + 16w1)\nm.x = 8w255\nm.y = 8w255\n");
    assert_eq!(wrong("m.x = 256;"), ["256 does not fit bit<8>"]);
    assert_eq!(wrong("m.x = -129;"), ["-129 does not fit bit<8>"]);
    assert_eq!(body("", "m.x = (bit<8>)256;"), "m.x = 8w0\n", "a cast keeps the low bits");
}

#[test]
fn widths_are_never_changed_silently() {
    assert_eq!(wrong("m.w = m.x;"), ["this is bit<8> where bit<16> is expected"]);
    assert_eq!(wrong("m.w = m.w + m.x;"), ["this is bit<8> where bit<16> is expected"]);
    assert_eq!(wrong("m.f = m.x;"), ["this is bit<8> where bool is expected"]);
    assert_eq!(wrong("m.x = m.f;"), ["this is bool where bit<8> is expected"]);
    assert_eq!(body("", "m.w = (bit<16>)m.x; m.x = (bit<8>)m.w;"), "m.w = (bit<16>)m.x\nm.x = (bit<8>)m.w\n");
    assert_eq!(
        body("", "m.f = (bool)m.x[0:0]; m.x[0:0] = (bit<1>)m.f;"),
        "m.f = (bool)m.x[0:0]\nm.x[0:0] = (bit<1>)m.f\n"
    );
}

#[test]
fn operators_want_the_types_that_they_have() {
    assert_eq!(wrong("if (m.x) { m.x = 1; }"), ["a condition must be a bool, not bit<8>"]);
    assert_eq!(wrong("if (!m.x) { m.x = 1; }"), ["`!` cannot be applied to bit<8>"]);
    assert_eq!(wrong("m.f = m.f & true;"), ["`&` computes with bits, not with bool"]);
    assert_eq!(wrong("m.x = ~1;"), ["`~` cannot be applied to a number without a width"]);
    assert_eq!(wrong("m.x = m.x / 2;"), ["`/` is for constants only"]);
    assert_eq!(wrong("m.x = m.x % 2;"), ["`%` is for constants only"]);
    assert_eq!(wrong("m.x = m.x / 0;"), ["a division by zero"]);
    assert_eq!(wrong("m.x = 1 << m.y;"), ["a number without a width is shifted by what is not constant"]);
    assert_eq!(wrong("m.x = m.x << -1;"), ["a shift by -1"]);
    assert_eq!(wrong("m.f = m.one == 1;"), ["this is a number without a width where inner_t is expected"]);
    assert_eq!(wrong("m.big = m.big ++ m.x;"), ["`++` gives 136 bits, values have at most 128"]);
    assert_eq!(wrong("m.w = m.x ++ 1;"), ["`++` joins bits, not bit<8> and a number without a width"]);
}

#[test]
fn slices_are_within_their_values() {
    assert_eq!(
        body("", "m.x = m.w[15:8]; m.w[7:0] = m.y; m.x = m.d[23:8][8:1];"),
        "m.x = m.w[15:8]\nm.w[7:0] = m.y\nm.x = m.d[16:9]\n"
    );
    assert_eq!(body("", "m.d[23:8][7:0] = m.x;"), "m.d[15:8] = m.x\n");
    assert_eq!(wrong("m.x = m.x[8:1];"), ["bit 8 of a value of 8 bits does not exist: the highest is 7"]);
    assert_eq!(wrong("m.x = m.w[0:7];"), ["[0:7] is not a slice"]);
    assert_eq!(wrong("m.x = m.w[m.y:0];"), ["the bounds of a slice must be a constant number"]);
}

#[test]
fn shifts_by_the_width_or_more_give_zero() {
    assert_eq!(
        body("", "m.x = m.y << 8; m.x = m.y >> 300; m.x = m.y << 0; m.x = m.y << m.w;"),
        "m.x = 8w0\nm.x = 8w0\nm.x = m.y\nm.x = (m.y << m.w)\n"
    );
}

#[test]
fn structs_are_compared_by_their_fields_and_headers_with_their_validity() {
    assert_eq!(body("", "m.f = m.one == m.two;"), "m.f = ((m.one.p == m.two.p) && (m.one.q == m.two.q))\n");
    assert_eq!(body("", "m.f = m.one == {1, 2};"), "m.f = ((m.one.p == 16w1) && (m.one.q == 16w2))\n");
    assert_eq!(
        body("", "m.f = m.h == m.g;"),
        "m.f = ((!m.h.isValid() && !m.g.isValid()) || ((m.h.isValid() && m.g.isValid()) && ((m.h.a == m.g.a) && (m.h.b == m.g.b))))\n"
    );
}

const METER: &str = "Meter<bit<8>>(4, PNA_MeterType_t.BYTES) rate; Register<bit<8>, bit<8>>(4) cells;";

#[test]
fn calls_in_expressions_come_first() {
    assert_eq!(
        body(METER, "m.f = rate.execute(m.x) == PNA_MeterColor_t.RED;"),
        "execute = C.rate.execute(m.x)\nm.f = (execute == 2w0)\n"
    );
}

#[test]
fn what_was_read_before_a_call_keeps_its_value() {
    assert_eq!(
        body(METER, "m.x = m.x + cells.read(m.y);"),
        "kept = m.x\nread = C.cells.read(m.y)\nm.x = (kept + read)\n"
    );
}

#[test]
fn calls_are_made_only_where_their_value_matters() {
    assert_eq!(
        body(METER, "if (m.f && cells.read(0) == 1) { m.x = 1; }"),
        "both = m.f\nif both {\nread = C.cells.read(8w0)\nboth = (read == 8w1)\n}\nif both {\nm.x = 8w1\n}\n"
    );
    assert_eq!(
        body(METER, "m.f = m.f || cells.read(0) == 1;"),
        "both = m.f\nif !both {\nread = C.cells.read(8w0)\nboth = (read == 8w1)\n}\nm.f = both\n"
    );
    assert_eq!(
        body(METER, "m.x = m.f ? cells.read(0) : 7;"),
        "if m.f {\nread = C.cells.read(8w0)\nchosen = read\n} else {\nchosen = 8w7\n}\nm.x = chosen\n"
    );
    assert_eq!(body(METER, "m.f = false && cells.read(0) == 1;"), "m.f = false\n");
}

#[test]
fn choices_are_made_part_by_part() {
    assert_eq!(
        body("", "m.one = m.f ? m.two : m.one;"),
        "m.one.p = (m.f ? m.two.p : m.one.p)\nm.one.q = (m.f ? m.two.q : m.one.q)\n"
    );
    assert_eq!(wrong("m.x = m.f ? 1 : 2;"), ["neither number has a width"]);
    assert_eq!(body("", "m.x = true ? 1 : 2;"), "m.x = 8w1\n");
}

#[test]
fn negations_of_comparisons_are_comparisons() {
    assert_eq!(
        body("", "m.f = m.x != 1; m.f = !(m.x == 1); m.f = !(m.x != 1);"),
        "m.f = (m.x != 8w1)\nm.f = (m.x != 8w1)\nm.f = (m.x == 8w1)\n"
    );
}

#[test]
fn sizes_are_known_to_the_compiler() {
    assert_eq!(body("", "m.x = m.h.minSizeInBytes(); m.y = m.one.minSizeInBits();"), "m.x = 8w2\nm.y = 8w32\n");
}

#[test]
fn what_does_not_exist_is_told_by_name() {
    assert_eq!(wrong("m.z = 1;"), ["`m_t` has no field `z`"]);
    assert_eq!(wrong("m.x.y = 1;"), ["a value of type bit<8> has no field `y`"]);
    assert_eq!(wrong("m.f = m.x.isValid();"), ["a value of type bit<8> has no method `isValid`"]);
    assert_eq!(wrong("m.h.pop();"), ["a value of type h_t has no method `pop`"]);
    assert_eq!(wrong("m.x = PNA_MeterColor_t.BLUE;"), ["`PNA_MeterColor_t` has no member `BLUE`"]);
    assert_eq!(wrong("m.f = error.X == error.NoError;"), ["there is no error `X`"]);
}
