//! Names: from the paths of a P4 program to identifiers of Rust, each once in its scope.

use std::collections::HashSet;

use proc_macro2::{Ident, Span};

/// Words that cannot be identifiers as they are (the Rust reference, Keywords).
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Names that are taken in one scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope(HashSet<String>);

impl Scope {
    /// A scope in which these are taken.
    pub(super) fn with(taken: &[&str]) -> Self {
        Self(taken.iter().map(|name| (*name).to_owned()).collect())
    }

    /// This name, or one like it that is free; taken from now on.
    pub(super) fn take(&mut self, wanted: &str) -> Ident {
        let mut name = wanted.to_owned();
        for number in 2.. {
            if self.0.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}_{number}");
        }
        ident(&name)
    }

    /// The first of these that is free, or one like the last; taken from now on.
    pub(super) fn first(&mut self, wanted: &[String]) -> Ident {
        let free = wanted.iter().find(|name| !self.0.contains(*name));
        self.take(free.or(wanted.last()).expect("a name to take"))
    }
}

/// An identifier; a keyword gets an underscore behind it.
pub(super) fn ident(name: &str) -> Ident {
    if KEYWORDS.binary_search(&name).is_ok() || name == "Self" {
        Ident::new(&format!("{name}_"), Span::call_site())
    } else {
        Ident::new(name, Span::call_site())
    }
}

/// The words of a name: at underscores, dots and other signs, and where a capital begins a word.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, &letter) in letters.iter().enumerate() {
        if !letter.is_ascii_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).map(|before| letters[before]);
        let after = letters.get(at + 1);
        let begins = letter.is_ascii_uppercase()
            && (before.is_some_and(|b| b.is_ascii_lowercase())
                || before.is_some_and(|b| b.is_ascii_uppercase()) && after.is_some_and(char::is_ascii_lowercase));
        if begins {
            words.push(String::new());
        }
        words.last_mut().expect("at least one word").push(letter.to_ascii_lowercase());
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What must not begin with a digit does not.
fn begun(name: String) -> String {
    match name.chars().next() {
        None => "unnamed".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        Some(_) => name,
    }
}

/// `srcAddr` to `src_addr`: variables, fields, functions.
pub(super) fn snake(name: &str) -> String {
    begun(words(name).join("_"))
}

/// `srcAddr` to `SRC_ADDR`: constants.
pub(super) fn upper(name: &str) -> String {
    begun(words(name).join("_").to_ascii_uppercase())
}

/// `ethernet_t` to `Ethernet`: types. The endings `_t` and `_h` only say that it is one.
pub(super) fn camel(name: &str) -> String {
    let mut words = words(name);
    if words.len() > 1 && words.last().is_some_and(|last| last == "t" || last == "h") {
        words.pop();
    }
    let capital = |word: &String| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    begun(words.iter().map(capital).collect())
}

/// `hdr.ipv4` to `ipv4`: without the parameter's name.
pub(super) fn behind_first(path: &str) -> &str {
    path.split_once('.').map_or(path, |(_, rest)| rest)
}

/// `ingress.qp_lookup` to `qp_lookup`: without the block's name.
pub(super) fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_habits() {
        assert_eq!(snake("srcAddr"), "src_addr");
        assert_eq!(snake("hdr.ipv4.hdrChecksum"), "hdr_ipv4_hdr_checksum");
        assert_eq!(snake("TTLField"), "ttl_field");
        assert_eq!(upper("roce_port"), "ROCE_PORT");
        assert_eq!(camel("ethernet_t"), "Ethernet");
        assert_eq!(camel("t"), "T");
        assert_eq!(camel("2x"), "_2x");
        assert_eq!(snake("$"), "unnamed");
    }

    #[test]
    fn a_taken_name_gets_a_number_and_a_keyword_an_underscore() {
        let mut scope = Scope::with(&["packet"]);
        assert_eq!(scope.take("packet"), "packet_2");
        assert_eq!(scope.take("type"), "type_");
        assert_eq!(scope.first(&["packet".to_owned(), "hdr_packet".to_owned()]), "hdr_packet");
        assert!(KEYWORDS.is_sorted());
    }
}
