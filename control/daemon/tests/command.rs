//! gantryd as an operator runs it.

#![forbid(unsafe_code)]

use gantry::channel::session::{Hello, Reason, Refused};
use gantry::channel::{FRAME_MAX, Frame, Kind, emit};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use tokio_seqpacket::UnixSeqpacketListener;
use zerocopy::{FromZeros, IntoBytes};

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

/// A data plane that has seen a newer control: gantryd says so once and ends with a status of its own.
#[tokio::test(flavor = "current_thread")]
async fn it_ends_when_it_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gantry.toml");
    let channel = folder.path().join("channel");
    std::fs::write(&path, format!("[dataplane]\nchannel = \"{}\"\n", channel.display())).unwrap();
    let mut listener = UnixSeqpacketListener::bind(&channel).unwrap();
    let mut epochs = Vec::new();
    for _ in 0..2 {
        let child = gantryd().arg("--config").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let socket = listener.accept().await.unwrap();
        let mut buffer = [0; FRAME_MAX];
        let length = socket.recv(&mut buffer).await.unwrap().bytes_read();
        let frame = Frame::parse(&buffer[..length]).unwrap();
        epochs.push(frame.body::<Hello>().unwrap().0.epoch.get());
        let refused = Refused { reason: (Reason::Fenced as u16).into(), ..Refused::new_zeroed() };
        socket.send(&emit(Kind::Refused, 0, refused.as_bytes(), b"a newer control has been here")).await.unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("another one has the data plane: a newer control has been here"), "{text}");
    }
    assert!(epochs[0] < epochs[1], "{epochs:?}");
}
