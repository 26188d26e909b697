//! Numbers: random ones from a seed, and what is said of many.

use serde::Serialize;

/// Random numbers from a seed (SplitMix64).
pub struct Numbers(u64);

impl Numbers {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below a limit that is not 0.
    pub fn below(&mut self, limit: u32) -> u32 {
        ((u128::from(self.any()) * u128::from(limit)) >> 64) as u32
    }
}

/// Quartiles.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quartiles {
    /// A quarter is below it.
    pub low: f64,
    /// Half is below it.
    pub median: f64,
    /// Three quarters are below it.
    pub high: f64,
}

/// The value below which this share of what is sorted lies.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len().saturating_sub(1)) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

impl Quartiles {
    /// Of these.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { low: quantile(&values, 0.25), median: quantile(&values, 0.5), high: quantile(&values, 0.75) }
    }
}

/// A median and where it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Median {
    /// The median.
    pub median: f64,
    /// The interval: two order statistics, between which the true median is whatever the distribution (binomial, by its
    /// normal approximation).
    pub from: f64,
    /// Its upper end.
    pub to: f64,
}

impl Median {
    /// Of these.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let half = 0.98 * n.sqrt();
        let at = |place: f64| values.get(place.clamp(0.0, (n - 1.0).max(0.0)) as usize).copied().unwrap_or(f64::NAN);
        Self { median: quantile(&values, 0.5), from: at((n / 2.0 - half).floor()), to: at((n / 2.0 + half).ceil()) }
    }
}

/// The 50th and 99th percentile, and the greatest.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    /// How many.
    pub count: usize,
    /// Half is below it.
    pub p50: f64,
    /// 99 of 100 are below it.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Percentiles {
    /// Of these.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self {
            count: values.len(),
            p50: quantile(&values, 0.5),
            p99: quantile(&values, 0.99),
            max: values.last().copied().unwrap_or(f64::NAN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_many_numbers_is_right() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let quartiles = Quartiles::of(values.clone());
        assert_eq!((quartiles.low, quartiles.median, quartiles.high), (25.0, 50.0, 75.0));
        let median = Median::of(values.clone());
        assert_eq!((median.median, median.from, median.to), (50.0, 40.0, 61.0));
        let all = Percentiles::of(values);
        assert_eq!((all.count, all.p50, all.p99, all.max), (101, 50.0, 99.0, 100.0));
        assert!(Median::of(Vec::new()).median.is_nan());
    }

    /// About 95 of 100 intervals hold the true median.
    #[test]
    fn the_interval_holds_the_median() {
        let mut numbers = Numbers::new(7);
        let holds = |numbers: &mut Numbers| {
            let median = Median::of((0..100).map(|_| f64::from(numbers.below(1_000_000)).powi(3)).collect());
            (median.from..=median.to).contains(&0.125e18)
        };
        let held = (0..1000).filter(|_| holds(&mut numbers)).count();
        assert!((930..=985).contains(&held), "{held}");
    }
}
