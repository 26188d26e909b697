//! An address space: what is mapped is reached, nothing else is, also while it changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gantry_dma::{AddressSpace, Error, Fault, Region};

fn at(iova: u64, length: usize) -> Arc<Region> {
    let words: Arc<Vec<AtomicU64>> = Arc::new((0..length.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
    let base = words.as_ptr().cast_mut().cast();
    // SAFETY: the vector owns at least `length` bytes and lives in the owner; nobody refers to it.
    unsafe { Region::from_raw(base, length, iova, Box::new(words)) }
}

#[test]
fn a_device_reaches_what_is_mapped_and_nothing_else() {
    let space = AddressSpace::new();
    let (low, high) = (at(0x1000, 0x1000), at(0x8000, 0x100));
    space.map(Arc::clone(&high)).unwrap();
    space.map(Arc::clone(&low)).unwrap();

    space.write(0x1ff0, &[5; 16]).unwrap();
    assert!(low.compare(0xff0, &[5; 16]));
    high.write(0x20, b"hello");
    let mut dst = [0; 5];
    space.read(0x8020, &mut dst).unwrap();
    assert_eq!(&dst, b"hello");

    let (region, offset) = space.resolve(0x80ff, 1).unwrap();
    assert!(Arc::ptr_eq(&region, &high));
    assert_eq!(offset, 0xff);
    for (iova, length) in [
        (0xfff, 1),
        (0xfff, 2),
        (0x1ff0, 17),
        (0x2000, 1),
        (0x80ff, 2),
        (0, 0x10_0000),
        (u64::MAX, 2),
        (0x1000, usize::MAX),
    ] {
        assert!(space.resolve(iova, length).is_none(), "{iova:#x}+{length:#x}");
    }
    assert_eq!(space.read(0x1ff0, &mut [0; 17]), Err(Fault { iova: 0x1ff0, length: 17, write: false }));
    let fault = space.write(0x7fff, &[0; 2]).unwrap_err();
    assert_eq!(fault.to_string(), "no write of 2 bytes at device address 0x7fff");
}

#[test]
fn adjoining_regions_are_two_and_overlapping_ones_refused() {
    let space = AddressSpace::new();
    space.map(at(0x1000, 0x1000)).unwrap();
    space.map(at(0x2000, 0x1000)).unwrap();
    for (iova, length) in [(0x1000, 1), (0xfff, 2), (0x2fff, 2), (0, 0x10000), (0x1fff, 2)] {
        assert_eq!(space.map(at(iova, length)), Err(Error::Overlap { iova, length }));
    }
    // One access lies in one region; whoever wants more splits at the seam.
    assert!(space.resolve(0x1fff, 2).is_none());
    space.map(at(0, 0x1000)).unwrap();
    space.map(at(0x3000, 1)).unwrap();
    assert_eq!(space.map(at(u64::MAX, 2)), Err(Error::Length(2)));
    space.map(at(u64::MAX - 1, 2)).unwrap();
    space.write(u64::MAX, &[1]).unwrap();
}

#[test]
fn what_is_unmapped_is_gone_for_the_device_but_not_for_a_holder() {
    let space = AddressSpace::new();
    let region = at(0x1000, 64);
    space.map(Arc::clone(&region)).unwrap();
    let (held, offset) = space.resolve(0x1010, 4).unwrap();
    assert!(space.unmap(&region));
    assert!(!space.unmap(&region));
    drop(region);
    assert!(space.resolve(0x1010, 4).is_none());
    held.write(offset, &[1, 2, 3, 4]);
    assert!(held.compare(16, &[1, 2, 3, 4]));
}

#[cfg(not(miri))]
#[test]
fn a_device_cannot_write_what_is_mapped_for_reading() {
    let ours = Region::shared(4096).unwrap();
    let reader = Region::file(ours.fd().unwrap(), 4096, false).unwrap();
    let space = AddressSpace::new();
    space.map(Arc::clone(&reader)).unwrap();
    space.read(reader.iova(8), &mut [0; 8]).unwrap();
    assert_eq!(space.write(reader.iova(8), &[0; 8]), Err(Fault { iova: reader.iova(8), length: 8, write: true }));
}

#[test]
fn a_device_thread_runs_while_maps_come_and_go() {
    let rounds = if cfg!(miri) { 10 } else { 2000 };
    let space = AddressSpace::new();
    space.map(at(0x1000, 0x1000)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let device = scope.spawn(|| {
            let (mut hits, mut faults) = (0u64, 0u64);
            while !done.load(Ordering::Relaxed) || hits == 0 {
                space.write(0x1800, &[1; 8]).expect("always mapped");
                hits += 1;
                if let Err(fault) = space.read(0x9000, &mut [0; 8]) {
                    assert_eq!(fault.iova, 0x9000);
                    faults += 1;
                }
            }
            hits + faults
        });
        for _ in 0..rounds {
            let region = at(0x9000, 64);
            space.map(Arc::clone(&region)).unwrap();
            assert!(space.unmap(&region));
        }
        done.store(true, Ordering::Relaxed);
        assert!(device.join().unwrap() > 0);
    });
    assert!(space.resolve(0x9000, 1).is_none());
}

/// A successor maps the memory anew, somewhere else: its device sees it where it was, and it can take it away.
#[test]
fn memory_handed_over_keeps_its_device_address() {
    let old = Region::shared(8192).unwrap();
    let space = AddressSpace::new();
    space.map(old.clone()).unwrap();
    let new = Region::handed_over(old.fd().unwrap(), 8192, old.iova(0)).unwrap();
    assert_ne!(new.base(), old.base());
    assert_eq!(new.iova(4096), old.iova(4096));
    space.write(old.iova(4096), b"from the device").unwrap();
    let mut seen = [0; 15];
    new.read(4096, &mut seen);
    assert_eq!(&seen, b"from the device");
    assert!(space.unmap(&new) && !space.unmap(&old), "the same device addresses");
    assert!(space.write(old.iova(0), &[1]).is_err());
    assert!(Region::handed_over(old.fd().unwrap(), 8192, u64::MAX - 100).is_err());
}

/// The kernel gives its virtual address to the next that asks, while the device still reaches the memory that was there.
#[test]
fn no_device_address_is_given_out_while_memory_that_was_handed_over_has_it() {
    let space = AddressSpace::new();
    let mut handed = Vec::new();
    for _ in 0..16 {
        let old = Region::shared(73_728).unwrap();
        let new = Region::handed_over(old.fd().unwrap(), 73_728, old.iova(0)).unwrap();
        drop(old);
        for region in [new, Region::shared(73_728).unwrap()] {
            space.map(region.clone()).expect("an address of its own");
            handed.push(region);
        }
    }
    // A successor is another process, which has given out none: what it is handed is taken.
    let far = handed[31].iova(0) + (1 << 32);
    let told = Region::handed_over(handed[0].fd().unwrap(), 73_728, far).unwrap();
    space.map(told).unwrap();
    assert!(Region::shared(4096).unwrap().iova(0) >= far + 73_728 + 4096);
}
