//! Stories of one writer and an lcore: what must hold in each.

use crate::atomic::{AtomicU64, Ordering};
use crate::counters::{CounterValue, Counters};
use crate::readers::{Lcore, Readers};
use crate::sequence::Sequence;
use crate::slots::Slots;
use crate::stamp::Stamp;
use crate::versioned::Versioned;
use crate::{ExactTable, Generation, Writer};
use alloc::sync::Arc;
use loom::thread;

/// Every story, with its name.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("a slot is whole for an lcore that wakes up", wakes),
    ("a slot is whole for an lcore that goes on", goes_on),
    ("a slot is whole for an lcore that sleeps in between", sleeps),
    ("a slot is whole for an lcore that is told its generation", told),
    ("what an lcore read comes before the slot is used again: it leaves", || read_before(|lcore, _| lcore.leave())),
    ("what an lcore read comes before the slot is used again: it goes on", || {
        read_before(|lcore, _| _ = lcore.enter())
    }),
    ("what an lcore read comes before the slot is used again: it is told to go on", || read_before(told_on)),
    ("a seat is taken over with what its lcore did", seat),
    ("a slot is used again for another entry", reused),
    ("a default action changes as a whole", default_action),
    ("an entry moves from one key to another", entry_moves),
    ("a table is not vacant for whoever sees an entry", vacant),
    ("a counter bank is taken over", bank),
    ("words under a sequence are of one version", sequence),
];

/// Few preemptions show what there is to see, and all orders of the tables' many words take minutes.
fn bounded(story: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(story);
}

const WHOLE: u64 = 7;
const SPOILT: u64 = 13;

/// One entry dies in generation 2, another is born in it: what a reader in generation 1 and one in generation 2 look at. The
/// writer spoils the old one when `reached` says that nobody can be in the generations that saw it.
struct Pair {
    old: AtomicU64,
    new: AtomicU64,
}

impl Pair {
    fn look(&self, generation: Generation) {
        let slot = if generation.0 == 1 { &self.old } else { &self.new };
        assert_eq!(slot.load(Ordering::Relaxed), WHOLE, "in {generation:?}");
    }
}

fn pair(reader: impl Fn(&mut Lcore, &Pair) + Copy + Send + Sync + 'static) {
    loom::model(move || {
        let readers = Arc::new(Readers::new(1, 1));
        let pair = Arc::new(Pair { old: AtomicU64::new(WHOLE), new: AtomicU64::new(SPOILT) });
        let mut lcore = Readers::seat(&readers).unwrap();
        let seen = Arc::clone(&pair);
        let thread = thread::spawn(move || reader(&mut lcore, &seen));
        pair.new.store(WHOLE, Ordering::Relaxed);
        readers.publish(2);
        if readers.reached() >= 2 {
            pair.old.store(SPOILT, Ordering::Relaxed);
        }
        thread.join().unwrap();
        assert_eq!(readers.reached(), 2, "an lcore that is gone holds nothing back");
    });
}

fn wakes() {
    pair(|lcore, pair| pair.look(lcore.enter()));
}

fn goes_on() {
    pair(|lcore, pair| {
        let first = lcore.enter();
        pair.look(first);
        let second = lcore.enter();
        assert!(second >= first, "generations do not go back");
        pair.look(second);
    });
}

fn sleeps() {
    pair(|lcore, pair| {
        pair.look(lcore.enter());
        lcore.leave();
        pair.look(lcore.enter());
    });
}

/// The number of the generation comes by another way (a ring, which orders nothing here); publishing it is what orders.
fn told() {
    loom::model(|| {
        let readers = Arc::new(Readers::new(1, 1));
        let (new, news) = (Arc::new(AtomicU64::new(SPOILT)), Arc::new(AtomicU64::new(1)));
        let mut lcore = Readers::seat(&readers).unwrap();
        lcore.enter();
        let (seen, heard) = (Arc::clone(&new), Arc::clone(&news));
        let thread = thread::spawn(move || {
            let generation = heard.load(Ordering::Acquire);
            if generation == 2 && lcore.enter_at(Generation(2)).0 == 2 {
                assert_eq!(seen.load(Ordering::Relaxed), WHOLE);
            }
        });
        new.store(WHOLE, Ordering::Relaxed);
        readers.publish(2);
        news.store(2, Ordering::Release);
        thread.join().unwrap();
    });
}

/// What an lcore did in generation 1, for which a store stands here, is done when the writer finds that nobody is in it.
fn read_before(moves_on: fn(&mut Lcore, &AtomicU64)) {
    loom::model(move || {
        let readers = Arc::new(Readers::new(1, 1));
        let (done, news) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(1)));
        let mut lcore = Readers::seat(&readers).unwrap();
        let (does, heard) = (Arc::clone(&done), Arc::clone(&news));
        let thread = thread::spawn(move || {
            let Generation(first) = lcore.enter();
            if first == 1 {
                does.store(1, Ordering::Relaxed);
            }
            moves_on(&mut lcore, &heard);
            // The seat stays as it is until the writer has looked.
            (first, lcore)
        });
        readers.publish(2);
        news.store(2, Ordering::Release);
        let seen = (readers.reached() >= 2).then(|| done.load(Ordering::Relaxed));
        let (first, lcore) = thread.join().unwrap();
        assert!(first != 1 || seen != Some(0), "the writer was too soon");
        drop(lcore);
    });
}

/// As when a batch brings a generation: its ring has told the lcore that 2 is published.
fn told_on(lcore: &mut Lcore, news: &AtomicU64) {
    if news.load(Ordering::Acquire) == 2 {
        lcore.enter_at(Generation(2));
    }
}

/// Who takes a seat over finds all that its last lcore did. (It enters no generation here: that fences.)
fn seat() {
    loom::model(|| {
        let readers = Arc::new(Readers::new(1, 1));
        let own = Arc::new(AtomicU64::new(0));
        let one = |readers: &Arc<Readers>, own: &AtomicU64| {
            let Some(_lcore) = Readers::seat(readers) else { return 0 };
            // The seat's alone while it is taken.
            own.store(own.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            1
        };
        let (other, others) = (Arc::clone(&readers), Arc::clone(&own));
        let thread = thread::spawn(move || one(&other, &others));
        let sat = one(&readers, &own) + thread.join().unwrap();
        assert_eq!(own.load(Ordering::Relaxed), sat);
    });
}

/// A slot of two words: an entry dies, the slot is freed when every lcore has passed, another entry is born in it.
fn reused() {
    bounded(|| {
        let readers = Arc::new(Readers::new(1, 1));
        let slots = Arc::new(Slots::<[u64; 2]>::new(1));
        let first = Stamp::born(1, 0).settled();
        slots.slot(0).fill(&[WHOLE, WHOLE], first);
        let mut lcore = Readers::seat(&readers).unwrap();
        let seen = Arc::clone(&slots);
        let thread = thread::spawn(move || {
            let Generation(generation) = lcore.enter();
            let slot = seen.slot(0);
            let stamp = slot.stamp();
            let expected = [None, Some(WHOLE), None, Some(SPOILT)][generation as usize];
            assert_eq!(stamp.visible(generation), expected.is_some(), "in {generation}");
            if let Some(word) = expected {
                assert_eq!(slot.load::<[u64; 2]>(0), [word; 2], "in {generation}");
            }
        });
        slots.slot(0).stamp_as(first.dying(2));
        readers.publish(2);
        if readers.reached() >= 2 {
            slots.slot(0).free();
            slots.slot(0).fill(&[SPOILT, SPOILT], Stamp::born(3, 1));
            readers.publish(3);
        }
        thread.join().unwrap();
    });
}

/// [`Versioned`] with its writer: staged, published, reclaimed.
fn default_action() {
    bounded(|| {
        let mut writer = Writer::new(1, 0);
        let value = Versioned::new(&mut writer, &[1_u64, !1]);
        let (mut lcore, seen) = (writer.lcore().unwrap(), value.clone());
        let thread = thread::spawn(move || {
            let generation = lcore.enter();
            let n = generation.number();
            assert_eq!(seen.read(generation), [n, !n]);
        });
        value.set(&mut writer, &[2, !2]).unwrap();
        writer.publish();
        writer.reclaim(8);
        thread.join().unwrap();
    });
}

/// An [`ExactTable`] of one entry: removed under one key and inserted under another, in one transaction.
fn entry_moves() {
    bounded(|| {
        let mut writer = Writer::new(1, 0);
        let table = ExactTable::<[u64; 1], [u64; 1]>::new(&mut writer, 1);
        table.insert(&mut writer, &[1], &[WHOLE]).unwrap();
        writer.publish();
        let first = writer.current();
        let (mut lcore, seen) = (writer.lcore().unwrap(), table.clone());
        let thread = thread::spawn(move || {
            let generation = lcore.enter();
            let found = [1, 2].map(|key| seen.lookup(generation, &[key], seen.hash(&[key])).map(|(_, entry)| entry));
            let expected = if generation == first { [Some([WHOLE]), None] } else { [None, Some([SPOILT])] };
            assert_eq!(found, expected, "in {generation:?}");
        });
        table.remove(&mut writer, &[1]).unwrap();
        table.insert(&mut writer, &[2], &[SPOILT]).unwrap();
        writer.publish();
        writer.reclaim(8);
        thread.join().unwrap();
    });
}

/// An [`ExactTable`] whose only entry is removed, and which is filled again.
fn vacant() {
    bounded(|| {
        let mut writer = Writer::new(1, 0);
        let table = ExactTable::<[u64; 1], [u64; 1]>::new(&mut writer, 1);
        table.insert(&mut writer, &[1], &[WHOLE]).unwrap();
        writer.publish();
        let first = writer.current();
        let (mut lcore, seen) = (writer.lcore().unwrap(), table.clone());
        let thread = thread::spawn(move || {
            let generation = lcore.enter();
            let vacant = seen.is_vacant();
            assert!(!vacant || generation.number() == first.number() + 1, "vacant in {generation:?}");
        });
        table.remove(&mut writer, &[1]).unwrap();
        writer.publish();
        writer.reclaim(8);
        table.insert(&mut writer, &[2], &[SPOILT]).unwrap();
        writer.publish();
        thread.join().unwrap();
    });
}

/// What one lcore counted is not lost when another takes its bank.
fn bank() {
    loom::model(|| {
        let counters = Counters::new(1, 1);
        let count = |counters: &Counters| {
            counters.bank().map_or(0, |mut bank| {
                bank.count(0, 10);
                1
            })
        };
        let other = counters.clone();
        let thread = thread::spawn(move || count(&other));
        let packets = count(&counters) + thread.join().unwrap();
        assert_eq!(counters.read(0), Some(CounterValue { packets, bytes: 10 * packets }));
    });
}

/// Two words that change together, once or twice.
fn sequence() {
    loom::model(|| {
        let words = Arc::new((Sequence::new(2), AtomicU64::new(1), AtomicU64::new(1)));
        let seen = Arc::clone(&words);
        let thread = thread::spawn(move || {
            let (sequence, a, b) = &*seen;
            let read = sequence.read(0, || (a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)));
            if let Some(((a, b), true)) = read {
                assert_eq!(a, b);
            }
        });
        let (sequence, a, b) = &*words;
        for n in 2..=3 {
            let version = sequence.version();
            sequence.begin(version + 1);
            a.store(n, Ordering::Relaxed);
            b.store(n, Ordering::Relaxed);
            sequence.end(version + 2);
        }
        thread.join().unwrap();
    });
}
