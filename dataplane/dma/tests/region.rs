//! Regions: bounds, words, CRC in the pass, hand-over by descriptor, and two threads at once.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gantry_cpu::{Cpu, Crc32};
use gantry_dma::{Error, HUGEPAGE, Region};

/// A region over heap memory: what miri can run too.
fn heap(length: usize) -> Arc<Region> {
    let words: Arc<Vec<AtomicU64>> = Arc::new((0..length.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
    let base = words.as_ptr().cast_mut().cast();
    // SAFETY: the vector owns at least `length` bytes, inside UnsafeCells, and lives in the owner; nobody refers to it.
    unsafe { Region::from_raw(base, length, 0x10_0000, Box::new(words)) }
}

fn refuses<R>(access: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(access)).is_err()
}

#[test]
fn what_is_written_is_read_back() {
    let region = heap(4096);
    let bytes: Vec<u8> = (0..600).map(|i| (i * 7) as u8).collect();
    region.write(13, &bytes);
    let mut back = vec![0; 600];
    region.read(13, &mut back);
    assert_eq!(back, bytes);
    assert!(region.compare(13, &bytes));
    assert!(!region.compare(14, &bytes));
    let mut last_differs = bytes.clone();
    last_differs[599] ^= 1;
    assert!(!region.compare(13, &last_differs));

    region.fill(100, 50, 0xee);
    region.read(99, &mut back[..52]);
    assert_eq!(back[0], bytes[86]);
    assert!(back[1..51].iter().all(|&b| b == 0xee));
    assert_eq!(back[51], bytes[137]);

    let other = heap(1000);
    other.copy(300, &region, 13, 600);
    assert!(other.compare(300, &bytes[..87]));
    // Within one region, overlapping.
    region.write(0, &[1, 2, 3, 4, 5]);
    region.copy(2, &region, 0, 5);
    assert!(region.compare(0, &[1, 2, 1, 2, 3, 4, 5]));
}

#[test]
fn the_crc_is_of_what_was_copied() {
    let region = heap(9000);
    let bytes: Vec<u8> = (0..4103u32).map(|i| ((i * i) >> 3) as u8).collect();
    for cpu in Cpu::offered() {
        let expected = cpu.crc32(77, &bytes);
        assert_eq!(region.write_crc32(&cpu, 901, &bytes, Crc32::start(&cpu, 77)).finish(&cpu), expected);
        assert!(region.compare(901, &bytes));
        let mut back = vec![0; bytes.len()];
        assert_eq!(region.read_crc32(&cpu, 901, &mut back, Crc32::start(&cpu, 77)).finish(&cpu), expected);
        assert_eq!(back, bytes);
        region.prefetch(&cpu, 8999);
        region.fill(0, 9000, 0);
    }
}

/// A device may write while a core copies: the CRC is still that of the copy, for no byte is loaded twice.
#[test]
#[cfg(not(miri))]
fn the_crc_is_of_what_was_copied_while_another_writes() {
    const BYTES: usize = 4096 + 24 + 7;
    let region = Region::shared(BYTES.next_multiple_of(8)).expect("memory");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 0u64;
            while !is_done.load(Ordering::Relaxed) {
                value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
                (0..BYTES).step_by(8).for_each(|at| region.store_u64(at, value, Ordering::Relaxed));
            }
        });
        let found = catch_unwind(AssertUnwindSafe(|| {
            for cpu in Cpu::offered() {
                let (mut copy, mut last, mut changes) = (vec![0; BYTES], 0, 0);
                let begun = std::time::Instant::now();
                while changes < 1000 {
                    assert!(begun.elapsed().as_secs() < 60, "{changes} changes were met in a minute");
                    let sum = region.read_crc32(&cpu, 0, &mut copy, Crc32::start(&cpu, 0)).finish(&cpu);
                    assert_eq!(sum, cpu.crc32(0, &copy), "{}", cpu.crc_engine());
                    changes += u32::from(sum != last);
                    last = sum;
                }
            }
        }));
        is_done.store(true, Ordering::Relaxed);
        if let Err(panic) = found {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn words_are_little_machine_words() {
    let region = heap(64);
    region.store_u32(8, 0x1122_3344, Ordering::Relaxed);
    region.store_u16(12, 0x5566, Ordering::Relaxed);
    assert_eq!(region.load_u64(8, Ordering::Acquire), 0x5566_1122_3344);
    region.store_u64(16, u64::MAX - 1, Ordering::Release);
    assert_eq!(region.load_u16(16, Ordering::Relaxed), 0xfffe);
    assert_eq!(region.load_u32(20, Ordering::Relaxed), u32::MAX);
    assert!(region.compare(8, &0x1122_3344u32.to_ne_bytes()));
}

#[test]
fn every_access_outside_or_off_alignment_panics() {
    let region = heap(64);
    let cpu = Cpu::detect();
    assert!(refuses(|| region.read(60, &mut [0; 5])));
    assert!(refuses(|| region.read(usize::MAX, &mut [0; 5])));
    assert!(refuses(|| region.write(64, &[0])));
    assert!(refuses(|| region.fill(1, 64, 0)));
    assert!(refuses(|| region.copy(0, &heap(10), 5, 6)));
    assert!(refuses(|| heap(10).copy(5, &region, 0, 6)));
    assert!(refuses(|| region.write_crc32(&cpu, 62, &[0; 3], Crc32::start(&cpu, 0))));
    assert!(refuses(|| region.read_crc32(&cpu, 62, &mut [0; 3], Crc32::start(&cpu, 0))));
    assert!(refuses(|| region.compare(60, &[9; 5])));
    assert!(refuses(|| region.load_u32(62, Ordering::Relaxed)));
    assert!(refuses(|| region.load_u32(2, Ordering::Relaxed)));
    assert!(refuses(|| region.load_u64(60, Ordering::Relaxed)));
    assert!(refuses(|| region.store_u64(4, 0, Ordering::Relaxed)));
    assert!(refuses(|| region.store_u32(64, 0, Ordering::Relaxed)));
    assert!(refuses(|| region.store_words(56, [0; 2])));
    assert!(refuses(|| region.store_words(4, [0; 2])));
    assert!(refuses(|| region.prefetch(&cpu, 64)));
    assert!(refuses(|| region.prefetch_write(&cpu, 64)));
    assert!(refuses(|| region.iova(65)));
    // The very end is fine.
    region.write(64, &[]);
    region.store_u32(60, 1, Ordering::Relaxed);
    region.store_words(48, [2, 3]);
    assert_eq!([48, 56].map(|at| region.load_u64(at, Ordering::Relaxed)), [2, 3]);
    assert_eq!(region.iova(64), 0x10_0040);
}

#[test]
fn the_owner_goes_with_the_last_handle() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let memory = Box::leak(Box::new([0u64; 4]));
    // SAFETY: leaked, so it lives for ever; the reference ends here.
    let region = unsafe { Region::from_raw(memory.as_mut_ptr().cast(), 32, 0, Box::new(Flag(Arc::clone(&gone)))) };
    let second = Arc::clone(&region);
    drop(region);
    assert!(!gone.load(Ordering::SeqCst));
    assert!(second.fd().is_none());
    drop(second);
    assert!(gone.load(Ordering::SeqCst));
}

/// A queue of one entry between two threads: data by copy, order by the phase word, as a drive and a core do.
#[test]
fn a_phase_word_orders_the_copies_of_two_threads() {
    let rounds: u32 = if cfg!(miri) { 20 } else { 20_000 };
    let region = heap(256);
    let device = Arc::clone(&region);
    let other = std::thread::spawn(move || {
        for round in 1..=rounds {
            while device.load_u32(0, Ordering::Acquire) != round {
                std::thread::yield_now();
            }
            let mut entry = [0; 64];
            device.read(64, &mut entry);
            assert_eq!(entry, [round as u8; 64]);
            device.fill(128, 64, !(round as u8));
            device.store_u32(4, round, Ordering::Release);
        }
    });
    for round in 1..=rounds {
        region.write(64, &[round as u8; 64]);
        region.store_u32(0, round, Ordering::Release);
        while region.load_u32(4, Ordering::Acquire) != round {
            std::thread::yield_now();
        }
        assert!(region.compare(128, &[!(round as u8); 64]));
    }
    other.join().unwrap();
}

#[cfg(not(miri))]
mod mapped {
    use super::*;

    #[test]
    fn shared_memory_is_zeroed_present_and_aligned_for_core_and_device() {
        let region = Region::shared(3 * 4096 + 5).unwrap();
        assert_eq!(region.length(), 3 * 4096 + 5);
        assert!(region.compare(0, &vec![0; region.length()]));
        assert_eq!((region.base() as usize % 4096, region.iova(0) % 4096), (0, 0));
        assert!(refuses(|| region.write(3 * 4096 + 5, &[0])));
    }

    /// Hugepages of 2 MiB that are free here.
    fn hugepages_free() -> usize {
        let text = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
        text.map_or(0, |text| text.trim().parse().unwrap())
    }

    #[test]
    fn hugepages_are_whole_and_aligned_or_refused() {
        let more = (hugepages_free() + 1) * HUGEPAGE;
        assert!(matches!(Region::shared_huge(more), Err(Error::System { .. })), "more than there are");
        let Ok(region) = Region::shared_huge(HUGEPAGE + 1) else {
            // Others may have taken what was free; with none free it is right.
            assert!(hugepages_free() < 2, "two hugepages are free");
            return;
        };
        assert_eq!(region.length(), 2 * HUGEPAGE);
        assert_eq!((region.base() as usize % HUGEPAGE, region.iova(0) % HUGEPAGE as u64), (0, 0));
        assert!(region.compare(HUGEPAGE, &[0; 4096]));
        let after = Region::shared(4096).unwrap();
        assert!(after.iova(0) > region.iova(region.length()), "a page between them");
        let theirs = Region::handed_over(region.fd().unwrap(), region.length(), region.iova(0)).unwrap();
        region.write(HUGEPAGE, b"far");
        assert!(theirs.compare(HUGEPAGE, b"far"));
    }

    #[test]
    fn no_page_of_shared_memory_faults_on_first_use() {
        fn minor_faults() -> i64 {
            // SAFETY: plain data filled by the call, for this thread.
            unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
                usage.ru_minflt
            }
        }
        let region = Region::shared(512 * 4096).unwrap();
        let before = minor_faults();
        for page in 0..512 {
            region.store_u32(page * 4096, 1, Ordering::Relaxed);
        }
        let faults = minor_faults() - before;
        assert!(faults < 16, "{faults} faults over 512 pages that were to be present");
    }

    #[test]
    fn another_mapping_of_the_descriptor_sees_the_same_bytes() {
        let ours = Region::shared(8192).unwrap();
        let theirs = Region::file(ours.fd().unwrap(), 8192, true).unwrap();
        ours.write(4090, b"statistics");
        assert!(theirs.compare(4090, b"statistics"));
        theirs.store_u32(0, 9, Ordering::Relaxed);
        assert_eq!(ours.load_u32(0, Ordering::Relaxed), 9);
        // The mapping outlives whoever made the memory.
        drop(ours);
        assert!(theirs.compare(4090, b"statistics"));
        assert!(theirs.fd().is_some());
    }

    #[test]
    fn a_reader_cannot_store() {
        let ours = Region::shared(4096).unwrap();
        let reader = Region::file(ours.fd().unwrap(), 4096, false).unwrap();
        ours.write(0, b"x");
        assert!(reader.compare(0, b"x"));
        assert!(!reader.is_writable());
        assert!(refuses(|| reader.write(0, b"y")));
        assert!(refuses(|| reader.store_u64(0, 1, Ordering::Relaxed)));
        assert!(refuses(|| reader.fill(0, 1, 1)));
        assert!(ours.compare(0, b"x"));
    }

    #[test]
    fn nobody_can_shrink_what_was_handed_over() {
        use std::os::fd::AsRawFd;
        let ours = Region::shared(8192).unwrap();
        let handed = ours.fd().unwrap().try_clone_to_owned().unwrap();
        // SAFETY: a plain call on an open descriptor.
        assert_eq!(unsafe { libc::ftruncate(handed.as_raw_fd(), 0) }, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn errors_say_what_was_wrong() {
        assert_eq!(Region::shared(0).unwrap_err(), Error::Length(0));
        assert_eq!(Region::shared(usize::MAX).unwrap_err(), Error::Length(usize::MAX));
        let small = Region::shared(100).unwrap();
        let fd = small.fd().unwrap().try_clone_to_owned().unwrap();
        assert_eq!(Region::file(&fd, 8192, false).unwrap_err(), Error::FileTooShort { wanted: 8192, found: 4096 });
        assert_eq!(Region::file(&fd, 0, false).unwrap_err(), Error::Length(0));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Region::file(null.as_fd(), 1, false).unwrap_err(), Error::FileTooShort { wanted: 1, found: 0 });
        let path = std::env::temp_dir().join(format!("gantry-dma-{}", std::process::id()));
        std::fs::write(&path, [0; 64]).unwrap();
        let read_only = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let refused = Region::file(&read_only, 64, true).unwrap_err();
        assert_eq!(refused, Error::System { operation: "mmap", errno: libc::EACCES });
        assert_eq!(refused.to_string(), "mmap: errno 13");
    }

    #[test]
    fn a_window_is_a_piece_of_a_file() {
        let whole = Region::shared(4 * 4096).unwrap();
        let file = whole.fd().unwrap();
        let window = Region::window(file, 8192, 4096, 0x4000_0000, true).unwrap();
        assert_eq!((window.length(), window.iova(4), window.fd().is_none()), (4096, 0x4000_0004, true));
        whole.write(8192 + 5, b"there");
        assert!(window.compare(5, b"there"));
        window.write(0, b"back");
        assert!(whole.compare(8192, b"back") && whole.compare(4096, &[0; 4096]));
        let readable = Region::window(file, 4096, 4096, 0, false).unwrap();
        assert!(!readable.is_writable() && refuses(|| readable.write(0, &[1])));

        let wrong = |offset, length, iova| Region::window(file, offset, length, iova, true).unwrap_err();
        assert_eq!(wrong(8192, 3 * 4096, 0), Error::FileTooShort { wanted: 5 * 4096, found: 4 * 4096 });
        assert_eq!(wrong(u64::MAX - 4095, 8192, 0), Error::FileTooShort { wanted: usize::MAX, found: 4 * 4096 });
        assert_eq!(wrong(0, 0, 0), Error::Length(0));
        assert_eq!(wrong(0, 4096, u64::MAX - 4000), Error::Length(4096));
        assert!(matches!(wrong(100, 4096, 0), Error::System { operation: "mmap", .. }), "between pages");
    }

    #[test]
    fn behind_memory_of_ours_lies_somebody_elses() {
        let whole = Region::shared(3 * 4096).unwrap();
        let file = whole.fd().unwrap();
        let bar = Region::behind(4096, file, 4096, 8192).unwrap();
        assert_eq!(bar.length(), 3 * 4096);
        bar.store_u32(0, 7, Ordering::Relaxed);
        bar.store_u32(4096, 8, Ordering::Relaxed);
        bar.store_u32(3 * 4096 - 4, 9, Ordering::Relaxed);
        let words = [0, 4096, 3 * 4096 - 4].map(|at| whole.load_u32(at, Ordering::Relaxed));
        assert_eq!(words, [0, 8, 9], "what lies before is not the file's");
        assert_eq!(bar.load_u32(0, Ordering::Relaxed), 7);
        // Without anything before it, it is the file's piece alone.
        assert_eq!(Region::behind(0, file, 4096, 4096).unwrap().load_u32(0, Ordering::Relaxed), 8);
        let wrong = |lead, offset, length| Region::behind(lead, file, offset, length).unwrap_err();
        assert_eq!(wrong(4096, 4096, 3 * 4096), Error::FileTooShort { wanted: 4 * 4096, found: 3 * 4096 });
        assert_eq!(wrong(4096, 0, 0), Error::Length(0));
        assert_eq!(wrong(usize::MAX, 0, 4096), Error::Length(4096));
        assert!(matches!(wrong(100, 0, 4096), Error::System { operation: "mmap", .. }), "between pages");
    }
}
