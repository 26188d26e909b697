//! docs/tables.md is what the P4 programs say. `GANTRY_SNAPSHOT=update cargo test -p gantry-tests --test p4_tables` writes it anew.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use gantry_p4c::ir::Program;
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn program(name: &str) -> Program {
    let mut sources = Sources::default();
    let options = Options { include_folders: vec![root().join("p4/include")], ..Options::default() };
    let program = gantry_p4c::compile(&root().join("p4").join(name), &options, &mut sources);
    program.unwrap_or_else(|mistakes| panic!("{}", gantry_p4c::diagnostics::render(&mistakes, &sources, false)))
}

#[test]
fn the_reference_of_tables_is_the_programs() {
    let (file, text) = (
        root().join("docs/tables.md"),
        gantry_p4c::emit::docs::document(&[&program("packet.p4"), &program("command.p4")]),
    );
    if std::env::var("GANTRY_SNAPSHOT").is_ok_and(|value| value == "update") {
        fs::write(&file, text).expect("docs/ can be written");
        return;
    }
    let kept = fs::read_to_string(&file).expect("docs/tables.md");
    let line = kept.lines().zip(text.lines()).position(|(kept, said)| kept != said);
    assert!(
        kept == text,
        "docs/tables.md is not what the programs say, from line {} on: GANTRY_SNAPSHOT=update cargo test -p gantry-tests \
         --test p4_tables",
        line.unwrap_or_else(|| kept.lines().count().min(text.lines().count())) + 1
    );
}
