//! Reading and writing shared memory: checked, by copy or by one atomic word.
//!
//! A compiler fence stands at both sides of each copy: what a caller sees in its own buffer is what was read then, not
//! what the compiler might read again later.

use core::ptr;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, compiler_fence};

use gantry_cpu::{Cpu, Crc32};

use crate::Region;

/// Copies between memory of ours and shared memory, or within shared memory.
///
/// # Safety
/// `src` is readable and `dst` writable for `length` bytes.
#[inline]
unsafe fn copy_raw(dst: *mut u8, src: *const u8, length: usize) {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the caller's promise.
    unsafe { ptr::copy(src, dst, length) };
    compiler_fence(Ordering::SeqCst);
}

impl Region {
    /// Copies bytes at `offset` out to `dst`.
    ///
    /// # Panics
    /// When they are not all inside, as every access here does.
    #[inline]
    pub fn read(&self, offset: usize, dst: &mut [u8]) {
        let src = self.readable(offset, dst.len());
        // SAFETY: `readable` checked the span; `dst` is the caller's own.
        unsafe { copy_raw(dst.as_mut_ptr(), src, dst.len()) }
    }

    /// Copies `src` in at `offset`.
    #[inline]
    pub fn write(&self, offset: usize, src: &[u8]) {
        let dst = self.writable(offset, src.len());
        // SAFETY: `writable` checked the span; `src` is the caller's own.
        unsafe { copy_raw(dst, src.as_ptr(), src.len()) }
    }

    /// Sets `length` bytes at `offset` to `byte`.
    #[inline]
    pub fn fill(&self, offset: usize, length: usize, byte: u8) {
        let dst = self.writable(offset, length);
        // SAFETY: `writable` checked the span.
        unsafe { ptr::write_bytes(dst, byte, length) };
        compiler_fence(Ordering::SeqCst);
    }

    /// Copies `src` in at `offset` and goes on with a CRC over it, in one pass.
    #[inline]
    pub fn write_crc32(&self, cpu: &Cpu, offset: usize, src: &[u8], crc: Crc32) -> Crc32 {
        let dst = self.writable(offset, src.len());
        // SAFETY: `writable` checked the span; `src`, being a slice, is not in shared memory and so does not overlap it.
        unsafe { crc.copy_raw(cpu, dst, src.as_ptr(), src.len()) }
    }

    /// Copies bytes at `offset` out to `dst` and goes on with a CRC over what was copied, in one pass.
    #[inline]
    pub fn read_crc32(&self, cpu: &Cpu, offset: usize, dst: &mut [u8], crc: Crc32) -> Crc32 {
        let src = self.readable(offset, dst.len());
        // SAFETY: as in write_crc32.
        unsafe { crc.copy_raw(cpu, dst.as_mut_ptr(), src, dst.len()) }
    }

    /// Copies `length` bytes at `other_offset` of `other` to `offset` here. The two may overlap.
    #[inline]
    pub fn copy(&self, offset: usize, other: &Region, other_offset: usize, length: usize) {
        let dst = self.writable(offset, length);
        let src = other.readable(other_offset, length);
        // SAFETY: both spans are checked.
        unsafe { copy_raw(dst, src, length) }
    }

    /// Whether the bytes at `offset` are `bytes`.
    #[inline]
    pub fn compare(&self, offset: usize, bytes: &[u8]) -> bool {
        let mut piece = [0u8; 256];
        // Checked as a whole first: a mismatch early on does not hide a span that runs out.
        self.readable(offset, bytes.len());
        bytes.chunks(piece.len()).enumerate().all(|(i, expected)| {
            let found = &mut piece[..expected.len()];
            self.read(offset + i * 256, found);
            found == expected
        })
    }

    /// Loads the 16 bits at `offset`, which is aligned to 2.
    #[inline]
    pub fn load_u16(&self, offset: usize, order: Ordering) -> u16 {
        let at: *mut u16 = aligned(self.readable(offset, 2));
        // SAFETY: in bounds, aligned, and every access of this word is atomic or a raw copy.
        unsafe { AtomicU16::from_ptr(at) }.load(order)
    }

    /// Loads the 32 bits at `offset`, which is aligned to 4.
    #[inline]
    pub fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        let at: *mut u32 = aligned(self.readable(offset, 4));
        // SAFETY: as in load_u16.
        unsafe { AtomicU32::from_ptr(at) }.load(order)
    }

    /// Loads the 64 bits at `offset`, which is aligned to 8.
    #[inline]
    pub fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        let at: *mut u64 = aligned(self.readable(offset, 8));
        // SAFETY: as in load_u16.
        unsafe { AtomicU64::from_ptr(at) }.load(order)
    }

    /// Stores 16 bits at `offset`, which is aligned to 2.
    #[inline]
    pub fn store_u16(&self, offset: usize, value: u16, order: Ordering) {
        let at: *mut u16 = aligned(self.writable(offset, 2));
        // SAFETY: as in load_u16, and stores are allowed.
        unsafe { AtomicU16::from_ptr(at) }.store(value, order);
    }

    /// Stores 32 bits at `offset`, which is aligned to 4.
    #[inline]
    pub fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        let at: *mut u32 = aligned(self.writable(offset, 4));
        // SAFETY: as in store_u16.
        unsafe { AtomicU32::from_ptr(at) }.store(value, order);
    }

    /// Stores 64 bits at `offset`, which is aligned to 8.
    #[inline]
    pub fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        let at: *mut u64 = aligned(self.writable(offset, 8));
        // SAFETY: as in store_u16.
        unsafe { AtomicU64::from_ptr(at) }.store(value, order);
    }

    /// Stores words from `offset` on, which is aligned to 8, one by one in their order and each as it is in a register: copied as a
    /// whole they would have to wait until each had left the store buffer.
    #[inline(always)]
    pub fn store_words<const N: usize>(&self, offset: usize, words: [u64; N]) {
        let at: *mut u64 = aligned(self.writable(offset, N * 8));
        for (index, word) in words.into_iter().enumerate() {
            // SAFETY: in bounds as a whole and aligned; as in load_u16, and stores are allowed.
            unsafe { AtomicU64::from_ptr(at.add(index)) }.store(word, Ordering::Relaxed);
        }
    }

    /// Starts to fetch the cache line at `offset`, for a store.
    #[inline]
    pub fn prefetch_write(&self, cpu: &Cpu, offset: usize) {
        cpu.prefetch_write_at(self.readable(offset, 1));
    }

    /// Starts to fetch the cache line at `offset`.
    #[inline]
    pub fn prefetch(&self, cpu: &Cpu, offset: usize) {
        cpu.prefetch_read_at(self.readable(offset, 1));
    }
}

/// `at` as a pointer to a word. Panics when it is not aligned to one.
#[inline]
fn aligned<T>(at: *mut u8) -> *mut T {
    assert!(at.addr() & (align_of::<T>() - 1) == 0, "a word of {} bytes at {at:p}", size_of::<T>());
    at.cast()
}
