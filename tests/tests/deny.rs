//! deny.toml, enforced from `cargo metadata`: licences, sources and banned crates of everything that is built.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn policy() -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deny.toml");
    fs::read_to_string(path).expect("deny.toml").parse().expect("deny.toml is TOML")
}

fn strings(table: &toml::Table, section: &str, key: &str) -> Vec<String> {
    let list = table[section][key].as_array().unwrap_or_else(|| panic!("{section}.{key} is a list"));
    list.iter().map(|value| value.as_str().expect("a string").to_owned()).collect()
}

/// Every package that the workspace depends on.
fn dependencies() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let foreign: Vec<Value> = packages.iter().filter(|package| !package["source"].is_null()).cloned().collect();
    assert!(foreign.len() > 20, "{} dependencies seen: the metadata cannot be whole", foreign.len());
    foreign
}

/// Whether an SPDX expression can be met with `allowed`. AND binds tighter than OR; "/" is the old way to say OR.
fn allows(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at, allowed) && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, allowed);
    }
    met
}

fn all(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any(words, at, allowed);
        *at += 1;
        return met;
    }
    let mut licence = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        licence = format!("{licence} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&licence)
}

#[test]
fn every_dependency_is_licensed_and_from_a_known_place() {
    let policy = policy();
    let (allowed, banned) = (strings(&policy, "licenses", "allow"), strings(&policy, "bans", "deny"));
    let registries = strings(&policy, "sources", "allow-registry");
    let mut wrong = Vec::new();
    for package in dependencies() {
        let name = package["name"].as_str().expect("a name");
        let named = format!("{name} {}", package["version"].as_str().expect("a version"));
        match package["license"].as_str() {
            Some(licence) if allows(licence, &allowed) => {}
            licence => wrong.push(format!("{named}: licence {licence:?} is not allowed")),
        }
        let source = package["source"].as_str().expect("a source");
        if !registries.iter().any(|registry| source.strip_prefix("registry+") == Some(registry)) {
            wrong.push(format!("{named}: comes from {source}"));
        }
        if banned.iter().any(|banned| banned == name) {
            wrong.push(format!("{named}: is banned"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for yes in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(GPL-3.0 OR MIT) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(allows(yes, &allowed), "{yes}");
    }
    for no in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT OR X) AND GPL-3.0", "MIT X"] {
        assert!(!allows(no, &allowed), "{no}");
    }
}
