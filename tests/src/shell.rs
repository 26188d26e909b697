//! x
use gantry_tests::vm::Result;
pub(crate) fn run(_s: &std::path::Path) -> Result<()> {
    Ok(())
}
