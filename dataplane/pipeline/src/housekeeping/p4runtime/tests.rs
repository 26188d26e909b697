//! Clients' operations against the real tables.

use alloc::vec;

use gantry::channel::operation::NamespaceAdd;
use gantry::channel::table::{
    ABSENT, CounterRead, CounterValue, Field, FieldKind, TableDump, TableEntries, emit_entry,
};
use gantry::packet::{self, AccessAction, AccessKey};
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::*;
use crate::state::Sizes;

fn id(name: &str) -> u32 {
    let packet = packet::TABLES.iter().map(|table| (table.name, table.id));
    let command = gantry::command::TABLES.iter().map(|table| (table.name, table.id));
    packet.chain(command).find(|(of, _)| *of == name).expect("a table of that name").1
}

fn action(name: &str) -> u32 {
    let actions = packet::TABLES.iter().flat_map(|table| table.actions);
    actions.clone().find(|action| action.name == name).expect("an action of that name").id
}

const ACCESS: &str = "PacketControl.access";
const DENY: &str = "PacketControl.deny";
const METER: u32 = 0x14aa_b852;

fn value(value: u128) -> Field {
    Field::new(FieldKind::Value, 0, value, 0)
}

fn any() -> Field {
    Field::new(FieldKind::Any, 0, 0, 0)
}

fn written(verb: Verb, table: u32, priority: u32, fields: &[Field], action: u32, arguments: &[u128]) -> Vec<u8> {
    let mut out = Vec::new();
    let arguments = arguments.iter().copied();
    emit_entry(&mut out, verb, table, priority, fields, action, arguments, 0, b"note");
    out
}

/// An entry of the access list: a source under a mask.
fn access(verb: Verb, priority: u32, source: u128, name: &str) -> Write {
    let class = packet::TABLES.iter().find(|table| table.name == ACCESS).expect("it is there");
    let mut fields = vec![any(); class.keys.len()];
    fields[1] = Field::new(FieldKind::Mask, 0, source, u128::MAX);
    Write::Entry(written(verb, id(ACCESS), priority, &fields, action(name), &[]))
}

fn tenant(verb: Verb, tenant: u128, name: &str) -> Write {
    Write::Entry(written(verb, id("PacketControl.tenants"), 0, &[value(tenant)], action(name), &[]))
}

struct Bench {
    writer: Writer,
    clients: Clients,
    now_ns: u64,
}

impl Bench {
    fn new() -> Self {
        Self { writer: Writer::new(&Sizes::default(), 1, 7), clients: Clients::default(), now_ns: 5 }
    }

    /// All or none.
    fn commit(&mut self, writes: Vec<Write>) -> Result<(), (usize, Reason)> {
        let (mut overlay, mut staged) = (Overlay::default(), Vec::new());
        for (at, write) in writes.into_iter().enumerate() {
            match self.clients.stage(&mut self.writer, write, &mut overlay) {
                Ok(one) => staged.push(one),
                Err((reason, text)) => {
                    assert!(!text.is_empty());
                    self.writer.rollback();
                    return Err((at, reason));
                }
            }
        }
        self.writer.publish();
        staged.into_iter().for_each(|one| self.clients.apply(self.now_ns, &self.writer, one));
        self.writer.reclaim();
        Ok(())
    }

    /// What a packet from there gets now.
    fn verdict(&self, source: u128) -> Option<AccessAction> {
        let key = AccessKey { tenant: 0, source, destination: 0, class: 0, udp_source: 0 };
        let access = &self.writer.tables.packet.access;
        access.lookup(self.writer.current(), &key).map(|(_, action)| action)
    }

    fn ask(&self, kind: Kind, bytes: &[u8]) -> Result<(Kind, Vec<u8>), Reason> {
        let question = channel::emit(kind, 9, &[], bytes);
        let frame = Frame::parse(&question).expect("a whole frame");
        let answer = self.clients.answer(self.now_ns, &self.writer, &Filling, &frame).map_err(|(reason, _)| reason)?;
        let answer = Frame::parse(&answer).expect("a whole frame");
        assert_eq!(answer.transaction, 9);
        Ok((answer.kind, answer.bytes.to_vec()))
    }

    fn counts(&self, table: u32, place: &[u8]) -> Option<(u64, u64)> {
        let read = CounterRead { object: U32::new(table), ..CounterRead::new_zeroed() };
        let (kind, bytes) = self.ask(Kind::CounterRead, &[read.as_bytes(), place].concat()).expect("an answer");
        assert_eq!(kind, Kind::Counters);
        let value = CounterValue::read_from_bytes(&bytes).expect("one value");
        (value.packets.get() != ABSENT).then(|| (value.packets.get(), value.bytes.get()))
    }
}

/// What housekeeping would have filled in: 300 QPs, an address, namespaces of two controllers.
struct Filling;

impl Filled for Filling {
    fn addresses(&self, from: u64) -> impl Iterator<Item = (u16, u16, [u8; 16])> {
        [(0, 7, [1; 16])].into_iter().skip(from as usize)
    }

    fn qps(&self, from: u32) -> impl Iterator<Item = (u32, u16, u32)> {
        (0..300_u32).map(|at| (17 + at * 3, 1, at)).filter(move |(qpn, ..)| *qpn >= from)
    }

    fn namespaces(&self, _: (u16, u32)) -> impl Iterator<Item = &NamespaceAdd> {
        [].into_iter()
    }
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let mut bench = Bench::new();
    let lists = vec![access(Verb::Insert, 10, 1, DENY), access(Verb::Insert, 10, 2, DENY)];
    assert_eq!(bench.commit(lists), Ok(()));
    assert_eq!(bench.verdict(1), Some(AccessAction::Deny));
    assert_eq!(bench.verdict(3), None);
    // The last is there already: nothing of it happens.
    let twice =
        vec![access(Verb::Insert, 10, 3, DENY), access(Verb::Delete, 10, 1, DENY), access(Verb::Insert, 10, 2, DENY)];
    let before = bench.clients.frames();
    assert_eq!(bench.commit(twice), Err((2, Reason::Exists)));
    assert_eq!((bench.verdict(1), bench.verdict(3)), (Some(AccessAction::Deny), None));
    assert_eq!(bench.clients.frames(), before);
    // A greater priority wins, and goes again.
    assert_eq!(bench.commit(vec![access(Verb::Insert, 11, 1, "PacketControl.allow")]), Ok(()));
    assert_eq!(bench.verdict(1), Some(AccessAction::Allow));
    assert_eq!(bench.commit(vec![access(Verb::Delete, 11, 1, DENY)]), Ok(()));
    assert_eq!(bench.verdict(1), Some(AccessAction::Deny));
    assert_eq!(bench.commit(vec![access(Verb::Modify, 10, 1, "PacketControl.allow")]), Ok(()));
    assert_eq!(bench.verdict(1), Some(AccessAction::Allow));
}

#[test]
fn an_entry_that_nothing_hits_is_told_of_and_one_that_is_gone_is_not() {
    const SECOND: u64 = 1_000_000_000;
    let mut bench = Bench::new();
    let timed = |verb: Verb, timeout_ns: u64| {
        let Write::Entry(mut bytes) = access(verb, 10, 1, DENY) else { unreachable!("it is one") };
        let at = core::mem::offset_of!(EntryHead, idle_timeout_ns);
        bytes[at..at + 8].copy_from_slice(&timeout_ns.to_le_bytes());
        Write::Entry(bytes)
    };
    // A whole scan takes many rounds.
    let told = |bench: &mut Bench, now_ns: u64| {
        bench.now_ns = now_ns;
        (0..1000).filter_map(|_| bench.clients.poll_idle(now_ns, &bench.writer)).collect::<Vec<_>>()
    };
    assert_eq!(bench.commit(vec![timed(Verb::Insert, 10 * SECOND), access(Verb::Insert, 10, 2, DENY)]), Ok(()));
    assert_eq!(told(&mut bench, 9 * SECOND), Vec::<Vec<u8>>::new());
    let idle = told(&mut bench, 11 * SECOND);
    let Write::Entry(written) = timed(Verb::Insert, 10 * SECOND) else { unreachable!("it is one") };
    assert_eq!(idle, [channel::emit(Kind::Idle, 0, &[], &written)], "once a timeout");
    // A hit counts, and control can ask how long ago it was.
    let key = AccessKey { tenant: 0, source: 1, destination: 0, class: 0, udp_source: 0 };
    let tables = &bench.writer.tables.packet;
    let (index, _) = tables.access.lookup(bench.writer.current(), &key).unwrap();
    tables.access_idle.touch(index, 15 * SECOND);
    bench.now_ns = 16 * SECOND;
    let (kind, bytes) = bench.ask(Kind::SinceHit, &written).unwrap();
    assert_eq!((kind, bytes), (Kind::Hits, SECOND.to_le_bytes().to_vec()));
    assert!(told(&mut bench, 24 * SECOND).is_empty());
    assert_eq!(told(&mut bench, 26 * SECOND).len(), 1);
    assert_eq!(bench.commit(vec![timed(Verb::Modify, 0)]), Ok(()));
    assert!(told(&mut bench, 60 * SECOND).is_empty(), "never, from now on");
    assert_eq!(bench.commit(vec![timed(Verb::Modify, SECOND)]), Ok(()));
    assert_eq!(bench.commit(vec![access(Verb::Delete, 10, 1, DENY)]), Ok(()));
    assert!(told(&mut bench, 90 * SECOND).is_empty(), "it is gone");
    assert!(bench.clients.timed.is_empty());
}

#[test]
fn what_cannot_be_is_refused() {
    let mut bench = Bench::new();
    let one = |table: u32, fields: &[Field], action: u32, arguments: &[u128]| {
        vec![Write::Entry(written(Verb::Insert, table, 0, fields, action, arguments))]
    };
    let tenants = id("PacketControl.tenants");
    let police = action("PacketControl.police");
    let mut refuse = |writes: Vec<Write>| bench.commit(writes).expect_err("it is refused").1;
    assert_eq!(refuse(one(0x0200_ffff, &[value(1)], police, &[])), Reason::NotFound);
    assert_eq!(refuse(one(id("PacketControl.qps"), &[value(1)], police, &[])), Reason::Invalid, "it has an owner");
    assert_eq!(refuse(one(tenants, &[value(1)], action(DENY), &[])), Reason::Invalid, "another table's action");
    assert_eq!(refuse(one(tenants, &[value(1)], police, &[1, 2, 3]),), Reason::Invalid, "too many arguments");
    assert_eq!(refuse(one(tenants, &[value(1 << 16)], police, &[])), Reason::Invalid, "a key too wide");
    assert_eq!(refuse(one(tenants, &[value(1), value(1)], police, &[])), Reason::Invalid, "too many fields");
    assert_eq!(refuse(one(tenants, &[any()], police, &[])), Reason::Invalid, "an exact key left out");
    assert_eq!(refuse(vec![tenant(Verb::Delete, 1, "PacketControl.police")]), Reason::NotFound);
    assert_eq!(refuse(vec![tenant(Verb::Modify, 1, "PacketControl.police")]), Reason::NotFound);
    let mut idle = written(Verb::Insert, tenants, 0, &[value(1)], police, &[]);
    idle[core::mem::offset_of!(EntryHead, idle_timeout_ns)] = 1;
    assert_eq!(refuse(vec![Write::Entry(idle)]), Reason::Invalid);
    let meter = |object: u32, index: u32, eburst: u64| {
        let (object, index, eburst) = (object.into(), index.into(), eburst.into());
        Write::Meter(MeterWrite { object, index, eburst, ..MeterWrite::new_zeroed() }.as_bytes().to_vec())
    };
    assert_eq!(refuse(vec![meter(0x1400_0000, 0, 0)]), Reason::NotFound);
    assert_eq!(refuse(vec![meter(METER, 4096, 0)]), Reason::Invalid);
    assert_eq!(refuse(vec![meter(METER, 1, 5)]), Reason::Invalid);
    let digest = DigestWrite { digest: 1.into(), wanted: 1.into() };
    assert_eq!(refuse(vec![Write::Digest(digest.as_bytes().to_vec())]), Reason::NotFound);
}

#[test]
fn a_full_table_refuses_and_takes_again_what_has_gone() {
    let mut bench = Bench::new();
    let all = |verb: Verb| (0..4096).map(|at| tenant(verb, at, "PacketControl.police")).collect::<Vec<_>>();
    assert_eq!(bench.commit(all(Verb::Insert)), Ok(()));
    assert_eq!(bench.commit(vec![tenant(Verb::Insert, 5000, "PacketControl.police")]), Err((0, Reason::Full)));
    for _ in 0..3 {
        assert_eq!(bench.commit(all(Verb::Delete)), Ok(()));
        assert!(bench.clients.frames().is_empty());
        assert_eq!(bench.commit(all(Verb::Insert)), Ok(()));
    }
}

#[test]
fn counters_and_meters_go_with_their_entries() {
    let mut bench = Bench::new();
    let Write::Entry(place) = access(Verb::Insert, 10, 1, DENY) else { unreachable!() };
    let counter = |packets: u64, place: &[u8]| {
        let write = CounterWrite { object: id(ACCESS).into(), packets: packets.into(), ..CounterWrite::new_zeroed() };
        Write::Counter([write.as_bytes(), place].concat())
    };
    assert_eq!(bench.commit(vec![counter(5, &place)]), Err((0, Reason::NotFound)), "there is no such entry yet");
    assert_eq!(bench.commit(vec![access(Verb::Insert, 10, 1, DENY), counter(5, &place)]), Ok(()));
    assert_eq!(bench.counts(id(ACCESS), &place), Some((5, 0)));
    assert_eq!(bench.commit(vec![access(Verb::Modify, 10, 1, "PacketControl.allow")]), Ok(()));
    assert_eq!(bench.counts(id(ACCESS), &place), Some((5, 0)), "a modified entry counts on");
    assert_eq!(bench.commit(vec![access(Verb::Delete, 10, 1, DENY)]), Ok(()));
    assert_eq!(bench.counts(id(ACCESS), &place), None);
    assert_eq!(bench.commit(vec![access(Verb::Insert, 10, 1, DENY)]), Ok(()));
    assert_eq!(bench.counts(id(ACCESS), &place), Some((0, 0)), "another entry begins anew");
    let default = written(Verb::Default, id(ACCESS), 0, &[], 0, &[]);
    assert_eq!(bench.commit(vec![counter(8, &default)]), Ok(()));
    assert_eq!(bench.counts(id(ACCESS), &default), Some((8, 0)));
}

#[test]
fn defaults_and_meters_are_set_and_put_back() {
    let mut bench = Bench::new();
    let set = |name: Option<&str>| {
        let action = name.map_or(0, action);
        vec![Write::Entry(written(Verb::Default, id(ACCESS), 0, &[], action, &[]))]
    };
    let now = |bench: &Bench| bench.writer.tables.packet.access_default.read(bench.writer.current());
    let before = now(&bench);
    assert_eq!(bench.commit(set(Some(DENY))), Ok(()));
    assert_eq!(now(&bench), AccessAction::Deny);
    assert_eq!(bench.commit(set(None)), Ok(()));
    assert_eq!(now(&bench), before);
    assert!(bench.clients.frames().is_empty());

    let meter = |index: u32, configured: u32| {
        let write = MeterWrite {
            object: METER.into(),
            index: index.into(),
            configured: configured.into(),
            cir: 1000.into(),
            cburst: 2000.into(),
            pir: 3000.into(),
            pburst: 4000.into(),
            ..MeterWrite::new_zeroed()
        };
        Write::Meter(write.as_bytes().to_vec())
    };
    let config = |bench: &Bench, cell: usize| bench.writer.tables.meters(METER).and_then(|meters| meters.config(cell));
    assert_eq!(bench.commit(vec![meter(EVERY_CELL, 1), meter(3, 0)]), Ok(()));
    assert!(config(&bench, 3).is_none() && config(&bench, 4095).is_some_and(|config| config.cir.abs_diff(1000) < 5));
    // Another data plane that is told that has the same.
    let frames = bench.clients.frames();
    assert_eq!(frames.len(), 2);
    let mut writer = Writer::new(&Sizes::default(), 1, 8);
    let clients = Clients::take_up(5, &mut writer, &frames).expect("it can be");
    assert_eq!(clients.frames(), frames);
    let other = Bench { writer, clients, now_ns: 5 };
    assert!(config(&other, 3).is_none() && config(&other, 0).is_some());
    assert_eq!(bench.commit(vec![meter(EVERY_CELL, 0)]), Ok(()));
    assert!(config(&bench, 0).is_none() && bench.clients.frames().is_empty());
}

#[test]
fn a_successor_takes_up_what_clients_wrote() {
    let mut bench = Bench::new();
    let digest = DigestWrite { digest: packet::DIGESTS[0].id.into(), wanted: 1.into() };
    let mut writes: Vec<_> = (0..500).map(|at| access(Verb::Insert, 1 + at, at.into(), DENY)).collect();
    writes.push(Write::Digest([digest.as_bytes(), b"note"].concat()));
    assert_eq!(bench.commit(writes), Ok(()));
    assert!(bench.clients.wants(packet::DIGESTS[0].id));
    let frames = bench.clients.frames();
    assert!(frames.iter().all(|frame| frame.len() <= FRAME_MAX));
    let mut writer = Writer::new(&Sizes::default(), 1, 9);
    let clients = Clients::take_up(0, &mut writer, &frames).expect("it can be");
    let successor = Bench { writer, clients, now_ns: 5 };
    assert_eq!(successor.clients.frames(), frames);
    assert_eq!(successor.verdict(499), Some(AccessAction::Deny));
    let mut damaged = frames.clone();
    damaged.push(frames[0].clone());
    assert!(Clients::take_up(0, &mut Writer::new(&Sizes::default(), 1, 9), &damaged).is_err(), "an entry twice");
    assert!(Clients::take_up(0, &mut Writer::new(&Sizes::default(), 1, 9), &[vec![1, 2]]).is_err());
}

#[test]
fn what_housekeeping_fills_is_told_page_by_page() {
    let bench = Bench::new();
    let (mut from, mut qpns, mut pages) = (0, Vec::new(), 0);
    while from != ABSENT {
        let dump = TableDump { table: id("PacketControl.qps").into(), reserved: 0.into(), from: from.into() };
        let (kind, bytes) = bench.ask(Kind::TableDump, dump.as_bytes()).expect("an answer");
        assert_eq!(kind, Kind::TableEntries);
        assert!(bytes.len() <= FRAME_MAX - size_of::<Header>());
        let (head, rest) = TableEntries::read_from_prefix(&bytes).expect("a whole answer");
        qpns.extend(Entry::parse_all(rest).expect("entries").iter().map(|entry| entry.fields[0].value.get()));
        from = head.next.get();
        pages += 1;
    }
    assert_eq!(qpns, (0..300).map(|at| 17 + at * 3).collect::<Vec<u128>>());
    assert!(pages > 1, "{pages}");
    let dump = TableDump { table: id("PacketControl.local_addresses").into(), ..TableDump::new_zeroed() };
    let (_, bytes) = bench.ask(Kind::TableDump, dump.as_bytes()).expect("an answer");
    let entries = Entry::parse_all(&bytes[size_of::<TableEntries>()..]).expect("entries");
    let fields: Vec<u128> = entries[0].fields.iter().map(|field| field.value.get()).collect();
    assert_eq!(fields, [0, 7, u128::from_be_bytes([1; 16])]);
    let dump = TableDump { table: id(ACCESS).into(), ..TableDump::new_zeroed() };
    assert_eq!(bench.ask(Kind::TableDump, dump.as_bytes()), Err(Reason::NotFound));
    assert_eq!(bench.ask(Kind::TableDump, &[1]), Err(Reason::Malformed));
}

#[test]
fn counters_are_read_in_their_bounds() {
    let bench = Bench::new();
    let read = |first: u32, count: u32| {
        let object = 0x12a2_2c56.into();
        let read = CounterRead { object, first: first.into(), count: count.into(), reserved: 0.into() };
        bench.ask(Kind::CounterRead, read.as_bytes()).map(|(_, bytes)| bytes.len() / size_of::<CounterValue>())
    };
    assert_eq!(read(0, 16), Ok(16));
    assert_eq!(read(u32::MAX, 2), Ok(2), "cells that are not there are told so");
    assert_eq!(read(0, u32::MAX), Err(Reason::Invalid));
    let unknown = CounterRead { object: 1.into(), count: 1.into(), ..CounterRead::new_zeroed() };
    assert_eq!(bench.ask(Kind::CounterRead, unknown.as_bytes()), Err(Reason::NotFound));
}

/// Operations of anybody: a small generator, so that every run sees the same.
#[test]
fn no_bytes_make_it_panic() {
    let mut bench = Bench::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let samples = [access(Verb::Insert, 10, 1, DENY), tenant(Verb::Insert, 1, "PacketControl.police")];
    let samples = samples.map(|write| match write {
        Write::Entry(bytes) => bytes,
        _ => unreachable!("entries"),
    });
    let kinds = [Kind::TableWrite, Kind::MeterWrite, Kind::CounterWrite, Kind::DigestWrite];
    let asked = [Kind::CounterRead, Kind::SinceHit, Kind::TableDump];
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..5000 {
        let mut bytes = match next() % 3 {
            0 => (0..next() % 128).map(|_| next() as u8).collect(),
            1 => [MeterWrite::new_zeroed().as_bytes(), &samples[next() as usize % 2]].concat(),
            _ => samples[next() as usize % 2].clone(),
        };
        for _ in 0..next() % 3 {
            if !bytes.is_empty() {
                let at = next() as usize % bytes.len();
                bytes[at] = next() as u8;
            }
        }
        let frame = channel::emit(kinds[next() as usize % 4], 1, &[], &bytes);
        let writes = Write::parse(&Frame::parse(&frame).expect("a whole frame"));
        match writes.map(|writes| bench.commit(writes)) {
            Some(Ok(())) => taken += 1,
            Some(Err(_)) | None => refused += 1,
        }
        let _ = bench.ask(asked[next() as usize % 3], &bytes);
    }
    assert!(taken > 20 && refused > 50, "{taken} {refused}");
}
