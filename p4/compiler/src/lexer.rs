//! Text to tokens (P4_16 §6.4), one file at a time, before the preprocessor looks at them.
//!
//! Nothing is reported here: what cannot be a token becomes [`Kind::Bad`], which is a mistake only if the preprocessor lets it
//! through. Comments become the documentation of the token that they stand before.

mod comment;
mod number;

use std::rc::Rc;

use crate::ast::Number;
use crate::diagnostics::Diagnostic;
use crate::source::Span;

/// A token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: Kind,
    /// A word's letters or a string's contents; empty for other tokens.
    pub(crate) text: Rc<str>,
    /// Where it is written; of a macro's tokens, where the macro was used.
    pub(crate) span: Span,
    /// It is the first of its line.
    pub(crate) first: bool,
    /// There is no space between it and the token before.
    pub(crate) glued: bool,
    /// The comments directly before it.
    pub(crate) doc: Rc<str>,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier or a keyword, `_` included.
    Word,
    /// A number.
    Number(Number),
    /// A string.
    String,
    /// Punctuation.
    Symbol(&'static str),
    /// Not a token: the place of the reason in [`Lexed::mistakes`].
    Bad(u32),
    /// The end of the program.
    End,
}

/// A file's tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lexed {
    /// The tokens.
    pub(crate) tokens: Vec<Token>,
    /// What is wrong with those that are none.
    pub(crate) mistakes: Vec<Diagnostic>,
}

/// Longer ones come before their beginnings. `>>` is not one of them: it also closes two lists of type arguments (P4_16 §6.4).
const SYMBOLS: [&str; 44] = [
    "&&&", "|+|", "|-|", "...", "<<", "&&", "||", "==", "!=", "<=", ">=", "++", "..", "+", "-", "*", "/", "%", "&",
    "|", "^", "~", "!", "<", ">", "=", "(", ")", "[", "]", "{", "}", ":", ";", ",", ".", "?", "@", "#", "\\", "$", "`",
    "'", "\0",
];

/// Symbols that P4 does not have are lexed so that one message tells of them.
const FOREIGN: [&str; 5] = ["\\", "$", "`", "'", "\0"];

impl Token {
    /// Whether it is that word or symbol.
    #[must_use]
    pub(crate) fn is(&self, text: &str) -> bool {
        match self.kind {
            Kind::Word => &*self.text == text,
            Kind::Symbol(symbol) => symbol == text,
            _ => false,
        }
    }
}

/// The tokens of a file's text.
#[must_use]
pub(crate) fn lex(file: u32, text: &str) -> Lexed {
    let mut lexer = Lexer {
        file,
        text,
        at: 0,
        line: 0,
        first: true,
        glued: false,
        comments: comment::Comments::default(),
        lexed: Lexed::default(),
    };
    while lexer.token() {}
    lexer.lexed
}

struct Lexer<'t> {
    file: u32,
    text: &'t str,
    at: usize,
    line: u32,
    first: bool,
    glued: bool,
    comments: comment::Comments,
    lexed: Lexed,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn span(&self, start: usize) -> Span {
        let place = |at: usize| u32::try_from(at).expect("sources are shorter than 4 GiB");
        Span { file: self.file, start: place(start), end: place(self.at) }
    }

    /// Reads a token or the space before it; false at the end.
    fn token(&mut self) -> bool {
        let start = self.at;
        let Some(character) = self.rest().chars().next() else { return false };
        match character {
            '\n' => {
                self.at += 1;
                self.line += 1;
                self.first = true;
                self.glued = false;
            }
            // A line that ends in a backslash goes on in the next.
            '\\' if self.rest()[1..].trim_start_matches('\r').starts_with('\n') => {
                self.at += 1 + self.rest()[1..].find('\n').expect("just seen") + 1;
                self.line += 1;
                self.glued = false;
            }
            _ if character.is_whitespace() => {
                self.at += character.len_utf8();
                self.glued = false;
            }
            '/' if self.rest().starts_with("//") => self.line_comment(),
            '/' if self.rest().starts_with("/*") => self.block_comment(),
            'a'..='z' | 'A'..='Z' | '_' => {
                self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
                self.push(Kind::Word, &self.text[start..self.at], start);
            }
            '0'..='9' => {
                self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
                match number::parse(&self.text[start..self.at]) {
                    Ok(number) => self.push(Kind::Number(number), "", start),
                    Err(mistake) => {
                        let mut diagnostic = Diagnostic::new(self.span(start), mistake.message);
                        diagnostic.remedy = mistake.remedy;
                        self.bad(diagnostic, start);
                    }
                }
            }
            '"' => self.string(),
            _ => self.symbol(character),
        }
        true
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        self.at += self.rest().find(|c| !wanted(c)).unwrap_or(self.rest().len());
    }

    fn push(&mut self, kind: Kind, text: &str, start: usize) {
        let doc = self.comments.take(self.line);
        let (first, glued) = (self.first, self.glued);
        self.lexed.tokens.push(Token { kind, text: text.into(), span: self.span(start), first, glued, doc });
        self.first = false;
        self.glued = true;
    }

    fn bad(&mut self, diagnostic: Diagnostic, start: usize) {
        let place = u32::try_from(self.lexed.mistakes.len()).expect("fewer than bytes");
        self.lexed.mistakes.push(diagnostic);
        self.push(Kind::Bad(place), "", start);
    }

    fn symbol(&mut self, character: char) {
        let start = self.at;
        let symbol = SYMBOLS.into_iter().find(|symbol| self.rest().starts_with(symbol));
        match symbol {
            Some(symbol) if !FOREIGN.contains(&symbol) => {
                self.at += symbol.len();
                self.push(Kind::Symbol(symbol), "", start);
            }
            _ => {
                self.at += character.len_utf8();
                let message = format!("P4 programs have no {character:?} outside of strings and comments");
                self.bad(Diagnostic::new(self.span(start), message), start);
            }
        }
    }

    /// `"…"`, on one line; a backslash takes the character behind it as it is (P4_16 §6.4.3.3).
    fn string(&mut self) {
        let start = self.at;
        let mut contents = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at = start + offset + 1;
                    self.push(Kind::String, &contents, start);
                    return;
                }
                '\n' => break,
                '\\' => match characters.next() {
                    Some((_, 'n')) => contents.push('\n'),
                    Some((_, escaped @ ('"' | '\\'))) => contents.push(escaped),
                    Some((_, '\n')) | None => break,
                    Some((_, other)) => contents.extend(['\\', other]),
                },
                _ => contents.push(character),
            }
        }
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        self.bad(
            Diagnostic::new(self.span(start), "this string has no end").remedy("close it with \" on the same line"),
            start,
        );
    }

    fn line_comment(&mut self) {
        let start = self.at;
        self.skip_while(|c| c != '\n');
        self.comments.line(&self.text[start..self.at], self.line, self.first);
        self.glued = false;
    }

    fn block_comment(&mut self) {
        let start = self.at;
        let Some(length) = self.rest()[2..].find("*/") else {
            self.at += 2;
            let diagnostic = Diagnostic::new(self.span(start), "this comment has no end").remedy("close it with */");
            self.at = self.text.len();
            self.bad(diagnostic, start);
            return;
        };
        self.at += 2 + length + 2;
        let comment = &self.text[start..self.at];
        let from = self.line;
        self.line += u32::try_from(comment.matches('\n').count()).expect("fewer than bytes");
        self.comments.block(comment, from, self.line, self.first);
        self.glued = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let lexed = lex(0, text);
        let token = |token: &Token| match token.kind {
            Kind::Word => token.text.to_string(),
            Kind::Number(Number { value, width: None }) => format!("{value}"),
            Kind::Number(Number { value, width: Some(width) }) => format!("{width}w{value}"),
            Kind::String => format!("{:?}", token.text),
            Kind::Symbol(symbol) => symbol.to_owned(),
            Kind::Bad(place) => lexed.mistakes[place as usize].message.clone(),
            Kind::End => unreachable!("a file's tokens have no end token"),
        };
        lexed.tokens.iter().map(token).collect()
    }

    #[test]
    fn the_longest_symbol_wins_but_closing_angles_stay_apart() {
        assert_eq!(shown("a&&&b &&c|+|1..2...<<>>>=").join(" "), "a &&& b && c |+| 1 .. 2 ... << > > >=");
    }

    #[test]
    fn numbers_have_a_base_a_width_and_underscores() {
        assert_eq!(shown("0x1F 8w0b1010_0001 0d10 0o17 16w0xFF_FF 007").join(" "), "31 8w161 10 15 16w65535 7");
    }

    #[test]
    fn what_is_no_token_is_kept_with_its_reason() {
        let cases = [
            ("8w256", "256 does not fit 8 bits"),
            ("0w1", "a width of 0 bits"),
            ("129w1", "a width of 129 bits"),
            ("0x1_0000_0000_0000_0000_0000_0000_0000_0000", "a number of more than 128 bits"),
            ("8s1", "signed numbers are outside of the subset"),
            ("0xg", "\"0xg\" is not a number"),
            ("0b2", "\"0b2\" is not a number"),
            ("\"abc", "this string has no end"),
            ("/* abc", "this comment has no end"),
            ("é", "P4 programs have no 'é' outside of strings and comments"),
        ];
        for (text, message) in cases {
            assert_eq!(shown(text), [message], "{text}");
        }
    }

    #[test]
    fn strings_take_escapes() {
        assert_eq!(&*lex(0, r#""a\"b\\c\nd\e""#).tokens[0].text, "a\"b\\c\nd\\e");
    }

    #[test]
    fn a_line_goes_on_behind_a_backslash() {
        let lexed = lex(0, "a \\\n b\nc");
        assert_eq!(lexed.tokens.iter().map(|token| token.first).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn comments_directly_before_a_token_are_its_documentation() {
        let doc = |text: &str| lex(0, text).tokens.last().expect("a token").doc.to_string();
        assert_eq!(doc("// one\n/// two\nx"), "one\ntwo");
        assert_eq!(doc("/** one\n  * two\n  *\n  *   three */\nx"), "one\ntwo\n\n  three");
        assert_eq!(doc("/** one */ x"), "one");
        assert_eq!(doc("// licence\n\n// one\nx"), "one", "an empty line ends a block");
        assert_eq!(doc("// one\n\nx"), "", "an empty line parts a comment from what follows");
        assert_eq!(doc("a; // of a\nx"), "", "a comment behind a token is not of the next line");
        assert_eq!(doc("a; // of a\n// of x\nx"), "of x");
        assert_eq!(doc("// -----\n// one\n// -----\nx"), "one", "rules say nothing");
    }
}
