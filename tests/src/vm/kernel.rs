//! Debian's kernel: fetched as a package and unpacked into a cache, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Error, Result};

/// The folder that keeps kernels and initramfs images from run to run: `GANTRY_VM_CACHE`, or `vm` in cargo's
/// target folder.
pub fn cache() -> Result<PathBuf> {
    let folder = match std::env::var_os("GANTRY_VM_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
            .join("vm"),
    };
    fs::create_dir_all(&folder).map_err(Error::on("making", &folder))?;
    fs::canonicalize(&folder).map_err(Error::on("resolving", &folder))
}

/// A kernel image and its modules.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// As in `uname -r`: "6.1.0-56-amd64".
    pub release: String,
    /// The bootable image.
    pub image: PathBuf,
    /// `lib/modules/<release>`.
    pub modules: PathBuf,
}

impl Kernel {
    /// The kernel of this Debian release (`linux-image-amd64`): the one already in the cache, else the
    /// current one, downloaded.
    pub fn debian() -> Result<Self> {
        let cache = cache()?.join("kernel");
        fs::create_dir_all(&cache).map_err(Error::on("making", &cache))?;
        if let Some(kernel) = Self::newest_in(&cache) {
            return Ok(kernel);
        }
        // A machine that never ran `apt-get update`, or long ago, knows no package or one that is gone by now.
        let package = match Self::download(&cache) {
            Ok(package) => package,
            Err(_) => {
                run(Command::new("apt-get").args(["-q", "update"]))?;
                Self::download(&cache)?
            }
        };
        let partial = partial(&cache);
        let archive = fs::read_dir(&partial)
            .map_err(Error::on("reading", &partial))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| Error::Unexpected(format!("apt-get download {package} left no package")))?;
        run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&partial))?;
        fs::remove_file(&archive).map_err(Error::on("removing", &archive))?;
        let folder = cache.join(&package);
        fs::rename(&partial, &folder).map_err(Error::on("renaming to", &folder))?;
        Self::unpacked(&folder)
            .ok_or_else(|| Error::Unexpected(format!("{package} has no kernel where Debian keeps it")))
    }

    /// The kernel among the packages that are unpacked in `root`.
    pub fn in_root(root: &Path) -> Result<Self> {
        Self::unpacked(root).ok_or_else(|| Error::Unexpected(format!("no kernel in {}", root.display())))
    }

    /// Fetches the current package into a folder of its own; gives its name.
    fn download(cache: &Path) -> Result<String> {
        let package = current_package()?;
        // Unpacked under another name first: a folder that has the package's name is a kernel that is whole.
        let partial = partial(cache);
        fs::create_dir_all(&partial).map_err(Error::on("making", &partial))?;
        let fetch = ["-q", "-o", "APT::Sandbox::User=root", "download", &package];
        run(Command::new("apt-get").args(fetch).current_dir(&partial))?;
        Ok(package)
    }

    fn newest_in(cache: &Path) -> Option<Self> {
        let mut folders: Vec<_> = fs::read_dir(cache).ok()?.flatten().collect();
        folders.retain(|entry| entry.file_name().to_string_lossy().starts_with("linux-image-"));
        folders.sort_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
        folders.iter().rev().find_map(|entry| Self::unpacked(&entry.path()))
    }

    /// The kernel in an unpacked linux-image package.
    fn unpacked(folder: &Path) -> Option<Self> {
        let image = fs::read_dir(folder.join("boot"))
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))?;
        let release = image.file_name()?.to_string_lossy().trim_start_matches("vmlinuz-").to_owned();
        let modules = [format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")]
            .iter()
            .map(|path| folder.join(path))
            .find(|path| path.is_dir())?;
        Some(Self { release, image, modules })
    }
}

/// Where this process unpacks.
fn partial(cache: &Path) -> PathBuf {
    cache.join(format!(".partial-{}", std::process::id()))
}

/// What linux-image-amd64 stands for today.
fn current_package() -> Result<String> {
    let answer = run(Command::new("apt-cache").args(["depends", "linux-image-amd64"]))?;
    answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .map(str::to_owned)
        .ok_or_else(|| Error::Unexpected("apt-cache knows no linux-image-amd64: run `apt-get update` first".to_owned()))
}

/// What a command says, or why it failed.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let named = format!("{command:?}");
    let output = command.output().map_err(Error::doing(format!("starting {named}")))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::Unexpected(format!("{named} failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }
}
