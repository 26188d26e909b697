//! Names: where they are known, what hides what, and what is near to what is not there.

use crate::from_text::{accepted, body, in_control, lowered, refused, wrong};

#[test]
fn blocks_have_names_of_their_own() {
    assert_eq!(
        body("", "{ bit<8> t = 1; m.x = t; } { bit<8> t = 2; m.y = t; }"),
        "t = 8w1\nm.x = t\nt_2 = 8w2\nm.y = t_2\n"
    );
    assert_eq!(wrong("{ bit<8> t = 1; m.x = t; } m.y = t;"), ["`t` is not declared"]);
}

#[test]
fn hiding_is_told() {
    assert_eq!(wrong("bit<8> m = 1;"), ["`m` hides another declaration of that name"]);
    assert_eq!(
        wrong("bit<8> t = 1; if (m.f) { bit<8> t = 2; m.x = t; }"),
        ["`t` hides another declaration of that name"]
    );
    assert_eq!(wrong("bit<8> t = 1; bit<8> t = 2;"), ["`t` is declared twice"]);
    assert_eq!(
        refused(&in_control("const bit<8> K = 1;", "", "bit<8> K = 2;")),
        ["`K` hides another declaration of that name"]
    );
    assert_eq!(refused(&in_control("const bit<8> K = 1; const bit<8> K = 2;", "", "")), ["`K` is declared twice"]);
}

#[test]
fn a_dot_means_the_outermost_name() {
    assert_eq!(crate::show::control(&accepted(&in_control("const bit<8> K = 7;", "", "m.x = .K;"))), "m.x = 8w7\n");
    assert_eq!(wrong("bit<8> t = 1; m.x = .t;"), ["`.t` is not declared"]);
}

#[test]
fn names_are_declared_before_they_are_used() {
    assert_eq!(wrong("m.x = t; bit<8> t = 1;"), ["`t` is not declared"]);
    let early = in_control("", "action a() { b(); } action b() { m.x = 1; }", "a();");
    assert_eq!(refused(&early), ["`b` is used before it is declared"]);
}

#[test]
fn a_near_name_is_shown() {
    let mistakes = lowered(&in_control("const bit<8> LIMIT = 1;", "", "m.x = LIMTI;")).unwrap_err();
    assert_eq!(mistakes[0].message, "`LIMTI` is not declared");
    assert_eq!(mistakes[0].remedy.as_deref(), Some("there is `LIMIT`"));
}

#[test]
fn every_mistake_is_told_at_once() {
    assert_eq!(
        wrong("m.x = a; m.w = m.x; m.f = 3; b();"),
        [
            "`a` is not declared",
            "this is bit<8> where bit<16> is expected",
            "this is a number without a width where bool is expected",
            "`b` is not declared"
        ]
    );
}

#[test]
fn what_is_no_value_is_told_to_be_what_it_is() {
    assert_eq!(refused(&in_control("", "action a() {}", "m.x = a;")), ["`a` is an action, not a value"]);
    assert_eq!(wrong("m.x = m_t;"), ["`m_t` is a type, not a value"]);
    assert_eq!(refused(&in_control("", "", "m.x();")), ["a value of type m_t has no method `x`"]);
    assert_eq!(refused(&in_control("typedef K t;", "", "")), ["`K` is not declared"]);
    assert_eq!(refused(&in_control("const bit<8> K = 1; typedef K t;", "", "")), ["`K` is a constant, not a type"]);
}
