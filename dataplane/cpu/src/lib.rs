//! What the processor does best: CRC, copy with CRC in the same pass, prefetch, barriers.
//!
//! [`Cpu`] holds what was found at run time and is handed in at construction; stages s3 (copy in and ICRC) and
//! s8/s9 (ICRC of what leaves) are its callers. The CRC is the reflected CRC-32 of the ICRC
//! (IBTA Vol 1 §7.8.1), in zlib's convention: `crc32(previous, bytes)`, starting at 0.

#![no_std]

#[cfg(target_arch = "aarch64")]
mod aarch64;
/// What barriers are made of where the language's own fences are enough.
#[cfg(any(not(target_arch = "aarch64"), miri))]
mod atomic {
    pub(crate) use core::sync::atomic::{Ordering, fence};
}
mod barrier;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use barrier::{read_after_phase, read_before_doorbell, store_before_doorbell};

/// How a CRC is computed on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// Tables; runs anywhere.
    Portable,
    /// PCLMULQDQ folding, 64 bytes a step.
    #[cfg(target_arch = "x86_64")]
    Fold,
    /// The CRC32X instruction.
    #[cfg(target_arch = "aarch64")]
    Instruction,
}

/// The processor as found at run time. Copy it to whoever computes.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    engine: Engine,
}

impl Cpu {
    /// Looks at the processor once and picks the fastest engine it offers.
    pub fn detect() -> Cpu {
        Cpu { engine: detect_engine() }
    }

    /// A processor with no extension at all: the slowest engine, the same results.
    pub const fn portable() -> Cpu {
        Cpu { engine: Engine::Portable }
    }

    /// The name of the CRC engine in use, for a log line.
    pub fn crc_engine(&self) -> &'static str {
        match self.engine {
            Engine::Portable => "tables",
            #[cfg(target_arch = "x86_64")]
            Engine::Fold => "pclmulqdq",
            #[cfg(target_arch = "aarch64")]
            Engine::Instruction => "crc32x",
        }
    }

    /// CRC-32 of `bytes`, continuing from `previous` (0 to start).
    #[inline]
    pub fn crc32(&self, previous: u32, bytes: &[u8]) -> u32 {
        match self.engine {
            Engine::Portable => portable::crc32(previous, bytes),
            // SAFETY: detect_engine() saw the features; the slice is readable for its length and nothing is stored.
            #[cfg(target_arch = "x86_64")]
            Engine::Fold => unsafe {
                x86_64::crc32::<false>(core::ptr::null_mut(), bytes.as_ptr(), bytes.len(), previous)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Engine::Instruction => unsafe {
                aarch64::crc32::<false>(core::ptr::null_mut(), bytes.as_ptr(), bytes.len(), previous)
            },
        }
    }

    /// Copies `src` to `dst` and returns the CRC-32 of the bytes copied, continuing from `previous`, in one pass.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline]
    pub fn copy_crc32(&self, dst: &mut [u8], src: &[u8], previous: u32) -> u32 {
        assert_eq!(dst.len(), src.len(), "a copy has one length");
        // SAFETY: both slices are valid for the length, and a mutable one overlaps no other.
        unsafe { self.copy_crc32_raw(dst.as_mut_ptr(), src.as_ptr(), src.len(), previous) }
    }

    /// As [`Cpu::copy_crc32`], over memory that may have no Rust reference: each byte of `src` is read exactly once, so
    /// the CRC is that of the bytes stored even if another writer changes `src` meanwhile.
    ///
    /// # Safety
    /// `src` is readable and `dst` writable for `len` bytes, and they do not overlap.
    #[inline]
    pub unsafe fn copy_crc32_raw(&self, dst: *mut u8, src: *const u8, len: usize, previous: u32) -> u32 {
        // SAFETY: the caller's promise covers each engine; detect_engine() saw the features they need.
        unsafe {
            match self.engine {
                Engine::Portable => portable::copy_crc32(dst, src, len, previous),
                #[cfg(target_arch = "x86_64")]
                Engine::Fold => x86_64::crc32::<true>(dst, src, len, previous),
                #[cfg(target_arch = "aarch64")]
                Engine::Instruction => aarch64::crc32::<true>(dst, src, len, previous),
            }
        }
    }

    /// Starts to fetch the first cache line of `p` for reading.
    #[inline(always)]
    pub fn prefetch_read<T>(&self, p: &T) {
        self.prefetch_read_at(core::ptr::from_ref(p).cast());
    }

    /// Starts to fetch the first cache line of `p` for writing.
    #[inline(always)]
    pub fn prefetch_write<T>(&self, p: &T) {
        self.prefetch_write_at(core::ptr::from_ref(p).cast());
    }

    /// Starts to fetch the cache line at `address` for reading. Any address will do: a prefetch cannot fault.
    #[inline(always)]
    pub fn prefetch_read_at(&self, address: *const u8) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: PREFETCHT0 is in the baseline of x86-64 and never faults.
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: PRFM never faults and changes no register.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
        }
        #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
        let _ = address;
    }

    /// Starts to fetch the cache line at `address` for writing. Any address will do: a prefetch cannot fault.
    #[inline(always)]
    pub fn prefetch_write_at(&self, address: *const u8) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: PREFETCHW is a no-op hint where it is not implemented (AMD64 APM Vol 3), and never faults.
        unsafe {
            core::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: PRFM never faults and changes no register.
        unsafe {
            core::arch::asm!("prfm pstl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
        }
        #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
        let _ = address;
    }

    /// The processor's own clock, in its own ticks: TSC on x86-64, CNTVCT on arm64. For measuring short spans on one
    /// core; it is not the pipeline's `now_ns`.
    #[inline(always)]
    pub fn timestamp(&self) -> u64 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: RDTSC is in the baseline of x86-64 and allowed in user space on Linux.
        return unsafe { core::arch::x86_64::_rdtsc() };
        #[cfg(target_arch = "aarch64")]
        {
            let ticks: u64;
            // SAFETY: Linux lets user space read CNTVCT_EL0; nothing else changes.
            unsafe {
                core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nostack, nomem, preserves_flags));
            }
            return ticks;
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        compile_error!("gantry-cpu knows x86_64 and aarch64")
    }

    /// Tells the core that this is a polling loop, so that its sibling thread and its power budget gain.
    #[inline(always)]
    pub fn pause(&self) {
        core::hint::spin_loop();
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn detect_engine() -> Engine {
    // CPUID.01H:ECX, Intel SDM Vol 2A: bit 1 PCLMULQDQ, bit 9 SSSE3, bit 19 SSE4.1. Each works on XMM registers, which
    // every x86-64 kernel saves, so no XCR0 check is due.
    const NEEDED: u32 = 1 << 1 | 1 << 9 | 1 << 19;
    let found = core::arch::x86_64::__cpuid(1).ecx;
    if found & NEEDED == NEEDED { Engine::Fold } else { Engine::Portable }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
fn detect_engine() -> Engine {
    // SAFETY: getauxval reads a table that the kernel left in this process.
    let found = unsafe { libc::getauxval(libc::AT_HWCAP) };
    if found & libc::HWCAP_CRC32 != 0 { Engine::Instruction } else { Engine::Portable }
}

#[cfg(miri)]
fn detect_engine() -> Engine {
    Engine::Portable
}
