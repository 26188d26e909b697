//! The engine that runs anywhere: tables, and a copy by way of a small buffer of its own, so that each source byte is
//! read once even when a device may change it.

/// Bytes of one piece: two fit in any L1 beside the tables.
const PIECE: usize = 512;

pub(crate) fn crc32(previous: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    hasher.update(bytes);
    hasher.finalize()
}

/// # Safety
/// As [`crate::Cpu::copy_crc32_raw`].
pub(crate) unsafe fn copy_crc32(dst: *mut u8, src: *const u8, len: usize, previous: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    let mut piece = [0u8; PIECE];
    let mut done = 0;
    while done < len {
        let n = (len - done).min(PIECE);
        // SAFETY: done + n <= len, for which the caller vouches; `piece` is ours and n <= PIECE.
        unsafe {
            core::ptr::copy_nonoverlapping(src.add(done), piece.as_mut_ptr(), n);
            // What is hashed is what was read: the compiler may not go back to `src`.
            core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
            core::ptr::copy_nonoverlapping(piece.as_ptr(), dst.add(done), n);
        }
        hasher.update(&piece[..n]);
        done += n;
    }
    hasher.finalize()
}
