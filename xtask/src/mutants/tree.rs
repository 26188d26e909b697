//! The copy of the tree that bugs are planted in. It stays between runs, so that only what changed is built again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Change, Edit};
use crate::Result;
use crate::programs::{root, target};

/// The copy, beside the target folder's profiles.
pub(super) struct Tree {
    folder: PathBuf,
}

/// A bug, planted; taken out again when this is dropped.
pub(super) struct Planted {
    originals: Vec<(PathBuf, String)>,
}

impl Drop for Planted {
    fn drop(&mut self) {
        for (path, text) in self.originals.drain(..).rev() {
            fs::write(&path, text).expect("it was written a moment ago");
        }
    }
}

impl Tree {
    /// Brings the copy to where the workspace is: every file that git tracks or would track. Files that are the same are
    /// left alone, with their time.
    pub(super) fn copy() -> Result<Self> {
        let tree = Self { folder: target()?.join("mutants") };
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root())
            .output()
            .map_err(|error| format!("starting git: {error}"))?;
        if !listed.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr)));
        }
        let names = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mut files: BTreeSet<PathBuf> = BTreeSet::new();
        for name in names.split_terminator('\0') {
            // Tracked, and deleted since.
            let Ok(bytes) = fs::read(root().join(name)) else { continue };
            let path = tree.root().join(name);
            if fs::read(&path).ok().as_ref() != Some(&bytes) {
                let folder = path.parent().expect("a file lies in a folder");
                fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
                fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            files.insert(path);
        }
        sweep(&tree.root(), &files)?;
        Ok(tree)
    }

    /// Where the copy's workspace is.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Where its builds go.
    pub(super) fn target(&self) -> PathBuf {
        self.folder.join("target")
    }

    /// Where programs that this command installs go.
    pub(super) fn tools(&self) -> PathBuf {
        self.folder.join("tools")
    }

    /// Where the report goes.
    pub(super) fn report(&self) -> PathBuf {
        self.folder.join("report.txt")
    }

    /// Where what a program says goes.
    pub(super) fn said(&self) -> PathBuf {
        self.folder.join("said.txt")
    }

    /// A file of the copy.
    pub(super) fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.root().join(name)).map_err(|error| format!("{name}: {error}"))
    }

    /// Changes files, all or none.
    pub(super) fn plant(&self, edits: &[Edit]) -> Result<Planted> {
        let mut planted = Planted { originals: Vec::new() };
        for Edit { file, change } in edits {
            let path = self.root().join(file);
            let text = self.read(file)?;
            let changed = changed(&text, change).map_err(|error| format!("{file}: {error}"))?;
            planted.originals.push((path.clone(), text));
            fs::write(&path, changed).map_err(|error| format!("{file}: {error}"))?;
        }
        Ok(planted)
    }
}

/// Removes files that are in the workspace no more: cargo would take them for tests and modules.
fn sweep(folder: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            sweep(&path, files)?;
        } else if !files.contains(&path) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// `text` with one change.
pub(super) fn changed(text: &str, change: &Change) -> Result<String> {
    match change {
        Change::Replace(find, replace) => match text.matches(find.as_str()).count() {
            1 => Ok(text.replacen(find.as_str(), replace, 1)),
            times => Err(format!("it is there {times} times, not once: {find:?}")),
        },
        Change::Lines(first, before, after) => {
            let lines: Vec<&str> = text.lines().collect();
            let from = first.saturating_sub(1);
            let there = lines.get(from..from + before.len()).is_some_and(|lines| lines == before.as_slice());
            if !there {
                return Err(format!("line {first} and those behind it are not as expected"));
            }
            let (head, tail) = (&lines[..from], &lines[from + before.len()..]);
            let all = head.iter().copied().chain(after.iter().map(String::as_str)).chain(tail.iter().copied());
            Ok(all.flat_map(|line| [line, "\n"]).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_changed_where_it_is_as_expected_and_nowhere_else() {
        let replace = |find: &str| Change::Replace(find.to_owned(), "x".to_owned());
        assert_eq!(changed("a b", &replace("a")).unwrap(), "x b");
        assert!(changed("a a", &replace("a")).unwrap_err().contains("2 times"));
        assert!(changed("b", &replace("a")).unwrap_err().contains("0 times"));
        let lines = |first, before: &[&str], after: &[&str]| {
            let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
            Change::Lines(first, own(before), own(after))
        };
        assert_eq!(changed("a\nb\nc\n", &lines(2, &["b"], &["x", "y"])).unwrap(), "a\nx\ny\nc\n");
        assert!(changed("a\nb\n", &lines(1, &["b"], &["x"])).is_err());
        assert!(changed("a\nb\n", &lines(2, &["b", "c"], &["x"])).is_err());
    }
}
