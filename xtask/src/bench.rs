//! `cargo xtask bench`: builds the benchmarks with all optimisation and runs them; docs/performance.md says how to read them.

use std::process::{Command, Stdio};

use crate::Result;
use crate::programs::{cargo, pass_signals_on, run, target};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer rounds: a minute at most for all.
    #[arg(long)]
    quick: bool,
    /// One JSON object a benchmark instead of tables.
    #[arg(long)]
    json: bool,
    /// Only these: classify, bulk, visible, swap.
    #[arg(value_name = "NAME", value_parser = NAMES)]
    names: Vec<String>,
}

const NAMES: [&str; 4] = ["classify", "bulk", "visible", "swap"];

/// Builds and runs; true if none failed.
pub(crate) fn measure(arguments: &Arguments) -> Result<bool> {
    pass_signals_on()?;
    if !run(&mut cargo(&["build", "--release", "-p", "gantry-bench"]))?.success() {
        return Err("the benchmarks do not build".to_owned());
    }
    let release = target()?.join("release");
    let names = NAMES.iter().filter(|name| arguments.names.is_empty() || arguments.names.iter().any(|n| n == *name));
    let mut passed = true;
    for name in names {
        let mut command = Command::new(release.join("gantry-bench"));
        command.arg(name).args(arguments.quick.then_some("--quick")).args(arguments.json.then_some("--json"));
        if *name == "classify" && swx()? {
            command.arg("--swx").arg(release.join("examples/swx"));
        }
        passed &= run(&mut command)?.success();
    }
    Ok(passed)
}

/// Builds DPDK's pipeline as a reference, where DPDK is; whether it did.
fn swx() -> Result<bool> {
    let mut find = Command::new("pkg-config");
    find.args(["--exists", "libdpdk"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !find.status().is_ok_and(|status| status.success()) {
        return Ok(false);
    }
    Ok(run(&mut cargo(&["build", "--release", "-p", "rte-rs", "--example", "swx"]))?.success())
}
