//! Which ways of computing a CRC there are, and which of them a processor offers.

/// How a CRC is computed on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Tables; runs anywhere.
    Portable,
    /// PCLMULQDQ folding, 64 bytes a step.
    #[cfg(target_arch = "x86_64")]
    Narrow,
    /// VPCLMULQDQ folding, 256 bytes a step.
    #[cfg(target_arch = "x86_64")]
    Wide,
    /// The CRC32X instruction, eight bytes after the other.
    #[cfg(target_arch = "aarch64")]
    Serial,
    /// CRC32X over three streams, which PMULL joins.
    #[cfg(target_arch = "aarch64")]
    Streams,
}

impl Engine {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Engine::Portable => "tables",
            #[cfg(target_arch = "x86_64")]
            Engine::Narrow => "pclmulqdq",
            #[cfg(target_arch = "x86_64")]
            Engine::Wide => "vpclmulqdq",
            #[cfg(target_arch = "aarch64")]
            Engine::Serial => "crc32x",
            #[cfg(target_arch = "aarch64")]
            Engine::Streams => "crc32x+pmull",
        }
    }
}

/// What this processor offers, the slowest first.
pub(crate) fn offered() -> impl Iterator<Item = Engine> {
    core::iter::once(Engine::Portable).chain(found().into_iter().flatten())
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn found() -> [Option<Engine>; 2] {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    // CPUID, Intel SDM Vol 2A. 01H:ECX: bit 1 PCLMULQDQ, bit 9 SSSE3, bit 19 SSE4.1, which work on XMM registers, which every
    // x86-64 kernel saves; bit 27 OSXSAVE. 07H:EBX: bit 16 AVX512F, bit 30 AVX512BW, bit 31 AVX512VL; ECX: bit 10 VPCLMULQDQ.
    const NARROW: u32 = 1 << 1 | 1 << 9 | 1 << 19;
    const OSXSAVE: u32 = 1 << 27;
    const AVX512: u32 = 1 << 16 | 1 << 30 | 1 << 31;
    const VPCLMULQDQ: u32 = 1 << 10;
    // XCR0, SDM Vol 1 §13.3: SSE, AVX, opmask, the upper halves of ZMM0-15, ZMM16-31.
    const SAVED: u64 = 0b1110_0110;
    let basic = __cpuid(1).ecx;
    let narrow = basic & NARROW == NARROW;
    // SAFETY: OSXSAVE says that XGETBV is there.
    let saved = basic & OSXSAVE != 0 && unsafe { _xgetbv(0) } & SAVED == SAVED;
    let wide = narrow && saved && __cpuid(0).eax >= 7 && {
        let extended = __cpuid_count(7, 0);
        extended.ebx & AVX512 == AVX512 && extended.ecx & VPCLMULQDQ != 0
    };
    [narrow.then_some(Engine::Narrow), wide.then_some(Engine::Wide)]
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
fn found() -> [Option<Engine>; 2] {
    // SAFETY: getauxval reads a table that the kernel left in this process.
    let found = unsafe { libc::getauxval(libc::AT_HWCAP) };
    let crc = found & libc::HWCAP_CRC32 != 0;
    let pmull = found & libc::HWCAP_PMULL != 0;
    [crc.then_some(Engine::Serial), (crc && pmull).then_some(Engine::Streams)]
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn found() -> [Option<Engine>; 2] {
    [None, None]
}
