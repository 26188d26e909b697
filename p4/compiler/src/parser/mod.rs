//! Tokens to the syntax tree: recursive descent over the grammar of P4_16 1.2.4 (appendix G), less what the subset leaves out.
//!
//! What the grammar knows but the subset refuses is recognised and told, with what to write instead. After a mistake reading goes
//! on at the next statement or declaration. The height of the tree is bounded, by nesting and by operators in one expression.

mod annotation;
mod block;
mod brackets;
mod declaration;
mod expression;
mod lookahead;
mod scope;
mod statement;
mod table;
mod types;

use crate::ast::{Name, Path, Program};
use crate::diagnostics::{DIAGNOSTICS_MAX, Diagnostic};
use crate::lexer::{Kind, Token};
use crate::source::{Sources, Span};
use scope::{Known, Scopes};

/// Blocks, brackets, types and conditions inside one another.
const DEPTH_MAX: usize = 100;
/// Operators, members and calls in one expression.
const OPERATORS_MAX: usize = 500;

/// Words that are no names (P4_16 §6.4.2). `actions`, `apply`, `entries`, `key`, `list`, `priority`, `state` and `type` are both.
const RESERVED: [&str; 38] = [
    "_",
    "abstract",
    "action",
    "bit",
    "bool",
    "const",
    "control",
    "default",
    "else",
    "enum",
    "error",
    "exit",
    "extern",
    "false",
    "header",
    "header_union",
    "if",
    "in",
    "inout",
    "int",
    "match_kind",
    "out",
    "package",
    "parser",
    "return",
    "select",
    "string",
    "struct",
    "switch",
    "table",
    "this",
    "transition",
    "true",
    "tuple",
    "typedef",
    "value_set",
    "varbit",
    "void",
];

/// A mistake was told; reading goes on somewhere else.
#[derive(Debug)]
struct Stop;

type Parsed<T> = Result<T, Stop>;

/// Reads a program from its tokens, the last of which is [`Kind::End`].
pub(crate) fn parse(tokens: &[Token], sources: &Sources) -> (Program, Vec<Diagnostic>) {
    let closing = match brackets::pair(tokens) {
        Ok(closing) => closing,
        // Where brackets do not pair, all that could be said of what is between them would be guesses.
        Err(mistakes) => return (Program::default(), mistakes),
    };
    let mut reader = Reader {
        tokens,
        sources,
        closing,
        at: 0,
        depth: 0,
        operators: 0,
        in_parser: false,
        scopes: Scopes::default(),
        mistakes: Vec::new(),
    };
    let program = reader.program();
    (program, reader.mistakes)
}

struct Reader<'t> {
    tokens: &'t [Token],
    sources: &'t Sources,
    /// For each opening bracket its closing one; for other tokens themselves.
    closing: Vec<usize>,
    at: usize,
    depth: usize,
    /// Of the outermost expression that is being read.
    operators: usize,
    /// Statements are a parser's, which has fewer of them.
    in_parser: bool,
    scopes: Scopes,
    mistakes: Vec<Diagnostic>,
}

impl<'t> Reader<'t> {
    fn token(&self) -> &'t Token {
        &self.tokens[self.at]
    }

    /// The token so many behind this one; the end's if there are not so many.
    fn ahead(&self, count: usize) -> &'t Token {
        &self.tokens[(self.at + count).min(self.tokens.len() - 1)]
    }

    fn here(&self) -> Span {
        self.token().span
    }

    /// The place of the last token taken.
    fn behind(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    /// From there to the last token taken.
    fn since(&self, start: Span) -> Span {
        start.to(self.behind())
    }

    fn is(&self, text: &str) -> bool {
        self.token().is(text)
    }

    fn is_end(&self) -> bool {
        self.token().kind == Kind::End
    }

    fn advance(&mut self) -> &'t Token {
        let token = self.token();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// The word that is here; nothing for other tokens.
    fn word(&self) -> &'t str {
        let token = self.token();
        if token.kind == Kind::Word { &token.text } else { "" }
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.is(text);
        if found {
            self.advance();
        }
        found
    }

    /// Takes that word or symbol, which must be here.
    fn expect(&mut self, text: &str) -> Parsed<Span> {
        if self.is(text) {
            if text == ";" {
                self.operators = 0;
            }
            return Ok(self.advance().span);
        }
        if text == ";" && (self.token().first || self.is("}")) {
            // Told where it belongs, not at what happens to follow; and that can be read on.
            let message = format!("`;` is missing behind this, before {}", self.shown(self.token()));
            self.mention(Diagnostic::new(self.behind(), message));
            return Ok(self.behind());
        }
        self.unexpected(&format!("`{text}`"))
    }

    /// Takes a name, which must be here; `what` says whose: "the header's name".
    fn name(&mut self, what: &str) -> Parsed<Name> {
        let token = self.token();
        if self.is_name(token) {
            self.advance();
            return Ok(Name { text: token.text.clone(), span: token.span });
        }
        if token.kind == Kind::Word && &*token.text != "_" {
            return self.fail(token.span, format!("`{}` is a keyword, it cannot be {what}", token.text));
        }
        self.unexpected(what)
    }

    fn is_name(&self, token: &Token) -> bool {
        token.kind == Kind::Word && !RESERVED.contains(&&*token.text)
    }

    /// `name` or `.name`.
    fn path(&mut self, what: &str) -> Parsed<Path> {
        let start = self.here();
        let global = self.eat(".");
        let name = self.name(what)?;
        Ok(Path { global, name, span: self.since(start) })
    }

    /// A declared name is known from here on.
    fn declare(&mut self, name: &Name, known: Known) {
        self.scopes.declare(&name.text, known);
    }

    /// Elements with commas between them, to the closing bracket, which is taken.
    fn list<T>(&mut self, close: &str, mut element: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut elements = Vec::new();
        while !self.eat(close) {
            elements.push(element(self)?);
            let more = self.eat(",");
            if !more && !self.is(close) {
                return self.unexpected(&format!("`,` or `{close}`"));
            }
            if more && self.is(close) && close != "}" {
                return self.fail(self.behind(), format!("nothing follows this comma before `{close}`"));
            }
        }
        Ok(elements)
    }

    /// Reads something that may contain its like.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            let diagnostic =
                Diagnostic::new(self.here(), format!("the program is nested more than {DEPTH_MAX} deep here"));
            return self.told(diagnostic.remedy("give its parts names: constants, variables, actions"));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn shown(&self, token: &Token) -> String {
        match token.kind {
            Kind::End => "the end of the program".to_owned(),
            Kind::Number(number) => format!("the number {}", number.value),
            Kind::String => "a string".to_owned(),
            Kind::Word => format!("`{}`", token.text),
            Kind::Symbol(symbol) => format!("`{symbol}`"),
            Kind::Bad(_) => unreachable!("the preprocessor lets no bad token through"),
        }
    }

    fn unexpected<T>(&mut self, wanted: &str) -> Parsed<T> {
        let found = self.shown(self.token());
        self.fail(self.here(), format!("{wanted} is expected, not {found}"))
    }

    fn fail<T>(&mut self, span: Span, message: impl Into<String>) -> Parsed<T> {
        self.told(Diagnostic::new(span, message))
    }

    /// The grammar has it and the subset has not.
    fn refuse<T>(&mut self, span: Span, what: &str, remedy: &str) -> Parsed<T> {
        self.told(Diagnostic::new(span, format!("{what} outside of the subset")).remedy(remedy))
    }

    fn told<T>(&mut self, diagnostic: Diagnostic) -> Parsed<T> {
        self.mention(diagnostic);
        Err(Stop)
    }

    /// Tells of a mistake that does not keep from reading on.
    fn mention(&mut self, diagnostic: Diagnostic) {
        if self.mistakes.len() < DIAGNOSTICS_MAX {
            self.mistakes.push(diagnostic);
        }
    }

    /// After a mistake in what begins at `start`: to behind the `;` or the block that ends it, or before the bracket that closes
    /// what it is in. Brackets pair and what is in one ends there, so callers see that bracket as their end.
    fn recover(&mut self, start: usize) {
        let mistake = self.at;
        self.at = start;
        self.operators = 0;
        while !self.is_end() && !self.is("}") && !self.is(")") && !self.is("]") {
            let ends = self.is(";") || self.is("{");
            self.at = self.closing[self.at] + 1;
            if ends && self.at > mistake && !self.is("else") {
                return;
            }
        }
    }
}
