//! `cargo xtask mutants`: bugs are planted one at a time, and the tests must find each of them.
//!
//! | file | what |
//! |---|---|
//! | `classic.rs` | bugs of a written list, tests/mutants/classic.toml |
//! | `drawn.rs` | bugs that cargo-mutants knows to plant, drawn by seed |
//! | `tree.rs` | the copy of the tree that they are planted in |
//! | `killer.rs` | what may find them, the quickest first |
//!
//! What was found is written down, with the survivors explained, in docs/mutants.md.

mod classic;
mod drawn;
mod killer;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::Result;
use killer::{Hunt, Verdict};
use tree::Tree;

/// What to plant.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What draws the mutants.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many are drawn, the same number of each crate; those that do not compile do not count.
    #[arg(long, default_value_t = 40)]
    count: usize,
    /// Draw no more after this long.
    #[arg(long)]
    minutes: Option<f64>,
    /// Without the written list.
    #[arg(long)]
    no_classic: bool,
    /// Only those whose name holds this text, of the list and of all that could be drawn; may be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Name them, and plant nothing.
    #[arg(long)]
    list: bool,
}

/// A bug to plant.
pub(crate) struct Mutant {
    name: String,
    /// What a host would see of it; empty for a drawn one.
    breaks: String,
    /// The package that it is in, or the first of them.
    package: &'static str,
    edits: Vec<Edit>,
}

/// A change of one file.
struct Edit {
    /// From the workspace's root.
    file: String,
    change: Change,
}

/// How a text changes.
enum Change {
    /// This text, which occurs once, becomes that.
    Replace(String, String),
    /// Lines from this number on (from 1), and what they become.
    Lines(usize, Vec<String>, Vec<String>),
}

/// The packages that mutants are drawn of, and where they lie.
const DRAWN: [(&str, &str); 4] = [
    ("gantry-roce", "dataplane/roce/"),
    ("gantry-nvme", "dataplane/nvme/"),
    ("gantry-pipeline", "dataplane/pipeline/"),
    ("gantry-control", "control/core/"),
];

/// All that something may be planted in.
const PACKAGES: [(&str, &str); 8] = [
    DRAWN[0],
    DRAWN[1],
    DRAWN[2],
    DRAWN[3],
    ("gantry-drive", "sim/drive/"),
    ("gantry-table", "dataplane/table/"),
    // The pipeline runs what they say, and its tests are the first to know.
    ("gantry-pipeline", "p4/packet.p4"),
    ("gantry-pipeline", "p4/command.p4"),
];

/// The package of a file.
fn package_of(file: &str) -> Result<&'static str> {
    let found = PACKAGES.iter().find(|(_, folder)| file.starts_with(folder));
    found.map(|(package, _)| *package).ok_or_else(|| format!("{file}: no bugs are planted there"))
}

/// Runs the command; whether every bug was found.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let tree = Tree::copy()?;
    let classic = if arguments.no_classic { Vec::new() } else { classic::read(&tree)? };
    let mut drawn = drawn::list(&tree)?;
    let wanted = |mutant: &Mutant| arguments.only.iter().any(|text| mutant.name.contains(text));
    let mut groups: Vec<(&str, usize, Vec<Mutant>)> = Vec::new();
    if arguments.only.is_empty() {
        groups.push(("classic", classic.len(), classic));
        for (at, (package, mutants)) in drawn.into_iter().enumerate() {
            let count = arguments.count / DRAWN.len() + usize::from(at < arguments.count % DRAWN.len());
            groups.push((package, count, drawn::shuffle(mutants, arguments.seed)));
        }
    } else {
        let classic: Vec<_> = classic.into_iter().filter(wanted).collect();
        groups.push(("classic", classic.len(), classic));
        for (package, mutants) in &mut drawn {
            let mutants: Vec<_> = std::mem::take(mutants).into_iter().filter(wanted).collect();
            groups.push((package, mutants.len(), mutants));
        }
    }
    if arguments.list {
        for (_, count, mutants) in &groups {
            mutants.iter().take(*count).for_each(|mutant| println!("{}", mutant.name));
        }
        return Ok(true);
    }
    killer::end_on_signals()?;
    let hunt = Hunt::begin(&tree)?;
    let mut report = Report::new(arguments.seed);
    let limit = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0));
    let begun = Instant::now();
    let drawn_groups = groups.iter().filter(|(group, count, _)| *group != "classic" && *count > 0).count() as u32;
    let mut share_from = begun;
    for (group, count, mutants) in &groups {
        // What is left of the time is shared by the groups that are left.
        let end = limit.filter(|_| *group != "classic").map(|limit| {
            let left = drawn_groups - report.groups_drawn;
            share_from + (begun + limit).saturating_duration_since(share_from) / left.max(1)
        });
        for mutant in mutants {
            let over = end.is_some_and(|end| Instant::now() >= end);
            if over || report.judged(group) == *count {
                break;
            }
            let planted = tree.plant(&mutant.edits).map_err(|error| format!("{}: {error}", mutant.name))?;
            let verdict = hunt.judge(mutant)?;
            drop(planted);
            report.add(group, mutant, verdict);
        }
        report.groups_drawn += u32::from(*group != "classic" && *count > 0);
        share_from = Instant::now();
    }
    report.end(&tree)
}

/// What became of the mutants.
struct Report {
    seed: u64,
    /// By group: killed, survived, not compiled.
    counts: BTreeMap<String, [usize; 3]>,
    by: BTreeMap<String, usize>,
    survivors: Vec<String>,
    lines: Vec<String>,
    groups_drawn: u32,
}

impl Report {
    fn new(seed: u64) -> Self {
        let (counts, by) = (BTreeMap::new(), BTreeMap::new());
        Self { seed, counts, by, survivors: Vec::new(), lines: Vec::new(), groups_drawn: 0 }
    }

    /// Those of a group that compiled.
    fn judged(&self, group: &str) -> usize {
        self.counts.get(group).map_or(0, |[killed, survived, _]| killed + survived)
    }

    fn add(&mut self, group: &str, mutant: &Mutant, verdict: Verdict) {
        let counts = self.counts.entry(group.to_owned()).or_default();
        let said = match verdict {
            Verdict::Killed { stage, killer } => {
                counts[0] += 1;
                *self.by.entry(stage.to_owned()).or_default() += 1;
                format!("killed by {stage}: {killer}")
            }
            Verdict::Survived => {
                counts[1] += 1;
                self.survivors.push(mutant.name.clone());
                "SURVIVED".to_owned()
            }
            Verdict::DoesNotCompile if group == "classic" => {
                counts[1] += 1;
                self.survivors.push(format!("{} (it does not compile)", mutant.name));
                "does not compile".to_owned()
            }
            Verdict::DoesNotCompile => {
                counts[2] += 1;
                "does not compile".to_owned()
            }
        };
        let breaks = if mutant.breaks.is_empty() { String::new() } else { format!(" ({})", mutant.breaks) };
        let line = format!("{group}: {}{breaks}\n    {said}", mutant.name);
        println!("{line}");
        self.lines.push(line);
    }

    fn end(mut self, tree: &Tree) -> Result<bool> {
        self.lines.push(format!("seed {}", self.seed));
        for (group, [killed, survived, failed]) in &self.counts {
            self.lines.push(format!("{group:<16} {killed:3} killed, {survived} survived, {failed} did not compile"));
        }
        self.by.iter().for_each(|(stage, count)| self.lines.push(format!("{count:4} by {stage}")));
        self.survivors.iter().for_each(|name| self.lines.push(format!("survived: {name}")));
        let summary = self.counts.len() + self.by.len() + self.survivors.len() + 1;
        println!();
        self.lines.iter().rev().take(summary).rev().for_each(|line| println!("{line}"));
        let path = tree.report();
        fs::write(&path, self.lines.join("\n") + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
        println!("all of it is in {}", path.display());
        Ok(self.survivors.is_empty())
    }
}
