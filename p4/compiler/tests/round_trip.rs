//! What the parser reads, printed and read again: nothing is lost, and operators bind as P4_16 §8.1 says.

#[path = "front/print.rs"]
mod print;

use std::path::{Path, PathBuf};

use gantry_p4c::ast::{Declaration, Expr, ExprKind, Number, Program, TypeKind};
use gantry_p4c::diagnostics::render;
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;
use gantry_p4c::{parse, parse_text};
use print::Printer;

fn read(text: &str) -> Program {
    let mut sources = Sources::default();
    parse_text("program.p4", text, &Options::default(), &mut sources)
        .unwrap_or_else(|diagnostics| panic!("{}\n{text}", render(&diagnostics, &sources, false)))
}

fn by_value(_: &Expr, number: Number) -> String {
    number.width.map(|width| format!("{width}w")).unwrap_or_default() + &number.value.to_string()
}

const BY_VALUE: Printer<'static> = Printer { number: &by_value };

/// The value of a constant, every operator in brackets.
fn bracketed(value: &str) -> String {
    let context = "struct type_t { bit<8> x; } extern type_t generic<T>(in T x);";
    let program = read(&format!("{context} const bit<8> VALUE = {value};"));
    match program.declarations.last() {
        Some(Declaration::Const(it)) => BY_VALUE.expr(&it.value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn operators_bind_as_the_language_says() {
    let cases = [
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a ++ b + c", "((a ++ b) + c)"),
        ("a << b + c", "(a << (b + c))"),
        ("a >> b >> c", "((a >> b) >> c)"),
        // Not as in C: bits first, then comparisons.
        ("a & b == c | d ^ e", "((a & b) == (c | (d ^ e)))"),
        ("a < b == c >= d", "((a < b) == (c >= d))"),
        ("a == b && c != d || e", "(((a == b) && (c != d)) || e)"),
        ("a ? b : c ? d : e", "(a ? b : (c ? d : e))"),
        ("a || b ? c : d", "((a || b) ? c : d)"),
        ("-a.b[3:0] + !c", "((-a.b[3:0]) + (!c))"),
        ("~-a", "(~(-a))"),
        ("a |+| b |-| c", "((a |+| b) |-| c)"),
        ("(bit<8>)a + b", "(((bit<8>)a) + b)"),
        ("(bit<(8 + 8)>)a ++ b", "(((bit<((8 + 8))>)a) ++ b)"),
    ];
    for (written, read) in cases {
        assert_eq!(bracketed(written), read, "{written}");
        assert_eq!(bracketed(read), read, "brackets change nothing");
    }
}

#[test]
fn a_name_in_brackets_is_a_cast_only_if_it_is_a_type() {
    let cases = [
        ("(type_t)-a", "((type_t)(-a))"),
        ("(value)-a", "(value - a)"),
        ("(type_t)(a)", "((type_t)a)"),
        ("(.type_t)a.b", "((.type_t)a.b)"),
        // Declared nowhere: what follows decides, and names are resolved later.
        ("(unknown)a", "((unknown)a)"),
        ("(unknown)8w1", "((unknown)8w1)"),
        ("(a) + b", "(a + b)"),
        ("(a.b)", "a.b"),
    ];
    for (written, read) in cases {
        assert_eq!(bracketed(written), read, "{written}");
    }
}

#[test]
fn angles_are_type_arguments_only_where_a_call_follows() {
    let cases = [
        ("a < b", "(a < b)"),
        ("a < b && c > d", "((a < b) && (c > d))"),
        ("generic<bit<8>>(a)", "generic<bit<8>>(a)"),
        ("a.read<pair<bit<8>, _>>(b) + c", "(a.read<pair<bit<8>, _>>(b) + c)"),
        ("a < (b) > c", "((a < b) > c)"),
        ("a < b >> c", "(a < (b >> c))"),
        ("a.b < c.d", "(a.b < c.d)"),
        ("type_t.x", "type_t.x"),
    ];
    for (written, read) in cases {
        assert_eq!(bracketed(written), read, "{written}");
    }
}

#[test]
fn a_local_name_hides_a_type() {
    let text = "typedef bit<8> t; control C(in bit<8> t) { apply { bit<8> y = (t) - 1; { typedef_t x = (t) - 1; } } }";
    let printed = BY_VALUE.program(&read(text));
    assert!(printed.contains("y = (t - 1)") && printed.contains("x = (t - 1)"), "{printed}");
    let printed =
        BY_VALUE.program(&read("control C(in bit<8> t) { apply { } } typedef bit<8> t; const t X = (t) - 1;"));
    assert!(printed.contains("X = ((t)(-1))"), "the scope has ended: {printed}");
}

#[test]
fn annotations_and_comments_stay_with_what_they_are_before() {
    let text = "/// What it is.\n// More.\n@name(\"the.name\") @id(0x10)\n@p4runtime_translation(\"\", 32)\n@any(a + [;])\n\
                @list[1, 2] @pairs[k = 1, l = \"m\"] @empty\ntypedef bit<8> t;\n";
    let program = read(text);
    let [Declaration::Typedef(it)] = &program.declarations[..] else { panic!("{program:?}") };
    assert!(matches!(it.ty.kind, TypeKind::Bits(Some(_))));
    let preamble = &it.preamble;
    assert_eq!(&*preamble.doc, "What it is.\nMore.");
    let annotation = |name: &str| preamble.annotation(name).expect("an annotation");
    assert_eq!(annotation("name").string(), Some("the.name"));
    assert_eq!(annotation("id").number(), Some(16));
    assert_eq!(&*annotation("id").text, "@id(0x10)", "as it is written");
    let translation = annotation("p4runtime_translation").expressions();
    assert!(matches!(&translation[0].kind, ExprKind::String(text) if text.is_empty()), "{translation:?}");
    assert!(matches!(&translation[1].kind, ExprKind::Number(Number { value: 32, width: None })), "{translation:?}");
    assert_eq!(&*annotation("any").text, "@any(a + [;])");
    assert!(annotation("any").expressions().is_empty(), "tokens that are no expression");
    assert_eq!(annotation("list").expressions().len(), 2);
    assert_eq!(annotation("empty").number(), None);
}

/// The text without comments, directives, space, and what the printer adds: round brackets and commas.
fn bare(text: &str) -> String {
    let mut bare = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        bare.extend(line.split("//").next());
        bare.push('\n');
    }
    while let Some(from) = bare.find("/*") {
        let to = bare[from..].find("*/").expect("an end") + from + 2;
        bare.replace_range(from..to, "");
    }
    bare.retain(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | ','));
    bare
}

#[test]
fn nothing_that_is_written_is_lost() {
    for path in ["tests/front/accepted/everything.p4", "../include/core.p4", "../include/pna.p4"] {
        let options = Options { include_folders: vec![PathBuf::from("../include")], ..Options::default() };
        let mut sources = Sources::default();
        let mut program = parse(Path::new(path), &options, &mut sources).expect("a program");
        program.declarations.retain(|declaration| declaration.span().file == 0);
        let as_written = |expr: &Expr, _: Number| sources.text(expr.span).to_owned();
        let printed = Printer { number: &as_written }.program(&program);
        assert_eq!(bare(&printed), bare(&sources.files()[0].text), "{path}");
    }
}

#[test]
fn what_is_printed_is_read_as_the_same() {
    for path in ["tests/front/accepted/everything.p4", "../packet.p4", "../command.p4"] {
        let options = Options { include_folders: vec![PathBuf::from("../include")], ..Options::default() };
        let program = parse(Path::new(path), &options, &mut Sources::default()).expect("a program");
        let printed = BY_VALUE.program(&program);
        assert_eq!(BY_VALUE.program(&read(&printed)), printed, "{path}");
    }
}
