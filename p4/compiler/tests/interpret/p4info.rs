//! P4Info of the example against a text written by hand from the specification.

use gantry_p4_proto::{Message as _, P4Info, text};
use gantry_p4c::emit::p4info;
use gantry_p4c::ir::Program;

use crate::example::router;

const GOLDEN: &str = include_str!("golden/router.p4info.txt");

#[test]
fn the_example_is_what_the_specification_says() {
    let golden = text::from_text(GOLDEN).expect("the golden text is P4Info");
    let message = p4info::message(&router());
    assert!(message == golden, "{}", difference(&text::to_text(&golden), &text::to_text(&message)));
}

/// The first line in which two texts differ, with some of what is before it.
fn difference(wanted: &str, made: &str) -> String {
    let same = wanted.lines().zip(made.lines()).take_while(|(wanted, made)| wanted == made).count();
    let around = |text: &str| text.lines().skip(same.saturating_sub(8)).take(14).collect::<Vec<_>>().join("\n");
    format!("wanted\n{}\n---- made\n{}", around(wanted), around(made))
}

#[test]
fn text_and_bytes_are_the_message() {
    let router = router();
    let message = p4info::message(&router);
    let written = p4info::emit(&router);
    assert!(written.starts_with("# proto-file: p4/config/v1/p4info.proto\n# proto-message: p4.config.v1.P4Info\n"));
    assert!(written.lines().count() > 100, "a field a line");
    assert_eq!(text::from_text(&written).expect("it is P4Info"), message);
    assert_eq!(P4Info::decode(p4info::binary(&router).as_slice()).expect("it is P4Info"), message);
    assert_eq!(p4info::binary(&router), p4info::binary(&router));
}

#[test]
fn a_program_of_nothing_has_a_package() {
    let program = Program { name: "empty".into(), package: "CommandPipeline".into(), ..Program::default() };
    let message = p4info::message(&program);
    let package = message.pkg_info.clone().expect("always there");
    assert_eq!((package.name.as_str(), package.arch.as_str()), ("empty", "CommandPipeline"));
    assert_eq!(P4Info { pkg_info: None, ..message }, P4Info::default());
}
