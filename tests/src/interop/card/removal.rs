//! A drive goes and comes back while the host uses it and its neighbours.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::interop::host::Host;
use crate::interop::running::join;
use crate::interop::scenario::ensure;
use crate::interop::{Fio, Pattern, subsystem};
use crate::vm::{Error, Result};

use super::Card;
use super::drives::REMOVABLE;
use super::jobs::Rounds;
use super::scenario::{connect, disk, mixed, quiet_but};

/// The NSID that lies on the removable drive.
const NSID: u32 = 6;

/// From device_del to the drive's absence: the data plane has to let go of it.
const RELEASE_LIMIT: Duration = Duration::from_secs(60);

/// From the drive's return to the host's first good read.
const RETURN_LIMIT: Duration = Duration::from_secs(90);

/// The host's kernel tells ten failed commands in five seconds, and keeps silent about more: all of them are to be seen.
const BETWEEN_READS: Duration = Duration::from_millis(1300);

/// No I/O of a drive that stays may take as long: a data plane that waits for the one that went would.
const LATENCY_MAX: Duration = Duration::from_secs(4);

pub(super) fn returned(card: &mut Card, host: &mut Host) -> Result<String> {
    let (card, host): (&Card, &Host) = (card, host);
    let disks = connect(host)?;
    let gone = disks[NSID as usize - 1].clone();
    let kept = Fio::verify(&gone, Pattern::Sequential, 16 << 10, 512 << 10);
    host.fio(&kept)?;
    let jobs = mixed(&disks, &[1, 2, 3]);
    let (end, rounds) = (AtomicBool::new(false), Rounds::default());
    let (others, tries, absent, back) = thread::scope(|scope| {
        let others = scope.spawn(|| rounds.run_until(&end, host, &jobs));
        let tries = scope.spawn(|| reads(host, &gone, &end));
        let story = || {
            rounds.wait_for_next(&others)?;
            let begun = Instant::now();
            card.machine().unplug(REMOVABLE, RELEASE_LIMIT)?;
            let absent = begun.elapsed();
            // Two rounds begin and end without the drive.
            for _ in 0..2 {
                rounds.wait_for_next(&others)?;
            }
            let begun = Instant::now();
            card.machine().plug(REMOVABLE)?;
            card.bind(REMOVABLE)?;
            let back = wait_until_read(host, begun)?;
            rounds.wait_for_next(&others)?;
            Ok::<_, Error>((absent, back))
        };
        let result = story();
        end.store(true, Ordering::Relaxed);
        let (others, tries) = (join(others), join(tries));
        // What ended the others' I/O says more than that it has ended.
        let others = others?;
        let (absent, back) = result?;
        Ok::<_, Error>((others, tries?, absent, back))
    })?;
    let longest = Duration::from_nanos(others.longest_ns);
    ensure(longest < LATENCY_MAX, || format!("an I/O of a drive that stayed took {longest:?}"))?;
    ensure(tries.0 > 0, || "nothing was read of the drive before it went".to_owned())?;
    host.fio(&Fio { filename: disk(host, NSID)?, ..kept }.reread())?;
    let name = gone.trim_start_matches("/dev/");
    quiet_but(host, "removal", &[name, &format!("c0n{NSID}")])?;
    host.disconnect(subsystem::OPEN)?;
    card.check_faults()?;
    Ok(format!(
        "let go after {:.1} s, read again {:.1} s after its return; its reads: {} good, {} failed; {} writes read back beside, \
         the slowest {:.2} s",
        absent.as_secs_f32(),
        back.as_secs_f32(),
        tries.0,
        tries.1,
        others.writes,
        longest.as_secs_f32()
    ))
}

/// Reads of the disk that goes, one after the other until `end`: how many were good and how many were not. One that is
/// held until the drive is back is a good one.
fn reads(host: &Host, disk: &str, end: &AtomicBool) -> Result<(u32, u32)> {
    let (mut good, mut failed) = (0, 0);
    while !end.load(Ordering::Relaxed) {
        let read = format!("[ -b {disk} ] && dd if={disk} of=/dev/null bs=16k count=4 iflag=direct 2>/dev/null");
        match host.machine().run_for(&read, RELEASE_LIMIT + RETURN_LIMIT)?.ok() {
            true => good += 1,
            false => failed += 1,
        }
        thread::sleep(BETWEEN_READS);
    }
    Ok((good, failed))
}

/// Waits until the host reads the namespace again; since `begun`.
fn wait_until_read(host: &Host, begun: Instant) -> Result<Duration> {
    loop {
        let read = disk(host, NSID).and_then(|disk| {
            let read = format!("dd if={disk} of=/dev/null bs=16k count=1 iflag=direct 2>/dev/null");
            host.machine().run_ok_for(&read, RETURN_LIMIT)
        });
        match read {
            Ok(_) => return Ok(begun.elapsed()),
            Err(error) if begun.elapsed() > RETURN_LIMIT => return Err(error),
            Err(_) => thread::sleep(BETWEEN_READS),
        }
    }
}
