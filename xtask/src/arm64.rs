//! arm64, what cards are: a compiler with Rust's own library for it, Debian's linker, Debian's arm64 packages in a root of their
//! own, and QEMU's user-mode emulation, which runs one program and its system calls, no machine.
//!
//! One build serves every step: the programs of the package are those that run under emulation and whose library is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::install;
use crate::programs::{cargo, root, run, target};
use crate::sysroot::Sysroot;

/// What Rust calls it.
pub(crate) const ARM64: &str = "aarch64-unknown-linux-gnu";

/// Debian's linker for it.
const LINKER: (&str, &str) = ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");

/// How the compiler is told of Debian's root.
const FLAGS: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS";

/// What programs are linked with.
const LINKED: [&str; 2] = ["libdpdk-dev", "libc6-dev"];

/// Every crate that a step wants built. All are named in each build, because cargo settles the features of their dependencies
/// for those that are named together: others would be another build.
const CRATES: [&str; 6] = ["gantry-poller", "gantryd", "gantryctl", "gantry-sim", "gantry-nvme", "gantry-wire"];

/// What runs one program.
const EMULATOR: &str = "qemu-aarch64";

/// How cargo is told what runs its programs.
const RUNNER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER";

/// Debian's compiler, beside which its arm64 library lies.
const DEBIANS: &str = "/usr/bin/rustc";

/// How long rustup has for its download, in seconds: where it reaches nobody, Debian is asked.
const DOWNLOAD_S: &str = "60";

/// A way to build for arm64.
pub(crate) struct Toolchain {
    /// The compiler, if it is another than this machine's usual one.
    compiler: Option<&'static str>,
    /// What is linked with. Emulated programs find their dynamic linker and libraries there too, and nowhere else: were
    /// they of two packages (libc6:arm64, the cross compiler's own), threads would hang.
    sysroot: Sysroot,
}

impl Toolchain {
    /// The machine's compiler when it has the library for arm64, or gets it from rustup; else Debian's.
    pub(crate) fn ensure() -> Result<Self> {
        let compiler = compiler()?;
        let sysroot = Sysroot::ensure(&target()?.join("sysroot-arm64"), "arm64", &LINKED)?;
        Ok(Self { compiler, sysroot })
    }

    /// Builds these programs.
    pub(crate) fn build(&self, programs: &[&str]) -> Result<()> {
        let chosen = programs.iter().flat_map(|program| ["--bin", program]);
        self.done(&["build"], &CRATES, &chosen.collect::<Vec<_>>())
    }

    /// Builds every crate's library.
    pub(crate) fn build_libraries(&self) -> Result<()> {
        self.done(&["build"], &CRATES, &["--lib"])
    }

    /// Runs a crate's tests under emulation.
    pub(crate) fn test(&self, of: &str) -> Result<()> {
        self.done(&["test"], &[of], &["--tests"])
    }

    /// Debian's packages.
    pub(crate) fn sysroot(&self) -> &Sysroot {
        &self.sysroot
    }

    /// Runs cargo for `crates`.
    fn done(&self, command: &[&str], crates: &[&str], chosen: &[&str]) -> Result<()> {
        let arguments: Vec<&str> = command
            .iter()
            .copied()
            .chain(crates.iter().flat_map(|name| ["-p", name]))
            .chain(chosen.iter().copied())
            .collect();
        match run(&mut self.cargo(&arguments)?)? {
            status if status.success() => Ok(()),
            status => Err(format!("cargo {} for {ARM64} failed ({status})", arguments.join(" "))),
        }
    }

    /// A cargo command that builds release for arm64 with the C library and the DPDK of Debian's packages.
    fn cargo(&self, arguments: &[&str]) -> Result<Command> {
        let folder = self.sysroot.root();
        let root = folder.display();
        let mut command = cargo(arguments);
        command.args(["--release", "--target", ARM64]).envs([LINKER]);
        command.env(FLAGS, format!("-C link-arg=--sysroot={root}")).env(RUNNER, self.emulator().join(" "));
        command
            .env("CC_aarch64_unknown_linux_gnu", LINKER.1)
            .env("CFLAGS_aarch64_unknown_linux_gnu", format!("--sysroot={root}"));
        command.env("BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu", format!("--sysroot={root}"));
        command.env("PKG_CONFIG_ALLOW_CROSS", "1").env("PKG_CONFIG_SYSROOT_DIR", &folder);
        command
            .env("PKG_CONFIG_LIBDIR", format!("{root}/usr/lib/aarch64-linux-gnu/pkgconfig:{root}/usr/share/pkgconfig"));
        if let Some(compiler) = self.compiler {
            command.env("RUSTC", compiler).env("CARGO_TARGET_DIR", self.folder()?);
        }
        Ok(command)
    }

    /// What runs a program, on a processor that has every extension.
    fn emulator(&self) -> Vec<String> {
        let root = self.sysroot.root().display().to_string();
        [EMULATOR, "-cpu", "max", "-L", &root].map(str::to_owned).into()
    }

    /// Where a program lies that was built so.
    pub(crate) fn built(&self, name: &str) -> Result<PathBuf> {
        Ok(self.folder()?.join(ARM64).join("release").join(name))
    }

    /// Its compiler.
    pub(crate) fn compiler(&self) -> String {
        self.compiler.map_or_else(|| std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()), str::to_owned)
    }

    /// Where what runs while building, as derives do, is.
    pub(crate) fn built_here(&self) -> Result<PathBuf> {
        Ok(self.folder()?.join("release"))
    }

    /// The command that runs a program which was built so.
    pub(crate) fn program(&self, name: &str) -> Result<Vec<String>> {
        let path = self.built(name)?.display().to_string();
        Ok(self.emulator().into_iter().chain([path]).collect())
    }

    /// Another compiler would build everything anew in the same place, and the first one again after it.
    fn folder(&self) -> Result<PathBuf> {
        Ok(if self.compiler.is_some() { target()?.join("debian") } else { target()? })
    }
}

/// The compiler, if it is another than this machine's usual one.
fn compiler() -> Result<Option<&'static str>> {
    let own = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if has_library(&own) || rustup_adds_it() && has_library(&own) {
        return Ok(None);
    }
    if !has_library(DEBIANS) {
        install::rust_for_arm64()?;
    }
    match has_library(DEBIANS) {
        true => Ok(Some(DEBIANS)),
        false => Err(format!(
            "Rust's library for {ARM64} is missing: `rustup target add {ARM64}`, or Debian's rustc-web and \
             libstd-rust-web-dev:arm64"
        )),
    }
}

fn rustup_adds_it() -> bool {
    println!("the compiler has no library for {ARM64}: running rustup target add {ARM64}");
    let mut command = Command::new("rustup");
    command.args(["target", "add", ARM64]).current_dir(root());
    command.env("RUSTUP_DOWNLOAD_TIMEOUT", DOWNLOAD_S).env("RUSTUP_MAX_RETRIES", "1");
    match run(&mut command) {
        Ok(status) if status.success() => true,
        Ok(status) => {
            println!("rustup failed ({status})");
            false
        }
        Err(error) => {
            println!("{error}");
            false
        }
    }
}

fn has_library(compiler: &str) -> bool {
    let mut command = Command::new(compiler);
    command.args(["--print", "target-libdir", "--target", ARM64]).current_dir(root());
    let Ok(output) = command.stdin(Stdio::null()).stderr(Stdio::null()).output() else { return false };
    holds_library(Path::new(String::from_utf8_lossy(&output.stdout).trim()))
}

fn holds_library(folder: &Path) -> bool {
    let is_std = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libstd-");
    fs::read_dir(folder).into_iter().flatten().flatten().any(is_std)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_no_compiler_has_no_library() {
        assert!(!has_library("/no/such/compiler"));
        assert!(!holds_library(Path::new("/proc/self")));
    }
}
