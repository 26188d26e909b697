//! The machine as files: sysfs, procfs, /dev and /etc below one root, so that a made-up tree stands for a machine, and the
//! few things that are asked of the kernel by more than reading, behind [`Kernel`].
//!
//! What is read here comes from outside: a file that is missing, odd or endless is `None`, never a panic.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Longest file that is read, in bytes: mountinfo of a machine with many containers.
const LONGEST: u64 = 4 << 20;

/// What changes a machine or asks it for more than a file's text.
pub(crate) trait Kernel {
    /// Writes `text` to an attribute in one write, as sysfs wants it.
    fn write(&self, path: &Path, text: &str) -> io::Result<()>;
    /// Opens a block device or a VFIO group so that nobody else has it at the same time, without changing it.
    fn claim(&self, path: &Path) -> io::Result<File>;
    /// Runs a program to its end: whether it succeeded, and what it said on both its outputs.
    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<(bool, String)>;
}

/// The kernel that this program runs on.
pub(crate) struct Running;

impl Kernel for Running {
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        use std::io::Write as _;
        OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
    }

    fn claim(&self, path: &Path) -> io::Result<File> {
        // Without O_CREAT, O_EXCL is a block device's own: open(2). A VFIO group admits one opener in any case. Not for
        // writing: udev looks at a disk anew when one who could have written closes it.
        OpenOptions::new().read(true).custom_flags(libc::O_EXCL | libc::O_NONBLOCK).open(path)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<(bool, String)> {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).trim().to_owned()))
    }
}

/// A machine: where its files are, and its kernel.
pub(crate) struct Machine<'a> {
    root: PathBuf,
    kernel: &'a dyn Kernel,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(root: impl Into<PathBuf>, kernel: &'a dyn Kernel) -> Self {
        Self { root: root.into(), kernel }
    }

    pub(crate) fn kernel(&self) -> &'a dyn Kernel {
        self.kernel
    }

    /// Where `path` (without or with a leading slash) is.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// Whether its processor is an Arm: `/proc/cpuinfo` names an implementer there.
    pub(crate) fn is_arm(&self) -> bool {
        self.text("proc/cpuinfo").is_some_and(|text| text.contains("CPU implementer"))
    }

    /// A file's text without the white space around it.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.at(path)).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file that holds one decimal number.
    pub(crate) fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The last part of what a symbolic link points to: a driver's name, a group's number.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.at(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// The whole of what a symbolic link points to.
    pub(crate) fn target(&self, path: &str) -> Option<String> {
        Some(fs::read_link(self.at(path)).ok()?.to_string_lossy().into_owned())
    }

    /// What a folder holds, sorted; nothing when there is no such folder.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }

    /// Writes an attribute.
    pub(crate) fn write(&self, path: &str, text: &str) -> io::Result<()> {
        self.kernel.write(&self.at(path), text)
    }

    /// Other processes that have one of `paths` open, as "name (process N)". What other users' have open, only root sees.
    pub(crate) fn openers(&self, paths: &[String]) -> Vec<String> {
        let mut openers = Vec::new();
        let own = std::process::id().to_string();
        for process in
            self.names("proc").iter().filter(|name| **name != own && name.bytes().all(|byte| byte.is_ascii_digit()))
        {
            let folder = format!("proc/{process}/fd");
            let has =
                |fd: &String| self.target(&format!("{folder}/{fd}")).is_some_and(|target| paths.contains(&target));
            if self.names(&folder).iter().any(has) {
                let name = self.text(&format!("proc/{process}/comm")).unwrap_or_else(|| "?".to_owned());
                openers.push(format!("{name} (process {process})"));
            }
        }
        openers
    }
}
