//! A drive that is told to write where nothing is mapped for it (dataplane/rte-rs/examples/stray.rs), beside those that serve.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::interop::host::Host;
use crate::interop::running::join;
use crate::interop::subsystem;
use crate::vm::{Machine, Result};

use super::Card;
use super::drives::STRAY;
use super::jobs::Rounds;
use super::scenario::{connect, mixed, quiet_but};

pub(super) fn stopped(card: &mut Card, host: &mut Host) -> Result<String> {
    let (card, host): (&Card, &Host) = (card, host);
    let disks = connect(host)?;
    let jobs = mixed(&disks, &[1, 2, 3, 6]);
    let (end, rounds) = (AtomicBool::new(false), Rounds::default());
    let (said, beside) = thread::scope(|scope| {
        let beside = scope.spawn(|| rounds.run_until(&end, host, &jobs));
        let story = || {
            let before = card.counters()?.of("s8_respond.responses");
            while card.counters()?.of("s8_respond.responses") < before + 20 && !beside.is_finished() {
                thread::sleep(Duration::from_millis(50));
            }
            let said = card.machine().run_ok(&format!("stray {}", Machine::drive_address(STRAY)))?;
            // The round that it fell into ends well.
            rounds.wait_for_next(&beside)?;
            Ok::<_, crate::vm::Error>(said)
        };
        let said = story();
        end.store(true, Ordering::Relaxed);
        // What ended the others' I/O says more than that it has ended.
        let beside = join(beside)?;
        Ok::<_, crate::vm::Error>((said?, beside))
    })?;
    // "0000:05:00.0 was told to write 0x140000000, where nothing is mapped; ..."
    let address = said.split_whitespace().find_map(|word| word.strip_prefix("0x")).unwrap_or_default();
    let address = address.trim_end_matches(',').to_owned();
    let faults = card.faults()?;
    let stopped =
        faults.iter().find(|line| line.contains("DMA Write") && line.contains(&address) && !address.is_empty());
    let stopped = stopped.ok_or_else(|| {
        crate::vm::Error::Unexpected(format!("{said}, and the IOMMU did not say that it stopped it: {faults:?}"))
    })?;
    let line = stopped.clone();
    quiet_but(host, "stray-dma", &[])?;
    host.disconnect(subsystem::OPEN)?;
    card.check_faults()?;
    Ok(format!("{} writes read back beside; {}", beside.writes, line.trim()))
}
