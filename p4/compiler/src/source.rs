//! Where a piece of a program comes from: its files, and ranges of them.

/// A range of bytes of one file of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Which file, in the order of inclusion.
    pub file: u32,
    /// Its first byte.
    pub start: u32,
    /// The byte behind its last.
    pub end: u32,
}

/// The files of a program.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<File>,
}

/// A file of a program.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path as it was opened, with `/` between its parts.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The `#include` that brought it; none for the program's main file.
    pub included_by: Option<Span>,
    /// It was included with `<…>`: part of the language's or an architecture's library, not of the program.
    pub library: bool,
    /// Where its lines start, in bytes.
    lines: Vec<u32>,
}

/// A place in a file as people count: both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl Span {
    /// From the start of this to the end of that; this alone if that is in another file or before it.
    #[must_use]
    pub fn to(self, that: Span) -> Span {
        if self.file == that.file && that.end >= self.end { Span { end: that.end, ..self } } else { self }
    }

    /// As a range of the file's text.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Sources {
    /// Adds a file; its number is what [`Span::file`] has.
    ///
    /// # Panics
    /// If the text is longer than 4 GiB. The preprocessor reads no file of more than a few megabytes.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        text: impl Into<String>,
        included_by: Option<Span>,
        library: bool,
    ) -> u32 {
        let text = text.into();
        assert!(u32::try_from(text.len()).is_ok(), "a source file of more than 4 GiB");
        let ends = text.bytes().zip(1u32..).filter(|(byte, _)| *byte == b'\n').map(|(_, behind)| behind);
        let lines = std::iter::once(0).chain(ends).collect();
        self.files.push(File { name: name.into(), text, included_by, library, lines });
        u32::try_from(self.files.len() - 1).expect("a number of files that fits")
    }

    /// The files in the order of inclusion, the program's main file first.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The file of a span.
    ///
    /// # Panics
    /// If the span is not of these sources.
    #[must_use]
    pub fn file(&self, span: Span) -> &File {
        &self.files[span.file as usize]
    }

    /// The text of a span.
    ///
    /// # Panics
    /// If the span is not of these sources.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        &self.file(span).text[span.range()]
    }

    /// The line and column of a span's first byte.
    ///
    /// # Panics
    /// If the span is not of these sources.
    #[must_use]
    pub fn position(&self, span: Span) -> Position {
        let file = self.file(span);
        let line = file.lines.partition_point(|start| *start <= span.start);
        let before = &file.text[file.lines[line - 1] as usize..span.start as usize];
        let count = |n: usize| u32::try_from(n).expect("less than the file's length");
        Position { line: count(line), column: count(before.chars().count() + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_counted_from_one_and_in_characters() {
        let mut sources = Sources::default();
        let file = sources.add("a.p4", "ab\nüx y\n", None, false);
        let at = |start| sources.position(Span { file, start, end: start });
        assert_eq!(at(0), Position { line: 1, column: 1 });
        assert_eq!(at(2), Position { line: 1, column: 3 });
        assert_eq!(at(3), Position { line: 2, column: 1 });
        assert_eq!(at(5), Position { line: 2, column: 2 }, "ü is two bytes and one character");
        assert_eq!(at(9), Position { line: 3, column: 1 }, "behind the last line");
        assert_eq!(sources.text(Span { file, start: 3, end: 6 }), "üx");
    }

    #[test]
    fn spans_join_within_a_file_only() {
        let a = Span { file: 0, start: 2, end: 4 };
        assert_eq!(a.to(Span { file: 0, start: 6, end: 9 }), Span { file: 0, start: 2, end: 9 });
        assert_eq!(a.to(Span { file: 1, start: 6, end: 9 }), a);
        assert_eq!(a.to(Span { file: 0, start: 0, end: 1 }), a);
    }
}
