//! Names that must not be guessed or used again too soon: QP slots, QPNs, starting PSNs.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// How long a QPN rests after its QP is gone: packets of the old connection may still be on their way (IBA 9.7.1, TIMEWAIT).
const TIME_WAIT_NS: u64 = 4_000_000_000;

/// Largest QPN.
const QPN_MASK: u32 = 0xff_ffff;

/// QP names of all lcores.
pub(super) struct Names {
    free: Vec<VecDeque<u32>>,
    taken: BTreeSet<u32>,
    resting: VecDeque<(u64, u32)>,
}

impl Names {
    pub(super) fn new(lcores: usize, qps: u32) -> Self {
        Self {
            free: (0..lcores).map(|_| (0..qps).collect()).collect(),
            taken: BTreeSet::new(),
            resting: VecDeque::new(),
        }
    }

    /// Names of a predecessor's QPs, each its lcore, slot and QPN, and QPNs that rest; `None` when one is there twice.
    pub(super) fn restore(
        lcores: usize,
        qps: u32,
        taken: impl Iterator<Item = (usize, u32, u32)>,
        resting: Vec<(u64, u32)>,
    ) -> Option<Self> {
        let mut slots: Vec<BTreeSet<u32>> = (0..lcores).map(|_| (0..qps).collect()).collect();
        let mut names = Self { free: Vec::new(), taken: BTreeSet::new(), resting: resting.into() };
        for (lcore, slot, qpn) in taken {
            let free = slots.get_mut(lcore)?.remove(&slot) && names.taken.insert(qpn);
            free.then_some(())?;
        }
        for (_, qpn) in &names.resting {
            names.taken.insert(*qpn).then_some(())?;
        }
        names.free = slots.into_iter().map(|slots| slots.into_iter().collect()).collect();
        Some(names)
    }

    /// QPNs that rest, and until when.
    pub(super) fn resting(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.resting.iter().copied()
    }

    /// The lcore with the most room among `lcores`, a slot there and a QPN.
    pub(super) fn take(&mut self, lcores: &[usize], mut random: impl FnMut() -> u64) -> Option<(usize, u32, u32)> {
        let lcore = *lcores.iter().max_by_key(|lcore| self.free[**lcore].len())?;
        let slot = self.free[lcore].pop_front()?;
        loop {
            let qpn = random() as u32 & QPN_MASK;
            // 0 and 1 are the management QPs, the last is multicast.
            if qpn > 1 && qpn != QPN_MASK && self.taken.insert(qpn) {
                return Some((lcore, slot, qpn));
            }
        }
    }

    /// Gives back names that were never used.
    pub(super) fn give_back(&mut self, lcore: usize, slot: u32, qpn: u32) {
        self.taken.remove(&qpn);
        self.free[lcore].push_front(slot);
    }

    /// The slot is free at once, the QPN after its rest.
    pub(super) fn retire(&mut self, now_ns: u64, lcore: usize, slot: u32, qpn: u32) {
        self.free[lcore].push_back(slot);
        self.resting.push_back((now_ns + TIME_WAIT_NS, qpn));
    }

    /// Frees the QPNs that have rested.
    pub(super) fn rest_until(&mut self, now_ns: u64) {
        while let Some((until_ns, qpn)) = self.resting.front().copied() {
            if until_ns > now_ns {
                return;
            }
            self.resting.pop_front();
            self.taken.remove(&qpn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qpn_rests_before_it_is_used_again() {
        let mut names = Names::new(1, 2);
        let mut draws = [7, 0, 1, 0xff_ffff, 7, 9].into_iter();
        let mut random = || draws.next().unwrap();
        let (lcore, slot, qpn) = names.take(&[0], &mut random).unwrap();
        assert_eq!(qpn, 7);
        names.retire(0, lcore, slot, qpn);
        assert_eq!(names.take(&[0], &mut random).unwrap().2, 9, "reserved and resting numbers are passed over");
        names.rest_until(TIME_WAIT_NS - 1);
        assert!(names.taken.contains(&7));
        names.rest_until(TIME_WAIT_NS);
        assert!(!names.taken.contains(&7));
    }

    #[test]
    fn slots_run_out_and_come_back() {
        let mut names = Names::new(2, 1);
        let mut counter = 100;
        let mut random = || {
            counter += 1;
            counter
        };
        let first = names.take(&[0, 1], &mut random).unwrap();
        let second = names.take(&[0, 1], &mut random).unwrap();
        assert_ne!(first.0, second.0, "QPs spread over lcores");
        assert!(names.take(&[0, 1], &mut random).is_none());
        names.give_back(second.0, second.1, second.2);
        assert!(names.take(&[second.0], &mut random).is_some());
    }
}
