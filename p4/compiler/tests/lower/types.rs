//! Types: what there is, and what is refused.

use gantry_p4c::ir::{Type, VarKind};

use crate::from_text::{accepted, body, in_control, refused};

fn wrong(declarations: &str) -> Vec<String> {
    refused(&in_control(declarations, "", ""))
}

#[test]
fn widths_are_one_to_128() {
    assert_eq!(wrong("const bit<129> K = 1;"), ["bit<129> is not a type here: widths are 1 to 128"]);
    assert_eq!(wrong("const bit<0> K = 0;"), ["bit<0> is not a type here: widths are 1 to 128"]);
    assert_eq!(
        accepted(&in_control("const int N = 12; const bit<(N * 2)> K = 1;", "", "")).constants[0].ty,
        Type::Bits(24)
    );
}

#[test]
fn headers_are_whole_bytes_of_bits() {
    assert_eq!(wrong("header x_t { bit<7> a; }"), ["header `x_t` has 7 bits, which are no whole bytes"]);
    assert_eq!(wrong("header x_t { inner_t a; }"), ["a header cannot have a field of type inner_t"]);
    assert_eq!(
        wrong("enum e_t { A, B } header x_t { e_t a; bit<7> b; }"),
        ["a header cannot have a field of type e_t"]
    );
    assert_eq!(wrong("struct s_t { int a; }"), ["a struct cannot have a field of type int"]);
    assert_eq!(wrong("struct s_t { bit<8> a; bit<8> a; }"), ["field `a` is declared twice"]);
}

#[test]
fn a_header_s_fields_know_their_offsets() {
    let program = accepted(&in_control(
        "enum bit<4> e_t { A = 1 } header x_t { bit<4> v; e_t e; bool b; bit<7> r; bit<16> n; }",
        "x_t x;",
        "x.setValid(); m.w = x.n;",
    ));
    let header = program.headers.iter().find(|it| it.name == "x").expect("x");
    let fields: Vec<_> = header.fields.iter().map(|it| (it.name.as_str(), it.offset, it.bits)).collect();
    assert_eq!(fields, [("v", 0, 4), ("e", 4, 4), ("b", 8, 1), ("r", 9, 7), ("n", 16, 16)]);
    assert_eq!((header.bits, header.type_name.as_str()), (32, "x_t"));
    for (place, field) in (0u32..).zip(&header.fields) {
        let var = &program.vars[field.var.index()];
        assert!(matches!(var.kind, VarKind::Field { field, .. } if field == place));
        assert_eq!(var.name, format!("x.{}", field.name));
    }
}

#[test]
fn enums_have_values_that_fit() {
    let program = accepted(&in_control(
        "enum e_t { A, B, C, D, E } enum bit<8> s_t { X = 7, Y = 0x20 }",
        "e_t e;",
        "e = e_t.E; m.x = s_t.Y;",
    ));
    let shown = |name: &str| program.enums.iter().find(|it| it.name == name).expect("an enum");
    let plain = shown("e_t");
    assert_eq!((plain.bits, plain.serializable, plain.members[4].clone()), (3, false, ("E".to_owned(), 4)));
    let serializable = shown("s_t");
    assert_eq!((serializable.bits, serializable.serializable), (8, true));
    assert_eq!(serializable.members, [("X".to_owned(), 7), ("Y".to_owned(), 0x20)]);
    assert!(
        !program.enums.iter().any(|it| it.name == "PNA_HashAlgorithm_t"),
        "what a library declares and nobody uses"
    );
    let var = program.vars.iter().find(|it| it.name == "e").expect("e");
    assert_eq!(program.enums[var.of_enum.expect("of an enum") as usize].name, "e_t");
    assert_eq!(wrong("enum bit<4> e_t { A = 16 }"), ["16 does not fit bit<4>"]);
    assert_eq!(wrong("enum e_t { A, A }"), ["`e_t` has two members `A`"]);
}

#[test]
fn enums_become_bits_only_where_that_is_declared() {
    let both = "enum e_t { A, B } enum bit<8> s_t { X = 7 }";
    assert_eq!(
        crate::show::control(&accepted(&in_control(
            both,
            "",
            "m.x = s_t.X; m.w = (bit<16>)s_t.X; m.f = m.x == s_t.X;"
        ))),
        "m.x = 8w7\nm.w = 16w7\nm.f = (m.x == 8w7)\n"
    );
    assert_eq!(refused(&in_control(both, "", "m.x = e_t.A;")), ["this is e_t where bit<8> is expected"]);
    assert_eq!(refused(&in_control(both, "s_t s;", "s = m.x;")), ["this is bit<8> where s_t is expected"]);
    assert_eq!(
        crate::show::control(&accepted(&in_control(both, "s_t s;", "s = (s_t)m.x; m.x = s;"))),
        "s = m.x\nm.x = s\n"
    );
    assert_eq!(refused(&in_control(both, "", "m.f = e_t.A == s_t.X;")), ["this is bit<8> where e_t is expected"]);
}

#[test]
fn new_types_are_cast_step_by_step() {
    let types = "typedef bit<8> under_t; type under_t new_t;";
    assert_eq!(
        refused(&in_control(types, "new_t n;", "n = 1;")),
        ["this is a number without a width where new_t is expected"]
    );
    assert_eq!(
        refused(&in_control(types, "new_t n;", "n = (new_t)1; m.w = (bit<16>)n;")),
        ["this is new_t where bit<16> is expected"]
    );
    assert_eq!(refused(&in_control(types, "new_t n;", "n = n + n;")), ["`+` computes with bits, not with new_t"]);
    assert_eq!(
        crate::show::control(&accepted(&in_control(types, "new_t n;", "n = (new_t)m.x; m.w = (bit<16>)(under_t)n;"))),
        "n = m.x\nm.w = (bit<16>)n\n"
    );
    assert_eq!(wrong("type inner_t n_t;"), ["`type` makes new types of bits, bool and enums, not of inner_t"]);
}

#[test]
fn errors_are_numbered_in_order() {
    let program =
        accepted(&in_control("error { First, Second }", "error e;", "e = error.Second; m.f = e == error.NoError;"));
    assert_eq!(program.errors[0], "NoError");
    assert_eq!(program.errors[7..], ["First".to_owned(), "Second".to_owned()]);
    assert_eq!(crate::show::control(&program), "e = 8w8\nm.f = (e == 8w0)\n");
    assert_eq!(wrong("error { NoError }"), ["error `NoError` is declared twice"]);
}

#[test]
fn values_without_storage_are_refused() {
    assert_eq!(refused(&in_control("", "", "int i = 3;")), ["there are no variables of type int"]);
    assert_eq!(
        refused(&in_control("struct a_t<T> { T x; }", "", "")).first().map(String::as_str),
        Some("structs and headers take no type parameters here")
    );
}

#[test]
fn structs_do_not_grow_without_bound() {
    let mut text = "struct s0 { bit<8> a; bit<8> b; }".to_owned();
    for level in 1..24 {
        text += &format!("struct s{level} {{ s{} a; s{} b; }}", level - 1, level - 1);
    }
    let told = refused(&in_control(&text, "s23 s;", ""));
    assert_eq!(told, ["the program has more than 65536 variables"]);
}

#[test]
fn unused_variables_are_left_out() {
    let program = accepted(&in_control("", "bit<8> unused; bit<8> used = 3;", "m.x = used;"));
    let locals: Vec<_> =
        program.vars.iter().filter(|it| it.kind == VarKind::Local).map(|it| it.name.as_str()).collect();
    assert_eq!(locals, ["used"]);
    assert_eq!(body("bit<8> unused; bit<8> used = 3;", "m.x = used;"), "used = 8w3\nm.x = used\n");
}
