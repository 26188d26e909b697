//! Random histories: every table against the plain list, with lcores in several generations at once.
//!
//! A step stages, publishes, rolls back, reclaims, or moves an lcore. The model is a list, and a copy of it for each generation
//! that an lcore is in. After each step every lcore looks up every key of the test's small world in its own generation, and
//! the writer in what it has staged.

use gantry_table::{
    EntryIndex, ExactTable, Generation, Lcore, LpmTable, Match, Prefix, RangeField, StageError, TernaryKey,
    TernaryTable, Words, Writer, linear,
};
use proptest::prelude::*;

const LCORES: usize = 3;

#[derive(Clone, Debug)]
enum Step<K> {
    Insert(K),
    Modify(K),
    Remove(K),
    Publish,
    Rollback,
    /// Stages these and takes them back, but not what was staged before.
    Nested(Vec<(bool, K)>),
    Reclaim(usize),
    Enter(usize),
    Leave(usize),
}

fn steps<K: Clone + std::fmt::Debug>(key: impl Strategy<Value = K> + Clone) -> impl Strategy<Value = Vec<Step<K>>> {
    let nested = prop::collection::vec((any::<bool>(), key.clone()), 1..4);
    let step = prop_oneof![
        6 => key.clone().prop_map(Step::Insert),
        4 => key.clone().prop_map(Step::Modify),
        4 => key.prop_map(Step::Remove),
        5 => Just(Step::Publish),
        1 => Just(Step::Rollback),
        1 => nested.prop_map(Step::Nested),
        3 => (0..6_usize).prop_map(Step::Reclaim),
        4 => (0..LCORES).prop_map(Step::Enter),
        1 => (0..LCORES).prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..160)
}

/// What a lookup finds.
type Found = (EntryIndex, [u64; 2]);

type Model<K> = linear::Exact<K, Found>;

/// A table under test, and what its lookups ask.
trait Kind {
    type Key: Copy + PartialEq + std::fmt::Debug;
    type Probe: Copy + std::fmt::Debug;

    fn insert(&self, writer: &mut Writer, key: &Self::Key, entry: &[u64; 2]) -> Result<EntryIndex, StageError>;
    fn modify(&self, writer: &mut Writer, key: &Self::Key, entry: &[u64; 2]) -> Result<EntryIndex, StageError>;
    fn remove(&self, writer: &mut Writer, key: &Self::Key) -> Result<EntryIndex, StageError>;
    fn lookup(&self, generation: Generation, probe: &Self::Probe) -> Option<Found>;
    fn all(&self, generation: Generation) -> Vec<(Self::Key, Found)>;
    fn len(&self) -> usize;
    fn expected(model: &Model<Self::Key>, probe: &Self::Probe) -> Option<Found>;
}

/// A generation that an lcore is in, and what it sees there.
type State<T> = (Generation, Model<<T as Kind>::Key>);

struct World<'a, T: Kind> {
    writer: Writer,
    table: T,
    lcores: Vec<(Lcore, Option<State<T>>)>,
    published: Model<T::Key>,
    staged: Model<T::Key>,
    entries: u64,
    probes: &'a [T::Probe],
}

impl<T: Kind> World<'_, T> {
    fn stage(&mut self, key: T::Key, change: impl Fn(&mut Model<T::Key>, &T, &mut Writer, [u64; 2]) -> Outcome) {
        self.entries += 1;
        let mut model = self.staged.clone();
        let before = self.writer.staged();
        let (expected, real) = change(&mut model, &self.table, &mut self.writer, [self.entries, !self.entries]);
        match (expected, real) {
            (Ok(()), Ok(_)) => self.staged = model,
            (Ok(()), Err(StageError::NoRoomYet)) => {
                assert!(self.writer.unsettled() + self.writer.staged() > 0, "no room for {key:?} without old versions");
            }
            (expected, real) => assert_eq!(expected.err(), real.err(), "{key:?}"),
        }
        if real.is_err() {
            assert_eq!(self.writer.staged(), before, "a refusal stages nothing");
        }
    }

    fn insert(&mut self, key: T::Key) {
        let seen: Vec<EntryIndex> = (self.lcores.iter())
            .filter_map(|(_, inside)| inside.as_ref())
            .flat_map(|(_, model)| model.entries.iter().map(|(_, (index, _))| *index))
            .collect();
        self.stage(key, |model, table, writer, entry| {
            let real = table.insert(writer, &key, &entry);
            if let Ok(index) = real {
                let taken = model.entries.iter().any(|(_, (other, _))| *other == index) || seen.contains(&index);
                assert!(!taken, "{index:?} belongs to an entry that somebody sees");
            }
            // A refusal for want of room has no index to compare.
            (model.insert(key, (real.unwrap_or(EntryIndex(u32::MAX)), entry)), real)
        });
    }

    fn step(&mut self, step: &Step<T::Key>) {
        match step {
            Step::Insert(key) => self.insert(*key),
            Step::Modify(key) => self.stage(*key, |model, table, writer, entry| {
                let index = model.lookup(key).map_or(EntryIndex(u32::MAX), |(index, _)| index);
                let real = table.modify(writer, key, &entry);
                assert!(real.is_err() || real == Ok(index), "a modification keeps the index");
                (model.modify(key, (index, entry)), real)
            }),
            Step::Remove(key) => self.stage(*key, |model, table, writer, _| {
                let index = model.lookup(key).map(|(index, _)| index);
                let real = table.remove(writer, key);
                assert_eq!(real.ok(), index);
                (model.remove(key), real)
            }),
            Step::Publish => {
                let before = self.writer.current();
                let moved = self.writer.staged() > 0;
                assert_eq!(self.writer.publish().number(), before.number() + u64::from(moved));
                self.published = self.staged.clone();
            }
            Step::Rollback => {
                self.writer.rollback();
                self.staged = self.published.clone();
            }
            Step::Nested(changes) => {
                let (savepoint, kept) = (self.writer.savepoint(), self.staged.clone());
                for (insert, key) in changes {
                    self.step(&if *insert { Step::Insert(*key) } else { Step::Modify(*key) });
                    self.step(&Step::Remove(*key));
                }
                self.writer.rollback_to(savepoint);
                self.staged = kept;
            }
            Step::Reclaim(budget) => assert!(self.writer.reclaim(*budget) <= *budget),
            Step::Enter(at) => {
                let generation = self.lcores[*at].0.enter();
                assert_eq!(generation, self.writer.current());
                self.lcores[*at].1 = Some((generation, self.published.clone()));
            }
            Step::Leave(at) => {
                self.lcores[*at].0.leave();
                self.lcores[*at].1 = None;
            }
        }
    }

    fn check(&self) {
        let staging = (self.writer.staging(), self.staged.clone());
        let current = (self.writer.current(), self.published.clone());
        let inside = self.lcores.iter().filter_map(|(_, inside)| inside.as_ref());
        for (generation, model) in inside.chain([&staging, &current]) {
            for probe in self.probes {
                let expected = T::expected(model, probe);
                assert_eq!(self.table.lookup(*generation, probe), expected, "{probe:?} in {generation:?}");
            }
            let order = |(_, (index, _)): &(T::Key, Found)| *index;
            let (mut all, mut expected) = (self.table.all(*generation), model.entries.clone());
            all.sort_by_key(order);
            expected.sort_by_key(order);
            assert_eq!(all, expected, "all of {generation:?}");
        }
        assert_eq!(self.table.len(), self.staged.entries.len());
    }
}

type Outcome = (Result<(), StageError>, Result<EntryIndex, StageError>);

fn run<T: Kind>(
    first: u64,
    capacity: usize,
    make: impl Fn(&mut Writer) -> T,
    probes: &[T::Probe],
    steps: &[Step<T::Key>],
) {
    let mut writer = Writer::starting_at(first, LCORES, first);
    let table = make(&mut writer);
    let lcores = (0..LCORES).map(|_| (writer.lcore().unwrap(), None)).collect();
    assert!(writer.lcore().is_none());
    let model = Model::<T::Key>::new(capacity);
    let mut world = World { writer, table, lcores, published: model.clone(), staged: model, entries: 0, probes };
    for step in steps {
        world.step(step);
        world.check();
    }
    // All is given back in the end.
    world.lcores.iter_mut().for_each(|(lcore, _)| lcore.leave());
    world.writer.rollback();
    let left = world.writer.unsettled();
    assert_eq!((world.writer.reclaim(usize::MAX), world.writer.unsettled()), (left, 0));
    for (key, _) in world.published.entries.clone() {
        world.table.remove(&mut world.writer, &key).unwrap();
    }
    world.writer.publish();
    world.writer.reclaim(usize::MAX);
    let current = world.writer.current();
    assert!(world.table.all(current).is_empty() && world.table.len() == 0);
}

/// An exact table whose keys have N words: two, one and none of its slots share a line.
struct Exact<const N: usize>(ExactTable<[u64; N], [u64; 2]>);

impl<const N: usize> Kind for Exact<N> {
    type Key = [u64; N];
    type Probe = [u64; N];

    fn insert(&self, writer: &mut Writer, key: &[u64; N], entry: &[u64; 2]) -> Result<EntryIndex, StageError> {
        self.0.insert(writer, key, entry)
    }
    fn modify(&self, writer: &mut Writer, key: &[u64; N], entry: &[u64; 2]) -> Result<EntryIndex, StageError> {
        self.0.modify(writer, key, entry)
    }
    fn remove(&self, writer: &mut Writer, key: &[u64; N]) -> Result<EntryIndex, StageError> {
        self.0.remove(writer, key)
    }
    fn lookup(&self, generation: Generation, probe: &[u64; N]) -> Option<Found> {
        self.0.lookup(generation, probe, self.0.hash(probe))
    }
    fn all(&self, generation: Generation) -> Vec<([u64; N], Found)> {
        // In pieces, as a dump does it.
        let (mut all, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            from = self.0.scan(generation, at, 7, |index, key, entry| all.push((key, (index, entry))));
        }
        all
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn expected(model: &Model<[u64; N]>, probe: &[u64; N]) -> Option<Found> {
        model.lookup(probe)
    }
}

const WIDTH: u8 = 8;

struct Lpm(LpmTable<[u64; 1], [u64; 2]>);

impl Kind for Lpm {
    type Key = Prefix<[u64; 1]>;
    type Probe = ([u64; 1], u128);

    fn insert(&self, writer: &mut Writer, key: &Self::Key, entry: &[u64; 2]) -> Result<EntryIndex, StageError> {
        self.0.insert(writer, key, entry)
    }
    fn modify(&self, writer: &mut Writer, key: &Self::Key, entry: &[u64; 2]) -> Result<EntryIndex, StageError> {
        self.0.modify(writer, key, entry)
    }
    fn remove(&self, writer: &mut Writer, key: &Self::Key) -> Result<EntryIndex, StageError> {
        self.0.remove(writer, key)
    }
    fn lookup(&self, generation: Generation, (exact, value): &Self::Probe) -> Option<Found> {
        self.0.lookup(generation, exact, *value)
    }
    fn all(&self, generation: Generation) -> Vec<(Self::Key, Found)> {
        let mut all = Vec::new();
        self.0.for_each(generation, |index, key, entry| {
            assert_eq!(self.0.entry(generation, &key), Some((index, entry)));
            all.push((key, (index, entry)));
        });
        all
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn expected(model: &Model<Self::Key>, (exact, value): &Self::Probe) -> Option<Found> {
        linear::longest_prefix(model, WIDTH, exact, *value)
    }
}

/// A byte under a mask beside six bits by range, over the border of a nibble.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule {
    masked: u8,
    ranged: u8,
}

impl Words for Rule {
    type Array = [u64; 2];

    fn to_words(&self) -> [u64; 2] {
        [u64::from(self.ranged) << 1, u64::from(self.masked) << 56]
    }
    fn from_words([ranged, masked]: [u64; 2]) -> Self {
        Self { masked: (masked >> 56) as u8, ranged: (ranged >> 1) as u8 }
    }
}

impl TernaryKey for Rule {
    const RANGES: &'static [RangeField] = &[RangeField { word: 0, shift: 1, bits: 6 }];
}

struct Ternary(TernaryTable<Rule, [u64; 2]>);

impl Kind for Ternary {
    type Key = Match<Rule>;
    type Probe = Rule;

    fn insert(&self, writer: &mut Writer, key: &Self::Key, entry: &[u64; 2]) -> Result<EntryIndex, StageError> {
        self.0.insert(writer, key, entry)
    }
    fn modify(&self, writer: &mut Writer, key: &Self::Key, entry: &[u64; 2]) -> Result<EntryIndex, StageError> {
        self.0.modify(writer, key, entry)
    }
    fn remove(&self, writer: &mut Writer, key: &Self::Key) -> Result<EntryIndex, StageError> {
        self.0.remove(writer, key)
    }
    fn lookup(&self, generation: Generation, probe: &Rule) -> Option<Found> {
        self.0.lookup(generation, probe)
    }
    fn all(&self, generation: Generation) -> Vec<(Self::Key, Found)> {
        let mut all = Vec::new();
        self.0.for_each(generation, |index, key, entry| {
            assert_eq!(self.0.entry(generation, &key), Some((index, entry)));
            all.push((key, (index, entry)));
        });
        all
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn expected(model: &Model<Self::Key>, probe: &Rule) -> Option<Found> {
        linear::most_important(&listed(model), probe).map(|(_, entry)| entry)
    }
}

/// [`linear::most_important`] wants the index beside the entry.
fn listed(model: &Model<Match<Rule>>) -> linear::Exact<Match<Rule>, (EntryIndex, Found)> {
    let mut listed = linear::Exact::new(usize::MAX);
    model.entries.iter().for_each(|(key, entry)| listed.insert(*key, (entry.0, *entry)).unwrap());
    listed
}

fn prefix() -> impl Strategy<Value = Prefix<[u64; 1]>> + Clone {
    (0..2_u64, any::<u8>(), prop_oneof![Just(0_u8), Just(8), 0..=8_u8]).prop_map(|(exact, value, length)| {
        let value = u128::from(value & 0xf3) >> (8 - length) << (8 - length);
        Prefix { exact: [exact], value, length }
    })
}

fn matched() -> impl Strategy<Value = Match<Rule>> + Clone {
    let mask = prop_oneof![Just(0_u8), Just(0xff), Just(0xf0), Just(0x83)];
    let range = prop_oneof![Just((0_u8, 63_u8)), Just((5, 9)), Just((20, 20)), Just((31, 50))];
    (0..4_u8, mask, range, 1..4_i32).prop_map(|(masked, mask, (low, high), priority)| Match {
        value: Rule { masked: masked.wrapping_mul(0x55) & mask, ranged: low },
        mask: Rule { masked: mask, ranged: high },
        priority,
    })
}

/// Generations to begin at: the first, and some whose codes in stamps start anew in the middle of a history.
fn first() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1_u64), Just((1 << 15) - 8), Just((1 << 14) - 8), Just((1 << 48) - 8)]
}

fn words<const N: usize>() -> impl Strategy<Value = [u64; N]> + Clone {
    (0..14_u64).prop_map(|n| std::array::from_fn(|at| n << (at * 7)))
}

fn exact<const N: usize>(first: u64, steps: &[Step<[u64; N]>]) {
    let probes: Vec<[u64; N]> = (0..14_u64).map(|n| std::array::from_fn(|at| n << (at * 7))).collect();
    run(first, 8, |writer| Exact(ExactTable::new(writer, 8)), &probes, steps);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_exact_table_agrees_with_a_list(first in first(), steps in steps(words::<1>())) {
        exact(first, &steps);
    }

    #[test]
    fn an_exact_table_of_long_keys_agrees_with_a_list(first in first(), steps in steps(words::<4>())) {
        exact(first, &steps);
    }

    #[test]
    fn an_exact_table_of_slots_longer_than_a_line_agrees_with_a_list(first in first(), steps in steps(words::<9>())) {
        exact(first, &steps);
    }

    #[test]
    fn a_prefix_table_agrees_with_a_list(first in first(), steps in steps(prefix())) {
        let probes: Vec<_> = (0..2).flat_map(|x| (0..=255).step_by(5).map(move |value| ([x], value))).collect();
        run(first, 10, |writer| Lpm(LpmTable::new(writer, 10, WIDTH)), &probes, &steps);
    }

    #[test]
    fn a_ternary_table_agrees_with_a_list(first in first(), steps in steps(matched())) {
        let ranged = [0, 4, 5, 9, 10, 20, 31, 50, 51, 63];
        let masked = [0, 0x55, 0xaa, 0xff, 0x50, 0x81];
        let probes: Vec<_> =
            ranged.iter().flat_map(|&ranged| masked.map(|masked| Rule { masked, ranged })).collect();
        run(first, 40, |writer| Ternary(TernaryTable::new(writer, 40)), &probes, &steps);
    }
}
