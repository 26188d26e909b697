//! fio on several disks at once, with mixed block sizes: what is written is read back and its crc32c compared.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::interop::Host;
use crate::interop::scenario::ensure;
use crate::vm::{Error, Result};

/// One disk's share.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The host's block device.
    pub(super) disk: String,
    /// Smallest and largest I/O in bytes; each is a multiple of the smallest.
    pub(super) blocks: (u64, u64),
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// Bytes to write from there on.
    pub(super) bytes: u64,
}

/// What jobs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Writes, each of which was read back.
    pub(super) writes: u64,
    /// The longest that one I/O took.
    pub(super) longest_ns: u64,
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.writes += other.writes;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }
}

/// Time enough for some MiB on a busy machine.
pub(super) const JOB_LIMIT: Duration = Duration::from_secs(180);

/// In flight of each job.
const DEPTH: u32 = 8;

fn command(jobs: &[Job]) -> String {
    let mut command = format!(
        "fio --output-format=json --ioengine=libaio --direct=1 --rw=randwrite --iodepth={DEPTH} --verify=crc32c \
         --do_verify=1 --verify_fatal=1"
    );
    for (index, Job { disk, blocks: (smallest, largest), offset, bytes }) in jobs.iter().enumerate() {
        command += &format!(
            " --name=job{index} --filename={disk} --bsrange={smallest}-{largest} --offset={offset} --size={bytes}"
        );
    }
    command
}

/// Runs all jobs at once, once over their ranges; fails if one of them met an error, read something else than was written, or
/// did less than it was asked.
pub(super) fn run(host: &Host, jobs: &[Job], limit: Duration) -> Result<Done> {
    let command = command(jobs);
    let output = host.machine().run_for(&command, limit)?;
    let failed = |why: String| Error::Unexpected(format!("{}: `{command}`: {why}\n{output}", host.machine().name()));
    if !output.ok() {
        return Err(failed("it failed".to_owned()));
    }
    // fio may say a word before its JSON.
    let json = output.stdout.find("{\n").map_or(output.stdout.as_str(), |at| &output.stdout[at..]);
    let report: Value = serde_json::from_str(json).map_err(|error| failed(error.to_string()))?;
    let told = report["jobs"].as_array().filter(|told| told.len() == jobs.len());
    let told = told.ok_or_else(|| failed("not every job has a report".to_owned()))?;
    let mut all = Done::default();
    for (job, told) in jobs.iter().zip(told) {
        all += judge(job, told).map_err(&failed)?;
    }
    Ok(all)
}

/// Jobs run in rounds, one after the other, while something else happens however long it takes.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    ended: AtomicUsize,
}

impl Rounds {
    /// Verified I/O again and again.
    pub(super) fn run_until(&self, end: &AtomicBool, host: &Host, jobs: &[Job]) -> Result<Done> {
        let mut all = Done::default();
        while !end.load(Ordering::Relaxed) {
            all += run(host, jobs, JOB_LIMIT)?;
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(all)
    }

    /// Waits for the end of the round that is under way in `thread`.
    pub(super) fn wait_for_next<T>(&self, thread: &thread::ScopedJoinHandle<'_, T>) -> Result<()> {
        let before = self.ended.load(Ordering::Relaxed);
        while self.ended.load(Ordering::Relaxed) == before {
            ensure(!thread.is_finished(), || "the other drives' I/O has ended".to_owned())?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn judge(job: &Job, told: &Value) -> std::result::Result<Done, String> {
    let number = |side: &str, field: &str| told[side][field].as_u64().unwrap_or(0);
    if told["error"].as_u64() != Some(0) {
        return Err(format!("{}: error {}", job.disk, told["error"]));
    }
    let (read, written) = (number("read", "io_bytes"), number("write", "io_bytes"));
    if written != job.bytes || read != job.bytes {
        return Err(format!("{}: {written} bytes written, {read} read, of {}", job.disk, job.bytes));
    }
    let longest = |side: &str| told[side]["lat_ns"]["max"].as_u64().unwrap_or(0);
    Ok(Done { writes: number("write", "total_ios"), longest_ns: longest("read").max(longest("write")) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_wrong_is_seen() {
        let job = Job { disk: "/dev/x".into(), blocks: (512, 4096), offset: 0, bytes: 8192 };
        let told = |error: u32, read: u32, written: u32| {
            let side = |bytes: u32, max: u32| json!({ "io_bytes": bytes, "total_ios": 3, "lat_ns": { "max": max } });
            json!({ "error": error, "read": side(read, 7), "write": side(written, 9) })
        };
        assert_eq!(judge(&job, &told(0, 8192, 8192)), Ok(Done { writes: 3, longest_ns: 9 }));
        for (error, read, written) in [(5, 8192, 8192), (0, 4096, 8192), (0, 4096, 4096), (0, 8192, 4096), (0, 0, 0)] {
            assert!(judge(&job, &told(error, read, written)).is_err(), "{error} {read} {written}");
        }
    }
}
