//! Bugs of a written list, tests/mutants/classic.toml: what is to be found in a file, and what takes its place.

use std::collections::BTreeMap;

use super::tree::{Tree, changed};
use super::{Change, Edit, Mutant, package_of};
use crate::Result;

/// The list, from the workspace's root.
const LIST: &str = "tests/mutants/classic.toml";

/// Reads the list. Each of its edits must fit the tree as it is: a bug that can no longer be planted says nothing.
pub(super) fn read(tree: &Tree) -> Result<Vec<Mutant>> {
    let mutants = parse(&tree.read(LIST)?).map_err(|error| format!("{LIST}: {error}"))?;
    for mutant in &mutants {
        fits(mutant, |file| tree.read(file)).map_err(|error| format!("{LIST}: {}: {error}", mutant.name))?;
    }
    Ok(mutants)
}

/// Whether it could be planted, without doing so: a file that is written is built again.
fn fits(mutant: &Mutant, read: impl Fn(&str) -> Result<String>) -> Result<()> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for Edit { file, change } in &mutant.edits {
        let text = match texts.get(file.as_str()) {
            Some(text) => text.clone(),
            None => read(file)?,
        };
        texts.insert(file, changed(&text, change).map_err(|error| format!("{file}: {error}"))?);
    }
    Ok(())
}

fn parse(text: &str) -> Result<Vec<Mutant>> {
    let list: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    let mutants = list.get("mutant").and_then(toml::Value::as_array).ok_or("there is no [[mutant]]")?;
    let mut read: Vec<Mutant> = Vec::new();
    for mutant in mutants {
        let name = string(mutant, "name").map_err(|error| format!("a mutant: {error}"))?;
        if read.iter().any(|other| other.name == name) {
            return Err(format!("{name} is there twice"));
        }
        read.push(one(mutant, name.clone()).map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(read)
}

fn one(mutant: &toml::Value, name: String) -> Result<Mutant> {
    let edits = mutant.get("edit").and_then(toml::Value::as_array).ok_or("there is no [[mutant.edit]]")?;
    let edit = |edit: &toml::Value| {
        let change = Change::Replace(string(edit, "find")?, string(edit, "replace")?);
        Ok(Edit { file: string(edit, "file")?, change })
    };
    let edits = edits.iter().map(edit).collect::<Result<Vec<_>>>()?;
    let package = package_of(&edits.first().ok_or("it changes nothing")?.file)?;
    Ok(Mutant { name, breaks: string(mutant, "breaks")?, package, edits })
}

fn string(table: &toml::Value, key: &str) -> Result<String> {
    let text = table.get(key).and_then(toml::Value::as_str);
    text.map(str::to_owned).ok_or_else(|| format!("`{key}` is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::root;
    use std::fs;

    /// Whoever changes the text that a bug is planted in changes the list with it.
    #[test]
    fn every_bug_of_the_list_can_be_planted() {
        let text = fs::read_to_string(root().join(LIST)).expect("the list is there");
        for mutant in parse(&text).unwrap() {
            let read = |file: &str| fs::read_to_string(root().join(file)).map_err(|error| error.to_string());
            fits(&mutant, read).unwrap_or_else(|error| panic!("{}: {error}", mutant.name));
        }
    }

    #[test]
    fn what_is_missing_or_there_twice_is_told() {
        assert!(parse("").is_err());
        let edit = "[[mutant.edit]]\nfile = 'dataplane/nvme/src/prp.rs'\nfind = 'a'\nreplace = 'b'\n";
        let whole = format!("[[mutant]]\nname = 'x'\nbreaks = 'y'\n{edit}");
        assert_eq!(parse(&whole).unwrap().len(), 1);
        assert!(parse(&format!("{whole}{whole}")).err().unwrap().contains("twice"));
        assert!(parse("[[mutant]]\nname = 'x'\nbreaks = 'y'\n").err().unwrap().contains("edit"));
        assert!(parse(&whole.replace("dataplane/nvme", "docs")).err().unwrap().contains("planted"));
    }
}
