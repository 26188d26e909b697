//! `cargo xtask package`: the Debian packages. The programs are built here, for arm64 with a root of Debian's arm64 packages;
//! debhelper, with what is in deploy/, does the rest.

mod check;
mod libraries;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::Result;
use crate::arm64::Toolchain;
use crate::install;
use crate::programs::{built, done, release, root, target};

/// What a package is for, by Debian's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit Arm: DPUs.
    Arm64,
}

/// Crates whose programs are packed, and the programs.
const PROGRAMS: [(&str, &str); 3] =
    [("gantry-poller", "gantry-dataplane"), ("gantryd", "gantryd"), ("gantryctl", "gantryctl")];

/// What of the workspace goes along as it is, and where to.
const ALONG: [(&str, &str); 7] = [
    ("deploy/debian", "debian"),
    ("deploy/systemd", "systemd"),
    ("deploy/etc", "etc"),
    ("deploy/gantry.toml", "gantry.toml"),
    ("deploy/setup", "programs/setup"),
    ("docs", "docs"),
    ("CHANGELOG.md", "docs/CHANGELOG.md"),
];

impl Architecture {
    const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// As dpkg says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What multiarch folders are called.
    fn triplet(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// As Rust says it.
    fn rust(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// In a program's ELF header: EM_X86_64, EM_AARCH64.
    fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }

    /// This machine's, by Rust's name for it.
    fn here() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }
}

/// Makes the packages of `chosen`, or all, and says where they are.
pub(crate) fn make(chosen: &[Architecture]) -> Result<bool> {
    let chosen = if chosen.is_empty() { &Architecture::ALL } else { chosen };
    let packages = chosen.iter().map(|architecture| package(*architecture)).collect::<Result<Vec<_>>>()?;
    packages.iter().for_each(|package| println!("{}", package.display()));
    Ok(true)
}

/// Makes the packages of both architectures and looks at what is in them; true if all is well.
pub(crate) fn make_and_check() -> Result<bool> {
    let mut well = true;
    for architecture in Architecture::ALL {
        well &= check::package(architecture, &package(architecture)?)?;
    }
    Ok(well)
}

/// What a machine with systemd has beside what the package depends on.
const MACHINE: [&str; 4] = ["kmod", "linux-image-arm64", "mount", "systemd-sysv"];

/// Makes the arm64 package, a root in which it is installed, and the version that it is upgraded to; tells `machines` of them.
pub(crate) fn arm64_for(machines: &mut Command) -> Result<()> {
    let archive = package(Architecture::Arm64)?;
    let depends = output(Command::new("dpkg-deb").arg("--field").arg(&archive).arg("Depends"))?;
    let root = check::root_for(Architecture::Arm64, &check::first_choices(&depends), &MACHINE)?;
    let next = check::next_version(&archive, archive.parent().expect("it lies in a folder"))?;
    machines.env("GANTRY_ARM64_ROOT", root.root()).env("GANTRY_ARM64_PACKAGE", archive).env("GANTRY_ARM64_NEXT", next);
    Ok(())
}

/// Builds for `architecture` and packs it; gives the package.
pub(crate) fn package(architecture: Architecture) -> Result<PathBuf> {
    install::ensure(&[install::BUILD, install::PACKAGE])?;
    let folder = target()?.join("package").join(architecture.name());
    if Architecture::here() == Some(architecture) {
        done(&mut release("build", &PROGRAMS.map(|(_, program)| ["--bin", program]).concat()))?;
        return pack(architecture, &folder, &|name| built("release", name), "");
    }
    if architecture != Architecture::Arm64 {
        return Err(format!("{} is built on a machine of its own only", architecture.name()));
    }
    install::ensure(&[install::CROSS])?;
    let toolchain = Toolchain::ensure()?;
    toolchain.build(&PROGRAMS.map(|(_, program)| program))?;
    let sysroot = toolchain.sysroot();
    let (root, triplet) = (sysroot.root(), architecture.triplet());
    // A library may be listed by either path of a folder that was merged.
    let search = ["lib", "usr/lib"].map(|folder| format!("-l{}/{folder}/{triplet}", root.display()));
    let foreign = format!("--admindir={} {}", sysroot.database().display(), search.join(" "));
    pack(architecture, &folder, &|name| toolchain.built(name), &foreign)
}

/// Lays out a source package in `folder` and has debhelper make the binary package.
fn pack(
    architecture: Architecture,
    folder: &Path,
    built: &dyn Fn(&str) -> Result<PathBuf>,
    shlibdeps: &str,
) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("removing {}: {error}", folder.display()))?;
    }
    let tree = folder.join("gantry");
    for (from, to) in ALONG {
        copy(&root().join(from), &tree.join(to))?;
    }
    for (_, program) in PROGRAMS {
        copy(&built(program)?, &tree.join("programs").join(program))?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let epoch_s = commit_time_s();
    write(&tree.join("debian/changelog"), &changelog(version, epoch_s)?)?;
    write(&tree.join("libraries"), &libraries::list(&PROGRAMS.map(|(name, _)| name), architecture)?)?;

    let mut rules = Command::new("dpkg-architecture");
    rules.args(["-a", architecture.name(), "-c", "debian/rules", "binary"]).current_dir(&tree);
    rules.env("DEB_BUILD_OPTIONS", "nocheck noautodbgsym").env("SOURCE_DATE_EPOCH", epoch_s.to_string());
    rules.env("GANTRY_SHLIBDEPS", shlibdeps).env("LC_ALL", "C.UTF-8");
    // Of cargo's own that runs xtask, debhelper and make want nothing.
    rules.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    done(&mut rules)?;
    let package = folder.join(format!("gantry_{version}_{}.deb", architecture.name()));
    if package.exists() { Ok(package) } else { Err(format!("debhelper made no {}", package.display())) }
}

/// Debian's changelog: the release, and where the reader finds what changed.
fn changelog(version: &str, epoch_s: u64) -> Result<String> {
    let date = output(Command::new("date").args(["-u", "-R", "-d", &format!("@{epoch_s}")]).env("LC_ALL", "C"))?;
    Ok(format!(
        "gantry ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n \
         -- The Gantry developers <maintainers@gantry.invalid>  {}\n",
        date.trim()
    ))
}

/// When the last commit was made, so that the same tree gives the same package; the epoch where git knows nothing.
fn commit_time_s() -> u64 {
    let told = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()));
    told.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Copies a file or all of a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = |error: std::io::Error| format!("copying {} to {}: {error}", from.display(), to.display());
    if from.is_dir() {
        fs::create_dir_all(to).map_err(failed)?;
        for entry in fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().expect("it lies in a folder")).map_err(failed)?;
    fs::copy(from, to).map(|_| ()).map_err(failed)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String> {
    let named = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("starting {named}: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(said(&output.stdout));
    }
    Err(format!("{named} failed ({}): {}{}", output.status, said(&output.stdout), said(&output.stderr)))
}
