//! Annotations and comments before a declaration.

use std::rc::Rc;

use super::{Parsed, Reader};
use crate::ast::{Annotation, AnnotationBody, Expr, Name, Preamble};
use crate::lexer::{Kind, Token};

impl Reader<'_> {
    /// All annotations that are here, and the comments before them.
    pub(super) fn preamble(&mut self) -> Parsed<Preamble> {
        let mut preamble = Preamble { annotations: Vec::new(), doc: Rc::clone(&self.token().doc) };
        while self.is("@") {
            preamble.annotations.push(self.annotation()?);
            if preamble.doc.is_empty() {
                preamble.doc = Rc::clone(&self.token().doc);
            }
        }
        Ok(preamble)
    }

    fn annotation(&mut self) -> Parsed<Annotation> {
        self.operators = 0;
        let from = self.at;
        let start = self.expect("@")?;
        let token = self.token();
        if token.kind != Kind::Word {
            return self.unexpected("an annotation's name");
        }
        self.advance();
        let name = Name { text: Rc::clone(&token.text), span: token.span };
        let body = if self.eat("[") {
            let pairs = self.are_pairs();
            if pairs { AnnotationBody::Pairs(self.list("]", Self::pair)?) } else { self.expressions("]")? }
        } else if self.is("(") {
            self.unstructured()
        } else {
            AnnotationBody::Empty
        };
        let text = self.written(&self.tokens[from..self.at]).into();
        Ok(Annotation { name, body, text, span: self.since(start) })
    }

    /// `(…)`: any tokens. Those that can be read as expressions or pairs are.
    fn unstructured(&mut self) -> AnnotationBody {
        let (open, close) = (self.at, self.closing[self.at]);
        let told = self.mistakes.len();
        self.advance();
        let read = if self.are_pairs() {
            self.list(")", Self::pair).map(AnnotationBody::Pairs)
        } else {
            self.expressions(")")
        };
        match read {
            Ok(body) if self.at == close + 1 => body,
            _ => {
                self.mistakes.truncate(told);
                debug_assert!(open < close);
                self.at = close + 1;
                AnnotationBody::Tokens
            }
        }
    }

    fn are_pairs(&self) -> bool {
        self.token().kind == Kind::Word && self.ahead(1).is("=")
    }

    fn pair(&mut self) -> Parsed<(Name, Expr)> {
        let name = self.name("a key")?;
        self.expect("=")?;
        Ok((name, self.expression()?))
    }

    fn expressions(&mut self, close: &str) -> Parsed<AnnotationBody> {
        let expressions = self.list(close, Self::expression)?;
        Ok(if expressions.is_empty() { AnnotationBody::Empty } else { AnnotationBody::Expressions(expressions) })
    }

    /// Tokens as they are written, with one space where there is space.
    fn written(&self, tokens: &[Token]) -> String {
        let mut text = String::new();
        for (place, token) in tokens.iter().enumerate() {
            if place > 0 && !token.glued {
                text.push(' ');
            }
            match token.kind {
                Kind::Word => text.push_str(&token.text),
                Kind::Symbol(symbol) => text.push_str(symbol),
                Kind::String => text.push_str(&format!("{:?}", token.text)),
                Kind::Number(number) => {
                    let source = self.sources.text(token.span);
                    // A macro's number is not what is written where the macro is used.
                    if source.starts_with(|c: char| c.is_ascii_digit()) {
                        text.push_str(source);
                    } else {
                        text.push_str(&number.value.to_string());
                    }
                }
                Kind::Bad(_) | Kind::End => {}
            }
        }
        text
    }
}
