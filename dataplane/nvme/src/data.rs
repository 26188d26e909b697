//! Where a command's data lies, as the drive is told: PRPs or an SGL, whichever the drive has to fetch fewer bytes of. Made by
//! s6_submit for each command. NVMe Base 2.0 §4.1.1, §4.1.2; NVM PCIe Transport 1.0 has both for I/O commands.
//!
//! | data | PRPs only | with SGLs |
//! |---|---|---|
//! | one or two pages | PRP1, PRP2 | the same |
//! | in a receive slot, across a page's end | PRP1, PRP2 | one descriptor |
//! | pages that lie one behind the other | a list | one descriptor |
//! | in few pieces | a list | a segment, if it is shorter than the list |
//! | scattered | a list | the same |

use gantry_dma::Region;
use gantry_wire::nvme::prp_sgl::PAGE;
use gantry_wire::nvme::{Sgl, Sqe};
use zerocopy::IntoBytes;

/// Bytes of list memory that a command has. Lists start at multiples of it, so that none crosses a page's end, and none
/// starts where a drive is known to want 512 bytes of alignment and has not got it.
pub const LIST_BYTES: usize = 512;

/// Pages of data that [`Pointer::to_pages`] describes at most: PRP1 and a list.
pub const PAGES_MAX: usize = LIST_BYTES / 8 + 1;

/// DPTR and what PSDT says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pointer {
    /// PRP1 and PRP2, or an SGL descriptor's halves.
    pub dptr: (u64, u64),
    /// PSDT, as in [`Sqe::flags`].
    pub psdt: u8,
}

impl Pointer {
    /// No data.
    pub const NONE: Pointer = Pointer { dptr: (0, 0), psdt: 0 };

    /// `length` bytes from `address` on, which is a multiple of 4; at most as long as a page.
    ///
    /// # Panics
    /// When it is longer than a page, or not aligned: without SGLs nothing could say where it is.
    #[inline]
    #[must_use]
    pub fn to_piece(address: u64, length: usize, sgl: bool) -> Pointer {
        assert!(length <= PAGE && address & 3 == 0, "{length} bytes at {address:#x} are no piece");
        let within = address as usize & (PAGE - 1);
        if within + length <= PAGE {
            Pointer { dptr: (address, 0), psdt: 0 }
        } else if sgl {
            Self::block(address, length)
        } else {
            Pointer { dptr: (address, address - within as u64 + PAGE as u64), psdt: 0 }
        }
    }

    /// The first `length` bytes of whole pages, each at `address_of` its number: pages with neighbouring numbers lie one
    /// behind the other. `list`'s [`LIST_BYTES`] at `at`, a multiple of that, are the command's.
    ///
    /// # Panics
    /// When there are too few pages, or more than [`PAGES_MAX`].
    #[inline(always)]
    #[must_use]
    pub fn to_pages(
        pages: &[u32],
        address_of: impl Fn(u32) -> u64,
        length: usize,
        sgl: bool,
        list: &Region,
        at: usize,
    ) -> Pointer {
        let count = length.div_ceil(PAGE);
        let pages = &pages[..count];
        match *pages {
            [] => return Self::NONE,
            [only] => return Pointer { dptr: (address_of(only), 0), psdt: 0 },
            [first, second] => return Pointer { dptr: (address_of(first), address_of(second)), psdt: 0 },
            _ => {}
        }
        Self::to_many(pages, address_of, length, sgl, list, at)
    }

    /// Three pages and more.
    #[inline(never)]
    fn to_many(
        pages: &[u32],
        address_of: impl Fn(u32) -> u64,
        length: usize,
        sgl: bool,
        list: &Region,
        at: usize,
    ) -> Pointer {
        let count = pages.len();
        if sgl {
            let breaks: usize = pages.windows(2).map(|two| usize::from(two[1] != two[0].wrapping_add(1))).sum();
            if breaks == 0 {
                return Self::block(address_of(pages[0]), length);
            }
            if (breaks + 1) * Sgl::LEN < (count - 1) * 8 {
                return Self::segment(pages, address_of, length, list, at);
            }
        }
        let mut entries = [0u64; PAGES_MAX - 1];
        let entries = &mut entries[..count - 1];
        for (entry, page) in entries.iter_mut().zip(&pages[1..]) {
            *entry = address_of(*page).to_le();
        }
        list.write(at, entries.as_bytes());
        Pointer { dptr: (address_of(pages[0]), list.iova(at)), psdt: 0 }
    }

    /// One descriptor, in the command itself.
    fn block(address: u64, length: usize) -> Pointer {
        // As `Sgl::DataBlock` is written: address, length, and a type of 0.
        Pointer { dptr: (address, length as u64), psdt: Sqe::FLAGS_SGL }
    }

    /// Descriptors of the runs of neighbouring pages, in the command's list memory.
    fn segment(pages: &[u32], address_of: impl Fn(u32) -> u64, length: usize, list: &Region, at: usize) -> Pointer {
        let mut descriptors = [[0; Sgl::LEN]; LIST_BYTES / Sgl::LEN];
        let (mut count, mut left) = (0, length);
        for run in pages.chunk_by(|one, next| *next == one.wrapping_add(1)) {
            let bytes = left.min(run.len() * PAGE);
            descriptors[count] = Sgl::DataBlock { address: address_of(run[0]), length: bytes as u32 }.emit();
            (count, left) = (count + 1, left - bytes);
        }
        list.write(at, descriptors[..count].as_flattened());
        let segment = Sgl::LastSegment { address: list.iova(at), length: (count * Sgl::LEN) as u32 }.emit();
        let value = u128::from_le_bytes(segment);
        Pointer { dptr: (value as u64, (value >> 64) as u64), psdt: Sqe::FLAGS_SGL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::sync::atomic::Ordering;
    use gantry_wire::nvme::{Cid, Nsid};

    const BASE: u64 = 0x10_0000;

    fn address_of(page: u32) -> u64 {
        BASE + u64::from(page) * PAGE as u64
    }

    /// The pages' pointer, and the SGL in it.
    fn told(pages: &[u32], length: usize, sgl: bool) -> (Pointer, Option<Sgl>, Vec<u64>) {
        let list = Region::shared(PAGE).unwrap();
        let at = 2 * LIST_BYTES;
        let pointer = Pointer::to_pages(pages, address_of, length, sgl, &list, at);
        let mut sqe = crate::command::read(Nsid(1), Cid(1), 0, 1, pointer.dptr, false);
        sqe.flags |= pointer.psdt;
        let words = (0..LIST_BYTES / 8).map(|i| list.load_u64(at + i * 8, Ordering::Relaxed)).collect();
        assert_eq!((0..at / 8).map(|i| list.load_u64(i * 8, Ordering::Relaxed)).max(), Some(0), "before the list");
        let place = |value: u64| if value == list.iova(at) { 7 } else { value };
        let pointer = Pointer { dptr: (place(pointer.dptr.0), place(pointer.dptr.1)), ..pointer };
        (pointer, (sqe.flags == Sqe::FLAGS_SGL).then(|| sqe.sgl().unwrap()), words)
    }

    #[test]
    fn one_and_two_pages_are_prps() {
        for sgl in [false, true] {
            assert_eq!(told(&[5], 512, sgl).0, Pointer { dptr: (address_of(5), 0), psdt: 0 });
            assert_eq!(told(&[5, 6], 4608, sgl).0, Pointer { dptr: (address_of(5), address_of(6)), psdt: 0 });
        }
        assert_eq!(told(&[], 0, true).0, Pointer::NONE);
    }

    #[test]
    fn a_drive_without_sgls_gets_a_list() {
        let pages: Vec<u32> = (3..3 + PAGES_MAX as u32).collect();
        let (pointer, sgl, words) = told(&pages, PAGES_MAX * PAGE, false);
        assert_eq!((pointer, sgl), (Pointer { dptr: (address_of(3), 7), psdt: 0 }, None));
        assert!(words.iter().copied().eq(pages[1..].iter().map(|page| address_of(*page))));
    }

    #[test]
    fn neighbours_are_one_descriptor() {
        let (_, sgl, words) = told(&[8, 9, 10, 11], 3 * PAGE + 512, true);
        assert_eq!(sgl, Some(Sgl::DataBlock { address: address_of(8), length: 3 * 4096 + 512 }));
        assert!(words.iter().all(|word| *word == 0), "and no list");
    }

    #[test]
    fn few_runs_are_a_segment_and_many_a_list() {
        let pages = [8, 9, 10, 11, 20, 21, 22];
        let (pointer, sgl, words) = told(&pages, 6 * PAGE + 1024, true);
        assert_eq!(pointer.dptr.0, 7);
        assert!(matches!(sgl, Some(Sgl::LastSegment { length: 32, .. })), "{sgl:?}");
        let descriptor = |i: usize| {
            let bytes: Vec<u8> = words[2 * i..2 * i + 2].iter().flat_map(|word| word.to_le_bytes()).collect();
            Sgl::parse(&bytes.try_into().unwrap()).unwrap()
        };
        assert_eq!(descriptor(0), Sgl::DataBlock { address: address_of(8), length: 4 * 4096 });
        assert_eq!(descriptor(1), Sgl::DataBlock { address: address_of(20), length: 2 * 4096 + 1024 });
        // As long as the list would be: the list.
        assert_eq!(told(&[8, 9, 1, 2, 3], 5 * PAGE, true).1, None);
        assert_eq!(told(&[11, 10, 9, 8], 4 * PAGE, true).1, None, "neighbours in the other direction");
    }

    #[test]
    fn a_piece_across_a_page() {
        let told = |address: u64, length, sgl| Pointer::to_piece(address, length, sgl);
        for sgl in [false, true] {
            assert_eq!(told(BASE + 64, 4032, sgl), Pointer { dptr: (BASE + 64, 0), psdt: 0 });
        }
        let prps = Pointer { dptr: (BASE + 64, BASE + 4096), psdt: 0 };
        assert_eq!(told(BASE + 64, 4096, false), prps);
        assert_eq!(told(BASE + 64, 4096, true), Pointer { dptr: (BASE + 64, 4096), psdt: Sqe::FLAGS_SGL });
    }

    #[test]
    #[should_panic(expected = "are no piece")]
    fn an_odd_piece_is_refused() {
        let _ = Pointer::to_piece(BASE + 2, 512, true);
    }
}
