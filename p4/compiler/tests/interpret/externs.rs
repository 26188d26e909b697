//! Calls of externs, and the recorder that stands in for them.

use gantry_p4c::interpret::{Cell, Count, EntryId, Machine, Recorded, Recorder, Reply};
use gantry_p4c::ir::{
    Argument, Entry, Enum, ExternId, ExternKind, MatchKind, Place, Stmt, TableId, Target, Transition, Type, Unit, VarId,
};

use crate::build::{Build, apply, assign, call, num, truth, value, whole};

fn passed(value: u128, bits: u8) -> Argument {
    Argument::In(num(value, bits))
}

/// A control of these calls, run once over a packet of 100 bytes.
fn once(build: &mut Build, recorder: &mut Recorder, body: Vec<Stmt>) -> Vec<u128> {
    build.control(body);
    Machine::new(&build.program).run(&[0; 100], &[], recorder).values
}

#[test]
fn counters_count_packets_and_bytes_by_index() {
    let mut build = Build::new();
    let kind = ExternKind::Counter { size: 4, unit: Unit::PacketsAndBytes };
    let counter = build.instance("C.counter", 0x1200_0001, kind);
    let mut recorder = Recorder::default();
    let count = |index| call(Some(counter), "count", vec![passed(index, 8)], None);
    once(&mut build, &mut recorder, vec![count(3), count(3), count(0), count(4)]);
    assert_eq!(recorder.count(counter, Cell::Index(3)), Count { packets: 2, bytes: 200 });
    assert_eq!(recorder.count(counter, Cell::Index(0)), Count { packets: 1, bytes: 100 });
    // Beyond the last cell nothing is counted, and nothing else happens.
    assert_eq!(recorder.counts.len(), 2);
}

#[test]
fn direct_counters_and_meters_are_those_of_the_entry_that_was_hit() {
    let mut build = Build::new();
    let (key, colour) = (build.local("key", 8), build.local("colour", 2));
    let (table, unit) = (TableId(0), Unit::Packets);
    let counter = build.instance("C.counter", 0x1300_0001, ExternKind::DirectCounter { unit, table });
    let meter = build.instance("C.meter", 0x1500_0001, ExternKind::DirectMeter { unit, table });
    build.program.enums.push(Enum {
        name: "PNA_MeterColor_t".into(),
        bits: 2,
        members: ["RED", "GREEN", "YELLOW"].map(str::to_owned).into_iter().zip(0..).collect(),
        serializable: false,
    });
    let act = build.action("C.act", &[], |_, _| {
        vec![call(Some(counter), "count", vec![], None), call(Some(meter), "execute", vec![], Some(colour))]
    });
    assert_eq!(build.table("C.t", &[(key, MatchKind::Exact)], &[act]), table);
    build.control(vec![apply(table)]);

    let mut machine = Machine::new(&build.program);
    for key in [5, 6] {
        let entry = Entry { matches: vec![value(key)], priority: 0, action: act, arguments: vec![] };
        machine.entries(table).insert(&entry).expect("it fits");
    }
    let mut recorder = Recorder::new(&build.program);
    recorder.colours.insert((meter, Cell::Entry(table, EntryId(1))), 2);
    let mut colours = Vec::new();
    for packet in [5, 6, 6, 7] {
        colours.push(machine.run(&[0; 10], &[(key, packet)], &mut recorder).value(colour));
    }
    assert_eq!(colours, [1, 2, 2, 1]);
    let packets = |cell| recorder.count(counter, cell).packets;
    assert_eq!(packets(Cell::Entry(table, EntryId(0))), 1);
    assert_eq!(packets(Cell::Entry(table, EntryId(1))), 2);
    assert_eq!(packets(Cell::Default(table)), 1);
}

#[test]
fn meters_answer_with_the_colour_of_their_cell() {
    let mut build = Build::new();
    let (first, second) = (build.local("first", 2), build.local("second", 2));
    let meter = build.instance("C.meter", 0x1400_0001, ExternKind::Meter { size: 8, unit: Unit::Bytes });
    let mut recorder = Recorder::default();
    recorder.green = 1;
    recorder.colours.insert((meter, Cell::Index(3)), 0);
    let execute = |index, result| call(Some(meter), "execute", vec![passed(index, 8)], Some(result));
    assert_eq!(once(&mut build, &mut recorder, vec![execute(2, first), execute(3, second)]), [1, 0]);
}

#[test]
fn registers_keep_what_was_written_from_packet_to_packet() {
    let mut build = Build::new();
    let seen = build.local("seen", 32);
    let register = build.instance("C.register", 0x1600_0001, ExternKind::Register { size: 2, bits: 32 });
    let mut recorder = Recorder::default();
    let read = |index| call(Some(register), "read", vec![passed(index, 8)], Some(seen));
    let write = |index, value| call(Some(register), "write", vec![passed(index, 8), passed(value, 32)], None);
    assert_eq!(once(&mut build, &mut recorder, vec![read(1), write(1, 77), write(2, 5)]), [0]);
    assert_eq!(once(&mut build, &mut recorder, vec![read(1)]), [77]);
    assert_eq!(once(&mut build, &mut recorder, vec![read(2)]), [0]);
}

#[test]
fn digests_are_kept_in_order() {
    let mut build = Build::new();
    let kind = ExternKind::Digest {
        fields: vec![("a".into(), Type::Bits(16)), ("b".into(), Type::Bool)],
        type_name: "seen_t".into(),
    };
    let digest = build.instance("C.digest", 0x1700_0001, kind);
    let mut recorder = Recorder::default();
    let pack = |a, b| call(Some(digest), "pack", vec![passed(a, 16), Argument::In(truth(b))], None);
    once(&mut build, &mut recorder, vec![pack(1, true), pack(2, false)]);
    assert_eq!(recorder.digests, [(digest, vec![1, 1]), (digest, vec![2, 0])]);
}

/// The example of RFC 1071 §3: eight bytes whose sum is 0xddf2.
const RFC_1071: [(u128, u8); 4] = [(0x0001, 16), (0xf203, 16), (0xf4f5, 16), (0xf6f7, 16)];

fn checksum(build: &mut Build) -> ExternId {
    build.instance("C.checksum", 0, ExternKind::InternetChecksum)
}

#[test]
fn checksums_are_those_of_rfc_1071() {
    let mut build = Build::new();
    let (state, sum, less, again) =
        (build.local("state", 16), build.local("sum", 16), build.local("less", 16), build.local("again", 16));
    let id = checksum(&mut build);
    let method = |name: &str, arguments, result: Option<VarId>| call(Some(id), name, arguments, result);
    let all = || RFC_1071.iter().map(|(value, bits)| passed(*value, *bits)).collect::<Vec<_>>();
    let body = vec![
        method("add", all(), None),
        method("get_state", vec![], Some(state)),
        method("get", vec![], Some(sum)),
        // What is taken away again might as well not have been added (RFC 1624).
        method("subtract", vec![passed(0xf203, 16)], None),
        method("get", vec![], Some(less)),
        method("clear", vec![], None),
        method("set_state", vec![passed(0xddf2, 16)], None),
        method("get", vec![], Some(again)),
    ];
    let mut recorder = Recorder::default();
    let values = once(&mut build, &mut recorder, body);
    let without = 0x0001 + 0xf4f5 + 0xf6f7;
    let folded = (without & 0xffff) + (without >> 16);
    assert_eq!(values, [0xddf2, !0xddf2_u16 as u128, !(folded as u16) as u128, !0xddf2_u16 as u128]);

    // For the next packet it is as new.
    let values = once(&mut build, &mut recorder, vec![method("get", vec![], Some(sum))]);
    assert_eq!(values[1], 0xffff);
}

#[test]
fn a_checksum_takes_its_data_bit_by_bit() {
    // An IPv4 header as captured, its first word in fields, its checksum among the others: the whole gives zero.
    let header = [
        (4, 4),
        (5, 4),
        (0, 6),
        (0, 2),
        (0x0073, 16),
        (0, 16),
        (0x4000, 16),
        (0x40, 8),
        (0x11, 8),
        (0xb861, 16),
        (0xc0a8_0001, 32),
        (0xc0a8_00c7, 32),
    ];
    let mut build = Build::new();
    let sum = build.local("sum", 16);
    let id = checksum(&mut build);
    let arguments = header.iter().map(|(value, bits)| passed(*value, *bits)).collect();
    let body = vec![call(Some(id), "add", arguments, None), call(Some(id), "get", vec![], Some(sum))];
    assert_eq!(once(&mut build, &mut Recorder::default(), body), [0]);
}

#[test]
fn hashes_are_crc_32() {
    let mut build = Build::new();
    let hash = build.local("hash", 32);
    let kind = ExternKind::Hash { algorithm: "CRC32".into(), bits: 32 };
    let id = build.instance("C.hash", 0, kind);
    // The check value of CRC-32/ISO-HDLC: the digits 1 to 9, here in parts that are not bytes.
    let digits = u128::from_be_bytes(*b"\0\0\0\0\0\0\x00123456789");
    let arguments = vec![passed(digits >> 20, 52), passed(digits & 0xf_ffff, 20)];
    let body = vec![call(Some(id), "get_hash", arguments, Some(hash))];
    assert_eq!(once(&mut build, &mut Recorder::default(), body), [0xcbf4_3926]);
}

#[test]
fn other_calls_are_answered_by_script() {
    let mut build = Build::new();
    let (x, y, z) = (build.local("x", 8), build.local("y", 16), build.local("z", 4));
    let kind = ExternKind::Other { type_name: "Own".into(), arguments: vec![] };
    let own = build.instance("C.own", 0, kind);
    let mut recorder = Recorder::default();
    recorder.answer("ask", move |call| {
        assert_eq!(call.instance.map(|(id, declared)| (id, declared.name.as_str())), Some((own, "C.own")));
        assert_eq!((call.arguments[0].value, call.arguments[0].out), (7, false));
        assert_eq!((call.arguments[1].value, call.arguments[1].out, call.arguments[1].ty), (3, true, Type::Bits(8)));
        assert_eq!(call.result, Some(Type::Bits(16)));
        Reply { result: 0x1_2345, outs: vec![call.arguments[1].value + 0x101, 0xa] }
    });
    let slice = Place { var: z, slice: Some((3, 1)) };
    let ask = vec![passed(7, 8), Argument::Out(whole(x)), Argument::Out(slice)];
    let body = vec![
        assign(x, num(3, 8)),
        assign(z, num(1, 4)),
        call(Some(own), "ask", ask, Some(y)),
        call(None, "drop_packet", vec![], None),
    ];
    // Values are cut to the places they go to.
    assert_eq!(once(&mut build, &mut recorder, body), [4, 0x2345, 0b0101]);
    assert_eq!(
        recorder.calls,
        [
            Recorded { instance: Some(own), function: "ask".into(), arguments: vec![7, 3, 0] },
            Recorded { instance: None, function: "drop_packet".into(), arguments: vec![] },
        ]
    );
}

#[test]
fn without_a_script_a_call_changes_nothing_and_gives_zero() {
    let mut build = Build::new();
    let (x, y) = (build.local("x", 8), build.local("y", 8));
    let body =
        vec![assign(x, num(3, 8)), assign(y, num(4, 8)), call(None, "ask", vec![Argument::Out(whole(x))], Some(y))];
    assert_eq!(once(&mut build, &mut Recorder::default(), body), [3, 0]);
}

#[test]
fn parsers_call_too() {
    let mut build = Build::new();
    let sum = build.local("sum", 16);
    let id = checksum(&mut build);
    let body = vec![call(Some(id), "add", vec![passed(1, 16)], None), call(Some(id), "get", vec![], Some(sum))];
    build.parser(vec![("start", body, Transition::To(Target::Accept))]);
    let outcome = Machine::new(&build.program).run(&[], &[], &mut Recorder::default());
    assert_eq!(outcome.value(sum), 0xfffe);
}
