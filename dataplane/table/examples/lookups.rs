//! Lookups in bursts of 32 with prefetch, beside a table that an lcore would have for itself; bulk loading; other kinds.
//!
//! `cargo run --release -p gantry-table --example lookups`
//!
//! Each figure is the best of several rounds, in cycles of the timestamp counter; rounds of the two tables alternate, so that
//! what else the machine does meets both. Read ratios.

use std::hint::black_box;
use std::time::Instant;

use gantry_cpu::Cpu;
use gantry_table::{ExactTable, Generation, LpmTable, Match, Prefix, TernaryTable, Writer};

const BURST: usize = 32;
const ROUNDS: usize = 15;
/// Keys of a round.
const KEYS: usize = 1 << 18;

/// Key and entry, if there is one.
type Slot = Option<(u32, [u32; 2])>;

/// What one would write for an lcore's own use: open addressing, linear probing, half full, no versions, no atomics.
struct Own {
    slots: Box<[Slot]>,
    mask: usize,
}

impl Own {
    fn new(entries: u64) -> Self {
        let slots = (2 * entries as usize).next_power_of_two();
        let mut own = Self { slots: vec![None; slots].into(), mask: slots - 1 };
        for n in 0..entries {
            let mut at = Self::hash(qpn(n) as u32) as usize & own.mask;
            while own.slots[at].is_some() {
                at = (at + 1) & own.mask;
            }
            own.slots[at] = Some((qpn(n) as u32, [n as u32, 7]));
        }
        own
    }

    fn hash(key: u32) -> u64 {
        let wide = u128::from(u64::from(key) ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93_u64);
        (wide as u64) ^ (wide >> 64) as u64
    }

    #[inline]
    fn lookup(&self, key: u32, hash: u64) -> Option<[u32; 2]> {
        let mut at = hash as usize & self.mask;
        loop {
            match &self.slots[at] {
                None => return None,
                Some((k, v)) if *k == key => return Some(*v),
                Some(_) => at = (at + 1) & self.mask,
            }
        }
    }
}

/// QPNs that cannot be guessed, as the product gives them: no order.
fn qpn(n: u64) -> u64 {
    n.wrapping_mul(0x9e_3779) & 0xff_ffff
}

fn main() {
    let cpu = Cpu::detect();
    println!("exact, one word of key and one of entry; cycles a lookup, all hits, bursts of {BURST} with prefetch");
    println!("{:>9} {:>8} {:>8} {:>7} {:>12}", "entries", "shared", "own", "ratio", "inserts/s");
    for entries in [1_000_u64, 100_000, 1_000_000] {
        exact(&cpu, entries);
    }
    ternary(&cpu);
    lpm(&cpu);
}

fn random_keys(entries: u64) -> Vec<u64> {
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    (0..KEYS).map(|_| qpn(next() % entries)).collect()
}

/// Looks a burst of keys up; a sum of what it found.
type Way<'a> = &'a mut dyn FnMut(&[u64]) -> u64;

/// Cycles a key, best of the rounds, of two ways that take turns.
fn duel(cpu: &Cpu, keys: &[u64], mut ways: [Way<'_>; 2]) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for (way, best) in ways.iter_mut().zip(&mut best) {
            let begun = cpu.timestamp();
            let sum: u64 = keys.chunks_exact(BURST).map(&mut *way).sum();
            black_box(sum);
            *best = best.min((cpu.timestamp() - begun) as f64 / keys.len() as f64);
        }
    }
    best
}

fn exact(cpu: &Cpu, entries: u64) {
    let mut writer = Writer::new(1, 42);
    let table = ExactTable::<[u64; 1], [u64; 1]>::new(&mut writer, entries as usize);
    let begun = Instant::now();
    for n in 0..entries {
        table.insert(&mut writer, &[qpn(n)], &[n << 8 | 7]).unwrap();
    }
    writer.publish();
    while writer.reclaim(4096) > 0 {}
    let per_second = entries as f64 / begun.elapsed().as_secs_f64();
    let own = Own::new(entries);
    let keys = random_keys(entries);
    let mut lcore = writer.lcore().unwrap();
    let [shared, alone] = duel(
        cpu,
        &keys,
        [
            &mut |burst| {
                let generation = lcore.enter();
                let mut hashes = [0; BURST];
                for (hash, key) in hashes.iter_mut().zip(burst) {
                    *hash = table.hash(&[*key]);
                    cpu.prefetch_read(table.bucket(*hash));
                }
                let entries = hashes.iter().zip(burst).map(|(hash, key)| table.lookup(generation, &[*key], *hash));
                entries.map(|entry| entry.expect("every key is there").1[0]).sum()
            },
            &mut |burst| {
                let mut hashes = [0; BURST];
                for (hash, key) in hashes.iter_mut().zip(burst) {
                    *hash = Own::hash(*key as u32);
                    cpu.prefetch_read(&own.slots[*hash as usize & own.mask]);
                }
                let entries = hashes.iter().zip(burst).map(|(hash, key)| own.lookup(*key as u32, *hash));
                entries.map(|entry| u64::from(entry.expect("every key is there")[0])).sum()
            },
        ],
    );
    println!("{entries:>9} {shared:>8.1} {alone:>8.1} {:>7.2} {per_second:>12.0}", shared / alone);
}

fn ternary(cpu: &Cpu) {
    println!("ternary, a key of three words (two addresses, ports and protocol); cycles a lookup");
    println!("{:>9} {:>8} {:>8} {:>7} {:>12}", "entries", "filter", "scan", "ratio", "inserts/s");
    for entries in [4_u64, 16, 64, 256, 1024, 4096] {
        let mut writer = Writer::new(1, 42);
        let table = TernaryTable::<[u64; 3], [u64; 1]>::new(&mut writer, entries as usize);
        // Sources under prefixes of four lengths, any destination, one port of sixteen.
        let rule = |n: u64| {
            let source = (n.wrapping_mul(0x9e37_79b9) & 0xffff_ffff) << 32;
            let mask = [0xffff_ffff_u64, 0xffff_ff00, 0xffff_0000, 0xffff_fff0][(n % 4) as usize] << 32;
            Match { value: [source & mask, 0, n % 16], mask: [mask, 0, 0xffff], priority: (n % 100) as i32 + 1 }
        };
        let rules: Vec<_> = (0..entries).map(rule).collect();
        let begun = Instant::now();
        for (n, matched) in rules.iter().enumerate() {
            table.insert(&mut writer, matched, &[n as u64]).unwrap();
        }
        let generation = writer.publish();
        writer.reclaim(usize::MAX);
        let per_second = entries as f64 / begun.elapsed().as_secs_f64();
        let keys: Vec<u64> = random_keys(1 << 20).iter().map(|n| n % entries).take(4096).collect();
        let key = |n: &u64| [rules[*n as usize].value[0] | 0x5_0000_0001, n << 40 | 3, n % 16];
        let [filter, scan] = duel(
            cpu,
            &keys,
            [
                &mut |burst| burst.iter().map(|n| u64::from(table.lookup(generation, &key(n)).is_some())).sum(),
                &mut |burst| {
                    let best = |key: [u64; 3]| {
                        let fitting = rules.iter().filter(|rule| rule.matches(&key));
                        fitting.max_by_key(|rule| rule.priority).is_some()
                    };
                    burst.iter().map(|n| u64::from(best(key(n)))).sum()
                },
            ],
        );
        println!("{entries:>9} {filter:>8.1} {scan:>8.1} {:>7.2} {per_second:>12.0}", filter / scan);
    }
}

fn lpm(cpu: &Cpu) {
    println!("longest prefix of 32 bits, 10,000 entries; cycles a lookup");
    println!("{:>9} {:>8} {:>8}", "lengths", "shortest", "longest");
    for lengths in [1_u8, 2, 4, 8, 24] {
        let mut writer = Writer::new(1, 42);
        let table = LpmTable::<[u64; 0], [u64; 1]>::new(&mut writer, 10_000, 32);
        let length = |n: u64| 32 - (n % u64::from(lengths)) as u8;
        let value = |n: u64| u128::from(n.wrapping_mul(0x9e37_79b9) & 0xffff_ffff);
        // Of the short prefixes there are fewer than numbers.
        for n in 0..10_000 {
            let inserted = table.insert(&mut writer, &Prefix { exact: [], value: value(n), length: length(n) }, &[n]);
            assert!(inserted.is_ok() || length(n) < 16);
        }
        let generation = writer.publish();
        writer.reclaim(usize::MAX);
        let of = |place: u8| -> Vec<u64> {
            (0..10_000).filter(|n| length(*n) == place).take(256).cycle().take(4096).collect()
        };
        let walk = |generation: Generation, keys: &[u64]| -> f64 {
            let mut ask = |burst: &[u64]| {
                burst.iter().map(|n| table.lookup(generation, &[], value(*n)).expect("a prefix").1[0]).sum()
            };
            duel(cpu, keys, [&mut ask, &mut |_| 0])[0]
        };
        let (shortest, longest) = (of(33 - lengths), of(32));
        println!("{lengths:>9} {:>8.1} {:>8.1}", walk(generation, &shortest), walk(generation, &longest));
    }
}
