//! What the processor does best: CRC, copy with CRC in the same pass, prefetch, barriers.
//!
//! [`Cpu`] holds what was found at run time and is handed in at construction; stages s3 (copy in and ICRC) and
//! s8/s9 (ICRC of what leaves) are its callers. The CRC is the reflected CRC-32 of the ICRC
//! (IBTA Vol 1 §7.8.1), in zlib's convention: `crc32(previous, bytes)`, starting at 0. [`Crc32`] is one over several pieces.

#![no_std]

#[cfg(target_arch = "aarch64")]
mod aarch64;
/// What barriers are made of where the language's own fences are enough.
#[cfg(any(not(target_arch = "aarch64"), miri))]
mod atomic {
    pub(crate) use core::sync::atomic::{Ordering, fence};
}
mod barrier;
mod crc;
mod engine;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod polynomial;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use barrier::{read_after_phase, read_before_doorbell, store_before_doorbell};
pub use crc::Crc32;

use engine::Engine;

/// The processor as found at run time. Copy it to whoever computes.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    engine: Engine,
}

impl Cpu {
    /// Looks at the processor once and picks the fastest engine it offers.
    pub fn detect() -> Cpu {
        Cpu { engine: engine::offered().last().unwrap_or(Engine::Portable) }
    }

    /// One of each engine that this processor offers, the slowest first: to compare them.
    pub fn offered() -> impl Iterator<Item = Cpu> {
        engine::offered().map(|engine| Cpu { engine })
    }

    /// A processor with no extension at all: the slowest engine, the same results.
    pub const fn portable() -> Cpu {
        Cpu { engine: Engine::Portable }
    }

    /// The name of the CRC engine in use, for a log line.
    pub fn crc_engine(&self) -> &'static str {
        self.engine.name()
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
            ticks
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
