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
    for diagnostic in diagnostics {
        text.push_str(&render_one(diagnostic, sources, colour));
    }
    text
}

type FileSpan = (u32, std::ops::Range<usize>);

fn render_one(diagnostic: &Diagnostic, sources: &Sources, colour: bool) -> String {
    let config = Config::new()
        .with_color(colour)
        .with_char_set(CharSet::Ascii)
        .with_index_type(IndexType::Byte)
        .with_compact(false);
    let id = |span: Span| -> FileSpan { (span.file, span.range()) };
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
    let written = report.finish().write(Files::new(sources), &mut bytes);
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
