//! x
use gantry_tests::vm::Result;
pub(crate) fn run(_keep: bool) -> Result<()> {
    Ok(())
}
