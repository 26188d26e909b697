//! Control dies, or is replaced while it lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::interop::{Fio, Gantry, Host, Pattern, Target, subsystem, watch};
use crate::random::Random;
use crate::vm::{Error, Result};

use super::pauses::Pauses;
use super::{Running, ensure, join};

/// Deaths of control in one run.
const DEATHS: usize = 15;

/// Over so long a time, more or less.
const SPAN: Duration = Duration::from_secs(32);

/// Longest absence.
const AWAY: Duration = Duration::from_secs(2);

/// No pause between two completions may be as long as this, in the host's own time.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// An admin command may wait for control's return, and for what else this machine is doing.
const ADMIN_LIMIT: Duration = Duration::from_secs(30);

/// One death: when, since the beginning, and how long control is then away.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Death {
    at: Duration,
    away: Duration,
}

/// Deaths at random moments. Some follow so soon that the new control has just begun to adopt.
fn deaths(seed: u64) -> Vec<Death> {
    let mut random = Random::new(seed);
    let mut moments: Vec<Duration> = (0..DEATHS).map(|_| SPAN.mul_f64(random.unit())).collect();
    moments.sort();
    let mut free = Duration::ZERO;
    let mut deaths = Vec::new();
    for moment in moments {
        let at = moment.max(free + Duration::from_millis(300).mul_f64(random.unit()));
        let away = AWAY.mul_f64(random.unit());
        free = at + away;
        deaths.push(Death { at, away });
    }
    deaths
}

pub(super) fn killed(gantry: &mut Gantry, host: &mut Host) -> Result<String> {
    let host: &Host = host;
    let deaths = deaths(gantry.seed());
    let last = deaths.last().map_or(Duration::ZERO, |death| death.at + death.away);
    let device = host.connect(subsystem::OPEN)?;
    // 8 KiB: larger than what a capsule holds, so that writes are fetched and reads are written.
    let fio = Fio::verify(&device.block, Pattern::Random, 8 << 10, 8 << 20).until_ended().limit(last * 4);
    let (end, begun, stats) = (AtomicBool::new(false), AtomicBool::new(false), gantry.stats());
    let (report, longest, flow, admin, connections) = thread::scope(|scope| {
        let io = Running::start(scope, host.machine(), &fio, |report| report.reads > 0, &begun)?;
        let pauses = Pauses::start(host, &device)?;
        let watching = scope.spawn(|| watch(stats, &end));
        let admin = scope.spawn(|| admin_commands(host, &device.controller, &end));
        let connections = scope.spawn(|| connections(host, &end));
        let died = die(gantry, &deaths);
        // While fio still runs: a disk without I/O pauses, too.
        let longest = pauses.end();
        let io = io.end();
        end.store(true, Ordering::Relaxed);
        // What killed control says more than what it led to; all threads are waited for by the scope.
        died?;
        let (admin, connections) = (join(admin), join(connections));
        let flow = join(watching)?;
        Ok::<_, Error>((io?, longest?, flow, admin?, connections?))
    })?;
    let seen = host.trouble_since("kill-control")?;
    ensure(seen.is_empty(), || format!("the host's kernel noticed:\n{}", seen.join("\n")))?;
    longest.check(PAUSE_MAX).map_err(|error| {
        Error::Unexpected(format!(
            "{error}; the data plane sent no response for {:?} from {:?} on, in which it counted {}; the deaths: {deaths:?}",
            flow.pause, flow.pause_began, flow.in_pause
        ))
    })?;
    ensure(admin.count >= 10, || format!("only {} admin commands: nothing was shown", admin.count))?;
    ensure(connections > 0, || "no connection was made and ended: nothing was shown".to_owned())?;
    host.disconnect(subsystem::OPEN)?;
    let again = host.connect(subsystem::OPEN)?;
    host.fio(&Fio::verify(&again.block, Pattern::Random, 8 << 10, 256 << 10))?;
    host.disconnect(subsystem::OPEN)?;
    Ok(format!(
        "{DEATHS} deaths in {:.0} s, {} I/Os verified, longest pause {:.2} s of the host's time ({:.2} s seen from the data \
         plane); {} admin commands, the slowest {:.1} s; {} connections beside",
        last.as_secs_f32(),
        report.reads + report.writes,
        longest.pause.as_secs_f32(),
        flow.pause.as_secs_f32(),
        admin.count,
        admin.slowest.as_secs_f32(),
        connections,
    ))
}

fn die(gantry: &mut Gantry, deaths: &[Death]) -> Result<()> {
    let start = Instant::now();
    for death in deaths {
        thread::sleep(death.at.saturating_sub(start.elapsed()));
        gantry.kill_control()?;
        thread::sleep(death.away);
        gantry.start_control()?;
    }
    thread::sleep(Duration::from_secs(2));
    gantry.check_health()
}

/// Admin commands that were answered.
struct Admin {
    count: u32,
    slowest: Duration,
}

/// One after the other until `end`.
fn admin_commands(host: &Host, controller: &str, end: &AtomicBool) -> Result<Admin> {
    let mut admin = Admin { count: 0, slowest: Duration::ZERO };
    for command in ["id-ctrl", "smart-log", "list-ns"].iter().cycle() {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        host.machine().run_ok_for(&format!("nvme {command} {controller} >/dev/null"), ADMIN_LIMIT)?;
        admin.count += 1;
        admin.slowest = admin.slowest.max(begun.elapsed());
        thread::sleep(Duration::from_millis(300));
    }
    Ok(admin)
}

/// Discovers, connects to the other subsystem as the host that may, and leaves it, until `end`: how often.
fn connections(host: &Host, end: &AtomicBool) -> Result<u32> {
    let identity = format!("--hostnqn={} --hostid=1b4e28ba-2fa1-11d2-883f-0016d3cca427", subsystem::OTHER_HOST);
    let mut made = 0;
    while !end.load(Ordering::Relaxed) {
        let offered = host.discover()?;
        ensure(offered.iter().any(|nqn| nqn == subsystem::OPEN), || format!("discovery offers {offered:?}"))?;
        host.connect_with(subsystem::PRIVATE, &identity)?;
        host.disconnect(subsystem::PRIVATE)?;
        made += 1;
        thread::sleep(Duration::from_millis(500));
    }
    Ok(made)
}

pub(super) fn superseded(gantry: &mut Gantry, host: &mut Host) -> Result<String> {
    let device = host.connect(subsystem::OPEN)?;
    let log = gantry.logs()[1].clone();
    let said = || std::fs::read_to_string(&log).map_err(Error::on("reading", &log));
    let before = said()?.len();
    let older = gantry.supersede_control()?;
    let status = older.wait_for(Duration::from_secs(10));
    let since = said()?.split_off(before);
    let status =
        status.ok_or_else(|| Error::Unexpected(format!("the older control does not end; it says:\n{since}")))?;
    ensure(status.code().is_some_and(|code| code != 0), || format!("the older control ended with {status}"))?;
    let words: Vec<&str> = since.lines().filter(|line| line.contains("newer control")).collect();
    ensure(words.len() == 1, || format!("not one line of the older control says that a newer one serves:\n{since}"))?;
    // The newer one knows the host that was there, and serves it.
    host.machine().run_ok_for(&format!("nvme id-ctrl {} >/dev/null", device.controller), ADMIN_LIMIT)?;
    host.fio(&Fio::verify(&device.block, Pattern::Random, 8 << 10, 256 << 10))?;
    host.disconnect(subsystem::OPEN)?;
    host.connect(subsystem::OPEN)?;
    host.disconnect(subsystem::OPEN)?;
    gantry.check_health()?;
    let seen = host.trouble_since("two-controls")?;
    ensure(seen.is_empty(), || format!("the host's kernel noticed:\n{}", seen.join("\n")))?;
    Ok(format!("the older ended with {status}: {:?}", words[0].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_follow_the_seed_and_each_other() {
        let drawn = deaths(1);
        assert_eq!(drawn, deaths(1));
        assert_ne!(drawn, deaths(2));
        assert_eq!(drawn.len(), DEATHS);
        for pair in drawn.windows(2) {
            assert!(pair[1].at >= pair[0].at + pair[0].away, "control must be there to be killed: {pair:?}");
        }
        assert!(drawn.iter().all(|death| death.away < AWAY));
    }
}
