//! `gantryctl doctor`: looks at a machine and says what to mend, line by line, each with its remedy. It changes nothing.
//!
//! Every fault has a code that does not change, so that scripts and `docs/doctor.md` can name it; `tests/machines` holds a
//! machine for each.

mod cpu;
mod drives;
mod memory;
mod plan;
mod ports;
mod processes;
#[cfg(test)]
mod tests;
mod vfio;

use crate::machine::Machine;
use plan::Plan;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Nothing to do.
    Fine,
    /// It works, but slowly, unsafely or not after the next boot.
    Warning,
    /// It does not work.
    Error,
}

/// One line of the doctor's. Field names are the JSON's.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// What it is about, `hugepages`, or the fault, `hugepages.none`.
    pub(crate) code: &'static str,
    /// What was seen.
    pub(crate) text: String,
    /// What to do about it; nothing when all is fine.
    pub(crate) remedy: Option<String>,
}

/// What was found, in the order in which it was looked at.
#[derive(Debug, Default)]
pub(crate) struct Report(pub(crate) Vec<Finding>);

impl Report {
    fn fine(&mut self, code: &'static str, text: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Fine, code, text: text.into(), remedy: None });
    }

    fn add(&mut self, severity: Severity, code: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { severity, code, text: text.into(), remedy: Some(remedy.into()) });
    }

    fn warning(&mut self, code: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, code, text, remedy);
    }

    fn error(&mut self, code: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, code, text, remedy);
    }

    /// A line that says `fine`, unless something of this `area` was found since there were `before` lines.
    fn unless_found(&mut self, before: usize, area: &'static str, text: impl Into<String>) {
        if !self.0[before..].iter().any(|finding| finding.code.split('.').next() == Some(area)) {
            self.fine(area, text);
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Looks at everything.
pub(crate) fn examine(machine: &Machine<'_>, config: &Path, gantryd: &str) -> Report {
    let mut report = Report::default();
    let plan = Plan::read(machine, config);
    processes::configuration(machine, config, gantryd, &plan, &mut report);
    vfio::examine(machine, &plan, &mut report);
    drives::examine(machine, &plan, &mut report);
    ports::examine(machine, &plan, &mut report);
    memory::examine(machine, &plan, &mut report);
    cpu::examine(machine, &plan, &mut report);
    processes::dpdk(machine, &plan, &mut report);
    processes::running(machine, &plan, &mut report);
    report
}

/// Exit status when there are warnings and no error; with errors it is 1.
const EXIT_WARNINGS: u8 = 3;

pub(crate) fn run(machine: &Machine<'_>, config: &Path, gantryd: &str, json: bool, faults: bool) -> ExitCode {
    let mut report = examine(machine, config, gantryd);
    if faults {
        report.0.retain(|finding| finding.severity != Severity::Fine);
    }
    let text = match json {
        true => serde_json::to_string_pretty(&report.0).expect("texts") + "\n",
        false => shown(&report),
    };
    // A pipe that nobody reads any more is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    match report.0.iter().map(|finding| finding.severity).max() {
        Some(Severity::Error) => ExitCode::FAILURE,
        Some(Severity::Warning) => ExitCode::from(EXIT_WARNINGS),
        Some(Severity::Fine) | None => ExitCode::SUCCESS,
    }
}

/// A finding a line, its remedy below it, and a count at the end.
fn shown(report: &Report) -> String {
    let mut text = String::new();
    for Finding { severity, code, text: seen, remedy } in &report.0 {
        let severity = match severity {
            Severity::Fine => "fine",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
        };
        writeln!(text, "{severity:<8} {code:<18} {}", seen.replace('\n', "\n    ")).expect("a String takes all");
        if let Some(remedy) = remedy {
            writeln!(text, "         remedy: {remedy}").expect("a String takes all");
        }
    }
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    writeln!(text, "{errors} errors, {warnings} warnings").expect("a String takes all");
    text
}
