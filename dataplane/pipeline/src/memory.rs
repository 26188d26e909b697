//! An lcore's DMA memory: receive slots and pages.
//!
//! ```text
//! 0                       commands * SLOT_BYTES (page aligned)
//! | receive slot 0 | 1 ...| page 0 | page 1 | ...
//! ```
//! A receive slot holds one capsule: the SQE and its in-capsule data, from where a drive reads it
//! without another copy.

use alloc::boxed::Box;
use alloc::sync::Arc;

use gantry_cpu::{Cpu, Crc32};
use gantry_dma::Region;

use crate::command::{Command, NONE};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Cache lines of a command's data that are fetched ahead.
const PREFETCHED: usize = 4;

/// Bytes of an SQE.
pub const SQE_BYTES: usize = 64;

/// Most in-capsule data in bytes.
pub const IN_CAPSULE_MAX: usize = 4096;

/// Bytes of one receive slot.
pub const SLOT_BYTES: usize = SQE_BYTES + IN_CAPSULE_MAX;

/// The region and its free pages.
pub struct Memory {
    region: Arc<Region>,
    pages_start: usize,
    free: Box<[u32]>,
    free_count: usize,
    pages: usize,
}

impl Memory {
    /// Bytes of region that `commands` receive slots and `pages` pages need.
    #[must_use]
    pub fn bytes_needed(commands: u32, pages: u32) -> usize {
        Self::pages_start(commands) + pages as usize * PAGE
    }

    fn pages_start(commands: u32) -> usize {
        (commands as usize * SLOT_BYTES).next_multiple_of(PAGE)
    }

    /// Lays the region out.
    ///
    /// # Panics
    /// When the region is shorter than [`Memory::bytes_needed`].
    #[must_use]
    pub fn new(region: Arc<Region>, commands: u32, pages: u32) -> Self {
        assert!(region.length() >= Self::bytes_needed(commands, pages), "DMA region too short");
        let free = (0..pages).rev().collect();
        Self {
            region,
            pages_start: Self::pages_start(commands),
            free,
            free_count: pages as usize,
            pages: pages as usize,
        }
    }

    /// Takes pages that a predecessor's commands hold off the free ones; whether all of them exist and are held once.
    pub(crate) fn hold(&mut self, held: impl Iterator<Item = u32>) -> bool {
        let mut is_held: Box<[bool]> = (0..self.pages).map(|_| false).collect();
        for page in held {
            match is_held.get_mut(page as usize) {
                Some(is_held) if !*is_held => *is_held = true,
                _ => return false,
            }
        }
        self.free_count = 0;
        for page in (0..self.pages).rev().filter(|page| !is_held[*page]) {
            self.free[self.free_count] = page as u32;
            self.free_count += 1;
        }
        true
    }

    /// Where it lies.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Pages that are free.
    #[must_use]
    pub fn free_pages(&self) -> usize {
        self.free_count
    }

    /// Pages that there are.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.pages
    }

    /// Reserves pages for `length` bytes in `command`, all or none.
    pub fn reserve(&mut self, command: &mut Command, length: u32) -> bool {
        let wanted = (length as usize).div_ceil(PAGE);
        if wanted > self.free_count {
            return false;
        }
        debug_assert_eq!(command.page_count, 0);
        for page in &mut command.pages[..wanted] {
            self.free_count -= 1;
            *page = self.free[self.free_count];
        }
        command.page_count = wanted as u8;
        true
    }

    /// Gives a command's pages back.
    pub fn release(&mut self, command: &mut Command) {
        // Last first: the next command gets neighbours in the order in which they were, which is one descriptor to a drive.
        for page in command.pages[..usize::from(command.page_count)].iter_mut().rev() {
            self.free[self.free_count] = core::mem::replace(page, NONE);
            self.free_count += 1;
        }
        command.page_count = 0;
    }

    /// The device's address of byte `at` of a receive slot.
    #[must_use]
    pub fn slot_iova(&self, slot: u32, at: usize) -> u64 {
        self.region.iova(slot as usize * SLOT_BYTES + at)
    }

    /// The device's address of a page.
    #[must_use]
    pub fn page_iova(&self, page: u32) -> u64 {
        self.region.iova(self.page_offset(page))
    }

    fn page_offset(&self, page: u32) -> usize {
        self.pages_start + page as usize * PAGE
    }

    /// Copies payload into a receive slot and continues the CRC over it.
    ///
    /// # Panics
    /// When it would leave the slot: s3 has checked.
    pub fn write_slot(&self, cpu: &Cpu, slot: u32, at: usize, payload: &[u8], crc: Crc32) -> Crc32 {
        assert!(at + payload.len() <= SLOT_BYTES);
        self.region.write_crc32(cpu, slot as usize * SLOT_BYTES + at, payload, crc)
    }

    /// Reads from a receive slot.
    pub fn read_slot(&self, slot: u32, at: usize, into: &mut [u8]) {
        assert!(at + into.len() <= SLOT_BYTES);
        self.region.read(slot as usize * SLOT_BYTES + at, into);
    }

    /// Overwrites part of a receive slot.
    pub fn rewrite_slot(&self, slot: u32, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= SLOT_BYTES);
        self.region.write(slot as usize * SLOT_BYTES + at, bytes);
    }

    /// Copies payload to byte `at` of a command's pages and continues the CRC over it.
    ///
    /// # Panics
    /// When it would leave the command's pages.
    pub fn write_pages(&self, cpu: &Cpu, command: &Command, at: usize, payload: &[u8], crc: Crc32) -> Crc32 {
        pieces(command, at, payload.len()).fold(crc, |crc, (page, within, range)| {
            self.region.write_crc32(cpu, self.page_offset(page) + within, &payload[range], crc)
        })
    }

    /// Starts to fetch where a command's data begins: the processor goes on from there by itself.
    #[inline]
    pub fn prefetch_pages(&self, cpu: &Cpu, command: &Command) {
        if command.page_count > 0 {
            let start = self.page_offset(command.pages[0]);
            (0..PREFETCHED).for_each(|line| self.region.prefetch(cpu, start + line * LINE));
        }
    }

    /// Copies from byte `at` of a command's pages and continues the CRC over it.
    pub fn read_pages(&self, cpu: &Cpu, command: &Command, at: usize, into: &mut [u8], crc: Crc32) -> Crc32 {
        pieces(command, at, into.len()).fold(crc, |crc, (page, within, range)| {
            self.region.read_crc32(cpu, self.page_offset(page) + within, &mut into[range], crc)
        })
    }

    /// Copies bytes into a command's pages.
    pub fn fill_pages(&self, command: &Command, bytes: &[u8]) {
        for (page, within, range) in pieces(command, 0, bytes.len()) {
            self.region.write(self.page_offset(page) + within, &bytes[range]);
        }
    }

    /// Copies bytes out of a command's pages.
    pub fn copy_pages(&self, command: &Command, into: &mut [u8]) {
        for (page, within, range) in pieces(command, 0, into.len()) {
            self.region.read(self.page_offset(page) + within, &mut into[range]);
        }
    }
}

/// The pages under `length` bytes from `at`: page, offset within it, range of the bytes.
fn pieces(
    command: &Command,
    at: usize,
    length: usize,
) -> impl Iterator<Item = (u32, usize, core::ops::Range<usize>)> + '_ {
    assert!(at + length <= usize::from(command.page_count) * PAGE, "data outside the command's pages");
    let mut done = 0;
    core::iter::from_fn(move || {
        (done < length).then(|| {
            let within = (at + done) % PAGE;
            let end = length.min(done + PAGE - within);
            let piece = (command.pages[(at + done) / PAGE], within, done..end);
            done = end;
            piece
        })
    })
}
