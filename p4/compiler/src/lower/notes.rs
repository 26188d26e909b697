//! What comments and annotations tell readers and clients.

use crate::ast::Preamble;
use crate::ir::Notes;

/// Annotations that have a field of their own in the intermediate form.
const TOLD_ELSEWHERE: [&str; 8] =
    ["name", "id", "brief", "description", "tableonly", "defaultonly", "priority", "controller_header"];

/// What stands before a declaration, with annotations that come from its type.
pub(super) fn notes(preamble: &Preamble, from_type: &[String]) -> Notes {
    let (first, rest) = paragraphs(&preamble.doc);
    let string = |name: &str| preamble.annotation(name).and_then(|it| it.string()).map(str::to_owned);
    let own = preamble.annotations.iter().filter(|it| !TOLD_ELSEWHERE.contains(&&*it.name.text));
    let mut annotations: Vec<String> = own.map(|it| it.text.to_string()).collect();
    annotations
        .extend(from_type.iter().filter(|text| !preamble.annotations.iter().any(|it| *it.text == ***text)).cloned());
    Notes {
        brief: string("brief").unwrap_or(first),
        description: string("description").unwrap_or(rest),
        annotations,
        new_type: String::new(),
    }
}

/// The number that is asked for a part of an object, a key or a parameter, whose own number is told nowhere else.
pub(super) fn asked_id(preamble: &Preamble) -> Option<String> {
    preamble.annotation("id").map(|it| it.text.to_string())
}

/// The first paragraph of a comment on one line, and the others.
fn paragraphs(doc: &str) -> (String, String) {
    let mut lines = doc.trim().lines();
    let first: Vec<&str> = lines.by_ref().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let rest: Vec<&str> = lines.collect();
    (first.join(" "), rest.join("\n").trim().to_owned())
}
