//! Cycles a byte of CRC, copy, and both in one pass, over warm memory and over memory that no cache holds.
//!
//! `cargo run --release -p gantry-cpu --example cycles`

use std::hint::black_box;

use gantry_cpu::Cpu;

/// Far more than a core's caches.
const COLD: usize = 512 << 20;

fn main() {
    let cpu = Cpu::detect();
    println!("engine: {}; cycles a byte (timestamp ticks), best of many", cpu.crc_engine());
    println!("{:>8} {:>9} {:>9} {:>9} {:>9} {:>9}", "bytes", "crc", "copy", "copy+crc", "copy;crc", "tables");
    let src = vec![0x5au8; 65_536];
    let mut dst = vec![0u8; 65_536];
    for length in [16, 60, 64, 256, 1024, 4096, 16_384, 65_536] {
        let (src, dst) = (&src[..length], &mut dst[..length]);
        let per_byte = |f: &mut dyn FnMut()| warm(&cpu, f) / length as f64;
        println!(
            "{length:>8} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
            per_byte(&mut || {
                black_box(cpu.crc32(0, black_box(src)));
            }),
            per_byte(&mut || black_box(&mut *dst).copy_from_slice(black_box(src))),
            per_byte(&mut || {
                black_box(cpu.copy_crc32(black_box(dst), black_box(src), 0));
            }),
            per_byte(&mut || {
                black_box(&mut *dst).copy_from_slice(black_box(src));
                black_box(cpu.crc32(0, black_box(dst)));
            }),
            per_byte(&mut || {
                black_box(Cpu::portable().crc32(0, black_box(src)));
            }),
        );
    }

    println!("cold source, 4096 bytes at a time, into a warm buffer:");
    let cold = vec![0xa5u8; COLD];
    let mut page = vec![0u8; 4096];
    let mut walk = |what: &str, f: &mut dyn FnMut(&mut [u8], &[u8])| {
        let begun = cpu.timestamp();
        // A stride that no prefetcher follows.
        let pages = COLD / 4096;
        let mut at = 0;
        for _ in 0..pages / 4 {
            at = (at + 40_503) % pages;
            f(&mut page, &cold[at * 4096..][..4096]);
        }
        println!("{:>8.3} cycles a byte  {what}", (cpu.timestamp() - begun) as f64 / (pages / 4 * 4096) as f64);
    };
    walk("crc", &mut |_, src| {
        black_box(cpu.crc32(0, src));
    });
    walk("copy", &mut |dst, src| dst.copy_from_slice(src));
    walk("copy+crc in one pass", &mut |dst, src| {
        black_box(cpu.copy_crc32(dst, src, 0));
    });
    walk("copy, then crc", &mut |dst, src| {
        dst.copy_from_slice(src);
        black_box(cpu.crc32(0, black_box(dst)));
    });
}

fn warm(cpu: &Cpu, f: &mut dyn FnMut()) -> f64 {
    (0..2000)
        .map(|_| {
            let begun = cpu.timestamp();
            (0..8).for_each(|_| f());
            (cpu.timestamp() - begun) as f64 / 8.0
        })
        .fold(f64::INFINITY, f64::min)
}
