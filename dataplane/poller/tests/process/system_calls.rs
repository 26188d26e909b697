//! An lcore makes no system call but those named here: strace is attached to its thread alone while I/O runs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::allocations::shim;
use crate::alone;
use crate::data_plane::{Folder, signal};
use crate::io::DRIVE_FILES;
use crate::rig::{FILE, Link, MEM, Rig, workload};

/// A system call that an lcore may make.
struct Allowed {
    name: &'static str,
    /// What strace's line for it must hold.
    with: &'static str,
    /// Why.
    _reason: &'static str,
}

const ALLOWED: &[Allowed] = &[
    Allowed { name: "clock_nanosleep", with: "", _reason: "the idle nap, when polls and pauses have found nothing" },
    Allowed { name: "epoll_wait", with: "", _reason: "the idle sleep, until a frame or the bell ends it" },
    Allowed {
        name: "restart_syscall",
        with: "",
        _reason: "the same nap, which the tracer interrupted when it came; strace cannot know what it was",
    },
    Allowed { name: "read", with: "<anon_inode:[eventfd]>", _reason: "the bell that ended the sleep is made silent" },
    Allowed {
        name: "write",
        with: "<anon_inode:[eventfd]>",
        _reason: "the vhost and memif PMDs wake a peer that has asked for it, as a guest's kernel does; a frame for \
                  housekeeping wakes it when it sleeps",
    },
];

/// The lines of strace's output that are system calls outside the list.
fn violations(trace: &str) -> Vec<&str> {
    let calls = trace.lines().filter(|line| !line.starts_with("---") && !line.starts_with("+++"));
    let allowed = |line: &str| {
        let name = line.split('(').next().unwrap_or_default();
        ALLOWED.iter().any(|allowed| allowed.name == name && line.contains(allowed.with))
    };
    calls.filter(|line| !allowed(line)).collect()
}

#[test]
fn a_call_outside_the_list_is_seen() {
    let trace = "\
restart_syscall(<... resuming interrupted clock_nanosleep ...>) = 0
clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=0, tv_nsec=20000}, NULL) = 0
write(42<anon_inode:[eventfd]>, \"\\1\\0\\0\\0\\0\\0\\0\\0\", 8) = 8
--- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=1, si_uid=0} ---
write(2</dev/pts/0>, \"x\", 1)          = 1
futex(0x7f0000000000, FUTEX_WAKE_PRIVATE, 1) = 0
clock_gettime(CLOCK_MONOTONIC, {tv_sec=1, tv_nsec=2}) = 0
";
    let names: Vec<&str> = violations(trace).iter().map(|line| line.split('(').next().unwrap()).collect();
    assert_eq!(names, ["write", "futex", "clock_gettime"]);
}

/// strace on one thread.
struct Strace(Child);

impl Strace {
    fn attach(tid: u32, output: &Path) -> Self {
        let mut command = Command::new("strace");
        command.args(["-y", "-p", &tid.to_string(), "-o"]).arg(output);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Self(spawned.unwrap_or_else(|error| panic!("strace (Debian package strace): {error}")))
    }

    /// Lets the thread go.
    fn detach(mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "strace has ended by itself; may it trace here?");
        signal("INT", self.0.id());
        self.0.wait().unwrap();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tracer_of(tid: u32, pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap().trim().to_owned()
}

fn only_named_calls(link: Link) {
    let folder = Folder::new();
    let (library, trace) = (shim(&folder), folder.path("trace"));
    let mut rig = Rig::start(link, folder, &[("LD_PRELOAD", &library)]);
    rig.connect(5_000);
    let mut workloads = [workload(MEM), workload(FILE)];
    rig.run(&mut workloads[0], Duration::from_millis(200));
    let (pid, tid) = (rig.plane.pid(), rig.plane.lcore_tid());
    let mut strace = Strace::attach(tid, &trace);
    let tracer = strace.0.id().to_string();
    rig.until("strace", |_| {
        assert_eq!(strace.0.try_wait().unwrap(), None, "strace could not attach to a thread of its own user's process");
        tracer_of(tid, pid) == tracer
    });
    for workload in &mut workloads {
        rig.run(workload, Duration::from_millis(800));
    }
    rig.rest(Duration::from_millis(200));
    rig.disconnect();
    rig.connect(5_000);
    strace.detach();
    let trace = std::fs::read_to_string(trace).unwrap();
    let outside = violations(&trace);
    assert!(
        outside.is_empty(),
        "{} calls outside the list:\n{}",
        outside.len(),
        outside[..outside.len().min(20)].join("\n")
    );
    assert!(trace.contains("clock_nanosleep("), "an idle lcore sleeps, and strace saw it:\n{trace}");
    rig.disconnect();
    rig.stop(&[DRIVE_FILES, &["trace"]].concat());
}

#[test]
fn an_lcore_makes_only_named_calls_over_vhost_user() {
    let _alone = alone();
    only_named_calls(Link::Vhost);
}

#[test]
fn an_lcore_makes_only_named_calls_over_memif() {
    let _alone = alone();
    only_named_calls(Link::Memif);
}
