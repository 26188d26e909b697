//! An idle data plane sleeps, and what comes wakes it. Prints what both cost here.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use gantry_poller::bell::Bell;
use gantry_sim::host::{Io, IoKind};

use rustix::event::{PollFd, PollFlags, poll};

use crate::alone;
use crate::data_plane::{Folder, PATIENCE};
use crate::io::DRIVE_FILES;
use crate::rig::{Link, Rig};

/// Longer than all polls and pauses that come before sleep.
const SILENCE: Duration = Duration::from_millis(10);

/// What nothing wakes is found at the end of the longest sleep, 50 ms, of which [`SILENCE`] is over. A wake takes far less,
/// even where others want the core.
pub(crate) const UNWOKEN: Duration = Duration::from_millis(10);

/// Reads after silence, and as many that follow each other at once.
const READS: usize = 100;

/// A namespace that is not there: the data plane refuses the read by itself.
const ABSENT: u32 = 9;

/// How long it is watched doing nothing.
const WATCHED: Duration = Duration::from_secs(2);

/// Time that a process has been on a core: the software drives' threads, which stand for hardware; all others.
fn computed(pid: u32) -> [Duration; 2] {
    let mut ran = [Duration::ZERO; 2];
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let read = |name: &str| std::fs::read_to_string(task.as_ref().unwrap().path().join(name)).unwrap();
        let ran_ns = read("schedstat").split_whitespace().next().unwrap().parse().unwrap();
        ran[usize::from(!read("comm").starts_with("drive-"))] += Duration::from_nanos(ran_ns);
    }
    ran
}

/// From the submission of a read to its completion.
pub(crate) fn answer(rig: &mut Rig, queue: u16, nsid: u32) -> Duration {
    let begun = Instant::now();
    let io = Io { queue, kind: IoKind::Read, nsid, slba: 0, blocks: 1, data: Vec::new(), tag: 0 };
    rig.host.submit(io).unwrap();
    while rig.host.poll_completion().is_none() {
        if !rig.step() {
            // The drive's thread has the same core.
            std::thread::yield_now();
        }
        assert!(begun.elapsed() < PATIENCE, "no answer comes");
    }
    begun.elapsed()
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Keeps this thread to one core: 0 is housekeeping's and the drives', 1 the lcore's, who would have to wait for it there.
fn stay_on(core: &str) {
    // "1234/task/1235"
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let moved = Command::new("taskset").args(["-cp", core]).arg(own.file_name().unwrap()).output().unwrap();
    assert!(moved.status.success(), "taskset: {moved:?}");
}

/// What it takes to wake a thread on the lcore's core by an eventfd, and nothing else: as quickly as any lcore can wake.
fn bare_wake() -> Duration {
    let bell = Bell::new().unwrap();
    let woken_ns = AtomicU64::new(0);
    let (start, (ready, is_ready)) = (Instant::now(), channel());
    let times = std::thread::scope(|scope| {
        scope.spawn(|| {
            stay_on("1");
            ready.send(()).unwrap();
            for _ in 0..READS {
                bell.listen();
                poll(&mut [PollFd::new(&bell, PollFlags::IN)], None).unwrap();
                bell.answer();
                woken_ns.store(start.elapsed().as_nanos() as u64, Ordering::Release);
            }
        });
        is_ready.recv().unwrap();
        (0..READS)
            .map(|_| {
                std::thread::sleep(SILENCE);
                woken_ns.store(0, Ordering::Relaxed);
                let begun = start.elapsed();
                bell.ring();
                loop {
                    let woken_ns = woken_ns.load(Ordering::Acquire);
                    if woken_ns > 0 {
                        break Duration::from_nanos(woken_ns).saturating_sub(begun);
                    }
                    std::hint::spin_loop();
                }
            })
            .collect()
    });
    median(times)
}

fn sleeps_and_wakes(link: Link) {
    let mut rig = Rig::start(link, Folder::new(), &[]);
    stay_on("0");
    rig.connect(60_000);
    rig.rest(Duration::from_millis(100));
    let count = |rig: &Rig, name: &str| rig.counters().get(name).copied().unwrap_or(0);

    let (begun, computed_before) = (Instant::now(), computed(rig.plane.pid()));
    let before = [count(&rig, "lcore.sleeps"), count(&rig, "lcore.polls")];
    std::thread::sleep(WATCHED);
    let after = computed(rig.plane.pid());
    let share =
        [0, 1].map(|of| (after[of] - computed_before[of]).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0);
    let [sleeps, polls] = [count(&rig, "lcore.sleeps") - before[0], count(&rig, "lcore.polls") - before[1]];

    let hot: Vec<Duration> = (0..READS).map(|_| answer(&mut rig, 1, ABSENT)).collect();
    let slept = count(&rig, "lcore.sleeps");
    let cold: Vec<Duration> = (0..READS)
        .map(|_| {
            std::thread::sleep(SILENCE);
            answer(&mut rig, 1, ABSENT)
        })
        .collect();
    let slept = count(&rig, "lcore.sleeps") - slept;
    let (hot, cold) = (median(hot), median(cold));
    println!(
        "{link:?}: idle {:.2} % of a core and {:.2} % for software drives, {sleeps} sleeps and {polls} polls in {WATCHED:?}; an \
         answer after {hot:?}, after silence {cold:?}; a bare thread wakes in {:?}",
        share[1],
        share[0],
        bare_wake()
    );
    assert!(slept as usize >= READS, "{slept} sleeps in {READS} silences");
    assert!(polls > 0, "an lcore that sleeps looks up now and then");
    if link == Link::Vhost {
        // Longest sleeps of 50 ms, and what a Keep Alive wakes.
        assert!(sleeps < 300, "{sleeps} sleeps in {WATCHED:?}");
        assert!(polls < 20_000, "{polls} polls in {WATCHED:?}");
        assert!(cold < UNWOKEN, "an answer after silence took {cold:?}");
    }
    rig.disconnect();
    rig.stop(DRIVE_FILES);
}

#[test]
fn a_port_with_interrupts_wakes_its_lcore() {
    let _alone = alone();
    sleeps_and_wakes(Link::Vhost);
}

/// Two lcores with a queue pair each, and a host that sends by the first only: frames for the second one's QP cross to it.
#[test]
fn a_frame_that_crosses_wakes_the_other_lcore() {
    let _alone = alone();
    let mut rig = Rig::start_lcores(2, Link::Vhost, Folder::new(), &[]);
    rig.connect(60_000);
    let took = [1, 2].map(|queue| {
        let answers = (0..20).map(|_| {
            std::thread::sleep(SILENCE);
            answer(&mut rig, queue, ABSENT)
        });
        median(answers.collect())
    });
    println!("two lcores: an answer after silence by queue {took:?}");
    assert!(rig.counters().contains_key("s2_classify.crossed"), "one of the QPs is the other lcore's");
    assert!(took.iter().all(|took| *took < UNWOKEN), "an answer after silence took {took:?}");
    rig.disconnect();
    rig.stop(DRIVE_FILES);
}

#[test]
fn a_port_without_interrupts_is_looked_at_often() {
    let _alone = alone();
    sleeps_and_wakes(Link::Memif);
}
