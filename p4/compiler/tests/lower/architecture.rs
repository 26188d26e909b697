//! The package: which blocks it asks for, and what they share.

use gantry_p4c::ir::VarKind;

use crate::from_text::{accepted, in_control, in_parser, refused};

const START: &str = "state start { transition accept; }";

#[test]
fn parameters_of_one_type_share_their_storage() {
    let program = accepted(&in_parser("", "", START));
    let count = |name: &str| program.vars.iter().filter(|it| it.name == name).count();
    assert_eq!((count("hdr.a.kind"), count("meta.w"), count("ostd.class_of_service")), (1, 1, 1));
    assert_eq!(program.headers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["hdr.a", "hdr.b", "hdr.c"]);
    assert_eq!(program.package, "PNA_NIC");
}

#[test]
fn directions_say_what_the_architecture_sets_and_looks_at() {
    let program = accepted(&in_parser("", "", START));
    let kind =
        |name: &str| match program.vars.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("no {name}")).kind {
            VarKind::Metadata { input, output } => (input, output),
            other => panic!("{other:?}"),
        };
    assert_eq!(kind("meta.w"), (true, true), "inout");
    assert_eq!(kind("istd.recirculated"), (true, false), "in of the parser");
    assert_eq!(
        kind("istd_pna_main_input_metadata_t.timestamp"),
        (true, false),
        "in of the control, under the same name"
    );
    assert_eq!(kind("ostd.class_of_service"), (true, true));
    let error = program.parser_error.expect("where the control learns how the parser ended");
    assert_eq!(program.vars[error.index()].name, "istd_pna_main_input_metadata_t.parser_error");
}

#[test]
fn an_architecture_of_one_control_has_no_parser() {
    let program = accepted(&in_control("", "", "m.x = 1;"));
    assert!(program.parser.is_none() && program.deparser.is_none() && program.parser_error.is_none());
    assert_eq!(program.control.expect("a control").name, "C");
    assert_eq!((program.package.as_str(), program.name.as_str()), ("Pipe", "test"));
}

#[test]
fn plain_parameters_and_two_of_a_type_are_told_apart_by_their_names() {
    let text = "#include <core.p4>
        struct s_t { bit<8> v; }
        control T(in bit<8> a, out bit<8> b, in s_t c, inout s_t d);
        package Pipe(T t);
        control C(in bit<8> a, out bit<8> b, in s_t c, inout s_t d) { apply { b = a + c.v; d.v = a; } }
        Pipe(C()) main;";
    let program = accepted(text);
    let names: Vec<_> = program.vars.iter().map(|it| (it.name.as_str(), it.kind)).collect();
    let kind = |input, output| VarKind::Metadata { input, output };
    assert_eq!(
        names,
        [("a", kind(true, false)), ("b", kind(false, true)), ("c.v", kind(true, false)), ("d.v", kind(true, true))]
    );
    assert_eq!(crate::show::control(&program), "b = (a + c.v)\nd.v = a\n");
}

fn one_control(control: &str, main: &str) -> Vec<String> {
    refused(&format!(
        "#include <core.p4>
        struct s_t {{ bit<8> v; }} struct o_t {{ bit<8> v; }}
        control T<M>(inout M m, in s_t s);
        package Pipe<M>(T<M> t);
        {control}
        {main}"
    ))
}

#[test]
fn blocks_have_the_architecture_s_parameters() {
    let main = "Pipe(C()) main;";
    assert_eq!(one_control("control C(inout s_t m) { apply {} }", main), ["`C` has 1 parameters, `T` asks for 2"]);
    assert_eq!(
        one_control("control C(inout s_t m, in o_t s) { apply {} }", main),
        ["parameter `s` is of type o_t, the architecture's of s_t"]
    );
    assert_eq!(
        one_control("control C(in o_t m, in s_t s) { apply {} }", main),
        ["parameter `m` is `in`, the architecture's `inout`"]
    );
    assert_eq!(
        one_control("control C(inout o_t m, in s_t s) { apply {} }", "Pipe<s_t>(C()) main;"),
        ["parameter `m` is of type o_t, the architecture's of s_t"]
    );
}

#[test]
fn the_package_is_main_and_has_its_blocks() {
    let control = "control C(inout o_t m, in s_t s) { apply {} }";
    assert_eq!(one_control(control, ""), ["the program has no package instance `main`"]);
    assert_eq!(one_control(control, "Pipe(C()) other;"), ["the program's package must be called `main` (P4_16 §17)"]);
    assert_eq!(one_control(control, "Pipe() main;"), ["package `Pipe` takes 1 argument, not 0"]);
    assert_eq!(one_control(control, "Pipe(C) main;"), ["this is no block"]);
    assert_eq!(one_control(control, "Pipe(s_t()) main;"), ["`s_t` is a type, not a block"]);
    assert_eq!(one_control(control, "Pipe(D()) main;"), ["`D` is not declared"]);
}
