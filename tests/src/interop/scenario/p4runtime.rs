//! A P4Runtime client on the operator's machine keeps a host out, and lets it in again.
//!
//! The stop is shorter than anything that would end the association: the host's I/O timeout (30 s), its keep-alive timeout (chosen),
//! and the retransmissions of either side (some 15 s). The host sends again what was denied, and rxe does not always live through
//! a registration of memory among that (see `loss`): so there is none, each I/O is one page.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{CLIENTS, Client, number};
use crate::interop::running::Running;
use crate::interop::target::HOST_ADDRESS;
use crate::interop::{Device, Fio, Host, Pattern, Target, subsystem};
use crate::vm::{Error, Result};

use super::ensure;

/// What is on its way when the entry comes into force ends meanwhile.
const SETTLE: Duration = Duration::from_secs(1);

/// Nothing completes for so long.
const STOP: Duration = Duration::from_secs(3);

/// Longest that an entry may stand: a retransmission before either side gives up.
const DENIED_MAX: Duration = Duration::from_secs(12);

/// From the entry's end to the next completion: the host's retransmission timer (2 s), and a slow machine.
const RETURN_LIMIT: Duration = Duration::from_secs(15);

/// One denial by one client.
struct Denial {
    /// From the entry's insertion to its deletion.
    stood: Duration,
    /// From its deletion to the next completion.
    back: Duration,
    packets: u64,
}

pub(super) fn deny(target: &mut (dyn Target + 'static), host: &mut Host) -> Result<String> {
    let target: &dyn Target = target;
    host.register_always(false)?;
    let device = host.connect_with(subsystem::OPEN, "--keep-alive-tmo=60")?;
    host.machine().run_ok(&format!("{}echo 2 >${{stat%/stat}}/queue/nomerges", device.find_stat()))?;
    let fio = Fio::verify(&device.block, Pattern::Random, 4 << 10, 8 << 20).until_ended().depth(4);
    let begun = AtomicBool::new(false);
    let shared: &Host = host;
    let (denials, report) = thread::scope(|scope| {
        let mut io = Running::start(scope, shared.machine(), &fio, |report| report.reads > 0, &begun)?;
        let mut denials = Vec::new();
        for client in &CLIENTS {
            denials.push(stop_with(client, target, shared, &device)?);
            io = io.check()?;
        }
        Ok::<_, Error>((denials, io.end()?))
    })?;
    let seen = host.trouble_since("p4runtime-deny")?;
    ensure(seen.is_empty(), || format!("the host's kernel noticed:\n{}", seen.join("\n")))?;
    host.disconnect(subsystem::OPEN)?;
    host.register_always(true)?;
    let told = CLIENTS.iter().zip(&denials).map(|(client, denial)| {
        let (stood, back) = (denial.stood.as_secs_f32(), denial.back.as_secs_f32());
        format!("{}: {stood:.1} s, {} packets denied, I/O again after {back:.1} s", client.name, denial.packets)
    });
    Ok(format!("{}; {} I/Os verified", told.collect::<Vec<_>>().join("; "), report.reads + report.writes))
}

fn stop_with(client: &Client, target: &dyn Target, host: &Host, device: &Device) -> Result<Denial> {
    let card = target.p4runtime()?;
    let denied = |lines: &str| number(lines, &["drops", "reason=DENIED"], "packets");
    let before = client.run_ok(card, &["list"])?;
    ensure(!before.contains("entry "), || format!("the access list is not empty:\n{before}"))?;
    let moving = completed(host, device)?;
    thread::sleep(Duration::from_millis(500));
    ensure(completed(host, device)? > moving, || "no I/O completes before anything is denied".to_owned())?;

    client.run_ok(card, &["deny", HOST_ADDRESS])?;
    let begun = Instant::now();
    thread::sleep(SETTLE);
    let first = completed(host, device)?;
    thread::sleep(STOP);
    let last = completed(host, device)?;
    let waiting = waiting(host, device)?;
    let during = client.run_ok(card, &["list"])?;
    let gone = client.run_ok(card, &["allow", HOST_ADDRESS])?;
    let stood = begun.elapsed();
    let back = wait_for_more(host, device, last)?;

    ensure(first == last, || format!("{} I/Os completed in {STOP:?} of denial", last - first))?;
    ensure(waiting > 0, || "no I/O waited, so its stop shows nothing".to_owned())?;
    ensure(stood < DENIED_MAX, || format!("the entry stood for {stood:?}: too long to show anything"))?;
    let source = format!("source={HOST_ADDRESS}");
    let hits = number(&during, &["entry", "action=deny", &source], "packets")?;
    let packets = number(&gone, &["gone", "action=deny", &source], "packets")?;
    ensure(hits > 0 && packets >= hits, || format!("the entry counted {hits} packets, later {packets}"))?;
    ensure(number(&gone, &["gone", &source], "bytes")? > packets, || format!("the entry's bytes:\n{gone}"))?;
    let drops = denied(&during)? - denied(&before)?;
    ensure(drops > 0 && drops >= hits, || format!("{drops} packets dropped as denied, the entry counted {hits}"))?;
    let after = client.run_ok(card, &["list"])?;
    ensure(!after.contains("entry "), || format!("an entry is left:\n{after}"))?;
    Ok(Denial { stood, back, packets })
}

/// I/Os that the host's block layer has seen completed.
fn completed(host: &Host, device: &Device) -> Result<u64> {
    let stat = stat(host, device)?;
    // Reads, writes, discards and flushes completed (kernel: Documentation/block/stat.rst).
    Ok([0, 4, 11, 15].iter().filter_map(|index| stat.get(*index)).sum())
}

/// I/Os that it waits for.
fn waiting(host: &Host, device: &Device) -> Result<u64> {
    Ok(stat(host, device)?[8])
}

fn stat(host: &Host, device: &Device) -> Result<Vec<u64>> {
    let text = host.machine().run_ok(&format!("{}cat $stat", device.find_stat()))?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure(numbers.len() >= 11, || format!("the disk's figures: {text:?}"))?;
    Ok(numbers)
}

/// Waits until more than `before` I/Os have completed: how long it took.
fn wait_for_more(host: &Host, device: &Device, before: u64) -> Result<Duration> {
    let begun = Instant::now();
    while completed(host, device)? == before {
        ensure(begun.elapsed() < RETURN_LIMIT, || {
            format!("no I/O completes {RETURN_LIMIT:?} after the entry is gone")
        })?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(begun.elapsed())
}
