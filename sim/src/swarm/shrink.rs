//! A failing plan becomes a smaller one that fails too: fewer faults first, then fewer hosts, a shorter time.

use std::time::{Duration, Instant};

use super::plan::Plan;
use super::run::Outcome;

/// How many plans are tried at most, and for how long.
const TRIES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest plan found for which `try_plan` still answers a finding, and its outcome.
///
/// Faults go in halves, then quarters, down to one at a time (Zeller's delta debugging); any finding counts, since one bug
/// has many faces.
pub fn shrink(plan: Plan, outcome: Outcome, mut try_plan: impl FnMut(&Plan) -> Outcome) -> (Plan, Outcome) {
    let mut best = (plan, outcome);
    let (mut tries, begun) = (0, Instant::now());
    let mut attempt = |best: &mut (Plan, Outcome), smaller: Plan| {
        tries += 1;
        if tries > TRIES || begun.elapsed() > PATIENCE || smaller == best.0 {
            return false;
        }
        let outcome = try_plan(&smaller);
        let fails = outcome.finding.is_some();
        if fails {
            *best = (smaller, outcome);
        }
        fails
    };
    let mut piece = best.0.faults.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < best.0.faults.len() {
            let mut smaller = best.0.clone();
            smaller.faults.drain(at..(at + piece).min(best.0.faults.len()));
            if !attempt(&mut best, smaller) {
                at += piece;
            }
        }
        piece /= 2;
    }
    // A host that does nothing is as good as none, and keeps the others' numbers.
    for host in 0..best.0.hosts.len() {
        let mut smaller = best.0.clone();
        smaller.hosts[host].load.depth = 1;
        smaller.hosts[host].load.pace_ns = smaller.length_ns.max(1);
        attempt(&mut best, smaller);
    }
    loop {
        let mut smaller = best.0.clone();
        smaller.length_ns /= 2;
        smaller.faults.retain(|fault| fault.at_ns < smaller.length_ns);
        if smaller.length_ns == 0 || !attempt(&mut best, smaller) {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::coverage::Coverage;
    use super::super::draw::draw;
    use super::super::fault::{Fault, What};
    use super::*;

    fn outcome(fails: bool) -> Outcome {
        Outcome {
            finding: fails.then(|| "wrong".to_owned()),
            digest: 0,
            completed: 0,
            errors: 0,
            reconnects: 0,
            took_ns: 0,
            coverage: Coverage::default(),
        }
    }

    #[test]
    fn what_is_left_are_the_faults_that_it_takes() {
        let mut plan = draw(1);
        let fault = |at_ns| Fault { at_ns, for_ns: 0, what: What::KillDataPlane { target: 0 } };
        plan.length_ns = 1_000;
        plan.faults = (0..20).map(fault).collect();
        let guilty = |plan: &Plan| [3, 17].iter().all(|at| plan.faults.iter().any(|fault| fault.at_ns == *at));
        let (small, outcome) = shrink(plan, outcome(true), |plan| outcome(guilty(plan)));
        assert_eq!(small.faults, [fault(3), fault(17)]);
        assert!(outcome.finding.is_some() && small.length_ns < 40 && small.length_ns > 17);
    }
}
