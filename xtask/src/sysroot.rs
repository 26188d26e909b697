//! Packages of another Debian architecture, fetched with all that they depend on and unpacked as a root of its own. Nothing
//! of it is installed: some cannot stand beside this machine's own (libdpdk-dev of two architectures), and none of it runs here.
//!
//! The root has the database that dpkg would have written, so that dpkg inside believes its packages are there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::Result;
use crate::programs::run;

/// A root that is whole.
pub(crate) struct Sysroot {
    folder: PathBuf,
}

/// dpkg's database, in a root.
const DATABASE: &str = "var/lib/dpkg";

/// The same with paths as they are here, beside the root: who asks here whose a library is finds it.
const DATABASE_HERE: &str = "dpkg";

/// Folders that Debian keeps under /usr, with links where they were.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// What is kept of a package, beside its files.
struct Package {
    /// As in dpkg's database: with its architecture if it may stand beside itself of another.
    name: String,
    /// Its paragraph in the status file.
    status: String,
    /// Every path in it, absolute.
    paths: Vec<String>,
    /// Its control files, by name.
    control: Vec<(String, Vec<u8>)>,
}

impl Sysroot {
    /// `packages` and what they depend on, in `folder`: as they are there, if it is the same packages, else fetched.
    pub(crate) fn ensure(folder: &Path, architecture: &str, packages: &[&str]) -> Result<Self> {
        let whole = folder.join("whole");
        let wanted = format!("{architecture}: {}\n", packages.join(" "));
        let sysroot = Self { folder: folder.to_owned() };
        if fs::read_to_string(&whole).is_ok_and(|there| there == wanted) {
            return Ok(sysroot);
        }
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|error| format!("removing {}: {error}", folder.display()))?;
        }
        for inner in ["root/usr", "root/var/lib/dpkg/info", "dpkg/info"] {
            make(&folder.join(inner))?;
        }
        for name in MERGED {
            make(&folder.join("root/usr").join(name))?;
            let link = folder.join("root").join(name);
            std::os::unix::fs::symlink(format!("usr/{name}"), &link).map_err(wrong("linking", &link))?;
        }
        let archives = download(&folder.join("apt"), architecture, packages)?;
        println!("unpacking {} packages of {architecture} to {}", archives.len(), folder.display());
        sysroot.unpack(&archives)?;
        let apt = folder.join("apt");
        fs::remove_dir_all(&apt).map_err(wrong("removing", &apt))?;
        write(&whole, wanted.as_bytes())?;
        Ok(sysroot)
    }

    /// What lies at / there.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// dpkg's database whose paths are those of this machine.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join(DATABASE_HERE)
    }

    /// Unpacks all archives, as many at once as there are cores, and writes both databases.
    fn unpack(&self, archives: &[PathBuf]) -> Result<()> {
        let (next, packages) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(archive) = archives.get(number) else { break };
                let package = unpack(archive, &self.root(), &self.folder.join(format!("control-{number}")))?;
                packages.lock().unwrap_or_else(PoisonError::into_inner).insert(package.name.clone(), package);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let count = thread::available_parallelism().map_or(1, usize::from);
            let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker ends well"))
        })?;
        let packages = packages.into_inner().unwrap_or_else(PoisonError::into_inner);
        let here = self.root().display().to_string();
        for (database, prefix) in [(self.root().join(DATABASE), ""), (self.database(), here.as_str())] {
            let mut status = String::new();
            for (name, package) in &packages {
                status.push_str(&package.status);
                let info = database.join("info");
                for (kind, bytes) in &package.control {
                    write(&info.join(format!("{name}.{kind}")), bytes)?;
                }
                let list = package.paths.iter().fold(String::new(), |mut list, path| {
                    writeln!(list, "{prefix}{path}").expect("a String takes all");
                    list
                });
                write(&info.join(format!("{name}.list")), list.as_bytes())?;
            }
            write(&database.join("status"), status.as_bytes())?;
            write(&database.join("available"), b"")?;
            write(&database.join("info/format"), b"1\n")?;
        }
        Ok(())
    }
}

/// Fetches `packages` and what they depend on, as apt sees it on a machine of `architecture` that has nothing installed.
fn download(folder: &Path, architecture: &str, packages: &[&str]) -> Result<Vec<PathBuf>> {
    let archives = folder.join("cache/archives");
    for inner in ["state/lists/partial", "cache/archives/partial"] {
        make(&folder.join(inner))?;
    }
    let status = folder.join("state/status");
    write(&status, b"")?;
    let configuration = folder.join("apt.conf");
    let text = format!(
        "APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\nAPT::Keep-Downloaded-Packages \"true\";\n\
         Acquire::Languages \"none\";\nDir::State \"{state}\";\nDir::State::status \"{status}\";\nDir::Cache \"{cache}\";\n\
         Dir::Etc::Parts \"/etc/apt/apt.conf.d\";\n",
        state = folder.join("state").display(),
        status = status.display(),
        cache = folder.join("cache").display(),
    );
    write(&configuration, text.as_bytes())?;
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["-qq", "-y"])
            .args(arguments)
            .env("APT_CONFIG", &configuration)
            .env("DEBIAN_FRONTEND", "noninteractive");
        match run(&mut command)? {
            status if status.success() => Ok(()),
            status => Err(format!("apt-get {} for {architecture} failed ({status})", arguments.join(" "))),
        }
    };
    apt(&["update"])?;
    let install: Vec<&str> = ["--download-only", "install"].iter().chain(packages).copied().collect();
    apt(&install)?;
    let mut found: Vec<PathBuf> = fs::read_dir(&archives)
        .map_err(wrong("reading", &archives))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    found.sort();
    Ok(found)
}

/// Unpacks one archive below `root`; its control files are in `control` meanwhile.
fn unpack(archive: &Path, root: &Path, control: &Path) -> Result<Package> {
    let into = root.display().to_string();
    let names = extract(archive, &["--no-same-owner", "--keep-directory-symlink", "--directory", &into])?;
    let mut command = Command::new("dpkg-deb");
    command.arg("--control").arg(archive).arg(control);
    match run(&mut command)? {
        status if status.success() => {}
        status => return Err(format!("unpacking {}: dpkg-deb ended with {status}", archive.display())),
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(control).map_err(wrong("reading", control))? {
        let entry = entry.map_err(wrong("reading", control))?;
        let bytes = fs::read(entry.path()).map_err(wrong("reading", &entry.path()))?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), bytes);
    }
    fs::remove_dir_all(control).map_err(wrong("removing", control))?;
    let paragraph = text(files.remove("control").unwrap_or_default());
    let (name, status) =
        status(&paragraph).ok_or_else(|| format!("{}: no package's control file", archive.display()))?;
    let paths = text(names).lines().map(absolute).collect();
    Ok(Package { name, status, paths, control: files.into_iter().collect() })
}

/// The paragraph of an installed package, and the name of its files in the database.
fn status(control: &str) -> Option<(String, String)> {
    let field = |name: &str| control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let (package, architecture) = (field("Package")?, field("Architecture")?);
    let name = match field("Multi-Arch") {
        Some("same") => format!("{package}:{architecture}"),
        _ => package.to_owned(),
    };
    let first = format!("Package: {package}\n");
    let rest = control.trim_end().replacen(&first, "", 1);
    Some((name, format!("{first}Status: install ok installed\n{rest}\n\n")))
}

/// "./usr/bin/" as dpkg's lists have it: "/usr/bin"; the root is "/.".
fn absolute(member: &str) -> String {
    match member.trim_start_matches('.').trim_end_matches('/') {
        "" => "/.".to_owned(),
        path => path.to_owned(),
    }
}

/// Has tar extract the files of `archive`; gives their names, one a line.
fn extract(archive: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let failed = |what: &str| format!("unpacking {}: {what}", archive.display());
    let mut source = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&format!("starting dpkg-deb: {error}")))?;
    let stdin = source.stdout.take().expect("its output was piped just above");
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--verbose"]).args(arguments).stdin(stdin).stderr(Stdio::inherit());
    let output = tar.output().map_err(|error| failed(&format!("starting tar: {error}")));
    // tar may have seen enough before dpkg-deb has told everything, so that its status alone counts.
    let ended = source.wait().map_err(|error| failed(&format!("waiting for dpkg-deb: {error}")));
    let (output, _) = (output?, ended?);
    if output.status.success() { Ok(output.stdout) } else { Err(failed(&format!("tar ended with {}", output.status))) }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(wrong("making", folder))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::File::create(path).and_then(|mut file| file.write_all(bytes)).map_err(wrong("writing", path))
}

fn wrong(doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> String {
    let what = format!("{doing} {}", path.display());
    move |error| format!("{what}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_package_reads_as_installed() {
        let control = "Package: librte-eal23\nSource: dpdk\nVersion: 22.11\nArchitecture: arm64\nMulti-Arch: same\n\
                       Description: layer\n more of it\n";
        let (name, paragraph) = status(control).unwrap();
        assert_eq!(name, "librte-eal23:arm64");
        assert!(paragraph.starts_with("Package: librte-eal23\nStatus: install ok installed\nSource: dpdk\n"));
        assert!(paragraph.ends_with(" more of it\n\n"), "{paragraph}");
        assert_eq!(status("Package: tar\nArchitecture: arm64\nMulti-Arch: foreign\n").unwrap().0, "tar");
        assert!(status("Version: 1\n").is_none());
    }

    #[test]
    fn paths_are_as_dpkg_has_them() {
        assert_eq!(["./", "./usr/", "./usr/bin/x"].map(absolute), ["/.", "/usr", "/usr/bin/x"]);
    }
}
