//! The engine that runs anywhere: tables, and a copy by way of a small buffer of its own, so that each source byte is
//! read once even when a device may change it.

use core::slice::from_raw_parts;

/// Bytes of one piece: two fit in any L1 beside the tables.
const PIECE: usize = 512;

/// # Safety
/// As [`crate::Crc32::copy_raw`]; without `COPY`, `src` is a slice's and `dst` is not looked at.
pub(crate) unsafe fn crc32<const COPY: bool>(previous: u32, dst: *mut u8, src: *const u8, length: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    if !COPY {
        // SAFETY: the caller's promise.
        hasher.update(unsafe { from_raw_parts(src, length) });
        return hasher.finalize();
    }
    let mut piece = [0u8; PIECE];
    let mut done = 0;
    while done < length {
        let n = (length - done).min(PIECE);
        // SAFETY: done + n <= length, for which the caller vouches; `piece` is ours and n <= PIECE.
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

/// # Safety
/// `src` and `mask` are slices' and have `length` bytes.
pub(crate) unsafe fn masked(previous: u32, src: *const u8, mask: *const u8, length: usize) -> u32 {
    // SAFETY: the caller's promise.
    let (bytes, mask) = unsafe { (from_raw_parts(src, length), from_raw_parts(mask, length)) };
    let mut hasher = crc32fast::Hasher::new_with_initial(previous);
    let mut piece = [0u8; 64];
    for (bytes, mask) in bytes.chunks(piece.len()).zip(mask.chunks(piece.len())) {
        let piece = &mut piece[..bytes.len()];
        for ((byte, mask), out) in bytes.iter().zip(mask).zip(&mut *piece) {
            *out = byte | mask;
        }
        hasher.update(piece);
    }
    hasher.finalize()
}
