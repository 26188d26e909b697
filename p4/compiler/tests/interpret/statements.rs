//! Statements of controls (P4_16 §12) and what happens around tables (§14.2).

use gantry_p4c::interpret::{EntryId, Machine, Outcome, Recorder, Step};
use gantry_p4c::ir::{self, ActionId, BinaryOp, Entry, Place, Stmt, TableId, VarId};

use crate::build::{Build, apply, assign, binary, call, num, truth, value};

fn run(build: &Build, inputs: &[(VarId, u128)]) -> Outcome {
    Machine::new(&build.program).run(&[], inputs, &mut Recorder::new(&build.program))
}

#[test]
fn everything_begins_with_zero_and_with_its_inputs() {
    let mut build = Build::new();
    let (x, y) = (build.local("x", 8), build.local("y", 8));
    let sum = binary(BinaryOp::Add, build.read(x), build.read(y));
    build.control(vec![assign(y, sum)]);
    assert_eq!(run(&build, &[]).values, [0, 0]);
    assert_eq!(run(&build, &[(x, 200), (y, 100)]).values, [200, 44]);
}

#[test]
fn if_takes_one_way() {
    let mut build = Build::new();
    let (x, y) = (build.local("x", 8), build.local("y", 8));
    let condition = binary(BinaryOp::Gt, build.read(x), num(4, 8));
    build.control(vec![Stmt::If {
        condition,
        then: vec![assign(y, num(1, 8))],
        otherwise: vec![assign(y, num(2, 8))],
    }]);
    assert_eq!(run(&build, &[(x, 5)]).value(y), 1);
    assert_eq!(run(&build, &[(x, 4)]).value(y), 2);
}

#[test]
fn bits_of_a_variable_are_assigned_to() {
    let mut build = Build::new();
    let x = build.local("x", 16);
    build.control(vec![Stmt::Assign { place: Place { var: x, slice: Some((7, 4)) }, value: num(0xa, 4) }]);
    assert_eq!(run(&build, &[(x, 0xffff)]).value(x), 0xffaf);
}

#[test]
fn a_header_that_becomes_valid_is_clean_and_one_that_is_stays_as_it_is() {
    let mut build = Build::new();
    let header = build.header("hdr.h", &[("a", 8)]);
    let (a, seen) = (build.field(header, "a"), build.local("seen", 8));
    let valid = |valid| Stmt::SetValid { header, valid };
    let read = build.read(a);
    // Written to and read while it is not valid: its variable holds it, which makes it no more valid.
    build.control(vec![assign(a, num(7, 8)), assign(seen, read)]);
    let outcome = run(&build, &[]);
    assert_eq!((outcome.value(seen), outcome.is_valid(header)), (7, false));

    build.control(vec![assign(a, num(7, 8)), valid(true)]);
    let outcome = run(&build, &[]);
    assert_eq!((outcome.value(a), outcome.is_valid(header)), (0, true));

    build.control(vec![valid(true), assign(a, num(7, 8)), valid(true)]);
    assert_eq!(run(&build, &[]).value(a), 7);

    build.control(vec![valid(true), assign(a, num(7, 8)), valid(false)]);
    let outcome = run(&build, &[]);
    assert_eq!((outcome.value(a), outcome.is_valid(header)), (7, false));
}

#[test]
fn return_ends_the_block_and_exit_no_more_than_that_for_the_architecture() {
    for end in [Stmt::Return, Stmt::Exit] {
        let mut build = Build::new();
        let header = build.header("hdr.h", &[("a", 8)]);
        let a = build.field(header, "a");
        let inside = Stmt::If { condition: truth(true), then: vec![end], otherwise: vec![] };
        build.control(vec![Stmt::SetValid { header, valid: true }, assign(a, num(1, 8)), inside, assign(a, num(2, 8))]);
        build.deparser(&[header]);
        assert_eq!(run(&build, &[]).emitted, [1]);
    }
}

/// A table keyed by `x` whose actions set `y`; what follows it is the test's.
struct Tabled {
    build: Build,
    table: TableId,
    x: VarId,
    y: VarId,
    after: VarId,
    miss: ActionId,
    set: ActionId,
    leave: ActionId,
    stop: ActionId,
}

fn tabled(then: impl FnOnce(&Tabled) -> ir::Outcome) -> Tabled {
    let mut build = Build::new();
    let (x, y, after) = (build.local("x", 8), build.local("y", 8), build.local("after", 8));
    let miss = build.action("C.miss", &[], |_, _| vec![assign(y, num(99, 8))]);
    let set = build.action("C.set", &[("to", 8)], |build, parameters| vec![assign(y, build.read(parameters[0]))]);
    let leave = build.action("C.leave", &[], |_, _| vec![assign(y, num(1, 8)), Stmt::Return, assign(y, num(2, 8))]);
    let stop = build.action("C.stop", &[], |_, _| vec![assign(y, num(3, 8)), Stmt::Exit]);
    let table = build.table("C.t", &[(x, ir::MatchKind::Exact)], &[miss, set, leave, stop]);
    let mut tabled = Tabled { build, table, x, y, after, miss, set, leave, stop };
    let after_set = assign(after, num(1, 8));
    let applied = Stmt::Apply { table, then: then(&tabled) };
    tabled.build.control(vec![applied, after_set]);
    tabled
}

impl Tabled {
    /// What `y` and `after` are for a packet with this `x`, when 1 sets `y` to 50, 2 leaves and 3 stops.
    fn run(&self, x: u128) -> (u128, u128, Outcome) {
        let mut machine = Machine::new(&self.build.program);
        for (key, action, arguments) in [(1, self.set, vec![50]), (2, self.leave, vec![]), (3, self.stop, vec![])] {
            let entry = Entry { matches: vec![value(key)], priority: 0, action, arguments };
            machine.entries(self.table).insert(&entry).expect("it fits");
        }
        let outcome = machine.run(&[], &[(self.x, x)], &mut Recorder::default());
        (outcome.value(self.y), outcome.value(self.after), outcome)
    }
}

#[test]
fn a_table_runs_the_entrys_action_or_its_default() {
    let tabled = tabled(|_| ir::Outcome::Any);
    let (y, after, outcome) = tabled.run(1);
    assert_eq!((y, after), (50, 1));
    let hit = Step::Applied {
        table: tabled.table,
        key: vec![1],
        entry: Some(EntryId(0)),
        action: tabled.set,
        arguments: vec![50],
    };
    assert_eq!(outcome.trace, [hit]);
    assert_eq!(outcome.trace_text(&tabled.build.program), "C.t [0x1] hit 0 -> C.set(0x32)\n");
    let (y, after, outcome) = tabled.run(7);
    assert_eq!((y, after), (99, 1));
    assert_eq!(outcome.trace_text(&tabled.build.program), "C.t [0x7] miss -> C.miss()\n");
}

#[test]
fn return_leaves_the_action_and_exit_the_control() {
    let tabled = tabled(|_| ir::Outcome::Any);
    assert_eq!(tabled.run(2).0, 1);
    assert_eq!(tabled.run(2).1, 1);
    assert_eq!((tabled.run(3).0, tabled.run(3).1), (3, 0));
}

#[test]
fn what_follows_may_depend_on_hit_and_miss() {
    let tabled = tabled(|tabled| ir::Outcome::Hit {
        hit: vec![assign(tabled.y, num(10, 8))],
        miss: vec![assign(tabled.y, num(20, 8)), Stmt::Return],
    });
    assert_eq!((tabled.run(1).0, tabled.run(1).1), (10, 1));
    // An action that returns has been run all the same.
    assert_eq!(tabled.run(2).0, 10);
    assert_eq!((tabled.run(3).0, tabled.run(3).1), (3, 0));
    assert_eq!((tabled.run(7).0, tabled.run(7).1), (20, 0));
}

#[test]
fn what_follows_may_depend_on_the_action() {
    let tabled = tabled(|tabled| ir::Outcome::Action {
        cases: vec![
            (vec![tabled.leave], vec![assign(tabled.y, num(30, 8))]),
            (vec![tabled.miss, tabled.stop], vec![assign(tabled.y, num(40, 8))]),
        ],
        otherwise: vec![assign(tabled.y, num(60, 8))],
    });
    assert_eq!(tabled.run(1).0, 60);
    assert_eq!(tabled.run(2).0, 30);
    // The default action counts like any other; `exit` ends before.
    assert_eq!(tabled.run(7).0, 40);
    assert_eq!(tabled.run(3).0, 3);
}

#[test]
fn tables_see_what_was_done_before_them() {
    let mut build = Build::new();
    let (x, y) = (build.local("x", 8), build.local("y", 8));
    let nothing = build.action("C.nothing", &[], |_, _| vec![]);
    let raise =
        build.action("C.raise", &[], |build, _| vec![assign(x, binary(BinaryOp::Add, build.read(x), num(1, 8)))]);
    let mark = build.action("C.mark", &[], |_, _| vec![assign(y, num(1, 8))]);
    let first = build.table("C.first", &[], &[raise]);
    let second = build.table("C.second", &[(x, ir::MatchKind::Exact)], &[nothing, mark]);
    build.control(vec![apply(first), apply(second), call(None, "done", vec![], None)]);
    let mut machine = Machine::new(&build.program);
    machine
        .entries(second)
        .insert(&Entry { matches: vec![value(1)], priority: 0, action: mark, arguments: vec![] })
        .expect("it fits");
    let outcome = machine.run(&[], &[], &mut Recorder::default());
    assert_eq!(outcome.value(y), 1);
    assert_eq!(
        outcome.trace_text(&build.program),
        "C.first [] miss -> C.raise()\nC.second [0x1] hit 0 -> C.mark()\ndone()\n"
    );
}
