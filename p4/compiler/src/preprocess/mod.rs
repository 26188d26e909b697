//! The preprocessor (P4_16 §5.1): includes, macros without parameters, conditions. From a file's path to the program's tokens.
//!
//! Macros with parameters are refused: constants and actions say the same and are checked. Whatever a program does, the work is
//! bounded: in files, their size, their depth, and in tokens.

mod condition;
mod include;
mod macros;

use std::path::{Path, PathBuf};

use crate::ast::Number;
use crate::diagnostics::{DIAGNOSTICS_MAX, Diagnostic};
use crate::lexer::{Kind, Token, lex};
use crate::source::{Sources, Span};
use macros::Macros;

/// Files that include one another, the main file among them.
const DEPTH_MAX: usize = 32;
/// Files of a program, each counted as often as it is included.
const FILES_MAX: usize = 512;
/// Bytes of a file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a line: diagnostics show whole lines.
const LINE_BYTES_MAX: usize = 4096;
/// Tokens of a program, and the uses of its macros.
const TOKENS_MAX: usize = 1 << 20;

/// What the command line says about a program's text.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folders in which included files are searched, in that order.
    pub include_folders: Vec<PathBuf>,
    /// Macros: names and values.
    pub defines: Vec<(String, String)>,
}

/// The tokens of a program, the last of them [`Kind::End`], and the mistakes.
pub(crate) struct Preprocessed {
    pub(crate) tokens: Vec<Token>,
    pub(crate) mistakes: Vec<Diagnostic>,
    /// Parts are missing that could not be read: what the parser has to say about the rest may be their fault.
    pub(crate) incomplete: bool,
}

/// Reads a program from its main file.
pub(crate) fn preprocess(main: &Path, options: &Options, sources: &mut Sources) -> Preprocessed {
    let name = include::shown(main);
    match include::read(main) {
        Ok(text) => {
            let file = sources.add(name, text, None, false);
            run(file, vec![include::Open::new(main)], options, sources)
        }
        Err(reason) => {
            let file = sources.add(name.clone(), "", None, false);
            let span = Span { file, start: 0, end: 0 };
            let mistake = Diagnostic::new(span, format!("{name} cannot be read: {reason}"));
            Preprocessed { tokens: vec![end(span)], mistakes: vec![mistake], incomplete: true }
        }
    }
}

/// Reads a program from its text. What it includes comes from the options' folders.
pub(crate) fn preprocess_text(name: &str, text: &str, options: &Options, sources: &mut Sources) -> Preprocessed {
    let file = sources.add(name, text, None, false);
    run(file, vec![include::Open::new(Path::new(name))], options, sources)
}

fn run(file: u32, open: Vec<include::Open>, options: &Options, sources: &mut Sources) -> Preprocessed {
    let mut preprocessor = Preprocessor {
        options,
        sources,
        open,
        macros: Macros::default(),
        tokens: Vec::new(),
        mistakes: Vec::new(),
        files: 1,
        full: false,
        incomplete: false,
    };
    preprocessor.define_all();
    preprocessor.file(file);
    let Preprocessor { mut tokens, mistakes, sources, incomplete, .. } = preprocessor;
    let length = u32::try_from(sources.files()[file as usize].text.len()).expect("sources are shorter than 4 GiB");
    tokens.push(end(Span { file, start: length, end: length }));
    Preprocessed { tokens, mistakes, incomplete }
}

fn end(span: Span) -> Token {
    Token { kind: Kind::End, text: "".into(), span, first: true, glued: false, doc: "".into() }
}

struct Preprocessor<'p> {
    options: &'p Options,
    sources: &'p mut Sources,
    /// The files from the main file to this one.
    open: Vec<include::Open>,
    macros: Macros,
    tokens: Vec<Token>,
    mistakes: Vec<Diagnostic>,
    files: usize,
    /// A bound was reached: nothing more is read.
    full: bool,
    incomplete: bool,
}

/// An `#if` whose `#endif` has not come.
struct If {
    /// The directive.
    span: Span,
    /// Text around it counts.
    outside: bool,
    /// Text here counts.
    here: bool,
    /// A branch was taken, so that no other is.
    taken: bool,
    /// Its `#else`.
    otherwise: Option<Span>,
}

impl Preprocessor<'_> {
    fn mistake(&mut self, diagnostic: Diagnostic) {
        if self.mistakes.len() < DIAGNOSTICS_MAX {
            self.mistakes.push(diagnostic);
        }
    }

    /// Tells of a bound that was reached, and stops.
    fn stop(&mut self, diagnostic: Diagnostic) {
        if !self.full {
            self.full = true;
            self.incomplete = true;
            self.mistakes.push(diagnostic);
        }
    }

    /// Defines what the command line defines, in a file of its own that diagnostics can show.
    fn define_all(&mut self) {
        for (name, value) in &self.options.defines {
            let file = self.sources.add("<command line>", format!("{name} {value}"), None, false);
            let text = self.sources.files()[file as usize].text.clone();
            let lexed = lex(file, &text);
            self.define(&lexed.tokens, &lexed.mistakes, Span { file, start: 0, end: 0 });
        }
    }

    fn file(&mut self, file: u32) {
        let text = self.sources.files()[file as usize].text.clone();
        if text.lines().any(|line| line.len() > LINE_BYTES_MAX) {
            let this = &self.sources.files()[file as usize];
            let message = format!("{} has a line of more than {LINE_BYTES_MAX} bytes", this.name);
            // Where it is included; of the main file there is no better place than its beginning.
            let place = this.included_by.unwrap_or(Span { file, start: 0, end: 0 });
            return self.stop(Diagnostic::new(place, message));
        }
        let lexed = lex(file, &text);
        let mut ifs: Vec<If> = Vec::new();
        let mut rest = &lexed.tokens[..];
        while let Some(token) = rest.first() {
            if self.full {
                return;
            }
            let active = ifs.last().is_none_or(|it| it.here);
            if token.first && token.is("#") {
                let length = 1 + rest[1..].iter().position(|token| token.first).unwrap_or(rest.len() - 1);
                let (line, behind) = rest.split_at(length);
                rest = behind;
                self.directive(line, &lexed.mistakes, &mut ifs, active);
            } else {
                rest = &rest[1..];
                if active {
                    self.expand(token, &lexed.mistakes);
                }
            }
        }
        for it in ifs {
            self.mistake(Diagnostic::new(it.span, "this condition has no end").remedy("close it with #endif"));
        }
    }

    /// A token of the program, and the mistake if it is none.
    fn expand(&mut self, token: &Token, mistakes: &[Diagnostic]) {
        if let Kind::Bad(place) = token.kind {
            self.mistake(mistakes[place as usize].clone());
            // What it was meant to be, so that the parser finds the rest in its place.
            let kind = match self.sources.text(token.span).as_bytes().first() {
                Some(b'0'..=b'9') => Kind::Number(Number { value: 0, width: None }),
                Some(b'"') => Kind::String,
                _ => return,
            };
            self.tokens.push(Token { kind, ..token.clone() });
            return;
        }
        let Self { macros, tokens, .. } = self;
        if macros.expand(token, tokens).is_err() || tokens.len() > TOKENS_MAX {
            let message = format!(
                "the program is too large: more than {TOKENS_MAX} tokens or uses of macros, or macros too deep"
            );
            self.stop(Diagnostic::new(token.span, message));
        }
    }

    /// A line that starts with `#`.
    fn directive(&mut self, line: &[Token], mistakes: &[Diagnostic], ifs: &mut Vec<If>, active: bool) {
        let whole = line[0].span.to(line[line.len() - 1].span);
        let Some(name) = line.get(1) else { return };
        let arguments = &line[2..];
        match (name.kind, &*name.text) {
            (Kind::Word, "if" | "ifdef" | "ifndef") => {
                let here = active && self.condition(&name.text, arguments, mistakes, whole);
                ifs.push(If { span: whole, outside: active, here, taken: here, otherwise: None });
            }
            (Kind::Word, "elif" | "else" | "endif") => {
                let Some(it) = ifs.last_mut() else {
                    let message = format!("#{} without an #if before it", name.text);
                    return self.mistake(Diagnostic::new(whole, message));
                };
                if &*name.text == "endif" {
                    ifs.pop();
                    return;
                }
                if let Some(otherwise) = it.otherwise {
                    let message = format!("#{} behind the #else of the same condition", name.text);
                    return self.mistake(Diagnostic::new(whole, message).mark(otherwise, "the #else"));
                }
                let wanted = it.outside && !it.taken;
                if &*name.text == "else" {
                    it.otherwise = Some(whole);
                    it.here = wanted;
                } else {
                    it.here = wanted && self.condition("if", arguments, mistakes, whole);
                }
                it.taken |= it.here;
            }
            _ if !active => {}
            (Kind::Word, "include") => self.include(arguments, whole),
            (Kind::Word, "define") => self.define(arguments, mistakes, whole),
            (Kind::Word, "undef") => match arguments {
                [token] if token.kind == Kind::Word => self.macros.undefine(&token.text),
                _ => self.mistake(Diagnostic::new(whole, "#undef takes the name of one macro")),
            },
            (Kind::Word, "error") => {
                let text = line.get(2).map_or("", |from| self.sources.text(from.span.to(line[line.len() - 1].span)));
                self.incomplete = true;
                self.mistake(Diagnostic::new(whole, format!("#error: {text}")));
            }
            _ => {
                let message = format!("the preprocessor has no #{}", self.sources.text(name.span));
                let remedy =
                    "it takes #include, #define, #undef, #if, #ifdef, #ifndef, #elif, #else, #endif and #error";
                self.mistake(Diagnostic::new(whole, message).remedy(remedy));
            }
        }
    }

    /// Whether the text under an `#if`, `#ifdef` or `#ifndef` counts.
    fn condition(&mut self, directive: &str, arguments: &[Token], mistakes: &[Diagnostic], whole: Span) -> bool {
        if directive == "if" {
            return match condition::evaluate(arguments, mistakes, whole, &mut self.macros) {
                Ok(value) => value != 0,
                Err(diagnostic) => {
                    self.mistake(diagnostic);
                    false
                }
            };
        }
        match arguments {
            [token] if token.kind == Kind::Word => self.macros.is_defined(&token.text) == (directive == "ifdef"),
            _ => {
                self.mistake(Diagnostic::new(whole, format!("#{directive} takes the name of one macro")));
                false
            }
        }
    }

    /// `#define NAME tokens`.
    fn define(&mut self, arguments: &[Token], mistakes: &[Diagnostic], whole: Span) {
        let Some((name, value)) = arguments.split_first().filter(|(name, _)| name.kind == Kind::Word) else {
            return self.mistake(Diagnostic::new(whole, "#define takes the name of a macro and what it stands for"));
        };
        if value.first().is_some_and(|token| token.glued && token.is("(")) {
            let message = "macros with parameters are outside of the subset: nothing checks what they are given";
            let remedy = "write a `const` for a value, or an action for statements";
            self.incomplete = true;
            return self.mistake(Diagnostic::new(name.span.to(value[0].span), message).remedy(remedy));
        }
        if &*name.text == "defined" {
            return self
                .mistake(Diagnostic::new(name.span, "`defined` is an operator of #if, not the name of a macro"));
        }
        let bad = value.iter().find_map(|token| match token.kind {
            Kind::Bad(place) => Some(place),
            _ => None,
        });
        if let Some(place) = bad {
            return self.mistake(mistakes[place as usize].clone());
        }
        if let Err(before) = self.macros.define(name, value) {
            let message = format!("{} is defined already, as something else", name.text);
            let remedy = format!("#undef {0} before it, or put #ifndef {0} around it", name.text);
            self.mistake(Diagnostic::new(name.span, message).mark(before, "defined here").remedy(remedy));
        }
    }
}

#[cfg(test)]
mod tests;
