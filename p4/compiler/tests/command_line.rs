//! The command line as a shell sees it: exit status, what goes to standard output and what to standard error.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gantry-p4c")).args(arguments).output().expect("the compiler runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

const TABLES: &str = "tests/accepted/tables.p4";
const INCLUDE: [&str; 2] = ["-I", "../include"];

#[test]
fn a_right_program_is_checked_in_silence() {
    let out = run(&[&["check", TABLES], &INCLUDE[..]].concat());
    assert_eq!((out.status.code(), text(&out.stdout), text(&out.stderr)), (Some(0), String::new(), String::new()));
}

#[test]
fn a_wrong_program_is_told_in_plain_text_and_fails() {
    for command in [&["check"][..], &["emit", "rust"], &["graph"]] {
        let out = run(&[command, &["tests/refused/package.p4"], &INCLUDE[..]].concat());
        let told = text(&out.stderr);
        assert_eq!((out.status.code(), text(&out.stdout)), (Some(1), String::new()), "{command:?}");
        assert!(told.starts_with("Error: ") && !told.contains('\x1b'), "{told}");
        assert!(told.contains("tests/refused/package.p4: ") && told.ends_with(" mistakes\n"), "{told}");
    }
    let out = run(&["check", "tests/none.p4"]);
    assert!(text(&out.stderr).contains("tests/none.p4 cannot be read: "), "{out:?}");
    assert!(text(&out.stderr).ends_with("tests/none.p4: one mistake\n"), "{out:?}");
}

#[test]
fn each_form_is_written_to_standard_output_or_to_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out");
    let forms = [
        (&["emit", "rust"][..], "pub const"),
        (&["emit", "p4info"], "MainControl.access"),
        (&["emit", "p4info-text"], "name: \"MainControl.access\""),
        (&["emit", "docs"], "MainControl.access"),
        (&["graph"], "digraph"),
    ];
    for (command, wanted) in forms {
        let program = [command, &[TABLES], &INCLUDE[..]].concat();
        let out = run(&program);
        assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), String::new()), "{command:?}");
        assert!(String::from_utf8_lossy(&out.stdout).contains(wanted), "{command:?}: {out:?}");
        let to_file = run(&[&program[..], &["-o", path.to_str().expect("a path")]].concat());
        assert_eq!((to_file.status.code(), to_file.stdout.len()), (Some(0), 0), "{command:?}");
        assert_eq!(std::fs::read(&path).expect("a file"), out.stdout, "{command:?}: the same every time");
    }
    let out = run(&[&["graph", TABLES, "-o", "/nowhere/out"], &INCLUDE[..]].concat());
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).starts_with("/nowhere/out cannot be written: "), "{out:?}");
}

#[test]
fn macros_come_from_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program.p4");
    std::fs::write(&path, "#if LIMIT != 4 || !FLAG\n#error not so\n#endif\n#include \"tables.p4\"\n").expect("a file");
    let program = path.to_str().expect("a path");
    let folders = ["-I", "tests/accepted", "-I", "../include"];
    assert_eq!(run(&[&["check", program, "-DLIMIT=4", "-D", "FLAG"], &folders[..]].concat()).status.code(), Some(0));
    let out = run(&[&["check", program, "-D", "LIMIT=5"], &folders[..]].concat());
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("#error: not so"), "{out:?}");
    assert_eq!(run(&["check", program, "-D", "4=5"]).status.code(), Some(2), "a wrong command line");
}
