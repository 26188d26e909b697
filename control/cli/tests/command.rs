//! gantryctl as an operator runs it.

#![forbid(unsafe_code)]

use std::process::Command;

#[test]
fn a_data_plane_that_is_not_there_is_a_question_to_the_operator() {
    let output = Command::new(env!("CARGO_BIN_EXE_gantryctl"))
        .args(["counters", "--stats", "/nowhere/x.stats"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("/nowhere/x.stats: No such file"), "{text}");
    assert!(text.contains("is gantry-dataplane running"), "{text}");
}

#[test]
fn a_segment_is_printed_as_a_table() {
    // A preamble (magic, version 1, one lcore, one name, rows at 128, stride 1), the name, the row.
    let mut segment = Vec::new();
    segment.extend_from_slice(b"gantryst");
    for word in [1u32, 1, 1, 128, 1, 5] {
        segment.extend_from_slice(&word.to_le_bytes());
    }
    segment.resize(64, 0);
    segment.extend_from_slice(b"s0_receive.frames");
    segment.resize(128, 0);
    segment.extend_from_slice(&42u64.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channel.stats");
    std::fs::write(&path, segment).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_gantryctl")).arg("counters").arg("--stats").arg(&path).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "s0_receive.frames                    42\n");
}
