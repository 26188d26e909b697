//! callgrind's output file, read as far as inclusive costs of functions go (valgrind manual, "Callgrind Format
//! Specification").

use std::collections::BTreeMap;

/// Who calls whom, and what the calls cost in instructions, all that they called included.
pub(crate) struct Profile {
    names: BTreeMap<u64, String>,
    /// By caller and callee.
    calls: BTreeMap<(u64, u64), u64>,
    /// By function, with all that it called.
    inclusive: BTreeMap<u64, u64>,
}

impl Profile {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut profile = Profile { names: BTreeMap::new(), calls: BTreeMap::new(), inclusive: BTreeMap::new() };
        let (mut function, mut callee, mut in_call) = (None, None, false);
        for (number, line) in text.lines().enumerate() {
            let wrong = || format!("line {} of callgrind's file is not understood: {line}", number + 1);
            if let Some((key, value)) = line.split_once('=') {
                match key {
                    "fn" => function = Some(profile.named(value).ok_or_else(wrong)?),
                    "cfn" => callee = Some(profile.named(value).ok_or_else(wrong)?),
                    "calls" => in_call = true,
                    _ => {}
                }
                continue;
            }
            // A cost line: where (a line number, absolute or relative to the last), then instructions. The cost of a call
            // is such a line too, below its `calls=`.
            let mut parts = line.split(' ');
            let place = parts.next().unwrap_or_default();
            if !place.starts_with(|start: char| start.is_ascii_digit() || matches!(start, '+' | '-' | '*')) {
                continue;
            }
            let cost: u64 = parts.next().unwrap_or("0").parse().map_err(|_| wrong())?;
            let function = function.ok_or_else(wrong)?;
            *profile.inclusive.entry(function).or_default() += cost;
            if std::mem::take(&mut in_call) {
                let callee = callee.take().ok_or_else(wrong)?;
                *profile.calls.entry((function, callee)).or_default() += cost;
            }
        }
        Ok(profile)
    }

    /// `(12) name` the first time, `(12)` from then on.
    fn named(&mut self, value: &str) -> Option<u64> {
        let (number, rest) = value.strip_prefix('(')?.split_once(')')?;
        let number = number.parse().ok()?;
        if !rest.is_empty() {
            self.names.insert(number, rest.trim_start().to_owned());
        }
        self.names.contains_key(&number).then_some(number)
    }

    /// Caller, callee and cost of all calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.calls.iter().map(|((caller, callee), cost)| (&*self.names[caller], &*self.names[callee], *cost))
    }

    /// Functions and their cost, with all that they called.
    pub(crate) fn functions(&self) -> impl Iterator<Item = (&str, u64)> {
        self.inclusive.iter().map(|(function, cost)| (&*self.names[function], *cost))
    }
}
