//! DPDK's SWX pipeline as a reference: a program of its own, for DPDK is not everywhere and is not Rust's to link here.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs the program; what its last line of JSON says.
///
/// # Errors
/// If it does not run, fails, or says nothing.
pub fn measure(program: &Path) -> Result<Value, String> {
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", program.display());
    let output = Command::new(program).stdin(Stdio::null()).output().map_err(|error| named(&error))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(named(&format!("{}, {}", output.status, told.lines().last().unwrap_or("nothing said"))));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = lines.lines().rev().find_map(|line| serde_json::from_str(line).ok().filter(Value::is_object));
    said.ok_or_else(|| named(&"no line of JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_run_is_told() {
        assert!(measure(Path::new("/nowhere/swx")).unwrap_err().starts_with("/nowhere/swx: "));
        assert_eq!(measure(Path::new("/bin/false")).unwrap_err(), "/bin/false: exit status: 1, nothing said");
        assert_eq!(measure(Path::new("/bin/true")).unwrap_err(), "/bin/true: no line of JSON");
    }
}
