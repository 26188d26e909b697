//! The table of figures, and the one that is kept.

use std::fmt;
use std::str::FromStr;

use gantry_cpu::Cpu;

use crate::fixed_run::Case;
use crate::profile::Profile;

/// What a figure may grow by before somebody has to say why.
pub(crate) const TOLERANCE_PERCENT: u64 = 3;

/// The columns: modules of the pipeline. What a stage calls outside of them is its own cost, what it calls in another
/// stage is that stage's.
const STAGES: &[(&str, &str)] = &[
    ("s0", "s0_receive"),
    ("s1", "s1_parse"),
    ("s2", "s2_classify"),
    ("s3", "s3_transport"),
    ("s4", "s4_capsule"),
    ("s5", "s5_command"),
    ("s6", "s6_submit"),
    ("s7", "s7_complete"),
    ("s8", "s8_respond"),
    ("s9", "s9_transmit"),
    // What is left: the walk itself, changes applied, reports.
    ("poll", "lcore"),
];

/// Where a function belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A column.
    Stage(usize),
    /// The simulator's side of the pipeline's edges, which is no cost of the pipeline.
    Edge,
    /// Nowhere: it costs whoever calls it.
    Shared,
}

fn place(function: &str) -> Place {
    if function.contains("gantry_sim::wire") || function.contains("gantry_sim::card::MailEnd") {
        return Place::Edge;
    }
    let stage = |(_, module): &(&str, &str)| {
        let path = format!("gantry_pipeline::{module}::");
        if *module == "lcore" {
            function.contains("::Lcore<") && function.ends_with("::poll")
        } else {
            function.contains(&path)
        }
    };
    STAGES.iter().position(stage).map_or(Place::Shared, Place::Stage)
}

/// Instructions per I/O of one case, in the order of [`STAGES`] and their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    case: String,
    stages: Vec<u64>,
}

impl Figures {
    /// A stage's cost is what entered it less what left it for another stage or an edge.
    pub(crate) fn of(case: &Case, profile: &Profile) -> Result<Self, String> {
        let poll = STAGES.len() - 1;
        let mut costs = vec![0_i64; STAGES.len()];
        let polled = profile.functions().filter(|(name, _)| place(name) == Place::Stage(poll));
        costs[poll] = polled.map(|(_, cost)| cost as i64).sum();
        for (caller, callee, cost) in profile.calls() {
            let cost = cost as i64;
            match (place(caller), place(callee)) {
                (Place::Stage(from), Place::Stage(to)) if from != to => {
                    costs[from] -= cost;
                    costs[to] += cost;
                }
                (Place::Stage(from), Place::Edge) => costs[from] -= cost,
                // It would count for whichever stage called the function in between.
                (Place::Shared, Place::Edge) if caller.contains("gantry_pipeline::") => {
                    return Err(format!("{}: {caller} is no stage and calls {callee}", case.name));
                }
                _ => {}
            }
        }
        if let Some(missing) = costs.iter().position(|cost| *cost <= 0) {
            let (name, module) = STAGES[missing];
            return Err(format!("{}: nothing enters {name} ({module}); are its functions inlined?", case.name));
        }
        let mut stages: Vec<u64> =
            costs.into_iter().map(|cost| (cost as u64 + case.commands / 2) / case.commands).collect();
        stages.push(stages.iter().sum());
        Ok(Self { case: case.name.to_owned(), stages })
    }
}

/// Figures, and under what conditions they were found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    conditions: Vec<(String, String)>,
    pub(crate) figures: Vec<Figures>,
}

/// How two snapshots differ.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) larger: Vec<String>,
    pub(crate) smaller: Vec<String>,
    pub(crate) compared: usize,
}

impl Snapshot {
    /// The file's name: instruction sets are not compared with each other.
    pub(crate) fn file() -> String {
        format!("{}.txt", std::env::consts::ARCH)
    }

    /// No figures yet, under this process's conditions.
    pub(crate) fn here() -> Self {
        let condition = |name: &str, value: &str| (name.to_owned(), value.trim().to_owned());
        let rustc = std::process::Command::new("rustc").arg("--version").output();
        let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let conditions = vec![condition("compiler", &rustc), condition("crc", engine())];
        Self { conditions, figures: Vec::new() }
    }

    /// Names of the conditions in which `found` is not as this one.
    pub(crate) fn conditions_that_differ<'a>(&'a self, found: &Snapshot) -> Vec<&'a str> {
        let kept = self.conditions.iter().filter(|condition| !found.conditions.contains(condition));
        kept.map(|(name, _)| name.as_str()).collect()
    }

    /// What differs by more than the tolerance, and by at least two instructions, of which rounding explains one.
    pub(crate) fn changes(&self, found: &Snapshot) -> Changes {
        let mut changes = Changes::default();
        for now in &found.figures {
            let Some(kept) = self.figures.iter().find(|kept| kept.case == now.case) else {
                changes.larger.push(format!("{}: not in the snapshot", now.case));
                continue;
            };
            for ((&before, &after), name) in kept.stages.iter().zip(&now.stages).zip(columns()) {
                changes.compared += 1;
                let change = format!("{} {name}: {before} -> {after}", now.case);
                if after > before + 1 && after * 100 > before * (100 + TOLERANCE_PERCENT) {
                    changes.larger.push(change);
                } else if before > after + 1 && after * 100 < before * (100 - TOLERANCE_PERCENT) {
                    changes.smaller.push(change);
                }
            }
        }
        changes
    }
}

/// The CRC engine that cases run with: valgrind has no AVX-512.
fn engine() -> &'static str {
    let engines = Cpu::offered().map(|cpu| cpu.crc_engine());
    engines.filter(|name| *name != "vpclmulqdq").last().unwrap_or_default()
}

fn columns() -> impl Iterator<Item = &'static str> {
    STAGES.iter().map(|(name, _)| *name).chain(["total"])
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Instructions per I/O by stage; see docs/performance.md.")?;
        for (name, value) in &self.conditions {
            writeln!(f, "# {name}: {value}")?;
        }
        write!(f, "{:<20}", "case")?;
        for name in columns() {
            write!(f, " {name:>6}")?;
        }
        writeln!(f)?;
        for figures in &self.figures {
            write!(f, "{:<20}", figures.case)?;
            for count in &figures.stages {
                write!(f, " {count:>6}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl FromStr for Snapshot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut snapshot = Snapshot { conditions: Vec::new(), figures: Vec::new() };
        for line in text.lines() {
            if let Some((name, value)) = line.strip_prefix("# ").and_then(|comment| comment.split_once(": ")) {
                snapshot.conditions.push((name.to_owned(), value.to_owned()));
                continue;
            }
            let mut words = line.split_whitespace();
            match words.next() {
                None | Some("#" | "case") => {}
                Some(case) => {
                    let stages = words.map(str::parse).collect::<Result<Vec<u64>, _>>();
                    let stages = stages.map_err(|error| format!("{line}: {error}"))?;
                    if stages.len() != columns().count() {
                        return Err(format!("{line}: {} columns where {} belong", stages.len(), columns().count()));
                    }
                    snapshot.figures.push(Figures { case: case.to_owned(), stages });
                }
            }
        }
        Ok(snapshot)
    }
}
