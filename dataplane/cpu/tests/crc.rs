//! Every engine against a bit-at-a-time CRC-32, over lengths, alignments and splits.

use gantry_cpu::Cpu;

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

fn engines() -> [Cpu; 2] {
    [Cpu::detect(), Cpu::portable()]
}

#[test]
fn known_values() {
    for cpu in engines() {
        // The check value that every catalogue gives for CRC-32.
        assert_eq!(cpu.crc32(0, b"123456789"), 0xcbf4_3926, "{}", cpu.crc_engine());
        assert_eq!(cpu.crc32(0, b""), 0);
        assert_eq!(cpu.crc32(0x1234_5678, b""), 0x1234_5678);
    }
}

#[test]
fn every_length_and_alignment() {
    let longest = if cfg!(miri) { 70 } else { 400 };
    let bytes = noise(longest + 16);
    for cpu in engines() {
        for length in 0..=longest {
            for offset in [0, 1, 3, 8, 15] {
                let piece = &bytes[offset..offset + length];
                for previous in [0, 1, 0xffff_ffff, 0xdead_beef] {
                    let expected = bitwise(previous, piece);
                    assert_eq!(cpu.crc32(previous, piece), expected, "{} {length}+{offset}", cpu.crc_engine());
                }
            }
        }
    }
}

#[test]
fn a_copy_copies_exactly_and_sums_the_same() {
    let longest = if cfg!(miri) { 70 } else { 400 };
    let bytes = noise(longest + 16);
    for cpu in engines() {
        for length in 0..=longest {
            for (from, to) in [(0, 0), (1, 0), (0, 3), (7, 9)] {
                let mut dst = vec![0xa5u8; length + 32];
                let src = &bytes[from..from + length];
                let sum = cpu.copy_crc32(&mut dst[to..to + length], src, 0xdead_beef);
                assert_eq!(sum, bitwise(0xdead_beef, src), "{} {length}", cpu.crc_engine());
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
    for cpu in engines() {
        for split in (0..=length).step_by(61) {
            let first = cpu.crc32(0, &bytes[..split]);
            assert_eq!(cpu.crc32(first, &bytes[split..]), expected);
            let mut dst = vec![0u8; length - split];
            assert_eq!(cpu.copy_crc32(&mut dst, &bytes[split..], first), expected);
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
    if !cfg!(miri) && std::is_x86_feature_detected!("pclmulqdq") && std::is_x86_feature_detected!("sse4.1") {
        assert_eq!(Cpu::detect().crc_engine(), "pclmulqdq");
    }
}
