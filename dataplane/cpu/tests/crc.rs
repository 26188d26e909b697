//! Every engine against a bit-at-a-time CRC-32, over lengths, alignments and splits.

use gantry_cpu::{Cpu, Crc32};

fn bitwise(previous: u32, bytes: &[u8]) -> u32 {
    let mut sum = !previous;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 != 0 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// Behind what every engine does in its widest steps, all that may be left over.
const LONGEST: usize = if cfg!(miri) { 70 } else { 1100 };

#[test]
fn known_values() {
    for cpu in Cpu::offered() {
        // The check value that every catalogue gives for CRC-32.
        assert_eq!(cpu.crc32(0, b"123456789"), 0xcbf4_3926, "{}", cpu.crc_engine());
        assert_eq!(cpu.crc32(0, b""), 0);
        assert_eq!(cpu.crc32(0x1234_5678, b""), 0x1234_5678);
        // Of 32 zeros and of 32 ones, as zlib has them.
        assert_eq!(cpu.crc32(0, &[0; 32]), 0x190a_55ad);
        assert_eq!(cpu.crc32(0, &[0xff; 32]), 0xff6c_ab0b);
    }
}

#[test]
fn the_portable_engine_is_right() {
    let bytes = noise(LONGEST);
    for length in 0..=LONGEST {
        for previous in [0, 0xdead_beef] {
            assert_eq!(
                Cpu::portable().crc32(previous, &bytes[..length]),
                bitwise(previous, &bytes[..length]),
                "{length}"
            );
        }
    }
}

#[test]
fn every_length_and_alignment() {
    let bytes = noise(LONGEST + 64);
    for cpu in Cpu::offered() {
        for length in 0..=LONGEST {
            for offset in [0, 1, 3, 8, 15, 38] {
                let piece = &bytes[offset..offset + length];
                for previous in [0, 1, 0xffff_ffff, 0xdead_beef] {
                    let expected = Cpu::portable().crc32(previous, piece);
                    assert_eq!(cpu.crc32(previous, piece), expected, "{} {length}+{offset}", cpu.crc_engine());
                }
            }
        }
    }
}

#[test]
fn a_copy_copies_exactly_and_sums_the_same() {
    let bytes = noise(LONGEST + 16);
    for cpu in Cpu::offered() {
        for length in 0..=LONGEST {
            for (from, to) in [(0, 0), (1, 0), (0, 3), (7, 70)] {
                let mut dst = vec![0xa5u8; length + 128];
                let src = &bytes[from..from + length];
                let expected = Cpu::portable().crc32(0xdead_beef, src);
                let sum = Crc32::start(&cpu, 0xdead_beef).copy(&cpu, &mut dst[to..to + length], src);
                assert_eq!(sum.finish(&cpu), expected, "{} {length}", cpu.crc_engine());
                assert_eq!(&dst[to..to + length], src);
                assert!(dst[..to].iter().chain(&dst[to + length..]).all(|&b| b == 0xa5), "wrote outside");
            }
        }
    }
}

#[test]
fn a_sum_continues_over_any_split() {
    let length = if cfg!(miri) { 300 } else { 9000 };
    let bytes = noise(length);
    let expected = bitwise(0, &bytes);
    for cpu in Cpu::offered() {
        for split in (0..=length).step_by(61) {
            let first = cpu.crc32(0, &bytes[..split]);
            assert_eq!(cpu.crc32(first, &bytes[split..]), expected);
            let mut dst = vec![0u8; length - split];
            let both = Crc32::start(&cpu, 0).update(&cpu, &bytes[..split]).copy(&cpu, &mut dst, &bytes[split..]);
            assert_eq!(both.finish(&cpu), expected, "{} {split}", cpu.crc_engine());
        }
    }
}

#[test]
fn pieces_of_all_lengths_make_one_sum() {
    // Lengths from a counter with a step that meets every pair of classes: nothing, less than a block, blocks, wide steps.
    let lengths = [0, 1, 3, 4, 15, 16, 17, 48, 63, 64, 65, 191, 192, 255, 256, 257, 511, 512, 560, 4096];
    let lengths = if cfg!(miri) { &lengths[..10] } else { &lengths[..] };
    let bytes = noise(3 * 4096);
    for cpu in Cpu::offered() {
        for &first in lengths {
            for &second in lengths {
                for &third in lengths {
                    let (a, rest) = bytes.split_at(first);
                    let (b, rest) = rest.split_at(second);
                    let c = &rest[..third];
                    let sum = Crc32::start(&cpu, 7).update(&cpu, a).update(&cpu, b).update(&cpu, c).finish(&cpu);
                    let expected = Cpu::portable().crc32(7, &bytes[..first + second + third]);
                    assert_eq!(sum, expected, "{} {first} {second} {third}", cpu.crc_engine());
                }
            }
        }
    }
}

#[test]
fn what_is_masked_counts_as_ones() {
    let (bytes, mask) = (noise(160), noise(300));
    for cpu in Cpu::offered() {
        for length in (16..=128).step_by(4) {
            for offset in [0, 1, 14, 18] {
                let mask = &mask[100 + offset..][..128];
                let bytes = &bytes[offset..offset + length];
                let masked: Vec<u8> = bytes.iter().zip(mask).map(|(byte, mask)| byte | mask).collect();
                for behind in [&[][..], &[1, 2, 3], &[5; 64], &[6; 300]] {
                    let sum = Crc32::masked(&cpu, 0xdebb_20e3, bytes, mask).update(&cpu, behind).finish(&cpu);
                    let expected = bitwise(bitwise(0xdebb_20e3, &masked), behind);
                    assert_eq!(sum, expected, "{} {length}+{offset}", cpu.crc_engine());
                }
            }
        }
    }
}

#[test]
fn a_mask_covers_words_and_a_block_at_least() {
    let refuses = |bytes: usize| {
        let all = [0; 200];
        std::panic::catch_unwind(|| Crc32::masked(&Cpu::detect(), 0, &all[..bytes], &all[..128])).is_err()
    };
    assert!(refuses(12) && !refuses(16) && refuses(18) && !refuses(128) && refuses(132));
}

/// However a message is cut, and whichever pieces are copied on the way, it has one CRC.
#[test]
fn cuts_make_no_difference() {
    let mut dice = noise(1 << 20).into_iter().map(usize::from);
    let mut dice =
        |below: usize| (dice.next().expect("enough noise") << 8 | dice.next().expect("enough noise")) % below;
    let bytes = noise(6000);
    for _ in 0..if cfg!(miri) { 4 } else { 2000 } {
        let bytes = &bytes[dice(64)..][..dice(if cfg!(miri) { 200 } else { 5900 })];
        let previous = dice(0x1_0000) as u32 * 0x1_0001;
        let mut cuts: Vec<_> = (0..dice(8)).map(|_| (dice(bytes.len() + 1), dice(2) == 0)).collect();
        cuts.sort_unstable();
        cuts.push((bytes.len(), true));
        let expected = Cpu::portable().crc32(previous, bytes);
        for cpu in Cpu::offered() {
            let (mut sum, mut done) = (Crc32::start(&cpu, previous), 0);
            let mut copied = vec![0; bytes.len()];
            for &(end, is_copied) in &cuts {
                let piece = &bytes[done..end];
                if is_copied {
                    sum = sum.copy(&cpu, &mut copied[done..end], piece);
                    assert_eq!(&copied[done..end], piece);
                } else {
                    sum = sum.update(&cpu, piece);
                }
                done = end;
            }
            assert_eq!(sum.finish(&cpu), expected, "{} {} {cuts:?}", cpu.crc_engine(), bytes.len());
        }
    }
}

#[test]
#[should_panic(expected = "one length")]
fn lengths_that_differ_are_our_own_fault() {
    Cpu::detect().copy_crc32(&mut [0; 3], &[0; 4], 0);
}

#[test]
fn hints_change_nothing_and_time_moves() {
    let cpu = Cpu::detect();
    let value = 7u64;
    cpu.prefetch_read(&value);
    cpu.prefetch_write(&value);
    cpu.prefetch_read_at(core::ptr::null());
    cpu.prefetch_write_at(core::ptr::null());
    cpu.pause();
    gantry_cpu::read_after_phase();
    gantry_cpu::store_before_doorbell();
    assert_eq!(value, 7);
    if !cfg!(miri) {
        let before = cpu.timestamp();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(cpu.timestamp() > before);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_fast_engine_is_found_where_the_processor_has_it() {
    let has = |all: &[bool]| !cfg!(miri) && all.iter().all(|&one| one);
    let narrow = has(&[std::is_x86_feature_detected!("pclmulqdq"), std::is_x86_feature_detected!("sse4.1")]);
    let wide = has(&[
        std::is_x86_feature_detected!("vpclmulqdq"),
        std::is_x86_feature_detected!("avx512f"),
        std::is_x86_feature_detected!("avx512bw"),
        std::is_x86_feature_detected!("avx512vl"),
    ]);
    let names: Vec<_> = Cpu::offered().map(|cpu| cpu.crc_engine()).collect();
    assert_eq!(names.contains(&"pclmulqdq"), narrow);
    assert_eq!(names.contains(&"vpclmulqdq"), wide);
    assert_eq!(names.last(), Some(&Cpu::detect().crc_engine()), "the last is the fastest");
}

#[test]
#[cfg(target_arch = "aarch64")]
fn the_fast_engine_is_found_where_the_processor_has_it() {
    let names: Vec<_> = Cpu::offered().map(|cpu| cpu.crc_engine()).collect();
    assert_eq!(names.contains(&"crc32x"), std::arch::is_aarch64_feature_detected!("crc"));
    let both = std::arch::is_aarch64_feature_detected!("crc") && std::arch::is_aarch64_feature_detected!("pmull");
    assert_eq!(names.contains(&"crc32x+pmull"), both);
    assert_eq!(names.last(), Some(&Cpu::detect().crc_engine()), "the last is the fastest");
}
