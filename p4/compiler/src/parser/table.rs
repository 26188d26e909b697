//! Tables and their properties (P4_16 §14.2).

use super::{Known, Parsed, Reader};
use crate::ast::{ActionRef, DefaultAction, Entries, Entry, KeyElement, Name, Preamble, Property, Table};
use crate::diagnostics::Diagnostic;
use crate::lexer::Kind;
use crate::source::Span;

impl Reader<'_> {
    /// `table name { … }`, which must be here.
    pub(super) fn table(&mut self, preamble: Preamble) -> Parsed<Table> {
        let start = self.expect("table")?;
        let name = self.name("the table's name")?;
        self.declare(&name, Known::Value);
        self.expect("{")?;
        let mut table = Table {
            preamble,
            name,
            keys: Vec::new(),
            actions: Vec::new(),
            default_action: None,
            entries: None,
            properties: Vec::new(),
            span: start,
        };
        let mut seen: Vec<Name> = Vec::new();
        while !self.is("}") && !self.is_end() {
            let from = self.at;
            if self.property(&mut table, &mut seen).is_err() {
                self.recover(from);
            }
        }
        self.expect("}")?;
        table.span = self.since(start);
        if !seen.iter().any(|name| &*name.text == "actions") {
            let diagnostic = Diagnostic::new(table.name.span, format!("table {} has no actions", table.name));
            self.mention(diagnostic.remedy("write `actions = { NoAction; }`, with those that its entries may name"));
        }
        Ok(table)
    }

    fn property(&mut self, table: &mut Table, seen: &mut Vec<Name>) -> Parsed<()> {
        let preamble = self.preamble()?;
        let start = self.here();
        let constant = self.eat("const");
        let name = self.name("a table's property")?;
        self.expect("=")?;
        if let Some(before) = seen.iter().find(|before| before.text == name.text) {
            let diagnostic = Diagnostic::new(name.span, format!("the table has two properties `{name}`"));
            return self.told(diagnostic.mark(before.span, "the first"));
        }
        seen.push(name.clone());
        match &*name.text {
            "key" | "actions" if constant => return self.fail(start, format!("`{name}` is never `const`")),
            "key" => table.keys = self.elements(Self::key_element)?,
            "actions" => {
                table.actions = self.elements(|reader| {
                    let preamble = reader.preamble()?;
                    let action = reader.action_ref(preamble)?;
                    reader.separator()?;
                    Ok(action)
                })?;
            }
            "entries" => {
                let entries = self.elements(Self::entry)?;
                table.entries = Some(Entries { constant, entries, span: self.since(start) });
            }
            "default_action" => {
                let action = self.action_ref(Preamble::default())?;
                self.expect(";")?;
                table.default_action = Some(DefaultAction { constant, action, span: self.since(start) });
            }
            _ => {
                let value = self.whole_expression()?;
                self.expect(";")?;
                table.properties.push(Property { preamble, constant, name, value, span: self.since(start) });
            }
        }
        Ok(())
    }

    /// `{ … }` of elements that end in a semicolon. Mistakes in one do not keep from the next.
    fn elements<T>(&mut self, mut element: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect("{")?;
        let mut elements = Vec::new();
        while !self.is("}") && !self.is_end() {
            let from = self.at;
            match element(self) {
                Ok(element) => elements.push(element),
                Err(_) => self.recover(from),
            }
        }
        self.expect("}")?;
        Ok(elements)
    }

    /// The `;` behind an element, where a comma is easily written.
    fn separator(&mut self) -> Parsed<()> {
        if self.is(",") {
            let comma = self.here();
            self.mention(Diagnostic::new(comma, "elements of a table's property end in `;`, not in `,`"));
            self.advance();
            return Ok(());
        }
        self.expect(";").map(|_| ())
    }

    fn key_element(&mut self) -> Parsed<KeyElement> {
        let start = self.here();
        let doc = self.token().doc.clone();
        let expr = self.whole_expression()?;
        self.expect(":")?;
        let match_kind = self.name("a match kind")?;
        let preamble = Preamble { doc, ..self.preamble()? };
        self.separator()?;
        Ok(KeyElement { preamble, expr, match_kind, span: self.since(start) })
    }

    fn action_ref(&mut self, preamble: Preamble) -> Parsed<ActionRef> {
        let start = self.here();
        let path = self.path("an action's name")?;
        self.operators = 0;
        let arguments = if self.is("(") { Some(self.arguments()?) } else { None };
        Ok(ActionRef { preamble, path, arguments, span: self.since(start) })
    }

    fn entry(&mut self) -> Parsed<Entry> {
        let start = self.here();
        let doc = self.token().doc.clone();
        let constant = self.eat("const");
        let priority = if self.is("priority") && self.ahead(1).is("=") { Some(self.priority(start)?) } else { None };
        let matches = self.matches()?;
        self.expect(":")?;
        let action = self.action_ref(Preamble::default())?;
        let preamble = Preamble { doc, ..self.preamble()? };
        self.separator()?;
        Ok(Entry { preamble, constant, priority, matches, action, span: self.since(start) })
    }

    /// `priority = 10:` or `priority = (expression):`.
    fn priority(&mut self, start: Span) -> Parsed<crate::ast::Expr> {
        self.advance();
        self.advance();
        if !matches!(self.token().kind, Kind::Number(_)) && !self.is("(") {
            let remedy = "write `priority = 10:`, or `priority = (PRIORITY):` for a constant";
            let span = start.to(self.here());
            return self.told(Diagnostic::new(span, "a priority is a number or stands in brackets").remedy(remedy));
        }
        self.operators = 0;
        let priority = self.primary()?;
        self.expect(":")?;
        Ok(priority)
    }
}
