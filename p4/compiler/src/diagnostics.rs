//! What every stage of the compiler says about a program that it does not take: where, why, and what to write instead.

use std::fmt::Write as _;

use ariadne::{CharSet, Color, Config, IndexType, Label, Report, ReportKind, Source};

use crate::source::{Sources, Span};

/// Diagnostics of one run that are kept: who has so many mistakes corrects the first ones first.
pub const DIAGNOSTICS_MAX: usize = 50;

/// A mistake in a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it is.
    pub span: Span,
    /// What is wrong, one sentence without a full stop: "a table's size must be a constant".
    pub message: String,
    /// Other places that have to do with it, and what has.
    pub marks: Vec<(Span, String)>,
    /// What to write instead.
    pub remedy: Option<String>,
}

impl Diagnostic {
    /// A mistake there.
    #[must_use]
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), marks: Vec::new(), remedy: None }
    }

    /// Points at another place: `declared here`.
    #[must_use]
    pub fn mark(mut self, span: Span, text: impl Into<String>) -> Self {
        self.marks.push((span, text.into()));
        self
    }

    /// Says what to write instead.
    #[must_use]
    pub fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = Some(text.into());
        self
    }
}

/// Puts mistakes in the order of the text and drops those told twice and those beyond [`DIAGNOSTICS_MAX`].
#[must_use]
pub fn in_order(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by(|a, b| (a.span, &a.message).cmp(&(b.span, &b.message)));
    diagnostics.dedup();
    diagnostics.truncate(DIAGNOSTICS_MAX);
    diagnostics
}

/// The mistakes as text for people: source lines with marks, reasons, remedies. Colours are escape sequences of terminals.
///
/// # Panics
/// If a span is not of these sources.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, colour: bool) -> String {
    let mut text = String::new();
    let mut files = Files::new(sources);
    for diagnostic in diagnostics {
        text.push_str(&render_one(diagnostic, &mut files, colour));
    }
    text
}

/// A file and characters of it.
type FileSpan = (u32, std::ops::Range<usize>);

fn render_one(diagnostic: &Diagnostic, files: &mut Files<'_>, colour: bool) -> String {
    let sources = files.sources;
    let config = Config::new()
        .with_color(colour)
        .with_char_set(CharSet::Ascii)
        .with_index_type(IndexType::Char)
        .with_compact(false);
    // In characters: ariadne does not count bytes the same way everywhere.
    let id = |span: Span| -> FileSpan {
        let before = |at: u32| sources.file(span).text[..at as usize].chars().count();
        (span.file, before(span.start)..before(span.end))
    };
    let mut marks: Vec<_> = diagnostic.marks.iter().map(|(span, text)| (*span, text.as_str(), Color::Blue)).collect();
    marks.push((diagnostic.span, "here", Color::Red));
    // One excerpt for each file, the mistake's first.
    marks.sort_by_key(|(span, ..)| (span.file != diagnostic.span.file, *span));
    let mut report =
        Report::build(ReportKind::Error, id(diagnostic.span)).with_config(config).with_message(&diagnostic.message);
    for (span, text, colour) in marks {
        report = report.with_label(Label::new(id(span)).with_message(text).with_color(colour));
    }
    if let Some(remedy) = &diagnostic.remedy {
        report = report.with_help(remedy);
    }
    if let Some(chain) = chain(diagnostic.span, sources) {
        report = report.with_note(chain);
    }
    let mut bytes = Vec::new();
    let written = report.finish().write(files, &mut bytes);
    written.expect("writing to memory does not fail");
    let text = String::from_utf8(bytes).expect("a report is text");
    text.lines().fold(String::new(), |mut all, line| {
        all.push_str(line.trim_end());
        all.push('\n');
        all
    })
}

/// Which `#include`s brought the file of a span.
fn chain(span: Span, sources: &Sources) -> Option<String> {
    let mut by = sources.file(span).included_by?;
    let mut text = String::new();
    loop {
        let file = sources.file(by);
        let separator = if text.is_empty() { "included by " } else { ", that by " };
        write!(text, "{separator}{}:{}", file.name, sources.position(by).line).expect("writing to a string");
        match file.included_by {
            Some(next) => by = next,
            None => return Some(text),
        }
    }
}

/// The sources as ariadne reads them.
struct Files<'s> {
    sources: &'s Sources,
    read: Vec<Option<Source<&'s str>>>,
}

impl<'s> Files<'s> {
    fn new(sources: &'s Sources) -> Self {
        Self { sources, read: sources.files().iter().map(|_| None).collect() }
    }
}

impl<'s> ariadne::Cache<u32> for Files<'s> {
    type Storage = &'s str;

    fn fetch(&mut self, id: &u32) -> Result<&Source<&'s str>, impl std::fmt::Debug> {
        let place = *id as usize;
        let text = &self.sources.files()[place].text;
        Ok::<_, std::convert::Infallible>(self.read[place].get_or_insert_with(|| Source::from(text.as_str())))
    }

    fn display<'a>(&self, id: &'a u32) -> Option<impl std::fmt::Display + 'a> {
        Some(self.sources.files()[*id as usize].name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let mut sources = Sources::default();
        sources.add("main.p4", "#include \"part.p4\"\nüx = y;\n", None, false);
        sources.add("part.p4", "// …\n// …\nbit y;\n", Some(Span { file: 0, start: 0, end: 18 }), false);
        sources
    }

    #[test]
    fn places_are_counted_in_characters_in_every_file() {
        let sources = sources();
        let (here, there) = (Span { file: 0, start: 25, end: 26 }, Span { file: 1, start: 18, end: 19 });
        assert_eq!((sources.text(here), sources.text(there)), ("y", "y"));
        let diagnostic = Diagnostic::new(here, "it is wrong").mark(there, "declared here").remedy("write it better");
        let told = render(&[diagnostic], &sources, false);
        for wanted in
            ["Error: it is wrong", "[ main.p4:2:6 ]", "[ part.p4:3:5 ]", "declared here", "Help: write it better"]
        {
            assert!(told.contains(wanted), "{wanted}: {told}");
        }
        let diagnostic = Diagnostic::new(there, "it is wrong");
        assert!(render(&[diagnostic], &sources, false).contains("Note: included by main.p4:1"));
    }

    #[test]
    fn only_terminals_get_colours() {
        let diagnostics = [Diagnostic::new(Span { file: 0, start: 0, end: 1 }, "it is wrong")];
        assert!(!render(&diagnostics, &sources(), false).contains('\x1b'));
        assert!(render(&diagnostics, &sources(), true).contains('\x1b'));
    }

    #[test]
    fn mistakes_are_told_once_in_order_and_not_without_end() {
        let at = |start: u32| Diagnostic::new(Span { file: 0, start, end: start + 1 }, "it is wrong");
        assert_eq!(in_order(vec![at(2), at(1), at(2)]), [at(1), at(2)]);
        assert_eq!(in_order((0..100).map(at).collect()).len(), DIAGNOSTICS_MAX);
    }
}
