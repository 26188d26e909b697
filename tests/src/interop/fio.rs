//! fio: a job as arguments, its JSON as figures.

use std::time::Duration;

use serde_json::Value;

use crate::vm::{Error, Machine, Result};

/// Order of the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// One after the other.
    Sequential,
    /// Every block once, in random order.
    Random,
}

/// One job: write every block of a range, then read all of it back and compare each block's CRC-32C. One that goes on
/// [until ended](Fio::until_ended) goes over the range again and again, and reads blocks back soon after it wrote them.
#[derive(Clone, Debug)]
pub struct Fio {
    /// Device or file.
    pub filename: String,
    /// Order.
    pub pattern: Pattern,
    /// Bytes in one I/O.
    pub block_bytes: u64,
    /// Bytes to write, from the start.
    pub bytes: u64,
    /// I/Os in flight.
    pub depth: u32,
    /// It is killed after this.
    pub limit: Duration,
    /// Whether it goes on until it is ended from outside; once over the range if not.
    pub until_ended: bool,
    /// Whether it only reads, and checks, what the same job has written before.
    pub only_reads: bool,
}

/// A job without an end of its own writes so many blocks before it reads them back.
const BACKLOG: u32 = 64;

/// In the guest: a job without an end of its own ends when this file appears, and removes it.
const END: &str = "/run/fio-end";

/// What fio has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Reads completed.
    pub reads: u64,
    /// Writes completed.
    pub writes: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Errors that it met.
    pub errors: u64,
    /// 99th percentile of completion latency, the worse of reads and writes, in nanoseconds.
    pub p99_ns: u64,
    /// Time since the job started, in milliseconds.
    pub elapsed_ms: u64,
}

impl Fio {
    /// A light job with crc32c verification: 8 in flight, two minutes at most.
    pub fn verify(filename: &str, pattern: Pattern, block_bytes: u64, bytes: u64) -> Self {
        let (filename, limit) = (filename.to_owned(), Duration::from_secs(120));
        Self { filename, pattern, block_bytes, bytes, depth: 8, limit, until_ended: false, only_reads: false }
    }

    /// Until it is ended in place of once over the range: for what is done under I/O, however long it takes.
    #[must_use]
    pub fn until_ended(mut self) -> Self {
        self.until_ended = true;
        self
    }

    /// Another number in flight.
    #[must_use]
    pub fn depth(mut self, depth: u32) -> Self {
        self.depth = depth;
        self
    }

    /// Another limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same job without its writes: what it wrote before must still be there.
    #[must_use]
    pub fn reread(mut self) -> Self {
        self.only_reads = true;
        self
    }

    fn command(&self) -> String {
        let order = match self.pattern {
            Pattern::Sequential => "write",
            Pattern::Random => "randwrite",
        };
        let only = if self.only_reads { " --verify_only" } else { "" };
        let lasting = if self.until_ended {
            let seconds = self.limit.as_secs();
            format!(
                " --time_based --runtime={seconds} --verify_backlog={BACKLOG} --verify_state_save=0 --trigger-file={END}"
            )
        } else {
            String::new()
        };
        format!(
            "fio --name=verify --filename={} --rw={order} --bs={} --size={} --iodepth={} --ioengine=libaio --direct=1 \
             --verify=crc32c --do_verify=1 --verify_fatal=1 --group_reporting --output-format=json --status-interval=1{lasting}{only}",
            self.filename, self.block_bytes, self.bytes, self.depth
        )
    }

    /// Runs in `machine`; `on_report` gets what fio says every second.
    pub(super) fn run(&self, machine: &Machine, on_report: &mut dyn FnMut(Report)) -> Result<Report> {
        let command = self.command();
        let mut progress = Progress::default();
        let mut last = None;
        let output = machine.stream(&command, self.limit, &mut |line| {
            if let Some(report) = progress.line(line) {
                last = Some(report);
                on_report(report);
            }
        })?;
        let machine_name = || machine.name().to_owned();
        let failed = |output| Error::Failed { machine: machine_name(), command: command.clone(), output };
        let Some(report) = last else { return Err(failed(output)) };
        if !output.ok() || report.errors > 0 || !self.did_all(&report) {
            let mut output = output;
            output.stdout = format!("{report:?}, of {} blocks", self.bytes / self.block_bytes);
            return Err(failed(output));
        }
        Ok(report)
    }

    /// Whether fio did what was asked: every block written once and read once, or what was written is read
    /// but for the last round.
    fn did_all(&self, report: &Report) -> bool {
        if self.until_ended {
            report.reads > 0 && report.reads + 2 * u64::from(BACKLOG + self.depth) >= report.writes
        } else {
            // fio counts the writes that it only pretends to do, too.
            report.writes == report.reads && report.writes == self.bytes / self.block_bytes
        }
    }

    /// Ends the job in `machine` that goes on until ended.
    pub(super) fn end(machine: &Machine) -> Result<()> {
        machine.run_ok(&format!("touch {END}")).map(drop)
    }
}

/// Cuts fio's output into the JSON objects that it prints one after the other.
#[derive(Default)]
pub struct Progress {
    object: String,
}

impl Progress {
    /// Takes one line; gives a report at the end of an object.
    pub fn line(&mut self, line: &str) -> Option<Report> {
        // Objects are indented: only their first and last lines start with a brace.
        if line.starts_with('{') {
            self.object.clear();
        } else if self.object.is_empty() {
            return None;
        }
        self.object.push_str(line);
        if !line.starts_with('}') {
            return None;
        }
        let value: Value = serde_json::from_str(&std::mem::take(&mut self.object)).ok()?;
        let job = value.get("jobs")?.get(0)?;
        let number = |side: &str, field: &str| job[side][field].as_u64().unwrap_or(0);
        let p99 = |side: &str| job[side]["clat_ns"]["percentile"]["99.000000"].as_u64().unwrap_or(0);
        Some(Report {
            reads: number("read", "total_ios"),
            writes: number("write", "total_ios"),
            bytes: number("read", "io_bytes") + number("write", "io_bytes"),
            errors: job["error"].as_u64().unwrap_or(0),
            p99_ns: p99("read").max(p99("write")),
            elapsed_ms: job["job_runtime"].as_u64().unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_one_after_the_other() {
        let text = r#"fio: a word of warning
{
  "fio version" : "fio-3.33",
  "jobs" : [
    {
      "error" : 0,
      "job_runtime" : 1500,
      "read" : { "io_bytes" : 4096, "total_ios" : 1, "clat_ns" : { "percentile" : { "99.000000" : 700 } } },
      "write" : { "io_bytes" : 8192, "total_ios" : 2, "clat_ns" : { "N" : 0 } }
    }
  ]
}

{
  "jobs" : [ { "error" : 84, "read" : {}, "write" : {} } ]
}"#;
        let mut progress = Progress::default();
        let reports: Vec<_> = text.lines().filter_map(|line| progress.line(line)).collect();
        let first = Report { reads: 1, writes: 2, bytes: 12288, errors: 0, p99_ns: 700, elapsed_ms: 1500 };
        assert_eq!(reports, [first, Report { errors: 84, ..Report::default() }]);
    }
}
