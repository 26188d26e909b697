//! From P4's text through the front end to the interpreter and the emitters.

use std::path::Path;

use gantry_p4_proto::config::{match_field, table};
use gantry_p4c::emit::{docs, graph, p4info};
use gantry_p4c::interpret::{Cell, Machine, Outcome, Recorder};
use gantry_p4c::ir::{Entry, HeaderId, Match, Program, TableId, VarId};
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;

const TEXT: &str = include_str!("small.p4");

fn small() -> Program {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
    let options = Options { include_folders: vec![include], ..Options::default() };
    let mut sources = Sources::default();
    let tree = gantry_p4c::parse_text("small.p4", TEXT, &options, &mut sources).unwrap_or_else(|all| panic!("{all:?}"));
    gantry_p4c::lower::lower(&tree, &sources, "small").unwrap_or_else(|all| panic!("{all:?}"))
}

/// Sets what the architecture sets; the parser's and the control's metadata may have parts of the same name.
fn inputs(program: &Program, name: &str, value: u128) -> Vec<(VarId, u128)> {
    let named = (0..).map(VarId).zip(&program.vars).filter(|(_, var)| var.name.ends_with(name));
    let inputs: Vec<_> = named.map(|(id, _)| (id, value)).collect();
    assert!(!inputs.is_empty(), "no {name}");
    inputs
}

fn table(program: &Program, name: &str) -> TableId {
    let place =
        program.tables.iter().position(|table| table.name.ends_with(name)).unwrap_or_else(|| panic!("no {name}"));
    TableId(place as u32)
}

fn header(program: &Program, name: &str) -> HeaderId {
    let place = program.headers.iter().position(|header| header.name == name).unwrap_or_else(|| panic!("no {name}"));
    HeaderId(place as u32)
}

/// A frame with a tag: where to, the tag's id, what it carries.
fn tagged(vid: u16, kind: u16) -> Vec<u8> {
    let mut frame =
        [&[0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x81, 0][..], &vid.to_be_bytes(), &kind.to_be_bytes()].concat();
    frame.extend(b"payload");
    frame
}

fn entry(program: &Program, matches: &[Match], priority: i32, action: &str, arguments: &[u128]) -> Entry {
    let place =
        program.actions.iter().position(|each| each.name.ends_with(action)).unwrap_or_else(|| panic!("no {action}"));
    let action = gantry_p4c::ir::ActionId(place as u32);
    Entry { matches: matches.to_vec(), priority, action, arguments: arguments.to_vec() }
}

#[test]
fn a_program_runs() {
    let program = small();
    let mut machine = Machine::new(&program);
    let vlans = table(&program, "vlans");
    let forward = entry(&program, &[Match::Value(7)], 0, "forward", &[3]);
    machine.entries(vlans).insert(&forward).expect("it fits");
    let mut recorder = Recorder::new(&program);

    // The tag is taken off, and the packet goes out by the entry's port.
    let outcome = machine.run(&tagged(7, 0x88b5), &[], &mut recorder);
    assert!(outcome.accepted, "{}", outcome.trace_text(&program));
    assert!(!outcome.is_valid(header(&program, "hdr.vlan")));
    let wanted = [&[0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5][..], b"payload"].concat();
    assert_eq!(outcome.packet(), wanted, "{}", outcome.trace_text(&program));
    assert_eq!(calls(&recorder), ["send_to_port(3)"]);

    // An unknown VLAN is dropped and told of.
    let mut recorder = Recorder::new(&program);
    let outcome = machine.run(&tagged(8, 0x88b5), &inputs(&program, ".input_port", 2), &mut recorder);
    assert_eq!(outcome.packet(), tagged(8, 0x88b5));
    assert_eq!(calls(&recorder), ["drop_packet()"]);
    let digest: Vec<_> = recorder.digests.iter().map(|(_, values)| values.clone()).collect();
    assert_eq!(digest, [vec![8, 2]]);
    assert_eq!(
        recorder.counts.iter().map(|((_, cell), count)| (*cell, count.packets)).collect::<Vec<_>>(),
        [(Cell::Index(1), 1)]
    );

    // The parser refuses: what is left of the packet is what it was.
    let outcome = machine.run(&tagged(0xfff, 0x88b5), &[], &mut recorder);
    assert_eq!((outcome.accepted, error(&program, &outcome)), (false, "ReservedVlan"));
    let outcome = machine.run(&tagged(7, 0x88b5)[..16], &[], &mut recorder);
    assert_eq!((outcome.accepted, error(&program, &outcome)), (false, "PacketTooShort"));
    let outcome = machine.run(&tagged(7, 0x8100), &[], &mut recorder);
    assert_eq!((outcome.accepted, error(&program, &outcome)), (false, "NoMatch"));
}

fn error<'p>(program: &'p Program, outcome: &Outcome) -> &'p str {
    &program.errors[outcome.parser_error as usize]
}

fn calls(recorder: &Recorder) -> Vec<String> {
    let text = |values: &[u128]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    recorder.calls.iter().map(|call| format!("{}({})", call.function, text(&call.arguments))).collect()
}

#[test]
fn its_own_entries_are_taken_in_order() {
    let program = small();
    let machine = Machine::new(&program);
    let kinds = machine.table(table(&program, "kinds"));
    let class = |kind: u128| kinds.lookup(&[kind]).map(|row| row.entry.arguments[0]);
    assert_eq!(class(0x0800), Some(1));
    // 0x88b5 fits two of them.
    assert_eq!(class(0x88b5), Some(2));
    assert_eq!(class(0x88b6), Some(3));
    assert_eq!(class(0x9000), None);
}

#[test]
fn p4info_says_what_the_text_says() {
    let program = small();
    let info = p4info::message(&program);
    assert_eq!(
        info.pkg_info.as_ref().map(|package| (package.name.as_str(), package.arch.as_str())),
        Some(("small", "pna"))
    );
    let vlans = info.tables.iter().find(|table| table.preamble.as_ref().is_some_and(|each| each.alias == "vlans"));
    let vlans = vlans.expect("it is there");
    let preamble = vlans.preamble.as_ref().expect("it has one");
    assert_eq!(preamble.id, 0x0200_0abc);
    assert_eq!(preamble.name, "SmallControl.vlans");
    assert_eq!(preamble.doc.as_ref().map(|doc| doc.brief.as_str()), Some("Where each VLAN goes."));
    let field = &vlans.match_fields[0];
    assert_eq!((field.id, field.name.as_str(), field.bitwidth), (5, "vid", 12));
    assert_eq!(field.r#match, Some(match_field::Match::MatchType(match_field::MatchType::Exact.into())));
    assert_eq!((vlans.size, vlans.idle_timeout_behavior()), (64, table::IdleTimeoutBehavior::NotifyControl));

    let kinds = info.tables.iter().find(|table| table.preamble.as_ref().is_some_and(|each| each.alias == "kinds"));
    let kinds = kinds.expect("it is there");
    assert!(kinds.is_const_table && kinds.has_initial_entries);

    // A port of the card's has the controller's width and type.
    let forward =
        info.actions.iter().find(|action| action.preamble.as_ref().is_some_and(|each| each.alias == "forward"));
    let port = &forward.expect("it is there").params[0];
    assert_eq!((port.id, port.name.as_str(), port.bitwidth), (9, "port", 32));
    assert_eq!(port.type_name.as_ref().map(|each| each.name.as_str()), Some("PortId_t"));
    let types = info.type_info.as_ref().expect("there are some");
    assert!(types.new_types.contains_key("PortId_t"));
    assert_eq!(
        types.structs["unknown_t"].members.iter().map(|each| each.name.as_str()).collect::<Vec<_>>(),
        ["vid", "port"]
    );

    let heads: Vec<_> = info.controller_packet_metadata.iter().filter_map(|head| head.preamble.as_ref()).collect();
    assert_eq!(heads.iter().map(|head| (head.id >> 24, head.name.as_str())).collect::<Vec<_>>(), [(4, "packet_in")]);
    // What no table names is no controller's affair.
    assert!(
        info.actions.iter().all(|action| action.preamble.as_ref().is_some_and(|each| each.alias != "unknown_vlan"))
    );
}

#[test]
fn the_documents_know_it_too() {
    let program = small();
    let page = docs::emit(&program);
    for line in [
        "#### `SmallControl.vlans`",
        "Where each VLAN goes.",
        "| `vid` | 12 | exact | `hdr.vlan.vid` |",
        "- Entries belong to control.",
        "- Room for 64 entries.",
        "- `start`: takes `hdr.ethernet`; by `hdr.ethernet.kind`: 0x8100 → `vlan`; _ → accept",
    ] {
        assert!(page.lines().any(|each| each == line), "{line} is not in\n{page}");
    }
    let drawing = graph::emit(&program);
    assert!(drawing.contains("\"parser state start\" -> \"parser state vlan\" [label=\"0x8100\"];"), "{drawing}");
    assert!(
        drawing.contains("\"control table SmallControl.kinds\" -> \"control table SmallControl.vlans\""),
        "{drawing}"
    );
}
