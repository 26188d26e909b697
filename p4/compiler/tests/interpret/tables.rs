//! Tables: which entry wins, what may be put in, what comes with the program.

use gantry_p4c::interpret::{EntryError, EntryId, Machine};
use gantry_p4c::ir::{ActionId, ActionScope, Entry, Match, MatchKind, TableAction, TableId};
use proptest::prelude::*;

use crate::build::{Build, value};

const SET: ActionId = ActionId(1);

/// A table with keys of these widths and kinds; entries run an action with one argument of 8 bits.
fn table(keys: &[(u8, MatchKind)]) -> (Build, TableId) {
    let mut build = Build::new();
    let vars: Vec<_> = keys.iter().map(|(bits, kind)| (build.local("key", *bits), *kind)).collect();
    let miss = build.action("C.miss", &[], |_, _| vec![]);
    let set = build.action("C.set", &[("to", 8)], |_, _| vec![]);
    let table = build.table("C.t", &vars, &[miss, set]);
    (build, table)
}

fn entry(matches: &[Match], priority: i32, argument: u128) -> Entry {
    Entry { matches: matches.to_vec(), priority, action: SET, arguments: vec![argument] }
}

/// The argument of the entry that is hit.
fn hit(machine: &Machine<'_>, table: TableId, key: &[u128]) -> Option<u128> {
    machine.table(table).lookup(key).map(|row| row.entry.arguments[0])
}

fn mask(value: u128, mask: u128) -> Match {
    Match::Mask { value, mask }
}

fn prefix(value: u128, length: u8) -> Match {
    Match::Prefix { value, length }
}

#[test]
fn exact_keys_match_in_all_their_bits() {
    let (build, table) = table(&[(8, MatchKind::Exact), (128, MatchKind::Exact)]);
    let mut machine = Machine::new(&build.program);
    assert_eq!(machine.entries(table).insert(&entry(&[value(1), value(u128::MAX)], 0, 10)), Ok(EntryId(0)));
    assert_eq!(machine.entries(table).insert(&entry(&[value(1), value(0)], 0, 11)), Ok(EntryId(1)));
    assert_eq!(hit(&machine, table, &[1, u128::MAX]), Some(10));
    assert_eq!(hit(&machine, table, &[1, 0]), Some(11));
    assert_eq!(hit(&machine, table, &[1, 1]), None);
    assert_eq!(hit(&machine, table, &[0, 0]), None);
}

#[test]
fn the_longest_prefix_wins() {
    let (build, table) = table(&[(32, MatchKind::Lpm)]);
    let mut machine = Machine::new(&build.program);
    let entries = machine.entries(table);
    for (wanted, argument) in [
        (prefix(0x0a00_0000, 8), 8),
        (prefix(0x0a01_0200, 24), 24),
        (Match::Any, 0),
        (prefix(0x0a01_0000, 16), 16),
        (value(0x0a01_0203), 32),
    ] {
        entries.insert(&entry(&[wanted], 0, argument)).expect("it fits");
    }
    for (key, wanted) in [(0x0a01_0203, 32), (0x0a01_0204, 24), (0x0a01_0304, 16), (0x0aff_0000, 8), (0x0b00_0000, 0)] {
        assert_eq!(hit(&machine, table, &[key]), Some(wanted), "{key:x}");
    }
    // However it is written, a prefix is there once.
    let entries = machine.entries(table);
    assert_eq!(entries.insert(&entry(&[prefix(0x0a01_02ff, 24)], 0, 1)), Err(EntryError::Exists));
    assert_eq!(entries.insert(&entry(&[prefix(0, 0)], 0, 1)), Err(EntryError::Exists));
    assert_eq!(entries.insert(&entry(&[prefix(0x0a01_0203, 32)], 0, 1)), Err(EntryError::Exists));
}

#[test]
fn the_highest_priority_wins_and_then_the_first() {
    let (build, table) = table(&[(16, MatchKind::Ternary), (8, MatchKind::Range), (8, MatchKind::Optional)]);
    let mut machine = Machine::new(&build.program);
    let entries = machine.entries(table);
    let range = |low, high| Match::Range { low, high };
    for (matches, priority, argument) in [
        ([Match::Any, Match::Any, Match::Any], 1, 1),
        ([mask(0x1200, 0xff00), Match::Any, Match::Any], 5, 2),
        ([Match::Any, range(10, 20), Match::Any], 5, 3),
        ([value(0x1234), value(15), value(7)], 9, 4),
        ([mask(0, 0), Match::Any, value(7)], 4, 5),
    ] {
        entries.insert(&entry(&matches, priority, argument)).expect("it fits");
    }
    assert_eq!(hit(&machine, table, &[0x1234, 15, 7]), Some(4));
    // Two of priority 5 match: the first that was put in.
    assert_eq!(hit(&machine, table, &[0x12ff, 15, 7]), Some(2));
    assert_eq!(hit(&machine, table, &[0x1300, 20, 7]), Some(3));
    assert_eq!(hit(&machine, table, &[0x1300, 21, 7]), Some(5));
    assert_eq!(hit(&machine, table, &[0x1300, 9, 8]), Some(1));
}

#[test]
fn beside_a_ternary_key_priority_counts_before_the_prefix() {
    let (build, table) = table(&[(8, MatchKind::Lpm), (8, MatchKind::Ternary)]);
    let mut machine = Machine::new(&build.program);
    let entries = machine.entries(table);
    entries.insert(&entry(&[prefix(0x12, 8), Match::Any], 1, 1)).expect("it fits");
    entries.insert(&entry(&[prefix(0x10, 4), Match::Any], 2, 2)).expect("it fits");
    entries.insert(&entry(&[prefix(0x10, 5), Match::Any], 2, 3)).expect("it fits");
    assert_eq!(hit(&machine, table, &[0x12, 0]), Some(3));
    assert_eq!(hit(&machine, table, &[0x1f, 0]), Some(2));
}

#[test]
fn entries_are_changed_and_taken_out_by_their_matches() {
    let (build, table) = table(&[(8, MatchKind::Ternary)]);
    let mut machine = Machine::new(&build.program);
    let entries = machine.entries(table);
    assert_eq!(entries.insert(&entry(&[mask(0x10, 0xf0)], 1, 1)), Ok(EntryId(0)));
    assert_eq!(entries.insert(&entry(&[mask(0x10, 0xf0)], 2, 2)), Ok(EntryId(1)));
    // Bits that do not count are no difference.
    assert_eq!(entries.insert(&entry(&[mask(0x1f, 0xf0)], 2, 2)), Err(EntryError::Exists));
    assert_eq!(entries.modify(&entry(&[mask(0x10, 0xf0)], 2, 3)), Ok(EntryId(1)));
    assert_eq!(entries.modify(&entry(&[mask(0x10, 0xf0)], 3, 3)), Err(EntryError::NotFound));
    assert_eq!(hit(&machine, table, &[0x17]), Some(3));
    let entries = machine.entries(table);
    assert_eq!(entries.delete(&[mask(0x10, 0xf0)], 2), Ok(EntryId(1)));
    assert_eq!(entries.delete(&[mask(0x10, 0xf0)], 2), Err(EntryError::NotFound));
    // A name is never given twice.
    assert_eq!(entries.insert(&entry(&[mask(0x10, 0xf0)], 2, 9)), Ok(EntryId(2)));
    assert_eq!(entries.delete(&[mask(0x10, 0xf0)], 2), Ok(EntryId(2)));
    assert_eq!(hit(&machine, table, &[0x17]), Some(1));
    assert_eq!(machine.table(table).rows().len(), 1);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (mut build, id) = table(&[(8, MatchKind::Ternary)]);
    let scopes = [ActionScope::Default, ActionScope::Both, ActionScope::Entries];
    let other = build.action("C.other", &[], |_, _| vec![]);
    build.declared(id).actions = [ActionId(0), SET, other]
        .into_iter()
        .zip(scopes)
        .map(|(action, scope)| TableAction { action, scope })
        .collect();
    let unlisted = build.action("C.unlisted", &[], |_, _| vec![]);
    let mut machine = Machine::new(&build.program);
    let entries = machine.entries(id);
    let good = entry(&[value(1)], 1, 1);
    let mut refused = |change: &dyn Fn(&mut Entry), error| {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(entries.insert(&bad), Err(error), "{bad:?}");
    };
    refused(&|entry| entry.matches.clear(), EntryError::Matches);
    refused(&|entry| entry.matches = vec![value(256)], EntryError::Value(0));
    refused(&|entry| entry.matches = vec![mask(0, 256)], EntryError::Value(0));
    refused(&|entry| entry.matches = vec![prefix(0, 4)], EntryError::Kind(0));
    refused(&|entry| entry.matches = vec![Match::Range { low: 0, high: 1 }], EntryError::Kind(0));
    refused(&|entry| entry.priority = 0, EntryError::Priority);
    refused(&|entry| entry.priority = -1, EntryError::Priority);
    refused(&|entry| entry.arguments.clear(), EntryError::Arguments);
    refused(&|entry| entry.arguments = vec![256], EntryError::Arguments);
    refused(&|entry| (entry.action, entry.arguments) = (ActionId(0), vec![]), EntryError::Action);
    refused(&|entry| entry.action = unlisted, EntryError::Action);
    assert_eq!(entries.insert(&good), Ok(EntryId(0)));

    assert_eq!(entries.set_default(other, &[]), Err(EntryError::Action));
    assert_eq!(entries.set_default(SET, &[]), Err(EntryError::Arguments));
    assert_eq!(entries.set_default(SET, &[5]), Ok(()));
    assert_eq!(entries.default_action(), (SET, &[5][..]));

    let (build, id) = table(&[(8, MatchKind::Exact), (8, MatchKind::Range)]);
    let mut machine = Machine::new(&build.program);
    let entries = machine.entries(id);
    assert_eq!(entries.insert(&entry(&[Match::Any, Match::Any], 1, 1)), Err(EntryError::Kind(0)));
    let empty = Match::Range { low: 2, high: 1 };
    assert_eq!(entries.insert(&entry(&[value(0), empty], 1, 1)), Err(EntryError::Value(1)));

    let (build, id) = table(&[(8, MatchKind::Exact)]);
    let mut machine = Machine::new(&build.program);
    assert_eq!(machine.entries(id).insert(&entry(&[value(0)], 1, 1)), Err(EntryError::Priority));

    let (build, id) = table(&[]);
    let mut machine = Machine::new(&build.program);
    assert_eq!(machine.entries(id).insert(&entry(&[], 0, 1)), Err(EntryError::Keyless));
    assert!(machine.table(id).lookup(&[]).is_none());
}

#[test]
fn the_programs_own_entries_are_there_and_may_be_fixed() {
    let (mut build, id) = table(&[(8, MatchKind::Ternary)]);
    let own = vec![entry(&[value(1)], 2, 10), entry(&[Match::Any], 1, 11)];
    build.declared(id).entries = own;
    build.declared(id).const_default = true;
    {
        // `entries` without `const`: others may come, and these may change (P4_16 §14.2.1.4).
        let mut machine = Machine::new(&build.program);
        assert_eq!((hit(&machine, id, &[1]), hit(&machine, id, &[2])), (Some(10), Some(11)));
        let entries = machine.entries(id);
        assert_eq!(entries.insert(&entry(&[value(2)], 3, 12)), Ok(EntryId(2)));
        assert_eq!(entries.delete(&[Match::Any], 1), Ok(EntryId(1)));
        assert_eq!(entries.set_default(ActionId(0), &[]), Err(EntryError::Constant));
        assert_eq!((hit(&machine, id, &[2]), hit(&machine, id, &[3])), (Some(12), None));
    }
    build.declared(id).const_entries = true;
    let mut machine = Machine::new(&build.program);
    assert!(machine.table(id).rows().iter().all(|row| row.constant));
    let entries = machine.entries(id);
    assert_eq!(entries.insert(&entry(&[value(2)], 3, 12)), Err(EntryError::Constant));
    assert_eq!(entries.modify(&entry(&[value(1)], 2, 12)), Err(EntryError::Constant));
    assert_eq!(entries.delete(&[value(1)], 2), Err(EntryError::Constant));
    assert_eq!(hit(&machine, id, &[1]), Some(10));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a table written out: for every key of 8 bits, the entry that its definition names.
    #[test]
    fn lookups_agree_with_a_table_written_out(
        rules in prop::collection::vec((any::<u8>(), any::<u8>(), 1..4_i32), 0..12),
        lengths in prop::collection::vec((any::<u8>(), 0..=8_u8), 0..12),
    ) {
        let (build, id) = table(&[(8, MatchKind::Ternary)]);
        let mut machine = Machine::new(&build.program);
        let mut written: Vec<Option<(i32, u128)>> = vec![None; 256];
        for (number, (wanted, bits, priority)) in (0..).zip(&rules) {
            let new = entry(&[mask((*wanted).into(), (*bits).into())], *priority, number);
            if machine.entries(id).insert(&new).is_err() {
                continue;
            }
            for (key, cell) in (0_u8..=255).zip(&mut written) {
                if (key ^ wanted) & bits == 0 && cell.is_none_or(|(best, _)| best < *priority) {
                    *cell = Some((*priority, number));
                }
            }
        }
        for (key, cell) in (0..).zip(&written) {
            prop_assert_eq!(hit(&machine, id, &[key]), cell.map(|(_, number)| number));
        }

        let (build, id) = table(&[(8, MatchKind::Lpm)]);
        let mut machine = Machine::new(&build.program);
        let mut written: Vec<Option<(u8, u128)>> = vec![None; 256];
        for (number, (wanted, length)) in (0..).zip(&lengths) {
            if machine.entries(id).insert(&entry(&[prefix((*wanted).into(), *length)], 0, number)).is_err() {
                continue;
            }
            for (key, cell) in (0_u8..=255).zip(&mut written) {
                if (key ^ wanted).leading_zeros() >= u32::from(*length) && cell.is_none_or(|(best, _)| best < *length) {
                    *cell = Some((*length, number));
                }
            }
        }
        for (key, cell) in (0..).zip(&written) {
            prop_assert_eq!(hit(&machine, id, &[key]), cell.map(|(_, number)| number));
        }
    }
}
