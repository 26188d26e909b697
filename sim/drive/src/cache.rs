//! Memory behind a volatile write cache: `mem:SIZE,cache=volatile`. NVMe Base 2.0 §5.27.1.4 (Volatile Write Cache), §7.1
//! (Flush); NVM Command Set 1.0 §3.2.5 (Force Unit Access).
//!
//! The memory holds what the cache and the medium behind it show together. Beside it lies, for every block written since it
//! was last durable, what it was then: losing power puts that back for the blocks that the seed does not spare.

use crate::chance::{Purpose, draw_to, hits};
use crate::media::{Media, MemoryMedia};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// Memory whose writes are durable only once they are flushed.
#[derive(Debug)]
pub struct CachedMemory {
    memory: MemoryMedia,
    block_shift: u8,
    /// What the blocks that are not durable were when they last were; `None` is all zero.
    before: BTreeMap<u64, Option<u32>>,
    /// The blocks that are kept, a block a slot.
    slots: Vec<u8>,
    free: Vec<u32>,
}

impl CachedMemory {
    /// `bytes` of zeroes, which are durable. A block of `1 << block_shift` bytes survives or is lost as a whole.
    #[must_use]
    pub fn new(bytes: u64, block_shift: u8) -> CachedMemory {
        let (before, slots, free) = (BTreeMap::new(), Vec::new(), Vec::new());
        CachedMemory { memory: MemoryMedia::new(bytes), block_shift, before, slots, free }
    }

    /// Blocks that would be at stake now if power were lost.
    #[must_use]
    pub fn cached_blocks(&self) -> usize {
        self.before.len()
    }

    /// The blocks that lie wholly or partly in a span.
    fn blocks(&self, offset: u64, length: u64) -> Range<u64> {
        let (first, end) = (offset >> self.block_shift, offset.saturating_add(length));
        first..(end >> self.block_shift) + u64::from(end & ((1 << self.block_shift) - 1) != 0)
    }

    /// Keeps what `block` is, unless it is at stake already.
    fn keep(&mut self, block: u64) {
        let (at, bytes) = (block << self.block_shift, 1usize << self.block_shift);
        let std::collections::btree_map::Entry::Vacant(entry) = self.before.entry(block) else { return };
        if self.memory.is_hole(at) {
            entry.insert(None);
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.resize(self.slots.len() + bytes, 0);
            (self.slots.len() / bytes - 1) as u32
        });
        let kept = &mut self.slots[slot as usize * bytes..][..bytes];
        self.memory.read(at, kept).expect("memory can be read");
        entry.insert(Some(slot));
    }
}

impl Media for CachedMemory {
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, bytes)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.blocks(offset, bytes.len() as u64).for_each(|block| self.keep(block));
        self.memory.write(offset, bytes)
    }

    fn zero(&mut self, offset: u64, length: u64, deallocate: bool) -> io::Result<()> {
        // A hole is zero, and stays so whatever survives: a trim of the whole drive costs what is written on it.
        let mut at = offset;
        while let Some(written) = self.memory.written(at..offset + length) {
            self.blocks(written.start, written.end - written.start).for_each(|block| self.keep(block));
            at = written.end;
        }
        self.memory.zero(offset, length, deallocate)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.before.clear();
        self.slots.clear();
        self.free.clear();
        Ok(())
    }

    fn flush_range(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let blocks = self.blocks(offset, length);
        while let Some((&block, &slot)) = self.before.range(blocks.clone()).next() {
            self.before.remove(&block);
            self.free.extend(slot);
        }
        if self.before.is_empty() { self.flush() } else { Ok(()) }
    }

    fn has_cache(&self) -> bool {
        true
    }

    /// How many survive is drawn too: none, a quarter, half, three quarters, or all, block by block.
    fn lose_power(&mut self, survives_seed: u64) {
        let share = 2_500 * draw_to(4, survives_seed, Purpose::Survivors, 0) as u32;
        let bytes = 1u64 << self.block_shift;
        for (block, slot) in std::mem::take(&mut self.before) {
            if hits(share, survives_seed, Purpose::Survival, block) {
                continue;
            }
            let at = block << self.block_shift;
            let put_back = match slot {
                None => self.memory.zero(at, bytes, true),
                Some(slot) => {
                    self.memory.write(at, &self.slots[(u64::from(slot) * bytes) as usize..][..bytes as usize])
                }
            };
            put_back.expect("memory can be written");
        }
        self.flush().expect("nothing is left to be made durable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 512;

    fn byte(media: &mut CachedMemory, block: u64) -> u8 {
        let mut bytes = [0; BLOCK as usize];
        media.read(block * BLOCK, &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == bytes[0]), "block {block} is torn");
        bytes[0]
    }

    fn seed_with_share(share: u64) -> u64 {
        (0..).find(|&seed| draw_to(4, seed, Purpose::Survivors, 0) == share).unwrap()
    }

    #[test]
    fn slots_are_used_again_and_what_is_durable_costs_nothing() {
        let mut media = CachedMemory::new(1 << 20, 9);
        media.write(0, &[1; 4 * BLOCK as usize]).unwrap();
        media.flush().unwrap();
        // Block 0 is never flushed, the others are written through a thousand times.
        media.write(0, &[2; BLOCK as usize]).unwrap();
        for round in 0..1000u32 {
            media.write(BLOCK, &[round as u8; 3 * BLOCK as usize]).unwrap();
            media.flush_range(BLOCK, 3 * BLOCK).unwrap();
        }
        assert_eq!((media.cached_blocks(), media.slots.len()), (1, 4 * BLOCK as usize));
        media.lose_power(seed_with_share(0));
        assert_eq!((byte(&mut media, 0), byte(&mut media, 1)), (1, 999u32 as u8));
        assert_eq!((media.cached_blocks(), media.slots.len()), (0, 0));
    }

    /// Two blocks of one write meet different ends; one that was never written is zero again.
    #[test]
    fn blocks_survive_or_are_lost_one_by_one() {
        let seed = seed_with_share(2);
        let mut ends = [[0u32; 2]; 2];
        for pair in 0..500 {
            let mut media = CachedMemory::new(1 << 20, 9);
            media.write(2 * pair * BLOCK, &[7; 2 * BLOCK as usize]).unwrap();
            media.lose_power(seed);
            let alive = [byte(&mut media, 2 * pair), byte(&mut media, 2 * pair + 1)].map(|byte| usize::from(byte == 7));
            ends[alive[0]][alive[1]] += 1;
        }
        assert!(ends.iter().flatten().all(|&count| (80..170).contains(&count)), "{ends:?}");
    }

    /// A terabyte trimmed costs what is written on it; what was written comes back with the power.
    #[test]
    fn zeroes_are_cached_as_writes_are() {
        let mut media = CachedMemory::new(1 << 33, 9);
        media.write(3 * BLOCK, &[5; BLOCK as usize]).unwrap();
        media.write((1 << 32) + BLOCK, &[6; BLOCK as usize]).unwrap();
        media.flush().unwrap();
        media.zero(0, 1 << 33, true).unwrap();
        assert_eq!((byte(&mut media, 3), byte(&mut media, (1 << 23) + 1)), (0, 0));
        assert_eq!(media.cached_blocks(), 2 * 128, "the two pieces that exist");
        media.lose_power(seed_with_share(0));
        assert_eq!((byte(&mut media, 3), byte(&mut media, (1 << 23) + 1), byte(&mut media, 4)), (5, 6, 0));
        media.zero(3 * BLOCK, BLOCK, false).unwrap();
        media.lose_power(seed_with_share(4));
        assert_eq!(byte(&mut media, 3), 0, "all survives");
    }
}
