//! gantryd as an operator runs it.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn gantryd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gantryd"))
}

#[test]
fn a_good_configuration_is_confirmed() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/gantry.toml");
    let output = gantryd().args(["--check", "--config", example]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("gantry.toml: good; ports: 1, drives: 2, subsystems: 2\n"), "{text}");
}

#[test]
fn a_bad_one_is_refused_with_its_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, "[dataplane]\nchanel = \"/run/gantry/channel\"\n").unwrap();
    for check in [&["--check"][..], &[]] {
        let output = gantryd().args(check).arg("--config").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("bad.toml:2: unknown key `chanel` in [dataplane]"), "{text}");
        assert!(text.contains("remedy: did you mean `channel`?"), "{text}");
    }
    let output = gantryd().args(["--check", "--config", "/nowhere/gantry.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("/nowhere/gantry.toml: No such file"));
}

#[test]
fn it_waits_for_the_data_plane_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gantry.toml");
    let channel = folder.path().join("channel");
    std::fs::write(&path, format!("[dataplane]\nchannel = \"{}\"\n", channel.display())).unwrap();
    for signal in ["-TERM", "-INT"] {
        let mut child = gantryd().arg("--config").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("waiting for the data plane at"), "{first}");
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert!(child.wait().unwrap().success());
        assert!(lines.next().unwrap().unwrap().contains("the data plane goes on serving"));
    }
}
