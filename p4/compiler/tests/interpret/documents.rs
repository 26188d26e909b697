//! The reference of tables and the drawing, of the example, as whole texts.

use std::fs;
use std::path::Path;

use gantry_p4c::emit::{docs, graph};

use crate::example::router;

/// Compares with a file beside this one. `GANTRY_SNAPSHOT=update` writes the files anew, to be read before they are committed.
fn is(made: &str, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interpret/golden").join(name);
    if std::env::var("GANTRY_SNAPSHOT").is_ok_and(|value| value == "update") {
        fs::write(&path, made).expect("the repository can be written to");
    }
    let wanted = fs::read_to_string(&path).expect("the golden file is there");
    for (number, (wanted, made)) in (1..).zip(wanted.lines().zip(made.lines())) {
        assert_eq!(wanted, made, "line {number} of {name}");
    }
    assert_eq!(wanted.lines().count(), made.lines().count(), "{name}");
}

#[test]
fn the_reference_of_tables() {
    is(&docs::emit(&router()), "router.tables.md");
}

#[test]
fn several_programs_are_one_document() {
    let page = docs::document(&[&router(), &router()]);
    assert_eq!(page.matches("\n## router\n").count(), 2);
    assert_eq!(page.matches("# Tables\n").count(), 1 + 2);
}

#[test]
fn the_drawing() {
    is(&graph::emit(&router()), "router.dot");
}

#[test]
fn names_cannot_break_out_of_the_drawing() {
    let mut program = router();
    program.name = "a\"b\\c\nd".into();
    assert!(graph::emit(&program).starts_with("digraph \"a\\\"b\\\\c\\nd\" {\n"));
}
