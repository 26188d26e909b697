//! The root that a machine boots from: an archive of programs, their libraries, the kernel's modules and two scripts. Built here, kept in the cache under a hash of everything that goes into it.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use super::cpio::Archive;
use super::modules::{self, Modules};
use super::{Error, Kernel, Result, cache};

/// Programs in the machine and the Debian packages that bring them.
const TOOLS: &[(&str, &str)] = &[
    ("nvme", "nvme-cli"),
    ("fio", "fio"),
    ("rdma", "iproute2"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("blkdiscard", "util-linux"),
];

/// Where programs may lie on the machine that builds, in the order of a login shell's PATH.
const PATH: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const INIT: &str = include_str!("guest/init.sh");
const AGENT: &str = include_str!("guest/agent.sh");
const SHELL: &str = include_str!("guest/shell.sh");
const DEBIAN: &str = include_str!("guest/debian.sh");

/// What a machine does without of a root of Debian packages: half of its bytes.
const LEFT_OUT: &[&str] = &[
    "boot",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/aarch64-linux-gnu/perl",
    "usr/lib/modules",
    "usr/lib/udev/hwdb.d",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
];

/// Small files that the tools look for.
const FILES: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/nvme/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:8f4b9e42-1c1b-4c39-8f0b-6d1c5a3e7d10\n"),
    ("etc/nvme/hostid", "8f4b9e42-1c1b-4c39-8f0b-6d1c5a3e7d10\n"),
    ("etc/mtab", ""),
];

/// Identity that the machine's `/etc/nvme/hostnqn` gives it.
pub const HOST_NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:8f4b9e42-1c1b-4c39-8f0b-6d1c5a3e7d10";

/// What is in a machine's root beside busybox, two scripts and small files.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Names the archive in the cache, which keeps one of each name.
    name: String,
    modules: &'static [&'static str],
    /// Programs from Debian packages, in /sbin.
    tools: &'static [(&'static str, &'static str)],
    /// Programs from elsewhere: place below /usr, and where it is now.
    programs: Vec<(String, PathBuf)>,
    /// Libraries that no program names, which are loaded from where they lie here.
    plugins: Vec<PathBuf>,
    /// In place of all that but the modules.
    debian: Option<Debian>,
}

/// A root of Debian packages, and files that are put there.
#[derive(Clone, Debug)]
struct Debian {
    root: PathBuf,
    files: Vec<(String, PathBuf)>,
}

impl Contents {
    /// A stock host, or a foreign target: NVMe over RDMA, fio and what surrounds them.
    pub fn host() -> Self {
        Self { tools: TOOLS, ..Self::with_modules("host", modules::HOST) }
    }

    /// A host with NVMe drives of its own.
    pub fn pci_host() -> Self {
        Self { tools: TOOLS, ..Self::with_modules("pci-host", modules::PCI_HOST) }
    }

    /// A machine whose devices belong to programs: VFIO. `name` names the archive in the cache.
    pub fn card(name: &str) -> Self {
        Self::with_modules(name, modules::CARD)
    }

    /// A machine whose drives go from the kernel to programs and back.
    pub fn mover(name: &str) -> Self {
        Self { tools: TOOLS, ..Self::with_modules(name, modules::MOVER) }
    }

    fn with_modules(name: &str, modules: &'static [&'static str]) -> Self {
        Self { name: name.to_owned(), modules, tools: &[], programs: Vec::new(), plugins: Vec::new(), debian: None }
    }

    /// A card made of the Debian packages unpacked in `root`, for whatever processor they are: systemd is its first process,
    /// and dpkg installs into it. `files`: place below /root, and where it is now.
    pub fn debian(name: &str, root: &Path, files: &[(&str, &Path)]) -> Self {
        let files = files.iter().map(|(place, path)| (format!("root/{place}"), path.to_path_buf())).collect();
        Self { debian: Some(Debian { root: root.to_owned(), files }), ..Self::with_modules(name, modules::OWN_DRIVERS) }
    }

    /// Puts a program of this machine into /bin as `name`, with its libraries.
    #[must_use]
    pub fn program(mut self, name: &str, path: &Path) -> Self {
        self.programs.push((format!("bin/{name}"), path.to_owned()));
        self
    }

    /// Puts a library that is loaded by its path at that path, with its own libraries.
    #[must_use]
    pub fn plugin(mut self, path: &Path) -> Self {
        self.plugins.push(path.to_owned());
        self
    }

    /// Every file below /usr: where it is now.
    fn files(&self) -> Result<Files> {
        // All tools lie in sbin, busybox's own commands in bin: busybox's shell prefers its own, so `/sbin/ip` is the way
        // to say iproute2's.
        let mut files = Files::default();
        if self.debian.is_some() {
            return Ok(files);
        }
        files.plain.insert("bin/busybox".to_owned(), program("busybox", "busybox-static")?);
        for (tool, package) in self.tools {
            let path = program(tool, package)?;
            files.add_libraries(&path)?;
            files.plain.insert(format!("sbin/{tool}"), path);
        }
        for (place, path) in &self.programs {
            files.add_libraries(path)?;
            files.plain.insert(place.clone(), path.clone());
        }
        for path in &self.plugins {
            files.add_libraries(path)?;
            files.add_library(path)?;
        }
        Ok(files)
    }
}

/// Files below /usr.
#[derive(Default)]
struct Files {
    /// Place, and where it is now.
    plain: BTreeMap<String, PathBuf>,
    /// Place, and the path that it stands for.
    links: BTreeMap<String, String>,
}

/// The place below /usr of an absolute path.
fn place(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.strip_prefix("/usr").unwrap_or(&text).trim_start_matches('/').to_owned()
}

impl Files {
    fn add_libraries(&mut self, program: &Path) -> Result<()> {
        libraries(program)?.iter().try_for_each(|library| self.add_library(library))
    }

    /// A library that two paths lead to stays one file: the dynamic linker would load two twice.
    fn add_library(&mut self, path: &Path) -> Result<()> {
        let file = fs::canonicalize(path).map_err(Error::on("resolving", path))?;
        let (link, place) = (place(path), place(&file));
        if link != place {
            self.links.insert(link, format!("/usr/{place}"));
        }
        self.plain.insert(place, file);
        Ok(())
    }
}

/// A built archive.
#[derive(Clone, Debug)]
pub struct Initramfs {
    /// The file to hand to QEMU.
    pub path: PathBuf,
}

impl Initramfs {
    /// Builds the archive for `kernel`, or finds it in the cache.
    pub fn build(kernel: &Kernel, contents: &Contents) -> Result<Self> {
        let files = contents.files()?;
        let name = format!("initramfs-{}-", contents.name);
        let path = cache()?.join(format!("{name}{:016x}.cpio", fingerprint(kernel, contents, &files)?));
        if !path.exists() {
            let bytes = archive(kernel, contents, &files)?.emit();
            let partial = path.with_extension(format!("{}", std::process::id()));
            fs::write(&partial, bytes).map_err(Error::on("writing", &partial))?;
            fs::rename(&partial, &path).map_err(Error::on("renaming to", &path))?;
            remove_others(&name, &path);
        }
        Ok(Self { path })
    }
}

/// Removes earlier archives: a hundred megabytes each, and nothing refers to them. QEMU has read its own at start.
fn remove_others(start: &str, current: &Path) {
    let folder = current.parent().and_then(|folder| fs::read_dir(folder).ok());
    for path in folder.into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path != current) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(start) && name.ends_with(".cpio") {
            let _ = fs::remove_file(&path);
        }
    }
}

fn program(tool: &str, package: &str) -> Result<PathBuf> {
    PATH.iter()
        .map(|folder| Path::new(folder).join(tool))
        .find(|path| path.exists())
        .ok_or_else(|| Error::Missing { tool: tool.to_owned(), package: package.to_owned() })
}

/// What the dynamic linker would load for `program`, the linker included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().map_err(Error::doing("starting ldd"))?;
    if !output.status.success() {
        return Err(Error::Unexpected(format!("ldd {} failed", program.display())));
    }
    // "libx.so.1 => /lib/libx.so.1 (0x...)", "/lib64/ld-linux-x86-64.so.2 (0x...)" or "linux-vdso.so.1 (0x...)".
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

/// Changes whenever something that goes in does. Library and module contents are taken by size and time.
fn fingerprint(kernel: &Kernel, contents: &Contents, files: &Files) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    (&kernel.release, INIT, AGENT, SHELL, DEBIAN, FILES, LEFT_OUT).hash(&mut hasher);
    (include_str!("modules.rs"), include_str!("initramfs.rs"), include_str!("cpio.rs")).hash(&mut hasher);
    (contents.modules, files.plain.keys().collect::<Vec<_>>(), &files.links).hash(&mut hasher);
    // dpkg's database says what is in a root.
    let database = contents.debian.as_ref().map(|debian| debian.root.join("var/lib/dpkg/status"));
    let debian = contents.debian.iter().flat_map(|debian| &debian.files).map(|(_, path)| path);
    for path in files.plain.values().chain([&kernel.image]).chain(&database).chain(debian) {
        let metadata = fs::metadata(path).map_err(Error::on("reading", path))?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (path, metadata.len(), modified.unwrap_or_default().as_secs()).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn archive(kernel: &Kernel, contents: &Contents, files: &Files) -> Result<Archive> {
    let mut archive = Archive::default();
    match &contents.debian {
        Some(debian) => add_debian(&mut archive, debian)?,
        None => add_tools(&mut archive, files)?,
    }
    archive.file("agent.sh", 0o755, AGENT.into());
    let modules = Modules::of(kernel, contents.modules)?;
    let folder = format!("usr/lib/modules/{}", kernel.release);
    for (name, path) in &modules.files {
        let bytes = fs::read(path).map_err(Error::on("reading", path))?;
        archive.file(&format!("{folder}/{name}"), 0o644, bytes);
    }
    archive.file(&format!("{folder}/modules.dep"), 0o644, modules.dependencies.into());
    archive.file(&format!("{folder}/modules.alias"), 0o644, modules.aliases.into());
    Ok(archive)
}

/// Debian's tools of this machine, with busybox around them.
fn add_tools(archive: &mut Archive, files: &Files) -> Result<()> {
    for folder in
        ["dev", "proc", "sys", "run", "tmp", "mnt", "root", "var", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"]
    {
        archive.directory(folder);
    }
    // As Debian has it: one tree below /usr.
    for folder in ["bin", "sbin", "lib", "lib64"] {
        archive.symlink(folder, &format!("usr/{folder}"));
    }
    archive.symlink("var/run", "/run");
    for (place, path) in &files.plain {
        let bytes = fs::read(path).map_err(Error::on("reading", path))?;
        archive.file(&format!("usr/{place}"), 0o755, bytes);
    }
    for (place, target) in &files.links {
        archive.symlink(&format!("usr/{place}"), target);
    }
    let list =
        Command::new(&files.plain["bin/busybox"]).arg("--list").output().map_err(Error::doing("starting busybox"))?;
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        let (bin, sbin) = (format!("usr/bin/{applet}"), format!("usr/sbin/{applet}"));
        if !archive.has(&bin) && !archive.has(&sbin) {
            archive.symlink(&bin, "/usr/bin/busybox");
        }
    }
    // Where the kernel looks when it wants a module itself.
    archive.symlink("usr/sbin/modprobe", "/usr/bin/busybox");
    archive.file("init", 0o755, INIT.into());
    archive.file("shell.sh", 0o755, SHELL.into());
    for (path, text) in FILES {
        archive.file(path, 0o644, (*text).into());
    }
    if let Ok(bytes) = fs::read("/etc/mke2fs.conf") {
        archive.file("etc/mke2fs.conf", 0o644, bytes);
    }
    Ok(())
}

/// A root of Debian packages as it is, in which a script starts systemd.
fn add_debian(archive: &mut Archive, debian: &Debian) -> Result<()> {
    let mut folders = vec![debian.root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::on("reading", &folder))?.flatten() {
            let path = entry.path();
            let place = path.strip_prefix(&debian.root).expect("it lies in the root").to_string_lossy().into_owned();
            let metadata = entry.metadata().map_err(Error::on("reading", &path))?;
            if LEFT_OUT.contains(&&*place) {
                continue;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).map_err(Error::on("reading", &path))?;
                archive.symlink(&place, &target.to_string_lossy());
            } else if metadata.is_dir() {
                archive.directory(&place);
                folders.push(path);
            } else if metadata.is_file() {
                let bytes = fs::read(&path).map_err(Error::on("reading", &path))?;
                archive.file(&place, metadata.permissions().mode() & 0o777, bytes);
            }
        }
    }
    for (place, path) in &debian.files {
        archive.file(place, 0o644, fs::read(path).map_err(Error::on("reading", path))?);
    }
    archive.file("init", 0o755, DEBIAN.into());
    Ok(())
}
