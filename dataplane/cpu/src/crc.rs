//! CRC-32 over bytes, over bytes that are copied meanwhile, and over several pieces one behind the other.

use core::ptr::null_mut;

#[cfg(target_arch = "aarch64")]
use crate::aarch64;
#[cfg(target_arch = "x86_64")]
use crate::x86_64::{narrow, wide};
use crate::{Cpu, Engine, portable};

/// A CRC-32 under way, in the form in which the engine goes on fastest. Folding engines reduce it to 32 bits only when it
/// is [finished](Crc32::finish), so that a message of several pieces costs that once.
///
/// The engine that began it must go on with it and finish it.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Crc32(u128);

impl Crc32 {
    /// One that continues from `previous` (0 to start).
    #[inline]
    pub fn start(cpu: &Cpu, previous: u32) -> Crc32 {
        match cpu.engine {
            // SAFETY: the engine was found, so the processor has what it needs.
            #[cfg(target_arch = "x86_64")]
            Engine::Narrow | Engine::Wide => Crc32(unsafe { narrow::start(previous) }),
            _ => Crc32(previous.into()),
        }
    }

    /// One over `bytes`, each with the bits set that are set in its byte of `mask`, continuing from `previous`: headers
    /// with the fields left out that change on the way.
    ///
    /// # Panics
    /// When there are fewer than 16 bytes, or more than `mask` has, or no multiple of four.
    #[inline]
    pub fn masked(cpu: &Cpu, previous: u32, bytes: &[u8], mask: &[u8]) -> Crc32 {
        let length = bytes.len();
        assert!(
            length >= 16 && length <= mask.len() && length.is_multiple_of(4),
            "{length} bytes under a mask of {}",
            mask.len()
        );
        let (src, mask) = (bytes.as_ptr(), mask.as_ptr());
        // SAFETY: both slices are readable for the length, a multiple of four of 16 at least; the engine was found, so the
        // processor has what it needs.
        unsafe {
            match cpu.engine {
                Engine::Portable => Crc32(portable::masked(previous, src, mask, length).into()),
                #[cfg(target_arch = "x86_64")]
                Engine::Narrow => Crc32(narrow::masked(previous, src, mask, length)),
                #[cfg(target_arch = "x86_64")]
                Engine::Wide => Crc32(wide::masked(previous, src, mask, length)),
                #[cfg(target_arch = "aarch64")]
                Engine::Serial | Engine::Streams => Crc32(aarch64::masked(previous, src, mask, length).into()),
            }
        }
    }

    /// Goes on over `bytes`.
    #[inline]
    pub fn update(self, cpu: &Cpu, bytes: &[u8]) -> Crc32 {
        // SAFETY: the slice is readable for its length; nothing is stored.
        unsafe { self.go_on::<false>(cpu, null_mut(), bytes.as_ptr(), bytes.len()) }
    }

    /// Copies `src` to `dst` and goes on over the bytes copied, in one pass.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline]
    pub fn copy(self, cpu: &Cpu, dst: &mut [u8], src: &[u8]) -> Crc32 {
        assert_eq!(dst.len(), src.len(), "a copy has one length");
        // SAFETY: both slices are valid for the length, and a mutable one overlaps no other.
        unsafe { self.copy_raw(cpu, dst.as_mut_ptr(), src.as_ptr(), src.len()) }
    }

    /// As [`Crc32::copy`], over memory that may have no Rust reference: each byte of `src` is read exactly once, so the CRC
    /// is that of the bytes stored even if another writer changes `src` meanwhile.
    ///
    /// # Safety
    /// `src` is readable and `dst` writable for `length` bytes, and they do not overlap.
    #[inline]
    pub unsafe fn copy_raw(self, cpu: &Cpu, dst: *mut u8, src: *const u8, length: usize) -> Crc32 {
        // SAFETY: the caller's promise.
        unsafe { self.go_on::<true>(cpu, dst, src, length) }
    }

    /// # Safety
    /// As [`Crc32::copy_raw`]; without `COPY`, `dst` may be anything.
    #[inline]
    unsafe fn go_on<const COPY: bool>(self, cpu: &Cpu, dst: *mut u8, src: *const u8, length: usize) -> Crc32 {
        if length == 0 {
            return self;
        }
        // SAFETY: the caller's promise covers each engine, which was found, so the processor has what it needs.
        unsafe {
            match cpu.engine {
                Engine::Portable => Crc32(portable::crc32::<COPY>(self.0 as u32, dst, src, length).into()),
                #[cfg(target_arch = "x86_64")]
                Engine::Narrow => Crc32(narrow::update::<COPY>(self.0, dst, src, length)),
                #[cfg(target_arch = "x86_64")]
                Engine::Wide => Crc32(wide::update::<COPY>(self.0, dst, src, length)),
                #[cfg(target_arch = "aarch64")]
                Engine::Serial => Crc32(aarch64::serial::<COPY>(self.0 as u32, dst, src, length).into()),
                #[cfg(target_arch = "aarch64")]
                Engine::Streams => Crc32(aarch64::streams::<COPY>(self.0 as u32, dst, src, length).into()),
            }
        }
    }

    /// The CRC-32 of all the pieces.
    #[inline]
    #[must_use]
    pub fn finish(self, cpu: &Cpu) -> u32 {
        match cpu.engine {
            // SAFETY: the engine was found, so the processor has what it needs.
            #[cfg(target_arch = "x86_64")]
            Engine::Narrow => unsafe { narrow::finish(self.0) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Engine::Wide => unsafe { wide::finish(self.0) },
            _ => self.0 as u32,
        }
    }
}

impl Cpu {
    /// CRC-32 of `bytes`, continuing from `previous` (0 to start).
    #[inline]
    #[must_use]
    pub fn crc32(&self, previous: u32, bytes: &[u8]) -> u32 {
        Crc32::start(self, previous).update(self, bytes).finish(self)
    }

    /// Copies `src` to `dst` and returns the CRC-32 of the bytes copied, continuing from `previous`, in one pass.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline]
    pub fn copy_crc32(&self, dst: &mut [u8], src: &[u8], previous: u32) -> u32 {
        Crc32::start(self, previous).copy(self, dst, src).finish(self)
    }
}
