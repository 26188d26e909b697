//! `cargo xtask bench`: builds the benchmarks with all optimisation and runs them; docs/performance.md says how to read them.

use std::path::PathBuf;
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
    /// Only these: classify, bulk, visible, swap, io.
    #[arg(value_name = "NAME", value_parser = NAMES)]
    names: Vec<String>,
    /// Of io: only cases whose name begins so; may be repeated.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Of io: writes plots (SVG) into this folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Of io: cycles by stage as well, from a data plane that is built to count them.
    #[arg(long)]
    stages: bool,
}

/// The last is a program of its own, which needs DPDK.
const NAMES: [&str; 5] = ["classify", "bulk", "visible", "swap", "io"];

/// Builds and runs; true if none failed.
pub(crate) fn measure(arguments: &Arguments) -> Result<bool> {
    pass_signals_on()?;
    let release = target()?.join("release");
    let wanted = |name: &&&str| arguments.names.is_empty() || arguments.names.iter().any(|n| n == **name);
    let names: Vec<&&str> = NAMES.iter().filter(wanted).collect();
    let others = names.iter().any(|name| **name != "io");
    if others && !run(&mut cargo(&["build", "--release", "-p", "gantry-bench"]))?.success() {
        return Err("gantry-bench does not build".to_owned());
    }
    let mut passed = true;
    for name in names {
        if *name == "io" {
            passed &= io(arguments)?;
            continue;
        }
        let mut command = Command::new(release.join("gantry-bench"));
        command.arg(name).args(arguments.quick.then_some("--quick")).args(arguments.json.then_some("--json"));
        if *name == "classify" && swx()? {
            command.arg("--swx").arg(release.join("examples/swx"));
        }
        passed &= run(&mut command)?.success();
    }
    Ok(passed)
}

/// The data plane's unit.
const UNIT: &str = include_str!("../../deploy/systemd/gantry-dataplane.service");

/// The environment that the unit sets: what is measured has its heap in huge pages, too.
fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    UNIT.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

/// What an I/O costs; whether it was measured. Where everything is asked for and DPDK is not there, it is left out.
fn io(arguments: &Arguments) -> Result<bool> {
    if !dpdk() {
        eprintln!("io was not measured: it needs DPDK's development files (libdpdk-dev)");
        return Ok(arguments.names.is_empty());
    }
    let stages = arguments.stages.then_some("--features=stages");
    let built = run(cargo(&["build", "--release", "-p", "gantry-bench-io"]).args(stages))?;
    if !built.success() {
        return Err("gantry-bench-io does not build".to_owned());
    }
    let mut command = Command::new(target()?.join("release/gantry-bench-io"));
    command.envs(environment());
    command.args(arguments.quick.then_some("--quick")).args(arguments.json.then_some("--json"));
    command.args(arguments.only.iter().flat_map(|only| ["--only", only]));
    if let Some(folder) = &arguments.plots {
        command.arg("--plots").arg(folder);
    }
    Ok(run(&mut command)?.success())
}

/// Whether DPDK is there to be built against.
fn dpdk() -> bool {
    let mut find = Command::new("pkg-config");
    find.args(["--exists", "libdpdk"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    find.status().is_ok_and(|status| status.success())
}

/// Builds DPDK's pipeline as a reference, where DPDK is; whether it did.
fn swx() -> Result<bool> {
    Ok(dpdk() && run(&mut cargo(&["build", "--release", "-p", "rte-rs", "--example", "swx"]))?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_says_where_the_heap_is() {
        assert!(environment().any(|(name, value)| name == "GLIBC_TUNABLES" && value.contains("hugetlb")));
    }
}
