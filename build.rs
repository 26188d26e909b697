//! Compiles p4/*.p4 to what both processes build against: `packet.rs`, `command.rs` and `p4info.bin` in `OUT_DIR`.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gantry_p4c::diagnostics::render;
use gantry_p4c::ir::Program;
use gantry_p4c::preprocess::Options;
use gantry_p4c::source::Sources;
use gantry_p4c::{compile, emit};

/// What the P4Info of both programs together is called.
const DEVICE: &str = "gantry";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo runs this, and sets OUT_DIR")?);
    println!("cargo::rerun-if-changed=p4");
    let (packet, command) = (program("packet")?, program("command")?);
    write(&out.join("packet.rs"), emit::rust::emit(&packet).as_bytes())?;
    write(&out.join("command.rs"), emit::rust::emit(&command).as_bytes())?;
    write(&out.join("p4info.bin"), &emit::p4info::merged_binary(&[&packet, &command], DEVICE))
}

fn program(name: &str) -> Result<Program, String> {
    let file = Path::new("p4").join(name).with_extension("p4");
    let options = Options { include_folders: vec![PathBuf::from("p4/include")], ..Options::default() };
    let mut sources = Sources::default();
    compile(&file, &options, &mut sources).map_err(|diagnostics| render(&diagnostics, &sources, false))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
