//! Cycles a byte of CRC, copy, and both in one pass, over warm memory and over memory that no cache holds.
//!
//! `cargo run --release -p gantry-cpu --example cycles`

use std::hint::black_box;

use gantry_cpu::{Cpu, Crc32};

/// Far more than a core's caches.
const COLD: usize = 512 << 20;

fn main() {
    for cpu in Cpu::offered() {
        table(&cpu);
    }
    headers();
    let cpu = Cpu::detect();
    println!("engine: {}", cpu.crc_engine());
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

/// Warm memory, by length.
fn table(cpu: &Cpu) {
    println!("engine: {}; cycles a byte (timestamp ticks), best of many", cpu.crc_engine());
    println!("{:>8} {:>9} {:>9} {:>9} {:>9} {:>9}", "bytes", "crc", "copy", "copy+crc", "at 70", "copy;crc");
    // Pages, and half a page between them: a load does not seem to follow from a store before it that it has only low bits
    // in common with.
    let src = vec![0x5au8; 65_536 + 4096];
    let src = &src[src.as_ptr().align_offset(4096)..];
    let mut dst = vec![0u8; 65_536 + 3 * 4096];
    let aligned = dst.as_ptr().align_offset(4096) + 2048;
    let dst = &mut dst[aligned..];
    for length in [16, 64, 128, 192, 256, 320, 384, 512, 1024, 4096, 16_384, 65_536] {
        let src = &src[..length];
        let per_byte = |f: &mut dyn FnMut()| warm(cpu, f) / length as f64;
        let crc = per_byte(&mut || {
            black_box(cpu.crc32(0, black_box(src)));
        });
        let copy = per_byte(&mut || black_box(&mut dst[..length]).copy_from_slice(black_box(src)));
        let mut both = |at: usize| {
            per_byte(&mut || {
                black_box(cpu.copy_crc32(black_box(&mut dst[at..at + length]), black_box(src), 0));
            })
        };
        // Behind Ethernet, IPv4, UDP, BTH and RETH.
        let (both, behind_headers) = (both(0), both(70));
        let two = per_byte(&mut || {
            black_box(&mut dst[..length]).copy_from_slice(black_box(src));
            black_box(cpu.crc32(0, black_box(&dst[..length])));
        });
        println!("{length:>8} {crc:>9.3} {copy:>9.3} {both:>9.3} {behind_headers:>9.3} {two:>9.3}");
    }
}

/// The ICRC of whole packets, by what is summed: 40 bytes of IPv4, UDP and BTH under a mask, 4 or 16 of what follows, and
/// payload that is copied.
fn headers() {
    println!("cycles a packet: headers of 44 bytes alone, 56 before 512 and 4096 of payload that are copied");
    let (frame, mask, src) = (vec![0x45u8; 128], vec![0u8; 128], vec![0x5au8; 4096]);
    let mut dst = vec![0u8; 4096];
    for cpu in Cpu::offered() {
        let mut packet = |headers: usize, payload: usize| {
            warm(&cpu, &mut || {
                let sum = Crc32::masked(&cpu, 0xdebb_20e3, black_box(&frame[14..14 + headers]), black_box(&mask));
                black_box(sum.copy(&cpu, black_box(&mut dst[..payload]), black_box(&src[..payload])).finish(&cpu));
            })
        };
        let (ack, half, page) = (packet(44, 0), packet(56, 512), packet(56, 4096));
        println!("{:>14} {ack:>9.1} {half:>9.1} {page:>9.1}", cpu.crc_engine());
    }
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
