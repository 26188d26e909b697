//! Actions: inlined where they are called, with arguments copied in and out.

use crate::from_text::{accepted, body, in_control, refused};
use crate::show;

fn wrong(locals: &str, body: &str) -> Vec<String> {
    refused(&in_control("", locals, body))
}

#[test]
fn constant_arguments_are_put_in_place() {
    assert_eq!(body("action a(bit<8> v) { m.x = v + 1; }", "a(3);"), "m.x = 8w4\n");
    assert_eq!(body("action a(bit<8> v) { m.x = v + 1; }", "a(m.y);"), "v = m.y\nm.x = (v + 8w1)\n");
    assert_eq!(
        body("action a(bit<8> v, bit<8> w) { m.x = v; m.y = w; }", "a(w = 1, v = 2);"),
        "m.x = 8w2\nm.y = 8w1\n"
    );
}

#[test]
fn arguments_are_copied_in_and_out() {
    assert_eq!(
        body("action a(inout bit<8> v, out bit<8> w) { v = v + 1; w = m.x; }", "a(m.x, m.y);"),
        "v = m.x\nv = (v + 8w1)\nw = m.x\nm.x = v\nm.y = w\n",
        "what is behind a name of the caller's changes only when the action is done (§6.8)"
    );
    assert_eq!(
        body("action a(out bit<8> v) { v = 1; exit; }", "a(m.x); m.y = 1;"),
        "v = 8w1\nm.x = v\nexit\n",
        "exit writes back too (§12.5)"
    );
    assert_eq!(
        wrong("action a(out bit<8> v) { v = 1; }", "a(1);"),
        ["only variables and their fields can be assigned to"]
    );
    assert_eq!(wrong("action a(out bit<8> v) { v = 1; }", "a(m.w);"), ["this is bit<16> where bit<8> is expected"]);
}

#[test]
fn a_return_leaves_the_action_only() {
    assert_eq!(
        body("action a() { if (m.f) { return; } m.x = 1; }", "a(); m.y = 2;"),
        "if m.f {\n} else {\nm.x = 8w1\n}\nm.y = 8w2\n"
    );
    assert_eq!(
        body("action a() { if (m.f) { if (m.x == 1) { return; } m.x = 3; } m.x = 1; }", "a(); m.y = 2;"),
        "a_left = false\nif m.f {\nif (m.x == 8w1) {\na_left = true\n} else {\nm.x = 8w3\n}\n}\nif !a_left {\nm.x = 8w1\n}\nm.y = 8w2\n"
    );
}

#[test]
fn actions_see_what_was_declared_with_them_and_not_the_caller_s_names() {
    assert_eq!(wrong("action a() { m.x = t; }", "bit<8> t = 1; a();"), ["`t` is not declared"]);
    let outer = in_control("action add(inout bit<8> v) { v = v + 1; }", "", "bit<8> t = 1; add(t); m.x = t;");
    assert_eq!(show::control(&accepted(&outer)), "t = 8w1\nv = t\nv = (v + 8w1)\nt = v\nm.x = t\n");
}

#[test]
fn actions_call_actions_but_not_themselves() {
    assert_eq!(body("action b(bit<8> v) { m.x = v; } action a() { b(1); b(2); }", "a();"), "m.x = 8w1\nm.x = 8w2\n");
    let told = wrong("action a() { a(); }", "a();");
    assert_eq!(told, ["action `a` calls itself"]);
}

#[test]
fn calls_do_not_multiply_without_bound() {
    let mut locals = "action a0() { m.x = m.x + 1; }".to_owned();
    for level in 1..30 {
        locals += &format!("action a{level}() {{ a{}(); a{}(); }}", level - 1, level - 1);
    }
    assert_eq!(wrong(&locals, "a29();"), ["calls of actions come to more than 4096 when they are inlined"]);
}

#[test]
fn the_number_of_arguments_is_held_to() {
    assert_eq!(wrong("action a(bit<8> v) { m.x = v; }", "a();"), ["action `a` takes 1 argument, not 0"]);
    assert_eq!(wrong("action a(bit<8> v) { m.x = v; }", "a(1, 2);"), ["action `a` takes 1 argument, not 2"]);
    assert_eq!(wrong("action a(bit<8> v) { m.x = v; }", "a(w = 1);"), ["action `a` has no parameter `w`"]);
}

#[test]
fn mistakes_in_actions_that_nothing_uses_are_told_and_the_actions_left_out() {
    assert_eq!(wrong("action a() { m.x = m.w; }", ""), ["this is bit<16> where bit<8> is expected"]);
    assert!(accepted(&in_control("", "action a() { m.x = 1; }", "")).actions.is_empty());
}

#[test]
fn tables_are_not_applied_in_actions() {
    let locals = "table t { actions = { NoAction; } } action a() { t.apply(); }";
    assert_eq!(wrong(locals, "a();"), ["tables are applied in the body of the control only (P4_16 §14.2.2)"]);
}
