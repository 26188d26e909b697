//! Real threads: lcores that look up while the writer changes what they see.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use gantry_table::{
    Color, CounterBank, Counters, EntryIndex, ExactTable, LpmTable, Match, MeterConfig, Meters, Prefix, StageError,
    TernaryTable, Versioned, Writer,
};

const SWAPS: u64 = 1_000_000;

/// Stages until it works: the writer waits for lcores to move on, never they for it.
fn staged<T>(writer: &mut Writer, mut stage: impl FnMut(&mut Writer) -> Result<T, StageError>) -> T {
    loop {
        match stage(writer) {
            Ok(done) => return done,
            Err(StageError::NoRoomYet | StageError::ReadersBehind) => {
                if writer.reclaim(64) == 0 {
                    thread::yield_now();
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A million times an entry leaves one table's key for another, and in the same transaction its twin in a second table does. No
/// lcore ever sees the one without the other. Lcores look where the writer is at work.
#[test]
fn nobody_sees_half_of_a_transaction() {
    // So many pairs that the writer seldom waits for an lcore that the machine has put aside.
    const PAIRS: u64 = 4096;
    let mut writer = Writer::new(2, 5);
    let table = ExactTable::<[u64; 1], [u64; 2]>::new(&mut writer, 2 * PAIRS as usize);
    let twin = ExactTable::<[u64; 2], [u64; 1]>::new(&mut writer, 2 * PAIRS as usize);
    // Of each pair one key is there. A round takes every pair to its other key.
    let key = |n: u64| 2 * (n % PAIRS) + ((n / PAIRS) & 1);
    for n in 0..PAIRS {
        table.insert(&mut writer, &[key(n)], &[n, !n]).unwrap();
        twin.insert(&mut writer, &[key(n), 9], &[n]).unwrap();
    }
    writer.publish();
    let (done, at) = (AtomicBool::new(false), AtomicU64::new(0));
    let seen: u64 = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (mut lcore, table, twin) = (writer.lcore().unwrap(), table.clone(), twin.clone());
                let (done, at) = (&done, &at);
                scope.spawn(move || {
                    let (mut bursts, mut seen) = (0_u64, 0);
                    while !done.load(Ordering::Relaxed) {
                        let generation = lcore.enter();
                        for ahead in 0..8 {
                            let pair = 2 * ((at.load(Ordering::Relaxed) + ahead) % PAIRS);
                            let keys = [pair, pair + 1];
                            let one = keys.map(|key| table.lookup(generation, &[key], table.hash(&[key])));
                            let two = keys.map(|key| twin.lookup(generation, &[key, 9], twin.hash(&[key, 9])));
                            let (n, of) = match one {
                                [Some((_, [n, m])), None] if n == !m => (n, 0),
                                [None, Some((_, [n, m]))] if n == !m => (n, 1),
                                torn => panic!("{torn:?} in {generation:?}"),
                            };
                            assert_eq!(two[of].map(|(_, [n])| n), Some(n), "{generation:?}");
                            assert_eq!((two[1 - of], key(n)), (None, keys[of]), "{generation:?}");
                            // The first PAIRS numbers were there from the beginning.
                            seen += u64::from(n >= PAIRS);
                        }
                        bursts += 1;
                        if bursts.is_multiple_of(64) {
                            lcore.leave();
                            thread::yield_now();
                        }
                    }
                    seen
                })
            })
            .collect();
        for n in PAIRS..PAIRS + SWAPS {
            at.store(n, Ordering::Relaxed);
            staged(&mut writer, |writer| table.remove(writer, &[key(n - PAIRS)]));
            staged(&mut writer, |writer| twin.remove(writer, &[key(n - PAIRS), 9]));
            staged(&mut writer, |writer| table.insert(writer, &[key(n)], &[n, !n]));
            staged(&mut writer, |writer| twin.insert(writer, &[key(n), 9], &[n]));
            writer.publish();
            writer.reclaim(8);
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(seen > 10_000, "{seen} lookups saw what was swapped");
}

/// The same over the other kinds: a route, an access rule with its priority and a default action change together.
#[test]
fn all_kinds_change_together() {
    let mut writer = Writer::new(2, 6);
    let routes = LpmTable::<[u64; 0], [u64; 1]>::new(&mut writer, 32, 32);
    let acl = TernaryTable::<[u64; 1], [u64; 1]>::new(&mut writer, 32);
    let default = Versioned::new(&mut writer, &[0_u64; 3]);
    // The route's length and the rule's priority change too.
    let prefix = |n: u64| Prefix { exact: [], value: 0x0a00_0000, length: 8 + (n % 20) as u8 };
    let rule = |n: u64| Match { value: [0], mask: [n % 3], priority: (n % 5) as i32 };
    routes.insert(&mut writer, &prefix(0), &[0]).unwrap();
    acl.insert(&mut writer, &rule(0), &[0]).unwrap();
    writer.publish();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let (mut lcore, routes, acl, default) =
                (writer.lcore().unwrap(), routes.clone(), acl.clone(), default.clone());
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let generation = lcore.enter();
                    let [n, twice, thrice] = default.read(generation);
                    assert_eq!((twice, thrice), (2 * n, 3 * n));
                    let route = routes.lookup(generation, &[], 0x0a00_0000).map(|(_, entry)| entry);
                    let rule = acl.lookup(generation, &[0]).map(|(_, entry)| entry);
                    assert_eq!((route, rule), (Some([n]), Some([n])), "{generation:?}");
                    // A default action has eight versions: an lcore that the machine puts aside should not be in one of them.
                    lcore.leave();
                    thread::yield_now();
                }
            });
        }
        for n in 1..=50_000 {
            staged(&mut writer, |writer| default.set(writer, &[n, 2 * n, 3 * n]));
            staged(&mut writer, |writer| routes.remove(writer, &prefix(n - 1)));
            staged(&mut writer, |writer| routes.insert(writer, &prefix(n), &[n]));
            staged(&mut writer, |writer| acl.remove(writer, &rule(n - 1)));
            staged(&mut writer, |writer| acl.insert(writer, &rule(n), &[n]));
            writer.publish();
            writer.reclaim(16);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A dump in pieces by a reader of its own is of one state, while the writer goes on.
#[test]
fn a_dump_is_of_one_state() {
    let mut writer = Writer::new(1, 7);
    let table = ExactTable::<[u64; 1], [u64; 1]>::new(&mut writer, 500);
    for key in 0..300 {
        table.insert(&mut writer, &[key], &[0]).unwrap();
    }
    writer.publish();
    let mut reader = writer.lcore().unwrap();
    for n in 1..20 {
        let generation = reader.enter();
        let (mut shown, mut from) = (0, Some(0));
        while let Some(at) = from {
            from = table.scan(generation, at, 64, |_, _, entry| {
                assert_eq!(entry, [n - 1]);
                shown += 1;
            });
            if at == 64 {
                for key in 0..300 {
                    table.modify(&mut writer, &[key], &[n]).unwrap();
                }
                writer.publish();
            }
            writer.reclaim(1000);
        }
        assert_eq!(shown, 300);
        reader.enter();
        writer.reclaim(1000);
    }
}

#[test]
fn counts_of_many_lcores_add_up() {
    let counters = Counters::new(4, 3);
    let count = |mut bank: CounterBank| (0..100_000).for_each(|n| bank.count(n % 4, 10));
    thread::scope(|scope| {
        let counting: Vec<_> =
            (0..3).map(|_| counters.bank().unwrap()).map(|bank| scope.spawn(move || count(bank))).collect();
        let mut last = 0;
        while counting.iter().any(|lcore| !lcore.is_finished()) {
            let packets = counters.read(2).unwrap().packets;
            assert!(packets >= last, "readings grow");
            last = packets;
        }
    });
    let values: Vec<_> = (0..4).map(|cell| counters.read(cell).unwrap()).map(|v| (v.packets, v.bytes)).collect();
    assert_eq!(values, [(75_000, 750_000); 4]);
}

/// Two lcores that share a meter get its rate together, neither more nor (within the packets in flight) less.
#[test]
fn lcores_share_a_meter() {
    let meters = Meters::new(1);
    let config = MeterConfig { cir: 1_000_000, cburst: 20_000, pir: 2_000_000, pburst: 40_000 };
    meters.configure(0, Some(&config), 0);
    let clock = AtomicU64::new(0);
    let seconds = 1;
    let units = thread::scope(|scope| {
        let lcores: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut units = [0_u64; 3];
                    loop {
                        // 100 units every 20 us: 5,000,000 a second.
                        let now = clock.fetch_add(20_000, Ordering::Relaxed);
                        if now > seconds * 1_000_000_000 {
                            return units;
                        }
                        units[meters.execute(0, 100, now) as usize] += 100;
                    }
                })
            })
            .collect();
        lcores
            .into_iter()
            .map(|lcore| lcore.join().unwrap())
            .fold([0; 3], |a, b: [u64; 3]| [0, 1, 2].map(|c| a[c] + b[c]))
    });
    let green = units[Color::Green as usize];
    let passed = green + units[Color::Yellow as usize];
    let near =
        |got: u64, rate: u64, burst: u64| got <= rate * seconds + burst && got >= rate * seconds + burst - 25_000;
    assert!(near(green, config.cir, config.cburst), "{green} green");
    assert!(near(passed, config.pir, config.pburst), "{passed} passed");
    assert_eq!(meters.execute(EntryIndex(1).index(), 1, 0), Color::Green, "a meter that is not there");
}
