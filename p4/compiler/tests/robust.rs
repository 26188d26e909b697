//! Whatever text it is given, the compiler says something of it, soon, and never panics.

use std::time::{Duration, Instant};

use gantry_p4c::diagnostics::{DIAGNOSTICS_MAX, render};
use gantry_p4c::lower::lower;
use gantry_p4c::parse_text;
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;
use proptest::prelude::*;

const PROGRAMS: [&str; 5] = [
    include_str!("front/accepted/everything.p4"),
    include_str!("../../packet.p4"),
    include_str!("../../command.p4"),
    include_str!("../../include/pna.p4"),
    include_str!("../../include/core.p4"),
];

/// Pieces of programs, so that random sequences of them get past the lexer.
const PIECES: [&str; 72] = [
    "header",
    "struct",
    "enum",
    "error",
    "match_kind",
    "extern",
    "parser",
    "control",
    "package",
    "table",
    "action",
    "state",
    "transition",
    "select",
    "key",
    "actions",
    "entries",
    "const",
    "default_action",
    "priority",
    "apply",
    "if",
    "else",
    "switch",
    "return",
    "exit",
    "typedef",
    "type",
    "bit",
    "bool",
    "int",
    "varbit",
    "tuple",
    "default",
    "_",
    "in",
    "out",
    "inout",
    "true",
    "x",
    "T",
    "y",
    "8w1",
    "0",
    "\"s\"",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "<",
    ">",
    "=",
    "==",
    ";",
    ":",
    ",",
    ".",
    "..",
    "...",
    "&&&",
    "++",
    "-",
    "!",
    "?",
    "@",
    "\n#if x\n",
    "\n#endif\n",
    "\n#define x y\n",
    "\n",
    " ",
];

/// Compiles a text as if it were beside the card's programs; gives back how many mistakes are in it.
fn compile(text: &str) -> usize {
    let begun = Instant::now();
    let mut sources = Sources::default();
    let options = Options { include_folders: vec!["../include".into()], ..Options::default() };
    let tree = parse_text("../program.p4", text, &options, &mut sources);
    let count = match tree.and_then(|tree| lower(&tree, &sources, "program")) {
        Ok(_) => 0,
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty() && diagnostics.len() <= DIAGNOSTICS_MAX);
            let told = render(&diagnostics, &sources, false);
            assert!(told.lines().filter(|line| line.starts_with("Error: ")).count() >= diagnostics.len(), "{told}");
            diagnostics.len()
        }
    };
    assert!(begun.elapsed() < Duration::from_secs(20), "it takes {:?}", begun.elapsed());
    count
}

/// As [`compile`], as far as the syntax tree.
fn read(text: &str) -> usize {
    let begun = Instant::now();
    let result = parse_text("program.p4", text, &Options::default(), &mut Sources::default());
    assert!(begun.elapsed() < Duration::from_secs(20), "it takes {:?}", begun.elapsed());
    result.err().map_or(0, |diagnostics| diagnostics.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_told_about(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        compile(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn arbitrary_characters_are_told_about(text in "\\PC{0,200}") {
        compile(&text);
    }

    #[test]
    fn arbitrary_pieces_of_programs_are_told_about(pieces in proptest::collection::vec(0..PIECES.len(), 0..200)) {
        let words: Vec<_> = pieces.into_iter().map(|place| PIECES[place]).collect();
        compile(&words.join(" "));
        compile(&words.concat());
    }

    /// Names and numbers in each other's places: most of it is grammar still, little of it means anything.
    #[test]
    fn programs_of_the_wrong_names_are_told_about(
        program in 0..PROGRAMS.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let text = PROGRAMS[program];
        let mut pieces: Vec<&str> = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
            pieces.push(&rest[..end]);
            rest = &rest[end..];
        }
        let words: Vec<usize> = (0..pieces.len()).filter(|&place| pieces[place].starts_with(is_word)).collect();
        for (to, from) in changes {
            pieces[words[to.index(words.len())]] = pieces[words[from.index(words.len())]];
        }
        compile(&pieces.concat());
    }

    #[test]
    fn changed_programs_are_told_about(
        program in 0..PROGRAMS.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..40usize, 0..PIECES.len()), 1..6),
    ) {
        let mut characters: Vec<char> = PROGRAMS[program].chars().collect();
        for (place, removed, piece) in changes {
            let from = place.index(characters.len());
            let to = (from + removed).min(characters.len());
            characters.splice(from..to, PIECES[piece].chars());
        }
        compile(&characters.into_iter().collect::<String>());
    }
}

#[test]
fn text_without_end_of_nesting_or_of_operators_is_refused() {
    const MANY: usize = 20_000;
    let in_apply = |statement: &str| format!("control C(in T x) {{ apply {{ {statement} }} }}");
    let value = |value: &str| format!("const bit<8> X = {value};");
    let lines = |piece: &str| format!("{piece}\n").repeat(MANY);
    let nested = |open: &str, inside: &str, close: &str| format!("{}{inside}{}", lines(open), lines(close));
    let cases = [
        ("brackets", value(&nested("(", "1", ")"))),
        ("lists", value(&nested("{", "1", "}"))),
        ("signs", value(&format!("{}1", lines("-")))),
        ("casts", value(&format!("{}1", lines("(bit<8>)")))),
        ("sums", value(&format!("1{}", lines("+ 1")))),
        ("choices to the right", value(&format!("{}1", lines("1 ? 1 :")))),
        ("choices to the left", value(&format!("{}1{}", lines("1 ?"), lines(": 1")))),
        ("members", value(&format!("x{}", lines(".x")))),
        ("slices", value(&format!("x{}", lines("[1:0]")))),
        ("calls", value(&format!("x{}", lines("()")))),
        ("calls in calls", value(&nested("x(", "1", ")"))),
        ("sums in calls", in_apply(&format!("x({});", lines("1 + 1 +")))),
        ("types", format!("struct s {{ {} }}", nested("T<", "T", "> x;"))),
        ("type arguments of calls", value(&nested("x<", "T", ">()"))),
        ("widths", format!("struct s {{ {} }}", nested("bit<(", "8", ")>"))),
        ("blocks", in_apply(&nested("{", "", "}"))),
        ("conditions", in_apply(&lines("if (x)"))),
        ("alternatives", in_apply(&format!("{};", lines("if (x) ; else")))),
    ];
    for (what, text) in cases {
        assert!(compile(&text) > 0, "{what} without end are taken");
    }
}

#[test]
fn text_that_is_long_but_flat_is_taken() {
    let many = |piece: &dyn Fn(usize) -> String| (0..20_000).map(piece).collect::<String>();
    let cases = [
        ("constants", many(&|n| format!("const bit<32> X{n} = {n} + 1;\n"))),
        ("fields", format!("struct s {{ {} }}", many(&|n| format!("bit<(4 + 4)> f{n};\n")))),
        ("members", format!("enum bit<32> e {{ {} }}", many(&|n| format!("M{n} = 1 << {n},\n")))),
        ("elements", format!("const T X = {{ {} }};", many(&|n| format!("{n},\n")))),
        ("statements", format!("control C(in T x) {{ apply {{ {} }} }}", many(&|n| format!("x.f = x.f + {n};\n")))),
        ("what is in annotations", format!("@a{} const bit<8> X = 1;", "(\n".repeat(20_000) + &")\n".repeat(20_000))),
        ("annotations", format!("{}const bit<8> X = 1;", many(&|n| format!("@a({n} + 1) @b[{n}]\n")))),
    ];
    for (what, text) in cases {
        assert_eq!(read(&text), 0, "{what}");
    }
}

#[test]
fn the_highest_trees_are_compiled() {
    let program = include_str!("../../packet.p4");
    let within = |statement: &str| {
        let place = program.find("    apply {").expect("a control") + "    apply {".len();
        format!("{}\n bit<32> x = 0; {statement}\n{}", &program[..place], &program[place..])
    };
    let cases = [
        ("sums", within(&format!("x = x{};", "\n+ x".repeat(490)))),
        ("choices", within(&format!("x = {}x;", "x == 1 ? x :\n".repeat(90)))),
        ("brackets", within(&format!("x = {}x{};", "(x + ".repeat(85), ")".repeat(85)))),
        ("conditions", within(&format!("{}x = 2;", "if (x == 1)\n".repeat(90)))),
        ("blocks", within(&format!("{} x = 2; {}", "{".repeat(45), "}".repeat(45)))),
    ];
    for (what, text) in cases {
        assert_eq!(compile(&text), 0, "{what}");
    }
}
