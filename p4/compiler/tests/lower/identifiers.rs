//! Names and ids for the control plane.

use gantry_p4c::ir::Program;

use crate::from_text::{accepted, in_control, refused};

fn tables(names: &[&str], extra: &str) -> String {
    let locals: String =
        names.iter().map(|it| format!("{extra} table {it} {{ actions = {{ NoAction; }} }}\n")).collect();
    let body: String = names.iter().map(|it| format!("{it}.apply();\n")).collect();
    in_control("", &locals, &body)
}

fn ids(program: &Program) -> Vec<(String, u32)> {
    program.tables.iter().map(|it| (it.name.clone(), it.id)).collect()
}

#[test]
fn an_id_depends_on_the_name_alone() {
    let one = ids(&accepted(&tables(&["t"], "")));
    let more = ids(&accepted(&tables(&["a", "t", "z"], "")));
    assert_eq!(one[0].1 >> 24, 0x02);
    assert!(one[0].1 & 0xff_ffff != 0);
    assert_eq!(one[0], more[1]);
}

#[test]
fn ids_are_all_different_and_the_same_every_time() {
    let names: Vec<String> = (0..400).map(|place| format!("t{place}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let text = tables(&names, "");
    let (first, again) = (ids(&accepted(&text)), ids(&accepted(&text)));
    assert_eq!(first, again);
    let mut all: Vec<u32> = first.iter().map(|it| it.1).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 400);
}

#[test]
fn a_written_id_may_have_its_prefix() {
    assert_eq!(ids(&accepted(&tables(&["t"], "@id(5)")))[0].1, 0x0200_0005);
    assert_eq!(ids(&accepted(&tables(&["t"], "@id(0x02000005)")))[0].1, 0x0200_0005);
    assert_eq!(refused(&tables(&["t"], "@id(0x01000005)")), ["this is no id for such an object"]);
    assert_eq!(refused(&tables(&["t"], "@id(0)")), ["this is no id for such an object"]);
    assert_eq!(refused(&tables(&["t", "u"], "@id(5)")), ["two objects have the id 0x02000005, `C.u` is one of them"]);
}

#[test]
fn a_written_id_takes_precedence_over_a_hash() {
    let hashed = ids(&accepted(&tables(&["t"], "")))[0].1;
    let text = in_control(
        "",
        &format!("@id({hashed}) table u {{ actions = {{ NoAction; }} }} table t {{ actions = {{ NoAction; }} }}"),
        "u.apply(); t.apply();",
    );
    assert_eq!(ids(&accepted(&text)), [("C.u".to_owned(), hashed), ("C.t".to_owned(), hashed + 1)]);
}

#[test]
fn names_are_the_control_s_with_a_dot_unless_they_start_with_one() {
    let names = |extra: &str| ids(&accepted(&tables(&["t"], extra)))[0].0.clone();
    assert_eq!(names("@name(\"shown\")"), "C.shown");
    assert_eq!(names("@name(\".shown\")"), "shown");
    assert_eq!(refused(&tables(&["t"], "@name(3)")), ["`@name` takes a string"]);
    assert_eq!(refused(&tables(&["t", "u"], "@name(\"same\")")), ["there are two tables with the name `C.same`"]);
}

#[test]
fn every_kind_has_its_prefix() {
    let program = accepted(&in_control(
        "@controller_header(\"packet_in\") header in_t { bit<9> port; bit<7> pad; }",
        "Counter<bit<64>, bit<8>>(1, PNA_CounterType_t.BYTES) a; Meter<bit<8>>(1, PNA_MeterType_t.BYTES) b;
         Register<bit<8>, bit<8>>(1) c; Digest<inner_t>() d; InternetChecksum() e;
         DirectCounter<bit<64>>(PNA_CounterType_t.BYTES) f; DirectMeter(PNA_MeterType_t.BYTES) g;
         table t { actions = { NoAction; } pna_direct_counter = f; pna_direct_meter = g; }",
        "t.apply();",
    ));
    let prefixes: Vec<u32> = program.externs.iter().map(|it| it.id >> 24).collect();
    assert_eq!(prefixes, [0x12, 0x14, 0x16, 0x17, 0, 0x13, 0x15]);
    assert_eq!(program.actions[0].id >> 24, 0x01);
    let header = &program.controller_headers[0];
    assert_eq!((header.name.as_str(), header.id >> 24), ("packet_in", 0x04));
    assert_eq!(header.fields, [("port".to_owned(), 9), ("pad".to_owned(), 7)]);
}

#[test]
fn new_types_come_along_where_the_control_plane_meets_them() {
    let program = accepted(&in_control(
        "/// Of the card.
         @p4runtime_translation(\"x/port\", 32) type bit<8> port_t;",
        "port_t p; action to(port_t port) { p = port; } table t { key = { p: exact; } actions = { to; NoAction; } }",
        "t.apply();",
    ));
    let translation = "@p4runtime_translation(\"x/port\", 32)";
    let parameter = &program.actions.iter().find(|it| it.name == "C.to").expect("to").parameter_notes[0];
    let key = &program.tables[0].keys[0].notes;
    for notes in [parameter, key] {
        assert_eq!((notes.new_type.as_str(), notes.annotations.as_slice()), ("port_t", &[translation.to_owned()][..]));
    }
    let types: Vec<_> = program.new_types.iter().map(|it| (it.name.as_str(), it.notes.brief.as_str())).collect();
    assert_eq!(types, [("port_t", "Of the card.")]);
}
