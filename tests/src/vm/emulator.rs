//! QEMU as another Debian release has it, beside this machine's own: unpacked into the cache, run by its own dynamic linker,
//! never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::kernel::run;
use super::{Error, Result, cache};

/// A program that runs a machine, and what stands before the machine's own arguments.
#[derive(Clone, Debug)]
pub struct Emulator {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
}

/// The suite that is Debian's next release.
const SUITE: &str = "forky";

/// What of it is kept: the program, its libraries and firmware.
const KEPT: &[&str] =
    &["./usr/bin/qemu-system-x86_64", "./usr/lib/x86_64-linux-gnu", "./usr/share/qemu", "./usr/share/seabios"];

impl Emulator {
    /// QEMU of Debian's testing suite, for what this release's does not have yet (`vfio-user-pci` came with 10.1): the one in
    /// the cache, else the current one, downloaded by mmdebstrap.
    pub fn testing() -> Result<Self> {
        let folder = cache()?.join(format!("qemu-{SUITE}"));
        if !folder.exists() {
            unpack(&folder)?;
        }
        let place = |path: &str| folder.join(path).display().to_string();
        let linker = folder.join("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        let arguments = [
            "--library-path",
            &place("usr/lib/x86_64-linux-gnu"),
            &place("usr/bin/qemu-system-x86_64"),
            "-L",
            &place("usr/share/qemu"),
            "-L",
            &place("usr/share/seabios"),
        ];
        Ok(Self { program: linker, arguments: arguments.map(str::to_owned).to_vec() })
    }
}

/// Makes `folder`, whole or not at all. mmdebstrap's own root, with whatever it mounts there, lies where it chooses and is gone
/// when it ends: what is unpacked here are plain files.
fn unpack(folder: &Path) -> Result<()> {
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    let archive = partial.with_extension("tar");
    let done = (|| {
        fs::create_dir_all(&partial).map_err(Error::on("making", &partial))?;
        // A snapshot of the suite is valid for a week only, and a mirror may lag.
        run(Command::new("mmdebstrap")
            .args(["--quiet", "--variant=apt", "--aptopt=Acquire::Check-Valid-Until \"false\""])
            .args(["--include=qemu-system-x86", SUITE])
            .arg(&archive))?;
        run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&partial).args(KEPT))?;
        fs::rename(&partial, folder).map_err(Error::on("renaming to", folder))
    })();
    let _ = fs::remove_file(&archive);
    let _ = fs::remove_dir_all(&partial);
    done
}
