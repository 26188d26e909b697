//! The list of Rust libraries that are in the programs, with their licences' texts, as those licences ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Architecture, output};
use crate::Result;
use crate::programs::cargo;

/// How files with a licence's text are called.
const TEXTS: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// The list for programs of these crates.
pub(super) fn list(crates: &[&str], architecture: Architecture) -> Result<String> {
    let mut command = cargo(&["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}|{l}"]);
    command.args(["--target", architecture.rust()]).args(crates.iter().flat_map(|name| ["-p", name]));
    let libraries = libraries(&output(&mut command)?);
    let folders = registry_folders();
    let mut shown = String::from("Rust libraries in Gantry's programs, and their licences.\n\n");
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (library, licence) in &libraries {
        writeln!(shown, "{library}: {licence}").expect("a String takes all");
        let found: BTreeSet<String> = folders.iter().flat_map(|folder| licence_texts(&folder.join(library))).collect();
        if found.is_empty() {
            println!("{library} has no licence's text with it");
        }
        for text in found {
            texts.entry(text).or_default().push(library);
        }
    }
    for (text, libraries) in texts {
        write!(shown, "\n{}\n{}:\n\n{}\n", "-".repeat(72), libraries.join(", "), text.trim_end())
            .expect("a String takes all");
    }
    Ok(shown)
}

/// "name-version" and licence of everything that is not of this workspace.
fn libraries(tree: &str) -> BTreeMap<String, String> {
    let others = tree.lines().filter(|line| !line.contains("(/"));
    others
        .filter_map(|line| {
            let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
            let mut words = package.split_whitespace();
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            Some((format!("{name}-{version}"), licence.to_owned()))
        })
        .collect()
}

/// Where cargo unpacks what it fetches: one folder a registry.
fn registry_folders() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn licence_texts(folder: &Path) -> Vec<String> {
    let is_text = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file() && TEXTS.iter().any(|start| name.starts_with(start))
    };
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_text);
    files.filter_map(|path| fs::read(path).ok()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_crates_are_left_out_and_others_named_once() {
        let tree = "gantryd v0.1.0 (/src/control/daemon)|Apache-2.0\nclap v4.6.7|MIT OR Apache-2.0\n\
                    clap_derive v4.6.7 (proc-macro)|MIT\nclap v4.6.7|MIT OR Apache-2.0 (*)\n";
        let found = libraries(tree);
        assert_eq!(found.len(), 2);
        assert_eq!(found["clap-4.6.7"], "MIT OR Apache-2.0");
        assert_eq!(found["clap_derive-4.6.7"], "MIT");
    }
}
