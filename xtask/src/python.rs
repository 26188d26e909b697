//! Python programs from PyPI that tests use: each in a virtual environment of its own, `<target>/venv/<name>`, with exactly
//! the versions that `tests/p4runtime/<name>.txt` names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::programs::{root, run, target};

/// The environments. p4runtime-shell wants a protobuf that finsy is too new for, so one cannot hold both.
const ENVIRONMENTS: [&str; 2] = ["p4runtime-shell", "finsy"];

/// In an environment that is complete: the requirements it was made of.
const STAMP: &str = "requirements";

/// Sees to it that every environment is there and complete; gives the folder that holds them.
pub(crate) fn environments() -> Result<PathBuf> {
    let folder = target()?.join("venv");
    for name in ENVIRONMENTS {
        let file = Path::new("tests/p4runtime").join(name).with_extension("txt");
        let requirements = root().join(&file);
        let wanted = fs::read_to_string(&requirements).map_err(|error| format!("{}: {error}", file.display()))?;
        let environment = folder.join(name);
        if !complete(&environment, &wanted) {
            println!("making the Python environment {}", environment.display());
            make(&environment, &requirements)
                .and_then(|()| fs::write(environment.join(STAMP), &wanted).map_err(|error| error.to_string()))
                .map_err(|error| format!("the Python environment {}: {error}", environment.display()))?;
        }
    }
    Ok(folder)
}

fn python(environment: &Path) -> Command {
    let mut command = Command::new(environment.join("bin/python3"));
    // What the user's own Python is told is not for this one.
    command.args(["-E", "-s"]);
    command
}

/// Whether it was made to the end of these requirements, by a Python that is still there.
fn complete(environment: &Path, wanted: &str) -> bool {
    let quiet = |command: &mut Command| {
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    fs::read_to_string(environment.join(STAMP)).is_ok_and(|made_of| made_of == wanted)
        && quiet(python(environment).args(["-c", "import grpc"]))
}

fn make(environment: &Path, requirements: &Path) -> Result<()> {
    if environment.exists() {
        fs::remove_dir_all(environment).map_err(|error| format!("cannot be made anew: {error}"))?;
    }
    let status = run(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
    if !status.success() {
        return Err(format!("python3 -m venv failed ({status})"));
    }
    let pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "--requirement"];
    let status = run(python(environment).args(pip).arg(requirements))?;
    if !status.success() {
        return Err(format!("pip failed ({status}): it needs PyPI, or a mirror that its configuration names"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_has_an_exact_version() {
        for name in ENVIRONMENTS {
            let path = root().join("tests/p4runtime").join(name).with_extension("txt");
            let text = fs::read_to_string(&path).expect("the requirements");
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(lines.iter().any(|line| line.starts_with(&format!("{name}=="))), "{name} is not in its own file");
            for line in lines {
                let (package, version) = line.split_once("==").unwrap_or_else(|| panic!("{name}: {line}"));
                let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
                assert!(
                    plain(package) && plain(version) && version.starts_with(|c: char| c.is_ascii_digit()),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn an_environment_is_complete_with_its_stamp_and_a_python_that_runs() {
        let folder = std::env::temp_dir().join(format!("gantry-xtask-{}", std::process::id()));
        let program = folder.join("bin/python3");
        fs::create_dir_all(program.parent().expect("bin")).expect("a folder");
        let write = |script: &str| {
            use std::os::unix::fs::PermissionsExt;
            fs::write(&program, script).expect("a file");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
        };
        write("#!/bin/sh\nexit 0\n");
        assert!(!complete(&folder, "a==1\n"), "no stamp");
        fs::write(folder.join(STAMP), "a==1\n").expect("a file");
        assert!(complete(&folder, "a==1\n"));
        assert!(!complete(&folder, "a==2\n"), "the requirements have changed");
        write("#!/bin/sh\nexit 1\n");
        assert!(!complete(&folder, "a==1\n"), "its Python does not run");
        fs::remove_dir_all(&folder).expect("it was ours");
    }
}
