//! Parsers and deparsers (P4_16 §13 and §16): what is taken from a packet, how a parser ends, what leaves.

use gantry_p4c::interpret::{Machine, Outcome, Recorder, Step};
use gantry_p4c::ir::{BinaryOp, ExprKind, HeaderId, Match, StateId, Stmt, Target, Transition, VarKind};

use crate::build::{Build, assign, binary, bits, expr, num, to, value};

const NO_ERROR: u32 = 0;
const PACKET_TOO_SHORT: u32 = 1;
const NO_MATCH: u32 = 2;
const OWN_ERROR: u32 = 3;

fn run(build: &Build, packet: &[u8]) -> Outcome {
    Machine::new(&build.program).run(packet, &[], &mut Recorder::new(&build.program))
}

/// A parser of one state that takes a header of 4, 12 and 48 bits, and then does as it is told.
fn one_header(more: impl FnOnce(&Build, HeaderId) -> (Vec<Stmt>, Transition)) -> (Build, HeaderId) {
    let mut build = Build::new();
    let header = build.header("hdr.h", &[("a", 4), ("b", 12), ("c", 48)]);
    let (mut body, transition) = more(&build, header);
    body.insert(0, Stmt::Extract(header));
    build.parser(vec![("start", body, transition)]);
    build.deparser(&[header]);
    (build, header)
}

const EIGHT: [u8; 8] = [0x12, 0x34, 0xa0, 0xb1, 0xc2, 0xd3, 0xe4, 0xf5];

#[test]
fn fields_are_in_the_order_of_the_wire() {
    let (build, header) = one_header(|_, _| (vec![], Transition::To(Target::Accept)));
    let outcome = run(&build, &[&EIGHT[..], b"payload"].concat());
    let field = |name| outcome.value(build.field(header, name));
    assert_eq!((field("a"), field("b"), field("c")), (1, 0x234, 0xa0b1_c2d3_e4f5));
    assert!(outcome.is_valid(header) && outcome.accepted);
    assert_eq!(outcome.parser_error, NO_ERROR);
    assert_eq!((outcome.emitted.as_slice(), outcome.payload.as_slice()), (&EIGHT[..], &b"payload"[..]));
    assert_eq!(outcome.packet(), [&EIGHT[..], b"payload"].concat());
    assert_eq!(
        outcome.trace,
        [Step::State(StateId(0)), Step::Parsed { accepted: true, error: NO_ERROR }, Step::Emitted(header)]
    );
}

#[test]
fn a_header_is_taken_whole_or_not_at_all() {
    let (build, header) = one_header(|_, _| (vec![], Transition::To(Target::Accept)));
    for length in 0..EIGHT.len() {
        let outcome = run(&build, &EIGHT[..length]);
        assert!(!outcome.accepted && !outcome.is_valid(header));
        assert_eq!(outcome.parser_error, PACKET_TOO_SHORT);
        assert_eq!(outcome.values, vec![0; build.program.vars.len()]);
        // What was not taken is payload still.
        assert_eq!((outcome.emitted.len(), outcome.payload.as_slice()), (0, &EIGHT[..length]));
    }
}

#[test]
fn a_parser_that_rejects_keeps_what_it_took() {
    let (build, header) = one_header(|_, _| (vec![], Transition::To(Target::Reject)));
    let outcome = run(&build, &EIGHT);
    assert!(!outcome.accepted && outcome.is_valid(header));
    // No error says why: the program itself chose to.
    assert_eq!(outcome.parser_error, NO_ERROR);
}

#[test]
fn verify_ends_the_parser_with_its_error() {
    let (build, header) = one_header(|build, header| {
        let a_is_one = binary(BinaryOp::Eq, build.read(build.field(header, "a")), num(1, 4));
        (vec![Stmt::Verify { condition: a_is_one, error: OWN_ERROR }], Transition::To(Target::Accept))
    });
    assert!(run(&build, &EIGHT).accepted);
    let outcome = run(&build, &[0x22; 8]);
    assert!(!outcome.accepted && outcome.is_valid(header));
    assert_eq!(outcome.parser_error, OWN_ERROR);
    assert_eq!(outcome.trace_text(&build.program), "state start\nreject: OwnError\nemit hdr.h\n");
}

#[test]
fn the_control_is_told_how_the_parser_ended() {
    let (mut build, _) = one_header(|_, _| (vec![], Transition::To(Target::Accept)));
    let error = build.var("istd.parser_error", bits(8), VarKind::Metadata { input: true, output: false });
    let seen = build.local("seen", 8);
    build.program.parser_error = Some(error);
    let read = build.read(error);
    build.control(vec![assign(seen, read)]);
    assert_eq!(run(&build, &[]).value(seen), PACKET_TOO_SHORT.into());
    assert_eq!(run(&build, &EIGHT).value(seen), NO_ERROR.into());
}

#[test]
fn advance_skips_what_is_there() {
    let with_advance = |by: u128| one_header(|_, _| (vec![Stmt::Advance(num(by, 32))], Transition::To(Target::Accept)));
    let packet = [&EIGHT[..], &[7, 8, 9]].concat();
    let (build, _) = with_advance(16);
    assert_eq!(run(&build, &packet).payload, [9]);
    let (build, _) = with_advance(24);
    assert!(run(&build, &packet).payload.is_empty());
    // A byte that was begun is no payload.
    let (build, _) = with_advance(9);
    assert_eq!(run(&build, &packet).payload, [9]);
    let (build, _) = with_advance(25);
    let outcome = run(&build, &packet);
    assert_eq!((outcome.accepted, outcome.parser_error), (false, PACKET_TOO_SHORT));
    assert_eq!(outcome.payload, [7, 8, 9]);
    let (build, _) = with_advance(u32::MAX.into());
    assert_eq!(run(&build, &packet).parser_error, PACKET_TOO_SHORT);
}

#[test]
fn lookahead_stays_and_may_be_too_short() {
    let mut build = Build::new();
    let header = build.header("hdr.h", &[("a", 8)]);
    let seen = build.local("seen", 16);
    let body = vec![assign(seen, expr(ExprKind::Lookahead, bits(16))), Stmt::Extract(header)];
    build.parser(vec![("start", body, Transition::To(Target::Accept))]);
    let outcome = run(&build, &[0xab, 0xcd]);
    assert_eq!((outcome.value(seen), outcome.value(build.field(header, "a"))), (0xabcd, 0xab));
    assert_eq!(outcome.payload, [0xcd]);
    let outcome = run(&build, &[0xab]);
    assert_eq!((outcome.parser_error, outcome.is_valid(header)), (PACKET_TOO_SHORT, false));
}

/// By the first 8 bits and the lowest bit of the next 8: a state for each way to match.
fn selecting() -> Build {
    let mut build = Build::new();
    let header = build.header("hdr.h", &[("a", 8), ("b", 8)]);
    let (a, b) = (build.read(build.field(header, "a")), build.read(build.field(header, "b")));
    let low = expr(ExprKind::Slice { of: b.into(), hi: 0, lo: 0 }, bits(1));
    let cases = vec![
        (vec![value(1), Match::Any], to(1)),
        (vec![Match::Mask { value: 0x80, mask: 0xc0 }, Match::Any], to(2)),
        (vec![Match::Range { low: 10, high: 12 }, value(1)], to(3)),
        (vec![Match::Prefix { value: 0xf0, length: 4 }, Match::Any], Target::Accept),
        (vec![Match::Range { low: 2, high: 20 }, Match::Any], Target::Reject),
    ];
    let end = || Transition::To(Target::Accept);
    build.parser(vec![
        ("start", vec![Stmt::Extract(header)], Transition::Select { keys: vec![a, low], cases }),
        ("one", vec![], end()),
        ("masked", vec![], end()),
        ("ranged", vec![], end()),
    ]);
    build
}

#[test]
fn select_takes_the_first_case_that_matches() {
    let build = selecting();
    let ends = |a: u8, b: u8| {
        let outcome = run(&build, &[a, b]);
        let state = |step: &Step| if let Step::State(state) = step { Some(state.0) } else { None };
        let states: Vec<_> = outcome.trace.iter().filter_map(state).collect();
        (states[1..].to_vec(), outcome.accepted, outcome.parser_error)
    };
    assert_eq!(ends(1, 0), (vec![1], true, NO_ERROR));
    assert_eq!(ends(0x80, 0), (vec![2], true, NO_ERROR));
    assert_eq!(ends(0xbf, 0), (vec![2], true, NO_ERROR));
    assert_eq!(ends(10, 1), (vec![3], true, NO_ERROR));
    assert_eq!(ends(12, 3), (vec![3], true, NO_ERROR));
    assert_eq!(ends(10, 2), (vec![], false, NO_ERROR));
    assert_eq!(ends(0xf7, 0), (vec![], true, NO_ERROR));
    assert_eq!(ends(0xe7, 0), (vec![], false, NO_MATCH));
    assert_eq!(ends(0, 1), (vec![], false, NO_MATCH));
}

#[test]
fn only_valid_headers_leave_in_the_order_of_emit() {
    let mut build = Build::new();
    let first = build.header("hdr.first", &[("a", 8)]);
    let second = build.header("hdr.second", &[("a", 3), ("b", 13)]);
    let third = build.header("hdr.third", &[("a", 8)]);
    let (a, b) = (build.field(second, "a"), build.field(second, "b"));
    build.control(vec![
        Stmt::SetValid { header: second, valid: true },
        assign(a, num(0b101, 3)),
        assign(b, num(0x1abc, 13)),
        Stmt::SetValid { header: third, valid: true },
        Stmt::SetValid { header: third, valid: false },
    ]);
    build.deparser(&[third, second, first]);
    let outcome = run(&build, b"rest");
    assert_eq!(outcome.emitted, [0xba, 0xbc]);
    assert_eq!(outcome.payload, b"rest");
}
