//! The longest time in which a disk completed nothing, as the host sees it.
//!
//! The clock is the host's own life: an emulated machine stands still itself now and then when others want the same cores,
//! and then nobody waits for its I/O. A loop in the host's shell looks ten times a second; what passes between two looks
//! counts for 200 ms at most. What is measured is never shorter than the pause was, but up to two looks longer.

use std::time::Duration;

use crate::interop::{Device, Host};
use crate::vm::{Error, Result};

use super::ensure;

const SCRIPT: &str = include_str!("pauses.sh");

/// Files in the host.
const PROGRAM: &str = "/run/pauses.sh";
const ANSWER: &str = "/run/pauses";

/// A loop that looks at a disk of a host.
pub(super) struct Pauses<'a> {
    host: &'a Host,
    id: u32,
}

/// What it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Longest {
    /// The longest pause.
    pub(super) pause: Duration,
    /// The host's uptime at its end.
    pub(super) ended: Duration,
    /// How often the disk was looked at.
    pub(super) looks: u32,
}

impl<'a> Pauses<'a> {
    /// Starts to look at `device`.
    pub(super) fn start(host: &'a Host, device: &Device) -> Result<Self> {
        let find_stat = device.find_stat();
        let id = host.machine().run_ok(&format!(
            "cat >{PROGRAM} <<'END'\n{SCRIPT}END\n\
             {find_stat}\
             rm -f {ANSWER}\n\
             setsid sh {PROGRAM} $stat {ANSWER} </dev/null >/dev/null 2>&1 & echo $!"
        ))?;
        let id = id.trim().parse().map_err(|_| Error::Unexpected(format!("no process id: {id:?}")))?;
        Ok(Self { host, id })
    }

    /// Ends it.
    pub(super) fn end(self) -> Result<Longest> {
        let id = self.id;
        let answer = self
            .host
            .machine()
            .run_ok(&format!("kill {id}; while [ -e /proc/{id}/exe ]; do sleep 0.05; done; cat {ANSWER}"))?;
        parse(&answer).ok_or_else(|| Error::Unexpected(format!("no pauses: {answer:?}")))
    }
}

impl Longest {
    /// Fails if this is a pause of `limit` or longer, or if nobody looked.
    pub(super) fn check(&self, limit: Duration) -> Result<()> {
        ensure(self.looks >= 50, || format!("only {} looks at the disk: nothing was shown", self.looks))?;
        ensure(self.pause < limit, || {
            format!("no completion for {:?} of the host's life, until its uptime of {:?}", self.pause, self.ended)
        })
    }
}

fn parse(answer: &str) -> Option<Longest> {
    let mut words = answer.split_whitespace().map(|word| word.parse::<u32>().ok());
    let (pause, ended, looks) = (words.next()??, words.next()??, words.next()??);
    let time = |hundredths: u32| Duration::from_millis(10 * u64::from(hundredths));
    Some(Longest { pause: time(pause), ended: time(ended), looks })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::thread;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::vm::process::Scratch;

    const LOOK: Duration = Duration::from_millis(10);

    /// Runs the loop on a disk that completes one I/O every 10 ms, but for 1.2 s in its middle.
    fn longest(meanwhile: impl FnOnce(Pid)) -> Longest {
        let scratch = Scratch::new().expect("a folder");
        let (program, stat, answer) = (scratch.join("pauses.sh"), scratch.join("stat"), scratch.join("answer"));
        fs::write(&program, SCRIPT).expect("a file");
        let write = |reads: u32| {
            // Renamed into place: a reader must never see half of it.
            let partial = scratch.join("partial");
            fs::write(&partial, format!("  {reads} 0 0 0  7 0 0 0 0 0 0 0 0 0 0 0 0\n")).expect("a file");
            fs::rename(&partial, &stat).expect("a rename");
        };
        write(0);
        let mut shell = Command::new("sh").arg(&program).args([&stat, &answer]).spawn().expect("a shell");
        let id = Pid::from_raw(shell.id() as i32).expect("an id");
        for reads in 1..50 {
            thread::sleep(LOOK);
            write(reads);
        }
        meanwhile(id);
        for reads in 50..100 {
            write(reads);
            thread::sleep(LOOK);
        }
        kill_process(id, Signal::TERM).expect("a signal");
        assert!(shell.wait().expect("an end").success());
        parse(&fs::read_to_string(&answer).expect("an answer")).expect("three numbers")
    }

    #[test]
    fn a_pause_of_the_disk_is_seen_with_its_length() {
        let longest = longest(|_| thread::sleep(Duration::from_millis(1200)));
        assert!(longest.pause >= Duration::from_millis(1180) && longest.pause < Duration::from_secs(4), "{longest:?}");
        assert!(longest.check(Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_machine_that_stands_still_waits_for_nothing() {
        let longest = longest(|id| {
            kill_process(id, Signal::STOP).expect("a signal");
            thread::sleep(Duration::from_millis(1200));
            kill_process(id, Signal::CONT).expect("a signal");
        });
        assert!(longest.pause < Duration::from_millis(800) && longest.looks >= 5, "{longest:?}");
    }

    #[test]
    fn a_second_is_too_long_and_few_looks_show_nothing() {
        let longest = |answer| parse(answer).expect("three numbers");
        let second = Duration::from_secs(1);
        assert!(longest("99 12345 300\n").check(second).is_ok());
        assert!(longest("100 12345 300\n").check(second).is_err());
        assert!(longest("20 12345 49\n").check(second).is_err());
        assert_eq!(parse("99 12345\n"), None);
        assert_eq!(parse(""), None);
    }
}
