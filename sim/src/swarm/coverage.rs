//! What runs have reached: every way out of a stage, every fault.

use std::collections::BTreeMap;

use gantry_pipeline::counters::NAMES;

use super::fault::Fault;
use crate::network::Network;
use crate::world::Target;

/// What no run can reach, and why.
pub const UNREACHABLE: [(&str, &str); 2] = [
    ("lcore.sleeps", "whether an lcore sleeps is the process's; the world lets time pass"),
    (
        "s5_command.refused_interrupted",
        "hosts that leave a card no slot behind a drive that is silent for a second are a story of their own: isolation",
    ),
];

/// How often each thing was reached, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// Something was reached.
    pub fn reached(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    /// What a card's lcores have counted.
    pub fn add_target(&mut self, target: &mut Target) {
        for lcore in 0..target.card.lcores() {
            for (name, value) in target.card.lcore(lcore).core().counters.iter() {
                *self.0.entry(name).or_default() += value;
            }
        }
    }

    /// What befell frames.
    pub fn add_network(&mut self, network: &Network) {
        for (name, value) in network.counters().iter() {
            *self.0.entry(name).or_default() += value;
        }
    }

    /// A run more: each thing counts once if the run reached it.
    pub fn add_run(&mut self, run: &Coverage) {
        for (name, _) in run.0.iter().filter(|(_, count)| **count > 0) {
            self.reached(name);
        }
    }

    /// How often something was reached.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Stages' exits and faults that were never reached, but for those that no run can reach.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        known().filter(|name| self.count(name) == 0).collect()
    }

    /// So many of them that were reached least, the rarest first, with how often.
    #[must_use]
    pub fn rarest(&self, how_many: usize) -> Vec<(&'static str, u64)> {
        let mut counted: Vec<_> = known().map(|name| (name, self.count(name))).collect();
        counted.sort_by_key(|(_, count)| *count);
        counted.truncate(how_many);
        counted
    }
}

/// Everything that runs can reach.
fn known() -> impl Iterator<Item = &'static str> {
    let reachable = |name: &&str| UNREACHABLE.iter().all(|(never, _)| never != name);
    NAMES.iter().chain(&Fault::NAMES).copied().filter(reachable)
}
