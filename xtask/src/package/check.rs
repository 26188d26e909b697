//! What a package has to be: its files, whom they belong to, what it depends on, what its units say; and for this machine's
//! architecture a life of it in a root of its own: installed, upgraded, removed, purged.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Architecture, output, write};
use crate::Result;
use crate::programs::{done, root, target};
use crate::sysroot::Sysroot;

/// Every file that a user or another file of the package relies on, and its mode.
const FILES: [(&str, u32); 12] = [
    ("usr/sbin/gantry-dataplane", 0o755),
    ("usr/sbin/gantryd", 0o755),
    ("usr/bin/gantryctl", 0o755),
    ("usr/libexec/gantry/setup", 0o755),
    ("lib/systemd/system/gantry-setup.service", 0o644),
    ("lib/systemd/system/gantry-dataplane.service", 0o644),
    ("lib/systemd/system/gantryd.service", 0o644),
    ("usr/lib/sysusers.d/gantry.conf", 0o644),
    ("usr/lib/tmpfiles.d/gantry.conf", 0o644),
    ("usr/share/doc/gantry/packages.md", 0o644),
    ("usr/share/doc/gantry/copyright", 0o644),
    ("usr/share/doc/gantry/libraries.gz", 0o644),
];

/// Files that an operator edits and dpkg keeps.
const CONFFILES: [(&str, u32); 2] = [("etc/gantry/gantry.toml", 0o644), ("etc/default/gantry", 0o644)];

/// What a package depends on: found in its programs, and loaded by name when they run.
const DEPENDS: [&str; 8] = [
    "libc6",
    "libgcc-s1",
    "librte-eal23",
    "librte-ethdev23",
    "librte-mempool23",
    "librte-meta-bus",
    "librte-meta-mempool",
    "librte-meta-net",
];

/// What a Debian machine has in any case, as far as a package's installation needs it.
const ESSENTIAL: [&str; 14] = [
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "init-system-helpers",
    "libc-bin",
    "perl-base",
    "sed",
    "util-linux",
];

/// Checks the package in `archive`; says what is wrong with it.
pub(super) fn package(architecture: Architecture, archive: &Path) -> Result<bool> {
    let mut wrong = Wrong(Vec::new());
    let field = |name: &str| output(Command::new("dpkg-deb").arg("--field").arg(archive).arg(name));
    wrong.unless(field("Architecture")?.trim() == architecture.name(), "Architecture", &"is another's");
    let depends = field("Depends")?;
    let names = first_choices(&depends);
    for name in DEPENDS {
        wrong.unless(names.contains(&name), name, &format_args!("is not in Depends: {depends}"));
    }
    let unpacked = archive.with_extension("unpacked");
    let _ = fs::remove_dir_all(&unpacked);
    // With the archive's own owners, as root.
    done(Command::new("dpkg-deb").arg("--raw-extract").arg(archive).arg(&unpacked))?;
    for (path, mode) in FILES.into_iter().chain(CONFFILES) {
        match fs::metadata(unpacked.join(path)) {
            Ok(metadata) => {
                let (own, owner) = (metadata.permissions().mode() & 0o7777, (metadata.uid(), metadata.gid()));
                wrong.unless(own == mode, path, &format_args!("has mode {own:o}, not {mode:o}"));
                wrong.unless(owner == (0, 0), path, &format_args!("belongs to {owner:?}"));
            }
            Err(error) => wrong.unless(false, path, &error),
        }
    }
    let conffiles = fs::read_to_string(unpacked.join("DEBIAN/conffiles")).unwrap_or_default();
    let mut named: Vec<&str> = conffiles.lines().map(|line| line.trim_start_matches('/')).collect();
    named.sort_unstable();
    let mut expected = CONFFILES.map(|(path, _)| path);
    expected.sort_unstable();
    wrong.unless(named == expected, "conffiles", &format_args!("are {named:?}"));
    for program in ["usr/sbin/gantry-dataplane", "usr/sbin/gantryd", "usr/bin/gantryctl"] {
        let machine = elf_machine(&unpacked.join(program))?;
        wrong.unless(machine == architecture.elf_machine(), program, &format_args!("is for ELF machine {machine}"));
    }
    units(&unpacked, &mut wrong)?;
    if Architecture::here() == Some(architecture) {
        life(architecture, archive, &names, &mut wrong)?;
    }
    fs::remove_dir_all(&unpacked).map_err(|error| format!("removing {}: {error}", unpacked.display()))?;
    for line in &wrong.0 {
        println!("{}: {line}", archive.display());
    }
    Ok(wrong.0.is_empty())
}

/// What is wrong, one line each.
struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, well: bool, what: &str, why: &dyn std::fmt::Display) {
        if !well {
            self.0.push(format!("{what} {why}"));
        }
    }
}

/// The packages of a Depends field, of alternatives the first.
pub(super) fn first_choices(depends: &str) -> Vec<&str> {
    depends.split(',').filter_map(|clause| clause.split('|').next()?.split_whitespace().next()).collect()
}

/// The field that says whose instructions a program has.
fn elf_machine(program: &Path) -> Result<u16> {
    let bytes = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    match bytes.get(..20) {
        Some([0x7f, b'E', b'L', b'F', .., low, high]) => Ok(u16::from_le_bytes([*low, *high])),
        _ => Err(format!("{} is no ELF file", program.display())),
    }
}

/// systemd reads the units as it would after the installation.
fn units(unpacked: &Path, wrong: &mut Wrong) -> Result<()> {
    let folder = unpacked.join("lib/systemd/system");
    let names = ["gantry-setup.service", "gantry-dataplane.service", "gantryd.service"];
    let root = unpacked.display();
    for name in names {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // The programs are looked for where they lie now.
        let here = text.replace("=/usr/", &format!("={root}/usr/"));
        let copy = unpacked.join(name);
        write(&copy, &here)?;
    }
    let told = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(names.map(|name| unpacked.join(name)))
        .output()
        .map_err(|error| format!("starting systemd-analyze: {error}"))?;
    let said = String::from_utf8_lossy(&told.stderr);
    wrong.unless(told.status.success() && said.trim().is_empty(), "units", &format_args!("are refused: {said}"));
    Ok(())
}

/// A root with everything that the package depends on, and with `more`.
pub(super) fn root_for(architecture: Architecture, depends: &[&str], more: &[&str]) -> Result<Sysroot> {
    let packages: Vec<&str> = ESSENTIAL.iter().chain(depends).chain(more).copied().collect();
    Sysroot::ensure(&target()?.join(format!("root-{}", architecture.name())), architecture.name(), &packages)
}

/// Installs, upgrades, removes and purges the package in a root that has what it depends on.
fn life(architecture: Architecture, archive: &Path, depends: &[&str], wrong: &mut Wrong) -> Result<()> {
    let sysroot = root_for(architecture, depends, &[])?;
    let machine = Machine::new(&sysroot, archive.with_extension("root"))?;
    let configuration = machine.folder.join("etc/gantry/gantry.toml");

    machine.dpkg(&["--install"], Some(archive))?;
    let users = fs::read_to_string(machine.folder.join("etc/passwd")).unwrap_or_default();
    wrong.unless(users.lines().any(|line| line.starts_with("gantry:")), "installation", &"made no user gantry");
    for unit in ["gantry-dataplane.service", "gantryd.service"] {
        let link = machine.folder.join("etc/systemd/system/multi-user.target.wants").join(unit);
        wrong.unless(link.is_symlink(), unit, &"is not started at boot");
    }
    machine.run(&["/usr/sbin/gantryd", "--check"])?;
    machine.run(&["/usr/sbin/gantry-dataplane", "--version"])?;

    // The operator's configuration outlives an upgrade that brings another.
    let own = fs::read_to_string(root().join("deploy/gantry.toml")).map_err(|error| format!("the example: {error}"))?;
    write(&configuration, &own)?;
    let newer = next_version(archive, &machine.folder.join("tmp"))?;
    machine.dpkg(&["--force-confdef", "--force-confold", "--install"], Some(&newer))?;
    let kept = fs::read_to_string(&configuration).unwrap_or_default();
    wrong.unless(kept == own, "an upgrade", &"changed the operator's configuration");
    machine.run(&["/usr/sbin/gantryd", "--check"])?;

    machine.dpkg(&["--remove", "gantry"], None)?;
    let there = |path: &str| machine.folder.join(path).exists();
    wrong.unless(!there("usr/sbin/gantryd"), "a removal", &"leaves programs");
    wrong.unless(fs::read_to_string(&configuration).ok() == Some(own), "a removal", &"takes the configuration");
    machine.dpkg(&["--purge", "gantry"], None)?;
    for path in ["etc/gantry", "etc/default/gantry", "etc/systemd/system/multi-user.target.wants/gantryd.service"] {
        wrong.unless(!there(path), "a purge leaves", &path);
    }
    let status = fs::read_to_string(machine.folder.join("var/lib/dpkg/status")).unwrap_or_default();
    wrong.unless(!status.contains("Package: gantry\n"), "a purge", &"leaves the package in dpkg's database");
    Ok(())
}

/// The same package, a version later, with another configuration in it: `next.deb` in `folder`.
pub(super) fn next_version(archive: &Path, folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("next");
    let _ = fs::remove_dir_all(&tree);
    done(Command::new("dpkg-deb").arg("--raw-extract").arg(archive).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).map_err(|error| format!("{}: {error}", control.display()))?;
    write(&control, &text.replace("\nVersion: ", "\nVersion: 99."))?;
    let configuration = tree.join("etc/gantry/gantry.toml");
    let text = fs::read_to_string(&configuration).map_err(|error| format!("{}: {error}", configuration.display()))?;
    write(&configuration, &format!("# A later release says more.\n{text}"))?;
    let next = folder.join("next.deb");
    done(Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).arg(&tree).arg(&next))?;
    Ok(next)
}

/// A root in which programs run; it is removed when this is dropped.
struct Machine {
    folder: PathBuf,
}

impl Machine {
    /// A copy of `sysroot` whose files are the same until they are replaced.
    fn new(sysroot: &Sysroot, folder: PathBuf) -> Result<Self> {
        let _ = fs::remove_dir_all(&folder);
        done(Command::new("cp").args(["--archive", "--link"]).arg(sysroot.root()).arg(&folder))?;
        let machine = Self { folder };
        for inner in ["dev", "tmp", "proc", "run"] {
            let inner = machine.folder.join(inner);
            fs::create_dir_all(&inner).map_err(|error| format!("making {}: {error}", inner.display()))?;
        }
        let null = machine.folder.join("dev/null");
        if !null.exists() {
            done(Command::new("mknod").args(["-m", "666"]).arg(null).args(["c", "1", "3"]))?;
        }
        Ok(machine)
    }

    fn run(&self, command: &[&str]) -> Result<()> {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.folder).args(command).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        done(chroot.env("DEBIAN_FRONTEND", "noninteractive"))
    }

    /// Runs dpkg, with `archive` as its last argument.
    fn dpkg(&self, arguments: &[&str], archive: Option<&Path>) -> Result<()> {
        let mut command: Vec<&str> = ["dpkg"].iter().chain(arguments).copied().collect();
        if let Some(archive) = archive {
            let inside = self.folder.join("tmp/package.deb");
            fs::copy(archive, &inside).map_err(|error| format!("copying {}: {error}", archive.display()))?;
            command.push("/tmp/package.deb");
            return self.run(&command);
        }
        self.run(&command)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_alternatives_the_first_is_taken() {
        let depends = "libc6 (>= 2.34), librte-eal23 (>= 22.11), systemd | systemd-standalone-sysusers, x";
        assert_eq!(first_choices(depends), ["libc6", "librte-eal23", "systemd", "x"]);
    }

    #[test]
    fn a_program_says_what_it_runs_on() {
        let own = elf_machine(Path::new("/proc/self/exe")).unwrap();
        assert_eq!(Some(own), Architecture::here().map(Architecture::elf_machine));
        assert!(elf_machine(Path::new("/proc/self/status")).is_err());
    }
}
