//! The process under test: started, read, ended by signal, and searched for what it leaves behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own for a test, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gantry-process-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of what is in it.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The command that starts a data plane on `channel`.
fn command(channel: &Path, lcores: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry-dataplane"));
    command.arg("--channel").arg(channel).args(["--no-huge", "--memory", "128"]);
    command.args(["--lcores", &lcores.to_string()]);
    // The machine's own devices are none of a test's business; and every message of vhost-user would be a line.
    command.args(["--eal=--no-pci", "--eal=--log-level=lib.vhost.config:warning"]);
    command.env("NO_COLOR", "1").env("RUST_LOG", "info").stdin(Stdio::null());
    command
}

/// Starts one that is expected to end by itself.
pub(crate) fn refused(channel: &Path) -> Output {
    let mut child = command(channel, 1).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("a data plane on {} runs on", channel.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// A running data plane.
pub(crate) struct DataPlane {
    child: Child,
    told: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl DataPlane {
    /// Starts one of so many lcores whose channel is `channel`, with more environment.
    pub(crate) fn start(channel: &Path, lcores: u16, environment: &[(&str, &Path)]) -> Self {
        let mut command = command(channel, lcores);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let told = Arc::new(Mutex::new(String::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), told.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *lines.lock() += &format!("{line}\n");
            }
        });
        let mut plane = Self { child, told, reader: Some(reader) };
        plane.until("its start", |plane| plane.told().contains("data plane is up"));
        plane
    }

    /// All that it has written so far.
    pub(crate) fn told(&self) -> String {
        self.told.lock().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The thread id of its one lcore. DPDK names the threads of worker lcores.
    pub(crate) fn lcore_tid(&self) -> u32 {
        let mut lcores = Vec::new();
        for entry in std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap() {
            let entry = entry.unwrap();
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap();
            if name.starts_with("rte-worker") || name.starts_with("dpdk-worker") {
                lcores.push(entry.file_name().into_string().unwrap().parse().unwrap());
            }
        }
        assert_eq!(lcores.len(), 1, "threads of worker lcores: {lcores:?}");
        lcores[0]
    }

    /// Ends it as a service manager does, and holds it to a good end.
    pub(crate) fn stop(mut self) -> String {
        signal("TERM", self.pid());
        self.until("its end", |plane| !plane.is_running());
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        assert_eq!(status.code(), Some(0), "{status}; it told:\n{}", self.told());
        self.told()
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come; it told:\n{}", self.told());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("gantry-dataplane told:\n{}", self.told());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that a test has started.
pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(sent.success(), "SIG{name} to {pid}: {sent}");
}
