//! Comments as documentation: which of them belong to a token, and their text without the comment signs.

use std::rc::Rc;

/// The comments since the last token.
#[derive(Debug, Default)]
pub(super) struct Comments {
    lines: Vec<String>,
    /// The line of the last comment's end.
    last: u32,
}

impl Comments {
    /// A `//` comment; `first` if nothing is before it on its line.
    pub(super) fn line(&mut self, comment: &str, line: u32, first: bool) {
        if !self.follows(line, first) {
            return;
        }
        let text = comment.trim_start_matches('/');
        let text = text.strip_prefix('!').unwrap_or(text);
        self.add(text.strip_prefix(' ').unwrap_or(text));
        self.last = line;
    }

    /// A `/* */` comment from one line to another.
    pub(super) fn block(&mut self, comment: &str, from: u32, to: u32, first: bool) {
        if !self.follows(from, first) {
            return;
        }
        let inside = comment.trim_start_matches('/').trim_end_matches('/');
        let inside = inside.trim_start_matches('*').trim_end_matches('*');
        for line in inside.lines() {
            let text = line.trim_start();
            let text = text.strip_prefix('*').unwrap_or(text);
            self.add(text.strip_prefix(' ').unwrap_or(text));
        }
        self.last = to;
    }

    /// The documentation of a token on that line.
    pub(super) fn take(&mut self, line: u32) -> Rc<str> {
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() || line > self.last + 1 { "".into() } else { lines.join("\n").trim_matches('\n').into() }
    }

    /// Whether a comment on that line belongs to the block, which starts anew behind an empty line.
    fn follows(&mut self, line: u32, first: bool) -> bool {
        if line > self.last + 1 {
            self.lines.clear();
        }
        first
    }

    fn add(&mut self, line: &str) {
        let line = line.trim_end();
        let rule = line.len() >= 3 && line.chars().all(|c| matches!(c, '-' | '=' | '*' | '#' | '~' | '/'));
        if !rule {
            self.lines.push(line.to_owned());
        }
    }
}
