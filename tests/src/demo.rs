//! The demo: Gantry's two processes and a stock Linux host, from nothing to verified I/O on a filesystem.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use gantry_tests::interop::{Fio, Gantry, Host, Paths, Pattern, Report, Target, subsystem};
use gantry_tests::vm::{Error, Result, process};

/// Written, then read back and compared, in 4 KiB blocks.
const BYTES: u64 = 8 << 20;

/// Steps told, so that the reader knows how far it is.
const STEPS: u32 = 6;

/// Tells each step with the time since the start.
struct Story {
    begun: Instant,
    step: u32,
}

impl Story {
    fn step(&mut self, what: &str) {
        self.step += 1;
        println!("[{}/{STEPS}] {:5.1} s  {what}", self.step, self.begun.elapsed().as_secs_f32());
    }

    fn detail(&self, what: &str) {
        println!("                {what}");
    }
}

/// Runs the demo; with `keep` it ends only on Ctrl-C.
pub(crate) fn run(keep: bool) -> Result<()> {
    process::end_on_interrupt(|| {
        eprintln!("\nstopped: both processes and the machine are gone, nothing is left behind")
    })?;
    let mut story = Story { begun: Instant::now(), step: 0 };

    story.step("starting gantry-dataplane and gantryd");
    let mut gantry = Gantry::start(&Paths::find()?)?;
    let [dataplane, control] = gantry.ids();
    story.detail(&format!("gantry-dataplane: process {dataplane}; gantryd: process {control}"));
    story.detail(&format!("configuration: {}", gantry.config().display()));

    story.step("booting a stock Debian host on a vhost-user wire (no KVM: be patient)");
    let machine = gantry.boot_host()?;
    story.detail(&format!("{}: up in {:.1} s", machine.run_ok("uname -sr")?.trim(), machine.boot_time().as_secs_f32()));
    machine.run_ok("modprobe nvme_rdma")?;
    let host = Host::new(machine, gantry.address());

    story.step("nvme discover, nvme connect");
    for nqn in host.discover()? {
        story.detail(&format!("offered: {nqn}"));
    }
    let device = host.connect(subsystem::OPEN)?;
    story.detail(&format!("{} is {} bytes on Gantry's drive d0", device.block, subsystem::OPEN_BYTES));

    story.step("mkfs.ext4, mount");
    host.machine().run_ok(&format!("mkfs.ext4 -q -F {0} && mount -t ext4 {0} /mnt", device.block))?;

    story.step(&format!("fio: {} MiB of random 4 KiB writes, each read back and its crc32c checked", BYTES >> 20));
    let fio = Fio::verify("/mnt/data", Pattern::Random, 4 << 10, BYTES).depth(16).limit(Duration::from_secs(600));
    let mut line = ProgressLine::default();
    let report = host.fio_with(&fio, &mut |report| line.show(&report))?;
    line.end();
    story.detail(&format!("{} writes and {} reads verified, no error", report.writes, report.reads));

    story.step("what happened at every stage");
    print!("{}", stages(&gantry)?);

    if keep {
        tell_how_to_go_on(&host, &gantry)?;
        loop {
            thread::sleep(Duration::from_secs(1));
            gantry.check_health()?;
            host.machine().check_health()?;
        }
    }
    host.machine().run_ok("umount /mnt")?;
    host.disconnect(subsystem::OPEN)?;
    drop(host);
    Box::new(gantry).stop()?;
    println!("done in {:.0} s; nothing is left running", story.begun.elapsed().as_secs_f32());
    Ok(())
}

/// Where `gantryctl` is: `GANTRYCTL`, else beside gantryd.
fn gantryctl() -> Result<PathBuf> {
    match std::env::var_os("GANTRYCTL") {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(Paths::find()?.control.with_file_name("gantryctl")),
    }
}

/// `gantryctl counters` on the data plane's statistics file.
fn stages(gantry: &Gantry) -> Result<String> {
    let gantryctl = gantryctl()?;
    let output = Command::new(&gantryctl)
        .args(["counters", "--stats"])
        .arg(gantry.stats())
        .stdin(Stdio::null())
        .output()
        .map_err(Error::on("starting", &gantryctl))?;
    if output.status.success() {
        return Ok(table(&String::from_utf8_lossy(&output.stdout)));
    }
    Err(Error::Unexpected(format!("gantryctl counters failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// One row a stage, of lines "stage.counter value" that come in the stages' order.
fn table(counters: &str) -> String {
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for line in counters.lines() {
        let Some((name, value)) = line.split_once(char::is_whitespace) else { continue };
        let Some((stage, counter)) = name.split_once('.') else { continue };
        let cell = format!("{} {}", counter.replace('_', " "), value.trim());
        match rows.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, cells)) => cells.push(cell),
            None => rows.push((stage, vec![cell])),
        }
    }
    rows.iter().map(|(stage, cells)| format!("  {stage:<13}  {}\n", cells.join(", "))).collect()
}

fn tell_how_to_go_on(host: &Host, gantry: &Gantry) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::doing("finding this program"))?;
    println!("\nAll of it keeps running. From another terminal:");
    println!("  a shell on the host    {} shell {}", program.display(), host.machine().shell_socket().display());
    println!("  counters               {} counters --stats {}", gantryctl()?.display(), gantry.stats().display());
    for log in gantry.logs() {
        println!("  a log                  {}", log.display());
    }
    println!("  the host's console     {}", host.machine().console().path().display());
    println!("Stop it with Ctrl-C here, or with: kill {}", std::process::id());
    Ok(())
}

/// One line that overwrites itself on a terminal; a line each time elsewhere.
#[derive(Default)]
struct ProgressLine {
    last: Report,
    shown: bool,
}

impl ProgressLine {
    fn show(&mut self, report: &Report) {
        let milliseconds = report.elapsed_ms.saturating_sub(self.last.elapsed_ms);
        if milliseconds == 0 {
            return;
        }
        let seconds = milliseconds as f64 / 1000.0;
        let ios = (report.reads + report.writes).saturating_sub(self.last.reads + self.last.writes);
        let bytes = report.bytes.saturating_sub(self.last.bytes);
        let done = report.bytes as f64 * 100.0 / (2 * BYTES) as f64;
        let line = format!(
            "{done:4.0} %  {:7.0} IOPS  {:7.2} MB/s  p99 {:6.1} ms  {}",
            ios as f64 / seconds,
            bytes as f64 / seconds / 1e6,
            report.p99_ns as f64 / 1e6,
            if report.reads == 0 { "writing" } else { "reading back" },
        );
        if io::stdout().is_terminal() {
            print!("\r                {line:<70}");
            let _ = io::stdout().flush();
        } else {
            println!("                {line}");
        }
        self.last = *report;
        self.shown = true;
    }

    fn end(&self) {
        if self.shown && io::stdout().is_terminal() {
            println!();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_has_a_row_for_each_stage() {
        let counters = "lcore.polls  9\ns1_parse.roce   12\ns1_parse.drop_other 3\nlcore.sleeps 4\n";
        let expected = "  lcore          polls 9, sleeps 4\n  s1_parse       roce 12, drop other 3\n";
        assert_eq!(super::table(counters), expected);
    }
}
