//! What the preprocessor makes of small texts: tokens as words, messages behind `!`.

use super::*;

/// The tokens as words, then the messages behind `!`.
fn shown(text: &str) -> String {
    shown_with(text, &Options::default())
}

fn shown_with(text: &str, options: &Options) -> String {
    let mut sources = Sources::default();
    let out = preprocess_text("main.p4", text, options, &mut sources);
    let words = out.tokens.iter().filter(|token| token.kind != Kind::End).map(|token| match token.kind {
        Kind::Number(number) => number.value.to_string(),
        Kind::Symbol(symbol) => symbol.to_owned(),
        _ => token.text.to_string(),
    });
    let messages = out.mistakes.iter().map(|mistake| format!("! {}", mistake.message));
    words.chain(messages).collect::<Vec<_>>().join(" ")
}

#[test]
fn macros_stand_for_tokens_and_never_for_themselves() {
    assert_eq!(shown("#define A 1 + B\n#define B A * 2\nA;B"), "1 + A * 2 ; 1 + B * 2");
    assert_eq!(shown("#define A\nx A y\n#undef A\nA"), "x y A");
    assert_eq!(shown("#define A 1\n#define A 1\nA"), "1", "the same again is no other");
    assert_eq!(shown("#define A 1\n#define A 2\nA"), "1 ! A is defined already, as something else");
    assert_eq!(
        shown("#define A(x) x"),
        "! macros with parameters are outside of the subset: nothing checks what they are given"
    );
    assert_eq!(shown("#define A (1)\nA"), "( 1 )", "a bracket behind a space is of the value");
}

#[test]
fn a_macros_tokens_are_where_it_is_used_and_take_its_documentation() {
    let mut sources = Sources::default();
    let out = preprocess_text("main.p4", "#define T bit<8>\n/// what\nT x;", &Options::default(), &mut sources);
    assert!(out.tokens[..4].iter().all(|token| sources.text(token.span) == "T"));
    assert_eq!((&*out.tokens[0].doc, &*out.tokens[1].doc), ("what", ""));
}

#[test]
fn conditions_choose_one_branch() {
    let program = "#if A == 1\none\n#elif A > 1 && defined(B)\ntwo\n#else\nthree\n#endif\n";
    assert_eq!(shown(program), "three");
    assert_eq!(shown(&format!("#define A 1\n{program}")), "one");
    assert_eq!(shown(&format!("#define A 2\n#define B\n{program}")), "two");
    assert_eq!(shown("#ifdef A\na\n#else\nb\n#endif\n#ifndef A\nc\n#endif"), "b c");
    assert_eq!(shown("#if 0\n#if 1\na\n#else\nb\n#endif\n#elif 0\nc\n#endif\nd"), "d");
    assert_eq!(
        shown("#if 0\ndon't \"read\n#error no\n#include <no>\n#endif\nd"),
        "d",
        "text that does not count is not read"
    );
}

#[test]
fn conditions_do_arithmetic_as_c_does() {
    let holds = |condition: &str| shown(&format!("#if {condition}\nyes\n#else\nno\n#endif"));
    for condition in
        ["1 + 2 * 3 == 7", "(1 + 2) * 3 == 9", "1 << 4 >> 2 == 4", "-7 / 2 == -3", "7 % 4 == 3", "!0", "~0 == -1"]
    {
        assert_eq!(holds(condition), "yes", "{condition}");
    }
    for condition in ["6 & 3 == 3", "0 ? 1 : 0", "2 > 3 || 0", "!defined X == 0", "UNKNOWN"] {
        assert_eq!(holds(condition), "no", "{condition}");
    }
    assert_eq!(holds("1 / 0"), "no ! 1 / 0 has no value");
    assert_eq!(holds("1 << 200"), "no ! 1 << 200 has no value");
    assert_eq!(holds("1 +"), "no ! the condition has no end");
    assert_eq!(holds("1 2"), "no ! this does not belong to the condition");
    assert_eq!(holds("(1"), "no ! `)` is missing in the condition");
    assert_eq!(holds(&"(".repeat(1000)), "no ! a condition nested more than 64 deep");
    assert_eq!(holds(&"!".repeat(1000)), "no ! a condition nested more than 64 deep");
}

#[test]
fn directives_that_do_not_fit_are_told() {
    assert_eq!(shown("#if 1\na"), "a ! this condition has no end");
    assert_eq!(shown("#endif"), "! #endif without an #if before it");
    assert_eq!(shown("#if 1\n#else\n#elif 1\n#endif"), "! #elif behind the #else of the same condition");
    assert_eq!(shown("#error it's so"), "! #error: it's so");
    assert_eq!(shown("#pragma once"), "! the preprocessor has no #pragma");
    assert_eq!(shown("#include nothing"), "! #include takes the name of one file");
    assert_eq!(shown("#include <nothing.p4>"), "! there is no file nothing.p4");
    assert_eq!(shown("#\na"), "a", "a lone # is nothing");
}

#[test]
fn the_command_line_defines_macros() {
    let options = Options { defines: vec![("A".into(), "4 + 1".into())], ..Options::default() };
    assert_eq!(shown_with("A", &options), "4 + 1");
    assert_eq!(shown_with("#define A 7\nA", &options), "4 + 1 ! A is defined already, as something else");
}

#[test]
fn macros_that_double_are_stopped() {
    let mut text = String::from("#define M0\n");
    for level in 1..40 {
        text += &format!("#define M{level} M{0} M{0}\n", level - 1);
    }
    let message = "! the program is too large: more than 1048576 tokens or uses of macros, or macros too deep";
    assert_eq!(shown(&(text.clone() + "M39\nx")), message, "though they make nothing");
    assert_eq!(shown(&(text + "#if M39\n#endif\n")), "! this macro makes too many tokens");
}

#[test]
fn a_line_is_not_longer_than_diagnostics_can_show() {
    let line = |length: usize| shown(&format!("a{}", " ".repeat(length - 1)));
    assert_eq!(line(4096), "a");
    assert_eq!(line(4097), "! main.p4 has a line of more than 4096 bytes");
}

#[test]
fn included_files_are_read_in_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("main.p4", "a\n#include \"sub/one.p4\"\n#include <lib.p4>\nb");
    write("sub/one.p4", "one\n#include \"two.p4\"\n");
    write("sub/two.p4", "two");
    write("include/lib.p4", "lib\n#include \"more.p4\"");
    write("include/more.p4", "more");
    write("loop.p4", "#include \"sub/back.p4\"\n");
    write("sub/back.p4", "#include \"../loop.p4\"\n");
    let options = Options { include_folders: vec![folder.path().join("include")], ..Options::default() };
    let mut sources = Sources::default();
    let out = preprocess(&folder.path().join("main.p4"), &options, &mut sources);
    let words: Vec<_> = out.tokens.iter().map(|token| &*token.text).collect();
    assert_eq!(words, ["a", "one", "two", "lib", "more", "b", ""]);
    assert_eq!(out.mistakes, []);
    assert_eq!(sources.text(out.tokens[2].span), "two", "spans are of the included file");
    let flags: Vec<_> = sources.files().iter().map(|file| (file.library, file.included_by.is_some())).collect();
    assert_eq!(flags, [(false, false), (false, true), (false, true), (true, true), (true, true)]);
    assert_eq!(sources.text(sources.files()[2].included_by.expect("included")), "#include \"two.p4\"");

    let out = preprocess(&folder.path().join("loop.p4"), &options, &mut Sources::default());
    assert!(out.mistakes[0].message.starts_with("../loop.p4 includes itself, through "), "{:?}", out.mistakes);
    let out = preprocess(&folder.path().join("none.p4"), &options, &mut Sources::default());
    assert!(out.mistakes[0].message.ends_with("none.p4 cannot be read: entity not found"), "{:?}", out.mistakes);
}

#[test]
fn a_chain_of_files_ends_somewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    for place in 0..40 {
        let text = format!("#include \"{}.p4\"\n", place + 1);
        std::fs::write(folder.path().join(format!("{place}.p4")), text).expect("a file");
    }
    let out = preprocess(&folder.path().join("0.p4"), &Options::default(), &mut Sources::default());
    let messages: Vec<_> = out.mistakes.iter().map(|mistake| &*mistake.message).collect();
    assert_eq!(messages, ["files include one another more than 32 deep"]);
}
