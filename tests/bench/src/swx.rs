//! DPDK's SWX pipeline as a reference: a program of its own (dataplane/rte-rs/examples/swx.rs), for DPDK is not everywhere and is
//! not Rust's to link here. It runs what gantry-p4c lowers packet.p4 to.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::Value;

/// What it said.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Swx {
    /// Ticks a packet, in the same minute before and after what it is the reference of, and the ratio of the generated Rust to their
    /// mean.
    Measured {
        /// The median before.
        before: f64,
        /// The median after.
        after: f64,
        /// Generated over both.
        ratio: f64,
    },
    /// Why there is nothing.
    Failed(String),
}

impl Swx {
    /// Of two runs, beside the generated Rust's median.
    #[must_use]
    pub fn of(before: Result<f64, String>, after: Result<f64, String>, generated: f64) -> Self {
        match (before, after) {
            (Ok(before), Ok(after)) => Self::Measured { before, after, ratio: 2.0 * generated / (before + after) },
            (Err(error), _) | (_, Err(error)) => Self::Failed(error),
        }
    }
}

/// Runs the program with so many QPs; the median of its readings, in ticks a packet.
///
/// # Errors
/// If it does not run, fails, or says nothing of the kind.
pub fn measure(program: &Path, qps: u32, readings: usize) -> Result<f64, String> {
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", program.display());
    let mut command = Command::new(program);
    command.args(["--entries", &qps.to_string(), "--readings", &readings.to_string()]).stdin(Stdio::null());
    let output = command.output().map_err(|error| named(&error))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(named(&format!("{}, {}", output.status, told.lines().last().unwrap_or("nothing said"))));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["entries"] == qps).then(|| line["cycles_per_packet"].as_f64())?
    });
    said.ok_or_else(|| named(&"no line of JSON with cycles_per_packet"))
}
