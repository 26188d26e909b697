//! Which bracket closes which, before anything else is read: a forgotten one is told as such.

use crate::diagnostics::{DIAGNOSTICS_MAX, Diagnostic};
use crate::lexer::{Kind, Token};

/// For each opening bracket its closing one, for every other token itself; or what does not pair.
pub(super) fn pair(tokens: &[Token]) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let mut closing: Vec<usize> = (0..tokens.len()).collect();
    let mut open: Vec<usize> = Vec::new();
    let mut mistakes = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Kind::Symbol(symbol) = token.kind else { continue };
        match symbol {
            "(" | "[" | "{" => open.push(at),
            ")" | "]" | "}" => match open.last() {
                Some(&opening) if closes(&tokens[opening]) == symbol => {
                    closing[opening] = at;
                    open.pop();
                }
                Some(&opening) => {
                    // If it closes one further out, those between were forgotten; if not, it is itself too much.
                    let message = match open.iter().rposition(|&other| closes(&tokens[other]) == symbol) {
                        Some(place) => {
                            open.truncate(place);
                            format!("`{}` is missing before this `{symbol}`", closes(&tokens[opening]))
                        }
                        None => format!("this `{symbol}` closes nothing"),
                    };
                    mistakes
                        .push(Diagnostic::new(token.span, message).mark(tokens[opening].span, "the bracket open here"));
                }
                None => mistakes.push(Diagnostic::new(token.span, format!("this `{symbol}` closes nothing"))),
            },
            _ => {}
        }
    }
    let forgotten = |&at: &usize| {
        let message = format!("this bracket is never closed: `{}` is missing", closes(&tokens[at]));
        Diagnostic::new(tokens[at].span, message)
    };
    mistakes.extend(open.iter().map(forgotten));
    mistakes.truncate(DIAGNOSTICS_MAX);
    if mistakes.is_empty() { Ok(closing) } else { Err(mistakes) }
}

fn closes(opening: &Token) -> &'static str {
    match opening.kind {
        Kind::Symbol("(") => ")",
        Kind::Symbol("[") => "]",
        _ => "}",
    }
}
