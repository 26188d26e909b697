//! arm64, what cards are: a compiler with Rust's own library for it, Debian's linker, and QEMU's user-mode emulation, which
//! runs one program and its system calls, no machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::install;
use crate::programs::{cargo, root, run, target};

/// What Rust calls it.
pub(crate) const ARM64: &str = "aarch64-unknown-linux-gnu";

/// Debian's linker for it.
const LINKER: (&str, &str) = ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");

/// Programs bring their C library along: under emulation a dynamic linker and a library of two packages (libc6:arm64, the
/// cross compiler's own) may come together, and threads then hang.
const STATIC: (&str, &str) = ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static");

/// What runs its programs, on a processor that has every extension.
const EMULATOR: [&str; 3] = ["qemu-aarch64", "-cpu", "max"];

/// How cargo is told of [`EMULATOR`].
const RUNNER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER";

/// Debian's compiler, beside which its arm64 library lies.
const DEBIANS: &str = "/usr/bin/rustc";

/// How long rustup has for its download, in seconds: where it reaches nobody, Debian is asked.
const DOWNLOAD_S: &str = "60";

/// A way to build for arm64.
pub(crate) struct Toolchain {
    /// The compiler, if it is another than this machine's usual one.
    compiler: Option<&'static str>,
}

impl Toolchain {
    /// The machine's compiler when it has the library for arm64, or gets it from rustup; else Debian's.
    pub(crate) fn ensure() -> Result<Self> {
        let own = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        if has_library(&own) || rustup_adds_it() && has_library(&own) {
            return Ok(Self { compiler: None });
        }
        if !has_library(DEBIANS) {
            install::rust_for_arm64()?;
        }
        match has_library(DEBIANS) {
            true => Ok(Self { compiler: Some(DEBIANS) }),
            false => Err(format!(
                "Rust's library for {ARM64} is missing: `rustup target add {ARM64}`, or Debian's rustc-web and \
                 libstd-rust-web-dev:arm64"
            )),
        }
    }

    /// A cargo command that builds release for arm64 and runs tests under emulation.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = cargo(arguments);
        command.args(["--release", "--target", ARM64]).envs([LINKER, STATIC]).env(RUNNER, EMULATOR.join(" "));
        if let Some(compiler) = self.compiler {
            command.env("RUSTC", compiler).env("CARGO_TARGET_DIR", self.folder()?);
        }
        Ok(command)
    }

    /// A cargo command that builds release for arm64 with the C library and the DPDK in `sysroot`, a root of Debian's packages.
    pub(crate) fn cargo_within(&self, sysroot: &Path, arguments: &[&str]) -> Result<Command> {
        let root = sysroot.display();
        let mut command = self.cargo(arguments)?;
        command.env(STATIC.0, format!("-C link-arg=--sysroot={root}"));
        command
            .env("CC_aarch64_unknown_linux_gnu", LINKER.1)
            .env("CFLAGS_aarch64_unknown_linux_gnu", format!("--sysroot={root}"));
        command.env("BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu", format!("--sysroot={root}"));
        command.env("PKG_CONFIG_ALLOW_CROSS", "1").env("PKG_CONFIG_SYSROOT_DIR", sysroot);
        command
            .env("PKG_CONFIG_LIBDIR", format!("{root}/usr/lib/aarch64-linux-gnu/pkgconfig:{root}/usr/share/pkgconfig"));
        Ok(command)
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
        Ok(EMULATOR.map(str::to_owned).into_iter().chain([path]).collect())
    }

    /// Another compiler would build everything anew in the same place, and the first one again after it.
    fn folder(&self) -> Result<PathBuf> {
        Ok(if self.compiler.is_some() { target()?.join("debian") } else { target()? })
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
