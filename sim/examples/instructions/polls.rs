//! Instructions of each poll of an lcore, as a distribution, and what the longest was about.

use std::fmt;

use crate::life::Did;
use crate::numbered;
use crate::profile::Profile;

/// What the longest poll may take, in medians.
pub(crate) const LIMIT: u64 = 20;

/// Every poll that did something: what it took, and what it did.
pub(crate) struct Polls(Vec<(u64, Did)>);

impl Polls {
    /// `told` is what the run said: a line a poll, in the order of their numbers.
    pub(crate) fn of(told: &str, profile: &Profile) -> Result<Self, String> {
        let did = told.lines().map(str::parse).collect::<Result<Vec<Did>, _>>()?;
        let mut costs = vec![0; did.len()];
        for (function, cost) in profile.functions() {
            if let Some(number) = numbered::number(function) {
                *costs.get_mut(number).ok_or_else(|| format!("poll {number} was not told of"))? += cost;
            }
        }
        if let Some(missing) = costs.iter().position(|cost| *cost == 0) {
            return Err(format!("poll {missing} was not counted; are the numbered functions one?"));
        }
        let mut busy: Vec<(u64, Did)> = costs.into_iter().zip(did).filter(|(_, did)| did.busy).collect();
        busy.sort_by_key(|(cost, _)| *cost);
        if busy.len() < 1_000 {
            return Err(format!("{} polls that did something are too few", busy.len()));
        }
        Ok(Self(busy))
    }

    fn quantile(&self, of_thousand: usize) -> u64 {
        self.0[(self.0.len() - 1) * of_thousand / 1_000].0
    }

    /// What is wrong with them.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let (worst, did) = self.0.last().expect("there are some");
        let median = self.quantile(500);
        if *worst <= LIMIT * median {
            return Ok(());
        }
        Err(format!("a poll took {worst} instructions, more than {LIMIT} times the median of {median}: {did}"))
    }
}

impl fmt::Display for Polls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (worst, _) = self.0.last().expect("there are some");
        let median = self.quantile(500);
        write!(f, "instructions of {} polls that did something: median {median}, ", self.0.len())?;
        writeln!(
            f,
            "99 % {}, worst {worst}, {:.1} times the median",
            self.quantile(990),
            *worst as f64 / median as f64
        )?;
        let mut events: Vec<&str> = Vec::new();
        // The worst of each event, the worst event first.
        for (cost, did) in self.0.iter().rev() {
            if !events.contains(&&*did.event) {
                events.push(&did.event);
                writeln!(f, "{cost:>9} {:>5.1}  {did}", *cost as f64 / median as f64)?;
            }
        }
        Ok(())
    }
}
