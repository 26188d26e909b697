//! Tables: keys, actions, entries, properties, and where they are applied.

use gantry_p4c::ir::{ActionScope, MatchKind, Program, Table, VarKind};

use crate::from_text::{accepted, in_control, refused};
use crate::show;

const ACTIONS: &str = "action set(bit<8> v) { m.x = v; } action skip() {}\n";

fn program(table: &str, body: &str) -> Program {
    accepted(&in_control("", &format!("{ACTIONS}{table}"), body))
}

fn wrong(table: &str, body: &str) -> Vec<String> {
    refused(&in_control("", &format!("{ACTIONS}{table}"), body))
}

fn only(program: &Program) -> &Table {
    assert_eq!(program.tables.len(), 1);
    &program.tables[0]
}

#[test]
fn a_table_has_keys_actions_and_a_default() {
    let program = program(
        "/// Who is let in.
         ///
         /// Nobody else.
         @id(7) @owner(\"control\")
         table t {
             key = { m.y: exact; m.w[15:8]: ternary @name(\"high\"); m.h.isValid(): exact; m.d: range; m.big: optional; }
             actions = { set; @defaultonly skip; @tableonly NoAction; }
             const default_action = skip();
             size = 2 * 100;
         }",
        "t.apply();",
    );
    let table = only(&program);
    assert_eq!((table.name.as_str(), table.id, table.size), ("C.t", 0x0200_0007, 200));
    let keys: Vec<_> =
        table.keys.iter().map(|it| (it.name.as_str(), it.kind, show::expr(&program, &it.expr))).collect();
    assert_eq!(
        keys,
        [
            ("m.y", MatchKind::Exact, "m.y".to_owned()),
            ("high", MatchKind::Ternary, "m.w[15:8]".to_owned()),
            ("m.h.isValid()", MatchKind::Exact, "m.h.isValid()".to_owned()),
            ("m.d", MatchKind::Range, "m.d".to_owned()),
            ("m.big", MatchKind::Optional, "m.big".to_owned()),
        ]
    );
    let actions: Vec<_> =
        table.actions.iter().map(|it| (program.actions[it.action.index()].name.as_str(), it.scope)).collect();
    assert_eq!(
        actions,
        [("C.set", ActionScope::Both), ("C.skip", ActionScope::Default), ("NoAction", ActionScope::Entries)]
    );
    assert_eq!(program.actions[table.default_action.0.index()].name, "C.skip");
    assert!(table.const_default && !table.const_entries && !table.idle_timeout);
    assert_eq!((table.notes.brief.as_str(), table.notes.description.as_str()), ("Who is let in.", "Nobody else."));
    assert_eq!(table.notes.annotations, ["@owner(\"control\")"]);
    assert_eq!(show::control(&program), "apply C.t\n");
}

#[test]
fn parameters_without_a_direction_are_the_control_plane_s() {
    let program =
        program("table t { key = { m.y: exact; } actions = { set; } default_action = set(7); }", "t.apply();");
    assert_eq!(show::action(&program, "C.set"), "m.x = v\n");
    let action = &program.actions[0];
    let var = &program.vars[action.parameters[0].index()];
    assert_eq!((var.name.as_str(), var.ty.bits()), ("v", 8));
    assert!(matches!(var.kind, VarKind::Parameter { index: 0, .. }));
    assert_eq!(only(&program).default_action.1, [7]);
}

#[test]
fn parameters_with_a_direction_are_bound_in_the_list() {
    let locals =
        "action put(in bit<8> from, out bit<8> to, bit<8> add) { to = from + add; if (m.f) { return; } to = 1; }
        table t { key = { m.y: exact; } actions = { put(m.x, m.y); } default_action = put(m.x, m.y, 4);
                  const entries = { 1: put(3); 2: put(m.x, m.y, 5); } }";
    let program = accepted(&in_control("", locals, "t.apply();"));
    assert_eq!(
        show::action(&program, "C.put"),
        "from = m.x\nto = (from + add)\nif m.f {\n} else {\nto = 8w1\n}\nm.y = to\n"
    );
    let table = only(&program);
    assert_eq!((program.actions[0].parameters.len(), table.default_action.1.as_slice()), (1, &[4u128][..]));
    assert_eq!(table.entries.iter().map(|it| it.arguments.clone()).collect::<Vec<_>>(), [[3], [5]]);
}

#[test]
fn a_table_without_default_has_no_action() {
    let program = program("table t { key = { m.y: exact; } actions = { set; } }", "t.apply();");
    let table = only(&program);
    assert_eq!(program.actions[table.default_action.0.index()].name, "NoAction");
    assert_eq!(table.actions[1].scope, ActionScope::Default);
    assert_eq!(table.size, 1024);
}

#[test]
fn outcomes_are_what_the_apply_carries() {
    let table = "table t { key = { m.y: exact; } actions = { set; skip; } default_action = skip(); }";
    let shown = |body: &str| show::control(&program(table, body));
    assert_eq!(
        shown("if (t.apply().hit) { m.x = 1; } else { m.x = 2; }"),
        "apply C.t {\nhit:\nm.x = 8w1\nmiss:\nm.x = 8w2\n}\n"
    );
    assert_eq!(shown("if (!t.apply().hit) { m.x = 1; }"), "apply C.t {\nhit:\nmiss:\nm.x = 8w1\n}\n");
    assert_eq!(shown("if (t.apply().miss) { m.x = 1; }"), "apply C.t {\nhit:\nmiss:\nm.x = 8w1\n}\n");
    assert_eq!(shown("if (t.apply().hit) {}"), "apply C.t\n");
    assert_eq!(
        shown("switch (t.apply().action_run) { set: { m.x = 1; } default: { m.x = 2; } }"),
        "apply C.t {\nC.set:\nm.x = 8w1\notherwise:\nm.x = 8w2\n}\n"
    );
    assert_eq!(
        shown("switch (t.apply().action_run) { set: skip: { m.x = 1; } }"),
        "apply C.t {\nC.set, C.skip:\nm.x = 8w1\notherwise:\n}\n"
    );
    assert_eq!(wrong(table, "m.f = t.apply().hit;"), ["a table's outcome may only be asked for by itself"]);
    assert_eq!(
        wrong(table, "if (m.f && t.apply().hit) { m.x = 1; }"),
        ["a table's outcome may only be asked for by itself"]
    );
    assert_eq!(
        wrong(table, "switch (t.apply().action_run) { NoAction: { m.x = 1; } }"),
        ["table `C.t` has no action `NoAction`"]
    );
}

#[test]
fn a_table_is_applied_in_one_place() {
    let table = "table t { actions = { skip; } }";
    assert_eq!(wrong(table, "t.apply(); t.apply();"), ["table `t` is applied in two places"]);
    assert!(program(table, "").tables.is_empty(), "and left out where it is applied in none");
    assert!(program(table, "if (false) { t.apply(); }").tables.is_empty());
    assert_eq!(wrong("table t { key = { m.q: exact; } actions = { skip; } }", ""), ["`m_t` has no field `q`"]);
}

#[test]
fn calls_in_keys_come_before_the_apply() {
    let locals = "Register<bit<8>, bit<8>>(4) cells; table t { key = { m.y: exact; cells.read(m.x): exact @name(\"cell\"); } actions = { NoAction; } }";
    let program = accepted(&in_control("", locals, "t.apply();"));
    assert_eq!(show::control(&program), "read = C.cells.read(m.x)\nkept = read\napply C.t\n");
}

fn entries(keys: &str, entries: &str) -> Vec<(String, i32, Vec<u128>)> {
    let program = program(
        &format!("table t {{ key = {{ {keys} }} actions = {{ set; }} {entries} default_action = set(0); }}"),
        "t.apply();",
    );
    let shown = |it: &gantry_p4c::ir::Entry| {
        let matches: Vec<_> = it.matches.iter().map(show::matching).collect();
        (matches.join(", "), it.priority, it.arguments.clone())
    };
    only(&program).entries.iter().map(shown).collect()
}

#[test]
fn entries_match_in_the_form_of_their_keys() {
    assert_eq!(
        entries(
            "m.y: ternary; m.w: range; m.x: optional;",
            "const entries = { (1, 2 .. 3, _): set(1); (0xf0 &&& 0xf0, 4, 5): set(2); default: set(3); }"
        ),
        [
            ("0x1&&&0xff, 2..3, _".to_owned(), 3, vec![1]),
            ("0xf0&&&0xf0, 4..4, 5".to_owned(), 2, vec![2]),
            ("_, _, _".to_owned(), 1, vec![3]),
        ]
    );
    assert_eq!(
        entries("m.d: lpm;", "const entries = { _: set(0); 0x0a000000 &&& 0xff000000: set(1); 0x0a010203: set(2); }"),
        [("0xa010203/32".to_owned(), 0, vec![2]), ("0xa000000/8".to_owned(), 0, vec![1]), ("_".to_owned(), 0, vec![0])]
    );
    assert_eq!(
        entries("m.y: exact;", "const entries = { 3: set(1); 1: set(2); }"),
        [("3".to_owned(), 0, vec![1]), ("1".to_owned(), 0, vec![2])]
    );
}

#[test]
fn priorities_are_those_that_are_written_or_follow_from_the_order() {
    let keys = "m.y: ternary;";
    let priorities = |text: &str| entries(keys, text).iter().map(|it| (it.1, it.2[0])).collect::<Vec<_>>();
    assert_eq!(
        priorities("entries = { priority = 10: 1: set(1); 2: set(2); priority = 30: 3: set(3); 4: set(4); }"),
        [(30, 3), (29, 4), (10, 1), (9, 2)]
    );
    assert_eq!(
        priorities("priority_delta = 10; entries = { 1: set(1); 2: set(2); 3: set(3); }"),
        [(21, 1), (11, 2), (1, 3)]
    );
    assert_eq!(priorities("const entries = { 1: set(1) @priority(5); 2: set(2) @priority(9); }"), [(9, 2), (5, 1)]);
}

#[test]
fn entries_that_cannot_be_are_refused() {
    let wrong = |keys: &str, entries: &str| {
        wrong(
            &format!(
                "table t {{ key = {{ {keys} }} actions = {{ set; @defaultonly skip; }} {entries} default_action = skip(); }}"
            ),
            "t.apply();",
        )
    };
    assert_eq!(wrong("m.y: exact;", "const entries = { _: set(1); }"), ["an exact key matches one value"]);
    assert_eq!(wrong("m.y: exact;", "const entries = { 256: set(1); }"), ["256 does not fit bit<8>"]);
    assert_eq!(wrong("m.y: exact;", "const entries = { m.x: set(1); }"), ["what is matched against must be constant"]);
    assert_eq!(
        wrong("m.y: exact;", "const entries = { 1: set(1); 1: set(2); }"),
        ["there is an entry with this key already"]
    );
    assert_eq!(wrong("m.y: exact;", "const entries = { (1, 2): set(1); }"), ["the table has 1 keys, the entry 2"]);
    assert_eq!(wrong("m.y: exact;", "const entries = { 1: set(m.x); }"), ["this argument must be constant"]);
    assert_eq!(wrong("m.y: exact;", "const entries = { 1: skip(); }"), ["action `skip` is @defaultonly"]);
    assert_eq!(
        wrong("m.y: exact;", "const entries = { 1: NoAction(); }"),
        ["action `NoAction` is not among those of table `t`"]
    );
    assert_eq!(
        wrong("m.y: exact;", "size = 1; const entries = { 1: set(1); 2: set(2); }"),
        ["2 entries in a table with room for 1"]
    );
    assert_eq!(
        wrong("m.y: lpm;", "const entries = { 1 &&& 0x0f: set(1); }"),
        ["an lpm key matches a prefix: the mask's ones come first"]
    );
    assert_eq!(wrong("m.y: range;", "const entries = { 3 .. 1: set(1); }"), ["the range 3 .. 1 is empty"]);
    assert_eq!(
        wrong("m.y: exact;", "entries = { priority = 3: 1: set(1); }"),
        ["entries of this table have no priority: their keys alone decide"]
    );
    assert_eq!(
        wrong("m.y: ternary;", "entries = { priority = 1: 1: set(1); 2: set(2); }"),
        ["this entry's priority comes out as 0"]
    );
    assert_eq!(
        wrong("m.y: ternary;", "largest_priority_wins = false; entries = { 1: set(1); }"),
        ["the largest priority wins here, as in P4Runtime"]
    );
}

#[test]
fn keys_that_cannot_be_are_refused() {
    let wrong = |keys: &str| wrong(&format!("table t {{ key = {{ {keys} }} actions = {{ skip; }} }}"), "t.apply();");
    assert_eq!(wrong("m.y: best;"), ["there is no match kind `best`"]);
    assert_eq!(wrong("m.y + 1: exact;"), ["this key needs a name for the control plane"]);
    assert_eq!(wrong("m.one: exact;"), ["a key of type inner_t: keys are bits, bools, enums or errors"]);
    assert_eq!(wrong("m.y: lpm; m.w: lpm;"), ["a table has one lpm key at most (P4Runtime §9.1.1)"]);
    assert_eq!(
        wrong("m.y: lpm; m.w: ternary;"),
        ["an lpm key beside ternary, range or optional keys: whether length or priority wins is not defined"]
    );
    assert_eq!(wrong("m.y: exact; m.w: exact @name(\"m.y\");"), ["two keys have the name `m.y`"]);
}

#[test]
fn properties_are_known_or_refused() {
    let wrong = |rest: &str| {
        wrong(
            &format!("table t {{ key = {{ m.y: exact; }} actions = {{ set; @tableonly skip; }} {rest} }}"),
            "t.apply();",
        )
    };
    assert_eq!(wrong("colour = 3; default_action = set(1);"), ["tables have no property `colour` here"]);
    assert_eq!(wrong("size = m.x; default_action = set(1);"), ["a table's size must be a constant number"]);
    assert_eq!(wrong("size = 0; default_action = set(1);"), ["a table with room for no entry"]);
    assert_eq!(wrong("default_action = skip();"), ["action `skip` is @tableonly"]);
    assert_eq!(wrong("default_action = set();"), ["action `set` takes 1 argument, not 0"]);
    assert_eq!(wrong("default_action = NoAction();"), ["action `NoAction` is not among those of table `t`"]);
    assert_eq!(
        wrong("default_action = set(1); pna_idle_timeout = PNA_IdleTimeout_t.AUTO_DELETE;"),
        ["entries cannot be removed by the data plane"]
    );
    let idle = program(
        "table t { key = { m.y: exact; } actions = { set; } default_action = set(1); pna_idle_timeout = PNA_IdleTimeout_t.NOTIFY_CONTROL; }",
        "t.apply();",
    );
    assert!(only(&idle).idle_timeout);
}

#[test]
fn direct_counters_belong_to_their_table() {
    let table = |name: &str, action: &str, rest: &str| {
        format!(
            "table {name} {{ key = {{ m.y: exact; }} actions = {{ {action}; }} default_action = {action}(); {rest} }}\n"
        )
    };
    let counter = "DirectCounter<bit<64>>(PNA_CounterType_t.BYTES) hits; action count() { hits.count(); }\n";
    let with = format!("{counter}{}", table("t", "count", "pna_direct_counter = hits;"));
    let program = program(&with, "t.apply();");
    assert_eq!(only(&program).direct.len(), 1);
    assert_eq!(show::action(&program, "C.count"), "C.hits.count()\n");

    let outside = "a direct counter or meter can only be used by the actions of its own table";
    assert_eq!(wrong(&with, "t.apply(); hits.count();"), [outside]);
    let other = format!("{with}{}", table("u", "count", ""));
    assert_eq!(wrong(&other, "t.apply(); u.apply();"), [outside]);
    assert_eq!(
        wrong(&format!("{counter}{}", table("t", "count", "")), "t.apply();").first().map(String::as_str),
        Some("no table that is applied has `C.hits`")
    );
    let twice = format!("{with}{}", table("u", "skip", "pna_direct_counter = hits;"));
    assert_eq!(wrong(&twice, "t.apply(); u.apply();"), ["`hits` belongs to another table already"]);
    let meter = format!("{counter}{}", table("t", "count", "pna_direct_meter = hits;"));
    assert_eq!(wrong(&meter, "t.apply();"), ["property `pna_direct_meter` with a direct counter"]);
}
