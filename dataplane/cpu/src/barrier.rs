//! The three places where a core and a device must agree on order, by name.
//!
//! On x86-64 the processor keeps loads with loads, stores with stores, and stores behind loads, for write-back and for uncached
//! (BAR) memory, so only the compiler must be held; nothing here uses non-temporal stores or write-combined BARs, which would
//! need SFENCE. On arm64 the device is in the outer shareable domain, which Rust's own fences (inner shareable) do not reach.
//! DMB is enough, DSB is not needed: memory is other-multi-copy-atomic (Arm ARM B2.3), so that a device which has seen the store
//! behind the barrier sees what was stored before it. `cargo xtask test --only barriers` looks for these instructions at their
//! places in the driver; gantry-nvme's `tests/order.rs` compiles this file with a model of the fences.

#[cfg(any(not(target_arch = "aarch64"), miri))]
use crate::atomic::{Ordering, fence};

/// After the phase bit of a completion was seen, before the rest of that entry or the data it stands for is read
/// (NVMe Base 2.0 §4.2.4).
#[inline(always)]
pub fn read_after_phase() {
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a barrier touches no register or memory; without `nomem` it also holds the compiler.
    unsafe {
        core::arch::asm!("dmb oshld", options(nostack, preserves_flags));
    }
    #[cfg(any(not(target_arch = "aarch64"), miri))]
    fence(Ordering::Acquire);
}

/// After submission entries (and the data they name) were stored, before the doorbell that shows them to the device.
#[inline(always)]
pub fn store_before_doorbell() {
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as in read_after_phase.
    unsafe {
        core::arch::asm!("dmb oshst", options(nostack, preserves_flags));
    }
    #[cfg(any(not(target_arch = "aarch64"), miri))]
    fence(Ordering::Release);
}

/// After completion entries were read, before the doorbell that lets the device write over them. The barrier for stores does not
/// keep a load in front of a store; this one does (Arm ARM: DMB LD orders loads before it with loads and stores behind it).
#[inline(always)]
pub fn read_before_doorbell() {
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as in read_after_phase.
    unsafe {
        core::arch::asm!("dmb oshld", options(nostack, preserves_flags));
    }
    #[cfg(any(not(target_arch = "aarch64"), miri))]
    fence(Ordering::Release);
}
