//! Child processes and scratch folders that cannot outlive their owner.
//!
//! A [`Process`] is killed by its own id when it is dropped; [`end_on_interrupt`] does the same for all of
//! them on SIGINT, SIGTERM and SIGHUP; and each child asks the kernel (through `setpriv`) for SIGKILL when
//! this process dies in any other way. [`Scratch`] is a folder with the same life.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Error, Result};

/// What must be undone when this process ends early.
#[derive(Default)]
struct Registry {
    children: Vec<Weak<Mutex<Child>>>,
    folders: Vec<PathBuf>,
    closed: bool,
}

/// Set for good by the first signal.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: OnceLock<Mutex<Registry>> = OnceLock::new();
    lock(REGISTRY.get_or_init(Mutex::default))
}

/// A poisoned lock still guards children that must be killed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Arc<Mutex<Child>>,
}

type Spawned = (Command, mpsc::Sender<io::Result<Child>>);

/// Forks from one thread that never ends: the parent-death signal follows the *thread* that forked.
fn spawner() -> &'static mpsc::Sender<Spawned> {
    static SPAWNER: OnceLock<mpsc::Sender<Spawned>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Spawned>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in receiver {
                    // A caller that has gone has also dropped its interest in the child.
                    if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                        let _ = child.kill();
                    }
                }
            })
            .expect("a thread to fork from");
        sender
    })
}

impl Process {
    /// Starts `program`; `set_up` adds arguments, environment and redirections.
    pub fn spawn(name: &str, program: impl AsRef<OsStr>, set_up: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref());
        set_up(&mut command);
        let mut registry = registry();
        if registry.closed {
            return Err(Error::Unexpected(format!("{name} not started: this run was interrupted")));
        }
        let (sender, receiver) = mpsc::channel();
        spawner().send((command, sender)).expect("the spawner lives as long as the process");
        let child = receiver
            .recv()
            .expect("the spawner answers")
            .map_err(Error::doing(format!("starting {}", program.as_ref().display())))?;
        let child = Arc::new(Mutex::new(child));
        registry.children.retain(|child| child.strong_count() > 0);
        registry.children.push(Arc::downgrade(&child));
        Ok(Self { name: name.to_owned(), child })
    }

    /// The name given at start, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// The child's standard output, if it was piped and not yet taken.
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        lock(&self.child).stdout.take()
    }

    /// The child's standard error, if it was piped and not yet taken.
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        lock(&self.child).stderr.take()
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().ok().flatten()
    }

    /// Waits until it ends by itself, at most `limit`.
    pub fn wait_for(&self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end (SIGTERM), then kills it once `grace` has passed.
    pub fn stop(&self, grace: Duration) -> Option<ExitStatus> {
        {
            // Under the lock, so that the id cannot have been reaped and given to someone else.
            let mut child = lock(&self.child);
            if let Ok(None) = child.try_wait()
                && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
            {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        self.wait_for(grace).or_else(|| {
            self.kill();
            self.exited()
        })
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&self) {
        end(&mut lock(&self.child));
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder of this process's own, removed with everything in it when dropped. Its path is short, so that
/// sockets fit in (a Unix socket's path has 107 bytes).
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one below the system's temporary folder.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let name = format!("gantry-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let mut registry = registry();
        fs::create_dir_all(&path).map_err(Error::on("making", &path))?;
        registry.folders.push(path.clone());
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

/// Removes the scratch folders of processes that were killed outright, and so could not.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("gantry-")?.split_once('-')?.0.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        registry().folders.retain(|folder| *folder != self.path);
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP kill every child, remove every scratch folder and end this process
/// with status 130. `last` runs in between, for a word to the user.
pub fn end_on_interrupt(last: impl Fn() + Send + 'static) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(Error::doing("registering for signals"))?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if signals.forever().next().is_some() {
                INTERRUPTED.store(true, Ordering::Relaxed);
                end_all();
                last();
                std::process::exit(130);
            }
        })
        .map_err(Error::doing("starting the signal thread"))?;
    Ok(())
}

/// Never returns if an interrupt is ending this process: whatever failed meanwhile failed because of it.
pub fn yield_to_interrupt() {
    while INTERRUPTED.load(Ordering::Relaxed) {
        thread::park();
    }
}

/// Kills every child and removes every scratch folder; nothing can be started afterwards.
pub fn end_all() {
    let (children, folders) = {
        let mut registry = registry();
        registry.closed = true;
        (std::mem::take(&mut registry.children), std::mem::take(&mut registry.folders))
    };
    for child in children.iter().filter_map(Weak::upgrade) {
        end(&mut lock(&child));
    }
    for folder in folders {
        let _ = fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::spawn("sleeper", "sleep", |command| {
            command.arg("600");
        })
        .expect("sleep starts");
        let id = process.id();
        assert!(alive(id));
        drop(process);
        assert!(!alive(id));
    }

    #[test]
    fn a_process_outlives_the_thread_that_started_it() {
        let process = thread::spawn(|| {
            Process::spawn("sleeper", "sleep", |command| {
                command.arg("600");
            })
        })
        .join()
        .expect("the thread ends well")
        .expect("sleep starts");
        thread::sleep(Duration::from_millis(50));
        assert_eq!(process.exited(), None, "the parent-death signal must follow the process, not the thread");
    }

    #[test]
    fn stop_is_heard() {
        let process = Process::spawn("polite", "sh", |command| {
            command.args(["-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"]);
        })
        .expect("sh starts");
        thread::sleep(Duration::from_millis(200));
        let status = process.stop(Duration::from_secs(5)).expect("it ended");
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn a_killed_owner_leaves_its_folder_to_the_next() {
        // No process has this id: it is above the kernel's largest.
        let path = std::env::temp_dir().join("gantry-4194999-0");
        fs::create_dir_all(path.join("inner")).expect("a folder");
        sweep();
        assert!(!path.exists());
    }

    #[test]
    fn a_scratch_folder_goes_with_its_owner() {
        let scratch = Scratch::new().expect("a folder");
        let path = scratch.path().to_owned();
        fs::write(scratch.join("file"), b"x").expect("a file in it");
        assert!(path.exists());
        drop(scratch);
        assert!(!path.exists());
    }
}
