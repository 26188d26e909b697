//! Running plans so that nothing escapes, and what a failure leaves behind: its plan, its last frames, its story.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::plan::Plan;
use super::run::{Outcome, Run};

thread_local! {
    /// The words and the place of this thread's last panic.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic is not printed where it happens: it is a finding, and told as one.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        let words = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("{panic}\n{trace}"),
            _ => panic.to_string(),
        };
        PANIC.with_borrow_mut(|kept| *kept = Some(words));
    }));
}

/// Runs a plan. What panics is a finding.
pub fn run(plan: &Plan) -> Outcome {
    run_live(plan, |_| {})
}

/// Runs a plan and lets `live` look on, every thousand rounds or so.
pub fn run_live(plan: &Plan, live: impl FnMut(&mut Run)) -> Outcome {
    guarded(&mut Run::new(plan.clone()), live)
}

fn guarded(run: &mut Run, live: impl FnMut(&mut Run)) -> Outcome {
    let ended = catch_unwind(AssertUnwindSafe(|| run.to_end(live)));
    ended.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        let told = PANIC.take().unwrap_or_else(|| words.to_owned());
        run.outcome(Some(format!("a panic: {told}")))
    })
}

/// Where a failure's files are.
#[derive(Clone, Debug)]
pub struct Files {
    /// The plan: `gantry-sim replay` takes it.
    pub plan: PathBuf,
    /// The last frames of every link.
    pub capture: PathBuf,
    /// The last events, by stage.
    pub story: PathBuf,
}

/// Runs a failing plan once more, with everything recorded, and writes it down in `folder`.
///
/// # Errors
/// What the file system answers.
pub fn write(plan: &Plan, folder: &Path) -> io::Result<(Files, Outcome)> {
    fs::create_dir_all(folder)?;
    let name = |ending: &str| folder.join(format!("seed-{}.{ending}", plan.seed));
    let files = Files { plan: name("toml"), capture: name("pcapng"), story: name("story.txt") };
    let mut run = Run::new(plan.clone());
    run.record();
    let outcome = guarded(&mut run, |_| {});
    fs::write(&files.plan, plan.to_text())?;
    run.world().network().write_pcapng(BufWriter::new(File::create(&files.capture)?))?;
    fs::write(&files.story, story(&mut run, &outcome))?;
    Ok((files, outcome))
}

/// The faults, then the last events of stages, channel and control, in the order of time.
fn story(run: &mut Run, outcome: &Outcome) -> String {
    let mut events: Vec<(u64, String)> = run.story().to_vec();
    events.extend(run.world().take_events());
    events.sort_by_key(|(at_ns, _)| *at_ns);
    let mut text = String::new();
    let _ = writeln!(text, "{}", outcome.finding.as_deref().unwrap_or("nothing was wrong"));
    let _ = writeln!(text, "at {} ns of virtual time, digest {:016x}\n", outcome.took_ns, outcome.digest);
    for (at_ns, event) in events {
        let _ = writeln!(text, "{at_ns:>16} {event}");
    }
    text
}
