//! Externs: instances and their kinds, overloads, inference of types.

use gantry_p4c::ir::{ExternKind, Program, Type, Unit};

use crate::from_text::{accepted, body, in_control, refused};

fn program(locals: &str, body: &str) -> Program {
    accepted(&in_control("", locals, body))
}

fn wrong(locals: &str, body: &str) -> Vec<String> {
    refused(&in_control("", locals, body))
}

#[test]
fn instances_become_what_they_are() {
    let program = accepted(&in_control(
        "struct told_t { bit<8> who; inner_t what; bool how; }
         extern Fuse { Fuse(bit<8> amperes, bool slow); bool blow(in bit<8> by); }",
        "Counter<bit<64>, bit<8>>(16, PNA_CounterType_t.PACKETS_AND_BYTES) counter;
         Meter<bit<8>>(4, PNA_MeterType_t.PACKETS) meter;
         Register<bit<48>, bit<8>>(3) register;
         Register<bool, bit<8>>(3, false) flags;
         Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32) hash;
         InternetChecksum() sum;
         Digest<told_t>() digest;
         Fuse(13, true) fuse;",
        "digest.pack({1, m.one, m.f}); m.f = fuse.blow(m.x);",
    ));
    let kinds: Vec<_> = program.externs.iter().map(|it| it.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            ExternKind::Counter { size: 16, unit: Unit::PacketsAndBytes },
            ExternKind::Meter { size: 4, unit: Unit::Packets },
            ExternKind::Register { size: 3, bits: 48 },
            ExternKind::Register { size: 3, bits: 1 },
            ExternKind::Hash { algorithm: "CRC32".to_owned(), bits: 32 },
            ExternKind::InternetChecksum,
            ExternKind::Digest {
                fields: vec![
                    ("who".to_owned(), Type::Bits(8)),
                    ("what.p".to_owned(), Type::Bits(16)),
                    ("what.q".to_owned(), Type::Bits(16)),
                    ("how".to_owned(), Type::Bool),
                ],
                type_name: "told_t".to_owned(),
            },
            ExternKind::Other { type_name: "Fuse".to_owned(), arguments: vec![13, 1] },
        ]
    );
    assert_eq!(
        crate::show::control(&program),
        "C.digest.pack(8w1, m.one.p, m.one.q, m.f)\nblow = C.fuse.blow(m.x)\nm.f = blow\n"
    );
}

#[test]
fn overloads_differ_in_their_number_of_arguments() {
    let meter = "Meter<bit<8>>(4, PNA_MeterType_t.BYTES) meter; PNA_MeterColor_t c = PNA_MeterColor_t.GREEN;";
    assert_eq!(
        body(meter, "c = meter.execute(m.x); c = meter.execute(m.x, c); m.f = c == PNA_MeterColor_t.RED;"),
        "c = 2w1\nexecute = C.meter.execute(m.x)\nc = execute\nexecute_2 = C.meter.execute(m.x, c)\nc = execute_2\nm.f = (c == 2w0)\n"
    );
    assert_eq!(wrong(meter, "c = meter.execute();"), ["`execute` takes 2 or 1 arguments, not 0"]);
    assert_eq!(wrong(meter, "meter.stop();"), ["`Meter` has no method `stop`"]);
}

#[test]
fn types_of_arguments_are_inferred_but_not_widths() {
    let hash = "Hash<bit<16>>(PNA_HashAlgorithm_t.CRC16) hash;";
    assert_eq!(
        body(hash, "m.w = hash.get_hash({m.x, m.one, 16w3}); m.w = hash.get_hash(16w1, m.d, 16w7);"),
        "get_hash = C.hash.get_hash(m.x, m.one.p, m.one.q, 16w3)\nm.w = get_hash\n\
         get_hash_2 = C.hash.get_hash(16w1, m.d, 16w7)\nm.w = get_hash_2\n"
    );
    assert_eq!(wrong(hash, "m.w = hash.get_hash({m.x, 3});"), ["how wide 3 is meant to be is not known"]);
    assert_eq!(wrong(hash, "m.x = hash.get_hash(m.d);"), ["this is bit<16> where bit<8> is expected"]);
}

#[test]
fn functions_write_to_their_out_arguments() {
    let text = in_control(
        "extern void split(in bit<16> v, out bit<8> hi, out inner_t rest); extern T same<T>(in T v);",
        "",
        "split(m.w, m.w[7:0], m.one); split(m.w, _, m.two); m.x = same(m.y); m.x = same<bit<8>>(1);",
    );
    assert_eq!(
        crate::show::control(&accepted(&text)),
        "split(m.w, out m.w[7:0], out m.one.p, out m.one.q)\nsplit(m.w, out unused, out m.two.p, out m.two.q)\n\
         same = same(m.y)\nm.x = same\nsame_2 = same(8w1)\nm.x = same_2\n"
    );
}

#[test]
fn what_externs_cannot_be_given_is_refused() {
    assert_eq!(
        wrong("Counter<bit<64>, bit<8>>(0, PNA_CounterType_t.BYTES) c;", ""),
        ["the number of cells must be 1 or more and fit 32 bits"]
    );
    assert_eq!(wrong("Counter<bit<64>, bit<8>>(m.x, PNA_CounterType_t.BYTES) c;", "").len(), 1);
    assert_eq!(
        wrong("Counter<bit<64>>(1, PNA_CounterType_t.BYTES) c;", ""),
        ["`Counter` takes 2 type arguments, not 1"]
    );
    assert_eq!(wrong("Counter<bit<64>, bit<8>>(1) c;", ""), ["`Counter` takes 2 arguments, not 1"]);
    assert_eq!(wrong("Register<bit<8>, bit<8>>(1, 7) r;", ""), ["registers start at zero"]);
    assert_eq!(wrong("Register<inner_t, bit<8>>(1) r;", ""), ["values of type inner_t cannot be kept in one cell"]);
    assert_eq!(wrong("Digest<bit<8>>() d;", ""), ["a digest's messages are structs"]);
    assert_eq!(wrong("inner_t() s;", ""), ["inner_t has no instances"]);
    assert_eq!(
        refused(&in_control("extern void log(string text);", "", "log(\"x\");")),
        ["strings cannot be passed to externs here"]
    );
    assert_eq!(
        refused(&in_control("extern T make<T>();", "", "m.x = make();")),
        ["the type `T` that this call gives is not known"]
    );
    assert_eq!(
        refused(&in_control("extern void f(in bit<8> a); extern void f(in bit<16> b);", "", "")),
        ["function `f` is declared twice with as many parameters"]
    );
    assert_eq!(
        refused(&in_control("extern X { X(); void f(); bit<8> f(); }", "", "")),
        ["two methods `f` take as many arguments"]
    );
}

#[test]
fn only_what_is_used_of_a_library_is_there() {
    assert!(program("", "").externs.is_empty());
}
