//! Bugs that cargo-mutants knows to plant, listed by it with their diffs, and drawn by seed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tree::Tree;
use super::{Change, DRAWN, Edit, Mutant};
use crate::Result;
use crate::programs::{cargo, run};

/// All that could be planted, by package.
pub(super) fn list(tree: &Tree) -> Result<Vec<(&'static str, Vec<Mutant>)>> {
    let program = program(tree)?;
    DRAWN.iter().map(|(package, _)| Ok((*package, of(&program, tree, package)?))).collect()
}

/// cargo-mutants, installed into a folder of its own when it is not there.
fn program(tree: &Tree) -> Result<PathBuf> {
    let is_there = |program: &Path| {
        let version = Command::new(program).args(["mutants", "--version"]).stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    let (anywhere, own) = (PathBuf::from("cargo-mutants"), tree.tools().join("bin/cargo-mutants"));
    if let Some(found) = [anywhere, own.clone()].into_iter().find(|program| is_there(program)) {
        return Ok(found);
    }
    let root = tree.tools();
    println!("installing cargo-mutants into {}", root.display());
    let mut install = cargo(&["install", "cargo-mutants", "--locked", "--root"]);
    match run(install.arg(root))? {
        status if status.success() => Ok(own),
        status => Err(format!("installing cargo-mutants failed ({status})")),
    }
}

fn of(program: &Path, tree: &Tree, package: &'static str) -> Result<Vec<Mutant>> {
    let mut command = Command::new(program);
    command.args(["mutants", "--list", "--diff", "--colors", "never", "-p", package]).current_dir(tree.root());
    let output = command.output().map_err(|error| format!("starting cargo-mutants: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo-mutants: {}", String::from_utf8_lossy(&output.stderr)));
    }
    parse(&String::from_utf8_lossy(&output.stdout), package)
}

/// A name, then a diff of one hunk, then an empty line.
fn parse(text: &str, package: &'static str) -> Result<Vec<Mutant>> {
    let mut lines = text.lines().peekable();
    let mut mutants = Vec::new();
    while let Some(name) = lines.next() {
        if name.is_empty() {
            continue;
        }
        let odd = |what: &str| format!("cargo-mutants speaks otherwise than this reads: {name}: {what}");
        let file = lines.next().and_then(|line| line.strip_prefix("--- ")).ok_or_else(|| odd("no file"))?;
        lines.next().filter(|line| line.starts_with("+++ ")).ok_or_else(|| odd("no second name"))?;
        let hunk = lines.next().and_then(|line| line.strip_prefix("@@ -")).ok_or_else(|| odd("no hunk"))?;
        let first = hunk.split([',', ' ']).next().and_then(|number| number.parse().ok());
        let first: usize = first.ok_or_else(|| odd("no line number"))?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        while let Some(line) = lines.next_if(|line| line.starts_with([' ', '-', '+'])) {
            let (kind, line) = line.split_at(1);
            if kind != "+" {
                before.push(line.to_owned());
            }
            if kind != "-" {
                after.push(line.to_owned());
            }
        }
        if lines.peek().is_some_and(|line| line.starts_with("@@")) {
            return Err(odd("a second hunk"));
        }
        let edit = Edit { file: file.to_owned(), change: Change::Lines(first, before, after) };
        mutants.push(Mutant { name: name.to_owned(), breaks: String::new(), package, edits: vec![edit] });
    }
    Ok(mutants)
}

/// In an order that the seed draws: more of them begin with the same ones.
pub(super) fn shuffle(mut mutants: Vec<Mutant>, seed: u64) -> Vec<Mutant> {
    let mut state = seed;
    for last in (1..mutants.len()).rev() {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mutants.swap(last, ((word ^ word >> 31) % (last as u64 + 1)) as usize);
    }
    mutants
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str =
        "a.rs:2:1: replace x with y\n--- a.rs\n+++ replace x with y\n@@ -1,3 +1,3 @@\n one\n-x\n+y\n \n\n";

    #[test]
    fn a_listing_is_read() {
        let mutants = parse(&LISTED.repeat(2), "p").unwrap();
        assert_eq!((mutants.len(), mutants[1].name.as_str()), (2, "a.rs:2:1: replace x with y"));
        let Change::Lines(first, before, after) = &mutants[0].edits[0].change else { panic!("lines") };
        assert_eq!((*first, before.join("|"), after.join("|")), (1, "one|x|".into(), "one|y|".into()));
        assert!(parse("a name\nand no diff\n", "p").err().unwrap().contains("no file"));
    }

    #[test]
    fn a_seed_draws_an_order_and_loses_none() {
        let names = |seed| -> Vec<String> {
            let edits = Vec::new;
            let many = (0..50).map(|n: u32| Mutant {
                name: n.to_string(),
                breaks: String::new(),
                package: "p",
                edits: edits(),
            });
            shuffle(many.collect(), seed).into_iter().map(|mutant| mutant.name).collect()
        };
        assert_eq!(names(7), names(7));
        assert_ne!(names(7), names(8));
        let mut sorted: Vec<u32> = names(7).iter().map(|name| name.parse().unwrap()).collect();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..50));
    }
}
