//! PRP1, PRP2 and the PRP list of a command, from the pages its data lies in. Filled by s6_submit.
//! NVMe Base 2.0 §4.1.1. The page is 4096 bytes (CC.MPS 0).

use core::sync::atomic::Ordering;
use gantry_dma::Region;
use gantry_wire::nvme::prp_sgl::PAGE;

/// The PRP entries of `length` bytes.
///
/// `pages` gives a device address for each 4 KiB page the data touches, the first with the offset into it
/// (a multiple of 4). With more than two pages a list is written to `list` at `list_offset`, which must be
/// a multiple of 8 in device addresses and have room for a pointer a page and one for each page of the list.
///
/// # Panics
/// When `pages` gives too few, an address is not aligned as said, or the list does not fit: the caller's
/// buffers are broken.
pub fn describe(mut pages: impl Iterator<Item = u64>, length: usize, list: &Region, list_offset: usize) -> (u64, u64) {
    let mut page = || pages.next().expect("a page for every 4 KiB of data");
    let prp1 = page();
    assert!(prp1 & 3 == 0, "data at {prp1:#x} is not aligned to 4 bytes");
    let offset = prp1 as usize & (PAGE - 1);
    let mut left = gantry_wire::nvme::prp_sgl::pages(offset, length).saturating_sub(1);
    let mut next = || {
        let prp = page();
        assert!(prp as usize & (PAGE - 1) == 0, "page {prp:#x} of the data is not aligned");
        prp
    };
    match left {
        0 => return (prp1, 0),
        1 => return (prp1, next()),
        _ => {}
    }
    let prp2 = list.iova(list_offset);
    assert!(prp2 & 7 == 0, "a PRP list at {prp2:#x} is not aligned to 8 bytes");
    let mut at = list_offset;
    while left > 0 {
        let last_of_page = list.iova(at) as usize & (PAGE - 1) == PAGE - 8;
        // The last entry of a page points to the list's next page, unless it is the last of all.
        let entry = if last_of_page && left > 1 {
            list.iova(at + 8)
        } else {
            left -= 1;
            next()
        };
        list.store_u64(at, entry.to_le(), Ordering::Relaxed);
        at += 8;
    }
    (prp1, prp2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn entries(list: &Region, at: usize, count: usize) -> Vec<u64> {
        (0..count).map(|i| list.load_u64(at + i * 8, Ordering::Relaxed)).collect()
    }

    fn data(first: u64) -> impl Iterator<Item = u64> {
        core::iter::once(first).chain((1..).map(move |i| (first & !0xfff) + i * 0x1000))
    }

    #[test]
    fn one_and_two_pages_need_no_list() {
        let list = Region::shared(4096).unwrap();
        assert_eq!(describe(data(0x7_0000), 4096, &list, 0), (0x7_0000, 0));
        assert_eq!(describe(data(0x7_0ffc), 4, &list, 0), (0x7_0ffc, 0));
        assert_eq!(describe(data(0x7_0ffc), 8, &list, 0), (0x7_0ffc, 0x7_1000));
        assert_eq!(describe(data(0x7_0000), 8192, &list, 0), (0x7_0000, 0x7_1000));
        assert_eq!(describe(data(0x7_0000), 512, &list, 0), (0x7_0000, 0));
    }

    #[test]
    fn three_pages_and_an_offset_need_a_list() {
        let list = Region::shared(4096).unwrap();
        let prps = describe(data(0x7_0200), 8192, &list, 64);
        assert_eq!(prps, (0x7_0200, list.iova(64)));
        assert_eq!(entries(&list, 64, 3), [0x7_1000, 0x7_2000, 0]);
    }

    #[test]
    fn a_list_that_fills_its_page_exactly_has_no_chain() {
        let list = Region::shared(8192).unwrap();
        describe(data(0x10_0000), 513 * 4096, &list, 0);
        assert_eq!(entries(&list, 511 * 8, 2), [0x10_0000 + 512 * 0x1000, 0]);
    }

    #[test]
    fn a_longer_list_is_chained_at_the_pages_end() {
        let list = Region::shared(8192).unwrap();
        describe(data(0x10_0000), 514 * 4096, &list, 0);
        let tail = entries(&list, 510 * 8, 5);
        let page = |i: u64| 0x10_0000 + i * 0x1000;
        assert_eq!(tail, [page(511), list.iova(4096), page(512), page(513), 0]);
        // A list that starts near the end of a page chains at once.
        describe(data(0x10_0000), 4 * 4096, &list, 4096 - 8);
        assert_eq!(entries(&list, 4096 - 8, 4), [list.iova(4096), page(1), page(2), page(3)]);
    }

    #[test]
    #[should_panic(expected = "not aligned to 4 bytes")]
    fn an_odd_address_is_refused() {
        let list = Region::shared(4096).unwrap();
        describe(data(0x7_0002), 512, &list, 0);
    }
}
