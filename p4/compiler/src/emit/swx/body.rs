//! Instructions in the making: one a line, with labels where jumps lead.

use std::fmt::Write as _;

/// Instructions, and labels that wait for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    lines: Vec<(Vec<Label>, Line)>,
    waiting: Vec<Label>,
    labels: u32,
    /// Temporaries in use.
    pub(super) depth: u32,
}

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(u32);

#[derive(Clone, Debug)]
enum Line {
    Plain(String),
    /// Operation, label, operands.
    Jump(&'static str, Label, String),
}

impl Body {
    pub(super) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    /// The next instruction is where this label is.
    pub(super) fn place(&mut self, label: Label) {
        self.waiting.push(label);
    }

    pub(super) fn push(&mut self, text: impl Into<String>) {
        let line = Line::Plain(text.into());
        self.line(line);
    }

    pub(super) fn jump(&mut self, operation: &'static str, to: Label, operands: impl Into<String>) {
        let line = Line::Jump(operation, to, operands.into());
        self.line(line);
    }

    fn line(&mut self, line: Line) {
        // A jump to the instruction right behind it does nothing, but takes as long as any other: left out when placed.
        let labels = std::mem::take(&mut self.waiting);
        if let Some((_, Line::Jump("jmp", to, _))) = self.lines.last()
            && labels.contains(to)
        {
            let (before, _) = self.lines.pop().expect("it was just looked at");
            return self.lines.push(([before, labels].concat(), line));
        }
        self.lines.push((labels, line));
    }

    /// Puts another body's instructions behind these.
    pub(super) fn append(&mut self, other: Body) {
        assert!(other.waiting.is_empty(), "a body ends with an instruction");
        let shift = self.labels;
        let moved = |label: Label| Label(label.0 + shift);
        for (labels, line) in other.lines {
            self.waiting.extend(labels.into_iter().map(moved));
            match line {
                Line::Plain(text) => self.push(text),
                Line::Jump(operation, to, operands) => self.jump(operation, moved(to), operands),
            }
        }
        self.labels += other.labels;
    }

    /// As SWX reads them. An instruction has one label at most, so labels of one place become one.
    pub(super) fn into_text(self) -> Vec<String> {
        assert!(self.waiting.is_empty(), "a label leads to an instruction");
        let mut place = vec![0; self.labels as usize + 1];
        let mut wanted = vec![false; self.lines.len()];
        for (at, (labels, _)) in self.lines.iter().enumerate() {
            for label in labels {
                place[label.0 as usize] = at;
            }
        }
        for (_, line) in &self.lines {
            if let Line::Jump(_, to, _) = line {
                wanted[place[to.0 as usize]] = true;
            }
        }
        let text = self.lines.iter().enumerate().map(|(at, (_, line))| {
            let mut text = String::new();
            if wanted[at] {
                write!(text, "L{at} : ").expect("a String takes everything");
            }
            match line {
                Line::Plain(plain) => text += plain,
                Line::Jump(operation, to, operands) => {
                    write!(text, "{operation} L{} {operands}", place[to.0 as usize])
                        .expect("a String takes everything");
                }
            }
            text.trim_end().to_owned()
        });
        text.collect()
    }
}
