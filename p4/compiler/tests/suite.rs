//! Programs and what the compiler says of them. Each `.p4` file of a folder `accepted` is taken; each of a folder `refused` is told
//! what is wrong with it, in the words of the `.txt` file beside it. `GANTRY_SNAPSHOT=update cargo test -p gantry-p4c --test suite`
//! writes those anew.
//!
//! Under `front` programs go as far as the syntax tree, so that they may use what they do not declare.

use std::path::{Path, PathBuf};

use gantry_p4c::diagnostics::{Diagnostic, render};
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;

type Stage = fn(&Path, &Options, &mut Sources) -> Result<(), Vec<Diagnostic>>;

fn parse(file: &Path, options: &Options, sources: &mut Sources) -> Result<(), Vec<Diagnostic>> {
    gantry_p4c::parse(file, options, sources).map(|_| ())
}

fn compile(file: &Path, options: &Options, sources: &mut Sources) -> Result<(), Vec<Diagnostic>> {
    gantry_p4c::compile(file, options, sources).map(|_| ())
}

fn options() -> Options {
    Options { include_folders: vec![PathBuf::from("../include")], ..Options::default() }
}

/// The programs of a folder, in the order of their names. Tests run in the crate's folder, so paths in messages are the same
/// everywhere.
fn programs(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut programs: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "p4")).collect();
    programs.sort();
    assert!(!programs.is_empty(), "{folder} has no programs");
    programs
}

fn accepted(folder: &str, stage: Stage) {
    for program in programs(folder) {
        let mut sources = Sources::default();
        if let Err(diagnostics) = stage(&program, &options(), &mut sources) {
            panic!("{} is refused:\n{}", program.display(), render(&diagnostics, &sources, false));
        }
    }
}

fn refused(folder: &str, stage: Stage) {
    let update = std::env::var("GANTRY_SNAPSHOT").is_ok_and(|value| value == "update");
    let mut different = Vec::new();
    for program in programs(folder) {
        let mut sources = Sources::default();
        let Err(diagnostics) = stage(&program, &options(), &mut sources) else {
            panic!("{} is taken", program.display());
        };
        let told = render(&diagnostics, &sources, false);
        let beside = program.with_extension("txt");
        if update {
            std::fs::write(&beside, &told).expect("the expected text is written");
            continue;
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if told != expected {
            different.push(format!("{}:\n--- expected\n{expected}\n--- told\n{told}", program.display()));
        }
    }
    let advice = "If that is better: GANTRY_SNAPSHOT=update cargo test -p gantry-p4c --test suite";
    assert!(different.is_empty(), "{}\n{advice}", different.join("\n"));
}

#[test]
fn programs_that_the_grammar_takes() {
    accepted("tests/front/accepted", parse);
}

#[test]
fn programs_that_the_grammar_refuses() {
    refused("tests/front/refused", parse);
}

#[test]
fn programs_that_are_compiled() {
    accepted("tests/accepted", compile);
}

#[test]
fn programs_that_are_refused() {
    refused("tests/refused", compile);
}

#[test]
fn the_cards_own_programs_are_compiled() {
    accepted("..", compile);
}
