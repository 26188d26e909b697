//! The project's own programs.

use gantry_p4c::ir::{ExternKind, MatchKind, Program, VarKind};

use crate::from_text::of_file;
use crate::show;

fn tables(program: &Program) -> Vec<&str> {
    program.tables.iter().map(|it| it.name.as_str()).collect()
}

/// Values that something in the program may be told apart by: no two variables have one name.
fn names_are_unique(program: &Program) {
    let own = program.vars.iter().filter(|it| !matches!(it.kind, VarKind::Parameter { .. }));
    let mut names: Vec<&str> = own.map(|it| it.name.as_str()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn packet_is_accepted() {
    let program = of_file("packet.p4");
    assert_eq!(program.package, "PNA_NIC");
    let parser = program.parser.as_ref().expect("a parser");
    assert_eq!(parser.states[0].name, "start");
    let error = program.parser_error.expect("told to the control");
    assert!(program.vars[error.index()].name.ends_with(".parser_error"));
    names_are_unique(&program);

    let qps = program.tables.iter().find(|it| it.name == "PacketControl.qps").expect("qps");
    assert_eq!((qps.size, qps.keys[0].name.as_str(), qps.keys[0].kind), (1 << 20, "qpn", MatchKind::Exact));
    assert!(qps.notes.annotations.contains(&"@owner(\"control\")".to_owned()));
    let opcodes = program.tables.iter().find(|it| it.name == "PacketControl.opcodes").expect("opcodes");
    assert!(opcodes.const_entries && opcodes.entries.len() >= 20);
    let access = program.tables.iter().find(|it| it.name == "PacketControl.access").expect("access");
    let [hits] = access.direct.as_slice() else { panic!("one direct counter") };
    assert!(matches!(program.externs[hits.index()].kind, ExternKind::DirectCounter { .. }));
    assert!(program.headers.iter().all(|it| it.bits % 8 == 0));
}

#[test]
fn command_is_accepted() {
    let program = of_file("command.p4");
    assert!(program.parser.is_none() && program.deparser.is_none());
    assert_eq!(tables(&program), ["Command.opcodes", "Command.namespaces"]);
    names_are_unique(&program);
    let text = show::control(&program);
    // The second meter is asked only if the command has paid the first.
    let first = text.find("Command.tenant_commands.execute").expect("the first meter");
    let second = text.find("Command.tenant_bandwidth.execute").expect("the second meter");
    let between = &text[first..second];
    assert!(between.contains("(command.paid == 1w0)"), "{between}");
}

#[test]
fn the_same_text_gives_the_same_program() {
    let shown = || format!("{:?}", of_file("packet.p4"));
    assert_eq!(shown(), shown());
}
