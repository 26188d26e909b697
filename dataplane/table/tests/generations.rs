//! What generations promise beside agreement with the reference: limits, errors, room.

use gantry_table::{
    EntryIndex, ExactTable, Generation, LpmTable, Match, Prefix, StageError, TernaryTable, Versioned, Writer,
};

type Table = ExactTable<[u64; 1], [u64; 1]>;

fn value(table: &Table, generation: Generation, key: u64) -> Option<u64> {
    table.lookup(generation, &[key], table.hash(&[key])).map(|(_, [value])| value)
}

#[test]
fn one_publication_shows_all_tables_at_once() {
    let mut writer = Writer::new(1, 1);
    let table = Table::new(&mut writer, 4);
    let routes = LpmTable::<[u64; 0], [u64; 1]>::new(&mut writer, 4, 128);
    let default = Versioned::new(&mut writer, &[0_u64]);
    let mut lcore = writer.lcore().unwrap();
    let before = lcore.enter();
    table.insert(&mut writer, &[5], &[50]).unwrap();
    routes.insert(&mut writer, &Prefix { exact: [], value: u128::MAX, length: 1 }, &[51]).unwrap();
    routes.insert(&mut writer, &Prefix { exact: [], value: u128::MAX, length: 128 }, &[52]).unwrap();
    default.set(&mut writer, &[53]).unwrap();
    assert_eq!(lcore.enter(), before, "staging moves nothing");
    let published = writer.publish();
    let see = |g| {
        let route = |value| routes.lookup(g, &[], value).map(|(_, [entry])| entry);
        (value(&table, g, 5), route(u128::MAX), route(u128::MAX - 1), route(1), default.read(g))
    };
    assert_eq!(see(before), (None, None, None, None, [0]), "whoever has entered sees nothing of it");
    assert_eq!(lcore.enter(), published);
    assert_eq!(see(published), (Some(50), Some(52), Some(51), None, [53]));
    assert_eq!(writer.publish(), published, "nothing staged, nothing published");
}

#[test]
fn room_comes_back_when_lcores_have_moved_on() {
    let mut writer = Writer::new(2, 1);
    let table = Table::new(&mut writer, 2);
    let mut lcore = writer.lcore().unwrap();
    let old = lcore.enter();
    table.insert(&mut writer, &[1], &[0]).unwrap();
    table.insert(&mut writer, &[2], &[0]).unwrap();
    assert_eq!(table.insert(&mut writer, &[3], &[0]), Err(StageError::TableFull));
    assert_eq!(table.insert(&mut writer, &[1], &[0]), Err(StageError::Exists));
    assert_eq!(table.modify(&mut writer, &[3], &[0]), Err(StageError::Missing));
    writer.publish();
    let mut versions = 0;
    while table.modify(&mut writer, &[1], &[versions]).is_ok() {
        writer.publish();
        versions += 1;
        assert_eq!(writer.reclaim(100), 0, "the lcore is where it was");
    }
    assert_eq!(table.modify(&mut writer, &[1], &[0]), Err(StageError::NoRoomYet));
    assert!(versions > 4 && value(&table, old, 1).is_none());
    assert_eq!(writer.reached(), old);
    lcore.leave();
    assert_eq!(writer.reached(), writer.current());
    assert_eq!(writer.reclaim(3), 3, "bounded work");
    assert!(writer.reclaim(usize::MAX) > 3 && writer.unsettled() == 0);
    table.modify(&mut writer, &[1], &[77]).unwrap();
    let now = writer.publish();
    assert_eq!((value(&table, now, 1), value(&table, now, 2), table.len()), (Some(77), Some(0), 2));
}

/// A small table's whole content can be exchanged in one transaction, several times where lcores move on.
#[test]
fn a_transaction_may_exchange_everything() {
    for capacity in [1_u64, 7, 64, 1000] {
        let mut writer = Writer::new(1, 3);
        let table = Table::new(&mut writer, capacity as usize);
        let acl = TernaryTable::<[u64; 1], [u64; 1]>::new(&mut writer, capacity as usize);
        let rule = |n: u64| Match { value: [n], mask: [u64::MAX], priority: 1 };
        for round in 0..4 {
            for n in 0..capacity {
                if round > 0 {
                    table.remove(&mut writer, &[(round - 1) * capacity + n]).unwrap();
                    acl.remove(&mut writer, &rule((round - 1) * capacity + n)).unwrap();
                }
            }
            for n in round * capacity..(round + 1) * capacity {
                let index = table.insert(&mut writer, &[n], &[n]).unwrap();
                assert!(index.index() < table.index_limit());
                acl.insert(&mut writer, &rule(n), &[n]).unwrap();
            }
            let now = writer.publish();
            for n in 0..4 * capacity {
                let there = n / capacity == round;
                assert_eq!(value(&table, now, n), there.then_some(n));
                assert_eq!(acl.lookup(now, &[n]).map(|(_, [entry])| entry), there.then_some(n));
            }
            writer.reclaim(usize::MAX);
        }
    }
}

/// An lcore that stays where it is stops the writer before generations could be mistaken for each other, and not earlier.
#[test]
fn the_writer_waits_for_an_lcore_thousands_of_generations_behind() {
    let mut writer = Writer::new(1, 1);
    let table = Table::new(&mut writer, 20_000);
    let mut lcore = writer.lcore().unwrap();
    table.insert(&mut writer, &[0], &[7]).unwrap();
    writer.publish();
    let old = lcore.enter();
    let mut key = 1;
    while table.insert(&mut writer, &[key], &[key]).is_ok() {
        writer.publish();
        writer.reclaim(10);
        key += 1;
    }
    assert_eq!(table.insert(&mut writer, &[key], &[key]), Err(StageError::ReadersBehind));
    assert!((16_000..=16_384).contains(&(writer.current().number() - old.number())));
    let seen = |generation| (0..key).filter(|&key| value(&table, generation, key).is_some()).count() as u64;
    assert_eq!((seen(old), seen(writer.current())), (1, key));
    lcore.enter();
    table.insert(&mut writer, &[key], &[key]).expect("staging reclaims what is too old by itself");
    assert_eq!(seen(lcore.enter()), key);
}

#[test]
fn a_rolled_back_transaction_leaves_no_trace() {
    let mut writer = Writer::new(1, 1);
    let table = Table::new(&mut writer, 4);
    let default = Versioned::new(&mut writer, &[1_u64]);
    table.insert(&mut writer, &[1], &[1]).unwrap();
    let now = writer.publish();
    table.modify(&mut writer, &[1], &[2]).unwrap();
    table.remove(&mut writer, &[1]).unwrap();
    table.insert(&mut writer, &[1], &[3]).unwrap();
    let savepoint = writer.savepoint();
    table.insert(&mut writer, &[2], &[4]).unwrap();
    default.set(&mut writer, &[9]).unwrap();
    let staging = writer.staging();
    assert_eq!((value(&table, staging, 1), value(&table, staging, 2), default.read(staging)), (Some(3), Some(4), [9]));
    writer.rollback_to(savepoint);
    assert_eq!((value(&table, staging, 1), value(&table, staging, 2), default.read(staging)), (Some(3), None, [1]));
    writer.rollback();
    assert_eq!((value(&table, staging, 1), table.len(), writer.staged()), (Some(1), 1, 0));
    // Another transaction takes the same generation.
    table.insert(&mut writer, &[5], &[5]).unwrap();
    let next = writer.publish();
    assert_eq!(next, staging);
    assert_eq!([1, 2, 5].map(|key| value(&table, next, key)), [Some(1), None, Some(5)]);
    assert_eq!((value(&table, now, 5), default.read(next)), (None, [1]));
}

#[test]
#[should_panic(expected = "a savepoint that is gone")]
fn a_savepoint_ends_with_its_transaction() {
    let mut writer = Writer::new(0, 1);
    let savepoint = writer.savepoint();
    writer.publish();
    writer.rollback_to(savepoint);
}

#[test]
#[should_panic(expected = "the writer that it was made with")]
fn a_table_has_one_writer() {
    let (mut one, mut other) = (Writer::new(0, 1), Writer::new(0, 1));
    let (table, _) = (Table::new(&mut one, 1), Table::new(&mut other, 1));
    let _ = table.insert(&mut other, &[1], &[1]);
}

#[test]
fn a_default_action_waits_when_eight_versions_are_seen() {
    let mut writer = Writer::new(1, 1);
    let default = Versioned::new(&mut writer, &[0_u64, 0]);
    let mut lcore = writer.lcore().unwrap();
    let old = lcore.enter();
    for n in 1..8 {
        default.set(&mut writer, &[n, n]).unwrap();
        writer.publish();
        assert_eq!((default.read(writer.current()), default.read(old)), ([n, n], [0, 0]));
    }
    assert_eq!(default.set(&mut writer, &[8, 8]), Err(StageError::NoRoomYet));
    lcore.enter();
    assert_eq!(writer.reclaim(usize::MAX), 14);
    default.set(&mut writer, &[8, 8]).unwrap();
}

#[test]
fn malformed_matches_are_refused() {
    let mut writer = Writer::new(0, 1);
    let routes = LpmTable::<[u64; 1], [u64; 1]>::new(&mut writer, 4, 32);
    let prefix = |value, length| Prefix { exact: [9], value, length };
    assert_eq!(routes.insert(&mut writer, &prefix(0, 33), &[1]), Err(StageError::BadMatch));
    // Bits behind the prefix and above the field do not count.
    routes.insert(&mut writer, &prefix(0xf_0a00_0001, 8), &[1]).unwrap();
    assert_eq!(routes.insert(&mut writer, &prefix(0x0a00_0000, 8), &[1]), Err(StageError::Exists));
    let now = writer.publish();
    assert_eq!(routes.lookup(now, &[9], 0x0a12_3456), Some((EntryIndex(0), [1])));
    assert_eq!((routes.lookup(now, &[9], 0x0b12_3456), routes.lookup(now, &[8], 0x0a12_3456)), (None, None));
    routes.for_each(now, |_, shown, _| assert_eq!(shown, prefix(0x0a00_0000, 8)));
}

/// Among entries of equal priority the one with the lowest index is taken, in whatever slots they are.
#[test]
fn equal_priorities_are_decided_by_index() {
    let mut writer = Writer::new(0, 1);
    let acl = TernaryTable::<[u64; 1], [u64; 1]>::new(&mut writer, 8);
    let rule = |mask: u64| Match { value: [0], mask: [mask], priority: 7 };
    let first = acl.insert(&mut writer, &rule(1), &[1]).unwrap();
    acl.insert(&mut writer, &rule(2), &[2]).unwrap();
    writer.publish();
    acl.modify(&mut writer, &rule(1), &[3]).unwrap();
    let now = writer.publish();
    assert_eq!(acl.lookup(now, &[0]), Some((first, [3])));
    let greater = Match { priority: 8, ..rule(4) };
    acl.insert(&mut writer, &greater, &[4]).unwrap();
    let negative = Match { priority: -1, ..rule(0) };
    acl.insert(&mut writer, &negative, &[5]).unwrap();
    let now = writer.publish();
    let entry = |key| acl.lookup(now, &[key]).map(|(_, [entry])| entry);
    assert_eq!([entry(0), entry(4), entry(5), entry(7)], [Some(4), Some(3), Some(2), Some(5)]);
}

/// A table is passed over as long as nobody can see an entry, and no longer: from the first that is staged until the last is
/// reclaimed, or rolled back.
#[test]
fn a_table_is_vacant_while_no_generation_has_an_entry() {
    let mut writer = Writer::new(1, 3);
    let table = Table::new(&mut writer, 8);
    let prefixes = LpmTable::<[u64; 0], [u64; 1]>::new(&mut writer, 8, 32);
    let masked = TernaryTable::<[u64; 1], [u64; 1]>::new(&mut writer, 8);
    let prefix = Prefix { exact: [], value: 7, length: 32 };
    let matched = Match { value: [1], mask: [1], priority: 1 };
    let vacant = || [table.is_vacant(), prefixes.is_vacant(), masked.is_vacant()];
    let fill = |writer: &mut Writer| {
        table.insert(writer, &[1], &[1]).unwrap();
        prefixes.insert(writer, &prefix, &[1]).unwrap();
        masked.insert(writer, &matched, &[1]).unwrap();
    };
    assert_eq!(vacant(), [true; 3]);
    fill(&mut writer);
    assert_eq!(vacant(), [false; 3], "staged");
    writer.rollback();
    assert_eq!(vacant(), [true; 3], "rolled back");
    fill(&mut writer);
    writer.publish();
    let mut lcore = writer.lcore().unwrap();
    let old = lcore.enter();
    table.remove(&mut writer, &[1]).unwrap();
    prefixes.remove(&mut writer, &prefix).unwrap();
    masked.remove(&mut writer, &matched).unwrap();
    writer.publish();
    writer.reclaim(usize::MAX);
    assert_eq!(vacant(), [false; 3], "an lcore still sees them");
    assert!(table.lookup(old, &[1], table.hash(&[1])).is_some());
    lcore.enter();
    writer.reclaim(usize::MAX);
    assert_eq!(vacant(), [true; 3], "nobody does");
}

/// A few entries are looked up without a prefetch; when there are more, or old versions are still there, lookups are told.
#[test]
fn a_table_is_small_up_to_32_slots() {
    let mut writer = Writer::new(0, 3);
    let table = Table::new(&mut writer, 100);
    for n in 0..40 {
        assert_eq!((table.is_small(), table.is_vacant()), (n <= 32, n == 0), "{n} entries");
        table.insert(&mut writer, &[n], &[n]).unwrap();
    }
    writer.publish();
    for n in 0..40 {
        assert!(!table.is_small());
        table.remove(&mut writer, &[n]).unwrap();
    }
    writer.publish();
    writer.reclaim(usize::MAX);
    assert!(table.is_small() && table.is_vacant());
}
