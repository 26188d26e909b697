//! `gantryctl counters`: the statistics segment as a table. It reads; it changes nothing.

use crate::segment::{self, Counters, SegmentError};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) fn run(stats: &Path, all: bool, watch: bool) -> ExitCode {
    let mut before: Option<Counters> = None;
    loop {
        let counters = match read(stats) {
            Ok(counters) => counters,
            Err(error) => {
                eprintln!("{}: {error}", stats.display());
                return ExitCode::FAILURE;
            }
        };
        // A pipe that nobody reads any more is a reason to stop, not to panic.
        let table = table(&counters, before.as_ref(), all);
        let mut out = std::io::stdout();
        if out.write_all(table.as_bytes()).and_then(|()| out.flush()).is_err() || !watch {
            return ExitCode::SUCCESS;
        }
        before = Some(counters);
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn read(path: &Path) -> Result<Counters, SegmentError> {
    segment::parse(&std::fs::read(path)?)
}

/// One counter a line: its name, its sum, and what was added since `before`.
fn table(counters: &Counters, before: Option<&Counters>, all: bool) -> String {
    // Another process writes the segment: nothing of before compares.
    let before = before.filter(|before| before.pid == counters.pid);
    let shown = || counters.sums.iter().filter(|(_, sum)| all || *sum != 0);
    let width = shown().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, sum) in shown() {
        write!(text, "{name:width$}  {sum:>20}").expect("a String takes all");
        if let Some(before) = before {
            let old = before.sums.iter().find(|(other, _)| other == name).map_or(0, |(_, sum)| *sum);
            write!(text, "  {:>+14}", i128::from(*sum) - i128::from(old)).expect("a String takes all");
        }
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("every counter is zero\n");
    } else if before.is_some() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(pid: u32, sums: &[(&str, u64)]) -> Counters {
        Counters { pid, sums: sums.iter().map(|(name, sum)| ((*name).to_owned(), *sum)).collect() }
    }

    #[test]
    fn zeroes_are_left_out_unless_asked_for() {
        let counters = counters(1, &[("s1_parse.Malformed", 0), ("s2_classify.Punt", 12)]);
        assert_eq!(table(&counters, None, false), "s2_classify.Punt                    12\n");
        let all = table(&counters, None, true);
        assert_eq!(all, "s1_parse.Malformed                     0\ns2_classify.Punt                      12\n");
        assert_eq!(table(&Counters { pid: 1, sums: vec![] }, None, true), "every counter is zero\n");
    }

    #[test]
    fn watching_shows_what_was_added_by_the_same_process() {
        let (before, after) = (counters(1, &[("a", 5)]), counters(1, &[("a", 12)]));
        assert_eq!(table(&after, Some(&before), false), "a                    12              +7\n\n");
        let restarted = counters(2, &[("a", 3)]);
        assert_eq!(table(&restarted, Some(&after), false), "a                     3\n");
    }
}
