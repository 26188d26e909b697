//! `cargo xtask demo`: what is missing, what must be built, and then the machines' program in xtask's place, so that
//! Ctrl-C reaches it alone.

use std::os::unix::process::CommandExt;

use crate::programs::{cargo, machines_with_gantry, run};
use crate::{Result, install};

/// With a stock kernel in a virtual machine.
pub(crate) fn run_with_machine(keep: bool) -> Result<bool> {
    install::ensure(&[install::BUILD, install::MACHINES])?;
    println!("building Gantry");
    let mut command = machines_with_gantry()?;
    command.arg("demo").args(keep.then_some("--keep"));
    let error = command.exec();
    Err(format!("starting {}: {error}", command.get_program().display()))
}

/// With the host model of the simulator.
pub(crate) fn without_machine() -> Result<bool> {
    Ok(run(&mut cargo(&["run", "--release", "-p", "gantry-sim", "--", "demo"]))?.success())
}
