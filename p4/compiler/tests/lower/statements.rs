//! Statements: assignments of structs and headers, branches, what follows a `return` or `exit`.

use crate::from_text::{accepted, body, in_control, refused, wrong};
use crate::show;

#[test]
fn structs_are_assigned_field_by_field() {
    assert_eq!(body("", "m.one = m.two;"), "m.one.p = m.two.p\nm.one.q = m.two.q\n");
    assert_eq!(body("", "m.one = {1, m.w};"), "m.one.p = 16w1\nm.one.q = m.w\n");
    assert_eq!(body("", "m.one = {q = 1, p = 2};"), "m.one.p = 16w2\nm.one.q = 16w1\n");
    assert_eq!(wrong("m.one = {1};"), ["inner_t has 2 fields, the list 1"]);
    assert_eq!(wrong("m.one = {p = 1};"), ["field `q` has no value"]);
    assert_eq!(wrong("m.one = {p = 1, q = 2, r = 3};"), ["inner_t has no field `r`"]);
    assert_eq!(wrong("m.one = {p = 1, q = 2, p = 3};"), ["field `p` has two values"]);
    assert_eq!(wrong("m.one = m.h;"), ["this is h_t where inner_t is expected"]);
}

#[test]
fn a_list_is_read_before_it_is_written() {
    assert_eq!(
        body("", "m.one = {m.one.q, m.one.p};"),
        "kept = m.one.q\nkept_2 = m.one.p\nm.one.p = kept\nm.one.q = kept_2\n"
    );
    assert_eq!(body("", "m.one = m.one;"), "m.one.p = m.one.p\nm.one.q = m.one.q\n");
}

#[test]
fn headers_take_their_validity_along() {
    assert_eq!(
        body("", "m.h = m.g;"),
        "if m.g.isValid() {\nvalid m.h\nm.h.a = m.g.a\nm.h.b = m.g.b\n} else {\ninvalid m.h\n}\n"
    );
    assert_eq!(body("", "m.h = {1, 2};"), "valid m.h\nm.h.a = 8w1\nm.h.b = 8w2\n");
    assert_eq!(
        body("", "m.h.setValid(); m.g.setInvalid(); m.f = m.h.isValid();"),
        "valid m.h\ninvalid m.g\nm.f = m.h.isValid()\n"
    );
}

#[test]
fn branches_that_do_nothing_are_left_out() {
    assert_eq!(body("", "if (m.f) {} else { m.x = 1; }"), "if !m.f {\nm.x = 8w1\n}\n");
    assert_eq!(body("", "if (m.x == 1) {} else {}"), "");
    assert_eq!(body("", "if (1 + 1 == 2) { m.x = 1; } else { m.x = 2; }"), "m.x = 8w1\n");
    assert_eq!(
        wrong("if (false) { m.x = m.w; }"),
        ["this is bit<16> where bit<8> is expected"],
        "it is looked at even so"
    );
}

#[test]
fn nothing_is_done_behind_a_return() {
    assert_eq!(body("", "if (m.f) { return; m.x = 1; } m.y = 2;"), "if m.f {\nreturn\n}\nm.y = 8w2\n");
    assert_eq!(body("", "exit; m.x = 1;"), "exit\n");
    assert_eq!(wrong("exit; m.x = m.w;"), ["this is bit<16> where bit<8> is expected"]);
    assert_eq!(wrong("return 1;"), ["actions and controls return nothing"]);
}

#[test]
fn a_switch_on_a_value_takes_the_first_case() {
    assert_eq!(
        body("", "switch (m.x) { 1: { m.y = 1; } 2: 3: { m.y = 2; } default: { m.y = 3; } }"),
        "kept = m.x\nif (kept == 8w1) {\nm.y = 8w1\n} else {\nif ((kept == 8w2) || (kept == 8w3)) {\nm.y = 8w2\n} else {\nm.y = 8w3\n}\n}\n"
    );
    assert_eq!(
        wrong("switch (m.one) { default: {} }"),
        ["a switch is on bits, an enum, an error or a table's `action_run`"]
    );
    assert_eq!(wrong("switch (m.x) { m.y: { m.x = 1; } }"), ["the cases of a switch must be constant"]);
}

#[test]
fn inputs_and_values_are_not_assigned_to() {
    let action = in_control("", "action a(in bit<8> v, bit<8> w) { v = 1; w = 2; }", "a(1, m.x);");
    let told = refused(&action);
    assert!(
        !told.is_empty() && told.iter().all(|it| it.contains("cannot be assigned to") || it.contains("only variables")),
        "{told:?}"
    );
}

#[test]
fn variables_start_where_they_are_declared() {
    let text = in_control("", "bit<8> first = 3; const bit<8> K = 4;", "bit<8> second = first + K; m.x = second;");
    assert_eq!(show::control(&accepted(&text)), "first = 8w3\nsecond = (first + 8w4)\nm.x = second\n");
}
