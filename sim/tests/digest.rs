//! A seed is a run: the same seed gives the same digest every time, looked at closely or not. Across processes, builds and
//! processors, `cargo xtask test --only digest` compares the same seeds.

use std::collections::{BTreeMap, BTreeSet};

use gantry_sim::swarm::draw::draw;
use gantry_sim::swarm::fault::Fault;
use gantry_sim::swarm::plan::Plan;
use gantry_sim::swarm::run::{Outcome, Run};

/// The step's list: a seed, and the faults that it draws.
const SEEDS: &str = include_str!("../../tests/digest/seeds.txt");

fn lines() -> impl Iterator<Item = (u64, BTreeSet<&'static str>)> {
    let lines = SEEDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let mut words = line.split_whitespace();
        let seed = words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no seed: {line}"));
        (seed, words.collect())
    })
}

fn faults(plan: &Plan) -> BTreeSet<&'static str> {
    plan.faults.iter().map(Fault::name).collect()
}

fn run(seed: u64, record: bool) -> Outcome {
    let mut run = Run::new(draw(seed));
    if record {
        run.record();
    }
    let outcome = run.to_end(|_| {});
    assert_eq!(outcome.finding, None, "seed {seed}");
    assert!(outcome.completed > 0, "seed {seed} did nothing");
    outcome
}

#[test]
fn a_seed_is_the_same_run_every_time_recorded_or_not() {
    let mut digests = BTreeSet::new();
    for (seed, _) in lines() {
        let first = run(seed, false);
        for (again, how) in [(run(seed, false), "again"), (run(seed, true), "recorded")] {
            assert_eq!(again.digest, first.digest, "seed {seed} {how}");
            assert_eq!(again.took_ns, first.took_ns, "seed {seed} {how}");
            assert_eq!(again.completed, first.completed, "seed {seed} {how}");
            assert_eq!(again.errors, first.errors, "seed {seed} {how}");
            assert_eq!(again.reconnects, first.reconnects, "seed {seed} {how}");
            assert_eq!(again.coverage, first.coverage, "seed {seed} {how}");
        }
        assert!(digests.insert(first.digest), "seed {seed} has another's digest");
    }
}

/// What a comparison of digests is worth depends on what happens in the runs.
#[test]
fn the_list_holds_every_fault_and_says_which() {
    for (seed, said) in lines() {
        let drawn = faults(&draw(seed));
        assert_eq!(
            drawn,
            said,
            "seed {seed} draws other faults than the list says; a list that would do:\n{}",
            choose()
        );
    }
    let seen: BTreeSet<_> = lines().flat_map(|(_, faults)| faults).collect();
    let missing: Vec<_> = Fault::NAMES.iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "no seed of the list draws {missing:?}; a list that would do:\n{}", choose());
    let lcores: BTreeSet<_> = lines().flat_map(|(seed, _)| draw(seed).targets).map(|site| site.lcores).collect();
    assert_eq!(lcores, BTreeSet::from([1, 2, 3]), "a list that would do:\n{}", choose());
    assert!(
        lines().any(|(seed, _)| draw(seed).targets.len() > 1),
        "no seed draws two cards; a list that would do:\n{}",
        choose()
    );
}

/// A list that would do, to be pasted: of short runs, always the one that adds most, until all is there twice.
fn choose() -> String {
    let traits = |plan: &Plan| -> BTreeSet<String> {
        let lcores = plan.targets.iter().map(|site| format!("{} lcores", site.lcores));
        let faults = faults(plan).into_iter().map(str::to_owned);
        faults.chain(lcores).chain([format!("{} cards", plan.targets.len())]).collect()
    };
    let plans = (1..1_000).map(draw).filter(|plan| plan.length_ns < 300_000_000);
    let mut plans: Vec<_> = plans.map(|plan| (traits(&plan), plan)).collect();
    let (mut seen, mut text) = (BTreeMap::<String, u32>::new(), String::new());
    loop {
        let adds =
            |traits: &BTreeSet<String>| traits.iter().filter(|name| seen.get(*name).is_none_or(|n| *n < 2)).count();
        let best = (0..plans.len()).max_by_key(|at| adds(&plans[*at].0)).expect("seeds draw short runs");
        if adds(&plans[best].0) == 0 {
            return text;
        }
        let (traits, plan) = plans.swap_remove(best);
        traits.into_iter().for_each(|name| *seen.entry(name).or_default() += 1);
        text += &format!("{:<6} {}\n", plan.seed, Vec::from_iter(faults(&plan)).join(" "));
    }
}
