//! Finding, connecting, leaving, resetting.

use std::thread;
use std::time::{Duration, Instant};

use crate::interop::{Fio, Host, Pattern, subsystem};
use crate::vm::{Error, Result};

use super::ensure;

pub(super) fn discover(host: &mut Host) -> Result<String> {
    let nqns = host.discover()?;
    ensure(nqns.iter().any(|nqn| nqn == subsystem::OPEN), || format!("{} is not among {nqns:?}", subsystem::OPEN))?;
    ensure(nqns.iter().all(|nqn| nqn != subsystem::PRIVATE), || {
        format!("a subsystem that this host may not use is offered: {nqns:?}")
    })?;
    Ok(format!("{} entries", nqns.len()))
}

pub(super) fn connect(host: &mut Host) -> Result<String> {
    let begun = Instant::now();
    let device = host.connect(subsystem::OPEN)?;
    let took = begun.elapsed();
    let block = device.block.trim_start_matches("/dev/");
    let about = host.machine().run_ok(&format!("cd /sys/block/{block}; cat size uuid queue/logical_block_size"))?;
    let lines: Vec<&str> = about.split_whitespace().collect();
    let sectors = (subsystem::OPEN_BYTES / 512).to_string();
    ensure(lines == [sectors.as_str(), subsystem::OPEN_UUID, "512"], || format!("size, uuid, block size: {lines:?}"))?;
    let model = host.machine().run_ok("cat /sys/class/nvme/nvme*/model")?;
    host.disconnect(subsystem::OPEN)?;
    Ok(format!("{:.1} s, model {}", took.as_secs_f32(), model.trim()))
}

pub(super) fn ten_times(host: &mut Host) -> Result<String> {
    let begun = Instant::now();
    for round in 1..=10_u32 {
        let device = host.connect(subsystem::OPEN)?;
        // One block, so that every connection has carried data.
        host.machine().run_ok(&format!(
            "set -e; echo round {round} | dd of={0} bs=512 conv=sync,fsync 2>/dev/null
             echo 3 >/proc/sys/vm/drop_caches; dd if={0} bs=512 count=1 2>/dev/null | grep -q 'round {round}'",
            device.block
        ))?;
        host.disconnect(subsystem::OPEN)?;
    }
    Ok(format!("{:.1} s each", begun.elapsed().as_secs_f32() / 10.0))
}

pub(super) fn reset(host: &mut Host) -> Result<String> {
    let device = host.connect(subsystem::OPEN)?;
    let idle = time_reset(host, &device.controller)?;
    host.fio(&Fio::verify(&device.block, Pattern::Random, 4 << 10, 256 << 10))?;

    // Under I/O: requests that were on their way are sent again on the new association.
    let fio = Fio::verify(&device.block, Pattern::Random, 4 << 10, 6 << 20).limit(Duration::from_secs(180));
    let shared: &Host = host;
    let (busy, report) = thread::scope(|scope| {
        let io = scope.spawn(|| shared.fio(&fio));
        thread::sleep(Duration::from_secs(2));
        let in_time = !io.is_finished();
        let busy = time_reset(shared, &device.controller);
        ((in_time, busy), io.join())
    });
    let (in_time, busy) = (busy.0, busy.1?);
    ensure(in_time, || "the I/O had ended before the reset, so nothing was shown".to_owned())?;
    report.map_err(|_| Error::Unexpected("the thread that ran fio panicked".to_owned()))??;
    host.disconnect(subsystem::OPEN)?;
    Ok(format!("live again after {idle:.1} s idle, {busy:.1} s under I/O"))
}

fn time_reset(host: &Host, controller: &str) -> Result<f32> {
    let begun = Instant::now();
    let state = format!("/sys/class/nvme/{}/state", controller.trim_start_matches("/dev/"));
    host.machine().run_ok(&format!(
        "set -e; nvme reset {controller}
         tries=0; until [ \"$(cat {state})\" = live ]; do
             tries=$((tries + 1)); [ $tries -lt 300 ] || {{ cat {state} >&2; exit 1; }}; sleep 0.1
         done"
    ))?;
    Ok(begun.elapsed().as_secs_f32())
}
