//! Debian packages that a command needs: what is missing is named, and installed when this is root.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::programs;

/// How to see that a package's part is here.
enum Sign {
    /// A program on the PATH (or in sbin, which is not on everyone's).
    Program(&'static str),
    /// A library that pkg-config knows.
    Library(&'static str),
    /// libclang, of any version, wherever LLVM puts it.
    LibClang,
    /// A Python that makes virtual environments: Debian's own leaves pip's wheels to a package.
    PythonVenv,
}

/// What a package brings and why it is wanted.
pub(crate) struct Need {
    sign: Sign,
    package: &'static str,
    why: &'static str,
}

const fn need(sign: Sign, package: &'static str, why: &'static str) -> Need {
    Need { sign, package, why }
}

/// To build everything.
pub(crate) const BUILD: &[Need] = &[
    need(Sign::Program("cc"), "gcc", "a C compiler and linker"),
    need(Sign::Program("pkg-config"), "pkg-config", "finds DPDK"),
    need(Sign::Library("libdpdk"), "libdpdk-dev", "DPDK, headers and libraries"),
    need(Sign::LibClang, "libclang-dev", "reads DPDK's headers for bindgen"),
];

/// To count instructions.
pub(crate) const COUNT: &[Need] = &[need(Sign::Program("valgrind"), "valgrind", "counts instructions")];

/// To see what an lcore asks of the kernel.
pub(crate) const TRACE: &[Need] = &[need(Sign::Program("strace"), "strace", "sees an lcore's system calls")];

/// To link for arm64 with Debian's packages of it.
pub(crate) const CROSS: &[Need] =
    &[need(Sign::Program("aarch64-linux-gnu-gcc"), "gcc-aarch64-linux-gnu", "links for arm64")];

/// To run arm64's programs here.
pub(crate) const EMULATED: &[Need] = &[need(Sign::Program("qemu-aarch64"), "qemu-user", "runs arm64's programs")];

/// To make Debian packages.
pub(crate) const PACKAGE: &[Need] = &[
    need(Sign::Program("dh"), "debhelper", "makes Debian packages"),
    need(Sign::Program("dpkg-shlibdeps"), "dpkg-dev", "finds what a package depends on"),
    need(Sign::Program("systemd-analyze"), "systemd", "checks the units"),
];

/// To run P4Runtime clients from PyPI.
pub(crate) const CLIENTS: &[Need] =
    &[need(Sign::PythonVenv, "python3-venv", "makes virtual environments for P4Runtime clients")];

/// To run virtual machines of arm64.
pub(crate) const ARM64_MACHINES: &[Need] =
    &[need(Sign::Program("qemu-system-aarch64"), "qemu-system-arm", "runs the aarch64 card")];

/// To run virtual machines.
pub(crate) const MACHINES: &[Need] = &[
    need(Sign::Program("qemu-system-x86_64"), "qemu-system-x86", "runs the machine"),
    need(Sign::Program("busybox"), "busybox-static", "the machine's shell"),
    need(Sign::Program("nvme"), "nvme-cli", "the host's NVMe commands"),
    need(Sign::Program("fio"), "fio", "verified I/O"),
    need(Sign::Program("tc"), "iproute2", "the host's network, rdma and tc commands"),
    need(Sign::Program("mkfs.ext4"), "e2fsprogs", "makes the filesystem"),
    need(Sign::Program("blkdiscard"), "util-linux", "discards blocks"),
];

/// To unpack another Debian release's QEMU.
pub(crate) const NEXT_QEMU: &[Need] =
    &[need(Sign::Program("mmdebstrap"), "mmdebstrap", "unpacks the QEMU of Debian's testing suite")];

impl Need {
    fn met(&self) -> bool {
        match self.sign {
            Sign::Program(name) => on_path(name),
            Sign::Library(name) => quiet("pkg-config", &["--exists", name]),
            Sign::LibClang => std::env::var_os("LIBCLANG_PATH").is_some() || lib_clang(),
            Sign::PythonVenv => quiet("python3", &["-c", "import ensurepip, venv"]),
        }
    }
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    folders.chain(["/usr/sbin".into(), "/sbin".into()]).any(|folder| folder.join(name).exists())
}

/// The library itself (not libclang-cpp, which other packages bring) and the compiler's own headers, without which it reads
/// no system header.
fn lib_clang() -> bool {
    let below = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let llvm: Vec<_> = below(Path::new("/usr/lib")).collect();
    let library = llvm.iter().flat_map(|folder| below(folder).chain(below(&folder.join("lib")))).any(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let versioned = |rest: &str| rest.starts_with(|digit: char| digit.is_ascii_digit()) && rest.contains(".so");
        name.starts_with("libclang.so") || name.strip_prefix("libclang-").is_some_and(versioned)
    });
    let resources = llvm.iter().map(|folder| folder.join("lib/clang")).chain(["/usr/lib/clang".into()]);
    let headers = resources.flat_map(|folder| below(&folder).collect::<Vec<_>>());
    library && headers.into_iter().any(|version| version.join("include/stddef.h").exists())
}

fn quiet(program: &str, arguments: &[&str]) -> bool {
    let status =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Sees to it that all of `needs` are met; fails, with the command to run, when it may not install.
pub(crate) fn ensure(needs: &[&[Need]]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().copied().flatten().filter(|need| !need.met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Debian packages that are missing here:");
    for need in &missing {
        println!("  {:<18} {}", need.package, need.why);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    announce(&format!("apt-get update && apt-get install --no-install-recommends {}", packages.join(" ")))?;
    apt(&["-q", "update"])?;
    install_packages(&packages)?;
    match missing.iter().find(|need| !need.met()) {
        None => Ok(()),
        Some(need) => Err(format!("{} is installed, but what it should bring is still missing", need.package)),
    }
}

/// Says that `command` is about to be done; fails, with what to do instead, where it may not be.
fn announce(command: &str) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err("this is no Debian machine: install what these packages bring by other means".to_owned());
    }
    if !root() {
        return Err(format!("not root, so run this yourself:\n  sudo sh -c '{command}'"));
    }
    println!("running {command}");
    Ok(())
}

/// Debian's compiler and its library for arm64, which is a package of another architecture.
pub(crate) fn rust_for_arm64() -> Result<()> {
    const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev:arm64"];
    announce(&format!(
        "dpkg --add-architecture arm64 && apt-get update && apt-get install --no-install-recommends {}",
        PACKAGES.join(" ")
    ))?;
    let status = programs::run(Command::new("dpkg").args(["--add-architecture", "arm64"]))?;
    if !status.success() {
        return Err(format!("dpkg --add-architecture arm64 failed ({status})"));
    }
    apt(&["-q", "update"])?;
    install_packages(&PACKAGES)
}

/// A qemu-utils from elsewhere, newer than Debian's QEMU, conflicts with qemu-system-common. Recommended packages
/// are left out so that apt is free to remove it; where it does not by itself, it is asked to.
fn install_packages(packages: &[&str]) -> Result<()> {
    let without_utils: Vec<&str> = packages.iter().copied().chain(["qemu-utils-"]).collect();
    for choice in [packages, &without_utils] {
        let Some(removed) = simulate(choice)? else { continue };
        for package in &removed {
            println!("apt will remove {package}, which conflicts with a package above");
        }
        let mut arguments = vec!["-q", "-y", "--no-install-recommends", "install"];
        arguments.extend(choice);
        return apt(&arguments);
    }
    Err(format!("apt cannot install {} together: see `apt-get install -s {0}`", packages.join(" ")))
}

/// What apt would remove; nothing, if it would refuse.
fn simulate(packages: &[&str]) -> Result<Option<Vec<String>>> {
    let output = Command::new("apt-get")
        .args(["-s", "--no-install-recommends", "install"])
        .args(packages)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("starting apt-get: {error}"))?;
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let removed = text.lines().filter_map(|line| line.strip_prefix("Remv ")?.split_whitespace().next());
    Ok(Some(removed.map(str::to_owned).collect()))
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    match programs::run(&mut command)? {
        status if status.success() => Ok(()),
        status => Err(format!("apt-get {} failed ({status})", arguments.join(" "))),
    }
}

/// Whether the effective user id is 0.
fn root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_seen_and_a_missing_one_is_missed() {
        assert!(need(Sign::Program("sh"), "dash", "").met());
        assert!(!need(Sign::Program("no-such-program-here"), "none", "").met());
        assert!(!need(Sign::Library("no-such-library-here"), "none", "").met());
    }
}
