//! The workspace's own tests, built with cargo for all packages at once and run package by package.
//!
//! Cargo settles the features of dependencies for the packages that one command names, so that naming some of them builds most
//! crates again; and it runs one test executable after the other, which leaves a core idle whenever one has a long test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::Result;
use crate::programs::{self, cargo, root, run, tell};

/// A test executable.
#[derive(Debug, PartialEq, Eq)]
struct Executable {
    path: PathBuf,
    /// Its package's folder.
    package: PathBuf,
    /// The target's name, as its package's manifest has it.
    name: String,
}

/// Runs every test that needs no DPDK, as many executables at once as there are cores, and what documentation shows.
pub(crate) fn without_dpdk() -> Result<bool> {
    let (executables, with_dpdk) = (build()?, folders_with_dpdk()?);
    let chosen: Vec<_> = executables.iter().filter(|executable| !with_dpdk.contains(&executable.package)).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(executable) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            // One test at a time, because the other cores have executables of their own.
            if let Err(why) = executable.run(Some(1)) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).push(why);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(&format!("{} test executables, {} failed\n", chosen.len(), failed.len()));
    failed.iter().for_each(|why| tell(&format!("{why}\n")));
    let documented = run(&mut cargo(&["test", "--workspace", "--doc", "--no-fail-fast"]))?.success();
    Ok(failed.is_empty() && documented)
}

/// Runs the tests of the packages that are linked with DPDK, one executable after the other: an EAL wants the machine's memory.
pub(crate) fn with_dpdk() -> Result<bool> {
    let (executables, with_dpdk) = (build()?, folders_with_dpdk()?);
    let mut good = true;
    for executable in executables.iter().filter(|executable| with_dpdk.contains(&executable.package)) {
        if let Err(why) = executable.run(None) {
            tell(&format!("{why}\n"));
            good = false;
        }
    }
    Ok(good)
}

/// Folders of the packages that are linked with DPDK: those that `cargo test` alone leaves out.
fn folders_with_dpdk() -> Result<BTreeSet<PathBuf>> {
    let path = root().join("Cargo.toml");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let manifest: toml::Table =
        fs::read_to_string(&path).map_err(|error| wrong(&error))?.parse().map_err(|error| wrong(&error))?;
    let listed = |member: &str| -> BTreeSet<PathBuf> {
        let folders = manifest.get("workspace").and_then(|workspace| workspace.get(member)?.as_array());
        folders.into_iter().flatten().filter_map(|folder| Some(root().join(folder.as_str()?))).collect()
    };
    let left: BTreeSet<_> = listed("members").difference(&listed("default-members")).cloned().collect();
    if left.is_empty() { Err(wrong(&"every member is one by default")) } else { Ok(left) }
}

/// Builds every test of the workspace.
fn build() -> Result<Vec<Executable>> {
    // Whatever has tests: libraries, programs, tests, and of examples those that say so; the rest of them clippy has looked at.
    let mut command = cargo(&["test", "--workspace", "--tests", "--no-run"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    let (status, told) = programs::output(&mut command)?;
    if !status.success() {
        return Err(format!("cargo test --no-run failed ({status})"));
    }
    let mut executables: Vec<_> = told.lines().filter_map(read).collect();
    executables.sort_by(|a, b| (&a.package, &a.name, &a.path).cmp(&(&b.package, &b.name, &b.path)));
    match executables.is_empty() {
        true => Err("cargo built no test".to_owned()),
        false => Ok(executables),
    }
}

/// The test executable of which a line of cargo's speaks.
fn read(line: &str) -> Option<Executable> {
    let profile = &line[line.find("\"profile\":{")?..];
    let is_test = profile[..profile.find('}')?].contains("\"test\":true");
    let manifest = text(line, "manifest_path")?;
    // Of the target's own texts its name is told after its kinds.
    let name = text(&line[line.find("\"target\":{")?..], "name")?;
    let path = text(line, "executable").filter(|_| is_test)?;
    Some(Executable { path: path.into(), package: Path::new(manifest).parent()?.to_owned(), name: name.to_owned() })
}

/// A member of a JSON object in one line that is a text and has nothing to escape.
fn text<'a>(line: &'a str, member: &str) -> Option<&'a str> {
    let begin = format!("\"{member}\":\"");
    let (_, rest) = line.split_once(&begin)?;
    rest.split('"').next()
}

impl Executable {
    /// Runs it where cargo would, on so many threads or as it likes, and tells all that it printed at its end; why, if it failed.
    fn run(&self, threads: Option<u32>) -> Result<()> {
        let begun = Instant::now();
        let mut command = Command::new(&self.path);
        command.current_dir(&self.package).env("CARGO_MANIFEST_DIR", &self.package);
        if let Some(threads) = threads {
            command.env("RUST_TEST_THREADS", threads.to_string());
        }
        let (status, told) = programs::output_of_both(command)?;
        let package = self.package.strip_prefix(root()).unwrap_or(&self.package).display();
        let what = format!("{package}: {} ({})", self.name, self.path.display());
        tell(&format!("{what}\n{told}{what}: {status}, {:.1} s\n\n", begun.elapsed().as_secs_f32()));
        if status.success() { Ok(()) } else { Err(format!("FAILED: {what}: {status}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "{\"reason\":\"compiler-artifact\",\"package_id\":\"path+file:///w/sim#gantry-sim@0.1.0\",\
                        \"manifest_path\":\"/w/sim/Cargo.toml\",\"target\":{\"kind\":[\"test\"],\"crate_types\":[\"bin\"],\
                        \"name\":\"kill\",\"src_path\":\"/w/sim/tests/kill.rs\",\"edition\":\"2024\",\"doc\":false,\
                        \"doctest\":false,\"test\":true},\"profile\":{\"opt_level\":\"1\",\"debuginfo\":1,\
                        \"debug_assertions\":true,\"overflow_checks\":true,\"test\":true},\"features\":[],\
                        \"filenames\":[\"/t/debug/deps/kill-1\"],\"executable\":\"/t/debug/deps/kill-1\",\"fresh\":true}";

    #[test]
    fn tests_are_found_in_what_cargo_says() {
        let expected =
            Executable { path: "/t/debug/deps/kill-1".into(), package: "/w/sim".into(), name: "kill".into() };
        assert_eq!(read(LINE), Some(expected));
        // A program that a test starts, a library, the end.
        let program = LINE.replacen("checks\":true,\"test\":true", "checks\":true,\"test\":false", 1);
        assert_eq!(read(&program), None);
        assert_eq!(read(&LINE.replace("\"executable\":\"/t/debug/deps/kill-1\"", "\"executable\":null")), None);
        assert_eq!(read("{\"reason\":\"build-finished\",\"success\":true}"), None);
    }

    #[test]
    fn an_executable_that_fails_or_is_missing_is_told() {
        let run = |path: &str| Executable { path: path.into(), package: root(), name: "x".to_owned() }.run(Some(1));
        run("/bin/true").unwrap();
        assert!(run("/bin/false").unwrap_err().contains("exit status: 1"));
        run("/no/such/test").unwrap_err();
    }

    #[test]
    fn packages_with_dpdk_are_known() {
        let folders = folders_with_dpdk().unwrap();
        assert!(["dataplane/dpdk-sys", "dataplane/rte-rs"].iter().all(|folder| folders.contains(&root().join(folder))));
        assert!(!folders.contains(&root().join("sim")) && !folders.contains(&root().join(".")));
    }
}
