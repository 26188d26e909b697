//! A mistake in the file: where, what, and what to do about it.

use std::fmt;
use std::ops::Range;

#[derive(Debug)]
struct Problem {
    span: Range<usize>,
    message: String,
    remedy: String,
}

/// Mistakes as they are found.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<Problem>);

impl Found {
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Problem { span, message: message.into(), remedy: remedy.into() });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_problems(mut self, file: &str, text: &str) -> Problems {
        self.0.sort_by_key(|problem| problem.span.start);
        let rendered = self.0.iter().map(|problem| problem.render(file, text)).collect();
        Problems(rendered)
    }
}

impl Problem {
    fn render(&self, file: &str, text: &str) -> String {
        let start = (0..=self.span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let number = text[..start].matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or("").trim();
        let mut rendered = format!("{file}:{number}: {}\n", self.message);
        if !line.is_empty() {
            rendered += &format!("    {number} | {line}\n");
        }
        rendered + &format!("    remedy: {}", self.remedy)
    }
}

/// Every mistake of a file, ready to be read.
#[derive(Debug)]
pub(crate) struct Problems(Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}
