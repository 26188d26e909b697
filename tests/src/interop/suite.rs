//! Walks a host through the scenarios and keeps the score.

use std::time::Instant;

use crate::vm::{Error, Result};

use super::scenario::Scenario;
use super::{Host, Target};

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Scenarios that ended well.
    pub passed: usize,
    /// Scenarios that did not.
    pub failed: usize,
}

/// The scenarios of `all` whose name contains one of `only`; all, if there is none.
pub fn chosen<'a, T: ?Sized>(all: &'a [Scenario<T>], only: &[String]) -> Vec<&'a Scenario<T>> {
    let wanted =
        |scenario: &&Scenario<T>| only.is_empty() || only.iter().any(|part| scenario.name.contains(part.as_str()));
    all.iter().filter(wanted).collect()
}

/// Runs `scenarios` against `target`, telling each on standard output. A host that failed once is not trusted
/// again: the next scenario gets a new one.
pub fn run<T: Target + ?Sized>(target: &mut T, scenarios: &[&Scenario<T>]) -> Result<Score> {
    let mut score = Score::default();
    let mut host = None;
    let mut failed = Vec::new();
    for scenario in scenarios {
        let current = match host.take() {
            Some(host) => host,
            None => boot(target)?,
        };
        let begun = Instant::now();
        let (current, result) = one(target, current, scenario);
        let took = begun.elapsed().as_secs_f32();
        match result {
            Ok(note) => {
                println!("  ok    {:<16} {took:6.1} s  {note}", scenario.name);
                score.passed += 1;
                host = Some(current);
            }
            Err(error) => {
                println!("  FAIL  {:<16} {took:6.1} s  {}\n{error}", scenario.name, scenario.shows);
                if let Ok(log) = current.log_since(scenario.name) {
                    println!("the host's kernel said meanwhile:{}", log.trim_end());
                }
                println!("the target said{}", target.said());
                score.failed += 1;
                failed.push((scenario.name, error));
            }
        }
    }
    // Once more, after all that was said meanwhile.
    for (name, error) in &failed {
        let error = error.to_string();
        println!("  FAIL  {name:<16} {}", error.lines().take(4).collect::<Vec<_>>().join("\n"));
    }
    Ok(score)
}

fn boot<T: Target + ?Sized>(target: &mut T) -> Result<Host> {
    let machine = target.boot_host()?;
    println!("  host booted in {:.1} s", machine.boot_time().as_secs_f32());
    // As a user would: the transport's module first.
    machine.run_ok("modprobe nvme_rdma")?;
    Ok(Host::new(machine, target.address()))
}

/// One scenario on a host, and what both ends look like after it.
fn one<T: Target + ?Sized>(target: &mut T, mut host: Host, scenario: &Scenario<T>) -> (Host, Result<String>) {
    let result = (|| {
        host.mark(scenario.name)?;
        host.evidence_since(scenario.name)?;
        let mut note = (scenario.run)(target, &mut host)?;
        let evidence = host.evidence_since(scenario.name)?;
        if evidence.timeouts > 0 && evidence.retransmissions == 0 && !scenario.may_stall {
            return Err(Error::Unexpected(format!(
                "{} commands timed out, and the host's rxe had retransmitted nothing: the target stalled",
                evidence.timeouts
            )));
        }
        if evidence.retransmissions > 0 {
            note += &format!("; host retransmissions {}", evidence.retransmissions);
        }
        if evidence.timeouts > 0 {
            note += &format!("; host stalls (I/O timeouts) {}", evidence.timeouts);
        }
        let left = host.machine().run_ok("ls /sys/class/nvme")?;
        if !left.trim().is_empty() {
            return Err(Error::Unexpected(format!("controllers left behind: {}", left.trim())));
        }
        Ok(note)
    })();
    // Trouble at either end says more than what it led to.
    let result = target.check_health().and_then(|()| host.machine().check_health()).and(result);
    (host, result)
}
