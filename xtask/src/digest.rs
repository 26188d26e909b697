//! The step `digest`: a seed gives the same run in every process, in debug and in release, on x86-64 and on arm64.
//!
//! For arm64 the whole product is compiled and does its work under emulation, with the CRC instructions and barriers that a
//! card's cores have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::Result;
use crate::arm64::Toolchain;
use crate::programs::{released, root, target, tested};

/// The seeds, from the workspace's root.
const SEEDS: &str = "tests/digest/seeds.txt";

/// How a seed's last line begins when nothing is wrong with its run.
const OK: &str = "verdict: ok, digest ";

/// A way to run the simulator.
struct Way {
    name: &'static str,
    /// What comes before the simulator's own arguments.
    command: Vec<String>,
}

/// Builds the simulator, runs every seed in every way, and compares; true if all is the same.
pub(crate) fn compare() -> Result<bool> {
    let seeds = parse(&fs::read_to_string(root().join(SEEDS)).map_err(|error| format!("{SEEDS}: {error}"))?)?;
    let ways = build(&Toolchain::ensure()?)?;
    let failures = target()?.join("digest");
    let (next, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let said: Vec<_> = ways.iter().map(|way| (way.name, way.say(seed, &failures))).collect();
            match judge(&said) {
                Ok(digest) => println!("seed {seed:<6} {digest}"),
                Err(told) => {
                    wrong.fetch_add(1, Ordering::Relaxed);
                    println!("seed {seed:<6} FAILED{told}");
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner();
    println!("{} seeds, {} ways each, {wrong} failed", seeds.len(), ways.len());
    Ok(wrong == 0)
}

/// Builds for every way.
fn build(arm64: &Toolchain) -> Result<Vec<Way>> {
    arm64.test("gantry-cpu")?;
    arm64.build(&["gantry-sim"])?;
    let debug = tested("--bin", "gantry-sim")?.display().to_string();
    let release = released("--bin", "gantry-sim")?.display().to_string();
    Ok(vec![
        Way { name: "debug", command: vec![debug.clone()] },
        Way { name: "debug again", command: vec![debug] },
        Way { name: "release", command: vec![release] },
        Way { name: "arm64", command: arm64.program("gantry-sim")? },
    ])
}

impl Way {
    /// What a run of `seed` prints.
    fn say(&self, seed: u64, failures: &Path) -> Result<String> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(["run", "--seed", &seed.to_string(), "--failures"]);
        command.arg(failures.join(self.name.replace(' ', "-"))).stdin(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().map_err(|error| format!("starting {}: {error}", self.command[0]))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(format!("{said}{} ({})", String::from_utf8_lossy(&output.stderr), output.status).trim().to_owned())
    }
}

/// The digest, if every way says the same and nothing is wrong; what each says, if not.
fn judge(said: &[(&str, Result<String>)]) -> std::result::Result<String, String> {
    let agreed: BTreeSet<_> = said.iter().map(|(_, said)| said.as_ref().ok()).collect();
    if let [Some(all)] = agreed.into_iter().collect::<Vec<_>>()[..]
        && let Some(digest) = all.lines().last().and_then(|line| line.strip_prefix(OK))
    {
        return Ok(digest.to_owned());
    }
    let each = said.iter().map(|(name, said)| {
        let said = said.as_ref().unwrap_or_else(|error| error);
        format!("\n  {name}:\n    {}", said.trim().replace('\n', "\n    "))
    });
    Err(each.collect())
}

/// The seeds: the first word of each line that is no comment.
fn parse(text: &str) -> Result<Vec<u64>> {
    let words = text.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| !word.starts_with('#'));
    let seeds = words.map(|word| word.parse().map_err(|_| format!("{SEEDS}: '{word}' is no seed")));
    match seeds.collect::<Result<Vec<_>>>()? {
        seeds if seeds.is_empty() => Err(format!("{SEEDS}: there is no seed")),
        seeds => Ok(seeds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(debug: Result<&str>, arm64: Result<&str>) -> std::result::Result<String, String> {
        judge(&[("debug", debug.map(str::to_owned)), ("arm64", arm64.map(str::to_owned))])
    }

    #[test]
    fn what_differs_or_is_wrong_everywhere_fails() {
        let ok = "seed 1: 9 commands\nverdict: ok, digest 00ff\n";
        assert_eq!(judged(Ok(ok), Ok(ok)).as_deref(), Ok("00ff"));
        let other = judged(Ok(ok), Ok("seed 1: 9 commands\nverdict: ok, digest 00fe\n")).unwrap_err();
        assert!(other.contains("debug:\n    seed 1: 9 commands\n    verdict: ok, digest 00ff\n  arm64:"), "{other}");
        // The digest alone is not all that is compared.
        judged(Ok(ok), Ok("seed 1: 8 commands\nverdict: ok, digest 00ff\n")).unwrap_err();
        judged(Ok(ok), Err("Illegal instruction".to_owned())).unwrap_err();
        judged(Err("lost".to_owned()), Err("lost".to_owned())).unwrap_err();
        judged(Ok("verdict: lost, digest 00ff\n"), Ok("verdict: lost, digest 00ff\n")).unwrap_err();
        judged(Ok(""), Ok("")).unwrap_err();
    }

    #[test]
    fn seeds_are_read() {
        assert_eq!(parse("# why\n\n17  loss\n4\n").as_deref(), Ok(&[17, 4][..]));
        assert!(parse("# none\n").is_err());
        assert!(parse("17\nx\n").unwrap_err().contains("'x'"));
    }
}
