//! The project's own programs.

use crate::from_text::of_file;

#[test]
fn packet_is_accepted() {
    let program = of_file("packet.p4");
    assert_eq!(program.package, "PNA_NIC");
}

#[test]
fn command_is_accepted() {
    let program = of_file("command.p4");
    assert!(program.parser.is_none() && program.deparser.is_none() && program.control.is_some());
}
