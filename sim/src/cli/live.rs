//! One line on a terminal that is written over and over.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two lines where nobody watches a terminal.
const QUIET: Duration = Duration::from_secs(30);

/// The line.
pub(crate) struct Live {
    last: Option<Instant>,
    every: Duration,
    terminal: bool,
}

impl Live {
    /// A line on standard error.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { last: None, every: if terminal { Duration::from_millis(200) } else { QUIET }, terminal }
    }

    /// Shows `line`, when the last is old enough.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        if self.last.is_some_and(|last| last.elapsed() < self.every) {
            return;
        }
        // Where it is not overwritten, the first waits as well: a short run says nothing.
        let first = self.last.replace(Instant::now()).is_none();
        match (self.terminal, first) {
            (true, _) => eprint!("\r\x1b[K{}", line()),
            (false, true) => {}
            (false, false) => eprintln!("{}", line()),
        }
        let _ = std::io::stderr().flush();
    }

    /// Says something once, and for good.
    pub(crate) fn say(&self, line: &str) {
        self.end();
        eprintln!("{line}");
    }

    /// Clears the line.
    pub(crate) fn end(&self) {
        if self.terminal && self.last.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
