//! Doorbells that the server does not map: memory of ours that lcores store to, and what of it the server was told. No wrap
//! is lost, however seldom it is told: a submission queue's tail cannot go round before the drive has fetched commands, nor a
//! completion queue's head before it has posted some, and it does neither beyond what it was told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gantry_dma::Region;
use gantry_wire::nvme::register;

use crate::Error;

/// Doorbells looked at: those of the admin queue and 256 more, twice, whatever BAR a server claims to have.
const DOORBELLS_MAX: usize = 2 * 257;

/// The doorbells.
#[derive(Debug)]
pub(crate) struct Shadow {
    region: Arc<Region>,
    /// Bytes between two.
    stride: usize,
    /// What the server knows of each.
    told: Vec<u32>,
    /// Where the next look begins.
    next: usize,
}

impl Shadow {
    /// Doorbells of a BAR of `bar_bytes`.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(crate) fn new(bar_bytes: usize, dstrd: u8) -> Result<Self, Error> {
        let stride = 4usize << dstrd.min(15);
        let room = bar_bytes.saturating_sub(register::DOORBELLS) / stride;
        let count = room.min(DOORBELLS_MAX);
        let region = Region::shared(register::DOORBELLS + count.max(1) * stride)?;
        Ok(Self { region, stride, told: vec![0; count], next: 0 })
    }

    /// The memory that lcores store to.
    pub(crate) fn region(&self) -> Arc<Region> {
        Arc::clone(&self.region)
    }

    /// The controller is enabled: its doorbells are 0, and so is what was rung before for queues that are no more.
    pub(crate) fn clear(&mut self) {
        self.region.fill(register::DOORBELLS, self.region.length() - register::DOORBELLS, 0);
        self.told.fill(0);
    }

    /// Tells of each doorbell that has changed, as offset in the BAR and value, until `tell` answers that there is no room.
    pub(crate) fn forward(&mut self, mut tell: impl FnMut(usize, u32) -> Result<bool, Error>) -> Result<(), Error> {
        for _ in 0..self.told.len() {
            let at = register::DOORBELLS + self.next * self.stride;
            let value = self.region.load_u32(at, Ordering::Acquire);
            if value != self.told[self.next] {
                if !tell(at, value)? {
                    return Ok(());
                }
                self.told[self.next] = value;
            }
            self.next = if self.next + 1 == self.told.len() { 0 } else { self.next + 1 };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(shadow: &mut Shadow, room: usize) -> Vec<(usize, u32)> {
        let mut told = Vec::new();
        let tell = |at, value| {
            if told.len() < room {
                told.push((at, value));
            }
            Ok(told.len() < room || told.last() == Some(&(at, value)))
        };
        shadow.forward(tell).unwrap();
        told
    }

    #[test]
    fn each_change_is_told_once_and_all_in_turn() {
        let mut shadow = Shadow::new(0x1000 + 6 * 8, 1).unwrap();
        let memory = shadow.region();
        assert_eq!(told(&mut shadow, 9), []);
        memory.store_u32(0x1000, 5, Ordering::Release);
        memory.store_u32(0x1028, 3, Ordering::Release);
        assert_eq!(told(&mut shadow, 9), [(0x1000, 5), (0x1028, 3)]);
        assert_eq!(told(&mut shadow, 9), []);
        // Both change without a pause and there is room for one: neither starves.
        let mut seen = Vec::new();
        for value in 10..14 {
            memory.store_u32(0x1000, value, Ordering::Release);
            memory.store_u32(0x1028, value, Ordering::Release);
            seen.extend(told(&mut shadow, 1).iter().map(|(at, _)| *at));
        }
        assert!(seen.contains(&0x1000) && seen.contains(&0x1028), "{seen:x?}");
        // To zero, as at a wrap, is a change too.
        memory.store_u32(0x1000, 0, Ordering::Release);
        memory.store_u32(0x1028, 0, Ordering::Release);
        assert_eq!(told(&mut shadow, 9).len(), 2);
    }

    #[test]
    fn enabling_forgets_what_was_rung() {
        let mut shadow = Shadow::new(0x2000, 0).unwrap();
        let memory = shadow.region();
        memory.store_u32(0x1000, 5, Ordering::Release);
        assert_eq!(told(&mut shadow, 9).len(), 1);
        memory.store_u32(0x1008, 7, Ordering::Release);
        shadow.clear();
        assert_eq!(told(&mut shadow, 9), [], "neither the old value nor what nobody was told");
        memory.store_u32(0x1000, 5, Ordering::Release);
        assert_eq!(told(&mut shadow, 9), [(0x1000, 5)], "the same value is news to a controller that was reset");
    }

    #[test]
    fn a_bar_of_any_size_costs_little() {
        for (bytes, dstrd) in [(0, 0), (0x1000, 0), (usize::MAX, 0), (usize::MAX, 15), (1 << 40, 255)] {
            let mut shadow = Shadow::new(bytes, dstrd).unwrap();
            assert!(shadow.region().length() <= 0x1000 + 514 * (4 << 15));
            assert_eq!(told(&mut shadow, 9), []);
        }
    }
}
